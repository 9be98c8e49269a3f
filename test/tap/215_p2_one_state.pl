# P2, one source state: while money is moved at the source and the worker keeps mirrors and models current, every reader sees at
# once, in mirrors and, at once, in all models, a state that the source had: the money adds up to nothing, and there are as many
# entries as the accounts have counted. Half a source transaction, or models at different positions, would show.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use POSIX ();
use Time::HiRes qw(time);

my $seconds = $ENV{READ_SECONDS} || 15;
my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL, n int NOT NULL);
	CREATE TABLE entry (id bigserial PRIMARY KEY, account int NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
	INSERT INTO account SELECT i, 0, 0 FROM generate_series(1, 100) AS i;
	CREATE PUBLICATION bank FOR TABLE account, entry;
	-- Moves an amount round some accounts: one transaction of several changes in both tables.
	CREATE PROCEDURE move() LANGUAGE plpgsql AS $$
	DECLARE
		a int[] := ARRAY(SELECT DISTINCT 1 + (random() * 99)::int FROM generate_series(1, 2 + (random() * 6)::int) ORDER BY 1);
		m bigint := 1 + random() * 100;
		dice float := random();
		gone int;
	BEGIN
		IF dice < 0.2 THEN
			-- First, so that the statements below see what others did under this lock.
			PERFORM FROM account WHERE id = 1 FOR UPDATE;
		END IF;
		IF cardinality(a) < 2 THEN
			RETURN;
		END IF;
		FOR i IN 1 .. cardinality(a) LOOP
			UPDATE account SET n = n + 1, balance = balance + CASE i WHEN 1 THEN m * (cardinality(a) - 1) ELSE -m END WHERE id = a[i];
			INSERT INTO entry (account, amount) VALUES (a[i], CASE i WHEN 1 THEN m * (cardinality(a) - 1) ELSE -m END);
		END LOOP;
		IF dice < 0.1 THEN
			-- Now and then entries without an amount are cleared away.
			DELETE FROM entry WHERE account = 1 AND amount = 0;
			GET DIAGNOSTICS gone = ROW_COUNT;
			UPDATE account SET n = n - gone WHERE id = 1;
		ELSIF dice < 0.2 THEN
			UPDATE account SET n = n + 3 WHERE id = 1;
			INSERT INTO entry (account, amount, at) SELECT 1, 0, clock_timestamp() - i * interval '20 days' FROM generate_series(1, 3) AS i;
		END IF;
	END $$;
});
create_server($house, 'bank', $source);
sql($house, q{
	CALL walhouse.create_feed('bank', server => 'bank', publication => 'bank');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.account', $$ SELECT id, balance, n FROM bank.account $$, key => '{id}');
	SELECT walhouse.create_dimension('dw.flat', $$ SELECT id, balance, n FROM bank.account $$, key => '{id}', scd => '{"*": 1}');
	SELECT walhouse.create_fact('dw.entry', $$ SELECT id, account, amount, at FROM bank.entry $$, key => '{id}', event_time => 'at',
		dimensions => '{"account_sk": "dw.account(account)"}');
	SELECT walhouse.start('bank');
});
ok(models_reach($house, 'bank'), 'the models are built');

my $script = PostgreSQL::Test::Utils::tempdir() . '/move';
PostgreSQL::Test::Utils::append_to_file($script, "CALL move();\n");
my $clients = fork;
die "fork: $!" unless defined $clients;
if ($clients == 0)
{
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	exec 'pgbench', '-n', '-c', 3, '-T', $seconds, '-R', 200, '-f', $script, $source->connstr('postgres') or POSIX::_exit(1);
}

# Each look is one statement, so one snapshot. The dimension's current rows, the flat one, the fact, and the mirrors.
my $models = q{
	SELECT concat_ws(' ', a.money, a.n, f.money, f.n, e.money, e.n) FROM
		(SELECT sum(balance) AS money, sum(n) AS n FROM dw.account WHERE is_current AND account_sk > 0) AS a,
		(SELECT sum(balance) AS money, sum(n) AS n FROM dw.flat WHERE is_current AND flat_sk > 0) AS f,
		(SELECT coalesce(sum(amount), 0) AS money, count(*) AS n FROM dw.entry) AS e};
my $mirrors = q{
	SELECT concat_ws(' ', a.money, a.n, e.money, e.n) FROM (SELECT sum(balance) AS money, sum(n) AS n FROM bank.account) AS a,
		(SELECT coalesce(sum(amount), 0) AS money, count(*) AS n FROM bank.entry) AS e};
my ($looks, $half_models, $half_mirrors, %seen) = (0, '', '');
my $until = time() + $seconds;
while (time() < $until)
{
	my ($m, $r) = split /\n/, sql($house, "$models;$mirrors");
	my @m = split / /, $m;
	my @r = split / /, $r;
	$half_models ||= $m if $m[0] || $m[2] || $m[4] || $m[1] != $m[3] || $m[1] != $m[5];
	$half_mirrors ||= $r if $r[0] || $r[2] || $r[1] != $r[3];
	$seen{ $m[1] }++;
	$looks++;
}
waitpid $clients, 0;
cmp_ok(scalar keys %seen, '>', 5, "$looks looks saw " . keys(%seen) . ' states');
is($half_models, '', 'models always show one state of the source');
is($half_mirrors, '', 'and so do mirrors');
ok(reach($house, 'bank', $source), 'all arrives');
verify_clean($house, 'in the end', qw(dw.account dw.flat dw.entry));
mirrors_equal($house, $source, 'bank', qw(account entry));
is(value($source, 'SELECT (SELECT sum(n) FROM account) - (SELECT count(*) FROM entry)'), '0', 'the source was right');

sql($house, q{SELECT walhouse.stop('bank')});
$house->stop;
$source->stop;
done_testing();
