# Models that are altered, and a server that is killed (kill -9) at every step: after the declaration, while they are built, while the swap
# waits for a reader, in the swap, right after it; under a write load. Each alteration comes to its end by itself, readers see the old
# or the new and never a mixture, and at the end the altered star is what one built from scratch is.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server(conf => "walhouse.verify_interval = 0\n");
sql($house, q{
	CREATE TABLE customer (id int PRIMARY KEY, name text, city text, letters text);
	CREATE TABLE sale (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
	CREATE SEQUENCE sales;
	INSERT INTO customer SELECT i, 'name ' || i, 'city ' || i % 7, i FROM generate_series(1, 60) i;
	-- The last one waits for whoever has the lock, wherever it is computed.
	CREATE FUNCTION slow(t text) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
		IF t = '60' THEN PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7); END IF; RETURN t::int; END $$;
	CREATE SCHEMA dw});
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($house) . ')');
sql($house, q{CREATE USER MAPPING FOR CURRENT_USER SERVER shop});
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{customer,sale}')});
sql($house, q{
	SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name FROM shop.customer', '{id}');
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, at, customer, amount FROM shop.sale', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}');
	SELECT walhouse.create_rollup('dw.daily', 'dw.sale', '{customer_sk}', '{"amount": "sum(amount)", "n": "count(*)"}');
	CREATE VIEW dw.report AS SELECT c.name, s.amount FROM dw.sale s JOIN dw.customer c USING (customer_sk);
	SELECT walhouse.start('shop')});
work();
ok(poll($house, 'postgres', q{SELECT string_agg(state, ' ') FROM walhouse.model}, 'live live live'), 'the star is there');

# ---- Killed after the declaration, and while it is built.
my $gate = gate();
sql($house, q{SELECT walhouse.alter_dimension('dw.customer', query => 'SELECT id, name, city, public.slow(letters) AS letters FROM shop.customer')});
is(value($house, q{SELECT string_agg(DISTINCT m.state, ' ') FROM walhouse.alteration a JOIN walhouse.model m ON m.model_id = a.next_id WHERE m.state NOT IN ('building', 'new')}), '', 'it is declared');
# No worker until it is known where it will stand: else the build may be over before.
sql($house, 'ALTER SYSTEM SET walhouse.worker = off');
killed('after the declaration');
end($gate);
work();
$gate = gate();
sql($house, 'ALTER SYSTEM RESET walhouse.worker');
sql($house, 'SELECT pg_reload_conf()');
ok(poll($house, 'postgres', q{SELECT m.state FROM walhouse.model m JOIN pg_locks l ON l.locktype = 'advisory' AND NOT l.granted WHERE m.relation = 'dw.customer__next'::regclass}, 'building'), 'it is being built');
# Nor until a reader is there: else the swap may come about before.
sql($house, 'ALTER SYSTEM SET walhouse.worker = off');
killed('in the build');
end($gate);
work();

# ---- Killed while the swap waits behind a reader, and in one that has its locks but for one.
my $reader = reader();
sql($house, 'ALTER SYSTEM RESET walhouse.worker');
sql($house, 'SELECT pg_reload_conf()');
ok(poll($house, 'postgres', q{SELECT bool_or(error LIKE '%lock timeout%') FROM walhouse.alteration}, 't', 120), 'it does not wait for a reader for ever, and says why');
cmp_ok(value($house, 'SELECT count(*) FROM dw.sale__next'), '>', 0, 'what is built is there beside');
# And again.
sql($house, 'ALTER SYSTEM SET walhouse.worker = off');
killed('behind the reader');
end($reader);
$reader = reader();
sql($house, 'ALTER SYSTEM RESET walhouse.worker');
sql($house, 'SELECT pg_reload_conf()');
work();
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND relation = 'dw.daily'::regclass}, 't', 120), 'a swap is under way');
killed('in the swap');
end($reader);
work();
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.alteration WHERE swapped IS NOT NULL}, '3', 120), 'then it comes to its end');
killed('after the swap');
work();
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.alteration WHERE swapped IS NOT NULL}, '3', 120), 'and what was not on disk by then is done again');
cmp_ok(value($house, 'SELECT count(*) FROM dw.customer__old'), '>', 0, 'what was is kept');
cmp_ok(value($house, q{SELECT count(DISTINCT letters) FROM dw.customer}), '>', 50, 'and the new column is there');
drop_old();
proved('after a dimension was altered');

