# Copies while the source is written to: a feed is created, its models are declared and built, tables are copied again, and a
# model is built again, all under a running load and with the worker on; now and then a process is killed in the middle.
# In the end mirrors equal the source, the log has each change since the copy once, and verify is clean.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use BankLoad;
use Test::More;
use Time::HiRes qw(time);

my $seed = $ENV{RANDOM_SEED} || int(time()) % 1_000_000;
srand($seed);
note("RANDOM_SEED=$seed");

my ($source, $house) = source_and_house();
bank_create($source);
my $clients = bank_start($source, $ENV{RATE} || 200);
wait_for_changes($source, 500);

create_server($house, 'bank', $source);
sql($house, q{CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank')});
wait_for_changes($source, 300);
sql($house, q{
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, owner, balance, n, length(note) AS size FROM bank.account $$,
		key => '{id}', scd => '{"*": 2, "owner": 1}');
	SELECT walhouse.start('bank');
});
wait_for_changes($source, 300);
# Declared while the worker runs.
sql($house, q{
	SELECT walhouse.create_fact('dw.ledger', $$ SELECT id, account, amount, at, n FROM bank.ledger $$, key => '{id}',
		event_time => 'at', dimensions => '{"account_sk": "dw.account(account)"}', partition_by => 'day')});
ok(poll($house, 'postgres', q{SELECT string_agg(state, ' ') FROM walhouse.model}, 'live live'), 'models are built under load');

for my $round (1 .. 3)
{
	for my $table (qw(account ledger))
	{
		wait_for_changes($source, 1 + int(rand(300)));
		ok(until_true(sub { again("CALL walhouse.resync_table('bank', 'public.$table')") }, 60), "round $round: $table is copied again");
	}
	wait_for_changes($source, 1 + int(rand(300)));
	ok(until_true(sub { again("CALL walhouse.build('dw.account')") }, 60), "round $round: a model is built again");

	# A copy and a build that are killed.
	my $victim = fork;
	die "fork: $!" unless defined $victim;
	if ($victim == 0)
	{
		open STDERR, '>', '/dev/null';
		exec 'psql', '-XqAt', '-d', $house->connstr('postgres'), '-c', $round % 2 ? q{CALL walhouse.resync_table('bank', 'public.ledger')} : q{CALL walhouse.build('dw.ledger')};
	}
	my $backend;
	until_true(sub { $backend = ask($house, q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL walhouse.%' AND state = 'active' AND pid <> pg_backend_pid() LIMIT 1}) }, 2);
	kill9($house, $backend) if $backend;
	waitpid $victim, 0;
	note("round $round: " . ($backend ? 'killed it' : 'it was too quick'));
	ok(poll($house, 'postgres', 'SELECT 1', '1'), "round $round: the warehouse is back");
}
wait_for_changes($source, 300);
ok(bank_stop($source, $clients), 'the clients have gone');
ok(reach($house, 'bank', $source), 'all arrives');
mirrors_equal($house, $source, 'bank', qw(account ledger));
verify_clean($house, 'after copies', qw(dw.account dw.ledger));
star_holds($house, 'after copies');
is(value($house, 'SELECT count(*), sum(amount) FROM dw.ledger'), value($source, 'SELECT count(*), sum(amount) FROM ledger'), 'the ledger adds up');
is(value($house, 'SELECT sum(balance), sum(n) FROM dw.account WHERE is_current AND account_sk > 0'), value($source, 'SELECT sum(balance), sum(n) FROM account'), 'the accounts add up');
for my $table (qw(account ledger))
{
	empty($house, "$table: no change stands in the log twice", "SELECT id, n, op, count(*) FROM bank_log.$table WHERE op = 'U' GROUP BY 1, 2, 3, lsn, seq HAVING count(*) > 1");
	empty($house, "$table: every change of the log follows the image before",
		"SELECT * FROM (SELECT id, lsn, op, n, lag(op) OVER w AS op_before, lag(n) OVER w AS n_before, lag(lsn) OVER w AS lsn_before
			FROM bank_log.$table WHERE lsn > (SELECT sync_lsn FROM walhouse.feed_table WHERE source_name = '$table')
			WINDOW w AS (PARTITION BY id ORDER BY lsn, seq, op)) AS l
		 WHERE op = 'B' AND (op_before = 'D' OR op_before IN ('I', 'U') AND n <> n_before) OR op = 'I' AND op_before <> 'D'");
}

sql($house, q{SELECT walhouse.stop('bank')});
$house->stop;
$source->stop;
done_testing();

# again STATEMENT: whether it succeeded; who holds the stream or builds may be in the way for a moment.
sub again
{
	my ($statement) = @_;
	my ($status, $out, $err) = $house->psql('postgres', $statement, timeout => 120);
	note($err) if $status;
	return $status == 0;
}
