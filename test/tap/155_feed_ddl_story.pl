# DDL in random order under a write load, with kill -9 of warehouse and source in between. At the end every mirror that is not held has
# its source's rows, column by column, the models are verified, and walhouse.schema_changes has each change, in order, at the LSN of its
# own transaction. SEED=4711 plays one again; STEPS=200 makes it longer.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1_000_000));
my $steps = $ENV{STEPS} // 40;
srand($seed);
note("SEED=$seed STEPS=$steps");

my ($source, $house) = source_and_house(source => { conf => "logical_decoding_work_mem = '64kB'\nsynchronous_commit = on\nfsync = on\n" },
	house => { conf => "fsync = on\n" });
my @tables = map { { table => "t$_", name => "t$_", columns => [], next => 0 } } 1 .. 4;
for my $t (@tables)
{
	sql($source, qq{CREATE TABLE public.$t->{name} (id int PRIMARY KEY, v text, n int, amount numeric(10,2));
		INSERT INTO public.$t->{name} SELECT i, 'v' || i, i, i / 3.0 FROM generate_series(1, 30) i});
}
sql($source, 'CREATE PUBLICATION shop FOR ALL TABLES');
create_server($house, 'src', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'src', publication => 'shop'); CREATE SCHEMA dw});
sql($house, "SELECT walhouse.create_dimension('dw.$_->{table}', 'SELECT id, v FROM shop.$_->{table}', '{id}')") for @tables;
sql($house, q{SELECT walhouse.start('shop')});
ok(reach($house, 'shop', $source), "SEED=$seed: the star is built");

# The load: rows come, change and go in all tables, by a function that asks for nothing but the key and what every table keeps.
sql($source, q{CREATE TABLE public.clock (id int PRIMARY KEY, ticks bigint); INSERT INTO public.clock VALUES (1, 0)});
my $next = 1000;
my $count = 0;
my @expected; # table, kind, column, LSN before and after
for my $step (1 .. $steps)
{
	my $t = $tables[ int(rand(@tables)) ];
	write_some($_) for @tables;
	my ($sql, @said) = ddl($t);
	my $before = source_lsn($source);
	sql($source, $sql);
	push @expected, [ $t->{table}, $_, $before, source_lsn($source) ] for @said;
	write_some($t) if rand() < 0.5;
	if (rand() < 0.1)
	{
		kill9($house);
		$house->start;
	}
	elsif (rand() < 0.08)
	{
		kill9($source);
		$source->start;
	}
}
ok(poll($house, 'postgres', 'SELECT 1', '1'), 'the warehouse is there');
# Somebody has to wait: the position follows WAL without changes for the feed only now and then.
my $lsn = source_lsn($source);
my ($status, undef, $err) = $house->psql('postgres', "SELECT walhouse.wait_for('shop', '$lsn', '120 seconds')");
is($status, 0, 'all is in') or diag($err);

# -------- what was said --------
my @found = split /\n/, sql($house, q{SELECT t.mirror::regclass::text || ' ' || c.kind || COALESCE(' ' || c.column_name, '') || '|' || c.lsn
	FROM walhouse.schema_change c JOIN walhouse.feed_table t USING (feed_id, source_relid) ORDER BY c.lsn, c.change_id});
