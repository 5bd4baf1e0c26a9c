#!/usr/bin/perl
#
# Proofs over the link: what a raw client is told about slices of its tables is
# what the server holds, in the order that a proof rests on, and at the same cost
# for any number of devices.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use List::Util qw(max sum uniq);
use Test::More;
use ClinicTest qw(now wait_for slurp);
use ClinicTest::Raw;

my $clinic = ClinicTest->new(patients => 40);
my $relay = $clinic->relay(option => {sync_interval_s => 1, report_interval_s => 1})->wait_ready;
my $dbh = $clinic->dbh;
my @TABLES = @ClinicTest::TABLES;

sub batch_of { return $_[0] =~ /^(\d+)/ ? $1 : die "no cursor\n" }
sub metric { return $relay->get('/metrics')->{content} =~ /^clinic_relay_$_[0] (\d+)$/m ? $1 : undef }

my %count;
sub count_rows { $count{$_} = ($dbh->selectrow_array(qq(SELECT count(*) FROM "$_")))[0] + 0 for @TABLES; return }
count_rows();

sub ask {
	my ($raw, %more) = @_;
	return $raw->say({type => 'request_digest', scope => 'slice', cursor => $raw->{cursor},
		tables => undef, counts => \%count, %more});
}

# digest_begin and digest, and what of the feed came before either.
sub answer {
	my ($raw) = @_;
	my (@before, $begin);
	while (my $m = $raw->wait_message([qw(digest_begin digest database_change heartbeat error)], 20)) {
		return ($begin, $m, @before) if $m->{type} eq 'digest' || $m->{type} eq 'error';
		$begin = {%$m, at => $raw->{cursor}} if $m->{type} eq 'digest_begin';
		$raw->{cursor} = $m->{to} if $m->{to} && ($m->{last} // 1);
	}
	return;
}

sub text { my ($s) = @_; return "$s->{rows}:$s->{hash}" }

# {table => "rows:hash"} of the slices that are whole tables
sub whole_tables {
	my ($begin, $digest) = @_;
	my @slices = @{$begin->{slices}};
	return {map { $slices[$_]{table} => text($digest->{slices}[$_]) }
		grep { !$slices[$_]{after} && !$slices[$_]{upto} } 0 .. $#slices};
}

# ---- a small clinic is proved whole in every round --------------------------------

my $one = ClinicTest::Raw->live($clinic, 'one');
is($one->{connected}{sync_interval_s}, 1, 'connected tells the interval');
ask($one);
my ($begin, $digest) = answer($one);
is($digest->{id}, $begin->{id}, 'a digest follows its digest_begin');
is_deeply([sort map { $_->{table} } @{$begin->{slices}}], [sort @TABLES], 'all tables at once');
is_deeply(whole_tables($begin, $digest), {map { $_ => $clinic->server_digest($_) } @TABLES},
	'the digests are those of the server');
ok($digest->{last}, 'nothing more comes');

ask($one, tables => ['payments', 'patients'], skip => {patients => ['lastName', 'firstName']});
($begin, $digest) = answer($one);
is_deeply([sort map { $_->{table} } @{$begin->{slices}}], ['patients', 'payments'], 'some tables');
my ($without) = $dbh->selectrow_array(q(SELECT d.rows || ':' || d.hash FROM clinic_sync.digest_slices('patients',
	(SELECT array_agg(c.value ->> 'name') FROM clinic_sync.snapshot_tables() t, json_array_elements(t.schema -> 'columns') c
		WHERE t.name = 'patients' AND c.value ->> 'name' NOT IN ('firstName', 'lastName'))::name[],
	array[NULL], array[NULL]) d));
is(whole_tables($begin, $digest)->{patients}, $without, 'without the columns that the device lacks');
ask($one, tables => ['nonsense']);
ok((answer($one))[1]{failed}, 'of a table that is not published there is none');

# ---- the order ---------------------------------------------------------------------

my $payer = ClinicTest::Raw->live($clinic, 'payer', tables => ['payments']);
ask($payer, tables => ['patients']);
my $error = (answer($payer))[1];
is("$error->{code} $error->{table}", 'no_such_table patients', 'a table that it does not follow is an error');
my (@early, @late, $moved);
for my $round (1 .. 5) {
	# before the round, while it is computed, and after the job's cut
	$dbh->do('UPDATE patients SET address = ? WHERE id IN (SELECT id FROM patients LIMIT 5)', undef, "$round.$_")
		for 1 .. 20;
	ask($_) for $one, $payer;
	$dbh->do('UPDATE patients SET address = ? WHERE id IN (SELECT id FROM patients LIMIT 5)', undef, "$round.$_")
		for 21 .. 60;
	my $b = batch_of($one->{cursor});
	($begin, $digest, my @before) = answer($one);
	my $k = batch_of($digest->{cursor});
	push @early, $round if batch_of($begin->{at}) > $k;
	push @late, $round if batch_of($one->{cursor}) < $k;
	$moved++ if $k > $b;
	answer($payer);	# nothing in the feed ever takes it there, but its answer comes
}
is_deeply(\@early, [], 'digest_begin came before every frame beyond the batch');
is_deeply(\@late, [], 'the digest came after every frame up to the batch');
ok($moved, "and batches came in between ($moved)");
$one->wait_message('heartbeat', 5);	# level again

# The relay's feed stands still while the digest's batch is cut.
wait_for('the feed to rest', sub {
	$one->wait_message(['database_change', 'heartbeat'], 0.5);
	return metric('batch') == $clinic->cut_batch;
});
$clinic->cluster->stop_reader($dbh);
$dbh->do(q(UPDATE patients SET address = 'ahead' WHERE id = (SELECT min(id) FROM patients)));
my ($ahead, $computed) = ($clinic->server_digest('patients'), metric('digest_slices_total'));
ask($one, scope => 'tables', tables => ['patients']);
ok($one->wait_message('digest_begin'), 'a proof begins');
wait_for('the slices', sub { metric('digest_slices_total') > $computed });
is($one->wait_message(['digest', 'database_change'], 1), undef, 'its digest waits');
$clinic->cluster->let_reader_go;
is($one->wait_message(['digest', 'database_change'])->{type}, 'database_change', 'for the frames up to its batch');
$digest = $one->wait_message('digest');
is(text($digest->{slices}[0]), $ahead, 'and is that of the state after them');

# ---- a large table, by slices --------------------------------------------------------

$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription")
	SELECT 'U', repeat('x', 20) FROM generate_series(1, 34000)));
