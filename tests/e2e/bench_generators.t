#!/usr/bin/perl
#
# A figure of the benchmark is worth as much as its generators are strict: one
# delivery that is missing, double, out of order or unknown must end a run
# with 1. The bare loop sends whatever is notified, so each mistake can be
# made on purpose.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib", "$FindBin::Bin/../../bench/lib";
use Test::More;
use ClinicTest qw(now);
use BenchLive::Program;

my $DEVICES = 3;
my $clinic = ClinicTest->new(schema => 0, publish => 0);
my $dsn = $clinic->cluster->dsn;

sub change { my ($seq, $age_s) = @_; return sprintf '"mark":"%d:%d:.."', $seq, (now() - ($age_s // 0)) * 1e9 }
sub bare { return map { '{' . change($_) . '}' } @_ }

sub frame {
	my ($from, $to, $part, @seqs) = @_;
	return qq({"type":"database_change","from":"$from","to":"$to","time":"t",$part"changes":[)
		. join(',', map { '{"data":{' . change($_) . '}}' } @seqs) . ']}';
}

# Devices that are sent these messages and then given an order; what they
# answered, and what they said and ended with.
sub run {
	my ($messages, $order, $event) = @_;
	my $loop = BenchLive::Program->start('bare_loop', '--dsn', $dsn, '--channel', 'bare');
	my $devices = BenchLive::Program->start('device_load', '--bare', '--port', $loop->hear('listening')->{port},
		'--devices', $DEVICES, '--most', 100);
	$devices->hear('connected');
	$clinic->dbh->do('SELECT pg_notify($$bare$$, ?)', undef, $_) for @$messages;
	my $answer = $devices->ask($order, $event);
	my $last = eval { $devices->end };
	my $error = $@;
	$loop->end;
	return {answer => $answer, failed => $last ? 0 : 1, error => $error};
}

my $got = run([bare(1 .. 5)], 'wait 5 20', 'complete');
is($got->{answer}{deliveries}, 5 * $DEVICES, 'each device counts each change');
ok(!$got->{failed}, 'and the run is good') or diag($got->{error});

# The last change tells that the mistake before it has arrived.
for my $case (
	['a double', 'doubles', $DEVICES, bare(1, 1, 2)],
	['a change nobody was to send', 'strays', $DEVICES, bare(1, 101, 2)],
	['bytes that are no message', 'broken', $DEVICES, 'x', bare(1, 2)],
	['a frame that does not follow', 'gaps', $DEVICES, frame('a', 'b', '', 1), frame('b', 'c', '', 2)],
	['a double in frames', 'doubles', $DEVICES, frame('', 'b', '', 1), frame('b', 'c', '', 1, 2)],
) {
	my ($name, $counter, $times, @messages) = @$case;
	$got = run(\@messages, 'wait 2 20', 'complete');
	is($got->{answer}{$counter}, $times, "$name is counted");
	ok($got->{failed}, 'and fails the run');
}

$got = run([bare(1, 3)], 'wait 3 1', 'timeout');
is($got->{answer}{missing}, $DEVICES, 'a missing change is counted');
ok($got->{failed}, 'and fails the run');

my @parts = (frame('', 'b', '"part":0,"last":false,', 1, 2), frame('', 'b', '"part":1,"last":true,', 3));
$got = run([@parts, frame('b', 'c', '', 4)], 'wait 4 20', 'complete');
is($got->{answer}{deliveries}, 4 * $DEVICES, 'a batch in parts counts');
ok(!$got->{failed}, 'and the run is good') or diag($got->{error});
$got = run([$parts[0], frame('', 'b', '', 4)], 'wait 1 1', 'complete');
is($got->{answer}{deliveries}, $DEVICES, 'but not before its last part');

$got = run(['{' . change(1, 0.25) . '}'], 'wait 1 20', 'complete');
cmp_ok($got->{answer}{sent}{p50_ms}, '>=', 250, 'a time counts from its mark');
cmp_ok($got->{answer}{sent}{max_ms}, '<', 20_000, 'to its arrival');

# The relay or the loop goes away in the middle.
my $loop = BenchLive::Program->start('bare_loop', '--dsn', $dsn, '--channel', 'bare');
my $devices = BenchLive::Program->start('device_load', '--bare', '--port', $loop->hear('listening')->{port},
	'--devices', $DEVICES);
$devices->hear('connected');
$loop->end;
is($devices->ask('wait 0 1', 'timeout')->{lost_links}, $DEVICES, 'a link that ends is counted');
ok(!eval { $devices->end; 1 }, 'and fails the run');

done_testing();
