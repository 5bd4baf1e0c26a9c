# What the samplers saw, against what the oracle expects.
package Consistency::Samples;
use strict;
use warnings;

sub new { my ($class) = @_; return bless {samples => 0, cursors => {}, faults => []}, $class }

# The first few are told in full.
sub fault {
	my ($self, $text) = @_;
	push @{$self->{faults}}, ref $text ? $text->() : $text if @{$self->{faults}} < 20;
	$self->{fault_count}++;
	return;
}

# Which tables differ, and whether what was seen was right at another batch.
sub explain {
	my ($oracle, $cursor, $seen) = @_;
	my %seen = $seen =~ /(\w+)=(\S+)/g;
	my %expected = $oracle->{expected}{$cursor} =~ /(\w+)=(\S+)/g;
	my @text;
	for my $table (sort keys %expected) {
		my $digest = $seen{$table} // 'absent';
		next if $digest eq $expected{$table};
		my @elsewhere = grep { $oracle->{expected}{$_} =~ /\b$table=\Q$digest\E(?: |\z)/ } @{$oracle->{order}};
		push @text, "$table is $digest, not $expected{$table}"
			. (@elsewhere ? " (right at $elsewhere[0] to $elsewhere[-1])" : ' (right at no batch)');
	}
	return join '; ', @text;
}

# Every sample equals the state at its batch; no cursor goes back in one file.
sub check {
	my ($self, $name, $file, $oracle) = @_;
	my ($number, $last) = (0, 0);
	open(my $in, '<', $file) or return $self->fault("$name: no samples");
	while (my $line = <$in>) {
		chomp $line;
		my ($time, $now_number, $cursor, $seen) = split / /, $line, 4;
		my ($batch) = $cursor =~ /^(\d+)-/;
		my $expected = $oracle->{expected}{$cursor};
		$self->{samples}++;
		$self->{cursors}{$cursor} = 1;
		if (!defined $expected) {
			$self->fault("$name at $time: $cursor is no batch of this server");
		} elsif ($expected ne $seen) {
			$self->fault(sub { "$name at $time, $cursor: " . explain($oracle, $cursor, $seen) });
		}
		$self->fault("$name at $time: cursor went back from batch $last to $batch")
			if $number == $now_number && $batch < $last;
		($number, $last) = ($now_number, $batch);
	}
	return;
}

1;
