-- worker: what start, stop, run and wait_for say when something is not right; no feed is needed for that.
SELECT walhouse.start('nothing');
SELECT walhouse.stop('nothing');
SELECT walhouse.start(NULL) IS NULL AS nothing_happens;
CALL walhouse.run('nothing');
CALL walhouse.run(NULL);
SELECT walhouse.wait_for('nothing', '0/1');

BEGIN;
CALL walhouse.run('nothing');
ROLLBACK;
DO $$ BEGIN CALL walhouse.run('nothing'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;

-- settings
SELECT name, setting, unit, context FROM pg_settings
WHERE name IN ('walhouse.worker', 'walhouse.max_feeds', 'walhouse.max_build_workers') ORDER BY name;
SET walhouse.worker = off;
SET walhouse.max_feeds = 3;

-- a session with a replication origin of its own keeps it
SELECT pg_replication_origin_create('regress_worker') IS NOT NULL AS created;
SELECT pg_replication_origin_session_setup('regress_worker');
CALL walhouse.run('nothing');
SELECT pg_replication_origin_session_is_setup();
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_drop('regress_worker');

-- procedures cannot be strict
CALL walhouse.drop_feed(NULL);
CALL walhouse.drop_feed('nothing', NULL);
CALL walhouse.resync_table('nothing', NULL);
CALL walhouse.load(NULL);
CALL walhouse.build(NULL);
CALL walhouse.ingest(NULL);
CALL walhouse.create_feed(NULL, NULL);

-- a feed whose owner was dropped
INSERT INTO walhouse.feed (name, owner, server, slot, publication, log_partition_size) VALUES ('orphan', 4294967294::oid::regrole, 's', 's', 'p', 1);
CALL walhouse.run('orphan');
SELECT walhouse.start('orphan');
CALL walhouse.drop_feed('orphan');
DELETE FROM walhouse.feed WHERE name = 'orphan';
