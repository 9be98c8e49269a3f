# Sets go from pg_partman to walhouse and back with their settings, in one transaction each, and no row is lost: with pg_partman itself
# where it is installed, and with its table of sets as version 5 has it.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\ntimezone = 'Europe/Berlin'\n");
my $has_partman = value($house, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_partman' AND default_version LIKE '4.%'});

sql($house, q{CREATE ROLE keeper; CREATE ROLE other; CREATE SCHEMA s AUTHORIZATION keeper; GRANT USAGE ON SCHEMA s TO other; CREATE SCHEMA old AUTHORIZATION keeper});
sub settings { return q{SELECT concat_ws(' ', every, key, zone, origin, lead_count, outside, retire_after, retire, retire_schema, overflow::text, enabled) FROM walhouse.partition_set WHERE parent = '} . $_[0] . q{'::regclass} }
sub fails { my ($statement, $pattern, $what) = @_; my ($status, $out, $err) = $house->psql('postgres', $statement); like($err, $pattern, $what); return }
sub partitions { return "SELECT count(*) FROM pg_inherits WHERE inhparent = '$_[0]'::regclass" }

SKIP:
{
	skip 'pg_partman 4 is not installed', 1 unless $has_partman;
	sql($house, q{
		CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
		GRANT USAGE ON SCHEMA partman TO keeper; GRANT SELECT ON partman.part_config, partman.part_config_sub TO keeper;
		GRANT CREATE ON SCHEMA partman TO keeper; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA partman TO keeper;
		SET ROLE keeper;
		CREATE TABLE s.event (id bigint, at timestamptz NOT NULL, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		CREATE TABLE s.number (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE s.week (at date NOT NULL) PARTITION BY RANGE (at);
		RESET ROLE;
		SELECT partman.create_parent('s.event', 'at', 'native', 'daily', p_premake => 3);
		SELECT partman.create_parent('s.number', 'id', 'native', '1000', p_premake => 2);
		SELECT partman.create_parent('s.week', 'at', 'native', 'weekly', p_premake => 2);
		UPDATE partman.part_config SET retention = '30 days', retention_keep_table = false, infinite_time_partitions = true WHERE parent_table = 's.event';
		UPDATE partman.part_config SET retention = '5000', retention_schema = 'old', automatic_maintenance = 'off' WHERE parent_table = 's.number';
		DO $$ DECLARE r regclass; BEGIN FOR r IN SELECT inhrelid FROM pg_inherits WHERE inhparent = ANY ('{s.event, s.number, s.week}'::regclass[]) LOOP EXECUTE format('ALTER TABLE %s OWNER TO keeper', r); END LOOP; END $$;
		INSERT INTO s.event SELECT i, now() + i * interval '1 hour', 'v' FROM generate_series(-24, 24) i;
		INSERT INTO s.event VALUES (100, now() - interval '10 days', 'in the default'), (101, now() - interval '60 days', 'too old');
		INSERT INTO s.number SELECT * FROM generate_series(1, 2500);
	});
	my $rows = value($house, 'SELECT count(*) FROM s.event');

	fails(q{SET ROLE other; SELECT walhouse.adopt('s.event')}, qr/must be owner|owner/, 'not by others');
	fails(q{SET ROLE keeper; SELECT walhouse.adopt('s.event')}, qr/permission denied for table part_config/, 'nor with more rights on pg_partman\'s table than the caller has');
	is(value($house, q{SELECT count(*) FROM walhouse.partition_set} . ';'), '0', 'nothing is left of that');
	sql($house, q{GRANT DELETE, INSERT ON partman.part_config TO keeper});
	sql($house, q{BEGIN; SET ROLE keeper; SELECT walhouse.adopt('s.event'); ROLLBACK});
	is(value($house, q{SELECT (SELECT count(*) FROM partman.part_config WHERE parent_table = 's.event') || ' ' || (SELECT count(*) FROM pg_inherits WHERE inhparent = 's.event'::regclass AND inhrelid = 's.event_default'::regclass)}), '1 1', 'one transaction: rolled back, it is pg_partman\'s');

	sql($house, q{SET ROLE keeper; SELECT walhouse.adopt('s.event')});
	is(value($house, settings('s.event')), '1 day Europe/Berlin 3 overflow 30 days drop s.event_default t', 'settings come along; the default partition is the overflow table');
	is(value($house, q{SELECT count(*) FROM partman.part_config WHERE parent_table = 's.event'}), '0', 'pg_partman has it no more');
	is(value($house, 'SELECT (SELECT count(*) FROM s.event) + (SELECT count(*) FROM s.event_default)'), $rows, 'every row is there');
	my $made = value($house, partitions('s.event'));
	sql($house, q{SET ROLE keeper; CALL walhouse.drain_overflow('s.event')});
	is(value($house, q{SELECT (SELECT count(*) FROM s.event WHERE id = 100) || ' ' || (SELECT string_agg(id::text, ' ') FROM s.event_default)}), '1 101', 'what is within the set\'s horizon is moved; what retention is past stays aside');
	sql($house, q{SET ROLE keeper; CALL walhouse.maintain_partitions('s.event')});
	is(value($house, partitions('s.event')), $made + 1, 'its partitions are those of the grid: none is missing, none in the way');
	is(value($house, q{SELECT count(*) FROM walhouse.partition_step WHERE failures > 0}), '0', 'no step fails');

	sql($house, q{SET ROLE keeper; SELECT walhouse.adopt('s.number')});
	is(value($house, settings('s.number')), '1000 Europe/Berlin 2 reject 5000 move old f', 'numbers; an empty default partition is dropped; what was switched off stays so');
	is(value($house, q{SELECT to_regclass('s.number_default') IS NULL}), 't', 'it is gone');
	sql($house, q{SET ROLE keeper; SELECT walhouse.adopt('s.week')});
	is(value($house, settings('s.week')), '7 days Europe/Berlin 2 reject keep t', 'weeks');
	sql($house, q{SET ROLE keeper; CALL walhouse.maintain_partitions('s.week')});
	is(value($house, q{SELECT count(DISTINCT extract(isodow FROM from_value::date)) FROM walhouse.partitions WHERE parent = 's.week'::regclass}), '1', 'each begins on a Monday');

	# And back.
	fails(q{SET ROLE keeper; SELECT walhouse.release('s.week', 'pg_partman')}, qr/would not know partition "week_p\d\d\d\dw\d\d"/, 'names that pg_partman would not put in order are refused');
	fails(q{SET ROLE keeper; SELECT walhouse.release('s.event', 'pg_partman', 'pg_class')}, qr/column "parent_table" of relation "pg_class"|permission denied/, 'a table that is not pg_partman\'s');
	sql($house, q{SET ROLE keeper; SELECT walhouse.release('s.event', 'pg_partman')});
	is(value($house, q{SELECT concat_ws(' ', control, partition_type, partition_interval, premake, epoch, retention, retention_keep_table, infinite_time_partitions, datetime_string, automatic_maintenance) FROM partman.part_config WHERE parent_table = 's.event'}),
		'at native 1 days 3 none 30 days f t YYYY_MM_DD on', 'pg_partman has the settings');
	is(value($house, q{SELECT count(*) FROM walhouse.partition_set WHERE parent = 's.event'::regclass}), '0', 'walhouse has it no more');
	my $last = value($house, q{SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE inhparent = 's.event'::regclass ORDER BY relname DESC LIMIT 1});
	sql($house, "DROP TABLE $last");
	sql($house, q{SELECT partman.run_maintenance('s.event')});
	is(value($house, "SELECT to_regclass('$last') IS NOT NULL"), 't', 'pg_partman makes partitions of it again');
	sql($house, q{SET ROLE keeper; SELECT walhouse.release('s.number', 'pg_partman')});
	sql($house, q{INSERT INTO s.number SELECT 2501; SELECT partman.run_maintenance('s.number')});
	is(value($house, q{SELECT count(*) FROM partman.part_config WHERE parent_table = 's.number' AND datetime_string IS NULL AND partition_interval = '1000' AND retention_schema = 'old'}), '1', 'and of numbers');
}

# Version 5, by its table.
sql($house, q{
	CREATE SCHEMA p5 AUTHORIZATION keeper; SET ROLE keeper;
	CREATE TABLE p5.part_config (parent_table text PRIMARY KEY, control text NOT NULL, time_encoder text, time_decoder text, partition_interval text NOT NULL, partition_type text NOT NULL,
		premake int NOT NULL DEFAULT 4, automatic_maintenance text NOT NULL DEFAULT 'on', template_table text, retention text, retention_schema text, retention_keep_index boolean NOT NULL DEFAULT true,
		retention_keep_table boolean NOT NULL DEFAULT true, epoch text NOT NULL DEFAULT 'none', constraint_cols text[], optimize_constraint int NOT NULL DEFAULT 30, infinite_time_partitions boolean NOT NULL DEFAULT false,
		datetime_string text, jobmon boolean NOT NULL DEFAULT true, sub_partition_set_full boolean NOT NULL DEFAULT false, undo_in_progress boolean NOT NULL DEFAULT false, inherit_privileges boolean DEFAULT false,
		constraint_valid boolean DEFAULT true NOT NULL, ignore_default_data boolean NOT NULL DEFAULT true, date_trunc_interval text, maintenance_order int, retention_keep_publication boolean NOT NULL DEFAULT false,
		maintenance_last_run timestamptz, async_partitioning_in_progress text, default_table boolean NOT NULL DEFAULT true);
	CREATE TABLE p5.part_config_sub (sub_parent text PRIMARY KEY);
	CREATE TABLE s.click (at bigint NOT NULL, v text) PARTITION BY RANGE (at);
	CREATE TABLE s.click_p20260101_000500 PARTITION OF s.click FOR VALUES FROM (1767222300000) TO (1767225900000);
	CREATE TABLE s.click_default PARTITION OF s.click DEFAULT;
	CREATE TABLE s.template ();
	INSERT INTO p5.part_config (parent_table, control, partition_interval, partition_type, premake, epoch, retention, retention_keep_table, template_table, inherit_privileges, datetime_string)
		VALUES ('s.click', 'at', '01:00:00', 'range', 2, 'milliseconds', '2 days', true, 's.template', true, 'YYYYMMDD_HH24MISS');
});
fails(q{SELECT walhouse.adopt('s.click', config => 'p5.part_config_sub')}, qr/column c.parent_table does not exist/, 'another table is none of pg_partman');
fails(q{SELECT walhouse.adopt('s.template', config => 'p5.part_config')}, qr/pg_partman has no set of "template"/, 'a table that pg_partman does not have');
sql($house, q{UPDATE p5.part_config SET undo_in_progress = true});
fails(q{SELECT walhouse.adopt('s.click', config => 'p5.part_config')}, qr/cannot be adopted.*being undone/s, 'a set that is being undone');
sql($house, q{UPDATE p5.part_config SET undo_in_progress = false, async_partitioning_in_progress = 'x'});
fails(q{SELECT walhouse.adopt('s.click', config => 'p5.part_config')}, qr/being moved/, 'a set whose rows are being moved');
sql($house, q{UPDATE p5.part_config SET async_partitioning_in_progress = NULL; INSERT INTO p5.part_config_sub VALUES ('s.click')});
fails(q{SELECT walhouse.adopt('s.click', config => 'p5.part_config')}, qr/partitioned, too/, 'a set with sets below');
sql($house, q{DELETE FROM p5.part_config_sub});
my ($status, $out, $err) = $house->psql('postgres', q{SET ROLE keeper; SELECT walhouse.adopt('s.click', config => 'p5.part_config')});
like($err, qr/NOTICE:  a partition set has no inherit_privileges, template_table/, 'what is not taken over is said');
is(value($house, settings('s.click')), '01:00:00 epoch_ms Europe/Berlin 2026-01-01 00:05:00 2 reject 2 days keep t', 'a grid that begins five minutes past is found from the latest partition');
sql($house, q{SET ROLE keeper; CALL walhouse.maintain_partitions('s.click', '2026-01-01 00:30 Europe/Berlin')});
is(value($house, q{SELECT string_agg(from_value || '-' || to_value, ' ' ORDER BY from_value) FROM walhouse.partitions WHERE parent = 's.click'::regclass}),
	'1767222300000-1767225900000 1767225900000-1767229500000 1767229500000-1767233100000', 'and new partitions follow it');
fails(q{SET ROLE keeper; SELECT walhouse.release('s.click', 'pg_partman', 'p5.part_config')}, qr/would not know partition "click_p20260101_000500"/, 'back: it goes by names');
sql($house, q{SET ROLE keeper; ALTER TABLE s.click_p20260101_000500 RENAME TO click_p2025_12_31_2305; SELECT walhouse.release('s.click', 'pg_partman', 'p5.part_config')});
is(value($house, q{SELECT concat_ws(' ', control, partition_type, partition_interval::interval, premake, epoch, retention, retention_keep_table, default_table, datetime_string) FROM p5.part_config}),
	'at range 01:00:00 2 milliseconds 2 days t f YYYY_MM_DD_HH24MI', 'pg_partman 5 has it');

# To native PostgreSQL: nothing but tables is left.
sql($house, q{
	SET ROLE keeper;
	CREATE TABLE s.plain (at date NOT NULL) PARTITION BY RANGE (at);
	SELECT walhouse.create_partition_set('s.plain', 'day', lead_count => 2, outside => 'overflow');
	CALL walhouse.maintain_partitions('s.plain');
	SELECT walhouse.release('s.plain');
});
is(value($house, partitions('s.plain')), '3', 'native: the partitions stay');
is(value($house, q{SELECT to_regclass('s.plain_overflow') IS NULL AND NOT EXISTS (SELECT FROM walhouse.partition_set WHERE parent = 's.plain'::regclass)
	AND NOT EXISTS (SELECT FROM walhouse.partition p WHERE NOT EXISTS (SELECT FROM walhouse.partition_set s WHERE s.set_id = p.set_id))
	AND NOT EXISTS (SELECT FROM walhouse.partition_step p WHERE NOT EXISTS (SELECT FROM walhouse.partition_set s WHERE s.set_id = p.set_id))}), 't', 'and nothing else');
sql($house, q{SET ROLE keeper; SELECT walhouse.create_partition_set('s.plain', 'day', lead_count => 2, retire_after => '1 day', horizon => '1 year'); CALL walhouse.maintain_partitions('s.plain')});
sql($house, q{UPDATE walhouse.partition SET state = 'detaching' WHERE relid = (SELECT min(relid::oid) FROM walhouse.partition JOIN walhouse.partition_set USING (set_id) WHERE parent = 's.plain'::regclass)});
fails(q{SET ROLE keeper; SELECT walhouse.release('s.plain')}, qr/is being detached/, 'not while a partition is being detached');
fails(q{SET ROLE other; SELECT walhouse.release('s.plain')}, qr/owner/, 'not by others');
fails(q{SET ROLE keeper; SELECT walhouse.release('s.plain', 'elsewhere')}, qr/cannot be released to "elsewhere"/, 'nor to elsewhere');

$house->stop;
done_testing();
