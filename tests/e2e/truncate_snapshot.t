#!/usr/bin/perl
#
# TRUNCATE while a snapshot is being built. TRUNCATE is not MVCC-safe: a reader
# with an older snapshot finds the table empty once it has committed. The file
# must still be the server at exactly its cursor.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use Test::More;
use ClinicTest qw(wait_for slurp @TABLES);

my $clinic = ClinicTest->new(patients => 50);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay->wait_ready;
my @truncated = qw(active_patient_queue user_sessions user_activity_log patient_queue clinic_services);
my %rows = map { ($_ => scalar $dbh->selectrow_array("SELECT count(*) FROM $_")) } @TABLES;

# The builder waits for one table in the middle, with its snapshot taken.
my $blocker = $clinic->cluster->connect;
$blocker->do('BEGIN');
$blocker->do('LOCK TABLE medical_records IN ACCESS EXCLUSIVE MODE');
my $file = "$clinic->{dir}/snapshot.db";
my $download = ClinicTest::Process->start('download', log => "$clinic->{dir}/download.log", code => sub {
	my $answer = $relay->get('/db/download');
	die "$answer->{status}\n" if !$answer->{success};
	open(my $out, '>:raw', $file) or die "$file: $!\n";
	print $out $answer->{content};
	close($out);
});
wait_for('the builder to wait for the table', sub {
	scalar $dbh->selectrow_array(q(SELECT count(*) FROM pg_stat_activity
		WHERE usename = 'clinic_relay' AND wait_event_type = 'Lock'))
});

# A change that only a right snapshot can take, then the truncation of its table.
$dbh->do(q(UPDATE user_activity_log SET details = 'changed'));
$clinic->cut_batch;

# TRUNCATE may wait for tables that the builder has read: then it is not in time.
my $truncate = $clinic->cluster->connect;
$truncate->do("SET lock_timeout = '300ms'");
my @done = grep { my $table = $_; eval { $truncate->do("TRUNCATE $table"); 1 } } @truncated;
note "truncated in time: @done";
my $after = $clinic->cut_batch;
$blocker->do('COMMIT');
is($download->wait_exit(60), 0, 'the snapshot is served') or diag($download->output);

my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1});
my ($cursor) = $db->selectrow_array("SELECT value FROM clinic_sync_meta WHERE key = 'cursor'");
my ($batch) = $cursor =~ /^(\d+)/;
for my $table (@TABLES) {
	my $expected = $batch >= $after && grep({ $_ eq $table } @done) ? 0 : $rows{$table};
	my ($held) = $db->selectrow_array("SELECT count(*) FROM $table");
	is($held, $expected, "$table as it was at batch $batch");
}

# A new device begins with that very file, and must get on from it.
my $device = $clinic->device('a');
$clinic->caches_equal('a device ends up equal to the server');
is(scalar(grep { $_->{type} eq 'full_sync_completed' } $device->events), 1, 'with one snapshot');
unlike($device->process->output, qr/should be in the cache and is not/, 'and no damage on the way');
done_testing();
