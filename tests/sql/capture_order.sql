/*
 * Trigger order inside a transaction is not row order.  Other AFTER triggers,
 * with names before and after ours, change the same row, another row of the
 * statement, delete rows and insert them again, move keys.  Whatever is logged
 * in whatever order: replaying it must end with the table as it is.
 */
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
SELECT plan(18);

/*
 * The replayed state of a table, as docs/protocol.md tells a client to apply
 * the log.  An update or delete of a row that is not there is noted.
 */
CREATE TABLE replayed (publication int, key text, data jsonb, PRIMARY KEY (publication, key));
CREATE TABLE replay_fault (publication int, op "char", key text);
CREATE TABLE replay_position (seq bigint);
INSERT INTO replay_position VALUES (0);

CREATE FUNCTION apply(l record) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF l.op = 'i' OR l.op = 'p' AND l.data IS NOT NULL THEN
		INSERT INTO replayed VALUES (l.publication, l.key, l.data::jsonb)
		ON CONFLICT (publication, key) DO UPDATE SET data = excluded.data;
	ELSIF l.op = 'u' THEN
		UPDATE replayed r SET data = r.data || l.data::jsonb
		WHERE r.publication = l.publication AND r.key = l.key;
		IF NOT FOUND THEN
			INSERT INTO replay_fault VALUES (l.publication, l.op, l.key);
		END IF;
	ELSIF l.op = 'd' OR l.op = 'p' THEN
		DELETE FROM replayed r WHERE r.publication = l.publication AND r.key = l.key;
		IF NOT FOUND AND l.op = 'd' THEN
			INSERT INTO replay_fault VALUES (l.publication, l.op, l.key);
		END IF;
	ELSIF l.op = 't' THEN
		DELETE FROM replayed r WHERE r.publication = l.publication;
	END IF;
END
$$;

CREATE FUNCTION replay() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	l record;
BEGIN
	FOR l IN SELECT c.* FROM clinic_sync.change_log_1 c, replay_position p WHERE c.seq > p.seq ORDER BY c.seq LOOP
		PERFORM apply(l);
	END LOOP;
	UPDATE replay_position SET seq = (SELECT coalesce(max(c.seq), 0) FROM clinic_sync.change_log_1 c);
END
$$;

