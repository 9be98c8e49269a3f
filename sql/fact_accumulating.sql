-- Accumulating snapshots: when milestones are reached, lags between times, and what their declaration refuses.
\getenv top PG_ABS_SRCDIR
\set handfeed :top '/test/lib/handfeed.sql'
\set ECHO none
\i :handfeed
\set ECHO all
SET client_min_messages = warning;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
SELECT handfeed.make('shop', 'Europe/Berlin') \g /dev/null
CREATE TABLE shop.orders (order_id int PRIMARY KEY, ordered_at timestamptz, paid timestamp, due date, is_shipped boolean, note text);
SELECT handfeed.add('shop', 'shop.orders') \g /dev/null
CREATE SCHEMA dw;
CREATE FUNCTION pg_temp.declare(milestones jsonb DEFAULT '{}', lags jsonb DEFAULT '{}', event_time name DEFAULT 'ordered_at',
    dimensions jsonb DEFAULT '{}') RETURNS regclass LANGUAGE sql AS $$ SELECT walhouse.create_fact('dw.f', 'SELECT * FROM shop.orders',
    '{order_id}', event_time, dimensions, milestones => milestones, lags => lags) $$;

-- what is refused
SELECT pg_temp.declare(lags => '[]');
SELECT pg_temp.declare(lags => '{"l": "due"}');
SELECT pg_temp.declare(lags => '{"l": ["due"]}');
SELECT pg_temp.declare(lags => '{"l": ["due", 1]}');
SELECT pg_temp.declare(lags => '{"l": ["due", "nothing"]}');
SELECT pg_temp.declare(lags => '{"l": ["due", "note"]}');
SELECT pg_temp.declare(lags => '{"note": ["due", "paid"]}');
SELECT pg_temp.declare(lags => '{"load_id": ["due", "paid"]}');
SELECT pg_temp.declare(lags => '{"l": ["due", "paid"]}', event_time => 'l');
SELECT pg_temp.declare(lags => '{"l": ["due", "paid"]}', dimensions => '{"l": "dw.date(due)"}');
SELECT pg_temp.declare(NULL);

-- lags: local times are those of the feed's zone; no lag where a time is missing, infinite, or further than an interval can say
SELECT walhouse.create_fact('dw.lag', 'SELECT order_id, ordered_at, paid, due FROM shop.orders', '{order_id}', 'ordered_at',
    lags => '{"to_pay": ["ordered_at", "paid"], "left": ["paid", "due"], "to_due": ["ordered_at", "due"]}');
\d dw.lag
INSERT INTO shop.orders (order_id, ordered_at, paid, due) VALUES
    (1, '2026-01-01 00:00+00', '2026-01-01 02:00', '2026-01-03'), (2, '2026-03-28 12:00+00', '2026-03-29 13:00', NULL),
    (3, '2026-01-01 00:00+00', 'infinity', '-infinity'), (4, '2026-01-01 00:00+00', '294276-12-31', '5874897-12-31');
SELECT handfeed.commit('shop', '2026-04-01 00:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.lag');
SELECT order_id, ordered_at, paid, due, to_pay, "left", to_due FROM dw.lag ORDER BY order_id;
UPDATE shop.orders SET paid = '2026-01-01 00:30' WHERE order_id IN (1, 3);
INSERT INTO shop.orders (order_id, ordered_at, paid) VALUES (5, '2026-01-01', '2026-02-01');
SELECT handfeed.commit('shop', '2026-04-02 00:00+00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT order_id, to_pay, "left", to_due FROM dw.lag ORDER BY order_id;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.lag');
SET walhouse.allow_writes = on;
UPDATE dw.lag SET to_pay = '1 s' WHERE order_id = 5;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.lag');
RESET walhouse.allow_writes;
SELECT order_id, paid, to_pay FROM walhouse.as_known(NULL::dw.lag, at => clock_timestamp()) ORDER BY order_id;

SELECT walhouse.drop_model('dw.lag') \g /dev/null

-- what is refused of milestones
SELECT pg_temp.declare('[]');
SELECT pg_temp.declare('{"shipped_at": true}');
SELECT pg_temp.declare('{"shipped_at": "nothing"}');
SELECT pg_temp.declare('{"shipped_at": "note"}');
SELECT pg_temp.declare('{"note": "is_shipped"}');
SELECT pg_temp.declare('{"shipped_at": "is_shipped"}', '{"shipped_at": ["due", "paid"]}');
SELECT pg_temp.declare('{"shipped_at": "is_shipped"}', event_time => 'shipped_at');
SELECT walhouse.create_dimension('dw.order', 'SELECT order_id, note FROM shop.orders', '{order_id}') \g /dev/null
SELECT pg_temp.declare('{"order_id_at": "is_shipped"}', dimensions => '{"order_sk": "dw.order(order_id_at)"}');
SELECT walhouse.drop_model('dw.order') \g /dev/null

