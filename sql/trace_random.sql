-- Random histories against an oracle: what explain_row, as_of and diff say is what triggers and copies have kept beside the feed.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.person (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.sale (id int PRIMARY KEY, person int, at timestamptz, amount numeric);
CREATE TABLE shop.note (sale int PRIMARY KEY, note text);
SELECT handfeed.add('shop', 'shop.person'), handfeed.add('shop', 'shop.sale'), handfeed.add('shop', 'shop.note') \g /dev/null
CREATE SCHEMA dw;
-- The oracle: every change with its key and position, and copies of all tables after every transaction and load.
CREATE TABLE dw.truth (source text, id int, lsn pg_lsn, op text);
CREATE FUNCTION dw.truth() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    at pg_lsn := (SELECT lsn FROM handfeed.state WHERE feed = 'shop');
    column_name text := CASE TG_RELNAME WHEN 'note' THEN 'sale' ELSE 'id' END;
    was int := to_jsonb(OLD) ->> column_name;
    is_now int := to_jsonb(NEW) ->> column_name;
BEGIN
    IF TG_OP = 'UPDATE' AND was = is_now THEN INSERT INTO dw.truth VALUES ('public.' || TG_RELNAME, was, at, 'U'); RETURN NULL; END IF;
    IF was IS NOT NULL THEN INSERT INTO dw.truth VALUES ('public.' || TG_RELNAME, was, at, 'D'); END IF;
    IF is_now IS NOT NULL THEN INSERT INTO dw.truth VALUES ('public.' || TG_RELNAME, is_now, at, 'I'); END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION dw.emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dw.truth SELECT 'public.person', id, (SELECT lsn FROM handfeed.state WHERE feed = 'shop'), 'T' FROM shop.person;
    RETURN NULL;
END $$;
CREATE TRIGGER truth AFTER INSERT OR UPDATE OR DELETE ON shop.person FOR EACH ROW EXECUTE FUNCTION dw.truth();
CREATE TRIGGER truth AFTER INSERT OR UPDATE OR DELETE ON shop.sale FOR EACH ROW EXECUTE FUNCTION dw.truth();
CREATE TRIGGER truth AFTER INSERT OR UPDATE OR DELETE ON shop.note FOR EACH ROW EXECUTE FUNCTION dw.truth();
CREATE TRIGGER emptied BEFORE TRUNCATE ON shop.person FOR EACH STATEMENT EXECUTE FUNCTION dw.emptied();
SELECT walhouse.create_dimension('dw.person', 'SELECT id, name, city FROM shop.person', '{id}', '{"*": 2, "name": 1}') \g /dev/null
SELECT walhouse.create_fact('dw.sale', 'SELECT id, person, at, amount FROM shop.sale', '{id}', 'at', '{"person_sk": "dw.person(person)"}') \g /dev/null
SELECT walhouse.create_fact('dw.noted', 'SELECT n.sale AS id, n.note, s.at, s.amount FROM shop.note n JOIN shop.sale s ON s.id = n.sale', '{id}', 'at') \g /dev/null
CALL walhouse.build('dw.person'); CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.noted');
CREATE TABLE dw.was (at pg_lsn, clock timestamptz, source text, row jsonb);
CREATE TABLE dw.was_model (load_id bigint, model text, key text, row jsonb);
CREATE FUNCTION dw.some(n int) RETURNS int LANGUAGE sql AS $$ SELECT 1 + floor(random() * n)::int $$;
CREATE PROCEDURE dw.work(n int) LANGUAGE plpgsql AS $$
DECLARE
    now timestamptz := timestamptz '2026-01-01 00:00+00' + n * interval '1 hour';
    ended pg_lsn;
    a_person int; -- drawn once, whatever the order in which tables are read
    a_sale int;
BEGIN
    IF n IN (25, 60) THEN TRUNCATE shop.person; END IF;
    FOR i IN 1 .. dw.some(4) LOOP
        a_person := dw.some(5);
        a_sale := dw.some(15);
        CASE dw.some(13)
            WHEN 1, 2 THEN INSERT INTO shop.person VALUES (a_person, 'name ' || dw.some(3), 'city ' || dw.some(3))
                ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, city = EXCLUDED.city;
            WHEN 3 THEN DELETE FROM shop.person WHERE id = a_person;
            WHEN 4 THEN DELETE FROM shop.sale WHERE id = a_sale;
            WHEN 5 THEN UPDATE shop.sale SET amount = amount + 1, at = at + interval '1 day' WHERE id = a_sale;
            WHEN 6 THEN UPDATE shop.sale SET id = 100 + id WHERE id = a_sale AND id < 100 AND NOT EXISTS (SELECT FROM shop.sale o WHERE o.id = 100 + sale.id);
            WHEN 7, 8 THEN INSERT INTO shop.note VALUES (a_sale, 'note ' || n) ON CONFLICT (sale) DO UPDATE SET note = EXCLUDED.note;
            ELSE INSERT INTO shop.sale VALUES (a_sale, a_person, now - dw.some(6) * interval '3 hours', n) ON CONFLICT DO NOTHING;
        END CASE;
    END LOOP;
    ended := handfeed.commit('shop', CASE WHEN random() < 0.2 THEN now - interval '5 hours' ELSE now END, ARRAY['transaction ' || n]);
    INSERT INTO dw.was SELECT ended, t.clock, s.source, s.row FROM shop_log.txn t,
        (SELECT 'person' AS source, to_jsonb(p) AS row FROM shop.person p UNION ALL SELECT 'sale', to_jsonb(p) FROM shop.sale p UNION ALL SELECT 'note', to_jsonb(p) FROM shop.note p) s
        WHERE t.end_lsn = ended;
    INSERT INTO dw.was SELECT ended, clock, 'none', NULL FROM shop_log.txn WHERE end_lsn = ended;
    PERFORM handfeed.reach('shop');
END $$;
CREATE PROCEDURE dw.keep() LANGUAGE sql AS $$
    INSERT INTO dw.was_model SELECT (SELECT max(load_id) FROM walhouse.load_model), m.* FROM (
        SELECT 'dw.person', concat(id, ' ', valid_from), to_jsonb(p) - 'load_id' FROM dw.person p WHERE NOT is_inferred AND person_sk > 0
        UNION ALL SELECT 'dw.sale', id::text, to_jsonb(p) - 'load_id' FROM dw.sale p UNION ALL SELECT 'dw.noted', id::text, to_jsonb(p) - 'load_id' FROM dw.noted p) m
$$;
\set QUIET off
SELECT setseed(0.7);
SELECT format('CALL dw.work(%s)', n), CASE WHEN loads THEN 'CALL walhouse.load(''shop'')' END, CASE WHEN loads THEN 'CALL dw.keep()' END
FROM (SELECT n, random() < 0.4 OR n = 90 AS loads FROM generate_series(1, 90) n OFFSET 0) s
\set QUIET on
\set ECHO none
\gexec
\set ECHO all
\set QUIET off
SELECT count(DISTINCT load_id) > 15 AS many_loads, count(*) > 500 AS many_rows FROM dw.was_model;
SELECT op, count(*) > 0 AS there FROM dw.truth GROUP BY 1 ORDER BY 1;
SELECT model, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- Mirrors as of every position, and every clock: a clock that several transactions share means the last of them.
CREATE FUNCTION dw.mirror_differs(source text, at pg_lsn, clock timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT to_jsonb(k) FROM walhouse.as_of(NULL::shop.%1$I, %2$s) k EXCEPT ALL SELECT row FROM dw.was WHERE at = $3 AND source = %1$L)
        UNION ALL (SELECT row FROM dw.was WHERE at = $3 AND source = %1$L EXCEPT ALL SELECT to_jsonb(k) FROM walhouse.as_of(NULL::shop.%1$I, %2$s) k)) d',
        source, CASE WHEN clock IS NULL THEN '$1' ELSE '$2' END) INTO n USING at, clock, at;
    RETURN n;
