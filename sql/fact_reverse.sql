-- Facts by reversal: what each change of a source row books, what it never books, and that the bookings explain every report.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
SELECT handfeed.make('shop', 'UTC') \g /dev/null
CREATE TABLE shop.customers (customer_id int PRIMARY KEY, city text);
CREATE TABLE shop.orders (order_id int PRIMARY KEY, customer_id bigint, ordered_at timestamptz, amount numeric(10,2), qty smallint,
    effort interval, note text);
-- what was there when the feed began
INSERT INTO shop.customers VALUES (1, 'Bonn');
INSERT INTO shop.orders VALUES (1, 1, '2026-01-05 10:00', 100, 1, '1 day', 'old'), (2, NULL, '2026-01-06 10:00', 50, 2, NULL, 'old');
SELECT handfeed.add('shop', 'shop.customers'), handfeed.add('shop', 'shop.orders') \g /dev/null
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31') \g /dev/null
SELECT walhouse.create_dimension('dw.customer', 'SELECT customer_id, city FROM shop.customers', '{customer_id}') \g /dev/null

-- what is refused
CREATE FUNCTION pg_temp.declare(measures text[], corrections text DEFAULT 'reverse', event_time name DEFAULT 'ordered_at',
    dimensions jsonb DEFAULT '{}', lags jsonb DEFAULT '{}', query text DEFAULT 'SELECT * FROM shop.orders') RETURNS regclass LANGUAGE sql
    AS $$ SELECT walhouse.create_fact('dw.f', query, '{order_id}', event_time, dimensions, corrections => corrections,
    measures => measures, lags => lags) $$;
SELECT pg_temp.declare('{amount}', 'undo');
SELECT pg_temp.declare(NULL);
SELECT pg_temp.declare('{}');
SELECT pg_temp.declare('{amount}', 'replace');
SELECT pg_temp.declare('{nothing}');
SELECT pg_temp.declare('{note}');
SELECT pg_temp.declare('{ordered_at}');
SELECT pg_temp.declare('{order_id}');
SELECT pg_temp.declare('{amount,amount}');
SELECT pg_temp.declare('{amount}', lags => '{"l": ["ordered_at", "ordered_at"]}');
SELECT pg_temp.declare('{amount}', query => 'SELECT *, note AS booked_at FROM shop.orders');
SELECT pg_temp.declare('{customer_id}', dimensions => '{"customer_sk": "dw.customer(customer_id)"}');
SELECT pg_temp.declare('{amount}', dimensions => '{"customer_sk": "dw.customer(booked_lsn)"}');
SELECT pg_temp.declare('{amount}', event_time => 'booked_lsn');

-- bookings; and the same rows as they are now
SELECT walhouse.create_fact('dw.booking', 'SELECT * FROM shop.orders', '{order_id}', 'ordered_at',
    '{"customer_sk": "dw.customer(customer_id)", "booked_sk": "dw.date(booked_at)"}', corrections => 'reverse', measures => '{amount,qty,effort}') \g /dev/null
SELECT walhouse.create_fact('dw.now', 'SELECT * FROM shop.orders', '{order_id}', 'ordered_at',
    '{"customer_sk": "dw.customer(customer_id)"}') \g /dev/null
\d dw.booking
CREATE VIEW dw.book AS SELECT b.order_id AS id, b.ordered_at, b.amount, b.qty, b.effort, b.note, c.city, booked_at, booked_lsn, is_reversal
    FROM dw.booking b JOIN dw.customer c USING (customer_sk) ORDER BY booked_lsn, order_id, is_reversal DESC;
-- Bookings cancel out to the rows that there are now, in every column.
CREATE VIEW dw.difference AS
    SELECT order_id, ordered_at, customer_id, note, customer_sk, sum(amount) AS amount, sum(qty) AS qty, sum(EXTRACT(epoch FROM effort)) AS effort FROM (
        SELECT order_id, ordered_at, customer_id, note, customer_sk, amount, qty, effort, CASE WHEN is_reversal THEN -1 ELSE 1 END AS n
        FROM dw.booking UNION ALL
        SELECT order_id, ordered_at, customer_id, note, customer_sk, -amount, -qty, -effort, -1 FROM dw.now) x
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0 OR sum(amount) <> 0 OR sum(qty) <> 0 OR sum(EXTRACT(epoch FROM effort)) <> 0;
CREATE VIEW dw.proof AS SELECT v.model, v.expected, v.found, v.missing, v.unexpected, v.different FROM unnest('{dw.booking,dw.now}'::regclass[]) m,
    walhouse.verify(m) v;
