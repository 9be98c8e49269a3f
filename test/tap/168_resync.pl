# A lost slot is not the end: CALL walhouse.resync makes a new one, compares, and logs what differs as one transaction, so that the
# star's history goes on.  The slot was dropped, and invalidated; tables of many types, keys and definitions, larger ones by their
# checksums; nothing is logged that does not differ, and nothing is missed.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(source => { conf => "min_wal_size = 32MB\nmax_wal_size = 32MB\n" });
sql($source, q{
	CREATE TYPE mood AS ENUM ('sad', 'glad');
	CREATE DOMAIN score AS int CHECK (VALUE >= 0);
	CREATE TABLE account (id int PRIMARY KEY, owner text, balance numeric, mood mood, score score, n int NOT NULL DEFAULT 0);
	CREATE TABLE big (a text COLLATE "C", b bigint, v text, x float8, at timestamptz, j jsonb, PRIMARY KEY (b, a));
	CREATE TABLE odd (id numeric PRIMARY KEY, f float8, r real, c char(5), i interval, m money, b bytea, arr timestamptz[], j json, u uuid,
		rng int4range, bits varbit, "quoted ""name" text);
	CREATE TABLE logged (id int PRIMARY KEY, t text);
	ALTER TABLE logged REPLICA IDENTITY FULL;
	CREATE TABLE part (id int PRIMARY KEY, secret text, t text);
	CREATE TABLE gone (id int PRIMARY KEY);
	CREATE TABLE kept (id int PRIMARY KEY, t text);
	CREATE TABLE wide (id int PRIMARY KEY, i smallint, n numeric, x float8, t text, d date, b boolean, at timestamptz, ts timestamp, u uuid, y bytea, c char(3), j jsonb);
	INSERT INTO wide SELECT g * 7 - 70000, g % 100, g / 4.0, g / 3.0, 'text ' || g, '2026-01-01'::date + g % 100, g % 2 = 0, '2026-01-01 00:00+00'::timestamptz + g * interval '1 s',
		'2026-01-01'::timestamp + g * interval '1 s', md5(g::text)::uuid, decode(md5(g::text), 'hex'), 'c' || g % 10, jsonb_build_object('n', g) FROM generate_series(1, 20000) g;
	CREATE PUBLICATION shop FOR TABLE account, big, odd, logged, part (id, t) WHERE (id > 4), gone, kept, wide;
	INSERT INTO account SELECT g, 'owner ' || g, g * 1.50, CASE WHEN g % 2 = 0 THEN 'sad' ELSE 'glad' END::mood, g, 0 FROM generate_series(1, 100) g;
	INSERT INTO big SELECT 'key ' || g, g, repeat('v', g % 50), g / 7.0, '2026-01-01'::timestamptz + g * interval '1 min', jsonb_build_object('g', g)
		FROM generate_series(1, 20000) g;
	INSERT INTO odd VALUES (1.0, '-0', 'NaN', 'ab', '1 mon', '1.50', '\x00ff', '{2026-01-01 00:00+02,NULL}', '{"a": 1}', gen_random_uuid(), '[1,5)', B'101', 'q'),
		(2.00, 'infinity', 1.1, '', '30 days', NULL, '', '{}', 'null', NULL, 'empty', B'', NULL), (3, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '');
	INSERT INTO logged SELECT g, 't' FROM generate_series(1, 10) g;
	INSERT INTO part SELECT g, 's', 't' FROM generate_series(1, 20) g;
	INSERT INTO gone VALUES (1);
	INSERT INTO kept SELECT g, 't' FROM generate_series(1, 50) g});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop');
	CALL walhouse.set_mirror('shop', 'logged', false);
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, balance, mood, score FROM shop.account $$, key => '{id}', scd => '{"*": 2}');
	SELECT walhouse.create_fact('dw.reading', $$ SELECT b, a, x, at FROM shop.big $$, key => '{b,a}', event_time => 'at');
	CALL walhouse.run('shop')});
my @models = qw(dw.account dw.reading);
my @mirrors = ('account', 'big', 'odd', 'kept', 'wide');
my $all = q{SELECT (SELECT count(*) FROM shop_log.account) + (SELECT count(*) FROM shop_log.big) + (SELECT count(*) FROM shop_log.odd)
	+ (SELECT count(*) FROM shop_log.part) + (SELECT count(*) FROM shop_log.kept)};

