# A plain table becomes a partition set: with all that stands on it, killed in each stage, given up, refused, and under a load of writes.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use WalhouseLoad;
use Test::More;

my $house = one_server(conf => "walhouse.worker = off\nlog_lock_waits = on\ndeadlock_timeout = 10ms\nlog_line_prefix = '%a %m '\n");

# What a table is, line by line; of its like under the same name it must be the same. Indexes of partitioned tables say ON ONLY.
my $described = q{
	WITH t AS (SELECT c.* FROM pg_class c WHERE c.oid = 's."Event log"'::regclass)
	SELECT 'table', t.relname, t.relowner::regrole::text, t.relacl::text, t.relrowsecurity::text, t.relforcerowsecurity::text, t.relreplident::text, obj_description(t.oid, 'pg_class') FROM t
	UNION ALL SELECT 'column', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text, concat(a.attidentity, a.attgenerated, a.attstorage, a.attcompression), coalesce(a.attstattarget::int, -1)::text, concat(a.attacl, col_description(a.attrelid, a.attnum)), pg_get_expr(d.adbin, d.adrelid)
		FROM t JOIN pg_attribute a ON a.attrelid = t.oid LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum WHERE a.attnum > 0 AND NOT a.attisdropped
	UNION ALL SELECT 'index', i.relname, replace(pg_get_indexdef(i.oid), ' ON ONLY ', ' ON '), obj_description(i.oid, 'pg_class'), NULL, NULL, NULL, NULL FROM t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
	UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(o.oid), obj_description(o.oid, 'pg_constraint'), NULL, NULL, NULL, NULL FROM t JOIN pg_constraint o ON o.conrelid = t.oid AND o.contype <> 'n'
	UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(g.oid), tgenabled::text, obj_description(g.oid, 'pg_trigger'), NULL, NULL, NULL FROM t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT tgisinternal
	UNION ALL SELECT 'policy', polname, polcmd::text, polpermissive::text, (SELECT string_agg(coalesce(nullif(r, 0)::regrole::text, 'PUBLIC'), ',') FROM unnest(polroles) r), pg_get_expr(polqual, t.oid), pg_get_expr(polwithcheck, t.oid), obj_description(p.oid, 'pg_policy') FROM t JOIN pg_policy p ON p.polrelid = t.oid
	UNION ALL SELECT 'sequence', q.relname, q.relacl::text, a.attname, NULL, NULL, NULL, NULL FROM t JOIN pg_depend d ON d.refobjid = t.oid AND d.deptype IN ('a', 'i') JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S' JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
	UNION ALL SELECT 'statistics', pg_get_statisticsobjdef_columns(e.oid), NULL, NULL, NULL, NULL, NULL, NULL FROM t JOIN pg_statistic_ext e ON e.stxrelid = t.oid
	UNION ALL SELECT 'view', v.oid::regclass::text, v.relacl::text, v.reloptions::text, pg_get_viewdef(v.oid), NULL, NULL, NULL FROM pg_class v WHERE v.relkind = 'v' AND v.relnamespace = 's'::regnamespace
	ORDER BY 1, 2, 3};
my $rows = q{SELECT count(*) || ' ' || md5(string_agg(e::text, '|' ORDER BY id)) FROM s."Event log" e};

