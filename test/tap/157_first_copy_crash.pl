# kill -9 at each step of a first copy, in each of its processes: what was read stays, and whoever reads the stream brings the rest, by
# snapshots of its own, while rows move between blocks that were read and such that were not. The same where the snapshot is lost,
# or was held for long enough.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, v text, wide text) WITH (fillfactor = 90);
	ALTER TABLE t ALTER COLUMN wide SET STORAGE EXTERNAL;
	CREATE TABLE little (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
});
create_server($house, 's', $source);

sub fill
{
	sql($source, q{
		TRUNCATE t, little;
		INSERT INTO t SELECT i, 0, repeat(md5(i::text), 12), CASE WHEN i % 40 = 0 THEN repeat(md5(i::text), 100) END FROM generate_series(1, 24000) i;
		INSERT INTO little SELECT i FROM generate_series(1, 10) i});
	sql($source, 'VACUUM ANALYZE t');
	return;
}
sub point
{
	my ($point) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.debug_feed_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
	return;
}
# create POINT: create_feed, until one of its processes stands there; its pid and the session.
sub create
{
	my ($point, $error) = @_;
	my $ignored = '';
	fill();
	point($point);
	my $session = IPC::Run::start([ $house->installed_command('psql'), '-XAtq', '-d', $house->connstr('postgres'), '-c', q{CALL walhouse.create_feed('f', 's', tables => '{t, little}')} ],
		'<', \undef, '>', \$ignored, '2>', $error // \$ignored);
	my $pid = until_true(sub { ask($house, "SELECT pid FROM pg_stat_activity WHERE query = 'standing at $point'") }, 120);
	ok($pid, "somebody stands at \"$point\"");
	return ($pid, $session);
}
# write_some: rows move to other blocks with and without their TOAST; what is left of them is taken away, and their places are used again.
sub write_some
{
	sql($source, q{
		UPDATE t SET n = n + 1, v = v || 'x' WHERE id % 40 = 0;
		UPDATE t SET n = n + 1, v = repeat('y', id % 900) WHERE id % 97 = 0;
		DELETE FROM t WHERE id % 31 = 0;
		UPDATE t SET id = -id, n = n + 1 WHERE id % 53 = 0;
		UPDATE little SET n = n + 1});
	sql($source, 'VACUUM t');
	sql($source, q{INSERT INTO t SELECT i, -1, repeat('z', i % 300), NULL FROM generate_series(31, 20000, 62) i ON CONFLICT DO NOTHING});
	return;
}
sub goes_on
{
	my ($name) = @_;
	write_some();
	point('nowhere');
	sql($house, q{CALL walhouse.run('f')});
	is(value($house, q{SELECT string_agg(state, ' ') FROM walhouse.feed_table}), 'ready ready', "$name: the tables are copied");
	write_some();
	sql($house, q{CALL walhouse.run('f')});
	mirrors_equal($house, $source, 'f', 't', 'little');
	is(value($house, 'SELECT count(*) FROM walhouse.feed_copy') . value($house, 'SELECT count(*) FROM walhouse.feed_copy_key'), '00', 'nothing is left over');
	sql($house, q{CALL walhouse.drop_feed('f')});
	return;
}
sub blocks_read { return ask($house, q{SELECT coalesce(blocks_processed, 0) FROM walhouse.progress_snapshot WHERE source_name = 't'}) }

# -------- killed --------
my %least = ('first: posted' => 0, 'first: range 1' => 0, 'first: range 5' => 8 + 16 + 32 + 64, 'first: helper range 3' => 8 + 16);
for my $point ('first: posted', 'first: range 1', 'first: range 5', 'first: helper range 3', 'first: ready')
{
	my ($pid, $session) = create($point);
	write_some() unless $point eq 'first: ready';
	my $before = value($house, 'SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity WHERE backend_type LIKE \'walhouse launcher\'');
	kill9($house, $pid);
	ok(until_true(sub { my $now = ask($house, q{SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity WHERE backend_type LIKE 'walhouse launcher'}); $now && $now ne $before }, 120),
		'the server is back');
	$session->finish;
	cmp_ok(blocks_read(), '>=', $least{$point}, "$point: what was read stays") if exists $least{$point};
	is(value($house, q{SELECT string_agg(state, ' ') FROM walhouse.feed_table}), exists $least{$point} ? 'copy copy' : 'ready ready', 'the tables wait for the rest');
	goes_on($point);
}

# -------- the host, with commits that were not flushed --------
my (undef, $session) = create('first: range 4');
kill9($house);
$session->finish;
$house->start;
goes_on('the whole warehouse');

# -------- ended by somebody: the caller, its helper, the snapshot --------
(my $pid, $session) = create('first: range 4');
sql($house, "SELECT pg_terminate_backend($pid)");
$session->finish;
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse copy worker'}, '0'), 'helpers go with their caller');
goes_on('the caller is ended');

my $error = '';
($pid, $session) = create('first: helper range 2', \$error);
sql($house, "SELECT pg_terminate_backend($pid)");
point('nowhere');
$session->finish;
like($error, qr/WARNING:  table "public\.t" of feed "f" is not copied yet/, 'a range that a helper has not brought is missed');
goes_on('a helper is ended');

$error = '';
($pid, $session) = create('first: posted', \$error);
sql($source, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'});
point('nowhere');
$session->finish;
like($error, qr/WARNING:  table "public\.t" of feed "f" is not copied yet\nDETAIL:  the source says: /, 'a snapshot that is lost');
goes_on('the snapshot is lost');

# -------- held for long enough; and no helpers to be had --------
sql($house, q{ALTER SYSTEM SET walhouse.feed_snapshot_time = '2s'});
sql($house, q{ALTER SYSTEM SET walhouse.feed_copy_processes = 1}); # or a helper would read all the rest meanwhile
$error = '';
($pid, $session) = create('first: range 1', \$error);
ok(poll($house, 'postgres', qq{SELECT query_start < clock_timestamp() - interval '2.1 s' FROM pg_stat_activity WHERE pid = $pid}), 'two seconds go by in the first range');
point('nowhere');
$session->finish;
like($error, qr/DETAIL:  Its snapshot was given up\.\nHINT:  What is missing comes while the feed goes on: SELECT walhouse\.start\('f'\)\./, 'a snapshot is not held for ever');
cmp_ok(blocks_read(), '>', 0, 'what was read before stays');
goes_on('the snapshot is given up');
$house->append_conf('postgresql.conf', "max_worker_processes = 2\n"); # the launchers have them
sql($house, q{ALTER SYSTEM RESET walhouse.feed_snapshot_time});
sql($house, q{ALTER SYSTEM RESET walhouse.feed_copy_processes});
$house->restart;
fill();
sql($house, q{CALL walhouse.create_feed('f', 's', tables => '{t, little}')});
is(value($house, q{SELECT string_agg(state, ' ') FROM walhouse.feed_table}), 'ready ready', 'without helpers it is copied, too');
mirrors_equal($house, $source, 'f', 't', 'little');
$house->stop;
$source->stop;
done_testing();
