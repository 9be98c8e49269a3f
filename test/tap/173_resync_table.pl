# resync_table of a table that was held, whose definition fits again: what differs is logged, at the point of a slot, and models go on with
# their history.  Beside writers and the feed's worker; with the feed behind, where loads see nothing of it before the position is there;
# killed at each step, it leaves the table as it was.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use POSIX ();
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE account (id int PRIMARY KEY, owner text, n int NOT NULL DEFAULT 0);
	CREATE TABLE booking (id int PRIMARY KEY, account int, amount int, at timestamptz DEFAULT '2026-01-01');
	CREATE PUBLICATION bank FOR TABLE account, booking;
	INSERT INTO account SELECT g, 'owner ' || g FROM generate_series(1, 3000) g;
	INSERT INTO booking SELECT g, 1 + g % 100, g FROM generate_series(1, 500) g});
create_server($house, 'bank', $source);
sql($house, q{
	CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, n FROM bank.account $$, key => '{id}', scd => '{"*": 2}');
	SELECT walhouse.create_dimension('dw.holder', $$ SELECT b.id, a.owner, b.amount FROM bank.booking b JOIN bank.account a ON a.id = b.account $$,
		key => '{id}', scd => '{"*": 2}');
	SELECT walhouse.create_fact('dw.booking', $$ SELECT id, account, amount, at FROM bank.booking $$, key => '{id}', event_time => 'at',
		dimensions => '{"account_sk": "dw.account(account)"}');
	CALL walhouse.run('bank')});
my @models = qw(dw.account dw.holder dw.booking);
my $call = q{CALL walhouse.resync_table('bank', 'account')};
my $step = 0;
changes();
sql($house, q{CALL walhouse.run('bank')});
my $horizon = value($house, q{SELECT sync_lsn FROM walhouse.feed_table WHERE source_name = 'account'});

# ---- a type that comes back, and changes of all kinds meanwhile; the feed is behind
hold('account');
my $old = value($house, kept());
changes();
sql($house, q{CALL walhouse.ingest('bank')});
sql($source, q{DELETE FROM account WHERE id = 55; INSERT INTO account VALUES (9001, 'new'); UPDATE booking SET amount = 7 WHERE id = 1});
is(value($house, 'SELECT max(n) FROM bank.account'), '1', 'a table that is held is not followed');
sql($house, q{CALL walhouse.resync_table('bank', 'account')});
is(value($house, q{SELECT state || ' ' || sync_lsn FROM walhouse.feed_table WHERE source_name = 'account'}), "ready $horizon", 'it is ready, and its log reaches back as before');
is(value($house, q{SELECT max(n) FROM bank.account}), '2', 'the mirror is where the source is');
is(value($house, q{SELECT count(*) FILTER (WHERE op = 'U') || ' ' || count(*) FILTER (WHERE op = 'D') || ' ' || count(*) FILTER (WHERE op = 'I') FROM bank_log.account
	WHERE lsn = (SELECT compared_lsn FROM walhouse.feed_table WHERE source_name = 'account')}), '10 2 2', 'what differs is in the log, and nothing else');
is(value($house, q{SELECT bool_and(t.compared_lsn > p.position) FROM walhouse.feed_table t, (SELECT max(position) AS position FROM walhouse.feed_position) p
	WHERE source_name = 'account'}), 't', 'it is above the position');
is(value($house, q{SELECT count(*) > 0 FROM bank_log.booking WHERE lsn > (SELECT max(to_lsn) FROM walhouse.load_model)}), 't', 'and there are changes to load of another table');
sql($house, q{CALL walhouse.load('bank')});
is(value($house, kept()), $old, 'before that is there loads see nothing of it');
is(value($house, q{SELECT string_agg(model::text || ' ' || is_current, ', ' ORDER BY model::text COLLATE "C") FROM walhouse.stat_model}),
	'dw.account false, dw.booking false, dw.holder false', 'its models wait');
verify_clean($house, 'meanwhile', @models);
fails_with($house, 'none is built meanwhile', q{SELECT walhouse.create_dimension('dw.early', $$ SELECT id, n FROM bank.account $$, key => '{id}'); CALL walhouse.build('dw.early')},
	qr/ready once the feed is at|could not build/);
