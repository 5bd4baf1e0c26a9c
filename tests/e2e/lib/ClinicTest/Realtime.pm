# The clinic's own manual check of its sync, done by a machine: somebody does a
# step of the day's work on the server, with psql, and looks at two devices, a new
# one and one that brought the app's own file. Each must show it at once, and tell
# the app of it by the event of the table.
#
#	my $day = ClinicTest::Realtime->new(app => 'upgraded_v43');
#	$day->step('a patient registers', 'INSERT INTO patients …',
#		sees => ['SELECT "fullName" FROM patients WHERE id = ?', 'JG-0900'] => 'Reyes, Maria',
#		events => ['patient_data_change_immediate patients insert']);
#	$day->finish;
package ClinicTest::Realtime;
use strict;
use warnings;
use Test::More;
use AppFile;
use ClinicTest qw(wait_for now slurp);

# What the clinic's people were promised was two seconds; a busy machine of tests gets more.
my $LIMIT_S = 10;

# app: a maker of AppFile; rows: patients in that file, none of them the server's;
# option => {...}: of the relay
sub new {
	my ($class, %option) = @_;
	my $clinic = ClinicTest->new(patients => 20, preload => 1);
	$clinic->relay(option => $option{option});
	my $self = bless {clinic => $clinic, told => {}}, $class;
	my $maker = AppFile->can($option{app} // 'upgraded_v43');
	$maker->("$clinic->{dir}/app.db", rows => $option{rows} // 5);
	$self->{devices} = [$clinic->device('new'),
		$clinic->device('app', words => ['--adopt=server'])];
	for my $device (@{$self->{devices}}) {
		$device->wait_batch($clinic->cut_batch, 60);
		is($self->verify($device), "0 ok", "$device->{name}: equal to the server at first");
		$self->{told}{$device->{name}} = scalar $device->events;
	}
	return $self;
}

sub clinic { return $_[0]{clinic} }
sub devices { return @{$_[0]{devices}} }

sub verify {
	my ($self, $device) = @_;
	my ($code, $said) = $device->command('verify', '--log-level', 'error', '--access-code-file', $device->{code_file});
	return "$code " . $said =~ s/\s+$//r;
}

# The rows of a query as one text: columns by |, rows by newline.
sub shown {
	my ($device, $sql, @values) = @_;
	return join "\n", map { join '|', map { $_ // 'NULL' } @$_ } @{$device->query($sql, @values)};
}

# The events of changes since the last step, each as "type table operation".
sub new_events {
	my ($self, $device) = @_;
	my @events = $device->events;
	splice(@events, 0, $self->{told}{$device->{name}});
	return map { "$_->{type} $_->{table} $_->{operation}" } grep { $_->{operation} } @events;
}

# sees: pairs of a query (with its values) and what it must show; events: the changes told,
# in any order
sub step {
	my ($self, $title, $sql, %expected) = @_;
	my @sees = @{$expected{sees}};
	$self->{clinic}->cluster->psql('-1', '-c', $sql);
	while (my ($query, $text) = splice(@sees, 0, 2)) {
		for my $device ($self->devices) {
			eval { wait_for($title, sub { shown($device, @$query) eq $text }, $LIMIT_S) };
			is(shown($device, @$query), $text, "$title: seen on device $device->{name}");
		}
	}
	$self->check_events($title, $_, $expected{events}) for $self->devices;
	return;
}

sub check_events {
	my ($self, $title, $device, $events) = @_;
	my $expected = join "\n", sort @$events;
	my $told = sub { join "\n", sort $self->new_events($device) };
	eval { wait_for('events', sub { $told->() eq $expected }, $LIMIT_S) };
	is($told->(), $expected, "$title: told on device $device->{name}");
	$self->{told}{$device->{name}} = scalar $device->events;
	return;
}

# Both files are the server's to the last byte, and the app's is still the app's.
# parked: what verify says of rows that its own constraints keep out
sub finish {
	my ($self, %expected) = @_;
	$self->{clinic}->wait_level;
	my ($new, $app) = $self->devices;
	is($self->verify($new), '0 ok', 'new: equal to the server in the end');
	is($self->verify($app), join("\n", '0 ok', $expected{parked} // ()),
		'app: equal to the server in the end');
	is($app->value('PRAGMA user_version'), 43, "the app's file has its own version still");
	is($app->value('PRAGMA integrity_check'), 'ok', 'and is whole');
	done_testing();
	return;
}

1;
