# Partitions are split and merged while they are written: killed in each stage and chunk, given up, refused, and under a load of writes,
# with no row lost and none doubled.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseLoad;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\nlog_lock_waits = on\ndeadlock_timeout = 10ms\nlog_line_prefix = '%a %m '\n");

# A table of hard types, with toasted, generated, dropped columns and quoted names.
sql($house, q{
	CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE clerk; CREATE SCHEMA "S" AUTHORIZATION keeper; GRANT USAGE ON SCHEMA "S" TO reader, clerk;
	SET ROLE keeper;
	CREATE TYPE "S".mood AS ENUM ('sad', 'ok'); CREATE DOMAIN "S".short AS text CHECK (length(value) < 20); CREATE TYPE "S".pair AS (a int, "b c" text);
	CREATE TABLE "S"."Event ""log" (
		gone int, id bigint GENERATED ALWAYS AS IDENTITY, "The time" timestamptz NOT NULL DEFAULT now(), m "S".mood DEFAULT 'ok', d "S".short, p "S".pair, r tstzrange, j jsonb, n numeric, f float8, a text[][], b bytea, x xml,
		"Select" text COLLATE "C", tag text NOT NULL, twice numeric GENERATED ALWAYS AS (n * 2) STORED, big text, bits bit varying(9), c char(7), iv interval,
		CONSTRAINT "n check" CHECK (n > -100), PRIMARY KEY ("The time", tag, id), UNIQUE (id, "The time") DEFERRABLE);
	ALTER TABLE "S"."Event ""log" DROP COLUMN gone, ALTER COLUMN big SET STORAGE EXTERNAL;
	CREATE INDEX "j index" ON "S"."Event ""log" USING gin (j); CREATE INDEX ON "S"."Event ""log" (lower("Select")) WHERE n > 3;
	GRANT SELECT, INSERT, UPDATE, DELETE ON "S"."Event ""log" TO clerk;
	CREATE TABLE "S".seen (what text);
	CREATE FUNCTION "S".note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO "S".seen VALUES (TG_OP); RETURN coalesce(new, old); END $$;
	CREATE TRIGGER each_row BEFORE INSERT OR UPDATE OR DELETE ON "S"."Event ""log" FOR EACH ROW EXECUTE FUNCTION "S".note();
	CREATE POLICY p1 ON "S"."Event ""log" TO clerk USING (true); ALTER TABLE "S"."Event ""log" ENABLE ROW LEVEL SECURITY;
	INSERT INTO "S"."Event ""log" ("The time", m, d, p, r, j, n, f, a, b, x, "Select", tag, big, bits, c, iv)
		SELECT '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour', NULL, 'd' || i, ROW(i, NULL)::"S".pair, tstzrange('2026-01-01', NULL), jsonb_build_object('i', i), CASE i % 3 WHEN 0 THEN 'NaN'::numeric WHEN 1 THEN 1.0 ELSE 1.00 END, '-0'::float8,
			ARRAY[['a', NULL], ['', '"']], '\x00ff'::bytea, '<a/>'::xml, 'S' || i, CASE i % 4 WHEN 0 THEN '' WHEN 1 THEN '''"\\' WHEN 2 THEN E'new\nline' ELSE 'ä,{}' END,
			CASE WHEN i % 10 = 0 THEN (SELECT string_agg(md5((k + i)::text), '') FROM generate_series(1, 200) k) END, B'101', 'c', '1 mon -2 days' FROM generate_series(1, 500) i;
	CALL walhouse.convert_to_partitions('"S"."Event ""log"', 'The time', 'day', '{"lead_count": 0}');
});
my $table = q{"S"."Event ""log"};
my $rows = qq{SELECT count(*) || ' ' || md5(string_agg(e::text, '|' ORDER BY id)) FROM "S"."Event ""log" e};
my $split = q{SET ROLE keeper; CALL walhouse.split_partition('"S"."Event ""log_whole"', every => 'week', chunk => 200)};

# What can be seen of a table and its helpers; after giving up it is as before.
my $seen = q{SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = '"S"'::regnamespace
	UNION ALL SELECT string_agg(tgname || tgrelid::regclass, ',' ORDER BY tgname, tgrelid::regclass::text) FROM pg_trigger UNION ALL SELECT string_agg(concat_ws(' ', partition, state, hold), ',' ORDER BY from_value) FROM walhouse.partitions
	UNION ALL SELECT count(*)::text FROM walhouse.partition_rewrite};

# write WHO: one row new, one changed, one gone, one to another week; by somebody with no rights but on the table.
my $written = 0;
sub write_some
{
	$written++;
	sql($house, qq{SET ROLE clerk; INSERT INTO "S"."Event ""log" ("The time", n, tag) VALUES (timestamptz '2026-01-01 12:00+00' + $written * interval '1 day', $written, 'w');
		UPDATE "S"."Event ""log" SET n = 50 + $written, big = repeat('b', 5000) WHERE id = $written * 17; DELETE FROM "S"."Event ""log" WHERE id = $written * 19;
		UPDATE "S"."Event ""log" SET "The time" = "The time" + interval '9 days', tag = tag || '-' WHERE id = $written * 23;});
	return;
}

# Given up at each state.
my $before = sql($house, $seen);
for my $point ('split: capture', 'split: copy', 'split: copying', 'split: copied', 'split: apply', 'split: applying', 'split: swap', 'split: swapped')
{
	cut_off($house, $split, $point);
	my $content = sql($house, $rows);
	sql($house, q{SET ROLE keeper; CALL walhouse.cancel_rewrite('"S"."Event ""log"')});
	is(sql($house, $seen), $before, "given up after \"$point\": all is as before");
	is(sql($house, $rows), $content, 'with the same rows');
}

# Killed in each stage and chunk, written in between, and gone on with.
my $content = sql($house, $rows);
cut_off($house, $split, 'split: capture');
cut_off($house, $split, 'split: copying');
for my $chunk (1 .. 3)
{
	write_some();
	cut_off($house, $split, 'split: copied');
	is(value($house, q{SELECT copied FROM walhouse.partition_rewrite}) > 200 * ($chunk - 1), 1, 'chunk by chunk');
}
cut_off($house, $split, 'split: analyze');
write_some();
cut_off($house, $split, 'split: apply');
write_some();
cut_off($house, $split, 'split: applying');
write_some();
cut_off($house, $split, 'split: swap');
write_some();
cut_off($house, $split, 'split: swapped');
write_some();
cut_off($house, $split, 'split: dissolve');
write_some();
cut_off($house, $split, 'split: dissolving');
cut_off($house, $split, 'split: dissolved');
write_some();
isnt(sql($house, $rows), $content, 'meanwhile rows were written');
$content = sql($house, $rows);
cut_off($house, $split, 'split: clean');
is(sql($house, $rows), $content, 'no row is lost, none doubled, none changed');
my ($status, $out, $err) = $house->psql('postgres', q{SET ROLE keeper; CALL walhouse.cancel_rewrite('"S"."Event ""log"')});
like($err, qr/exchanged already/, 'after the swap nothing is given up');
sql($house, $split);
is(value($house, q{SELECT string_agg(from_value || ' ' || (SELECT count(*) FROM "S"."Event ""log" e WHERE e.tableoid = p.partition), ',' ORDER BY from_value = 'MINVALUE' DESC, from_value) FROM walhouse.partitions p WHERE to_value < '2026-02-03'}) =~
	/^MINVALUE 0,2025-12-29 00:00:00\+00 \d+,2026-01-05 00:00:00\+00 \d+,2026-01-12 00:00:00\+00 \d+,2026-01-19/, 1, 'there is a partition for each week, and one for what is before');
is(value($house, q{SELECT count(*) FROM "S"."Event ""log" WHERE tableoid <> (SELECT partition FROM walhouse.partitions WHERE "The time" >= nullif(from_value, 'MINVALUE')::timestamptz AND "The time" < to_value::timestamptz)}), '0', 'each row is in its partition');
is(sql($house, $rows), $content, 'and is what it was');
is(value($house, q{SELECT count(*) FROM pg_class c JOIN walhouse.partitions p ON p.partition = c.oid WHERE reltuples < 0}), '0', 'the planner knows them');
is(sql($house, q{SELECT partition, kind, detail FROM walhouse.partition_drift('"S"."Event ""log"')}), '', 'no partition differs from its table');
is(value($house, q{SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'walhouse%') + (SELECT count(*) FROM pg_constraint WHERE conname LIKE 'walhouse%') + (SELECT count(*) FROM pg_class WHERE relname ~ '_(queue|staging|whole)$') + (SELECT count(*) FROM walhouse.partition_rewrite)}), '0',
	'nothing of the work is left');
is(value($house, q{SELECT step || ' ' || (detail ~ '^1 to \d+, MINVALUE to ') FROM walhouse.partition_event WHERE step = 'split'}), 'split true', 'it is on record');
write_some();

# Merged: sealed ones, by range.
$content = sql($house, $rows);
my $merge = q{SET ROLE keeper; CALL walhouse.merge_partitions('"S"."Event ""log"', '2025-12-29', '2026-01-19', chunk => 100, pause => '1 ms')};
cut_off($house, $merge, $_) for 'split: capture', 'split: copied', 'split: copied', 'split: swapped';
sql($house, $merge);
is(sql($house, $rows), $content, 'merged: no row is lost, none doubled, none changed');
is(value($house, q{SELECT string_agg(p.partition::text || ' ' || to_value, ',') FROM walhouse.partitions p WHERE from_value = '2025-12-29 00:00:00+00'}), q{"S"."Event ""log_p2025_12_29_2" 2026-01-19 00:00:00+00}, 'three weeks are one partition');
fails_with($house, 'a merge keeps to the bounds', q{SET ROLE keeper; CALL walhouse.merge_partitions('"S"."Event ""log"', '2026-01-01', '2026-01-26')}, qr/reaches beyond what is merged/);

# Truncated and altered meanwhile.
sql($house, q{CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); SELECT walhouse.create_partition_set('t', '1000', lead_count => 0); CREATE TABLE t_p0 PARTITION OF t FOR VALUES FROM (0) TO (1000); INSERT INTO t SELECT i, 'v' FROM generate_series(0, 999) i; CALL walhouse.maintain_partitions('t')});
my $split_t = q{CALL walhouse.split_partition('t_p0', '100', chunk => 100)};
cut_off($house, $split_t, 'split: copied');
sql($house, q{TRUNCATE t; INSERT INTO t SELECT i, 'new' FROM generate_series(5, 994) i});
sql($house, $split_t);
is(value($house, q{SELECT count(*) || ' ' || min(v) || ' ' || count(DISTINCT tableoid) FROM t}), '990 new 10', 'what was truncated is not there again');
sql($house, q{CALL walhouse.merge_partitions('t', '0', '1000')});
is(value($house, q{SELECT count(*) || ' ' || min(v) || ' ' || count(DISTINCT tableoid) FROM t}), '990 new 1', 'merged again');
my $whole = value($house, q{SELECT partition FROM walhouse.partitions WHERE parent = 't'::regclass});
cut_off($house, "CALL walhouse.split_partition('$whole', '100')", 'split: apply');
fails_with($house, 'one change of a table at a time', q{CALL walhouse.merge_partitions('t', '0', '1000')}, qr/are being changed already.*split/s);
sql($house, q{ALTER TABLE t ADD COLUMN w int});
fails_with($house, 'a table that was altered is not exchanged', "CALL walhouse.split_partition('$whole')", qr/was altered meanwhile/);
sql($house, q{CALL walhouse.cancel_rewrite('t'); UPDATE t SET w = 1});
# Given to somebody else meanwhile, alone or with its partition, who cannot write then: it can be given up by the new owner, and that killed.
my $left = q{SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind IN ('r', 'p') AND relname ~ '^t_' UNION ALL SELECT count(*)::text FROM walhouse.partition_rewrite UNION ALL SELECT count(*)::text FROM pg_trigger WHERE tgname LIKE 'walhouse%'};
my $was = sql($house, $left);
for my $given ('ALTER TABLE t OWNER TO reader', "ALTER TABLE t OWNER TO keeper; ALTER TABLE $whole OWNER TO keeper")
{
	cut_off($house, "CALL walhouse.split_partition('$whole', '100')", 'split: apply');
	sql($house, "GRANT CREATE ON SCHEMA public TO reader, keeper; $given");
	fails_with($house, 'a table that was given away is not exchanged', "CALL walhouse.split_partition('$whole')", qr/was altered meanwhile/);
	cut_off($house, q{CALL walhouse.cancel_rewrite('t')}, 'split: cancelling');
	my $heir = $given =~ /(\w+)$/ ? $1 : die;
	sql($house, "SET ROLE $heir; CALL walhouse.cancel_rewrite('t')");
	is(sql($house, $left), $was, "given to $heir: nothing of the work is left");
	sql($house, "SET ROLE $heir; UPDATE t SET w = 1 WHERE id = 300");
	sql($house, "RESET ROLE; ALTER TABLE t OWNER TO CURRENT_USER; ALTER TABLE $whole OWNER TO CURRENT_USER; REVOKE CREATE ON SCHEMA public FROM reader, keeper");
}
# What is written just before the lock, after all else was looked at: a row new, one changed, one gone, one with another key.
stand_beside($house, "CALL walhouse.split_partition('$whole', '250')", 'split: locking', sub
{
	sql($house, q{INSERT INTO t VALUES (0, 'late', 2); UPDATE t SET w = 3 WHERE id = 300; DELETE FROM t WHERE id = 600; UPDATE t SET id = 999 WHERE id = 5;
		BEGIN; UPDATE t SET w = 4 WHERE id = 301; ROLLBACK});
});
is(value($house, q{SELECT count(*) || ' ' || sum(w) || ' ' || count(DISTINCT tableoid) || ' ' || string_agg(id::text, ',' ORDER BY id) FILTER (WHERE id IN (0, 5, 600, 999)) FROM t}), '990 993 4 0,999', 'from the beginning it is, with what was written last');

# Many come a few at a time: by groups that the set holds, of groups again.
sql($house, q{CREATE TABLE many (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	SELECT walhouse.create_partition_set('many', '1000', lead_count => 0, retire_after => '100'); CREATE TABLE many_p0 PARTITION OF many FOR VALUES FROM (0) TO (1000); INSERT INTO many SELECT i, 'v' FROM generate_series(0, 999) i; CALL walhouse.maintain_partitions('many')});
my $split_many = q{CALL walhouse.split_partition('many_p0', '10')};
cut_off($house, $split_many, 'split: dissolve');
my $partitions = q{SELECT count(*) || ' ' || (SELECT count(*) FROM walhouse.partitions WHERE parent = 'many'::regclass AND hold = 'split' AND partition <> to_regclass('many_p0')) FROM pg_inherits WHERE inhparent = 'many'::regclass};
is(sql($house, $partitions), '2 2', 'a hundred partitions are two groups at first');
sql($house, q{CALL walhouse.maintain_partitions('many')});
is(value($house, 'SELECT count(*) FROM many'), '1000', 'which are not retired');
fails_with($house, 'nor given up', q{CALL walhouse.cancel_rewrite('many')}, qr/exchanged already/);
stand_beside($house, $split_many, 'split: dissolving', sub { sql($house, q{UPDATE many SET v = 'w' WHERE id % 10 = 3}) });
is(sql($house, $partitions), '100 0', 'then they are there');
is(value($house, q{SELECT count(*) || ' ' || count(DISTINCT tableoid) || ' ' || count(*) FILTER (WHERE v = 'w') FROM many}), '1000 100 100', 'with all rows');
is(value($house, q{SELECT count(*) FROM pg_class WHERE relname ~ '^many_(group|p0$|staging|queue)'}), '0', 'and nothing else');
is(value($house, q{SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid LEFT JOIN pg_inherits i ON i.inhrelid = x.indexrelid WHERE c.relname ~ '^many_' AND (NOT x.indisvalid OR i.inhparent IS DISTINCT FROM 'many_pkey'::regclass)}), '0', 'their indexes are the table\'s');
sql($house, q{CALL walhouse.maintain_partitions('many')});
is(value($house, 'SELECT min(id) FROM many'), '890', 'and they are retired in their time');

# Dropped meanwhile: it is forgotten.
cut_off($house, q{CALL walhouse.split_partition('t_p250', '50')}, 'split: copied');
sql($house, q{DROP TABLE t; DROP TABLE t_staging, t_queue; CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id); SELECT walhouse.create_partition_set('t', '250', lead_count => 0); CREATE TABLE t_p250 PARTITION OF t FOR VALUES FROM (250) TO (500); CALL walhouse.maintain_partitions('t')});
is(value($house, q{SELECT count(*) FROM walhouse.partition_rewrite}), '0', 'what was under way with a table goes with it');

# Refused, all reasons at once.
sql($house, q{CREATE TABLE dim (id int PRIMARY KEY); CREATE TABLE u (id int REFERENCES dim, at date) PARTITION BY RANGE (at); SELECT walhouse.create_partition_set('u', 'day', lead_count => 0); CREATE TABLE u1 PARTITION OF u FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
	CREATE VIEW uv AS SELECT * FROM u1; CALL walhouse.maintain_partitions('u'); SELECT walhouse.hold_partition('u1', 'a case')});
fails_with($house, 'what cannot be done is named', q{CALL walhouse.split_partition('u1')}, qr/Foreign key u_id_fkey of public.u /, qr/u1 is held: a case/, qr/u1 has views/, qr/neither a primary key/);
fails_with($house, 'only the owner may', q{SET ROLE reader; CALL walhouse.split_partition('t_p250')}, qr/must be owner/);
fails_with($house, 'what is one bucket is not split', q{CALL walhouse.split_partition('t_p250', '250')}, qr/cannot be split so/);
fails_with($house, 'not in a transaction', q{BEGIN; CALL walhouse.split_partition('t_p250', '10')}, qr/cannot run inside a transaction block/);

# Under a load of writes: from a plain table to days, and from days to one partition.
load_tables($house, 'events', 100_000);
my $load = load_start($house, 'events', 4);
sql($house, q{CALL walhouse.convert_to_partitions('events', 'at', 'day', '{"lead_count": 3}')});
sql($house, q{CALL walhouse.split_partition('events_whole')});
my $day = value($house, q{SELECT (now() AT TIME ZONE 'UTC')::date});
sql($house, "CALL walhouse.merge_partitions('events', date '$day' - 18 || ' 00:00+00', date '$day' - 8 || ' 00:00+00')");
load_stop($load);
load_same($house, 'events', 'conversion, split and merge under a load');
my ($longest, $waits) = load_longest_wait($house);
note("$load->{inserts} rows were inserted meanwhile; longest of $waits waits for a lock: $longest ms; partitions: " . value($house, q{SELECT count(*) FROM walhouse.partitions WHERE parent = 'events'::regclass}));

$house->stop;
done_testing();
