-- What servers, user mappings and the arguments of create_feed may say. (Which options are valid depends on libpq's version.)
\set VERBOSITY terse
CREATE SERVER feed_options FOREIGN DATA WRAPPER walhouse OPTIONS (host 'nowhere.invalid', dbname 'x', follow_failover 'true');
ALTER SERVER feed_options OPTIONS (ADD service 'x');
ALTER SERVER feed_options OPTIONS (ADD application_name 'x');
ALTER SERVER feed_options OPTIONS (ADD options '-c x=y');
ALTER SERVER feed_options OPTIONS (ADD user 'x');
CREATE SERVER feed_options_2 FOREIGN DATA WRAPPER walhouse OPTIONS (follow_failover 'perhaps');
CREATE USER MAPPING FOR CURRENT_USER SERVER feed_options OPTIONS (passfile '/x');
\set VERBOSITY default
CREATE USER MAPPING FOR CURRENT_USER SERVER feed_options OPTIONS (user 'feeder', password 'secret');
CALL walhouse.create_feed('f', 'feed_options');
CALL walhouse.create_feed('f', 'feed_options', publication => 'p', tables => '{t}');
CALL walhouse.create_feed('f', 'feed_options', publication => 'p', time_zone => 'Mars/Olympus');
CALL walhouse.create_feed(NULL, 'feed_options', publication => 'p');
CALL walhouse.create_feed(repeat('f', 64), 'feed_options', publication => 'p');
CALL walhouse.create_feed('f', 'no_such_server', publication => 'p');
CALL walhouse.ingest('no_such_feed');
CALL walhouse.resync_table('no_such_feed', 't');
CALL walhouse.drop_feed('no_such_feed');
SELECT walhouse.takeover('no_such_feed');
DO $$ BEGIN CALL walhouse.drop_feed('x'); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
SELECT count(*) FROM walhouse.feed;
SET client_min_messages = warning;
DROP SERVER feed_options CASCADE;
