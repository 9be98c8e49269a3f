# What create_feed asks for, all at once; roles that are not superuser; a definition that changes; a table that does not fit; and
# what stops a feed: a slot that is gone or ahead, a copy of the warehouse, a slot that waits.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my $source = new_server('source', conf => "max_replication_slots = 6\nwal_level = replica\noutput_plugin_libraries = 'pgoutput'\n");
my $house = new_server('house', extension => 1);

# -------- everything that is missing, in one error --------
sql($source, q{
	CREATE ROLE feeder LOGIN PASSWORD 'secret';
	GRANT pg_read_all_settings TO feeder;
	CREATE TABLE public.nothing (a int PRIMARY KEY);
	ALTER TABLE public.nothing REPLICA IDENTITY NOTHING;
	CREATE TABLE public.no_key (a int);
	CREATE TABLE public.no_index (a int UNIQUE, b int);
	ALTER TABLE public.no_index REPLICA IDENTITY FULL;
	CREATE PUBLICATION partial FOR TABLE public.nothing, public.no_key, public.no_index WITH (publish = 'insert');
	ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (other, "walhouse shop")';
	ALTER SYSTEM SET synchronous_commit = local;
	SELECT pg_reload_conf();
});
sql($house, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . q{);
	CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'feeder');
	CREATE SCHEMA shop_log;});
my ($status, $out, $err) = $house->psql('postgres', q{CALL walhouse.create_feed('shop', 's', publication => 'partial', slot => 'No')});
like($err, qr/cannot be created: 13 things are missing/, 'all is counted');
for my $missing (
	'Schema "shop_log" exists in this database already', 'wal_level of the source is replica',
	'output_plugin_libraries of the source does not name walhouse_output', 'lacks the attribute REPLICATION',
	'"No" is no name for a replication slot', 'would wait for this feed',
	'does not publish all of insert, update, delete and truncate',
	'may not read table "public.nothing"', 'may not read table "public.no_key"', 'may not read table "public.no_index"',
	'has replica identity NOTHING', 'Table "public.no_key" has no primary key',
	'Table "public.no_index" has replica identity FULL and no unique index')
{
	like($err, qr/\Q$missing\E/, "told: $missing");
}
like($err, qr/ALTER SYSTEM SET output_plugin_libraries = pgoutput, walhouse_output;/, 'the additive line is shown');
like($err, qr/ALTER ROLE feeder REPLICATION;/, 'with the statement that mends it');
is(sql($house, 'SELECT count(*) FROM walhouse.feed'), '0', 'and nothing was made');
sql($house, 'DROP SCHEMA shop_log; DROP SERVER s CASCADE');

$source->append_conf('postgresql.conf', "wal_level = logical\noutput_plugin_libraries = 'pgoutput, test_decoding, walhouse_output'\n");
sql($source, 'ALTER SYSTEM RESET ALL; DROP PUBLICATION partial');
$source->restart;

# -------- neither side superuser --------
$source->append_conf('pg_hba.conf', '');
my $hba = $source->data_dir . '/pg_hba.conf';
PostgreSQL::Test::Utils::append_to_file("$hba.new", "local all feeder scram-sha-256\nlocal replication feeder scram-sha-256\n" . PostgreSQL::Test::Utils::slurp_file($hba));
rename "$hba.new", $hba or die;
sql($source, q{
	ALTER ROLE feeder REPLICATION;
	REVOKE pg_read_all_settings FROM feeder;
	SELECT pg_reload_conf();
	CREATE TABLE public.item (id int PRIMARY KEY, name varchar(10), price numeric(10,2), big text);
	INSERT INTO public.item SELECT g, 'i' || g, g, repeat('x', 3000) FROM generate_series(1, 10) g;
	CREATE TABLE public.other (id int PRIMARY KEY, v text);
	INSERT INTO public.other VALUES (1, 'a');
	CREATE PUBLICATION shop FOR TABLE public.item, public.other;
	GRANT SELECT ON public.item, public.other TO feeder;
});
sql($house, q{CREATE ROLE dw LOGIN; CREATE ROLE stranger LOGIN; GRANT CREATE ON DATABASE postgres TO dw;
	GRANT USAGE ON FOREIGN DATA WRAPPER walhouse TO dw;});
