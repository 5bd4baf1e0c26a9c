# The systems that write_overhead compares, and pgbench on them.
#
# Each system is a database of its own in one server: the same tables, indexes
# and rows, and on top what the system needs to notice a write. So that the
# sides of a round run against the same server, seconds apart:
#
#	bare     nothing: unpublished tables
#	worker   published, notify = worker: the background worker cuts batches
#	commit   published, notify = commit: a NOTIFY with each commit
#	plpgsql  the usual hand-made one: a trigger in plpgsql that writes table,
#	         operation and the row as jsonb into a log and calls pg_notify
#	pgq      PgQ's trigger in C, pgq.logutriga, into a queue
#	notify   a trigger that only calls pg_notify: no log at all
#
# Where NOTIFY is sent, one session LISTENs and reads it, as a relay would;
# for the sake of equal rounds such a session is there for every system.
package BenchWriters;
use strict;
use warnings;
use Bench qw(note run_program);
use ClinicTest::Process;
use ClinicTest::Wait qw(wait_for);

my $PATIENTS = 1000;
my $QUEUE = 10_000;

my $TABLES_TRIGGERED = "'{active_patient_queue,patient_bills,bill_items,payments}'::text[]";

# Puts the same trigger on every table that the workloads write.
sub trigger_sql {
	my ($call) = @_;
	return <<"END";
DO \$do\$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY $TABLES_TRIGGERED LOOP
		EXECUTE format('CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON %I
			FOR EACH ROW EXECUTE FUNCTION $call', t);
	END LOOP;
END \$do\$;
END
}

# One entry is one command: a procedure that commits must not share its.
my @PUBLISH = ('CREATE EXTENSION clinic_sync', 'CALL clinic_sync.publish_clinic()');
my %SETUP = (
	bare => [],
	worker => \@PUBLISH,
	commit => [q(ALTER DATABASE writers_commit SET clinic_sync.notify = 'commit'), @PUBLISH],
	plpgsql => [<<'END', trigger_sql('hand_made()')],
CREATE TABLE hand_made_log (id bigserial PRIMARY KEY, changed_at timestamptz NOT NULL DEFAULT now(),
	table_name text NOT NULL, operation text NOT NULL, row_data jsonb NOT NULL);
CREATE FUNCTION hand_made() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE new_id bigint;
BEGIN
	INSERT INTO hand_made_log (table_name, operation, row_data)
	VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END))
	RETURNING id INTO new_id;
	PERFORM pg_notify('writers', json_build_object('table', TG_TABLE_NAME, 'id', new_id)::text);
	RETURN NULL;
END $$;
END
	pgq => ['CREATE EXTENSION pgq', q(SELECT pgq.create_queue('writers')),
		trigger_sql(q(pgq.logutriga(''writers'')))],
	notify => [<<'END', trigger_sql('only_notify()')],
CREATE FUNCTION only_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('writers', TG_TABLE_NAME || ' ' || TG_OP);
	RETURN NULL;
END $$;
END
);

# What pgbench runs; rows => how many rows one transaction writes.
my %WORKLOAD = (
	insert => {rows => 1, script => <<'END'},
\set n random(1, 1000000000000000)
\set p random(1, 1000)
INSERT INTO active_patient_queue ("queueEntryId", "patientId", "patientName", "arrivalTime", "queueNumber", age, "selectedServices", "totalPrice", status, "createdAt") VALUES ('qentry-' || :n, 'JG-' || :p, 'Reyes, Maria', now(), 7, 36, '[{"id":"s1","name":"CBC","category":"Laboratory","price":250.0}]', 1500.00, 'waiting', now());
END
	mixed => {rows => 5, script => <<'END'},
\set n random(1, 1000000000000000)
\set p random(1, 1000)
\set q random(1, 10000)
BEGIN;
INSERT INTO patient_bills (id, "patientId", "invoiceNumber", "billDate", subtotal, "totalAmount", status) VALUES ('BILL-' || :n, 'JG-' || :p, 'INV-' || :n, now(), 500.00, 500.00, 'Paid');
INSERT INTO bill_items ("billId", description, quantity, "unitPrice", "itemTotal") VALUES ('BILL-' || :n, 'CBC', 1, 250.00, 250.00);
INSERT INTO bill_items ("billId", description, quantity, "unitPrice", "itemTotal") VALUES ('BILL-' || :n, 'Urinalysis', 1, 250.00, 250.00);
INSERT INTO payments ("billId", "patientId", "patientName", "referenceNumber", "paymentDate", "amountPaid", "paymentMethod", "receivedByUserId") VALUES ('BILL-' || :n, 'JG-' || :p, 'Reyes, Maria', 'PAY-' || :n, now(), 500.00, 'Cash', 'admin');
UPDATE active_patient_queue SET status = 'served', "paymentStatus" = 'Paid', "servedAt" = now() WHERE "queueEntryId" = 'q-' || :q;
COMMIT;
END
);

sub workloads { return qw(insert mixed) }
sub rows_of { my ($workload) = @_; return $WORKLOAD{$workload}{rows} }

