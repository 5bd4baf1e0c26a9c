#!/usr/bin/env perl
# /db/changes/<cursor>: a client that only asks now and then, without SQLite and without a
# WebSocket, has every change once, in order, from memory or from the log, and is told
# when it has to begin anew.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for @TABLES);
use ClinicTest::Raw;
use ClinicTest::WireRows;

my $mega = 1024 * 1024;
my $clinic = ClinicTest->new(patients => 300, conf => "clinic_sync.log_segment_bytes = 64kB\n");
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {snapshot_max_age_s => 0, max_frame_bytes => '16kB',
	ring_warm_changes => 0})->wait_ready;
my $code = 'Bearer correct-horse-battery-staple';

sub changes { my ($cursor) = @_; return $relay->get("/db/changes/$cursor") }
sub metric { my ($name) = @_; return $relay->get('/metrics')->{content} =~ /^clinic_relay_$name (\d+)$/m ? $1 : undef }

# Everything committed is in a batch that the relay has seen; its cursor.
sub level {
	$clinic->cut_batch;
	my ($cursor) = $dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
	wait_for('the relay to be level', sub { my $s = $relay->status; $s && ($s->{cursor} // '') eq $cursor });
	return $cursor;
}

# The client: a download, then answer after answer while there is more.
my ($rows, $cursor, $answers, $largest);

sub begin {
	my $download = decode_json($relay->get('/db/download', Accept => 'application/json')->{content});
	$cursor = $download->{cursor};
	$rows = ClinicTest::WireRows->new($download);
	return;
}

sub follow {
	($answers, $largest) = (0, 0);
	while (1) {
		my $answer = changes($cursor);
		$answer->{status} == 200 or return $answer;
		my $json = decode_json($answer->{content});
		die "an answer from $json->{from} for $cursor\n" if $json->{from} ne $cursor;
		$rows->apply($json->{changes});
		$answers++;
		$largest = length $answer->{content} if length $answer->{content} > $largest;
		$cursor = $json->{to};
		return $answer if !$json->{more};
	}
}

sub equal_server {
	my ($name) = @_;
	my @differing = grep { $rows->digest($_) ne $clinic->server_digest($_) } @TABLES;
	return is("@differing", '', $name);
}

# ---- asked wrongly ------------------------------------------------------------------------------------

is($relay->get("/db/changes$_")->{status}, 400, "/db/changes$_: 400") for '', '/', '/null', '/12', '/0-0123456789abcdef', '/x-0123456789abcdef';
begin();
is($relay->get("/db/changes/$cursor?tables=patients")->{status}, 400, 'there is no choice of tables');
my $head = ClinicTest::Raw->connect(port => $relay->{port})->request("HEAD /db/changes/$cursor", {Authorization => $code}, head => 1);
is("$head->{status} $head->{header}{'content-type'}", '200 application/json', 'HEAD');

# ---- from memory ---------------------------------------------------------------------------------------

level();
my $json = decode_json(follow()->{content});
is_deeply([$json->{from}, $json->{changes}, $json->{more}], [$json->{to}, [], JSON::PP::false], 'nothing new');
is(join(' ', sort keys %$json), 'changes from more to', 'the keys of an answer');
$dbh->do(q(UPDATE patients SET "contactNumber" = '0917' WHERE id = 'JG-0003'));
$dbh->do(q(INSERT INTO payments ("patientId", "referenceNumber", "paymentDate", "amountPaid", "paymentMethod", "receivedByUserId")
	VALUES ('JG-0001', 'PAY-new', '2026-11-23 08:00:01', 150, 'Cash', 'x')));
my $level = level();
my $read = metric('catch_up_changes_total');
$json = decode_json(changes($cursor)->{content});
is(scalar @{$json->{changes}}, 2, 'two changes');
is_deeply($json->{changes}[0], {event => 'patient_data_change_immediate', table => 'patients', operation => 'update',
	key => {id => 'JG-0003'}, data => {contactNumber => '0917'}, origin => undef}, 'as a frame has them');
is($json->{to}, $level, 'up to the last batch');
is($json->{changes}[1]{data}{amountPaid}, '150.00', 'canonical values');
follow();
equal_server('the rows are the server\'s');
is(metric('catch_up_changes_total'), $read, 'from memory: the log was not read');

# A cursor inside a frame of several batches, and every place of the ring.
my @places = ($cursor);
for my $n (1 .. 40) {
	$dbh->do(q(UPDATE users SET "contactNumber" = ? WHERE id = 'user-1735000000001'), undef, "n$n");
	$clinic->cut_batch;
	push @places, $dbh->selectrow_array('SELECT clinic_sync.current_cursor()') if $n % 3 == 0;
}
level();
my %seen = map { my $a = decode_json(changes($_)->{content}); (scalar @{$a->{changes}} => 1) } @places;
is_deeply([sort { $a <=> $b } keys %seen], [sort { $a <=> $b } map { 40 - 3 * $_ } 0 .. 13],
	'each batch end is a place to go on from');
follow();

# Many small batches are more than one answer; each is bounded and ends at a batch's end.
for my $n (1 .. 40) {
	$dbh->do(q(UPDATE patients SET address = repeat('a', 300) || ? WHERE id <= 'JG-0100'), undef, $n);
	$clinic->cut_batch if $n % 2;
}
level();
follow();
cmp_ok($answers, '>', 1, 'more than fits into one answer');
cmp_ok($largest, '<', 1.5 * $mega, 'answers are bounded');
equal_server('all of them together are right');

# ---- a giant batch ---------------------------------------------------------------------------------------

$dbh->do(q(UPDATE patients SET address = repeat('b', 4000)));
level();
follow();
cmp_ok($largest, '>', 1_200_000, 'a batch larger than an answer comes whole');
equal_server('and is right');
my $before = $cursor;
$dbh->do(q(UPDATE patients SET address = repeat('c', 50000)));
level();
my $slow = ClinicTest::Raw->connect(port => $relay->{port}, receive_buffer => 65536);
$slow->send_bytes("GET /db/changes/$before HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n");
$slow->read_until(sub { $slow->{in} =~ /\r\n\r\n/ });
cmp_ok(metric('changes_bytes'), '>', 10_000_000, 'what a slow reader holds is counted');
$dbh->do(q(UPDATE patients SET address = 'short'));
level();
$slow->read_until(sub { $slow->{ended} }, 60);
is(scalar(() = $slow->{in} =~ /"operation":"update"/g), 300, 'and it has the whole of a far larger one');
like(substr($slow->{in}, -20), qr/\]\}\n\z/, 'to the last brace');
is(metric('changes_bytes'), 0, 'then nothing is held');
begin();

# ---- from the log ------------------------------------------------------------------------------------------

$before = $cursor;
my $copy = ClinicTest::WireRows->new;
$copy->{rows} = decode_json(encode_json($rows->{rows}));
for my $n (1 .. 30) {
	$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription") SELECT 'x', repeat('d', 500) FROM generate_series(1, 100)));
	$dbh->do(q(DELETE FROM user_activity_log WHERE id IN (SELECT id FROM user_activity_log ORDER BY id LIMIT 10)));
	$clinic->cut_batch;
}
$dbh->do(q(UPDATE patients SET "medicalHistory" = repeat('m', 1000)));
level();
$relay->stop;
$relay->start->wait_ready;
level();
follow();
cmp_ok(metric('catch_up_changes_total'), '>=', 3600, 'from the log');
cmp_ok($answers, '>', 1, 'more than one answer of it');
equal_server('the log\'s changes are right');
my $from_log = $cursor;
($rows, $cursor) = ($copy, $before);
follow();
is($cursor, $from_log, 'again, from the same place');
equal_server('with the same end');
is(metric('changes_bytes'), 0, 'nothing is left in memory or on disk');

# ---- no way on ---------------------------------------------------------------------------------------------

sub gone {
	my ($at) = @_;
	my $answer = changes($at);
	my $json = eval { decode_json($answer->{content}) } // {};
	return join ' ', $answer->{status}, map { $_ // 'null' } $json->{reason}, $json->{at} ? 'at' : 'null',
		$json->{tables} ? "@{$json->{tables}}" : 'all';
}
is(gone($cursor =~ s/-.*/-0000000000000000/r), '410 history_lost at all', 'a cursor of another history: 410');
is(gone('999999999-0123456789abcdef'), '410 history_lost at all', 'a cursor of the future: 410');
$before = $cursor;
$dbh->do(q(UPDATE patients SET address = 'x' WHERE id = 'JG-0001'));
$clinic->cut_batch;
$dbh->do('ALTER TABLE payments ALTER COLUMN notes TYPE varchar(5000)');
$dbh->do(q(UPDATE patients SET address = 'y' WHERE id = 'JG-0001'));
level();
my $first = decode_json(changes($before)->{content});
is_deeply([map { $_->{data}{address} } @{$first->{changes}}], ['x'], 'up to the batch that rewrote a table');
ok($first->{more}, 'and there is more');
is(gone($first->{to}), '410 table_changed at payments', 'which cannot be told as changes: 410, with the table');
begin();
my $old = $cursor;
wait_for('the log to be pruned', sub {
	$dbh->do(q(UPDATE patients SET "contactNumber" = COALESCE("contactNumber", '') || '1'));
	$clinic->cut_batch;
	eval { $dbh->do("SELECT * FROM clinic_sync.prune('0 seconds', 1)") };
	my ($said) = $dbh->selectrow_array('SELECT clinic_sync.check_cursor(?)', undef, $old);
	return $said eq 'too_old';
});
$relay->stop;
$relay->start->wait_ready;
level();
is(gone($old), '410 too_old at all', 'a cursor that was pruned: 410');
begin();
follow();
equal_server('a new beginning is right');

# ---- no database -----------------------------------------------------------------------------------------------

$clinic->cluster->stop;
wait_for('the relay to know', sub { changes($cursor)->{status} == 503 });
cmp_ok(changes($cursor)->{headers}{'retry-after'}, '>', 0, 'no database: 503, and when to ask again');
$clinic->cluster->start;
wait_for('the relay to be back', sub { changes($cursor)->{status} == 200 }, 30);
follow();
equal_server('and on it goes');

# ---- the relay goes down while somebody waits for the log ------------------------------------------------------

my $past = $cursor;
$dbh = $clinic->dbh;
$dbh->do(q(UPDATE patients SET address = 'z'));
level();
$relay->stop;
$relay->start->wait_ready;
level();
my $lock = $clinic->cluster->connect;
$lock->do('BEGIN');
$lock->do(qq(LOCK TABLE $_ IN ACCESS EXCLUSIVE MODE)) for @{$lock->selectcol_arrayref(
	q(SELECT oid::regclass FROM pg_class WHERE relnamespace = 'clinic_sync'::regnamespace AND relkind IN ('r', 'p')))};
my $waiting = ClinicTest::Raw->connect(port => $relay->{port});
$waiting->send_bytes("GET /db/changes/$past HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n");
wait_for('a reader of the log', sub { metric('catch_ups') });
$relay->process->signal('TERM');
$waiting->read_until(sub { $waiting->{in} =~ /\r\n\r\n/ });
like($waiting->{in}, qr{\AHTTP/1\.1 503}, 'who waits for the log when the relay goes down is told to come later');
is($relay->process->wait_exit, 0, 'and the relay ends well');
$lock->do('ROLLBACK');
done_testing;
