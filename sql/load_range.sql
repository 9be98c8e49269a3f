-- CALL walhouse.rebuild(model, from, to): the rows of a range of time become what a build would make them, whatever was done to them, and
-- nothing else is touched; rollups follow.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT handfeed.make('shop', 'Europe/Berlin');
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
CREATE TABLE shop.lines (orders int, line int, day date, qty int, PRIMARY KEY (orders, line));
SELECT handfeed.add('shop', 'shop.customers');
SELECT handfeed.add('shop', 'shop.orders');
SELECT handfeed.add('shop', 'shop.lines');
CREATE TABLE shop.events (id int PRIMARY KEY, at timestamptz, until timestamptz);
SELECT handfeed.add('shop', 'shop.events');
INSERT INTO shop.events VALUES (1, '2026-01-05', 'infinity'), (2, '2026-01-06', '-infinity'), (3, '2026-01-07', '2026-02-01'), (4, '2026-01-08', NULL);
INSERT INTO shop.customers SELECT i, 'name ' || i, 'Bonn' FROM generate_series(1, 20) i;
SELECT handfeed.commit('shop', '2026-01-01');
INSERT INTO shop.orders SELECT i, CASE WHEN i % 11 > 0 THEN i % 25 END, '2026-01-02 03:04+00'::timestamptz + i * interval '7 hours', i FROM generate_series(1, 300) i;
INSERT INTO shop.orders VALUES (900, 1, NULL, 1), (901, 1, '2027-03-01', 1);
INSERT INTO shop.lines SELECT i, l, '2026-01-01'::date + i / 3, i * l FROM generate_series(1, 300) i, generate_series(1, 2) l;
SELECT handfeed.commit('shop', '2026-02-01');
UPDATE shop.customers SET city = 'Ulm' WHERE id % 2 = 0;
SELECT handfeed.commit('shop', '2026-03-01');
SELECT handfeed.reach('shop');
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, city FROM shop.customers', '{id}');
SELECT walhouse.create_fact('dw.sale', 'SELECT id, customer, at, amount FROM shop.orders', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}');
SELECT walhouse.create_fact('dw.line', 'SELECT l.orders, l.line, l.day, l.qty, o.customer FROM shop.lines l JOIN shop.orders o ON o.id = l.orders', '{orders,line}', 'day',
    '{"customer_sk": "dw.customer(customer)"}');
SELECT walhouse.create_fact('dw.booked', 'SELECT id, at, amount FROM shop.orders', '{id}', 'at', corrections => 'reverse', measures => '{amount}');
SELECT walhouse.create_fact('dw.event', 'SELECT id, at, until FROM shop.events', '{id}', 'at');
SELECT walhouse.create_rollup('dw.daily', 'dw.sale', '{customer_sk}', '{"amount": "sum(amount)", "least": "min(amount)", "people": "count(distinct customer)"}', 'day');
SELECT walhouse.create_rollup('dw.monthly', 'dw.line', '{}', '{"qty": "sum(qty)", "n": "count(*)"}', 'month');
SELECT walhouse.create_rollup('dw.total', 'dw.sale', '{}', '{"n": "count(*)"}', 'none');
SELECT walhouse.create_periodic_snapshot('dw.balance', 'dw.sale', '{customer_sk}', '{"n": "balance(*)"}', 'month');
CREATE PROCEDURE dw.build() LANGUAGE plpgsql AS $$
DECLARE
	m regclass;
BEGIN
	FOR m IN SELECT x.relation FROM walhouse.model x JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop' AND x.state IN ('new', 'rebuild')
			ORDER BY x.kind <> 'dimension', x.kind <> 'fact', x.model_id LOOP
		CALL walhouse.build(m);
	END LOOP;
	CALL walhouse.load('shop');
END $$;
CALL dw.build();
CREATE VIEW dw.wrong AS
    SELECT v.model, v.missing, v.unexpected, v.different FROM walhouse.model m JOIN walhouse.feed f USING (feed_id), walhouse.verify(m.relation) v
    WHERE f.name = 'shop' AND m.state = 'live' AND v.missing + v.unexpected + v.different > 0 ORDER BY v.model::text;