my $as_dw = 'SET SESSION AUTHORIZATION dw;';
sql($house, "$as_dw CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (" . server_options($source) . q{);
	CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'feeder');});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.create_feed('shop', 's', publication => 'shop')");
like($err, qr/password or client certificate is required/, 'a password is asked for');
sql($house, "$as_dw ALTER USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (ADD password 'secret')");
($status, $out, $err) = $house->psql('postgres', "$as_dw ALTER USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (ADD sslkey '/etc/passwd')");
like($err, qr/permission denied to set option "sslkey"/, 'files of the server are not for everybody');
($status, $out, $err) = $house->psql('postgres', "$as_dw ALTER SERVER s OPTIONS (ADD passfile '/x')");
like($err, qr/invalid option "passfile".*Valid options in this context are: host,/s, 'options are a white list');
($status, $out, $err) = $house->psql('postgres', "$as_dw BEGIN; CALL walhouse.create_feed('shop', 's', publication => 'shop')");
like($err, qr/cannot run inside a transaction block/, 'not in a transaction block');

# A transaction with an xid holds the slot up.
my $blocker = $source->background_psql('postgres');
$blocker->query_safe('BEGIN; SELECT pg_current_xact_id(); SELECT pg_backend_pid();');
($status, $out, $err) = $house->psql('postgres', "$as_dw SET walhouse.feed_slot_timeout = '500ms'; CALL walhouse.create_feed('shop', 's', publication => 'shop')");
like($err, qr/could not be created in 500 ms.*sessions: \d+\./s, 'creating the slot has a limit, and names who is waited for');
$blocker->query_safe('ROLLBACK');
$blocker->quit;
sql($house, "$as_dw CALL walhouse.drop_feed('shop')");
sql($house, "$as_dw CALL walhouse.drop_feed('shop')");
is(sql($house, 'SELECT count(*) FROM walhouse.feed'), '0', 'drop_feed cleans what failed half-way, and can be repeated');
ok(poll($source, 'postgres', 'SELECT count(*) FROM pg_replication_slots', '0'), 'no slot is left');

sql($house, "$as_dw CALL walhouse.create_feed('shop', 's', publication => 'shop')");
is(sql($house, 'SELECT count(*) FROM shop.item'), '10', 'the snapshot was copied');
is(sql($house, q{SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ',') FROM pg_class WHERE relnamespace IN ('shop'::regnamespace, 'shop_log'::regnamespace)}),
	'dw', 'all belongs to the owner');
($status, $out, $err) = $house->psql('postgres', "SET SESSION AUTHORIZATION stranger; CALL walhouse.ingest('shop')");
like($err, qr/must be owner of feed "shop"/, 'others may not run it');

