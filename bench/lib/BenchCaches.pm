# A stream of numbered changes from a writer into real caches, timed from the
# COMMIT in PostgreSQL to the moment another process's SELECT finds the row in
# the SQLite file.
#
#	my $stream = BenchCaches->new($clinic, table => 'live', devices => [$a, $b]);
#	my $span = $stream->run(rate => 20, seconds => 10);
#	my $span = $stream->run_until(rate => 20, condition => sub { … });
#	my @ms = $stream->latencies($span);	# of each change, in the last of the caches
#	$stream->end;				# dies if a cache lacks one of them
#
# commit_load writes on one connection, so changes commit in the order of their
# numbers; cache_watch looks on. The table is (id bigint PRIMARY KEY, mark text).
package BenchCaches;
use strict;
use warnings;
use List::Util qw(max);
use BenchLive::Program;

my $SLICE = 0.2;	# seconds between two looks at a condition

# most => changes that it will ever carry.
sub new {
	my ($class, $clinic, %option) = @_;
	my $self = bless {clinic => $clinic, most => 100_000, last => 0, %option}, $class;
	$self->{stamps} = "$clinic->{dir}/$self->{table}.stamps";
	my @shared = ('--table', $self->{table}, '--stamps', $self->{stamps}, '--most');
	$self->{writer} = BenchLive::Program->start('commit_load', '--dsn', $clinic->cluster->dsn,
		'--connections', 1, @shared, $self->{most} + 1);
	$self->{writer}->hear('connected');
	$self->{watch} = BenchLive::Program->start('cache_watch', @shared, $self->{most},
		map { $_->{file} } @{$self->{devices}});
	$self->{watch}->hear('connected');
	return $self;
}

# Changes at a steady rate, at least one; [first, last] of their numbers.
sub run {
	my ($self, %option) = @_;
	my $first = $self->{last} + 1;
	my $count = max(1, int($option{rate} * $option{seconds}));
	$self->{last} += $count;
	$self->{last} <= $self->{most} or die "a stream of more than $self->{most} changes\n";
	$self->{writer}->ask("run $first $count $option{rate} 1", 'done');
	return [$first, $self->{last}];
}

# The same until the condition holds, and for at least so many seconds.
sub run_until {
	my ($self, %option) = @_;
	my $first = $self->{last} + 1;
	my $least = $first + $option{rate} * ($option{seconds} // 0);
	do {
		$self->run(rate => $option{rate}, seconds => $SLICE);
	} until $self->{last} >= $least && $option{condition}->();
	return [$first, $self->{last}];
}

# Milliseconds from the COMMIT's return until the last cache showed it, of each change of a span.
sub latencies {
	my ($self, $span) = @_;
	my ($first, $last) = @$span;
	$self->{watch}->ask("wait $last 120", 'complete');
	open(my $in, '<:raw', $self->{stamps}) or die "$self->{stamps}: $!\n";
	seek($in, 64 * $first, 0);
	my $want = 64 * ($last - $first + 1);
	read($in, my $bytes, $want) == $want or die "$self->{stamps} is short\n";
	return map {
		my (undef, undef, $returned, undef, undef, undef, $shown) = unpack('q7', substr($bytes, 64 * $_, 64));
		max(0, $shown - $returned) / 1e6;
	} 0 .. $last - $first;
}

sub end { my ($self) = @_; $_->end for @$self{qw(writer watch)}; return }

1;
