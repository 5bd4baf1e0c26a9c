#!/usr/bin/perl
#
# What a relay says that cannot work: one line that names the reason and, where
# there is one, the command that helps.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IO::Socket::INET;
use Test::More;
use ClinicTest qw(slurp wait_for);
use ClinicTest::Process;

my $clinic = ClinicTest->new(patients => 5);
my $relay = $clinic->relay->wait_ready;

# Lines that are not merely information.
sub complaints {
	my ($r) = @_;
	return grep { /warning|error/i } split /\n/, $r->process->output;
}

is(scalar complaints($relay), 0, 'a relay that works complains of nothing');

my $taken = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
	or die "cannot listen: $!\n";
my $second = ClinicTest::Relay->new(%$relay, name => 'second', port => $taken->sockport);
my $process = ClinicTest::Process->start('second', log => "$second->{dir}/second.log",
	argv => [$second->{bin}, '--config', $second->configure]);
is($process->wait_exit, 2, 'the port is taken: exit code 2');
my @lines = split /\n/, $process->output;
is(scalar @lines, 1, 'one line') or diag $process->output;
like($lines[0], qr/cannot listen on 127\.0\.0\.1 port @{[$taken->sockport]}: Address already in use/,
	'with the reason');

# Until the relay has complained, and each of its duties has had its turn.
sub complains_once {
	my ($r, $pattern, $name) = @_;
	wait_for('a complaint', sub { scalar complaints($r) });
	# the duties begin together; repair() comes round every second
	my $log = $clinic->cluster->{CLUSTER_LOG};
	wait_for('the duties', sub { scalar(() = slurp($log) =~ /clinic_sync\.repair/g) >= 3 });
	my @said = complaints($r);
	is(scalar @said, 1, "$name: one line") or diag join "\n", @said;
	like($said[0], $pattern, 'which helps');
	return;
}

sub forget_log { truncate($clinic->cluster->{CLUSTER_LOG}, 0); return }

$relay->stop;
$clinic->dbh->do(q(SELECT clinic_sync.revoke_relay('clinic_relay')));
forget_log();
my $early = $clinic->relay(name => 'early');
complains_once($early, qr/SELECT clinic_sync\.grant_relay\('clinic_relay'\)/, 'no rights');
$clinic->dbh->do(q(SELECT clinic_sync.grant_relay('clinic_relay')));
$early->wait_ready;
pass('granted: it works');
$early->stop;

$clinic->dbh->do('DROP EXTENSION clinic_sync CASCADE');
forget_log();
$early->start;
complains_once($early, qr/in database clinic: CREATE EXTENSION clinic_sync/, 'no extension');
done_testing();
