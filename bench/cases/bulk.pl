#!/usr/bin/perl
#
# One statement that changes 1,000,000 rows: how much longer does it take on a
# published table, and does the backend's memory stay flat?
#
# Two tables with the columns and indexes of bill_items, one published. In each
# round each of them has all its rows updated, deleted and inserted again, one
# statement each, with VACUUM and CHECKPOINT in between; the worker has cut its
# batch before the next statement is timed.
#
# Memory is RssAnon of the backend, read every 2 ms while the UPDATE runs. Every
# AFTER ROW trigger makes PostgreSQL queue 16 bytes a row until the end of the
# statement, ours or not; so the comparison is a third table with a trigger
# that does nothing, and the question is what a row costs on top.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use DBD::Pg qw(:async);
use List::Util qw(max);
use Time::HiRes qw(usleep);
use Bench qw(emit memory_of note paired pick ratio_to);
use ClinicTest qw(now);

my $rows = pick(1_000_000, 200_000, 2_000);
my $quarter = $rows / 4;
my $rounds = pick(3, 3, 1);
my %GOAL = (update => 2.0, memory => 20);

my $clinic = Bench::clinic(publish => 0, conf => <<'END');
clinic_sync.log_max_bytes = 64GB
clinic_sync.log_hard_bytes = 128GB
maintenance_work_mem = 256MB
END
my $dbh = $clinic->dbh;

sub fill_sql {
	my ($table, $count) = @_;
	return qq(INSERT INTO $table ("billId", "serviceId", description, quantity, "unitPrice", "itemTotal")
		SELECT 'BILL-' || i / 3, 'service-' || i % 50, 'Complete blood count', 1, 250.00, 250.00
		FROM generate_series(1, $count) i);
}

my %STATEMENT = (
	update => sub { "UPDATE $_[0] SET quantity = quantity + 1, \"itemTotal\" = \"itemTotal\" + \"unitPrice\"" },
	delete => sub { "DELETE FROM $_[0]" },
	insert => sub { fill_sql($_[0], $rows) },
);
my @ORDER = qw(update delete insert);

sub tidy {
	my ($table) = @_;
	$clinic->cut_batch if $table =~ /published/;
	$dbh->do("VACUUM ANALYZE $table");
	$dbh->do('CHECKPOINT');
	return;
}

# Seconds of each statement, in this order, from and to the same content.
sub run_side {
	my ($table) = @_;
	my %took;
	for my $name (@ORDER) {
		my $began = now();
		$dbh->do($STATEMENT{$name}->($table));
		$took{$name} = now() - $began;
		tidy($table);
	}
	return \%took;
}

# The largest RssAnon of a new backend while it updates the table's rows.
sub peak_memory {
	my ($table) = @_;
	my $own = $clinic->cluster->connect;
	my $pid = $own->{pg_pid};
	my $statement = $own->prepare($STATEMENT{update}->($table), {pg_async => PG_ASYNC});
	my $peak = 0;
	$statement->execute;
	while (!$own->pg_ready) {
		$peak = max($peak, memory_of($pid, 'RssAnon'));
		usleep(2000);
	}
	$peak = max($peak, memory_of($pid, 'RssAnon'));
	$own->pg_result;
	$own->disconnect;
	tidy($table);
	return $peak;
}

sub time_statements {
	$dbh->do("CREATE TABLE bulk_$_ (LIKE bill_items INCLUDING ALL)") for qw(bare published);
	$dbh->do(q(SELECT clinic_sync.publish('bulk_published')));
	for my $table (qw(bulk_bare bulk_published)) {
		$dbh->do(fill_sql($table, $rows));
		tidy($table);
	}
	my $got = paired($rounds, map { my $side = $_;
		[$side => sub { note($side, 'round', $_[0] + 1); run_side("bulk_$side") }] } qw(bare published));
	for my $name (@ORDER) {
		my %seconds = map { my $side = $_; ($side => [map { $_->{$name} } @{$got->{$side}}]) } keys %$got;
		emit(figure => 'bulk', workload => $name, rows => $rows, unit => 'ratio', better => 'lower',
			goal => $GOAL{$name}, ratio_to(\%seconds, 'published', 'bare'));
	}
	return;
}

sub measure_memory {
	$dbh->do('CREATE TABLE memory_trigger (LIKE bill_items INCLUDING ALL)');
	$dbh->do('CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$');
	$dbh->do('CREATE TRIGGER nothing AFTER INSERT OR UPDATE OR DELETE ON memory_trigger
		FOR EACH ROW EXECUTE FUNCTION nothing()');
	$dbh->do('CREATE TABLE memory_published (LIKE bill_items INCLUDING ALL)');
	$dbh->do(q(SELECT clinic_sync.publish('memory_published')));
	my %peak;
	for my $count ($quarter, $rows) {
		for my $side (qw(trigger published)) {
			my $table = "memory_$side";
			$dbh->do("TRUNCATE $table");
			$dbh->do(fill_sql($table, $count));
			tidy($table);
			$peak{$side}{$count} = peak_memory($table);
		}
		note("peak RssAnon with $count rows:", map { "$_ $peak{$_}{$count}" } sort keys %peak);
	}
	my %per_row = map { ($_ => ($peak{$_}{$rows} - $peak{$_}{$quarter}) / ($rows - $quarter)) } keys %peak;
	emit(figure => 'bulk', part => 'memory a row', rows => $rows, unit => 'bytes', rounds => 1,
		value => $per_row{published}, baseline => $per_row{trigger}, goal => $GOAL{memory});
	for my $count ($quarter, $rows) {
		emit(figure => 'bulk', part => 'memory beyond an empty trigger', rows => $count, unit => 'MB', rounds => 1,
			value => ($peak{published}{$count} - $peak{trigger}{$count}) / 1048576,
			baseline => $peak{trigger}{$count} / 1048576);
	}
	return;
}

measure_memory();
time_statements();
