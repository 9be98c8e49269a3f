-- Every relation that ever was, with its kinds and the transactions that began them: the dead versions of pg_class are still
-- there, because the slots need them. What test_decoding tells and walhouse never sends is known by its kind.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION pageinspect;
COPY (
	WITH item AS MATERIALIZED (
		SELECT catalog, t_xmin::text::bigint AS xmin, tuple_data_split(catalog::regclass, t_data, t_infomask, t_infomask2, t_bits) AS value
		FROM (VALUES ('pg_class'), ('pg_namespace')) c (catalog),
			generate_series(0, pg_relation_size(catalog::regclass) / current_setting('block_size')::integer - 1) AS block,
			heap_page_items(get_raw_page(catalog, block::integer))
		WHERE t_data IS NOT NULL
	),
	named AS (
		SELECT catalog, xmin, value, convert_from(substring(value[2] FROM 1 FOR position('\x00'::bytea IN value[2]) - 1), 'UTF8') AS name
		FROM item
	)
	SELECT n.name || '.' || c.name, c.xmin, convert_from(c.value[17], 'UTF8')
	FROM named c JOIN named n ON c.value[3] = n.value[1]
	WHERE c.catalog = 'pg_class' AND n.catalog = 'pg_namespace' AND c.value[17] IN ('r', 'p', 'm')
	GROUP BY 1, 2, 3
	ORDER BY 2
) TO STDOUT;
