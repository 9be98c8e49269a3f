# A source transaction that is streamed while it is open enters the warehouse as it committed: without its subtransactions that
# were rolled back, without the DDL that these did, in the order of the commits however the segments came, in bounded memory.
#
# The source's logical_decoding_work_mem is the smallest there is, so that everything of more than some rows is streamed; so is
# walhouse.feed_memory, so that most of it goes through files. ROWS (200000) is the size of the large transaction.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $rows = $ENV{ROWS} || 200_000;
my ($source, $house) = source_and_house(
	source => { conf => "logical_decoding_work_mem = 64kB\nmax_wal_size = 4GB\n" },
	house => { conf => "walhouse.feed_memory = 256kB\nmax_wal_size = 4GB\n" });

sql($source, q{
	CREATE TABLE public.t (id int PRIMARY KEY, v text, n int NOT NULL DEFAULT 0);
	CREATE TABLE public.u (id int PRIMARY KEY, v text);
	CREATE TABLE public.ddl (id int PRIMARY KEY, v text);
	INSERT INTO public.t SELECT g, 'before', 0 FROM generate_series(1, 100) g;
	INSERT INTO public.u SELECT g, 'before' FROM generate_series(1, 100) g;
	INSERT INTO public.ddl SELECT g, 'before' FROM generate_series(1, 100) g;
	CREATE PUBLICATION p FOR TABLE public.t, public.u, public.ddl;
});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});

# -------- subtransactions --------
sql($source, q{
	BEGIN;
	INSERT INTO t SELECT g, 'kept', 1 FROM generate_series(1001, 3000) g;
	SAVEPOINT a;
	INSERT INTO t SELECT g, 'void a', 2 FROM generate_series(3001, 5000) g;
	UPDATE t SET v = 'void a' WHERE id <= 2000;
	SAVEPOINT b;
	DELETE FROM t WHERE id <= 1500;
	INSERT INTO u SELECT g, 'void b' FROM generate_series(1001, 2500) g;
	RELEASE b;
	ROLLBACK TO a;
	INSERT INTO t SELECT g, 'a again', 3 FROM generate_series(3001, 4000) g;
	SAVEPOINT c;
	UPDATE t SET v = 'kept c', n = n + 1 WHERE id BETWEEN 1001 AND 2500;
	SAVEPOINT d;
	TRUNCATE u;
	INSERT INTO u SELECT g, 'void d' FROM generate_series(1, 1500) g;
	ROLLBACK TO d;
	SAVEPOINT e;
	DELETE FROM t WHERE id BETWEEN 50 AND 60;
	UPDATE t SET id = -id WHERE id BETWEEN 61 AND 70;
	RELEASE e;
	RELEASE c;
	INSERT INTO u SELECT g, 'kept' FROM generate_series(1001, 2500) g;
	COMMIT;
});
sql($house, q{CALL walhouse.ingest('f')});
ok(value($source, q{SELECT sum(stream_txns) FROM pg_stat_replication_slots}) > 0, 'the transaction was streamed');
mirrors_equal($house, $source, 'f', qw(t u));
is(value($house, q{SELECT count(*) FROM f_log.txn}), '1', 'it is one transaction in the log');
is(value($house, q{SELECT string_agg(op::text || ' ' || c, ', ' ORDER BY op::text COLLATE "C") FROM (SELECT op, count(*) AS c FROM f_log.t GROUP BY op) x}),
	'B 21, D 21, I 3010, U 1500', 'what was rolled back is not in the log');
is(value($house, q{SELECT count(*) FROM f_log.u WHERE op <> 'I' OR v <> 'kept'}), '0', 'nor is the TRUNCATE');

# -------- rolled back as a whole --------
sql($source, q{BEGIN; INSERT INTO t SELECT g, 'void', 9 FROM generate_series(5001, 9000) g; UPDATE u SET v = 'void'; ROLLBACK});
sql($house, q{CALL walhouse.ingest('f')});
mirrors_equal($house, $source, 'f', qw(t u));
is(value($house, q{SELECT count(*) FROM f_log.txn}), '1', 'a transaction that was rolled back leaves nothing');

# -------- DDL that is rolled back, and DDL that is not --------
my $definition = q{SELECT string_agg(attnum || ' ' || c.source_name || ' ' || source_type, ', ' ORDER BY attnum) FROM walhouse.feed_column c
	JOIN walhouse.feed_table t USING (feed_id, source_relid) WHERE t.source_name = 'ddl'};
my $before = value($house, $definition);
sql($source, q{
	BEGIN;
	UPDATE ddl SET v = 'first' WHERE id <= 10;
	SAVEPOINT a;
	ALTER TABLE ddl ADD COLUMN gone int;
	ALTER TABLE ddl ALTER COLUMN v TYPE varchar(77);
	INSERT INTO ddl SELECT g, 'void', g FROM generate_series(1001, 4000) g;
	ROLLBACK TO a;
	INSERT INTO ddl SELECT g, 'kept' FROM generate_series(1001, 3000) g;
	COMMIT;
});
sql($house, q{CALL walhouse.ingest('f')});
is(value($house, $definition), $before, 'DDL that was rolled back touches nothing');
is(value($house, q{SELECT string_agg(DISTINCT state, ',') FROM walhouse.feed_table}), 'ready', 'and stops no table');
mirrors_equal($house, $source, 'f', qw(t u ddl));
sql($source, q{
	BEGIN;
	INSERT INTO ddl SELECT g, 'old' FROM generate_series(3001, 5000) g;
	ALTER TABLE ddl ADD COLUMN stays int DEFAULT 7;
	SAVEPOINT a;
	ALTER TABLE ddl ADD COLUMN gone int;
	INSERT INTO ddl SELECT g, 'void', g FROM generate_series(5001, 7000) g;
	ROLLBACK TO a;
	INSERT INTO ddl SELECT g, 'new', 8 FROM generate_series(5001, 7000) g;
	COMMIT;
});
sql($house, q{CALL walhouse.ingest('f')});
mirrors_equal($house, $source, 'f', qw(t u ddl));
is(value($house, q{SELECT count(*) FROM f_log.ddl WHERE op = 'I' AND stays = 7 AND v = 'old'}), '2000', 'DDL that stays is followed');

