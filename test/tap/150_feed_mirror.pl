# A table without its mirror: two feeds read one source, one of them with the mirrors of two tables off; their logs are the same, over
# updates of large values, key changes, aborts, transactions by chunks, kills of the worker, and TRUNCATE (but for the rows that
# nobody can know of). Switched on again the log has no gap, and a model over it is right. What must be refused is.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use IPC::Run ();
use Test::More;

my ($source, $house) = source_and_house(source => { conf => "logical_decoding_work_mem = 64kB\n" },
	house => { conf => "walhouse.feed_memory = 512kB\nwalhouse.feed_batch_rows = 300\n" });

sql($source, q{
	CREATE TABLE public.event (id numeric, part text, body text, n int, PRIMARY KEY (id, part));
	ALTER TABLE public.event ALTER body SET STORAGE EXTERNAL;
	CREATE TABLE public.small (id int PRIMARY KEY, name text);
	CREATE TABLE public.other (id int PRIMARY KEY, name text);
	INSERT INTO public.event SELECT i, 'a', repeat(md5(i::text), 200), i FROM generate_series(1, 500) i;
	INSERT INTO public.small SELECT i, 'small ' || i FROM generate_series(1, 50) i;
	INSERT INTO public.other SELECT i, 'other ' || i FROM generate_series(1, 50) i;
	ALTER TABLE public.small REPLICA IDENTITY FULL;
	CREATE PUBLICATION p FOR TABLE public.event, public.small, public.other;
});
create_server($house, 'src', $source);
for my $feed (qw(full lean))
{
	sql($house, "CALL walhouse.create_feed('$feed', server => 'src', publication => 'p')");
}
sql($house, q{CREATE SCHEMA dw});

fails_with($house, 'a table without FULL keeps its mirror', q{CALL walhouse.set_mirror('lean', 'event', false)},
	qr/table "event" of feed "lean" needs replica identity FULL/, qr/HINT:  ALTER TABLE public\.event REPLICA IDENTITY FULL at the source/);
fails_with($house, 'a table must be one', q{CALL walhouse.set_mirror('lean', 'nothing', false)}, qr/feed "lean" has no table "nothing"/);
fails_with($house, 'NULL is no answer', q{CALL walhouse.set_mirror('lean', 'event', NULL)}, qr/argument 3 must not be null/);
fails_with($house, 'not in a transaction block', q{BEGIN; CALL walhouse.set_mirror('lean', 'event', false)}, qr/cannot run inside a transaction block/);
sql($house, q{SELECT walhouse.create_dimension('dw.small', 'SELECT id, name FROM lean.small', '{id}')});
fails_with($house, 'nor one that a model reads', q{CALL walhouse.set_mirror('lean', 'small', false)},
	qr/cannot be switched off because models read it/, qr/DETAIL:  They are: dw\.small/);
sql($house, q{SELECT walhouse.drop_model('dw.small')});
is(value($house, q{SELECT string_agg(mirrored::text, ' ') FROM walhouse.stat_table}), 'true true true true true true', 'nothing was switched');

# Changes from before the identity was FULL are still to come when the mirror is switched off: they are brought in first.
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id <= 20; ALTER TABLE public.event REPLICA IDENTITY FULL; UPDATE public.event SET n = n + 1 WHERE id <= 10});
sql($house, q{CALL walhouse.set_mirror('lean', 'public.event', false)});
sql($house, q{SELECT walhouse.start('full'); SELECT walhouse.start('lean')});
ok(both_reach(), 'workers run');
# With the worker at it.
my ($status, $out, $err) = $house->psql('postgres', q{CALL walhouse.set_mirror('lean', 'small', false); CALL walhouse.set_mirror('lean', 'small', false)});
is($status, 0, 'a mirror is switched off beside the worker');
like($err, qr/NOTICE:  the mirror of table "small" is off already/, 'twice is once');
is(value($house, q{SELECT string_agg(source_name || ' ' || mirrored, ', ' ORDER BY source_name) FROM walhouse.stat_table WHERE feed = 'lean'}),
	'event false, other true, small false', 'stat_table shows it');
is(value($house, q{SELECT (SELECT count(*) FROM lean.event) || ' ' || (SELECT count(*) FROM lean.small) || ' ' || (SELECT count(*) FROM lean.other)}), '0 0 50',
	'the mirrors are empty');
fails_with($house, 'no model over a mirror that is off', q{SELECT walhouse.create_fact('dw.event', 'SELECT id, part, body, n, now() AS at FROM lean.event', '{id,part}', 'at')},
	qr/now/);
fails_with($house, 'no model over a mirror that is off', q{SELECT walhouse.create_dimension('dw.event', 'SELECT e.id, e.part, s.name FROM lean.event e LEFT JOIN lean.small s ON s.id = e.n', '{id,part}')},
	qr/a dimension cannot read lean\.(event|small), because its mirror is off/, qr/HINT:  CALL walhouse\.set_mirror\('lean', '(event|small)', true\)/);

