# A child process with its output in a file. Whatever is still running when
# the test ends, dies, is interrupted or terminated, is killed here.
package ClinicTest::Process;
use strict;
use warnings;
use POSIX qw(:sys_wait_h setpgid);
use ClinicTest::Wait qw(wait_for slurp);

my $main_pid = $$;
my %running;	# pid => process

for my $signal (qw(INT TERM HUP)) {
	$SIG{$signal} = sub { exit(130) };
}

# name, argv => [...] or code => sub, log => file; stdin => 1 keeps a pipe to
# it in {stdin}; env => {...} is added to its environment.
sub start {
	my ($class, $name, %option) = @_;
	my $self = bless {name => $name, log => $option{log}, status => undef}, $class;
	my ($reader, $writer);
	if ($option{stdin}) {
		pipe($reader, $writer) or die "pipe: $!\n";
	}
	$self->{log_from} = -s $option{log} // 0;
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0) {
		setpgid(0, 0);
		@ENV{keys %{$option{env}}} = values %{$option{env}} if $option{env};
		if ($reader) {
			open(STDIN, '<&', $reader);
		} else {
			open(STDIN, '<', '/dev/null');
		}
		open(STDOUT, '>>', $option{log}) or POSIX::_exit(126);
		open(STDERR, '>&', \*STDOUT);
		run_code($name, $option{code}) if $option{code};
		{ exec {$option{argv}[0]} @{$option{argv}} }
		print STDERR "cannot run $option{argv}[0]: $!\n";
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	if ($writer) {
		close($reader);
		$writer->autoflush(1);
		$self->{stdin} = $writer;
	}
	$running{$pid} = $self;
	return $self;
}

# A forked child does not run our END blocks and destructors.
sub run_code {
	my ($name, $code) = @_;
	$SIG{TERM} = 'DEFAULT';
	%running = ();
	my $ok = eval { $code->(); 1 };
	print STDERR "$name: $@" if !$ok;
	POSIX::_exit($ok ? 0 : 1);
}

sub pid { return $_[0]{pid} }

# True while it runs; afterwards {status} is what wait() said.
sub alive {
	my ($self) = @_;
	return 0 if defined $self->{status};
	my $got = waitpid($self->{pid}, WNOHANG);
	return 1 if $got == 0;
	$self->{status} = $got == $self->{pid} ? $? : -1;
	delete $running{$self->{pid}};
	return 0;
}

sub signal {
	my ($self, $signal) = @_;
	kill($signal, $self->{pid}) if $self->alive;
	return $self;
}

# Wait for its end; the exit code, or 128 + signal.
sub wait_exit {
	my ($self, $seconds) = @_;
	wait_for("$self->{name} to end", sub { !$self->alive }, $seconds // 30);
	my $status = $self->{status};
	return $status & 127 ? 128 + ($status & 127) : $status >> 8;
}

sub kill9 {
	my ($self) = @_;
	$self->signal('KILL');
	return $self->wait_exit(10);
}

sub stop {
	my ($self, $seconds) = @_;
	$self->signal('TERM');
	my $code = eval { $self->wait_exit($seconds // 10) };
	return $code // $self->kill9;
}

# What it has written since this start.
sub output {
	my ($self) = @_;
	return substr(slurp($self->{log}), $self->{log_from});
}

# Wait for a line; returns the first capture, or the match. Dies early when
# the process ends without it.
sub wait_output {
	my ($self, $pattern, $seconds) = @_;
	return wait_for("$self->{name} to say $pattern", sub {
		my $alive = $self->alive;
		return $1 // $& if $self->output =~ $pattern;
		die "$self->{name} ended before it said $pattern:\n" . $self->output . "\n"
			if !$alive;
		return;
	}, $seconds);
}

# Largest resident set so far, in bytes.
sub peak_memory {
	my ($self) = @_;
	return slurp("/proc/$self->{pid}/status") =~ /^VmHWM:\s+(\d+) kB/m ? $1 * 1024 : 0;
}

sub kill_all {
	return if $$ != $main_pid;
	for my $p (values %running) {
		kill('KILL', $p->{pid});
		waitpid($p->{pid}, 0);
	}
	%running = ();
	return;
}

# A forked child that is not one of ours must not run our clean-up.
sub is_main { return $$ == $main_pid }

1;