sql($house, q{
	CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE clerk;
	CREATE SCHEMA s AUTHORIZATION keeper; GRANT USAGE ON SCHEMA s TO reader, clerk;
	SET ROLE keeper;
	CREATE TYPE s.mood AS ENUM ('sad', 'ok');
	CREATE DOMAIN s.short AS text CHECK (length(value) < 20);
	CREATE TYPE s.pair AS (a int, "b c" text);
	CREATE TABLE s.dim (code int PRIMARY KEY); INSERT INTO s.dim SELECT generate_series(0, 9);
	CREATE TABLE s."Event log" (
		gone int, id bigint GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 3), "The time" timestamptz NOT NULL DEFAULT now(), serial_no serial, code int REFERENCES s.dim ON DELETE SET NULL,
		m s.mood DEFAULT 'ok', d s.short, p s.pair, r tstzrange, j jsonb, n numeric(12, 3), f float8, a text[][], b bytea, u uuid, x xml, "Select" text COMPRESSION pglz COLLATE "C",
		twice int GENERATED ALWAYS AS (code * 2) STORED, big text, dropped2 text,
		CONSTRAINT "code check" CHECK (code >= 0), PRIMARY KEY (id, "The time"), UNIQUE ("The time", serial_no) DEFERRABLE);
	ALTER TABLE s."Event log" DROP COLUMN gone, DROP COLUMN dropped2, ALTER COLUMN big SET STORAGE EXTERNAL;
	CREATE INDEX "Event log_j" ON s."Event log" USING gin (j);
	CREATE INDEX part ON s."Event log" (lower("Select") COLLATE "C" DESC NULLS LAST) INCLUDE (m) WITH (fillfactor = 70) WHERE code > 3;
	CREATE STATISTICS s.st ON code, m FROM s."Event log";
	ALTER TABLE s."Event log" ALTER COLUMN code SET STATISTICS 77;
	ALTER TABLE s."Event log" REPLICA IDENTITY FULL;
	COMMENT ON TABLE s."Event log" IS 'what happens'; COMMENT ON COLUMN s."Event log".n IS 'a number'; COMMENT ON INDEX s.part IS 'partial';
	COMMENT ON CONSTRAINT "code check" ON s."Event log" IS 'never negative'; COMMENT ON CONSTRAINT "Event log_code_fkey" ON s."Event log" IS 'what kind';
	GRANT SELECT, INSERT ON s."Event log" TO reader WITH GRANT OPTION; GRANT UPDATE (code, m) ON s."Event log" TO clerk; GRANT SELECT ON SEQUENCE s."Event log_id_seq" TO clerk;
	CREATE TABLE s.seen (what text);
	CREATE FUNCTION s.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO s.seen VALUES (TG_NAME || ' ' || TG_TABLE_NAME); RETURN new; END $$;
	CREATE TRIGGER each_row BEFORE INSERT ON s."Event log" FOR EACH ROW WHEN (new.code = 7) EXECUTE FUNCTION s.note();
	CREATE TRIGGER each_statement AFTER INSERT ON s."Event log" FOR EACH STATEMENT EXECUTE FUNCTION s.note('x', 'y''z');
	CREATE TRIGGER off AFTER DELETE ON s."Event log" FOR EACH ROW EXECUTE FUNCTION s.note();
	CREATE CONSTRAINT TRIGGER late AFTER UPDATE OF code ON s."Event log" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION s.note();
	ALTER TABLE s."Event log" DISABLE TRIGGER off; ALTER TABLE s."Event log" ENABLE ALWAYS TRIGGER each_row; COMMENT ON TRIGGER off ON s."Event log" IS 'not now';
	CREATE POLICY p1 ON s."Event log" FOR SELECT TO reader, clerk USING (code < 9 AND EXISTS (SELECT FROM s.dim)); CREATE POLICY p2 ON s."Event log" AS RESTRICTIVE USING (true) WITH CHECK (code <> 8); COMMENT ON POLICY p2 ON s."Event log" IS 'no eights';
	CREATE POLICY p3 ON s."Event log" FOR INSERT WITH CHECK (true);
	ALTER TABLE s."Event log" ENABLE ROW LEVEL SECURITY;
	CREATE VIEW s.v WITH (security_barrier = true) AS SELECT id, "The time", m, e."Select" FROM s."Event log" e WHERE code < 5 WITH LOCAL CHECK OPTION; CREATE VIEW s.w AS SELECT count(*) FROM s.v; GRANT SELECT ON s.v, s.w TO clerk;
	RESET ROLE;
	INSERT INTO s."Event log" ("The time", code, d, p, r, j, n, f, a, b, u, x, "Select", big)
		SELECT '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour', i % 9, 'd' || i, ROW(i, 'b'::text)::s.pair, tstzrange('2026-01-01', NULL), jsonb_build_object('i', i), i / 7.0, 'nan'::float8, ARRAY[['a', NULL], ['', '"']], '\x00ff'::bytea, gen_random_uuid(), '<a/>'::xml, 'S' || i,
			CASE WHEN i % 10 = 0 THEN (SELECT string_agg(md5(k::text), '') FROM generate_series(1, 200) k) END FROM generate_series(1, 500) i WHERE i % 9 <> 8;
});
# Grantors are kept: of what the reader grants on, too.
sql($house, q{SET ROLE reader; GRANT SELECT ON s."Event log" TO clerk});

