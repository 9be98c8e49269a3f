-- The demo's report, read from the warehouse as its owner. Variables: began (when the trade began), bold, dim, plain.
\set ON_ERROR_STOP on
\set QUIET on
\pset linestyle unicode
\pset border 1
\pset footer off
\pset null -
\pset numericlocale on
SET TimeZone = 'UTC';
SET search_path = pg_catalog;

\echo
\echo :bold'What came, and how fast':plain
SELECT t.source_name AS "source table", c.inserts, c.updates, c.deletes, c.before AS "images before"
FROM (VALUES ('customers'), ('products'), ('orders'), ('order_items'), ('returns')) t (source_name),
	LATERAL (SELECT query_to_xml(format($$ SELECT count(*) FILTER (WHERE op = 'I') AS i, count(*) FILTER (WHERE op = 'U') AS u,
			count(*) FILTER (WHERE op = 'D') AS d, count(*) FILTER (WHERE op = 'B') AS b FROM shop_log.%I $$, t.source_name),
			false, true, '') AS x) q,
	LATERAL (SELECT (xpath('/row/i/text()', q.x))[1]::text::bigint AS inserts, (xpath('/row/u/text()', q.x))[1]::text::bigint AS updates,
		(xpath('/row/d/text()', q.x))[1]::text::bigint AS deletes, (xpath('/row/b/text()', q.x))[1]::text::bigint AS before) c;

-- Each source transaction of the trade, with the end of the load that brought it into the star.
WITH moments AS (
	SELECT end_lsn AS lsn, 0 AS kind, commit_time AS at FROM shop_log.txn WHERE commit_time >= :'began'
	UNION ALL
	SELECT to_lsn, 1, started + duration_ms * interval '1 ms' FROM walhouse.load WHERE kind = 'load'
), landed AS (
	SELECT kind, at, min(at) FILTER (WHERE kind = 1) OVER (ORDER BY lsn DESC, kind DESC ROWS UNBOUNDED PRECEDING) AS seen
	FROM moments
), delay AS (
	SELECT extract(epoch FROM seen - at) * 1000 AS ms FROM landed WHERE kind = 0
)
SELECT count(*) AS "source transactions", (SELECT count(*) FROM moments WHERE kind = 1 AND at >= :'began') AS loads,
	percentile_cont(0.5) WITHIN GROUP (ORDER BY ms)::numeric(9,1) AS "median ms to the star",
	percentile_cont(0.99) WITHIN GROUP (ORDER BY ms)::numeric(9,1) AS "99 of 100 below", max(ms)::numeric(9,1) AS worst
FROM delay;

\echo
\echo :bold'The star':plain
SELECT m.relation::text AS model, m.kind, r.rows, sum(l.inserted) AS inserted, sum(l.updated) AS updated, sum(l.deleted) AS deleted
FROM walhouse.model m
	LEFT JOIN walhouse.load_model l ON l.model_id = m.model_id
		AND l.load_id IN (SELECT load_id FROM walhouse.load WHERE kind = 'load')
	CROSS JOIN LATERAL (SELECT (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', m.relation),
		false, true, '')))[1]::text::bigint AS rows) r
GROUP BY m.model_id, m.relation, m.kind, r.rows
ORDER BY m.model_id;

\echo
\echo :bold'A question to the star':plain': the last six months, each sale beside what customer and product were then'
SELECT d.year || ' ' || d.month_name AS month,
	count(DISTINCT f.order_id) AS orders,
	sum(f.net) AS revenue,
	sum(f.net) FILTER (WHERE c.segment = 'business') AS "from business",
	sum(f.net) FILTER (WHERE p.category = 'furniture') AS furniture,
	sum(f.net) FILTER (WHERE d.is_weekend) AS "at weekends",
	(100 * sum(f.amount - f.net) / sum(f.amount))::numeric(5,1) AS "returned %"
FROM dw.sales f
	JOIN dw.date d ON d.date_sk = f.order_date_sk
	JOIN dw.customer c USING (customer_sk)
	JOIN dw.product p USING (product_sk)
WHERE f.ordered_at >= date_trunc('month', :'began'::timestamptz - interval '5 months')
GROUP BY d.year, d.month, d.month_name
ORDER BY d.year, d.month;

-- The customer of whom there is most to tell.
SELECT c.customer_id AS customer
FROM dw.customer c JOIN dw.sales f USING (customer_sk)
WHERE c.customer_id IN (SELECT customer_id FROM dw.customer WHERE is_current)
GROUP BY 1
ORDER BY bool_or(f.ordered_at >= :'began') DESC, least(count(DISTINCT c.customer_sk), 4) DESC, count(*), 1
LIMIT 1 \gset

\echo
\echo :bold'One customer, each address with what was bought there':plain
SELECT c.name, c.street, c.city || ', ' || c.country AS city,
	CASE c.valid_from WHEN '-infinity' THEN 'the start' ELSE left(to_char(c.valid_from, 'HH24:MI:SS.MS'), 10) END AS "from",
	CASE c.valid_to WHEN 'infinity' THEN 'now' ELSE left(to_char(c.valid_to, 'HH24:MI:SS.MS'), 10) END AS "to",
	count(DISTINCT f.order_id) AS orders, coalesce(sum(f.net), 0) AS revenue
FROM dw.customer c LEFT JOIN dw.sales f USING (customer_sk)
WHERE c.customer_id = :customer
GROUP BY c.customer_sk
ORDER BY c.valid_from;

