#!/usr/bin/perl
#
# Several relays on one port, and a relay that is allowed fewer descriptors than
# it may have devices.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(now wait_for slurp);
use ClinicTest::Raw;
use ClinicTest::Rows qw(parents_sql insert_sql);

my $clinic = ClinicTest->new(patients => 5);
$clinic->dbh->do(parents_sql());

# ---- one port, two relays --------------------------------------------------------

my $first = $clinic->relay(name => 'one', option => {listen_share => 'yes'});
my $second = ClinicTest::Relay->new(dir => $clinic->{dir}, name => 'two', bin => $first->{bin},
	code_file => $clinic->{code_file}, dsn => $first->{dsn}, port => $first->{port},
	option => {listen_share => 'no'});
my $refused = ClinicTest::Process->start('refused', log => "$clinic->{dir}/refused.log",
	argv => [$first->{bin}, '--config', $second->configure]);
is($refused->wait_exit, 2, 'without listen_share a port that is taken is refused');
like($refused->output, qr/cannot listen on 127\.0\.0\.1 port $first->{port}/, 'and the log says so');

$second->{option}{listen_share} = 'yes';
$second->start;
is($second->{port}, $first->{port}, 'with it two relays listen on one port');
# /readyz may ask either of them
wait_for('both to be connected', sub {
	2 == grep { $_->[0] } @{$clinic->dbh->selectall_arrayref(
		q(SELECT count(*) FROM pg_stat_activity WHERE usename = 'clinic_relay'
		AND application_name LIKE '%listen%' GROUP BY pid))} });

my ($at) = do { $clinic->cut_batch; $clinic->dbh->selectrow_array('SELECT clinic_sync.current_cursor()') };
my @devices = map {
	my $raw = ClinicTest::Raw->open(port => $first->{port});
	$raw->client_info("device-$_");
	$raw->request_sync($at, undef);
	$raw->wait_message('ready') ? $raw : ();
} 1 .. 60;
is(@devices, 60, '60 devices connect');
my @shares = map { scalar(() = $_->process->output =~ /" connected \(/g) } $first, $second;
cmp_ok($_, '>', 5, 'a good part of them to this relay') for @shares;
$clinic->dbh->do(insert_sql('payments', 1));
is(scalar(grep { my $m = $_->wait_message('database_change'); $m && @{$m->{changes}} == 1 } @devices), 60,
	'and each hears of a change once');

# The kernel hands the dead one's connections to nobody; its devices come back to the other.
$second->kill9;
my $again = ClinicTest::Raw->open(port => $first->{port});
$again->client_info('again');
$again->request_sync($at, undef);
ok($again->wait_message('database_change'), 'one relay dies, the port still answers');
$_->close for @devices, $again;
is($first->stop, 0, 'the other ends as ever');

# ---- descriptors -------------------------------------------------------------------

my $narrow = "$clinic->{dir}/narrow.sh";
open(my $out, '>', $narrow) or die;
print $out "#!/bin/sh\nulimit -S -n 128\nulimit -H -n 200\nexec $first->{bin} \"\$@\"\n";
close($out);
chmod(0755, $narrow);
my $small = ClinicTest::Relay->new(dir => $clinic->{dir}, name => 'small', bin => $narrow,
	code_file => $clinic->{code_file}, dsn => $first->{dsn}, option => {max_devices => 4000});
$small->start;
like($small->process->output,
	qr/warning: max_devices = 4000 needs 4384 file descriptors and the system allows 200 /,
	'the soft limit is raised, and the log says that the hard one is not enough');
$small->{option}{max_devices} = 100;
$small->configure;
$small->process->signal('HUP');
$small->process->wait_output(qr/reload: done/);
is(scalar(() = $small->process->output =~ /max_devices = /g), 1, 'what fits is not complained about');
done_testing();