is(join("\n", map { s/^shop\.//r =~ s/\|.*//r } @found), join("\n", map { "$_->[0] $_->[1]" } @expected), 'each change is said, once, in order');
my $wrong = 0;
for my $i (0 .. $#expected)
{
	my $at = ($found[$i] // '|0/0') =~ s/.*\|//r;
	$wrong++ unless value($house, "SELECT '$at'::pg_lsn > '$expected[$i][2]' AND '$at'::pg_lsn <= '$expected[$i][3]'") eq 't';
}
is($wrong, 0, 'and at its own LSN');

# -------- what is there --------
is(value($house, q{SELECT count(*) FROM walhouse.feed_table WHERE state <> 'ready'}), '0', 'no table is held');
for my $t (@tables)
{
	my $columns = value($source, "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'public.$t->{name}'::regclass AND attnum > 0 AND NOT attisdropped");
	my $query = "SELECT count(*), md5(string_agg(row($columns)::text, ',' ORDER BY id)) FROM ";
	is(value($house, "$query shop.$t->{table}"), value($source, "$query public.$t->{name}"), "SEED=$seed: rows of $t->{table} by ($columns)");
}
ok(models_reach($house, 'shop'), 'the models are there');
verify_clean($house, "SEED=$seed", map { "dw.$_->{table}" } @tables);
sql($house, q{SELECT walhouse.stop('shop')});
$_->stop for $source, $house;
done_testing();

sub write_some
{
	my ($t) = @_;
	my $id = $next++;
	sql($source, qq{BEGIN; INSERT INTO public.$t->{name} (id) VALUES ($id); UPDATE public.$t->{name} SET id = id WHERE id % 5 = $count % 5;
		DELETE FROM public.$t->{name} WHERE id = $id - 40; COMMIT}) if rand() < 0.8;
	$count++;
	return;
}

# ddl TABLE: a statement at random, and what is to be said of it: "kind column".
sub ddl
{
	my ($t) = @_;
	my $name = "public.$t->{name}";
	my @own = @{ $t->{columns} };
	my $c = $own[ int(rand(@own)) ];
	my $kind = int(rand(10));
	if ($kind < 3 || !$c)
	{
		my $new = { name => 'c' . ++$t->{next}, type => 'int' };
		my $how = int(rand(4));
		push @{ $t->{columns} }, $new;
		return ("ALTER TABLE $name ADD $new->{name} int", "add column $new->{name}") if $how == 0;
		return ("ALTER TABLE $name ADD $new->{name} int DEFAULT 7", "add column $new->{name}") if $how == 1;
		if ($how == 2)
		{
			$new->{type} = 'generated';
			return ("ALTER TABLE $name ADD $new->{name} int GENERATED ALWAYS AS (id * 3) STORED", "add column $new->{name}", 'rewrite');
		}
		return ("ALTER TABLE $name ADD $new->{name} int DEFAULT (random() * 1000)::int", "add column $new->{name}", 'rewrite');
	}
	if ($kind == 3)
	{
		my $was = $c->{name};
		$c->{name} = 'r' . ++$t->{next};
		return ("ALTER TABLE $name RENAME $was TO $c->{name}", "rename column $c->{name}");
	}
	if ($kind == 4)
	{
		$t->{columns} = [ grep { $_ != $c } @own ];
		return ("ALTER TABLE $name DROP $c->{name}", "drop column $c->{name}");
	}
	if ($kind == 5)
	{
		# dropped, and another of its name
		my $type = $c->{type};
		$c->{type} = 'text';
		return ("BEGIN; ALTER TABLE $name DROP $c->{name}; UPDATE $name SET id = id WHERE id % 3 = 0; ALTER TABLE $name ADD $c->{name} text DEFAULT 'x'; COMMIT",
			"drop column $c->{name}", "add column $c->{name}");
	}
	if ($kind == 6 && $c->{type} eq 'int')
	{
		$c->{type} = 'bigint';
		return ("BEGIN; UPDATE $name SET $c->{name} = id WHERE id % 4 = 0; ALTER TABLE $name ALTER $c->{name} TYPE bigint USING $c->{name}::bigint * 10000000000; UPDATE $name SET $c->{name} = 5 WHERE id % 6 = 0; COMMIT",
			"alter type $c->{name}", 'rewrite');
	}
	if ($kind == 7)
	{
		return ("BEGIN; ALTER TABLE $name ADD gone int DEFAULT 4; UPDATE $name SET gone = id; SAVEPOINT s; ALTER TABLE $name ALTER n TYPE bigint; ROLLBACK TO s; ROLLBACK");
	}
	if ($kind == 8)
	{
		my $was = $t->{name};
		$t->{name} = $t->{table} . '_' . ++$t->{next};
		return ("ALTER TABLE $name RENAME TO $t->{name}", 'rename table');
	}
	return ("VACUUM FULL $name");
}
