#!/usr/bin/perl
#
# Every table is as fast as the queue: insert, update and delete of a row of each of
# the thirteen, one after the other, then all of them in one transaction, and what
# was done while a device was away.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest qw(@TABLES);
use ClinicTest::Realtime;
use ClinicTest::Rows qw(%EVENT parents_sql insert_sql update_sql delete_sql key_column key_value);

my $day = ClinicTest::Realtime->new(app => 'odd');
$day->step('what the rows refer to', parents_sql(),
	sees => [[q(SELECT count(*) FROM patient_bills WHERE id = 'BILL-9000')] => '1'],
	events => ['patient_data_change_immediate patients insert', 'billing_change_immediate patient_bills insert']);

sub held { my ($table, $n) = @_; return [sprintf('SELECT count(*) FROM %s WHERE "%s" = ?', $table, key_column($table)), key_value($table, $n)] }

for my $table (@TABLES) {
	$day->step("$table: a row comes", insert_sql($table, 1), sees => [held($table, 1) => '1'],
		events => ["$EVENT{$table} $table insert"]);
	$day->step("$table: it changes", update_sql($table, 1, 'changed'), sees => [held($table, 1) => '1'],
		events => ["$EVENT{$table} $table update"]);
	$day->step("$table: it goes", delete_sql($table, 1), sees => [held($table, 1) => '0'],
		events => ["$EVENT{$table} $table delete"]);
}

$day->step('all tables in one transaction', join(';', map { insert_sql($_, 2) } @TABLES),
	sees => [map { held($_, 2) => '1' } @TABLES], events => [map { "$EVENT{$_} $_ insert" } @TABLES]);

my ($away) = grep { $_->{name} eq 'app' } $day->devices;
$away->stop;
$day->clinic->cluster->psql('-1', '-c', join ';', (map { update_sql($_, 2, 'away') } @TABLES), map { insert_sql($_, 3) } @TABLES);
$away->start;
$day->step('and those who were away are told what they missed', delete_sql('payments', 3),
	sees => [map { held($_, 3) => $_ eq 'payments' ? '0' : '1' } @TABLES],
	events => [(map { ("$EVENT{$_} $_ update", "$EVENT{$_} $_ insert") } @TABLES), "$EVENT{payments} payments delete"]);

$day->finish;
