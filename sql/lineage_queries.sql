-- From which columns the columns of a query come: every construct that a query can be made of. A line names an output column, or *
-- for what bears on all of them, and its sources; what is written stands under the name of its table.
\set QUIET on
SET client_min_messages = warning;
CREATE SCHEMA lin;
SET search_path = lin;
CREATE TYPE place AS (street text, zip text);
CREATE TABLE customer (id int PRIMARY KEY, name text, city text, segment varchar(10), credit numeric, home place);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, ordered date, status text, total numeric(12,2));
CREATE TABLE item (order_id int, line int, product_id int, qty int, price numeric, PRIMARY KEY (order_id, line));
CREATE TABLE product (id int PRIMARY KEY, name text, category text, price numeric, tags text[], data jsonb);
CREATE TABLE employee (id int PRIMARY KEY, boss int, name text, salary int);
CREATE TABLE dup (a int, b int, c int);
CREATE FUNCTION show(query text, expand boolean DEFAULT true) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat(target || '.', coalesce("column", '*'), ': ',
		string_agg(concat(source, '.' || source_column, ' ', lower(subtype)), ', ' ORDER BY n))
	FROM (SELECT *, row_number() OVER () AS n FROM walhouse.column_lineage(query, expand)) l
	GROUP BY target, "column", position ORDER BY min(n) $$;
\set QUIET off
\pset tuples_only on

