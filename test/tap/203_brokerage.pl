# A brokerage from a generator of our own (test/brokerage): customers, accounts that follow their customers, securities, trades with
# their history, cash, holdings, watches and daily prices, in three phases: a history, part of it there at the first copy and part
# replayed as changes, then the changes of two days. The star is declared by public SQL alone (dimensions.sql, facts.sql, sums.sql), and after
# each phase the rules of test/brokerage/rules/*.sql, pgTAP tests, hold it against a copy of the source's tables, against the
# generator's ledger, and against versions and balances that plain SQL here works out from a record that triggers at the source kept.
# At the end the star equals one that is built from scratch, and planted faults are seen.
#
#   SEED=7     another brokerage (default 1)
#   SCALE=10   a larger one: 1 is some 30 customers and 650 trades; 10 takes a few minutes
#   BASE=…     the last day of the history, a Wednesday (default: of last week); a failure is repeated with the seed and base that it printed
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use Time::HiRes qw(time);

my $here = 'test/brokerage';
my @tables = qw(holiday industry company security broker customer account account_holder trade trade_history cash_transaction
	holding watch daily_market visit);
my ($seed, $scale) = ($ENV{SEED} || 1, $ENV{SCALE} || 1);
my ($source, $house) = source_and_house(source => { conf => "track_commit_timestamp = on\n" });
my $base = $ENV{BASE} || value($source, q{SELECT date_trunc('week', now())::date - 5});
note("SEED=$seed SCALE=$scale BASE=$base");
my $started = time();

# ---- A history: its first part in one go, the feed and its star, and the rest as changes, cut into loads.
sql($source, "ALTER DATABASE postgres SET gen.$_->[0] = '$_->[1]'")
	for [ seed => $seed ], [ scale => $scale ], [ base => $base ], [ phase => 1 ], [ commits => 'off' ];
sql($source, "\\i $here/tables.sql\n\\i $here/generator.sql");
sql($source, 'CALL gen.found(gen.base() - 455); CALL gen.days(gen.base() - 455, gen.base() - 131); CALL gen.record()');
sql($source, 'CREATE PUBLICATION brokerage FOR TABLES IN SCHEMA oltp');
sql($house, "ALTER DATABASE postgres SET brokerage.base = '$base'");
took('the first part of the history');

create_server($house, 'brokerage', $source);
sql($house, q{CALL walhouse.create_feed('brokerage', server => 'brokerage', publication => 'brokerage', time_zone => 'America/New_York')});
sql($house, "CREATE EXTENSION pgtap;\n\\i $here/tables.sql\n\\i $here/expected.sql");
sql($house, "\\i $here/dimensions.sql");
days(130, 100);
sql($house, q{CALL walhouse.run('brokerage')});
sql($house, "\\i $here/facts.sql");
sql($house, q{CALL walhouse.run('brokerage')});
days(99, 60);
sql($house, q{CALL walhouse.ingest('brokerage')});
sql($house, "\\i $here/sums.sql");
days(59, 30);
sql($house, q{CALL walhouse.run('brokerage')});
days(29, 1);
days(0, 0);
sql($house, q{CALL walhouse.run('brokerage')});
took('the rest of the history');
check('history');
sql($house, 'SELECT expected.remember()');

# ---- The first day, with a worker beside it. What no model reads has its log alone from now on, until the second day.
sql($house, q{CALL walhouse.set_mirror('brokerage', 'oltp.visit', false)});
sql($house, q{SELECT walhouse.start('brokerage')});
sql($source, "\\i $here/increment_1.sql");
ok(reach($house, 'brokerage', $source), 'the worker has brought the first day');
sql($house, q{SELECT walhouse.stop('brokerage')});
poll($house, 'postgres', q{SELECT worker FROM walhouse.stat_feed}, 'stopped');
took('the first day');
check('first day');

# ---- The second day, cut into loads where it may be.
sql($house, q{CALL walhouse.set_mirror('brokerage', 'oltp.visit', true)});
my $from = source_lsn($source);
sql($source, "\\i $here/increment_2.sql");
my $to = source_lsn($source);
sql($house, "CALL walhouse.run('brokerage', '$from'::pg_lsn + trunc(('$to'::pg_lsn - '$from') * $_ / 5))") for 1 .. 5;
took('the second day');
check('second day');

# ---- A star from scratch, and the past.
for my $file (qw(dimensions facts sums))
{
	sql($house, slurp_file("$here/$file.sql") =~ s/\bdw\b/fresh/gr);
}
sql($house, q{CALL walhouse.run('brokerage')});
took('a star from scratch');
rules('rebuilt', "$here/rebuilt.sql");
took('rebuilt');