CREATE VIEW dw.done AS
    SELECT l.kind, m.relation, lm.inserted, lm.updated, lm.deleted, lm.from_lsn <= lm.to_lsn AS forward
    FROM walhouse.load l JOIN walhouse.load_model lm USING (load_id) JOIN walhouse.model m USING (model_id)
    WHERE l.load_id = (SELECT max(x.load_id) FROM walhouse.load x JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop') ORDER BY m.relation::text;
SELECT * FROM dw.wrong;
SELECT count(*), count(DISTINCT row_key) FROM walhouse.ahead a JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.sale'::regclass;

-- nothing is wrong: nothing is written
SELECT max(load_id) AS last FROM walhouse.load \gset
CALL walhouse.rebuild('dw.sale', '-infinity', 'infinity');
SELECT max(load_id) = :last AS unchanged FROM walhouse.load;

-- rows that went, came, differ, stand at another time, point to another version; in a range and outside
SET walhouse.allow_writes = on;
DELETE FROM dw.sale WHERE id IN (10, 100);
UPDATE dw.sale SET amount = 0 WHERE id IN (20, 200);
UPDATE dw.sale SET amount = 30.00 WHERE id = 30;
UPDATE dw.sale SET at = at + interval '40 days' WHERE id = 40;
UPDATE dw.sale SET at = at - interval '40 days' WHERE id = 240;
UPDATE dw.sale SET customer_sk = -1 WHERE id = 50;
INSERT INTO dw.sale SELECT (jsonb_populate_record(s, '{"id": 1000}')).* FROM dw.sale s WHERE id = 60;
INSERT INTO dw.sale SELECT (jsonb_populate_record(s, '{"id": 900}')).* FROM dw.sale s WHERE id = 60;
INSERT INTO dw.sale SELECT (jsonb_populate_record(s, jsonb_build_object('at', s.at + interval '1 day'))).* FROM dw.sale s WHERE id = 70;
RESET walhouse.allow_writes;
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.sale', '2026-01-01', '2026-02-01');
SELECT * FROM dw.done;
SELECT m.relation, m.state FROM walhouse.model m JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'shop' AND m.state <> 'live' ORDER BY 1;
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.sale', '2026-02-01', '2028-01-01');
SELECT * FROM dw.done;
CALL dw.build();
SELECT * FROM dw.wrong;
SELECT count(*), count(DISTINCT row_key) FROM walhouse.ahead a JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.sale'::regclass;

-- whole partitions; a fact over several tables, whose time is a date
SET walhouse.allow_writes = on;
SELECT format('DROP TABLE %s', inhrelid::regclass) FROM pg_inherits WHERE inhparent = 'dw.line'::regclass ORDER BY inhrelid::regclass::text DESC LIMIT 1 \gexec
DELETE FROM dw.line WHERE day = '2026-01-05';
UPDATE dw.line SET day = '2026-03-01' WHERE orders = 3;
RESET walhouse.allow_writes;
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.line', '2026-01-05', '2026-01-06');
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.line', '2026-01-04 23:00', '2026-01-05');
SELECT * FROM dw.done;
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.line', '2026-01-01', '2026-06-01');
SELECT * FROM dw.wrong;

-- a rollup by itself
SET walhouse.allow_writes = on;
DELETE FROM dw.daily WHERE period_start = '2026-01-10';
UPDATE dw.daily SET amount = 0 WHERE period_start = '2026-01-11';
DELETE FROM dw.daily_amount_values WHERE value = 30;
UPDATE dw.monthly SET qty = 0;
RESET walhouse.allow_writes;
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.daily', '2026-01-10 12:00', '2026-01-10 13:00');
CALL walhouse.rebuild('dw.monthly', '2026-01-31', '2026-02-01');
SELECT * FROM dw.done;
SELECT * FROM dw.wrong;
CALL walhouse.rebuild('dw.daily', '2026-01-11', '2026-01-12');
CALL walhouse.rebuild('dw.daily', '-infinity', 'infinity');
CALL walhouse.rebuild('dw.monthly', '-infinity', 'infinity');
SELECT * FROM dw.wrong;

-- a bucket of what never ends, when its rollup follows a range of the fact, and when it is made anew
SELECT walhouse.create_rollup('dw.ends', 'dw.event', '{}', '{"n": "count(*)"}', 'month', 'until');
SELECT walhouse.create_rollup('dw.days', 'dw.event', '{}', '{"n": "count(*)"}', 'day', 'until');
CALL dw.build();
SET walhouse.allow_writes = on;
UPDATE dw.event SET id = id + 1000 WHERE id < 3;
UPDATE dw.days SET n = 0 WHERE period_start IS NOT NULL;
RESET walhouse.allow_writes;
CALL walhouse.rebuild('dw.event', '2026-01-01', '2026-06-01');
SELECT period_start, n FROM dw.ends ORDER BY 1;
CALL walhouse.rebuild('dw.days', '-infinity', 'infinity');
SELECT period_start, n FROM dw.days ORDER BY 1;
SELECT * FROM dw.wrong;

-- loads go on from there
UPDATE shop.orders SET amount = amount + 1 WHERE id < 100;
DELETE FROM shop.orders WHERE id IN (20, 40);
UPDATE shop.customers SET city = 'Köln' WHERE id < 5;
SELECT handfeed.commit('shop', '2026-03-02');
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT * FROM dw.wrong;

-- what is refused
CALL walhouse.rebuild('dw.sale', '2026-02-01', '2026-02-01');
CALL walhouse.rebuild('dw.sale', NULL, '2026-02-01');
CALL walhouse.rebuild('dw.customer', '2026-01-01', '2026-02-01');
CALL walhouse.rebuild('dw.booked', '2026-01-01', '2026-02-01');
CALL walhouse.rebuild('dw.total', '2026-01-01', '2026-02-01');
CALL walhouse.rebuild('dw.balance', '2026-01-01', '2026-02-01');
SELECT walhouse.pause('dw.sale');
CALL walhouse.rebuild('dw.sale', '2026-01-01', '2026-02-01');
SELECT walhouse.resume('dw.sale');
BEGIN;
CALL walhouse.rebuild('dw.sale', '2026-01-01', '2026-02-01');
ROLLBACK;
CREATE ROLE regress_range_other;
GRANT USAGE ON SCHEMA dw TO regress_range_other;
SET ROLE regress_range_other;
CALL walhouse.rebuild('dw.sale', '2026-01-01', '2026-02-01');
RESET ROLE;

\set ECHO none
\o /dev/null
DROP OWNED BY regress_range_other;
DROP ROLE regress_range_other;
DROP VIEW dw.wrong, dw.done;
SELECT walhouse.drop_model(m) FROM unnest('{dw.ends,dw.days,dw.event,dw.daily,dw.monthly,dw.total,dw.balance,dw.booked,dw.line,dw.sale,dw.customer}'::text[]) m;
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
