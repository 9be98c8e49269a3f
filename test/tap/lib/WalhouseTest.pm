# WalhouseTest: what the TAP tests share, on PostgreSQL::Test::Cluster. A test reads as a story:
#
#   use WalhouseTest;
#   use Test::More;
#   my ($source, $house) = source_and_house();
#   $source->safe_psql('postgres', 'CREATE TABLE …');
#   $house->safe_psql('postgres', 'CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS (' . server_options($source) . ')');
#   ok(poll($house, 'postgres', 'SELECT count(*) FROM …', '42'), 'the rows arrive');
#   done_testing();
#
# All servers have the settings that walhouse needs and listen on Unix sockets alone; the superuser's name is the
# operating system user's, the database is "postgres" unless the test makes others.
package WalhouseTest;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(new_server one_server source_and_house server_options poll wait_until kill9 shared_file sql);

# new_server NAME, conf => text, extension => 1, start => 0, initdb => [options]: a server of its own; `extension` creates
# walhouse in it.
sub new_server
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 'logical', $options{initdb} ? (extra => $options{initdb}) : ());
	$node->append_conf('postgresql.conf', slurp_file($ENV{WALHOUSE_CONF}));
	$node->append_conf('postgresql.conf', "restart_after_crash = on\nlog_statement = none\n");
	$node->append_conf('postgresql.conf', $options{conf}) if defined $options{conf};
	return $node if defined $options{start} && !$options{start};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION walhouse') if $options{extension};
	return $node;
}

# one_server: source and warehouse in one cluster, walhouse created in database "postgres".
sub one_server
{
	my (%options) = @_;
	return new_server('house', extension => 1, %options);
}

# source_and_house source => {conf => …}, house => {conf => …}: two started servers; walhouse is created in the second.
sub source_and_house
{
	my (%options) = @_;
	my $source = new_server('source', %{ $options{source} || {} });
	my $house = new_server('house', extension => 1, %{ $options{house} || {} });
	return ($source, $house);
}

# server_options NODE, DATABASE: the options by which CREATE SERVER … FOREIGN DATA WRAPPER walhouse reaches the node.
sub server_options
{
	my ($node, $database) = @_;
	return sprintf("host '%s', port '%s', dbname '%s'", $node->host, $node->port, $database || 'postgres');
}

# sql NODE, STATEMENT[, DATABASE]: safe_psql with the usual database.
sub sql
{
	my ($node, $statement, $database) = @_;
	return $node->safe_psql($database || 'postgres', $statement);
}

# poll NODE, DATABASE, QUERY[, EXPECTED = 't'[, SECONDS = 60]]: ask until the answer is as expected; false, with the
# last answer as a diagnostic, when the time is over. The server may be down meanwhile.
sub poll
{
	my ($node, $database, $query, $expected, $limit) = @_;
	my ($status, $out, $err);
	my $until = time() + ($limit || 60);

	$expected = 't' unless defined $expected;
	while (1)
	{
		# psql that ends before it has read its input, because the server is down, raises an error.
		eval { ($status, $out, $err) = $node->psql($database, $query, timeout => 60); 1 }
			or ($status, $out, $err) = (2, '', $@);
		return 1 if defined $status && $status == 0 && $out eq $expected;
		last if time() > $until;
		usleep(50_000);
	}
	diag("polled in vain: $query\nexpected: $expected\nlast answer: $out\nlast error: " . ($err // ''));
	return 0;
}

# wait_until SUB[, SECONDS = 60]: calls it until it is true; false when the time is over.
sub wait_until
{
	my ($check, $limit) = @_;
	my $until = time() + ($limit || 60);

	while (!$check->())
	{
		return 0 if time() > $until;
		usleep(5_000);
	}
	return 1;
}

# kill9 NODE[, PID]: kill -9 of the postmaster (its children have ended when this returns, so that the node can be
# started again), or of one of its processes. That one is dead when this returns, so that the postmaster, who then restarts
# the others, lets nobody in before they are back: poll for it.
sub kill9
{
	my ($node, $pid) = @_;
	my $until = time() + 60;
	if (defined $pid)
	{
		kill('KILL', $pid);
		usleep(5_000) while _alive($pid) && time() < $until;
		return;
	}
	my $postmaster = $node->{_pid};
	my @children = _children($postmaster);

	$node->kill9;
	while (grep { _alive($_) } @children)
	{
		if (time() > $until)
		{
			diag("children of a killed postmaster live on: @children");
			kill('KILL', @children);
		}
		usleep(20_000);
	}
	# A zombie still owns its lock file; whoever adopted it takes a moment to notice, and in some containers for ever.
	usleep(20_000) while kill(0, $postmaster) && time() < $until;
	unlink($node->data_dir . '/postmaster.pid') if kill(0, $postmaster) && !_alive($postmaster);
	return;
}

# _alive PID: false for a zombie, too.
sub _alive
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/stat" or return 0;
	my $line = <$file>;
	close $file;
	return defined $line && $line =~ /^\d+ \(.*\) [^ZX] /s;
}

# _children PID: the processes whose parent it is.
sub _children
{
	my ($parent) = @_;
	my @children;
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $file, '<', $stat or next;
		my $line = <$file>;
		close $file;
		push @children, $1 if defined $line && $line =~ /^(\d+) \(.*\) \S (\d+) /s && $2 == $parent;
	}
	return @children;
}

# shared_file PATH: a file of the sample data, for example 'chinook.sql'; the whole test is skipped where there is none.
sub shared_file
{
	my ($path) = @_;
	my $file = ($ENV{WALHOUSE_SHARED} || '') . "/data/$path";
	plan(skip_all => "no sample data $path beside the tree") unless -r $file;
	return $file;
}

1;
