-- Facts: what a declaration makes and refuses, look-ups, partitions, rows ahead of the clock, rejected rows, verify.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET walhouse.allow_writes = on;
SELECT handfeed.make('shop', 'Europe/Berlin');
CREATE TABLE shop.customers (customer_id int PRIMARY KEY, name text, city text);
CREATE TABLE shop."Or""ders" (order_id int, line numeric, customer_id bigint, referrer int, at timestamptz, amount numeric(10,3),
    note varchar(20) COLLATE "C", PRIMARY KEY (order_id, line));
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop."Or""ders"');
INSERT INTO shop.customers VALUES (1, 'Ann', 'Bonn'), (2, 'Bob', 'Rom');
INSERT INTO shop."Or""ders" VALUES (1, 1.0, 1, NULL, '2026-01-31 22:59:59.999999+00', 1, 'x'), (1, 2, 2, 1, '2026-01-31 23:00+00', 2, ''),
    (2, 1, 7, 2, '2026-03-29 01:30+00', 3, NULL), (3, 1, 1, 1, NULL, 4, 'no time'), (4, 1, 1, 1, '-infinity', 4, 'no time'),
    (5, 1, 1, 1, '9999-12-31', 5, 'too late');
SELECT handfeed.commit('shop', '2026-02-10 12:00+00');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-02-28');
SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, name, city FROM shop.customers', '{customer_id}',
    '{"*": 2, "name": 1}');

-- a fact
SELECT walhouse.create_fact('dw."Sal es"',
    $$SELECT order_id, line, customer_id, referrer, at AS "When", amount, note, amount * 2 AS doubled FROM shop."Or""ders"$$,
    key => '{order_id,line}', event_time => 'When',
    dimensions => '{"customer_sk": "dw.customer(customer_id)", "refer rer": "dw.customer(referrer)", "day_sk": "dw.date(\"When\")"}');
\d dw."Sal es"
SELECT f.role, f.column_name, f.key FROM walhouse.fact_dimension f JOIN walhouse.model m USING (model_id)
    WHERE m.relation = 'dw."Sal es"'::regclass ORDER BY role;

-- what is refused
CREATE FUNCTION pg_temp.declare(dimensions jsonb, event_time name DEFAULT 'at', partition_by text DEFAULT 'month') RETURNS void
LANGUAGE sql AS $$ SELECT walhouse.create_fact('dw.f', 'SELECT order_id, line, customer_id, at, amount, note FROM shop."Or""ders"',
    '{order_id,line}', event_time, dimensions, partition_by) $$;
SELECT pg_temp.declare('[]');
SELECT pg_temp.declare('{"a": 1}');
SELECT pg_temp.declare('{"a": "dw.customer"}');
SELECT pg_temp.declare('{"a": "dw.customer()"}');
SELECT pg_temp.declare('{"a": "dw.nobody(customer_id)"}');
SELECT pg_temp.declare('{"a": "dw.\"Sal es\"(customer_id)"}');
SELECT pg_temp.declare('{"a": "shop.customers(customer_id)"}');
SELECT pg_temp.declare('{"a": "dw.customer(customer_id, line)"}');
SELECT pg_temp.declare('{"a": "dw.customer(nothing)"}');
SELECT pg_temp.declare('{"a": "dw.customer(note)"}');
SELECT pg_temp.declare('{"a": "dw.date(customer_id)"}');
SELECT pg_temp.declare('{"amount": "dw.customer(customer_id)"}');
SELECT pg_temp.declare('{"load_id": "dw.customer(customer_id)"}');
SELECT pg_temp.declare('{}', 'nothing');
SELECT pg_temp.declare('{}', 'amount');
SELECT pg_temp.declare('{}', partition_by => 'week');

-- build
CALL walhouse.build('dw."Sal es"');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw."Sal es"');
CREATE VIEW dw.star AS
    SELECT s.tableoid::regclass AS partition, order_id, line, "When", amount, note, doubled, c.customer_id, c.city, c.is_inferred,
        r.customer_id AS referrer, d.date
    FROM dw."Sal es" s JOIN dw.customer c ON c.customer_sk = s.customer_sk JOIN dw.customer r ON r.customer_sk = s."refer rer"
        JOIN dw.date d ON d.date_sk = s.day_sk;
