# Waiting for a condition: a test never sleeps for a guessed time.
package ClinicTest::Wait;
use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC usleep);
our @EXPORT_OK = qw(now wait_for slurp);

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# Poll until $condition returns something true, and return it. Dies, naming
# $what, when $seconds (30) have passed.
sub wait_for {
	my ($what, $condition, $seconds) = @_;
	$seconds //= 30;
	$seconds *= $ENV{CLINIC_TEST_PATIENCE} // 1;
	my $deadline = now() + $seconds;
	while (1) {
		my $answer = $condition->();
		return $answer if $answer;
		die "gave up after $seconds s waiting for $what\n" if now() > $deadline;
		usleep(10_000);
	}
}

# A file's content; '' when there is none.
sub slurp {
	my ($path) = @_;
	open(my $in, '<:raw', $path) or return '';
	local $/;
	return <$in> // '';
}

1;
