# A bare TCP connection to a relay, for what no well-behaved program says:
# HTTP by hand and WebSocket frames of any shape. RFC 6455 as far as needed.
package ClinicTest::Raw;
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64;
use Socket qw(IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_RCVBUF);
use ClinicTest::Wait qw(now);

# port => N; receive_buffer => bytes keeps what the kernel takes small
sub connect {
	my ($class, %option) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $option{port},
		Proto => 'tcp') or return;
	setsockopt($socket, SOL_SOCKET, SO_RCVBUF, $option{receive_buffer})
		if $option{receive_buffer};
	setsockopt($socket, IPPROTO_TCP, TCP_NODELAY, 1);
	return bless {socket => $socket, in => '', text => ''}, $class;
}

sub send_bytes {
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes) {
		my $n = syswrite($self->{socket}, $bytes);
		return 0 if !defined $n;
		substr($bytes, 0, $n) = '';
	}
	return 1;
}

# Read until $self->{in} matches, the peer closed, or $seconds (10) are over.
sub read_until {
	my ($self, $enough, $seconds) = @_;
	my $deadline = now() + ($seconds // 10) * ($ENV{CLINIC_TEST_PATIENCE} // 1);
	my $select = IO::Select->new($self->{socket});
	until ($enough->()) {
		my $left = $deadline - now();
		return 0 if $left <= 0 || $self->{ended};
		next if !$select->can_read($left);
		my $n = sysread($self->{socket}, $self->{in}, 65536, length $self->{in});
		$self->{ended} = 1 if !$n;
	}
	return 1;
}

# ---- HTTP ----------------------------------------------------------------------

# One request, header lines as given; {status, header => {...}, body}, or undef
# when the relay just closed. head => 1: the answer has no body.
sub request {
	my ($self, $line, $header, %option) = @_;
	my $text = "$line HTTP/1.1\r\nHost: relay\r\n";
	$text .= "$_: $header->{$_}\r\n" for sort keys %{$header // {}};
	$self->send_bytes("$text\r\n" . ($option{body} // ''));
	$self->read_until(sub { $self->{in} =~ /\r\n\r\n/ }) or return;
	$self->{in} =~ s/\AHTTP\/1\.[01] (\d+)[^\r\n]*\r\n(.*?)\r\n\r\n//s or return;
	my %answer = (status => $1);
	my %field = map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $2;
	$answer{header} = \%field;
	return \%answer if $option{head};
	my $length = $field{'content-length'};
	$self->read_until(sub { defined $length && length $self->{in} >= $length });
	$answer{body} = substr($self->{in}, 0, $length // length $self->{in}, '');
	return \%answer;
}

# ---- WebSocket -----------------------------------------------------------------

# Ask for the upgrade; the status of the answer, 0 when there was none.
sub upgrade {
	my ($self, %header) = @_;
	%header = (Upgrade => 'websocket', Connection => 'Upgrade', 'Sec-WebSocket-Version' => 13,
		'Sec-WebSocket-Key' => encode_base64('sixteen bytes ok', ''),
		'Sec-WebSocket-Protocol' => 'clinic-sync.v1', %header);
	defined $header{$_} or delete $header{$_} for keys %header;
	my $answer = $self->request('GET /ws', \%header, head => 1);
	return $answer ? $answer->{status} : 0;
}

# Opened as far as `connected`.
sub open {
	my ($class, %option) = @_;
	my $header = delete $option{header} // {};
	my $self = $class->connect(%option) or die "cannot connect to the relay\n";
	my $status = $self->upgrade(%$header);
	die "the upgrade was answered with $status\n" if $status != 101;
	return $self;
}

sub frame_bytes {
	my ($opcode, $payload, $final) = @_;
	my $len = length $payload;
	my $head = pack 'C', $opcode | ($final // 1 ? 0x80 : 0);
	$head .= $len < 126 ? pack('C', 0x80 | $len)
		: $len < 65536 ? pack('Cn', 0x80 | 126, $len) : pack('CQ>', 0x80 | 127, $len);
	return $head . "\0\0\0\0" . $payload;	# the mask of zeros changes nothing
}

sub say { my ($self, $message) = @_; return $self->send_bytes(frame_bytes(1, encode_json($message))) }

# Whole frames in {in} go to @{$self->{messages}} and {close_code}; pings are answered.
sub take_frames {
	my ($self) = @_;
	while (length $self->{in} >= 2) {
		my ($first, $len) = unpack 'CC', $self->{in};
		my $at = 2;
		if ($len >= 126) {
			my ($bytes, $form) = $len == 126 ? (2, 'n') : (8, 'Q>');
			return if length $self->{in} < 2 + $bytes;
			$len = unpack $form, substr($self->{in}, 2, $bytes);
			$at += $bytes;
		}
		return if length $self->{in} < $at + $len;
		my $payload = substr($self->{in}, 0, $at + $len, '');
		substr($payload, 0, $at) = '';
		my $opcode = $first & 15;
		if ($opcode <= 1) {
			$self->{text} .= $payload;
			next if !($first & 0x80);
			push @{$self->{messages}}, decode_json($self->{text});
			$self->{text} = '';
		} elsif ($opcode == 8) {
			$self->{close_code} = $len >= 2 ? unpack 'n', $payload : 1005;
		} elsif ($opcode == 9) {
			$self->send_bytes(frame_bytes(10, $payload));
		}
	}
	return;
}

# The next message of this type (any of a list); undef when none comes.
sub wait_message {
	my ($self, $types, $seconds) = @_;
	my %wanted = map { $_ => 1 } ref $types ? @$types : $types;
	my $found;
	$self->read_until(sub {
		$self->take_frames;
		while (!$found && @{$self->{messages} // []}) {
			my $message = shift @{$self->{messages}};
			$found = $message if $wanted{$message->{type}};
		}
		return $found;
	}, $seconds);
	return $found;
}

# The close code; 0 when the relay does not close in time, -1 when it did without a word.
# linger => 1: do not answer it and keep the connection.
sub wait_close {
	my ($self, %option) = @_;
	$self->read_until(sub { $self->take_frames; defined $self->{close_code} });
	$self->close if !$option{linger};
	return $self->{close_code} // ($self->{ended} ? -1 : 0);
}

sub client_info {
	my ($self, $id, %more) = @_;
	return $self->say({type => 'client_info', device_id => $id,
		access_code => 'correct-horse-battery-staple', %more});
}

sub request_sync {
	my ($self, $cursor, $tables) = @_;
	return $self->say({type => 'request_sync', cursor => $cursor, tables => $tables});
}

# A device that follows from {cursor} on. cursor => '…' (the server's now); tables => […]
# (all); info => {…}: more of client_info; the rest as for connect().
sub live {
	my ($class, $clinic, $id, %option) = @_;
	my ($tables, $info, $cursor) = (delete $option{tables}, delete $option{info} // {}, delete $option{cursor});
	my $self = $class->open(port => $clinic->{relay} && $clinic->{relay}{port}, %option);
	$self->{connected} = $self->wait_message('connected');
	$self->client_info($id, %$info);
	$self->{cursor} = $cursor // $clinic->cursor;
	$self->request_sync($self->{cursor}, $tables);
	$self->wait_message('ready') or die "$id is not ready\n";
	return $self;
}

sub close { my ($self) = @_; return close($self->{socket}) }

1;
