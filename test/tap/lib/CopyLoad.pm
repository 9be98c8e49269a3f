# CopyLoad: a table with a client that writes to it, for tests that copy it meanwhile. The client's keys move, go and come again,
# rows move between blocks, and some of its values are TOAST that it does not change.
package CopyLoad;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use WalhouseTest;
use WalhouseProof;

our @EXPORT = qw(load_create load_start load_changes load_goes_on load_stop load_equal load_log_holds);

my $scripts = PostgreSQL::Test::Utils::tempdir();

# load_create SOURCE, ROWS: the table "Big ""one", and what the client calls.
sub load_create
{
	my ($source, $rows) = @_;
	my $wides = $rows / 50 - 1;
	sql($source, qq{
		CREATE TABLE "Big ""one" (a text, "b c" int, n int NOT NULL DEFAULT 0, wide text, gone int, PRIMARY KEY (a, "b c"));
		ALTER TABLE "Big ""one" ALTER COLUMN wide SET STORAGE EXTERNAL;
		INSERT INTO "Big ""one" SELECT md5((i / 10)::text), i, 0, CASE WHEN i % 50 = 0 THEN repeat(md5(i::text), 100) END, 1 FROM generate_series(1, $rows) i;
		ALTER TABLE "Big ""one" DROP COLUMN gone;
		CREATE SEQUENCE done;
		-- One random change; the row may be anywhere in the table, and in the order of the key.
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
	return;
}

# load_start SOURCE, ROWS: the only client; its pid. Whatever it waits for is walhouse's doing, and more than 50 ms would end it.
sub load_start
{
	my ($source, $rows) = @_;
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
	return $client;
}

# load_changes SOURCE: how many changes it has made.
sub load_changes
{
	my ($source) = @_;
	return value($source, 'SELECT last_value FROM done');
}

sub load_goes_on
{
	my ($source, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll($source, 'postgres', 'SELECT last_value > ' . (load_changes($source) + 200) . ' FROM done'), $name);
}

# load_stop SOURCE, CLIENT: ends the client, which has not met a lock; notes what it waited for.
sub load_stop
{
	my ($source, $client) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(kill(0, $client) == 1 && waitpid($client, POSIX::WNOHANG()) == 0, 'it has not met a lock for 50 ms')
		or diag(slurp_file("$scripts/out"));
	my @waits = sort { $a <=> $b } slurp_file($source->logfile) =~ /acquired \w+ on \w+ .* after ([0-9.]+) ms/g;
	note(sprintf 'lock waits of more than 1 ms: %d; the longest: %s ms', scalar @waits, $waits[-1] // 0);
	kill 'TERM', $client;
	waitpid $client, 0;
	ok(poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'}, '0'), 'the client has gone, and its last transaction has ended');
	return;
}

# load_equal HOUSE, SOURCE: the mirror has the rows of its source, however many there are.
sub load_equal
{
	my ($house, $source) = @_;
	my $digest = q{SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM %s"Big ""one" t};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(value($house, sprintf($digest, 'f.')), value($source, sprintf($digest, '')), 'the mirror equals its source');
}

# load_log_holds HOUSE: the log begins where the copy ends, and has all that came since.
sub load_log_holds
{
	my ($house) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	empty($house, 'the log begins where the copy ends', q{SELECT lsn FROM f_log."Big ""one" WHERE lsn <= (SELECT sync_lsn FROM walhouse.feed_table WHERE source_name = 'Big "one')});
	empty($house, 'every change of the log follows the image before', q{
		SELECT * FROM (SELECT a, "b c", op, n, lag(op) OVER w AS op_before, lag(n) OVER w AS n_before FROM f_log."Big ""one" WINDOW w AS (PARTITION BY a, "b c" ORDER BY lsn, seq, op)) l
		WHERE op = 'B' AND (op_before = 'D' OR op_before IN ('I', 'U') AND n <> n_before) OR op = 'I' AND op_before <> 'D'});
	return;
}

1;
