#!/usr/bin/env perl
# A client in another language, written from docs/protocol.md alone, holds what the server holds.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(wait_for);

my $root = ClinicTest::root();
my $clinic = ClinicTest->new(patients => 50);
my $dbh = $clinic->dbh;
my $relay = $clinic->relay(option => {max_frame_bytes => 16384});
my $client = ClinicTest::Process->start('other client', log => "$clinic->{dir}/other.log", stdin => 1,
	argv => ["$root/tests/e2e/other_client.py", $relay->url, $clinic->{code_file}, "$clinic->{dir}/other.db"]);
my $answers = 0;

# Let it compare all tables with the server's digest.
sub is_equal {
	my ($name) = @_;
	my $count = ++$answers;
	print {$client->{stdin}} "\n";
	$client->wait_output(qr/\A(?:.*?^(?:ok|differs)[^\n]*$){$count}/ms);
	my @said = $client->output =~ /^(ok|differs.*)$/mg;
	is($said[$count - 1], 'ok', $name);
	return;
}

is_equal('the snapshot');
my @statements = (
	q(INSERT INTO users (id, username, password) VALUES ('U-new', 'new', 'x')),
	q(UPDATE patients SET "contactNumber" = NULL, "isSeniorCitizen" = NOT coalesce("isSeniorCitizen", false)),
	q(DELETE FROM bill_items WHERE id % 3 = 0),
	q(UPDATE clinic_services SET id = id || '-new' WHERE id = (SELECT max(id) FROM clinic_services)),
	q(UPDATE payments SET "amountPaid" = 'NaN' WHERE id = (SELECT min(id) FROM payments)),
	q(TRUNCATE user_activity_log),
	q(ALTER TABLE payments ADD COLUMN "tip" numeric(12,2)),
	q(UPDATE payments SET "tip" = 1.50 WHERE id % 2 = 0),
);
for my $statement (@statements) {
	$dbh->do($statement);
	is_equal($statement =~ /^(\w+ (?:INTO |FROM |TABLE )?\w+)/ ? $1 : $statement);
}
$dbh->do(q(UPDATE patients SET address = repeat('a', 2000)));
is_equal('a batch in parts');
$dbh->do('ALTER TABLE payments ALTER COLUMN notes TYPE varchar(5000)');
is_equal('a resync');
close($client->{stdin});
is($client->wait_exit, 0, 'it ends');
done_testing;
