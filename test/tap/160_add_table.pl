# A table is added to a feed that is running, while a client writes to it: copied by chunks, without a lock that the client waits for,
# and without a second slot; and another one is removed. The client's keys move between chunks, go and come again, and some of
# its values are TOAST that it does not change.
#   ROWS=20000000 make one T=160_add_table    a large one, for the figures that it notes (`make bench PART=copy`)
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use POSIX ();
use Time::HiRes qw(time);
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $rows = $ENV{ROWS} || 100_000;
my ($source, $house) = source_and_house(house => { conf => $ENV{ROWS} ? "max_wal_size = 8GB\n" : "walhouse.feed_chunk_rows = 3000\n" });
my $wides = $rows / 50 - 1;
sql($source, qq{
	CREATE TABLE base (id int PRIMARY KEY, v text);
	INSERT INTO base VALUES (1, 'a');
	CREATE TABLE "Big ""one" (a text, "b c" int, n int NOT NULL DEFAULT 0, wide text, gone int, PRIMARY KEY (a, "b c"));
	ALTER TABLE "Big ""one" ALTER COLUMN wide SET STORAGE EXTERNAL;
	INSERT INTO "Big ""one" SELECT md5((i / 10)::text), i, 0, CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 100) END, 1 FROM generate_series(1, $rows) i;
	ALTER TABLE "Big ""one" DROP COLUMN gone;
	CREATE SEQUENCE done;
	-- One random change; the row may be anywhere in the order of the key.
	CREATE PROCEDURE work() LANGUAGE plpgsql AS \$\$
	DECLARE
		dice float := random();
		i int := 1 + random() * $rows;
		j int := 50 * (1 + random() * $wides)::int;
	BEGIN
		PERFORM nextval('done');
		IF dice < 0.3 THEN
			UPDATE "Big ""one" SET n = n + 1 WHERE a = md5((j / 10)::text) AND "b c" = j;
		ELSIF dice < 0.5 THEN
			UPDATE "Big ""one" SET n = n + 1, wide = repeat('y', i % 5000) WHERE a = md5((i / 10)::text) AND "b c" = i;
		ELSIF dice < 0.7 THEN
			UPDATE "Big ""one" SET a = CASE WHEN n % 2 = 0 THEN 'é' || a ELSE md5((j / 10)::text) END, n = n + 1
				WHERE a IN (md5((j / 10)::text), 'é' || md5((j / 10)::text)) AND "b c" = j;
		ELSIF dice < 0.85 THEN
			DELETE FROM "Big ""one" WHERE a = md5((i / 10)::text) AND "b c" BETWEEN i AND i + 3;
		ELSIF dice < 0.99 THEN
			INSERT INTO "Big ""one" VALUES (md5((i / 10)::text), i, -1, repeat('z', i % 4000)) ON CONFLICT DO NOTHING;
		ELSE
			UPDATE "Big ""one" SET n = n + 1 WHERE a = md5((i / 10)::text);
			PERFORM 1 / 0;
		END IF;
	EXCEPTION WHEN unique_violation OR division_by_zero THEN
		NULL;
	END \$\$;
	ANALYZE "Big ""one";
});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', tables => '{base}'); SELECT walhouse.start('f')});

# The only client: whatever it waits for is walhouse's doing, and more than 50 ms would end it.
my $scripts = PostgreSQL::Test::Utils::tempdir();
append_to_file("$scripts/work", "CALL work();\n");
my $client = fork;
die "fork: $!" unless defined $client;
if ($client == 0)
{
	$ENV{PGOPTIONS} = '-c lock_timeout=50ms -c deadlock_timeout=1ms -c log_lock_waits=on';
	open STDOUT, '>', "$scripts/out";
	open STDERR, '>&', \*STDOUT;
	exec 'pgbench', '-n', '-c', 1, '-T', 600 + int($rows / 1000), '-R', 300, '-f', "$scripts/work", $source->connstr('postgres') or POSIX::_exit(1);
}
ok(poll($source, 'postgres', 'SELECT last_value > 100 FROM done'), 'a client writes');
sql($house, q{CALL walhouse.add_table('f', '"Big ""one"')});
like(value($house, q{SELECT string_agg(state, ',') FROM walhouse.stat_table WHERE source_name = 'Big "one'}), qr/copy|ready/, 'the table is there at once');
my ($seen, $slots, $start) = ('', 1, time());
ok(until_true(sub {
		$seen .= "\n" . value($house, q{SELECT concat_ws('|', command, phase, relid::regclass, pid IS NOT NULL, tuples_estimated > 90000, bytes_processed > 0 AND bytes_total > 0, error) FROM walhouse.progress_snapshot});
		my $now = value($source, 'SELECT count(*) FROM pg_replication_slots');
		$slots = $now if $now > $slots;
		value($house, q{SELECT state FROM walhouse.stat_table WHERE source_name = 'Big "one'}) eq 'ready';
	}, 300 + $rows / 1000), 'it is copied');
