#!/usr/bin/env perl
# An app's own file becomes a synced one: compared before anything is touched, copied, its
# rows replaced in one transaction, its schema and all else left as it was.
use strict;
use warnings;
use DBI;
use Digest::SHA;
use FindBin;
use lib "$FindBin::Bin/lib";
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep);
use AppFile;
use ClinicTest qw(wait_for slurp now);

my $program = ClinicTest::build() . '/bin/clinic-cache';
my $clinic = ClinicTest->new(patients => 25);
my $dir = $clinic->{dir};
my $dbh = $clinic->dbh;
my $relay = $clinic->relay;
my $runs = 0;
my %make = (fresh => \&AppFile::fresh_v43, upgraded => \&AppFile::upgraded_v43, odd => \&AppFile::odd);

sub begin {
	my (@words) = @_;
	my $file = "$dir/run." . ++$runs;
	return ($file, ClinicTest::Process->start("clinic-cache @words", log => "$file.log",
		argv => ['sh', '-c', 'exec "$@" > "$0.out" 2> "$0.err"', $file, $program, @words]));
}

# (exit code, standard output, standard error)
sub run {
	my ($file, $process) = begin(@_);
	my $code = $process->wait_exit(120);
	return ($code, slurp("$file.out"), slurp("$file.err"));
}

sub sync_words {
	my ($file) = @_;
	return ('sync', '--db', $file, '--url', $relay->url, '--access-code-file', $clinic->{code_file}, '--once');
}

sub open_db {
	my ($file) = @_;
	my $db = DBI->connect("dbi:SQLite:dbname=$file", '', '',
		{RaiseError => 1, PrintError => 0, sqlite_string_mode => 0});
	$db->sqlite_busy_timeout(5000);
	return $db;
}

sub sha { my ($file) = @_; return Digest::SHA->new(256)->addfile($file, 'b')->hexdigest }

