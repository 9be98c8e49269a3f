-- feed: what is called on feeds.

CREATE PROCEDURE walhouse.create_feed(
    name text,
    server name,
    publication text DEFAULT NULL,
    tables text[] DEFAULT NULL,
    slot text DEFAULT NULL,
    copy_data boolean DEFAULT true,
    time_zone text DEFAULT 'UTC',
    failover boolean DEFAULT false)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_create_feed';
COMMENT ON PROCEDURE walhouse.create_feed(text, name, text, text[], text, boolean, text, boolean) IS
    'Makes a feed owned by the caller: checks the source and reports all that is missing in one error, then makes slot, change logs and mirrors, and copies the tables. Give either a publication, or tables for which one is made (schema.table; public where no schema is given). copy_data => false begins with empty mirrors: right for tables that are empty. time_zone: the zone of models'' days. failover: the slot is kept on the source''s standbys too (PostgreSQL 17). Not inside a transaction block.';

CREATE PROCEDURE walhouse.drop_feed(name text, drop_slot boolean DEFAULT true)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_drop_feed';
COMMENT ON PROCEDURE walhouse.drop_feed(text, boolean) IS
    'Drops a feed, its slot and the publication that create_feed made at the source, its mirrors and change logs. Can be repeated after a failure. drop_slot => false does not ask the source. Errors: models read the feed; a session reads it. Not inside a transaction block.';

CREATE PROCEDURE walhouse.ingest(feed text, up_to pg_lsn DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_ingest';
COMMENT ON PROCEDURE walhouse.ingest(text, pg_lsn) IS
    'Brings change logs and mirrors of a feed, not its models, to up_to, by default the source''s position at the call. walhouse.run does this and loads the models. Error: another session reads the feed. Not inside a transaction block.';

CREATE PROCEDURE walhouse.add_table(feed text, "table" text)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_add_table';
COMMENT ON PROCEDURE walhouse.add_table(text, text) IS
    'Adds a source table, named as at the source, to a feed that is there: alters the publication if create_feed made it, makes mirror and change log, and has the table copied by chunks by whoever reads the feed''s stream (its worker, or walhouse.run), while the feed goes on. A partitioned table stands for those of its partitions that the feed does not have. walhouse.progress_snapshot shows how far it is; its change log begins where the copy ends. Not inside a transaction block.';

CREATE PROCEDURE walhouse.remove_table(feed text, "table" text)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_remove_table';
COMMENT ON PROCEDURE walhouse.remove_table(text, text) IS
    'Removes a source table, named as at the source, from a feed: its mirror and its change log are dropped, and it leaves the publication if create_feed made that. Error: models read the table. Not inside a transaction block.';

CREATE PROCEDURE walhouse.resync_table(feed text, "table" text)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_resync_table';
COMMENT ON PROCEDURE walhouse.resync_table(text, text) IS
    'Brings a table that was held, named as at the source, to the source: what differs is logged where its definition fits, and its models go on; else it is copied again, whatever changed in its definition, and its models rebuild. The feed goes on meanwhile, but waits while this table is compared or copied. Not inside a transaction block.';

CREATE FUNCTION walhouse.takeover(feed text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_takeover';
COMMENT ON FUNCTION walhouse.takeover(text) IS
    'Lets a feed run in this warehouse from now on, after a restore or a failover that is meant to stay. Errors: the slot is in use, so another warehouse runs the feed; the source is another cluster.';

CREATE PROCEDURE walhouse.set_log_key_index(feed text, "table" text, "on" boolean)
LANGUAGE C AS 'MODULE_PATHNAME', 'walhouse_set_log_key_index';
COMMENT ON PROCEDURE walhouse.set_log_key_index(text, text, boolean) IS
    'Gives the change log of a source table, named as at the source, an index by the table''s key, or drops it: walhouse.explain_row then tells all that the log has of a row, at the price of an index entry for each logged change. Partition by partition; the newest takes no changes while its index is made. For the feed''s owner. Can be repeated after a failure. Not inside a transaction block.';
