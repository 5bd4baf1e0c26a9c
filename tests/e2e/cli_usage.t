#!/usr/bin/env perl
# The command line: what is refused and how, each exit code of the table, JSON that is JSON.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Socket;
use Sys::Hostname;
use Test::More;
use ClinicTest qw(wait_for slurp);

my $program = ClinicTest::build() . '/bin/clinic-cache';
my $runs = 0;
my $clinic = ClinicTest->new(patients => 20);
my $dir = $clinic->{dir};
my $code_file = $clinic->{code_file};

# Runs the program; (exit code, standard output, standard error).
sub run {
	my (@words) = @_;
	my $file = "$dir/run." . ++$runs;
	my $process = ClinicTest::Process->start("clinic-cache @words", log => "$file.log",
		argv => ['sh', '-c', 'exec "$@" > "$0.out" 2> "$0.err"', $file, $program, @words]);
	my $code = $process->wait_exit(60);
	return ($code, slurp("$file.out"), slurp("$file.err"));
}

sub write_file {
	my ($name, $text) = @_;
	open(my $out, '>:raw', "$dir/$name") or die "$name: $!\n";
	print $out $text;
	close($out);
	chmod(0600, "$dir/$name");
	return "$dir/$name";
}

# One refusal: exit code 2 and a line on stderr that matches, none on stdout.
sub refuses {
	my ($name, $pattern, @words) = @_;
	my ($code, $out, $err) = run(@words);
	is($code, 2, "$name: exit code 2") or diag($err);
	like($err, $pattern, "$name: says why");
	is($out, '', "$name: nothing on stdout");
	return;
}