\pset numericlocale off
\echo
\echo :bold'The partitions':plain': dw.sales, one for each month that came'
SELECT p.year,
	sum(p.rows) FILTER (WHERE p.month = 1) AS jan,
	sum(p.rows) FILTER (WHERE p.month = 2) AS feb,
	sum(p.rows) FILTER (WHERE p.month = 3) AS mar,
	sum(p.rows) FILTER (WHERE p.month = 4) AS apr,
	sum(p.rows) FILTER (WHERE p.month = 5) AS may,
	sum(p.rows) FILTER (WHERE p.month = 6) AS jun,
	sum(p.rows) FILTER (WHERE p.month = 7) AS jul,
	sum(p.rows) FILTER (WHERE p.month = 8) AS aug,
	sum(p.rows) FILTER (WHERE p.month = 9) AS sep,
	sum(p.rows) FILTER (WHERE p.month = 10) AS oct,
	sum(p.rows) FILTER (WHERE p.month = 11) AS nov,
	sum(p.rows) FILTER (WHERE p.month = 12) AS "dec"
FROM (SELECT substring(c.relname FROM '_p([0-9]{4})_')::int AS year, substring(c.relname FROM '_p[0-9]{4}_([0-9]{2})$')::int AS month,
		(xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', c.oid::regclass),
			false, true, '')))[1]::text::bigint AS rows
	FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
	WHERE i.inhparent = 'dw.sales'::regclass) p
GROUP BY p.year
ORDER BY p.year;

-- A line that was bought and brought back while the demo looked on; in a short trade perhaps only bought, or before.
SELECT f.order_id, f.line_no, f.load_id
FROM dw.sales f
	JOIN walhouse.load l USING (load_id)
ORDER BY f.ordered_at >= :'began' AND l.kind = 'load' DESC, f.returned > 0 DESC, f.ordered_at DESC, f.order_id, f.line_no
LIMIT 1 \gset

\echo
\echo :bold'One row of dw.sales, back to the source':plain
SELECT f.order_id, f.line_no, f.quantity AS qty, f.amount, f.net, p.name AS product, c.name AS customer, c.city, f.load_id
FROM dw.sales f JOIN dw.customer c USING (customer_sk) JOIN dw.product p USING (product_sk)
WHERE f.order_id = :order_id AND f.line_no = :line_no;

\echo :dim'… was written by load':plain
SELECT load_id, from_lsn AS "after LSN", to_lsn AS "up to LSN", transactions, duration_ms::numeric(9,1) AS ms
FROM walhouse.load
WHERE load_id = :load_id;

\echo :dim'… and the change log knows each source transaction that touched it':plain
SELECT g.lsn, t.xid, to_char(t.commit_time, 'HH24:MI:SS.MS') AS committed,
	CASE g.op WHEN 'I' THEN 'inserted' WHEN 'U' THEN 'updated to' WHEN 'B' THEN 'was' WHEN 'D' THEN 'deleted' END AS what,
	g.quantity, g.returned, CASE WHEN g.lsn > l.from_lsn AND g.lsn <= l.to_lsn THEN 'in that load' ELSE 'before it' END AS "when"
FROM shop_log.order_items g
	JOIN shop_log.txn t ON t.end_lsn = g.lsn
	CROSS JOIN (SELECT from_lsn, to_lsn FROM walhouse.load WHERE load_id = :load_id) l
WHERE g.order_id = :order_id AND g.line_no = :line_no
ORDER BY g.lsn, g.seq, g.op;

\echo :dim'… and says itself where it came from: the changes in that load, and why it has its version of the customer':plain
SELECT e.item, e.name, e.lsn, e.xid, to_char(e.commit_time, 'HH24:MI:SS.MS') AS committed,
	coalesce(e.details ->> 'reason', e.details ->> 'after', e.details ->> 'value') AS what
FROM walhouse.explain_row('dw.sales', jsonb_build_object('order_id', :order_id, 'line_no', :line_no)) e
WHERE item IN ('change', 'dimension') OR e.name IN ('amount', 'net');

-- The customer who has moved most often after an order, and the last line that was ordered before the latest move.
SELECT c.customer_id
FROM dw.customer c JOIN dw.sales f USING (customer_sk)
WHERE c.customer_sk > 0 AND NOT c.is_inferred
GROUP BY 1
ORDER BY bool_or(NOT c.is_current) DESC, count(DISTINCT customer_sk) DESC, 1
LIMIT 1 \gset
SELECT f.order_id, f.line_no
FROM dw.sales f JOIN dw.customer c USING (customer_sk)
WHERE c.customer_id = :customer_id
ORDER BY c.is_current, f.ordered_at DESC, f.order_id DESC, f.line_no
LIMIT 1 \gset

\echo
\echo :bold'A customer who has moved':plain': what opened and what closed each version':plain
SELECT e.item, coalesce(e.details ->> 'city', e.details ->> 'after') AS "after", e.lsn, to_char(e.commit_time, 'HH24:MI:SS.MS') AS committed
FROM walhouse.explain_row('dw.customer', jsonb_build_object('customer_id', :customer_id)) e
WHERE item IN ('row', 'opened', 'closed')
LIMIT 12;

\echo :dim'… and why a line that was ordered in between has the version that it has':plain
SELECT e.details ->> 'event_time' AS ordered, e.details ->> 'valid_from' AS valid_from, e.details ->> 'valid_to' AS valid_to, e.details ->> 'reason' AS reason,
	e.lsn, to_char(e.commit_time, 'HH24:MI:SS.MS') AS began
FROM walhouse.explain_row('dw.sales', jsonb_build_object('order_id', :order_id, 'line_no', :line_no)) e
WHERE item = 'dimension' AND name = 'customer_sk';

\echo
\echo :bold'Verified':plain': each model against a full recomputation at its own position'
