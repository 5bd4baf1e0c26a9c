#!/usr/bin/perl
#
# docs/app-developers.md tells the truth: its commands print what it says, one
# after the other, against a server and a relay; and its program compiles as it
# stands there, and syncs.
use strict;
use warnings;
use DBI;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use AppFile;
use ClinicTest qw(slurp);
use ClinicTest::Console;

my $root = ClinicTest::root();
my $build = $ENV{CLINIC_PLAIN_BUILD} // ClinicTest::build();
$build = "$root/$build" if $build !~ m{^/};
my $page = slurp("$root/docs/app-developers.md");

# ---- the commands --------------------------------------------------------------------

my $clinic = ClinicTest->new(patients => 20, preload => 1);
my $relay = $clinic->relay->wait_ready;
my $dir = "$clinic->{dir}/guide";
mkdir($dir);
AppFile::fresh_v43("$dir/app.db", rows => 12);
link($clinic->{code_file}, "$dir/code") or die "$dir/code: $!\n";
my $console = ClinicTest::Console->new(dir => $dir, alias => ['server:8080' => "127.0.0.1:$relay->{port}"],
	env => {%{$clinic->cluster->environment}, PGDATABASE => 'clinic', LC_ALL => 'C.UTF-8',
		PATH => ClinicTest::build() . "/bin:$ENV{PATH}"});
my @steps = ClinicTest::Console::steps($page);
cmp_ok(scalar @steps, '>', 30, 'the page has commands');
for my $step (@steps) {
	my ($same, $said) = $console->check($step);
	ok($same, $step->{command}) or diag("it printed:\n$said", "the page says:\n$step->{expected}",
		-s "$dir/sync.log" ? "log:\n" . slurp("$dir/sync.log") : ());
}
$console->end;
is(join(' ', grep { -e } map { "$dir/app.db$_" } qw(-wal -journal)), '', 'and the file is closed in the end');

# ---- what the page speaks of is there ------------------------------------------------

for my $path ($page =~ /\]\(((?!http|#)[^)#]+)/g) {
	ok(-e "$root/docs/$path", "there is $path");
}
my $events = join '', map { slurp($_) } glob "$root/client/{clinic_cache.h,cache_*.c}";
for my $event ($page =~ /^\| (`.*?) \|/gm) {
	like($events, qr/\b$_\b/, "event $_") for grep { !/[< ?]/ } $event =~ /`(\w+)`/g;
}

# ---- the program ---------------------------------------------------------------------

for my $name (qw(link.h app.c)) {
	my ($code) = $page =~ /<!-- \Q$name\E -->\n```c\n(.*?)```/s or die "the page has no $name\n";
	open(my $out, '>', "$dir/$name") or die "$dir/$name: $!\n";
	print $out $code;
	close($out);
}
my $output = qx{cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I'$dir' -I'$root/client' -o '$dir/app' '$dir/app.c' \\
	'$root/tests/e2e/app_link.c' '$build/lib/libclinic_cache.a' -lsqlite3 -ljansson -lyajl -lcrypto -lm 2>&1};
is($?, 0, 'it compiles without a warning') or BAIL_OUT($output);

my $db = DBI->connect("dbi:SQLite:dbname=$dir/snapshot", '', '', {RaiseError => 1});
$db->do($_) for split /;\n/, <<'SQL';
CREATE TABLE clinic_sync_meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE clinic_sync_table(name TEXT PRIMARY KEY, schema TEXT, rows INTEGER);
CREATE TABLE clinic_sync_exact("table" TEXT, key TEXT, column TEXT, value TEXT, PRIMARY KEY("table", key, column));
CREATE TABLE clinic_sync_oversize("table" TEXT, key TEXT, PRIMARY KEY("table", key));
CREATE TABLE t(id INTEGER NOT NULL, name TEXT, PRIMARY KEY(id));
INSERT INTO t VALUES(1, 'one');
INSERT INTO clinic_sync_meta VALUES('format', '1'), ('cursor', '1-00000000000000aa');
INSERT INTO clinic_sync_table VALUES('t', '{"table":"t","event":"e","version":1,"key":["id"],"columns":[{"name":"id","type":"bigint","class":"bigint","nullable":false,"identity":false},{"name":"name","type":"text","class":"text","nullable":true,"identity":false}],"indexes":[]}', 1)
SQL
$db->disconnect;

$ENV{SNAPSHOT} = "$dir/snapshot";
$output = qx{timeout 60 '$dir/app' '$dir/program.db' ws://127.0.0.1:1/ws code 2>&1};
is($? >> 8, 5, 'it runs until the relay refuses it') or diag($output);
like($output, qr/^sent \{"type":\s?"client_info".*^sent \{"type":\s?"request_sync".*^fetch \/db\/download/ms, 'greets, asks, fetches');
is(scalar(() = $output =~ /^read t again$/mg), 2, 'is told of the snapshot and of the change') or diag($output);
$db = DBI->connect("dbi:SQLite:dbname=$dir/program.db", '', '', {RaiseError => 1});
is(join(' ', map { @$_ } @{$db->selectall_arrayref('SELECT id, name FROM t ORDER BY id')}), '1 one 2 two', 'the file has both');
is($db->selectrow_array(q(SELECT value FROM clinic_sync_meta WHERE key = 'cursor')), '2-00000000000000bb', 'and its cursor');
done_testing();