# -------- several open at a time --------
my @open = map { $source->background_psql('postgres', on_error_die => 1) } 0 .. 2;
for my $i (0 .. 2)
{
	$open[$i]->query_safe('BEGIN');
}
for my $round (1 .. 4)
{
	for my $i (0 .. 2)
	{
		$open[$i]->query_safe("INSERT INTO t SELECT g, 's$i', $round FROM generate_series(" . (10_000 * ($i + 1) + 1000 * $round) . ', '
			. (10_000 * ($i + 1) + 1000 * $round + 999) . ") g");
	}
	sql($source, "UPDATE u SET v = 'small $round' WHERE id = $round");
	sql($house, q{CALL walhouse.ingest('f')}) if $round == 2;
}
is(value($house, q{SELECT string_agg(v, ',' ORDER BY id) FROM f.u WHERE id <= 2}), 'small 1,small 2', 'small ones do not wait for those that are open');
is(value($house, q{SELECT count(*) FROM f.t WHERE id >= 10000}), '0', 'and nothing of these is seen');
$open[1]->query_safe('COMMIT');
$open[0]->query_safe('ROLLBACK');
$open[2]->query_safe('COMMIT');
$_->quit for @open;
sql($house, q{CALL walhouse.ingest('f')});
mirrors_equal($house, $source, 'f', qw(t u ddl));
is(value($house, q{SELECT string_agg(v, ',' ORDER BY first) FROM (SELECT v, min(lsn) AS first FROM f_log.t WHERE v IN ('s0', 's1', 's2') GROUP BY v) x}),
	's1,s2', 'they come in the order of their commits');

# -------- a large one --------
sql($source, qq{
	BEGIN;
	INSERT INTO t SELECT g, 'large ' || g, 0 FROM generate_series(100001, 100000 + $rows) g;
	SAVEPOINT a;
	UPDATE t SET n = n + 1 WHERE id > 100000 AND id % 3 = 0;
	ROLLBACK TO a;
	UPDATE t SET n = n + 10 WHERE id > 100000 AND id % 5 = 0;
	DELETE FROM t WHERE id > 100000 AND id % 7 = 0;
	SAVEPOINT b;
	DELETE FROM t WHERE id > 100000 AND id % 2 = 0;
	ROLLBACK TO b;
	COMMIT;
});
sql($house, q{CALL walhouse.ingest('f')});
mirrors_equal($house, $source, 'f', qw(t u ddl));
is(value($house, q{SELECT count(*) FROM f_log.t WHERE op = 'U' AND id > 100000}), int($rows / 5), "$rows rows: each update once");
is(value($house, q{SELECT count(*) FROM f_log.t WHERE op = 'B' AND id > 100000}), '0', 'rows that the transaction made itself have no row before');

# -------- a table that is written anew --------
sql($source, q{BEGIN; INSERT INTO u SELECT g, 'x' FROM generate_series(20001, 21000) g; ALTER TABLE t ALTER n TYPE bigint; UPDATE t SET n = 5 WHERE id < 10; COMMIT});
sql($house, q{CALL walhouse.ingest('f')});
is(value($house, q{SELECT string_agg(source_name || ' ' || state, ',' ORDER BY source_name) FROM walhouse.feed_table}), 'ddl ready,t ready,u ready',
	'is followed by the rows that come');
is(value($house, q{SELECT string_agg(op::text, '' ORDER BY op) || count(DISTINCT id) FROM f_log.t WHERE lsn = (SELECT max(end_lsn) FROM f_log.txn)}), 'B' x 19 . 'U' x 19 . '19',
	'of which those are logged that are others than they were');
mirrors_equal($house, $source, 'f', qw(t u ddl));

sql($source, q{BEGIN; SAVEPOINT a; ALTER TABLE u ADD COLUMN r float DEFAULT random(); ROLLBACK TO a; UPDATE u SET v = 'y' WHERE id > 20500; COMMIT});
sql($house, q{CALL walhouse.ingest('f')});
mirrors_equal($house, $source, 'f', qw(t u ddl));
is(value($house, q{SELECT state FROM walhouse.feed_table WHERE source_name = 'u'}), 'ready', 'not when that was rolled back');
sql($source, q{ALTER TABLE u ADD COLUMN r float DEFAULT random()});
sql($house, q{CALL walhouse.ingest('f')});
is(value($house, q{SELECT state FROM walhouse.feed_table WHERE source_name = 'u'}), 'ready',
	'a default that differs from row to row is such a case, without any other change');
mirrors_equal($house, $source, 'f', qw(t u ddl));

$house->stop;
$source->stop;
done_testing();
