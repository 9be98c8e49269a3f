# What start() and run() refuse, and how they say what to do.
use strict;
use warnings;
use WalhouseTest;
use Test::More;

my $node = one_server(conf => "walhouse.max_feeds = 1\n");

sql($node, q{
	CREATE TABLE public.items (id int PRIMARY KEY);
	CREATE ROLE keeper LOGIN SUPERUSER;
	CREATE ROLE stranger LOGIN;
});
sql($node, 'CREATE SERVER here FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($node) . ')');
sql($node, 'CREATE USER MAPPING FOR PUBLIC SERVER here');
sql($node, q{CALL walhouse.create_feed('one', server => 'here', tables => '{public.items}')});
sql($node, q{SET ROLE keeper; CALL walhouse.create_feed('two', server => 'here', tables => '{public.items}')});

like(refused(q{SELECT walhouse.start('none')}), qr/feed "none" does not exist/, 'a feed that is not there');
like(refused(q{SET ROLE stranger; SELECT walhouse.start('one')}), qr/must be owner of feed "one"/, 'start by a stranger');
like(refused(q{SET ROLE stranger; SELECT walhouse.stop('one')}), qr/must be owner of feed "one"/, 'stop by a stranger');
like(refused(q{SET ROLE stranger; CALL walhouse.run('one')}), qr/must be owner of feed "one"/, 'run by a stranger');
like(refused(q{BEGIN; CALL walhouse.run('one')}), qr/walhouse\.run cannot run inside a transaction block/, 'run in a transaction block');
like(refused(q{DO $$ BEGIN CALL walhouse.run('one'); EXCEPTION WHEN division_by_zero THEN NULL; END $$}),
	qr/cannot run inside/, 'run in an exception block');
like(refused(q{CALL walhouse.run(NULL)}), qr/must not be NULL/, 'run of NULL');

sql($node, 'ALTER ROLE keeper NOLOGIN');
like(refused(q{SELECT walhouse.start('two')}), qr/its owner may not log in.*ALTER ROLE keeper LOGIN/s, 'an owner that may not log in');
sql($node, 'ALTER ROLE keeper LOGIN');
sql($node, q{SELECT walhouse.start('one')});
ok(poll($node, 'postgres', q{SELECT worker = 'running' FROM walhouse.stat_feed WHERE feed = 'one'}), 'one feed runs');
like(refused(q{SELECT walhouse.start('two')}), qr/as many as walhouse\.max_feeds allows.*Raise walhouse\.max_feeds/s, 'and no more than max_feeds');
sql($node, q{SELECT walhouse.start('one')});
pass('starting a feed again is no error');
sql($node, q{SELECT walhouse.stop('one')});
ok(poll($node, 'postgres', q{SELECT worker = 'stopped' FROM walhouse.stat_feed WHERE feed = 'one'}), 'it is stopped');
sql($node, q{SELECT walhouse.start('two')});
ok(poll($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'keeper' AND backend_type = 'walhouse feed worker'}),
	'the worker runs as the owner of the feed');
like(refused(q{BEGIN; SELECT walhouse.stop('two'); PREPARE TRANSACTION 'x'}), qr/cannot PREPARE|cannot prepare|prepared transactions are disabled/,
	'start and stop are not for prepared transactions');
sql($node, q{SELECT walhouse.stop('two')});

# without shared_preload_libraries
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'auto_explain'\n");
$node->restart;
like(refused(q{SELECT walhouse.start('one')}), qr/has not preloaded walhouse.*shared_preload_libraries = 'auto_explain,walhouse'/s,
	'without preloading start() names the line');
is(sql($node, q{SELECT feed, worker FROM walhouse.stat_feed ORDER BY 1}), "one|stopped\ntwo|stopped", 'stat_feed works without');
sql($node, q{INSERT INTO public.items VALUES (1)});
sql($node, q{CALL walhouse.run('one')});
is(sql($node, 'SELECT count(*) FROM one.items'), '1', 'and run() does');
is(sql($node, q{SELECT walhouse.wait_for('one', (SELECT position FROM walhouse.stat_feed WHERE feed = 'one'))}), 't', 'and wait_for');

$node->stop;
done_testing();

# refused STATEMENTS: the error of a script that fails.
sub refused
{
	my ($statements) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $statements, on_error_stop => 1);
	return $status ? $err : "no error: $out";
}
