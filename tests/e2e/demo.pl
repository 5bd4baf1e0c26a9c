#!/usr/bin/env perl
#
# `make demo`: the main job, shown. A private PostgreSQL server with the
# clinic's tables and sample patients, a relay, two devices; then a clinic's
# morning as SQL transactions, for each the time from its COMMIT to the moment
# a third process sees it in each device's SQLite file. The relay is killed in
# between. At the end both caches must equal the server.
#
# ONCE=1 ends there, with `demo: ok` as the last line. Otherwise everything
# stays up to be tried, until Ctrl-C takes it away.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Cwd qw(abs_path);
use DBI;
use File::Path qw(make_path remove_tree);
use IO::Handle;
use POSIX ();
use ClinicTest::Cluster;
use ClinicTest::Device;
use ClinicTest::Process;
use ClinicTest::Relay;
use ClinicTest::Wait qw(now wait_for slurp);

my $root = abs_path("$FindBin::Bin/../..");
my $build = $ENV{CLINIC_BUILD} // 'build';
$build = "$root/$build" if $build !~ m{^/};
my $dir = "$build/demo";
my $code_file = "$dir/access_code";
my @names = ('reception', 'doctor');
my ($cluster, $db, $relay, %device, %watcher);

STDOUT->autoflush(1);

sub say_line { printf @_; print "\n"; return }

# ---- the clinic ----------------------------------------------------------------

sub write_access_code {
	open(my $random, '<:raw', '/dev/urandom') or die "/dev/urandom: $!\n";
	read($random, my $bytes, 16) == 16 or die "/dev/urandom: $!\n";
	my $umask = umask(077);
	open(my $out, '>', $code_file) or die "$code_file: $!\n";
	umask($umask);
	print $out unpack('H*', $bytes), "\n";
	close($out) or die "$code_file: $!\n";
	return;
}

sub start_server {
	$cluster = ClinicTest::Cluster->new(dir => "$dir/pg", root => $root,
		conf => "shared_preload_libraries = 'clinic_sync'\n");
	$cluster->remove;
	$cluster->start;
	my $postgres = $cluster->connect(dbname => 'postgres');
	$postgres->do("CREATE DATABASE clinic ENCODING 'UTF8' TEMPLATE template0");
	$postgres->do('CREATE ROLE clinic_relay LOGIN');
	my ($version) = $postgres->selectrow_array('SHOW server_version');
	$postgres->disconnect;
	$cluster->psql('-f', "$root/sql/clinic_schema.sql");
	$cluster->psql('-v', 'patients=1000', '-f', "$root/sql/sample_data.sql");
	$db = $cluster->connect;
	$db->do('CREATE EXTENSION clinic_sync');
	$db->do('CALL clinic_sync.publish_clinic()');
	$db->do("SELECT clinic_sync.grant_relay('clinic_relay')");
	my ($tables, $rows) = $db->selectrow_array(<<'END');
		SELECT count(*), sum(reltuples)::bigint FROM pg_class
		WHERE oid IN (SELECT relation FROM clinic_sync.publication)
END
	my ($mode) = $db->selectrow_array('SELECT notify FROM clinic_sync.status');
	say_line('server      PostgreSQL %s, private; %d tables published, %d rows; notify = %s', $version,
		$tables, $rows, $mode);
	return;
}

sub start_relay {
	$relay = ClinicTest::Relay->new(dir => $dir, name => 'relay', code_file => $code_file,
		bin => "$build/bin/clinic-relay", dsn => $cluster->dsn(user => 'clinic_relay'));
	$relay->start->wait_ready;
	say_line('relay       %s', $relay->url);
	return;
}

# A device's first sync: the snapshot file, fetched and put in place.
sub start_device {
	my ($name) = @_;
	my $began = now();
	$device{$name} = ClinicTest::Device->new(dir => $dir, name => $name,
		bin => "$build/bin/clinic-cache", url => $relay->url, code_file => $code_file,
		words => ['--name', $name])->start;
	wait_for("the first sync of $name", sub {
		die "$name ended:\n" . $device{$name}->process->output
			if !$device{$name}->process->alive;
		return $device{$name}->cursor;
	}, 60);
	say_line('device      %-10s first sync in %.1f s, %s, %d patients', $name, now() - $began,
		$device{$name}{file}, $device{$name}->value('SELECT count(*) FROM patients'));
	$watcher{$name} = start_watcher($device{$name}{file});
	return;
}

