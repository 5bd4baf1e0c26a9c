#!/usr/bin/perl
#
# How fast does a device that was away take what it missed? 100,000 changes in
# 1,000 transactions (half new bill items, half updates of patients), by a real
# relay into a real cache: from the start of `clinic-cache sync --once` to its
# end, so with the program's start, the connection and the transfer.
#
# Beside it the least that SQLite could do: the same changes as prepared
# statements in one transaction on a copy of the same file. Decoding and
# preparing is done before that clock starts.
#
# Each round begins with the same file, and the caches of the relay's side
# must hold exactly the server's rows in the end.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use DBI;
use File::Copy qw(copy);
use JSON::PP;
use Bench qw(emit note paired pick spread ratio_to);
use ClinicTest qw(now wait_for);

my $changes = pick(100_000, 100_000, 400);
my $per_transaction = 100;
my $patients = pick(10_000, 10_000, 50);
my $GOAL = 100_000;

my $clinic = Bench::clinic(patients => $patients);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay;
$relay->wait_ready;

# ---- the device before and the changes it misses ------------------------------

my @once = (no_events => 1, words => ['--once', '--timeout', '120']);
sub sync_once {
	my ($device) = @_;
	my $code = $device->process->wait_exit(120);
	die "the device ended with $code:\n" . $device->process->output if $code;
	return;
}

my $away = $clinic->device('away', @once);
sync_once($away);
my $cursor = $away->cursor;
my @columns = @{$dbh->selectcol_arrayref(q(SELECT column_name FROM information_schema.columns
	WHERE table_name = 'bill_items' ORDER BY ordinal_position))};
my ($highest) = $dbh->selectrow_array('SELECT max(id) FROM bill_items');

for my $transaction (1 .. $changes / $per_transaction) {
	my $half = $per_transaction / 2;
	$dbh->begin_work;
	$dbh->do(qq(INSERT INTO bill_items ("billId", description, quantity, "unitPrice", "itemTotal")
		SELECT (SELECT min(id) FROM patient_bills), 'Complete blood count', 1, 250.00, 250.00 FROM generate_series(1, $half)));
	$dbh->do(qq(UPDATE patients SET address = 'Street $transaction', "updatedAt" = '2026-11-24 08:00:00.25'
		WHERE id IN (SELECT id FROM patients ORDER BY id OFFSET ? LIMIT $half)), undef,
		($transaction * $half) % ($patients - $half + 1));
	$dbh->commit;
}
my $missed = $clinic->cut_batch;
wait_for('the relay to have all of it', sub {
	$relay->get('/metrics')->{content} =~ /^clinic_relay_batch (\d+)$/m && $1 >= $missed }, 60);
note("$changes changes, up to batch $missed");

# ---- by the product --------------------------------------------------------------

my $copies = 0;
sub copy_of_cache {
	my $name = 'device' . ++$copies;
	copy($away->{file}, "$clinic->{dir}/$name.db") or die "$name: $!\n";
	return $name;
}

sub by_device {
	my $name = copy_of_cache();
	my $began = now();
	my $device = $clinic->device($name, @once);
	sync_once($device);
	my $took = now() - $began;
	$device->batch >= $missed or die "$name stopped at batch " . $device->batch . "\n";
	my $cache = $clinic->cache_digests($device);
	for my $table (qw(bill_items patients)) {
		$cache->{$table} eq $clinic->server_digest($table) or die "$name: $table differs from the server's\n";
	}
	return $changes / $took;
}

# ---- by SQLite alone ---------------------------------------------------------------

# [statement text, values …] of every change the device missed.
sub statements {
	my @all;
	my $from = $cursor;
	while (1) {
		my $rows = $dbh->selectall_arrayref(q(SELECT batch, cursor, relation, operation, key, data
			FROM clinic_sync.changes(?, 20000)), {Slice => {}}, $from);
		last if !@$rows;
		push @all, map { statement($_) } @$rows;
		$from = $rows->[-1]{cursor};
	}
	return @all;
}

sub statement {
	my ($change) = @_;
	my ($key, $data) = map { decode_json($_) } @$change{qw(key data)};
	if ($change->{operation} eq 'insert') {
		return ["INSERT INTO $change->{relation} (" . join(',', map { qq("$_") } @columns) . ') VALUES ('
			. join(',', ('?') x @columns) . ')', @$data{@columns}];
	}
	my @set = sort keys %$data;
	return ["UPDATE $change->{relation} SET " . join(',', map { qq("$_" = ?) } @set) . ' WHERE id = ?',
		@$data{@set}, $key->{id}];
}

my @statements = statements();
die @statements . " changes are in the log, not $changes\n" if @statements != $changes;

sub by_sqlite {
	my $name = copy_of_cache();
	my $db = DBI->connect("dbi:SQLite:dbname=$clinic->{dir}/$name.db", '', '',
		{RaiseError => 1, PrintError => 0, AutoCommit => 1});
	$db->do('PRAGMA journal_mode = WAL');
	$db->do('PRAGMA synchronous = FULL');
	$db->do('PRAGMA cache_size = -16384');
	my %prepared = map { $_->[0] => 0 } @statements;
	$prepared{$_} = $db->prepare($_) for keys %prepared;
	my $began = now();
	$db->begin_work;
	for my $statement (@statements) {
		$prepared{$statement->[0]}->execute(@$statement[1 .. $#$statement]);
	}
	$db->commit;
	my $took = now() - $began;
	my ($rows) = $db->selectrow_array('SELECT count(*) FROM bill_items WHERE id > ?', undef, $highest);
	die "SQLite holds $rows new rows\n" if $rows != $changes / 2;
	undef %prepared;
	$db->disconnect;
	return $changes / $took;
}

my $got = paired(pick(5, 3, 1), ['device' => \&by_device], ['sqlite' => \&by_sqlite]);
my %ratio = ratio_to($got, 'device', 'sqlite');
emit(figure => 'apply', rows => $changes, unit => 'changes/s', goal => $GOAL, spread(@{$got->{device}}),
	baseline => $ratio{baseline});
emit(figure => 'apply', rows => $changes, part => 'over SQLite alone', unit => 'ratio', better => 'higher', %ratio);