my $seconds = time() - $start;
note(sprintf 'copied %d rows in %.1f s, %.0f rows/s, while the client made %d changes', $rows, $seconds, $rows / $seconds, value($source, 'SELECT last_value FROM done'));
like($seen, qr/ADD TABLE\|copying\|f\."Big ""one"\|t\|t\|t$/m, 'the progress was seen');
is($slots, 1, 'no second slot');
ok(poll($source, 'postgres', "SELECT last_value > " . (value($source, 'SELECT last_value FROM done') + 200) . ' FROM done'), 'the client goes on');
sql($house, q{CREATE SCHEMA dw; SELECT walhouse.create_dimension('dw.big', 'SELECT a, "b c", n, length(wide) AS l FROM f."Big ""one"', '{a, b c}', '{"*": 1, "n": 2}')});
ok(poll($source, 'postgres', "SELECT last_value > " . (value($source, 'SELECT last_value FROM done') + 200) . ' FROM done'), 'and on');
ok(kill(0, $client) == 1 && waitpid($client, POSIX::WNOHANG()) == 0, 'it has not met a lock for 50 ms')
	or diag(slurp_file("$scripts/out"));
my @waits = sort { $a <=> $b } slurp_file($source->logfile) =~ /acquired \w+ on \w+ .* after ([0-9.]+) ms/g;
note(sprintf 'lock waits of more than 1 ms: %d; the longest: %s ms', scalar @waits, $waits[-1] // 0);
kill 'TERM', $client;
waitpid $client, 0;
ok(poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'}, '0'), 'the client has gone, and its last transaction has ended');
ok(reach($house, 'f', $source), 'all arrives');
equal();
verify_clean($house, 'after a table was added', 'dw.big');
empty($house, 'the log begins where the copy ends', q{SELECT lsn FROM f_log."Big ""one" WHERE lsn <= (SELECT sync_lsn FROM walhouse.feed_table WHERE source_name = 'Big "one')});
empty($house, 'every change of the log follows the image before', q{
	SELECT * FROM (SELECT a, "b c", op, n, lag(op) OVER w AS op_before, lag(n) OVER w AS n_before FROM f_log."Big ""one" WINDOW w AS (PARTITION BY a, "b c" ORDER BY lsn, seq, op)) l
	WHERE op = 'B' AND (op_before = 'D' OR op_before IN ('I', 'U') AND n <> n_before) OR op = 'I' AND op_before <> 'D'});
is(value($house, 'SELECT count(*) FROM walhouse.feed_copy') . value($house, 'SELECT count(*) FROM walhouse.feed_copy_key'), '00', 'nothing is left over');

# -------- removed --------
my ($status, undef, $err) = $house->psql('postgres', q{CALL walhouse.remove_table('f', '"Big ""one"')});
like($err, qr/cannot remove table "Big "one" from feed "f" because models read it.*dw\.big.*drop_model\('dw\.big'\)/s, 'models that read it are named');
sql($house, q{SELECT walhouse.drop_model('dw.big'); CALL walhouse.remove_table('f', '"Big ""one"')});
is(value($house, q{SELECT coalesce(to_regclass('f."Big ""one"')::text, '') || coalesce(to_regclass('f_log."Big ""one"')::text, '')}), '', 'mirror and log are gone');
is(value($source, q{SELECT string_agg(tablename, ',') FROM pg_publication_tables WHERE pubname = 'f'}), 'base', 'and it is not published any more');
sql($source, q{UPDATE base SET v = 'b'; DELETE FROM "Big ""one" WHERE "b c" > 20});
ok(reach($house, 'f', $source), 'the feed goes on');
is(value($house, 'SELECT v FROM f.base'), 'b', 'with the other table');

# -------- and added again, without a worker --------
sql($house, q{SELECT walhouse.stop('f')});
ok(poll($house, 'postgres', q{SELECT worker = 'stopped' AND stream_pid IS NULL FROM walhouse.stat_feed}), 'the worker has gone');
sql($house, q{CALL walhouse.add_table('f', '"Big ""one"')});
is(value($house, q{SELECT phase FROM walhouse.progress_snapshot}), 'initializing', 'a table waits for somebody who reads the stream');
sql($source, q{UPDATE "Big ""one" SET n = 77 WHERE "b c" = 1});
sql($house, q{CALL walhouse.run('f')});
is(value($house, q{SELECT state FROM walhouse.stat_table WHERE source_name = 'Big "one'}), 'ready', 'run copies it');
equal();
mirrors_equal($house, $source, 'f', 'base');
sql($house, q{CALL walhouse.drop_feed('f')});
is(value($house, 'SELECT count(*) FROM walhouse.feed_copy'), '0', 'and drop_feed leaves nothing');
$house->stop;
$source->stop;
done_testing();

# equal: the mirror has the rows of its source, however many there are.
sub equal
{
	my $digest = q{SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM %s"Big ""one" t};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(value($house, sprintf($digest, 'f.')), value($source, sprintf($digest, '')), 'the mirror equals its source');
}
