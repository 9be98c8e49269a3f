# Where steps of a feed's life meet others: add_table beside drop_feed, a resync that is killed between two parts of one table, a copy whose
# snapshot does not see that many rows were taken away, a definition that changed while there was no slot, and a role that owns little.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.feed_chunk_rows = 50\nwalhouse.feed_memory = '64kB'\n" });
sql($source, q{
	CREATE TABLE base (id int PRIMARY KEY);
	CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, fill text DEFAULT repeat('fill ', 100));
	CREATE TABLE added (id int PRIMARY KEY, v text);
	INSERT INTO account SELECT g FROM generate_series(1, 4000) g;
	INSERT INTO added SELECT g, 'v' || g FROM generate_series(1, 300) g});
create_server($house, 's', $source);

# -------- add_table beside drop_feed --------
sql($house, q{CALL walhouse.create_feed('gone', 's', tables => '{base}')});
my $said;
my $session;
stand($house, 'add: published', sub { $session = in_background($house, q{CALL walhouse.add_table('gone', 'added')}, \$said) });
sql($house, q{CALL walhouse.drop_feed('gone')});
let_go($house);
$session->finish;
like($said, qr/ERROR:  feed "gone" does not exist/, 'a table is not added to a feed that was dropped meanwhile');
is(value($house, q{SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'gone%'}), '0', 'and nothing is left of it');

# -------- a resync is killed between two parts of one table; its definition changed --------
sql($house, q{
	CALL walhouse.create_feed('f', 's', tables => '{account}');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', 'SELECT id, n FROM f.account', key => '{id}', scd => '{"*": 2}');
	CALL walhouse.run('f')});
sql($source, q{SELECT pg_drop_replication_slot('f');
	ALTER TABLE account ADD COLUMN note text, ALTER COLUMN n DROP NOT NULL;
	UPDATE account SET n = id, note = 'n'});
my $pid = stand($house, 'resync: slice', sub { $session = in_background($house, q{CALL walhouse.resync('f')}) });
my $part = value($house, q{SELECT count(*) FROM f_log.account WHERE op = 'U'});
ok($part > 0 && $part < 4000, "a part of the table is in the log: $part");
kill_there($house, $pid);
$session->finish;
verify_clean($house, 'killed between two parts', 'dw.account');
let_go($house);
sql($house, q{CALL walhouse.resync('f')});
is(value($house, q{SELECT count(*) || ' ' || count(DISTINCT id) FROM f_log.account WHERE op = 'U'}), '4000 4000', 'each row is logged once');
is(value($house, q{SELECT string_agg(kind || ' ' || COALESCE(column_name, ''), ', ' ORDER BY kind) FROM walhouse.schema_changes WHERE source_name = 'account'}),
	'add column note, drop not null n', 'what changed in the definition is noted');
sql($house, q{CALL walhouse.run('f')});
mirrors_equal($house, $source, 'f', 'account');
verify_clean($house, 'in the end', 'dw.account');
sql($source, 'ALTER TABLE account ALTER COLUMN n SET NOT NULL; INSERT INTO account VALUES (5000, 1)');
sql($house, q{CALL walhouse.run('f')});
is(value($house, q{SELECT count(*) FROM walhouse.schema_changes WHERE source_name = 'account'}), '3', 'and not noted again with what comes later');

# -------- a copy does not read while too many keys are to be kept in mind --------
sql($house, q{SELECT walhouse.start('f')});
stand($house, 'copy: begun', sub { sql($house, q{CALL walhouse.add_table('f', 'added')}) });
my $xid = value($source, 'SELECT (pg_current_xact_id()::text::bigint + 1000000) % 4294967296');
sql($house, qq{SELECT count(*) FROM walhouse.feed_table;
	INSERT INTO walhouse.feed_copy_key SELECT (jsonb_populate_record(k, jsonb_build_object('feed_id', t.feed_id, 'source_relid', t.source_relid,
		'xid', $xid, 'owed', false, 'again', false, 'key', ARRAY[(100000 + g)::text]))).*
	FROM walhouse.feed_table t, generate_series(1, 1000) g, (SELECT NULL::walhouse.feed_copy_key AS k) n WHERE t.source_name = 'added'});
let_go($house);
ok(poll($house, 'postgres', q{SELECT error FROM walhouse.feed_copy},
	'a snapshot of the source does not see yet that many rows of table "added" were taken away: Their keys take more than walhouse.feed_memory.'),
	'a copy waits while its snapshot does not see too much');
sql($house, "DELETE FROM walhouse.feed_copy_key WHERE xid = $xid");
ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table WHERE source_name = 'added'}), 'and goes on by itself');
ok(reach($house, 'f', $source), 'all arrives');
mirrors_equal($house, $source, 'f', 'added');
sql($house, q{SELECT walhouse.stop('f')});

# -------- a role at the source that owns little --------
my $database = value($source, 'SELECT current_database()');
sql($source, qq{CREATE ROLE lesser LOGIN REPLICATION; GRANT CREATE ON DATABASE $database TO lesser; CREATE SCHEMA its AUTHORIZATION lesser;
	SET ROLE lesser; CREATE TABLE its.own (id int PRIMARY KEY)});
my $options = server_options($source);
sql($house, qq{CREATE SERVER lesser FOREIGN DATA WRAPPER walhouse OPTIONS ($options);
	CREATE USER MAPPING FOR CURRENT_USER SERVER lesser OPTIONS (user 'lesser');
	CALL walhouse.create_feed('small', 'lesser', tables => '{its.own}')});
my $add = q{CALL walhouse.add_table('small', 'added')};
fails_with($house, 'a table that the role may not read', $add, qr/lesser/, qr/GRANT SELECT ON/);
sql($source, 'GRANT SELECT ON added TO lesser');
fails_with($house, 'a table that the role does not own', $add, qr/must be owner of table added/,
	qr/Let an owner run it at the source, and call this again: ALTER PUBLICATION small ADD TABLE public\.added;/);
sql($source, 'ALTER PUBLICATION small ADD TABLE public.added');
sql($house, "$add; CALL walhouse.run('small')");
is(value($house, q{SELECT count(*) FROM small.added}), '300', 'an owner has done so: it is copied');
fails_with($house, 'nor can the role take it away', q{CALL walhouse.remove_table('small', 'nothing')}, qr/no table "nothing"/);
sql($house, q{CALL walhouse.remove_table('small', 'added')});
is(value($source, q{SELECT count(*) FROM pg_publication_tables WHERE pubname = 'small'}), '1', 'it leaves the publication, which the role owns');
$_->stop for $house, $source;
done_testing();
