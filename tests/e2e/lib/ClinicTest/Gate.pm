# A gate before PostgreSQL that shuts when a statement comes: what is sent after
# it waits until the test has done its part.
package ClinicTest::Gate;
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use ClinicTest::Process;

# cluster, dir, pattern => qr/…/: shuts before the first bytes of a client that match.
sub start {
	my ($class, %option) = @_;
	my $listener = IO::Socket::INET->new(Listen => 10, LocalAddr => '127.0.0.1') or die "listen: $!\n";
	my $self = bless {port => $listener->sockport, go => "$option{dir}/gate.go"}, $class;
	unlink($self->{go});
	$self->{process} = ClinicTest::Process->start('gate', log => "$option{dir}/gate.log", code => sub {
		$| = 1;
		carry($listener, $option{cluster}->socket_path, $option{pattern}, $self->{go});
	});
	return $self;
}

sub carry {
	my ($listener, $target, $pattern, $go) = @_;
	my ($select, $shut, %other, %is_client) = (IO::Select->new($listener), 0);
	while (1) {
		for my $socket ($select->can_read) {
			if ($socket == $listener) {
				my $client = $listener->accept;
				my $server = IO::Socket::UNIX->new(Peer => $target) or die "$target: $!\n";
				@other{$client, $server} = ($server, $client);
				$is_client{$client} = 1;
				$select->add($client, $server);
				next;
			}
			my $to = $other{$socket};
			my $bytes;
			if (!sysread($socket, $bytes, 65536)) {
				$select->remove($socket, $to);
				$_->close for $socket, $to;
				next;
			}
			if ($is_client{$socket} && !$shut && $bytes =~ $pattern) {
				$shut = 1;
				print "shut\n";
				ClinicTest::Wait::wait_for('the gate to be opened', sub { -e $go }, 60);
			}
			syswrite($to, $bytes);
		}
	}
	return;
}

# What the relay's dsn needs to go through it.
sub address { my ($self) = @_; return (host => '127.0.0.1', port => $self->{port}) }
sub wait_shut { my ($self) = @_; return $self->{process}->wait_output(qr/^shut$/m) }
sub open { my ($self) = @_; CORE::open(my $out, '>', $self->{go}) or die "$self->{go}: $!\n"; return }

1;
