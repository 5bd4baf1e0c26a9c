#!/usr/bin/env perl
# clinic_cache.so in an app of another language, on that language's SQLite and WebSocket: from
# nothing, on a file of the app's own, through a relay's death, beside another writer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use DBI;
use JSON::PP;
use Test::More;
use AppFile;
use ClinicTest qw(wait_for slurp);
use ClinicTest::Rows qw(parents_sql insert_sql update_sql);

my $root = ClinicTest::root();
# a sanitizer cannot be loaded into a program that has none
my $build = $ENV{CLINIC_PLAIN_BUILD} // ClinicTest::build();
$build = "$root/$build" if $build !~ m{^/};
my $clinic = ClinicTest->new(patients => 50);
my $dbh = $clinic->dbh;
$dbh->do(parents_sql());
my $relay = $clinic->relay;

# One process of the app, on DIR/NAME.db.
sub app {
	my ($name, %option) = @_;
	my $options = encode_json({url => $relay->url, device_name => $name, reconnect_least_ms => 50,
		reconnect_most_ms => 200, %option});
	my $file = "$clinic->{dir}/$name.db";
	return bless {file => $file, asked => 0, name => $name,
		process => ClinicTest::Process->start("app $name", log => "$clinic->{dir}/$name.log", stdin => 1,
			argv => ["$root/tests/e2e/loadable_client.py", $options, $clinic->{code_file}, $file,
				"$build/lib/clinic_cache"])}, 'App';
}

sub App::events { return map { decode_json($_) } $_[0]{process}->output =~ /^event (.*)$/mg }

sub App::has_event { my ($self, $type) = @_; return scalar grep { $_->{type} eq $type } $self->events }

# What a statement on the app's own connection gives: rows, or the text of the error.
sub App::ask {
	my ($self, $sql) = @_;
	my $count = ++$self->{asked};
	print {$self->{process}{stdin}} "$sql\n";
	my @said;
	wait_for("an answer to $sql", sub { (@said = $self->{process}->output =~ /^((?:rows|error) .*)$/mg) >= $count });
	return $said[$count - 1] =~ /^rows (.*)/ ? decode_json($1) : $said[$count - 1];
}

sub App::stop {
	my ($self) = @_;
	close($self->{process}{stdin});
	return $self->{process}->wait_exit;
}

sub App::state { return decode_json($_[0]->ask('SELECT clinic_cache_state()')->[0][0]) }