END $$;
SELECT source, count(*) > 80 AS positions, sum(dw.mirror_differs(source, at, NULL)) AS by_position FROM unnest('{person,sale,note}'::text[]) source, (SELECT DISTINCT at FROM dw.was) w GROUP BY 1 ORDER BY 1;
SELECT source, count(*) > 40 AS clocks, sum(dw.mirror_differs(source, at, clock)) AS by_clock FROM unnest('{person,sale,note}'::text[]) source,
    (SELECT clock, max(at) AS at FROM dw.was GROUP BY 1) w GROUP BY 1 ORDER BY 1;
-- Models as of the position after every load, and the differences of all pairs of loads that follow each other, forwards and back.
CREATE TABLE dw.loads AS SELECT load_id, lag(load_id) OVER (ORDER BY load_id) AS before, to_lsn FROM walhouse.load l
    WHERE load_id IN (SELECT load_id FROM dw.was_model);
CREATE FUNCTION dw.model_differs(model text, l bigint, at pg_lsn) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT to_jsonb(k) - ''load_id'' FROM walhouse.as_of(NULL::%1$s, $1) k WHERE id IS NOT NULL EXCEPT ALL SELECT row FROM dw.was_model WHERE load_id = $2 AND model = %1$L)
        UNION ALL (SELECT row FROM dw.was_model WHERE load_id = $2 AND model = %1$L EXCEPT ALL SELECT to_jsonb(k) - ''load_id'' FROM walhouse.as_of(NULL::%1$s, $1) k)) d', model) INTO n USING at, l;
    RETURN n;