CREATE PROCEDURE dw.load(at timestamptz) LANGUAGE plpgsql AS $$ BEGIN PERFORM handfeed.commit('shop', at); PERFORM handfeed.reach('shop'); END $$;
CREATE TABLE dw.report (month text, revenue numeric);

-- The opening state is booked where the history begins, whatever happened by the time of the build.
INSERT INTO shop.orders VALUES (3, 1, '2026-01-20 10:00', 30.00, 3, '3 h', 'new');
CALL dw.load('2026-01-20 12:00');
UPDATE shop.orders SET note = 'paid' WHERE order_id = 3;
CALL dw.load('2026-01-21 12:00');
CALL walhouse.build('dw.customer');
CALL walhouse.build('dw.booking');
CALL walhouse.build('dw.now');
TABLE dw.book;
TABLE dw.difference;
TABLE dw.proof;
SELECT history_start FROM walhouse.model WHERE relation = 'dw.booking'::regclass;

-- January is reported. Then an order of it is corrected, another cancelled; what was said stays explainable.
INSERT INTO dw.report SELECT 'January', sum(amount) FROM dw.booking WHERE ordered_at < '2026-02-01';
UPDATE shop.orders SET amount = 90, qty = 2 WHERE order_id = 1;
DELETE FROM shop.orders WHERE order_id = 2;
CALL dw.load('2026-02-03 09:00');
CALL walhouse.load('shop');
SELECT id, ordered_at, amount, qty, effort, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-01';
SELECT r.revenue AS reported, sum(b.amount) FILTER (WHERE b.booked_at < '2026-02-01') AS booked_then, sum(b.amount) AS now
    FROM dw.report r, dw.booking b WHERE b.ordered_at < '2026-02-01' GROUP BY 1;
SELECT b.date AS booked_on, b.month, sum(amount) FROM dw.booking JOIN dw.date b ON b.date_sk = booked_sk GROUP BY 1, 2 ORDER BY 1;
TABLE dw.difference;

-- Several changes of a key in one transaction are one; in one load each is booked; what changes nothing is not.
UPDATE shop.orders SET amount = 1 WHERE order_id = 3;
UPDATE shop.orders SET amount = 2 WHERE order_id = 3;
SELECT handfeed.commit('shop', '2026-02-04 09:00') \g /dev/null
UPDATE shop.orders SET amount = 3 WHERE order_id = 3;
UPDATE shop.orders SET amount = 2 WHERE order_id = 3;
SELECT handfeed.commit('shop', '2026-02-04 10:00') \g /dev/null
UPDATE shop.orders SET amount = 4 WHERE order_id = 3;
SELECT handfeed.commit('shop', '2026-02-04 11:00') \g /dev/null
-- deleted and inserted again: the same in one transaction is nothing
DELETE FROM shop.orders WHERE order_id = 1;
INSERT INTO shop.orders VALUES (1, 1, '2026-01-05 10:00', 90, 2, '1 day', 'old');
SELECT handfeed.commit('shop', '2026-02-04 12:00') \g /dev/null
DELETE FROM shop.orders WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-04 13:00') \g /dev/null
INSERT INTO shop.orders VALUES (1, 1, '2026-01-05 10:00', 90, 2, '1 day', 'old');
CALL dw.load('2026-02-04 14:00');
CALL walhouse.load('shop');
SELECT id, amount, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-04';
TABLE dw.difference;
TABLE dw.proof;

-- A key changes; an event time moves to another partition; keys swap; a measure is NULL.
UPDATE shop.orders SET order_id = 30 WHERE order_id = 3;
SELECT handfeed.commit('shop', '2026-02-05 09:00') \g /dev/null
UPDATE shop.orders SET ordered_at = '2026-03-01 10:00', effort = NULL WHERE order_id = 30;
SELECT handfeed.commit('shop', '2026-02-05 10:00') \g /dev/null
UPDATE shop.orders SET order_id = CASE order_id WHEN 1 THEN -30 ELSE -1 END;
UPDATE shop.orders SET order_id = -order_id;
CALL dw.load('2026-02-05 11:00');
CALL walhouse.load('shop');
SELECT tableoid::regclass AS partition, order_id, ordered_at, amount, effort, booked_at, is_reversal FROM dw.booking WHERE booked_at > '2026-02-05'
    ORDER BY booked_lsn, order_id, is_reversal DESC;