# Until the app's own connection has every change that is committed now.
sub App::wait_level {
	my ($self) = @_;
	my $batch = $clinic->cut_batch;
	wait_for("app $self->{name} to reach batch $batch", sub {
		die "app $self->{name} ended:\n" . $self->{process}->output if !$self->{process}->alive;
		my ($at) = ($self->state->{cursor} // '') =~ /^(\d+)-/;
		return ($at // 0) >= $batch;
	});
	return;
}

sub verify {
	my ($app, $name) = @_;
	$app->wait_level;
	my $process = ClinicTest::Process->start('clinic-cache verify', log => "$app->{file}.verify.log",
		argv => [ClinicTest::build() . '/bin/clinic-cache', 'verify', '--db', $app->{file},
			'--access-code-file', $clinic->{code_file}]);
	is($process->wait_exit(60), 0, $name) or diag($process->output);
	return;
}

# ---- from nothing -----------------------------------------------------------------------

my $app = app('fresh');
wait_for('the first snapshot', sub { $app->has_event('full_sync_completed') });
verify($app, 'from nothing: the file equals the server');
$dbh->do(insert_sql('payments', 1));
wait_for('the event', sub { grep { ($_->{table} // '') eq 'payments' && $_->{operation} eq 'insert' }
	grep { $_->{operation} } $app->events });
is($app->ask('SELECT count(*) FROM payments WHERE ' . ClinicTest::Rows::where('payments', 1))->[0][0], 1,
	'a change is seen on the connection that was synced, once its event is there');
is($app->state->{last_error}, undef, 'and no error');

# Names that are registered, and names that are described.
my %registered = map { $_->[0] => 1 }
	@{$app->ask("SELECT DISTINCT name FROM pragma_function_list WHERE name LIKE 'clinic\\_cache\\_%' ESCAPE '\\'")};
my %described = map { $_ => 1 } slurp("$root/docs/loadable.md") =~ /^\| `(clinic_cache_\w+)\(/mg;
is_deeply([sort keys %registered], [sort keys %described], 'docs/loadable.md has every function and no other');

for my $command ([qw(sync --once)], ['sync-now']) {
	my $beside = ClinicTest::Process->start("clinic-cache @$command", log => "$clinic->{dir}/beside.log",
		argv => [ClinicTest::build() . '/bin/clinic-cache', @$command, '--db', $app->{file},
			'--access-code-file', $clinic->{code_file}]);
	is($beside->wait_exit, 4, "clinic-cache @$command does not sync the same file");
}

# ---- inside the app's transaction --------------------------------------------------------

$app->ask('BEGIN');
$dbh->do(insert_sql('payments', 2));
$clinic->cut_batch;
$app->{process}->wait_output(qr/^refused .*COMMIT or ROLLBACK/m);
is($app->ask('SELECT count(*) FROM payments WHERE ' . ClinicTest::Rows::where('payments', 2))->[0][0], 0,
	'inside a transaction of the app a change is refused');
like($app->ask('SELECT clinic_cache_tick()'), qr/COMMIT or ROLLBACK/, 'with what to do');
$app->ask('COMMIT');
verify($app, 'and it arrives after that');
ok(!$app->has_event('sync_error'), 'nothing went wrong by that');

# ---- what somebody changed behind its back ------------------------------------------------

$app->ask('PRAGMA foreign_keys = ON');
$app->ask('DELETE FROM payments WHERE ' . ClinicTest::Rows::where('payments', 1));
$app->ask(q(UPDATE patients SET "fullName" = 'somebody else'));
like($app->ask(q(SELECT clinic_cache_sync_now('everything'))), qr/'patient_data' or 'table'/, 'a scope there is not');
is_deeply($app->ask(q(SELECT clinic_cache_sync_now('table', 'payments'))), [[1]], 'a sync now of one table');
wait_for('its end', sub { $app->has_event('sync_now_completed') });
is($app->state->{sync_now}{state}, 'done', 'ends');
is($app->state->{sync_now}{repairs}, 1, 'and has put it right');
is($app->ask('SELECT count(*) FROM payments WHERE ' . ClinicTest::Rows::where('payments', 1))->[0][0], 1,
	'with the row that was deleted');
$app->ask(q(SELECT clinic_cache_sync_now('all')));
wait_for('the end of a sync of all', sub { $app->has_event('sync_now_completed') == 2 });
verify($app, 'after a sync now of all tables the file equals the server');
is_deeply([$app->ask('PRAGMA foreign_keys'), $app->ask('SELECT count(*) FROM temp.sqlite_schema'),
	$app->ask(q(SELECT name FROM pragma_database_list WHERE name <> 'temp'))], [[[1]], [[0]], [['main']]],
	'and the connection is as it was');

# ---- the relay dies, and the app ------------------------------------------------------------

$relay->kill9;
wait_for('the app to notice', sub { $app->has_event('disconnected') });
$dbh->do(insert_sql('payments', 3));
$relay->start;
verify($app, 'a change made while the relay was dead arrives');
is($app->has_event('full_sync_completed'), 1, 'without another snapshot');

$app->{process}->kill9;
$dbh->do(insert_sql('payments', 4));
$app = app('fresh');
verify($app, 'and one made while the app was dead');

# It goes on where it stood; the file is also the command's.
is($app->stop, 0, 'the app ends');
$dbh->do(update_sql('payments', 1, 'late'));
is(system(ClinicTest::build() . "/bin/clinic-cache sync --once --db '$app->{file}' --access-code-file "
	. "'$clinic->{code_file}' > '$clinic->{dir}/once.log' 2>&1"), 0, 'clinic-cache goes on where the app stood');
$dbh->do(update_sql('payments', 2, 'later'));
$app = app('fresh');
verify($app, 'and the app where clinic-cache stood');
is($app->has_event('full_sync_completed'), 0, 'without a snapshot');
is($app->stop, 0, 'the app ends');

# ---- by the WebSocket alone, and comparing all along ------------------------------------------

$app = app('link', full_sync => 'link', sync_interval_s => 1);
wait_for('the tables', sub { $app->has_event('full_sync_completed') });
verify($app, 'full_sync link: from nothing without a download');
$app->ask(q(DELETE FROM patients WHERE id = (SELECT min(id) FROM patients)));
wait_for('a round that finds it', sub { grep { $_->{type} eq 'table_sync_completed'
	&& $_->{table} eq 'patients' && ($_->{detail} // '') =~ /differed/ } $app->events });
verify($app, 'a row that was deleted behind its back comes back by itself');
is($app->stop, 0, 'the app ends');

# ---- a file of the app's own, and another writer --------------------------------------------

AppFile::fresh_v43("$clinic->{dir}/own.db", rows => 20);
my $own = DBI->connect("dbi:SQLite:dbname=$clinic->{dir}/own.db", '', '', {RaiseError => 1});
$own->do('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
$own->disconnect;
$app = app('own');
is($app->{process}->wait_exit, 1, 'rows of the app in tables of the server: it stops');
like($app->{process}->output, qr/^stopped: .*rows that never came from the server/m, 'and says why');
my $writer = ClinicTest::Process->start('writer', log => "$clinic->{dir}/writer.log", stdin => 1,
	argv => ['/usr/bin/python3', '-c', <<'EOT', "$clinic->{dir}/own.db"]);
import select, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=10)
n = 0
while not select.select([sys.stdin], [], [], 0.002)[0]:
    with db:
        db.execute("INSERT INTO notes (text) VALUES ('note')")
    n += 1
print("wrote", n, flush=True)
EOT
$app = app('own', adopt => 'server');
wait_for('the first snapshot', sub { $app->has_event('full_sync_completed') });
for my $n (10 .. 60) {
	$dbh->do(insert_sql('payments', $n));
	$dbh->do(update_sql('payments', $n - 1, 'again')) if $n % 2;
}
verify($app, "the app's own file equals the server, with another connection writing all along");
close($writer->{stdin});
is($writer->wait_exit, 0, 'the other connection wrote without an error') or diag($writer->output);
my ($wrote) = $writer->output =~ /^wrote (\d+)/m;
cmp_ok($wrote, '>', 10, "$wrote times");
is($app->ask('SELECT count(*) FROM notes')->[0][0], $wrote, 'and all of it is there');
ok(!$app->has_event('sync_error'), 'the sync had no error') or diag($app->{process}->output);
cmp_ok($app->ask('SELECT count(*) FROM clinic_cache_orphans')->[0][0], '>', 0, 'rows that only the app had are kept aside');
is(scalar(() = glob("$clinic->{dir}/own.db.before-sync-*")), 1, 'and the file as it was');
is($app->ask('PRAGMA integrity_check')->[0][0], 'ok', 'the file is sound');
is($app->stop, 0, 'the app ends');
done_testing;