# ---- A fact, a rollup, from one to the next; what was is dropped.
sql($house, q{SELECT walhouse.alter_fact('dw.sale', partition_by => 'year', query => 'SELECT id, at, customer, amount, amount * 100 AS cents FROM shop.sale')});
killed('once more after the declaration');
work();
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.stat_alteration WHERE swapped IS NOT NULL}, '2', 120), 'a fact takes its place with its rollup');
drop_old();
proved('after a fact was altered');
sql($house, q{SELECT walhouse.alter_rollup('dw.daily', group_by => '{}')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.stat_alteration WHERE swapped IS NOT NULL}, '1', 120), 'a rollup alone');
drop_old();
proved('after a rollup was altered');
is(value($house, q{SELECT string_agg(relname, ' ') FROM pg_class WHERE relname LIKE '%\_\_%' AND relnamespace = 'dw'::regnamespace}), '', 'nothing is left behind');

# ---- The altered star beside one that is declared so from the beginning.
sql($house, q{
	SELECT walhouse.create_dimension('dw.buyer', 'SELECT id, name, city, public.slow(letters) AS letters FROM shop.customer', '{id}');
	SELECT walhouse.create_fact('dw.sold', 'SELECT id, at, customer, amount, amount * 100 AS cents FROM shop.sale', '{id}', 'at', '{"customer_sk": "dw.buyer(customer)"}', 'year')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.model WHERE state <> 'live'}, '0', 120), 'it is built');
ok(reach($house, 'shop', $house), 'all is in');
is(value($house, q{SELECT count(*) FROM (
	(SELECT id, name, city, letters, valid_from, valid_to, is_current FROM dw.customer EXCEPT ALL SELECT id, name, city, letters, valid_from, valid_to, is_current FROM dw.buyer)
	UNION ALL (SELECT id, name, city, letters, valid_from, valid_to, is_current FROM dw.buyer EXCEPT ALL SELECT id, name, city, letters, valid_from, valid_to, is_current FROM dw.customer)) d}),
	'0', 'the dimensions have the same history');
is(value($house, q{SELECT count(*) FROM dw.sale a JOIN dw.customer c USING (customer_sk) FULL JOIN (dw.sold b JOIN dw.buyer d ON d.buyer_sk = b.customer_sk) ON b.id = a.id
	WHERE (a.cents, a.at, c.id, c.valid_from) IS DISTINCT FROM (b.cents, b.at, d.id, d.valid_from)}), '0', 'and the facts the same rows, with the same versions');

$house->stop;
done_testing();

# work: some changes at the source.
sub work
{
	sql($house, q{
		INSERT INTO sale SELECT nextval('sales'), 1 + i % 60, now() - i * interval '1 day', i FROM generate_series(1, 20) i;
		UPDATE customer SET city = 'city ' || (random() * 100)::int WHERE id IN (SELECT (1 + random() * 59)::int FROM generate_series(1, 5));
		UPDATE sale SET amount = amount + 1 WHERE id % 17 = 0;
		DELETE FROM sale WHERE id % 23 = 0});
	return;
}

# killed WHEN: kill -9 of the server, which is started again.
sub killed
{
	my ($when) = @_;
	kill9($house);
	$house->start;
	return is(value($house, q{SELECT count(*) FROM dw.sale LEFT JOIN dw.customer USING (customer_sk) WHERE dw.customer.customer_sk IS NULL}), '0', "killed $when: readers see one state");
}

# gate: a session for which a build of the altered dimension waits.
sub gate
{
	my $session = $house->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('SELECT pg_advisory_lock(7)');
	return $session;
}

# reader: a session that keeps the last of the tables that a swap locks from it.
sub reader
{
	my $session = $house->background_psql('postgres', on_error_stop => 0);
	$session->query_safe('BEGIN; SELECT count(*) FROM dw.daily');
	return $session;
}

sub end
{
	my ($session) = @_;
	eval { $session->quit };
	return;
}

sub proved
{
	my ($name) = @_;
	ok(reach($house, 'shop', $house), "the feed is there $name");
	return is(value($house, q{SELECT string_agg(v::text, ' ') FROM walhouse.verify() v WHERE missing + unexpected + different > 0}), '', "and all is right $name");
}

sub drop_old
{
	sql($house, q{SELECT walhouse.drop_model(model) FROM (SELECT model FROM walhouse.stat_alteration WHERE swapped IS NOT NULL ORDER BY model_id DESC) m});
	return;
}
