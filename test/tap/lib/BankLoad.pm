# BankLoad: a bank that writes all the while, and remembers each change: the load under which the kill tests run.
#
# Tables account and ledger (publication "bank") see inserts, updates that count, key changes, deletes and re-inserts, with
# rollbacks of transactions and subtransactions. Table "audit", not published, has a row for each change, written by
# triggers in the same transaction: what was rolled back or lost leaves none. Its seq is taken while the row's lock is
# held, so that per key it follows the order of the changes.
package BankLoad;

use strict;
use warnings;
use Exporter 'import';
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use WalhouseTest;
use WalhouseProof;

our @EXPORT = qw(bank_create bank_start bank_stop bank_history wait_for_changes restart_after_kill sender_pid wait_for_pid);

# bank_create SOURCE: tables, audit, publication, and the procedure that makes one random transaction.
sub bank_create
{
	my ($source) = @_;
	sql($source, q{
		CREATE TABLE account (id int PRIMARY KEY, owner text, balance bigint NOT NULL, n int NOT NULL, note text);
		CREATE TABLE ledger (id bigserial PRIMARY KEY, account int NOT NULL, amount bigint NOT NULL,
			at timestamptz NOT NULL DEFAULT clock_timestamp(), n int NOT NULL DEFAULT 0);
		INSERT INTO account SELECT i, 'owner ' || i, 0, 0, repeat('x', i) FROM generate_series(1, 200) AS i;
		CREATE PUBLICATION bank FOR TABLE account, ledger;

		-- seq is taken while the row's lock is held, so that per key it follows the order of the changes.
		CREATE TABLE audit (seq bigserial PRIMARY KEY, rel text, op "char", id bigint, n int);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF TG_OP = 'INSERT' THEN
				INSERT INTO audit (rel, op, id, n) VALUES (TG_TABLE_NAME, 'I', NEW.id, NEW.n);
			ELSIF TG_OP = 'DELETE' THEN
				INSERT INTO audit (rel, op, id, n) VALUES (TG_TABLE_NAME, 'D', OLD.id, OLD.n);
			ELSIF OLD.id = NEW.id THEN
				INSERT INTO audit (rel, op, id, n) VALUES (TG_TABLE_NAME, 'U', NEW.id, NEW.n);
			ELSE
				INSERT INTO audit (rel, op, id, n) VALUES (TG_TABLE_NAME, 'D', OLD.id, OLD.n), (TG_TABLE_NAME, 'I', NEW.id, NEW.n);
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION note();
		CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION note();

		CREATE PROCEDURE work() LANGUAGE plpgsql AS $$
		DECLARE
			dice float;
			a int;
			b int;
			m bigint;
		BEGIN
			dice := random();
			a := 1 + random() * 219;
			b := 1 + random() * 219;
			m := 1 + random() * 1000;
			IF dice < 0.5 THEN
				UPDATE account SET balance = balance - m, n = n + 1 WHERE id = least(a, b);
				IF FOUND THEN
					INSERT INTO ledger (account, amount) VALUES (least(a, b), -m);
				END IF;
				UPDATE account SET balance = balance + m, n = n + 1 WHERE id = greatest(a, b);
				IF FOUND THEN
					INSERT INTO ledger (account, amount) VALUES (greatest(a, b), m);
				END IF;
			ELSIF dice < 0.6 THEN
				UPDATE account SET n = n + 1, note = repeat(md5(a::text), (random() * 200)::int) WHERE id = a;
			ELSIF dice < 0.7 THEN
				INSERT INTO account VALUES (a, 'again', 0, 0, NULL) ON CONFLICT DO NOTHING;
			ELSIF dice < 0.8 THEN
				UPDATE account SET id = b, n = n + 1 WHERE id = a AND a <> b AND NOT EXISTS (SELECT FROM account WHERE id = b);
			ELSIF dice < 0.85 THEN
				DELETE FROM account WHERE id = a AND balance = 0;
			ELSIF dice < 0.9 THEN
				UPDATE ledger SET n = n + 1, at = at - interval '40 days'
					WHERE id IN (SELECT id FROM ledger WHERE account = a ORDER BY id DESC LIMIT 5);
			ELSIF dice < 0.95 THEN
				DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE account = a ORDER BY id LIMIT 1);
			ELSIF dice < 0.97 THEN
				INSERT INTO ledger (account, amount) SELECT a, 0 FROM generate_series(1, 100);
			ELSE
				-- All of it rolled back, in a subtransaction.
				INSERT INTO ledger (account, amount) SELECT a, 0 FROM generate_series(1, 10);
				PERFORM 1 / 0;
			END IF;
		EXCEPTION WHEN unique_violation OR deadlock_detected OR division_by_zero THEN
			NULL;
		END $$;
	});
	return;
}

# bank_start SOURCE, RATE: three clients that together make RATE transactions per second, and come back when the source
# does; returns what bank_stop needs.
sub bank_start
{
	my ($source, $rate) = @_;
	my $scripts = PostgreSQL::Test::Utils::tempdir();
	append_to_file("$scripts/work", "CALL work();\n");
	append_to_file("$scripts/undo", "BEGIN;\nCALL work();\nROLLBACK;\n");
	my $clients = fork;
	die "fork: $!" unless defined $clients;
	# A group of its own, which bank_stop ends as a whole: also a pgbench that has just been forked. Set on both sides, as nobody knows who is first.
	setpgrp($clients, 0);
	return $clients if $clients;

	local $SIG{TERM} = 'DEFAULT';
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	while (getppid() != 1)
	{
		my $pgbench = fork;
		exec 'pgbench', '-n', '-c', 3, '-T', 3, '-R', $rate, '-f', "$scripts/work\@20", '-f', "$scripts/undo\@1",
			$source->connstr('postgres') or POSIX::_exit(1) unless $pgbench;
		waitpid $pgbench, 0;
	}
	POSIX::_exit(0);
}

# bank_stop SOURCE, CLIENTS: they go; true when none is left.
sub bank_stop
{
	my ($source, $clients) = @_;
	kill 'TERM', -$clients;
	waitpid $clients, 0;
	return poll($source, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'}, '0');
}

# bank_history SOURCE: a file with the audit: seq, rel, op, id, n, as COPY writes it.
sub bank_history
{
	my ($source) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/audit';
	sql($source, "\\copy (SELECT seq, rel, op, id, n FROM audit ORDER BY seq) TO '$file'");
	return $file;
}

# wait_for_changes SOURCE, CHANGES: until so many more have been made; a failed test when they are not.
sub wait_for_changes
{
	my ($source, $changes) = @_;
	my $from;
	return 1 if until_true(sub {
			my $now = ask($source, 'SELECT last_value FROM audit_seq_seq');
			$from = $now unless defined $from;
			return defined $now && $now >= $from + $changes;
		}, 120);
	return fail("the source made $changes changes");
}

# restart_after_kill NODE: the postmaster is killed, and started again as soon as what it held is free.
sub restart_after_kill
{
	my ($node) = @_;
	kill9($node);
	return until_true(sub { $node->start(fail_ok => 1) }, 60);
}

# sender_pid SOURCE: the walsender that reads a slot, or nothing.
sub sender_pid
{
	my ($source) = @_;
	return ask($source, 'SELECT active_pid FROM pg_replication_slots WHERE active_pid IS NOT NULL');
}

# wait_for_pid CODE: the process id that the code finds, within two minutes.
sub wait_for_pid
{
	my ($find) = @_;
	my $pid;
	return $pid if until_true(sub { $pid = $find->() }, 120);
	diag('no process to kill');
	return;
}

1;
