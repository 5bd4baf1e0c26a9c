#!/usr/bin/env perl
# docs/protocol.schema.json against docs/protocol.md and every message of a real run.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Raw;

my $root = ClinicTest::root();
my $clinic = ClinicTest->new(patients => 20);
my $record = "$clinic->{dir}/record";
my $code_file = $clinic->{code_file};
my $program = ClinicTest::build() . '/bin/clinic-cache';

my $relay = $clinic->relay(option => {max_frame_bytes => 16384, ping_interval_s => 5});
my $recorder = ClinicTest::Process->start('recorder', log => "$clinic->{dir}/recorder.log", stdin => 1,
	argv => ["$root/tests/e2e/frame_recorder.py", $relay->{port}, $record]);
my $port = $recorder->wait_output(qr/^listening (\d+)/m);
my $device = $clinic->device('a', url => "ws://127.0.0.1:$port/ws");
$clinic->wait_level;

my $dbh = $clinic->dbh;
$dbh->do($_) for
	q(INSERT INTO users (id, username, password) VALUES ('U-new', 'new', 'x')),
	q(UPDATE patients SET "contactNumber" = '0917' WHERE id IN (SELECT id FROM patients LIMIT 3)),
	q(DELETE FROM user_activity_log WHERE id = (SELECT max(id) FROM user_activity_log)),
	q(UPDATE clinic_services SET id = id || '-new' WHERE id = (SELECT max(id) FROM clinic_services)),
	q(TRUNCATE user_activity_log),
	q(ALTER TABLE payments ADD COLUMN "tip" numeric(12,2)),
	# a batch in parts
	q(UPDATE patients SET address = repeat('a', 2000));
$clinic->wait_level;
$dbh->do('ALTER TABLE payments ALTER COLUMN notes TYPE varchar(5000)');	# a resync
$clinic->wait_level;
is(($device->command('verify'))[1], "ok\n", 'the file is right in the end');

# what is asked for beside the feed
my $asking = ClinicTest::Raw->live($clinic, 'asking', port => $port, info => {sync_request => 0});
my %ask = (type => 'request_digest', cursor => $asking->{cursor}, tables => undef,
	counts => {patients => 20}, skip => {patients => ['address']}, proven => JSON::PP::true, repairs => 1, parked => 0);
for my $scope ('slice', 'tables') {
	$asking->say({%ask, scope => $scope});
	ok($asking->wait_message('digest'), "a proof, $scope");
}
$asking->say({type => 'request_table_sync', table => 'patients', id => 1});
1 until $asking->wait_message('table_sync')->{last};
$asking->say({type => 'request_table_sync', table => 'payments'});
1 until $asking->wait_message('table_sync')->{last};
$asking->say({type => 'request_full_sync', tables => undef, min => $asking->{cursor}, id => 2});
ok($asking->wait_message('full_sync_end'), 'a full sync');
$asking->say({type => 'request_full_sync', tables => ['nonsense']});
ok($asking->wait_message('error'), 'one that cannot be');
$dbh->do($_) for q(SELECT clinic_sync.request_sync()), q(SELECT clinic_sync.resync_table('patients'));
ok($asking->wait_message('sync_requested'), 'a request from SQL') for 1, 2;
$asking->close;

my $wrong = "$clinic->{dir}/wrong";
open(my $out, '>', $wrong) or die "$wrong: $!\n";
print $out "wrong\n";
close($out);
system("'$program' watch --url ws://127.0.0.1:$port/ws --access-code-file '$wrong' > /dev/null 2>&1");
wait_for('a heartbeat', sub { slurp($record) =~ /heartbeat/ });
$device->stop;
close($recorder->{stdin});
$recorder->wait_exit;

# its TAP becomes part of ours
my @lines = `'$root/tests/e2e/schema_check.py' '$root/docs/protocol.schema.json' '$root/docs/protocol.md' \\
	'$record' connected ready resync_required database_change heartbeat error client_info request_sync \\
	digest_begin digest table_sync full_sync full_sync_end sync_requested request_digest request_table_sync request_full_sync \\
	insert update delete put truncate schema`;
ok(!$?, 'the checker ran');
for my $line (@lines) {
	if ($line =~ /^(not )?ok \d+ - (.*)/) {
		ok(!$1, $2);
	} elsif ($line =~ /^# (.*)/) {
		diag($1);
	}
}
like(slurp($record), qr/\\"part\\":1/, 'a batch travelled in parts');
done_testing;
