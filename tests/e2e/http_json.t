#!/usr/bin/env perl
# Rows without SQLite: every published table is in the JSON download, in the file, at
# /tables/<t> and in a full sync, byte for byte what the server's digest says; and a reader
# that is slow, cut off or too early costs nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use Encode qw(decode_utf8 encode_utf8);
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Raw;
use ClinicTest::WireRows qw(wire_digest);

my $mega = 1024 * 1024;
my $clinic = ClinicTest->new(patients => 40);
my $dbh = $clinic->dbh;
# Every class, what a SQLite column cannot hold, a name that must be escaped, a row too large.
$dbh->do(q(CREATE TABLE "odd ""t"" é" (id float8, "a b" text, f real, d numeric(12,2), n numeric, i int, b bigint,
	o boolean, x bytea, j json, t timestamptz, PRIMARY KEY (id, b))));
$dbh->do(q(INSERT INTO "odd ""t"" é" VALUES
	('-0', E'tab\t "quote" \\\\ é', 0.1, 1500, 1e-20, -5, 9223372036854775807, true, '\x00ff', '{"a": 1.10}', '2026-11-23 08:00Z'),
	('NaN', '', 'Infinity', 'NaN', 1e30, 0, 1, false, '', '[]', 'infinity'),
	(0, NULL, NULL, NULL, NULL, NULL, 2, NULL, NULL, NULL, NULL),
	(1.2345678901234567e16, 'x', 1e6, -0.01, 0, 2147483647, -1, true, '\x', 'null', '0044-03-15 BC')));
$dbh->do(q(SELECT clinic_sync.publish('"odd ""t"" é"')));
$dbh->do('CREATE TABLE roomy (id text PRIMARY KEY, body text)');
$dbh->do(q(SELECT clinic_sync.publish('roomy')));
my $relay = $clinic->relay(option => {snapshot_max_age_s => 0})->wait_ready;
my $code = 'Bearer correct-horse-battery-staple';

sub json { my ($path) = @_; return $relay->get($path, Accept => 'application/json') }

