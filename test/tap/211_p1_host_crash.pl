# P1 with asynchronous commits: the worker is killed with kill -9 and then the host of the warehouse goes down, and all that
# its WAL had not on disk yet is lost. The slot must not have been confirmed beyond that.
#
# The loss is made real: walwriter, checkpointer and background writer are halted so that commits stay in memory; the
# worker is halted when the position that readers see is ahead of what is flushed; the flush position is noted; worker
# and all other processes are killed; and every byte of WAL beyond the flush position is overwritten with zeros, as a
# host would find it that had not written it. The test insists that the tail was lost at least once in its rounds: that
# the position after the restart is below the one seen before.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(house => { conf => <<'CONF' });
fsync = on
full_page_writes = on
autovacuum = off
shared_buffers = 128MB
wal_buffers = 32MB
wal_writer_delay = 200ms
checkpoint_timeout = 1h
log_min_messages = warning
CONF

sql($source, q{
	CREATE TABLE ticket (id bigserial PRIMARY KEY, state text NOT NULL, n int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
	INSERT INTO ticket (state, n) SELECT 'new', 0 FROM generate_series(1, 100);
	CREATE PUBLICATION desk FOR TABLE ticket;
	CREATE PROCEDURE work(rounds int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. rounds LOOP
			INSERT INTO ticket (state, n) VALUES ('new', 0);
			UPDATE ticket SET state = 'seen', n = n + 1 WHERE id = 1 + i % 100;
			COMMIT;
		END LOOP;
	END $$;
});
create_server($house, 'desk', $source);
sql($house, q{
	CALL walhouse.create_feed('desk', server => 'desk', publication => 'desk');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.ticket', $$ SELECT id, state FROM desk.ticket $$, key => '{id}');
	SELECT walhouse.create_fact('dw.touch', $$ SELECT id, at, n FROM desk.ticket $$, key => '{id}', event_time => 'at',
		dimensions => '{"ticket_sk": "dw.ticket(id)"}');
	SELECT walhouse.start('desk');
});
ok(models_reach($house, 'desk'), 'the models are built');
sql($source, 'CALL work(50)');
ok(reach($house, 'desk', $source), 'the worker follows');

my $position = q{SELECT max(position) FROM walhouse.feed_position};
my $lost = 0;
my $rounds = 5;
for my $round (1 .. $rounds)
{
	sql($house, 'CHECKPOINT');
	my @halted = map { my $pid = ask($house, "SELECT pid FROM pg_stat_activity WHERE backend_type = '$_'"); $pid ? ($pid) : () }
		'walwriter', 'checkpointer', 'background writer';
	is(scalar @halted, 3, "round $round: three processes are there to be halted");
	kill 'STOP', @halted;

	# Feed it until readers see a position that is not on disk.
	my $seen;
	for my $try (1 .. 20)
	{
		my $before = value($house, $position);
		sql($source, 'CALL work(' . 40 * $round . ')');
		poll($house, 'postgres', "SELECT max(position) > '$before' FROM walhouse.feed_position");
		my $worker = worker_pid($house);
		kill 'STOP', $worker;
		push @halted, $worker;
		# No answer: the worker was halted with a lock that readers need.
		my (undef, $out) = $house->psql('postgres',
			"SELECT max(position), pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() FROM walhouse.feed_position", timeout => 10);
		($seen) = ($out || '') =~ /^(.*)\|t$/;
		last if $seen;
		kill 'CONT', pop @halted;
	}
	my $flushed = value($house, 'SELECT pg_current_wal_flush_lsn()');
	my $timeline = value($house, 'SELECT timeline_id FROM pg_control_checkpoint()');
	my $segment = value($house, q{SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'});
	my $confirmed = value($source, 'SELECT confirmed_flush_lsn FROM pg_replication_slots');
	note("round $round: position $seen seen, WAL flushed to $flushed, slot confirmed to $confirmed");
	crash($house, reverse @halted);
	forget_wal($house, $flushed, $timeline, $segment);

	# First a look, without the worker, at what is left.
	$house->append_conf('postgresql.conf', 'walhouse.worker = off');
	$house->start;
	my $left = value($house, $position);
	note("round $round: position $left after the crash");
	$lost++ if lsn_diff($house, $seen, $left) > 0;
	cmp_ok(lsn_diff($house, $left, $confirmed), '>=', 0, "round $round: the slot was confirmed no further than the crash left");
	empty($house, "round $round: log and position agree", "SELECT end_lsn FROM desk_log.txn WHERE end_lsn > '$left'");
	$house->adjust_conf('postgresql.conf', 'walhouse.worker', 'on');
	$house->restart;
	ok(reach($house, 'desk', $source), "round $round: the worker catches up");
}
cmp_ok($lost, '>=', 1, "commits were really lost, in $lost of $rounds crashes");

mirrors_equal($house, $source, 'desk', 'ticket');
is(value($house, q{SELECT count(*), count(DISTINCT id) FROM desk_log.ticket WHERE op = 'I'}),
	value($source, 'SELECT count(*) - 100, count(*) - 100 FROM ticket'), 'each insert is in the log once');
is(value($house, q{SELECT count(*) FROM desk_log.ticket WHERE op = 'U'}), value($source, 'SELECT sum(n) FROM ticket'),
	'each update is in the log once');
empty($house, 'the log has each state of a row once', q{SELECT id, n FROM desk_log.ticket WHERE op = 'U' GROUP BY 1, 2 HAVING count(*) > 1});
verify_clean($house, 'after the crashes', 'dw.ticket', 'dw.touch');
star_holds($house, 'after the crashes');

sql($house, q{SELECT walhouse.stop('desk')});
$house->stop;
$source->stop;
done_testing();

# crash NODE, PID...: the worker dies, then the other halted processes, then all the rest; the postmaster is halted
# meanwhile, so that it cannot begin a recovery of its own.
sub crash
{
	my ($node, @pids) = @_;
	kill 'STOP', $node->{_pid};
	kill 'KILL', $_ for @pids;
	kill9($node);
	return;
}

# forget_wal NODE, LSN, TIMELINE, SEGMENT SIZE: zeros over all WAL at and after the LSN.
sub forget_wal
{
	my ($node, $lsn, $timeline, $segment) = @_;
	my ($high, $low) = map { hex } split m{/}, $lsn;
	my $at = $high * 2**32 + $low;
	my $per_id = 2**32 / $segment;
	for my $file (glob $node->data_dir . '/pg_wal/' . sprintf('%08X', $timeline) . '????????????????')
	{
		my ($id, $number) = $file =~ /([0-9A-F]{8})([0-9A-F]{8})$/ or next;
		my $start = (hex($id) * $per_id + hex($number)) * $segment;
		my $from = $at > $start ? $at - $start : 0;
		next if $from >= $segment;
		open my $wal, '+<', $file or die "$file: $!";
		binmode $wal;
		seek $wal, $from, 0;
		print $wal "\0" x ($segment - $from);
		close $wal;
	}
	return;
}
