-- Accumulating snapshots: lags between times, and what their declaration refuses.
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
SELECT handfeed.reach('shop');
CALL walhouse.build('dw.lag');
SELECT order_id, ordered_at, paid, due, to_pay, "left", to_due FROM dw.lag ORDER BY order_id;
UPDATE shop.orders SET paid = '2026-01-01 00:30' WHERE order_id IN (1, 3);
INSERT INTO shop.orders (order_id, ordered_at, paid) VALUES (5, '2026-01-01', '2026-02-01');
SELECT handfeed.commit('shop', '2026-04-02 00:00+00') \g /dev/null
SELECT handfeed.reach('shop');
CALL walhouse.load('shop');
SELECT order_id, to_pay, "left", to_due FROM dw.lag ORDER BY order_id;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.lag');
SET walhouse.allow_writes = on;
UPDATE dw.lag SET to_pay = '1 s' WHERE order_id = 5;
SELECT expected, found, missing, unexpected, different FROM walhouse.verify('dw.lag');
RESET walhouse.allow_writes;
SELECT order_id, paid, to_pay FROM walhouse.as_known(NULL::dw.lag, at => clock_timestamp()) ORDER BY order_id;

SELECT walhouse.drop_model('dw.lag');
SELECT handfeed.remove('shop');
DROP SCHEMA dw, handfeed CASCADE;