my $before = sql($house, $described);
my $content = sql($house, $rows);
my $call = q{SET ROLE keeper; CALL walhouse.convert_to_partitions('s."Event log"', 'The time', 'month', '{"lead_count": 2, "zone": "UTC", "seal_after": "1 day"}')};

# Refused, all reasons at once, and nothing is changed.
sql($house, q{SET ROLE keeper;
	CREATE TABLE s.bad (id int PRIMARY KEY, at date, c int, EXCLUDE (c WITH =), CONSTRAINT n CHECK (c > 0) NO INHERIT); CREATE UNIQUE INDEX bad_u ON s.bad (c); CREATE TABLE s.child (id int REFERENCES s.bad);
	CREATE MATERIALIZED VIEW s.mv AS SELECT * FROM s.bad; CREATE FUNCTION s.fn(s.bad) RETURNS int LANGUAGE sql AS 'SELECT 1';
	ALTER TABLE s.bad ADD CONSTRAINT late CHECK (c < 100) NOT VALID; CREATE TRIGGER t AFTER INSERT ON s.bad REFERENCING NEW TABLE AS n FOR EACH ROW EXECUTE FUNCTION s.note(); CREATE RULE r AS ON DELETE TO s.bad DO ALSO NOTHING;});
sql($house, 'CREATE PUBLICATION pub FOR TABLE s.bad; CREATE VIEW public.foreign_view AS SELECT * FROM s.bad');
my ($status, $out, $err) = $house->psql('postgres', q{SET ROLE keeper; CALL walhouse.convert_to_partitions('s.bad', 'at', 'day')});
for (qr/Unique index bad_pkey does not contain/, qr/Unique index bad_u does not/, qr/Exclusion constraint/, qr/Constraint n is NO INHERIT/, qr/Constraint late is not valid/, qr/Foreign key child_id_fkey of s.child refers/,
	qr/on materialized view s.mv depends/, qr/function s.fn\(s.bad\) depends/, qr/Trigger t has a transition table/, qr/It has rules/, qr/in publication pub/, qr/view public.foreign_view depends/)
{
	like($err, $_, 'what cannot be kept is named');
}
fails_with($house, 'the key is one of a known type', q{SET ROLE keeper; CREATE TABLE s.t1 (a text); CALL walhouse.convert_to_partitions('s.t1', 'a', 'day')}, qr/key of type text/);
fails_with($house, 'policies are looked at first', q{SET ROLE keeper; CREATE TABLE s.t2 (a date); CALL walhouse.convert_to_partitions('s.t2', 'a', 'day', '{"retire": "burn"}')}, qr/retire cannot be "burn"/);
fails_with($house, 'only the owner may', q{SET ROLE reader; CALL walhouse.convert_to_partitions('s."Event log"', 'The time', 'month')}, qr/must be owner/);
fails_with($house, 'not in a transaction', q{BEGIN; CALL walhouse.convert_to_partitions('s.t2', 'a', 'day')}, qr/cannot run inside a transaction block/);
sql($house, q{INSERT INTO s.t2 VALUES (NULL)});
fails_with($house, 'NULLs have no partition', q{SET ROLE keeper; CALL walhouse.convert_to_partitions('s.t2', 'a', 'day')}, qr/rows of table "t2" have no place.*Column "a" must not be null/s);
is(value($house, q{SELECT (SELECT count(*) FROM walhouse.partition_rewrite) + (SELECT count(*) FROM pg_constraint WHERE conname = 'walhouse_range')}), '0', 'a refusal leaves nothing');
is(sql($house, $described), $before, 'nor is anything else changed');

