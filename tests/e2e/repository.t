#!/usr/bin/env perl
# What the repository itself promises: `make install` puts everything in its
# place and never over somebody's configuration, the library can be linked
# from there, the clinic's schema has the app's names, and sample rows are
# the same for the same seed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Cwd qw(abs_path);
use File::Path qw(make_path remove_tree);
use Test::More;
use ClinicTest::Cluster;
use ClinicTest::Process;
use ClinicTest::Wait qw(slurp);

my $root = abs_path("$FindBin::Bin/../..");
my $build = $ENV{CLINIC_PLAIN_BUILD} // 'build';
$build = "$root/$build" if $build !~ m{^/};
my $dir = "$build/e2e/repository.$$";
my $stage = "$dir/stage";
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
my $cluster;

# The app's columns, as its file has them (fresh and upgraded together).
my %columns = (
	users => 'id username password role fullName email contactNumber securityQuestion1
		securityAnswer1 securityQuestion2 securityAnswer2 securityQuestion3 securityAnswer3
		workingDays arrivalTime departureTime isActive createdAt updatedAt',
	patients => 'id fullName birthDate gender contactNumber email address bloodType allergies
		currentMedications medicalHistory emergencyContactName emergencyContactNumber createdAt
		updatedAt registrationDate firstName middleName lastName suffix civilStatus
		isSeniorCitizen',
	patient_history => 'id patientId fieldName oldValue newValue updatedAt updatedByUserId
		sourceOfChange',
	appointments => 'id patientId date time doctorId consultationType durationMinutes status
		consultationStartedAt servedAt selectedServices totalPrice paymentStatus
		originalAppointmentId cancelledAt cancellationReason notes isWalkIn createdAt updatedAt',
	medical_records => 'id patientId appointmentId queueEntryId serviceId selectedServices
		recordType recordDate diagnosis treatment prescription labResults notes doctorId
		createdAt updatedAt',
	clinic_services => 'id serviceName description category defaultPrice selectionCount',
	user_sessions => 'id session_id userId username deviceId deviceName loginTime lastActivity
		created_at expires_at invalidated_at ipAddress isActive sessionToken expiresAt',
	active_patient_queue => 'queueEntryId patientId patientName arrivalTime queueNumber gender
		age conditionOrPurpose selectedServices totalPrice status paymentStatus createdAt
		addedByUserId servedAt removedAt consultationStartedAt originalAppointmentId doctorId
		doctorName isWalkIn',
	patient_queue => 'id reportDate totalPatientsInQueue patientsServed patientsRemoved
		averageWaitTimeMinutes peakHour queueData generatedAt generatedByUserId',
	patient_bills => 'id patientId invoiceNumber billDate dueDate subtotal discountAmount
		taxAmount totalAmount status notes createdByUserId',
	bill_items => 'id billId serviceId description quantity unitPrice itemTotal',
	payments => 'id billId patientId patientName invoiceNumber referenceNumber paymentDate
		amountPaid totalBillAmount paymentMethod receivedByUserId notes',
	user_activity_log => 'id userId actionDescription targetRecordId targetTable timestamp
		details',
);

# Run a command in the checkout; its output, or undef when it failed.
sub run {
	my ($command) = @_;
	# a make inside of make check must not think that it is part of that one
	delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};
	my $said = `cd '$root' && ($command) 2>&1 < /dev/null`;
	diag($said) if $?;
	return $? ? undef : $said;
}

sub make {
	my ($goal) = @_;
	return defined run("make $goal DESTDIR='$stage' BUILD='$build' PG_CONFIG='$pg_config'");
}

sub files_below {
	my ($top) = @_;
	return sort split /\n/, `cd '$top' && find . -type f -o -type l | sed 's,^\\./,/,'`;
}

sub installation {
	chomp(my $sharedir = `$pg_config --sharedir`);
	chomp(my $pkglibdir = `$pg_config --pkglibdir`);
	ok(make('install'), 'make install DESTDIR=');
	my %have = map { $_ => 1 } files_below($stage);
	ok($have{$_}, "installed $_") for "$pkglibdir/clinic_sync.so",
		"$sharedir/extension/clinic_sync.control", "$sharedir/extension/clinic_sync--1.0.0.sql",
		(map { "/usr/local/$_" } qw(bin/clinic-relay bin/clinic-cache include/clinic_cache.h
			lib/libclinic_cache.a lib/libclinic_cache.so lib/libclinic_cache.so.1
			lib/pkgconfig/clinic_cache.pc lib/systemd/system/clinic-relay.service)),
		'/etc/clinic-relay/clinic-relay.conf';
	for my $file (glob("$stage/usr/local/lib/pkgconfig/* $stage/usr/local/lib/systemd/system/*")) {
		unlike(slurp($file), qr/@\w+@/, 'no place is left open in ' . $file =~ s,.*/,,r);
	}
	is(() = grep({ m{/share/man/man\d/} } keys %have), () = glob("$root/docs/*.[1-8].md"),
		'every manual page is installed') if run('command -v lowdown');
	return;
}

