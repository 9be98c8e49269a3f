-- Column lineage of queries as analysts write them: orders and parts, shops and calendars, and what products that read SQL as text stumble over.
-- A line names an output column, or * for what bears on all of them, and its sources.
\set QUIET on
SET client_min_messages = warning;
CREATE SCHEMA shape;
SET search_path = shape;
CREATE TABLE region (r_key int, r_name text);
CREATE TABLE nation (n_key int, n_name text, n_region int);
CREATE TABLE supplier (s_key int, s_name text, s_nation int, s_balance numeric, s_comment text);
CREATE TABLE customer (c_key int, c_name text, c_nation int, c_segment text, c_balance numeric, c_phone text);
CREATE TABLE part (p_key int, p_name text, p_brand text, p_type text, p_size int, p_container text);
CREATE TABLE supply (ps_part int, ps_supplier int, ps_available int, ps_cost numeric);
CREATE TABLE orders (o_key int, o_customer int, o_status text, o_total numeric, o_date date, o_priority text, o_comment text);
CREATE TABLE line (l_order int, l_part int, l_supplier int, l_number int, l_quantity numeric, l_price numeric, l_discount numeric, l_tax numeric,
	l_flag text, l_status text, l_shipped date, l_committed date, l_received date, l_mode text);
CREATE TABLE day (d_key int, d_date date, d_year int, d_month int, d_weekday text);
CREATE TABLE shop (sh_key int, sh_name text, sh_state text);
CREATE TABLE article (a_key int, a_code text, a_category text, a_class text, a_price numeric);
CREATE TABLE buyer (b_key int, b_first text, b_last text, b_address int, b_country text);
CREATE TABLE store_sale (ss_day int, ss_article int, ss_buyer int, ss_shop int, ss_ticket int, ss_quantity int, ss_price numeric, ss_profit numeric);
CREATE TABLE store_return (sr_day int, sr_article int, sr_buyer int, sr_shop int, sr_ticket int, sr_amount numeric);
CREATE TABLE web_sale (ws_day int, ws_article int, ws_buyer int, ws_quantity int, ws_price numeric, ws_profit numeric);
CREATE FUNCTION show(query text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat(target || '.', coalesce("column", '*'), ': ',
		string_agg(concat(source_column, ' ', lower(subtype)), ', ' ORDER BY n))
	FROM (SELECT *, row_number() OVER () AS n FROM walhouse.column_lineage(query)) l
	GROUP BY target, "column", position ORDER BY min(n) $$;
\set QUIET off
\pset tuples_only on

-- Orders and parts.
SELECT show($$ SELECT l_flag, l_status, sum(l_quantity) AS quantity, sum(l_price * (1 - l_discount) * (1 + l_tax)) AS charge, avg(l_discount) AS discount, count(*) AS n
	FROM line WHERE l_shipped <= date '1998-12-01' - interval '90 days' GROUP BY l_flag, l_status ORDER BY l_flag, l_status $$);
SELECT show($$ SELECT s_balance, s_name, n_name, p_key FROM part, supplier, supply, nation, region
	WHERE p_key = ps_part AND s_key = ps_supplier AND p_size = 15 AND p_type LIKE '%BRASS' AND s_nation = n_key AND n_region = r_key AND r_name = 'EUROPE'
	AND ps_cost = (SELECT min(ps_cost) FROM supply, supplier, nation, region WHERE p_key = ps_part AND s_key = ps_supplier AND s_nation = n_key AND n_region = r_key AND r_name = 'EUROPE')
	ORDER BY s_balance DESC, n_name LIMIT 100 $$);
SELECT show($$ SELECT l_order, sum(l_price * (1 - l_discount)) AS revenue, o_date FROM customer, orders, line
	WHERE c_segment = 'BUILDING' AND c_key = o_customer AND l_order = o_key AND o_date < '1995-03-15' AND l_shipped > '1995-03-15' GROUP BY l_order, o_date ORDER BY revenue DESC LIMIT 10 $$);
SELECT show($$ SELECT o_priority, count(*) AS n FROM orders WHERE EXISTS (SELECT * FROM line WHERE l_order = o_key AND l_committed < l_received) GROUP BY o_priority $$);
SELECT show($$ SELECT supp, cust, year, sum(volume) AS revenue FROM (SELECT n1.n_name AS supp, n2.n_name AS cust, extract(year FROM l_shipped) AS year, l_price * (1 - l_discount) AS volume
	FROM supplier, line, orders, customer, nation n1, nation n2 WHERE s_key = l_supplier AND o_key = l_order AND c_key = o_customer AND s_nation = n1.n_key AND c_nation = n2.n_key) shipping
	GROUP BY supp, cust, year $$);
SELECT show($$ SELECT year, sum(CASE WHEN nation = 'BRAZIL' THEN volume ELSE 0 END) / sum(volume) AS share FROM (SELECT extract(year FROM o_date) AS year, l_price AS volume, n_name AS nation
	FROM line JOIN orders ON o_key = l_order JOIN supplier ON s_key = l_supplier JOIN nation ON s_nation = n_key) x GROUP BY year $$);
SELECT show($$ SELECT c_count, count(*) AS distribution FROM (SELECT c_key, count(o_key) FROM customer LEFT JOIN orders ON c_key = o_customer AND o_comment NOT LIKE '%special%' GROUP BY c_key) AS c (key, c_count)
	GROUP BY c_count ORDER BY distribution DESC, c_count DESC $$);
SELECT show($$ WITH revenue (no, total) AS (SELECT l_supplier, sum(l_price * (1 - l_discount)) FROM line WHERE l_shipped >= '1996-01-01' GROUP BY l_supplier)
	SELECT s_key, s_name, total FROM supplier, revenue WHERE s_key = no AND total = (SELECT max(total) FROM revenue) ORDER BY s_key $$);
SELECT show($$ SELECT p_brand, count(DISTINCT ps_supplier) AS suppliers FROM supply, part WHERE p_key = ps_part AND p_brand <> 'x' AND ps_supplier NOT IN (SELECT s_key FROM supplier WHERE s_comment LIKE '%Complaints%') GROUP BY p_brand $$);
SELECT show($$ SELECT sum(l_price) / 7.0 AS yearly FROM line, part WHERE p_key = l_part AND p_brand = 'b' AND l_quantity < (SELECT 0.2 * avg(l_quantity) FROM line WHERE l_part = p_key) $$);
SELECT show($$ SELECT c_name, sum(l_quantity) AS q FROM customer, orders, line WHERE o_key IN (SELECT l_order FROM line GROUP BY l_order HAVING sum(l_quantity) > 300) AND c_key = o_customer AND o_key = l_order GROUP BY c_name, c_key $$);
SELECT show($$ SELECT country, count(*) AS n, sum(c_balance) AS total FROM (SELECT substring(c_phone FROM 1 FOR 2) AS country, c_balance FROM customer
	WHERE c_balance > (SELECT avg(c_balance) FROM customer WHERE c_balance > 0) AND NOT EXISTS (SELECT * FROM orders WHERE o_customer = c_key)) s GROUP BY country $$);
SELECT show($$ SELECT l_mode, sum(CASE WHEN o_priority IN ('1', '2') THEN 1 ELSE 0 END) AS high FROM orders, line WHERE o_key = l_order AND l_mode IN ('MAIL', 'SHIP') GROUP BY l_mode $$);
SELECT show($$ SELECT s_name, count(*) AS waits FROM supplier, line l1, orders WHERE s_key = l1.l_supplier AND o_key = l1.l_order AND o_status = 'F' AND l1.l_received > l1.l_committed
	AND EXISTS (SELECT * FROM line l2 WHERE l2.l_order = l1.l_order AND l2.l_supplier <> l1.l_supplier) GROUP BY s_name $$);

-- Shops and calendars.
SELECT show($$ SELECT d_year, a_category, sum(ss_price) AS price, rank() OVER (PARTITION BY d_year ORDER BY sum(ss_price) DESC) AS place FROM store_sale JOIN day ON d_key = ss_day JOIN article ON a_key = ss_article GROUP BY d_year, a_category $$);
SELECT show($$ WITH total AS (SELECT sr_buyer AS buyer, sr_shop AS shop, sum(sr_amount) AS amount FROM store_return, day WHERE sr_day = d_key AND d_year = 2000 GROUP BY sr_buyer, sr_shop)
	SELECT b_last FROM total t1, shop, buyer WHERE t1.amount > (SELECT avg(amount) * 1.2 FROM total t2 WHERE t1.shop = t2.shop) AND sh_key = t1.shop AND sh_state = 'TN' AND t1.buyer = b_key ORDER BY b_last LIMIT 100 $$);
SELECT show($$ SELECT channel, year, sum(price) AS price FROM (SELECT 'store' AS channel, d_year AS year, ss_price AS price FROM store_sale, day WHERE ss_day = d_key AND ss_quantity IS NULL
	UNION ALL SELECT 'web', d_year, ws_price FROM web_sale, day WHERE ws_day = d_key) x GROUP BY ROLLUP (channel, year) $$);
SELECT show($$ SELECT a_code, a_class, sum(ws_price) AS revenue, sum(ws_price) * 100 / sum(sum(ws_price)) OVER (PARTITION BY a_class) AS ratio FROM web_sale, article WHERE ws_article = a_key GROUP BY a_code, a_class $$);
SELECT show($$ WITH web AS (SELECT ws_article AS article, d_date, sum(sum(ws_price)) OVER (PARTITION BY ws_article ORDER BY d_date ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS running FROM web_sale, day WHERE ws_day = d_key GROUP BY ws_article, d_date),
	store AS (SELECT ss_article AS article, d_date, sum(sum(ss_price)) OVER (PARTITION BY ss_article ORDER BY d_date) AS running FROM store_sale, day WHERE ss_day = d_key GROUP BY ss_article, d_date)
	SELECT coalesce(web.article, store.article) AS article, max(web.running) OVER (PARTITION BY coalesce(web.article, store.article)) AS web, store.running FROM web FULL JOIN store ON web.article = store.article AND web.d_date = store.d_date $$);
SELECT show($$ SELECT b_last, b_first FROM buyer WHERE b_key IN (SELECT ss_buyer FROM store_sale INTERSECT SELECT ws_buyer FROM web_sale) EXCEPT SELECT b_last, b_first FROM buyer JOIN store_return ON sr_buyer = b_key $$);
SELECT show($$ SELECT sh_name, sum(CASE WHEN d_weekday = 'Sunday' THEN ss_price END) AS sunday, sum(ss_price) FILTER (WHERE d_weekday = 'Monday') AS monday FROM day, store_sale, shop WHERE d_key = ss_day AND sh_key = ss_shop GROUP BY sh_name $$);
SELECT show($$ SELECT a_category, grouping(a_category) + grouping(a_class) AS level, sum(ss_profit) / sum(ss_price) AS margin,
	rank() OVER (PARTITION BY grouping(a_category) + grouping(a_class), CASE WHEN grouping(a_class) = 0 THEN a_category END ORDER BY sum(ss_profit) / sum(ss_price)) AS place
	FROM store_sale, article WHERE a_key = ss_article GROUP BY ROLLUP (a_category, a_class) $$);
SELECT show($$ SELECT x.a_code, y.n FROM (SELECT a_code, a_key FROM article WHERE a_price > (SELECT 1.2 * avg(a_price) FROM article j WHERE j.a_category = article.a_category)) x, LATERAL (SELECT count(*) AS n FROM store_return WHERE sr_article = x.a_key) y $$);
SELECT show($$ SELECT ss_buyer, lag(ss_price) OVER w AS before, ss_price - lag(ss_price, 1, 0) OVER w AS change FROM store_sale WINDOW w AS (PARTITION BY ss_buyer ORDER BY ss_day, ss_ticket) $$);

-- What readers of text get wrong: stars through CTEs, names that hide others, CTEs in subqueries, correlated subqueries, LATERAL VALUES, deep CTEs, no qualifier.
SELECT show($$ WITH a AS (SELECT * FROM region), b AS (SELECT *, upper(r_name) AS up FROM a) SELECT * FROM b JOIN nation ON n_region = r_key $$);
SELECT show($$ WITH region AS (SELECT n_key AS r_key, n_name AS r_name FROM nation) SELECT r_name FROM region $$);
SELECT show($$ SELECT q.* FROM (WITH x AS (SELECT * FROM nation) SELECT x.*, (SELECT r_name FROM region WHERE r_key = x.n_region) AS region FROM x) q $$);
SELECT show($$ SELECT c_name, v.kind, v.value FROM customer, LATERAL (VALUES ('balance', c_balance::text), ('phone', c_phone)) v(kind, value) $$);
SELECT show($$ WITH a AS (SELECT c_key AS k, row_number() OVER (PARTITION BY c_nation ORDER BY c_balance) AS rn FROM customer), b AS (SELECT k, rn FROM a WHERE rn = 1), c AS (SELECT max(rn) AS top, k FROM b GROUP BY k) SELECT top + 1 AS t FROM c $$);
SELECT show($$ SELECT c_key AS o_key, o_key AS c_key FROM customer, orders WHERE c_key = o_customer $$);
SELECT show($$ SELECT (SELECT count(*) FROM orders WHERE o_customer = c_key) AS n, c_name AS "select", 'from' AS "c_name" FROM customer $$);
SELECT show($$ CREATE TABLE shape.t AS WITH a AS (SELECT 1 AS one, c_name FROM customer) SELECT * FROM a UNION SELECT n_key, n_name FROM nation $$);
SELECT show($$ SELECT l.*, o.o_date FROM line l JOIN orders o ON l.l_order = o.o_key AND l.l_shipped >= o.o_date $$);
SELECT show($$ SELECT max(x.price) AS m FROM (SELECT l_price AS price FROM line UNION ALL SELECT ps_cost FROM supply) AS x(price) WHERE x.price > 3 $$);
\pset tuples_only off
\set QUIET on
RESET search_path;
DROP SCHEMA shape CASCADE;
\set QUIET off
