#!/usr/bin/perl
#
# What a second device costs the database: nothing. The snapshot is there, the
# frames behind it are in the relay's memory; so between the start of `sync`
# and level the server hears only what the relay says of its own accord,
# however many devices there are.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(slurp wait_for);

my $clinic = ClinicTest->new(patients => 20,
	conf => "log_statement = all\nlog_replication_commands = on\nlog_line_prefix = '<%a> '\n");
my $relay = $clinic->relay->wait_ready;

# Statements since the last call, by the name of the connection.
my $seen = 0;
sub statements {
	my $log = slurp($clinic->cluster->{CLUSTER_LOG});
	my $new = substr($log, $seen);
	$seen = length($log);
	my %by;
	push @{$by{$1}}, $2 while $new =~ /^<([^>]*)> LOG:  (?:statement|execute [^:]*): (.*)/mg;
	return \%by;
}

sub take {
	my ($name) = @_;
	statements();
	my $device = $clinic->device($name, words => ['--once', '--timeout', '60']);
	is($device->process->wait_exit(60), 0, "$name is level");
	return statements();
}

my $first = take('first');
my @copies = grep { /^COPY / } map { @$_ } values %$first;
cmp_ok(scalar @copies, '>=', 13, 'the first device: every table is copied');
my @connections = grep { /snapshot/ } keys %$first;
cmp_ok(scalar @connections, '>', 0, 'on a connection that is named');

$clinic->dbh->do(q(UPDATE patients SET address = 'new' WHERE id = (SELECT min(id) FROM patients)));
$clinic->cut_batch;
for my $name ('second', 'third') {
	my $after = take($name);
	is_deeply([sort grep { !m{^clinic-relay/(?:live|listen|report)$} } keys %$after], [],
		"$name: no connection speaks but the relay's own");
	is_deeply([grep { /\bCOPY\b|export|snapshot|digest|check_cursor/i } map { @$_ } values %$after], [],
		"$name: and those of nothing that a device needs");
}
done_testing();
