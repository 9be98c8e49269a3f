-- The feed: mirrors, change log and positions.
SELECT plan(15 + (SELECT count(*)::integer FROM walhouse.feed_table WHERE mirrored));

SELECT bag_eq(format('SELECT t::text FROM brokerage.%I AS t', tablename), format('SELECT t::text FROM oltp.%I AS t', tablename),
    format('the mirror of %s has the source''s rows, in their very form', tablename))
FROM pg_tables JOIN walhouse.feed_table ON (source_schema, source_name) = (schemaname, tablename) WHERE mirrored ORDER BY tablename;
SELECT is((SELECT count(*) FROM brokerage.visit), (SELECT CASE WHEN mirrored THEN (SELECT count(*) FROM oltp.visit) ELSE 0 END FROM walhouse.feed_table WHERE source_name = 'visit'),
    'a mirror that is switched off is empty');

SELECT is((SELECT string_agg(state, ' ') FROM walhouse.feed_table WHERE state <> 'ready'), NULL, 'every table is ready');
SELECT is((SELECT state || coalesce(': ' || error, '') FROM walhouse.feed), 'ready', 'the feed has no error');
SELECT is_empty($$ SELECT xid FROM expected.txn WHERE xid IS NOT NULL EXCEPT SELECT xid FROM brokerage_log.txn $$,
    'each transaction that the source remembers is in the log');
SELECT is_empty($$ SELECT xid FROM brokerage_log.txn GROUP BY 1 HAVING count(*) > 1 $$, 'and is there once');
SELECT is_empty($$ SELECT x.xid, x.t, l.commit_time FROM expected.txn x JOIN brokerage_log.txn l USING (xid) WHERE x.t <> l.commit_time $$,
    'with the commit time that the source remembers');
SELECT is_empty($$ SELECT * FROM (SELECT x.xid, l.end_lsn, lag(l.end_lsn) OVER (ORDER BY x.o) AS before FROM expected.txn x JOIN brokerage_log.txn l USING (xid)) AS t
    WHERE before >= end_lsn $$, 'and in the order in which they were made');
SELECT is_empty($$ SELECT * FROM (SELECT end_lsn, clock, max(commit_time) OVER (ORDER BY end_lsn) AS latest FROM brokerage_log.txn) AS t WHERE clock <> latest $$,
    'the feed clock is the running maximum of commit times');
SELECT is_empty($$ SELECT max(end_lsn) FROM brokerage_log.txn HAVING max(end_lsn) > (SELECT max(position) FROM walhouse.feed_position) $$,
    'the position is not before the last transaction');
SELECT is_empty($$ SELECT end_lsn FROM brokerage_log.txn t JOIN walhouse.feed f ON t.end_lsn <= f.horizon $$,
    'no transaction of the first copy is in the log');
SELECT is_empty($$ SELECT lsn FROM brokerage_log.customer UNION SELECT lsn FROM brokerage_log.trade UNION SELECT lsn FROM brokerage_log.daily_market
    EXCEPT SELECT end_lsn FROM brokerage_log.txn $$, 'each change in the log belongs to a transaction');
SELECT is_empty($$ SELECT lsn, customer_id FROM brokerage_log.customer WHERE op = 'B' GROUP BY 1, 2 HAVING count(*) > 1 $$,
    'the row as it was is in the log once for each key and transaction');
SELECT bag_eq(
    $$ SELECT DISTINCT ON (c.n) x.xid, c.key FROM expected.change c JOIN expected.txn x USING (xid) WHERE rel = 'customer' AND live $$,
    $$ SELECT t.xid, jsonb_build_array(customer_id)::text FROM brokerage_log.customer c JOIN brokerage_log.txn t ON t.end_lsn = c.lsn WHERE op IN ('I', 'U') $$,
    'the log of customers has each image that the source''s triggers saw');

SELECT bag_eq(
    $$ SELECT DISTINCT ON (c.n) x.xid, c.key, c.image ->> 'page' AS page FROM expected.change c JOIN expected.txn x USING (xid) WHERE rel = 'visit' AND live $$,
    $$ SELECT t.xid, jsonb_build_array(visit_id)::text, page FROM brokerage_log.visit c JOIN brokerage_log.txn t ON t.end_lsn = c.lsn WHERE op IN ('I', 'U') $$,
    'the log of visits has each image that the triggers saw, whether the mirror was there or not');
SELECT bag_eq(
    $$ SELECT xid, key, was ->> 'page' AS page FROM (SELECT e.*, lag(image) OVER w AS was, lag(live) OVER w AS was_live FROM expected.event e WHERE rel = 'visit'
            WINDOW w AS (PARTITION BY key ORDER BY o)) AS e JOIN expected.txn USING (o) WHERE was_live $$,
    $$ SELECT t.xid, jsonb_build_array(visit_id)::text, page FROM brokerage_log.visit c JOIN brokerage_log.txn t ON t.end_lsn = c.lsn WHERE op = 'B' $$,
    'and the row as it was before each transaction');

SELECT * FROM finish();