# ---- measuring -----------------------------------------------------------------

# A process that looks into a cache from outside, as an app would. It is given
# a query over a pipe, says when it has begun to look, and answers with the
# clock's time at which the query first gave a row. The clock is the
# machine's, so both ends may be compared.
sub start_watcher {
	my ($file) = @_;
	pipe(my $from_demo, my $to_watcher) or die "pipe: $!\n";
	pipe(my $from_watcher, my $to_demo) or die "pipe: $!\n";
	my $process = ClinicTest::Process->start('watcher', log => "$file.watcher.log", code => sub {
		close($to_watcher);
		close($from_watcher);
		$to_demo->autoflush(1);
		watch($file, $from_demo, $to_demo);
	});
	close($from_demo);
	close($to_demo);
	$to_watcher->autoflush(1);
	return {process => $process, to => $to_watcher, from => $from_watcher};
}

sub watch {
	my ($file, $in, $out) = @_;
	my $cache = DBI->connect("dbi:SQLite:dbname=$file", '', '',
		{RaiseError => 1, PrintError => 0, ReadOnly => 1});
	$cache->sqlite_busy_timeout(5000);
	while (my $query = <$in>) {
		chomp($query);
		my $deadline = now() + 60;
		my $statement = $cache->prepare($query);
		my $seen = defined $cache->selectrow_array($statement);
		print $out "looking\n";
		while (!$seen && now() < $deadline) {
			Time::HiRes::usleep(100);
			$seen = defined $cache->selectrow_array($statement);
		}
		printf $out "%s\n", $seen ? sprintf('%.6f', now()) : 'never';
	}
	return;
}

sub answer_of {
	my ($name) = @_;
	my $line = readline($watcher{$name}{from}) // die "the watcher of $name is gone\n";
	chomp($line);
	die "what was committed never reached $name\n" if $line eq 'never';
	return $line;
}

sub look_for {
	my ($query) = @_;
	for my $name (@names) {
		print {$watcher{$name}{to}} "$query\n";
		answer_of($name);
	}
	return;
}

# One transaction. sql => [...], seen => a query on the cache that gives a row
# when all of it is there.
sub commit {
	my ($what, %step) = @_;
	my $rows = 0;
	look_for($step{seen});
	$db->begin_work;
	$rows += $db->do($_) for @{$step{sql}};
	$db->commit;
	my $committed = now();
	my @times = map { 1000 * (answer_of($_) - $committed) } @names;
	say_line('  %-50s %4d   %s', $what, $rows, join '', map { sprintf '%8.1f ms', $_ } @times);
	return;
}

# ---- the morning ---------------------------------------------------------------