sub escape { my ($text) = @_; return join '', map { sprintf '%%%02X', ord } split //, $text }

# ---- the same tables and rows everywhere ---------------------------------------------------------

my @published = sort @{$dbh->selectcol_arrayref('SELECT relation::text FROM clinic_sync.tables')};
my %name = map { decode_utf8(s/^"(.*)"$/$1/r =~ s/""/"/gr) => $_ } @published;
my %server = map { $_ => join ':', $dbh->selectrow_array(
	'SELECT rows, hash FROM clinic_sync.digest_scan(?::regclass)', undef, $name{$_}) } keys %name;
cmp_ok(scalar keys %name, '==', 15, 'the thirteen and two more are published');

my $answer = json('/db/download');
is($answer->{status}, 200, 'the JSON download');
is($answer->{headers}{'content-type'}, 'application/json', 'says what it is');
my $all = decode_json($answer->{content});
is(join(' ', sort keys %$all), 'cursor data oversize timestamp', 'its keys');
is($all->{cursor}, $answer->{headers}{'x-clinic-cursor'}, 'the cursor is that of the header');
like($all->{timestamp}, qr/\A\d{4}-\d\d-\d\dT[\d:.]+Z\z/, 'when it was made');
is_deeply([sort keys %{$all->{data}}], [sort keys %name], 'every published table is in it');
is_deeply({map { $_ => wire_digest($all->{data}{$_}) } keys %name}, \%server,
	'and has the rows that the server has, to the byte');
is_deeply($all->{oversize}, {}, 'none left out');
ok(!grep({ exists $_->{password} } @{$all->{data}{users}}), 'no passwords');

my $file = "$clinic->{dir}/download.db";
open(my $out, '>:raw', $file) or die "$file: $!\n";
print $out $relay->get('/db/download')->{content};
close($out);
my $snapshot = DBI->connect("dbi:SQLite:dbname=$file", '', '', {RaiseError => 1, sqlite_unicode => 1});
my %in_file = map { @$_ } @{$snapshot->selectall_arrayref('SELECT name, rows FROM clinic_sync_table')};
is_deeply(\%in_file, {map { $_ => $server{$_} =~ /^(\d+)/ ? 0 + $1 : '' } keys %server},
	'the SQLite file has the same tables, with as many rows');

my %one = map { $_ => decode_json(json('/tables/' . escape(encode_utf8($_)))->{content}) } sort keys %name;
is_deeply({map { $_ => wire_digest($one{$_}{rows}) } keys %one},
	{map { $_ => $server{$_} } keys %one}, '/tables/<t> has the same rows, for every table');
my $patients = $one{patients};
is(join(' ', sort keys %$patients), 'cursor oversize rows schema table timestamp', 'its keys');
is("$patients->{table} $patients->{schema}{table} @{$patients->{schema}{key}}", 'patients patients id',
	'its table and schema');
is_deeply([sort keys %{$patients->{rows}[0]}], [sort map { $_->{name} } @{$patients->{schema}{columns}}],
	'a row has the columns of the schema');
is_deeply(decode_json(json('/db/download?tables=users,payments')->{content})->{data},
	{map { $_ => $all->{data}{$_} } qw(users payments)}, 'tables=: only these');

# ---- digests without some columns --------------------------------------------------------------------

# For files that lack them: the digest of the rest, and of each row.
my %lines = map { my $skip = $_; ($skip => [map { decode_json($_) } split /\n/,
	$relay->get("/db/digest?tables=patients,payments&rows=1&skip=$skip")->{content}]) } '', 'patients.firstName,patients.suffix,users.id,patients.nonsense,payments';
sub digests { return {map { $_->{table} => "$_->{rows}:$_->{hash}" } grep { exists $_->{hash} } @{$_[0]}} }
my ($with, $without) = map { $lines{$_} } sort keys %lines;
my @lacking = map { my %row = %$_; delete @row{qw(firstName suffix)}; \%row } @{$all->{data}{patients}};
is(digests($with)->{patients}, $server{patients}, 'a digest of all columns');
is_deeply(digests($without), {patients => wire_digest(\@lacking), payments => $server{payments}},
	'skip= leaves out columns of one table');
my %by_key = map { $_->{id} => sprintf '%s', wire_digest([$_]) =~ s/^1://r } @lacking;
is_deeply({map { $_->{key}{id} => $_->{row_hash} } grep { $_->{row_hash} && $_->{table} eq 'patients' } @$without}, \%by_key,
	'and in the hashes of rows');

# The same over the WebSocket.
my $link = ClinicTest::Raw->open(port => $relay->{port}, header => {Authorization => $code});
$link->client_info('full');
$link->say({type => 'request_full_sync', id => 7, tables => undef});
my $full = $link->wait_message(['full_sync', 'error'], 30);
my %sent;
while (my $message = $link->wait_message([qw(table_sync full_sync_end error)])) {
	last if $message->{type} ne 'table_sync';
	push @{$sent{$message->{table}}}, @{$message->{rows}};
}
is_deeply([sort map { $_->{name} } @{$full->{tables}}], [sort keys %name], 'every published table is in a full sync');
is_deeply({map { $_ => wire_digest($sent{$_}) } keys %sent}, \%server, 'with the same rows');
$link->close;

# ---- rows that are not held ------------------------------------------------------------------------

$dbh->do(q(ALTER SYSTEM SET clinic_sync.max_row_bytes = '64kB'));
$dbh->do('SELECT pg_reload_conf()');
wait_for('the setting', sub { ($dbh->selectrow_array('SHOW clinic_sync.max_row_bytes'))[0] eq '64kB' });
$dbh->do(q(INSERT INTO roomy VALUES ('large', repeat('x', 100000)), ('small', 'y')));
my $roomy = decode_json(json('/tables/roomy')->{content});
is_deeply([$roomy->{oversize}, [map { $_->{id} } @{$roomy->{rows}}]], [[{id => 'large'}], ['small']],
	'a row over max_row_bytes is named by its key');
is_deeply(decode_json(json('/db/download')->{content})->{oversize}, {roomy => [{id => 'large'}]},
	'in the download too');
$dbh->do(q(ALTER SYSTEM RESET clinic_sync.max_row_bytes));
$dbh->do('SELECT pg_reload_conf()');

# ---- what is asked wrongly ----------------------------------------------------------------------------

sub ask {
	my ($line, $header, %option) = @_;
	return ClinicTest::Raw->connect(port => $relay->{port})->request($line, $header, %option);
}

sub status { my ($path) = @_; return json($path)->{status} }

is(ask("GET $_")->{status}, 401, "$_ without a code: 401") for qw(/tables/patients /db/changes/1-0123456789abcdef);
is(status('/tables/nonsense'), 404, 'an unknown table: 404');
is(status('/tables/'), 404, 'no table: 404');
is(status('/tables/patients,users'), 404, 'a list is no table: 404');
is(status('/tables/patients/x'), 404, 'nor is a path: 404');
is(status('/tables/patients?min=x'), 400, 'min that is no cursor: 400');
is(status('/db/download?tables=patients,nonsense'), 404, 'a list with an unknown one: 404');
my $head = ask('HEAD /tables/patients', {Authorization => $code}, head => 1);
is("$head->{status} $head->{header}{'content-type'}", '200 application/json', 'HEAD');
for my $case (['application/json;q=0', 'vnd.sqlite3'], ['application/vnd.sqlite3, application/json;q=0.5', 'vnd.sqlite3'],
	['text/html, application/json', 'json'], ['*/*', 'vnd.sqlite3'], ['Application/JSON; q=0.3', 'json']) {
	is($relay->get('/db/download?tables=users', Accept => $case->[0])->{headers}{'content-type'},
		"application/$case->[1]", "Accept: $case->[0]");
}

# ---- later than a cursor ------------------------------------------------------------------------------

$dbh->do(q(INSERT INTO roomy VALUES ('late', 'z')));
$clinic->cut_batch;
my ($cursor) = $dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
my $late = decode_json(json("/tables/roomy?min=$cursor")->{content});
ok((grep { $_->{id} eq 'late' } @{$late->{rows}}), 'min=: at that cursor or after it');

# ---- slow readers and bounded memory --------------------------------------------------------------------

$dbh->do(q(INSERT INTO roomy SELECT 'r' || g, repeat('x', 1000) FROM generate_series(1, 50000) g));
my $slow = ClinicTest::Raw->connect(port => $relay->{port}, receive_buffer => 65536);
$slow->send_bytes("GET /tables/roomy HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n");
$slow->read_until(sub { $slow->{in} =~ /\r\n\r\n/ }, 30);
my $memory = $relay->process->peak_memory;
is($relay->get('/metrics')->{content} =~ /^clinic_relay_json_streams (\d+)$/m && $1, 1, 'a stream is counted');
unlink glob "$clinic->{dir}/relay.snapshots/snapshot-*";
is(status('/tables/users'), 200, 'others are served meanwhile');
$slow->read_until(sub { $slow->{ended} }, 60);
is(scalar(() = $slow->{in} =~ /\{"id":/g), 50003, 'a slow reader has every row, though the file is gone');
like(substr($slow->{in}, -100), qr/"\}\],"oversize":\[\]\}\n\z/, 'to the last brace');
cmp_ok($relay->process->peak_memory - $memory, '<', 16 * $mega, 'and 50 MB of rows were never in memory');
my @crowd = map { ClinicTest::Raw->connect(port => $relay->{port}, receive_buffer => 4096) } 1 .. 32;
$_->send_bytes("GET /tables/roomy HTTP/1.1\r\nHost: relay\r\nAuthorization: $code\r\n\r\n") for @crowd;
$_->read_until(sub { $_->{in} =~ /\r\n\r\n/ }, 30) for @crowd;
my $busy = json('/tables/users');
is("$busy->{status} $busy->{headers}{'retry-after'}", '503 2', 'there is an end to their number');
is(ask('GET /healthz')->{status}, 200, 'and the relay is well');
$_->close for @crowd;
wait_for('the streams to end', sub { $relay->get('/metrics')->{content} =~ /^clinic_relay_json_streams 0$/m });
pass('those who hang up hold nothing');

# ---- no database ------------------------------------------------------------------------------------------

$clinic->cluster->stop;
my $gone = json('/tables/patients');
is($gone->{status}, 503, 'no database: 503');
cmp_ok($gone->{headers}{'retry-after'}, '>', 0, 'and when to ask again');
done_testing;
