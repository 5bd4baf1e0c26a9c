#!/usr/bin/perl
#
# Insert, update and delete in each of the thirteen tables reach two caches and
# their event streams, each as the event that its table belongs to.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for @TABLES);
use ClinicTest::Rows qw(%EVENT parents_sql insert_sql update_sql delete_sql key_column key_value);

my $clinic = ClinicTest->new(patients => 20);
$clinic->dbh->do(parents_sql());
$clinic->relay;
my @devices = map { $clinic->device($_) } qw(a b);
$clinic->caches_equal('first sync');

# The changes of a table, in order, as one word each.
sub changes_of {
	my ($device, $table) = @_;
	my $key = key_value($table, 1);
	return join ' ', map { "$_->{type}/$_->{operation}" } grep {
		my $row = $_->{key};
		$row = decode_json($row) if defined $row && !ref $row;
		($_->{table} // '') eq $table && $_->{operation} && $row && $row->{key_column($table)} eq $key
	} $device->events;
}

for my $table (@TABLES) {
	my $event = $EVENT{$table};
	my $key = key_column($table);
	my $expected = join ' ', map { "$event/$_" } qw(insert update delete);
	$clinic->dbh->do(insert_sql($table, 1));
	$clinic->wait_level;
	my @held = map { $_->value(qq(SELECT count(*) FROM $table WHERE "$key" = ?), key_value($table, 1)) } @devices;
	is("@held", '1 1', "$table: the new row is in both caches");
	$clinic->dbh->do(update_sql($table, 1, 'changed'));
	$clinic->dbh->do(delete_sql($table, 1));
	$clinic->wait_level;
	for my $device (@devices) {
		my $got = eval { wait_for('events', sub { changes_of($device, $table) =~ /delete/ }, 5) };
		is(changes_of($device, $table), $expected, "$table: events of device $device->{name}");
	}
}
my @refreshes = grep { $_->{type} eq 'ui_refresh_requested' } $devices[0]->events;
ok(@refreshes >= @TABLES, 'each frame asks the screen to refresh');
is_deeply([grep { ref $_->{tables} ne 'ARRAY' || !@{$_->{tables}} } @refreshes], [],
	'and names the tables');
is(scalar(grep { $_->{type} eq 'full_sync_completed' } $devices[0]->events), 1, 'one snapshot, at first');
$clinic->caches_equal('all rows in the end');
done_testing();
