-- What must hold for every object of the extension, whoever adds one.
BEGIN;
SELECT plan(9);

CREATE TEMPORARY VIEW member AS
SELECT d.classid, d.objid, pg_catalog.pg_describe_object(d.classid, d.objid, 0) AS name
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_extension e ON d.refobjid = e.oid AND d.refclassid = 'pg_catalog.pg_extension'::regclass
WHERE e.extname = 'walhouse' AND d.deptype = 'e';

CREATE TEMPORARY VIEW routine AS
SELECT p.*, m.name, l.lanname
FROM member m
JOIN pg_catalog.pg_proc p ON m.objid = p.oid AND m.classid = 'pg_catalog.pg_proc'::regclass
JOIN pg_catalog.pg_language l ON p.prolang = l.oid;

CREATE TEMPORARY VIEW relation AS
SELECT c.*, m.name
FROM member m
JOIN pg_catalog.pg_class c ON m.objid = c.oid AND m.classid = 'pg_catalog.pg_class'::regclass;

SELECT isnt_empty('SELECT name FROM routine', 'there are functions to look at');

SELECT is_empty($$
    SELECT name FROM routine
    WHERE lanname IN ('sql', 'plpgsql') AND prosqlbody IS NULL
        AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
    ORDER BY name
$$, 'every function in SQL or PL/pgSQL pins its search_path');

SELECT is_empty($$
    SELECT name FROM routine
    WHERE prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
    ORDER BY name
$$, 'no SECURITY DEFINER function runs with the caller''s search_path');

SELECT is_empty($$
    SELECT name FROM routine WHERE prokind = 'p' AND (prosecdef OR proconfig IS NOT NULL) ORDER BY name
$$, 'no procedure is made atomic by SECURITY DEFINER or a SET clause');

SELECT is_empty($$
    SELECT name FROM routine
    WHERE coalesce(pg_catalog.obj_description(oid, 'pg_proc'), '') = ''
        AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
    ORDER BY name
$$, 'every function has a comment');

SELECT is_empty($$
    SELECT name FROM relation
    WHERE relkind IN ('r', 'v', 'm', 'p') AND coalesce(pg_catalog.obj_description(oid, 'pg_class'), '') = ''
    ORDER BY name
$$, 'every table and view has a comment');

SELECT is_empty($$
    SELECT name FROM relation WHERE relnamespace <> 'walhouse'::regnamespace
    UNION ALL
    SELECT name FROM routine WHERE pronamespace <> 'walhouse'::regnamespace
    ORDER BY name
$$, 'everything is in the schema walhouse');

SELECT is_empty($$
    SELECT r.name || ': ' || a.privilege_type
    FROM relation r
    CROSS JOIN LATERAL pg_catalog.aclexplode(r.relacl) a
    WHERE a.grantee = 0 AND a.privilege_type <> 'SELECT'
    ORDER BY 1
$$, 'PUBLIC may read, at most');

SELECT is_empty($$
    SELECT r.name || ': ' || a.attname
    FROM relation r
    JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE r.relkind IN ('r', 'm', 'i', 'p') AND a.atttypid = ANY ('{regcollation,regconfig,regdictionary,regnamespace,regoper,regoperator,regproc,regprocedure}'::regtype[])
    ORDER BY 1
$$, 'pg_upgrade takes every column');

SELECT * FROM finish();
ROLLBACK;
