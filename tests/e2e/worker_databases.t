#!/usr/bin/perl
#
# Workers come and go with their databases: several at once, with and without
# the extension, named and not, more than there may be; and they are in nobody's
# way who drops, renames or copies a database.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for);
use ClinicTest::Worker qw(worker wait_worker listen bells set_conf);

my $clinic = ClinicTest->new(preload => 1, schema => 0, conf => "clinic_sync.worker_max = 3\n");
my $cluster = $clinic->cluster;
my $postgres = $cluster->connect(dbname => 'postgres');

sub make_database {
	my ($name) = @_;
	$postgres->do("CREATE DATABASE $name ENCODING 'UTF8' TEMPLATE template0");
	my $dbh = $cluster->connect(dbname => $name);
	$dbh->do($_) for 'CREATE EXTENSION clinic_sync', 'CREATE TABLE t (id int PRIMARY KEY)',
		q(SELECT clinic_sync.publish('t'));
	return $dbh;
}

sub last_batch { return $_[0]->selectrow_array('SELECT coalesce(max(id), 0) FROM clinic_sync.batch') }

# Somebody cuts a batch, and nobody but the worker could.
my $number = 0;

sub is_served {
	my ($dbh, $name) = @_;
	my $before = last_batch($dbh);
	$dbh->do('INSERT INTO t VALUES (?)', undef, ++$number);
	my $ok = eval { wait_for('a batch', sub { last_batch($dbh) > $before }, 10); 1 };
	return ok($ok, $name);
}

# ---- two databases ---------------------------------------------------------------

