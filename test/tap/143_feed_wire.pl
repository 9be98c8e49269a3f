# What lies between plugin and feed: a byte that changes on the way is noticed, and nothing of its transaction is stored; batches may be
# compressed; a worker that is told to end confirms what it has; what the source's version lacks is refused.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();

my ($source, $house) = source_and_house(source => { conf => "logical_decoding_work_mem = 64kB\n" });
sql($source, q{
	CREATE TABLE public.t (id int PRIMARY KEY, v text);
	CREATE PUBLICATION p FOR TABLE public.t;
});

# -------- a byte that changes on the way --------
my $folder = tempdir(CLEANUP => 1);
chmod 0755, $folder;
my $proxy = start_proxy();
sql($house, sprintf(q{CREATE SERVER s FOREIGN DATA WRAPPER walhouse OPTIONS (host '%s', port '%s', dbname 'postgres');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s;}, $folder, $source->port));
sql($house, q{CALL walhouse.create_feed('f', 's', publication => 'p')});
sql($source, q{INSERT INTO t VALUES (1, 'fine')});
sql($house, q{CALL walhouse.ingest('f')});
mirrors_equal($house, $source, 'f', 't');
for my $case (['a whole transaction', 1], ['a streamed transaction', 3000])
{
	my ($name, $rows) = @$case;
	my $from = 1000 * $rows;
	sql($source, "INSERT INTO t SELECT g, CASE WHEN g = $from + $rows / 2 THEN 'perfect' ELSE 'fine' END FROM generate_series($from, $from + $rows) g");
	my $before = value($house, q{SELECT (SELECT count(*) FROM f.t) || ' ' || (SELECT count(*) FROM f_log.t) || ' ' || max(position)
		FROM walhouse.feed_position});
	corrupt(1);
	fails_with($house, "$name: the change is noticed", q{CALL walhouse.ingest('f')}, qr/source transaction \d+ did not arrive as it was sent/,
		qr/The rows of table \d+ are not those that the source sent/);
	is(value($house, q{SELECT (SELECT count(*) FROM f.t) || ' ' || (SELECT count(*) FROM f_log.t) || ' ' || max(position)
		FROM walhouse.feed_position}), $before, "$name: nothing of it is stored");
	is(value($house, q{SELECT state FROM walhouse.feed_table}), 'ready', "$name: no table is blamed");
	corrupt(0);
	sql($house, q{CALL walhouse.ingest('f')});
	mirrors_equal($house, $source, 'f', 't');
}
kill('TERM', $proxy);
waitpid($proxy, 0);
sql($house, 'ALTER SERVER s OPTIONS (SET host ' . "'" . $source->host . "')");

# -------- compressed batches --------
fails_with($house, 'an unknown compression is refused', q{ALTER SERVER s OPTIONS (ADD compression 'best')}, qr/invalid value for option "compression"/);
for my $method (qw(lz4 zstd))
{
	my ($status, undef, $err) = $house->psql('postgres', "ALTER SERVER s OPTIONS (ADD compression '$method')");
  SKIP:
	{
		skip("this build has no $method", 3) if $status != 0 && $err =~ /not supported by this build/;
		is($status, 0, "compression $method is taken");
		sql($source, "INSERT INTO t SELECT g, repeat('$method', 20) FROM generate_series((SELECT max(id) + 1 FROM t), (SELECT max(id) + 5000 FROM t)) g");
		sql($source, "INSERT INTO t SELECT max(id) + 1, repeat('$method', 200) FROM t");
		sql($source, "UPDATE t SET v = v || '$method' WHERE id % 100 = 0");
		sql($house, q{SET walhouse.feed_memory = '64kB'; CALL walhouse.ingest('f')});
		mirrors_equal($house, $source, 'f', 't');
		like(slurp_log($source), qr/compression '$method'/,
			"the source was asked for $method");
		sql($house, 'ALTER SERVER s OPTIONS (DROP compression)');
	}
}

