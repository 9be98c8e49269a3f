-- fact: facts, the dimensions that they refer to, their rows ahead of the clock, and what could not be placed.

CREATE TABLE walhouse.fact_dimension (
    model_id      integer NOT NULL,
    role          integer NOT NULL,
    column_name   name NOT NULL,
    dimension_id  integer NOT NULL,
    key           text[] NOT NULL,
    null_sk       integer NOT NULL DEFAULT -1,
    not_applicable_if name,
    error_if      name,
    history_role  integer,
    CONSTRAINT fact_dimension_pkey PRIMARY KEY (model_id, role)
);
COMMENT ON TABLE walhouse.fact_dimension IS
    'The dimensions of each fact: the fact''s surrogate key column, the dimension, and the columns of the fact''s query that give the dimension''s key; null_sk: the member of a NULL key; not_applicable_if, error_if: columns of the query that send a row to member -2 or -3; history_role: of a mini-dimension, the role that has the version of its history.';
CREATE INDEX fact_dimension_dimension_id_idx ON walhouse.fact_dimension (dimension_id);

CREATE TABLE walhouse.ahead (
    model_id    integer NOT NULL,
    role        integer NOT NULL,
    sk          bigint NOT NULL,
    event_time  timestamptz NOT NULL,
    row_key     text[] NOT NULL,
    CONSTRAINT ahead_pkey PRIMARY KEY (model_id, row_key, role)
);
COMMENT ON TABLE walhouse.ahead IS
    'Fact rows whose event time is not before the feed clock: a later version of their dimension row may yet be theirs. sk: the version that they point to now; row_key: what identifies the row, its key and event time and of a booking booked_lsn and is_reversal, as text.';
CREATE INDEX ahead_sk_idx ON walhouse.ahead (model_id, role, sk);
CREATE INDEX ahead_event_time_idx ON walhouse.ahead (model_id, event_time);

CREATE TABLE walhouse.fact_rejected (
    model_id  integer NOT NULL,
    key       text[] NOT NULL,
    position  pg_lsn NOT NULL,
    reason    text NOT NULL,
    row       jsonb NOT NULL,
    CONSTRAINT fact_rejected_pkey PRIMARY KEY (model_id, key)
);
COMMENT ON TABLE walhouse.fact_rejected IS
    'Rows of facts that no partition can take. Read them through the view walhouse.rejected.';

CREATE TABLE walhouse.fact_reader (
    model_id  integer NOT NULL,
    fact_id   integer NOT NULL,
    columns   text[] NOT NULL,
    CONSTRAINT fact_reader_pkey PRIMARY KEY (model_id)
);
COMMENT ON TABLE walhouse.fact_reader IS
    'Rollups and periodic snapshots: the fact that each stands on, and the columns of it that it reads.';
CREATE INDEX fact_reader_fact_id_idx ON walhouse.fact_reader (fact_id);

CREATE TABLE walhouse.fact_retention (
    model_id      integer NOT NULL,
    retired_to    text,
    moved         xid8,
    late          text NOT NULL DEFAULT 'skip',
    late_changes  bigint NOT NULL DEFAULT 0,
    late_at       timestamptz,
    CONSTRAINT fact_retention_pkey PRIMARY KEY (model_id),
    CONSTRAINT fact_retention_late_check CHECK (late IN ('skip', 'stop'))
);
COMMENT ON TABLE walhouse.fact_retention IS
    'Facts whose partitions were retired, or whose owner has said what becomes of changes to what is retired. retired_to: the fact has rows with an event time from there on alone; moved: the transaction that moved it there. late: what a change of a retired row does, skip (nothing) or stop (the fact stops); late_changes, late_at: how many were skipped, and when the last.';

CREATE VIEW walhouse.rejected WITH (security_barrier) AS
    SELECT m.relation AS model, r.key, r.position, r.reason, r.row
    FROM walhouse.fact_rejected r
         JOIN walhouse.model m USING (model_id)
         JOIN pg_catalog.pg_class c ON c.oid = m.relation
    WHERE pg_catalog.pg_has_role(c.relowner, 'USAGE');