sub before_the_accident {
	commit('a patient is registered',
		sql => [<<'END', <<'END'],
			INSERT INTO patients (id, "fullName", "firstName", "lastName", "birthDate", gender,
				"contactNumber", "createdAt", "updatedAt", "registrationDate")
			VALUES ('JG-9001', 'Ramos, Elena', 'Elena', 'Ramos', '1988-04-17', 'Female',
				'09171234567', LOCALTIMESTAMP, LOCALTIMESTAMP, LOCALTIMESTAMP)
END
			INSERT INTO user_activity_log ("userId", "actionDescription", "targetRecordId",
				"targetTable") VALUES ('admin', 'Registered patient', 'JG-9001', 'patients')
END
		seen => q{SELECT 1 FROM patients WHERE id = 'JG-9001'});
	commit('she gets an appointment',
		sql => [<<'END'],
			INSERT INTO appointments (id, "patientId", date, "time", "doctorId",
				"consultationType", "durationMinutes", status, "selectedServices", "totalPrice",
				"paymentStatus", "createdAt", "updatedAt")
			SELECT 'appointment-demo-1', 'JG-9001', CURRENT_DATE, '9:30', 'user-1735000000001',
				'General Consultation', 30, 'Confirmed',
				json_build_array(json_build_object('id', id, 'name', "serviceName")),
				"defaultPrice", 'Pending', LOCALTIMESTAMP, LOCALTIMESTAMP
			FROM clinic_services WHERE "serviceName" = 'General Consultation'
END
		seen => q{SELECT 1 FROM appointments WHERE id = 'appointment-demo-1'});
	commit('she waits in the queue',
		sql => [<<'END'],
			INSERT INTO active_patient_queue ("queueEntryId", "patientId", "patientName",
				"arrivalTime", "queueNumber", status, "createdAt", "originalAppointmentId")
			VALUES ('qentry-demo-1', 'JG-9001', 'Ramos, Elena', LOCALTIMESTAMP, 1, 'waiting',
				LOCALTIMESTAMP, 'appointment-demo-1')
END
		seen => q{SELECT 1 FROM active_patient_queue WHERE "queueEntryId" = 'qentry-demo-1'});
	commit('the doctor calls her',
		sql => [<<'END', <<'END'],
			UPDATE active_patient_queue SET status = 'in_progress',
				"consultationStartedAt" = LOCALTIMESTAMP WHERE "queueEntryId" = 'qentry-demo-1'
END
			UPDATE appointments SET status = 'In Progress' WHERE id = 'appointment-demo-1'
END
		seen => q{SELECT 1 FROM active_patient_queue AS q JOIN appointments AS a}
			. q{ ON a.id = q."originalAppointmentId" WHERE a.id = 'appointment-demo-1'}
			. q{ AND q.status = 'in_progress' AND a.status = 'In Progress'});
	commit('a medical record is written',
		sql => [<<'END'],
			INSERT INTO medical_records (id, "patientId", "appointmentId", "recordType",
				"recordDate", diagnosis, prescription, "doctorId", "createdAt", "updatedAt")
			VALUES ('record-demo-1', 'JG-9001', 'appointment-demo-1', 'consultation',
				LOCALTIMESTAMP, 'Migraine', 'Paracetamol 500 mg', 'user-1735000000001',
				LOCALTIMESTAMP, LOCALTIMESTAMP)
END
		seen => q{SELECT 1 FROM medical_records WHERE id = 'record-demo-1'});
	pay('she pays: bill, two items, payment, queue', 1);
	return;
}

# Bill, items, payment and the end of the queue entry in one transaction. The
# cache must show all of it or nothing.
sub pay {
	my ($what, $n) = @_;
	commit($what,
		sql => [<<"END", <<"END", <<"END", <<"END"],
			INSERT INTO patient_bills (id, "patientId", "invoiceNumber", "billDate", subtotal,
				"totalAmount", status)
			VALUES ('BILL-demo-$n', 'JG-9001', 'INV-DEMO0$n', LOCALTIMESTAMP, 750, 750, 'Paid')
END
			INSERT INTO bill_items ("billId", description, quantity, "unitPrice", "itemTotal")
			VALUES ('BILL-demo-$n', 'General Consultation', 1, 500, 500),
				('BILL-demo-$n', 'Complete Blood Count', 1, 250, 250)
END
			INSERT INTO payments ("billId", "patientId", "patientName", "invoiceNumber",
				"referenceNumber", "paymentDate", "amountPaid", "totalBillAmount",
				"paymentMethod", "receivedByUserId")
			VALUES ('BILL-demo-$n', 'JG-9001', 'Ramos, Elena', 'INV-DEMO0$n', 'PAY-DEMO000$n',
				LOCALTIMESTAMP, 1000, 750, 'Cash', 'user-1735000000002')
END
			UPDATE active_patient_queue SET status = 'done', "paymentStatus" = 'Paid',
				"servedAt" = LOCALTIMESTAMP WHERE "queueEntryId" = 'qentry-demo-1'
END
		seen => "SELECT 1 FROM patient_bills AS b WHERE id = 'BILL-demo-$n'");
	for my $name (@names) {
		my ($counts) = @{$device{$name}->query(<<"END")};
			SELECT (SELECT count(*) FROM bill_items WHERE "billId" = 'BILL-demo-$n'),
				(SELECT count(*) FROM payments WHERE "billId" = 'BILL-demo-$n'),
				(SELECT count(*) FROM active_patient_queue
				 WHERE "queueEntryId" = 'qentry-demo-1' AND status = 'done')
END
		die "$name shows half a bill\n" if "@$counts" ne '2 1 1';
	}
	return;
}

