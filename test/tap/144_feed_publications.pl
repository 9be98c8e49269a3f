# A feed takes what its publication publishes, no more: rows by the row filter, columns by the column list, in the copy and in the stream;
# what cannot be followed is refused, or told.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(source => { conf => "logical_decoding_work_mem = 64kB\n" });
sql($source, q{
	CREATE TABLE public.customer (id int PRIMARY KEY, name text, secret text, "Region" text NOT NULL);
	CREATE TABLE public.orders (id int, region text, amount int, note text, PRIMARY KEY (id, region));
	CREATE TABLE public.plain (id int PRIMARY KEY, v text);
	INSERT INTO public.customer SELECT g, 'n' || g, 'secret ' || g, 'eu' FROM generate_series(1, 20) g;
	INSERT INTO public.orders SELECT g, CASE WHEN g % 2 = 0 THEN 'eu' ELSE 'us' END, g, 'note' FROM generate_series(1, 100) g;
	INSERT INTO public.plain SELECT g, 'x' FROM generate_series(1, 5) g;
	CREATE ROLE feeder LOGIN REPLICATION;
	GRANT SELECT (id, name) ON public.customer TO feeder;
	GRANT SELECT ON public.orders, public.plain TO feeder;
	CREATE PUBLICATION p FOR TABLE public.customer (id, name), public.orders WHERE (region = 'eu' AND id > 4), public.plain;
	CREATE PUBLICATION no_key FOR TABLE public.customer (name);
	CREATE TABLE public.parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (0) TO (100);
	CREATE PUBLICATION root FOR TABLE public.parted WITH (publish_via_partition_root);
});
sql($house, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ");
	CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'feeder');");

# -------- refused --------
fails_with($house, 'a column list without the key', q{CALL walhouse.create_feed('f', 's', publication => 'no_key')},
	qr/The column list of table "public.customer" lacks columns of its key/);
fails_with($house, 'via root', q{CALL walhouse.create_feed('f', 's', publication => 'root')}, qr/nobody is told that a partition was emptied/,
	qr/publish_via_partition_root = false/);

sql($source, 'DROP PUBLICATION no_key');

# -------- the copy --------
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});
is(value($house, q{SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'f.customer'::regclass AND attnum > 0}), 'id,name',
	'the mirror has the columns of the list');
equal_as_published('copied');

# A role that may read columns alone may not read ctid: the table is copied whole, also by add_table.
sql($house, $_) for q{CALL walhouse.remove_table('f', 'public.customer')}, q{CALL walhouse.add_table('f', 'public.customer')}, q{CALL walhouse.run('f')};
equal_as_published('added');

# -------- the stream: into the filter, out of it, within it --------
sql($source, q{
	INSERT INTO orders VALUES (200, 'eu', 1, 'a'), (201, 'us', 1, 'b');
	UPDATE orders SET region = 'eu' WHERE id = 7;
	UPDATE orders SET region = 'us' WHERE id = 8;
	UPDATE orders SET amount = amount + 1 WHERE id BETWEEN 10 AND 20;
	DELETE FROM orders WHERE id IN (30, 31);
	UPDATE customer SET secret = 'changed', name = name || '!' WHERE id < 5;
	INSERT INTO customer VALUES (100, 'new', 'hidden', 'eu');
	DELETE FROM customer WHERE id = 20;
	UPDATE customer SET id = 200 WHERE id = 19;
	BEGIN;
	INSERT INTO orders SELECT g, CASE WHEN g % 3 = 0 THEN 'eu' ELSE 'us' END, g, 'streamed' FROM generate_series(1000, 4000) g;
	SAVEPOINT a;
	UPDATE orders SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id > 1000;
	ROLLBACK TO a;
	UPDATE orders SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id > 2000;
	COMMIT;
});
sql($house, q{CALL walhouse.ingest('f')});
equal_as_published('streamed');
is(value($house, q{SELECT count(*) FROM f_log.orders WHERE region <> 'eu' AND op IN ('I', 'U', 'B')}), '0', 'no row beyond the filter is in the log');
is(value($house, q{SELECT string_agg(DISTINCT state, ',') FROM walhouse.feed_table}), 'ready', 'no table was stopped');

# -------- the column list grows: rows that are there have values that the stream does not carry --------
sql($source, q{GRANT SELECT ON customer TO feeder; ALTER PUBLICATION p SET TABLE customer (id, name, "Region"), orders WHERE (region = 'eu' AND id > 4), plain;
	UPDATE customer SET name = 'after' WHERE id = 1});