# A port on which nothing listens.
sub closed_port {
	socket(my $socket, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
	bind($socket, sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!\n";
	return (sockaddr_in(getsockname($socket)))[0];
}

my @db = ('--db', "$dir/none.db");
my @access = ('--access-code-file', $code_file);
my @url = ('--url', 'ws://127.0.0.1:' . closed_port() . '/ws');

# ---- usage ---------------------------------------------------------------------

refuses('no command', qr/^usage: /);
refuses('an unknown command', qr/no such command: "synch"/, 'synch');
refuses('options before the command', qr/no such command/, '--json', 'status', @db);
refuses('no --db', qr/--db is missing/, 'sync', @url, @access);
refuses('no --url to watch', qr/--url is missing/, 'watch', @access);
refuses('an unknown option', qr/--frobnicate is not an option/, 'sync', @db, '--frobnicate');
refuses('a short option', qr/-x is not an option/, 'sync', '-x');
refuses("another command's option", qr/--once is not an option/, 'status', @db, '--once');
refuses('an option without its value', qr/--db needs a value/, 'status', '--db');
refuses('an empty value', qr/--db: not a valid value/, 'status', '--db', '');
refuses('an argument too many', qr/unexpected argument "more"/, 'status', @db, 'more');
refuses('--timeout without --once', qr/--timeout needs --once/, 'sync', @db, '--timeout', 3);
refuses("--timeout $_", qr/--timeout: not a valid value: "\Q$_\E"/, 'verify', @db, '--timeout', $_)
	for qw(0 -1 1x 0x10 1e3 99999999999999999999), ' 1';
refuses("--tables $_", qr/--tables: not a valid value/, 'verify', @db, '--tables', $_)
	for ',', 'a,', ',a', 'a,,b';
refuses('a log level', qr/--log-level: not a valid value/, 'status', @db, '--log-level', 'loud');
refuses('a long name', qr/--name: not a valid value/, 'sync', @db, '--name', 'n' x 129);
refuses("the url $_", qr/url/, 'sync', @db, @access, '--once', '--url', $_)
	for qw(localhost http://h/ws wss://h/ws ws://h ws://u:p@h/ws ws://h/ws?code=1 ws://h:0/ws);

# ---- the access code -------------------------------------------------------------

delete $ENV{CLINIC_ACCESS_CODE_FILE};
refuses('no access code', qr/no access code/, 'sync', @db, @url);
refuses('a missing access code file', qr/cannot read/, 'sync', @db, @url, '--access-code-file',
	"$dir/nowhere");
refuses('a directory for an access code', qr/not a file/, 'sync', @db, @url, '--access-code-file', $dir);
my %bad_code = (empty => '', 'two lines' => "a\nb\n", binary => "a\0b", blank => "a b\n", long => 'x' x 5000);
refuses("an access code: $_", qr/access code/, 'sync', @db, @url, '--access-code-file',
	write_file('bad_code', $bad_code{$_})) for sort keys %bad_code;
refuses('a file that cannot be for events', qr/cannot write/, 'sync', @db, @url, @access, '--events',
	"$dir/nowhere/events");

# ---- files -------------------------------------------------------------------------

for my $command (qw(status verify)) {
	refuses("$command of no file", qr/there is no file "/, $command, @db, $command eq 'verify' ? @access : ());
	refuses("$command of something else", qr/\S/, $command, '--db', write_file('no.db', "not SQLite\n" x 100),
		$command eq 'verify' ? @access : ());
}
refuses('sync of a new file without a relay', qr/none\.db does not exist yet: a new file needs --url/, 'sync', @db, @access,
	'--once');
mkdir("$dir/directory") or die "mkdir: $!\n";
refuses("$_ of a directory", qr/directory is a directory$/, $_, '--db', "$dir/directory", @access, $_ eq 'sync' ? @url : ())
	for qw(sync verify);
refuses('sync of something else', qr/\S/, 'sync', '--db', "$dir/no.db", @url, @access);
is_deeply([glob("$dir/*.clinic-*")], [], 'nothing is left beside what cannot be a cache');
ok(!-e "$dir/none.db", 'no refusal made a file');

# ---- help ---------------------------------------------------------------------------

for my $command (qw(sync status verify watch)) {
	my ($code, $out, $err) = run($command, '--help');
	is("$code|$err", '0|', "$command --help");
	like($out, qr/^usage: clinic-cache $command /, "$command --help says how to call it");
}
my ($code, $out, $err) = run('--help');
is("$code|$err", '0|', '--help');
like($out, qr/exit codes/, '--help has the exit codes');

# ---- a relay that is not there --------------------------------------------------------

($code, $out, $err) = run('sync', @db, @url, @access, '--once', '--timeout', 1, '--json');
is($code, 3, 'sync: unreachable');
is_deeply([@{decode_json($out)}{qw(result exit)}], ['error', 3], 'said as JSON too');
($code, $out, $err) = run('watch', @url, @access);
is("$code|$out", '3|', 'watch: unreachable');
like($err, qr/cannot reach 127\.0\.0\.1:\d+/, 'and it says whom');
is_deeply([glob("$dir/none.db*")], [], 'and leaves no file');

# ---- a relay that is -------------------------------------------------------------------

my $relay = $clinic->relay;
@url = ('--url', $relay->url);
my @file = ('--db', "$dir/a.db");
my $bad = write_file('other_code', "not-the-code\n");
for my $command ('sync', 'watch') {
	($code, $out, $err) = run($command, $command eq 'sync' ? @file : (), @url, '--access-code-file', $bad);
	is($code, 5, "$command: a wrong access code") or diag($err);
	is(() = $err =~ /access code/g, $command eq 'sync' ? 2 : 1, 'said in one line, with what to do') or diag($err);
	is(() = $err =~ /\n/g, $command eq 'sync' ? 2 : 1, 'after that of the connection') or diag($err);
	unlike("$out$err", qr/not-the-code/, 'which is not repeated');
}
($code, $out, $err) = run('sync', @file, @url, @access, '--once', '--tables', 'patients,nonesuch');
is($code, 5, 'sync: a table that is not published') or diag($err);
is(() = $err =~ /^.*(?:does not publish|not published)/mg, 1, 'said once') or diag($err);
like($err, qr/name only published ones/, 'with what to do');
is_deeply([glob("$dir/a.db*")], [], 'a first run that is refused leaves no file');
my $wrong = $relay->url =~ s{/ws$}{/wrong}r;
($code, $out, $err) = run('sync', @file, '--url', $wrong, @access, '--once', '--timeout', 1);
is($code, 3, 'sync: a wrong path');
like($err, qr{^clinic-cache: .*\Q$wrong\E does not speak clinic-sync \(HTTP status 404\).*usually /ws$}m, 'says what is usual');
($code, $out, $err) = run('watch', '--url', $wrong, @access);
like($err, qr{does not speak clinic-sync \(HTTP status 404\)}, 'watch does, too');
my $own = DBI->connect("dbi:SQLite:dbname=$dir/own.db", '', '', {RaiseError => 1});
$own->do('CREATE TABLE patients (id TEXT PRIMARY KEY)');
$own->do("INSERT INTO patients VALUES ('mine')");
$own->disconnect;
($code, $out, $err) = run('sync', '--db', "$dir/own.db", @url, @access);
is($code, 2, 'sync: rows of somebody else');
is(() = $err =~ /with --adopt=server/g, 1, 'said once, with what to do') or diag($err);
like($out, qr/^patients +1 +\d+ +1 +\d+ +0$/m, 'and how its rows differ');

($code, $out, $err) = run('sync', @file, @url, @access, '--once', '--timeout', 20, '--json', '--name',
	'Reception 1');
is($code, 0, 'sync --once') or diag($err);
my $result = decode_json($out);
is($result->{result}, 'level', 'and it is level');
like($err, qr/Received table sync for patients \(20 records\)/, 'each table is logged');
unlike($err, qr/\r|#####/, 'no progress bar where there is no terminal');
ok(-s "$dir/a.db.clinic-access", 'then the access code file is remembered');

($code, $out) = run('status', @file, '--json');
my $status = decode_json($out);
is($status->{cursor}, $result->{cursor}, 'status: the cursor');
is($status->{device_id}, $result->{device_id}, 'status: the device');
is($status->{url}, $relay->url, 'status: the relay is remembered');
is($status->{syncing_pid}, undef, 'status: nobody syncs it');
is_deeply({map { $_->{name} => $_->{rows} } grep { $_->{name} eq 'patients' } @{$status->{tables}}},
	{patients => 20}, 'status: rows');
($code, $out) = run('status', @file);
like($out, qr/^patients +20 +0 +0$/m, 'status for people');

# later commands need only --db
($code, $out, $err) = run('verify', @file);
is("$code|$out", "0|ok\n", 'verify: a file that nobody syncs') or diag($err);

my $nameless = ClinicTest::Process->start('nameless', log => "$dir/nameless.log", argv => [$program, 'sync', @file]);
wait_for('the device under the name of its host', sub {
	my ($name) = $clinic->dbh->selectrow_array('SELECT name FROM clinic_sync.devices WHERE id = ?', undef,
		$result->{device_id});
	return defined $name && $name eq hostname();
});
is($nameless->stop, 0, 'without --name a device has that of its host');

my $device = $clinic->device('a');
$clinic->wait_level($device);
($code, $out, $err) = run('sync', @file, @access, '--json');
is($code, 4, 'a second process that syncs the file');
my $pid = $device->process->pid;
like($err, qr/process $pid\b/, 'is told who does');
is(decode_json($out)->{exit}, 4, 'also as JSON');
($code, $out) = run('status', @file, '--json');
is(decode_json($out)->{syncing_pid}, $pid, 'status names it too');

$clinic->dbh->do(q(UPDATE patients SET "contactNumber" = '0917' WHERE id = (SELECT min(id) FROM patients)));
($code, $out, $err) = run('verify', @file, '--json');
is($code, 0, 'verify beside it') or diag($err);
is(decode_json($out)->{result}, 'ok', 'is equal');

my $db = DBI->connect("dbi:SQLite:dbname=$dir/a.db", '', '', {RaiseError => 1});
$db->sqlite_busy_timeout(5000);
$db->do(q(UPDATE patients SET "fullName" = 'x' WHERE id = (SELECT min(id) FROM patients)));
$db->do('DELETE FROM patients WHERE id = (SELECT max(id) FROM patients)');
$db->do('DELETE FROM payments WHERE id = (SELECT max(id) FROM payments)');
($code, $out, $err) = run('verify', @file);
is("$code|$out", "1|differs: 3 rows\n  patients: 2 rows\n  payments: 1 rows\n", 'verify finds what was damaged')
	or diag($err);
($code, $out) = run('verify', @file, '--tables', 'users', '--json');
is($code, 0, 'and only where it is');
is_deeply([map { $_->{table} } @{decode_json($out)->{tables}}], ['users'], 'as asked');
($code, $out) = run('verify', @file, '--tables', 'nonesuch');
is($code, 5, 'verify: a table that is not published');
$db->disconnect;

for my $signal (qw(INT TERM)) {
	$device->process->signal($signal);
	is($device->process->wait_exit(20), 0, "$signal ends sync with 0");
	$device->start;
	$clinic->wait_level($device);
}
$device->stop;

# ---- watch -----------------------------------------------------------------------------

my $watch = ClinicTest::Process->start('watch', log => "$dir/watch.log",
	argv => [$program, 'watch', @url, @access, '--json', '--tables', 'payments']);
$watch->wait_output(qr/watching/);
$clinic->dbh->do('UPDATE payments SET notes = ? WHERE id = (SELECT min(id) FROM payments)', undef, 'secret');
$watch->wait_output(qr/billing_change_immediate/);
my ($line) = $watch->output =~ /^(\{.*billing_change_immediate.*\})$/m;
my $event = decode_json($line);
is_deeply([@$event{qw(table operation)}], ['payments', 'update'], 'watch prints the change');
unlike($watch->output, qr/secret/, 'but not its values');
is($watch->stop, 0, 'and ends with 0');

$relay->stop;
($code, $out, $err) = run('verify', @file, '--timeout', 2);
is($code, 3, 'verify: unreachable');
($code, $out, $err) = run('sync', @file, '--once', '--timeout', 1);
is($code, 3, 'sync: unreachable, with what the file remembers');

done_testing;
