# kill -9 in every step of a resync: while the slot is made, before the first table, between tables, before the position moves.  Until
# it is called again the feed refuses to run, and models stand, and verify, where they stood; rows that were brought stay brought.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE account (id int PRIMARY KEY, owner text, n int NOT NULL DEFAULT 0);
	CREATE TABLE booking (id int PRIMARY KEY, account int, amount int, at timestamptz DEFAULT '2026-01-01');
	CREATE PUBLICATION bank FOR TABLE account, booking;
	INSERT INTO account SELECT g, 'owner ' || g FROM generate_series(1, 100) g;
	INSERT INTO booking SELECT g, 1 + g % 100, g FROM generate_series(1, 1000) g});
create_server($house, 'bank', $source);
sql($house, q{
	CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, n FROM bank.account $$, key => '{id}', scd => '{"*": 2}');
	SELECT walhouse.create_fact('dw.booking', $$ SELECT id, account, amount, at FROM bank.booking $$, key => '{id}', event_time => 'at',
		dimensions => '{"account_sk": "dw.account(account)"}');
	CALL walhouse.run('bank')});
my @models = qw(dw.account dw.booking);
my $position = value($house, q{SELECT max(position) FROM walhouse.feed_position});
my $call = q{CALL walhouse.resync('bank')};
my $step = 0;

sql($source, q{SELECT pg_drop_replication_slot('bank')});
changes();
my $writer = $source->background_psql('postgres');
$writer->query_safe('BEGIN; SELECT pg_current_xact_id()');
killed_at('while the slot is made', sub { value($source, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%' AND state = 'active'}) eq '1' });
$writer->query_safe('COMMIT');
$writer->quit;
killed_under('LOCK TABLE bank.account', 'before the first table', 'account');
killed_under('LOCK TABLE bank.booking', 'between two tables', 'booking');
is(value($house, q{SELECT count(*) FROM bank.account WHERE n = 3}), '10', 'what was brought stays brought');
is(value($house, q{SELECT count(*) > 0 FROM bank_log.account WHERE lsn > (SELECT max(position) FROM walhouse.feed_position)}), 't', 'and stands in the log, above the position');
sql($house, q{SELECT walhouse.create_dimension('dw.late', $$ SELECT id, owner, n FROM bank.account $$, key => '{id}', scd => '{"*": 2}')});
sql($house, q{CALL walhouse.build('dw.late')});
push @models, 'dw.late';
verify_clean($house, 'a model that is built meanwhile', @models);
is(value($house, q{SELECT max(n) FROM dw.late}), '0', 'which sees the position');
killed_under('LOCK TABLE walhouse.feed_position IN SHARE MODE', 'before the position moves', 'feed_position');
killed_under('LOCK TABLE bank.booking', 'between two tables, the whole warehouse', 'booking', 1);

sql($house, q{CALL walhouse.resync('bank')});
is(value($house, q{SELECT resync_lsn IS NULL FROM walhouse.feed}), 't', 'the resync is at its end');
verify_clean($house, 'before the load', @models);
changes();
sql($house, q{CALL walhouse.run('bank')});
mirrors_equal($house, $source, 'bank', qw(account booking));
verify_clean($house, 'in the end', @models);
star_holds($house, 'in the end');
is(value($house, q{SELECT string_agg(n::text, ' ' ORDER BY valid_from, n) FROM dw.account WHERE id = 1}), value($house, q{SELECT string_agg(n::text, ' ' ORDER BY lsn, seq)
	FROM (SELECT '0/0'::pg_lsn AS lsn, 0 AS seq, 0 AS n UNION ALL SELECT lsn, seq, n FROM bank_log.account WHERE id = 1 AND op = 'U') x}), 'history has every step that was brought');
is(value($source, q{SELECT count(*) FROM pg_replication_slots}), '1', 'one slot is left');
$house->stop;
$source->stop;
done_testing();

# changes: some at the source, counted in n.
sub changes
{
	$step++;
	sql($source, qq{UPDATE account SET n = $step WHERE id <= 10; UPDATE booking SET amount = amount + 1 WHERE id % 10 = 0;
		DELETE FROM booking WHERE id = $step; INSERT INTO booking VALUES (1000 + $step, $step, 1); UPDATE account SET id = 200 + $step WHERE id = 20 + $step});
	return;
}

# killed_under LOCK, WHAT, RELATION[, ALL]: a resync is killed where it waits for a lock on a relation.
sub killed_under
{
	my ($lock, $what, $relation, $all) = @_;
	kill_at_lock($house, $call, $what, $lock, $relation, $all);
	return as_before($what);
}

# killed_at WHAT, SUB: a resync is killed once SUB is true.
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
	is(value($house, q{SELECT resync_lsn IS NOT NULL FROM walhouse.feed}), 't', "$what: the resync is not at its end");
	is(value($house, q{SELECT max(position) FROM walhouse.feed_position}), $position, "$what: the position is what it was");
	fails_with($house, "$what: the feed does not run", q{CALL walhouse.run('bank')}, qr/resync of feed "bank" is not at its end/, qr/CALL walhouse\.resync\('bank'\)/);
	fails_with($house, "$what: no table is copied", q{CALL walhouse.resync_table('bank', 'account')}, qr/not at its end/, qr/CALL walhouse\.resync/);
	like(value($house, q{SELECT remedy FROM walhouse.doctor_source('bank') WHERE code = 'resync'}), qr/CALL walhouse\.resync\('bank'\)/, "$what: so says the doctor");
	sql($house, q{CALL walhouse.load('bank')});
	verify_clean($house, $what, @models);
	changes();
	return;
}
