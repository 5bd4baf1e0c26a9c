#!/usr/bin/perl
#
# A cold snapshot of 1,000,000 rows costs the relay no more memory than one of
# 10,000: it is built by another process and streamed from its file.
#
# SNAPSHOT_ROWS makes it smaller.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
BEGIN { $ENV{CLINIC_BUILD} = $ENV{CLINIC_PLAIN_BUILD} if $ENV{CLINIC_PLAIN_BUILD} }
use Test::More;
use ClinicTest;

my $rows = $ENV{SNAPSHOT_ROWS} // 1_000_000;
my $mega = 1024 * 1024;
my $clinic = ClinicTest->new(schema => 0, conf => "max_wal_size = 4GB\n");
my $dbh = $clinic->dbh;

sub make_table {
	my ($name, $count) = @_;
	$dbh->do("CREATE TABLE $name (id integer PRIMARY KEY, name text, note text, seen timestamp)");
	$dbh->do("INSERT INTO $name SELECT i, 'name ' || i, 'a note about number ' || i,
		'2026-11-23'::timestamp + i * interval '1 s' FROM generate_series(1, $count) i");
	$dbh->do('SELECT clinic_sync.publish(?::regclass)', undef, $name);
	return;
}

make_table('few', 10_000);
make_table('many', $rows);
$dbh->do("SELECT clinic_sync.grant_relay('clinic_relay')");

# Peak memory of a fresh relay and of the device whose first sync it served.
sub serve {
	my ($table) = @_;
	my $relay = $clinic->relay(name => "relay-$table");
	my $device = $clinic->device($table, url => $relay->url, no_events => 1,
		words => ['--tables', $table]);
	$clinic->caches_equal("$table: a cold snapshot", $device);
	my @peak = map { $_->process->peak_memory } $relay, $device;
	$_->stop for $device, $relay;
	return @peak;
}

my ($relay_few) = serve('few');
my ($relay_many, $device_many) = serve('many');
diag sprintf 'relay %.1f MB after 10000 rows, %.1f MB after %d; device %.1f MB',
	$relay_few / $mega, $relay_many / $mega, $rows, $device_many / $mega;
cmp_ok($relay_few, '>', 0, 'the relay was measured');
cmp_ok($relay_many - $relay_few, '<', 16 * $mega, 'the relay needs less than 16 MB more');
cmp_ok($device_many, '<', 200 * $mega, 'the device stays under 200 MB');
done_testing();
