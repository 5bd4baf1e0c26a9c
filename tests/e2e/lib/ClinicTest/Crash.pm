# For tests of what a crash or a restore takes back: writers that commit
# without waiting for the disk, and a look at every state a cache was in.
package ClinicTest::Crash;
use strict;
use warnings;
use Exporter 'import';
use Time::HiRes qw(usleep);
use ClinicTest::Process;
our @EXPORT_OK = qw(start_async_writers write_numbers);

# Processes that write until they are stopped or the server dies.
sub start_async_writers {
	my ($clinic, $count) = @_;
	return map {
		my $number = $_;
		ClinicTest::Process->start("writer $number", log => "$clinic->{dir}/writer$number.log", code => sub {
			my $dbh = $clinic->cluster->connect;
			$dbh->do('SET synchronous_commit = off');
			for (my $i = 0; ; $i++) {
				usleep(1_000);	# not to see how much they can, but what a crash takes back
				last if !eval { $dbh->do(qq(INSERT INTO user_activity_log ("userId", "actionDescription",
					details) VALUES ('w$number', 'write', '$i'))); 1 };
			}
		});
	} 1 .. $count;
}

# Some transactions, one row each.
sub write_numbers {
	my ($dbh, $word, $count) = @_;
	$dbh->do(qq(INSERT INTO user_activity_log ("userId", "actionDescription", details)
		VALUES ('$word', 'write', '$_'))) for 1 .. $count;
	return;
}

1;
