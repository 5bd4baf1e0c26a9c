# What every case of the benchmark shares: a private server set up as one
# would run it, rounds that alternate between the sides compared, and one line
# of JSON per figure.
#
# The idea it rests on: on a machine that is not quiet no single time means
# anything, but two things done in turn, seconds apart, suffer alike. So each
# round does every side once, in an order that changes from round to round,
# and what is reported is the median over the rounds of the ratio inside a
# round, with its lowest and highest value as the noise.
#
#	my $clinic = Bench::clinic(mode => 'worker');
#	my $got = paired(pick(5, 3, 1), ['bare', sub { … }], ['published', sub { … }]);
#	emit(figure => 'x', unit => 'ratio', better => 'higher', goal => 0.85,
#		ratio_to($got, 'published', 'bare'));
#
# What tells one figure from its siblings are the keys of @IDENTITY in
# BenchResults.pm; all other keys of a line are what was measured.
#
# BENCH_SCALE is full, quick or smoke; smoke only shows that a case works.
# BENCH_RESULTS names a file that lines are appended to, besides stdout.
package Bench;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(basename dirname);
use JSON::PP;
use List::Util qw(max min);
use POSIX qw(floor);
use lib dirname(abs_path(__FILE__)) . '/../../tests/e2e/lib';
use Test::More ();
use ClinicTest qw(now wait_for slurp);
our @EXPORT_OK = qw(scale pick median percentile spread paired ratio_to emit note program
	run_program memory_of now wait_for slurp);

Test::More->builder->no_ending(1);
STDOUT->autoflush(1);
STDERR->autoflush(1);

my $scale = $ENV{BENCH_SCALE} // 'full';
die "BENCH_SCALE is full, quick or smoke\n" if $scale !~ /^(?:full|quick|smoke)$/;
my $began = now();

sub scale { return $scale }

# The value for this run's scale.
sub pick {
	my ($full, $quick, $smoke) = @_;
	return $scale eq 'full' ? $full : $scale eq 'quick' ? $quick : $smoke;
}

# To the reader, not to the results.
sub note {
	my (@words) = @_;
	printf STDERR "# %5.1f s %s: %s\n", now() - $began, basename($0, '.pl'), join(' ', @words);
	return;
}

# ---- the server -----------------------------------------------------------------

# PostgreSQL as it comes, but for what would fall on one side of a comparison
# by chance: checkpoints and autovacuum. fsync stays on. Every case that
# writes enough to care calls settle() between its runs instead.
my $CONF = <<'END';
wal_level = replica
shared_buffers = 512MB
max_wal_size = 16GB
checkpoint_timeout = 1h
autovacuum = off
deadlock_timeout = 1s
max_connections = 200
END

# A ClinicTest, see there for what else it takes. mode => 'worker' preloads the
# extension, 'commit' does not; conf => further lines.
sub clinic {
	my (%option) = @_;
	my $mode = delete $option{mode} // 'worker';
	die "mode is worker or commit\n" if $mode !~ /^(?:worker|commit)$/;
	my $conf = $CONF;
	$conf .= "shared_preload_libraries = 'clinic_sync'\n" if $mode eq 'worker';
	$conf .= $option{conf} // '';
	my $clinic = ClinicTest->new(%option, conf => $conf);
	$clinic->{bench_mode} = $mode;
	return $clinic;
}

# What autovacuum and the checkpointer would do some time, done now.
sub settle {
	my ($dbh) = @_;
	$dbh->do('VACUUM ANALYZE');
	$dbh->do('CHECKPOINT');
	return;
}

# ---- programs -------------------------------------------------------------------

# A load generator, built from bench/src.
sub program {
	my ($name) = @_;
	return ClinicTest::build() . "/bench/$name";
}

# Run to its end and return what it wrote to stdout. It must exit with 0: a
# generator that missed a delivery does not.
sub run_program {
	my ($name, @words) = @_;
	my $file = $name =~ m{/} ? $name : program($name);
	my $pid = open(my $out, '-|', $file, @words) // die "$file: $!\n";
	local $/;
	my $said = <$out> // '';
	close($out) or die "$name @words ended with status " . ($? >> 8) . ($? & 127 ? " (signal)" : '')
		. ":\n$said\n";
	return $said;
}

# Memory of a process in bytes, from /proc: VmRSS, VmHWM, RssAnon …
sub memory_of {
	my ($pid, $key) = @_;
	return slurp("/proc/$pid/status") =~ /^\Q$key\E:\s+(\d+) kB/m ? $1 * 1024 : 0;
}

# ---- numbers --------------------------------------------------------------------

# By linear interpolation, so that the median of two is their mean.
sub percentile {
	my ($part, @values) = @_;
	die "percentile of nothing\n" if !@values;
	@values = sort { $a <=> $b } @values;
	my $place = $#values * $part;
	my $below = floor($place);
	my $above = min($below + 1, $#values);
	return $values[$below] + ($values[$above] - $values[$below]) * ($place - $below);
}

sub median { return percentile(0.5, @_) }

# value, low, high and rounds of a line.
sub spread {
	my (@values) = @_;
	return (value => median(@values), low => min(@values), high => max(@values),
		rounds => scalar @values);
}

# paired(rounds, [name => sub {…}], …): every round runs each side once. The
# order is turned by one each round and reversed every second, so that no side
# always follows the same other. Returns {name => [a value per round]}.
sub paired {
	my ($rounds, @sides) = @_;
	my %got;
	for my $round (0 .. $rounds - 1) {
		my @order = map { $sides[($_ + $round) % @sides] } 0 .. $#sides;
		@order = reverse @order if $round % 2;
		for my $side (@order) {
			$got{$side->[0]}[$round] = $side->[1]->($round);
		}
	}
	return \%got;
}

# spread() of one side over another, round by round, and the other's median.
sub ratio_to {
	my ($got, $side, $base) = @_;
	my ($upper, $lower) = @$got{$side, $base};
	return (spread(map { $upper->[$_] / $lower->[$_] } 0 .. $#$upper), baseline => median(@$lower));
}

# ---- results --------------------------------------------------------------------

my $json = JSON::PP->new->canonical;

# Four digits say all that the noise leaves.
sub brief {
	my ($value) = @_;
	return $value if ref $value || $value !~ /^-?\d*\.?\d+(?:e[-+]?\d+)?$/i;
	return abs($value) >= 10_000 ? 0 + sprintf('%.0f', $value) : 0 + sprintf('%.4g', $value);
}

# One line of results. figure, value, unit, rounds; baseline where there is
# one; goal with better => 'higher' or 'lower' where there is one. Times and
# sizes are better lower, rates higher; a ratio has to say.
sub emit {
	my (%line) = @_;
	for my $key (qw(figure value unit rounds)) {
		defined $line{$key} or die "a line of results without $key\n";
	}
	$line{better} //= $line{unit} =~ m{/s$|^tps$} ? 'higher' : $line{unit} eq 'ratio'
		? die("$line{figure}: say which way is better\n") : 'lower';
	delete @line{grep { !defined $line{$_} } keys %line};
	$line{$_} = brief($line{$_}) for keys %line;
	my $text = $json->encode(\%line) . "\n";
	print $text;
	if (my $file = $ENV{BENCH_RESULTS}) {
		open(my $out, '>>', $file) or die "$file: $!\n";
		print $out $text;
		close($out) or die "$file: $!\n";
	}
	return;
}

1;
