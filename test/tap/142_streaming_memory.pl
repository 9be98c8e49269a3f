# A source transaction far larger than all memory settings, with subtransactions of which every tenth is rolled back, goes through
# walsender and feed worker; both stay small while it is open, while it commits, and while it is ingested.
#
# ROWS (300000) is its size: ROWS=5000000 is the proof for 256 MB, in some minutes. The peak of private memory is measured as the
# largest RssAnon of /proc, looked at some times a second: shared memory is not counted, all else is.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use Time::HiRes qw(time);

plan(skip_all => 'there is no /proc/PID/status with RssAnon') unless -r "/proc/$$/status" && slurp("/proc/$$/status") =~ /RssAnon/;
my $rows = $ENV{ROWS} || 300_000;
# With few rows the limits are small, too, or nothing would be proven.
my $small = $rows < 2_000_000;
my $limit_mb = $small ? 24 : 256;
my ($source, $house) = source_and_house(
	source => { conf => "max_wal_size = 8GB\n" . ($small ? "logical_decoding_work_mem = 4MB\n" : '') },
	house => { conf => "max_wal_size = 8GB\n" . ($small ? "walhouse.feed_memory = 4MB\n" : '') });

sql($source, q{
	CREATE TABLE public.t (id int PRIMARY KEY, k int NOT NULL, v text);
	CREATE PUBLICATION p FOR TABLE public.t;
	INSERT INTO public.t SELECT -g, 0, 'before' FROM generate_series(1, 1000) g;
});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p'); SELECT walhouse.start('f')});
ok(reach($house, 'f', $source, 60), 'the worker runs');
my $worker = worker_pid($house);
my $sender = ask($source, q{SELECT active_pid FROM pg_replication_slots WHERE active});
my $idle = anonymous_mb($worker);
note(sprintf 'before: walsender %d MB, worker %d MB', anonymous_mb($sender), $idle);

# ---- 100 steps of rows / 100; each tenth is rolled back, each fifth changes what the one before inserted.
my $begun = time();
my $session = $source->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN');
my %peak = (sender => 0, worker => 0);
for my $step (1 .. 100)
{
	my $size = int($rows / 100);
	my ($from, $to) = ($step * $size, ($step + 1) * $size - 1);
	my $before = $from - $size;
	$session->query_safe('SAVEPOINT s');
	$session->query_safe("INSERT INTO t SELECT g, $step, 'row ' || g FROM generate_series($from, $to) g");
	$session->query_safe("UPDATE t SET v = v || ' changed' WHERE id >= $before AND id < $from") if $step % 5 == 0;
	$session->query_safe("DELETE FROM t WHERE id >= $before AND id < $from AND id % 3 = 0") if $step % 7 == 0;
	$session->query_safe($step % 10 == 0 ? 'ROLLBACK TO s' : 'RELEASE s');
	measure();
}
note(sprintf 'written in %d s', time() - $begun);
$begun = time();
$session->query_safe('COMMIT');
$session->quit;
my $goal = source_lsn($source);
my $arrived = until_true(sub {
		measure();
		my $there = ask($house, "SELECT max(position) >= '$goal' FROM walhouse.feed_position");
		return defined $there && $there eq 't';
	}, 900);
ok($arrived, 'it arrives');
note(sprintf '%d rows: ingested %d s after the commit; peak of private memory: walsender %d MB, worker %d MB', $rows, time() - $begun,
	$peak{sender}, $peak{worker});
is(worker_pid($house), $worker, 'by the same worker');
cmp_ok($peak{sender}, '<', $limit_mb, "the walsender stays below $limit_mb MB");
cmp_ok($peak{worker}, '<', $limit_mb, "the worker stays below $limit_mb MB");
cmp_ok(ask($source, q{SELECT sum(stream_count) FROM pg_stat_replication_slots}) || 0, '>', 1, 'it was streamed');
ok(poll($house, 'postgres', 'SELECT spilled > 0 AND open_transactions = 0 FROM walhouse.stat_feed'), 'and went through a file');
mirrors_equal($house, $source, 'f', 't');
is(value($house, q{SELECT count(*) FROM f_log.t WHERE k % 10 = 0 AND op = 'I'}), '0', 'nothing that was rolled back is in the log');
is(value($house, q{SELECT count(*) FROM f_log.txn}), '1', 'it is one transaction');

sql($house, q{SELECT walhouse.stop('f')});
$house->stop;
$source->stop;
done_testing();

sub measure
{
	my %now = (sender => anonymous_mb($sender), worker => anonymous_mb($worker));
	for my $who (keys %now)
	{
		$peak{$who} = $now{$who} if $now{$who} > $peak{$who};
	}
	return;
}

sub anonymous_mb
{
	my ($pid) = @_;
	return slurp("/proc/$pid/status") =~ /RssAnon:\s+(\d+) kB/ ? $1 / 1024 : 0;
}

sub slurp
{
	my ($path) = @_;
	open my $file, '<', $path or return '';
	local $/;
	my $text = <$file>;
	close $file;
	return defined $text ? $text : '';
}
