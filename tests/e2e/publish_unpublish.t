#!/usr/bin/perl
#
# A table is published, or no longer published, while devices are connected:
# they take a snapshot at or after that batch and hold just what is published.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for @TABLES);

my $clinic = ClinicTest->new(patients => 10);
my $dbh = $clinic->dbh;
$clinic->relay;
my $device = $clinic->device('a');
my $some = $clinic->device('some', words => ['--tables', 'patients,payments']);
$clinic->caches_equal('first sync');

sub tables { my ($d) = @_; return join ' ', map { $_->[0] } @{$d->query('SELECT name FROM clinic_sync_table ORDER BY 1')} }
sub snapshots { my ($d) = @_; return scalar grep { $_->{type} eq 'full_sync_completed' } $d->events }

is(tables($device), join(' ', sort @TABLES), 'a device holds all tables');
is(tables($some), 'patients payments', 'or those it asked for');

$dbh->do('CREATE TABLE room (id integer PRIMARY KEY, name text)');
$dbh->do("INSERT INTO room SELECT i, 'room ' || i FROM generate_series(1, 7) i");
$dbh->do("SELECT clinic_sync.publish('room')");
$dbh->do("INSERT INTO room VALUES (8, 'new')");
wait_for('the table to arrive', sub { tables($device) =~ /room/ });
$clinic->caches_equal('a table with rows is published: they all arrive');
is($device->value('SELECT count(*) FROM room'), 8, 'with those of before');
is(tables($some), 'patients payments', 'a device that did not ask for it does not get it');
is(snapshots($some), 1, 'nor a snapshot');

$dbh->do("SELECT clinic_sync.unpublish('room')");
wait_for('the table to go', sub { tables($device) !~ /room/ });
$dbh->do("INSERT INTO room VALUES (9, 'unseen')");
$clinic->caches_equal('unpublished: the devices follow the rest');
is($device->value("SELECT count(*) FROM sqlite_master WHERE name = 'room'"), 0, 'and have let go of it');

$dbh->do(q(SELECT clinic_sync.publish('room', exclude_columns => '{name}')));
wait_for('the table to come again', sub { tables($device) =~ /room/ });
$clinic->caches_equal('published again without a column');
is(join(' ', map { $_->[0] } @{$device->query(q(SELECT name FROM pragma_table_info('room')))}), 'id',
	'which the caches do not have');

$dbh->do("SELECT clinic_sync.unpublish('payments')");
my $code = $some->process->wait_exit(30);
is($code, 5, 'a device whose own table is gone is refused (exit 5)');
done_testing();
