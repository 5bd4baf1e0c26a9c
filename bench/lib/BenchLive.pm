# A stream of numbered changes from writers to thousands of devices, for the
# cases that time it: through the relay, and through the bare loop beside it.
#
#	my $live = BenchLive->new(relay => {…options});
#	my $ours = $live->stream('relay', devices => 100);
#	my $bare = $live->stream('bare', devices => 100);
#	my $got = $ours->run(rate => 20, seconds => 5);	# {devices => {…}, writer => {…}}
#	$_->end for $ours, $bare;
#
# The table "live" is published; "bare" is its twin without any of it, with the
# usual trigger that calls pg_notify. The modes of NOTIFY that are timed are
# worker and commit (BENCH_MODES=commit: only that one). The streams stay connected while others
# run, so rounds can alternate. A generator that misses a delivery or gets one
# twice says so and ends with 1, and the case dies of it.
package BenchLive;
use strict;
use warnings;
use Bench qw(wait_for);
use BenchLive::Program;

our @MODES = split /,/, $ENV{BENCH_MODES} // 'worker,commit';

my @TABLES = (<<'END', <<'END', <<'END', <<'END');
CREATE TABLE live (id bigint PRIMARY KEY, mark text NOT NULL)
END
CREATE TABLE bare (id bigint PRIMARY KEY, mark text NOT NULL)
END
CREATE FUNCTION bare_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('bare', '{"mark":"' || NEW.mark || '","table":"' || TG_TABLE_NAME || '","operation":"' ||
		lower(TG_OP) || '","key":{"id":"' || NEW.id || '"},"event":"data_change_immediate"}');
	RETURN NULL;
END $$
END
CREATE TRIGGER bare_notify AFTER INSERT ON bare FOR EACH ROW EXECUTE FUNCTION bare_notify()
END

# relay => {…}: further options of the relay; what else goes to Bench::clinic.
sub new {
	my ($class, %option) = @_;
	my $relay = delete $option{relay} // {};
	my $clinic = Bench::clinic(schema => 0, %option);
	my $self = bless {clinic => $clinic, relay_option => {max_devices => 10_000, %$relay}, streams => 0}, $class;
	$clinic->dbh->do($_) for @TABLES;
	$clinic->dbh->do("SELECT clinic_sync.publish('live')");
	$self->wait_worker if grep { $_ eq 'worker' } @MODES;
	$clinic->cut_batch;
	$self->{relay} = $clinic->relay(option => $self->{relay_option});
	$self->{relay}->wait_ready;
	return $self;
}

# The first change asks for a worker; before it is there nothing is what it will be.
sub wait_worker {
	my ($self) = @_;
	my $dbh = $self->dbh;
	$dbh->do(q(INSERT INTO live VALUES (0, '')));
	wait_for('a batch cut by the worker', sub {
		$dbh->selectrow_array('SELECT cuts FROM clinic_sync.workers WHERE database = current_database()') });
	return;
}

sub clinic { return $_[0]{clinic} }
sub relay { return $_[0]{relay} }
sub dbh { return $_[0]{clinic}->dbh }

# The batch that devices begin with: everything so far is in it.
sub cursor {
	my ($self) = @_;
	$self->{clinic}->cut_batch;
	return $self->dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
}

# A value of the relay's /metrics.
sub metric {
	my ($self, $name) = @_;
	my $text = $self->{relay}->get('/metrics')->{content};
	return $text =~ /^clinic_relay_\Q$name\E (\d+)$/m ? $1 : die "no metric $name\n";
}

# How a session of a writer is to ring: worker or commit.
sub writer_dsn {
	my ($self, $notify) = @_;
	my $dsn = $self->{clinic}->cluster->dsn;
	return $notify ? "$dsn options='-c clinic_sync.notify=$notify'" : $dsn;
}

# A stream by the relay or the bare loop. devices => N; most => changes that it
# will ever carry; connections => of each writer; notify => [modes] (relay
# only); bell => 1: writers also hear the bell; receive_bytes => of a device's
# socket.
sub stream {
	my ($self, $way, %option) = @_;
	return BenchLive::Stream->new($self, $way, %option);
}

package BenchLive::Stream;
use strict;
use warnings;
use BenchLive::Program;

sub new {
	my ($class, $live, $way, %option) = @_;
	my $self = bless {live => $live, way => $way, most => 100_000, writers => {}, connections => 4,
		notify => $way eq 'bare' ? ['bare'] : [@BenchLive::MODES], %option}, $class;
	$live->{last}{$way} //= 0;
	$self->{first} = $self->last + 1;
	$self->{stamps} = "$live->{clinic}{dir}/$way." . ++$live->{streams} . '.stamps';
	$self->start_bare if $way eq 'bare';
	$self->start_devices;
	$self->start_writer($_) for @{$self->{notify}};
	return $self;
}

