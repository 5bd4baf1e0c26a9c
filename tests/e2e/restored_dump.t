#!/usr/bin/perl
#
# pg_dump into a new database that takes the old one's place: publications
# come along, the log and its batches do not. No cursor of before is good.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);
use ClinicTest::Crash qw(write_numbers);

my $clinic = ClinicTest->new(patients => 5);
my $relay = $clinic->relay;
my $device = $clinic->device('a');
write_numbers($clinic->dbh, 'before', 5);
$clinic->caches_equal('first sync');
my $cursor = $device->cursor;
my $published = $clinic->dbh->selectrow_array('SELECT count(*) FROM clinic_sync.publication');

my $dump = "$clinic->{dir}/clinic.dump";
{
	local %ENV = (%ENV, %{$clinic->cluster->environment});
	system("pg_dump -Fc -f '$dump' clinic") == 0 or die "pg_dump failed\n";
	write_numbers($clinic->dbh, 'lost', 5);
	$clinic->wait_level;
	$relay->stop;
	$clinic->dbh->disconnect;
	system("dropdb clinic && createdb -T template0 clinic && pg_restore --exit-on-error -d clinic '$dump'") == 0
		or die "pg_restore failed\n";
}
my $dbh = $clinic->dbh;
is($dbh->selectrow_array('SELECT count(*) FROM clinic_sync.publication'), $published, 'publications were restored');
is(join(' ', @{$dbh->selectcol_arrayref(q(SELECT clinic_sync.why_not_captured('payments')))}), '',
	'and their tables are captured');
$relay->start;
wait_for('the device to start afresh', sub {
	2 == grep { $_->{type} eq 'full_sync_completed' } $device->events
}, 60);
is($dbh->selectrow_array('SELECT clinic_sync.check_cursor(?)', undef, $cursor), 'history_lost',
	'the cursor of before is refused');
$clinic->caches_equal('the device is equal to the restored server');
write_numbers($dbh, 'after', 3);
$clinic->caches_equal('and follows it');
done_testing();
