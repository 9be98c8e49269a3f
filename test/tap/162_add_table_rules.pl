# What may happen to a table while it is copied: source transactions that are in its WAL and not yet to be seen, TRUNCATE, DDL, rights
# that are taken away; and what add_table and remove_table refuse.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.feed_chunk_rows = 100\n" });
sql($source, q{
	CREATE TABLE base (id int PRIMARY KEY);
	CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, wide text);
	ALTER TABLE t ALTER COLUMN wide SET STORAGE EXTERNAL;
	CREATE TABLE nokey (id int);
	CREATE TABLE parts (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
	INSERT INTO parts SELECT i, i % 20 FROM generate_series(1, 500) i;
	CREATE TABLE listed (id int PRIMARY KEY, v text, secret text);
	INSERT INTO listed SELECT i, 'v' || i, 'secret' FROM generate_series(1, 300) i;
	CREATE TABLE hard (f float8, x text COLLATE "C", b bytea, PRIMARY KEY (f, x, b));
	INSERT INTO hard SELECT CASE i % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN -0.0 ELSE i / 7.0 END::float8, chr(32 + i % 90) || chr(39) || i, decode(md5(i::text), 'hex') FROM generate_series(1, 1500) i;
	CREATE PUBLICATION theirs FOR TABLE base;
});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', tables => '{base}'); CALL walhouse.create_feed('g', 's', publication => 'theirs')});

sub refused
{
	my ($call, $pattern, $name) = @_;
	my ($status, undef, $err) = $house->psql('postgres', $call);
	return like($err, $pattern, $name);
}
sub fill { sql($source, q{TRUNCATE t; INSERT INTO t SELECT i, 0, CASE WHEN i % 2 = 0 THEN repeat(md5(i::text), 100) END FROM generate_series(1, 1000) i}) }
sub point
{
	my ($point) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.debug_feed_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
}
sub standing { my ($point) = @_; return ok(poll($house, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at $point'"), "it stands at \"$point\"") }
# begin_copy: table t is added, and the worker has read the fourth of ten chunks.
sub begin_copy
{
	fill();
	point('copy: chunk 4');
	sql($house, q{CALL walhouse.add_table('f', 't')});
	standing('copy: chunk 4');
}
sub ready
{
	my ($name) = @_;
	ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table WHERE source_name = 't'}), $name)
		or diag(sql($house, 'SELECT * FROM walhouse.progress_snapshot'));
	ok(reach($house, 'f', $source), 'all arrives');
	mirrors_equal($house, $source, 'f', 't');
	sql($house, q{CALL walhouse.remove_table('f', 't')});
}

# -------- refused --------
refused(q{CALL walhouse.add_table('f', 'none')}, qr/the source of feed "f" has no table "none" that can be added/, 'no such table');
refused(q{CALL walhouse.add_table('f', 'base')}, qr/table "base" is in feed "f" already/, 'a table twice');
refused(q{CALL walhouse.add_table('f', 'nokey')}, qr/table "nokey" cannot be added to feed "f": 1 thing is missing.*no primary key/s, 'a table without a key');
refused(q{CALL walhouse.add_table('g', 't')}, qr/publication "theirs" of the source does not publish table "t".*ALTER PUBLICATION theirs ADD TABLE public\.t/s, 'a publication that is not the feed\'s');
refused(q{CALL walhouse.remove_table('f', 'none')}, qr/feed "f" has no table "none"/, 'nothing to remove');
refused(q{BEGIN; CALL walhouse.add_table('f', 't'); COMMIT}, qr/cannot run inside a transaction block/, 'not in a transaction');
refused(q{CREATE ROLE other; SET ROLE other; CALL walhouse.add_table('f', 't')}, qr/must be owner of feed "f"/, 'not for others');
is(value($house, 'SELECT count(*) FROM walhouse.feed_copy'), '0', 'nothing was begun');