-- An order on its way
CREATE TABLE shop.parcels (parcel_id numeric PRIMARY KEY, ordered_at timestamptz, is_paid boolean, is_shipped boolean, weight numeric, status text);
-- what was there when the feed began has reached what it has reached, nobody knows when
INSERT INTO shop.parcels VALUES (1, '2026-05-01 08:00', true, false, 1, 'paid'), (2, '2026-05-01 08:00', NULL, true, 1, 'shipped');
SELECT handfeed.add('shop', 'shop.parcels') \g /dev/null
SELECT walhouse.create_date_dimension('dw.date', '2026-05-01', '2026-05-31') \g /dev/null
SELECT walhouse.create_fact('dw.parcel', $$SELECT parcel_id, ordered_at, is_paid, is_shipped, status = 'done' AS is_done, 1 / weight AS density FROM shop.parcels$$,
    '{parcel_id}', 'ordered_at', '{"shipped_date_sk": "dw.date(shipped_at)"}',
    milestones => '{"done_at": "is_done", "paid_at": "is_paid", "shipped_at": "is_shipped"}',
    lags => '{"to_pay": ["ordered_at", "paid_at"], "to_ship": ["paid_at", "shipped_at"]}');
\d dw.parcel
CREATE VIEW dw.way AS SELECT parcel_id AS id, ordered_at, is_paid AS p, paid_at, is_shipped AS s, shipped_at, shipped_date_sk AS date_sk, to_pay, to_ship, done_at
    FROM dw.parcel ORDER BY parcel_id;
CREATE VIEW dw.proof AS SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.parcel');
INSERT INTO shop.parcels VALUES (3, '2026-05-02 08:00', false, NULL, 1, 'new'), (4, '2026-05-02 09:00', true, NULL, 1, 'paid');
SELECT handfeed.commit('shop', '2026-05-02 10:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.parcel');
TABLE dw.way;

