#!/usr/bin/perl
#
# What the relay refuses, and how it ends: configurations, devices that are too
# many, too slow, too loud or strangers, signals, a database that stands still.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::More;
use ClinicTest qw(now wait_for slurp);
use ClinicTest::Raw;

my $clinic = ClinicTest->new(patients => 3);
my $cursor = sub { $clinic->cut_batch; ($clinic->dbh->selectrow_array('SELECT clinic_sync.current_cursor()'))[0] };

# ---- configuration -------------------------------------------------------------

my $program = ClinicTest::build() . '/bin/clinic-relay';
my $file = "$clinic->{dir}/try.conf";
my $good = "dsn = dbname=x\naccess_code_file = $clinic->{code_file}\n"
	. "snapshot_dir = $clinic->{dir}/try.snapshots\nport = 0\n";

sub write_file {
	my ($path, $text) = @_;
	open(my $out, '>', $path) or die "$path: $!\n";
	print $out $text;
	close($out) or die "$path: $!\n";
	return;
}

# [exit code, what was said] of a configuration that is not good
sub refusal {
	my ($text) = @_;
	write_file($file, $text);
	# libwebsockets leaves its loop behind when it cannot listen
	local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';
	my $said = `'$program' --config '$file' 2>&1 < /dev/null`;
	return [$? >> 8, $said];
}

sub refused {
	my ($name, $text, $pattern) = @_;
	my ($code, $said) = @{refusal($text)};
	is($code, 2, "$name: exit 2");
	like($said, qr/\A[^\n]*\Q$file\E[^\n]*$pattern[^\n]*\n\z/, "$name: one line, file and reason");
	return;
}

refused('an unknown key', "${good}max_device = 3\n", qr/:5: no such option: "max_device"/);
refused('a bad value', "${good}max_devices = many\n", qr/:5: "max_devices" needs a whole number/);
refused('a value out of range', "${good}poll_interval_ms = 5\n", qr/:5: .* from 50 to 60000/);
refused('a secret that is not there', $good =~ s{/access_code\n}{/no_code\n}r, qr/No such file/);
refused('another address', "${good}listen_address = 0.0.0.0\n", qr/allow_plaintext = yes/);
{
	my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die;
	my ($code, $said) = @{refusal($good =~ s/port = 0/'port = ' . $taken->sockport/er)};
	is($code, 2, 'a port in use: exit 2');
	like($said, qr/cannot listen on 127\.0\.0\.1 port/, 'and says so');
}

my %page = map { $_ => 1 } slurp(ClinicTest::root() . '/docs/clinic-relay.conf.5.md')
	=~ /^`(\w+) = [^`]*`\n: /mg;
write_file($file, $good);
my %default = `'$program' --config '$file' --show-config` =~ /^(\w+) = (.*)$/mg;
is_deeply([sort keys %page], [sort keys %default], 'the manual page has exactly the options');
my $help = `'$program' --help`;
my $manual = slurp(ClinicTest::root() . '/docs/clinic-relay.8.md');
is_deeply([sort $manual =~ /^`(--[\w-]+)/mg], [sort $help =~ /^  (--[\w-]+)/mg],
	'and that of the program its switches');

# ---- devices -------------------------------------------------------------------

my $relay = $clinic->relay(option => {client_info_timeout_s => 1, max_devices => 4,
	ready_timeout_s => 1, max_message_bytes => '16MB', allow_plaintext => 'yes',
	listen_address => '0.0.0.0'});
my $process = $relay->process;
like($process->output, qr/warning.*allow_plaintext.*0\.0\.0\.0.*not encrypted/i,
	'allow_plaintext is repeated in the log');
$relay->wait_ready;

sub raw { return ClinicTest::Raw->open(port => $relay->{port}, @_) }

my $silent = raw();
is($silent->wait_message('connected')->{limits}{client_info_timeout_s}, 1, 'connected tells the limits');
is($silent->wait_message('error', 5)->{code}, 'client_info_timeout', 'silence is an error');
is($silent->wait_close, 4408, 'and 4408');

