#!/usr/bin/perl
#
# The manual sync: when `clinic-cache sync-now` comes back, the file has all that
# was committed before, and what was wrong in it has been put right; beside a
# running sync, which is asked through its door, and without one.
use strict;
use warnings;
use DBI;
use FindBin;
use IO::Socket::UNIX;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for slurp);

my $clinic = ClinicTest->new(patients => 50, preload => 1);
# no periodic comparison: what is put right here was asked for
my $relay = $clinic->relay(option => {sync_interval_s => 0});
my $device = $clinic->device('a');
$clinic->caches_equal('level at first');
my $door = "$device->{file}.clinic-control";

sub sync_now {
	my (@words) = @_;
	my ($code, $said) = $device->command('sync-now', '--log-level', 'error', @words);
	$said =~ s/\s+$//;
	return ($code, $said);
}

# Change the file as no program may.
sub damage {
	my ($sql) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$device->{file}", '', '', {RaiseError => 1});
	$db->sqlite_busy_timeout(5000);
	my $rows = $db->do($sql);
	$db->disconnect;
	return $rows;
}

sub is_synced {
	my ($name, $repaired, @words) = @_;
	my ($code, $said) = sync_now('--json', @words);
	is($code, 0, "$name: exit code") or diag($said);
	my $answer = eval { decode_json($said) } // {};
	is("$answer->{result} $answer->{repaired_tables}", "level $repaired", "$name: level, tables put right");
	is($answer->{cursor}, $device->cursor, "$name: at the file's cursor");
	return;
}

ok(-S $door, 'a running sync has a door');
is((stat $door)[2] & 0777, 0600, 'for its user alone');

my ($code, $said) = sync_now();
is($code, 0, 'nothing to do: exit code');
like($said, qr/^level at \d+-[0-9a-f]{16}$/, 'nothing to do: said');

for my $n (1 .. 20) {
	$clinic->dbh->do(q(UPDATE patients SET address = ? WHERE id = 'JG-0001'), undef, "street $n");
	my ($exit) = sync_now('--table', 'patients');
	my $held = $device->value(q(SELECT address FROM patients WHERE id = 'JG-0001'));
	is("$exit $held", "0 street $n", "change $n is there when sync-now comes back");
}

ok(damage(q(UPDATE patients SET "fullName" = 'Nobody' WHERE id = 'JG-0002')) > 0, 'a row is damaged');
is_synced('the damaged table', 1, '--table', 'patients');
is($device->value(q(SELECT count(*) FROM patients WHERE "fullName" = 'Nobody')), 0, 'the row is the server\'s again');

ok(damage('DELETE FROM payments WHERE id = (SELECT min(id) FROM payments)') > 0, 'a row of billing is taken');
ok(damage(q(UPDATE clinic_services SET description = 'wrong')) > 0, 'rows of another table are damaged');
is_synced('patient data and billing', 1, '--patient-data');
isnt($device->value(q(SELECT count(*) FROM clinic_services WHERE description = 'wrong')), 0, 'nothing else was looked at');
is_synced('all', 1);
is($device->value(q(SELECT count(*) FROM clinic_services WHERE description = 'wrong')), 0, 'and then it is right');
$clinic->caches_equal('equal to the server');

($code, $said) = sync_now('--table', 'no_such_table');
is($code, 2, 'a table that is not synced: exit code');
like($said, qr/does not sync/, 'and why') or diag($said);
($code, $said) = sync_now('--table', 'patients', '--patient-data');
is($code, 2, 'two scopes at once: exit code');

# several at once are served one after the other
my @at_once = map { ClinicTest::Process->start("sync-now $_", log => "$clinic->{dir}/at_once.$_.log",
	argv => [$device->{bin}, 'sync-now', '--db', $device->{file}]) } 1 .. 5;
is(join(' ', map { $_->wait_exit(60) } @at_once), '0 0 0 0 0', 'five at once');

# who asks for nonsense gets a reason, who says nothing is no obstacle
my $silent = IO::Socket::UNIX->new(Peer => $door);
for my $request ('', 'nonsense', '{}', '{"command":"format"}', '{"command":"sync_now","scope":"table"}',
		'{"command":"sync_now","scope":"everything"}') {
	my $guest = IO::Socket::UNIX->new(Peer => $door);
	print $guest "$request\n";
	my $answer = eval { decode_json(scalar <$guest>) } // {};
	is($answer->{state}, 'failed', "asked for '$request': refused");
}
{
	local $SIG{PIPE} = 'IGNORE';	# it is shown out before it has said all
	my $long = IO::Socket::UNIX->new(Peer => $door);
	print $long 'x' x 100_000;
}
is_synced('after those', 0);

# the relay is away: it comes back in time, or it does not
$relay->stop;
($code, $said) = sync_now('--timeout', '2');
is($code, 3, 'no relay: exit code');
my $patient = ClinicTest::Process->start('patient', log => "$clinic->{dir}/patient.log",
	argv => [$device->{bin}, 'sync-now', '--db', $device->{file}, '--timeout', 60]);
$relay->start;
is($patient->wait_exit(60), 0, 'the relay comes back: done then');

# the process dies: what it left behind is no door
$device->kill9;
ok(-S $door, 'a killed sync leaves its door');
damage(q(UPDATE patients SET "fullName" = 'Nobody' WHERE id = 'JG-0003'));
$clinic->dbh->do(q(UPDATE patients SET address = 'alone' WHERE id = 'JG-0001'));
($code, $said) = sync_now();
is($code, 0, 'nobody syncs the file: done here') or diag($said);
like($said, qr/, 1 tables? repaired$/, 'with the repair');
is($device->value(q(SELECT address FROM patients WHERE id = 'JG-0001')), 'alone', 'and what was committed');
($code, $said) = $device->command('verify', '--log-level', 'error');
is("$code $said", "0 ok\n", 'equal');
$device->start;
wait_for('a door', sub { IO::Socket::UNIX->new(Peer => $door) });
is_synced('the next sync has a door again', 0);
$device->stop;
ok(!-e $door, 'a sync that ends takes its door with it');
done_testing();