# All kinds of changes.
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id % 7 = 0});
sql($source, q{UPDATE public.event SET body = body || 'x' WHERE id % 11 = 0; UPDATE public.event SET body = NULL WHERE id = 12; DELETE FROM public.event WHERE id BETWEEN 90 AND 95});
sql($source, q{BEGIN; UPDATE public.event SET n = -1 WHERE id = 1; UPDATE public.event SET n = -2 WHERE id = 1; DELETE FROM public.event WHERE id = 1;
	INSERT INTO public.event VALUES (1.0, 'a', 'again', 1); UPDATE public.event SET n = -3 WHERE id = 1; COMMIT});
sql($source, q{BEGIN; UPDATE public.event SET id = 1000 + id WHERE id BETWEEN 20 AND 30; UPDATE public.event SET id = id - 1000 WHERE id BETWEEN 1020 AND 1022;
	UPDATE public.event SET id = 1.00 WHERE id = 1; COMMIT});
sql($source, q{BEGIN; INSERT INTO public.event VALUES (2000, 'a', 'short', 1); SAVEPOINT s; UPDATE public.event SET n = 99; DELETE FROM public.small; ROLLBACK TO s;
	UPDATE public.event SET n = 2 WHERE id = 2000; DELETE FROM public.event WHERE id = 2000; COMMIT});
sql($source, q{INSERT INTO public.event VALUES (2001, 'b', repeat('y', 5000), 0); UPDATE public.event SET part = 'c' WHERE id = 2001; UPDATE public.small SET name = NULL WHERE id = 3});
sql($source, q{UPDATE public.other SET name = name || '!'; DELETE FROM public.small WHERE id > 45});
ok(both_reach(), 'both follow');
logs_are_same('changes');
is(value($house, q{SELECT count(*) FROM lean.event}), '0', 'the mirror stays empty');

# Large transactions, by chunks: rows are touched in several of them, and other tables, too.
sql($source, q{BEGIN;
	UPDATE public.event SET n = n + 1; UPDATE public.other SET name = 'big' WHERE id <= 25; UPDATE public.small SET name = 'big';
	UPDATE public.event SET body = coalesce(body, '') || 'z' WHERE id % 2 = 0;
	DELETE FROM public.event WHERE id % 5 = 0;
	INSERT INTO public.event SELECT i, 'a', repeat('w', 3000), 0 FROM generate_series(5, 500, 10) i WHERE NOT EXISTS (SELECT FROM public.event e WHERE e.id = i AND e.part = 'a');
	UPDATE public.event SET n = n + 1; UPDATE public.event SET id = id + 5000 WHERE id % 3 = 0; UPDATE public.event SET n = n - 1; UPDATE public.other SET name = 'bigger';
	DELETE FROM public.small WHERE id % 2 = 0; COMMIT});
ok(both_reach(), 'a large transaction');
logs_are_same('by chunks');
is(value($house, q{SELECT (SELECT count(*) FROM lean.event) || ' ' || (SELECT count(*) FROM lean.small)}), '0 0', 'nothing of it stays in the mirrors');
cmp_ok(value($house, q{SELECT streamed FROM walhouse.stat_workers() ORDER BY feed_id DESC LIMIT 1}), '>', 0, 'it came in segments');

# A worker that is killed in the middle of things.
for my $n (1 .. 4)
{
	sql($source, qq{BEGIN; UPDATE public.event SET n = $n; UPDATE public.small SET name = name || '$n'; UPDATE public.event SET n = n + 1 WHERE id % $n = 0; COMMIT});
	my $pid = ask($house, q{SELECT pid FROM pg_stat_activity WHERE application_name = 'walhouse feed lean'});
	kill9($house, $pid) if $pid;
	poll($house, 'postgres', 'SELECT true');
}
ok(both_reach(), 'killed, and back');
logs_are_same('kills');
is(value($house, q{SELECT count(*) FROM lean.event}), '0', 'the mirror is empty');

# TRUNCATE: without the mirror nobody knows what it removed; the log begins anew there, and says so.
my $before = value($house, q{SELECT sync_lsn FROM walhouse.feed_table t JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'lean' AND source_name = 'small'});
sql($source, q{BEGIN; UPDATE public.small SET name = 'last' WHERE id = 1; INSERT INTO public.small VALUES (100, 'gone'); UPDATE public.other SET name = 'with' WHERE id = 1; TRUNCATE public.small;
	INSERT INTO public.small VALUES (1, 'new'), (2, 'new'); UPDATE public.small SET name = 'newer' WHERE id = 1; UPDATE public.other SET name = 'it' WHERE id = 1; COMMIT});
sql($source, q{UPDATE public.small SET name = 'after'});
ok(both_reach(), 'a TRUNCATE');
my $truncated = q{SELECT lsn FROM full_log.small WHERE op = 'T'};
same($house, 'but for the rows that it removed', log_of('full', 'small') . " WHERE NOT (op = 'B' AND id <> 1 AND lsn IN ($truncated))", log_of('lean', 'small'));
logs_are_same('TRUNCATE', 'event', 'other');
is(value($house, qq{SELECT sync_lsn = ($truncated) AND sync_lsn > '$before' FROM walhouse.feed_table t JOIN walhouse.feed f USING (feed_id) WHERE f.name = 'lean' AND source_name = 'small'}), 't',
	'the horizon of the table is there');