TABLE dw.difference;
TABLE dw.proof;

-- An image that cannot be placed, or has no negative, or names no possible member, is neither booked nor reversed.
INSERT INTO shop.orders VALUES (4, 1, NULL, 4, 4, '4 h', 'no time');
UPDATE shop.orders SET qty = -32768 WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-06 09:00') \g /dev/null
UPDATE shop.orders SET customer_id = 3000000000 WHERE order_id = 30;
CALL dw.load('2026-02-06 10:00');
CALL walhouse.load('shop');
SELECT id, amount, qty, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-06';
SELECT key, reason, row ->> 'note' AS note, row FROM walhouse.rejected WHERE model = 'dw.booking'::regclass ORDER BY key;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.booking');
UPDATE shop.orders SET note = 'still no time' WHERE order_id = 4;
SELECT handfeed.commit('shop', '2026-02-07 09:00') \g /dev/null
UPDATE shop.orders SET ordered_at = '2026-02-01 10:00' WHERE order_id = 4;
UPDATE shop.orders SET qty = 5 WHERE order_id = 1;
UPDATE shop.orders SET customer_id = 1 WHERE order_id = 30;
CALL dw.load('2026-02-07 10:00');
CALL walhouse.load('shop');
SELECT id, amount, qty, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-07';
SELECT count(*) FROM walhouse.rejected;
TABLE dw.difference;
TABLE dw.proof;
-- negatives that there are: of the greatest values, of intervals of all kinds
UPDATE shop.orders SET qty = 32767, effort = '178956970 years 7 mons' WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-08 09:00') \g /dev/null
UPDATE shop.orders SET qty = -32767, effort = '-178956970 years -8 mons' WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-08 09:00') \g /dev/null
UPDATE shop.orders SET effort = '-2147483648 days' WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-08 09:00') \g /dev/null
UPDATE shop.orders SET effort = '-2562047788 hours -54.775808 seconds' WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-08 09:00') \g /dev/null
UPDATE shop.orders SET qty = 1, effort = '-2562047788 hours -54.775807 seconds' WHERE order_id = 1;
SELECT handfeed.commit('shop', '2026-02-08 09:00') \g /dev/null
UPDATE shop.orders SET effort = '1 mon -1 day' WHERE order_id = 1;
CALL dw.load('2026-02-08 10:00');
CALL walhouse.load('shop');
SELECT id, qty, effort, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-08';
TABLE dw.proof;

-- A booking has the version of its own event time; one ahead of the clock follows later versions, a reversal too.
INSERT INTO shop.orders VALUES (5, 1, '2026-02-09 09:00', 5, 1, NULL, 'ahead');
SELECT handfeed.commit('shop', '2026-02-08 12:00') \g /dev/null
UPDATE shop.orders SET amount = 6 WHERE order_id = 5;
CALL dw.load('2026-02-08 13:00');
CALL walhouse.load('shop');
SELECT row_key FROM walhouse.ahead a JOIN walhouse.model m USING (model_id) WHERE m.relation = 'dw.booking'::regclass ORDER BY row_key;
UPDATE shop.customers SET city = 'Ulm';
CALL dw.load('2026-02-08 14:00');
CALL walhouse.load('shop');
SELECT id, amount, city, booked_at, is_reversal FROM dw.book WHERE id IN (4, 5);
TABLE dw.difference;
TABLE dw.proof;
SELECT order_id, customer_city, is_reversal FROM dw.booking_as_was WHERE order_id = 4;
SELECT order_id, customer_city, is_reversal FROM dw.booking_as_is WHERE order_id = 4;

-- TRUNCATE books the end of every row.
SELECT max(load_id) AS before FROM walhouse.load \gset
TRUNCATE shop.orders;
INSERT INTO shop.orders VALUES (5, 1, '2026-02-09 09:00', 6, 1, NULL, 'ahead');
CALL dw.load('2026-02-10 09:00');
CALL walhouse.load('shop');
SELECT id, amount, city, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-10';
TABLE dw.difference;
TABLE dw.proof;
-- as it was known before: the bookings up to there
SELECT count(*), sum(amount), max(booked_at) FROM walhouse.as_known(NULL::dw.booking, load => :before);