END $$;
SELECT model, sum(dw.model_differs(model, load_id, to_lsn)) AS differences FROM dw.loads, unnest('{dw.person,dw.sale,dw.noted}'::text[]) model GROUP BY 1 ORDER BY 1;
CREATE FUNCTION dw.diff_differs(what text, a bigint, b bigint) RETURNS bigint LANGUAGE sql AS $$
    WITH said AS (SELECT change, before, after FROM walhouse.diff(what::regclass, a, b)),
    truth AS (SELECT CASE WHEN x.row IS NULL THEN 'inserted' WHEN y.row IS NULL THEN 'deleted' ELSE 'updated' END AS change, x.row AS before, y.row AS after
        FROM (SELECT * FROM dw.was_model WHERE load_id = a AND model = what) x FULL JOIN (SELECT * FROM dw.was_model WHERE load_id = b AND model = what) y USING (key)
        WHERE x.row IS DISTINCT FROM y.row)
    SELECT count(*) FROM ((TABLE said EXCEPT ALL TABLE truth) UNION ALL (TABLE truth EXCEPT ALL TABLE said)) d $$;
SELECT model, sum(dw.diff_differs(model, before, load_id)) AS forwards, sum(dw.diff_differs(model, load_id, before)) AS back, sum(dw.diff_differs(model, load_id, load_id)) AS none
FROM dw.loads, unnest('{dw.person,dw.sale,dw.noted}'::text[]) model WHERE before IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT change, count(*) > 0 AS there FROM dw.loads l, LATERAL walhouse.diff('dw.person', l.before, load_id) d WHERE l.before IS NOT NULL GROUP BY 1 ORDER BY 1;

-- explain_row of every row. What it has to say: the changes of the row's key in the range of its load, and for a version in the transactions that opened and closed it.
CREATE VIEW dw.row AS SELECT 'dw.person' AS model, person_sk AS sk, id, jsonb_build_object('person_sk', person_sk) AS key, load_id, valid_from, valid_to FROM dw.person WHERE person_sk > 0 AND NOT is_inferred
    UNION ALL SELECT 'dw.sale', NULL, id, jsonb_build_object('id', id), load_id, NULL, NULL FROM dw.sale
    UNION ALL SELECT 'dw.noted', NULL, id, jsonb_build_object('id', id), load_id, NULL, NULL FROM dw.noted;