# On again, while changes come.
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id % 4 = 0});
sql($house, q{SELECT walhouse.stop('lean')});
until_true(sub { value($house, q{SELECT worker FROM walhouse.stat_feed WHERE feed = 'lean'}) eq 'stopped' }, 60);
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id % 3 = 0});
sql($house, q{CALL walhouse.set_mirror('lean', 'event', true)});
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id % 2 = 0; UPDATE public.event SET id = id + 0.5 WHERE id % 9 = 0});
sql($house, q{SELECT walhouse.start('lean')});
ok(both_reach(), 'on again');
logs_are_same('on', 'event', 'other');
mirrors_equal($house, $source, 'lean', 'event');
sql($house, q{SELECT walhouse.create_dimension('dw.event', 'SELECT id, part, body, n FROM lean.event', '{id,part}', '{"*": 1, "n": 2}')});
sql($source, q{UPDATE public.event SET n = n + 1 WHERE id % 5 = 1; DELETE FROM public.event WHERE id % 13 = 0});
ok(both_reach() && reach($house, 'lean', $source), 'a model over it is built');
verify_clean($house, 'over a mirror that was off', 'dw.event');
sql($house, q{SELECT walhouse.drop_model('dw.event')});
logs_are_same('after', 'event', 'other');
mirrors_equal($house, $source, 'lean', 'event');

# On beside a running worker, under load.
sql($house, q{CALL walhouse.set_mirror('lean', 'small', true)});
sql($source, q{UPDATE public.small SET name = name || '?'; INSERT INTO public.small VALUES (7, 'seven')});
ok(both_reach(), 'on beside the worker');
mirrors_equal($house, $source, 'lean', 'small');

# Off and on while changes come without a pause: what is committed between the feed's position and the copy is in the log, too.
my $load = IPC::Run::start(
	[ 'psql', '-qX', '-d', $source->connstr('postgres'), '-c',
		'DO $$ BEGIN FOR i IN 1 .. 20000 LOOP UPDATE public.event SET n = i WHERE id = 2 + i % 40; COMMIT; END LOOP; END $$' ]);
for my $round (1 .. 4)
{
	sql($house, q{CALL walhouse.set_mirror('lean', 'event', false)});
	sql($house, q{CALL walhouse.set_mirror('lean', 'event', true)});
}
ok(IPC::Run::finish($load), 'all of it was committed');
ok(both_reach(), 'off and on under load');
logs_are_same('under load', 'event');
mirrors_equal($house, $source, 'lean', 'event');

# Off once more; and the source takes FULL away: that table stops, the others go on, and it comes back when it is FULL again.
sql($house, q{CALL walhouse.set_mirror('lean', 'small', false)});
sql($source, q{ALTER TABLE public.small REPLICA IDENTITY DEFAULT; UPDATE public.small SET name = 'lost' WHERE id = 1; UPDATE public.other SET name = 'goes on' WHERE id = 2});
ok(both_reach(), 'the feed goes on');
is(value($house, q{SELECT state || ' ' || error FROM walhouse.stat_table WHERE feed = 'lean' AND source_name = 'small'}),
	'resync a change of table "small" came without the row as it was: Its mirror is off, and its replica identity is not FULL any more.', 'the table has stopped');
logs_are_same('the others', 'event', 'other');
fails_with($house, 'it comes back with FULL alone', q{CALL walhouse.resync_table('lean', 'small')}, qr/needs replica identity FULL/);
sql($source, q{ALTER TABLE public.small REPLICA IDENTITY FULL});
sql($house, q{CALL walhouse.resync_table('lean', 'small')});
sql($source, q{UPDATE public.small SET name = 'found' WHERE id = 1});
ok(both_reach(), 'and does');
is(value($house, q{SELECT string_agg(op::text || ' ' || name, ', ' ORDER BY lsn, seq, op) FROM lean_log.small WHERE lsn = (SELECT max(lsn) FROM lean_log.small)}), 'B lost, U found', 'with rows as they were');
is(value($house, q{SELECT count(*) || ' ' || (SELECT mirrored FROM walhouse.stat_table WHERE feed = 'lean' AND source_name = 'small') FROM lean.small}), '0 false', 'its mirror is still off');

sql($house, q{SELECT walhouse.stop('lean'); SELECT walhouse.stop('full')});
$_->stop for $source, $house;
done_testing();

sub both_reach
{
	my $ok = 1;
	for my $feed (qw(full lean))
	{
		my $lsn = source_lsn($source);
		$ok = poll($house, 'postgres', "SELECT walhouse.wait_for('$feed', '$lsn', '20 s')", 't', 120) && $ok;
	}
	return $ok;
}

sub log_of
{
	my ($feed, $table) = @_;
	return "SELECT l::text FROM ${feed}_log.$table l";
}

sub logs_are_same
{
	my ($what, @tables) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	@tables = qw(event small other) if !@tables;
	same($house, "$what: the log of $_", log_of('full', $_), log_of('lean', $_)) for @tables;
	return;
}
