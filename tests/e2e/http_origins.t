#!/usr/bin/env perl
# Pages in browsers: those of listed origins may ask and connect, all others may not, and
# programs, which name no origin, are as free as ever.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Raw;

my $clinic = ClinicTest->new(patients => 5);
my $relay = $clinic->relay(option => {allow_origins => 'https://desk.clinic.example, http://127.0.0.1:9000'})->wait_ready;
my $code = 'Bearer correct-horse-battery-staple';
my $listed = 'https://desk.clinic.example';

sub ask {
	my ($line, $header, %option) = @_;
	return ClinicTest::Raw->connect(port => $relay->{port})->request($line, $header, %option);
}

sub upgrade { return ClinicTest::Raw->connect(port => $relay->{port})->upgrade(@_) }

sub allowed { my ($answer) = @_; return join ' ', map { $answer->{header}{$_} // '-' } 'access-control-allow-origin', 'vary' }

# ---- answers ----------------------------------------------------------------------------------------

my $answer = ask('GET /tables/patients', {Authorization => $code, Origin => $listed});
is("$answer->{status} " . allowed($answer), "200 $listed origin", 'a listed origin may read the answer');
like($answer->{header}{'access-control-expose-headers'}, qr/x-clinic-cursor/, 'and the cursor in its head');
is(allowed(ask('GET /healthz', {Origin => 'http://127.0.0.1:9000'})), 'http://127.0.0.1:9000 origin', 'so may the other one');
is(allowed(ask('GET /healthz')), '- -', 'a program is told nothing of it');
$answer = ask('GET /tables/patients', {Origin => $listed});
is("$answer->{status} " . allowed($answer), "401 $listed origin", 'the access code is wanted all the same');
for my $other ('http://desk.clinic.example', 'https://desk.clinic.example:8443', 'https://evil.example',
	'https://desk.clinic.example.evil.example', 'null', 'https://desk.clinic.exampl', ',', '*', 'x' x 300) {
	is(allowed(ask('GET /healthz', {Origin => $other})) =~ /^-/, 1, 'not listed: ' . substr($other, 0, 50));
}

# ---- the question before the request ------------------------------------------------------------------

my %question = ('Access-Control-Request-Method' => 'GET', 'Access-Control-Request-Headers' => 'authorization');
for my $path (qw(/tables/patients /db/download /db/changes/1-0123456789abcdef)) {
	$answer = ask("OPTIONS $path", {Origin => $listed, %question});
	is("$answer->{status} " . allowed($answer), "204 $listed origin", "OPTIONS $path: 204");
	like($answer->{header}{'access-control-allow-headers'}, qr/\bauthorization\b/, 'with the access code in a header');
	is($answer->{header}{'access-control-allow-methods'}, 'GET, HEAD', 'and what may be done');
}
$answer = ask('OPTIONS /tables/patients', {Origin => 'https://evil.example', %question});
is("$answer->{status} " . allowed($answer), '405 - -', 'not listed: 405 and no word of it');
my $keep = ClinicTest::Raw->connect(port => $relay->{port});
is($keep->request('OPTIONS /status', {Origin => $listed, %question}, head => 1)->{status}, 204, 'a question');
is($keep->request('GET /healthz', {Origin => $listed})->{body}, "ok\n", 'and the request on the same connection');
is(ask('OPTIONS /status', {Origin => $listed, %question, 'Content-Length' => 3}, body => 'abc')->{status}, 405,
	'a question with a body is none');

# ---- WebSocket --------------------------------------------------------------------------------------------

is(upgrade(), 101, 'a program: 101');
is(upgrade(Origin => $listed), 101, 'a listed origin: 101');
is(upgrade(Origin => uc $listed), 101, 'in any case of letters');
my $own = "http://127.0.0.1:$relay->{port}";
for my $other ('https://evil.example', 'null', $own, "$listed/", 'x' x 300) {
	is(upgrade(Origin => $other), 403, 'not listed: 403, ' . substr($other, 0, 40));
}
is(upgrade(Origin => 'http://relay', Host => 'relay'), 403, 'what the Host header says proves nothing');

# ---- changing it --------------------------------------------------------------------------------------------

sub reload {
	my ($origins) = @_;
	my $already = () = $relay->process->output =~ /reload: done/g;
	$relay->{option}{allow_origins} = $origins;
	$relay->configure;
	$relay->process->signal('HUP');
	return wait_for('the reload', sub { (() = $relay->process->output =~ /reload: done/g) > $already });
}
reload('*');
is(upgrade(Origin => 'https://any.example'), 101, '*: any page');
is(allowed(ask('GET /healthz', {Origin => 'https://any.example'})), 'https://any.example origin', 'may read as well');
reload('');
is(upgrade(Origin => $listed), 403, 'nothing listed: no page');
is(allowed(ask('GET /healthz', {Origin => $listed})), '- -', 'reads anything');
is(upgrade(), 101, 'programs do');
for my $bad ('desk.clinic.example', 'https://desk.clinic.example/', 'null', 'https://', '*.clinic.example',
	'https://a.example https://b.example', 'https://a.example,,https://b.example', 'https://*.example') {
	$relay->{option}{allow_origins} = $bad;
	my $file = $relay->configure;
	my $said = `'$relay->{bin}' --config '$file' --check-config 2>&1`;
	ok($? >> 8 == 2 && $said =~ /allow_origins/, "\"$bad\" is refused");
}
done_testing;
