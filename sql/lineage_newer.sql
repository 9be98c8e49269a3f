-- Column lineage of what newer PostgreSQL versions can say; older ones pass over it. check() raises where lineage is not as expected.
\set QUIET on
SET client_min_messages = warning;
SELECT current_setting('server_version_num')::int >= 160000 AS is16, current_setting('server_version_num')::int >= 170000 AS is17,
	current_setting('server_version_num')::int >= 180000 AS is18 \gset
CREATE SCHEMA newer;
SET search_path = newer;
CREATE TABLE t (id int PRIMARY KEY, a int, b int, j jsonb);
CREATE TABLE n (id int, x int, s text);
CREATE PROCEDURE "check"(query text, expected text) LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	SELECT string_agg(l, '; ' ORDER BY n) INTO found FROM (
		SELECT min(n) AS n, concat(target || '.', coalesce("column", '*'), ': ', string_agg(concat(source, '.' || source_column, ' ', lower(subtype)), ', ' ORDER BY n)) AS l
		FROM (SELECT *, row_number() OVER () AS n FROM walhouse.column_lineage(query)) x GROUP BY target, "column", position) y;
	IF found IS DISTINCT FROM expected THEN
		RAISE EXCEPTION 'lineage of % is %', query, found;
	END IF;
END $$;
\if :is16
CALL "check"('SELECT any_value(a) AS a, json_arrayagg(b ORDER BY id) FILTER (WHERE j IS JSON) AS l, json_objectagg(id: a) AS o FROM t',
	'a: t.a aggregation; l: t.id sort, t.b aggregation, t.j filter; o: t.id aggregation, t.a aggregation');
CALL "check"('SELECT u.id FROM t LEFT JOIN n USING (id) LEFT JOIN (SELECT id, x FROM n) u ON u.id = n.x', 'id: n.id identity; *: n.id join, n.x join, t.id join');
\endif
\if :is17
CALL "check"('MERGE INTO t USING n ON n.id = t.id WHEN MATCHED THEN UPDATE SET a = n.x WHEN NOT MATCHED THEN INSERT (id, b) VALUES (n.id, n.x) WHEN NOT MATCHED BY SOURCE AND t.b > 3 THEN DELETE RETURNING merge_action(), t.id, t.a, n.s',
	'id: n.id identity, t.id identity; a: n.x identity, t.a identity; s: n.s identity; *: n.id join, t.id join, t.b conditional; t.id: n.id identity; t.a: n.x identity; t.b: n.x identity; t.*: n.id join, t.id join, t.b conditional');
CALL "check"('SELECT k.id, x.* FROM n k, t, JSON_TABLE(t.j, ''$.y[*] ? (@.p > $q)'' PASSING k.x AS q COLUMNS (nr FOR ORDINALITY, p int PATH ''$.p'', e text EXISTS PATH ''$.e'')) x',
	'id: n.id identity; p: n.x transformation, t.j transformation; e: n.x transformation, t.j transformation; *: n.x join, t.j join');
CALL "check"('SELECT JSON_VALUE(j, ''$.a'' PASSING b + 1 AS x) AS v, JSON_QUERY(j, ''$.b'' PASSING a AS p) AS q FROM t', 'v: t.b transformation, t.j transformation; q: t.a transformation, t.j transformation');
CALL "check"('WITH m AS (MERGE INTO t USING n ON n.id = t.id WHEN MATCHED THEN UPDATE SET b = n.x RETURNING t.b) SELECT b FROM m', 'b: n.x identity, t.b identity; *: n.id join, t.id join; t.b: n.x identity; t.*: n.id join, t.id join');
\endif
\if :is18
CALL "check"('UPDATE t SET a = n.x FROM n WHERE n.id = t.id RETURNING old.a AS before, new.a AS after, t.b', 'before: t.a identity; after: n.x identity; b: t.b identity; *: n.id join, t.id join; t.a: n.x identity; t.*: n.id join, t.id join');
CALL "check"('INSERT INTO t (id, a) SELECT id, x FROM n ON CONFLICT (id) DO UPDATE SET a = excluded.a + 1 RETURNING old.a AS before, new.id', 'before: t.a identity; id: n.id identity, t.id identity; *: n.id join, t.id join; t.id: n.id identity; t.a: n.x identity, n.x transformation; t.*: n.id join, t.id join');
CREATE TABLE v (a int, b int GENERATED ALWAYS AS (a + 1) VIRTUAL);
CALL "check"('SELECT b FROM v', 'b: v.b identity');
CALL "check"('UPDATE v SET a = a * 2', 'v.a: v.a transformation; v.b: v.a transformation');
DO $$ BEGIN IF (SELECT string_agg("column" || source_column, ' ') FROM walhouse.column_lineage('v'::regclass)) <> 'ba' THEN RAISE EXCEPTION 'v.b does not come from v.a'; END IF; END $$;
CALL "check"('SELECT a + 1 AS a1, sum(b) FILTER (WHERE a > 1) AS s FROM t GROUP BY a + 1, GROUPING SETS ((a), ()) HAVING a + 1 > 3 ORDER BY a + 1', 'a1: t.a transformation; s: t.a filter, t.b aggregation; *: t.a filter, t.a group_by, t.a sort');
\endif
RESET search_path;
DROP SCHEMA newer CASCADE;
\set QUIET off
