# A whole clinic for an end-to-end test: server, extension, tables, relay, devices.
#
#	my $clinic = ClinicTest->new(patients => 50);
#	my $relay = $clinic->relay;
#	my $device = $clinic->device('a');
#	$clinic->dbh->do("INSERT ...");
#	$clinic->wait_level($device);
#
# Everything lies in one directory below the build directory; it is removed at
# the end of a test that passed, and named by one that did not. Binaries come
# from $CLINIC_BUILD (default: build in the checkout).
package ClinicTest;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use Test::More ();
use ClinicTest::Cluster;
use ClinicTest::Device;
use ClinicTest::Process;
use ClinicTest::Proxy;
use ClinicTest::Relay;
use ClinicTest::Wait qw(now wait_for slurp);
our @EXPORT_OK = qw(now wait_for slurp @TABLES);

our @TABLES = qw(active_patient_queue appointments bill_items clinic_services medical_records
	patient_bills patient_history patient_queue patients payments user_activity_log
	user_sessions users);

my $root = abs_path(dirname(__FILE__) . '/../../..');
my $build = $ENV{CLINIC_BUILD} // 'build';
$build = "$root/$build" if $build !~ m{^/};
my @clinics;

sub root { return $root }
sub build { return $build }
sub tools { return "$build/tools" }

