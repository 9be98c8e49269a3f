# The source's DDL, one table a case: mirrors follow it by attnum, or stop alone; walhouse.schema_changes has each change at the LSN
# of its own transaction, with what was done about it.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house(source => { conf => "logical_decoding_work_mem = '64kB'\n" });

# What is done to a table (T; N is its name), and what is said of it: a line for each change, "kind column before>after action".
my @cases = (
	[ 'a column with a constant default', q{ALTER TABLE T ADD n int DEFAULT 7}, 'add column n >integer followed' ],
	[ 'a default that is set later', q{ALTER TABLE T ADD n int; ALTER TABLE T ALTER n SET DEFAULT 5}, 'add column n >integer followed' ],
	[ 'a default that is dropped, and a table rewritten, before it is used', q{ALTER TABLE T ADD n int DEFAULT 7; ALTER TABLE T ALTER n DROP DEFAULT; VACUUM FULL T},
		'add column n >integer followed' ],
	[ 'a volatile default', q{ALTER TABLE T ADD n float DEFAULT random()}, 'add column n >double precision followed', 'rewrite followed' ],
	[ 'two, one of them volatile', q{ALTER TABLE T ADD n int DEFAULT 3, ADD u uuid DEFAULT gen_random_uuid()},
		'add column n >integer followed', 'add column u >uuid followed', 'rewrite followed' ],
	[ 'a default of its time', q{ALTER TABLE T ADD n timestamptz DEFAULT now()}, 'add column n >timestamp with time zone followed' ],
	[ 'a generated column', q{ALTER TABLE T ADD n int GENERATED ALWAYS AS (id * 2) STORED}, 'add column n >integer followed', 'rewrite followed' ],
	[ 'an identity', q{ALTER TABLE T ADD n int GENERATED ALWAYS AS IDENTITY}, 'add column n >integer followed', 'rewrite followed' ],
	[ 'an expression that is dropped', q{ALTER TABLE T ADD n int GENERATED ALWAYS AS (id * 2) STORED; ALTER TABLE T ALTER n DROP EXPRESSION},
		'add column n >integer followed', 'rewrite followed', 'drop expression n true>false nothing' ],
	[ 'a rename', q{ALTER TABLE T RENAME v TO w}, 'rename column w v>w followed' ],
	[ 'names that are swapped', q{BEGIN; ALTER TABLE T RENAME v TO x; ALTER TABLE T RENAME a TO v; ALTER TABLE T RENAME x TO a; COMMIT},
		'rename column a v>a followed', 'rename column v a>v followed' ],
	[ 'a column dropped', q{ALTER TABLE T DROP v}, 'drop column v text> followed' ],
	[ 'dropped, and another of its name', q{ALTER TABLE T DROP v; UPDATE T SET a = a + 1; ALTER TABLE T ADD v int},
		'drop column v text> followed', 'add column v >integer followed' ],
	[ 'the same in one statement', q{ALTER TABLE T DROP v, ADD v numeric DEFAULT 1.50}, 'drop column v text> followed', 'add column v >numeric followed' ],
	[ 'NOT NULL, on and off', q{ALTER TABLE T ALTER v SET NOT NULL; ALTER TABLE T ALTER v DROP NOT NULL},
		'set not null v false>true nothing', 'drop not null v true>false nothing' ],
	[ 'a longer varchar', q{ALTER TABLE T ALTER c TYPE varchar(20)}, 'alter type c character varying(10)>character varying(20) followed' ],
	[ 'varchar to text', q{ALTER TABLE T ALTER c TYPE text}, 'alter type c character varying(10)>text followed' ],
	[ 'text to varchar', q{ALTER TABLE T ALTER v TYPE varchar}, 'alter type v text>character varying followed' ],
	[ 'a shorter varchar', q{ALTER TABLE T ALTER c TYPE varchar(2) USING left(c, 2)},
		'alter type c character varying(10)>character varying(2) followed', 'rewrite followed' ],
	[ 'more digits', q{ALTER TABLE T ALTER p TYPE numeric(20,2)}, 'alter type p numeric(10,2)>numeric(20,2) followed' ],
	[ 'any number of digits', q{ALTER TABLE T ALTER p TYPE numeric}, 'alter type p numeric(10,2)>numeric followed' ],
	[ 'another scale', q{ALTER TABLE T ALTER p TYPE numeric(20,4)}, 'alter type p numeric(10,2)>numeric(20,4) followed', 'rewrite followed' ],
	[ 'more precise times', q{ALTER TABLE T ALTER ts TYPE timestamp},
		'alter type ts timestamp(0) without time zone>timestamp without time zone followed' ],
	[ 'int to bigint', q{ALTER TABLE T ALTER a TYPE bigint; UPDATE T SET a = 10000000000 WHERE id = 7}, 'alter type a integer>bigint followed', 'rewrite followed' ],
	[ 'with other values', q{ALTER TABLE T ALTER a TYPE bigint USING a * 10000000000}, 'alter type a integer>bigint followed', 'rewrite followed' ],
	[ 'smallint to numeric, by way of int', q{ALTER TABLE T ALTER s TYPE int; ALTER TABLE T ALTER s TYPE numeric(30,5)},
		'alter type s smallint>integer followed', 'rewrite followed', 'alter type s integer>numeric(30,5) followed', 'rewrite followed' ],
	[ 'real to double', q{ALTER TABLE T ALTER r TYPE float8}, 'alter type r real>double precision followed', 'rewrite followed' ],
	[ 'the key to bigint', q{ALTER TABLE T ALTER id TYPE bigint}, 'alter type id integer>bigint followed', 'rewrite followed' ],
	[ 'other values of the same type', q{ALTER TABLE T ALTER a TYPE int USING a + 100}, 'rewrite followed' ],
	[ 'another type', q{ALTER TABLE T ALTER a TYPE text}, 'alter type a integer>text resync', 'rewrite resync' ],
	[ 'a narrower one', q{ALTER TABLE T ALTER a TYPE smallint}, 'alter type a integer>smallint resync', 'rewrite resync' ],
	[ 'VACUUM FULL', q{VACUUM FULL T} ],
	[ 'CLUSTER', q{CLUSTER T USING N_pkey} ],
	[ 'an index, a constraint, a trigger, statistics', q{CREATE INDEX ON T (a); ALTER TABLE T ADD CHECK (id > 0); ANALYZE T; ALTER TABLE T SET (fillfactor = 50)} ],
	[ 'another name', q{ALTER TABLE T RENAME TO N_new}, 'rename table  N>N_new followed' ],
	[ 'another schema', q{ALTER TABLE T SET SCHEMA other}, 'set schema  public>other followed' ],
	[ 'a key of another column', q{BEGIN; ALTER TABLE T DROP CONSTRAINT N_pkey; ALTER TABLE T ADD PRIMARY KEY (a); COMMIT},
		'set not null a false>true resync', 'key  id>a resync' ],
	[ 'a key of one more', q{BEGIN; ALTER TABLE T DROP CONSTRAINT N_pkey; ALTER TABLE T ADD PRIMARY KEY (id, a); COMMIT},
		'set not null a false>true resync', 'key  id>id, a resync' ],
	[ 'no key', q{ALTER TABLE T DROP CONSTRAINT N_pkey; ALTER TABLE T ADD PRIMARY KEY (id)}, 'key  id> nothing', 'key  >id nothing' ],
	[ 'a column of the key dropped', q{ALTER TABLE T DROP id; ALTER TABLE T RENAME s TO id; ALTER TABLE T ADD PRIMARY KEY (id)},
		'drop column id integer> resync', 'key  id> resync', 'rename column id s>id nothing', 'set not null id false>true nothing', 'key  >id nothing' ],
	[ 'identity FULL', q{ALTER TABLE T REPLICA IDENTITY FULL}, 'replica identity  default>full nothing' ],
	[ 'identity by an index', q{CREATE UNIQUE INDEX N_i ON T (nn); ALTER TABLE T REPLICA IDENTITY USING INDEX N_i},
		'replica identity  default>index resync', 'key  id>nn resync' ],
	[ 'rows before, between and after', q{BEGIN; UPDATE T SET v = 'x' WHERE id = 3; ALTER TABLE T ADD n int DEFAULT 3; UPDATE T SET n = 4 WHERE id = 3;
		ALTER TABLE T DROP v; UPDATE T SET n = 5 WHERE id = 4; COMMIT}, 'drop column v text> followed', 'add column n >integer followed' ],
	[ 'rows around a rewrite', q{BEGIN; UPDATE T SET a = 77 WHERE id = 3; DELETE FROM T WHERE id = 6; ALTER TABLE T ALTER a TYPE bigint; UPDATE T SET a = 78 WHERE id = 4;
		INSERT INTO T (id, nn, a) VALUES (2000, 2000, 10000000000); COMMIT}, 'alter type a integer>bigint followed', 'rewrite followed' ],
	[ 'a column that comes and goes', q{BEGIN; ALTER TABLE T ADD n int; UPDATE T SET n = 4 WHERE id = 3; ALTER TABLE T DROP n; UPDATE T SET a = 5 WHERE id = 4; COMMIT} ],
	[ 'DDL that is rolled back', q{BEGIN; ALTER TABLE T ADD n int DEFAULT 3; UPDATE T SET n = 4; ROLLBACK} ],
	[ 'of a subtransaction', q{BEGIN; UPDATE T SET v = 'a' WHERE id = 1; SAVEPOINT s; ALTER TABLE T DROP v; UPDATE T SET a = 9; ROLLBACK TO s;
		UPDATE T SET v = 'b' WHERE id = 2; COMMIT} ],
	[ 'a rewrite of one', q{BEGIN; UPDATE T SET v = 'a' WHERE id = 1; SAVEPOINT s; ALTER TABLE T ALTER a TYPE text; UPDATE T SET a = 9; ROLLBACK TO s;
		UPDATE T SET v = 'b' WHERE id = 2; COMMIT} ],
	[ 'of a large transaction, which comes while it is open', q{BEGIN; UPDATE T SET v = repeat('x', 5000 + id); UPDATE T SET v = repeat('y', 5000 + id); ALTER TABLE T ADD n int DEFAULT 3;
		UPDATE T SET n = 4; UPDATE T SET n = id; SAVEPOINT s; ALTER TABLE T ALTER a TYPE text; UPDATE T SET v = repeat('q', 6000 + id); ROLLBACK TO s;
		ALTER TABLE T RENAME v TO w; UPDATE T SET w = repeat('z', 6000 + id); ALTER TABLE T ADD y float DEFAULT random(); UPDATE T SET w = repeat('z', 7000 + id); COMMIT},
		'rename column w v>w followed', 'add column n >integer followed', 'add column y >double precision followed', 'rewrite followed' ],
	[ 'a label more', q{ALTER TYPE mood ADD VALUE 'great'}, q{alter definition of type m 'sad', 'ok'>'sad', 'ok', 'great' nothing} ],
	[ 'a label renamed', q{ALTER TYPE feeling RENAME VALUE 'ok' TO 'fine'}, q{alter definition of type m 'sad', 'ok'>'sad', 'fine' resync} ],
	[ 'an attribute more', q{ALTER TYPE pair ADD ATTRIBUTE b int}, q{alter definition of type m a text>a text, b integer resync} ],
	[ 'a TRUNCATE before', q{BEGIN; TRUNCATE T; ALTER TABLE T ADD n int; INSERT INTO T (id, nn, n) VALUES (1, 1, 2); COMMIT}, 'add column n >integer followed' ],
	[ 'a TRUNCATE behind', q{BEGIN; ALTER TABLE T ADD n int DEFAULT 5; TRUNCATE T; INSERT INTO T (id, nn, n) VALUES (1, 1, 2); COMMIT}, 'add column n >integer followed' ],
	[ 'long values that are written anew', q{UPDATE T SET v = (SELECT string_agg(md5((i * id)::text), '') FROM generate_series(1, 2000) i) WHERE id < 9; ALTER TABLE T ADD n float DEFAULT random()},
		'add column n >double precision followed', 'rewrite followed' ],
	[ 'a table dropped', q{DROP TABLE T}, 'drop table  N> ended' ]);