# ---- Each fault is planted, seen by the rule that it breaks, and taken back.
my @faults = faults();
my @said = said(map { my ($file, $rule, $sql) = @$_; "SET LOCAL walhouse.allow_writes = on;\n$sql;\n" . one_rule("$here/rules/$file.sql", $rule) } @faults);
for my $i (0 .. $#faults)
{
	my (undef, $rule, $sql) = @{ $faults[$i] };
	my @seen = grep { !$_->{ok} } @{ $said[$i] };
	ok(scalar(grep { $_->{name} eq $rule } @seen), "planted: $rule") or diag("$sql\n", map { "seen: $_->{name}\n$_->{said}" } @seen);
}
took('planted faults');

$source->stop;
$house->stop;
done_testing();

# days FROM, TO: the days so many days before the base come to pass, in small transactions.
sub days
{
	my ($from, $to) = @_;
	sql($source, "SET gen.commits = on; CALL gen.days(gen.base() - $from, gen.base() - $to)");
	return;
}

# took WHAT: says how long it took.
sub took
{
	my ($what) = @_;
	note(sprintf '%s: %.1f s', $what, time() - $started);
	$started = time();
	return;
}

# check PHASE: bring what the source has and remembers, and hold the star to the rules.
sub check
{
	my ($phase) = @_;
	bring();
	took("$phase: bringing what is expected");
	for my $file (sort glob "$here/rules/*.sql")
	{
		rules($phase, $file);
		took("$phase: $file");
	}
	return;
}

# bring: what the source's tables hold, its record of changes with the commit times that the source remembers, and its ledger.
sub bring
{
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my %what = (map({ ("oltp.$_" => "TABLE oltp.$_") } @tables),
		'expected.change' => 'SELECT n, xid::text::bigint, CASE WHEN xid IS NOT NULL THEN pg_xact_commit_timestamp(xid) END, rel, key, live, image FROM gen.change',
		'expected.ledger' => 'TABLE gen.ledger');
	sql($source, join "\n", map { "\\copy ($what{$_}) TO '$dir/$_'" } sort keys %what);
	sql($house, join "\n", 'BEGIN;', map({ "TRUNCATE $_;\n\\copy $_ FROM '$dir/$_'" } sort keys %what), 'COMMIT;', 'SELECT expected.work_out();');
	return;
}

# rules PHASE, FILE: runs a file of pgTAP tests; each counts here, under its name.
sub rules
{
	my ($phase, $file) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $result (map { @$_ } said("\\i $file\n"))
	{
		ok($result->{ok}, "$phase: $result->{name}") or diag($result->{said});
	}
	return;
}

# one_rule FILE, RULE: what the file sets up, and the one test of this name; all of the file where the name is not there in so many words.
sub one_rule
{
	my ($file, $rule) = @_;
	my $text = slurp_file($file);
	my $name = $rule =~ s/'/''/gr;
	return "\\i $file\n" unless $text =~ /'\Q$name\E'/;
	return join '', 'SELECT plan(1);', grep { !/^SELECT /m || /'\Q$name\E'/ } split /(?<=;\n)/, $text;
}

# said SCRIPT...: for each script, run in a transaction of its own that is rolled back, what its tests said. (The planner takes what the
# scripts ask for worth compiling, which it is not.)
sub said
{
	my @scripts = @_;
	my ($status, $out, $err) = $house->psql('postgres', join("\n", 'SET jit = off;', map { "\\echo ----\nBEGIN;\n$_\nROLLBACK;" } @scripts),
		timeout => 900, on_error_stop => 0);
	my (undef, @outs) = split /^----\n/m, "$out\n";
	my @said;
	for my $i (0 .. $#scripts)
	{
		my @results;
		my ($plan) = ($outs[$i] // '') =~ /^1\.\.(\d+)/m;
		for my $line (split /\n/, $outs[$i] // '')
		{
			push @results, { ok => !$1, name => $2, said => '' } if $line =~ /^(not )?ok \d+ - (.*)/;
			$results[-1]{said} .= substr($line, 0, 300) . "\n" if @results && $line =~ /^#/ && 12 > ($results[-1]{said} =~ tr/\n//);
		}
		push @results, { ok => 0, name => 'the rules run to their end', said => substr("$scripts[$i]: $err", 0, 2000) } if !defined $plan || $plan != @results;
		push @said, \@results;
	}
	return @said;
}

# faults: [file of rules, the rule that sees it, what is done behind the star's back].
sub faults
{
	my $busy = q{(SELECT customer_id FROM dw.customer WHERE isfinite(valid_from) AND NOT is_current ORDER BY customer_id LIMIT 1)};
	my $middle = "customer_id = $busy AND valid_from = (SELECT min(valid_from) FROM dw.customer WHERE isfinite(valid_from) AND customer_id = $busy)";
	my $some = q{(SELECT trade_id FROM dw.trade WHERE status = 'completed' AND side = 'buy' ORDER BY trade_id LIMIT 1)};
	my $cash = q{(SELECT cash_id FROM dw.cash WHERE kind = 'late' ORDER BY cash_id LIMIT 1)};
	return (
		[ '1_feed', q{the mirror of customer has the source's rows, in their very form}, q{UPDATE brokerage.customer SET net_worth = 10000.00 WHERE net_worth::text = '10000.0'} ],
		[ '1_feed', 'each transaction that the source remembers is in the log', q{DELETE FROM brokerage_log.txn WHERE end_lsn = (SELECT min(end_lsn) FROM brokerage_log.txn)} ],
		[ '1_feed', 'the log of customers has each image that the source\'s triggers saw', q{DELETE FROM brokerage_log.customer WHERE op = 'U' AND lsn = (SELECT max(lsn) FROM brokerage_log.customer)} ],
		[ '2_dimensions', 'versions of a key do not overlap', "UPDATE dw.customer SET valid_to = valid_to + interval '1 second' WHERE $middle" ],
		[ '2_dimensions', 'one version of a customer ends where the next begins', "UPDATE dw.customer SET valid_to = valid_to - interval '1 microsecond' WHERE $middle" ],
		[ '2_dimensions', 'a key has one current version at most', "UPDATE dw.customer SET is_current = true WHERE $middle" ],
		[ '2_dimensions', 'a version is current if and only if it has no end', "UPDATE dw.customer SET is_current = false WHERE customer_id = $busy" ],
		[ '2_dimensions', 'the first version of a key holds since ever', "UPDATE dw.customer SET valid_from = '2000-01-01' WHERE valid_from = '-infinity' AND customer_id = $busy" ],
		[ '2_dimensions', 'versions of customers are those that the record of changes gives', "DELETE FROM dw.customer WHERE $middle" ],
		[ '2_dimensions', 'type 1: all versions of a customer have the last phone number', "UPDATE dw.customer SET phone = 'another' WHERE $middle" ],
		[ '2_dimensions', 'type 3: the country, and the one before it', "UPDATE dw.customer SET country_previous = 'AT' WHERE customer_id = $busy" ],
		[ '2_dimensions', 'each customer of the source has a current version, and no other', "DELETE FROM dw.customer WHERE is_current AND customer_id = $busy" ],
		[ '2_dimensions', 'business time: versions begin when the business says, however late it said so', q{UPDATE dw.client SET changed_at = changed_at + interval '1 day'
			WHERE client_sk = (SELECT min(client_sk) FROM dw.client WHERE city LIKE 'Corrected%')} ],
		[ '2_dimensions', 'each version of an account lies in one version of its customer',
			"UPDATE dw.account SET valid_to = valid_to + interval '1 second' WHERE account_sk IN (SELECT a.account_sk FROM dw.account a JOIN dw.customer c
				ON c.customer_id = a.customer_id AND c.valid_from = a.valid_to LIMIT 1)" ],
		[ '2_dimensions', 'and has that version\'s attributes', "UPDATE dw.account SET city = 'Atlantis' WHERE account_sk = (SELECT max(account_sk) FROM dw.account WHERE NOT is_inferred)" ],
		[ '2_dimensions', 'a security has a tombstone if and only if the source has it no more', 'UPDATE dw.security SET is_deleted = false WHERE is_deleted' ],
		[ '2_dimensions', 'no member that the source has had is an inferred one', "UPDATE dw.customer SET is_inferred = true WHERE is_current AND customer_id = $busy" ],
		[ '3_facts', 'each surrogate key is one of its dimension', "UPDATE dw.trade SET account_sk = 999999999 WHERE trade_id = $some" ],
		[ '3_facts', 'of that very key', "UPDATE dw.trade SET customer_sk = (SELECT max(customer_sk) FROM dw.customer) WHERE trade_id = $some" ],
		[ '3_facts', 'and the version had begun at the time of the event',
			'UPDATE dw.watch w SET customer_sk = c.customer_sk FROM dw.customer c WHERE c.customer_id = w.customer_id AND c.is_current AND c.valid_from > w.placed_at' ],
		[ '3_facts', 'and no later one had',
			q{UPDATE dw.watch w SET customer_sk = c.customer_sk FROM dw.customer c WHERE c.customer_id = w.customer_id AND c.valid_from = '-infinity'} ],
		[ '3_facts', 'sums of trades are the source\'s', "UPDATE dw.trade SET fee = fee + 0.01 WHERE trade_id = $some" ],
		[ '3_facts', 'as much cash as was booked and not deleted', "DELETE FROM dw.cash WHERE cash_id = $cash" ],
		[ '3_facts', 'a trade has the day and minute of New York', "UPDATE dw.trade SET created_time_sk = created_time_sk + 1 WHERE trade_id = $some" ],
		[ '4_business', 'a trade was submitted when its history says', "UPDATE dw.trade SET submitted_at = submitted_at - interval '1 second' WHERE trade_id = $some" ],
		[ '4_business', 'what an account holds is what it bought less what it sold', 'DELETE FROM dw.holding WHERE trade_id = (SELECT max(trade_id) FROM dw.holding)' ],
		[ '4_business', 'as many watches are active as were placed and neither removed nor forgotten', q{UPDATE dw.watch SET removed_at = NULL WHERE symbol = 'brief'} ],
		[ '4_business', 'highs and lows of 52 weeks are those found day by day',
			q{UPDATE dw.market SET high = high / 3 WHERE day = current_setting('brokerage.base')::date - 100} ],
		[ '4_business', 'milestones: and so is a completion, also one that was taken back',
			q{UPDATE dw.trade SET completion_heard = completion_heard + interval '1 microsecond' WHERE trade_id = (SELECT max(trade_id) FROM dw.trade WHERE completion_heard IS NOT NULL)} ],
		[ '4_business', 'milestones: and a cancellation', q{UPDATE dw.trade SET cancellation_heard = NULL WHERE completion_heard IS NOT NULL} ],
		[ '4_business', 'entries of holdings: what changes is taken back and written anew', q{UPDATE dw.holding_entry SET quantity = -quantity WHERE is_reversal} ],
		[ '4_business', 'entries add up to what is held', q{DELETE FROM dw.holding_entry WHERE booked_lsn = (SELECT max(booked_lsn) FROM dw.holding_entry WHERE is_reversal)} ],
		[ '4_business', 'how long it took is what lies between', "UPDATE dw.trade SET to_complete = to_complete + interval '1 minute' WHERE trade_id = $some" ],
		[ '5_groups', 'accounts whose shares do not add up are shown', q{UPDATE dw.holder SET share = 0.75 WHERE is_current AND share = 1.0} ],
		[ '5_groups', 'versions of the bridge are those that the record of changes gives', 'DELETE FROM dw.holder WHERE NOT is_current' ],
		[ '5_groups', 'as it is: the industry as the source has it now', 'UPDATE dw.company SET industry = NULL WHERE is_current' ],
		[ '5_groups', 'a trade has the profile that its customer had then',
			"UPDATE dw.trade SET profile_sk = (SELECT max(profile_sk) FROM dw.profile) WHERE trade_id IN ($some, (SELECT max(trade_id) FROM dw.trade))" ],
		[ '5_groups', 'profiles are those that customers have had', 'DELETE FROM dw.profile WHERE profile_sk = (SELECT max(profile_sk) FROM dw.profile)' ],
		[ '6_sums', 'prices by month are those of the source', q{UPDATE dw.market_month SET high = high + 0.01 WHERE (symbol, period_start) = (SELECT symbol, max(period_start) FROM dw.market_month GROUP BY 1 LIMIT 1)} ],
		[ '6_sums', 'totals of clients follow when trades get other versions', 'DELETE FROM dw.client_total WHERE client_sk = (SELECT max(client_sk) FROM dw.client_total)' ],
		[ '6_sums', 'each account has a row for each day from its first one on, and no other', q{DELETE FROM dw.cash_day WHERE account_id = 1001 AND period_start = current_setting('brokerage.base')::date - 7} ],
		[ '6_sums', 'the balance of a day is the running sum of all cash up to it', q{UPDATE dw.cash_day SET balance = balance + 1 WHERE account_id = 1001 AND period_start = current_setting('brokerage.base')::date - 7} ],
		[ '6_sums', 'the last kind of cash is carried on', q{UPDATE dw.cash_day SET last_kind = NULL WHERE account_id = 1001 AND entries = 0} ],
		[ '8_lineage', 'each row names a load that there was', "UPDATE dw.cash SET load_id = -5 WHERE cash_id = $cash" ],
		[ '8_lineage', 'the load of a cash row read the transaction that wrote it', "UPDATE dw.cash SET load_id = (SELECT max(load_id) FROM dw.cash) WHERE cash_id = $cash" ],
		[ '8_lineage', 'a version begins with a transaction', "UPDATE dw.customer SET valid_from = valid_from + interval '1 microsecond' WHERE $middle" ],
		[ '9_models', 'verify of dw.account is clean', q{UPDATE dw.account SET tax_id = 'X' WHERE account_sk = (SELECT min(account_sk) FROM dw.account WHERE account_sk > 0)} ]);
}
