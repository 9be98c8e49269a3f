-- rebuilt.sql: at the end: the star beside one that was built from scratch (schema fresh), and what it said earlier.
CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM expected.star('dw');
CREATE TEMPORARY TABLE built ON COMMIT DROP AS SELECT * FROM expected.star('fresh');
SELECT plan(1 + (SELECT count(DISTINCT model)::integer FROM kept) + (SELECT count(DISTINCT model)::integer FROM expected.remembered));

SELECT set_eq('SELECT DISTINCT model FROM built', 'SELECT DISTINCT model FROM kept', 'both stars have the same models');
SELECT bag_eq(format('SELECT "row" FROM kept WHERE model = %L', model), format('SELECT "row" FROM built WHERE model = %L', model),
    format('%s is what a build from scratch makes', model))
FROM (SELECT DISTINCT model FROM kept) AS m ORDER BY model;
SELECT bag_eq(format('SELECT expected.plain(t) FROM walhouse.as_known(NULL::dw.%I, load => %s) AS t', model, load_id),
    format('SELECT "row" FROM expected.remembered WHERE model = %L', model), format('%s as known then is what it was then', model))
FROM (SELECT DISTINCT model, load_id FROM expected.remembered) AS m ORDER BY model;

SELECT * FROM finish();
