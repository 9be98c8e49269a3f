# A feed for all tables on its own database becomes quiet: in 60 idle seconds no log row, no position, no load and next to no
# WAL is written, and neither worker nor walsender holds a transaction, a snapshot or a lock on a table.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use Time::HiRes qw(time);

my $idle = $ENV{IDLE_SECONDS} || 60;
my $house = one_server(conf => "autovacuum = off\n");

sql($house, q{
	CREATE TABLE public.thing (id int PRIMARY KEY, name text);
	INSERT INTO public.thing SELECT i, 'thing ' || i FROM generate_series(1, 100) AS i;
	CREATE TABLE public.event (id int PRIMARY KEY, thing int, at timestamptz, n int);
	INSERT INTO public.event SELECT i, i, timestamptz '2026-05-01 00:00+00' + i * interval '1 day', 0 FROM generate_series(1, 100) AS i;
	CREATE PUBLICATION everything FOR ALL TABLES;
});
create_server($house, 'self', $house);
sql($house, q{
	CALL walhouse.create_feed('self', server => 'self', publication => 'everything');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.thing', $$ SELECT id, name FROM self.thing $$, key => '{id}');
	SELECT walhouse.create_fact('dw.event', $$ SELECT id, thing, at, n FROM self.event $$, key => '{id}', event_time => 'at',
		dimensions => '{"thing_sk": "dw.thing(thing)"}');
	SELECT walhouse.start('self');
});
is(value($house, q{SELECT string_agg(source_schema || '.' || source_name, ', ' ORDER BY source_name) FROM walhouse.feed_table}), 'public.event, public.thing',
	'neither walhouse\'s catalog nor mirrors and logs are among the tables of the feed');
ok(models_reach($house, 'self'), 'the model is built');
sql($house, q{UPDATE public.thing SET name = name || '!' WHERE id <= 10; INSERT INTO public.thing VALUES (101, 'new')});
# The star's own tables are published, too: they must have what updates and deletes of published tables need.
sql($house, q{
	UPDATE public.event SET n = n + 1 WHERE id % 3 = 0;
	UPDATE public.event SET at = at - interval '40 days' WHERE id % 5 = 0;
	DELETE FROM public.event WHERE id % 7 = 0;
	DELETE FROM public.thing WHERE id = 50;
});
ok(poll($house, 'postgres', q{SELECT count(*) FROM dw.thing WHERE thing_sk > 0}, '111'), 'the star follows its own database');
ok(reach($house, 'self', $house), 'to the end');
verify_clean($house, 'on its own database', 'dw.thing', 'dw.event');
my $written = q{
	SELECT (SELECT count(*) FROM self_log.thing), (SELECT count(*) FROM self_log.event), (SELECT count(*) FROM self_log.txn), (SELECT count(*) FROM walhouse.feed_position),
		(SELECT max(position) FROM walhouse.feed_position), (SELECT count(*) FROM walhouse.load)};
my ($last, $since) = ('', time());
ok(until_true(sub {
		my $now = value($house, $written);
		($last, $since) = ($now, time()) if $now ne $last;
		return time() - $since > 12;
	}, 120), 'it becomes quiet');
diag(value($house, $written)) if time() - $since < 12;

my $from = source_lsn($house);
my $busy = '';
my $until = time() + $idle;
my $looks = 0;
while (time() < $until)
{
	my $now = value($house, $written);
	$busy = "$last, then $now" if $now ne $last && !$busy;
	$looks++;
	# A look for work to do takes a moment; what is held must be gone in the next one.
	my $held = 'not asked';
	until_true(sub { ($held = held()) eq '' }, 5);
	$busy ||= "held: $held" if $held ne '';
	last if $busy;
	my $next = time() + 1;
	until_true(sub { time() > $next }, 2);
}
is($busy, '', "nothing is written or held in $idle idle seconds, seen $looks times");
cmp_ok(lsn_diff($house, source_lsn($house), $from), '<', 65536, 'next to no WAL is written');
ok(worker_pid($house), 'the worker is there');
sql($house, q{INSERT INTO public.thing VALUES (102, 'after the silence')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM dw.thing WHERE thing_sk > 0}, '112'), 'and it wakes up');

sql($house, q{SELECT walhouse.stop('self')});
$house->stop;
done_testing();

# held: who of walhouse's processes, and of those that serve it, has a transaction id, a snapshot or a lock on a relation
# or transaction.
sub held
{
	return value($house, q{
		SELECT string_agg(concat_ws(' ', backend_type, 'xid', backend_xid, 'xmin', backend_xmin, held), '; ')
		FROM pg_stat_activity a
		LEFT JOIN LATERAL (SELECT string_agg(concat_ws(' ', locktype, relation::regclass, mode), ', ') AS held FROM pg_locks l
			WHERE l.pid = a.pid AND locktype NOT IN ('object', 'advisory', 'virtualxid')) l ON true
		WHERE (backend_type LIKE 'walhouse%' OR backend_type = 'walsender')
			AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL OR held IS NOT NULL)});
}