CREATE FUNCTION dw.source(model text) RETURNS text[] LANGUAGE sql AS
    $$ SELECT CASE model WHEN 'dw.person' THEN '{public.person}' WHEN 'dw.sale' THEN '{public.sale}' ELSE '{public.note,public.sale}' END::text[] $$;
CREATE TABLE dw.said AS SELECT r.model, r.key, r.id, r.valid_from, r.valid_to, e.* FROM dw.row r, LATERAL walhouse.explain_row(r.model::regclass, r.key) e;
CREATE VIEW dw.expected AS SELECT r.model, r.key, t.source, t.lsn, t.op FROM dw.row r
    JOIN walhouse.load_model m ON m.load_id = r.load_id AND m.model_id = (SELECT model_id FROM walhouse.model WHERE relation = r.model::regclass)
    JOIN dw.truth t ON t.id = r.id AND t.source = ANY (dw.source(r.model)) JOIN shop_log.txn x ON x.end_lsn = t.lsn
    WHERE (t.lsn > m.from_lsn AND t.lsn <= m.to_lsn) OR x.clock = r.valid_from OR x.clock = r.valid_to;
CREATE VIEW dw.changes AS SELECT model, key, name AS source, lsn, details ->> 'op' AS op FROM dw.said WHERE item IN ('change', 'opened', 'closed');
SELECT model, count(*) > 8 AS rows FROM dw.row GROUP BY 1 ORDER BY 1;
SELECT 'not said' AS what, count(*) FROM (TABLE dw.expected EXCEPT TABLE dw.changes) x UNION ALL SELECT 'not true', count(*) FROM (TABLE dw.changes EXCEPT TABLE dw.expected) x;
-- Each has the transaction and what was said of it.
SELECT count(*) AS wrong FROM dw.said s JOIN shop_log.txn t ON t.end_lsn = s.lsn WHERE item IN ('change', 'opened', 'closed') AND (s.commit_time, s.xid, s.context) IS DISTINCT FROM (t.commit_time, t.xid, t.context);
-- A version's opened change is at its clock, its closed one at the next one's; but for a boundary that gave way to the one before it, and versions valid from the start.
SELECT bool_and(t.clock = s.valid_from) AS opened FROM dw.said s JOIN shop_log.txn t ON t.end_lsn = s.lsn WHERE item = 'opened';
SELECT count(*) AS without_what_opened_it FROM dw.row r JOIN shop_log.txn t ON t.clock = r.valid_from JOIN dw.truth h ON h.lsn = t.end_lsn AND h.id = r.id AND h.source = 'public.person'
WHERE model = 'dw.person' AND NOT EXISTS (SELECT FROM dw.said s WHERE s.key = r.key AND s.item = 'opened');
SELECT item, count(*) > 10 AS some FROM dw.said WHERE model = 'dw.person' AND item IN ('opened', 'closed') GROUP BY 1 ORDER BY 1;
-- What set a value has that value: of the queries' columns that are the source's, read in the image after.
SELECT count(*) > 100 AS values, count(*) FILTER (WHERE c.details -> 'after' ->> s.name IS NOT NULL AND c.details -> 'after' -> s.name <> s.details -> 'value') AS wrong
FROM dw.said s JOIN dw.said c ON c.model = s.model AND c.key = s.key AND c.lsn = s.lsn AND c.item IN ('change', 'opened', 'closed') AND c.details ->> 'op' IN ('I', 'U')
    AND NOT EXISTS (SELECT FROM dw.said d WHERE d.model = c.model AND d.key = c.key AND d.lsn = c.lsn AND d.name = c.name AND (d.details ->> 'seq')::int > (c.details ->> 'seq')::int)