sub the_accident {
	say_line('relay       killed (-9); the clinic goes on working');
	$relay->kill9;
	my $query = q{SELECT 1 FROM patients WHERE id = 'JG-9001' AND "contactNumber" = '09998887766'};
	look_for($query);
	$db->begin_work;
	$db->do($_) for <<'END', <<'END';
		INSERT INTO patient_history ("patientId", "fieldName", "oldValue", "newValue",
			"updatedAt", "sourceOfChange")
		VALUES ('JG-9001', 'contactNumber', '09171234567', '09998887766', LOCALTIMESTAMP,
			'ModifyPatientDetailsScreen')
END
		UPDATE patients SET "contactNumber" = '09998887766', "updatedAt" = LOCALTIMESTAMP
		WHERE id = 'JG-9001'
END
	$db->commit;
	for my $name (@names) {
		my $known = $device{$name}->value(q{SELECT count(*) FROM patients});
		say_line('  %-10s cannot know of the new phone number yet; its %d patients stay readable',
			$name, $known);
	}
	my $began = now();
	$relay->start;
	my @times = map { answer_of($_) - $began } @names;
	say_line('relay       started again; the caches have the number after %s',
		join ', ', map { sprintf '%.1f s', $_ } @times);
	return;
}

sub verify {
	my $equal = 1;
	for my $name (@names) {
		my ($code, $said) = $device{$name}->command('verify', '--access-code-file', $code_file);
		my $last = (split /\n/, $said)[-1] // '';
		say_line('verify      %-10s %s', $name, $last);
		$equal &&= $code == 0;
	}
	die "a cache differs from the server\n" if !$equal;
	return;
}

sub offer {
	my $url = $relay->url =~ s/^ws/http/r =~ s{/ws$}{}r;
	print <<"END";

Everything stays up until Ctrl-C. Look around from another terminal:

  $url/status        who is connected (also /metrics, /readyz)
  psql -h $cluster->{PGHOST} -p $cluster->{PGPORT} -U postgres clinic
      SELECT * FROM clinic_sync.status;
      UPDATE patients SET "fullName" = 'Ramos, Elena M.' WHERE id = 'JG-9001';
  sqlite3 $device{reception}{file} "SELECT * FROM patients WHERE id = 'JG-9001'"
  $build/bin/clinic-cache status --db $device{doctor}{file}
  $build/bin/clinic-cache watch --url ${\$relay->url} --access-code-file $code_file
END
	print "(as root: the server runs as user postgres; the socket is open to root)\n" if $> == 0;
	my $stop = 0;
	local $SIG{INT} = sub { $stop = 1 };
	local $SIG{TERM} = $SIG{INT};
	my $waiting = POSIX::SigSet->new(POSIX::SIGINT(), POSIX::SIGTERM());
	POSIX::sigprocmask(POSIX::SIG_BLOCK(), $waiting, my $before = POSIX::SigSet->new);
	POSIX::sigsuspend($before) while !$stop;
	POSIX::sigprocmask(POSIX::SIG_SETMASK(), $before);
	say_line("\ncleaning up");
	return;
}

sub main {
	say_line('clinic_sync: a commit in PostgreSQL reaches the SQLite caches of two devices');
	say_line('');
	ClinicTest::Cluster->new(dir => "$dir/pg", root => $root)->remove if -d "$dir/pg";
	remove_tree($dir);
	make_path($dir);
	write_access_code();
	start_server();
	start_relay();
	start_device($_) for @names;
	say_line("\n  %-50s %4s   %s", 'a transaction, and when each cache shows it', 'rows',
		join '', map { sprintf '%11s', $_ } @names);
	before_the_accident();
	say_line('');
	the_accident();
	say_line('');
	pay('she comes back for a test and pays', 2);
	say_line('');
	verify();
	offer() if !$ENV{ONCE};
	return;
}

my $ok = eval { main(); 1 };
my $error = $@;

END {
	if (ClinicTest::Process::is_main()) {
		my $status = $?;
		ClinicTest::Process::kill_all();
		eval { $cluster->remove } if $cluster;
		remove_tree($dir) if $ok;
		$? = $status;
	}
}

if (!$ok) {
	print STDERR "demo: failed: $error";
	print STDERR "demo: logs and caches are in $dir\n";
	exit(1);
}
print "demo: ok\n";
