# A link that can be broken: tests/tools/fault_proxy.c in front of a port or socket.
package ClinicTest::Proxy;
use strict;
use warnings;
use ClinicTest::Process;

# name, target => 127.0.0.1:PORT or a socket's path, tools => dir, log => file
sub start {
	my ($class, $name, %option) = @_;
	my $process = ClinicTest::Process->start($name, stdin => 1, log => $option{log},
		argv => ["$option{tools}/fault_proxy", 0, $option{target}]);
	my $self = bless {process => $process, answers => 0}, $class;
	$self->{port} = $process->wait_output(qr/^listening (\d+)/m);
	return $self;
}

sub port { return $_[0]{port} }

# cut, refuse, blackhole, mute-up, mute-down, "delay 20", resume; returns when it is done.
sub tell {
	my ($self, $command) = @_;
	my $process = $self->{process};
	my $count = ++$self->{answers};
	print {$process->{stdin}} "$command\n";
	$process->wait_output(qr/\A(?:.*?^ok [^\n]*$){$count}/ms);
	return $self;
}

sub stop { my ($self) = @_; close($self->{process}{stdin}); $self->{process}->wait_exit; return }

1;