-- A rebuild gives the same bookings, and so does a fact that is declared late.
CREATE TABLE dw.kept AS SELECT * FROM dw.booking;
CREATE VIEW dw.changed AS (SELECT to_jsonb(b) - 'load_id' AS r FROM dw.booking b EXCEPT ALL SELECT to_jsonb(k) - 'load_id' FROM dw.kept k)
    UNION ALL (SELECT to_jsonb(k) - 'load_id' FROM dw.kept k EXCEPT ALL SELECT to_jsonb(b) - 'load_id' FROM dw.booking b);
CALL walhouse.build('dw.booking');
TABLE dw.changed;
SELECT walhouse.create_fact('dw.late', 'SELECT * FROM shop.orders', '{order_id}', 'ordered_at',
    '{"customer_sk": "dw.customer(customer_id)", "booked_sk": "dw.date(booked_at)"}', corrections => 'reverse', measures => '{amount,qty,effort}') \g /dev/null
CALL walhouse.build('dw.late');
SELECT count(*) FROM (SELECT to_jsonb(b) - 'load_id' FROM dw.late b EXCEPT ALL SELECT to_jsonb(k) - 'load_id' FROM dw.kept k) x;

-- verify tells what somebody changed
SET walhouse.allow_writes = on;
UPDATE dw.booking SET amount = amount + 1 WHERE order_id = 4 AND NOT is_reversal;
DELETE FROM dw.booking WHERE order_id = 30 AND amount = 4;
INSERT INTO dw.booking SELECT order_id, customer_id, ordered_at, amount, qty, effort, note, booked_at, booked_lsn, true, customer_sk, booked_sk, load_id
    FROM dw.booking WHERE order_id = 4 AND NOT is_reversal ORDER BY booked_lsn LIMIT 1;
RESET walhouse.allow_writes;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.booking');
CALL walhouse.build('dw.booking');
SELECT walhouse.create_fact('dw.plain', 'SELECT order_id, ordered_at, amount FROM shop.orders', '{order_id}', 'ordered_at', corrections => 'reverse',
    measures => '{amount}') \g /dev/null
CALL walhouse.build('dw.plain');
SELECT max(load_id) AS before FROM walhouse.load \gset

-- The log's horizon passes the history's start: the bookings of before are the fact's own.
UPDATE walhouse.feed SET horizon = (SELECT max(end_lsn) FROM shop_log.txn) WHERE name = 'shop';
UPDATE shop.orders SET amount = 7 WHERE order_id = 5;
CALL dw.load('2026-02-11 09:00');
CALL walhouse.load('shop');
TABLE dw.proof;
SELECT sum(b.amount) - (SELECT sum(amount) FROM dw.kept) AS more FROM dw.booking b;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.plain');
SELECT count(*), sum(amount), (SELECT count(*) FROM dw.plain) AS now FROM walhouse.as_known(NULL::dw.plain, load => :before) k;
DROP VIEW dw.book, dw.difference, dw.changed;
SELECT walhouse.drop_model(m) FROM unnest('{dw.booking,dw.now,dw.late,dw.plain}'::regclass[]) m \g /dev/null

-- Over a join a change of the header corrects all its lines. Booked when it was booked: no row is ever refused for its time.
SELECT handfeed.make('mill', 'Europe/Berlin') \g /dev/null
CREATE TABLE mill.orders (order_id int PRIMARY KEY, customer_id int, rate numeric);
CREATE TABLE mill.lines (order_id int, line int, amount numeric, PRIMARY KEY (order_id, line));
CREATE TABLE mill.customers (customer_id int PRIMARY KEY, city text);
INSERT INTO mill.orders VALUES (1, 1, 2);
INSERT INTO mill.lines VALUES (1, 1, 10), (1, 2, 20);
SELECT handfeed.add('mill', m) FROM unnest('{mill.orders,mill.lines,mill.customers}'::regclass[]) m \g /dev/null
SELECT walhouse.create_dimension('dw.client', 'SELECT customer_id, city FROM mill.customers', '{customer_id}', on_delete => 'purge') \g /dev/null
SELECT walhouse.create_fact('dw.line', 'SELECT l.order_id, l.line, o.customer_id, l.amount / o.rate AS price FROM mill.lines l JOIN mill.orders o USING (order_id)',
    '{order_id,line}', 'booked_at', '{"client_sk": "dw.client(customer_id)", "booked_sk": "dw.date(booked_at)"}', 'day', corrections => 'reverse',
    measures => '{price}') \g /dev/null
