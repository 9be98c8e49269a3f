# WalhouseProof: what the proof tests (2xx) share on top of WalhouseTest: feeds, comparisons, positions.
package WalhouseProof;

use strict;
use warnings;
use Exporter 'import';
use FindBin;
use IPC::Run;
use Test::More;
use WalhouseTest;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(create_server same empty verify_clean models_reach reach source_lsn lsn_diff fails_with worker_pid
	mirrors_equal star_holds value ask until_true hand_database lone_server pages_touched stand stands let_go kill_there kill_call kill_at_lock in_background);

# value NODE, QUERY[, DATABASE]: one value, without the newline.
sub value
{
	my ($node, $query, $database) = @_;
	my $out = sql($node, $query, $database);
	chomp $out;
	return $out;
}

# ask NODE, QUERY[, DATABASE]: its answer, or nothing: the server may be down, or in crash recovery.
sub ask
{
	my ($node, $query, $database) = @_;
	my ($status, $out);
	# psql that ends before it has read its input is an error to those who feed it.
	eval { ($status, $out) = $node->psql($database || 'postgres', $query, timeout => 60) };
	return defined $status && $status == 0 && $out ne '' ? $out : undef;
}

# until_true CODE, SECONDS: calls the code until it gives a true value, which it returns; false when the time is over.
sub until_true
{
	my ($code, $seconds) = @_;
	my $until = time() + $seconds;
	while (1)
	{
		my $value = $code->();
		return $value if $value;
		return 0 if time() > $until;
		usleep(10_000);
	}
}

# hand_database NODE, DATABASE: makes a database with walhouse and feeds without a source (test/lib/handfeed.sql).
sub hand_database
{
	my ($node, $database) = @_;
	open my $file, '<', "$FindBin::Bin/../lib/handfeed.sql" or die "handfeed.sql: $!";
	sql($node, "CREATE DATABASE $database");
	sql($node, 'CREATE EXTENSION walhouse', $database);
	sql($node, join('', <$file>), $database);
	return;
}

# lone_server: one server in which nobody works but the test: no page is touched, and no plan moved, by anybody else.
sub lone_server
{
	return WalhouseTest::one_server(conf => "autovacuum = off\nwalhouse.worker = off\n");
}

