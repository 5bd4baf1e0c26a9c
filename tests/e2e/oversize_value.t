#!/usr/bin/perl
#
# A value that no frame can carry never fails the clinical write: the row is
# logged as oversize, the cache knows that it does not hold it, and takes it
# back when it has become small.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
BEGIN { $ENV{CLINIC_BUILD} = $ENV{CLINIC_PLAIN_BUILD} if $ENV{CLINIC_PLAIN_BUILD} }
use Test::More;
use ClinicTest;

my $megabytes = $ENV{OVERSIZE_MB} // 600;
my $clinic = ClinicTest->new(conf => "max_wal_size = 8GB\n");
my $dbh = $clinic->dbh;
$dbh->do('CREATE TABLE scan (id integer PRIMARY KEY, note text, image bytea)');
$dbh->do('ALTER TABLE scan ALTER image SET STORAGE EXTERNAL');
$dbh->do("SELECT clinic_sync.publish('scan')");
$clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');

sub oversize { return $device->value(q(SELECT count(*) FROM clinic_sync_oversize WHERE "table" = 'scan')) }
sub notes { return join ' ', map { $_->[0] } @{$device->query('SELECT note FROM scan ORDER BY id')} }

# Made of pieces below 1 GB of memory: a bytea of that size is legal, its hex text is not.
my $half = $megabytes / 2 * 1024 * 1024;
ok(eval { $dbh->do("INSERT INTO scan SELECT 1, 'large', x || x FROM
	(SELECT decode(repeat('ab', $half), 'hex') AS x) y"); 1 }, "a value of $megabytes MB is written")
	or diag($@);
$dbh->do("INSERT INTO scan VALUES (2, 'small', '\\x00ff')");
$clinic->wait_level;
is(notes(), 'small', 'the cache has the other row');
is(oversize(), 1, 'and knows of the one it does not hold');
ok(eval { $dbh->do("UPDATE scan SET note = 'still large' WHERE id = 1"); 1 }, 'the row can be updated') or diag($@);
$clinic->caches_equal('the digests leave it out on both sides');
$dbh->do("UPDATE scan SET image = '\\x01', note = 'small again' WHERE id = 1");
$clinic->caches_equal('a row that became small is held again');
is(oversize(), 0, 'and no longer marked');
$dbh->do("UPDATE scan SET image = decode(repeat('ab', 70 * 1024 * 1024), 'hex') WHERE id = 1");
$clinic->wait_level;
is(oversize(), 1, 'a row that becomes large leaves the cache');

my $fresh = $clinic->device('b');
$clinic->caches_equal('a snapshot leaves it out too');
is($fresh->value('SELECT count(*) FROM clinic_sync_oversize'), 1, 'and says so');
ok(eval { $dbh->do('DELETE FROM scan WHERE id = 1'); 1 }, 'the row can be deleted') or diag($@);
$clinic->caches_equal('and is gone');
is(oversize(), 0, 'with its mark');
done_testing();