# -------- all kinds of keys; partitions; column lists and row filters --------
sql($source, q{ALTER PUBLICATION theirs ADD TABLE listed (id, v) WHERE (id % 3 = 0)});
sql($house, q{CALL walhouse.add_table('g', 'listed'); CALL walhouse.run('g'); CALL walhouse.add_table('f', 'hard'); CALL walhouse.add_table('f', 'parts')});
is(value($house, q{SELECT count(*), min(id), max(v), count(*) FILTER (WHERE id % 3 = 0) FROM g.listed}), '100|3|v99|100', 'what is not published stays there');
is(value($house, q{SELECT count(*) FROM information_schema.columns WHERE table_schema = 'g' AND column_name = 'secret'}), '0', 'columns, too');
sql($house, q{CALL walhouse.run('f')});
mirrors_equal($house, $source, 'f', 'hard', 'parts_1', 'parts_2');
sql($source, q{CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (20) TO (30); INSERT INTO parts VALUES (1, 25), (2, 26)});
sql($house, q{CALL walhouse.add_table('f', 'parts'); CALL walhouse.run('f')});
mirrors_equal($house, $source, 'f', 'parts_1', 'parts_2', 'parts_3');
sql($house, q{CALL walhouse.remove_table('f', 'parts')});
is(value($house, q{SELECT string_agg(source_name, ',' ORDER BY 1) FROM walhouse.feed_table t JOIN walhouse.feed f USING (feed_id) WHERE name = 'f'}), 'base,hard', 'partitions go together');

# -------- commits that are in the WAL, and that nobody sees --------
sql($house, q{SELECT walhouse.start('f')});
begin_copy();
sql($source, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
sql($source, 'SELECT pg_reload_conf()');
ok(poll($source, 'postgres', q{SHOW synchronous_standby_names}, 'nobody'), 'commits wait for a standby');
my $ignored = '';
my $waits = IPC::Run::start([ $source->installed_command('psql'), '-XAtq', '-d', $source->connstr('postgres'), '-c',
	q{BEGIN; DELETE FROM t WHERE id = 901; UPDATE t SET n = n + 1 WHERE id IN (902, 904); INSERT INTO t VALUES (2000, 5, 'new'), (-5, 5, 'new');
	  UPDATE t SET id = -id WHERE id IN (906, 907); DELETE FROM t WHERE id IN (10, 12); UPDATE t SET n = 9 WHERE id = 20; COMMIT} ], '<', \undef, '>', \$ignored, '2>', \$ignored);
ok(poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}, '1'), 'one waits, and is in the WAL');
point('nowhere');
ok(poll($house, 'postgres', q{SELECT phase = 'finishing' FROM walhouse.progress_snapshot}), 'the copy has read what there is to see');
is(value($house, q{SELECT string_agg(id || ':' || n, ',' ORDER BY id) FROM f.t WHERE id IN (-907, -906, -5, 10, 12, 20, 901, 902, 903, 904, 906, 907, 2000)}),
	'-907:0,-5:5,20:9,903:0,2000:5', 'what it wrote counts, and what it changed without all values is not there');
is(value($house, q{SELECT count(*) FILTER (WHERE owed) > 0 FROM walhouse.feed_copy_key}), 't', 'that is owed');
sql($source, q{ALTER SYSTEM RESET synchronous_standby_names});
sql($source, 'SELECT pg_reload_conf()');
$waits->finish;
ready('and comes, once it is to be seen');

