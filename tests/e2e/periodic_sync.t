#!/usr/bin/perl
#
# Rows that change behind the client's back are found, put right and told of:
# by a real relay and client that compare every second, while another program
# (the sqlite3 shell) writes the cache file. How soon is counted in rounds of
# proof, as the relay counts them. Then what is asked for in SQL.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBD::Pg;
use Test::More;
use ClinicTest qw(now wait_for slurp);

my $clinic = ClinicTest->new(patients => 200);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {sync_interval_s => 1})->wait_ready;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

sub metric {
	my ($name) = @_;
	return $relay->get('/metrics')->{content} =~ /^\w*_$name(?:\{[^}]*\})? (\d+)$/m ? $1 : undef;
}

# What another program does to the file.
sub damage {
	my ($sql) = @_;
	open(my $shell, '|-', 'sqlite3', '-cmd', '.timeout 5000', '-bail', $device->{file}) or die "sqlite3: $!\n";
	print $shell "$sql\n";
	close($shell) or die "sqlite3 failed: $?\n";
	return;
}

sub meta_value { return $device->value('SELECT value FROM clinic_sync_meta WHERE key = ?', $_[0]) // 0 }
sub repairs { return meta_value('repairs') }

sub righted { return map { $_->{table} } grep { $_->{detail} } told('table_sync_completed') }
sub told { my ($type) = @_; return grep { $_->{type} eq $type } $device->events }

# The bound: a round that was under way when the damage was done proves nothing
# of it, the one after it must; and one more may end while this test looks.
sub found_within {
	my ($rounds, $tables, $what) = @_;
	my $before = metric('digest_rounds_total');
	my $told = told('table_differs');
	my $righted = righted();
	my $wanted = repairs() + @$tables;
	wait_for("$what to be found", sub { told('table_differs') >= $told + @$tables }, 60);
	my $took = metric('digest_rounds_total') - $before;
	cmp_ok($took, '<=', $rounds + 1, "$what: found within a round");
	# told after the commit that made it true
	wait_for("$what to be put right", sub { righted() >= $righted + @$tables }, 60);
	is(repairs(), $wanted, "$what: no table is put right that was not wrong");
	my @last = (righted())[-@$tables .. -1];
	is("@{[sort @last]}", "@{[sort @$tables]}", "$what: told as events");
	return;
}

# ---- what the shell does ----------------------------------------------------------------------

wait_for('a first proof', sub { meta_value('proven_at') }, 30);
is(repairs(), 0, 'what was never touched is found equal');

damage(q(UPDATE patients SET "fullName" = 'Nobody' WHERE rowid = 7;));
found_within(2, ['patients'], 'a changed row');
damage(q(DELETE FROM appointments WHERE rowid IN (SELECT rowid FROM appointments LIMIT 3);));
found_within(2, ['appointments'], 'deleted rows');
damage(q(INSERT INTO user_activity_log(id, "userId", "actionDescription", "timestamp")
	VALUES (900001, 'admin', 'never happened', '2026-11-23');));
found_within(2, ['user_activity_log'], 'an inserted row');
damage(q(BEGIN; DELETE FROM payments; UPDATE users SET role = 'x'; COMMIT;));
found_within(2, ['payments', 'users'], 'two tables at once');
$clinic->caches_equal('all of it is the server\'s again');

my ($output) = slurp("$device->{dir}/a.log");
like($output, qr/table patients is not what the server's is; it is fetched anew/, 'the log says what is wrong');
like($output, qr/Received table sync for patients \(\d+ records\): it differed/, '… and that it was put right');
unlike($output, qr/Nobody|never happened/, '… without a value');
my ($code, $status) = $device->command('status', '--json');
like($status, qr/"repairs":\s*5\b/, 'status counts repairs') || diag($status);
wait_for('the view to show the repairs', sub {
	($dbh->selectrow_array('SELECT repairs FROM clinic_sync.devices'))[0] == 5 }, 30);
pass('clinic_sync.devices counts them');
wait_for('proven_at of the view', sub {
	$dbh->selectrow_array('SELECT proven_at > now() - interval \'20 s\' FROM clinic_sync.devices') }, 30);
is($dbh->selectrow_array('SELECT rows = (SELECT sum(n) FROM (SELECT (clinic_sync.digest_scan(name::regclass)).rows AS n'
		. ' FROM (SELECT quote_ident(name) AS name FROM clinic_sync.tables) t) d) FROM clinic_sync.devices'), 1,
	'… with the rows it holds');
cmp_ok(metric('repairs_total'), '>=', 5, 'the relay counts them');

# ---- under continuous writes -------------------------------------------------------------------

my $writer = $clinic->cluster->connect;
my $writer_pid = $writer->{pg_pid};
$writer->do(q(DO $$ BEGIN
	CREATE PROCEDURE write_all_along() LANGUAGE plpgsql AS $p$ BEGIN
		FOR i IN 1..1000000 LOOP
			UPDATE patients SET "contactNumber" = i WHERE id = (SELECT id FROM patients ORDER BY id OFFSET i % 200 LIMIT 1);
			COMMIT;
			PERFORM pg_sleep(0.02);
		END LOOP;
	END $p$;
END $$));
$writer->do('CALL write_all_along()', {pg_async => DBD::Pg::PG_ASYNC()});
my $cursor = $device->batch;
wait_for('the writer to write', sub { $device->batch > $cursor + 20 }, 30);
damage(q(UPDATE patients SET "fullName" = 'Nobody' WHERE rowid = 9;));
found_within(4, ['patients'], 'a changed row of a table that is written all the time');
my $repairs = repairs();
my $rounds = metric('digest_rounds_total');
wait_for('five more rounds', sub { metric('digest_rounds_total') >= $rounds + 5 }, 60);
is(repairs(), $repairs, 'changes alone are no differences');
$dbh->do('SELECT pg_terminate_backend(?, 10000)', undef, $writer_pid);
$clinic->caches_equal('equal after continuous writes');

# ---- killed in the midst of a repair ------------------------------------------------------------

$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
	SELECT 'admin', 'bulk', repeat('x', 200), '2026-11-23' FROM generate_series(1, 60000)));