sub start_bare {
	my ($self) = @_;
	$self->{loop} = BenchLive::Program->start('bare_loop', '--dsn', $self->{live}->writer_dsn, '--channel', 'bare');
	$self->{port} = $self->{loop}->hear('listening')->{port};
	return;
}

sub start_devices {
	my ($self) = @_;
	my $live = $self->{live};
	my @how = $self->{way} eq 'bare' ? ('--bare', '--port', $self->{port}) : ('--port', $live->relay->{port},
		'--cursor', $live->cursor, '--code-file', $live->{clinic}{code_file});
	push @how, '--receive-bytes', $self->{receive_bytes} if $self->{receive_bytes};
	$self->{devices_program} = BenchLive::Program->start('device_load', @how, '--devices', $self->{devices},
		'--first', $self->{first}, '--most', $self->{most}, '--stamps', $self->{stamps});
	$self->{connected} = $self->{devices_program}->hear('connected');
	return;
}

sub start_writer {
	my ($self, $notify) = @_;
	my $bare = $self->{way} eq 'bare';
	my $writer = BenchLive::Program->start('commit_load', '--table', $bare ? 'bare' : 'live',
		'--dsn', $self->{live}->writer_dsn($bare ? undef : $notify), '--connections', $self->{connections},
		'--stamps', $self->{stamps}, '--most', $self->{first} + $self->{most},
		$self->{bell} ? ('--bell', $bare ? 'bare' : 'clinic_sync') : ());
	$writer->hear('connected');
	$self->{writers}{$notify} = $writer;
	return;
}

# rate => changes a second, seconds => or count =>; rows => in a commit (1);
# notify => which writer; patience => seconds until all must have arrived;
# warm_up => seconds that are not counted, before.
sub run {
	my ($self, %option) = @_;
	$self->write(%option, seconds => $option{warm_up}, count => undef) if $option{warm_up};
	return $self->write(%option);
}

sub write {
	my ($self, %option) = @_;
	my $devices = $self->{devices_program};
	$devices->ask('reset', 'reset');
	my $writer = $self->commit(%option);
	my $patience = $option{patience} // 30;
	my $got = $devices->ask("wait $writer->{last} $patience", 'complete');
	return {devices => $got, writer => $writer, first => $writer->{first}, last => $writer->{last}};
}

# Only the writer's part of it.
sub commit {
	my ($self, %option) = @_;
	my $writer = $self->{writers}{$option{notify} // $self->{notify}[0]};
	my $first = $self->last + 1;
	my $count = int($option{count} // $option{rate} * $option{seconds}) || 1;
	$self->{live}{last}{$self->{way}} += $count;
	$first + $count <= $self->{first} + $self->{most} or die "a stream of more than $self->{most} changes\n";
	return $writer->ask("run $first $count $option{rate} " . ($option{rows} // 1), 'done');
}

# A percentile in ms of what run() returned, from "returned" or "sent". A frame
# may be there before the writer has seen its COMMIT return: less than 10 us
# counts as 10, so that it can be divided by.
sub ms {
	my ($got, $from, $percentile) = @_;
	my $ms = $got->{devices}{$from}{"p${percentile}_ms"};
	return $ms < 0.01 ? 0.01 : $ms;
}

# The number of the last change; 0: none yet.
sub last { my ($self) = @_; return $self->{live}{last}{$self->{way}} }

# The times of changes first to last: [{due, sent, returned, bell, batch, first, last}, …], ns.
sub stamps {
	my ($self, $first, $last) = @_;
	open(my $in, '<:raw', $self->{stamps}) or die "$self->{stamps}: $!\n";
	seek($in, 64 * $first, 0);
	my $want = 64 * ($last - $first + 1);
	read($in, my $bytes, $want) == $want or die "$self->{stamps} is short\n";
	my @fields = qw(due sent returned bell batch first last spare);
	return map { my %stamp; @stamp{@fields} = unpack('q8', substr($bytes, 64 * $_, 64)); \%stamp }
		0 .. $last - $first;
}

sub devices { return $_[0]{devices_program} }

# End it; dies if a delivery was missing or double.
sub end {
	my ($self) = @_;
	$self->{devices_program}->end;
	$_->end for values %{$self->{writers}};
	$self->{loop}->end if $self->{loop};
	return;
}

1;
