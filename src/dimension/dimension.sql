-- dimension: declaring dimensions.

CREATE FUNCTION walhouse.create_dimension(name text, query text, key text[], scd jsonb DEFAULT '{"*": 2}',
    on_delete text DEFAULT 'close', unknown boolean DEFAULT true, effective text DEFAULT 'commit', outriggers jsonb DEFAULT '{}')
RETURNS regclass LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_dimension';
COMMENT ON FUNCTION walhouse.create_dimension(text, text, text[], jsonb, text, boolean, text, jsonb) IS
    'Declares a dimension: a table with <name>_sk, the columns of query (a SELECT over mirrors of one feed), valid_from, valid_to, is_current, is_inferred and load_id, and the view <name>_query. key: the columns that are the mirror''s key; over several mirrors, the key of the driving one. scd: the type of each column, "*" for the others; 0 keeps the first value, 1 overwrites all versions, 2 opens a version, 3 overwrites and keeps the value before the last change in <column>_previous, 6 opens a version and keeps the last value in <column>_current on all versions. on_delete: close (the open version ends), tombstone (it stays open, with is_deleted), ignore, or purge (all versions go; facts point to an inferred member that is left). unknown: keep row -1, to which facts with a NULL key point. effective: commit (a version holds since the commit of its source transaction), or a column of query of type timestamptz, timestamp or date that says since when. outriggers: {"region_sk": "dw.region(region)"}, dimensions that columns of this one are the keys of; with them two views are made beside it, <name>_as_was and <name>_as_is, that join the outriggers'' versions as they were when a row''s own version began and as they are. Declaring is DDL only; CALL walhouse.run or walhouse.build fills the dimension. Raises when the query cannot be kept current (naming the construct), when the key is not the mirror''s, and when privileges are missing.';

CREATE FUNCTION walhouse.create_date_dimension(name text, from_date date, to_date date,
    fiscal_year_start_month integer DEFAULT 1, fiscal_calendar text DEFAULT 'month', fiscal_week_start integer DEFAULT 1,
    holidays regclass DEFAULT NULL)
RETURNS regclass LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_date_dimension';
COMMENT ON FUNCTION walhouse.create_date_dimension(text, date, date, integer, text, integer, regclass) IS
    'Makes and fills a date dimension with a row for each day from from_date to to_date; <name>_sk is the date in digits, 20260131. fiscal_year_start_month: 1 to 12; a fiscal year that does not begin in January has the number of the year it ends in. fiscal_calendar: month, or 4-4-5, 4-5-4, 5-4-4: years of 52 or 53 whole weeks that begin with the weekday fiscal_week_start (1 Monday to 7 Sunday) nearest to the first of that month. holidays: a table or view with the columns date and name; walhouse.refresh_dates reads it again. Facts that refer to other dates make rows for them (is_inferred); a NULL or infinite date is row -1. It belongs to no feed. Raises when the range is not finite or empty.';

CREATE TABLE walhouse.purged (
    dimension_id  integer NOT NULL,
    sk            bigint NOT NULL,
    new_sk        bigint NOT NULL,
    position      pg_lsn NOT NULL,
    CONSTRAINT purged_pkey PRIMARY KEY (dimension_id, sk)
);
COMMENT ON TABLE walhouse.purged IS
    'Surrogate keys of purged versions (on_delete => ''purge''), until every fact points to new_sk, the member''s inferred row. position: the load of the dimension that removed them went up to there.';
GRANT SELECT ON walhouse.purged TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.purged', '');

CREATE TABLE walhouse.moved (
    dimension_id  integer NOT NULL,
    position      pg_lsn NOT NULL,
    sk            bigint NOT NULL,
    from_time     timestamptz NOT NULL,
    to_time       timestamptz NOT NULL,
    CONSTRAINT moved_pkey PRIMARY KEY (dimension_id, position, sk, from_time)
);
COMMENT ON TABLE walhouse.moved IS
    'Times, from from_time and before to_time, that versions of a dimension have lost to others (effective), until every fact has looked up its rows of that surrogate key and time again. position: the load of the dimension went up to there.';
GRANT SELECT ON walhouse.moved TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.moved', '');

CREATE TABLE walhouse.dimension_reference (
    model_id      integer NOT NULL,
    purpose       text NOT NULL,
    number        integer NOT NULL,
    column_name   name NOT NULL,
    dimension_id  integer NOT NULL,
    key           text[] NOT NULL,
    CONSTRAINT dimension_reference_pkey PRIMARY KEY (model_id, purpose, number),
    CONSTRAINT dimension_reference_purpose_check CHECK (purpose IN ('outrigger', 'member', 'history'))
);
COMMENT ON TABLE walhouse.dimension_reference IS
    'Dimensions that a dimension refers to, as outriggers, as members of a bridge, or as the history of a mini-dimension: the column of its views that has the surrogate key, the dimension, and the columns that give its key.';