($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.create_feed('pg_shop', 's', publication => 'shop', slot => 'second')");
like($err, qr/cannot be created: 1 thing is missing.*pg_ is reserved/s, 'a name that cannot be a schema is refused before anything is made');

# -------- definitions that change --------
sql($source, q{
	UPDATE public.item SET name = 'before' WHERE id = 1;
	ALTER TABLE public.item ADD COLUMN color text DEFAULT 'red';
	UPDATE public.item SET name = 'after' WHERE id = 1;
	ALTER TABLE public.item RENAME COLUMN name TO title;
	BEGIN;
	UPDATE public.item SET title = 'one' WHERE id = 2;
	ALTER TABLE public.item ADD COLUMN size int DEFAULT 7;
	UPDATE public.item SET size = 8 WHERE id = 3;
	COMMIT;
	ALTER TABLE public.item ALTER title TYPE varchar(40);
	UPDATE public.item SET title = repeat('t', 30) WHERE id = 4;
	ALTER TABLE public.item DROP COLUMN color;
	UPDATE public.item SET price = 0 WHERE id = 5;
	ALTER TABLE public.item ADD COLUMN color int;
	UPDATE public.item SET color = 5 WHERE id = 6;
});
sql($house, "$as_dw CALL walhouse.ingest('shop')");
is(sql($house, 'SELECT id, title, price, size, color, md5(big) FROM shop.item ORDER BY id'),
	sql($source, 'SELECT id, title, price, size, color, md5(big) FROM public.item ORDER BY id'), 'definitions are followed');
is(sql($house, q{SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'item'}),
	'id,title,price,big,color_old5,size,color', 'a dropped column stays under another name when its name comes back');
is(sql($house, q{SELECT count(*) FROM walhouse.feed_table WHERE state <> 'ready'}), '0', 'no table was stopped');

sql($source, q{
	ALTER TABLE public.item ALTER price TYPE double precision;
	UPDATE public.item SET price = 1.5 WHERE id = 1;
	UPDATE public.other SET v = 'b';
});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like($err, qr/has to be copied again.*changed its type.*resync_table/s, 'a new type stops the table');
is(sql($house, 'SELECT v FROM shop.other'), 'b', 'and not the feed');
sql($source, q{UPDATE public.item SET price = 2.5 WHERE id = 2; ALTER TABLE public.item ADD COLUMN made timestamptz DEFAULT clock_timestamp();});
sql($house, "$as_dw CALL walhouse.ingest('shop'); CALL walhouse.resync_table('shop', 'public.item')");
sql($source, 'UPDATE public.item SET price = 3.5 WHERE id = 3');
sql($house, "$as_dw CALL walhouse.ingest('shop')");
is(sql($house, 'SELECT id, title, price, size, color, made FROM shop.item ORDER BY id'),
	sql($source, 'SELECT id, title, price, size, color, made FROM public.item ORDER BY id'), 'copied again, it follows');
is(sql($house, q{SELECT pg_typeof(price) FROM shop_log.item LIMIT 1}), 'double precision', 'the log has the new type');
sql($source, q{ALTER TABLE public.item ADD COLUMN n serial; UPDATE public.item SET n = 100 WHERE id = 1; ALTER TABLE public.item REPLICA IDENTITY NOTHING});
$house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
is(sql($house, q{SELECT state FROM walhouse.feed_table WHERE source_name = 'item'}), 'ready', 'rows that were written anew are followed, and a key may go');
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.resync_table('shop', 'item')");
like($err, qr/cannot be copied.*no key/s, 'no key, no copy');
sql($source, q{ALTER TABLE public.item REPLICA IDENTITY DEFAULT});
sql($house, "$as_dw CALL walhouse.resync_table('shop', 'item')");

sql($source, q{ALTER TABLE public.other RENAME TO another; UPDATE public.another SET v = 'renamed'});
sql($house, "$as_dw CALL walhouse.ingest('shop')");
is(sql($house, q{SELECT source_name || ' ' || mirror || ' ' || (SELECT v FROM shop.other) FROM walhouse.feed_table WHERE mirror = 'shop.other'::regclass}),
	'another shop.other renamed', 'a table that is renamed goes on under its mirror\'s name');
sql($source, q{ALTER TABLE public.another RENAME TO other; UPDATE public.other SET v = 'back'});
sql($house, "$as_dw CALL walhouse.ingest('shop')");

# -------- a mirror with triggers of its own, before and after the row --------
sql($house, q{
	CREATE TABLE public.seen (what text);
	GRANT INSERT ON public.seen TO dw;
	CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.seen VALUES (TG_WHEN || $q$ $q$ || TG_OP || $q$ $q$ || COALESCE(NEW.id, OLD.id)); RETURN COALESCE(NEW, OLD); END';
	CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON shop.other FOR EACH ROW EXECUTE FUNCTION public.see();
	CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON shop.other FOR EACH ROW EXECUTE FUNCTION public.see();
	CREATE TRIGGER of_column AFTER UPDATE OF v ON shop.other FOR EACH ROW WHEN (OLD.v <> NEW.v) EXECUTE FUNCTION public.see();
});
sql($source, q{INSERT INTO public.other VALUES (8, 'x')});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
is($err, '', 'triggers of a mirror leave nothing open');
sql($source, q{UPDATE public.other SET v = 'z' WHERE id = 8});
sql($house, "$as_dw CALL walhouse.ingest('shop')");
sql($source, q{DELETE FROM public.other WHERE id = 8});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
is($err, '', 'nor do updates and deletes');
is(sql($house, q{SELECT string_agg(what, ', ') FROM public.seen}),
	'BEFORE INSERT 8, AFTER INSERT 8, BEFORE UPDATE 8, AFTER UPDATE 8, AFTER UPDATE 8, BEFORE DELETE 8, AFTER DELETE 8', 'each fires for its row, also those of columns');
is(sql($house, q{SELECT state FROM walhouse.feed_table WHERE source_name = 'other'}), 'ready', 'and the table goes on');
sql($house, 'DROP FUNCTION public.see() CASCADE; DROP TABLE public.seen');

# -------- a mirror that somebody changed --------
sql($house, 'DELETE FROM shop.other');
sql($source, q{UPDATE public.other SET v = 'c'; UPDATE public.item SET price = 9 WHERE id = 9});
$house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like(sql($house, q{SELECT error FROM walhouse.feed_table WHERE source_name = 'other'}), qr/about a row that the mirror does not have.*Key: id = 1/,
	'a row that is missing stops its table');
is(sql($house, 'SELECT price FROM shop.item WHERE id = 9'), '9', 'and nothing else');
sql($house, "$as_dw CALL walhouse.resync_table('shop', 'other')");
sql($source, q{DELETE FROM public.other});
sql($house, q{INSERT INTO shop.item (id) VALUES (77)});
sql($source, q{INSERT INTO public.item (id) VALUES (77); INSERT INTO public.other VALUES (2, 'z')});
$house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
is(sql($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table}), 'item resync, other ready',
	'a row that is there already stops its table');