$clinic->wait_level($device);
damage(q(UPDATE user_activity_log SET details = 'y' WHERE id % 1000 = 0;));
wait_for('rows to be staged', sub { -e "$device->{file}.table-part" }, 60);
$device->kill9;
ok(-e "$device->{file}.table-part", 'killed while rows are staged');
cmp_ok($device->value(q(SELECT count(*) FROM user_activity_log WHERE details = 'y')), '>', 0, 'nothing was replaced so far');
$repairs = repairs();
$device->start;
wait_for('the repair after the kill', sub { repairs() > $repairs }, 60);
$clinic->caches_equal('put right after a kill -9 in the midst');
ok(!-e "$device->{file}.table-part", 'nothing is left beside the file');

# ---- asked for in SQL ---------------------------------------------------------------------------

sub request { return $dbh->selectrow_array("SELECT clinic_sync.$_[0]") }
sub done { my ($id, $what) = @_; wait_for($what, sub { meta_value('sync_request') == $id }, 30); return pass($what) }

$device->stop;
$device->{words} = ['--sync-interval', '0'];
$device->start;
$clinic->wait_level($device);
$rounds = metric('digest_rounds_total');
$repairs = repairs();
damage(q(UPDATE patients SET "fullName" = 'Nobody' WHERE rowid = 11; UPDATE users SET role = 'x';));
my $id = request(q(request_sync('{users}')));
done($id, 'request_sync() of a table, while connected');
is(repairs(), $repairs + 1, 'it put that table right');
is($device->value(q(SELECT count(*) FROM patients WHERE "fullName" = 'Nobody')), 1, '… and no other');
done(request('request_patient_data_sync()'), 'request_patient_data_sync()');
is($device->value(q(SELECT count(*) FROM patients WHERE "fullName" = 'Nobody')), 0, 'it put patient data right');
my $fetched = () = map { $_->{type} eq 'table_sync_completed' && $_->{table} eq 'bill_items' ? 1 : () } $device->events;
done(request(q(resync_table('bill_items'))), 'resync_table()');
is(scalar(grep { $_->{type} eq 'table_sync_completed' && $_->{table} eq 'bill_items' } $device->events), $fetched + 1,
	'the table was fetched though it was equal');
is(repairs(), $repairs + 2, '… which is no repair');
done(request(sprintf q(request_sync(NULL, '%s')), meta_value('device_id')), 'request_sync() of all tables, of this device');

$device->stop;
damage(q(UPDATE users SET role = 'x';));
$id = request(q(request_sync('{users,patients}')));
my $last = request(q(resync_table('payments')));
$device->start;
done($last, 'a device that was away does what was asked meanwhile');
is(repairs(), $repairs + 3, 'it put right what was asked for then');
$clinic->caches_equal('equal in the end');

# a new file has nothing to catch up with
my $new = $clinic->device('b');
$clinic->wait_level($new);
wait_for('the new file to know the newest request', sub {
	($new->value(q(SELECT value FROM clinic_sync_meta WHERE key = 'sync_request')) // 0) == $last }, 20);
ok(!(grep { $_->{type} eq 'sync_now_completed' } $new->events), 'a new file has done all that was asked before it');

done_testing;
