# From 17 on, a slot of walhouse_output with failover is there on the standby, too: after promotion a reader goes on at its position.
use strict;
use warnings;
use WalhouseTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = new_server('primary', conf => "shared_preload_libraries = ''\n");
if (sql($primary, 'SHOW server_version_num') < 170000)
{
	$primary->stop;
	plan skip_all => 'slots fail over from 17 on';
}

# ids NODE: the ids of the inserts that are read, and with that confirmed.
sub ids
{
	my ($node) = @_;
	return sql($node, q{
		SELECT string_agg(data::json -> 'after' ->> 'id', ' ' ORDER BY ordinality)
		FROM pg_logical_slot_get_changes('shop', NULL, NULL, 'format', 'json') WITH ORDINALITY
		WHERE data::json ->> 'kind' = 'insert'});
}

sql($primary, q{
	CREATE TABLE t (id integer PRIMARY KEY);
	SELECT pg_create_physical_replication_slot('standby')});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nprimary_slot_name = 'standby'\nprimary_conninfo = '"
	. $primary->connstr . " dbname=postgres'\n");
$standby->start;
command_ok(['walhouse_recv', '-d', $primary->connstr('postgres'), '--slot', 'shop', '--create-slot', '--failover'],
	'walhouse_recv makes a slot that fails over');
is(sql($primary, q{SELECT failover FROM pg_replication_slots WHERE slot_name = 'shop'}), 't', 'the slot has failover');

sql($primary, 'INSERT INTO t VALUES (1), (2)');
is(ids($primary), '1 2', 'it is read at the primary');
# The standby's copy holds once the primary's slot has moved past where the standby can begin.
my $is_there = wait_until(sub {
	sql($primary, 'SELECT pg_log_standby_snapshot()');
	sql($primary, q{SELECT count(*) FROM pg_logical_slot_get_binary_changes('shop', NULL, NULL)});
	$primary->wait_for_replay_catchup($standby);
	sql($standby, 'SELECT pg_sync_replication_slots()');
	return sql($standby, q{SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'shop' AND synced AND NOT temporary}) eq '1';
});
ok($is_there, 'the slot is synchronized');
sql($primary, 'INSERT INTO t VALUES (3), (4)');
$primary->wait_for_replay_catchup($standby);
$primary->stop('immediate');
$standby->promote;
sql($standby, 'INSERT INTO t VALUES (5)');
is(ids($standby), '3 4 5', 'after promotion, decoding goes on with what was not confirmed');
$standby->stop;
done_testing();