# A server with a database per system, seconds => length of one run; transactions
# => so many per writer instead.
sub new {
	my ($class, %option) = @_;
	my $clinic = Bench::clinic(mode => 'worker', schema => 0, publish => 0, conf => $option{conf});
	my $self = bless {clinic => $clinic, seconds => $option{seconds},
		transactions => $option{transactions}, systems => []}, $class;
	chomp(my $bindir = `@{[$ENV{PG_CONFIG} // 'pg_config']} --bindir`);
	$self->{pgbench} = "$bindir/pgbench";
	for my $workload (workloads()) {
		open(my $out, '>', "$clinic->{dir}/$workload.sql") or die "$clinic->{dir}: $!\n";
		print $out $WORKLOAD{$workload}{script};
		close($out);
	}
	$self->add($_) for qw(bare worker commit plpgsql pgq notify);
	return $self;
}

sub systems { my ($self) = @_; return @{$self->{systems}} }

# A database with the tables and rows, the system on top, one listener.
sub add {
	my ($self, $system) = @_;
	my $cluster = $self->{clinic}{cluster};
	my $dbname = "writers_$system";
	my $postgres = $cluster->connect(dbname => 'postgres');
	if ($system eq 'pgq' && !$postgres->selectrow_array(
		q(SELECT count(*) FROM pg_available_extensions WHERE name = 'pgq'))) {
		note('PgQ is not installed here and is left out (Debian: postgresql-15-pgq3)');
		return;
	}
	$postgres->do("CREATE DATABASE $dbname ENCODING 'UTF8' TEMPLATE template0");
	$postgres->disconnect;
	$cluster->psql('-d', $dbname, '-f', ClinicTest::root() . '/sql/clinic_schema.sql');
	my $dbh = $self->{dbh}{$system} = $cluster->connect(dbname => $dbname);
	$dbh->do(qq(INSERT INTO patients (id, "fullName") SELECT 'JG-' || i, 'Reyes, Maria'
		FROM generate_series(1, $PATIENTS) i));
	$dbh->do(qq(INSERT INTO active_patient_queue ("queueEntryId", "patientId", "patientName",
		"arrivalTime", status, "createdAt") SELECT 'q-' || i, 'JG-' || (i % $PATIENTS + 1), 'Reyes, Maria',
		now(), 'waiting', now() FROM generate_series(1, $QUEUE) i));
	# a session's first look for a bill's key, planned on an empty table, would scan it for ever
	$dbh->do(qq(INSERT INTO patient_bills (id, "patientId", "invoiceNumber", "billDate", subtotal, "totalAmount",
		status) SELECT 'B-' || i, 'JG-' || (i % $PATIENTS + 1), 'I-' || i, now(), 500.00, 500.00, 'Paid'
		FROM generate_series(1, $QUEUE) i));
	$cluster->psql('-d', $dbname, '-c', $_) for @{$SETUP{$system}};
	$self->listen($system, $dbname);
	push @{$self->{systems}}, $system;
	return;
}

# The session that a relay would have: it LISTENs and reads what comes.
sub listen {
	my ($self, $system, $dbname) = @_;
	my $channel = $system =~ /worker|commit/ ? 'clinic_sync' : 'writers';
	my $log = "$self->{clinic}{dir}/$system.listener";
	my $dsn = $self->{clinic}{cluster}->dsn(dbname => $dbname);
	my $listener = ClinicTest::Process->start("listener of $system", log => $log, argv => [
		ClinicTest::build() . '/bench/listener', $dsn, $channel]);
	$listener->wait_output(qr/listening/);
	return;
}

# True once the background worker of the published database is at work.
sub wait_worker {
	my ($self) = @_;
	my $dbh = $self->{dbh}{worker};
	my ($mode) = $dbh->selectrow_array(q(SHOW clinic_sync.notify));
	die "the server's notify mode is $mode, not worker\n" if $mode ne 'worker';
	$dbh->do(q(UPDATE patients SET "fullName" = 'Cruz, Ana' WHERE id = 'JG-1'));
	wait_for('a batch cut by the worker', sub {
		$dbh->selectrow_array('SELECT cuts FROM clinic_sync.workers WHERE database = current_database()') });
	return;
}

# VACUUM in every database: what autovacuum would do some time.
sub settle {
	my ($self) = @_;
	$_->do('VACUUM ANALYZE') for values %{$self->{dbh}};
	return;
}

# One run of pgbench; transactions a second.
sub run {
	my ($self, $system, $workload, $writers) = @_;
	$self->{dbh}{$system}->do('CHECKPOINT');
	my $cluster = $self->{clinic}{cluster};
	local %ENV = (%ENV, %{$cluster->environment});
	my $said = run_program($self->{pgbench}, '-n', '-M', 'prepared', '-c', $writers,
		'-j', $writers > 1 ? 2 : 1, $self->{transactions} ? ('-t', $self->{transactions}) : ('-T', $self->{seconds}),
		'-f', "$self->{clinic}{dir}/$workload.sql", "writers_$system");
	$said =~ /^number of failed transactions: [1-9]/m and die "transactions failed:\n$said";
	my ($tps) = $said =~ /^tps = ([\d.]+)/m or die "pgbench said:\n$said";
	return $tps;
}

1;