COMMENT ON VIEW walhouse.rejected IS
    'Rows that a fact''s query gives and that the fact cannot hold, because their event time is null, infinite or outside the fact''s bounds, or because they cannot be booked; seen by who has the role of the fact''s owner. A row leaves this view when the source corrects or deletes it. position: the load that met it went up to there.';

GRANT SELECT ON walhouse.fact_dimension, walhouse.fact_reader, walhouse.fact_retention, walhouse.rejected TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.fact_dimension', '');
SELECT pg_catalog.pg_extension_config_dump('walhouse.fact_reader', '');
SELECT pg_catalog.pg_extension_config_dump('walhouse.fact_retention', '');
SELECT pg_catalog.pg_extension_config_dump('walhouse.ahead', '');
SELECT pg_catalog.pg_extension_config_dump('walhouse.fact_rejected', '');

CREATE FUNCTION walhouse.create_fact(name text, query text, key text[], event_time name, dimensions jsonb DEFAULT '{}',
                                     partition_by text DEFAULT 'month', corrections text DEFAULT 'replace',
                                     measures text[] DEFAULT NULL, milestones jsonb DEFAULT '{}', lags jsonb DEFAULT '{}')
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'walhouse_create_fact';
COMMENT ON FUNCTION walhouse.create_fact(text, text, text[], name, jsonb, text, text, text[], jsonb, jsonb) IS
    'Declares a fact: the columns of query (a SELECT over mirrors of one feed), a bigint column for each dimension, and load_id, in partitions by event_time. key: columns that identify a row, those of the mirror''s key; over several mirrors, of the driving one''s. event_time: a column of type timestamptz, timestamp or date. dimensions: {"customer_sk": "dw.customer(customer_id)"}, the column to make, the dimension, and the columns of query that give its key; or an object {"dimension": the same, "null": "unknown", "not_applicable" or "error" (member -1, -2 or -3 for a NULL key), "not_applicable_if": a boolean column of query, "error_if": another}. Two views are made beside it, <name>_as_was and <name>_as_is, that join the dimensions as they were at the event time and as they are. partition_by: day, month or year, in the feed''s time zone. corrections: replace (a row follows its source row), or reverse: rows are bookings that are never changed, with booked_at, booked_lsn and is_reversal; each change of a source row books its image before with the measures negated, and its image after. measures: with reverse, the columns to negate; event_time may be booked_at. milestones: {"shipped_at": "is_shipped"}, the timestamptz column to make, and the boolean column of query of which it tells when it became true in the present life of the row. lags: {"to_ship": ["ordered_at", "shipped_at"]}, the interval column to make and the two columns of time that it lies between. Declaring is DDL only; CALL walhouse.run or walhouse.build fills the fact. Errors: a query that cannot be kept current, unknown columns or dimensions, keys that do not fit.';

CREATE FUNCTION walhouse.fact_partitions(fact regclass, OUT partition regclass, OUT "from" timestamp, OUT "to" timestamp)
RETURNS SETOF record LANGUAGE c STRICT STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walhouse_fact_partitions';
COMMENT ON FUNCTION walhouse.fact_partitions(regclass) IS
    'The partitions of a fact in the order of their bounds, told as walhouse.load_model tells them: in UTC where the event time is timestamptz, infinity where there is no bound. No rows of a table that is not partitioned by time.';

CREATE FUNCTION walhouse.set_late_changes(fact regclass, late text) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_set_late_changes';
COMMENT ON FUNCTION walhouse.set_late_changes(regclass, text) IS
    'Says what becomes of changes of rows that a fact''s retention has retired. skip (at first): nothing, but that they are counted in walhouse.stat_model. stop: the fact stops, with an error, until its owner says skip. Only the fact''s owner may.';
