# A random workload in three places (the same database, another database of the cluster, another server), ingested in random
# pieces with little memory, killed now and then: the mirror is the source, every change is in the log once, and the log
# gives back each state that the source had.
#
# The source keeps a history of its own: after each transaction the whole table is copied, with the position reached.
#
# A deliberate mistake that makes it fail, tried: B written again for a key that an earlier chunk of the transaction touched.
use strict;
use warnings;
use WalhouseTest;
use Test::More;
use Time::HiRes;

my $seed = $ENV{WALHOUSE_SEED} || time();
srand($seed);
diag("WALHOUSE_SEED=$seed");

my ($server, $house) = source_and_house();
sql($server, 'CREATE EXTENSION walhouse; CREATE DATABASE oltp');

run_case('same database', $server, 'postgres', $server, 'postgres');
run_case('other database', $server, 'oltp', $server, 'postgres');
run_case('other server', $server, 'oltp', $house, 'postgres');

$server->stop;
$house->stop;
done_testing();

sub run_case
{
	my ($name, $src, $srcdb, $dst, $dstdb) = @_;

	sql($src, q{
		CREATE SCHEMA app;
		CREATE TABLE app.a (k int PRIMARY KEY, g int, v text, big text);
		CREATE TABLE app.b (k numeric, j text, v float8, PRIMARY KEY (j, k));
		ALTER TABLE app.a ALTER big SET STORAGE EXTERNAL;
		INSERT INTO app.a SELECT g, g % 5, 'v' || g, repeat('x' || g, 1500) FROM generate_series(1, 30) g;
		CREATE SCHEMA history;
		CREATE TABLE history.a (lsn pg_lsn, k int, g int, v text, big text);
		CREATE TABLE history.points (n serial, lsn pg_lsn);
	}, $srcdb);
	sql($dst, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($src, $srcdb) . ');
		CREATE USER MAPPING FOR CURRENT_USER SERVER s;', $dstdb);
	sql($dst, "CALL walhouse.create_feed('f', 's', tables => '{app.a,app.b}')", $dstdb);

	for my $round (1 .. 12)
	{
		for (1 .. 1 + int(rand(6)))
		{
			$src->psql($srcdb, transaction()); # some fail, and are rolled back
			sql($src, q{
				INSERT INTO history.points (lsn) SELECT pg_current_wal_insert_lsn();
				INSERT INTO history.a SELECT (SELECT lsn FROM history.points ORDER BY n DESC LIMIT 1), * FROM app.a;
			}, $srcdb);
		}
		my $settings = sprintf("SET walhouse.feed_memory = '%dkB'; SET walhouse.feed_batch_rows = %d;",
			(64, 64, 256, 65536)[ int(rand(4)) ], 1 + int(rand(20)));
		if (rand() < 0.3)
		{
			$settings .= 'SET client_min_messages = error;';
			crash_while_ingesting($src, $dst, $dstdb, $settings);
		}
		else
		{
			sql($dst, "$settings CALL walhouse.ingest('f')", $dstdb);
		}
	}
	sql($dst, "CALL walhouse.ingest('f')", $dstdb);

	is(sql($dst, 'SELECT * FROM f.a ORDER BY k', $dstdb), sql($src, 'SELECT * FROM app.a ORDER BY k', $srcdb),
		"$name: mirror a is the source");
	is(sql($dst, 'SELECT * FROM f.b ORDER BY j, k', $dstdb), sql($src, 'SELECT * FROM app.b ORDER BY j, k', $srcdb),
		"$name: mirror b is the source");
	is(sql($dst, q{SELECT count(*) FROM walhouse.feed_table WHERE state <> 'ready'}, $dstdb), '0', "$name: no table was stopped");
	is(sql($dst, q{SELECT count(*) FROM (SELECT lsn, k FROM f_log.a WHERE op = 'B' GROUP BY 1, 2 HAVING count(*) > 1) x},
		$dstdb), '0', "$name: at most one B per key and transaction");
	is(sql($dst, q{SELECT count(*) FROM (SELECT lsn, seq, op, k FROM f_log.a GROUP BY 1, 2, 3, 4 HAVING count(*) > 1) x},
		$dstdb), '0', "$name: no change is in the log twice");
	is(sql($dst, q{SELECT count(*) FROM (SELECT lsn FROM f_log.a UNION SELECT lsn FROM f_log.b) l
		FULL JOIN f_log.txn t ON t.end_lsn = l.lsn WHERE l.lsn IS NULL OR t.end_lsn IS NULL}, $dstdb), '0',
		"$name: txn has the transactions of the log");
	my $points = sql($src, 'SELECT string_agg(lsn::text, \',\' ORDER BY n) FROM history.points', $srcdb);
	my $bad = 0;
	for my $point (split /,/, $points)
	{
		my $got = sql($dst, state_at($point), $dstdb);
		my $want = sql($src, "SELECT k, g, v, md5(big) FROM history.a WHERE lsn = '$point' ORDER BY k", $srcdb);
		$bad++ if $got ne $want;
		diag("state at $point differs") if $got ne $want && $bad == 1;
	}
	is($bad, 0, "$name: the log gives back each state");
	sql($dst, "CALL walhouse.drop_feed('f')", $dstdb);
	is(sql($src, q{SELECT count(*) FROM pg_replication_slots}, $srcdb), '0', "$name: the slot is gone");
	sql($src, 'DROP SCHEMA app CASCADE; DROP SCHEMA history CASCADE', $srcdb);
	sql($dst, 'DROP SERVER s CASCADE', $dstdb);
}

# state_at POSITION: the rule of the design: a key's first log row after the position; none: the mirror; B: its image.
sub state_at
{
	my ($lsn) = @_;
	return qq{
		WITH first AS (SELECT DISTINCT ON (k) * FROM f_log.a WHERE lsn > '$lsn' AND op <> 'T' ORDER BY k, lsn, seq, op)
		SELECT k, g, v, md5(big) FROM (
			SELECT k, g, v, big FROM first WHERE op = 'B'
			UNION ALL
			SELECT m.* FROM f.a m WHERE NOT EXISTS (SELECT FROM first WHERE first.k = m.k)) s ORDER BY k};
}

# transaction: some random statements in one transaction.
sub transaction
{
	my @statements;
	for (1 .. 1 + int(rand(6)))
	{
		my $k = 1 + int(rand(40));
		my $j = 1 + int(rand(40));
		my $r = rand();
		push @statements,
			$r < 0.15 ? "INSERT INTO app.a VALUES ($k, $j, 'n', repeat('y', 4000)) ON CONFLICT DO NOTHING"
		  : $r < 0.30 ? "UPDATE app.a SET v = v || '$j' WHERE k = $k"
		  : $r < 0.38 ? "UPDATE app.a SET g = g + 1 WHERE g = " . ($k % 5)
		  : $r < 0.46 ? "DELETE FROM app.a WHERE k = $k"
		  : $r < 0.54 ? "DELETE FROM app.a WHERE k = $k; INSERT INTO app.a VALUES ($k, 0, NULL, NULL)"
		  : $r < 0.62 ? "UPDATE app.a SET k = k + 1000 WHERE k = $k"
		  : $r < 0.68 ? "UPDATE app.a SET k = -1 WHERE k = $k; UPDATE app.a SET k = $k WHERE k = $j; UPDATE app.a SET k = $j WHERE k = -1 AND NOT EXISTS (SELECT FROM app.a WHERE k = $j); DELETE FROM app.a WHERE k = -1"
		  : $r < 0.74 ? "UPDATE app.a SET big = repeat('z$j', 2000) WHERE k = $k"
		  : $r < 0.80 ? "INSERT INTO app.b VALUES ($k.0, '$j', 'NaN') ON CONFLICT (j, k) DO UPDATE SET k = $k.00, v = '-0'"
		  : $r < 0.86 ? "UPDATE app.b SET k = k * 1.0 WHERE j = '$j'; DELETE FROM app.b WHERE k = $k"
		  : $r < 0.88 ? "TRUNCATE app.b"
		  : $r < 0.91 ? "TRUNCATE app.a; INSERT INTO app.a SELECT g, 1, 't', NULL FROM generate_series(1, 30) g"
		  : $r < 0.94 ? "UPDATE app.a SET big = repeat('w$j', 2500); UPDATE app.a SET v = 'w', big = big || 'w'; DELETE FROM app.a WHERE k % 7 = 3"
		  : $r < 0.97 ? "SAVEPOINT s; DELETE FROM app.a; ROLLBACK TO s"
		  : "UPDATE app.a SET v = v || 'u', g = g + 1; UPDATE app.a SET v = left(v, 20)";
	}
	return 'BEGIN; ' . join('; ', @statements) . '; COMMIT';
}

# crash_while_ingesting: kill -9 of the postmaster while a session ingests, and start it again.
sub crash_while_ingesting
{
	my ($src, $dst, $db, $settings) = @_;
	my $ignored = '';
	my $session = IPC::Run::start([ $dst->installed_command('psql'), '-XAtq', '-d', $dst->connstr($db),
			(map { ('-c', $_) } split /;/, $settings), '-c', "CALL walhouse.ingest('f')" ],
		'<', \undef, '>', \$ignored, '2>', \$ignored);
	my $until = Time::HiRes::time() + rand(0.25);
	1 while Time::HiRes::time() < $until;
	kill9($dst);
	$session->finish;
	$dst->start;
	return;
}
