#!/usr/bin/perl
#
# From a commit in PostgreSQL to another process's screen: see bench/README.md.
# One JSON line per figure on stdout.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../tests/e2e/lib";
use JSON::PP;
use List::Util qw(max shuffle);
use ClinicTest qw(now wait_for slurp @TABLES);
use ClinicTest::Rows qw(parents_sql insert_sql delete_sql key_column key_value);

my $rounds = $ENV{ROUNDS} // 100;
my $warm_up = 5;
srand($ENV{SEED} // 1);

my $clinic = ClinicTest->new(patients => $ENV{PATIENTS} // 1000);
$clinic->dbh->do(parents_sql());
$clinic->relay;
my @devices = map { $clinic->device($_, no_events => 1) } qw(a b);
$clinic->wait_level;

# One poller per cache: a third process with its own reading connection.
my @pollers = map { {
	process => ClinicTest::Process->start("poller $_->{name}", stdin => 1,
		log => "$clinic->{dir}/$_->{name}.poller", argv => [$clinic->tools . '/row_poller', $_->{file}]),
	words => 0,
} } @devices;

# The poller's next line.
sub next_word {
	my ($poller) = @_;
	my $count = ++$poller->{words};
	my $line;
	wait_for('the poller', sub {
		($line) = (slurp($poller->{process}{log}) =~ /^(.*)\n/mg)[$count - 1];
		return defined $line;
	});
	return $line;
}

my %took;	# table => [milliseconds, …]
my $dbh = $clinic->dbh;
for my $round (1 .. $rounds + $warm_up) {
	for my $table (shuffle(@TABLES)) {
		for my $poller (@pollers) {
			print {$poller->{process}{stdin}} join("\t", $table, key_column($table), key_value($table, $round)), "\n";
			next_word($poller) eq 'armed' or die "a poller is not ready\n";
		}
		$dbh->do(insert_sql($table, $round));
		my $committed = now();
		for my $poller (@pollers) {
			my ($seen) = next_word($poller) =~ /^seen (\d+)/ or die "$table: the row did not arrive\n";
			push @{$took{$table}}, max(0, $seen / 1e9 - $committed) * 1000 if $round > $warm_up;
		}
	}
}

sub percentile {
	my ($part, @values) = @_;
	@values = sort { $a <=> $b } @values;
	return $values[int(($#values) * $part + 0.5)];
}

my $json = JSON::PP->new->canonical;
my %median;
for my $table (@TABLES) {
	for my $p ([50, 0.5], [99, 0.99]) {
		my $value = percentile($p->[1], @{$took{$table}});
		$median{$table} = $value if $p->[0] == 50;
		print $json->encode({figure => 'commit_to_cache', value => 0 + sprintf('%.3f', $value), unit => 'ms',
			percentile => $p->[0], table => $table, devices => scalar @devices}), "\n";
	}
}
my ($slowest) = sort { $median{$b} <=> $median{$a} } keys %median;
print $json->encode({figure => 'slowest_table_to_queue', value => 0 + sprintf('%.3f',
	$median{$slowest} / $median{active_patient_queue}), unit => 'ratio', percentile => 50,
	table => $slowest, devices => scalar @devices}), "\n";
Test::More->builder->no_ending(1);