sql($source, q{CREATE SCHEMA other; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE feeling AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a text)});
my @names = map { "t$_" } 1 .. @cases;
sql($source, join '', map {
	my $mood = $cases[substr($_, 1) - 1][1] =~ /^ALTER TYPE (\w+)/ ? $1 : 'text';
	my $value = $mood eq 'pair' ? q{row('ok')::pair} : q{'ok'};
	qq{CREATE TABLE public.$_ (id int PRIMARY KEY, v text, a int, nn int NOT NULL, c varchar(10), p numeric(10,2), ts timestamp(0), s smallint, r real, m $mood);
		INSERT INTO public.$_ SELECT i, 'v' || i, i, i, 'c' || i, i / 7.0, '2026-01-01'::timestamp + i * interval '1.1 s', i, i / 3.0, $value FROM generate_series(1, 20) i;} } @names);
sql($source, 'CREATE PUBLICATION shop FOR ALL TABLES');
create_server($house, 'src', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'src', publication => 'shop')});

my (%range, %table);
for my $i (0 .. $#cases)
{
	my ($name, $ddl) = @{ $cases[$i] };
	my $table = $ddl =~ /RENAME TO N_new/ ? "public.$names[$i]_new" : $ddl =~ /SET SCHEMA/ ? "other.$names[$i]" : "public.$names[$i]";
	$ddl =~ s/\bT\b/public.$names[$i]/g;
	$ddl =~ s/\bN(?=_)/$names[$i]/g;
	sql($source, "UPDATE public.$names[$i] SET a = -2 WHERE id = 2");
	$range{$i}[0] = source_lsn($source);
	sql($source, $_) for $ddl =~ /^BEGIN/ ? $ddl : split /; /, $ddl;
	$range{$i}[1] = source_lsn($source);
	$table{$i} = $table;
	next if $ddl =~ /DROP TABLE/;
	# half of them see no row after it
	sql($source, "UPDATE $table SET nn = -3 WHERE id = 3; INSERT INTO $table (id, nn, a) VALUES (1000, 5000, 1000); DELETE FROM $table WHERE id = 5") if $i % 2;
}
sql($house, q{CALL walhouse.ingest('shop')});

my $shown = q{kind || ' ' || COALESCE(column_name || ' ', CASE WHEN kind NOT IN ('rewrite') THEN ' ' ELSE '' END)
	|| CASE WHEN kind <> 'rewrite' THEN COALESCE(before, '') || '>' || COALESCE(after, '') || ' ' ELSE '' END || action};
for my $i (0 .. $#cases)
{
	my ($name, undef, @expected) = @{ $cases[$i] };
	my $of = "source_relid = (SELECT source_relid FROM walhouse.feed_table WHERE mirror = 'shop.$names[$i]'::regclass)";
	s/\bN(?=[_>])/$names[$i]/g for @expected;
	is(value($house, qq{SELECT string_agg($shown, E'\\n' ORDER BY lsn, change_id) FROM walhouse.schema_change WHERE $of}), join("\n", @expected), "$name: what is said");
	is(value($house, qq{SELECT count(*) FROM walhouse.schema_change WHERE $of AND (lsn <= '$range{$i}[0]' OR lsn > '$range{$i}[1]' OR xid IS NULL OR commit_time IS NULL)}),
		'0', "$name: at its own LSN");
	is(value($house, qq{SELECT state FROM walhouse.feed_table WHERE $of}), (grep { /resync|ended/ } @expected) ? 'resync' : 'ready', "$name: the table");
	next if grep { /ended/ } @expected;
	sql($house, "CALL walhouse.resync_table('shop', '$table{$i}')") if grep { /resync/ } @expected;
	equal($i, $name);
}

sql($house, q{CALL walhouse.drop_feed('shop')});
$_->stop for $source, $house;
done_testing();

# equal CASE, NAME: the mirror's columns of the source's names have the source's rows.
sub equal
{
	my ($i, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $columns = value($source, "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$table{$i}'::regclass AND attnum > 0 AND NOT attisdropped");
	my $query = "SELECT md5(string_agg(row($columns)::text, ',' ORDER BY id)), count(*) FROM ";
	is(value($house, "$query shop.$names[$i]"), value($source, "$query $table{$i}"), "$name: the rows");
	return;
}
