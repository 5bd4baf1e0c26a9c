/*
 * What capture remembers from one row to the next: the segment it has locked,
 * the keys it has logged, where its rows are found.  Savepoints, rotations,
 * DDL and a new extension in the middle of a session or transaction must not
 * make it remember something that is no longer true.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(9);

CREATE TABLE t (id int PRIMARY KEY, v text);
SELECT clinic_sync.publish('t') \gset

CREATE EXTENSION dblink;
SELECT dblink_connect('other', format('host=%s port=%s dbname=%s',
	split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database())) \gset
CREATE FUNCTION others_can_seal(segment int) RETURNS boolean LANGUAGE sql AS $$
	SELECT x.sealed FROM dblink('other', format('SELECT clinic_sync.seal_segment(%s)', segment)) AS x(sealed boolean)
$$;

-- the lock on the segment

BEGIN;
INSERT INTO t VALUES (1);
SAVEPOINT a;
INSERT INTO t VALUES (2);
ROLLBACK TO a;
SELECT is(others_can_seal(1), false, 'a savepoint''s rollback leaves a lock that was there before it');
COMMIT;
SELECT is(others_can_seal(1), true, 'no transaction, no lock');
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (3);
ROLLBACK TO a;
SELECT is(others_can_seal(1), true, 'the lock of a savepoint goes with it');
INSERT INTO t VALUES (4);
SELECT is(others_can_seal(1), false, 'and the next row takes it again');
COMMIT;
BEGIN;
SAVEPOINT a;
INSERT INTO t VALUES (5);
RELEASE a;
SELECT is(others_can_seal(1), false, 'the lock of a released savepoint stays');
COMMIT;

BEGIN;
INSERT INTO t VALUES (10);
PREPARE TRANSACTION 'held';
SELECT is(others_can_seal(1), false, 'a prepared transaction keeps it');
INSERT INTO t VALUES (11);
COMMIT PREPARED 'held';
SELECT is(others_can_seal(1), true, 'until it is committed');
BEGIN;
INSERT INTO t VALUES (12);
SELECT is(others_can_seal(1), false, 'the session that prepared it locks anew for its next transaction');
COMMIT;

-- the keys this transaction has logged, when what capture knows of the table is read anew in between

CREATE FUNCTION insert_again_and_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t VALUES (OLD.id, 'again');
	PERFORM clinic_sync.forget_caches();
	RETURN NULL;
END
$$;
CREATE TRIGGER "!a" AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION insert_again_and_forget();
DELETE FROM t WHERE id = 1;
SELECT is((SELECT string_agg(l.op::text || coalesce(l.data, '-'), ' ' ORDER BY l.seq) FROM (SELECT c.* FROM clinic_sync.change_log_1 c
		WHERE c.key = '{"id":1}' ORDER BY c.seq DESC LIMIT 2) l),
	'i{"id":1,"v":"again"} p{"id":1,"v":"again"}', 'a deleted row that another trigger has inserted again is there');
DROP TRIGGER "!a" ON t;

SELECT * FROM finish();