changes();
sql($house, q{CALL walhouse.run('bank')});
sql($house, q{SELECT walhouse.drop_model('dw.early')}) if value($house, q{SELECT to_regclass('dw.early') IS NOT NULL}) eq 't';
mirrors_equal($house, $source, 'bank', qw(account booking));
verify_clean($house, 'the feed has caught up', @models);
star_holds($house, 'the feed has caught up');
history('the feed has caught up');
is(value($house, q{SELECT count(*) FROM (SELECT clock < lag(clock) OVER (ORDER BY end_lsn) AS back FROM bank_log.txn) x WHERE back}), '0', 'the clock does not go back');

# ---- the worker runs, and nothing else moves the source on
sql($house, q{SELECT walhouse.start('bank')});
alter('account');
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.feed_table WHERE source_name = 'account'}, 'resync'), 'held while the worker runs');
sql($house, q{CALL walhouse.resync_table('bank', 'account')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.stat_model WHERE is_current}, '3'), 'a source that rests is asked how far it is, and models go on');
verify_clean($house, 'while the source rests', @models);

# ---- under a write load, again and again
my $writer = fork;
die "fork: $!" unless defined $writer;
if ($writer == 0)
{
	open STDERR, '>', '/dev/null';
	my $round = 0;
	my $until = time + 60;
	while (time < $until && !-e $house->data_dir . '/stop')
	{
		$round++;
		system 'psql', '-XqAt', '-d', $source->connstr('postgres'), '-c', "UPDATE account SET n = n + 1 WHERE id % 50 = $round % 50; INSERT INTO booking VALUES (10000 + $round, 1 + $round % 100, $round);
			UPDATE account SET id = 20000 + $round WHERE id = 2000 + $round; DELETE FROM account WHERE id = 1000 + $round; INSERT INTO account VALUES (30000 + $round, 'w')";
	}
	POSIX::_exit(0);
}
for my $round (1 .. 3)
{
	alter('account');
	ok(poll($house, 'postgres', q{SELECT state FROM walhouse.feed_table WHERE source_name = 'account'}, 'resync'), "round $round: it is held");
	sql($house, q{CALL walhouse.resync_table('bank', 'account')});
}
open my $stop, '>', $house->data_dir . '/stop';
close $stop;
waitpid $writer, 0;
ok(reach($house, 'bank', $source), 'the models are where the source is');
mirrors_equal($house, $source, 'bank', qw(account booking));
verify_clean($house, 'under a write load', @models);
star_holds($house, 'under a write load');
history('under a write load');
sql($house, q{SELECT walhouse.stop('bank')});