sub rows { my ($db, $sql) = @_; return join "\n", map { join '|', map { $_ // '~' } @$_ } @{$db->selectall_arrayref($sql)} }

# All that the app can see of its schema: ours is left out.
sub app_schema {
	my ($db) = @_;
	return rows($db, q(SELECT type, name, tbl_name, sql FROM sqlite_schema
		WHERE tbl_name NOT LIKE 'clinic\_%' ESCAPE '\' ORDER BY type, name));
}

sub app_tables {
	my ($db) = @_;
	return @{$db->selectcol_arrayref(q(SELECT name FROM sqlite_schema WHERE type = 'table'
		AND name NOT LIKE 'clinic\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name))};
}

# What the file holds, table by table, with the types of the values.
sub content {
	my ($db, @tables) = @_;
	my %content;
	for my $table (@tables) {
		my @columns = map { qq("$_->[1]") } @{$db->selectall_arrayref(qq(PRAGMA table_info("$table")))};
		my $list = join ', ', map { "quote($_)" } @columns;
		$content{$table} = rows($db, qq(SELECT $list FROM "$table" ORDER BY 1, 2));
	}
	return \%content;
}

sub key_of { my ($table) = @_; return $table eq 'active_patient_queue' ? 'queueEntryId' : 'id' }

my %synced = map { $_ => 1 } @AppFile::SYNCED;

sub check_form {
	my ($form) = @_;
	my $file = $make{$form}->("$dir/$form.db", rows => 30);
	my $db = open_db($file);
	my $schema = app_schema($db);
	my @tables = app_tables($db);
	my $before = content($db, @tables);
	my %keys = map { $_ => $db->selectcol_arrayref(sprintf 'SELECT %s FROM %s', key_of($_), $_) } keys %synced;
	$db->disconnect;
	my $sha = sha($file);

	# ---- refused, and nothing touched
	my ($code, $out, $err) = run(sync_words($file));
	is($code, 2, "$form: rows of its own are not given up unasked") or diag($err);
	like($err, qr/^clinic-cache: .*--adopt=server/m, "$form: and it says what to do");
	like($err, qr/^clinic-cache: 13 tables of the file \(active_patient_queue, \.\.\.\) have rows that never/m,
		"$form: in a sentence");
	like($out, qr/^patients +30 +\d+ +\d+ +\d+ +\d+$/m, "$form: how many rows differ, for people");
	($code, $out) = run(sync_words($file), '--json');
	is($code, 2, "$form: the same as JSON");
	my $found = decode_json($out);
	my %difference = map { $_->{name} => $_ } @{$found->{tables}};
	is_deeply([sort keys %difference], [sort keys %synced], "$form: every table of it");
	for my $table (sort keys %synced) {
		my $there = {map { $_ => 1 } @{$dbh->selectcol_arrayref(sprintf 'SELECT "%s" FROM "%s"', key_of($table), $table)}};
		my $common = grep { $there->{$_} } @{$keys{$table}};
		my $here = @{$keys{$table}};
		my $got = $difference{$table};
		is("$got->{here} $got->{there} $got->{only_here} $got->{only_there}",
			join(' ', $here, scalar(keys %$there), $here - $common, keys(%$there) - $common),
			"$form: rows of $table");
		is($got->{different}, $common, "$form: and all those of one key differ");
	}
	is(sha($file), $sha, "$form: the file is byte for byte as it was");
	is_deeply([glob "$file*"], [$file], "$form: nothing lies beside it");

	# ---- adopted
	($code, $out, $err) = run(sync_words($file), '--adopt', 'server');
	is($code, 0, "$form: adopted") or diag($err);
	($code, $out) = run('verify', '--db', $file, '--json');
	my $verdict = decode_json($out);
	is($verdict->{result}, 'ok', "$form: equal to the server") or diag($out);
	$db = open_db($file);
	is(rows($db, 'PRAGMA integrity_check'), 'ok', "$form: sound");
	is(app_schema($db), $schema, "$form: schema, indexes, views and triggers are as they were");
	is(rows($db, 'PRAGMA user_version'), 43, "$form: so is user_version");
	my $after = content($db, @tables);
	is_deeply([grep { $before->{$_} ne $after->{$_} } grep { !$synced{$_} } @tables], [],
		"$form: and all other tables");

	# ---- what was only here
	my ($status_code, $status) = run('status', '--db', $file, '--json');
	$status = decode_json($status);
	my $orphans = 0;
	$orphans += $difference{$_}{only_here} for keys %synced;
	is($status->{orphans}, $orphans, "$form: rows that only the file had are kept");
	is($db->selectrow_array('SELECT count(*) FROM clinic_cache_orphans'), $orphans, "$form: all of them");
	my ($orphan) = $db->selectrow_array(q(SELECT data FROM clinic_cache_orphans WHERE "table" = 'users' LIMIT 1));
	ok(exists decode_json($orphan)->{password}, "$form: whole, with the app's own columns") if $orphan;
	ok(!(grep { !$_->{adopted} } @{$status->{tables}}), "$form: status shows whose tables they are");
	is($status->{parked}, $verdict->{parked} // 0, "$form: parked rows: $status->{parked}");
	like($status->{journal_mode}, qr/^(?:delete|wal)$/, "$form: journal $status->{journal_mode}");
	like($status->{journal_reason}, qr/3\.51\.3/, "$form: and why");
	$db->disconnect;

	# ---- the copy
	my @copies = glob "$file.before-sync-*";
	is(scalar(@copies), 1, "$form: one copy was made");
	is($status->{backup}, $copies[0], "$form: status names it");
	like($copies[0], qr/\.before-sync-\d{8}T\d{6}Z$/, "$form: by the time");
	is(sprintf('%o', (stat $copies[0])[2] & 07777), '600', "$form: for its owner alone");
	$db = open_db($copies[0]);
	is_deeply(content($db, @tables), $before, "$form: it holds what the file held");
	is(rows($db, 'PRAGMA integrity_check'), 'ok', "$form: and is sound");
	$db->disconnect;

	return;
}

check_form($_) for qw(fresh upgraded odd);

# ---- kept columns ---------------------------------------------------------------------------
{
	my $file = AppFile::upgraded_v43("$dir/same.db", same_as_server => $dbh);
	my $db = open_db($file);
	my $local = q(SELECT id, password, "securityAnswer1" FROM users ORDER BY id);
	my $before = rows($db, $local);
	ok(length $before, 'a file with the rows that the server has');
	$db->disconnect;
	my ($code, $out) = run(sync_words($file), '--json');
	is($code, 2, 'is asked for, too');
	my $found = decode_json($out);
	is_deeply([map { "$_->{name} $_->{only_here} $_->{only_there} $_->{different}" }
		grep { $_->{only_here} || $_->{only_there} || $_->{different} } @{$found->{tables}}], [],
		'with no difference found: values are compared as the server means them');
	$db = open_db($file);
	$db->do(q(UPDATE patients SET "fullName" = 'Other' WHERE id IN (SELECT id FROM patients ORDER BY id LIMIT 3)));
	$db->do(q(UPDATE bill_items SET quantity = quantity + 1 WHERE id IN (SELECT id FROM bill_items ORDER BY id LIMIT 2)));
	$db->disconnect;
	$found = decode_json((run(sync_words($file), '--json'))[1]);
	is_deeply([map { "$_->{name} $_->{only_here} $_->{only_there} $_->{different}" }
		grep { $_->{only_here} || $_->{only_there} || $_->{different} } @{$found->{tables}}],
		['bill_items 0 0 2', 'patients 0 0 3'], 'and each row that does differ is found, no other');
	is((run(sync_words($file), '--adopt', 'server'))[0], 0, 'adopted');
	$db = open_db($file);
	is(rows($db, $local), $before, "columns that the server does not send keep their values");
	is(rows($db, 'SELECT count(*) FROM clinic_cache_orphans'), 0, 'and nothing was only here');
	$db->disconnect;
}

# ---- empty tables are taken without a question ------------------------------------------------
{
	my $file = AppFile::upgraded_v43("$dir/empty.db", rows => 0);
	my $db = open_db($file);
	$db->do($_) for map { "DELETE FROM $_" } keys %synced;
	my $schema = app_schema($db);
	$db->disconnect;
	is((run(sync_words($file)))[0], 0, 'an app file without rows is synced at once');
	$db = open_db($file);
	is(app_schema($db), $schema, 'and keeps its schema');
	$db->disconnect;
	is_deeply([glob "$file.before-sync-*"], [], 'without a copy');
	is(decode_json((run('verify', '--db', $file, '--json'))[1])->{result}, 'ok', 'equal');
}

# ---- killed at any point ------------------------------------------------------------------------
{
	my $pristine = AppFile::upgraded_v43("$dir/pristine.db", rows => 400);
	my $db = open_db($pristine);
	my @tables = app_tables($db);
	my $before = content($db, @tables);
	$db->disconnect;
	my $take = sub {
		my ($file) = @_;
		unlink glob "$file*";
		system('cp', $pristine, $file) == 0 or die "cp failed\n";
		return $file;
	};
	my $file = $take->("$dir/killed.db");
	my $began = now();
	is((run(sync_words($file), '--adopt', 'server'))[0], 0, 'a larger file is adopted');
	my $length = now() - $began;
	my %end;
	for my $i (0 .. 19) {
		$take->($file);
		my (undef, $process) = begin(sync_words($file), '--adopt', 'server');
		sleep($length * (0.15 + 0.85 * $i / 20));
		my $alive = $process->alive;
		$process->kill9;
		my $found = open_db($file);
		my $sound = rows($found, 'PRAGMA integrity_check') eq 'ok';
		my $is_synced = $found->selectrow_array(q(SELECT count(*) FROM sqlite_schema WHERE name = 'clinic_sync_meta'));
		my $is_old = !$is_synced && join("\n", map { "$_\n" . content($found, $_)->{$_} } @tables)
			eq join("\n", map { "$_\n$before->{$_}" } @tables);
		$found->disconnect;
		$end{!$sound ? 'damaged' : $is_old ? 'old' : $is_synced ? 'synced' : 'between'}++;
		for my $copy (glob "$file.before-sync-2*") {
			my $copied = open_db($copy);
			$end{'half a copy'}++ if rows($copied, 'SELECT count(*) FROM patients') ne 400;
			$copied->disconnect;
		}
		if ($is_synced) {
			my @copies = glob "$file.before-sync-2*";
			$end{'no copy'}++ if !@copies;
			$end{'not equal'}++ if (run('verify', '--db', $file, '--access-code-file', $clinic->{code_file}))[0] != 0;
		}
	}
	diag(join ', ', map { "$_: $end{$_}" } sort keys %end);
	is_deeply([grep { $_ ne 'old' && $_ ne 'synced' } sort keys %end], [],
		'kill -9 leaves the old file or the synced one');
	is((run(sync_words($file), '--adopt', 'server'))[0], 0, 'and the next run completes it');
	is_deeply([glob "$file.before-sync-part*"], [], 'without a rest of a copy');
}

# ---- what cannot be taken over ------------------------------------------------------------------
{
	my $file = "$dir/unfit.db";
	my $db = open_db($file);
	$db->do('CREATE TABLE other (id TEXT)');
	$db->do('CREATE VIEW patients AS SELECT id FROM other');
	$db->disconnect;
	my ($code, undef, $err) = run(sync_words($file), '--adopt', 'server');
	is($code, 2, 'a view in the place of a table');
	like($err, qr/patients is no plain table/, 'is named');
	unlink $file;
	$db = open_db($file);
	$db->do('CREATE TABLE patients (id TEXT, "fullName" TEXT)');
	$db->disconnect;
	($code, undef, $err) = run(sync_words($file), '--adopt', 'server');
	is($code, 2, 'a table that may hold one key twice');
	like($err, qr/neither its primary key nor unique/, 'is refused');
}
# ---- and it goes on -----------------------------------------------------------------------------
for my $form (qw(fresh upgraded odd)) {
	my $device = $clinic->device($form, words => []);
	$dbh->do(q(UPDATE patients SET "contactNumber" = ? WHERE id = (SELECT min(id) FROM patients)), undef, "0917 $form");
	$dbh->do(q(INSERT INTO patients (id, "fullName", "birthDate", gender, "createdAt", "updatedAt", "registrationDate")
		VALUES (?, ?, '1990-01-01', 'Female', now(), now(), now())), undef, "NEW-$form", "New, $form");
	$clinic->wait_level($device);
	is($device->value('SELECT "contactNumber" FROM patients ORDER BY id LIMIT 1'), "0917 $form",
		"$form: changes arrive");
	is($device->value('SELECT "fullName" FROM patients WHERE id = ?', "NEW-$form"), "New, $form", "$form: new rows, too");
	is($device->stop, 0, "$form: stopped");
}
done_testing();
