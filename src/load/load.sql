-- load: loads and builds, and the models that stopped.

CREATE TABLE walhouse.load_retry (
    model_id   integer NOT NULL,
    attempts   integer NOT NULL,
    tried_to   pg_lsn,
    next_try   timestamptz NOT NULL,
    waits_for  integer,
    build      boolean NOT NULL DEFAULT false,
    CONSTRAINT load_retry_pkey PRIMARY KEY (model_id)
);
COMMENT ON TABLE walhouse.load_retry IS
    'Models that stopped: how often they were tried, up to which position (null: resumed by hand), when they may be tried again, and the model that they wait for. build: it is the build that failed.';
GRANT SELECT ON walhouse.load_retry TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('walhouse.load_retry', '');

CREATE PROCEDURE walhouse.load(feed text)
LANGUAGE c
AS 'MODULE_PATHNAME', 'walhouse_load';
COMMENT ON PROCEDURE walhouse.load(text) IS
    'Brings the feed''s live models to its position, from the change log alone; the source is not read. CALL walhouse.run does this and more. Commits; for the feed''s owner. A model with an error in its data stops at its position, and does not make this fail.';

CREATE PROCEDURE walhouse.build(model regclass)
LANGUAGE c
AS 'MODULE_PATHNAME', 'walhouse_build';
COMMENT ON PROCEDURE walhouse.build(regclass) IS
    'Builds a dimension or fact, or builds it again, from mirror and change log, and brings it up to date; CALL walhouse.run does so for all that wait for it. Other models and the feed go on meanwhile, and readers see the old rows until the new ones are there. Commits; for the model''s owner. Errors: its table or a model that it needs is not ready, another session builds it, its data cannot be computed (the model is stopped then).';

CREATE FUNCTION walhouse.resume(model regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT
AS 'MODULE_PATHNAME', 'walhouse_resume';
COMMENT ON FUNCTION walhouse.resume(regclass) IS
    'Lets a paused model go on from where it stands, and has a stopped one tried again by the next load, whether its data changed or not. Raises for a model that is neither; for the model''s owner.';

CREATE FUNCTION walhouse.pause(model regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT
AS 'MODULE_PATHNAME', 'walhouse_pause';
COMMENT ON FUNCTION walhouse.pause(regclass) IS
    'Leaves a model where it is until walhouse.resume: loads and builds pass it over, and what needs it waits with it; the feed and all others go on. Waits for a load that is under way; a build that is under way comes to its end. For the model''s owner.';

CREATE FUNCTION walhouse.rebuild(model regclass)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT
AS 'MODULE_PATHNAME', 'walhouse_rebuild';
COMMENT ON FUNCTION walhouse.rebuild(regclass) IS
    'Has a model built again by the feed''s worker, or the next walhouse.run, after the commit; readers see its old rows until then. CALL walhouse.build does so at once, in the caller''s session. For the model''s owner.';

CREATE PROCEDURE walhouse.rebuild(model regclass, "from" timestamptz, "to" timestamptz)
LANGUAGE c
AS 'MODULE_PATHNAME', 'walhouse_rebuild_range';
COMMENT ON PROCEDURE walhouse.rebuild(regclass, timestamptz, timestamptz) IS
    'Makes the rows of a fact whose event time is in [from, to), or the buckets of a rollup that this range meets, what a build would make them: compares beside loads, and writes what differs in one transaction, with the fact''s rollups; those without buckets, and periodic snapshots, are built again. Recorded in walhouse.load as a build, unless nothing differed. Commits; for the model''s owner. Errors: the model is of another kind, reads every event, is not live, or not where its dimensions are.';

CREATE FUNCTION walhouse.summarize_loads(feed text, before timestamptz)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT
AS 'MODULE_PATHNAME', 'walhouse_summarize_loads';
COMMENT ON FUNCTION walhouse.summarize_loads(text, timestamptz) IS
    'Adds up the feed''s loads that started before a time by the hour, in walhouse.load_summary, and removes them from walhouse.load and load_model; returns how many. Workers do so by walhouse.load_retention. The last load of each model stays. For the feed''s owner.';

CREATE FUNCTION walhouse.set_log_retention(feed text, age interval DEFAULT NULL, bytes bigint DEFAULT NULL, keep_history boolean DEFAULT false)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'walhouse_set_log_retention';
COMMENT ON FUNCTION walhouse.set_log_retention(text, interval, bigint, boolean) IS
    'Has what is older than age (by the feed clock), or more than bytes, of a feed''s change log detached and dropped, by whole partitions; both NULL: everything is kept. Never what a model, live, stopped or being built, has yet to load; with keep_history also not what the models'' history was built from. The feed''s horizon moves first. For the feed''s owner.';