# pages_touched NODE, STATEMENTS, DATABASE: runs them, and returns how many pages of tables and indexes of users and of walhouse they
# touched; in a list what they printed, too. A session counts what it touched when it ends, which may be after its client has gone.
sub pages_touched
{
	my ($node, $statement, $database) = @_;
	poll($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = '$database'", '0');
	my $sum = q{(SELECT sum(coalesce(heap_blks_read, 0) + coalesce(heap_blks_hit, 0) + coalesce(idx_blks_read, 0) + coalesce(idx_blks_hit, 0))
		FROM pg_statio_user_tables)};
	my $out = sql($node, qq{
		SELECT pg_stat_force_next_flush();
		SELECT 'pages', $sum;
		$statement;
		SELECT pg_stat_force_next_flush();
		SELECT 'pages', $sum;
	}, $database);
	my ($before, $after) = $out =~ /^pages\|(\d+)$/mg;
	return wantarray ? ($after - $before, $out) : $after - $before;
}

# stand HOUSE, POINT[, CODE]: has whoever comes to a point of the code stand still there, runs CODE, and returns the pid of who stands.
sub stand
{
	my ($house, $point, $code) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	sql($house, "ALTER SYSTEM SET walhouse.debug_feed_point = '$point'");
	sql($house, 'SELECT pg_reload_conf()');
	$code->() if $code;
	return stands($house, $point);
}

# stands HOUSE, POINT: waits until somebody stands there.
sub stands
{
	my ($house, $point) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $pid = until_true(sub { ask($house, "SELECT pid FROM pg_stat_activity WHERE query = 'standing at $point'") }, 120);
	ok($pid, "somebody stands at \"$point\"");
	return $pid;
}

# let_go HOUSE: nobody stands still any more.
sub let_go
{
	my ($house) = @_;
	sql($house, 'ALTER SYSTEM RESET walhouse.debug_feed_point');
	sql($house, 'SELECT pg_reload_conf()');
	return;
}

# kill_there HOUSE, PID: kill -9 of one process, and the server is back with a launcher.
sub kill_there
{
	my ($house, $pid) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $launcher = q{SELECT pg_postmaster_start_time()::text || pid FROM pg_stat_activity WHERE backend_type LIKE 'walhouse launcher'};
	my $before = value($house, $launcher);
	kill9($house, $pid);
	ok(until_true(sub { my $now = ask($house, $launcher); $now && $now ne $before }, 120), 'the server is back');
	return;
}

# kill_call HOUSE, CALL, WHAT, SUB[, ALL]: starts a CALL, and kills it once SUB is true, the whole warehouse with it, or its process alone.
sub kill_call
{
	my ($house, $call, $what, $is_there, $all) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $session = in_background($house, $call);
	ok(until_true($is_there, 120), "$what: it is there");
	if ($all)
	{
		kill9($house);
		$house->start;
	}
	else
	{
		kill9($house, value($house, "SELECT pid FROM pg_stat_activity WHERE query = \$q\$$call\$q\$"));
	}
	$session->finish;
	ok(poll($house, 'postgres', 'SELECT 1', '1'), "$what: the warehouse is back");
	return;
}

# kill_at_lock HOUSE, CALL, WHAT, LOCK, RELATION[, ALL]: it is killed where it waits for what a statement has locked of a relation.
sub kill_at_lock
{
	my ($house, $call, $what, $lock, $relation, $all) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $locker = $house->background_psql('postgres');
	my $waits = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE NOT l.granted AND c.relname = '$relation'";
	$locker->query_safe("BEGIN; SET LOCAL walhouse.allow_writes = on; $lock");
	kill_call($house, $call, $what, sub { (ask($house, $waits) // '') eq '1' }, $all);
	eval { $locker->quit };
	return;
}

# in_background HOUSE, STATEMENT[, SCALAR]: a psql that runs it, to be finished by finish(); what it says goes into the scalar.
sub in_background
{
	my ($house, $statement, $said) = @_;
	my $ignored;
	$said //= \$ignored;
	$$said = '';
	return IPC::Run::start([ $house->installed_command('psql'), '-XAtq', '-d', $house->connstr('postgres'), '-c', $statement ],
		'<', \undef, '>', $said, '2>', $said);
}

# create_server HOUSE, NAME, SOURCE[, DATABASE of the source[, DATABASE of the house]]: server and user mapping.
sub create_server
{
	my ($house, $name, $source, $source_db, $house_db) = @_;
	my $options = server_options($source, $source_db);
	my $user = getpwuid($>);
	sql($house, qq{
		CREATE SERVER "$name" FOREIGN DATA WRAPPER walhouse OPTIONS ($options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER "$name" OPTIONS (user '$user');
	}, $house_db);
	return;
}

# source_lsn SOURCE: where its WAL ends now.
sub source_lsn
{
	my ($source) = @_;
	return value($source, 'SELECT pg_current_wal_insert_lsn()');
}

# lsn_diff NODE, A, B: A - B in bytes.
sub lsn_diff
{
	my ($node, $one, $other) = @_;
	return value($node, "SELECT pg_wal_lsn_diff('$one', '$other')");
}

# reach HOUSE, FEED, SOURCE: wait, with a worker running, until all that the source has committed is in the log, and all
# live models are at the feed's position.
sub reach
{
	my ($house, $feed, $source, $seconds, $database) = @_;
	my $lsn = source_lsn($source);
	poll($house, $database || 'postgres', 'SELECT 1', '1'); # it may be starting after a kill
	my ($status, $out, $err) = $house->psql($database || 'postgres',
		"SELECT walhouse.wait_for('$feed', '$lsn'::pg_lsn, '" . ($seconds || 120) . " seconds')", timeout => 300);
	diag("wait_for: $err") if $status;
	return 0 if $status;
	return models_reach($house, $feed, $seconds, $database);
}

# models_reach HOUSE, FEED[, SECONDS]: wait until every model of the feed is live with nothing of the log unread.
sub models_reach
{
	my ($house, $feed, $seconds, $database) = @_;
	return poll($house, $database || 'postgres', qq{
		SELECT count(*) FROM walhouse.model m
		JOIN walhouse.feed f USING (feed_id)
		WHERE f.name = '$feed' AND (m.state <> 'live' OR EXISTS (
			SELECT FROM "${feed}_log".txn t WHERE t.end_lsn > (
				SELECT l.to_lsn FROM walhouse.load_model l WHERE l.model_id = m.model_id ORDER BY l.load_id DESC LIMIT 1)))
	}, '0', $seconds || 120);
}

# empty NODE, NAME, QUERY: the query has no rows; those that it has are shown.
sub empty
{
	my ($node, $name, $query, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $out, $err) = $node->psql($database || 'postgres', "SET TimeZone = 'UTC'; $query");
	return fail("$name: $err") if $status;
	my @lines = split /\n/, $out;
	my $count = @lines;
	splice @lines, 12, $count - 12, '… (' . ($count - 12) . ' more)' if $count > 12;
	return is(join("\n", @lines), '', $name);
}

# same NODE, NAME, EXPECTED, FOUND: two queries give the same rows, with the same multiplicity.
sub same
{
	my ($node, $name, $expected, $found, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return empty($node, $name, qq{
		WITH expected AS ($expected), found AS ($found)
		(SELECT 'missing' AS what, e::text FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM found) AS e)
		UNION ALL
		(SELECT 'unexpected', f::text FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM expected) AS f)
		ORDER BY 2, 1}, $database);
}

# verify_clean HOUSE, WHAT, MODEL...: walhouse.verify finds rows, and nothing wrong, in each model.
sub verify_clean
{
	my ($house, $what, @models) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $database = 'postgres';
	for my $model (@models)
	{
		my ($status, $out, $err) = $house->psql($database, qq{
			SELECT missing, unexpected, different, expected = found, expected > 0 FROM walhouse.verify('$model')});
		is($status ? $err : $out, '0|0|0|t|t', "$what: verify of $model is clean");
	}
	return;
}

# fails_with NODE, NAME, STATEMENT, QR...: the statement fails, and its error matches each pattern.
sub fails_with
{
	my ($node, $name, $statement, @patterns) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $out, $err) = $node->psql('postgres', $statement, timeout => 120);
	return fail("$name: it did not fail, and gave $out") unless $status;
	like($err, $_, $name) for @patterns;
	return 1;
}

# star_holds HOUSE, WHAT: no rule of test/pgtap/lib/star_violations.sql is broken in any live model.
sub star_holds
{
	my ($house, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($house, "\\i test/pgtap/lib/star_violations.sql\nSELECT * FROM pg_temp.star_violations()"), '',
		"$what: the rules of a star hold");
	return;
}

# worker_pid HOUSE: the process id of the feed worker, or nothing.
sub worker_pid
{
	my ($house) = @_;
	return ask($house, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker' LIMIT 1});
}

# mirrors_equal HOUSE, SOURCE, FEED, TABLE...: each mirror has exactly the source's rows (as text).
sub mirrors_equal
{
	my ($house, $source, $feed, @tables) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	for my $table (@tables)
	{
		my $digest = q{SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\n' ORDER BY t::text COLLATE "C")), '') FROM %s AS t};
		is(value($house, sprintf($digest, "\"$feed\".$table")), value($source, sprintf($digest, $table)),
			"mirror of $table equals its source");
	}
	return;
}

1;
