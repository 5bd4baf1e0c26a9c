# A clinic-relay of a test. It keeps its port over restarts.
package ClinicTest::Relay;
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use ClinicTest::Process;
use ClinicTest::Wait qw(wait_for);

# dir, name, bin, dsn, code_file; option => {...}: further lines of its configuration
sub new {
	my ($class, %option) = @_;
	return bless {port => 0, %option}, $class;
}

sub configure {
	my ($self) = @_;
	my $file = "$self->{dir}/$self->{name}.conf";
	my %line = (dsn => $self->{dsn}, listen_address => '127.0.0.1', port => $self->{port},
		access_code_file => $self->{code_file}, relay_name => $self->{name},
		snapshot_dir => "$self->{dir}/$self->{name}.snapshots", %{$self->{option} // {}});
	mkdir($line{snapshot_dir});
	open(my $out, '>', $file) or die "$file: $!\n";
	print $out map { "$_ = $line{$_}\n" } sort keys %line;
	close($out) or die "$file: $!\n";
	chmod(0600, $file);
	return $file;
}

# Start and wait until it listens.
sub start {
	my ($self) = @_;
	$self->{process} = ClinicTest::Process->start($self->{name},
		log => "$self->{dir}/$self->{name}.log",
		argv => [$self->{bin}, '--config', $self->configure]);
	$self->{port} = $self->{process}->wait_output(qr/listening on [\d.]+:(\d+)/);
	return $self;
}

sub process { return $_[0]{process} }
sub kill9 { return $_[0]{process}->kill9 }
sub stop { return $_[0]{process}->stop }
sub url { return "ws://127.0.0.1:$_[0]{port}/ws" }

# HTTP::Tiny's answer to a GET.
sub get {
	my ($self, $path, %header) = @_;
	open(my $in, '<', $self->{code_file}) or die "$self->{code_file}: $!\n";
	chomp(my $code = <$in>);
	return HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$self->{port}$path",
		{headers => {Authorization => "Bearer $code", %header}});
}

sub status {
	my ($self) = @_;
	my $answer = $self->get('/status');
	return $answer->{success} ? decode_json($answer->{content}) : undef;
}

sub wait_ready {
	my ($self, $seconds) = @_;
	wait_for("$self->{name} to be ready", sub { $self->get('/readyz')->{status} == 200 }, $seconds);
	return $self;
}

1;