# -------- commits that the feed has had before the copy begins, and that nobody sees --------
fill();
sql($source, 'ALTER PUBLICATION theirs ADD TABLE t');
sql($house, q{SELECT walhouse.start('g')});
sql($source, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
sql($source, 'SELECT pg_reload_conf()');
ok(poll($source, 'postgres', q{SHOW synchronous_standby_names}, 'nobody'), 'commits wait for a standby');
$waits = IPC::Run::start([ $source->installed_command('psql'), '-XAtq', '-d', $source->connstr('postgres'), '-c',
	q{BEGIN; UPDATE t SET n = 9 WHERE id = 20; INSERT INTO t VALUES (2000, 9, 'new'); DELETE FROM t WHERE id = 30; COMMIT} ], '<', \undef, '>', \$ignored, '2>', \$ignored);
ok(poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'}, '1'), 'one waits, and is in the WAL');
ok(reach($house, 'g', $source), 'and the feed has had it');
sql($house, q{CALL walhouse.add_table('g', 't')});
ok(poll($house, 'postgres', q{SELECT phase = 'waiting for transactions of the source' AND changed < clock_timestamp() - interval '2 s'
	FROM walhouse.progress_snapshot}), 'the copy waits for it');
sql($source, q{ALTER SYSTEM RESET synchronous_standby_names});
sql($source, 'SELECT pg_reload_conf()');
$waits->finish;
ok(poll($house, 'postgres', q{SELECT bool_and(state = 'ready') FROM walhouse.feed_table}), 'and goes on when it has ended');
mirrors_equal($house, $source, 'g', 't');
sql($house, q{CALL walhouse.remove_table('g', 't'); SELECT walhouse.stop('g')});

# -------- TRUNCATE, and rows after it --------
begin_copy();
sql($source, q{DELETE FROM t WHERE id = 3; TRUNCATE t; INSERT INTO t VALUES (5, 1, 'after'), (2000, 1, repeat('x', 5000)); UPDATE t SET n = 2});
point('nowhere');
ready('a table that is emptied meanwhile');

# -------- DDL: columns, another type, written anew, another name --------
begin_copy();
sql($source, q{ALTER TABLE t ADD COLUMN a int DEFAULT 7; UPDATE t SET n = 3 WHERE id IN (1, 999)});
point('nowhere');
ready('a column that comes, with changes');
sql($source, 'ALTER TABLE t DROP COLUMN a');
begin_copy();
sql($source, q{ALTER TABLE t ADD COLUMN a int DEFAULT 7});
point('nowhere');
ready('a column that comes, without');
begin_copy();
sql($source, q{ALTER TABLE t ALTER COLUMN a TYPE text USING 'text ' || a; UPDATE t SET n = 3 WHERE id IN (1, 999)});
point('nowhere');
ready('a column of another type: begun anew');
begin_copy();
sql($source, q{ALTER TABLE t RENAME COLUMN a TO renamed; UPDATE t SET n = 3 WHERE id IN (1, 999)});
point('nowhere');
ready('a column with another name');
begin_copy();
sql($source, q{ALTER TABLE t ALTER COLUMN id TYPE int USING id + 5000; UPDATE t SET n = 3 WHERE id = 5001});
point('nowhere');
ready('a key that is written anew');
begin_copy();
sql($source, 'DELETE FROM t WHERE id % 10 < 8'); # what is left moves to blocks that were read in the old file
sql($source, 'VACUUM FULL t');
point('nowhere');
ready('a table that VACUUM FULL has moved');

# -------- a table that is locked: its copy waits, the feed does not --------
begin_copy();
my $holder = $source->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
point('nowhere');
ok(poll($house, 'postgres', q{SELECT phase = 'waiting after an error' AND error LIKE '%lock timeout%' FROM walhouse.progress_snapshot}), 'the copy gives the lock up');
sql($source, q{INSERT INTO base VALUES (100)});
ok(reach($house, 'f', $source), 'the feed goes on');
$holder->query_safe('COMMIT');
$holder->quit;
ready('and the copy, later');

# -------- errors: kept, told, and tried again --------
begin_copy();
sql($source, q{ALTER PUBLICATION f DROP TABLE t});
point('nowhere');
ok(poll($house, 'postgres', q{SELECT phase = 'waiting after an error' AND failures > 0 AND error LIKE '%does not hold it%' FROM walhouse.progress_snapshot}), 'an error is shown');
ok(poll($house, 'postgres', q{SELECT string_agg(code, ',') FROM walhouse.doctor() WHERE object = 'public.t'}, 'copy_failing'), 'and by the doctor');
sql($source, q{INSERT INTO base VALUES (1)});
ok(reach($house, 'f', $source), 'the feed goes on');
sql($house, q{CALL walhouse.remove_table('f', 't')});
begin_copy();
sql($source, q{DROP TABLE t});
point('nowhere');
ok(poll($house, 'postgres', q{SELECT failures > 0 FROM walhouse.progress_snapshot}), 'a table that is dropped meanwhile');
sql($house, q{CALL walhouse.remove_table('f', 't')});
sql($source, q{INSERT INTO base VALUES (2)});
ok(reach($house, 'f', $source), 'the feed goes on');
mirrors_equal($house, $source, 'f', 'base', 'hard');
sql($house, q{SELECT walhouse.stop('f')});
$house->stop;
$source->stop;
done_testing();
