# WalhouseLoad: a load of writes on a table, and the same on a shadow of it in the same transactions, so that a row that is lost or doubled
# shows; and how long its statements waited for locks, by the server's log (log_lock_waits, a short deadlock_timeout, %a in log_line_prefix).
package WalhouseLoad;

use strict;
use warnings;
use Exporter 'import';
use FindBin;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use WalhouseTest;
use WalhouseProof;
use WalhouseLife qw(setting);

our @EXPORT = qw(load_tables load_start load_stop load_same load_longest_wait cut_off stand_beside);

# stand_beside NODE, CALL, POINT, CODE: the call stands at a point while the code runs, and then goes on to its end.
sub stand_beside
{
	my ($node, $call, $point, $code) = @_;
	my $stands = "FROM pg_stat_activity WHERE query = 'standing at $point'";
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	setting($node, 'walhouse.debug_partition_point', $point);
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/started/, "\\echo started\n$call;\n");
	ok(poll($node, 'postgres', "SELECT count(*) > 0 $stands"), "it stands at \"$point\"");
	$code->();
	setting($node, 'walhouse.debug_partition_point');
	ok(poll($node, 'postgres', 'SELECT count(*) = 0 FROM walhouse.partition_rewrite'), 'and has gone on to its end');
	$session->quit;
	return;
}

# cut_off NODE, CALL, POINT: the call until it stands at a point, then kill -9 of its session; the server is up again afterwards.
sub cut_off
{
	my ($node, $call, $point) = @_;
	my $stands = "FROM pg_stat_activity WHERE query = 'standing at $point'";
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	setting($node, 'walhouse.debug_partition_point', $point);
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_until(qr/started/, "\\echo started\n$call;\n");
	ok(poll($node, 'postgres', "SELECT count(*) > 0 $stands"), "it stands at \"$point\"") or die slurp_file($node->logfile) =~ /([^\n]*ERROR.*)\z/s;
	my $pid = value($node, "SELECT pid $stands");
	kill9($node, $pid);
	wait_until(sub { !kill(0, $pid) });
	ok(poll($node, 'postgres', "SELECT count(*) = 0 $stands"), 'killed');
	eval { $session->{run}->kill_kill };
	setting($node, 'walhouse.debug_partition_point');
	return;
}

# load_tables NODE, TABLE, ROWS: a table of that many rows over the last 20 days, and its shadow.
sub load_tables
{
	my ($node, $table, $rows) = @_;
	sql($node, qq{
		CREATE TABLE $table (id bigint, at timestamptz NOT NULL, customer int, amount numeric, twice int GENERATED ALWAYS AS (customer * 2) STORED, note text, PRIMARY KEY (id, at));
		CREATE INDEX ON $table (at);
		CREATE INDEX ON $table (customer);
		INSERT INTO $table (id, at, customer, amount, note) SELECT i, now() - interval '20 days' + i * interval '20 days' / $rows, i % 1000, i / 7.0, 'note ' || i FROM generate_series(1, $rows) i;
		CREATE TABLE ${table}_shadow AS SELECT id, at, customer, amount, note FROM $table;
		ALTER TABLE ${table}_shadow ADD PRIMARY KEY (id, at);
		CREATE SEQUENCE ${table}_ids START @{[$rows + 1]};
		VACUUM ANALYZE $table, ${table}_shadow});
	return;
}

# load_start NODE, TABLE, CLIENTS: inserts, updates, deletes, and updates that move rows to another day, until load_stop.
sub load_start
{
	my ($node, $table, $clients) = @_;
	my $file = $node->basedir . "/$table.pgbench";
	append_to_file($file, slurp_file("$FindBin::Bin/../lib/partition_load.pgbench") =~ s/\bevents(?=\b|_)/$table/gr);
	my ($in, $out) = ('', '');
	local $ENV{PGAPPNAME} = 'load';
	my $run = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-f', $file, '-c', $clients, '-T', 3600, '--max-tries', 100, 'postgres' ], \$in, '>&', \$out);
	my $load = { run => $run, out => \$out, node => $node, from => value($node, "SELECT last_value FROM ${table}_ids"), table => $table };
	ok(goes_on($load), 'the load runs') or $run->pump_nb, diag($out);
	return $load;
}

# goes_on LOAD: waits until it has written a few rows more.
sub goes_on
{
	my ($load) = @_;
	my $last = value($load->{node}, "SELECT last_value FROM $load->{table}_ids");
	return poll($load->{node}, 'postgres', "SELECT last_value > $last + 20 FROM $load->{table}_ids");
}

# load_stop LOAD: ends it; its clients must all have been at work until then, and after what was done beside them.
sub load_stop
{
	my ($load) = @_;
	my $node = $load->{node};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(goes_on($load), 'the load goes on');
	$load->{run}->pump_nb;
	is($load->{run}->pumpable ? 'runs' : ${ $load->{out} }, 'runs', 'the load has run to the end');
	unlike(${ $load->{out} }, qr/error|abort/i, 'none of its statements has failed');
	$load->{inserts} = value($node, "SELECT last_value FROM $load->{table}_ids") - $load->{from};
	$load->{run}->signal('TERM');
	$load->{run}->finish;
	poll($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'load'");
	return;
}

# load_same NODE, TABLE, WHAT: the table and its shadow have the same rows.
sub load_same
{
	my ($node, $table, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return same($node, "$what: no row is lost, none doubled", "SELECT id, at, customer, amount, note, customer * 2 FROM ${table}_shadow", "SELECT id, at, customer, amount, note, twice FROM $table");
}

# load_longest_wait NODE: the longest wait of the load's statements for a lock on a relation, in ms, and how many waited 10 ms and more.
sub load_longest_wait
{
	my ($node) = @_;
	my @waits = slurp_file($node->logfile) =~ /^load .*process \d+ acquired \w+ on (?:relation|tuple) .* after ([\d.]+) ms/mg;
	my ($longest) = sort { $b <=> $a } @waits;
	return ($longest || 0, scalar @waits);
}

1;
