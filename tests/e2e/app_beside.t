#!/usr/bin/env perl
# An app works in its file all along, with its own SQLite and its own busy timeout, while
# sync brings what a busy server does: neither sees an error, neither loses anything.
use strict;
use warnings;
use DBI;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use AppFile;
use ClinicTest qw(wait_for slurp now);

my $clinic = ClinicTest->new(patients => 60);
my $dir = $clinic->{dir};
my $dbh = $clinic->dbh;
my $relay = $clinic->relay;
my @access = ('--access-code-file', $clinic->{code_file});
my $seconds = 6;

sub bursts {
	my ($until, $n) = (now() + $_[0], 0);
	while (now() < $until) {
		$n++;
		$dbh->do(q(UPDATE patient_bills SET subtotal = ? WHERE id = (SELECT min(id) FROM patient_bills)), undef, $n);
		$dbh->do(q(UPDATE patients SET "contactNumber" = ?), undef, "call $n") if $n % 20 == 0;
		$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", "timestamp")
			SELECT 'admin', 'burst ' || i, '2026-11-23' FROM generate_series(1, 4000) AS i)) if $n % 200 == 100;
	}
	return $n;
}

sub beside {
	my ($form, $journal) = @_;
	my $file = "$dir/$form.db";
	AppFile::fresh_v43($file, rows => 40, journal_mode => $journal);
	my $stop = "$dir/$form.stop";
	my $device = $clinic->device($form, words => ['--adopt', 'server']);
	wait_for("first sync of $form", sub { ($device->cursor // '') ne '' });
	$clinic->wait_level($device);
	my $sum = sub {
		my ($what) = @_;
		return $device->value($what);
	};
	my $logged = $sum->('SELECT count(*) FROM sync_log');
	my $app = ClinicTest::Process->start('app', log => "$dir/$form.app.log",
		argv => ['python3', "$FindBin::Bin/app_writer.py", $file, $stop, 5]);
	bursts($seconds / 2);
	# and a backlog that comes in one go
	is($device->stop, 0, "$form: stopped");
	bursts($seconds / 4);
	$device->start;
	bursts($seconds / 4);
	$clinic->wait_level($device);
	open(my $out, '>', $stop) or die "$stop: $!\n";
	close($out);
	is($app->wait_exit(30), 0, "$form: the app ends well") or diag($app->output);
	my ($line) = $app->output =~ /^(\{.*\})$/m;
	my $did = decode_json($line // '{}');
	is_deeply($did->{errors}, [], "$form: no error in the app");
	is($did->{torn}, 0, "$form: what it read stayed the same while it read");
	cmp_ok($did->{written}, '>', 50, "$form: it wrote $did->{written} times");
	is($sum->('SELECT count(*) FROM sync_log'), $logged + $did->{written}, "$form: and nothing of that is lost");
	is($sum->(q(SELECT count(*) FROM generated_documents WHERE id LIKE 'doc-%')), $did->{written}, "$form: in either table");
	is($sum->('PRAGMA integrity_check'), 'ok', "$form: the file is sound");
	is(($device->command('verify', @access))[0], 0, "$form: and equal to the server");
	my $log = slurp("$dir/$form.log");
	unlike($log, qr/locked|busy|diverge|cannot/i, "$form: no error in sync");
	my ($code, $status) = $device->command('status', '--json');
	$status = decode_json($status);
	ok($status->{foreign_writer}, "$form: the app was noticed");
	is($status->{diverged}, 0, "$form: nothing was taken for damage");
	cmp_ok($status->{longest_lock_ms}, '>', 0, "$form: the longest lock is shown: $status->{longest_lock_ms} ms,"
		. " $status->{longest_swap_ms} ms for the snapshot");
	diag("$form: longest lock $status->{longest_lock_ms} ms, swap $status->{longest_swap_ms} ms;"
		. " app wrote $did->{written}, waited $did->{longest_write_ms} ms at most; journal $status->{journal_mode}");
	is($device->stop, 0, "$form: stopped");
	return;
}

beside('rollback');
beside('wal', 'wal');
done_testing();
