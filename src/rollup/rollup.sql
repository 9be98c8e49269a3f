-- rollup: aggregates over facts.

CREATE TABLE walhouse.rollup (
    model_id   integer NOT NULL,
    filled_to  date,
    CONSTRAINT rollup_pkey PRIMARY KEY (model_id)
);
COMMENT ON TABLE walhouse.rollup IS
    'Rollups and periodic snapshots. filled_to: the period of the feed clock up to which every group of a snapshot has its rows.';
SELECT pg_catalog.pg_extension_config_dump('walhouse.rollup', '');

CREATE FUNCTION walhouse.create_rollup(name text, fact regclass, group_by text[], measures jsonb, bucket text DEFAULT 'day',
                                       bucket_column name DEFAULT NULL)
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'walhouse_create_rollup';
COMMENT ON FUNCTION walhouse.create_rollup(text, regclass, text[], jsonb, text, name) IS
    'Declares a rollup: aggregates over the rows of a fact, a row for each bucket of time and combination of group_by, kept current by what each load changes. group_by: columns of the fact whose equality is that of their images; NULL is a value. measures: {"revenue": "sum(amount)"}; there are count(*), count(c), count(distinct c), sum(c), avg(c), min(c) and max(c). bucket: hour, day, week, month, quarter or year of bucket_column (NULL: the event time) in the feed''s time zone, or none; period_start is where it begins. CALL walhouse.run or walhouse.build fills the rollup. Errors: unknown columns, functions or types that cannot be kept; sums of float, which depend on the order.';

CREATE FUNCTION walhouse.create_periodic_snapshot(name text, fact regclass, group_by text[], measures jsonb, period text DEFAULT 'day',
                                                  period_column name DEFAULT NULL, fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'walhouse_create_periodic_snapshot';
COMMENT ON FUNCTION walhouse.create_periodic_snapshot(text, regclass, text[], jsonb, text, name, boolean) IS
    'Declares a periodic snapshot over a fact: as a rollup, by day, week or month of period_column (NULL: the event time), with further measures: balance(c) and balance(*), the sum and number of all rows up to the period''s end, and last(c), the value of the last row up to there. fill: each group has a row for every period from its first one to that of the feed clock, or of its last row. Rows whose period_column is NULL, infinite or outside the fact''s bounds are left out.';