my $stranger = raw();
$stranger->client_info('s', access_code => 'wrong');
is($stranger->wait_message('error')->{code}, 'bad_access_code', 'a wrong code is an error');
is($stranger->wait_close, 4401, 'and 4401');
$stranger = raw(header => {Authorization => 'Bearer wrong'});
$stranger->say({type => 'client_info', device_id => 's'});
is($stranger->wait_close, 4401, 'in a header as well');
unlike($process->output, qr/correct-horse|Bearer|wrong"/, 'no code in the log');

my $known = raw(header => {Authorization => 'Bearer correct-horse-battery-staple'});
$known->say({type => 'client_info', device_id => 'k'});
$known->request_sync(undef, undef);
is($known->wait_message('resync_required')->{reason}, 'no_cursor', 'the right one in a header is good');
$known->close;

my $big = raw();
$big->client_info('big', pad => 'x' x (5 << 20));
$big->request_sync(undef, undef);
ok($big->wait_message('resync_required'), 'a message within max_message_bytes is taken, however many reads it needs');
$big->send_bytes(ClinicTest::Raw::frame_bytes(1, '{"type":"request_sync","pad":"' . 'x' x (17 << 20)));
is($big->wait_close, 1009, 'a larger one: 1009');
my $pieces = raw();
$pieces->send_bytes(ClinicTest::Raw::frame_bytes(1, '{', 0));
$pieces->send_bytes(ClinicTest::Raw::frame_bytes(0, ' ', 0) x 1100);
is($pieces->wait_close, 1009, 'a message in 1,100 fragments: 1009');
my $binary = raw();
$binary->send_bytes(ClinicTest::Raw::frame_bytes(2, '{}'));
is($binary->wait_close, 1003, 'a binary frame: 1003');
my $garbage = raw();
$garbage->send_bytes(ClinicTest::Raw::frame_bytes(1, 'garbage'));
is($garbage->wait_close, 4400, 'not JSON: 4400');
my $loud = raw();
$loud->client_info('loud');
for (1 .. 210) {
	$loud->request_sync('bad', undef);
	last if $loud->wait_message(['resync_required', 'error'])->{type} eq 'error';
}
is($loud->wait_close, 4400, 'more than 200 messages at once: 4400');
my $lost = raw();
$lost->client_info('lost');
$lost->request_sync($cursor->(), ['patients', 'nonsense']);
is($lost->wait_message('error')->{code}, 'bad_table', 'a table that is not published');
is($lost->wait_close, 4404, 'is 4404');

# Every different list of tables costs a feed of its own: there is an end to that.
my @tables = @ClinicTest::TABLES;
my $greedy = raw();
$greedy->client_info('greedy');
my $now = $cursor->();
for my $i (1 .. 150) {
	$greedy->request_sync($now, [map { $tables[$_] } grep { $i & 1 << $_ } 0 .. 12]);
	last if !$greedy->wait_message('ready');
}
my $metrics = sub { my %m = $relay->get('/metrics')->{content} =~ /^clinic_relay_(\w+) (\d+)$/mg; \%m };
cmp_ok($metrics->()->{groups} // 151, '<=', 64, '150 lists of tables leave few feeds behind');
$greedy->request_sync($now, ['patients']);
ok($greedy->wait_message('ready'), 'and the device goes on');
$greedy->close;

# ---- too many ------------------------------------------------------------------

wait_for('the links to be gone', sub { $relay->status->{activeConnections} == 0 });
my @seats = map { my $d = raw(); $d->client_info("seat$_"); $d } 1 .. 4;
my $fifth = raw();
is($fifth->wait_message('error')->{code}, 'too_many_devices', 'one device too many is told so');
is($fifth->wait_close, 4429, 'and closed with 4429');
$_->close for splice @seats, 0, 3;
wait_for('seats', sub { $relay->status->{activeConnections} == 1 });

# ---- SIGHUP --------------------------------------------------------------------

write_file($clinic->{code_file}, "another-battery-staple\n");
$relay->{option}{max_devices} = 2;
$relay->{option}{max_frame_bytes} = '64kB';
$relay->configure;
$process->signal('HUP');
$process->wait_output(qr/reload: done/);
like($process->output, qr/reload: "max_devices" changed/, 'SIGHUP: what changed is in the log');
like($process->output, qr/"max_frame_bytes" changed, which needs a restart/, 'and what needs a restart');
my $late = raw();
$late->client_info('late');
is($late->wait_close, 4401, 'the old code is not good any more');
my $new = raw();
$new->client_info('new', access_code => 'another-battery-staple');
$new->request_sync(undef, undef);
ok($new->wait_message('resync_required'), 'the new one is');
is(raw()->wait_close, 4429, 'max_devices is smaller');
$seats[0]->request_sync(undef, undef);
ok($seats[0]->wait_message('resync_required'), 'a device that was there stays');
$relay->{option}{max_devices} = 'no';
$relay->configure;
$process->signal('HUP');
$process->wait_output(qr/reload: .*"max_devices" needs a whole number.*nothing has changed/);
pass('a file that is not good changes nothing');
$relay->{option}{max_devices} = 10;
$relay->configure;
$process->signal('HUP');
wait_for('the last reload', sub { 2 == (() = $process->output =~ /reload: done/g) });

# ---- a database that stands still, and SIGTERM -----------------------------------

sub backends {
	return map { @$_ } @{$clinic->dbh->selectall_arrayref(
		"SELECT pid FROM pg_stat_activity WHERE usename = 'clinic_relay'")};
}

my @backends = backends();
kill('STOP', @backends);
wait_for('/readyz to be red', sub { $relay->get('/readyz')->{status} == 503 }, 5);
is($relay->get('/healthz')->{status}, 200, 'no answer for ready_timeout_s: /readyz is red, /healthz green');
kill('CONT', @backends);
$relay->wait_ready(10);
pass('/readyz is green again');

my $following = raw();
$following->client_info('following', access_code => 'another-battery-staple');
$following->request_sync($cursor->(), undef);
$following->wait_message('ready');
@backends = backends();
kill('STOP', @backends);
my $began = now();
$process->signal('TERM');
is($following->wait_close(linger => 1), 1001, 'SIGTERM: 1001');
is($process->wait_exit(10), 0, 'exit 0');
cmp_ok(now() - $began, '<', 5, 'within 5 s, though the database stands still and a device does not answer');
kill('CONT', @backends);

$relay->start;
$process = $relay->process;
my $deaf = raw();	# it never answers the goodbye
$process->signal('TERM');
$process->wait_output(qr/going down/);
$process->signal('TERM');
is($process->wait_exit(2), 0, 'a second SIGTERM ends it at once');
done_testing();
