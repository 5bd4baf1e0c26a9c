# The private PostgreSQL server of a test, by tests/tools/cluster.sh.
package ClinicTest::Cluster;
use strict;
use warnings;
use DBI;
use ClinicTest::Wait qw(slurp);

# dir, root => checkout, conf => postgresql.conf lines; start() starts it.
sub new {
	my ($class, %option) = @_;
	my $self = bless {%option, script => "$option{root}/tests/tools/cluster.sh"}, $class;
	my $conf = "$self->{dir}.conf";
	open(my $out, '>', $conf) or die "$conf: $!\n";
	print $out $option{conf} // '';
	close($out) or die "$conf: $!\n";
	return $self;
}

# Runs cluster.sh; dies with what it said when it fails.
sub run {
	my ($self, @words) = @_;
	my $command = join ' ', map { "'$_'" } $self->{script}, @words;
	my $said = `$command < '$self->{dir}.conf' 2> '$self->{dir}.sh.err'`;
	die "cluster.sh @words failed:\n$said" . slurp("$self->{dir}.sh.err") if $?;
	return $said;
}

sub start {
	my ($self) = @_;
	my %env = $self->run('start', $self->{dir}) =~ /^export (\w+)='(.*)'$/mg;
	@$self{keys %env} = values %env;
	return $self;
}

sub stop { my ($self, $mode) = @_; $self->run('stop', $self->{dir}, $mode // 'fast'); return }
sub crash { my ($self) = @_; $self->run('kill', $self->{dir}); return }
sub remove { my ($self) = @_; $self->run('remove', $self->{dir}); return }

sub environment {
	my ($self) = @_;
	return {map { ($_ => $self->{$_}) } qw(PGHOST PGPORT PGUSER PGDATABASE)};
}

sub socket_path { my ($self) = @_; return "$self->{PGHOST}/.s.PGSQL.$self->{PGPORT}" }

# A libpq connection string. user, dbname, host and port may be given.
sub dsn {
	my ($self, %option) = @_;
	my %word = (host => $self->{PGHOST}, port => $self->{PGPORT}, user => 'postgres',
		dbname => 'clinic', %option);
	return join ' ', map { "$_=$word{$_}" } sort keys %word;
}

# A new connection; errors die without being printed.
sub connect {
	my ($self, %option) = @_;
	my $dsn = $self->dsn(%option);
	$dsn =~ tr/ /;/;
	return DBI->connect("dbi:Pg:$dsn", '', '', {RaiseError => 1, PrintError => 0,
		PrintWarn => 0, AutoCommit => 1, pg_enable_utf8 => 0, pg_server_prepare => 0,
		AutoInactiveDestroy => 1});
}

# Run a file (or -c text) through psql, stopping at the first error.
sub psql {
	my ($self, @words) = @_;
	local %ENV = (%ENV, %{$self->environment}, PGDATABASE => 'clinic');
	my $command = join ' ', map { "'" . s/'/'\\''/gr . "'" } 'psql', '-X', '-q', '-v',
		'ON_ERROR_STOP=1', @words;
	my $said = `$command 2>&1 < /dev/null`;
	die "psql @words failed:\n$said" if $?;
	return $said;
}

# Stand the relay's reader of batches still between two queries, so that its feed stays
# behind what others cut; {stopped} is for CONT.
sub stop_reader {
	my ($self, $dbh) = @_;
	for (1 .. 100) {
		my ($pid) = $dbh->selectrow_array(q(SELECT pid FROM pg_stat_activity
			WHERE application_name LIKE 'clinic-relay%live' AND state = 'idle')) or next;
		kill('STOP', $pid);
		return $self->{stopped} = $pid if $dbh->selectrow_array(
			q(SELECT state = 'idle' FROM pg_stat_activity WHERE pid = ?), undef, $pid);
		kill('CONT', $pid);
	}
	die "the relay's reader never rests\n";
}

sub let_reader_go { return kill('CONT', $_[0]{stopped}) }

1;
