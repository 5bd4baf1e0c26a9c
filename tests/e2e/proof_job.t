#!/usr/bin/perl
#
# The job that proves slices (`clinic-relay --job`), by itself and with a relay's
# rights: what its lines say is true at the batch it names, also while others
# write, and it cuts no batch when it is only asked where to divide a table.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use IPC::Open2;
use JSON::PP;
use Test::More;
use ClinicTest qw(@TABLES);
use ClinicTest::Gate;

my $clinic = ClinicTest->new(patients => 300);
my $dbh = $clinic->dbh;
my $json = JSON::PP->new->canonical;
my $dsn = $clinic->cluster->dsn(user => 'clinic_relay');

# The lines of a job, decoded; the last one must end it.
sub job {
	my ($spec, $text) = @_;
	my $pid = open2(my $out, my $in, ClinicTest::build() . '/bin/clinic-relay', '--job');
	print $in $json->encode({job => 'proof', dsn => $dsn, tables => '', path => '', spec => $spec});
	close($in);
	my @raw = <$out>;
	waitpid($pid, 0);
	$$text = join('', @raw) if $text;
	return map { $json->decode($_) } @raw;
}

sub error_of { my ($spec) = @_; my @lines = job($spec); return $lines[-1]{error} // 'none' }
sub batches { return ($dbh->selectrow_array('SELECT count(*) FROM clinic_sync.batch'))[0] }

# Every table whole: as table_digest() has it.
my @whole = map { {table => $_, after => undef, upto => undef} } @TABLES;
my @lines = job({slices => \@whole, counts => \@TABLES});
is_deeply(pop(@lines), {done => JSON::PP::true}, 'it ends well');
like(shift(@lines)->{cursor}, qr/^\d+-[0-9a-f]{16}$/, 'the cursor comes first');
my %digest = map { $_->[0] => $_ } @{$dbh->selectall_arrayref('SELECT p.name, d.rows, d.hash
	FROM clinic_sync.publication p, clinic_sync.digest_scan(p.relation) d')};
is_deeply([@lines], [(map { {slice => $_, rows => $digest{$TABLES[$_]}[1], hash => $digest{$TABLES[$_]}[2]} } 0 .. $#TABLES),
	(map { {count => $_, rows => $digest{$_}[1]} } @TABLES)], 'a line for each slice and each count, in the order of the orders');

# Where to divide: no batch.
my $before = batches();
@lines = job({bounds => ['patients', 'users'], slice_rows => 100});
is_deeply(\@lines, [{bounds => 'patients', keys => [map { {id => $_} } @{$dbh->selectcol_arrayref(
		'SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id COLLATE "C") n FROM patients) x WHERE n % 100 = 0 ORDER BY n')}]},
	{bounds => 'users', keys => []}, {done => JSON::PP::true}], 'bounds, none for a small table');
is(batches(), $before, 'and no batch was cut for them');

# Long keys: more than a line may hold. Many slices: more than one call takes.
$dbh->do('CREATE TABLE long_keys (id text COLLATE "C" PRIMARY KEY, t text)');
$dbh->do(q(INSERT INTO long_keys SELECT lpad(i::text, 4, '0') || string_agg(md5((i * 100 + j)::text), '' ORDER BY j), 'x'
	FROM generate_series(1, 2000) i, generate_series(1, 30) j GROUP BY i));
$dbh->do(q(SELECT clinic_sync.publish('long_keys')));
my $text;
@lines = job({bounds => ['long_keys'], slice_rows => 1}, \$text);
cmp_ok(length($text), '>', 1_900_000, 'two megabytes of bounds');
cmp_ok((sort { $b <=> $a } map { length } split(/\n/, $text))[0], '<', 300_000, 'in lines that the relay takes');
is_deeply([map { $_->{id} } map { @{$_->{keys}} } grep { $_->{bounds} } @lines],
	$dbh->selectcol_arrayref('SELECT id FROM long_keys ORDER BY id'), 'are all keys, in order');
my @keys = map { {id => sprintf('%04d', $_ * 8)} } 1 .. 249;
my @slices = map { {table => 'long_keys', skip => ['t'], after => $_ ? $keys[$_ - 1] : undef, upto => $keys[$_]} } 0 .. 249;
@lines = job({slices => \@slices});
is(scalar(grep { defined($_->{slice}) } @lines), 250, '250 slices of a table');
is_deeply([map { $_->{rows} } @lines[1 .. 250]], [7, (8) x 248, 9], 'each with its rows');
my ($hash) = $dbh->selectrow_array(q(SELECT hash FROM clinic_sync.digest_scan('long_keys', '{id}')));
is((job({slices => [{table => 'long_keys', skip => ['t', 'no such column'], after => undef, upto => undef}]}))[1]{hash}, $hash,
	'without the columns that a device lacks');

# While others write: slices, their sum and the count are of one moment.
my $writer = ClinicTest::Process->start('writer', log => "$clinic->{dir}/writer.log", code => sub {
	my $other = $clinic->cluster->connect;
	for (my $n = 1;; $n++) {
		$other->do('BEGIN');
		$other->do(q(INSERT INTO patients (id, "fullName") SELECT 'W-' || ? || '-' || i, 'x' FROM generate_series(1, ?) i),
			undef, $n, 20 * (1 + $n % 4));
		$other->do(q(DELETE FROM patients WHERE id LIKE 'W-' || ? || '-%'), undef, $n - 3);
		$other->do('COMMIT');
	}
});
my ($torn, $moved, $last) = (0, 0, '');
for (1 .. 30) {
	@lines = job({counts => ['patients'], slices => [{table => 'patients', after => undef, upto => {id => 'T'}},
		{table => 'users', after => undef, upto => undef},
		{table => 'patients', after => {id => 'T'}, upto => undef}, {table => 'users', after => undef, upto => undef},
		{table => 'patients', after => undef, upto => undef}]});
	my ($cursor, $low, undef, $high, undef, $all, $count) = @lines;
	# the writer's rows come and go by twenties, another number each time; these are three questions
	$torn++ if $low->{rows} + $high->{rows} != $all->{rows} || $all->{rows} != $count->{rows} || $high->{rows} % 20;
	$moved++ if $all->{hash} ne $last;
	$last = $all->{hash};
}
is($torn, 0, '30 proofs beside a writer: each of one moment, whole transactions');
cmp_ok($moved, '>', 5, 'of different moments');
$writer->stop;

# Beside locks: a table that is only counted is let go again, and left out while it is locked.
sub locks {
	return $dbh->selectcol_arrayref(q(SELECT DISTINCT l.relation::regclass::text FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.application_name LIKE '%/proof' AND l.relation IN ('patients'::regclass, 'users'::regclass, 'payments'::regclass) ORDER BY 1));
}
my $gate = ClinicTest::Gate->start(cluster => $clinic->cluster, dir => $clinic->{dir}, pattern => qr/hold_tables.*payments/s);
my $plain_dsn = $dsn;
$dsn = $clinic->cluster->dsn(user => 'clinic_relay', $gate->address);
my $at_gate = ClinicTest::Process->start('job', log => "$clinic->{dir}/job.log", code => sub {
	my @said = job({slices => [{table => 'patients'}], counts => ['users', 'payments']});
	die "it failed\n" if !$said[-1]{done};
});
$gate->wait_shut;
is_deeply(locks(), ['patients'], 'held: what is proved; no more what was counted');
$gate->open;
is($at_gate->wait_exit, 0, 'and on');
$dsn = $plain_dsn;
my $migration = $clinic->cluster->connect;
$migration->do('BEGIN');
$migration->do('LOCK TABLE users IN ACCESS EXCLUSIVE MODE');
@lines = job({slices => [{table => 'patients'}], counts => ['users', 'patients']});
is_deeply([@lines[2 .. 4]], [{count => 'users', rows => undef}, {count => 'patients', rows => $lines[1]{rows}}, {done => JSON::PP::true}],
	'a locked table is not counted');
is(error_of($_), 'a table is locked; try later', 'nor proved or divided')
	for {slices => [{table => 'users'}, {table => 'patients'}]}, {bounds => ['users'], slice_rows => 10};
$migration->do('ROLLBACK');

# REINDEX leaves a table readable, but not its index: nobody may wait for that while he holds a table.
$migration->do('BEGIN');
$migration->do('REINDEX INDEX users_pkey');
is(error_of({slices => [{table => 'users'}]}), 'a table is locked; try later', 'nor one of which an index is locked');
$migration->do('ROLLBACK');

# More tables than a list of names once had.
$dbh->do("CREATE TABLE extra_$_ (id int PRIMARY KEY)"), $dbh->do("SELECT clinic_sync.publish('extra_$_')") for 1 .. 300;
@lines = job({slices => [{table => 'extra_1'}], counts => [map { "extra_$_" } 1 .. 300]});
is(scalar(@lines), 303, 'a proof with 300 tables') or diag(explain(\@lines));
@lines = job({slices => [map { {table => "extra_$_"} } 1 .. 300]});
is(scalar(@lines), 302, 'and one of 300');

# What is wrong.
is(error_of({slices => [{table => 'nobody'}]}), 'no such table is published', 'an unknown table');
is(error_of($_), 'the specification of a proof is not well formed', 'bad orders: ' . $json->encode($_))
	for {}, {slices => [5]}, {counts => [{}]}, {bounds => ['patients']}, {slices => [{table => 'patients', after => 'JG-0001'}]};
my $error = error_of({slices => [{table => 'patients', after => {nickname => 'canary'}, upto => undef}]});
like($error, qr/^digest_slices\(\): .*not a key object of table/, 'a key of another table');
unlike($error, qr/canary/, 'which is not shown');
done_testing();
