# A first copy, and what others do at the source: names are exchanged, so that what has a table's or a column's name is another one;
# connections are refused to one process; the connection of one is ended. And that many tables take no more than each of them does.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use WalhouseTest;
use WalhouseProof;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE TABLE big (id int PRIMARY KEY, v text);
	INSERT INTO big SELECT i, repeat(md5(i::text), 16) FROM generate_series(1, 20000) i;
	CREATE TABLE t (id int PRIMARY KEY, v text);
	CREATE TABLE t_next (id int PRIMARY KEY, v text);
	CREATE TABLE c (id int PRIMARY KEY, "the a" text, b text);
	INSERT INTO t SELECT i, 'was' FROM generate_series(1, 100) i;
	INSERT INTO t_next SELECT i, 'next' FROM generate_series(50, 200) i;
	INSERT INTO c SELECT i, 'a' || i, 'b' || i FROM generate_series(1, 100) i;
	CREATE PUBLICATION p FOR TABLE big, t, c;
	CREATE ROLE few LOGIN REPLICATION CONNECTION LIMIT 2;
	GRANT SELECT ON ALL TABLES IN SCHEMA public TO few;
});
create_server($house, 's', $source);

sub point
{
	my ($point) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.debug_feed_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
	return;
}
# create POINT, ERROR: create_feed, in a session of its own, until it stands there.
sub create
{
	my ($point, $error) = @_;
	my $ignored = '';
	point($point);
	my $session = IPC::Run::start([ $house->installed_command('psql'), '-XAtq', '-d', $house->connstr('postgres'), '-c', q{CALL walhouse.create_feed('f', 's', publication => 'p')} ],
		'<', \undef, '>', \$ignored, '2>', $error);
	ok(until_true(sub { ask($house, "SELECT pid FROM pg_stat_activity WHERE query = 'standing at $point'") }, 120), "it stands at \"$point\"");
	return $session;
}
sub states { return value($house, q{SELECT string_agg(source_name || ' ' || state, ', ' ORDER BY source_relid) FROM walhouse.feed_table}) }
sub digest
{
	my ($node, $table) = @_;
	return value($node, qq{SELECT count(*) || ' ' || md5(string_agg(x::text, ',' ORDER BY x.id)) FROM $table x});
}
sub goes_on
{
	sql($house, q{CALL walhouse.run('f')});
	is(value($house, q{SELECT string_agg(DISTINCT state, ' ') FROM walhouse.feed_table}), 'ready', 'what is missing comes with the stream');
	mirrors_equal($house, $source, 'f', 'big');
	return;
}

# -------- names --------
my $error = '';
my $session = create('first: posted', \$error);
sql($source, q{
	ALTER TABLE t RENAME TO t_was;
	ALTER TABLE t_next RENAME TO t;
	ALTER TABLE c RENAME b TO was;
	ALTER TABLE c RENAME "the a" TO b;
	ALTER TABLE c RENAME was TO "the a"});
point('nowhere');
$session->finish;
is(states(), 'big ready, t copy, c copy', 'what has other names is not taken for what had them');
like($error, qr/WARNING:  table "public\.$_" of feed "f" is not copied yet\nDETAIL:  the table .* has other names/, "and that is said of $_") for qw(t c);
goes_on();
is(digest($house, (value($house, q{SELECT mirror FROM walhouse.feed_table WHERE source_name LIKE 't%'}))),
	digest($source, 't_was'), 'a table has its own rows');
is(value($house, q{SELECT string_agg("the a" || b, ',' ORDER BY id) FROM f.c}), value($source, q{SELECT string_agg("the a" || b, ',' ORDER BY id) FROM c}), 'and a column its own values');
sql($house, q{CALL walhouse.drop_feed('f')});

# -------- a helper that gets no connection --------
sql($house, q{ALTER USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (SET user 'few')});
$error = '';
$session = create('first: range 1', \$error);
ok(until_true(sub { slurp_file($house->logfile) =~ /too many connections for role/ }, 120), 'a helper is refused');
point('nowhere');
$session->finish;
is(states(), 'big ready, t_was ready, c ready', 'the others have read all');
is($error, '', 'and nothing is to be said');
mirrors_equal($house, $source, 'f', 'big', 'c');
sql($house, q{CALL walhouse.drop_feed('f')});
sql($source, 'ALTER ROLE few CONNECTION LIMIT -1');

# -------- a reader whose connection is ended --------
sql($house, q{ALTER SYSTEM SET walhouse.feed_copy_processes = 1});
$error = '';
$session = create('first: range 2', \$error);
sql($source, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walhouse f' AND state = 'idle'});
point('nowhere');
$session->finish;
is(states(), 'big copy, t_was ready, c ready', 'one table is left');
like($error, qr/^WARNING:  table "public\.big" of feed "f" is not copied yet\nDETAIL:  the source says: terminating connection/, 'and that is all');
goes_on();

# -------- many tables --------
sql($source, q{CREATE SCHEMA many;
	DO $$ BEGIN FOR i IN 1 .. 100 LOOP
		EXECUTE format('CREATE TABLE many.t%s (id int PRIMARY KEY, v text)', i);
		EXECUTE format('INSERT INTO many.t%s VALUES (1, %L)', i, i);
	END LOOP; END $$;
	CREATE PUBLICATION many FOR TABLES IN SCHEMA many;
	GRANT USAGE ON SCHEMA many TO few;
	GRANT SELECT ON ALL TABLES IN SCHEMA many TO few});
my $scans = q{SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_all_tables WHERE relid = 'walhouse.feed_column'::regclass};
my $before = value($house, $scans);
sql($house, q{CALL walhouse.create_feed('m', 's', publication => 'many')});
is(value($house, q{SELECT count(*) FROM walhouse.feed_table JOIN walhouse.feed USING (feed_id) WHERE name = 'm' AND feed_table.state = 'ready'}), '100', 'all are copied');
ok(poll($house, 'postgres', "SELECT ($scans) > $before"), 'what that took is counted');
cmp_ok(value($house, $scans) - $before, '<', 100 * 20, 'columns are read as often as there are tables, a few times over');
$house->stop;
$source->stop;
done_testing();