sql($house, q{CALL walhouse.ingest('f')});
like(value($house, q{SELECT state || ': ' || error FROM walhouse.feed_table WHERE source_name = 'customer'}),
	qr/^resync: column "Region" came to the publication's column list/, 'a column that comes to the list');
sql($house, q{CALL walhouse.resync_table('f', 'public.customer')});
sql($source, q{UPDATE customer SET "Region" = 'us' WHERE id = 2});
sql($house, q{CALL walhouse.ingest('f')});
is(rows_of($house, 'id, name, "Region"', 'f.customer'), rows_of($source, 'id, name, "Region"', 'customer'), 'after the copy it is there');

# -------- the list shrinks, and grows again --------
sql($source, q{ALTER PUBLICATION p SET TABLE customer (id, name), orders WHERE (region = 'eu' AND id > 4), plain; UPDATE customer SET name = 'shrunk' WHERE id = 3});
sql($house, q{CALL walhouse.ingest('f')});
is(value($house, q{SELECT name || ' ' || ("Region" IS NULL) FROM f.customer WHERE id = 3}), 'shrunk true', 'a column that leaves the list is NULL from then on');
sql($source, q{ALTER PUBLICATION p SET TABLE customer, orders WHERE (region = 'eu' AND id > 4), plain; UPDATE customer SET name = 'whole' WHERE id = 3});
sql($house, q{CALL walhouse.ingest('f')});
is(value($house, q{SELECT state FROM walhouse.feed_table WHERE source_name = 'customer'}), 'resync', 'when it comes back, the table has to be copied');
sql($house, q{CALL walhouse.resync_table('f', 'public.customer'); CALL walhouse.ingest('f')});
is(rows_of($house, 'id, name, secret, "Region"', 'f.customer'), rows_of($source, 'id, name, secret, "Region"', 'customer'), 'and then is whole');
sql($source, q{ALTER TABLE customer ADD COLUMN late int DEFAULT 3; UPDATE customer SET late = 4 WHERE id = 3});
sql($house, q{CALL walhouse.ingest('f')});
is(rows_of($house, 'id, name, secret, "Region", late', 'f.customer'), rows_of($source, 'id, name, secret, "Region", late', 'customer'),
	'without a list a new column follows');

# -------- the filter changes --------
sql($source, q{ALTER PUBLICATION p SET TABLE customer, orders WHERE (region = 'us'), plain});
sql($house, q{CALL walhouse.ingest('f')});
is(value($house, q{SELECT state || ': ' || error FROM walhouse.feed_table WHERE source_name = 'orders'}),
	q{resync: the publication's row filter of the table changed}, 'another filter');
sql($house, q{CALL walhouse.resync_table('f', 'public.orders'); CALL walhouse.ingest('f')});
is(rows_of($house, '*', 'f.orders'), rows_of($source, '*', q{orders WHERE region = 'us'}), 'after the copy it holds');
sql($source, q{INSERT INTO orders VALUES (9000, 'us', 1, 'a'), (9001, 'eu', 1, 'b')});
sql($house, q{CALL walhouse.ingest('f')});
is(rows_of($house, '*', 'f.orders'), rows_of($source, '*', q{orders WHERE region = 'us'}), 'in the stream too');
is(value($house, q{SELECT string_agg(DISTINCT state, ',') FROM walhouse.feed_table}), 'ready', 'all tables are ready');

# -------- partitions come and go --------
sql($source, q{GRANT SELECT ON parted_1 TO feeder; DROP PUBLICATION root; CREATE PUBLICATION leaves FOR TABLE parted; INSERT INTO parted VALUES (1, 'a')});
sql($house, q{CALL walhouse.create_feed('g', 's', publication => 'leaves')});
sql($source, q{CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200); INSERT INTO parted VALUES (101, 'b'), (2, 'c')});
my ($status, undef, $err) = $house->psql('postgres', q{CALL walhouse.ingest('g')});
like($err, qr/feed "g" does not follow partition "parted_2", which table "parted" has got/, 'a partition that is not followed is told');
sql($source, q{BEGIN; ALTER TABLE parted DETACH PARTITION parted_1; ROLLBACK; ALTER TABLE parted DETACH PARTITION parted_1});
($status, undef, $err) = $house->psql('postgres', q{CALL walhouse.ingest('g')});
like($err, qr/feed "g" keeps the rows of a partition that table "parted" has lost/, 'and one that goes');
is(value($house, q{SELECT string_agg(v, ',' ORDER BY id) FROM g.parted_1}), 'a,c', 'its mirror has what it had');

$house->stop;
$source->stop;
done_testing();

sub rows_of
{
	my ($node, $columns, $from) = @_;
	return value($node, "SELECT count(*) || ' ' || md5(string_agg(x::text, ' ' ORDER BY x::text COLLATE \"C\")) FROM (SELECT $columns FROM $from) x");
}

sub equal_as_published
{
	my ($what) = @_;
	is(rows_of($house, '*', 'f.customer'), rows_of($source, 'id, name', 'customer'), "$what: the columns of the list");
	is(rows_of($house, '*', 'f.orders'), rows_of($source, '*', q{orders WHERE region = 'eu' AND id > 4}), "$what: the rows of the filter");
	mirrors_equal($house, $source, 'f', 'plain');
	return;
}
