# Entries of indexes that ingest writes by the page: after inserts in any order, updates, deletes, refused inserts, crashes and on a
# standby, amcheck finds each B-tree whole, with an entry for every row, and the rows are those of the source.
use strict;
use warnings;
use WalhouseTest;
use PostgreSQL::Test::Cluster;
use Test::More;

# Replay compares each page that nbtree's records change, but for its hints, which generic records cannot leave out.
my ($source, $house) = source_and_house(house => { conf => "wal_consistency_checking = 'btree'\nwal_keep_size = 2GB\nautovacuum = off\n" });
my ($status) = $house->psql('postgres', 'CREATE EXTENSION amcheck');
plan(skip_all => 'amcheck is not installed') if $status != 0;

# ---- tables: keys that count up, of several columns, of text, random ones, wide ones; TOAST is in the rows of one
sql($source, q{
	CREATE TABLE public.up (id bigint PRIMARY KEY, v text);
	CREATE TABLE public.pair (a int, b text, v int, PRIMARY KEY (b, a));
	CREATE TABLE public.random (id uuid PRIMARY KEY, v int);
	CREATE TABLE public.wide (id text PRIMARY KEY, v text);
	CREATE TABLE public.full (id numeric NOT NULL, v int, w int);
	CREATE UNIQUE INDEX full_key ON public.full (id);
	ALTER TABLE public.full REPLICA IDENTITY FULL;
	CREATE TABLE public.same (id int PRIMARY KEY, kind int);
	CREATE PUBLICATION p FOR ALL TABLES;
});
sql($house, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s;');
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});
$house->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($house, 'base', has_streaming => 1);
$standby->start;

# whole NAME: what must be so after each step.
sub whole
{
	my ($name) = @_;
	for my $table (qw(up pair random wide full same))
	{
		my $rows = "SELECT count(*), md5(string_agg(t::text, ';' ORDER BY t::text)) FROM";
		is(sql($house, "$rows f.\"$table\" t"), sql($source, "$rows public.\"$table\" t"), "$name: the rows of $table");
	}
	is(sql($house, q{
		SELECT count(bt_index_parent_check(i.indexrelid, true, true)) > 10
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		WHERE c.relnamespace IN ('f'::regnamespace, 'f_log'::regnamespace) AND a.amname = 'btree' AND c.relkind = 'i'}),
		't', "$name: every index is whole");
	return;
}
sub ingest { sql($house, q{CALL walhouse.ingest('f')}); return }

# ---- in order, out of order, many pages and splits, in transactions of every size
my $insert = q{
	INSERT INTO public.up SELECT g, repeat('v', g % 30) FROM generate_series(%1$d, %2$d) g;
	INSERT INTO public.pair SELECT g, 'b' || g %% 7, g FROM generate_series(%1$d, %2$d) g;
	INSERT INTO public.random SELECT md5(g::text)::uuid, g FROM generate_series(%1$d, %2$d) g;
	INSERT INTO public.wide SELECT lpad(g::text, 300 + g %% 1000, '0'), repeat(md5(g::text), g %% 200) FROM generate_series(%1$d, %1$d + (%2$d - %1$d) / 20) g;
	INSERT INTO public.full SELECT g / 4.0, g, g FROM generate_series(%1$d, %2$d) g;};
$insert =~ s/g % 30/g %% 30/;
sql($source, sprintf $insert, 1, 5000);
ingest();
whole('one transaction');
sql($source, sprintf $insert, 10 * $_ + 10000, 10 * $_ + 10009) for reverse 1 .. 40;
ingest();
whole('transactions against the order of keys');
sql($source, sprintf $insert, 3 * $_ + 20000, 3 * $_ + 20002) for 1, 3, 2, 5, 4, 9, 7, 8, 6, 10 .. 30;
ingest();
whole('transactions a little out of order');
sql($source, q{
	UPDATE public.up SET v = v || 'x' WHERE id % 3 = 0;
	UPDATE public.up SET id = id + 1000000 WHERE id BETWEEN 100 AND 300;
	UPDATE public.full SET w = w + 1; DELETE FROM public.full WHERE v % 5 = 0;
	DELETE FROM public.random WHERE v % 2 = 0; UPDATE public.pair SET b = 'a' WHERE a % 11 = 0;
	UPDATE public.wide SET v = 'short';
	INSERT INTO public.random SELECT md5(g::text)::uuid, g FROM generate_series(2, 1000, 2) g;
	BEGIN; DELETE FROM public.up WHERE id < 50; INSERT INTO public.up SELECT g, 'again' FROM generate_series(1, 49) g; COMMIT;
});
ingest();
whole('updates, deletes, keys that come again');

