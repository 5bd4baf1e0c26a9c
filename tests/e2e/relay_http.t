#!/usr/bin/perl
#
# HTTP of the relay: who may ask what, whole files and parts of them, readers
# that are slow, jobs that die, descriptors that run out, and upgrades that are
# none.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for slurp @TABLES);
use ClinicTest::Raw;

my $clinic = ClinicTest->new(patients => 1000, conf => "clinic_sync.log_segment_bytes = 64kB\n");
my $relay = $clinic->relay(option => {snapshot_max_age_s => 0})->wait_ready;
my $port = $relay->{port};
my $code = 'Bearer correct-horse-battery-staple';

# One request on a connection of its own.
sub ask {
	my ($line, $header, %option) = @_;
	my $raw = ClinicTest::Raw->connect(port => $port) or return;
	return $raw->request($line, $header, %option);
}

sub download { return ask("GET /db/download$_[0]", {Authorization => $code, %{$_[1] // {}}}) }

# ---- paths, methods, rights ------------------------------------------------------

for my $path (qw(/db/download /db/digest)) {
	my $answer = ask("GET $path");
	is($answer->{status}, 401, "$path without a code: 401");
	is($answer->{header}{'www-authenticate'}, 'Bearer', 'and how to do it');
	is(ask("GET $path", {Authorization => 'Bearer wrong'})->{status}, 401, 'with a wrong one: 401');
}
is(ask("GET $_")->{status}, 200, "$_ needs none") for qw(/status /healthz /readyz /metrics);
is(ask('GET /db/download?access_code=correct-horse-battery-staple')->{status}, 400, 'a code in the URL: 400');
is(ask("GET $_", {Authorization => $code})->{status}, 404, "$_: 404")
	for '/', '/nothing', '/db/download/x';
is(ask("GET $_")->{status}, 401, "$_: 401") for '/..%2fdb/download', '/x/../db/download', '//db/download';
is(download('?tables=nonsense')->{status}, 404, 'an unknown table: 404');
is(download('?min=x')->{status}, 400, 'min that is no cursor: 400');
for my $method (qw(POST PUT DELETE OPTIONS PATCH)) {
	my $answer = ask("$method /status", {'Content-Length' => 3}, body => 'abc');
	is($answer && $answer->{status}, 405, "$method: 405");
	is($answer && $answer->{header}{allow}, 'GET, HEAD', 'and what is allowed');
}
my $keep = ClinicTest::Raw->connect(port => $port);
my $head = $keep->request('HEAD /status', undef, head => 1);
is($head->{status}, 200, 'HEAD');
cmp_ok($head->{header}{'content-length'}, '>', 100, 'tells the length');
is($keep->request('GET /healthz')->{body}, "ok\n", 'and no body: the connection goes on');
my $status = decode_json($keep->request('GET /status')->{body});
is_deeply([grep { !exists $status->{$_} } qw(status version activeConnections lastSyncTime cursor database)],
	[], '/status tells what it must');
my @metrics = $keep->request('GET /metrics')->{body} =~ /^clinic_relay_(\w+) \d+$/mg;
my $page = slurp(ClinicTest::root() . '/docs/clinic-relay.conf.5.md');
my @listed = $page =~ /^\| `(\w+)` \|/mg;
is(join(' ', @metrics), join(' ', @listed), '/metrics has exactly what the manual page lists');

# ---- the upgrade ---------------------------------------------------------------

my $upgrade = sub { return ClinicTest::Raw->connect(port => $port)->upgrade(@_) };
is($upgrade->(), 101, 'an upgrade');
is($upgrade->(Upgrade => 'WebSocket'), 101, 'in any case of letters');
is($upgrade->('Sec-WebSocket-Version' => 8), 426, 'another version: 426');
is($upgrade->('Sec-WebSocket-Protocol' => undef), 400, 'no subprotocol: 400');
is($upgrade->(Origin => 'http://evil.example'), 403, 'a page of another origin: 403');
isnt($upgrade->(Upgrade => $_), 101, "Upgrade: $_ is none") for qw(h2c foo websocketx), 'x' x 300;
is(ask('GET /healthz')->{status}, 200, 'the relay is well');

# ---- the file ------------------------------------------------------------------

my $whole = download('');
is($whole->{status}, 200, 'a snapshot');
is(length $whole->{body}, $whole->{header}{'content-length'}, 'of the length that was told');
like($whole->{body}, qr/\ASQLite format 3\0/, 'a SQLite file');
like($whole->{header}{etag}, qr/\A"[^"]+"\z/, 'with a strong ETag');
like($whole->{header}{'x-clinic-cursor'}, qr/\A\d+-[0-9a-f]{16}\z/, 'and its cursor');
my ($file) = glob "$clinic->{dir}/relay.snapshots/snapshot-*.sqlite";
is(sprintf('%03o', (stat $file)[2] & 0777), '600', 'the file is the relay\'s alone');
$relay->{option}{snapshot_max_age_s} = 60;
$relay->configure;
$relay->process->signal('HUP');
$relay->process->wait_output(qr/reload: done/);
my $etag = $whole->{header}{etag};
my $size = length $whole->{body};
my $part = download('', {Range => 'bytes=1000-', 'If-Range' => $etag});
is($part->{status}, 206, 'Range: 206');
is($part->{header}{'content-range'}, 'bytes 1000-' . ($size - 1) . "/$size", 'says which');
ok($part->{body} eq substr($whole->{body}, 1000), 'and is the rest');
is(download('', {Range => 'bytes=0-9'})->{body}, substr($whole->{body}, 0, 10), 'a range with an end');
is(download('', {Range => 'bytes=1000-', 'If-Range' => '"other"'})->{status}, 200, 'If-Range of another file: the whole');
my $beyond = download('', {Range => "bytes=$size-"});
is($beyond->{status}, 416, 'beyond the end: 416');
is($beyond->{header}{'content-range'}, "bytes */$size", 'with the size');

# ---- readers and jobs ------------------------------------------------------------

my $slow = ClinicTest::Raw->connect(port => $port, receive_buffer => 65536);
$slow->send_bytes("GET /db/download HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n");
$slow->read_until(sub { $slow->{in} =~ /\r\n\r\n/ });
unlink $file or die "$file: $!\n";
$slow->read_until(sub { $slow->{in} =~ /\r\n\r\n/ && length($slow->{in}) - $+[0] >= $size });
is(sha256_hex(substr($slow->{in}, -$size)), sha256_hex($whole->{body}),
	'a slow reader gets all of a file that was deleted meanwhile');

sub leftovers { my @found = glob "$clinic->{dir}/relay.snapshots/*.part"; return @found }
sub children { return split ' ', slurp('/proc/' . $relay->process->pid . '/task/' . $relay->process->pid . '/children') }

# Large enough to be found in the middle of its building.
$clinic->dbh->do(q(CREATE TABLE large AS SELECT g AS id, repeat('x', 100) AS filler FROM generate_series(1, 400000) g));
$clinic->dbh->do('ALTER TABLE large ADD PRIMARY KEY (id)');
$clinic->dbh->do(q(SELECT clinic_sync.publish('large')));
my $waiting = ClinicTest::Raw->connect(port => $port);
$waiting->send_bytes("GET /db/download?tables=large HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n");
wait_for('a build', sub { leftovers() });
kill('KILL', children());
$waiting->read_until(sub { $waiting->{in} =~ /\r\n\r\n/ });
like($waiting->{in}, qr{\AHTTP/1\.1 503}, 'a job that dies: 503');
is(scalar(() = leftovers()), 0, 'and nothing of it stays on disk');
$waiting = ClinicTest::Raw->connect(port => $port);
$waiting->send_bytes("GET /db/download?tables=large HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n");
wait_for('another build', sub { leftovers() });
is($relay->stop, 0, 'SIGTERM while a snapshot is built: exit 0');
is(scalar(() = glob "$clinic->{dir}/relay.snapshots/*"), 0, 'the directory is empty');
$clinic->dbh->do(q(SELECT clinic_sync.unpublish('large')));

# A pruned log refuses the snapshot of a moment ago as well: the device is told from where one is good.
$relay->start->wait_ready;
$port = $relay->{port};
my $old = download('')->{header}{'x-clinic-cursor'};
wait_for('the log to be pruned past the snapshot', sub {
	$clinic->dbh->do(q(UPDATE patients SET "contactNumber" = COALESCE("contactNumber", '') || '1'));
	$clinic->cut_batch;
	eval { $clinic->dbh->do("SELECT * FROM clinic_sync.prune('0 seconds', 1)") };
	my ($said) = $clinic->dbh->selectrow_array('SELECT clinic_sync.check_cursor(?)', undef, $old);
	return $said eq 'too_old';
});
$relay->kill9;
$relay->start->wait_ready;
my $device = ClinicTest::Raw->open(port => $relay->{port}, header => {Authorization => $code});
$device->say({type => 'client_info', device_id => 'd'});
$device->request_sync($old, undef);
my $resync = $device->wait_message('resync_required');
is($resync->{reason}, 'too_old', 'a device with that snapshot needs another one');
ok($resync->{at}, 'made from now on');
$device->close;
$relay->stop;

# ---- descriptors ---------------------------------------------------------------

my $process = ClinicTest::Process->start('few', log => "$clinic->{dir}/few.log",
	argv => ['sh', '-c', 'ulimit -n 120; exec "$0" --config "$1"', ClinicTest::build() . '/bin/clinic-relay',
		$relay->configure]);
$port = $process->wait_output(qr/listening on [\d.]+:(\d+)/);
$relay->{port} = $port;
$relay->wait_ready;
my @crowd = grep { $_ } map { ClinicTest::Raw->connect(port => $port) } 1 .. 150;
$process->wait_output(qr/nearly all are taken/);
pass('more connections than descriptors: the log says so');
cmp_ok(scalar(() = $process->output =~ /\n/g), '<', 30, 'once');
cmp_ok(scalar(() = glob '/proc/' . $process->pid . '/fd/*'), '<', 100, 'some are kept for the rest');
$_->close for @crowd;
wait_for('the relay to serve again', sub { my $a = eval { download('') }; $a && $a->{status} == 200 });
pass('and the relay goes on');
# Files of single tables, as devices that repair one have them built, do not push out the one of all.
my $all = download("")->{header}{etag};
download("?tables=$_") for (my @single = @TABLES[0 .. 9]);
is(download('', {Range => 'bytes=1000-', 'If-Range' => $all})->{status}, 206, 'the file of all tables outlives ' . @single . ' others');
done_testing();