# The slot is dropped; nothing happened meanwhile: nothing is logged.
sql($source, q{SELECT pg_drop_replication_slot('shop')});
fails_with($house, 'without its slot the feed stops, and names the choice', q{CALL walhouse.run('shop')}, qr/slot "shop" of feed "shop" does not exist/,
	qr/CALL walhouse\.resync\('shop'\)/);
my $before = value($house, $all);
my $transactions = value($house, q{SELECT count(*) FROM shop_log.txn});
sql($house, q{CALL walhouse.resync('shop')});
is(value($house, $all), $before, 'where nothing differs nothing is logged');
is(value($house, q{SELECT count(*) FROM shop_log.txn}), $transactions, 'nor is a transaction');
is(value($house, q{SELECT resync_lsn IS NULL AND lsn_offset = 0 FROM walhouse.feed}), 't', 'the resync is at its end, on the source\'s own LSNs');

# Changes of every kind, in columns of every kind, while there is no slot.
sql($house, q{CALL walhouse.run('shop')});
sql($source, q{SELECT pg_drop_replication_slot('shop')});
sql($source, q{
	UPDATE account SET balance = balance + 1, mood = 'glad' WHERE id <= 5;
	UPDATE account SET owner = owner || '!' WHERE id = 6;
	UPDATE account SET owner = rtrim(owner, '!') WHERE id = 6;
	UPDATE account SET balance = 10.500 WHERE id = 7;
	DELETE FROM account WHERE id IN (8, 9);
	INSERT INTO account VALUES (101, 'new', 1, 'sad', 0, 0), (8, 'again', 2, NULL, NULL, 0);
	UPDATE account SET id = 200 WHERE id = 10;
	UPDATE big SET v = 'changed' WHERE b % 1000 = 0;
	UPDATE big SET j = '{"g": 1.0}' WHERE b = 1;
	DELETE FROM big WHERE b = 77;
	INSERT INTO big VALUES ('new', 77, 'v', '-0', now(), NULL);
	UPDATE wide SET i = i + 1 WHERE id = 7 * 100 - 70000;
	UPDATE wide SET n = n::numeric(20, 10) WHERE id = 7 * 200 - 70000;
	UPDATE wide SET x = '-0' WHERE id = 7 * 300 - 70000;
	UPDATE wide SET t = NULL WHERE id = 7 * 400 - 70000;
	UPDATE wide SET d = 'infinity' WHERE id = 7 * 500 - 70000;
	UPDATE wide SET b = NOT b WHERE id = 7 * 600 - 70000;
	UPDATE wide SET at = '-infinity' WHERE id = 7 * 700 - 70000;
	UPDATE wide SET ts = ts + interval '1 us' WHERE id = 7 * 800 - 70000;
	UPDATE wide SET u = NULL WHERE id = 7 * 900 - 70000;
	UPDATE wide SET y = '' WHERE id = 7 * 1000 - 70000;
	UPDATE wide SET c = 'x' WHERE id = 7 * 1100 - 70000;
	UPDATE wide SET j = '{"n": 1200.0}' WHERE id = 7 * 1200 - 70000;
	-- Two rows of one part trade values.
	UPDATE wide w SET t = o.t, n = o.n FROM wide o WHERE w.id + o.id = 2 * (7 * 1300 - 70000) + 7 AND abs(w.id - o.id) = 7;
	DELETE FROM wide WHERE id = 7 * 1400 - 70000;
	INSERT INTO wide (id) VALUES (7 * 1500 - 70000 + 1), (-2000000), (2000000000);
	UPDATE odd SET f = 0 WHERE id = 1;
	UPDATE odd SET id = 2.000, i = '1 mon' WHERE id = 2;
	UPDATE logged SET t = 'u' WHERE id = 1;
	UPDATE part SET id = 30 WHERE id = 1;
	UPDATE part SET secret = 'other', t = 'shown' WHERE id = 6;
	UPDATE part SET secret = 'other' WHERE id = 7;
	TRUNCATE kept; INSERT INTO kept SELECT g, 't' FROM generate_series(40, 60) g;
	DROP TABLE gone;
	ALTER TABLE kept ADD COLUMN extra int DEFAULT 7});
