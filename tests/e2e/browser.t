#!/usr/bin/env perl
# A browser tab lives on the WebSocket and /tables/<t> alone (browser_page.html): it shows
# what psql shows, a change appears by itself, and no break of the link loses one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Process;
use ClinicTest::WireRows;
use Encode ();

my ($browser) = grep { -x } map { my $name = $_; map { "$_/$name" } split /:/, $ENV{PATH} }
	qw(chromium-headless-shell chromium chromium-browser google-chrome);
plan skip_all => 'no Chromium here (Debian: chromium-headless-shell)' if !$browser;

my $clinic = ClinicTest->new(patients => 30);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {snapshot_max_age_s => 0, max_frame_bytes => '16kB'})->wait_ready;
my $proxy = $clinic->proxy('link', "127.0.0.1:$relay->{port}");
mkdir "$clinic->{dir}/browser";
my $driver = ClinicTest::Process->start('browser', log => "$clinic->{dir}/browser.log", stdin => 1,
	argv => ["$FindBin::Bin/browser_driver.py", $browser, "$clinic->{dir}/browser", "$FindBin::Bin/browser_page.html"]);
my $page_port = $driver->wait_output(qr/^serving (\d+)$/m, 60);
my $asked = 0;

sub ask {
	my ($command) = @_;
	my $file = "$clinic->{dir}/browser/answer." . ++$asked;
	print {$driver->{stdin}} encode_json($command), "\n";
	wait_for('the browser to answer', sub { -e $file || !$driver->alive });
	my $answer = JSON::PP->new->utf8->allow_nonref->decode(slurp($file));
	die "$answer->{exception}\n" if ref $answer eq 'HASH' && $answer->{exception};
	return $answer;
}

sub js { return ask({js => $_[0]}) }
sub state { return js(q($('state').textContent)) }
sub fulls { return js(q($('fulls').textContent)) }

sub enter {
	my ($code) = @_;
	js(qq(\$('relay').value = '127.0.0.1:@{[$proxy->port]}'; \$('code').value = '$code'; \$('form').requestSubmit()));
	return;
}

# What the page shows of these columns of a table, and what psql says, line by line.
sub shown {
	my ($table, @columns) = @_;
	js(qq(\$('table').value = '$table'; draw()));
	my ($names, @rows) = @{js(q([...$('rows').rows].map(tr => [...tr.cells].map(td => td.textContent))))};
	my %at = map { $names->[$_] => $_ } 0 .. $#{$names // []};
	return join "\n", sort map { my $row = $_; join '|', map { $row->[$at{$_}] } @columns } @rows;
}

sub psql {
	my ($table, @columns) = @_;
	my $out = $clinic->cluster->psql('-d', 'clinic', '-At', '-c', 'SELECT ' . join(' || \'|\' || ',
		map { qq(coalesce("$_"::text, '–')) } @columns) . " FROM $table");
	return join "\n", sort split /\n/, Encode::decode('UTF-8', $out);
}

my @patients = ('patients', qw(id fullName gender contactNumber address isSeniorCitizen));
my @payments = ('payments', qw(id billId amountPaid paymentMethod));

sub page_equals {
	my ($name, @what) = @_;
	my $psql = psql(@what);
	my $shown;
	my $same = eval { wait_for($name, sub { ($shown = shown(@what)) eq $psql }, 20) };
	return ok($same, $name) || diag("page:\n", substr($shown, 0, 2000), "\npsql:\n", substr($psql, 0, 2000));
}

