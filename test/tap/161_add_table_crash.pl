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

# stand POINT[, CODE]: who comes there stands still; its pid.
sub stand
{
	my ($point, $code) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.debug_feed_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
	$code->() if $code;
	return standing($point);
}
sub standing
{
	my ($point) = @_;
	my $pid = until_true(sub { ask($house, "SELECT pid FROM pg_stat_activity WHERE query = 'standing at $point'") }, 120);
	ok($pid, "somebody stands at \"$point\"");
	return $pid;
}
sub killed_there
{
	my ($pid) = @_;
	my $before = value($house, 'SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity WHERE backend_type LIKE \'walhouse launcher\'');
	kill9($house, $pid);
	ok(until_true(sub { my $now = ask($house, q{SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity WHERE backend_type LIKE 'walhouse launcher'}); $now && $now ne $before }, 120),
		'the server is back');
}
sub call
{
	my ($call) = @_;
	my $ignored = '';
	return IPC::Run::start([ $house->installed_command('psql'), '-XAtq', '-d', $house->connstr('postgres'), '-c', $call ],
		'<', \undef, '>', \$ignored, '2>', \$ignored);
}
sub write_some { sql($source, q{UPDATE t SET n = n + 1 WHERE id % 3 = 0; DELETE FROM t WHERE id % 97 = 0; INSERT INTO t VALUES (485, 'again') ON CONFLICT DO NOTHING; UPDATE t SET id = id + 5000 WHERE id % 89 = 0 AND id < 1000}) }

# -------- add_table between the publication and the catalog --------
my $session;
my $pid = stand('add: published', sub { $session = call(q{CALL walhouse.add_table('f', 't')}) });
killed_there($pid);
$session->finish;
is(value($source, q{SELECT string_agg(tablename, ',' ORDER BY 1) FROM pg_publication_tables WHERE pubname = 'f'}), 'base,t', 'it is published');
is(value($house, q{SELECT count(*) FROM walhouse.feed_table}), '1', 'and not followed');
like(value($house, q{SELECT remedy FROM walhouse.doctor_source('f') WHERE code = 'table_not_followed'}), qr/^CALL walhouse\.add_table\('f', 'public\.t'\)/, 'the doctor says so');

# -------- each step of the copy --------
$pid = stand('copy: begun', sub { sql($house, q{CALL walhouse.add_table('f', 't')}) });
killed_there($pid);
is(value($house, q{SELECT begun FROM walhouse.feed_copy}), 'f', 'a copy that had not begun begins');
standing('copy: begun');
for my $chunk (1, 2, 5, 9)
{
	$pid = stand("copy: chunk $chunk");
	write_some();
	killed_there($pid);
	# the worker commits without waiting for the disk, so the last ones may be gone as well
	cmp_ok(value($house, 'SELECT chunks FROM walhouse.feed_copy'), '<', $chunk, 'a chunk that was not committed is not there');
	write_some();
	standing("copy: chunk $chunk");
}
$pid = stand('copy: finished');
write_some();
killed_there($pid);
is(value($house, 'SELECT state FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1'), 'copy', 'the last step is done again, too');
standing('copy: finished');
sql($house, 'ALTER SYSTEM RESET walhouse.debug_feed_point');
sql($house, 'SELECT pg_reload_conf()');
ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1}), 'the table is copied');
write_some();
ok(reach($house, 'f', $source), 'all arrives');
mirrors_equal($house, $source, 'f', 't');

# -------- the warehouse as a whole, with commits that were not flushed --------
sql($house, q{CALL walhouse.remove_table('f', 't')});
$pid = stand('copy: chunk 4', sub { sql($house, q{CALL walhouse.add_table('f', 't')}) });
write_some();
kill9($house);
$house->start;
sql($house, 'ALTER SYSTEM RESET walhouse.debug_feed_point');
sql($house, 'SELECT pg_reload_conf()');
ok(poll($house, 'postgres', q{SELECT state = 'ready' FROM walhouse.feed_table ORDER BY source_relid DESC LIMIT 1}), 'the table is copied after all');
write_some();
ok(reach($house, 'f', $source), 'all arrives');
mirrors_equal($house, $source, 'f', 't');

# -------- remove_table between the catalog and the publication --------
$pid = stand('remove: dropped', sub { $session = call(q{CALL walhouse.remove_table('f', 't')}) });
killed_there($pid);
$session->finish;
is(value($house, q{SELECT count(*) FROM walhouse.feed_table}), '1', 'the table is removed');
is(value($source, q{SELECT string_agg(tablename, ',' ORDER BY 1) FROM pg_publication_tables WHERE pubname = 'f'}), 'base,t', 'and published still');
sql($house, 'ALTER SYSTEM RESET walhouse.debug_feed_point');
sql($house, 'SELECT pg_reload_conf()');
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