is(sql($house, 'SELECT * FROM shop.other'), '2|z', 'and nothing else');
sql($house, "$as_dw CALL walhouse.resync_table('shop', 'item')");

# -------- a large transaction through the spool --------
sql($source, q{INSERT INTO public.item (id, title) SELECT g, 'bulk' FROM generate_series(1000, 301000) g;});
sql($source, q{BEGIN; UPDATE public.item SET title = 'twice' WHERE id > 1000; DELETE FROM public.item WHERE id % 3 = 0; UPDATE public.item SET title = 'last' WHERE id % 7 = 0; COMMIT});
sql($house, "$as_dw SET walhouse.feed_memory = '1MB'; CALL walhouse.ingest('shop')");
is(sql($house, 'SELECT count(*), sum(id), md5(string_agg(title, \',\' ORDER BY id)) FROM shop.item'),
	sql($source, 'SELECT count(*), sum(id), md5(string_agg(title, \',\' ORDER BY id)) FROM public.item'), '300,000 rows through the spool');
is(sql($house, q{SELECT count(*) FROM (SELECT FROM shop_log.item WHERE op = 'B' GROUP BY lsn, id HAVING count(*) > 1) x}), '0',
	'chunks write no second B');
sql($source, q{TRUNCATE public.item, public.other});
sql($house, "$as_dw SET walhouse.feed_memory = '1MB'; CALL walhouse.ingest('shop')");
is(sql($house, q{SELECT (SELECT count(*) FROM shop.item), count(*) FILTER (WHERE op = 'B') > 200000, count(*) FILTER (WHERE op = 'T')
	FROM shop_log.item WHERE lsn = (SELECT max(lsn) FROM shop_log.item)}), '0|t|1', 'TRUNCATE is a B for each row, then T');

# -------- a table that is dropped at the source and made again; one that lends its name is not --------
sql($source, q{CREATE TABLE public.again (id int PRIMARY KEY); CREATE TABLE public.lent (id int PRIMARY KEY);
	CREATE PUBLICATION everything FOR ALL TABLES; GRANT SELECT ON public.again, public.lent, public.nothing TO feeder;
	DROP TABLE public.nothing, public.no_key, public.no_index});
sql($house, "$as_dw CALL walhouse.create_feed('every', 's', publication => 'everything')");
sql($source, q{DROP TABLE public.again; CREATE TABLE public.again (id int PRIMARY KEY, v text); INSERT INTO public.again VALUES (1, 'a');
	ALTER TABLE public.lent RENAME TO kept; CREATE TABLE public.lent (id int PRIMARY KEY); INSERT INTO public.lent VALUES (1);
	INSERT INTO public.kept VALUES (2)});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('every')");