# Every table of the page against the server's digest.
sub all_equal {
	my ($name) = @_;
	my $batch = $clinic->cut_batch;
	wait_for('the page to be level', sub { (js('cursor') // '') =~ /^(\d+)-/ && $1 >= $batch });
	my $held = js('Object.fromEntries([...tables].map(([n, t]) => [n, [...t.rows.values()]]))');
	my @differing = grep { ClinicTest::WireRows::wire_digest($held->{$_} // []) ne $clinic->server_digest($_) } @ClinicTest::TABLES;
	return is("@differing", '', $name);
}

# ---- a page that may not, and one that may ------------------------------------------------------------

my $page = "http://127.0.0.1:$page_port";
ask({open => $page});
enter('correct-horse-battery-staple');
wait_for('the upgrade to be refused', sub { $relay->process->output =~ /upgrade refused: a page of an origin/ });
unlike(state(), qr/level|following/, 'a page whose origin is not listed gets nothing');
$relay->{option}{allow_origins} = $page;
$relay->configure;
$relay->process->signal('HUP');
$relay->process->wait_output(qr/reload: done/);
ask({open => "$page/"});
enter('wrong-horse-battery-staple');
wait_for('the page to be told', sub { state() eq 'refused: 4401' });
pass('a wrong access code is refused for good');
ask({open => $page});
enter('correct-horse-battery-staple');
wait_for('the page to be level', sub { state() eq 'level' });
page_equals('the page shows the rows that psql shows', @patients);
page_equals('of other tables too', @payments);
all_equal('and holds every table, to the byte');
is(js(q([...$('table').options].map(o => o.value).join(' '))), join(' ', sort @ClinicTest::TABLES), 'which one may choose from');
js(q($('table').value = 'patients'; $('check').click()));
is(wait_for('the answer by HTTP', sub { js(q($('checked').textContent)) }), 'patients: 30 rows by HTTP, the same',
	'/tables/<t> has the same rows');

# ---- changes ------------------------------------------------------------------------------------------

sub run { $clinic->cluster->psql('-d', 'clinic', '-c', $_[0]); return }
run(q(UPDATE patients SET "contactNumber" = '0917-new', address = NULL WHERE id = 'JG-0002'));
page_equals('an update appears', @patients);
run(q(INSERT INTO patients (id, "fullName", address) VALUES ('JG-9999', 'Niño, "É"', '<b>not bold</b>')));
page_equals('an insert', @patients);
run(q(DELETE FROM patients WHERE id = 'JG-9999'));
page_equals('a delete', @patients);
run(q(UPDATE patients SET address = repeat('long ', 800)));
all_equal('a batch that travels in parts');
run(q(TRUNCATE user_activity_log));
run(q(ALTER TABLE payments ADD COLUMN tip numeric(12,2)));
run(q(UPDATE payments SET tip = 5 WHERE id < 4));
page_equals('a new column', @payments, 'tip');
all_equal('truncate and a new column');
is(fulls(), 1, 'all that without another full sync');

# ---- broken links -----------------------------------------------------------------------------------------

for my $round (1 .. 3) {
	run(qq(UPDATE patients SET "bloodType" = 'r$round' WHERE id < 'JG-0010'));
	$proxy->tell('refuse');
	wait_for('the page to notice', sub { state() =~ /offline|connecting/ });
	run(qq(UPDATE patients SET gender = 'away $round' WHERE id < 'JG-0020'));
	run(qq(INSERT INTO user_activity_log ("userId", "actionDescription") SELECT 'x', 'round $round' FROM generate_series(1, 50)));
	$proxy->tell('resume');
	run(qq(UPDATE patients SET "civilStatus" = 'back $round' WHERE id < 'JG-0015'));
	all_equal("break $round: nothing is lost");
}
$proxy->tell('blackhole');
run(q(UPDATE users SET "fullName" = 'in the dark'));
$proxy->tell('cut')->tell('resume');
all_equal('a link that carried nothing for a while');
$relay->kill9;
run(q(UPDATE users SET "fullName" = 'the relay is away'));
$relay->start->wait_ready;
all_equal('a relay that was killed');
is(fulls(), 1, 'all that from the cursor on');

# ---- another beginning --------------------------------------------------------------------------------------

run(q(ALTER TABLE payments ALTER COLUMN notes TYPE varchar(5000)));
wait_for('a second full sync', sub { fulls() == 2 });
all_equal('a table that was rewritten: everything anew');
wait_for('the page to be level', sub { state() eq 'level' });
page_equals('and shown', @payments);
close($driver->{stdin});
$driver->wait_exit;
done_testing;
