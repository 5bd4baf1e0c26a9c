#!/usr/bin/perl
#
# Other programs live beside `sync` on the same file: they open, read and close
# it over and over, and one keeps a read transaction open for seconds. Nothing
# of it may break SQLite's locks, hide a change from anybody, or hold `sync` up.
#
# POSIX locks die with the first close() of any descriptor of the file in the
# process. So if `sync` ever held a second one, the others would take the -wal
# for left over and remove it.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use Test::More;
use ClinicTest qw(now wait_for);

my $rounds = 12;
my $clinic = ClinicTest->new(patients => 20);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay;
my $device = $clinic->device('a');
$clinic->caches_equal('first sync');
my $wal = "$device->{file}-wal";

sub inode { return (stat($_[0]))[1] // 'none' }

# What a fresh process sees.
sub shell {
	my ($sql) = @_;
	open(my $pipe, '-|', 'sqlite3', '-cmd', '.timeout 5000', $device->{file}, $sql) or die "sqlite3: $!\n";
	my $answer = do { local $/; <$pipe> };
	close($pipe) or die "sqlite3 failed: $?\n";
	chomp $answer;
	return $answer;
}

sub log_something {
	my ($text) = @_;
	$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", "timestamp")
		VALUES ('admin', ?, '2026-11-23')), undef, $text);
	return $clinic->wait_level($device);
}

log_something('begin');
my $inode = inode($wal);
isnt($inode, 'none', 'the file has a -wal');
my (@unseen, @lost, @codes);
for my $round (1 .. $rounds) {
	log_something("round $round");
	push @unseen, $round
		if shell("SELECT count(*) FROM user_activity_log WHERE actionDescription = 'round $round'") ne 1;
	my ($code) = $device->command($round % 2 ? 'status' : 'verify',
		$round % 2 ? () : ('--access-code-file', $clinic->{code_file}));
	push @codes, $code;
	push @lost, $round if inode($wal) ne $inode;
}
is("@unseen", '', 'a fresh process sees every change at once');
is("@lost", '', 'the -wal survives everybody who comes and goes');
is(join('', @codes), '0' x $rounds, 'status and verify work beside sync');

# A second one keeps out and says why.
my ($code, $output) = $device->command('sync', '--once', '--timeout', 10, '--url', $relay->url,
	'--access-code-file', $clinic->{code_file});
is($code, 4, 'a second sync is refused');
my $pid = $device->process->pid;
like($output, qr/\b$pid\b/, 'and names the one that runs');
is(inode($wal), $inode, 'and leaves the -wal alone');

# An app reads for seconds in one transaction, while frames and a snapshot arrive.
my $app = DBI->connect("dbi:SQLite:dbname=$device->{file}", '', '', {RaiseError => 1, PrintError => 0});
$app->do('BEGIN');
my $count = q(SELECT count(*), (SELECT value FROM clinic_sync_meta WHERE key = 'cursor') FROM user_activity_log);
my $before = join ' ', $app->selectrow_array($count);
my $until = now() + 3;
my $frames = 0;
while (now() < $until) {
	log_something('while somebody reads');
	$frames++;
}
cmp_ok($frames, '>', 3, "a reader does not hold up sync ($frames frames)");
$dbh->do('ALTER TABLE patients ADD COLUMN "besideNote" text');
$dbh->do('ALTER TABLE patients DROP COLUMN "besideNote"');
$clinic->wait_level($device);
is(join(' ', $app->selectrow_array($count)), $before, 'and sees one moment all the time');
$app->do('COMMIT');
cmp_ok(($app->selectrow_array($count))[0], '>=', $rounds + $frames, 'and all of it afterwards');
$app->disconnect;
is(shell('PRAGMA integrity_check'), 'ok', 'the file is whole');
$clinic->caches_equal('and equal to the server');

# The user throws the file away under sync: a new one comes, without a trace of the old -wal.
unlink($device->{file});
log_something('after the file was deleted');
wait_for('a new file', sub { -e $device->{file} });
$clinic->caches_equal('a deleted file comes back equal');
is(shell('PRAGMA integrity_check'), 'ok', 'and whole');
done_testing();