$clinic->cut_batch;
count_rows();
my (%ranges, %rows, $rounds);
until ($ranges{user_activity_log} && !$ranges{user_activity_log}[-1]{upto}) {
	last if ++$rounds > 40;
	ask($one);
	($begin, $digest) = answer($one);
	next if $digest->{failed};
	my @slices = @{$begin->{slices}};
	my $in_round = sum map { $_->{rows} } @{$digest->{slices}};
	cmp_ok($in_round, '<=', 10_200, 'a round is about 10,000 rows') if @slices;
	for my $i (grep { $slices[$_]{table} eq 'user_activity_log' } 0 .. $#slices) {
		next if !$ranges{user_activity_log} && $slices[$i]{after};	# from its beginning on
		push @{$ranges{user_activity_log}}, $slices[$i];
		push @{$rows{user_activity_log}}, $digest->{slices}[$i]{rows};
	}
}
my @r = @{$ranges{user_activity_log}};
is_deeply([map { $_->{after} } @r[1 .. $#r]], [map { $_->{upto} } @r[0 .. $#r - 1]], 'the slices join');
is(scalar @r, 4, 'and are four');
is(sum(@{$rows{user_activity_log}}), $count{user_activity_log}, 'with all rows');
is($digest->{counts}{patients} // $count{patients}, $count{patients}, 'what is not proved whole is counted');

ask($one, scope => 'tables', tables => ['user_activity_log', 'patients']);
my (%whole, %proved);
do {
	($begin, $digest) = answer($one);
	$proved{$begin->{slices}[$_]{table}} += $digest->{slices}[$_]{rows} for 0 .. $#{$begin->{slices}};
} until $digest->{last};
is_deeply(\%proved, {map { $_ => $count{$_} } qw(user_activity_log patients)}, 'a whole proof sees every row');

# ---- one device or five hundred --------------------------------------------------------

$dbh->do('TRUNCATE user_activity_log');
$clinic->cut_batch;
count_rows();

# [rounds of the database, seconds, answers] of five rounds of all devices
sub five_rounds {
	my @devices = @_;
	my ($before, $since, $answers, %ids) = (metric('digest_rounds_total'), now(), 0);
	for (1 .. 5) {
		ask($_) for @devices;
		for my $device (@devices) {
			my ($b, $d) = answer($device);
			$answers++ if $d && !$d->{failed};
			$ids{$d->{id}}++;
		}
	}
	return (metric('digest_rounds_total') - $before, now() - $since, $answers, scalar keys %ids);
}
$one->wait_message('heartbeat', 3);
my ($alone, $seconds, $answers) = five_rounds($one);
is($answers, 5, 'one device has five answers');
cmp_ok($alone, '<=', $seconds + 2, "by $alone jobs");
my $cursor = $clinic->cursor;
my @crowd = map { ClinicTest::Raw->live($clinic, "crowd-$_", cursor => $cursor) } 1 .. 500;
my ($many, $longer, $more, $ids) = five_rounds(@crowd);
is($more, 2500, '500 devices have five answers each');
cmp_ok($many, '<=', $longer + 2, "by $many jobs in $longer s, no more than one a second");
is($many, $ids, 'each of which answered all who had asked');
$_->close for @crowd;

# ---- what the server's people see --------------------------------------------------------

ask($one, proven => JSON::PP::true, repairs => 2, parked => 3);
answer($one);
ask($one, proven => JSON::PP::true, repairs => 4, parked => 3);
answer($one);
my $row;
wait_for('the report', sub {
	$row = $dbh->selectrow_hashref(q(SELECT rows, repairs, parked,
		proven_at > now() - interval '1 minute' AS lately FROM clinic_sync.devices WHERE id = 'one'));
	return $row && ($row->{repairs} // 0) == 4;
});
is_deeply($row, {rows => sum(values %count), repairs => 4, parked => 3, lately => 1}, 'the view devices shows it');
is(metric('repairs_total'), 4, 'what was repaired between two proofs is counted');
is(metric('rows_parked'), 3, 'and what is parked');
like($relay->process->output, qr/device "one" held tables that differed and fetched them again: 2/, 'the log says it');
ok(metric('digest_slices_total') > 100 && metric('digest_asks_total') > 2500, 'slices and requests are counted');

# ---- what goes wrong ------------------------------------------------------------------------

my $locker = $clinic->cluster->connect;
$locker->begin_work;
$locker->do('LOCK TABLE patients IN ACCESS EXCLUSIVE MODE');
ask($one, scope => 'tables', tables => ['patients']);
ok($one->wait_message('digest_begin'), 'a proof begins that cannot end');
my $job;
wait_for('the job to come to the table', sub {
	($job) = $dbh->selectrow_array(q(SELECT pid FROM pg_stat_activity
		WHERE application_name LIKE '%/proof' AND query ~ 'hold_tables|^ROLLBACK'));
});
$dbh->do('SELECT pg_terminate_backend(?)', undef, $job);
$digest = $one->wait_message('digest');
ok($digest->{failed} && $digest->{last}, 'it failed, and says so');
$locker->rollback;
ask($one, scope => 'tables', tables => ['patients']);
is(text((answer($one))[1]{slices}[0]), $clinic->server_digest('patients'), 'the next one works');

my $gone = ClinicTest::Raw->live($clinic, 'gone');
$locker->begin_work;
$locker->do('LOCK TABLE patients IN ACCESS EXCLUSIVE MODE');
ask($gone, scope => 'tables', tables => ['patients']);
ok($gone->wait_message('digest_begin'), 'a device leaves in the middle');
$gone->close;
$locker->rollback;
ask($one, scope => 'tables', tables => ['patients']);
ok((answer($one))[1]{slices}, 'nobody else minds');

my $loud = ClinicTest::Raw->live($clinic, 'loud');
for (1 .. 210) { ask($loud) or last }
is($loud->wait_close, 4400, 'who asks too often is refused');
ask($one, scope => 'tables', tables => ['payments']);
ok((answer($one))[1]{last}, 'and nobody else');

# ---- nobody but the server knows how large a table is ------------------------------------------

$dbh->do('CREATE TABLE large (id int PRIMARY KEY, t text)');
$dbh->do('INSERT INTO large SELECT n, md5(n::text) FROM generate_series(1, 30000) n');
$dbh->do("SELECT clinic_sync.publish('large')");
$clinic->cut_batch;
sub largest_slice {
	my ($name) = @_;
	my $raw = ClinicTest::Raw->live($clinic, $name);
	my %slices;
	for (1 .. 20) {
		ask($raw, counts => {map { $_ => 0 } @TABLES, 'large'}, skip => {users => [$name]});
		($begin, $digest) = answer($raw);
		next if $digest->{failed};
		push @{$slices{$begin->{slices}[$_]{table}}}, $digest->{slices}[$_]{rows} for 0 .. $#{$begin->{slices}};
		last if @{$slices{large} // []} >= 3;
	}
	return max(@{$slices{large}});
}
is(largest_slice('lastName'), 10_000, 'a device that says it holds nothing has a large table cut, also one never analyzed');
$dbh->do('ANALYZE large');
$dbh->do("SELECT clinic_sync.unpublish('large')");
$dbh->do("SELECT clinic_sync.publish('large')");
$clinic->cut_batch;
is(largest_slice('firstName'), 10_000, 'or analyzed');

# The list of tables does not wait for who holds one of them.
$dbh->do("SELECT clinic_sync.unpublish('large')");
$clinic->cut_batch;
$locker->begin_work;
$locker->do('LOCK TABLE patients IN ACCESS EXCLUSIVE MODE');
my $since = now();
my $named = ClinicTest::Raw->live($clinic, 'named', tables => ['payments']);
cmp_ok(now() - $since, '<', 5, 'a device that names its tables is let in while another table is locked');
$locker->rollback;
done_testing();
