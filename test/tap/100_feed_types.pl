# Every value is the same whether the snapshot or the stream brought it: all built-in types, NULL, special values, types
# that the warehouse lacks, toasted values that an update leaves alone, and names that need quotes.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my ($source, $house) = source_and_house();

my @columns = (
	[ 'b', 'boolean', "true", "false" ],
	[ 'i2', 'smallint', "-32768", "32767" ],
	[ 'i4', 'integer', "-2147483648", "0" ],
	[ 'i8', 'bigint', "-9223372036854775808", "9223372036854775807" ],
	[ 'f4', 'real', "'-0'", "'NaN'", "'Infinity'", "1.1", "'-Infinity'", "3.4028235e38" ],
	[ 'f8', 'double precision', "'-0'", "'NaN'", "'-Infinity'", "0.1", "'Infinity'", "5e-324" ],
	[ 'n', 'numeric', "1.0", "1.00", "'NaN'", "'Infinity'", "'-Infinity'", "-0.000000000000000000000000000001", "12345678901234567890123.4500", "-9223372036854775808", "1e-16", "100000", "0.00", "922337203685477.5807" ],
	[ 'n2', 'numeric(12,4)', "-1.5", "0", "99999999.9999" ],
	[ 'm', 'money', "'-12.34'", "0::money" ],
	[ 't', 'text', "''", "E'tab\\tback\\\\slash\\nline ''quote\"'", "'Grüße 漢字 😀'" ],
	[ 'v', 'varchar(20)', "'abc'" ],
	[ 'c', 'char(5)', "'ab'" ],
	[ 'c1', '"char"', "'x'", "E'\\\\351'::\"char\"" ],
	[ 'nm', 'name', "'pg_class'" ],
	[ 'by', 'bytea', "'\\x00ff10'", "''" ],
	[ 'd', 'date', "'infinity'", "'-infinity'", "'2024-02-29'", "'0044-03-15 BC'", "'5874897-12-31'" ],
	[ 'tm', 'time', "'24:00:00'", "'00:00:00.000001'" ],
	[ 'tz', 'timetz', "'12:34:56.789+05:30'", "'00:00-15:59'" ],
	[ 'ts', 'timestamp', "'infinity'", "'-infinity'", "'1969-12-31 23:59:59.999999'", "'4713-01-01 BC'", "'294276-12-31 23:59:59'" ],
	[ 'tt', 'timestamptz', "'infinity'", "'2024-03-31 01:30:00+00'", "'9999-12-31'" ],
	[ 'iv', 'interval', "'1 year -2 days 03:04:05.6'", "'-1 mons +1 day -00:00:00.000001'" ],
	[ 'u', 'uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'" ],
	[ 'js', 'json', "'{\"a\" :  1, \"a\":2}'" ],
	[ 'jb', 'jsonb', "'{\"b\": [1, null, \"x\"], \"n\": 1.00}'" ],
	[ 'xm', 'xml', "'<a>1</a>'", "'a<b/>'" ],
	[ 'ip', 'inet', "'192.168.1.1/24'", "'::1'" ],
	[ 'ci', 'cidr', "'10.0.0.0/8'" ],
	[ 'ma', 'macaddr', "'08:00:2b:01:02:03'" ],
	[ 'm8', 'macaddr8', "'08:00:2b:01:02:03:04:05'" ],
	[ 'bi', 'bit(3)', "B'101'" ],
	[ 'vb', 'varbit', "B'1'", "B''" ],
	[ 'pt', 'point', "'(1.5,-0)'" ],
	[ 'bx', 'box', "'((1,2),(3,4))'" ],
	[ 'pa', 'path', "'[(0,0),(1,1)]'" ],
	[ 'po', 'polygon', "'((0,0),(1,1),(1,0))'" ],
	[ 'ce', 'circle', "'<(0,0),1>'" ],
	[ 'li', 'line', "'{1,2,3}'" ],
	[ 'ls', 'lseg', "'[(0,0),(1,1)]'" ],
	[ 'tv', 'tsvector', "'a:1 b:2A'" ],
	[ 'tq', 'tsquery', "'a & !b'" ],
	[ 'o', 'oid', "4294967295" ],
	[ 'x8', 'xid8', "'18446744073709551615'" ],
	[ 'pl', 'pg_lsn', "'16/B374D848'" ],
	[ 'rc', 'regclass', "'pg_class'" ],
	[ 'jp', 'jsonpath', "'\$.a[*]'" ],
	[ 'ia', 'integer[]', "'{}'", "'{1,NULL,3}'", "'[2:3]={7,8}'", "'{{1,2},{3,4}}'" ],
	[ 'ta', 'text[]', "ARRAY['', 'a,b', NULL, '\"']" ],
	[ 'na', 'numeric[]', "ARRAY[1.0, 1.00, 'NaN']" ],
	[ 'tta', 'timestamptz[]', "ARRAY['infinity', '2020-01-01 00:00+00'::timestamptz]" ],
	[ 'ba', 'boolean[]', "'{t,NULL,f}'", "'{NULL}'" ],
	[ 'i2a', 'smallint[]', "'{-32768,32767}'", "'[-3:-2][5:6]={{1,2},{3,NULL}}'" ],
	[ 'i8a', 'bigint[]', "'{-9223372036854775808,NULL,9223372036854775807}'" ],
	[ 'f4a', 'real[]', "'{-0,NaN,Infinity,-Infinity,1.1}'" ],
	[ 'f8a', 'double precision[]', "'{-0,NaN,Infinity,-Infinity,0.1,5e-324}'" ],
	[ 'nb', 'numeric(6,2)[]', "'{1.5,-2.25,NULL}'" ],
	[ 'nc', 'numeric[]', "'{{12345678901234567890.5,NaN},{Infinity,-Infinity}}'", "'{1e-16,1e100,0.00}'" ],
	[ 'mna', 'money[]', "'{-12.34,0}'" ],
	[ 'va', 'varchar(3)[]', "'{abc,\"a,\",\"\"}'" ],
	[ 'ca', 'char(3)[]', "'{a,bb,NULL}'" ],
	[ 'c1a', '"char"[]', "'{x,y}'" ],
	[ 'nma', 'name[]', "'{pg_class,NULL}'" ],
	[ 'bya', 'bytea[]', "ARRAY['\\x00ff10'::bytea, '', NULL]" ],
	[ 'da', 'date[]', "'{infinity,-infinity,2024-02-29,0044-03-15 BC}'", "'{2024-02-29}'" ],
	[ 'tma', 'time[]', "'{24:00,00:00:00.000001}'" ],
	[ 'tza', 'timetz[]', "'{12:34:56.789+05:30,NULL}'" ],
	[ 'tsa', 'timestamp[]', "'{infinity,-infinity,1969-12-31 23:59:59.999999}'", "'{2020-01-01}'" ],
	[ 'iva', 'interval[]', "'{1 year -2 days 03:04:05.6,NULL}'" ],
	[ 'ua', 'uuid[]', "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}'" ],
	[ 'jsa', 'json[]', "ARRAY['{\"a\" :  1}'::json, NULL]" ],
	[ 'jba', 'jsonb[]', "ARRAY['{\"b\": [1, null, \"x\"]}'::jsonb, 'null']" ],
	[ 'ipa', 'inet[]', "'{192.168.1.1/24,::1}'" ],
	[ 'bia', 'bit(3)[]', "'{101,NULL}'" ],
	[ 'bxa', 'box[]', "'{(1,2),(3,4);(5,6),(7,8)}'" ],
	[ 'oa', 'oid[]', "'{4294967295,0}'" ],
	[ 'xa', 'xid8[]', "'{18446744073709551615}'" ],
	[ 'rca', 'regclass[]', "'{pg_class,NULL}'" ],
	[ 'iv2', 'int2vector', "'1 2 3'", "''" ],
	[ 'ov', 'oidvector', "'1 2 3'" ],
	[ 'tva', 'tsvector[]', "ARRAY['a:1 b:2A'::tsvector]" ],
	[ 'ira', 'int4range[]', "'{empty,NULL,\"[1,5)\"}'" ],
	[ 'dma', 'public.pct[]', "'{12.50,NULL,0.10}'" ],
	[ 'dda', 'public.pct2[]', "'{1,2.5}'" ],
	[ 'dia', 'public.whole[]', "'{{1,2},{3,4}}'" ],
	[ 'dmo', 'public.cash[]', "'{1.5,-2}'" ],
	[ 'doa', 'public.list', "'{1,NULL}'" ],
	[ 'coa', 'public.pair[]', "ARRAY[ROW(1, 'a,b')::public.pair, NULL, ROW(NULL, '')::public.pair]" ],
	[ 'ura', 'public.textrange[]', "ARRAY['[a,b)'::public.textrange]" ],
	[ 'ir', 'int4range', "'empty'", "'[1,5)'", "'(,)'" ],
	[ 'tr', 'tstzrange', "'[2020-01-01 00:00+00,infinity)'" ],
	[ 'mr', 'int8multirange', "'{[1,3),[5,7)}'" ],
	[ 'en', 'public.mood', "'so so'" ],
	[ 'ena', 'public.mood[]', "'{\"so so\",happy}'" ],
	[ 'dm', 'public.pct', "12.50" ],
	[ 'dd', 'public.pct2', "1" ],
	[ 'de', 'public.moody', "'happy'" ],
	[ 'co', 'public.pair', "ROW(1, 'a,b')", "ROW(NULL, '')" ],
	[ 'ur', 'public.textrange', "'[a,b)'" ],
);
my $max = 0;
for my $c (@columns) { $max = @$c - 2 if @$c - 2 > $max; }

# select_values FROM: rows that together hold each value of each column, and a row of NULLs.
sub select_values
{
	my ($from) = @_;
	my @rows;
	for my $r (0 .. $max - 1)
	{
		my @values;
		for my $c (@columns)
		{
			my @v = @$c[ 2 .. $#$c ];
			push @values, "($v[$r % @v])::$c->[1]";
		}
		push @rows, 'SELECT ' . ($from + $r) . ', ' . join(', ', @values);
	}
	push @rows, 'SELECT ' . ($from + $max) . ', ' . join(', ', map { "NULL::$_->[1]" } @columns);
	return join(" UNION ALL\n", @rows);
}

sql($source, q{
	CREATE TYPE public.mood AS ENUM ('happy', 'so so');
	CREATE DOMAIN public.pct AS numeric(5,2) CHECK (VALUE < 100);
	CREATE DOMAIN public.pct2 AS public.pct;
	CREATE DOMAIN public.whole AS int;
	CREATE DOMAIN public.cash AS money;
	CREATE DOMAIN public.list AS int[];
	CREATE DOMAIN public.moody AS public.mood;
	CREATE TYPE public.pair AS (a int, b text);
	CREATE TYPE public.textrange AS RANGE (subtype = text);
});
my $list = join(', ', map { "$_->[0] $_->[1]" } @columns);
for my $table (qw(snapped streamed rewritten))
{
	sql($source, "CREATE TABLE public.$table (id int PRIMARY KEY, $list)");
}
sql($source, q{
	CREATE SCHEMA "Über schema";
	CREATE TABLE "Über schema"."Select ""*""" ("From" int, "order by" text, lsn text, seq int, op text, op_ text,
		PRIMARY KEY ("From"));
	CREATE TABLE public.txn (id int PRIMARY KEY, v text);
	CREATE TABLE public.same (id int PRIMARY KEY);
	CREATE TABLE "Über schema".same (id int PRIMARY KEY, v text);
	CREATE TABLE public.wide (id int PRIMARY KEY, n int, big text, big2 text);
	ALTER TABLE public.wide ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE public.bin (k bytea, t text, big text, PRIMARY KEY (t, k));
	CREATE TABLE public.full_one (a int NOT NULL, b numeric NOT NULL, big text);
	CREATE UNIQUE INDEX ON public.full_one (b, a);
	ALTER TABLE public.full_one REPLICA IDENTITY FULL;
	CREATE TABLE public.by_index (a int, b text NOT NULL, big text);
	CREATE UNIQUE INDEX by_index_b ON public.by_index (b);
	ALTER TABLE public.by_index REPLICA IDENTITY USING INDEX by_index_b;
	ALTER TABLE public.by_index ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE public.gen (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED);
	CREATE TABLE public.huge (id int PRIMARY KEY, n int, t text, b bytea, j jsonb, a bigint[], ta text[], c char(1500000), e public.mood[], v numeric);
	CREATE TABLE public.huge_full (id int PRIMARY KEY, n int, t text, b bytea);
	ALTER TABLE public.huge_full REPLICA IDENTITY FULL;
	CREATE TABLE public.parted (id int, r text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
	CREATE TABLE public.parted_2 PARTITION OF public.parted FOR VALUES FROM (10) TO (20);
	CREATE PUBLICATION "Pub's" FOR ALL TABLES;
});
sql($source, 'INSERT INTO public.snapped ' . select_values(1));
sql($source, q{
	INSERT INTO "Über schema"."Select ""*""" VALUES (1, 'x', 'l', 1, 'o', 'p');
	INSERT INTO public.wide SELECT g, g, repeat('x' || g, 3000), repeat(md5(g::text), 500) FROM generate_series(1, 5) g;
	INSERT INTO public.full_one SELECT g, 1.0 * g, repeat('y' || g, 3000) FROM generate_series(1, 5) g;
	INSERT INTO public.by_index SELECT g, 'k' || g, repeat('y' || g, 3000) FROM generate_series(1, 5) g;
	INSERT INTO public.gen VALUES (1, 1);
	INSERT INTO public.parted VALUES (1, 'a'), (11, 'b');
	INSERT INTO public.same VALUES (1);
	INSERT INTO "Über schema".same VALUES (1, 'x');
	INSERT INTO public.txn VALUES (1, 'x');
});

sql($house, 'CREATE SERVER "the Shop" FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ');
	CREATE USER MAPPING FOR CURRENT_USER SERVER "the Shop";');
# Whatever the session that reads them has set.
my $settings = 'SET xmloption = document; SET array_nulls = off; SET bytea_output = escape; SET quote_all_identifiers = on; SET xmlbinary = hex;
	SET DateStyle = \'SQL, DMY\'; SET IntervalStyle = sql_standard; SET extra_float_digits = -10; SET TimeZone = \'Asia/Kolkata\'; SET timezone_abbreviations = \'Australia\'';
sql($house, "$settings; " . q{CALL walhouse.create_feed('My "Feed"', 'the Shop', publication => 'Pub''s')});

sql($source, 'INSERT INTO public.streamed ' . select_values(1));
# Values that come in chunks: beside small ones in one run, several in a row, kept by an update, in old images, and rolled back.
sql($source, q{
	BEGIN;
	INSERT INTO public.huge VALUES (1, 1, 'small', '\x00', '1', '{1}', '{a}', 'c', '{happy}', 1);
	INSERT INTO public.huge SELECT 2, 2, repeat('Grüße 漢字 😀', 200000), decode(repeat('00ff10', 700000), 'hex'),
		(SELECT jsonb_agg(g || 'xyz') FROM generate_series(1, 150000) g), (SELECT array_agg(g::bigint << 40) FROM generate_series(1, 300000) g),
		(SELECT array_agg('e' || g) FROM generate_series(1, 200000) g), 'padded',
		(SELECT array_agg('happy'::public.mood) FROM generate_series(1, 200000)), ('1' || repeat('7', 100000) || '.5')::numeric;
	INSERT INTO public.huge VALUES (3, 3, 'small', '\x00', '1', '{1}', '{a}', 'c', '{happy}', 1);
	SAVEPOINT a;
	INSERT INTO public.huge (id, t) VALUES (4, repeat('void', 1000000));
	ROLLBACK TO a;
	INSERT INTO public.huge (id, t, b) VALUES (5, repeat('after', 1000000), decode(repeat('11', 5000000), 'hex'));
	COMMIT;
	UPDATE public.huge SET n = n + 1;
	UPDATE public.huge SET id = 20, b = NULL WHERE id = 2;
	INSERT INTO public.huge_full VALUES (1, 1, repeat('full', 1000000), decode(repeat('12', 3000000), 'hex')), (2, 2, 'x', '\x01');
	UPDATE public.huge_full SET n = n + 1;
	UPDATE public.huge_full SET b = decode(repeat('13', 3000000), 'hex') WHERE id = 1;
	DELETE FROM public.huge_full WHERE id = 2;
});
sql($source, 'INSERT INTO public.rewritten ' . select_values(1));
sql($source, q{
	UPDATE public.rewritten SET id = -id;
	UPDATE public.rewritten SET i4 = 7;
	UPDATE "Über schema"."Select ""*""" SET lsn = 'm', seq = 2, op = 'q', op_ = 'r';
	INSERT INTO "Über schema"."Select ""*""" VALUES (2, 'x', NULL, NULL, NULL, NULL);
	UPDATE public.wide SET n = n + 1;
	UPDATE public.wide SET id = id + 100 WHERE id = 2;
	UPDATE public.wide SET big = 'short' WHERE id = 3;
	UPDATE public.full_one SET a = a + 10 WHERE a < 4;
	UPDATE public.full_one SET b = b + 0.00 WHERE a = 5;
	DELETE FROM public.full_one WHERE a = 11;
	UPDATE public.by_index SET a = 0;
	UPDATE public.by_index SET b = b || 'x' WHERE b = 'k2';
	DELETE FROM public.by_index WHERE b = 'k1';
	UPDATE public.gen SET a = 5;
	UPDATE public.parted SET r = r || '!';
	UPDATE public.parted SET id = 15 WHERE id = 1;
	INSERT INTO public.bin VALUES ('\x00', 'a', repeat('z', 5000)), ('\x01', 'a', NULL), ('\x00', 'b', '');
	UPDATE public.bin SET t = 'c' WHERE t = 'b';
	UPDATE "Über schema".same SET v = 'y';
	UPDATE public.txn SET v = 'y';
	DELETE FROM public.same;
});
sql($house, "$settings; " . q{CALL walhouse.ingest('My "Feed"')});

my %tables = (
	'public.snapped' => 'snapped', 'public.streamed' => 'streamed', 'public.huge' => 'huge', 'public.huge_full' => 'huge_full', 'public.rewritten' => 'rewritten',
	'"Über schema"."Select ""*"""' => '"Select ""*"""', 'public.wide' => 'wide', 'public.bin' => 'bin',
	'public.full_one' => 'full_one', 'public.by_index' => 'by_index', 'public.gen' => 'gen',
	'public.parted_1' => 'parted_1', 'public.parted_2' => 'parted_2', 'public.txn' => 'txn');
for my $table (sort keys %tables)
{
	my $order = 'ORDER BY 1, 2';
	$order = 'ORDER BY t::text, k' if $table =~ /bin/;
	my $columns = $table =~ /huge/ ? 'id, n, md5(t::text), md5(x::text)' : '*';
	my $want = sql($source, "SET bytea_output = hex; SELECT $columns FROM $table x $order");
	my $got = sql($house, "SET bytea_output = hex; SELECT $columns FROM \"My \"\"Feed\"\"\".$tables{$table} x $order");
	is($got, $want, "$table is the same here");
}
isnt(sql($house, q{SELECT count(*) FROM "My ""Feed""".streamed}), '0', 'there were rows');
is(sql($house, q{SELECT string_agg(source_schema || '.' || source_name || ' ' || mirror::text, ', ' ORDER BY mirror::text)
	FROM walhouse.feed_table WHERE source_name IN ('same', 'txn')}),
	'Über schema.same "My ""Feed"""."Über schema_same", public.same "My ""Feed""".same, public.txn "My ""Feed""".txn',
	'two tables of one name have mirrors of their own') or 1;
is(sql($house, q{SELECT count(*) FROM walhouse.feed_table WHERE state <> 'ready'}), '0', 'no table was stopped');
is(sql($house, q{SELECT string_agg(op::text, '' ORDER BY lsn, seq, op) FROM "My ""Feed""_log".full_one}),
	'BDIBDIBDIBUBD', 'a key is what the index compares: 5.0 and 5.00 are one');

$source->stop;
$house->stop;
done_testing();