-- Columns, expressions, casts.
SELECT show('SELECT id, name AS n FROM customer');
SELECT show('SELECT * FROM orders');
SELECT show('SELECT o.*, 1 AS one FROM orders o');
SELECT show('SELECT 1, now()');
SELECT show('VALUES (1, 2), (3, 4)');
SELECT show('SELECT upper(name) || city AS x, credit * 2 AS y FROM customer');
SELECT show('SELECT name::varchar AS same, segment::text AS also, total::int AS cast, name::varchar(3) AS cut, name COLLATE "C" AS sorted FROM customer, orders');
SELECT show('SELECT CASE WHEN city = ''Rome'' THEN name ELSE segment END AS x FROM customer');
SELECT show('SELECT CASE city WHEN ''Rome'' THEN name WHEN segment THEN ''b'' END AS x FROM customer');
SELECT show('SELECT coalesce(name, city, segment) AS x, nullif(name, city) AS y, greatest(id, 3) AS z FROM customer');
SELECT show('SELECT ' || repeat('coalesce(', 40) || 'nullif(' || 'name, city)' || repeat(', segment)', 40) || ' AS deep FROM customer');
SELECT show('SELECT (name, city) AS r, ARRAY[id, 2] AS a, name IS NULL AS n, id IN (1, 2) AS i, id = ANY (ARRAY[id]) AS s FROM customer');
SELECT show('SELECT (home).street AS street, home AS whole FROM customer');
SELECT show('SELECT tags[1] AS first, tags[id:2] AS part, data ->> ''x'' AS x, data[''y''] AS y FROM product');
SELECT show('SELECT ROW(id, name) = ROW(2, city) AS r, id IS DISTINCT FROM 3 AS d FROM customer');
SELECT show('SELECT xmlelement(name x, xmlattributes(id AS i), name) AS x FROM customer');
SELECT show('SELECT extract(year FROM ordered) AS y, ordered AT TIME ZONE ''UTC'' AS u, NOT (id > 1 AND total < 2) AS b FROM orders');
-- Whole rows and system columns.
SELECT show('SELECT d FROM dup d');
SELECT show('SELECT (d).b, row_to_json(d) AS j FROM dup d');
SELECT show('SELECT count(d) AS n, (ROW(a, b)) AS r FROM dup d GROUP BY d.a, d.b');
SELECT show('SELECT ctid, xmin, tableoid::regclass AS t FROM dup');
SELECT show('SELECT s FROM (SELECT a, b + 1 AS b1 FROM dup) s');
SELECT show('SELECT (s.d).c FROM (SELECT d FROM dup d) s');
SELECT show('SELECT j FROM (dup JOIN employee ON a = id) AS j');
-- Conditions, order, groups.
SELECT show('SELECT name FROM customer WHERE city = ''Rome'' AND (segment = ''x'' OR credit > 3)');
SELECT show('SELECT name FROM customer ORDER BY city, upper(segment)');
SELECT show('SELECT name FROM customer ORDER BY 1 LIMIT 3 OFFSET 1');
SELECT show('SELECT name FROM customer LIMIT (SELECT max(a) FROM dup WHERE b > 0)');
SELECT show('SELECT DISTINCT name, city FROM customer');
SELECT show('SELECT DISTINCT ON (city) name FROM customer ORDER BY city, credit');
SELECT show('SELECT city, count(*) AS n, sum(credit) AS c FROM customer GROUP BY city');
SELECT show('SELECT city, upper(segment) AS s FROM customer GROUP BY city, upper(segment) HAVING max(credit) > 1');
SELECT show('SELECT count(*) AS n FROM customer');
SELECT show('SELECT count(*) AS n FROM customer WHERE id > 0');
SELECT show('SELECT 1 AS one FROM customer');
SELECT show('SELECT city, segment, grouping(city, segment) AS g, sum(credit) AS c FROM customer GROUP BY ROLLUP (city, segment)');
SELECT show('SELECT city || ''x'' AS x, count(DISTINCT segment) AS n FROM customer GROUP BY GROUPING SETS ((city), ())');
SELECT show('SELECT string_agg(name, '','' ORDER BY credit) FILTER (WHERE id > 1) AS s, count(DISTINCT city) AS d FROM customer');
SELECT show('SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY credit) AS m, mode() WITHIN GROUP (ORDER BY city DESC) AS o FROM customer');
SELECT show('SELECT rank(3, 4) WITHIN GROUP (ORDER BY a, b) AS r, array_agg(a ORDER BY a) AS s FROM dup');
SELECT show('SELECT sum(credit) / count(id) + 1 AS x, max(length(name)) AS y FROM customer');
SELECT show('SELECT CASE WHEN a > 0 THEN sum(b) ELSE min(c) END AS x FROM dup GROUP BY a');
-- Windows.
SELECT show('SELECT id, row_number() OVER (PARTITION BY city ORDER BY credit) AS n FROM customer');
SELECT show('SELECT sum(credit) OVER w AS s, lag(name) OVER (w ORDER BY id) AS l FROM customer WINDOW w AS (PARTITION BY segment)');
SELECT show('SELECT count(*) FILTER (WHERE id > 3) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS n FROM customer');
SELECT show('SELECT city, sum(sum(credit)) OVER (ORDER BY city) AS running FROM customer GROUP BY city');
SELECT show('SELECT x FROM (SELECT name AS x, rank() OVER (ORDER BY credit DESC) AS r FROM customer) s WHERE r <= 3');
SELECT show('SELECT first_value(a) OVER (ORDER BY b) + ntile(4) OVER (PARTITION BY c) AS x FROM dup');
-- Joins.
SELECT show('SELECT c.name, o.total FROM customer c JOIN orders o ON o.customer_id = c.id AND o.status = ''paid''');
SELECT show('SELECT c.name, o.total FROM customer c LEFT JOIN orders o ON o.customer_id = c.id');
SELECT show('SELECT c.name, o.total FROM customer c, orders o WHERE o.customer_id = c.id AND o.total > 3');
SELECT show('SELECT c.name FROM customer c CROSS JOIN dup');
SELECT show('SELECT id, name FROM customer JOIN product USING (id, name)');
SELECT show('SELECT id FROM customer LEFT JOIN product USING (id)');
SELECT show('SELECT id FROM customer RIGHT JOIN product USING (id)');
SELECT show('SELECT id, city, category FROM customer FULL JOIN product USING (id)');
SELECT show('SELECT * FROM (SELECT id, city FROM customer) x NATURAL FULL JOIN (SELECT id, category FROM product) y');
SELECT show('SELECT j.id, j.city, j.category FROM (customer JOIN product USING (id)) AS j(id, a, city, d, e, f, g, category)');
SELECT show('SELECT u.id FROM customer FULL JOIN product USING (id) AS u');
SELECT show('SELECT id FROM customer FULL JOIN product USING (id) FULL JOIN employee USING (id)');
SELECT show('SELECT a.name AS name, b.name AS boss FROM employee a LEFT JOIN employee b ON a.boss = b.id');
SELECT show('SELECT c.name, p.name FROM customer c JOIN (orders o JOIN item i ON i.order_id = o.id) ON o.customer_id = c.id JOIN product p ON p.id = i.product_id');
SELECT show('SELECT a.a FROM dup a JOIN dup b ON a.a BETWEEN b.b AND b.c');
SELECT show('SELECT name FROM customer TABLESAMPLE bernoulli (10) REPEATABLE (3)');
-- Subqueries.
SELECT show('SELECT x + 1 AS y FROM (SELECT credit * 2 AS x FROM customer WHERE id > 0) s');
SELECT show('SELECT s.y FROM (SELECT x AS y FROM (SELECT name AS x FROM customer ORDER BY city LIMIT 2) t) s');
SELECT show('SELECT name, (SELECT max(total) FROM orders o WHERE o.customer_id = c.id AND o.status = ''x'') AS m FROM customer c');
SELECT show('SELECT name, (SELECT city FROM customer d WHERE d.id = c.id) AS same FROM customer c');
SELECT show('SELECT ARRAY(SELECT total FROM orders o WHERE o.customer_id = c.id ORDER BY ordered) AS a FROM customer c');
SELECT show('SELECT name FROM customer c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.total > 1)');
SELECT show('SELECT name FROM customer c WHERE NOT EXISTS (SELECT FROM orders)');
SELECT show('SELECT name FROM customer WHERE id IN (SELECT customer_id FROM orders WHERE status = ''paid'')');
SELECT show('SELECT name FROM customer WHERE id NOT IN (SELECT customer_id FROM orders)');
SELECT show('SELECT name FROM customer WHERE (id, city) IN (SELECT customer_id, status FROM orders)');
SELECT show('SELECT name FROM customer WHERE credit > ALL (SELECT total FROM orders)');
SELECT show('SELECT name FROM customer WHERE credit > (SELECT avg(total) FROM orders)');
SELECT show('SELECT id IN (SELECT a FROM dup WHERE b = 1) AS i, EXISTS (SELECT FROM dup WHERE c = id) AS e FROM customer');
SELECT show('SELECT CASE WHEN EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id) THEN name END AS x FROM customer c');
SELECT show('SELECT (SELECT (SELECT c.name || max(b) FROM dup WHERE a = o.id) FROM orders o WHERE o.customer_id = c.id) AS x FROM customer c');
SELECT show('SELECT (SELECT sum(c.credit) FROM dup LIMIT 1) AS outer_aggregate FROM customer c');
SELECT show('SELECT (a, b) = (SELECT b, c FROM dup LIMIT 1) AS r FROM dup');
SELECT show('SELECT city FROM customer GROUP BY city HAVING sum(credit) > (SELECT max(a) FROM dup)');
SELECT show('SELECT name FROM customer ORDER BY (SELECT count(*) FROM orders o WHERE o.customer_id = customer.id)');
-- LATERAL, functions, VALUES, table functions.
SELECT show('SELECT c.name, l.total FROM customer c, LATERAL (SELECT total FROM orders o WHERE o.customer_id = c.id ORDER BY ordered DESC LIMIT 1) l');
SELECT show('SELECT c.name, v.x FROM customer c CROSS JOIN LATERAL (VALUES (c.city), (c.segment)) v(x)');
SELECT show('SELECT v.b FROM (VALUES (1, 2), (3, (SELECT max(a) FROM dup))) v(a, b)');
SELECT show('SELECT p.id, t.tag, t.n FROM product p, unnest(p.tags) WITH ORDINALITY AS t(tag, n)');
SELECT show('SELECT g FROM dup, generate_series(a, b) g');
SELECT show('SELECT unnest(tags) AS tag, id FROM product');
SELECT show('SELECT r.x, r.y FROM product p, jsonb_to_record(p.data) AS r(x int, y text)');
SELECT show('SELECT f.* FROM dup, ROWS FROM (generate_series(1, a), unnest(ARRAY[b, c])) AS f(one, two)');
SELECT show('SELECT k.key, k.value FROM product p JOIN jsonb_each(p.data) k ON k.key = p.name');
SELECT show('SELECT x.* FROM product p, XMLTABLE(''/r'' PASSING (p.name::xml) COLUMNS n FOR ORDINALITY, a int PATH ''a'', b text PATH ''b'' DEFAULT p.category) x');
SELECT show('SELECT lower(x) AS l FROM upper(''abc'') x');
SELECT show('SELECT l.s FROM dup d LEFT JOIN LATERAL (SELECT sum(e.b) AS s FROM dup e WHERE e.a = d.a) l ON true');
-- CTEs.
SELECT show('WITH x AS (SELECT id, upper(name) AS n FROM customer WHERE city = ''Rome'') SELECT n FROM x WHERE id > 2');
SELECT show('WITH x AS (SELECT * FROM customer), y AS (SELECT * FROM x) SELECT * FROM y');
SELECT show('WITH x AS MATERIALIZED (SELECT a, b FROM dup) SELECT x1.a, x2.b FROM x x1 JOIN x x2 ON x1.a = x2.b');
SELECT show('SELECT (WITH x AS (SELECT max(total) AS m FROM orders WHERE customer_id = c.id) SELECT m FROM x) AS m FROM customer c');
SELECT show('SELECT s.n FROM (WITH x AS (SELECT name AS n FROM customer) SELECT n FROM x) s');
SELECT show('WITH x AS (SELECT a FROM dup) SELECT * FROM (WITH x AS (SELECT b FROM dup) SELECT * FROM x) s, x');
SELECT show('WITH RECURSIVE t AS (SELECT id, name, boss FROM employee WHERE boss IS NULL UNION ALL SELECT e.id, e.name, e.boss FROM employee e JOIN t ON e.boss = t.id) SELECT id, name FROM t');
SELECT show('WITH RECURSIVE t(a, b, c) AS (SELECT a, b, c FROM dup UNION SELECT b, c, a FROM t) SELECT a FROM t');
SELECT show('WITH RECURSIVE t AS (SELECT id, boss, name AS path, salary FROM employee UNION ALL SELECT e.id, e.boss, t.path || e.name, e.salary + t.salary FROM employee e, t WHERE e.boss = t.id) SELECT path, sum(salary) AS s FROM t GROUP BY path');
SELECT show('WITH RECURSIVE t AS (SELECT id, boss FROM employee UNION ALL SELECT e.id, e.boss FROM employee e JOIN t ON e.boss = t.id) SEARCH DEPTH FIRST BY id SET o SELECT id, o FROM t ORDER BY o');
SELECT show('WITH RECURSIVE t AS (SELECT id, boss FROM employee UNION ALL SELECT e.id, e.boss FROM employee e JOIN t ON e.boss = t.id) CYCLE id SET looped USING path SELECT boss, looped, path FROM t');
SELECT show('WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT max(a) FROM dup)) SELECT i FROM n');
-- Set operations.
SELECT show('SELECT name FROM customer UNION ALL SELECT category FROM product');
SELECT show('SELECT name, id FROM customer UNION SELECT category, price FROM product');
SELECT show('SELECT a FROM dup INTERSECT SELECT id FROM customer WHERE city = ''x''');
SELECT show('SELECT a FROM dup EXCEPT ALL SELECT id FROM customer WHERE city = ''x''');
SELECT show('SELECT a AS x FROM dup UNION ALL (SELECT b FROM dup EXCEPT SELECT c FROM dup) ORDER BY x LIMIT 3');
SELECT show('SELECT x FROM (SELECT a AS x, b FROM dup UNION ALL SELECT id, salary FROM employee) u WHERE b > 1');
SELECT show('SELECT ''web'' AS kind, id FROM customer UNION ALL SELECT ''shop'', a FROM dup');
SELECT show('SELECT count(*) AS n FROM (SELECT a FROM dup UNION SELECT b FROM dup) u');