for my $turn (1 .. 3)
{
	sql($source, q{UPDATE public.up SET v = id; UPDATE public.pair SET v = v + 1; UPDATE public.random SET v = v; UPDATE public.wide SET v = v || 'y';
		UPDATE public.full SET w = w + 1});
	ingest();
	whole("each row updated, $turn");
}

# ---- the two rows that an update has in a log are one entry at once, where the leaf has room: a new index leaves some
sql($house, 'CREATE EXTENSION pageinspect');
my $log = sql($house, q{SELECT i.indexrelid::regclass FROM f_log.up l JOIN pg_index i ON i.indrelid = l.tableoid ORDER BY l.lsn DESC LIMIT 1});
my $lists = qq{SELECT count(*) FROM generate_series(1, pg_relation_size('$log') / current_setting('block_size')::int - 1) page,
	LATERAL bt_page_stats('$log', page) s, LATERAL bt_page_items('$log', page) i WHERE s.type = 'l' AND i.tids IS NOT NULL};
sql($house, "REINDEX INDEX $log");
my $before = sql($house, $lists);
sql($source, q{UPDATE public.up SET v = 'w' WHERE id BETWEEN 4001 AND 4010});
ingest();
is(sql($house, $lists) - $before, 10, 'ten updates make ten entries of two rows');

# ---- after a checkpoint each leaf that is met, and has room, is logged as a whole, with all the new entries that belong there
sql($house, 'CREATE EXTENSION pg_walinspect');
sql($source, q{INSERT INTO public.random SELECT md5(g::text)::uuid, g FROM generate_series(40000, 40199) g});
sql($house, 'REINDEX INDEX f.random_pkey; CHECKPOINT');
my $from = sql($house, 'SELECT pg_current_wal_insert_lsn()');
ingest();
my $random = sql($house, q{SELECT pg_relation_filepath('f.random_pkey')}) =~ s/.*\///r;
my $singly = sql($house, qq{SELECT count(*) FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())
	WHERE resource_manager = 'Btree' AND record_type = 'INSERT_LEAF' AND block_ref LIKE '%/$random %'});
cmp_ok($singly, '<', 50, 'two hundred keys in any order are not entered one by one');
whole('keys in any order after a checkpoint');

# ---- a page of a mirror is pruned when it has little room left, not at each visit
sql($source, q{INSERT INTO public.up SELECT g, 'v' FROM generate_series(70000, 73000) g});
ingest();
$from = sql($house, 'SELECT pg_current_wal_insert_lsn()');
for my $id (71001 .. 71012)
{
	sql($source, "UPDATE public.up SET v = 'w' WHERE id = $id");
	ingest();
}
my $up = sql($house, q{SELECT pg_relation_filepath('f.up')}) =~ s/.*\///r;
cmp_ok(sql($house, qq{SELECT count(*) FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())
	WHERE resource_manager = 'Heap2' AND record_type LIKE 'PRUNE%' AND block_ref LIKE '%/$up %'}), '<', 4, 'twelve updates of neighbours, one by one');

# ---- … and before an update finds no room there, also where each ingest has one row
sql($source, q{INSERT INTO public.up SELECT g, repeat('v', 250) FROM generate_series(80001, 80100) g});
ingest();
$from = sql($house, 'SELECT pg_current_wal_insert_lsn()');
for my $id (80041 .. 80052)
{
	sql($source, "UPDATE public.up SET v = repeat('w', 250) WHERE id = $id");
	ingest();
}
is(sql($house, qq{SELECT count(*) FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())
	WHERE resource_manager = 'Heap' AND record_type LIKE 'UPDATE%' AND block_ref LIKE '%/$up %'}), '0', 'twelve updates of wide neighbours stay on their page');