my %dbh = map { ($_ => make_database($_)) } qw(one two);
is_served($dbh{$_}, "database $_ has a worker") for qw(one two);
isnt(wait_worker($dbh{one}), wait_worker($dbh{two}), 'each its own');
my $ear = listen($cluster, dbname => 'two');
bells($ear);
$dbh{one}->do('INSERT INTO t VALUES (-1)');
wait_for('its batch', sub { $dbh{one}->selectrow_array(
	"SELECT count(*) > 0 FROM clinic_sync.changes('1-' || (SELECT nonce FROM clinic_sync.batch WHERE id = 1))
	WHERE key = '{\"id\":-1}'") });
is_deeply([bells($ear)], [], 'one does not ring in the other');
my $idle = make_database('idle');
$idle->do('DROP EXTENSION clinic_sync CASCADE');
wait_for('the worker of a database without the extension to leave', sub { !worker($dbh{one}, 'idle') }, 20);
pass('a worker leaves when the extension is dropped');

# ---- DROP and CREATE EXTENSION ---------------------------------------------------

$dbh{one}->do('DROP EXTENSION clinic_sync CASCADE');
$dbh{one}->do($_) for 'CREATE EXTENSION clinic_sync', q(SELECT clinic_sync.publish('t'));
is_served($dbh{one}, 'DROP and CREATE EXTENSION');
$dbh{one}->do('BEGIN');
$dbh{one}->do($_) for 'DROP EXTENSION clinic_sync CASCADE', 'CREATE EXTENSION clinic_sync',
	q(SELECT clinic_sync.publish('t'));
$dbh{one}->do('COMMIT');
is_served($dbh{one}, 'in one transaction, too');
$dbh{one}->do('BEGIN');
$dbh{one}->do($_) for 'DROP EXTENSION clinic_sync CASCADE', 'CREATE EXTENSION clinic_sync';
$dbh{one}->do('ROLLBACK');
is_served($dbh{one}, 'and when that is taken back');

# ---- out of the way --------------------------------------------------------------

sub forget { $dbh{$_[0]}->disconnect; return }

sub quickly {
	my ($name, $sql) = @_;
	my $began = now();
	my $ok = eval { $postgres->do($sql); 1 };
	diag($@) if !$ok;
	note sprintf '%s: %.2f s', $name, now() - $began;
	return ok($ok, $name);
}

wait_worker($dbh{two});
$ear->disconnect;
forget('two');
quickly('CREATE DATABASE from a template that has a worker', 'CREATE DATABASE copy TEMPLATE two');
$dbh{two} = $cluster->connect(dbname => 'two');
is_served($dbh{two}, 'the worker of the template is back');
$dbh{copy} = $cluster->connect(dbname => 'copy');
is_served($dbh{copy}, 'and the copy has one');
forget('copy');
quickly('ALTER DATABASE RENAME with a worker', 'ALTER DATABASE copy RENAME TO other');
$dbh{other} = $cluster->connect(dbname => 'other');
is_served($dbh{other}, 'it works under the new name');
forget('other');
quickly('DROP DATABASE with a worker', 'DROP DATABASE other');
wait_for('its slot to be free', sub {
	!$dbh{two}->selectrow_array('SELECT count(*) FROM clinic_sync.workers WHERE database IS NULL') }, 10);
pass('and its slot is free again');
$postgres->do('CREATE ROLE stranger LOGIN CREATEDB');
my $pid = wait_worker($dbh{two});
my $stranger = $cluster->connect(dbname => 'postgres', user => 'stranger');
ok(!eval { $stranger->do('DROP DATABASE two'); 1 }, 'who may not drop a database');
is(worker($dbh{two})->{pid}, $pid, 'does not disturb its worker');

ok(!eval { $stranger->do('CREATE DATABASE stolen TEMPLATE two'); 1 }, 'nor who may not copy it');
is_served($dbh{two}, 'it goes on');
is(worker($dbh{two})->{pid}, $pid, 'the same process');

# ---- things of our names that are not the extension ------------------------------

# A worker is a superuser, and this database's owner is not: it must call nothing of his.
sub superuser { return $postgres->selectrow_array(q(SELECT rolsuper FROM pg_roles WHERE rolname = 'stranger')) }

$stranger->do(q(CREATE DATABASE trap ENCODING 'UTF8' TEMPLATE template0));
my $trap = $cluster->connect(dbname => 'trap', user => 'stranger');
$trap->do($_) for 'CREATE SCHEMA clinic_sync', 'CREATE TABLE clinic_sync.batch_lock ()',
	'CREATE TABLE clinic_sync.log_lost AS SELECT 1 AS segment',
	map { "CREATE FUNCTION clinic_sync.$_() RETURNS void LANGUAGE plpgsql AS 'BEGIN ALTER ROLE stranger SUPERUSER; END'" }
	qw(start_new_history prune repair);
$trap->do('LISTEN clinic_sync');
is(worker($dbh{two}, 'trap'), undef, 'a schema clinic_sync of somebody else gets no worker');

# a failed command lifts the bar
ok(!eval { $postgres->do('DROP DATABASE two'); 1 }, 'DROP DATABASE in use is refused');
like($@, qr/is being accessed by other users/, 'because of the others');
is_served($dbh{two}, 'and the worker comes back');
quickly('DROP DATABASE WITH (FORCE)', 'DROP DATABASE two WITH (FORCE)');

# ---- which databases, and how many -----------------------------------------------

is_served($dbh{one}, 'one still has its worker');
$dbh{named} = make_database('named');
set_conf($clinic, 'clinic_sync.worker_databases', 'named, "Odd name"');
wait_for('the worker of one to leave', sub { !worker($dbh{named}, 'one') });
is($dbh{one}->selectrow_array('SELECT notify FROM clinic_sync.status'), 'commit',
	'a database that is not named has no worker and acts as commit');
$ear = listen($cluster, dbname => 'one');
$dbh{one}->do('INSERT INTO t VALUES (?)', undef, ++$number);
is_deeply([bells($ear)], [{event => 'data_change_immediate', tables => {t => {insert => 1}}}], 'which it does');
is_served($dbh{named}, 'one that is named has one');
set_conf($clinic, 'clinic_sync.worker_databases', 'named, trap, one');
wait_worker($dbh{one});
ok(eval { wait_for('the worker of the trap to leave', sub { !worker($dbh{one}, 'trap') }, 20); 1 }, 'one that is sent there leaves');
ok(!superuser(), 'and has called nothing');
set_conf($clinic, 'clinic_sync.worker_databases', 'named, "Odd name"');
wait_for('the worker of one to leave again', sub { !worker($dbh{named}, 'one') });
$cluster->stop;
$cluster->start;
$postgres = $cluster->connect(dbname => 'postgres');
$dbh{named} = $cluster->connect(dbname => 'named');
ok(wait_worker($dbh{named}), 'also after a restart, before anybody writes');
set_conf($clinic, 'clinic_sync.worker_databases', undef);
$dbh{one} = $cluster->connect(dbname => 'one');
is_served($dbh{one}, 'all again');
$dbh{$_} = make_database($_) for qw(three four);
is_served($dbh{three}, 'the third of three');
is($dbh{four}->selectrow_array('SELECT notify FROM clinic_sync.status'), 'commit', 'the fourth acts as commit');
like($dbh{four}->selectrow_array('SELECT problems[1] FROM clinic_sync.status'), qr/all 3 workers are taken/, 'and says so');
$dbh{named}->disconnect;
$postgres->do('DROP DATABASE named');
wait_for('a free slot', sub {
	$dbh{four}->selectrow_array('SELECT notify FROM clinic_sync.status') eq 'worker' });
is_served($dbh{four}, 'until a slot is free');
done_testing();