# -------- a worker that ends --------
# It is ended right after its commit, and nobody takes its place: the report that is due every 200 ms, once the commit is on disk, has
# not gone out by then.
sql($house, q{ALTER SYSTEM SET wal_writer_delay = '10s'; SELECT pg_reload_conf()});
sql($house, q{SELECT walhouse.start('f')});
for my $round (1 .. 3)
{
	ok(reach($house, 'f', $source, 60), "round $round: the worker runs");
	sql($source, "INSERT INTO t SELECT max(id) + 1, 'last $round' FROM t");
	ok(until_true(sub { (ask($house, "SELECT v FROM f.t WHERE v = 'last $round'") || '') ne '' }, 30), "round $round: it arrives");
	sql($house, q{ALTER SYSTEM SET walhouse.worker = off; SELECT pg_reload_conf()});
	ok(until_true(sub { !worker_pid($house) }, 30), "round $round: the worker has ended");
	my $position = value($house, 'SELECT max(position) FROM walhouse.feed_position');
	ok(poll($source, 'postgres', "SELECT confirmed_flush_lsn >= '$position' AND NOT active FROM pg_replication_slots", 't', 10),
		"round $round: its end confirms what it had");
	sql($house, q{ALTER SYSTEM RESET walhouse.worker; SELECT pg_reload_conf()});
}
ok(reach($house, 'f', $source, 60), 'and goes on');
ok(poll($house, 'postgres', q{SELECT received_lsn IS NOT NULL AND confirmed_lsn IS NOT NULL AND open_transactions = 0 FROM walhouse.stat_feed}),
	'stat_feed tells what is received and confirmed');
mirrors_equal($house, $source, 'f', 't');
sql($house, q{SELECT walhouse.stop('f')});

# -------- slots that go to standbys --------
if ($source->safe_psql('postgres', 'SHOW server_version_num') < 170000)
{
	fails_with($house, 'failover is refused before 17', q{CALL walhouse.create_feed('g', 's', publication => 'p', failover => true)},
		qr/Slots that go to standbys need PostgreSQL 17/, qr/leave failover out/);
}
else
{
	sql($house, q{CALL walhouse.create_feed('g', 's', publication => 'p', failover => true)});
	is(value($source, q{SELECT string_agg(slot_name || ' ' || failover, ', ' ORDER BY slot_name) FROM pg_replication_slots WHERE slot_name LIKE '%g%'}),
		value($house, q{SELECT slot || ' true' FROM walhouse.feed WHERE name = 'g'}), 'the slot goes to standbys');
}

$house->stop;
$source->stop;
done_testing();

sub slurp_log
{
	my ($node) = @_;
	return PostgreSQL::Test::Utils::slurp_file($node->logfile);
}

sub corrupt
{
	my ($on) = @_;
	if ($on)
	{
		open my $file, '>', "$folder/corrupt" or die "cannot write $folder/corrupt: $!";
		close $file;
	}
	else
	{
		unlink "$folder/corrupt";
	}
	return;
}

# start_proxy: a process that passes bytes between its socket and the source's; while $folder/corrupt is there, "perfect" becomes
# "porfect" on the way to the warehouse. Returns its process id.
sub start_proxy
{
	my $listen = IO::Socket::UNIX->new(Local => "$folder/.s.PGSQL." . $source->port, Listen => 10) or die "cannot listen: $!";
	chmod 0777, "$folder/.s.PGSQL." . $source->port;
	my $pid = fork;
	die "cannot fork: $!" unless defined $pid;
	return $pid if $pid;

	my ($select, %other, %from_source) = (IO::Select->new($listen));
	$SIG{TERM} = sub { POSIX::_exit(0) };
	$SIG{PIPE} = 'IGNORE';
	while (my @ready = $select->can_read)
	{
		for my $socket (@ready)
		{
			if ($socket == $listen)
			{
				my $client = $listen->accept or next;
				my $server = IO::Socket::UNIX->new(Peer => $source->host . '/.s.PGSQL.' . $source->port);
				next unless $server;
				($other{$client}, $other{$server}) = ($server, $client);
				$from_source{$server} = 1;
				$select->add($client, $server);
				next;
			}
			next unless $other{$socket};
			my ($other, $bytes) = ($other{$socket});
			my $read = sysread($socket, $bytes, 65536);
			if (!$read)
			{
				$select->remove($socket, $other);
				delete @other{ $socket, $other };
				close $_ for ($socket, $other);
				next;
			}
			$bytes =~ s/perfect/porfect/g if $from_source{$socket} && -e "$folder/corrupt";
			my $done = 0;
			while ($done < length $bytes)
			{
				my $written = syswrite($other, $bytes, length($bytes) - $done, $done);
				last unless defined $written;
				$done += $written;
			}
		}
	}
	POSIX::_exit(0);
}
