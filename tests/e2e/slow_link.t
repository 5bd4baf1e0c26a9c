#!/usr/bin/perl
#
# A slow link that carries a large batch is not a dead one: bytes that move are
# life, even if pings and their answers wait behind megabytes. A device that was
# dropped for it would begin the batch again, and never finish.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for);

my $clinic = ClinicTest->new(patients => 5);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {ping_interval_s => 2, dead_after_s => 5});
my $link = $clinic->proxy('link', "127.0.0.1:$relay->{port}");
my $device = $clinic->device('a', url => 'ws://127.0.0.1:' . $link->port . '/ws');
$clinic->caches_equal('first sync');

# A piece is 64 kB: about 200 kB a second, so some ten megabytes take most of a minute.
$link->tell('delay 300');
my $began = now();
$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details, "timestamp")
	SELECT 'admin', 'bulk', repeat('x', 200), '2026-11-23' FROM generate_series(1, 18000)));
my $batch = $clinic->cut_batch;
my $arrived = eval { $device->wait_batch($batch, 150); 1 };
ok($arrived, 'the batch arrives') or diag($@);
note sprintf 'after %.0f s', now() - $began;
is(scalar(grep { $_->{type} eq 'disconnected' } $device->events), 0, 'over one connection');
cmp_ok(now() - $began, '>', 10, 'which took longer than a dead link is waited for');
$link->tell('resume');
$clinic->caches_equal('equal in the end');

# And one that really is silent is given up by both sides.
$link->tell('blackhole');
wait_for('the relay to drop the device', sub { $relay->process->output =~ /silent/ }, 30);
$link->tell('cut');
$link->tell('resume');
$dbh->do(q(DELETE FROM user_activity_log WHERE "actionDescription" = 'bulk'));
$clinic->caches_equal('after a dead link the device comes back');
done_testing();
