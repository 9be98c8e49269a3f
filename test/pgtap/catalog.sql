-- What the catalog promises: dumps carry all of it, ordinary roles may read it and write nothing, names say who owns what.
BEGIN;
SELECT plan(5);

SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'walhouse'
    WHERE c.relkind IN ('r', 'p') AND NOT c.oid = ANY (e.extconfig)
$$, 'every catalog table is in dumps');

SELECT is_empty($$
    SELECT s.oid::regclass FROM pg_catalog.pg_class s
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i')
    JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_class'::regclass
    CROSS JOIN pg_catalog.pg_extension e
    WHERE e.extname = 'walhouse' AND s.relkind = 'S' AND t.relnamespace = 'walhouse'::regnamespace
        AND NOT s.oid = ANY (e.extconfig)
$$, 'and so is every sequence of it');

-- What stands in dumps must survive them: OIDs of this database do not.
SELECT is_empty($$
    SELECT a.attrelid::regclass || '.' || a.attname
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'walhouse'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
        AND a.atttypid = 'oid'::regtype AND a.attname NOT IN ('source_relid', 'source_database', 'house_database', 'source_file')
$$, 'no table keeps OIDs of this database as numbers');

CREATE ROLE walhouse_nobody;
SELECT is_empty($$
    SELECT c.oid::regclass || ' ' || p
    FROM pg_catalog.pg_class c CROSS JOIN unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p
    WHERE c.relnamespace = 'walhouse'::regnamespace AND c.relkind IN ('r', 'v', 'p')
        AND has_table_privilege('walhouse_nobody', c.oid, p)
$$, 'a role without rights writes nowhere in the catalog');

SELECT is_empty($$
    SELECT c.oid::regclass FROM pg_catalog.pg_class c
    WHERE c.relnamespace = 'walhouse'::regnamespace
        AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('walhouse_nobody', c.oid, 'USAGE, UPDATE') END
$$, 'nor moves its sequences');

SELECT * FROM finish();
ROLLBACK;