# ---- killed, where it waits: for the slot, for the mirror, for the catalog; the whole warehouse, or its process alone
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'walhouse feed%'}, '0'), 'the worker is gone');
hold('account');
changes();
my $open = $source->background_psql('postgres');
$open->query_safe('BEGIN; SELECT pg_current_xact_id()');
killed_at('while the slot is made', sub { ask($source, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%' AND state = 'active'}) eq '1' });
$open->query_safe('COMMIT');
$open->quit;
killed_under('LOCK TABLE bank.account', 'before the comparison', 'account');
killed_under('LOCK TABLE bank_log.txn', 'with what differs written', 'txn', 1);
sql($house, q{CALL walhouse.resync_table('bank', 'account')});
changes();
sql($house, q{CALL walhouse.run('bank')});
mirrors_equal($house, $source, 'bank', qw(account booking));
verify_clean($house, 'in the end', @models);
star_holds($house, 'in the end');
history('in the end');
is(value($source, q{SELECT count(*) FROM pg_replication_slots}), '1', 'one slot is left');

# ---- a mirror that somebody wrote to is copied, and so is a table that is ready
sql($house, q{SET walhouse.allow_writes = on; DELETE FROM bank.account WHERE id = 60});
sql($source, q{UPDATE account SET n = 99 WHERE id = 60});
sql($house, q{CALL walhouse.run('bank')});
is(value($house, q{SELECT state || ' ' || strayed FROM walhouse.feed_table WHERE source_name = 'account'}), 'resync true', 'a row that the mirror lacks holds the table');
for my $what ('a mirror that has strayed', 'a table that is ready')
{
	sql($house, q{CALL walhouse.resync_table('bank', 'account')});
	sql($source, q{UPDATE account SET n = n + 1 WHERE id < 5});
	sql($house, q{CALL walhouse.run('bank')});
	is(value($house, q{SELECT compared_lsn < sync_lsn AND NOT strayed FROM walhouse.feed_table WHERE source_name = 'account'}), 't', "$what is copied");
	verify_clean($house, $what, @models);
}

# ---- what does not fit any more is copied, and its models are built again
sql($source, q{ALTER TABLE booking ALTER amount TYPE text; ALTER TABLE account ALTER n TYPE text});
$house->psql('postgres', q{CALL walhouse.run('bank')});
sql($house, q{CALL walhouse.resync_table('bank', 'account')});
is(value($house, q{SELECT compared_lsn < sync_lsn FROM walhouse.feed_table WHERE source_name = 'account'}), 't', 'another type: its log begins anew');

$house->stop;
$source->stop;
done_testing();

# changes: some at the source, counted in n.
sub changes
{
	$step++;
	sql($source, qq{UPDATE account SET n = $step WHERE id <= 10; UPDATE booking SET amount = amount + 1 WHERE id % 10 = 0;
		DELETE FROM booking WHERE id = $step; INSERT INTO booking VALUES (1000 + $step, $step, 1); UPDATE account SET id = 4000 + $step WHERE id = 20 + $step});
	return;
}

# hold TABLE: a type that goes and comes back puts it into state resync.
sub hold
{
	my ($table) = @_;
	alter($table);
	$house->psql('postgres', q{CALL walhouse.run('bank')});
	return is(value($house, qq{SELECT state FROM walhouse.feed_table WHERE source_name = '$table'}), 'resync', 'a type that changed holds the table');
}

# alter TABLE: a type goes and comes back.
sub alter
{
	my ($table) = @_;
	return sql($source, qq{ALTER TABLE $table ALTER n TYPE text; ALTER TABLE $table ALTER n DROP DEFAULT, ALTER n TYPE int USING n::int, ALTER n SET DEFAULT 0});
}

# kept: a query for what the models have, by surrogate keys.
sub kept
{
	return q{SELECT (SELECT md5(string_agg(d::text, ' ' ORDER BY account_sk)) FROM dw.account d) || (SELECT md5(string_agg(h::text, ' ' ORDER BY holder_sk)) FROM dw.holder h)
		|| (SELECT md5(string_agg(b::text, ' ' ORDER BY id)) FROM dw.booking b)};
}

# history WHAT: versions are what the log says, from the first on.
sub history
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(value($house, q{SELECT string_agg(n::text, ' ' ORDER BY valid_from, n) FROM dw.account WHERE id = 1}),
		value($house, q{SELECT string_agg(n::text, ' ' ORDER BY lsn, seq) FROM (SELECT '0/0'::pg_lsn AS lsn, 0 AS seq, 0 AS n
			UNION ALL SELECT lsn, seq, n FROM bank_log.account l WHERE id = 1 AND op = 'U'
				AND n IS DISTINCT FROM (SELECT b.n FROM bank_log.account b WHERE b.id = 1 AND b.op = 'B' AND b.lsn = l.lsn)) x}),
		"$what: history has every step from the first on");
}

# killed_under LOCK, WHAT, RELATION[, ALL]: it is killed where it waits for a lock on a relation.
sub killed_under
{
	my ($lock, $what, $relation, $all) = @_;
	kill_at_lock($house, $call, $what, $lock, $relation, $all);
	return as_before($what);
}

# killed_at WHAT, SUB: it is killed once SUB is true.
sub killed_at
{
	my ($what, $is_there) = @_;
	kill_call($house, $call, $what, $is_there);
	return as_before($what);
}

# as_before WHAT: all is as it was before.
sub as_before
{
	my ($what) = @_;
	is(value($house, q{SELECT state FROM walhouse.feed_table WHERE source_name = 'account'}), 'resync', "$what: the table is held as it was");
	is(value($house, q{SELECT max(lsn) <= (SELECT max(position) FROM walhouse.feed_position) FROM bank_log.account}), 't', "$what: nothing was logged");
	verify_clean($house, $what, @models);
	changes();
	return;
}