sub linking {
	open(my $out, '>', "$dir/app.c") or die "$dir/app.c: $!\n";
	print $out <<'END';
#include <clinic_cache.h>
#include <stdio.h>

int main(void)
{
	return puts(clinic_cache_status_name(0)) < 0;
}
END
	close($out);
	my $pkg = "PKG_CONFIG_PATH='$stage/usr/local/lib/pkgconfig' pkg-config"
		. " --define-variable=prefix='$stage/usr/local'"
		. " --define-variable=libdir='$stage/usr/local/lib'"
		. " --define-variable=includedir='$stage/usr/local/include' clinic_cache";
	ok(defined run("gcc '$dir/app.c' \$($pkg --cflags --libs) -o '$dir/app' &&"
		. " LD_LIBRARY_PATH='$stage/usr/local/lib' '$dir/app'"),
		'a program links with the installed library');
	return;
}

sub configuration_kept {
	my $config = "$stage/etc/clinic-relay/clinic-relay.conf";
	open(my $out, '>', $config) or die "$config: $!\n";
	print $out "# mine\n";
	close($out);
	ok(make('install'), 'make install once more');
	is(slurp($config), "# mine\n", 'an existing configuration is not overwritten');
	ok(make('uninstall'), 'make uninstall');
	is_deeply([files_below($stage)], ['/etc/clinic-relay/clinic-relay.conf'],
		'uninstall leaves the configuration and nothing else');
	return;
}

sub schema {
	$cluster->psql('-1', '-f', "$root/sql/clinic_schema.sql");
	my $db = $cluster->connect;
	my %have = map { @$_ } @{$db->selectall_arrayref(<<'END')};
		SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attname)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
		WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace GROUP BY 1
END
	my %sorted = map { my $t = $_; ($t => [sort split ' ', $columns{$t}]) } keys %columns;
	is_deeply({map { my $t = $_; ($t => [sort split ' ', $have{$t}]) } keys %have}, \%sorted,
		"the thirteen tables have the app's columns");
	is($db->selectrow_array(q{SELECT max(seqmax) FROM pg_sequence}), 2 ** 52 - 1,
		'generated keys end below 2^52');
	is($db->selectrow_array(<<'END'), 0, 'foreign keys are deferrable');
		SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT condeferrable
END
	$db->disconnect;
	return;
}

# A digest of everything in a database, by its dump without psql's session key.
sub sample {
	my ($name, @words) = @_;
	my $postgres = $cluster->connect(dbname => 'postgres');
	$postgres->do("CREATE DATABASE $name TEMPLATE clinic");
	$postgres->disconnect;
	local %ENV = (%ENV, %{$cluster->environment});
	return run("psql -X -q -v ON_ERROR_STOP=1 -d $name @words -f sql/sample_data.sql &&"
		. " pg_dump --data-only $name | grep -v '^\\\\\\|^--' | sha256sum");
}

sub sample_data {
	my $first = sample('first');
	ok(defined $first, 'sample rows');
	is(sample('second', '-v', 'patients=1000', '-v', 'seed=1'), $first,
		'the same rows for the same seed, and these are the defaults');
	isnt(sample('third', '-v', 'seed=2'), $first, 'other rows for another seed');
	my $db = $cluster->connect(dbname => 'first');
	my %rows = map { $_ => scalar $db->selectrow_array("SELECT count(*) FROM $_") }
		keys %columns;
	is_deeply([grep { !$rows{$_} } keys %rows], [], 'no table is empty');
	is($rows{patients}, 1000, '1,000 patients by default');
	my $all = 0;
	$all += $_ for values %rows;
	cmp_ok(abs($all / 1000 - 20), '<', 1, "about 20 rows for each patient ($all)");
	$db->disconnect;
	return;
}

make_path($stage);
installation();
linking();
configuration_kept();
$cluster = ClinicTest::Cluster->new(dir => "$dir/pg", root => $root)->start;
my $postgres = $cluster->connect(dbname => 'postgres');
$postgres->do("CREATE DATABASE clinic ENCODING 'UTF8' TEMPLATE template0");
$postgres->disconnect;
schema();
sample_data();
done_testing();

END {
	my $status = $?;
	if (ClinicTest::Process::is_main()) {
		eval { $cluster->remove } if $cluster;
		remove_tree($dir);
	}
	$? = $status;
}