WHERE s.item = 'value' AND s.model <> 'dw.noted';
-- The loads that are named are those whose range has the change.
SELECT count(*) AS wrong FROM dw.said s LEFT JOIN walhouse.load_model m ON m.load_id = s.load_id AND m.model_id = (SELECT model_id FROM walhouse.model WHERE relation = s.model::regclass)
WHERE item IN ('change', 'opened', 'closed', 'value') AND s.lsn IS NOT NULL AND (s.lsn > m.from_lsn AND s.lsn <= m.to_lsn) IS NOT TRUE;
-- A sale's version of its person held at the event time.
SELECT count(*) > 5 AS sales, count(*) FILTER (WHERE NOT ((details ->> 'valid_from')::timestamptz <= (details ->> 'event_time')::timestamptz
    AND (details ->> 'event_time')::timestamptz < (details ->> 'valid_to')::timestamptz)) AS outside FROM dw.said
WHERE item = 'dimension' AND details ->> 'reason' = 'the version of its key at the event time';
-- With an index by key everything is said that the log has of the key, and nothing else.
CALL walhouse.set_log_key_index('shop', 'person', true);
CALL walhouse.set_log_key_index('shop', 'sale', true);
CALL walhouse.set_log_key_index('shop', 'note', true);
TRUNCATE dw.said;
INSERT INTO dw.said SELECT r.model, r.key, r.id, r.valid_from, r.valid_to, e.* FROM dw.row r, LATERAL walhouse.explain_row(r.model::regclass, r.key) e;
CREATE VIEW dw.all AS SELECT r.model, r.key, t.source, t.lsn, t.op FROM dw.row r JOIN dw.truth t ON t.id = r.id AND t.source = ANY (dw.source(r.model));
SELECT 'not said' AS what, count(*) FROM (TABLE dw.all EXCEPT TABLE dw.changes) x UNION ALL SELECT 'not true', count(*) FROM (TABLE dw.changes EXCEPT TABLE dw.all) x;
-- The version of a dataset, and its rows.
SELECT walhouse.dataset_version('dw.sale') = walhouse.dataset_version('shop.sale') AS the_same, walhouse.dataset_version('pg_class') AS none;
SELECT count(*) AS differences FROM ((SELECT to_jsonb(s) FROM shop.sale s EXCEPT ALL SELECT to_jsonb(s) FROM walhouse.as_of(NULL::shop.sale, walhouse.dataset_version('dw.sale')) s)) x;
-- What cannot be asked.
\set VERBOSITY sqlstate
SELECT * FROM walhouse.as_of(NULL::shop.sale, 'FFFF/0'::pg_lsn);
SELECT * FROM walhouse.as_of(NULL::dw.sale, 'FFFF/0'::pg_lsn);
SELECT * FROM walhouse.as_of(NULL::shop.sale, '0/1'::pg_lsn);
SELECT * FROM walhouse.as_of(NULL::dw.sale, '1999-01-01'::timestamptz);
SELECT * FROM walhouse.as_of(NULL::handfeed.state, now());
SELECT * FROM walhouse.diff('dw.sale', 0, 1);
SELECT * FROM walhouse.diff('shop.sale', 0, 1);
CREATE ROLE walhouse_test_other;
SET ROLE walhouse_test_other;
SELECT * FROM walhouse.as_of(NULL::dw.sale, now());
SELECT * FROM walhouse.as_of(NULL::shop.sale, now());
SELECT * FROM walhouse.diff('dw.sale', 0, 1);
RESET ROLE;
DROP ROLE walhouse_test_other;
\set VERBOSITY default

\set QUIET on
SET client_min_messages = warning;
DROP SCHEMA dw CASCADE;
SELECT walhouse.drop_model(relation) FROM walhouse.model WHERE kind = 'fact' \g /dev/null
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA handfeed CASCADE;
