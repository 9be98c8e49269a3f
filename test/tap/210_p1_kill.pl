# P1, nothing lost and nothing twice: processes are killed with kill -9 at random points of a running load, 20 times: the
# feed worker, the walsender, the warehouse's postmaster, the source's postmaster; meanwhile the bank of lib/BankLoad.pm
# writes. At the end each change in its audit must be in the change log exactly once, in order; the mirrors must equal
# the source; verify must be clean; balances must add up.
#
# RANDOM_SEED repeats a run's choices (not its timing); KILLS sets how often, RATE how many transactions per second.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use BankLoad;
use Test::More;
use List::Util qw(shuffle);
use Time::HiRes qw(time);

my $seed = $ENV{RANDOM_SEED} || int(time()) % 1_000_000;
my $kills = $ENV{KILLS} || 20;
my $rate = $ENV{RATE} || 300;
srand($seed);
note("RANDOM_SEED=$seed");

my ($source, $house) = source_and_house(
	source => { conf => "log_min_messages = warning\n" },
	house => { conf => "log_min_messages = warning\n" });

bank_create($source);
create_server($house, 'bank', $source);
sql($house, q{
	CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, balance, n, length(note) AS size FROM bank.account $$,
		key => '{id}', scd => '{"*": 2, "owner": 1}');
	SELECT walhouse.create_dimension('dw.owner', $$ SELECT id, owner FROM bank.account $$, key => '{id}', scd => '{"*": 1}');
	SELECT walhouse.create_fact('dw.ledger', $$ SELECT id, account, amount, at, n FROM bank.ledger $$, key => '{id}',
		event_time => 'at', dimensions => '{"account_sk": "dw.account(account)", "owner_sk": "dw.owner(account)"}',
		partition_by => 'month');
});
my @models = qw(dw.account dw.owner dw.ledger);
sql($house, q{SELECT walhouse.start('bank')});
ok(models_reach($house, 'bank'), 'the worker builds the models');

my $clients = bank_start($source, $rate);

# ---- The kills. Each waits until a random number of changes more has happened at the source, and now and then until they are
# in the warehouse, so that some fall into start-up and catching up, and others into the running stream.
my %killer = (
	worker => sub {
		my $pid = wait_for_pid(sub { worker_pid($house) });
		kill9($house, $pid) if $pid;
		return $pid;
	},
	walsender => sub {
		my $pid = wait_for_pid(sub { sender_pid($source) });
		kill9($source, $pid) if $pid;
		return $pid;
	},
	house => sub { restart_after_kill($house) },
	source => sub { restart_after_kill($source) });
my @plan = shuffle map { (qw(worker house walsender worker house walsender source))[ $_ % 7 ] } 0 .. $kills - 1;
my $killed = 0;
for my $victim (@plan)
{
	my $changes = 1 + int(rand(400));
	wait_for_changes($source, $changes);
	my $followed = rand() < 0.7 && wait_for_progress();
	note(sprintf 'kill %d: %s, after %d changes%s', $killed + 1, $victim, $changes, $followed ? ', while the stream ran' : '');
	$killed++ if ok($killer{$victim}->(), "kill $victim");
}
is($killed, $kills, "$kills processes were killed");

ok(bank_stop($source, $clients), 'the clients have gone');
ok(reach($house, 'bank', $source, 180), 'all that was committed arrives');

# ---- Each change exactly once.
sql($house, q{CREATE TABLE public.audit (seq bigint, rel text, op "char", id bigint, n int)});
sql($house, q{\copy public.audit FROM '} . bank_history($source) . q{'});
my $changes = value($house, 'SELECT count(*) FROM public.audit');
cmp_ok($changes, '>', 1000, "the source made $changes changes");
for my $table (qw(account ledger))
{
	same($house, "$table: each change of the source is in the log once, and nothing else",
		"SELECT op, id::bigint, CASE WHEN op <> 'D' THEN n END FROM public.audit WHERE rel = '$table'",
		"SELECT op, id::bigint, CASE WHEN op <> 'D' THEN n END FROM bank_log.$table WHERE op <> 'B'");
	same($house, "$table: the changes of a key stand in the source's order",
		"SELECT id::bigint, string_agg(op::text || coalesce(CASE WHEN op <> 'D' THEN n END::text, ''), ' ' ORDER BY seq) FROM public.audit
			WHERE rel = '$table' GROUP BY id",
		"SELECT id::bigint, string_agg(op::text || coalesce(CASE WHEN op <> 'D' THEN n END::text, ''), ' ' ORDER BY lsn, seq, op) FROM bank_log.$table
			WHERE op <> 'B' GROUP BY id");
	empty($house, "$table: the row before stands once per key and transaction",
		"SELECT lsn, id, count(*) FROM bank_log.$table WHERE op = 'B' GROUP BY lsn, id HAVING count(*) > 1");
	empty($house, "$table: the log holds whole transactions alone",
		"SELECT DISTINCT lsn FROM bank_log.$table WHERE lsn NOT IN (SELECT end_lsn FROM bank_log.txn)");
}
empty($house, 'a transaction stands in txn once',
	'SELECT end_lsn FROM bank_log.txn GROUP BY end_lsn HAVING count(*) > 1');
mirrors_equal($house, $source, 'bank', qw(account ledger));
verify_clean($house, 'after the kills', @models);
star_holds($house, 'after the kills');
is(value($house, 'SELECT count(*), sum(amount) FROM dw.ledger'), value($source, 'SELECT count(*), sum(amount) FROM ledger'),
	'the ledger adds up in the star');
is(value($house, q{SELECT sum(balance) FROM dw.account WHERE is_current AND account_sk > 0}), value($source, 'SELECT sum(balance) FROM account'),
	'the balances add up in the star');
is(value($house, q{SELECT string_agg(relation || ' ' || state, ', ' ORDER BY model_id) FROM walhouse.model}),
	join(', ', map { "$_ live" } @models), 'no kill has stopped a model');
is(value($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_name) FROM walhouse.feed_table}),
	'account ready, ledger ready', 'no kill has made a table resync');

sql($house, q{SELECT walhouse.stop('bank')});
$house->stop;
$source->stop;
done_testing();

# wait_for_progress: the warehouse takes something in that was committed since.
sub wait_for_progress
{
	my $from;
	return 1 if until_true(sub {
			my $now = ask($house, q{SELECT max(position) FROM walhouse.feed_position});
			$from = $now unless defined $from;
			return defined $now && $now ne $from;
		}, 120);
	fail('the warehouse makes progress');
	diag(ask($house, 'SELECT * FROM walhouse.stat_feed') || 'stat_feed is empty');
	return 0;
}
