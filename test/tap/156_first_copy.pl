# create_feed copies its tables by several processes in one snapshot, while a client writes: rows move, go, come again; dead ones
# are taken away; tables are emptied, altered and written anew. Nobody at the source waits, and tables that the snapshot cannot
# show are copied while the feed goes on.
#   ROWS=20000000 make one T=156_first_copy    by one process, and by two, for the figures that it notes (`make bench PART=copy`)
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);
use WalhouseTest;
use WalhouseProof;
use CopyLoad;
use Test::More;

my $rows = $ENV{ROWS} || 100_000;
my $conf = $ENV{ROWS} ? "max_wal_size = 16GB\nshared_buffers = 1GB\n" : '';
my ($source, $house) = source_and_house(source => { conf => $conf }, house => { conf => $conf });
load_create($source, $rows);
sql($source, q{
	CREATE TABLE bare (id int PRIMARY KEY);
	CREATE TABLE altered (id int PRIMARY KEY, v text);
	CREATE TABLE emptied (id int PRIMARY KEY, v text);
	CREATE TABLE rewritten (id int PRIMARY KEY, v int);
	CREATE TABLE moved (id int PRIMARY KEY, v text);
	INSERT INTO altered SELECT i, 'v' || i FROM generate_series(1, 5000) i;
	INSERT INTO emptied SELECT * FROM altered;
	INSERT INTO moved SELECT * FROM altered;
	INSERT INTO rewritten SELECT i, i FROM generate_series(1, 5000) i;
	CREATE TABLE parts (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
	INSERT INTO parts SELECT i, i % 20, repeat('x', 50) FROM generate_series(1, 5000) i;
	CREATE PUBLICATION f FOR TABLE bare, "Big ""one", altered, emptied, rewritten, moved, parts_1, parts_2 WHERE (id % 3 = 0);
});
create_server($house, 's', $source);

my $client = load_start($source, $rows);
my ($out, $err, $session) = ('', '');
if ($ENV{ROWS})
{
	create_feed('g', 1);
	at_end(1, time());
	sql($house, q{CALL walhouse.drop_feed('g')});
}

# -------- held up before the first range, and after some --------
point('first: posted');
create_feed('f', 2);
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at first: posted'}), 'the snapshot is there, and nothing was read');
is(value($source, q{SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
	AND l.pid IN (SELECT pid FROM pg_stat_activity WHERE application_name = 'walhouse f')}), '0', 'no table is locked');
sql($source, q{
	SET lock_timeout = '5s';
	ALTER TABLE altered ADD COLUMN w int DEFAULT 7;
	UPDATE altered SET w = 8 WHERE id % 10 = 0;
	TRUNCATE emptied;
	INSERT INTO emptied VALUES (1, 'after');
	ALTER TABLE rewritten ALTER COLUMN v TYPE bigint;
	UPDATE rewritten SET v = -v WHERE id % 7 = 0;
	DELETE FROM parts WHERE id % 5 = 0;
	UPDATE parts SET v = 'moved', day = 19 - day WHERE id % 5 = 1;
	DELETE FROM moved WHERE id % 2 = 0;
});
sql($source, 'VACUUM FULL moved');
sql($source, 'VACUUM parts_1, parts_2');
sql($source, q{INSERT INTO parts SELECT i, i % 20, 'new' FROM generate_series(6000, 7000) i});
my $start = time();
unless ($ENV{ROWS})
{
	point('first: range 4');
	ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'standing at first: range 4'}), 'it reads');
	ok(poll($house, 'postgres', q{SELECT command || '|' || phase || '|' || (pid IS NOT NULL) || '|' || (chunks > 6) || '|' || (blocks_processed BETWEEN 100 AND blocks_total)
		FROM walhouse.progress_snapshot WHERE source_name = 'Big "one'}, 'CREATE FEED|copying|true|true|true'), 'another process has gone on meanwhile');
	my $log = slurp_file($house->logfile);
	unlike($log, qr/copy worker.*exited with exit code/, 'and has not failed');
	load_goes_on($source, 'the client goes on');
}
point('nowhere');
at_end(2, $start);
is($out, '', 'it has come to its end');
like($err, qr/WARNING:  table "public\.$_" of feed "f" is not copied yet\nDETAIL:  the table was emptied or written anew/, "what the snapshot does not show of \"$_\" is left") for qw(emptied rewritten moved);
is(value($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table}),
	'Big "one ready, altered ready, bare ready, emptied copy, moved copy, parts_1 ready, parts_2 ready, rewritten copy', 'all others are ready');
