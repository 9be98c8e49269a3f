# kill -9 of a worker restarts the server's processes, and everything comes back by itself; databases can be dropped.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my $node = one_server();
my $running = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'};

sql($node, 'CREATE DATABASE oltp');
sql($node, 'CREATE TABLE public.items (id int PRIMARY KEY, v text)', 'oltp');
sql($node, 'CREATE PUBLICATION items FOR TABLE public.items', 'oltp');
for my $house ('postgres', 'dw2')
{
	sql($node, "CREATE DATABASE $house") unless $house eq 'postgres';
	sql($node, 'CREATE EXTENSION walhouse', $house) unless $house eq 'postgres';
	sql($node, 'CREATE SERVER oltp FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($node, 'oltp') . ')', $house);
	sql($node, 'CREATE USER MAPPING FOR CURRENT_USER SERVER oltp', $house);
	sql($node, qq{CALL walhouse.create_feed('shop', server => 'oltp', publication => 'items', slot => 'slot_$house')}, $house);
	sql($node, q{SELECT walhouse.start('shop')}, $house);
}
ok(poll($node, 'postgres', $running, '2'), 'two databases, two workers');

for my $i (1 .. 3)
{
	my $victim = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker' ORDER BY random() LIMIT 1});
	kill9($node, $victim);
	ok(poll($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $victim"), "kill -9, round $i");
	ok(poll($node, 'postgres', $running, '2'), 'both workers come back');
	sql($node, "INSERT INTO public.items SELECT $i * 1000 + n, 'row ' || n FROM generate_series(1, 500) n", 'oltp');
	for my $house ('postgres', 'dw2')
	{
		my $lsn = sql($node, 'SELECT pg_current_wal_lsn()');
		is(sql($node, "SELECT walhouse.wait_for('shop', '$lsn', '60 s')", $house), 't', "$house goes on");
		is(sql($node, 'SELECT count(*), count(DISTINCT id) FROM shop.items', $house), ($i * 500) . '|' . ($i * 500),
			'nothing is lost, nothing is there twice');
	}
}

# databases
my ($status, $out, $err) = $node->psql('postgres', 'DROP DATABASE dw2');
isnt($status, 0, 'a database with a running feed is not dropped by accident');
sql($node, 'DROP DATABASE dw2 WITH (FORCE)');
ok(poll($node, 'postgres', $running, '1'), 'DROP DATABASE … WITH (FORCE) ends its worker');
sql($node, q{SELECT pg_drop_replication_slot('slot_dw2')});
sql($node, 'CREATE DATABASE dw3');
sql($node, 'CREATE EXTENSION walhouse', 'dw3');
sql($node, 'CREATE SERVER oltp FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($node, 'oltp') . ')', 'dw3');
sql($node, 'CREATE USER MAPPING FOR CURRENT_USER SERVER oltp', 'dw3');
sql($node, q{CALL walhouse.create_feed('shop', server => 'oltp', publication => 'items', slot => 'slot_dw3')}, 'dw3');
sql($node, q{SELECT walhouse.start('shop')}, 'dw3');
ok(poll($node, 'postgres', $running, '2'), 'a third database');
sql($node, q{SELECT walhouse.stop('shop')}, 'dw3');
ok(poll($node, 'postgres', $running, '1'), 'is stopped');
sql($node, 'DROP DATABASE dw3');
pass('and dropped, as any other');
sql($node, q{SELECT pg_drop_replication_slot('slot_dw3')});

# the server's own crash
kill9($node);
$node->start;
ok(poll($node, 'postgres', $running, '1'), 'after a crash of the server the feed comes back');
sql($node, q{DELETE FROM public.items}, 'oltp');
my $lsn = sql($node, 'SELECT pg_current_wal_lsn()');
is(sql($node, "SELECT walhouse.wait_for('shop', '$lsn', '60 s')"), 't', 'and goes on');
is(sql($node, 'SELECT count(*) FROM shop.items'), '0', 'with what was deleted since');

$node->stop;
done_testing();
