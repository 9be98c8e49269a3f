# What lies between a horizon that moves and one that comes back: a fact that is built again before its retired partition has gone, ranges
# with none between them, an alteration that is under way.
use strict;
use warnings;
use FindBin;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\n");
my $folder = $house->basedir . '/archive';
mkdir $folder or die "$folder: $!";
sql($house, "ALTER SYSTEM SET walhouse.archive_directory = '$folder'");
sql($house, 'SELECT pg_reload_conf()');
open my $file, '<', "$FindBin::Bin/../lib/handfeed.sql" or die "handfeed.sql: $!";
sql($house, join('', <$file>));
# A sale each nine days, but in February.
sql($house, q{
	SELECT handfeed.make('shop', 'UTC');
	CREATE TABLE shop.sales (id int PRIMARY KEY, at timestamptz, amount int, note text);
	SELECT handfeed.add('shop', 'shop.sales');
	INSERT INTO shop.sales SELECT i, '2100-01-10'::timestamptz + i * interval '9 days', i, 'n' FROM generate_series(0, 11) i WHERE i NOT IN (3, 4, 5);
	SELECT handfeed.commit('shop', '2100-04-25 12:00+00'); SELECT handfeed.reach('shop');
	CREATE SCHEMA dw;
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, at, amount FROM shop.sales', '{id}', 'at');
	SELECT walhouse.create_rollup('dw.monthly', 'dw.sale', '{}', '{"n": "count(*)", "amount": "sum(amount)"}', bucket => 'month')});
sql($house, "CALL walhouse.build('$_')") for qw(dw.sale dw.monthly);
sql($house, q{SELECT walhouse.create_partition_set('dw.sale', 'month', lead_count => 0, retire_after => '10 days', archive => true)});

sub horizon { return value($house, q{SELECT retired_to FROM walhouse.stat_model WHERE model = 'dw.sale'::regclass}) }
sub maintain { return sql($house, "CALL walhouse.maintain_partitions('dw.sale', '$_[0]')") }
sub commit { sql($house, "$_[0]; SELECT handfeed.commit('shop', '2100-04-26'); SELECT handfeed.reach('shop')"); return sql($house, q{CALL walhouse.load('shop')}) }

# Built again while somebody keeps the partition from going.
my $reader = $house->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.sales');
maintain('2100-02-15');
is(horizon(), '2100-02-01 00:00:00+00', 'the horizon has moved');
sql($house, "CALL walhouse.build('$_')") for qw(dw.sale dw.monthly);
is(value($house, q{SELECT count(*) FILTER (WHERE at < '2100-02-01') || ' ' || count(*) FROM dw.sale}), '3 9', 'a build leaves what is retired');
$reader->query_safe('COMMIT');
$reader->quit;
maintain('2100-02-15');
is(value($house, 'SELECT partition, rows FROM walhouse.partition_archives'), 'dw.sale_p2100_01|3', 'and so it is archived');
verify_clean($house, 'built again', qw(dw.sale dw.monthly));

# February has no partition, and no archive. What came late to it is there, too, when January is back.
maintain('2100-04-15');
is(horizon(), '2100-04-01 00:00:00+00', 'January and March are retired');
commit(q{INSERT INTO shop.sales VALUES (100, '2100-02-20', 100, 'late'), (101, '2100-03-20', 1000, 'late')});
is(value($house, 'SELECT sum(n) FROM dw.monthly'), '9', 'what came late is passed over');
fails_with($house, 'not over March', q{CALL walhouse.restore_partition('dw.sale', '2100-01-10')}, qr/does not reach to where/);
sql($house, q{CALL walhouse.restore_partition('dw.sale', '2100-03-10')});
is(horizon(), '2100-03-01 00:00:00+00', 'March is back');
verify_clean($house, 'with March', qw(dw.sale dw.monthly));
sql($house, q{CALL walhouse.restore_partition('dw.sale', '2100-01-10')});
is(horizon(), '2100-01-01 00:00:00+00', 'and January, over nothing');
is(value($house, q{SELECT sum(n) || ' ' || (SELECT count(*) FROM dw.sale) || ' ' || (SELECT count(*) FROM dw.monthly_retired) FROM dw.monthly}), '11 11 0', 'with what came late');
verify_clean($house, 'with January', qw(dw.sale dw.monthly));

# What takes the place of a fact lacks what came back meanwhile, and is built again before.
sql($house, q{SELECT walhouse.unhold_partition(partition) FROM walhouse.partitions WHERE parent = 'dw.sale'::regclass AND hold IS NOT NULL});
sql($house, q{SELECT walhouse.drop_model('dw.monthly')});
maintain('2100-02-15');
sql($house, q{SELECT walhouse.alter_fact('dw.sale', query => 'SELECT id, at, amount, note FROM shop.sales')});
sql($house, q{CALL walhouse.restore_partition('dw.sale', '2100-01-10')});
sql($house, q{CALL walhouse.build('dw.sale__next')});
commit(q{DELETE FROM shop.sales WHERE id = 0});
is(value($house, q{SELECT state FROM walhouse.stat_model WHERE model = 'dw.sale__next'::regclass}), 'rebuild', 'the altered fact is to be built again');
verify_clean($house, 'while the other goes on', qw(dw.sale));
sql($house, q{CALL walhouse.build('dw.sale__next')});
commit(q{DELETE FROM shop.sales WHERE id = 1});
is(value($house, q{SELECT count(*) || ' ' || count(note) FROM dw.sale}), '9 9', 'then it takes its place');
is(horizon(), '2100-01-01 00:00:00+00', 'with its horizon');
verify_clean($house, 'altered', qw(dw.sale));

$house->stop;
done_testing();