-- reached, taken back, reached again: the first time stays; of those before the feed the first time that is seen
UPDATE shop.parcels SET is_paid = true WHERE parcel_id IN (2, 3);
SELECT handfeed.commit('shop', '2026-05-03 10:00') \g /dev/null
UPDATE shop.parcels SET is_paid = NULL;
SELECT handfeed.commit('shop', '2026-05-03 11:00') \g /dev/null
UPDATE shop.parcels SET is_paid = true, is_shipped = parcel_id = 3, status = 'done' WHERE parcel_id <> 2;
SELECT handfeed.commit('shop', '2026-05-03 12:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.way;
TABLE dw.proof;
-- true for a moment within one transaction is never true
UPDATE shop.parcels SET is_shipped = true WHERE parcel_id = 4;
UPDATE shop.parcels SET is_shipped = false WHERE parcel_id = 4;
SELECT handfeed.commit('shop', '2026-05-03 13:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT id, s, shipped_at FROM dw.way WHERE id = 4;

-- a row that is inserted again begins a new life, in one load and over several; not within one transaction
DELETE FROM shop.parcels WHERE parcel_id IN (3, 4);
SELECT handfeed.commit('shop', '2026-05-04 10:00') \g /dev/null
INSERT INTO shop.parcels VALUES (3, '2026-05-04 08:00', true, false, 1, 'again');
SELECT handfeed.commit('shop', '2026-05-04 11:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
INSERT INTO shop.parcels VALUES (4.0, '2026-05-04 08:00', true, true, 1, 'again');
DELETE FROM shop.parcels WHERE parcel_id = 1;
INSERT INTO shop.parcels VALUES (1.0, '2026-05-01 08:00', true, true, 1, 'at once');
SELECT handfeed.commit('shop', '2026-05-04 12:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
TABLE dw.way;
TABLE dw.proof;

-- a row without a place reaches milestones, too; the partition changes, the key changes: a new row
UPDATE shop.parcels SET ordered_at = NULL, is_shipped = true WHERE parcel_id = 3;
SELECT handfeed.commit('shop', '2026-05-05 10:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
UPDATE shop.parcels SET ordered_at = 'infinity', status = 'done' WHERE parcel_id = 3;
SELECT handfeed.commit('shop', '2026-05-05 11:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT key, reason, row FROM walhouse.rejected ORDER BY key;
TABLE dw.proof;
UPDATE shop.parcels SET ordered_at = '2026-04-30 08:00' WHERE parcel_id = 3;
UPDATE shop.parcels SET parcel_id = 5 WHERE parcel_id = 4;
SELECT handfeed.commit('shop', '2026-05-05 12:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT tableoid::regclass, parcel_id, paid_at, shipped_at, done_at, to_ship FROM dw.parcel ORDER BY parcel_id;
TABLE dw.proof;

-- an image that the query cannot compute was never there, once it is mended
UPDATE shop.parcels SET weight = 0, status = 'done' WHERE parcel_id = 5;
SELECT handfeed.commit('shop', '2026-05-06 10:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT state, error FROM walhouse.model WHERE relation = 'dw.parcel'::regclass;
UPDATE shop.parcels SET weight = 2 WHERE parcel_id = 5;
SELECT handfeed.commit('shop', '2026-05-06 11:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT id, done_at FROM dw.way WHERE id = 5;
TABLE dw.proof;
SELECT missing, unexpected, different FROM walhouse.verify('dw.parcel', 100);
SET walhouse.verify_log_rows = 0;
SELECT missing, unexpected, different FROM walhouse.verify('dw.parcel', 100);
RESET walhouse.verify_log_rows;

-- built again, and known as it was
SELECT max(load_id) AS before FROM walhouse.load \gset
CREATE TABLE dw.kept AS SELECT * FROM dw.parcel;
CREATE VIEW dw.changed AS (SELECT to_jsonb(b) - 'load_id' AS r FROM dw.parcel b EXCEPT ALL SELECT to_jsonb(k) - 'load_id' FROM dw.kept k)
    UNION ALL (SELECT to_jsonb(k) - 'load_id' FROM dw.kept k EXCEPT ALL SELECT to_jsonb(b) - 'load_id' FROM dw.parcel b);
TRUNCATE shop.parcels;
INSERT INTO shop.parcels VALUES (1, '2026-05-01 08:00', true, true, 1, 'paid');
SELECT handfeed.commit('shop', '2026-05-07 10:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT id, paid_at, shipped_at FROM dw.way;
TABLE dw.proof;
SELECT count(*) AS missing FROM (SELECT to_jsonb(k) - 'load_id' FROM dw.kept k
    EXCEPT ALL SELECT to_jsonb(b) - 'load_id' FROM walhouse.as_known(NULL::dw.parcel, load => :before) b) x;
DROP TABLE dw.kept CASCADE;
CREATE TABLE dw.kept AS SELECT * FROM dw.parcel;
CREATE VIEW dw.changed AS (SELECT to_jsonb(b) - 'load_id' AS r FROM dw.parcel b EXCEPT ALL SELECT to_jsonb(k) - 'load_id' FROM dw.kept k)
    UNION ALL (SELECT to_jsonb(k) - 'load_id' FROM dw.kept k EXCEPT ALL SELECT to_jsonb(b) - 'load_id' FROM dw.parcel b);
CALL walhouse.build('dw.parcel');
TABLE dw.changed;
-- the horizon passes the history's start: milestones of before are the fact's own
UPDATE walhouse.feed SET horizon = (SELECT max(end_lsn) FROM shop_log.txn) WHERE name = 'shop';
UPDATE shop.parcels SET status = 'done';
SELECT handfeed.commit('shop', '2026-05-08 10:00') \g /dev/null
SELECT handfeed.reach('shop') \g /dev/null
CALL walhouse.load('shop');
SELECT id, paid_at, shipped_at, done_at FROM dw.way;
TABLE dw.proof;
SELECT missing, unexpected, different FROM walhouse.verify('dw.parcel', 100);
SELECT FROM walhouse.as_known(NULL::dw.parcel, load => :before);
SET walhouse.allow_writes = on;
UPDATE dw.parcel SET done_at = '2026-05-08 11:00';
RESET walhouse.allow_writes;
TABLE dw.proof;
SELECT missing, unexpected, different FROM walhouse.verify('dw.parcel', 100);
DROP VIEW dw.way, dw.changed, dw.proof;
SELECT walhouse.drop_model(m) FROM unnest('{dw.parcel,dw.date}'::regclass[]) m \g /dev/null
\set ECHO none
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
