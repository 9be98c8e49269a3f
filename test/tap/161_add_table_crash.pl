# kill -9 at each step of add_table, of each chunk and of remove_table: the next process goes on from what was committed.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => "walhouse.feed_chunk_rows = 100\n" });
sql($source, q{
	CREATE TABLE base (id int PRIMARY KEY);
	CREATE TABLE t (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 0);
	INSERT INTO t SELECT i, repeat(md5(i::text), 3) FROM generate_series(1, 1000) i;
});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', tables => '{base}'); SELECT walhouse.start('f')});

sub write_some { sql($source, q{UPDATE t SET n = n + 1 WHERE id % 3 = 0; DELETE FROM t WHERE id % 97 = 0; INSERT INTO t VALUES (485, 'again') ON CONFLICT DO NOTHING; UPDATE t SET id = id + 5000 WHERE id % 89 = 0 AND id < 1000}) }

# -------- add_table between the publication and the catalog --------
my $session;
my $pid = stand($house, 'add: published', sub { $session = in_background($house, q{CALL walhouse.add_table('f', 't')}) });
kill_there($house, $pid);
$session->finish;
is(value($source, q{SELECT string_agg(tablename, ',' ORDER BY 1) FROM pg_publication_tables WHERE pubname = 'f'}), 'base,t', 'it is published');
is(value($house, q{SELECT count(*) FROM walhouse.feed_table}), '1', 'and not followed');
like(value($house, q{SELECT remedy FROM walhouse.doctor_source('f') WHERE code = 'table_not_followed'}), qr/^CALL walhouse\.add_table\('f', 'public\.t'\)/, 'the doctor says so');

# -------- each step of the copy --------
$pid = stand($house, 'copy: begun', sub { sql($house, q{CALL walhouse.add_table('f', 't')}) });
kill_there($house, $pid);
is(value($house, q{SELECT begun FROM walhouse.feed_copy}), 'f', 'a copy that had not begun begins');
stands($house, 'copy: begun');
for my $chunk (1, 2, 5, 9)
{
	$pid = stand($house, "copy: chunk $chunk");
	write_some();
	kill_there($house, $pid);
	# the worker commits without waiting for the disk, so the last ones may be gone as well
	cmp_ok(value($house, 'SELECT chunks FROM walhouse.feed_copy'), '<', $chunk, 'a chunk that was not committed is not there');
	write_some();
	stands($house, "copy: chunk $chunk");
}
$pid = stand($house, 'copy: finished');
write_some();
kill_there($house, $pid);
is(value($house, 'SELECT state FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1'), 'copy', 'the last step is done again, too');
stands($house, 'copy: finished');
let_go($house);
ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1}), 'the table is copied');
write_some();
ok(reach($house, 'f', $source), 'all arrives');
mirrors_equal($house, $source, 'f', 't');

# -------- the warehouse as a whole, with commits that were not flushed --------
sql($house, q{CALL walhouse.remove_table('f', 't')});
$pid = stand($house, 'copy: chunk 4', sub { sql($house, q{CALL walhouse.add_table('f', 't')}) });
write_some();
kill9($house);
$house->start;
let_go($house);
ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1}), 'the table is copied after all');
write_some();
ok(reach($house, 'f', $source), 'all arrives');
mirrors_equal($house, $source, 'f', 't');

# -------- remove_table between the catalog and the publication --------
$pid = stand($house, 'remove: dropped', sub { $session = in_background($house, q{CALL walhouse.remove_table('f', 't')}) });
kill_there($house, $pid);
$session->finish;
is(value($house, q{SELECT count(*) FROM walhouse.feed_table}), '1', 'the table is removed');
is(value($source, q{SELECT string_agg(tablename, ',' ORDER BY 1) FROM pg_publication_tables WHERE pubname = 'f'}), 'base,t', 'and published still');
let_go($house);
write_some();
ok(reach($house, 'f', $source), 'the feed goes on');
sql($house, q{CALL walhouse.add_table('f', 't')});
ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1}), 'it can be added again');
ok(reach($house, 'f', $source), 'all arrives');
mirrors_equal($house, $source, 'f', 't');
sql($house, q{SELECT walhouse.stop('f')});
$house->stop;
$source->stop;
done_testing();
