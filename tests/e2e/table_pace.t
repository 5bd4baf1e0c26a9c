#!/usr/bin/perl
#
# A table that is sent again leaves room for what happens meanwhile: of its rows
# the relay has no more under way than 256 kB that the device has not read,
# however much the sockets would take. That it has read them, a device says by
# answering pings, as every WebSocket library does.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest;
use ClinicTest::Raw;

my $UNDER_WAY = 256 * 1024;
my $PIECE = 64 * 1024;	# the last one given may go beyond, and a row
my $ROWS = 8000;

# A device whose pongs can be held back.
package Held {
	our @ISA = 'ClinicTest::Raw';

	sub send_bytes {
		my ($self, $bytes) = @_;
		return $self->SUPER::send_bytes($bytes) if ord($bytes) != 0x8a || !$self->{holds};
		push @{$self->{pongs}}, $bytes;
		return 1;
	}

	sub let_go {
		my ($self) = @_;
		$self->{holds} = 0;
		$self->SUPER::send_bytes($_) for splice @{$self->{pongs}};
		return;
	}
}

my $clinic = ClinicTest->new(schema => 0);
my $dbh = $clinic->dbh;
$dbh->do('CREATE TABLE big (id integer PRIMARY KEY, text text NOT NULL)');
$dbh->do('CREATE TABLE live (id integer PRIMARY KEY)');
$dbh->do("INSERT INTO big SELECT n, repeat(n::text || ' ', 200) FROM generate_series(1, $ROWS) n");
$dbh->do("SELECT clinic_sync.publish('$_')") for qw(big live);
my $relay = $clinic->relay->wait_ready;
$clinic->cut_batch;
my ($cursor) = $dbh->selectrow_array('SELECT clinic_sync.current_cursor()');

my $device = Held->open(port => $relay->{port});
$device->wait_message('connected');
$device->client_info('held');
$device->request_sync($cursor);
ok($device->wait_message('ready'), 'a device that follows');
$device->{holds} = 1;
$device->say({type => 'request_table_sync', table => 'big'});

# What has come of the table until a change is there that was made when no more came.
my ($rows, $bytes) = (0, 0);
sub take {
	my ($until) = @_;
	while (my $m = $device->wait_message(['table_sync', 'database_change'], 20)) {
		return $m if $m->{type} eq 'database_change';
		$rows += @{$m->{rows}};
		$bytes += length($_->{text}) for @{$m->{rows}};
		return $m if $m->{last} || $until && $until->();
	}
	return;
}

ok(take(sub { $device->{pongs} && @{$device->{pongs}} }), 'the relay asks whether the rows were read');
for my $change (1 .. 3) {
	$dbh->do('INSERT INTO live VALUES (?)', undef, $change);
	my $m;
	do { $m = take() } until !$m || $m->{type} eq 'database_change';
	ok($m, "change $change comes while it waits for the answer");
}
cmp_ok($bytes, '<', $UNDER_WAY + $PIECE, 'not more than may be under way');
cmp_ok($rows, '<', $ROWS / 2, 'and by far not all');
my $before = $rows;
$device->let_go;
my $last = take();
ok($last && $last->{last}, 'with the answer the rest comes');
is($rows, $ROWS, 'all rows');
cmp_ok($before, '>', 0, 'some of them before');
done_testing();
