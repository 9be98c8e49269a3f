# What a session keeps of compiled models is good for the next load only if nothing has changed of what it was made of: each change has
# the models that it concerns compiled again, which DEBUG2 tells, and the load is right. All loads are one session's.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use PostgreSQL::Test::Utils;
use Test::More;

# An ANALYZE of somebody else's would have models compiled again, too.
my $house = lone_server();
$house->safe_psql('postgres', slurp_file('test/lib/handfeed.sql'));
my $elsewhere = sprintf("\\! psql -Xq -d '%s' -c", $house->connstr('postgres'));

# The models, in the order of loads. dw.named is never kept: its query has the name of an object.
my ($member, $named, $item) = ('dw.member', 'dw.named', 'dw.item');
my $all = "$member $named $item";

# Each: what is told, what is done before a load, which models that has compiled again, what the last row says: {n} is its number.
my @steps = (
	[ 'nothing', '', $named, 'm{n} is small|m{n}+town|m{n} by postgres|kept.thing|{n}' ],
	[ 'a function is renamed', 'ALTER FUNCTION kept.say(text, kept.size) RENAME TO tell', $all ],
	[ 'a type is renamed', 'ALTER TYPE kept.size RENAME TO measure', $all ],
	[ 'a label is renamed', q{ALTER TYPE kept.measure RENAME VALUE 'small' TO 'little'}, $all, 'm{n} is little|m{n}+town|m{n} by postgres|kept.thing|{n}' ],
	[ 'a collation is renamed', 'ALTER COLLATION kept.bytes RENAME TO octets', $all ],
	[ 'an operator moves', 'ALTER OPERATOR kept.||| (text, text) SET SCHEMA elsewhere', $all ],
	[ 'a schema is renamed', 'ALTER SCHEMA elsewhere RENAME TO beyond', $all ],
	[ 'a table is renamed whose name a query has', 'ALTER TABLE kept.thing RENAME TO other', $all, 'm{n} is little|m{n}+town|m{n} by postgres|kept.other|{n}' ],
	[ 'a function is replaced', q{CREATE OR REPLACE FUNCTION kept.tell(t text, s kept.measure) RETURNS text LANGUAGE sql IMMUTABLE
		AS $$ SELECT t || ' was ' || s::text $$}, $all, 'm{n} was little|m{n}+town|m{n} by postgres|kept.other|{n}' ],
	[ 'nothing again', '', $named ],
	[ 'a column of a mirror is renamed', q{ALTER TABLE shop.member RENAME name TO label;
		UPDATE walhouse.feed_column SET mirror_column = 'label' WHERE mirror_column = 'name'}, "$member $named" ],
	[ 'a model has another owner', 'ALTER TABLE dw.member OWNER TO other', $all, 'm{n} was little|m{n}+town|m{n} by other|kept.other|{n}' ],
	[ 'and the former one', 'ALTER TABLE dw.member OWNER TO CURRENT_USER', $all, 'm{n} was little|m{n}+town|m{n} by postgres|kept.other|{n}' ],
	[ 'an index is made', 'CREATE INDEX by_amount ON dw.item (amount)', "$named $item" ],
	[ 'and dropped', 'DROP INDEX dw.by_amount', "$named $item" ],
	[ 'a partition is made', q{INSERT INTO shop.item VALUES (1000000, 1, '2026-05-01', 1)}, "$named $all" ],
	[ 'a model is paused, and goes on', q{SELECT walhouse.pause('dw.named'); CALL walhouse.load('shop'); SELECT walhouse.resume('dw.named')}, $named ],
	[ 'a row of the catalog is written', q{UPDATE walhouse.model SET options = options WHERE relation = 'dw.item'::regclass}, "$named $item" ],
	[ 'a table of the feed is altered', q{CALL walhouse.set_log_key_index('shop', 'public.member', true)}, $all ],
	[ 'a setting is changed', 'SET walhouse.load_path = sql', $named ],
	[ 'and reset', 'RESET walhouse.load_path', $named ],
	[ 'a change is rolled back', 'BEGIN; ALTER FUNCTION kept.tell(text, kept.measure) RENAME TO gone; ROLLBACK', $all ],
	[ 'another session alters something', qq{$elsewhere "ALTER FUNCTION kept.tell(text, kept.measure) RENAME TO whisper"}, $all ],
	[ 'another session writes the catalog', qq{$elsewhere "UPDATE walhouse.model SET options = options WHERE relation = 'dw.member'::regclass"}, "$member $named" ],
	[ 'another session loads', qq{$elsewhere "CALL walhouse.load('shop')"}, $named ],
	[ 'a load fails', q{INSERT INTO shop.item VALUES (-1, 1, '2026-01-01', 0); CALL kept.change(); CALL walhouse.load('shop');
		UPDATE shop.item SET amount = 1 WHERE id = -1}, $named ],
	[ 'and goes on', '', "$named $item" ],
	[ 'nothing at the end', '', $named ],
);