is(value($house, q{SELECT count(DISTINCT sync_lsn) FROM walhouse.feed_table WHERE state = 'ready'}), '1', 'at one position');
ok(poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'walhouse f'}, '0'), 'and no connection is left');

# -------- and beside the stream --------
sql($house, q{CREATE SCHEMA dw; SELECT walhouse.create_dimension('dw.big', 'SELECT a, "b c", n, length(wide) AS l FROM f."Big ""one"', '{a, b c}', '{"*": 1, "n": 2}')}) unless $ENV{ROWS};
sql($house, q{SELECT walhouse.start('f')});
ok(poll($house, 'postgres', q{SELECT bool_and(state = 'ready') FROM walhouse.feed_table}), 'what was left is copied');
load_goes_on($source, 'the client goes on');
load_stop($source, $client);
ok(reach($house, 'f', $source, 120 + $rows / 1000), 'all arrives');
load_equal($house, $source);
load_log_holds($house);
verify_clean($house, 'after a first copy', 'dw.big') unless $ENV{ROWS};
mirrors_equal($house, $source, 'f', 'bare', 'altered', 'emptied', 'rewritten', 'moved', 'parts_1');
is(value($house, 'SELECT count(*), sum(id) FROM f.parts_2'), value($source, 'SELECT count(*), sum(id) FROM parts_2 WHERE id % 3 = 0'), 'the row filter holds');
is(value($house, 'SELECT count(*) FROM walhouse.feed_copy') . value($house, 'SELECT count(*) FROM walhouse.feed_copy_key'), '00', 'nothing is left over');
sql($house, q{SELECT walhouse.stop('f')});
$house->stop;
$source->stop;
done_testing();

# create_feed FEED, PROCESSES: begins it, in a session of its own.
sub create_feed
{
	my ($feed, $processes) = @_;
	($out, $err) = ('', '');
	$session = IPC::Run::start([ $house->installed_command('psql'), '-XAtq', '-d', $house->connstr('postgres'), '-c', "SET walhouse.feed_copy_processes = $processes",
		'-c', "CALL walhouse.create_feed('$feed', 's', publication => 'f')" ], '<', \undef, '>', \$out, '2>', \$err);
	return;
}

# at_end PROCESSES, START: waits for its end, and notes what it took since.
sub at_end
{
	my ($processes, $start) = @_;
	my ($peak, $calls, @pids) = (0, 0);
	until_true(sub {
		@pids = split /\n/, ask($house, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walhouse copy worker' OR query LIKE 'CALL walhouse.create_feed%'}) // ''
			if $calls++ % 100 == 0;
		for my $pid (@pids)
		{
			my $memory = private_memory($pid);
			$peak = $memory if $memory > $peak;
		}
		$session->pump_nb if $session->pumpable;
		!$session->pumpable;
	}, 300 + $rows / 1000);
	$session->finish;
	my $seconds = time() - $start;
	note(sprintf 'first copy of %d rows, by %d at a time: %.1f s, %.0f rows/s; %.0f MB of memory of its own in a process, at most; the client has made %d changes',
		$rows, $processes, $seconds, $rows / $seconds, $peak / 1024, load_changes($source));
	return;
}

sub point
{
	my ($point) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.debug_feed_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
	return;
}

# private_memory PID: kB that the process has for itself; 0 when it has gone.
sub private_memory
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or return 0;
	my $anonymous = 0;
	while (<$file>)
	{
		$anonymous = $1 if /^RssAnon:\s+(\d+) kB/;
	}
	close $file;
	return $anonymous;
}
