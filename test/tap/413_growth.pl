# Files of mirrors and logs that grow are made longer ahead of need: by no more than an eighth and a megabyte, and small tables not at all. The
# empty pages are taken by what comes next; a crash, also one after which the file is as short as its rows while the free
# space map knows of more, costs nothing; amcheck finds heaps and indexes whole.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

# A VACUUM of somebody else's would cut off what is in reserve.
my ($source, $house) = source_and_house(house => { conf => "autovacuum = off\n" });
my ($status) = $house->psql('postgres', 'CREATE EXTENSION amcheck');
plan(skip_all => 'amcheck is not installed') if $status != 0;
sql($source, q{
	CREATE TABLE public.large (id bigint PRIMARY KEY, v int, w text);
	CREATE TABLE public.small (id bigint PRIMARY KEY, v int, w text);
	CREATE PUBLICATION p FOR ALL TABLES;
});
sql($house, 'CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s;');
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});

sub ingest { sql($house, q{CALL walhouse.ingest('f')}); return }
sub pages { return sql($house, "SELECT pg_relation_size('$_[0]') / current_setting('block_size')::int") }
# reserve TABLE: pages behind the last one that has a row.
sub reserve { return pages($_[0]) - 1 - sql($house, "SELECT max((ctid::text::point)[0]) FROM $_[0]") }
sub whole
{
	my ($name) = @_;
	for my $table (qw(large small))
	{
		my $rows = "SELECT count(*), sum(id), sum(v), md5(string_agg(w, '' ORDER BY id)) FROM";
		is(sql($house, "$rows f.$table"), sql($source, "$rows public.$table"), "$name: the rows of $table");
	}
	is(sql($house, q{SELECT count(bt_index_parent_check(i.indexrelid, true, true)) >= 4
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		WHERE c.relnamespace IN ('f'::regnamespace, 'f_log'::regnamespace) AND a.amname = 'btree' AND c.relkind = 'i'}), 't', "$name: indexes are whole");
	is(sql($house, q{SELECT count(*) FROM pg_class c, verify_heapam(c.oid)
		WHERE c.relnamespace IN ('f'::regnamespace, 'f_log'::regnamespace) AND c.relkind = 'r'}), '0', "$name: heaps are whole");
	return;
}
my $next = 0;
# insert N: N transactions of 1,000 rows.
sub insert
{
	for (1 .. $_[0])
	{
		sql($source, "INSERT INTO public.large SELECT g, g, repeat('w', 50) FROM generate_series($next, $next + 999) g");
		$next += 1000;
	}
	return;
}

insert(20);
sql($source, q{INSERT INTO public.small SELECT g, g, repeat('w', 50) FROM generate_series(1, 60) g});
ingest();
my $log = sql($house, q{SELECT tableoid::regclass FROM f_log.large LIMIT 1});
for my $table ('f.large', $log)
{
	my ($reserve, $pages) = (reserve($table), pages($table));
	cmp_ok($reserve, '>', 0, "$table: there is a reserve");
	cmp_ok($reserve, '<=', $pages / 8 + 1, 'of an eighth');
	cmp_ok($reserve, '<=', 128, 'and of a megabyte');
}
is(reserve('f.small'), '0', 'a small table has none');
whole('inserted');

# What is in reserve is used before the file grows again.
my ($pages, $reserve) = (pages('f.large'), reserve('f.large'));
sql($source, "INSERT INTO public.large SELECT g, g, repeat('w', 50) FROM generate_series($next, $next + 199) g");
$next += 1000;
ingest();
is(pages('f.large'), $pages, 'a few more rows leave the file as it is');
cmp_ok(reserve('f.large'), '<', $reserve, 'since they take of the reserve');

for my $turn (1, 2)
{
	sql($source, "UPDATE public.large SET v = v + 1 WHERE id BETWEEN $_ * 1000 AND $_ * 1000 + 999") for 0 .. $next / 1000;
	ingest();
}
whole('updated');

# A crash of the process, then one of a host that forgot how long the file was.
insert(4);
ingest();
kill9($house);
$house->start;
whole('after a crash');
insert(10);
ingest();
# Rows may just have used up what there was.
for (1 .. 20)
{
	last if reserve('f.large') > 0;
	insert(1);
	ingest();
}
sql($house, 'CHECKPOINT');
my ($path, $kept) = (sql($house, q{SELECT pg_relation_filepath('f.large')}), pages('f.large') - reserve('f.large'));
cmp_ok($kept, '<', pages('f.large'), 'there is something to forget');
kill9($house);
truncate($house->data_dir . "/$path", $kept * 8192) or die "truncate: $!";
$house->start;
whole('after a crash that cut off the reserve');
insert(10);
sql($source, 'UPDATE public.large SET v = v + 1 WHERE id < 3000');
ingest();
whole('and it goes on');

done_testing();
