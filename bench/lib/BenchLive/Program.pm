# A generator that takes orders on its stdin and answers with lines of JSON.
# It ends when its stdin does, so none outlives the case.
package BenchLive::Program;
use strict;
use warnings;
use IPC::Open2 qw(open2);
use JSON::PP qw(decode_json);
use Bench qw(program);

sub start {
	my ($class, $name, @words) = @_;
	my $self = bless {name => $name}, $class;
	$self->{pid} = open2($self->{out}, $self->{in}, program($name), @words);
	$self->{in}->autoflush(1);
	return $self;
}

sub pid { return $_[0]{pid} }

# The next line, which must be of this event.
sub hear {
	my ($self, $event) = @_;
	my $line = readline($self->{out}) // die "$self->{name} ended before it said $event\n";
	my $said = decode_json($line);
	die "$self->{name}, waiting for $event: $line" if $said->{event} ne $event;
	return $said;
}

sub say {
	my ($self, $order) = @_;
	local $SIG{PIPE} = 'IGNORE';
	print {$self->{in}} "$order\n";
	return;
}

sub ask {
	my ($self, $order, $event) = @_;
	$self->say($order);
	return $self->hear($event);
}

# Close its stdin and wait for it; dies unless it ends with 0. Its last line, if there is one.
sub end {
	my ($self) = @_;
	close($self->{in});
	my $last;
	while (defined(my $line = readline($self->{out}))) {
		$last = $line;
	}
	waitpid($self->{pid}, 0);
	die "$self->{name} ended with status " . ($? >> 8) . ($? & 127 ? " (signal)" : '') . ': ' . ($last // '') . "\n"
		if $?;
	return $last ? decode_json($last) : undef;
}

1;