/* Rows of a table that differ from the replayed ones, and faults on the way. */
CREATE FUNCTION differences(relation regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	pub int := (SELECT p.id FROM clinic_sync.publication p WHERE p.relation = $1);
	result bigint;
BEGIN
	PERFORM replay();
	EXECUTE format('SELECT count(*) FROM (SELECT to_jsonb(t) FROM %s t) a(data)
		FULL JOIN (SELECT data FROM replayed WHERE publication = $1) b(data) ON a.data = b.data
		WHERE a.data IS NULL OR b.data IS NULL', relation) INTO result USING pub;
	RETURN result + (SELECT count(*) FROM replay_fault f WHERE f.publication = pub);
END
$$;

/*
 * The same scenario for a trigger whose name sorts before ours ("!a" < "!c")
 * and one whose name sorts after it.
 */
CREATE TABLE t (id int PRIMARY KEY, tag text, other int);
SELECT clinic_sync.publish('t') \gset

CREATE FUNCTION tag_itself() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE t SET tag = 'touched by trigger' WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END
$$;
CREATE FUNCTION tag_other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE t SET tag = 'touched by ' || NEW.id WHERE id = NEW.other;
	END IF;
	RETURN NULL;
END
$$;
CREATE FUNCTION delete_other() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 AND NEW.other IS NOT NULL THEN
		DELETE FROM t WHERE id = NEW.other;
		IF NEW.id % 2 = 0 THEN
			INSERT INTO t VALUES (NEW.other, 'born again');
		END IF;
	END IF;
	RETURN NULL;
END
$$;
CREATE FUNCTION insert_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		INSERT INTO t VALUES (OLD.id, 'inserted again') ON CONFLICT DO NOTHING;
	END IF;
	RETURN NULL;
END
$$;
CREATE FUNCTION move_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE t SET id = id + 1000 WHERE id = NEW.other;
	END IF;
	RETURN NULL;
END
$$;

/* Run the statements of one case under a trigger that is named so. */
CREATE FUNCTION with_trigger(name text, event text, function text, statements text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	statement text;
BEGIN
	EXECUTE format('CREATE TRIGGER %I AFTER %s ON t FOR EACH ROW EXECUTE FUNCTION %I()', name, event, function);
	FOREACH statement IN ARRAY statements LOOP
		EXECUTE statement;
	END LOOP;
	EXECUTE format('DROP TRIGGER %I ON t', name);
	RETURN differences('t');
END
$$;

INSERT INTO t SELECT i, 'old', (i * 7) % 10 + 1 FROM generate_series(1, 10) i;
SELECT is(differences('t'), 0::bigint, 'replay of a plain insert');
SELECT is(with_trigger('!a', 'INSERT OR UPDATE', 'tag_itself',
		'{"INSERT INTO t VALUES (11, $$new$$)", "UPDATE t SET other = 5 WHERE id < 5"}'), 0::bigint,
	'same row, trigger before ours');
SELECT is(with_trigger('zz', 'INSERT OR UPDATE', 'tag_itself',
		'{"INSERT INTO t VALUES (12, $$new$$)", "UPDATE t SET other = 6 WHERE id < 5"}'), 0::bigint,
	'same row, trigger after ours');
SELECT is(with_trigger('!a', 'UPDATE', 'tag_other', '{"UPDATE t SET tag = $$by statement 1$$"}'), 0::bigint,
	'another row of the statement, trigger before ours');
SELECT is(with_trigger('zz', 'UPDATE', 'tag_other', '{"UPDATE t SET tag = $$by statement 2$$"}'), 0::bigint,
	'another row of the statement, trigger after ours');
SELECT is(with_trigger('!a', 'UPDATE', 'move_key', '{"UPDATE t SET tag = $$moved 1$$"}'), 0::bigint,
	'key of another row, trigger before ours');
UPDATE t SET other = (id * 3) % 12 + 1;
SELECT is(with_trigger('zz', 'UPDATE', 'move_key', '{"UPDATE t SET tag = $$moved 2$$"}'), 0::bigint,
	'key of another row, trigger after ours');
UPDATE t SET other = (SELECT u.id FROM t u WHERE u.id > t.id ORDER BY u.id LIMIT 1);
SELECT is(with_trigger('!a', 'UPDATE', 'delete_other', '{"UPDATE t SET tag = $$deleted 1$$"}'), 0::bigint,
	'deletes another row, trigger before ours');
SELECT is(with_trigger('zz', 'UPDATE', 'delete_other', '{"UPDATE t SET tag = $$deleted 2$$"}'), 0::bigint,
	'deletes another row, trigger after ours');
SELECT is(with_trigger('!a', 'DELETE', 'insert_again', '{"DELETE FROM t WHERE id % 2 = 0"}'), 0::bigint,
	'inserts the deleted row again, trigger before ours');
SELECT is(with_trigger('zz', 'DELETE', 'insert_again', '{"DELETE FROM t WHERE id % 2 = 1"}'), 0::bigint,
	'inserts the deleted row again, trigger after ours');

-- a tree in one table: cascades and SET NULL of the statement's own rows

CREATE TABLE tree (id int PRIMARY KEY,
	parent int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE,
	friend int REFERENCES tree ON DELETE SET NULL ON UPDATE CASCADE DEFERRABLE);
SELECT clinic_sync.publish('tree') \gset
INSERT INTO tree SELECT i, NULLIF(i / 2, 0), NULLIF(i / 3, 0) FROM generate_series(1, 60) i;
DELETE FROM tree WHERE id IN (7, 14, 3, 20);
SELECT is(differences('tree'), 0::bigint, 'cascades and SET NULL in the statement''s own table');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE tree SET id = id + 100 WHERE id < 10;
DELETE FROM tree WHERE id = 105;
INSERT INTO tree VALUES (105, NULL, NULL);
COMMIT;
SELECT is(differences('tree'), 0::bigint, 'ON UPDATE CASCADE, deferred');
TRUNCATE tree;
SELECT is(differences('tree'), 0::bigint, 'truncated');

/*
 * Random statements under random triggers, both sorting before and after
 * ours, in transactions of up to six statements with savepoints.
 */
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	victim int := ceil(random() * 14);
BEGIN
	IF pg_trigger_depth() > 2 OR random() < 0.5 THEN
		RETURN NULL;
	END IF;
	CASE floor(random() * 6)
		WHEN 0 THEN UPDATE t SET tag = 'm' || random() WHERE id = COALESCE(NEW.id, OLD.id);
		WHEN 1 THEN UPDATE t SET tag = 'm' || random() WHERE id = victim;
		WHEN 2 THEN DELETE FROM t WHERE id = victim;
		WHEN 3 THEN INSERT INTO t VALUES (victim, 'm' || random()) ON CONFLICT DO NOTHING;
		WHEN 4 THEN INSERT INTO t VALUES (victim, 'm' || random()) ON CONFLICT (id) DO UPDATE SET other = excluded.id;
		ELSE UPDATE t SET id = victim WHERE id = COALESCE(NEW.id, OLD.id)
			AND NOT EXISTS (SELECT FROM t WHERE id = victim);
	END CASE;
	RETURN NULL;
END
$$;

CREATE FUNCTION random_statement() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	low int := floor(random() * 14);
BEGIN
	CASE floor(random() * 6)
		WHEN 0 THEN INSERT INTO t SELECT i, 's' || random() FROM generate_series(low, low + 4) i ON CONFLICT DO NOTHING;
		WHEN 1 THEN UPDATE t SET tag = 's' || random() WHERE id BETWEEN low AND low + 5;
		WHEN 2 THEN DELETE FROM t WHERE id BETWEEN low AND low + 2;
		WHEN 3 THEN UPDATE t SET id = low + 15 WHERE id = low AND NOT EXISTS (SELECT FROM t WHERE id = low + 15);
		WHEN 4 THEN INSERT INTO t VALUES (low, 'u') ON CONFLICT (id) DO UPDATE SET tag = 'u' || random();
		ELSE UPDATE t SET tag = tag, other = other;
	END CASE;
	IF random() < 0.2 THEN
		RAISE EXCEPTION USING ERRCODE = 'P0009';
	END IF;
END
$$;

CREATE PROCEDURE random_transactions(count int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. count LOOP
		FOR j IN 1 .. ceil(random() * 6) LOOP
			BEGIN
				PERFORM random_statement();
			EXCEPTION WHEN SQLSTATE 'P0009' OR unique_violation OR triggered_data_change_violation THEN
				NULL;
			END;
		END LOOP;
		COMMIT;
	END LOOP;
END
$$;

SELECT setseed(0.42) \gset
CREATE TRIGGER "!a" AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION meddle();
CALL random_transactions(150);
SELECT is(differences('t'), 0::bigint, '150 random transactions, trigger before ours');
DROP TRIGGER "!a" ON t;
CREATE TRIGGER zz AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION meddle();
CALL random_transactions(150);
SELECT is(differences('t'), 0::bigint, '150 random transactions, trigger after ours');
CREATE TRIGGER "!a" AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION meddle();
CALL random_transactions(150);
SELECT is(differences('t'), 0::bigint, '150 random transactions, triggers before and after ours');
SELECT cmp_ok((SELECT count(*) FROM clinic_sync.change_log_1), '>', 2000::bigint, 'the random part was not idle');

SELECT * FROM finish();
