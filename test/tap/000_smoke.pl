# Both libraries load in one backend, and the extension comes and goes without a trace.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my $node = new_server('smoke');
my $before = catalog();

like(sql($node, 'SHOW shared_preload_libraries'), qr/walhouse/, 'walhouse is preloaded');
my $seen = sql($node, q{
	LOAD 'walhouse';
	CREATE EXTENSION walhouse;
	SELECT slot_name FROM pg_create_logical_replication_slot('both', 'walhouse_output');
	CREATE TABLE public.t (a int PRIMARY KEY);
	INSERT INTO public.t VALUES (1);
	SELECT count(*) > 0 FROM pg_logical_slot_get_binary_changes('both', NULL, NULL);
	SELECT extversion <> '' FROM pg_extension WHERE extname = 'walhouse';
	SELECT pg_drop_replication_slot('both');
	DROP TABLE public.t;
});
is($seen, "both\nt\nt\n", 'one backend runs the extension and the output plugin');

is(sql($node, q{
	SELECT string_agg(c.relname, ', ') FROM pg_catalog.pg_class c
	WHERE c.relnamespace = 'walhouse'::regnamespace AND c.relkind IN ('r', 'S')
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = 'walhouse' AND c.oid = ANY (e.extconfig))
}), '', 'every catalog table and sequence is marked for pg_dump');

sql($node, 'DROP EXTENSION walhouse');
is(catalog(), $before, 'DROP EXTENSION leaves nothing');

$node->stop;
done_testing();

# catalog: how many objects of each kind the database has.
sub catalog
{
	return sql($node, q{
		SELECT 'class', count(*) FROM pg_catalog.pg_class UNION ALL
		SELECT 'proc', count(*) FROM pg_catalog.pg_proc UNION ALL
		SELECT 'type', count(*) FROM pg_catalog.pg_type UNION ALL
		SELECT 'namespace', count(*) FROM pg_catalog.pg_namespace UNION ALL
		SELECT 'wrapper', count(*) FROM pg_catalog.pg_foreign_data_wrapper UNION ALL
		SELECT 'event trigger', count(*) FROM pg_catalog.pg_event_trigger UNION ALL
		SELECT 'role', count(*) FROM pg_catalog.pg_roles ORDER BY 1
	});
}
