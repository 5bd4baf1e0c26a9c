#!/usr/bin/perl
#
# Values that break encoders, written by sessions with hostile settings: each
# is equal in the cache by the table of value forms in docs/protocol.md, or
# its type is refused at publish with a reason.
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use ClinicTest qw(wait_for);

my @HOSTILE = ("DateStyle = 'German'", "IntervalStyle = 'sql_standard'", "TimeZone = 'Asia/Manila'",
	'extra_float_digits = -15', "bytea_output = 'escape'", "lc_monetary = 'C'",
	"search_path = 'pg_temp'", 'row_security = off', "xmlbinary = 'hex'", "xmloption = 'document'");

my $long = 'é' x 524288;	# 1 MB
my $digits = '9' x 131_072 . '.' . '1' x 16_383;	# the most that numeric holds

# type, literal, canonical text, what SQLite holds (text means: the canonical text)
my @VALUES = (
	['smallint', '-32768', '-32768', 'integer'],
	['integer', '2147483647', '2147483647', 'integer'],
	['bigint', '-9223372036854775808', '-9223372036854775808', 'integer'],
	['bigint', '9223372036854775807', '9223372036854775807', 'integer'],
	['boolean', 'true', 'true', 'integer'], ['boolean', 'false', 'false', 'integer'],
	['numeric(12,2)', '0', '0.00', 'real'], ['numeric(12,2)', '1500', '1500.00', 'real'],
	['numeric(12,2)', '-0.01', '-0.01', 'real'], ['numeric(12,2)', '9999999999.99', '9999999999.99', 'real'],
	['numeric(12,2)', 'NaN', 'NaN', 'exact'],
	['numeric(15,0)', '999999999999999', '999999999999999', 'real'],
	['numeric(15,15)', '0.123456789012345', '0.123456789012345', 'real'],
	['numeric(38,10)', '12345678901234567890.0123456789', '12345678901234567890.0123456789', 'text'],
	['numeric', '1e-20', '0.00000000000000000001', 'text'], ['numeric', 'Infinity', 'Infinity', 'text'],
	['numeric', '-Infinity', '-Infinity', 'text'], ['numeric', '0.00', '0.00', 'text'],
	['numeric', $digits, $digits, 'text'],
	['double precision', '0.1', '0.1', 'real'], ['double precision', '1e20', '1e+20', 'real'],
	['double precision', '123456789012345', '123456789012345', 'real'],
	['double precision', '1e15', '1e+15', 'real'], ['double precision', '0.0001', '0.0001', 'real'],
	['double precision', '0.00001', '1e-05', 'real'], ['double precision', '-0', '-0', undef],
	['double precision', '4.9e-324', '5e-324', 'real'],
	['double precision', '1.7976931348623157e308', '1.7976931348623157e+308', 'real'],
	['double precision', '0.30000000000000004', '0.30000000000000004', 'real'],
	['double precision', 'NaN', 'NaN', 'exact'], ['double precision', 'Infinity', 'Infinity', undef],
	['double precision', '-Infinity', '-Infinity', undef],
	['real', '0.1', '0.1', 'real'], ['real', '16777216', '1.6777216e+07', 'real'], ['real', 'NaN', 'NaN', 'exact'],
	['bytea', '\x', '\x', 'blob'], ['bytea', '\x00ff', '\x00ff', 'blob'],
	['bytea', '\x' . join('', map { sprintf '%02x', $_ } 0 .. 255),
		'\x' . join('', map { sprintf '%02x', $_ } 0 .. 255), 'blob'],
	['text', '', '', 'text'], ['text', "a'b\"c\\d\n\t\r\x01\x7f", "a'b\"c\\d\n\t\r\x01\x7f", 'text'],
	['text', "😀 Ñandú \x{10FFFF}", "😀 Ñandú \x{10FFFF}", 'text'], ['text', $long, $long, 'text'],
	['text', '007', '007', 'text'], ['text', '1e3', '1e3', 'text'], ['text', 'null', 'null', 'text'],
	['varchar(5)', '12345', '12345', 'text'], ['char(5)', 'ab', 'ab   ', 'text'],
	['json', '{ "a" : "\u0000", "a":1.50 }', '{ "a" : "\u0000", "a":1.50 }', 'text'],
	['jsonb', '{"b":1, "a":[ ]}', '{"a": [], "b": 1}', 'text'],
	['timestamp', '2026-11-23 08:00:00', '2026-11-23T08:00:00.000', 'text'],
	['timestamp', '2026-11-23 08:00:00.1', '2026-11-23T08:00:00.100', 'text'],
	['timestamp', '2026-11-23 08:00:00.123456', '2026-11-23T08:00:00.123456', 'text'],
	['timestamp', '2026-11-23 08:00:00.0001', '2026-11-23T08:00:00.000100', 'text'],
	['timestamp', '0044-03-15 12:00:00 BC', '0044-03-15T12:00:00.000 BC', 'text'],
	['timestamp', 'infinity', 'infinity', 'text'], ['timestamp', '-infinity', '-infinity', 'text'],
	['timestamp', '294276-12-31 23:59:59.999999', '294276-12-31T23:59:59.999999', 'text'],
	['timestamp(0)', '2026-11-23 08:00:00.9', '2026-11-23T08:00:01.000', 'text'],
	['timestamptz', '2026-11-23 08:00:00+08', '2026-11-23T00:00:00.000Z', 'text'],
	['timestamptz', '0044-03-15 12:00:00+00 BC', '0044-03-15T12:00:00.000Z BC', 'text'],
	['timestamptz', 'infinity', 'infinity', 'text'],
	['date', '2026-11-23', '2026-11-23', 'text'], ['date', '0044-03-15 BC', '0044-03-15 BC', 'text'],
	['date', 'infinity', 'infinity', 'text'],
	['time', '09:30', '09:30:00', 'text'], ['timetz', '09:30+08', '09:30:00+08', 'text'],
	['interval', '1 year 2 months -3 days 04:05:06.7', '1 year 2 mons -3 days +04:05:06.7', 'text'],
	['uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'text'],
	['text[]', '{"a b",NULL,"NULL","\""}', '{"a b",NULL,"NULL","\""}', 'text'],
	['timestamp[]', '{"2026-11-23 08:00:00"}', '{"2026-11-23 08:00:00"}', 'text'],
	['double precision[]', '{0.1,NaN}', '{0.1,NaN}', 'text'], ['bytea[]', '{"\\\\x00"}', '{"\\\\x00"}', 'text'],
	['int4range', '[1,5]', '[1,6)', 'text'], ['inet', '10.0.0.1/8', '10.0.0.1/8', 'text'],
	['bit(3)', '101', '101', 'text'], ['point', '(1,2)', '(1,2)', 'text'],
);

my $clinic = ClinicTest->new(schema => 0);
my $dbh = $clinic->dbh;
$dbh->do("SET client_min_messages = warning");

# One table per value: then one wrong value cannot hide another.
for my $i (0 .. $#VALUES) {
	$dbh->do("CREATE TABLE v$i (id integer PRIMARY KEY, v $VALUES[$i][0])");
	$dbh->do("SELECT clinic_sync.publish('v$i')");
}
$dbh->do("CREATE TABLE k (t timestamp, d numeric(12,2), b bytea, n text, PRIMARY KEY (t, d, b, n))");
$dbh->do("SELECT clinic_sync.publish('k')");
$clinic->dbh->do("SELECT clinic_sync.grant_relay('clinic_relay')");
$clinic->relay;
my $device = $clinic->device('a');
$device->wait_batch(1);

my $hostile = $clinic->cluster->connect;
$hostile->do("SET $_") for @HOSTILE;
for my $i (0 .. $#VALUES) {
	my $bytes = $VALUES[$i][1];
	utf8::encode($bytes);
	my $table = "public.v$i";
	my $type = $VALUES[$i][0];
	$hostile->do("INSERT INTO $table VALUES (1, NULL), (2, NULL)");
	$hostile->do("UPDATE $table SET v = CAST(?::text AS $type) WHERE id = 2", undef, $bytes);
}
$hostile->do("INSERT INTO public.k VALUES ('2026-11-23 08:00', 1.5, '\\x00'::bytea, '\xc3\xa9''\"'),
	('infinity', 'NaN', '', '')");
$hostile->do("UPDATE public.k SET n = n || 'x'");

$clinic->wait_level($device);
check($device, 'by changes');
my $fresh = $clinic->device('b');
$clinic->wait_level($fresh);
check($fresh, 'by snapshot');
$clinic->caches_equal('digests, NULLs and keys of every type');

sub check {
	my ($d, $how) = @_;
	for my $i (0 .. $#VALUES) {
		my ($type, $literal, $canon, $holds) = @{$VALUES[$i]};
		my $name = "$how: $type " . (length $literal > 40 ? length($literal) . ' characters' : $literal);
		utf8::encode(my $expected = $canon);
		utf8::encode($name);
		is(text_in_cache($d, $i), $expected, $name =~ s/[\n\r\t#]/?/gr);
		my ($exact) = $d->value(q(SELECT count(*) FROM clinic_sync_exact WHERE "table" = ?), "v$i");
		my $typeof = $d->value("SELECT typeof(v) FROM v$i WHERE id = 2");
		is($exact ? 'exact' : $typeof, $holds, '  and how it is held') if defined $holds;
	}
	return;
}

# The canonical text, from the exact text beside it or from what the column holds.
sub text_in_cache {
	my ($d, $i) = @_;
	my $exact = $d->value(q(SELECT value FROM clinic_sync_exact WHERE "table" = ? AND column = 'v'), "v$i");
	return $exact if defined $exact;
	my $type = $VALUES[$i][0];
	my ($value) = $d->value("SELECT v FROM v$i WHERE id = 2");
	return $value if !defined $value;
	return $value ? 'true' : 'false' if $type eq 'boolean';
	return '\x' . unpack('H*', $value) if $type eq 'bytea';
	return sprintf "%.$1f", $value if $type =~ /^numeric\(\d+,(\d+)\)/ && $d->value("SELECT typeof(v) FROM v$i WHERE id = 2") eq 'real';
	return shortest($value, $type) if $type =~ /^(?:real|double precision)\z/;
	return $value;
}

# PostgreSQL's form of a float, for the values above.
sub shortest {
	my ($value, $type) = @_;
	return $value > 0 ? 'Infinity' : '-Infinity' if $value =~ /inf/i;
	my ($text, $exponent);
	for my $precision (0 .. 16) {
		$text = sprintf '%.*e', $precision, $value;
		last if $type eq 'real' ? unpack('f', pack('f', $text)) == unpack('f', pack('f', $value)) : $text == $value;
	}
	($text, $exponent) = $text =~ /^(.*)e([-+]\d+)\z/;
	return "${text}e$exponent" if $exponent < -4 || $exponent >= ($type eq 'real' ? 6 : 15);
	my $behind_the_point = length($text =~ s/^-?\d\.?//r) - $exponent;
	return sprintf '%.*f', $behind_the_point > 0 ? $behind_the_point : 0, $value;
}

# What cannot be held is refused when it is published, with a reason.
for my $type ('money', 'regclass', 'regproc', 'regrole') {
	$dbh->do("CREATE TABLE refused (id integer PRIMARY KEY, v $type)");
	my $ok = eval { $dbh->do("SELECT clinic_sync.publish('refused')"); 1 };
	ok(!$ok, "$type is refused at publish");
	like($@, qr/\b$type\b/, '  and the error names the type');
	$dbh->do('DROP TABLE refused');
}
done_testing();