-- Views within views, materialized ones, row security, partitions, inheritance.
\set QUIET on
CREATE VIEW rich AS SELECT id, name, credit * 2 AS doubled FROM customer WHERE credit > 100;
CREATE VIEW richer AS SELECT r.id, r.name || '!' AS name, o.total FROM rich r JOIN orders o ON o.customer_id = r.id WHERE r.doubled > 500;
CREATE VIEW renamed (x, y) AS SELECT id, name FROM customer;
CREATE MATERIALIZED VIEW kept AS SELECT city, sum(credit) AS credit FROM customer GROUP BY city;
CREATE TABLE sale (id int, day date, amount numeric) PARTITION BY RANGE (day);
CREATE TABLE sale_2026 (amount numeric, id int, day date NOT NULL);
ALTER TABLE sale ATTACH PARTITION sale_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE secret (id int, owner text, body text);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON secret USING (owner = current_user);
CREATE POLICY shared ON secret FOR SELECT USING (id IN (SELECT a FROM dup WHERE b = secret.id));
CREATE POLICY writing ON secret FOR UPDATE USING (body IS NOT NULL);
CREATE TABLE generated (a int, b int, c int GENERATED ALWAYS AS (a + b) STORED, d text GENERATED ALWAYS AS (upper(e)) STORED, e text);
\set QUIET off
SELECT show('SELECT * FROM rich');
SELECT show('SELECT * FROM richer');
SELECT show('SELECT * FROM richer', false);
SELECT show('SELECT name FROM richer WHERE total > 3 ORDER BY id');
SELECT show('SELECT (r).name, r FROM renamed r(x, name)');
SELECT show('SELECT city, credit FROM kept');
SELECT show('TABLE sale');
SELECT show('SELECT id, amount FROM sale_2026');
SELECT show('SELECT body FROM secret');
SELECT show('SELECT count(*) AS n FROM rich');
SELECT show('SELECT (SELECT count(*) FROM orders) AS n, (SELECT count(*) FROM dup WHERE a > 0) AS m FROM customer');
SELECT show('SELECT c, d FROM generated');
SELECT "column", source, source_column, kind, subtype FROM walhouse.column_lineage('richer'::regclass);
SELECT "column", source, source_column, kind, subtype FROM walhouse.column_lineage('richer', false);
SELECT target, position, "column", source, source_column, subtype FROM walhouse.column_lineage('kept'::regclass);
SELECT target, position, "column", source, source_column, subtype FROM walhouse.column_lineage('generated'::regclass);
SELECT count(*) FROM walhouse.column_lineage('customer'::regclass);