CREATE INDEX dimension_reference_dimension_id_idx ON walhouse.dimension_reference (dimension_id);
GRANT SELECT ON walhouse.dimension_reference TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.dimension_reference', '');

CREATE FUNCTION walhouse.inferred_members(OUT dimension regclass, OUT key text[], OUT since timestamptz, OUT load_id bigint)
RETURNS SETOF record LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_inferred_members';
COMMENT ON FUNCTION walhouse.inferred_members() IS
    'The inferred members of all dimensions that the caller may read, but for those whose row security holds for the caller; walhouse.inferred_member shows them with their age. Reads these dimensions whole.';

CREATE VIEW walhouse.inferred_member AS
    SELECT i.dimension, i.key, i.since, pg_catalog.now() - i.since AS age, i.load_id
    FROM walhouse.inferred_members() i;
COMMENT ON VIEW walhouse.inferred_member IS
    'Members that a fact refers to and whose row the source has not brought yet, or has deleted (on_delete => ''purge''): the dimension, the key, since when (the start of the load that made it; null where its record is gone), its age, and that load. Shows the dimensions that the caller may read.';
GRANT SELECT ON walhouse.inferred_member TO PUBLIC;

CREATE FUNCTION walhouse.refresh_dates(dimension regclass) RETURNS bigint
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_refresh_dates';
COMMENT ON FUNCTION walhouse.refresh_dates(regclass) IS
    'Reads the table of holidays of a date dimension again, and returns how many dates changed; until then walhouse.verify() reports them as different. For the dimension''s owner.';

CREATE FUNCTION walhouse.create_time_dimension(name text, granularity text DEFAULT 'minute')
RETURNS regclass LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_time_dimension';
COMMENT ON FUNCTION walhouse.create_time_dimension(text, text) IS
    'Makes and fills a dimension of the time of day, with a row for each hour, minute or second (granularity); <name>_sk is the time in digits: 9, 945, 94530. Facts give a time, timestamp or timestamptz, the latter in the feed''s time zone. It belongs to no feed. Raises for another granularity.';

CREATE FUNCTION walhouse.create_junk_dimension(name text, columns text[])
RETURNS regclass LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_junk_dimension';
COMMENT ON FUNCTION walhouse.create_junk_dimension(text, text[]) IS
    'Makes a dimension whose members are the combinations of columns that facts have met: {channel text,is_gift boolean}, each a name and a type (boolean, smallint, integer, bigint, numeric, text, varchar, date, uuid, an enum). A fact refers to it with as many columns of its query, "dw.flags(channel, is_gift)"; NULL is a value like others. It belongs to no feed. Raises for other types.';

CREATE FUNCTION walhouse.create_bridge(name text, query text, key text[], members jsonb, weight name DEFAULT NULL)
RETURNS regclass LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_bridge';
COMMENT ON FUNCTION walhouse.create_bridge(text, text, text[], jsonb, name) IS
    'Declares a bridge: a type-2 dimension over an association (query, key), without rows -1 to -3. members: {"customer_sk": "dw.customer(customer_id)"}, dimensions that columns of query are the keys of. The view <name>_members has the bridge''s versions cut where those of the members change, with the members'' surrogate keys, valid_from, valid_to and is_current. weight: a column of query that is a number; the view <name>_weights has the groups (columns of key that no member uses) whose weights do not sum up to 1 now. Raises as create_dimension does, without members, and with a weight where members use the whole key.';

CREATE FUNCTION walhouse.create_mini_dimension(name text, query text, key text[])
RETURNS regclass LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_mini_dimension';
COMMENT ON FUNCTION walhouse.create_mini_dimension(text, text, text[]) IS
    'Declares a mini-dimension (type 4): <name>, whose members are the combinations that the columns of query (without key) have had, and <name>_history, a type-2 dimension of query that says which one each key had when. key: as for create_dimension. A fact refers to it by the key, "dw.profile(customer_id)", and gets two surrogate keys: the combination''s as of the event time, and the history version''s in <column without _sk>_history_sk. Columns have the types of create_junk_dimension. Raises as create_dimension does, for other types, and for a query of nothing but the key. drop_model of <name> drops both.';