like($err, qr/WARNING:  table "again" of feed "every" has ended/, 'a table that is gone is told of');
is(sql($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.stat_table WHERE feed = 'every'
	AND source_name IN ('again', 'kept', 'lent')}), 'again resync, kept ready', 'and stops; another name does not');
is(sql($house, 'SELECT * FROM every.lent'), '2', 'and the renamed table is followed');
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.resync_table('every', 'again')");
like($err, qr/cannot be copied.*made anew, walhouse\.remove_table and walhouse\.add_table/s, 'resync_table says what to do');
sql($source, 'GRANT SELECT ON public.again TO feeder');
sql($house, "$as_dw CALL walhouse.remove_table('every', 'again'); CALL walhouse.add_table('every', 'again'); CALL walhouse.ingest('every')");
is(sql($house, 'SELECT * FROM every.again'), '1|a', 'removed and added it is followed');
sql($house, "$as_dw CALL walhouse.drop_feed('every')");
sql($source, 'DROP PUBLICATION everything');

# -------- a mirror that somebody dropped --------
sql($house, 'SET walhouse.allow_writes = on; DROP TABLE shop.other');
sql($source, q{INSERT INTO public.other VALUES (3, 'x'); INSERT INTO public.item (id) VALUES (5000)});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like($err, qr/WARNING:  table "other" of feed "shop" stops: its mirror or its change log was dropped/, 'is told of');
is(sql($house, q{SELECT state || ' ' || error FROM walhouse.feed_table WHERE source_name = 'other'}), 'resync its mirror or its change log was dropped',
	'stops its table');
is(sql($house, 'SELECT id FROM shop.item'), '5000', 'and nothing else');
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.resync_table('shop', 'other')");
like($err, qr/has lost its mirror or its change log.*walhouse\.drop_feed\('shop'\)/s, 'resync_table says what to do');

# -------- where a feed may run --------
my $position = sql($house, q{SELECT max(position) FROM walhouse.feed_position});
sql($house, q{UPDATE walhouse.feed SET house_system_id = '1'});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like($err, qr/may not run here.*walhouse\.takeover\('shop'\)/s, 'a copy of the warehouse stops');
sql($house, "$as_dw SELECT walhouse.takeover('shop'); CALL walhouse.ingest('shop')");
sql($house, q{UPDATE walhouse.feed SET house_timeline = 0, source_timeline = 0});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like($err, qr/The timeline of the warehouse is 1, and the feed was made for 0/, 'another timeline stops it');
sql($house, "$as_dw ALTER SERVER s OPTIONS (ADD follow_failover 'true'); CALL walhouse.ingest('shop')");
is(sql($house, q{SELECT house_timeline, source_timeline FROM walhouse.feed}), '1|1', 'unless it is told to follow');
sql($source, q{INSERT INTO public.other VALUES (5, 'y')});
my $saved = sql($house, q{SELECT max(position) FROM walhouse.feed_position});
sql($house, "$as_dw CALL walhouse.ingest('shop')");
ok(poll($source, 'postgres', "SELECT confirmed_flush_lsn > '$saved' FROM pg_replication_slots"), 'the slot is confirmed');
sql($house, qq{DELETE FROM walhouse.feed_position; INSERT INTO walhouse.feed_position VALUES ((SELECT feed_id FROM walhouse.feed), '$saved', now())});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like($err, qr/is ahead of feed "shop"/, 'a slot that is ahead stops the feed');
sql($source, q{SELECT pg_drop_replication_slot('shop')});
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.ingest('shop')");
like($err, qr/replication slot "shop" of feed "shop" does not exist/, 'a slot that is gone stops it');
$source->stop;
($status, $out, $err) = $house->psql('postgres', "$as_dw CALL walhouse.drop_feed('shop')");
like($err, qr/drop_slot => false/, 'a source that is gone does not hold the feed');
sql($house, "$as_dw CALL walhouse.drop_feed('shop', drop_slot => false)");
is(sql($house, q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'shop%'}), '0', 'nothing is left');

$house->stop;
done_testing();