-- Functions whose bodies are trees, and others.
\set QUIET on
CREATE FUNCTION twice(x numeric) RETURNS numeric LANGUAGE sql IMMUTABLE RETURN x * 2;
CREATE FUNCTION same(x int) RETURNS int LANGUAGE sql RETURN x;
CREATE FUNCTION picky(a int, b int) RETURNS int LANGUAGE sql STRICT RETURN a;
CREATE FUNCTION city_of(customer int) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT c.city FROM customer c WHERE c.id = customer; END;
CREATE FUNCTION orders_of(c int, floor numeric DEFAULT 0) RETURNS TABLE (id int, total numeric) LANGUAGE sql
	BEGIN ATOMIC SELECT o.id, o.total + 1 FROM orders o WHERE o.customer_id = c AND o.total > floor; END;
CREATE FUNCTION pair(a int, b int) RETURNS TABLE (x int, y int) LANGUAGE sql RETURN (a, b);
CREATE FUNCTION log_it(what int) RETURNS int LANGUAGE sql
	BEGIN ATOMIC INSERT INTO dup (a, b) VALUES (what, 1); SELECT what + 1; END;
CREATE FUNCTION around(n int) RETURNS int LANGUAGE sql RETURN n;
CREATE OR REPLACE FUNCTION around(n int) RETURNS int LANGUAGE sql RETURN CASE WHEN n > 0 THEN around(n - 1) END;
CREATE FUNCTION dark(x int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT max(b) FROM lin.dup WHERE a = x); END';
CREATE FUNCTION near(a int, b int) RETURNS boolean LANGUAGE sql RETURN a - b < (SELECT max(c) FROM dup);
CREATE OPERATOR ~=~ (FUNCTION = near, LEFTARG = int, RIGHTARG = int);
\set QUIET off
SELECT show('SELECT twice(credit) AS t, same(id) AS i, picky(id, length(name)) AS p FROM customer');
SELECT show('SELECT city_of(customer_id) AS city FROM orders');
SELECT show('SELECT c.name, o.id, o.total FROM customer c, orders_of(c.id) o');
SELECT show('SELECT o.total FROM customer c, orders_of(floor => c.credit, c => c.id) o');
SELECT show('SELECT (orders_of(a)).total FROM dup');
SELECT show('SELECT f.x, f.y FROM dup, pair(b, c) f');
SELECT show('SELECT log_it(salary) AS l FROM employee');
SELECT show('SELECT around(a) AS r, dark(b) AS d FROM dup');
SELECT show('SELECT id FROM customer WHERE id ~=~ 3');
SELECT show('SELECT twice(twice(credit)) AS t FROM customer WHERE twice(id) > 3');