# ---- indexes that somebody made on mirrors
sql($house, q{
	CREATE INDEX ON f.up (v DESC NULLS FIRST, id);
	CREATE INDEX ON f.pair (v) INCLUDE (b);
	CREATE INDEX ON f.random USING hash (v);
	CREATE INDEX ON f.random USING brin (v);
	CREATE INDEX ON f.full (w NULLS FIRST);
	CREATE INDEX ON f.wide (left(v, 10)) WHERE v <> '';
	CREATE UNIQUE INDEX ON f.pair (a, b);
});
sql($source, sprintf $insert, 30000, 33000);
sql($source, q{INSERT INTO public.up VALUES (50000, NULL), (50001, ''), (50002, NULL); INSERT INTO public.full VALUES (-1, NULL, NULL), (-2, NULL, NULL);});
ingest();
whole('with indexes of other kinds');
is(sql($house, q{SET enable_seqscan = off; SELECT count(*) FROM f.random WHERE v = 30001}), '1', 'the hash index has the new rows');
is(sql($house, q{SET enable_seqscan = off; SELECT count(*) FROM f.wide WHERE left(v, 10) = left(repeat(md5('30001'), 1), 10) AND v <> ''}),
	sql($source, q{SELECT count(*) FROM public.wide WHERE left(v, 10) = left(repeat(md5('30001'), 1), 10) AND v <> ''}), 'and so has the partial one');

# ---- new rows of one key between others of it: the rows of a list stand in order with those around it
sql($source, q{INSERT INTO public.same SELECT g, 1 FROM generate_series(1, 3000) g; INSERT INTO public.same VALUES (0, 2)});
ingest();
sql($source, q{DELETE FROM public.same WHERE id % 2 = 1});
ingest();
sql($house, $_) for 'VACUUM f.same', 'CREATE INDEX ON f.same (kind) WITH (fillfactor = 50, deduplicate_items = off)', 'CHECKPOINT';
sql($source, q{INSERT INTO public.same SELECT g, 1 FROM generate_series(4001, 5000) g});
ingest();
whole('rows of one key between others');

# ---- a row that is there already is refused, wherever its key stands
sql($house, q{SET session_replication_role = 'replica'; INSERT INTO f.up VALUES (60000, 'mine'); INSERT INTO f.pair VALUES (60000, 'c', 0);
	INSERT INTO f.random VALUES (md5('60005')::uuid, 0); CHECKPOINT});
sql($source, q{INSERT INTO public.up SELECT g, 'theirs' FROM generate_series(60000, 60010) g;
	INSERT INTO public.pair SELECT g, 'c', g FROM generate_series(60000, 60010) g;
	INSERT INTO public.random SELECT md5(g::text)::uuid, g FROM generate_series(60000, 60010) g;});
ingest();
is(sql($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table WHERE state <> 'ready'}),
	'pair resync, random resync, up resync', 'a key that is there twice stops its table');
sql($house, "CALL walhouse.resync_table('f', '$_')") for qw(up pair random);
whole('copied again');

# ---- crashes: what was written is replayed, and goes on
for my $round (1 .. 3)
{
	sql($source, sprintf $insert, 100000 * $round, 100000 * $round + 2000);
	sql($house, 'CHECKPOINT') if $round == 2;
	ingest();
	sql($source, sprintf $insert, 100000 * $round + 3000, 100000 * $round + 3500);
	sql($source, q{UPDATE public.random SET v = v + 1; UPDATE public.pair SET v = v + 1; UPDATE public.up SET v = v || 'z' WHERE id % 2 = 0});
	ingest();
	kill9($house);
	$house->start;
	ingest();
	whole("crash $round");
}

# ---- the standby has compared each page with that of its primary, and has the same rows
sql($house, q{SELECT pg_switch_wal()});
$house->wait_for_catchup($standby);
is(sql($standby, q{SELECT count(bt_index_check(i.indexrelid, true)) > 10 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	JOIN pg_am a ON a.oid = c.relam
	WHERE c.relnamespace IN ('f'::regnamespace, 'f_log'::regnamespace) AND a.amname = 'btree' AND c.relkind = 'i'}), 't', 'the standby\'s indexes are whole');
is(sql($standby, 'SELECT count(*), sum(id) FROM f.up'), sql($source, 'SELECT count(*), sum(id) FROM public.up'), 'and has the rows');
unlike(PostgreSQL::Test::Utils::slurp_file($standby->logfile), qr/inconsistent page/, 'no page was another one there');

done_testing();
