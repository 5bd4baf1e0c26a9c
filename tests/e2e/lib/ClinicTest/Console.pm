# The commands of a document, run as they stand there.
#
#	my $console = ClinicTest::Console->new(dir => …, env => {…}, alias => ['server:8080' => '127.0.0.1:4711']);
#	for my $step (ClinicTest::Console::steps($page)) {
#		my ($same, $said) = $console->check($step);
#	}
#
# Blocks of a page that begin with ```console hold commands after "$ " and below
# each what it prints; "…" stands for anything. All run in one bash, so that
# jobs, variables and $? go on from one to the next. Lines of the programs'
# logs, which begin with a time, are left out before the comparison. A command
# that does not end in time fails.
package ClinicTest::Console;
use strict;
use warnings;
use IPC::Open2 qw(open2);
use IO::Select;
use ClinicTest::Wait qw(now);

my $PATIENCE_S = 120;
my $LOG_LINE = qr/^\d{4}-\d\d-\d\dT[\d:.]+Z (?:debug|info|warning|error): .*\n/m;

# {command, expected} of every command, in order.
sub steps {
	my ($page) = @_;
	my @steps;
	for my $block ($page =~ /^```console\n(.*?)^```$/gms) {
		my ($before, @parts) = split /^\$ /m, $block;
		die "a console block begins with a command: $block\n" if $before ne '';
		push @steps, map { my ($command, $expected) = split /\n/, $_, 2;
			{command => $command, expected => $expected // ''} } @parts;
	}
	return @steps;
}

sub new {
	my ($class, %option) = @_;
	my $self = bless {%option}, $class;
	local %ENV = (%ENV, %{$self->{env} // {}});
	$self->{pid} = open2($self->{out}, $self->{in}, 'bash', '--noprofile', '--norc', '-c',
		'cd "$1" && exec bash --noprofile --norc 2>&1', 'bash', $self->{dir});
	$self->{in}->autoflush(1);
	# says what a command ended with, and leaves it for the next one to ask
	print {$self->{in}} 'said() { local code=$?; printf "\001%d\001" $code; return $code; }' . "\n";
	return $self;
}

# What a command prints, with the lines of logs. Its own stdin is empty.
sub run {
	my ($self, $command) = @_;
	my %alias = @{$self->{alias} // []};
	$command =~ s/\Q$_\E/$alias{$_}/g for keys %alias;
	my $job = $command =~ s/ &$//;	# a process of its own that "kill %1" ends, not a group of commands
	print {$self->{in}} $job ? "$command < /dev/null &\nsaid\n" : "{ $command; } < /dev/null\nsaid\n";
	my $said = '';
	my $select = IO::Select->new($self->{out});
	my $deadline = now() + $PATIENCE_S * ($ENV{CLINIC_TEST_PATIENCE} // 1);
	while ($said !~ s/\001\d+\001\z//) {
		my $left = $deadline - now();
		return "$said\n(did not end within $PATIENCE_S s)\n" if $left <= 0 || !$select->can_read($left);
		sysread($self->{out}, my $more, 65536) or return "$said\n(bash ended)\n";
		$said .= $more;
	}
	$said =~ s/\Q$alias{$_}\E/$_/g for keys %alias;
	return $said;
}

# True if it printed what the page says, and what it printed.
sub check {
	my ($self, $step) = @_;
	my $said = $self->run($step->{command}) =~ s/$LOG_LINE//gr;
	# a line of "…" alone is any number of lines
	my $expected = join '', map { /^…$/ ? '(?:.*\n)*?' : join('.*', map { quotemeta } split /…/, $_, -1) . '\n' }
		split /\n/, $step->{expected};
	return (scalar($said =~ /\A$expected\z/), $said);
}

# Close bash's stdin and wait for it; what it leaves running is ended.
sub end {
	my ($self) = @_;
	print {$self->{in}} 'kill $(jobs -p) 2> /dev/null; wait' . "\n";
	close($self->{in});
	waitpid($self->{pid}, 0);
	return;
}

1;