-- What is written.
SELECT show('INSERT INTO dup SELECT id, customer_id, total FROM orders WHERE status = ''paid''');
SELECT show('INSERT INTO dup (c, a) VALUES (1, (SELECT max(id) FROM customer)) RETURNING a + 1 AS x, b');
SELECT show('INSERT INTO dup (b) SELECT id FROM customer RETURNING b, dup');
SELECT show('INSERT INTO employee VALUES (1, 2) ON CONFLICT (id) DO NOTHING');
SELECT show('INSERT INTO employee (id, salary) SELECT a, b FROM dup ON CONFLICT (id) DO UPDATE SET salary = employee.salary + excluded.salary, name = ''x'' WHERE employee.boss > 1 RETURNING salary');
SELECT show('INSERT INTO employee (id, salary) SELECT a, b FROM dup ON CONFLICT ON CONSTRAINT employee_pkey DO UPDATE SET (boss, name) = (SELECT id, city FROM customer WHERE customer.id = excluded.salary)');
SELECT show('INSERT INTO employee (id, name) SELECT a, ''x'' FROM dup ON CONFLICT DO NOTHING');
SELECT show('INSERT INTO generated (a, e) SELECT id, name FROM customer RETURNING c, d');
SELECT show('UPDATE generated SET a = b WHERE e = ''x''');
SELECT show('UPDATE employee SET salary = salary * 2, name = upper(name) WHERE boss = 1 RETURNING id, salary');
SELECT show('UPDATE employee e SET salary = d.b FROM dup d WHERE d.a = e.id');
SELECT show('UPDATE employee SET (name, salary) = (SELECT c.name, c.credit FROM customer c WHERE c.id = employee.id)');
SELECT show('UPDATE product SET tags[2] = category, data[''x''] = to_jsonb(name)');
SELECT show('UPDATE customer SET home.zip = city');
SELECT show('UPDATE secret SET body = owner');
SELECT show('DELETE FROM employee e USING dup d WHERE d.a = e.id AND d.b > 0 RETURNING e.name, d.c');
SELECT show('DELETE FROM secret');
SELECT show('MERGE INTO employee e USING (SELECT id, name, credit FROM customer WHERE city = ''x'') c ON c.id = e.id WHEN MATCHED AND e.boss > 1 THEN UPDATE SET salary = e.salary + c.credit WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, name) VALUES (c.id, c.name)');
SELECT show('WITH gone AS (DELETE FROM dup WHERE a = 1 RETURNING *) INSERT INTO employee (id, salary) SELECT a, b + c FROM gone');
SELECT show('WITH new AS (INSERT INTO dup (a) SELECT id FROM customer RETURNING a AS x) SELECT x, name FROM new JOIN employee ON x = boss');
SELECT show('WITH unread AS (UPDATE dup SET a = b RETURNING a) SELECT 1 AS one');
SELECT show('INSERT INTO rich (id, name) SELECT a, b::text FROM dup');
SELECT show('INSERT INTO dup DEFAULT VALUES');

