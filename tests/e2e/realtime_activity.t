#!/usr/bin/perl
#
# Who did what: users, their sessions and the activity log, step by step. What must
# never leave the server does not.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest::Realtime;

my $day = ClinicTest::Realtime->new(app => 'upgraded_v43');

$day->step('an account is made', q(INSERT INTO users (id, username, password, role, "fullName", "securityAnswer1", "workingDays", "arrivalTime", "createdAt")
		VALUES ('user-1764057600000', 'bsantos', '$2a$12$secretsecretsecretsecretsecretsecretsecretsecretsecr', 'medtech', 'Ben Santos',
			'$2a$08$answer', 'monday,friday', '08:00', '2026-11-23 07:55')),
	sees => [['SELECT username, role, "isActive", "createdAt" FROM users WHERE id = ?', 'user-1764057600000']
		=> 'bsantos|medtech|1|2026-11-23T07:55:00.000'],
	events => ['user_data_change_immediate users insert']);

for my $device ($day->devices) {
	my ($held) = grep { $_->[1] eq 'password' } @{$device->query('PRAGMA table_info(users)')};
	is($held ? $device->value('SELECT password FROM users WHERE id = ?', 'user-1764057600000') : undef, undef,
		"the password is not on device $device->{name}");
}

$day->step('the user logs in', q(INSERT INTO user_sessions (id, session_id, "userId", username, "deviceId", "deviceName", "loginTime", "lastActivity",
			created_at, expires_at, "ipAddress", "sessionToken", "expiresAt")
		VALUES ('s-r1', 's-r1', 'user-1764057600000', 'bsantos', 'device-1', 'Windows Device', '2026-11-23 08:00', '2026-11-23 08:00',
			'2026-11-23 08:00', '2026-11-23 16:00', '127.0.0.1', 'token', '2026-11-23 16:00');
		INSERT INTO user_activity_log (id, "userId", "actionDescription", "targetTable", "timestamp", details)
		VALUES (900020, 'bsantos', 'User logged in', 'user_sessions', '2026-11-23 08:00:00.5', 'Windows Device')),
	sees => [
		# the app compares times as text: a session is alive while this is so
		[q(SELECT "isActive", "expiresAt" > '2026-11-23T15:59:59.999', "expiresAt" > '2026-11-23T16:00:00.001' FROM user_sessions WHERE id = ?), 's-r1'] => '1|1|0',
		['SELECT "userId", "actionDescription", "timestamp" FROM user_activity_log WHERE id = 900020']
			=> 'bsantos|User logged in|2026-11-23T08:00:00.500'],
	events => ['data_change_immediate user_sessions insert', 'user_data_change_immediate user_activity_log insert']);

# 1,000 of these a second would drown the devices: the column is not delivered, so nothing is sent
$day->step('the session is renewed, and then a field that devices see changes',
	q(UPDATE user_sessions SET "lastActivity" = '2026-11-23 08:30' WHERE id = 's-r1';
	UPDATE users SET "contactNumber" = '0917' WHERE id = 'user-1764057600000'),
	sees => [['SELECT "contactNumber" FROM users WHERE id = ?', 'user-1764057600000'] => '0917'],
	events => ['user_data_change_immediate users update']);

$day->step('the user logs out', q(UPDATE user_sessions SET "isActive" = false, invalidated_at = '2026-11-23 12:00' WHERE id = 's-r1';
		INSERT INTO user_activity_log (id, "userId", "actionDescription", "timestamp") VALUES (900021, 'bsantos', 'User logged out', '2026-11-23 12:00')),
	sees => [['SELECT "isActive", invalidated_at FROM user_sessions WHERE id = ?', 's-r1'] => '0|2026-11-23T12:00:00.000'],
	events => ['data_change_immediate user_sessions update', 'user_data_change_immediate user_activity_log insert']);

$day->step('the account is closed', q(DELETE FROM user_sessions WHERE id = 's-r1'; DELETE FROM users WHERE id = 'user-1764057600000'),
	sees => [[q(SELECT (SELECT count(*) FROM users WHERE username = 'bsantos'), (SELECT count(*) FROM user_activity_log WHERE "userId" = 'bsantos'))] => '0|2'],
	events => ['data_change_immediate user_sessions delete', 'user_data_change_immediate users delete']);

$day->finish;
