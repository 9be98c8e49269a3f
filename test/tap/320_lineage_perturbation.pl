# Column lineage is held to what happens: random queries run on random data, and again with one column of one table changed. What comes out may
# differ only in columns that have an edge from it, unless it bears on all of them. No lineage can pass this that overlooks a source.
#
# Where the parser itself says that a column of the result is a column of a table, it must be an IDENTITY edge, too.
#
# QUERIES (default 120), SEED (default 1): `make perturbation QUERIES=5000` is the same with more of them. A query that fails is shown with its source.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use LineageQueries;
use PostgreSQL::Test::Utils;
use WalhouseTest;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $count = $ENV{QUERIES} || 120;
my $seed = $ENV{SEED} || 1;
my $node = one_server(conf => "jit = off\nmax_parallel_workers_per_gather = 0\n");

# What the queries read. Schema p<variant>_<table>_<column> holds that table with the column changed; the rest is found in schema base behind it.
# Rows stand in the same order everywhere, and views and functions are made again in each schema, over what is seen from there.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE reader;
CREATE SCHEMA base;
CREATE SCHEMA prove;
CREATE FUNCTION prove.fill(schema text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE VIEW %1$I.v_join AS SELECT a.id, b.x + a.y AS x, coalesce(b.s, a.s) AS s FROM a LEFT JOIN b ON b.aid = a.id AND b.x > 2', schema);
	EXECUTE format('CREATE VIEW %1$I.v_group AS SELECT s, count(*)::int AS n, max(x) AS m FROM b WHERE u > ''d'' GROUP BY s', schema);
	EXECUTE format('CREATE VIEW %1$I.v_window AS SELECT id, (rank() OVER (PARTITION BY k ORDER BY x))::int AS place, x FROM c', schema);
	EXECUTE format('CREATE VIEW %1$I.v_union AS SELECT id, s FROM a UNION SELECT aid, u FROM b WHERE x > 1', schema);
	EXECUTE format('CREATE VIEW %1$I.v_deep AS SELECT j.id, u.s || j.s AS s, g.m FROM %1$I.v_join j JOIN %1$I.v_union u USING (id) LEFT JOIN %1$I.v_group g ON g.s = j.s', schema);
	EXECUTE format('CREATE FUNCTION %1$I.f_twice(v int) RETURNS int LANGUAGE sql IMMUTABLE RETURN v + v', schema);
	EXECUTE format('CREATE FUNCTION %1$I.f_strict(v int, w int) RETURNS int LANGUAGE sql STRICT RETURN v', schema);
	EXECUTE format('CREATE FUNCTION %1$I.f_lookup(v int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT max(x) FROM c WHERE c.k = v; END', schema);
	EXECUTE format('CREATE FUNCTION %1$I.f_name(v int) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT s FROM a WHERE a.id = v ORDER BY s LIMIT 1; END', schema);
	EXECUTE format('CREATE FUNCTION %1$I.f_rows(k int) RETURNS TABLE (id int, s text) LANGUAGE sql BEGIN ATOMIC SELECT b.x, b.s FROM b WHERE b.aid = f_rows.k OR b.id < 2; END', schema);
	EXECUTE format('GRANT USAGE ON SCHEMA %I TO reader', schema);
	EXECUTE format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO reader', schema);
END $$;
-- change: another value of the same type; NULL by the second variant.
CREATE FUNCTION prove.changed(type text, variant int, nr bigint) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN variant = 2 AND nr % 3 <> 0 THEN NULL WHEN type = 'integer' THEN ((nr * 7 + variant * 3) % 9)::text ELSE chr(97 + ((nr * 5 + variant) % 20)::int) || 'z' END $$;
CREATE FUNCTION prove.vary(tab text, col text, variant int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	schema text := format('p%s_%s_%s', variant, tab, col);
	list text;
	names text;
BEGIN
	EXECUTE format('CREATE SCHEMA %I', schema);
	EXECUTE format('CREATE TABLE %I.%I (LIKE base.%I INCLUDING ALL)', schema, tab, tab);
	SELECT string_agg(CASE WHEN attname = col THEN format('prove.changed(%L, %s, row_number() OVER (ORDER BY ctid))::%s', format_type(atttypid, NULL), variant, format_type(atttypid, NULL))
		ELSE quote_ident(attname) END, ', ' ORDER BY attnum), string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO list, names
		FROM pg_attribute WHERE attrelid = format('base.%I', tab)::regclass AND attnum > 0 AND attgenerated = '';
	EXECUTE format('INSERT INTO %I.%I (%s) SELECT %s FROM base.%I ORDER BY ctid', schema, tab, names, list, tab);
	IF tab = 'r' THEN
		EXECUTE format('ALTER TABLE %I.r ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON %I.r USING (owner > ''g'' OR id IN (SELECT k FROM base.c))', schema, schema);
	END IF;
	PERFORM set_config('search_path', schema || ', base', false);
	PERFORM prove.fill(schema);
END $$;

SET search_path = base;
SELECT setseed(0.5);
CREATE FUNCTION prove.i() RETURNS int LANGUAGE sql AS 'SELECT CASE WHEN random() < 0.85 THEN (random() * 7)::int END';
CREATE FUNCTION prove.t() RETURNS text LANGUAGE sql AS $$SELECT CASE WHEN random() < 0.9 THEN chr(97 + (random() * 9)::int) END$$;
CREATE TABLE a AS SELECT n AS id, prove.i() AS x, prove.i() AS y, prove.t() AS s FROM generate_series(1, 7) n;
CREATE TABLE b AS SELECT n AS id, prove.i() AS aid, prove.i() AS x, prove.t() AS s, prove.t() AS u FROM generate_series(1, 9) n;
CREATE TABLE c AS SELECT n AS id, prove.i() AS k, prove.i() AS x, prove.t() AS s, prove.i()::numeric AS n FROM generate_series(1, 6) n;
CREATE TABLE d AS SELECT n AS id, CASE WHEN n > 2 THEN n / 2 END AS parent, prove.i() AS x, prove.t() AS s FROM generate_series(1, 8) n;
CREATE TABLE r AS SELECT n AS id, prove.t() AS owner, prove.i() AS x FROM generate_series(1, 8) n;
CREATE TABLE o (id int PRIMARY KEY, x int, y int, s text, g int GENERATED ALWAYS AS (x + y) STORED);
INSERT INTO o SELECT n, prove.i(), prove.i(), prove.t() FROM generate_series(1, 6) n;
ALTER TABLE r ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON r USING (owner > 'g' OR id IN (SELECT k FROM c));
SELECT prove.fill('base');
SELECT prove.vary(tab, col, v) FROM (VALUES ('a'), ('b'), ('c'), ('d'), ('r'), ('o')) t(tab), LATERAL
	(SELECT attname::text AS col FROM pg_attribute WHERE attrelid = ('base.' || tab)::regclass AND attnum > 0 AND NOT (tab = 'o' AND attname IN ('id', 'g')) AND format_type(atttypid, NULL) IN ('integer', 'text')) c,
	generate_series(1, 2) v;


-- rows: what a query gives, or leaves in table o, as seen from a schema; nothing stays.
CREATE FUNCTION prove.rows(query text, writes boolean, schema text) RETURNS jsonb[] LANGUAGE plpgsql AS $$
DECLARE
	result jsonb[] := '{}';
	one record;
BEGIN
	PERFORM set_config('search_path', schema || ', base', true);
	IF NOT writes AND query !~ 'RETURNING' THEN
		EXECUTE format('SELECT coalesce(array_agg(to_jsonb(q)), ''{}'') FROM (%s) q', query) INTO result;
		RETURN result;
	END IF;
	BEGIN
		IF writes THEN
			EXECUTE query;
			EXECUTE 'SELECT coalesce(array_agg(to_jsonb(o)), ''{}'') FROM o' INTO result;
		ELSE
			FOR one IN EXECUTE query LOOP
				result := result || to_jsonb(one);
			END LOOP;
		END IF;
		RAISE EXCEPTION SQLSTATE 'UNDO1';
	EXCEPTION WHEN SQLSTATE 'UNDO1' THEN NULL;
	END;
	RETURN result;
END $$;
CREATE FUNCTION prove.digest(rows jsonb[], without text[]) RETURNS text LANGUAGE sql AS $$
	SELECT count(*) || ' ' || md5(coalesce(string_agg(r, ' ' ORDER BY r), '')) FROM (SELECT (u - without)::text AS r FROM unnest(rows) u) x $$;

-- try: runs a query on the data and on each change of it. verdict: '' or what went wrong; tested changes, those that bear on all columns and are
-- therefore not tested, and of the edges of the rest those that a change has shown.
CREATE FUNCTION prove.try(query text, writes boolean, OUT verdict text, OUT tested int, OUT bear_on_all int, OUT edges int, OUT shown int) LANGUAGE plpgsql AS $$
DECLARE
	before jsonb[];
	after jsonb[];
	change record;
	may text[];
	own int;
	seen boolean;
BEGIN
	verdict := ''; tested := 0; bear_on_all := 0; edges := 0; shown := 0;
	PERFORM set_config('search_path', 'base', true);
	CREATE TEMPORARY TABLE IF NOT EXISTS edge (target text, col text, tab text, source text) ON COMMIT DELETE ROWS;
	TRUNCATE edge;
	INSERT INTO edge SELECT l.target::text, l."column", c.relname, l.source_column FROM walhouse.column_lineage(query) l JOIN pg_class c ON c.oid = l.source
		WHERE l.source_column IS NOT NULL AND (l.target IS NOT NULL) = writes;
	before := prove.rows(query, writes, 'base');
	FOR change IN SELECT DISTINCT m[1] AS tab, m[2] AS col FROM pg_namespace, LATERAL regexp_match(nspname, '^p1_([a-z]+)_([a-z]+)$') m WHERE m IS NOT NULL ORDER BY 1, 2 LOOP
		IF EXISTS (SELECT FROM edge WHERE tab = change.tab AND source = change.col AND col IS NULL) THEN
			bear_on_all := bear_on_all + 1;
			CONTINUE;
		END IF;
		may := ARRAY(SELECT DISTINCT col FROM edge WHERE tab = change.tab AND source = change.col);
		own := cardinality(may);
		edges := edges + own;
		-- The column that was changed is another, anyway, and so is what is generated from it.
		IF writes AND change.tab = 'o' THEN
			may := may || change.col || ARRAY['g'];
		END IF;
		seen := false;
		FOR variant IN 1 .. 2 LOOP
			after := prove.rows(query, writes, format('p%s_%s_%s', variant, change.tab, change.col));
			tested := tested + 1;
			IF prove.digest(before, may) <> prove.digest(after, may) THEN
				verdict := verdict || format(' %s.%s (%s) changes more than {%s};', change.tab, change.col, variant, array_to_string(may, ','));
			END IF;
			seen := seen OR prove.digest(before, '{}') <> prove.digest(after, '{}');
		END LOOP;
		shown := shown + CASE WHEN seen THEN own ELSE 0 END;
	END LOOP;
EXCEPTION WHEN feature_not_supported OR query_canceled THEN
	-- FULL JOIN along what the planner finds to be constants; too many rows.
	verdict := 'skipped: ' || SQLERRM;
WHEN OTHERS THEN
	verdict := SQLERRM;
END $$;
GRANT USAGE ON SCHEMA prove TO reader;
SQL

system('make -s with_llvm=no build/origins >&2') == 0 or BAIL_OUT('build/origins cannot be built');

my $queries = LineageQueries->new(seed => $seed);
my %total;
my $done = 0;
while ($done < $count)
{
	my $script = "SET client_min_messages = warning;\nSET ROLE reader;\nSET statement_timeout = '20s';\n";
	my @texts;
	for (1 .. 25)
	{
		my $writes = $done % 5 == 4;
		my $text = $writes ? $queries->statement : $queries->query;
		push @texts, $text;
		$script .= sprintf("SELECT concat_ws('|', tested, bear_on_all, edges, shown, verdict) FROM prove.try(\$query\$%s\$query\$, %s);\n", $text, $writes ? 'true' : 'false');
		last if ++$done >= $count;
	}
	my ($status, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0, timeout => 600);
	my @lines = split /\n/, $out;
	# Of what is written and returned the parser names the table, lineage what was written.
	check_origins(grep { !/^(INSERT|UPDATE|DELETE|MERGE)|RETURNING/ } @texts);
	is(scalar(@lines), scalar(@texts), "all were tried up to $done") or diag($err);
	for my $n (0 .. $#texts)
	{
		my ($tested, $all, $edges, $shown, $verdict) = split /\|/, $lines[$n] // '0|0|0|0|no answer', 5;
		$total{tested} += $tested;
		$total{'bear on all'} += $all;
		$total{edges} += $edges;
		$total{shown} += $shown;
		$total{queries}++;
		$total{skipped}++ if $verdict =~ /^skipped/;
		next if $verdict eq '' || $verdict =~ /^skipped/;
		fail("seed $seed: $verdict");
		diag($texts[$n]);
	}
}
note("$_: $total{$_}") for sort keys %total;
note(sprintf('%.0f %% of the edges were shown by a change', 100 * $total{shown} / ($total{edges} || 1)));
diag(sprintf('%d queries and statements, %d changes tried, %d columns bear on all, %d skipped; %d edges, of which %d were shown by a change',
	map { $total{$_} // 0 } 'queries', 'tested', 'bear on all', 'skipped', 'edges', 'shown')) if $count > 200;
cmp_ok($total{origins}, '>', $count / 10, "the parser's word was compared");
cmp_ok($total{skipped} // 0, '<', $count / 20, 'few are skipped');
cmp_ok($total{tested}, '>', $count * 5, 'changes were tried');
my $seen = $queries->seen;
for my $what ($count < 1000 ? () : ('plain', 'group', 'sets', 'window', 'distinct', 'on', 'limit', 'srf', 'UNION', 'UNION ALL', 'INTERSECT', 'EXCEPT', 'FULL JOIN', 'LEFT JOIN', 'USING',
	'subquery in an expression', 'subquery in a condition', 'refers outwards', (map { "from $_" } qw(table view subquery lateral function values cte whole)),
	(map { "cte $_" } qw(plain recursive modifying)), (map { "statement $_" } qw(insert conflict update from merge delete columns))))
{
	cmp_ok($seen->{$what} // 0, '>', 0, "there was: $what");
}
$node->stop('fast');
done_testing();

# check_origins QUERY...: views are kept, as the parser does.
sub check_origins
{
	my @texts = @_;
	my $file = $dir . '/queries';
	append_to_file($file, join('', map { "$_\0" } @texts));
	my $connection = sprintf("host=%s port=%s dbname=postgres options='-c search_path=base'", $node->host, $node->port);
	my @said = split /\n/, qx(build/origins "$connection" < $file);
	unlink $file;
	is(scalar(@said), scalar(@texts), 'the parser has spoken');
	my $script = "SET search_path = base;\n";
	for my $text (@texts)
	{
		$script .= "SELECT coalesce(string_agg(source::oid || ':' || attnum || '>' || position, ' '), '') FROM walhouse.column_lineage(\$query\$$text\$query\$, false) JOIN pg_attribute ON attrelid = source AND attname = source_column WHERE subtype = 'IDENTITY' AND target IS NULL;\n";
	}
	my @found = split /\n/, $node->safe_psql('postgres', $script), -1;
	for my $n (0 .. $#texts)
	{
		my $position = 0;
		for my $origin (split / /, $said[$n])
		{
			$position++;
			next if $origin =~ /^0:/;
			$total{origins}++;
			fail("seed $seed: column $position comes from $origin as it is") || diag("$texts[$n]\n$found[$n]") if " $found[$n] " !~ / \Q$origin>$position\E /;
		}
	}
	return;
}
