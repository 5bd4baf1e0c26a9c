#!/usr/bin/perl
#
# The DBA changes published tables while devices are connected. A new nullable
# column just arrives; whatever changes content takes a snapshot; what capture
# could not see is noticed and repaired.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);

my $clinic = ClinicTest->new(patients => 10);
my $dbh = $clinic->dbh;
$dbh->do('CREATE TABLE room (id integer PRIMARY KEY, name text, beds integer)');
$dbh->do("INSERT INTO room SELECT i, 'room ' || i, i FROM generate_series(1, 7) i");
$dbh->do("SELECT clinic_sync.publish('room')");
$clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

sub snapshots { return scalar grep { $_->{type} eq 'full_sync_completed' } $device->events }
sub columns { return join ' ', map { $_->[0] } @{$device->query(q(SELECT name FROM pragma_table_info('room')))} }

# statement, does it take a snapshot, columns afterwards
my @STEPS = (
	['ALTER TABLE room ADD COLUMN floor text', 0, 'id name beds floor'],
	["UPDATE room SET floor = 'ground' WHERE id < 4", 0, 'id name beds floor'],
	["ALTER TABLE room ADD COLUMN wing text DEFAULT 'north'", 1, 'id name beds floor wing'],
	['ALTER TABLE room ALTER beds TYPE text USING beds::text', 1, 'id name beds floor wing'],
	['ALTER TABLE room RENAME COLUMN wing TO tract', 1, 'id name beds floor tract'],
	['ALTER TABLE room DROP COLUMN floor', 1, 'id name beds tract'],
	['ALTER TABLE room ALTER name SET NOT NULL', undef, 'id name beds tract'],
	['CREATE INDEX room_name ON room (name)', undef, 'id name beds tract'],
	["BEGIN; ALTER TABLE room ADD COLUMN a text; INSERT INTO room VALUES (20, 'x', 'y', 'z', 'a');"
		. "UPDATE room SET a = 'b'; COMMIT", 0, 'id name beds tract a'],
	["BEGIN; ALTER TABLE room ADD COLUMN b text; UPDATE room SET b = 'b'; ROLLBACK", 0, 'id name beds tract a'],
);
for my $step (@STEPS) {
	my ($sql, $resync, $columns) = @$step;
	my $before = snapshots();
	$dbh->do($sql);
	$dbh->do('INSERT INTO room (id, name) SELECT max(id) + 1, $$after$$ FROM room');
	wait_for('a snapshot', sub { snapshots() > $before }) if $resync;
	$clinic->caches_equal($sql);
	is(columns(), $columns, 'columns');
	is(snapshots(), $before, 'without a snapshot') if defined $resync && !$resync;
}

# What no trigger sees.
my $before = snapshots();
$dbh->do('ALTER TABLE room DISABLE TRIGGER ALL');
$dbh->do("UPDATE room SET name = 'unseen'");
wait_for('the repair', sub { snapshots() > $before }, 30);
$clinic->caches_equal('DISABLE TRIGGER ALL and writes: noticed, repaired, resynced');
$before = snapshots();
$dbh->do('ALTER TABLE room ENABLE TRIGGER ALL');
$dbh->do("SET session_replication_role = replica; UPDATE room SET name = 'as replica'; RESET session_replication_role");
$clinic->caches_equal('ENABLE TRIGGER ALL, then writes as replica');

$dbh->do('ALTER TABLE room RENAME TO chamber');
wait_for('the new name', sub { $device->value("SELECT count(*) FROM clinic_sync_table WHERE name = 'chamber'") });
$dbh->do("UPDATE chamber SET name = 'renamed'");
$clinic->caches_equal('a renamed table');
$dbh->do('DROP TABLE chamber');
wait_for('the table to go', sub { !$device->value("SELECT count(*) FROM clinic_sync_table WHERE name = 'chamber'") });
$clinic->caches_equal('a dropped table');
done_testing();
