# CALL walhouse.run beside a worker ends once what can be built is built: a fact whose dimension stopped in its first build waits for that,
# and run() does not wait for the fact; nor for the rollup that waits for the fact.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server(conf => "walhouse.verify_interval = 0\n");
sql($house, q{
	CREATE TABLE customer (id int PRIMARY KEY, letters int);
	CREATE TABLE sale (id int PRIMARY KEY, customer int, at timestamptz);
	INSERT INTO customer VALUES (1, 0);
	INSERT INTO sale VALUES (1, 1, '2026-01-01');
	CREATE SCHEMA dw});
sql($house, 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($house) . ')');
sql($house, q{CREATE USER MAPPING FOR CURRENT_USER SERVER shop});
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{customer,sale}')});
sql($house, q{SELECT walhouse.start('shop')});
ok(poll($house, 'postgres', q{SELECT worker FROM walhouse.stat_feed}, 'running'), 'a worker runs');
sql($house, q{
	SELECT walhouse.create_dimension('dw.customer', 'SELECT id, 100 / letters AS share FROM shop.customer', '{id}');
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, at, customer FROM shop.sale', '{id}', 'at', '{"customer_sk": "dw.customer(customer)"}');
	SELECT walhouse.create_rollup('dw.daily', 'dw.sale', '{}', '{"n": "count(*)"}')});
ok(poll($house, 'postgres', q{SELECT string_agg(state, ' ' ORDER BY model_id) FROM walhouse.model}, 'stopped new new'), 'a dimension stops in its first build');
sql($house, q{SET statement_timeout = '60s'; CALL walhouse.run('shop')});
pass('run() ends');
sql($house, q{UPDATE customer SET letters = 4});
sql($house, q{SET statement_timeout = '120s'; CALL walhouse.run('shop')});
ok(poll($house, 'postgres', q{SELECT string_agg(state, ' ') FROM walhouse.model}, 'live live live'), 'and once it is mended all is built');

# ---- Without a worker nobody knows how far the source is.
is(value($house, q{SELECT lag_bytes >= 0 FROM walhouse.stat_feed}), 't', 'with a worker there is a lag');
sql($house, q{SELECT walhouse.stop('shop')});
ok(poll($house, 'postgres', q{SELECT lag_bytes IS NULL AND commit_lag IS NULL FROM walhouse.stat_feed}), 'without one it is not known');

$house->stop;
done_testing();
