#!/usr/bin/perl
#
# From a commit in PostgreSQL to another process's screen: the moment COMMIT
# returns in the writer to the first SELECT of a third process that finds the
# row in the SQLite file, for each of the thirteen tables, on 2 devices.
#
# The third process (tests/tools/row_poller.c, one per device) has a prepared
# SELECT and asks every 100 us. Both sides read CLOCK_MONOTONIC. A row that is
# there before COMMIT has returned counts as 0.
#
# One row at a time goes into each table in turn, in a new random order each
# round, so that what slows the machine for a second hits all tables alike.
# Last line: the slowest table over active_patient_queue; every table is meant
# to be as instant as the queue.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use List::Util qw(max shuffle);
use Bench qw(emit median note percentile pick);
use ClinicTest qw(now wait_for slurp @TABLES);
use ClinicTest::Rows qw(parents_sql insert_sql key_column key_value);

my $rounds = pick(100, 25, 2);
my $warm_up = pick(5, 5, 0);
srand($ENV{SEED} // 1);

my $clinic = Bench::clinic(patients => pick(1000, 1000, 10));
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

sub arm {
	my ($table, $round) = @_;
	for my $poller (@pollers) {
		print {$poller->{process}{stdin}} join("\t", $table, key_column($table), key_value($table, $round)), "\n";
		next_word($poller) eq 'armed' or die "a poller is not ready\n";
	}
	return;
}

my %took;	# table => [milliseconds, …]
my $dbh = $clinic->dbh;
note("$rounds rounds of " . @TABLES . ' tables');
for my $round (1 .. $rounds + $warm_up) {
	for my $table (shuffle(@TABLES)) {
		arm($table, $round);
		$dbh->do(insert_sql($table, $round));
		my $committed = now();
		for my $poller (@pollers) {
			my ($seen) = next_word($poller) =~ /^seen (\d+)/ or die "$table: the row did not arrive\n";
			push @{$took{$table}}, max(0, $seen / 1e9 - $committed) * 1000 if $round > $warm_up;
		}
	}
}

my %median = map { $_ => median(@{$took{$_}}) } @TABLES;
my ($slowest) = sort { $median{$b} <=> $median{$a} } @TABLES;
my @all = map { @$_ } values %took;
for my $part (50, 99) {
	my @by_table = map { percentile($part / 100, @{$took{$_}}) } @TABLES;
	emit(figure => 'cache_latency', unit => 'ms', percentile => $part, devices => scalar @devices,
		value => percentile($part / 100, @all), rounds => $rounds, low => (sort { $a <=> $b } @by_table)[0],
		high => max(@by_table));
}
emit(figure => 'cache_latency', unit => 'ratio', better => 'lower', percentile => 50, part => 'slowest table to queue',
	devices => scalar @devices, value => $median{$slowest} / $median{active_patient_queue},
	rounds => $rounds, baseline => $median{active_patient_queue}, slowest => $slowest, goal => 1.1);