CREATE VIEW dw.proof AS
    SELECT v.model, v.expected, v.found, v.missing, v.unexpected, v.different
    FROM walhouse.model m, walhouse.verify(m.relation) v WHERE m.relation = 'dw."Sal es"'::regclass;
SELECT * FROM dw.star ORDER BY order_id, line;
SELECT key, reason, row ->> 'note' AS note FROM walhouse.rejected ORDER BY key;
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE i.inhparent = 'dw."Sal es"'::regclass ORDER BY 1;
SELECT * FROM dw.proof;
SELECT role, event_time, row_key FROM walhouse.ahead ORDER BY row_key, role;

-- columns may be called as the statements' own aliases are: the image of a rejected row is the row
SELECT walhouse.create_fact('dw.odd', $$SELECT order_id, line, note AS t, at AS n FROM shop."Or""ders"$$, '{order_id,line}', 'n');
CALL walhouse.build('dw.odd');
SELECT key, reason, row FROM walhouse.rejected WHERE model = 'dw.odd'::regclass ORDER BY key;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.odd');
SELECT walhouse.drop_model('dw.odd');

-- rows move between partitions, are corrected and deleted; equal is not the same image; a key is changed and swapped
UPDATE shop."Or""ders" SET at = '2026-04-01' WHERE order_id = 1 AND line = 1;
UPDATE shop."Or""ders" SET line = 2.00, note = 'same key' WHERE order_id = 1 AND line = 2;
UPDATE shop."Or""ders" SET at = '2026-04-02' WHERE order_id = 3;
DELETE FROM shop."Or""ders" WHERE order_id = 4;
UPDATE shop."Or""ders" SET note = 'still too late' WHERE order_id = 5;
SELECT handfeed.commit('shop', '2026-02-11 12:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.star ORDER BY order_id, line;
SELECT key, reason, row ->> 'note' AS note FROM walhouse.rejected ORDER BY key;
SELECT * FROM dw.proof;
UPDATE shop."Or""ders" SET order_id = 12 - order_id;
UPDATE shop."Or""ders" SET order_id = order_id - 8 WHERE order_id = 10;
UPDATE shop."Or""ders" SET order_id = 10 WHERE order_id = 11 AND line = 1;
SELECT handfeed.commit('shop', '2026-02-11 12:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.star ORDER BY order_id, line;
SELECT * FROM dw.proof;

-- an inferred member becomes real with the same surrogate key; rows ahead of the clock follow a new version, others stay
SELECT customer_sk AS inferred FROM dw.customer WHERE customer_id = 7 \gset
INSERT INTO shop.customers VALUES (7, 'Gus', 'Ulm');
UPDATE shop.customers SET city = 'Wien' WHERE customer_id IN (1, 2);
SELECT handfeed.commit('shop', '2026-03-01 00:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT customer_sk = :inferred AS same, city, is_inferred FROM dw.customer WHERE customer_id = 7;
SELECT order_id, line, "When", customer_id, city FROM dw.star ORDER BY order_id, line;
SELECT role, event_time, row_key FROM walhouse.ahead ORDER BY row_key, role;
SELECT * FROM dw.proof;

-- the clock passes them: no later version is theirs
SELECT handfeed.commit('shop', '2026-06-01 00:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT count(*) FROM walhouse.ahead;
UPDATE shop.customers SET city = 'Oslo';
SELECT handfeed.commit('shop', '2026-06-01 00:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT order_id, line, "When", customer_id, city FROM dw.star ORDER BY order_id, line;
SELECT * FROM dw.proof;

-- TRUNCATE, and verify tells what somebody changed
TRUNCATE shop."Or""ders";
INSERT INTO shop."Or""ders" VALUES (1, 1, 1, NULL, '2026-01-01', 1, 'after'), (2, 1, 1, NULL, '2026-01-01', 1, 'after');
SELECT handfeed.commit('shop', '2026-06-02 00:00+00');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT order_id, line, "When", customer_id, city, note FROM dw.star ORDER BY order_id, line;
SELECT * FROM dw.proof;
UPDATE dw."Sal es" SET note = NULL WHERE order_id = 1;
SELECT * FROM dw.proof;
UPDATE dw."Sal es" SET note = 'after', "refer rer" = 1 WHERE order_id = 1;
SELECT * FROM dw.proof;
DELETE FROM dw."Sal es" WHERE order_id = 2;
INSERT INTO dw."Sal es" SELECT order_id, line, customer_id, referrer, "When" + '1 hour', amount, note, doubled, customer_sk, "refer rer",
    day_sk, load_id FROM dw."Sal es";
SELECT * FROM dw.proof;
CALL walhouse.build('dw."Sal es"');
SELECT * FROM dw.proof;

-- days (of the past, whose rules stay) where midnight comes twice or not at all, in a column without time zone, and years of dates
SELECT handfeed.make('havana', 'America/Havana');
CREATE TABLE havana.visits (id int PRIMARY KEY, at timestamptz, local timestamp, day date);
SELECT handfeed.add('havana', 'havana.visits');
INSERT INTO havana.visits SELECT g, t, t AT TIME ZONE 'America/Havana', (t AT TIME ZONE 'America/Havana')::date
    FROM unnest('{2024-11-03 03:59+00,2024-11-03 04:30+00,2024-11-03 05:30+00,2024-03-10 04:59+00,2024-03-10 05:00+00}'::timestamptz[])
    WITH ORDINALITY u (t, g);
SELECT handfeed.commit('havana', '2026-06-02 00:00+00');
SELECT handfeed.reach('havana');
SELECT walhouse.create_fact('dw.by_at', 'SELECT id, at FROM havana.visits', '{id}', 'at', partition_by => 'day');
SELECT walhouse.create_fact('dw.by_local', 'SELECT id, local FROM havana.visits', '{id}', 'local', partition_by => 'day');
SELECT walhouse.create_fact('dw.by_day', 'SELECT id, day FROM havana.visits', '{id}', 'day', partition_by => 'year');
CALL walhouse.build('dw.by_at');
CALL walhouse.build('dw.by_local');
CALL walhouse.build('dw.by_day');
SELECT tableoid::regclass, id, at FROM dw.by_at ORDER BY id;
SELECT tableoid::regclass, id, local FROM dw.by_local ORDER BY id;
SELECT tableoid::regclass, id, day FROM dw.by_day ORDER BY id;
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
    WHERE i.inhparent IN ('dw.by_at'::regclass, 'dw.by_local'::regclass, 'dw.by_day'::regclass) ORDER BY 1;

-- a partition that somebody made and named counts; one that is in the way stops the model alone
CREATE TABLE dw.mine PARTITION OF dw.by_day FOR VALUES FROM ('2027-01-01') TO ('2029-01-01');
INSERT INTO havana.visits VALUES (10, NULL, NULL, '2028-02-29');
SELECT handfeed.commit('havana', '2026-06-02 00:00+00');
SELECT handfeed.reach('havana');
CALL walhouse.load('havana');
SELECT tableoid::regclass, id, day FROM dw.by_day WHERE id = 10;
CREATE TABLE dw.in_the_way PARTITION OF dw.by_day FOR VALUES FROM ('2030-06-01') TO ('2030-07-01');
INSERT INTO havana.visits VALUES (11, '2030-01-01', NULL, '2030-01-01');
SELECT handfeed.commit('havana', '2026-06-02 00:00+00');
SELECT handfeed.reach('havana');
CALL walhouse.load('havana');
SELECT relation, state, error FROM walhouse.model WHERE relation::text LIKE 'dw.by_%' ORDER BY 1;
SELECT id FROM dw.by_at WHERE id = 11;

-- all goes with the models
SELECT walhouse.drop_model('dw.customer');
DROP VIEW dw.star, dw.proof;
SELECT walhouse.drop_model(m) FROM unnest(ARRAY['dw.by_at', 'dw.by_local', 'dw.by_day', 'dw."Sal es"', 'dw.customer', 'dw.date']) m;
SELECT (SELECT count(*) FROM walhouse.ahead) AS ahead, (SELECT count(*) FROM walhouse.rejected) AS rejected,
    (SELECT count(*) FROM walhouse.fact_dimension) AS dimensions;
\set ECHO none
SELECT handfeed.remove('shop');
SELECT handfeed.remove('havana');
DROP SCHEMA dw, handfeed CASCADE;