my ($number, $text) = (1, '');
for my $step (@steps)
{
	my ($name, $change) = @$step;
	$text .= "$change" . ($change eq '' || $change =~ /^\\/ ? "\n" : ";\n") . q{CALL kept.change();
		SET client_min_messages = debug2;
		\warn == load
		CALL walhouse.load('shop');
		\warn == end
		SET client_min_messages = error;
		SELECT '== ' || k, * FROM kept.last;
	};
}
my ($status, $out, $err) = $house->psql('postgres', set_up() . $text, on_error_stop => 1);
is($status, 0, 'all loads have run') or diag($err);
my @compiled = map { join(' ', /DEBUG:  model (\S+) is compiled/g) } $err =~ /== load(.*?)== end/gs;
my @rows = $out =~ /^== (.*)$/mg;
my $row;
for my $i (0 .. $#steps)
{
	my ($name, $change, $expected, $want) = @{ $steps[$i] };
	$row = $want if $want;
	my ($n, undef, $is) = split /\|/, $rows[$i] // '', 3;
	is($compiled[$i] // '', $expected, "$name: what is compiled again");
	is($is // '', $row =~ s/\{n\}/$n/gr, "$name: what is loaded");
}
is(sql($house, q{SELECT sum(missing + unexpected + different) FROM walhouse.verify('dw.item')}), '0', 'the fact is right');

# ---- names in a query of what PostgreSQL invalidates nothing for: two things change their names with each other
my ($changed, undef, $said) = $house->psql('postgres', q{
	SET client_min_messages = error;
	SET timezone = 'UTC';
	SET walhouse.allow_writes = on;
	CREATE TYPE kept.pair AS (a text, b text);
	CREATE FUNCTION kept.split(t text) RETURNS kept.pair LANGUAGE sql IMMUTABLE AS $$ SELECT ROW(t || ' left', t || ' right')::kept.pair $$;
	CREATE FUNCTION kept.number(r regclass[]) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT relnatts::int FROM pg_class WHERE oid = r[1] $$;
	CREATE TABLE kept.indexed (a int, b int);
	CREATE INDEX one ON kept.indexed (a);
	CREATE INDEX two ON kept.indexed (a, b);
	SELECT walhouse.create_dimension('dw.part', 'SELECT k, (kept.split(label)).a AS part FROM shop.member', '{k}');
	SELECT walhouse.create_dimension('dw.listed', $$ SELECT k, kept.number('{kept.one}'::regclass[]) AS columns FROM shop.member $$, '{k}');
	CALL walhouse.build('dw.part');
	CALL walhouse.build('dw.listed');
	CALL kept.change();
	CALL walhouse.load('shop');
	CALL kept.change();
	CALL walhouse.load('shop');
	ALTER TYPE kept.pair RENAME ATTRIBUTE a TO c;
	ALTER TYPE kept.pair RENAME ATTRIBUTE b TO a;
	ALTER INDEX kept.one RENAME TO three;
	ALTER INDEX kept.two RENAME TO one;
	CALL kept.change();
	CALL walhouse.load('shop')}, on_error_stop => 1);
is($changed, 0, 'names are exchanged') or diag($said);
is(sql($house, q{SELECT string_agg(DISTINCT split_part(part, ' ', 2), ' ') || ' ' || (SELECT string_agg(DISTINCT columns::text, ' ') FROM dw.listed) FROM dw.part}),
	'left 1', 'and mean what they meant');
$house->stop;
done_testing();

sub set_up
{
	return q{
	SET client_min_messages = error;
	SET timezone = 'UTC';
	SET walhouse.allow_writes = on;
	SELECT handfeed.make('shop', 'UTC');
	CREATE TABLE shop.member (k int PRIMARY KEY, name text, city text);
	CREATE TABLE shop.item (id int PRIMARY KEY, k int, at timestamptz, amount int);
	SELECT handfeed.add('shop', t) FROM unnest('{shop.member,shop.item}'::regclass[]) t;
	CREATE SCHEMA dw;
	CREATE SCHEMA kept;
	CREATE SCHEMA elsewhere;
	CREATE ROLE other;
	CREATE TYPE kept.size AS ENUM ('small', 'large');
	CREATE COLLATION kept.bytes FROM "C";
	CREATE TABLE kept.thing ();
	CREATE FUNCTION kept.say(t text, s kept.size) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT t || ' is ' || s::text $$;
	CREATE FUNCTION kept.who(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN t || ' by ' ||
		CASE current_user WHEN 'other' THEN 'other' ELSE 'postgres' END; END $$;
	CREATE FUNCTION kept.name_of(r regclass) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT r::text $$;
	CREATE FUNCTION kept.join(a text, b text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT a || '+' || b $$;
	CREATE OPERATOR kept.||| (LEFTARG = text, RIGHTARG = text, FUNCTION = kept.join);
	GRANT USAGE ON SCHEMA kept, elsewhere, shop, shop_log TO other;
	GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO other;
	GRANT CREATE, USAGE ON SCHEMA dw TO other;
	SELECT walhouse.create_dimension('dw.member', $$ SELECT k, kept.say(name, 'small'::kept.size) AS said, name OPERATOR(kept.|||) city AS joined,
		city COLLATE kept.bytes < 'b' AS is_first, kept.who(name) AS who FROM shop.member $$, '{k}');
	SELECT walhouse.create_dimension('dw.named', $$ SELECT k, kept.name_of('kept.thing'::regclass) AS thing FROM shop.member $$, '{k}');
	SELECT walhouse.create_fact('dw.item', 'SELECT id, k, at, amount, 1 / amount AS share FROM shop.item', '{id}', 'at', '{"member_sk": "dw.member(k)"}', 'month');
	CALL walhouse.load('shop');
	CALL walhouse.build('dw.member');
	CALL walhouse.build('dw.named');
	CALL walhouse.build('dw.item');
	CREATE SEQUENCE kept.at;
	CREATE PROCEDURE kept.change() LANGUAGE plpgsql AS $$
	DECLARE
		i int := nextval('kept.at');
	BEGIN
		INSERT INTO shop.member VALUES (i, 'm' || i, 'town');
		INSERT INTO shop.item VALUES (i, i, timestamptz '2026-01-01' + i * interval '1 hour', i);
		PERFORM handfeed.commit('shop', timestamptz '2026-01-01' + i * interval '1 hour');
		PERFORM handfeed.reach('shop');
	END $$;
	CREATE VIEW kept.last AS SELECT m.k, m.said, m.joined, m.who, n.thing, i.amount FROM dw.member m JOIN dw.named n USING (k, is_current)
		LEFT JOIN dw.item i USING (member_sk) WHERE m.is_current ORDER BY m.k DESC LIMIT 1;
	CALL kept.change();
	CALL walhouse.load('shop');
	CALL kept.change();
	CALL walhouse.load('shop');
	};
}
