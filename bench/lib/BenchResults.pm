# Files of results: read, told apart, written as text. See Bench.pm for what a
# line holds.
package BenchResults;
use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
our @EXPORT_OK = qw(read_results identity title number goal_met columns);

# The keys that say which figure a line is; all others are what was measured.
our @IDENTITY = qw(figure mode system workload writers devices interval_s rate percentile rows table part
	step tls);

# The lines of a file as hashes; none when there is no file.
sub read_results {
	my ($file) = @_;
	open(my $in, '<', $file) or return;
	my @lines = map { decode_json($_) } grep { /\S/ } <$in>;
	close($in);
	return @lines;
}

# One string per figure: equal in two files when they mean the same thing.
sub identity {
	my ($line) = @_;
	return join ' ', map { defined $line->{$_} ? "$_=$line->{$_}" : () } @IDENTITY;
}

# The same for people: the figure, then what tells it from its siblings.
sub title {
	my ($line) = @_;
	my @words = map {
		my $value = $line->{$_};
		!defined $value ? () : $_ eq 'percentile' ? "p$value"
			: $value =~ /^\d/ ? number($value) . " $_" : $value;
	} grep { $_ ne 'figure' } @IDENTITY;
	return join ', ', $line->{figure}, @words;
}

# A number with commas; as many digits as it has.
sub number {
	my ($value) = @_;
	return '' if !defined $value;
	my ($whole, $rest) = $value =~ /^(-?\d+)(.*)$/ or return $value;
	1 while $whole =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return "$whole$rest";
}

# 1, 0, or undef where a line has no goal.
sub goal_met {
	my ($line) = @_;
	return if !defined $line->{goal};
	return $line->{better} eq 'higher' ? $line->{value} >= $line->{goal} ? 1 : 0
		: $line->{value} <= $line->{goal} ? 1 : 0;
}

# Rows of equal length as text, columns padded to the widest.
sub columns {
	my (@rows) = @_;
	my @width;
	for my $row (@rows) {
		for my $i (0 .. $#$row) {
			$width[$i] = length $row->[$i] if ($width[$i] // 0) < length $row->[$i];
		}
	}
	return map { my $row = $_; join('  ', map { sprintf '%-*s', $width[$_], $row->[$_] } 0 .. $#$row)
		=~ s/\s+$//r . "\n" } @rows;
}

1;
