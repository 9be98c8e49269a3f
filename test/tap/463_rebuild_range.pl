# CALL walhouse.rebuild of a range of time beside loads: a fact's rows are compared while loads bring the star on, readers see the old state
# or the new one with its rollup and never a mixture, and a server that is killed (kill -9) in it leaves what was there before.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server(conf => "walhouse.verify_interval = 0\n");
sql($house, q{
	CREATE TABLE sale (id int PRIMARY KEY, customer int, at timestamptz, amount int);
	CREATE TABLE customer (id int PRIMARY KEY, name text);
	-- The last one waits for whoever has the lock, wherever it is computed.
	CREATE FUNCTION slow(n int) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
		IF n = 6000 THEN PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7); END IF; RETURN n; END $$;
	INSERT INTO customer SELECT i, 'name ' || i FROM generate_series(1, 40) i;
	INSERT INTO sale SELECT i, 1 + i % 40, '2026-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(1, 6000) i;
	CREATE SCHEMA dw});
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($house) . ')');
sql($house, q{CREATE USER MAPPING FOR CURRENT_USER SERVER shop});
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{customer,sale}')});
sql($house, q{
	SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customer', '{id}');
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, customer, at, public.slow(amount) AS amount FROM shop.sale', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}');
	SELECT walhouse.create_rollup('dw.daily', 'dw.sale', '{customer_sk}', '{"amount": "sum(amount)", "n": "count(*)"}');
	SELECT walhouse.start('shop')});
ok(poll($house, 'postgres', q{SELECT string_agg(state, ' ') FROM walhouse.model}, 'live live live', 120), 'the star is there');

my $waits = q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted};

# ---- Beside loads.
wreck();
my $gate = gate();
my $rebuild = rebuild();
ok(poll($house, 'postgres', $waits, '1'), 'and waits in the middle of it');
my $position = value($house, q{SELECT max(load_id) FROM walhouse.load_model});
for my $round (1 .. 3)
{
	work();
	ok(poll($house, 'postgres', qq{SELECT max(load_id) > $position FROM walhouse.load_model}, 't', 120), "a load comes about, $round");
	$position = value($house, q{SELECT max(load_id) FROM walhouse.load_model});
}
is(value($house, $waits), '1', 'while the range is still compared');
end($gate);
ok(wait_for_end(), 'it comes to its end');
end($rebuild);
proved('after a range was rebuilt beside loads');

# ---- Killed while it compares, and while what it wrote is not committed.
wreck();
my $wrong = wrong();
$gate = gate();
$rebuild = rebuild();
ok(poll($house, 'postgres', $waits, '1'), 'and waits in the middle of it');
crash();
end($gate);
end($rebuild);
is(wrong(), $wrong, 'killed while it compares: what was there before is there');
my $reader = $house->background_psql('postgres', on_error_stop => 0);
$reader->query_safe('BEGIN; LOCK TABLE dw.daily IN SHARE MODE');
$rebuild = rebuild();
ok(poll($house, 'postgres', q{SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'dw.daily'::regclass}, '1', 120), 'the fact is written, the rollup is not');
is(wrong(), $wrong, 'readers see nothing of it');
crash();
end($reader);
end($rebuild);
is(wrong(), $wrong, 'killed in the middle: what was there before is there');
work();
sql($house, q{CALL walhouse.rebuild('dw.sale', '2026-01-01', '2027-06-01')});
proved('once it is called again');

$house->stop;
done_testing();

# wreck: rows of the fact are made wrong by somebody who may.
sub wreck
{
	sql($house, q{
		SET walhouse.allow_writes = on;
		SET synchronous_commit = on;
		DELETE FROM dw.sale WHERE id % 97 = 0;
		UPDATE dw.sale SET amount = -1 WHERE id % 101 = 0});
	return;
}

# work: changes at the source. A rollup has counted what a load finds in the fact: so not of rows that are wrong.
sub work
{
	sql($house, q{
		UPDATE sale SET amount = amount + 1 WHERE id % 97 IN (1, 2) AND id % 101 > 1 AND id < 500;
		UPDATE sale SET at = at + interval '9 days' WHERE id % 101 = 1 AND id % 97 > 0 AND id < 500;
		DELETE FROM sale WHERE id IN (SELECT id FROM sale WHERE id % 97 = 5 LIMIT 1)});
	return;
}

# rebuild: a session that rebuilds the range, and is at it.
sub rebuild
{
	my $session = $house->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/begun/, "\\echo begun\nCALL walhouse.rebuild('dw.sale', '2026-01-01', '2027-06-01');\n");
	ok(poll($house, 'postgres', 'SELECT count(*) FROM pg_stat_activity WHERE ' . at_work(), '1'), 'a range is being compared');
	return $session;
}

sub at_work
{
	return q{query LIKE 'CALL walhouse.rebuild%' AND state = 'active' AND backend_xmin IS NOT NULL};
}

# gate: a session for which the comparison waits.
sub gate
{
	my $session = $house->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SELECT pg_advisory_lock(7)');
	return $session;
}

# crash: kill -9 of the session that rebuilds, which takes all others with it; the server starts again.
sub crash
{
	my $pid = value($house, 'SELECT pid FROM pg_stat_activity WHERE ' . at_work());
	kill9($house, $pid);
	return ok(poll($house, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid", '0', 120), 'killed');
}

sub wait_for_end
{
	return poll($house, 'postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL walhouse.rebuild%' AND state = 'active'}, '0', 120);
}

sub end
{
	my ($session) = @_;
	eval { $session->quit };
	return;
}

# wrong: what is wrong with the fact and its rollup.
sub wrong
{
	return value($house, q{SELECT count(*) FILTER (WHERE id % 97 = 0) || ' ' || count(*) FILTER (WHERE amount = -1) || ' ' || (SELECT sum(amount) FROM dw.daily) FROM dw.sale});
}

sub proved
{
	my ($name) = @_;
	ok(reach($house, 'shop', $house), "the feed is there $name");
	return is(value($house, q{SELECT string_agg(v::text, ' ') FROM walhouse.verify() v WHERE missing + unexpected + different > 0}), '', "and all is right $name");
}