# patients => N rows of sample data (none); publish => 0 leaves the tables alone;
# conf => postgresql.conf lines; schema => 0: no clinic schema either;
# before_publish => sub { my ($dbh) = @_; … }; preload => 1: with the background worker.
sub new {
	my ($class, %option) = @_;
	my $name = basename($0, '.t', '.pl');
	my $self = bless {option => \%option, dir => "$build/e2e/$name.$$", devices => []}, $class;
	$self->{dir} .= '.' . @clinics if @clinics;
	remove_tree($self->{dir});
	make_path($self->{dir});
	push @clinics, $self;
	$self->{code_file} = "$self->{dir}/access_code";
	open(my $out, '>', $self->{code_file}) or die "$self->{code_file}: $!\n";
	print $out "correct-horse-battery-staple\n";
	close($out);
	chmod(0600, $self->{code_file});
	$self->{cluster} = ClinicTest::Cluster->new(dir => "$self->{dir}/pg", root => $root,
		conf => "deadlock_timeout = 100ms\n"
			. ($option{preload} ? "shared_preload_libraries = 'clinic_sync'\n" : '') . ($option{conf} // ''));
	$self->{cluster}->start;
	$self->install;
	return $self;
}

sub install {
	my ($self) = @_;
	my $option = $self->{option};
	my $postgres = $self->{cluster}->connect(dbname => 'postgres');
	$postgres->do("CREATE DATABASE clinic ENCODING 'UTF8' TEMPLATE template0");
	$postgres->do('CREATE ROLE clinic_relay LOGIN');
	$postgres->disconnect;
	$self->psql_file('sql/clinic_schema.sql') if $option->{schema} // 1;
	$self->psql_file('sql/sample_data.sql', '-v', "patients=$option->{patients}")
		if $option->{patients};
	$self->dbh->do('CREATE EXTENSION clinic_sync');
	$option->{before_publish}->($self->dbh) if $option->{before_publish};
	$self->publish if $option->{publish} // $option->{schema} // 1;
	$self->dbh->do("SELECT clinic_sync.grant_relay('clinic_relay')");
	return;
}

sub psql_file {
	my ($self, $file, @words) = @_;
	return $self->{cluster}->psql(@words, '-f', "$root/$file");
}

sub publish { my ($self) = @_; $self->dbh->do('CALL clinic_sync.publish_clinic()'); return }

sub cluster { return $_[0]{cluster} }

# One connection as superuser for the test itself; made anew after a crash.
sub dbh {
	my ($self) = @_;
	$self->{dbh} = $self->{cluster}->connect if !$self->{dbh} || !$self->{dbh}->ping;
	return $self->{dbh};
}

# A started relay. name, dsn, option => {...}
sub relay {
	my ($self, %option) = @_;
	my $name = $option{name} // 'relay';
	my $relay = ClinicTest::Relay->new(dir => $self->{dir}, name => $name,
		bin => "$build/bin/clinic-relay", code_file => $self->{code_file},
		dsn => $option{dsn} // $self->{cluster}->dsn(user => 'clinic_relay'),
		option => $option{option});
	$self->{relay} //= $relay;
	return $relay->start;
}

# A started device. url => '…', words => […]
sub device {
	my ($self, $name, %option) = @_;
	my $device = ClinicTest::Device->new(dir => $self->{dir}, name => $name,
		bin => "$build/bin/clinic-cache", code_file => $self->{code_file},
		url => $self->{relay}->url, %option);
	push @{$self->{devices}}, $device;
	return $device->start;
}

sub proxy {
	my ($self, $name, $target) = @_;
	return ClinicTest::Proxy->start($name, target => $target, tools => tools(),
		log => "$self->{dir}/$name.log");
}

# The server's digest of a table now: [rows, hash].
sub server_digest {
	my ($self, $table) = @_;
	my @digest = $self->dbh->selectrow_array(
		'SELECT rows, hash FROM clinic_sync.digest_scan(?::regclass)', undef, qq("$table"));
	return "$digest[0]:$digest[1]";
}

# The cache's digests, by tests/tools/cache_sampler: {table => "rows:hash"}.
sub cache_digests {
	my ($self, $device) = @_;
	my $file = "$self->{dir}/$device->{name}.samples." . ++$self->{sample_count};
	my $sampler = ClinicTest::Process->start('sampler', log => "$file.log",
		argv => [tools() . '/cache_sampler', $device->{file}, $file]);
	wait_for("a sample of $device->{name}", sub { slurp($file) =~ /\n/ });
	$sampler->stop;
	my ($line) = slurp($file) =~ /^(.*)\n/;
	return {$line =~ / (\w+)=(\d+:[0-9a-f]{16})/g};
}

# Wait until the devices have every change that is committed now, and say how
# many batches the server has. The batch is cut here, so nothing is pending.
sub wait_level {
	my ($self, @devices) = @_;
	my $batch = $self->cut_batch;
	$_->wait_batch($batch, 60) for @devices ? @devices : @{$self->{devices}};
	return $batch;
}

# Make sure that everything committed is in a batch; the last batch's id.
sub cut_batch {
	my ($self) = @_;
	my $cursor;
	for my $try (1 .. 50) {	# a relay may hold the batcher's lock for a moment
		last if eval { $self->dbh->do('SELECT clinic_sync.make_batch()'); 1 };
		die $@ if $@ !~ /lock/ || $try == 50;
	}
	($cursor) = $self->dbh->selectrow_array('SELECT clinic_sync.current_cursor()');
	return ($cursor // '0-') =~ /^(\d+)/ ? $1 : 0;
}

# The cursor of the state that is committed now.
sub cursor {
	my ($self) = @_;
	$self->cut_batch;
	return ($self->dbh->selectrow_array('SELECT clinic_sync.current_cursor()'))[0];
}

# One TAP result: the caches hold exactly the server's rows.
sub caches_equal {
	my ($self, $name, @devices) = @_;
	@devices = @{$self->{devices}} if !@devices;
	$self->wait_level(@devices);
	my @differing;
	for my $device (@devices) {
		my $cache = $self->cache_digests($device);
		for my $table (sort keys %$cache) {
			my $server = $self->server_digest($table);
			push @differing, "$device->{name}.$table: cache $cache->{$table}, server $server"
				if $cache->{$table} ne $server;
		}
		push @differing, "$device->{name}: no tables" if !%$cache;
	}
	return Test::More::ok(!@differing, $name) || Test::More::diag(join "\n", @differing);
}

# ---- the end -------------------------------------------------------------------

sub clean_up {
	my ($status) = @_;
	my $failed = $status || !Test::More->builder->is_passing;
	ClinicTest::Process::kill_all();
	for my $clinic (@clinics) {
		my $log = $clinic->{cluster} && $clinic->{cluster}{CLUSTER_LOG};
		if ($failed && $log) {
			open(my $out, '>', "$clinic->{dir}/postgresql.log");
			print $out slurp($log);
		}
		eval { $clinic->{cluster}->remove } if $clinic->{cluster};
		Test::More::diag("logs and caches: $clinic->{dir}") if $failed;
		remove_tree($clinic->{dir}) if !$failed;
	}
	return;
}

END {
	if (ClinicTest::Process::is_main()) {
		my $status = $?;
		clean_up($status);
		$? = $status;
	}
}

1;