# Killed in each stage, and given up.
cut_off($house, $call, 'convert: constrained');
is(value($house, q{SELECT kind || ' ' || state FROM walhouse.partition_rewrite}), 'convert validate', 'cut off: it says what is next');
sql($house, q{SET ROLE keeper; CALL walhouse.cancel_rewrite('s."Event log"')});
is(sql($house, $described), $before, 'given up, it is as before');
cut_off($house, $call, 'convert: constrained');
cut_off($house, $call, 'convert: validated');
cut_off($house, $call, 'convert: swapped');
is(value($house, q{SELECT relkind FROM pg_class WHERE oid = 's."Event log"'::regclass}), 'r', 'cut off before the commit: a plain table');
is(sql($house, $rows), $content, 'with its rows');
($status, $out, $err) = $house->psql('postgres', $call);
is($status, 0, 'the call again brings it to its end') or diag($err);
like($err, qr/is a partition set now/, 'and says so');
note($err);
is(sql($house, $rows), $content, 'the same rows');
is(value($house, q{SELECT relkind FROM pg_class WHERE oid = 's."Event log"'::regclass}), 'p', 'of a partitioned table');
my $after = sql($house, $described);
is($after, $before, 'on which all stands that stood on the table');
is(value($house, q{SELECT string_agg(partition::text, ',') || ' ' || min(to_value) FROM walhouse.partitions}), 's."Event log_whole" 2027-02-01 00:00:00+00', 'the table is its one partition, up to the end of the lead')
	if value($house, q{SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')}) eq '2026-11';
is(value($house, q{SELECT count(*) FROM pg_index x WHERE x.indrelid = 's."Event log_whole"'::regclass AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = x.indexrelid)}), '0', 'no index was made twice');
is(value($house, q{SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 's."Event log_whole"'::regclass AND contype = 'c'}), 'code check', 'the constraint is gone again');
sql($house, q{SET ROLE keeper; TRUNCATE s.seen; INSERT INTO s."Event log" ("The time", code) VALUES ('2026-01-05', 7)});
is(value($house, q{SELECT string_agg(what, ',' ORDER BY what) FROM s.seen}), 'each_row Event log_whole,each_statement Event log', 'its triggers fire once');
# A crash of the server takes a sequence up to 32 values further.
is(value($house, q{SELECT (max(id) - 5) % 3 || ' ' || (max(id) BETWEEN 1337 AND 1337 + 3 * 200) || ' ' || (max(id) = lead) FROM s."Event log", (SELECT last_value FROM s."Event log_id_seq") l(lead) GROUP BY lead}), '0 true true', 'its identity counts on');
sql($house, q{CALL walhouse.maintain_partitions('s."Event log"', now() + interval '40 days')});
is(value($house, q{SELECT count(*) > 1 FROM walhouse.partitions}), 't', 'partitions are made ahead when their time comes');
sql($house, q{SET ROLE keeper; INSERT INTO s."Event log" ("The time", code) SELECT to_value::timestamptz - interval '1 s', 7 FROM walhouse.partitions WHERE from_value <> 'MINVALUE'});
fails_with($house, 'a set is not converted again', $call, qr/is a partition set already/);

is(sql($house, q{SELECT partition, kind, detail FROM walhouse.partition_drift('s."Event log"')}), '', 'no partition differs from its table');

# Under a load of writes.
load_tables($house, 'events', 100_000);
my $load = load_start($house, 'events', 4);
sql($house, q{CALL walhouse.convert_to_partitions('events', 'at', 'day', '{"lead_count": 3}')});
load_stop($load);
load_same($house, 'events', 'conversion under a load');
my ($longest, $waits) = load_longest_wait($house);
note("$load->{inserts} rows were inserted meanwhile; longest of $waits waits for a lock: $longest ms");

$house->stop;
done_testing();
