# What dies, when: a schedule drawn from the seed, carried out by the test's
# own process between two looks at the clock. Nothing here waits for recovery:
# the next fault may hit while the last one is still being mended.
package Consistency::Chaos;
use strict;
use warnings;
use List::Util qw(shuffle);
use ClinicTest::Wait qw(now);

# cluster, relay, devices => [...], links => [proxies], seconds, kills => per kind,
# kinds => [...]: those that are counted, of relay, device, postgres, link, worker.
# One that is not a kill is always there: a device that throws its file away and
# begins anew in the middle of the load.
sub new {
	my ($class, %option) = @_;
	my @kinds = @{$option{kinds}};
	my $self = bless {%option, done => {map { ($_ => 0) } @kinds, 'fresh'}, later => [], began => now()}, $class;
	my @faults = shuffle((map { my $kind = $_; map { $kind } 1 .. $option{kills} } @kinds),
		('fresh') x $option{kills});
	my $step = 0.85 * $option{seconds} / @faults;
	$self->{agenda} = [map { [$option{seconds} * 0.07 + $step * ($_ + 0.8 * rand), $faults[$_]] } 0 .. $#faults];
	return $self;
}

sub elapsed { return now() - $_[0]{began} }
sub kills { my ($self) = @_; my $sum = 0; $sum += $self->{done}{$_} for @{$self->{kinds}}; return $sum }

# Do what is due.
sub tick {
	my ($self) = @_;
	my @due = grep { $_->[0] <= now() } @{$self->{later}};
	$self->{later} = [grep { $_->[0] > now() } @{$self->{later}}];
	$_->[1]->() for @due;
	while (@{$self->{agenda}} && $self->{agenda}[0][0] <= $self->elapsed) {
		my $kind = (shift @{$self->{agenda}})->[1];
		my $method = "break_$kind";
		$self->$method;
		$self->{done}{$kind}++;
	}
	return;
}

sub in_seconds { my ($self, $seconds, $code) = @_; push @{$self->{later}}, [now() + $seconds, $code]; return }

# The last fault has been mended.
sub is_over { my ($self) = @_; return !@{$self->{agenda}} && !@{$self->{later}} }

sub break_relay {
	my ($self) = @_;
	$self->{relay}->kill9;
	$self->in_seconds(rand 0.5, sub { $self->{relay}->start });
	return;
}

sub break_device {
	my ($self) = @_;
	my $device = $self->{devices}[rand @{$self->{devices}}];
	$device->kill9;
	$self->in_seconds(rand 0.5, sub { $device->start if !$device->process->alive });
	return;
}

sub break_fresh {
	my ($self) = @_;
	my $device = $self->{devices}[rand @{$self->{devices}}];
	$device->kill9;
	unlink($device->{file}, map { $device->{file} . $_ } qw(-wal -shm -journal));
	$self->in_seconds(rand 0.2, sub { $device->start if !$device->process->alive });
	return;
}

sub break_postgres {
	my ($self) = @_;
	$self->{cluster}->crash;
	$self->{cluster}->start;
	return;
}

# The background worker, in the middle of whatever it does.
sub break_worker {
	my ($self) = @_;
	my $terminated = eval { $self->{cluster}->connect->do(q(SELECT pg_terminate_backend(pid)
		FROM pg_stat_activity WHERE backend_type = 'clinic_sync worker')) };
	$self->in_seconds(0.1, sub { $self->break_worker }) if !$terminated || $terminated < 1;
	return;
}

# One link, of a device or of the relay to the server, in one of several ways.
sub break_link {
	my ($self) = @_;
	my $link = $self->{links}[rand @{$self->{links}}];
	my $how = (qw(cut refuse blackhole mute-up mute-down))[rand 5];
	$link->tell($how);
	$self->in_seconds(0.1 + rand 1.5, sub {
		$link->tell('cut') if $how ne 'cut' && rand() < 0.5;
		$link->tell('resume');
	}) if $how ne 'cut';
	return;
}

1;
