#!/usr/bin/perl
#
# Tables sent again over the link: value for value what the server holds, at a
# batch that fits the feed, at the pace of the one who reads and of nobody else.
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use List::Util qw(sum);
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use ClinicTest qw(now wait_for slurp);
use ClinicTest::Canon qw(digest_of);
use ClinicTest::Raw;

my $clinic = ClinicTest->new(patients => 60);
my $dbh = $clinic->dbh;

# Every class of value, with what no column of SQLite can hold exactly.
$dbh->do('CREATE TABLE odd (i integer, t text COLLATE "C", b boolean, n bigint, f float8, d numeric(12,2), x bytea,
	j json, z timestamptz, PRIMARY KEY (i, t))');
$dbh->do(q(INSERT INTO odd VALUES
	(-5, E'\u00d1and\u00fa "quoted" \\\\ tab\tend', true, 9223372036854775807, 'NaN', 'NaN', '\x00ff', '{ "a" : 1 }', '2026-11-23 08:00Z'),
	(1, '', false, -9223372036854775808, '-0', 1500, '\x', 'null', 'infinity'),
	(2, 'nulls', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(3, E'\x01 \U0001F600', true, 0, 1e20, -0.01, NULL, '[]', '0044-03-15 12:00Z BC')));
$dbh->do(q(INSERT INTO odd (i, t, j) SELECT 10 + n, repeat(chr(233), 1000), to_json(repeat('x', 150000 * n)) FROM generate_series(1, 3) n));
$dbh->do("SELECT clinic_sync.publish('odd')");
my $relay = $clinic->relay(option => {report_interval_s => 1, max_message_bytes => '1MB'})->wait_ready;
my @PUBLISHED = map { $_->[0] } @{$dbh->selectall_arrayref('SELECT name FROM clinic_sync.snapshot_tables() ORDER BY name')};

sub batch_of { return $_[0] =~ /^(\d+)/ ? $1 : die "no cursor\n" }
sub metric { return $relay->get('/metrics')->{content} =~ /^clinic_relay_$_[0] (\d+)$/m ? $1 : undef }
sub live { my ($id, %option) = @_; return ClinicTest::Raw->live($clinic, $id, %option) }

# One table: {rows, parts, cursor, oversize, schema, error}. $raw->{cursor} follows the feed.
sub receive {
	my ($raw, $id) = @_;
	my %got = (rows => [], parts => 0, bytes => []);
	while (my $m = $raw->wait_message([qw(table_sync database_change heartbeat error)], 60)) {
		$raw->{cursor} = $m->{to} if $m->{to} && ($m->{last} // 1);
		return {%got, error => $m} if $m->{type} eq 'error';
		next if $m->{type} ne 'table_sync';
		die "pieces out of order\n" if $m->{part} != $got{parts}++ || $m->{id} != $id;
		push @{$got{rows}}, @{$m->{rows}};
		push @{$got{bytes}}, [length encode_json($m), scalar @{$m->{rows}}];
		$got{schema} = $m->{schema} if $m->{part} == 0;
		return {%got, cursor => $m->{cursor}, oversize => $m->{oversize}} if $m->{last};
	}
	return {%got, error => {code => 'nothing came'}};
}

sub fetch {
	my ($raw, $table, $id) = @_;
	$id //= 0;
	$raw->say({type => 'request_table_sync', table => $table, id => $id});
	return receive($raw, $id);
}

# ---- the values --------------------------------------------------------------------

my $one = live('one');
for my $table (@PUBLISHED) {
	my $got = fetch($one, $table, 7);
	is(digest_of(@{$got->{rows}}), $clinic->server_digest($table), "$table as the server has it");
	is($got->{schema}{table}, $table, 'with its schema');
	is_deeply([sort keys %{$got->{rows}[0] // {}}], [sort map { $_->{name} } @{$got->{schema}{columns}}],
		'and all columns') if @{$got->{rows}};
}
my $odd = fetch($one, 'odd');
my ($first) = grep { $_->{i} == -5 } @{$odd->{rows}};
is_deeply($first, {i => -5, t => qq(Ñandú "quoted" \\ tab\tend), b => JSON::PP::true, n => '9223372036854775807', f => 'NaN',
	d => 'NaN', x => '\x00ff', j => '{ "a" : 1 }', z => '2026-11-23T08:00:00.000Z'}, 'values have the form of the wire');
is_deeply([grep { $_->[0] > 262144 && $_->[1] != 1 } @{$odd->{bytes}}], [], 'only a row alone is larger than a frame');
ok((grep { $_->[0] > 262144 } @{$odd->{bytes}}), 'and there was one');

# ---- the place in the feed -----------------------------------------------------------

$dbh->do('UPDATE patients SET address = ? WHERE id IN (SELECT id FROM patients LIMIT 3)', undef, "before");
$clinic->cut_batch;
$one->say({type => 'request_table_sync', table => 'patients', id => 2});
$dbh->do('UPDATE patients SET address = ? WHERE id IN (SELECT id FROM patients LIMIT 3)', undef, "during $_") for 1 .. 50;
my $asked_at = batch_of($one->{cursor});
my $again = receive($one, 2);
is($again->{error}, undef, 'a table comes while it changes');
cmp_ok(batch_of($again->{cursor}), '>=', $asked_at, 'a table is at or after the cursor of who asks');
cmp_ok(batch_of($one->{cursor}), '>=', batch_of($again->{cursor}), 'and its last piece comes when the feed was given that far');
$again = fetch($one, 'patients', 3);
is(digest_of(@{$again->{rows}}), $clinic->server_digest('patients'), 'also when a file of before was there');

# The relay's feed stands still while the snapshot's batch is cut. A file of before will not do.
$dbh->do(q(UPDATE patients SET address = 'newer' WHERE id = (SELECT min(id) FROM patients)));
wait_for('the feed to rest', sub {
	$one->wait_message(['database_change', 'heartbeat'], 0.5);
	return metric('batch') == $clinic->cut_batch;
});
$clinic->cluster->stop_reader($dbh);
$dbh->do(q(UPDATE patients SET address = 'ahead' WHERE id = (SELECT min(id) FROM patients)));
$one->say({type => 'request_table_sync', table => 'patients', id => 4});
my $piece = $one->wait_message('table_sync');
is(scalar @{$piece->{rows}}, 60, 'all rows come');
ok(!$piece->{last}, 'but not the last piece');
is($one->wait_message(['table_sync', 'database_change'], 1), undef, 'which waits');
$clinic->cluster->let_reader_go;
is($one->wait_message(['table_sync', 'database_change'])->{changes}[0]{data}{address}, 'ahead', 'for the frames up to there');
$piece = $one->wait_message(['table_sync', 'database_change']);
ok($piece->{last}, 'and then comes');

# ---- errors ----------------------------------------------------------------------------

is(fetch($one, 'nonsense')->{error}{code}, 'no_such_table', 'a table that is not published');
my $payer = live('payer', tables => ['payments']);
my $refused = fetch($payer, 'patients');
is("$refused->{error}{code} $refused->{error}{table}", 'no_such_table patients', 'one that the device does not follow');
$payer->say({type => 'request_full_sync', tables => ['payments', 'nonsense']});
is($payer->wait_message('error')->{code}, 'no_such_table', 'a full sync of what is not there');
$payer->say({type => 'request_full_sync', tables => undef, id => $_}) for 1 .. 18;
is($payer->wait_message('error')->{code}, 'full_sync_failed', 'more than 16 do not wait');
is(fetch(live('other', tables => ['payments']), 'payments')->{error}, undef, 'nobody else is refused');
$payer->close;

# ---- a full sync -----------------------------------------------------------------------

my $browser = ClinicTest::Raw->open(port => $relay->{port});
$browser->client_info('browser');
my $now = $clinic->cursor;
$browser->say({type => 'request_full_sync', tables => undef, min => $now, id => 9});
my $head = $browser->wait_message('full_sync');
is_deeply([sort map { $_->{name} } @{$head->{tables}}], \@PUBLISHED, 'every published table is in a full sync');
is($head->{total_rows}, sum(map { $_->{rows} } @{$head->{tables}}), 'with their rows');
for my $table (@{$head->{tables}}) {
	my $got = receive($browser, 9);
	is(digest_of(@{$got->{rows}}), $clinic->server_digest($got->{schema}{table}), "$got->{schema}{table} in a full sync");
	is($got->{cursor}, $head->{cursor}, 'at the same cursor');
}
is($browser->wait_message('full_sync_end')->{cursor}, $head->{cursor}, 'and its end');
$browser->request_sync($head->{cursor}, undef);
ok($browser->wait_message('ready'), 'the feed goes on from there');
$dbh->do(q(UPDATE patients SET address = 'after' WHERE id = (SELECT min(id) FROM patients)));
is($browser->wait_message('database_change')->{changes}[0]{data}{address}, 'after', 'with what came since');

# ---- a reader that stops ------------------------------------------------------------------

$dbh->do(q(INSERT INTO user_activity_log ("userId", "actionDescription", details)
	SELECT 'U', 'a', repeat('x', 1000) FROM generate_series(1, 12000)));
my $slow = live('slow', receive_buffer => 16384);
my $quick = live('quick');
$slow->say({type => 'request_table_sync', table => 'user_activity_log', id => 1});
my $memory = sub { slurp('/proc/' . $relay->process->pid . '/status') =~ /VmRSS:\s+(\d+)/ ? $1 : 0 };
wait_for('the table to be on its way', sub { metric('table_streams') && metric('table_sync_bytes_total') > 1e6 });
my ($kilobytes, $sent) = ($memory->(), metric('table_sync_bytes_total'));
my (@waits, $until);
$until = now() + 4;
while (now() < $until) {
	my $since = now();
	$dbh->do('UPDATE payments SET notes = ? WHERE id = (SELECT min(id) FROM payments)', undef, $since);
	my $m = $quick->wait_message('database_change');
	push @waits, now() - $since;
	die "not what was written\n" if $m->{changes}[0]{table} ne 'payments';
}
cmp_ok(scalar @waits, '>', 20, 'events of another device go on (' . @waits . ')');
cmp_ok(metric('table_sync_bytes_total') - $sent, '<', 4e6, 'what is not read is not sent');
SKIP: {
	skip 'a sanitizer keeps what was freed', 1 if ClinicTest::build() =~ /asan/;
	cmp_ok($memory->() - $kilobytes, '<', 8192, 'and not held in memory');
}
is(metric('table_streams'), 1, 'the table still waits to be read');
setsockopt($slow->{socket}, SOL_SOCKET, SO_RCVBUF, 4 << 20);
my $large = receive($slow, 1);
is(digest_of(@{$large->{rows}}), $clinic->server_digest('user_activity_log'), 'and is whole in the end');
cmp_ok(batch_of($slow->{cursor}), '>=', batch_of($large->{cursor}), 'with the feed at least as far');

# ---- asked for in SQL --------------------------------------------------------------------

wait_for('the device to be known', sub {
	$dbh->selectrow_array(q(SELECT count(*) = 1 FROM clinic_sync.devices WHERE id = 'quick'))
});
my $id = $dbh->selectrow_array(q(SELECT clinic_sync.resync_table('payments')));
my $asked = $quick->wait_message('sync_requested');
is_deeply($asked, {type => 'sync_requested', id => $id, kind => 'table_sync', tables => ['payments']},
	'resync_table() reaches the devices');
my $only = $dbh->selectrow_array(q(SELECT clinic_sync.request_sync(array['patients']::regclass[], 'quick')));
is($quick->wait_message('sync_requested')->{id}, $only, 'a request for one device reaches it');
my $all = $dbh->selectrow_array('SELECT clinic_sync.request_sync()');
$asked = $slow->wait_message('sync_requested');
$asked = $slow->wait_message('sync_requested') if $asked->{id} == $id;
is_deeply($asked, {type => 'sync_requested', id => $all, kind => 'sync', tables => undef}, 'and no other, which gets the next');
my $away = live('away', info => {sync_request => $id});
is($away->{connected}{sync_request}, $all, 'connected tells the newest');
is($away->wait_message('sync_requested')->{id}, $all, 'a device that was away gets what it missed');
$relay->stop;
$relay->start->wait_ready;
$away = live('away', info => {sync_request => $id});
is($away->wait_message('sync_requested')->{id}, $all, 'also from a relay that has just started');
$away = live('silent');
$dbh->do('SELECT clinic_sync.request_patient_data_sync()');
is_deeply([sort @{$away->wait_message('sync_requested')->{tables}}],
	[qw(bill_items medical_records patient_bills patient_history patients payments)], 'patient data');
like($relay->get('/metrics')->{content}, qr/^clinic_relay_syncs_requested_total 4$/m, 'they are counted');
done_testing();
