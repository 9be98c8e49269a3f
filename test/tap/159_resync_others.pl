# resync of a feed while others exchange names, and write tables anew, at the source: a table that was not looked at yet is not taken for another, nor for an empty one.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE a (id int PRIMARY KEY, v text);
	CREATE TABLE b (id int PRIMARY KEY, v text);
	CREATE TABLE c (id int PRIMARY KEY, v int);
	CREATE TABLE b_next (id int PRIMARY KEY, v text);
	INSERT INTO a SELECT i, 'a' FROM generate_series(1, 100) i;
	INSERT INTO b SELECT i, 'b' FROM generate_series(1, 100) i;
	INSERT INTO c SELECT i, i FROM generate_series(1, 100) i;
	INSERT INTO b_next SELECT i, 'next' FROM generate_series(50, 200) i;
	CREATE PUBLICATION p FOR TABLE a, b, c});
create_server($house, 's', $source);
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});
sql($source, q{SELECT pg_drop_replication_slot('f')});
sql($source, q{DELETE FROM a WHERE id = 1});
sql($house, q{ALTER SYSTEM SET walhouse.debug_feed_point = 'resync: slice'});
sql($house, 'SELECT pg_reload_conf()');
my ($out, $error) = ('', '');
my $session = IPC::Run::start([ $house->installed_command('psql'), '-XAtq', '-d', $house->connstr('postgres'), '-c', q{CALL walhouse.resync('f')} ], '<', \undef, '>', \$out, '2>', \$error);
ok(until_true(sub { ask($house, q{SELECT pid FROM pg_stat_activity WHERE query = 'standing at resync: slice'}) }, 60), 'the first table is compared');
sql($source, q{
	ALTER TABLE b RENAME TO b_was;
	ALTER TABLE b_next RENAME TO b;
	ALTER TABLE c ALTER COLUMN v TYPE int USING v + 1});
sql($house, q{ALTER SYSTEM SET walhouse.debug_feed_point = 'nowhere'});
sql($house, 'SELECT pg_reload_conf()');
$session->finish;
like($error, qr/ERROR:  the table was emptied .* has other names.*\nDETAIL:  In the snapshot it is "public\.b"/, 'it ends');
is(value($house, q{SELECT count(*) || ' ' || min(v) FROM f.b}), '100 b', 'another table is not compared');
is(value($house, q{SELECT count(*) || ' ' || sum(v) FROM f.c}), '100 5050', 'nor one that looks empty');
sql($house, q{CALL walhouse.resync('f')});
my $bs = value($house, q{SELECT mirror FROM walhouse.feed_table WHERE source_name = 'b_was'});
is(value($house, "SELECT count(*) || ' ' || min(v) FROM $bs"), '100 b', 'again: the table under its new name');
is(value($house, q{SELECT count(*) || ' ' || sum(v) FROM f.c}), '100 5150', 'and the one that was written anew');
is(value($house, q{SELECT string_agg(DISTINCT state, ' ') FROM walhouse.feed_table}), 'ready', 'all are ready');
$house->stop;
$source->stop;
done_testing();
