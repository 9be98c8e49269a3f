-- reshape: tables and partitions changed while they are used. Read by everyone but for positions, which quote keys.

CREATE TABLE walhouse.partition_rewrite (
    relid     regclass NOT NULL,
    kind      text NOT NULL,
    state     text NOT NULL,
    options   jsonb NOT NULL,
    lo        bigint,
    hi        bigint,
    sources   regclass[],
    staging   regclass,
    groups    regclass[],
    queue     regclass,
    key       text[],
    source    integer NOT NULL DEFAULT 0,
    position  text[],
    signature text,
    total     bigint,
    copied    bigint NOT NULL DEFAULT 0,
    applied   bigint NOT NULL DEFAULT 0,
    started   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    CONSTRAINT partition_rewrite_pkey PRIMARY KEY (relid),
    CONSTRAINT partition_rewrite_kind_check CHECK (kind IN ('convert', 'split', 'merge'))
);
COMMENT ON TABLE walhouse.partition_rewrite IS
    'Online changes that are under way or were cut off, one of a table. kind: convert (convert_to_partitions), split, merge. state: the step that is next. options: what was asked for. lo, hi: bounds as positions of the key. sources: partitions that are split or merged; staging: the table that has the new ones until they are swapped; groups: tables between, where they are many; queue: keys of rows that were written meanwhile; key: the columns that identify a row. source, position: how far copying has come; total: rows, estimated; copied, applied: rows that were copied, keys that were looked at again. signature: of the table at the beginning.';

GRANT SELECT (relid, kind, state, options, lo, hi, sources, staging, groups, queue, key, source, signature, total, copied, applied, started, updated) ON walhouse.partition_rewrite TO PUBLIC;
GRANT SELECT ON walhouse.partition_rewrite TO pg_read_all_stats;
SELECT pg_catalog.pg_extension_config_dump('walhouse.partition_rewrite', '');

CREATE PROCEDURE walhouse.convert_to_partitions(relation regclass, by name, every text, options jsonb DEFAULT '{}')
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_convert_to_partitions';
COMMENT ON PROCEDURE walhouse.convert_to_partitions(regclass, name, text, jsonb) IS
    'Makes a plain table a partition set while it is used: a table partitioned by range of the column takes its name, and all that stands on it, and has it as its one partition, whole; no row is moved. every, options: as create_partition_set''s arguments. Refuses, all at once and before anything is touched, what cannot be kept: unique keys without the column, foreign keys that refer to the table, functions and materialized views that depend on it. Can be called again when it was cut off, and given up with cancel_rewrite. Commits: refused in a transaction block. Only the table''s owner may.';

CREATE PROCEDURE walhouse.split_partition(partition regclass, every text DEFAULT NULL, chunk integer DEFAULT 10000, pause interval DEFAULT '0')
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_split_partition';
COMMENT ON PROCEDURE walhouse.split_partition(regclass, text, integer, interval) IS
    'Splits a partition of a set into those of its grid, or of the grid every, while it is used: copies its rows, chunk rows at a time with a pause in between, then those that were written meanwhile, and puts the new partitions in its place under a short lock, or, where they are more than eight, a few at a time under several. Needs a primary key, or a unique index of columns that are not null. Can be called again when it was cut off, and given up with cancel_rewrite. Commits: refused in a transaction block. Only the table''s owner may.';

CREATE PROCEDURE walhouse.merge_partitions(parent regclass, "from" text, "to" text, chunk integer DEFAULT 10000, pause interval DEFAULT '0')
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_merge_partitions';
COMMENT ON PROCEDURE walhouse.merge_partitions(regclass, text, text, integer, interval) IS
    'Makes one partition of those of a set that lie from one value of its key up to another, in the way of split_partition. Commits: refused in a transaction block. Only the table''s owner may.';

CREATE FUNCTION walhouse.capture_change() RETURNS trigger
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'walhouse_capture_change';
COMMENT ON FUNCTION walhouse.capture_change() IS
    'The trigger of partitions that are being split or merged: keeps the key of each row that is written. Arguments: a table of the same owner, and columns.';

CREATE PROCEDURE walhouse.cancel_rewrite(relation regclass)
    LANGUAGE c AS 'MODULE_PATHNAME', 'walhouse_cancel_rewrite';
COMMENT ON PROCEDURE walhouse.cancel_rewrite(regclass) IS
    'Gives up what convert_to_partitions, split_partition or merge_partitions has begun with a table: everything is as it was before. Commits: refused in a transaction block. Only the table''s owner may.';
