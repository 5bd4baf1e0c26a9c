#!/usr/bin/perl
#
# Doorbells. With a poll of a minute, whatever arrives sooner was rung for: also
# a change that was committed while the relay's LISTEN connection was dead. A
# bell that names a batch is answered by reading, not by cutting. And without any
# doorbell (notify = off) the poll alone brings everything, whoever rings.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for);
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 5);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
$dbh->do("ALTER DATABASE clinic SET track_functions = 'all'");
my $relay = $clinic->relay(option => {poll_interval_ms => 60_000})->wait_ready;
my $device = $clinic->device('a');
wait_for('first sync', sub { $device->value('SELECT count(*) FROM payments') });

# The committed row is in the cache soon; nobody but the relay cuts batches here.
my $number = 0;

sub arrives {
	my ($name, $seconds) = @_;
	my $ok = eval { wait_for('the row', sub {
		$device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$number'")
	}, $seconds); 1 };
	return ok($ok, $name);
}

sub pay { my ($with) = @_; $with->do(insert_sql('payments', ++$number)); return }

sub listener {
	my ($pid) = $dbh->selectrow_array(q(SELECT pid FROM pg_stat_activity WHERE usename = 'clinic_relay'
		AND query ~ '^(LISTEN|NOTIFY) '));
	return $pid;
}

pay($dbh);
arrives('a doorbell brings a commit at once', 5);

for my $round (1 .. 3) {
	my $pid = wait_for('the LISTEN connection', \&listener);
	$dbh->do('SELECT pg_terminate_backend(?)', undef, $pid);
	pay($dbh);
	arrives("round $round: committed while nobody listened, rung for after the next LISTEN", 15);
}

# (After 25 s a heartbeat that nothing proves any more would make the relay look.)

# A transaction committed from prepared state rings no bell; the next commit does.
$dbh->do('BEGIN');
pay($dbh);
$dbh->do("PREPARE TRANSACTION 'p'");
$dbh->do("COMMIT PREPARED 'p'");
my $prepared = $number;
pay($dbh);
arrives('a commit after COMMIT PREPARED', 5);
is($device->value("SELECT count(*) FROM payments WHERE \"referenceNumber\" = 'PAY-$prepared'"), 1,
	'brings the prepared one along');

# Any role may forge notifications: they cost little and change nothing.
$dbh->do('CREATE ROLE stranger LOGIN');
my $stranger = $clinic->cluster->connect(user => 'stranger');
$stranger->do("NOTIFY clinic_sync, '{\"event\":\"forged $_\"}'") for 1 .. 300;
pay($dbh);
arrives('a commit after 300 forged notifications', 5);

# Nor do bells that tell of a request: no round, and a look at the requests now and then.
sub looks {
	return ($dbh->selectrow_array(q(SELECT coalesce(pg_stat_get_function_calls('clinic_sync.sync_requests(bigint)'::regprocedure), 0))))[0];
}

my ($rounds, $looks, $since) = (metric('rounds_total'), looks(), now());
my $rung = metric('doorbells_total') + 2000;
$stranger->do("NOTIFY clinic_sync, '{\"event\":\"sync_requested\"}'") for 1 .. 2000;
wait_for('all bells', sub { metric('doorbells_total') >= $rung });
# statistics follow once a second
wait_for('what the bells cost', sub { looks() >= $looks + 2 });
my $cost = looks() - $looks;
cmp_ok($cost, '<=', 21 * (now() - $since) + 3, "2000 forged requests: $cost looks, at most one in 50 ms");
cmp_ok(metric('rounds_total'), '<=', $rounds + 1, 'and no round');

# Somebody else cuts the batch and names it. Nobody vouches for it: the relay proves it first.
sub metric {
	my ($name) = @_;
	my ($value) = $relay->get('/metrics')->{content} =~ /^clinic_relay_$name (\d+)$/m;
	return $value;
}

sub bell { my ($batch) = @_; $stranger->do(qq(NOTIFY clinic_sync, '{"event":"e","batch":$batch,"tables":{}}')); return }

$dbh->do('ALTER DATABASE clinic SET clinic_sync.notify = off');
my $silent = $clinic->cluster->connect;
my %before = map { $_ => metric($_) } qw(rounds_total read_rounds_total abandoned_rounds_total);
pay($silent);
my ($batch) = $dbh->selectrow_array('SELECT batch FROM clinic_sync.make_batch()');
bell($batch);
arrives('a bell that names a batch brings it', 5);
is(metric('read_rounds_total'), $before{read_rounds_total} + 1, 'in one round that only read');
is(metric('abandoned_rounds_total'), $before{abandoned_rounds_total} + 1, 'and proved what nobody vouched for');
bell($_) for 1 .. $batch;
my $doorbells = metric('doorbells_total');
bell(1);
wait_for('the last bell', sub { metric('doorbells_total') > $doorbells });
is(metric('rounds_total'), $before{rounds_total} + 1, 'bells for batches that are there already make no round');

# Bells that say "read" must not keep the relay from cutting.
$relay->stop;
$relay->{option} = {poll_interval_ms => 300};
$relay->start->wait_ready;
my $forger = ClinicTest::Process->start('forger', log => "$clinic->{dir}/forger.log", code => sub {
	my $other = $clinic->cluster->connect(user => 'stranger');
	while (1) {
		$other->do(q(NOTIFY clinic_sync, '{"batch":9000000000000000000}'));
		$other->do('SELECT pg_sleep(0.02)');
	}
});
%before = map { $_ => metric($_) } qw(read_rounds_total);
wait_for('many read rounds', sub { metric('read_rounds_total') > $before{read_rounds_total} + 30 });
pay($silent);
arrives('notify = off: the poll brings it, under a storm of bells that only make the relay read', 10);
$forger->stop;
pay($silent);
arrives('and without them', 10);

# What the relay has prepared on its connection does not fit a new version of the extension.
$dbh->do($_) for 'ALTER EXTENSION clinic_sync DROP FUNCTION clinic_sync.feed(text, int)',
	'ALTER FUNCTION clinic_sync.feed(text, int) RENAME TO feed_before', <<'END',
	CREATE FUNCTION clinic_sync.feed(after text, max_rows int)
		RETURNS TABLE (batch bigint, cursor varchar, created_at text, seq bigint, event text, relation text,
			operation text, key text, data text, origin text)
		LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT * FROM clinic_sync.feed_before($1, $2)'
END
	'GRANT EXECUTE ON FUNCTION clinic_sync.feed(text, int) TO clinic_relay';
pay($silent);
arrives('after an upgrade that changed what feed() returns', 10);
unlike($relay->process->output, qr/ (?:warning|error): /, 'which the relay does not even mention');
$clinic->caches_equal('all rows in the end');
done_testing();
