-- The models as walhouse sees them.
\ir ../../pgtap/lib/star_violations.sql
SELECT plan(6 + (SELECT count(*)::integer FROM walhouse.model));

SELECT is_empty($$ SELECT relation, state, error FROM walhouse.model WHERE state <> 'live' OR error IS NOT NULL $$, 'every model is live');
SELECT is_empty($$ SELECT model, waits_for FROM walhouse.stat_model WHERE NOT is_current $$, 'and current');
SELECT is_empty('SELECT * FROM pg_temp.star_violations()', 'the rules for all stars hold');
SELECT bag_eq($$ SELECT dimension::text, key::text FROM walhouse.inferred_member $$,
    $$ SELECT 'dw.' || dimension, (SELECT array_agg(k)::text FROM jsonb_array_elements_text(key::jsonb) AS k) FROM expected.member() WHERE is_inferred $$, 'walhouse shows the inferred members that there are');
SELECT is((SELECT sum(rejected) FROM walhouse.stat_model), 2 * (SELECT count(*) FROM oltp.cash_transaction WHERE isfinite(at) IS NOT TRUE)::numeric, 'and counts what two facts of cash reject');
SELECT is_empty($$ SELECT v.* FROM walhouse.model m, LATERAL walhouse.verify(m.relation, 10) AS v WHERE kind NOT IN ('rollup', 'periodic_snapshot') AND (missing, unexpected, different) <> (0, 0, 0) $$,
    'a random sample of each model is clean');
SELECT is((SELECT ROW(v.missing, v.unexpected, v.different, v.expected = v.found)::text FROM walhouse.verify(m.relation) AS v), '(0,0,0,t)', format('verify of %s is clean', m.relation))
FROM walhouse.model m ORDER BY relation::text;

SELECT * FROM finish();