-- Statements that hold a query.
SELECT show('CREATE TABLE lin.new AS SELECT id FROM customer');
SELECT show('SELECT name INTO lin.new FROM customer');
SELECT show('CREATE VIEW lin.new AS SELECT city FROM customer');
SELECT show('EXPLAIN (ANALYZE) SELECT city FROM customer');
SELECT show('COPY (SELECT segment FROM customer) TO STDOUT');
SELECT show('DECLARE c CURSOR FOR SELECT name FROM customer WHERE id = $1');
SELECT show('PREPARE p AS UPDATE dup SET a = $1 WHERE b = $2');
\pset tuples_only off
-- Refused, with the place in the text.
SELECT show('SELECT 1; SELECT 2');
SELECT show('');
SELECT show('DROP TABLE customer');
SELECT show('SELECT nmae FROM customer');
SELECT show('SELECT name FRMO customer');
SELECT * FROM walhouse.column_lineage(0::regclass);
SELECT * FROM walhouse.column_lineage('lin."Richer"');
-- Who asks needs what reading a definition needs: nothing for a view that is known by its OID, as for pg_get_viewdef; USAGE on the schema to name it.
\set QUIET on
CREATE ROLE lin_guest;
SELECT 'richer'::regclass::oid AS richer \gset
SET ROLE lin_guest;
\set QUIET off
SELECT count(*) FROM walhouse.column_lineage(:richer::regclass);
SELECT length(pg_get_viewdef(:richer)) > 0 AS definition;
SELECT count(*) FROM walhouse.column_lineage('lin.richer');
SELECT count(*) FROM walhouse.column_lineage('SELECT * FROM lin.customer');
\set QUIET on
RESET ROLE;
DROP ROLE lin_guest;
\set QUIET off
-- Nothing was executed.
SELECT count(*) FROM pg_class WHERE relnamespace = 'lin'::regnamespace AND relname = 'new';
SELECT count(*) FROM dup;
\set QUIET on
RESET search_path;
DROP SCHEMA lin CASCADE;
\set QUIET off
