# What the application says of its transactions, with pg_logical_emit_message(true, 'walhouse', …), stands in <feed>_log.txn, with what they did
# to the feed's tables; a load adds up what its source transactions did.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(source => { conf => "logical_decoding_work_mem = 64kB\n" });
sql($source, q{
	CREATE TABLE t (id int PRIMARY KEY, v text);
	CREATE TABLE other (id int PRIMARY KEY);
	CREATE PUBLICATION p FOR TABLE t;
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'p');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.t', 'SELECT id, v FROM shop.t', key => '{id}');
	CALL walhouse.run('shop');
});

# last_txn: the newest row of txn, after what the source has done is in.
sub last_txn
{
	sql($house, q{CALL walhouse.run('shop')});
	return value($house, q{SELECT concat_ws(' ', inserts, updates, deletes, truncates, context) FROM shop_log.txn ORDER BY end_lsn DESC LIMIT 1});
}

sql($source, q{INSERT INTO t VALUES (1, 'a'), (2, 'b')});
is(last_txn(), '2 0 0 0', 'a transaction of which nothing is said');
sql($source, q{BEGIN;
	SELECT pg_logical_emit_message(true, 'walhouse', '{"user": "ada"}');
	UPDATE t SET v = 'c' WHERE id = 1;
	SELECT pg_logical_emit_message(true, 'walhouse.heartbeat', 'no');
	SELECT pg_logical_emit_message(true, 'walhouse', 'request 17, "quoted"');
	SELECT pg_logical_emit_message(false, 'walhouse', 'between transactions');
	DELETE FROM t WHERE id = 2;
	INSERT INTO other VALUES (1);
	COMMIT;});
is(last_txn(), q(0 1 1 0 {"{\"user\": \"ada\"}","request 17, \"quoted\""}), 'its transactional messages of this prefix, in order');
sql($source, q{BEGIN;
	SAVEPOINT a;
	SELECT pg_logical_emit_message(true, 'walhouse', 'never');
	INSERT INTO t VALUES (3, 'x');
	ROLLBACK TO a;
	SELECT pg_logical_emit_message(true, 'walhouse', 'yes');
	INSERT INTO t VALUES (3, 'y');
	COMMIT;});
is(last_txn(), '1 0 0 0 {yes}', 'not what was rolled back');
sql($source, q{BEGIN;
	SELECT pg_logical_emit_message(true, 'walhouse', 'first');
	INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(100, 5099) i;
	SAVEPOINT a;
	SELECT pg_logical_emit_message(true, 'walhouse', 'never');
	INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(10000, 14999) i;
	ROLLBACK TO a;
	INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(20000, 24999) i;
	SELECT pg_logical_emit_message(true, 'walhouse', 'last');
	COMMIT;});
is(last_txn(), '10000 0 0 0 {first,last}', 'of a streamed transaction, too');
sql($source, q{BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 'z'); SELECT pg_logical_emit_message(true, 'walhouse', '\xff00'::bytea); COMMIT});
is(last_txn(), q(1 0 0 1 {"\\\\xff00"}), 'what is no text in hexadecimal; a TRUNCATE is counted');
sql($source, q{BEGIN; UPDATE t SET v = 'zz'; SELECT pg_logical_emit_message(true, 'walhouse', repeat('x', 8000));
	SELECT pg_logical_emit_message(true, 'walhouse', repeat('y', 500)); SELECT pg_logical_emit_message(true, 'walhouse', 'short'); COMMIT});
sql($house, q{CALL walhouse.run('shop')});
is(value($house, q{SELECT updates || ' ' || cardinality(context) || ' ' || length(context[1]) || ' ' || context[2] FROM shop_log.txn ORDER BY end_lsn DESC LIMIT 1}),
	'1 2 8000 short', 'no more than 8192 bytes of a transaction');
my $before = value($house, q{SELECT count(*) FROM shop_log.txn});
sql($source, q{SELECT pg_logical_emit_message(true, 'walhouse', 'nothing else')});
sql($house, q{CALL walhouse.run('shop')});
is(value($house, q{SELECT count(*) FROM shop_log.txn}), $before, 'a transaction that says something and does nothing has no row');

is(value($house, q{SELECT concat_ws(' ', sum(l.transactions), sum(l.inserts), sum(l.updates), sum(l.deletes), sum(l.truncates)) FROM walhouse.load l WHERE kind = 'load'}),
	value($house, q{SELECT concat_ws(' ', count(*), sum(inserts), sum(updates), sum(deletes), sum(truncates)) FROM shop_log.txn}),
	'loads say what their source transactions did');
mirrors_equal($house, $source, 'shop', 't');
$house->stop;
$source->stop;
done_testing();