CREATE VIEW dw.book AS SELECT order_id AS id, line, customer_id, price::numeric(10,2), booked_at, booked_lsn, is_reversal, client_sk > 0 AS is_known
    FROM dw.line ORDER BY booked_lsn, order_id, line, is_reversal DESC;
SELECT count(*) FROM walhouse.model WHERE relation = 'dw.line'::regclass AND options ->> 'event_time' = 'booked_at';
INSERT INTO mill.customers VALUES (1, 'Kiel'), (2, 'Rom');
SELECT handfeed.commit('mill', '2026-01-31 22:30') \g /dev/null
UPDATE mill.orders SET customer_id = 2;
UPDATE mill.lines SET amount = 21 WHERE line = 2;
INSERT INTO mill.lines VALUES (2, 1, 7);
SELECT handfeed.commit('mill', '2026-01-31 23:30') \g /dev/null
SELECT handfeed.reach('mill') \g /dev/null
CALL walhouse.build('dw.client');
CALL walhouse.build('dw.line');
SELECT tableoid::regclass, b.order_id, line, price::numeric(10,2), booked_at, is_reversal, booked_sk FROM dw.line b
    ORDER BY booked_lsn, order_id, line, is_reversal DESC;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.line');

-- An image that the query cannot compute counts as never committed once it is mended; while it is the last the fact waits.
UPDATE mill.orders SET rate = 0;
SELECT handfeed.commit('mill', '2026-02-02 10:00') \g /dev/null
SELECT handfeed.reach('mill') \g /dev/null
CALL walhouse.load('mill');
SELECT state, error FROM walhouse.model WHERE relation = 'dw.line'::regclass;
UPDATE mill.lines SET amount = 30 WHERE line = 2;
SELECT handfeed.commit('mill', '2026-02-02 11:00') \g /dev/null
UPDATE mill.orders SET rate = 4;
SELECT handfeed.commit('mill', '2026-02-02 12:00') \g /dev/null
INSERT INTO mill.orders VALUES (2, 1, 7);
SELECT handfeed.commit('mill', '2026-02-02 13:00') \g /dev/null
SELECT handfeed.reach('mill') \g /dev/null
CALL walhouse.load('mill');
SELECT id, line, price, booked_at, is_reversal FROM dw.book WHERE booked_at > '2026-02-01';
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.line');

-- A member is purged: its bookings keep their sums, and point to what is left of it.
UPDATE mill.customers SET city = 'Oslo' WHERE customer_id = 2;
SELECT handfeed.commit('mill', '2026-02-03 10:00') \g /dev/null
UPDATE mill.orders SET rate = 2 WHERE order_id = 1;
SELECT handfeed.commit('mill', '2026-02-03 11:00') \g /dev/null
SELECT handfeed.reach('mill') \g /dev/null
CALL walhouse.load('mill');
DELETE FROM mill.customers WHERE customer_id = 2;
SELECT handfeed.commit('mill', '2026-02-03 12:00') \g /dev/null
DELETE FROM mill.orders WHERE order_id = 1;
SELECT handfeed.commit('mill', '2026-02-03 13:00') \g /dev/null
SELECT handfeed.reach('mill') \g /dev/null
CALL walhouse.load('mill');
SELECT l.customer_id, c.city, c.is_inferred, count(*), sum(price)::numeric(10,2) FROM dw.line l JOIN dw.client c USING (client_sk) GROUP BY 1, 2, 3 ORDER BY 1;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.line');
-- a sample says the same of its keys
SELECT missing, unexpected, different FROM walhouse.verify('dw.line', 100);
SET walhouse.verify_log_rows = 0;
SELECT missing, unexpected, different FROM walhouse.verify('dw.line', 100);
RESET walhouse.verify_log_rows;
SET walhouse.allow_writes = on;
UPDATE dw.line SET price = price + 1 WHERE NOT is_reversal AND order_id = 2;
RESET walhouse.allow_writes;
SELECT missing, unexpected, different FROM walhouse.verify('dw.line', 100);
DROP VIEW dw.book;
SELECT walhouse.drop_model(m) FROM unnest('{dw.line,dw.client,dw.customer,dw.date}'::regclass[]) m \g /dev/null
\set ECHO none
SELECT handfeed.remove('shop');
SELECT handfeed.remove('mill');
DROP SCHEMA dw, handfeed CASCADE;
