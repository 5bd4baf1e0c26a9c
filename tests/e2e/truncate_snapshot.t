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
use ClinicTest qw(slurp @TABLES);
use ClinicTest::Gate;

my $clinic = ClinicTest->new(patients => 50);
my $dbh = $clinic->dbh;
my $gate = ClinicTest::Gate->start(cluster => $clinic->cluster, dir => $clinic->{dir}, pattern => qr/hold_tables/);
my $relay = $clinic->relay(dsn => $clinic->cluster->dsn(user => 'clinic_relay', $gate->address))->wait_ready;
my @truncated = qw(active_patient_queue user_sessions user_activity_log patient_queue clinic_services);
my %rows = map { ($_ => scalar $dbh->selectrow_array("SELECT count(*) FROM $_")) } @TABLES;

# The builder is held up with its snapshot taken, before it has any of the tables.
my $file = "$clinic->{dir}/snapshot.db";
my $download = ClinicTest::Process->start('download', log => "$clinic->{dir}/download.log", code => sub {
	my $answer = $relay->get('/db/download');
	die "$answer->{status}\n" if !$answer->{success};
	open(my $out, '>:raw', $file) or die "$file: $!\n";
	print $out $answer->{content};
	close($out);
});
$gate->wait_shut;

# A change that only a right snapshot can take, then the truncation of its table.
$dbh->do(q(UPDATE user_activity_log SET details = 'changed'));
$clinic->cut_batch;

$dbh->do("TRUNCATE $_") for @truncated;
my $after = $clinic->cut_batch;
$gate->open;
is($download->wait_exit(60), 0, 'the snapshot is served') or diag($download->output);

my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1});
my ($cursor) = $db->selectrow_array("SELECT value FROM clinic_sync_meta WHERE key = 'cursor'");
my ($batch) = $cursor =~ /^(\d+)/;
for my $table (@TABLES) {
	my $expected = $batch >= $after && grep({ $_ eq $table } @truncated) ? 0 : $rows{$table};
	my ($held) = $db->selectrow_array("SELECT count(*) FROM $table");
	is($held, $expected, "$table as it was at batch $batch");
}

# A new device begins with that very file, and must get on from it.
my $device = $clinic->device('a');
$clinic->caches_equal('a device ends up equal to the server');
is(scalar(grep { $_->{type} eq 'full_sync_completed' } $device->events), 1, 'with one snapshot');
unlike($device->process->output, qr/should be in the cache and is not/, 'and no damage on the way');
done_testing();