my $at = value($house, q{SELECT max(position) FROM walhouse.feed_position});
sql($house, q{CALL walhouse.resync('shop')});
mirrors_equal($house, $source, 'shop', @mirrors);
is(value($house, q{SELECT string_agg(concat_ws(' ', id, t), ',' ORDER BY id) FROM shop.part}),
	value($source, q{SELECT string_agg(concat_ws(' ', id, t), ',' ORDER BY id) FROM part WHERE id > 4}), 'what the publication keeps back stays there');
is(value($house, qq{SELECT string_agg(op::text || ' ' || n, ', ' ORDER BY op) FROM (SELECT op, count(*) AS n FROM shop_log.account WHERE lsn > '$at' GROUP BY op) x}),
	'B 9, D 2, I 2, U 7', 'account: what differs is logged, and no row more');
is(value($house, qq{SELECT string_agg(op::text || ' ' || n, ', ' ORDER BY op) FROM (SELECT op, count(*) AS n FROM shop_log.big WHERE lsn > '$at' GROUP BY op) x}),
	'B 22, D 1, I 1, U 21', 'big: the same by checksums');
is(value($house, qq{SELECT string_agg(op::text || ' ' || n, ', ' ORDER BY op) FROM (SELECT op, count(*) AS n FROM shop_log.wide WHERE lsn > '$at' GROUP BY op) x}),
	'B 15, D 1, I 3, U 14', 'wide: by ranges of its key, whatever the column');
is(value($house, qq{SELECT string_agg(op::text || ' ' || id || ' ' || coalesce(f::text, '') || ' ' || coalesce(i::text, ''), ', ' ORDER BY id, op) FROM shop_log.odd WHERE lsn > '$at'}),
	'B 1.0 -0 1 mon, U 1.0 0 1 mon, B 2.00 Infinity 30 days, U 2.000 Infinity 1 mon', 'odd: rows that are equal and not the same');
is(value($house, qq{SELECT count(*), min(inserts), min(updates), min(deletes), min(context[1]), bool_and(clock >= commit_time) FROM shop_log.txn WHERE end_lsn > '$at'}),
	value($house, qq{SELECT 1, count(*) FILTER (WHERE op = 'I'), count(*) FILTER (WHERE op = 'U'), count(*) FILTER (WHERE op = 'D'), 'walhouse: resync', true
		FROM (SELECT op FROM shop_log.account WHERE lsn > '$at' UNION ALL SELECT op FROM shop_log.big WHERE lsn > '$at' UNION ALL
			SELECT op FROM shop_log.wide WHERE lsn > '$at' UNION ALL SELECT op FROM shop_log.odd WHERE lsn > '$at' UNION ALL SELECT op FROM shop_log.part WHERE lsn > '$at' UNION ALL
			SELECT op FROM shop_log.kept WHERE lsn > '$at') x}), 'as one transaction, which says what it is');
is(value($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table}),
	'account ready, big ready, gone resync, kept ready, logged ready, odd ready, part ready, wide ready', 'a table that is gone stops alone');
is(value($house, qq{SELECT sync_lsn > '$at' FROM walhouse.feed_table WHERE source_name = 'logged'}), 't', 'where there is no mirror the log begins anew');
verify_clean($house, 'before the load', @models);
sql($source, q{UPDATE account SET n = 1 WHERE id = 1; UPDATE logged SET t = 'w' WHERE id = 1; INSERT INTO big VALUES ('later', 1, NULL, 0, now(), NULL)});
sql($house, q{CALL walhouse.run('shop')});
verify_clean($house, 'after it', @models);
star_holds($house, 'after it');
mirrors_equal($house, $source, 'shop', @mirrors);
is(value($house, q{SELECT string_agg(balance::text, ' ' ORDER BY valid_from) FROM dw.account WHERE id = 3}), '4.50 5.50', 'history goes on');
is(value($house, q{SELECT count(*), min(op) FROM shop_log.logged WHERE op <> 'B' AND lsn > (SELECT sync_lsn FROM walhouse.feed_table WHERE source_name = 'logged')}),
	'1|U', 'changes of a table without a mirror are logged from there on');
is(value($house, qq{SELECT count(*) FROM shop.account AS s FULL JOIN (SELECT * FROM walhouse.as_of('shop', 'account', '$at')) AS t USING (id) WHERE t.id IS NOT NULL}), '100',
	'the state at the old position is what it was') if value($house, q{SELECT count(*) FROM pg_proc WHERE proname = 'as_of' AND pronamespace = 'walhouse'::regnamespace}) > 9;

