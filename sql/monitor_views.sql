-- monitor: the views' columns are an interface; everybody may read them, nobody sees a secret there.
SELECT c.relname AS view, a.attnum, a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'walhouse'::regnamespace AND c.relname LIKE 'stat\_%' AND c.relkind = 'v' AND a.attnum > 0
ORDER BY c.relname, a.attnum;

CREATE ROLE regress_monitor_reader;
SET ROLE regress_monitor_reader;
SELECT count(*) FROM walhouse.stat_feed;
SELECT count(*) FROM walhouse.stat_table;
SELECT count(*) FROM walhouse.stat_model;
SELECT count(*) FROM walhouse.stat_workers();
RESET ROLE;
DROP ROLE regress_monitor_reader;

-- the sums over all loads are not computed for those who do not ask for them
CREATE FUNCTION pg_temp.scans_of_load_model(query text) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found integer := 0;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		found := found + (line ~ 'on load_model')::int;
	END LOOP;
	RETURN found;
END $$;
SELECT pg_temp.scans_of_load_model('SELECT model, is_current, waits_for, position, error FROM walhouse.stat_model') AS last_load,
	pg_temp.scans_of_load_model('SELECT * FROM walhouse.stat_model') > 1 AS and_sums;
