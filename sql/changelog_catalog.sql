-- The catalog of feeds can be read by everyone and written by nobody but walhouse.
SET ROLE pg_monitor;
SELECT count(*) FROM walhouse.feed;
SELECT count(*) FROM walhouse.feed_table;
SELECT count(*) FROM walhouse.feed_column;
SELECT count(*) FROM walhouse.feed_position;
INSERT INTO walhouse.feed_position VALUES (1, '0/0', now());
DELETE FROM walhouse.feed_table;
UPDATE walhouse.feed SET state = 'ready';
RESET ROLE;
SELECT c.relname, c.relname || ' ' || coalesce(obj_description(c.oid) <> '', false)::text AS has_comment
FROM pg_catalog.pg_class c
WHERE c.relnamespace = 'walhouse'::regnamespace AND c.relname LIKE 'feed%' AND c.relkind = 'r' ORDER BY 1;