# Keys that are equal and not the same are in different parts, on either side. The table is taken for one that is compared by slices.
sql($source, q{CREATE TABLE scaled (id numeric PRIMARY KEY, v text); INSERT INTO scaled SELECT g, repeat('v', 150) FROM generate_series(1, 5000) g});
sql($house, q{CALL walhouse.create_feed('scaled', server => 'shop', tables => '{scaled}')});
sql($source, q{SELECT pg_drop_replication_slot('scaled'); UPDATE scaled SET id = id * 1.0});
sql($house, q{UPDATE pg_class SET reltuples = 6e7 WHERE oid = 'scaled.scaled'::regclass});
sql($house, q{CALL walhouse.resync('scaled')});
mirrors_equal($house, $source, 'scaled', 'scaled');
is(value($house, q{SELECT string_agg(op::text || ' ' || n, ', ' ORDER BY op) FROM (SELECT op, count(*) AS n FROM scaled_log.scaled GROUP BY op) x}), 'B 5000, U 5000',
	'a key that is written otherwise is that key');
sql($house, q{CALL walhouse.drop_feed('scaled')});

# Keys at the end of what an integer can be.
sql($source, q{CREATE TABLE utmost (id bigint PRIMARY KEY, v text); INSERT INTO utmost SELECT 9223372036854775807 - g, repeat('v', 150) FROM generate_series(0, 5000) g});
sql($house, q{CALL walhouse.create_feed('utmost', server => 'shop', tables => '{utmost}')});
sql($source, q{SELECT pg_drop_replication_slot('utmost'); UPDATE utmost SET v = 'u' WHERE id IN (9223372036854775807, 9223372036854775806, 9223372036854775807 - 5000)});
sql($house, q{CALL walhouse.resync('utmost')});
mirrors_equal($house, $source, 'utmost', 'utmost');
sql($house, q{CALL walhouse.drop_feed('utmost')});

# The slot loses its WAL.
sql($source, q{ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'; SELECT pg_reload_conf()});
sql($source, q{CREATE TABLE filler (t text)});
ok(until_true(sub {
	sql($source, q{INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 5000); SELECT pg_switch_wal(); CHECKPOINT});
	value($source, q{SELECT wal_status FROM pg_replication_slots}) eq 'lost' }, 120), 'the slot loses its WAL');
sql($source, q{ALTER SYSTEM RESET max_slot_wal_keep_size; SELECT pg_reload_conf()});
sql($source, q{UPDATE account SET owner = 'lost' WHERE id = 20});
fails_with($house, 'which stops the feed, and names the choice', q{CALL walhouse.run('shop')}, qr/has lost WAL that the feed needs/, qr/CALL walhouse\.resync\('shop'\)/);
like(value($house, q{SELECT remedy FROM walhouse.doctor_source('shop') WHERE code = 'slot'}), qr/CALL walhouse\.resync\('shop'\)/, 'so does the doctor');
sql($house, q{SELECT walhouse.start('shop')});
sql($house, q{CALL walhouse.resync('shop')});
sql($source, q{UPDATE account SET owner = 'after' WHERE id = 21});
ok(poll($house, 'postgres', q{SELECT string_agg(owner, ' ' ORDER BY id) FROM dw.account WHERE id IN (20, 21) AND is_current}, 'lost after'), 'the worker that was started goes on');
mirrors_equal($house, $source, 'shop', @mirrors);
verify_clean($house, 'in the end', @models);

# Refusals.
fails_with($house, 'a feed that is read', q{CALL walhouse.resync('shop')}, qr/is being read by process/, qr/walhouse\.stop/);
sql($house, q{SELECT walhouse.stop('shop')});
fails_with($house, 'in a transaction', q{BEGIN; CALL walhouse.resync('shop')}, qr/cannot run inside a transaction block/, qr/autocommit/);
sql($source, q{ALTER PUBLICATION shop RENAME TO other});
fails_with($house, 'a source without the publication', q{CALL walhouse.resync('shop')}, qr/publication "shop" of feed "shop" does not exist/, qr/CREATE PUBLICATION/);
is(value($house, q{SELECT resync_lsn IS NULL FROM walhouse.feed}), 't', 'leaves all as it was');
$house->stop;
$source->stop;
done_testing();
