# Publications are evaluated as pgoutput evaluates them. Random publications (row filters, column lists, schemas, all
# tables, via root) and random changes, DDL among them, are decoded from the same WAL by pgoutput and by this plugin, for several
# sets of publications, streamed and not; transaction by transaction both must tell the same. Where pgoutput refuses a set, so must the plugin.
# What the plugin tells beyond pgoutput is checked where that is possible: an unchanged TOAST value that it has filled
# in must be the old row's.
#   WALHOUSE_SEED    the rounds start here (default: a fixed seed, so that a run can be repeated)
#   WALHOUSE_ROUNDS  how many (default 12)
use strict;
use warnings;
use JSON::PP;
use WalhouseTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('parity', conf => "shared_preload_libraries = ''\n");
my $seed = $ENV{WALHOUSE_SEED} || 20261;
my $rounds = $ENV{WALHOUSE_ROUNDS} || 12;
my $version = sql($node, q{SELECT current_setting('server_version_num')::integer / 10000});
my $json = JSON::PP->new->utf8(0)->allow_nonref;
my %seen; # what has occurred, so that the test shows that it has tried everything
my $refused = qr/cannot use different column lists/;

sub any { return $_[ int(rand(@_)) ]; }
sub chance { return rand() < $_[0]; }

# -------- pgoutput's protocol, version 1 --------

# parse_pgoutput LINES: transactions as normalised lists; a line is a message in hexadecimal.
sub parse_pgoutput
{
	my @transactions;
	my %relations;

	for my $line (@_)
	{
		my $data = pack('H*', $line);
		my $kind = substr($data, 0, 1, '');
		if ($kind eq 'B')
		{
			my ($hi, $lo, undef, undef, $xid) = unpack('N5', $data);
			push @transactions, { xid => $xid, lsn => sprintf('%X/%X', $hi, $lo), changes => [] };
		}
		elsif ($kind eq 'R')
		{
			my ($relid, $schema, $name, $identity, $count) = unpack('N Z* Z* a n', $data);
			my $at = 4 + length($schema) + 1 + length($name) + 1 + 3;
			my @columns;
			for (1 .. $count)
			{
				my ($flags, $column) = unpack("\@$at C Z*", $data);
				$at += 1 + length($column) + 1 + 8;
				push @columns, { name => $column, key => $flags & 1 };
			}
			$relations{$relid} = { name => "$schema.$name", columns => \@columns };
		}
		elsif ($kind =~ /[IUD]/)
		{
			my $relation = $relations{ unpack('N', substr($data, 0, 4, '')) };
			my %change = (op => { I => 'insert', U => 'update', D => 'delete' }->{$kind}, table => $relation->{name});
			while (length $data)
			{
				my $part = substr($data, 0, 1, '');
				my $tuple = parse_tuple($relation, \$data);
				if ($part eq 'K')
				{
					my %key = map { $_->{name} => 1 } grep { $_->{key} } @{ $relation->{columns} };
					delete $tuple->{$_} for grep { !$key{$_} } keys %$tuple;
					$change{key} = $tuple;
				}
				$change{before} = $tuple if $part eq 'O';
				$change{after} = $tuple if $part eq 'N';
			}
			push @{ $transactions[-1]{changes} }, \%change;
		}
		elsif ($kind eq 'T')
		{
			my ($count, $options, @relids) = unpack('N C N*', $data);
			push @{ $transactions[-1]{changes} },
				{ op => 'truncate', options => $options, table => join(',', sort map { $relations{$_}{name} } @relids) };
		}
	}
	return \@transactions;
}

# parse_tuple RELATION, \DATA: a hash by column; of an unchanged TOAST value the value is a reference.
sub parse_tuple
{
	my ($relation, $data) = @_;
	my %tuple;
	my $count = unpack('n', substr($$data, 0, 2, ''));

	die 'a tuple does not fit its relation' if $count != @{ $relation->{columns} };
	for my $column (@{ $relation->{columns} })
	{
		my $kind = substr($$data, 0, 1, '');
		if ($kind eq 't')
		{
			my $len = unpack('N', substr($$data, 0, 4, ''));
			$tuple{ $column->{name} } = substr($$data, 0, $len, '');
		}
		else
		{
			$tuple{ $column->{name} } = $kind eq 'u' ? \'unchanged' : undef;
		}
	}
	return \%tuple;
}

# -------- the plugin's JSON --------

# parse_walhouse LINES: the same of JSON; transactions that come in segments are put together.
sub parse_walhouse
{
	my @transactions;
	my %streamed;
	my $current;

	for my $entry (map { $json->decode($_) } @_)
	{
		my $kind = $entry->{kind};
		if ($kind eq 'begin')
		{
			$current = { xid => $entry->{xid}, lsn => $entry->{commit_lsn}, changes => [] };
			push @transactions, $current;
		}
		elsif ($kind eq 'stream_start')
		{
			$current = $streamed{ $entry->{xid} } ||= { xid => $entry->{xid}, changes => [] };
			$seen{'segment'}++;
		}
		elsif ($kind eq 'stream_abort')
		{
			my $changes = $streamed{ $entry->{xid} }{changes};
			@$changes = grep { $_->{subxid} != $entry->{subxid} } @$changes;
			delete $streamed{ $entry->{xid} } if $entry->{subxid} == $entry->{xid};
			$seen{'subtransaction aborted'}++;
		}
		elsif ($kind eq 'stream_commit')
		{
			$streamed{ $entry->{xid} }{lsn} = $entry->{commit_lsn};
			push @transactions, delete $streamed{ $entry->{xid} };
		}
		elsif ($kind =~ /^(insert|update|delete)$/)
		{
			my %change = (op => $kind, table => "$entry->{schema}.$entry->{table}", subxid => $entry->{subxid} || 0);
			for my $image (qw(key before after))
			{
				next unless $entry->{$image};
				$change{$image} = { map { $_ => text_of($entry->{$image}{$_}) } keys %{ $entry->{$image} } };
			}
			$change{after}{$_} = \'unchanged' for @{ $entry->{unchanged} || [] };
			# pgoutput does not tell of a delete that has no image
			push @{ $current->{changes} }, \%change
				unless $kind eq 'delete' && !$change{key} && !$change{before};
		}
		elsif ($kind eq 'truncate')
		{
			push @{ $current->{changes} },
				{
				op => 'truncate',
				subxid => $entry->{subxid} || 0,
				options => ($entry->{cascade} ? 1 : 0) | ($entry->{restart_identity} ? 2 : 0),
				table => join(',', sort map { "$_->{schema}.$_->{table}" } @{ $entry->{tables} })
				};
		}
	}
	return [ grep { @{ $_->{changes} } } @transactions ];
}

sub text_of
{
	my ($value) = @_;
	return $value ? 't' : 'f' if JSON::PP::is_bool($value);
	return $value;
}

# -------- comparing --------

# difference EXPECTED, GOT: nothing, or where they part.
sub difference
{
	my ($expected, $got) = @_;

	for my $i (0 .. ($#$expected > $#$got ? $#$expected : $#$got))
	{
		my ($want, $have) = ($expected->[$i], $got->[$i]);
		return "transaction $i:\n" . shown($want) . "\n" . shown($have)
			if !$want || !$have || $want->{xid} != $have->{xid} || $want->{lsn} ne $have->{lsn};
		for my $j (0 .. ($#{ $want->{changes} } > $#{ $have->{changes} } ? $#{ $want->{changes} } : $#{ $have->{changes} }))
		{
			my ($a, $b) = ($want->{changes}[$j], $have->{changes}[$j]);
			return "xid $want->{xid}, change $j:\n" . shown($a) . "\n" . shown($b) unless $a && $b && is_same_change($a, $b);
			$seen{ $a->{op} }++;
		}
	}
	return '';
}

sub is_same_change
{
	my ($a, $b) = @_;

	return 0 if $a->{op} ne $b->{op} || $a->{table} ne $b->{table} || ($a->{options} || 0) != ($b->{options} || 0);
	for my $image (qw(key before))
	{
		return 0 unless is_same_image($a->{$image}, $b->{$image});
	}
	my %after = %{ $b->{after} || {} };
	my $old = $a->{before} || $a->{key} || {};
	for my $column (grep { ref $a->{after}{$_} } keys %{ $a->{after} || {} })
	{
		next if ref $after{$column};
		return 0 unless exists $after{$column} && defined $old->{$column} && $old->{$column} eq $after{$column};
		$after{$column} = $a->{after}{$column};
		$seen{filled}++;
	}
	return is_same_image($a->{after}, $b->{after} ? \%after : undef);
}

sub is_same_image
{
	my ($a, $b) = @_;

	return !$a && !$b unless $a && $b;
	return 0 if join(',', sort keys %$a) ne join(',', sort keys %$b);
	for my $column (keys %$a)
	{
		my ($x, $y) = map { ref $_ ? "\0unchanged" : defined $_ ? "=$_" : "\0null" } ($a->{$column}, $b->{$column});
		return 0 if $x ne $y;
	}
	return 1;
}

sub shown
{
	my ($thing) = @_;
	my $text = $thing ? JSON::PP->new->canonical->allow_unknown->encode($thing) : 'nothing';
	$text =~ s/(.)\1{50,}/$1…/g;
	return length $text > 1500 ? substr($text, 0, 1500) . '…' : $text;
}

# -------- the tables --------

my $tables = <<~'SQL';
	CREATE SCHEMA s1;
	CREATE SCHEMA s2;
	CREATE TABLE s1.plain (id integer PRIMARY KEY, a integer, b text, big text, flag boolean);
	CREATE TABLE s1.whole (id integer PRIMARY KEY, a integer, b text, big text, flag boolean);
	ALTER TABLE s1.whole REPLICA IDENTITY FULL;
	CREATE TABLE s2.chosen (gone integer, id integer NOT NULL, a integer NOT NULL, b text, big text, flag boolean);
	ALTER TABLE s2.chosen DROP COLUMN gone;
	CREATE UNIQUE INDEX chosen_key ON s2.chosen (a, id);
	ALTER TABLE s2.chosen REPLICA IDENTITY USING INDEX chosen_key;
	CREATE TABLE s2.bare (id integer, a integer, b text, big text, flag boolean);
	CREATE TABLE s2.wide (id integer, a integer, b text, big text NOT NULL, flag boolean, PRIMARY KEY (id, big));
	CREATE TABLE s1.made (id integer PRIMARY KEY, a integer, b text, g integer GENERATED ALWAYS AS (a * 2) STORED, big text, flag boolean);
	CREATE TABLE s1.root (id integer, a integer, b text, big text, flag boolean, PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE s1.leaf1 PARTITION OF s1.root FOR VALUES FROM (0) TO (20);
	CREATE TABLE s2.leaf2 (big text, gone integer, flag boolean, b text, id integer NOT NULL, a integer);
	ALTER TABLE s2.leaf2 DROP COLUMN gone;
	ALTER TABLE s1.root ATTACH PARTITION s2.leaf2 FOR VALUES FROM (20) TO (40);
	CREATE TABLE s2.mid (flag boolean, id integer NOT NULL, a integer, b text, big text) PARTITION BY RANGE (id);
	CREATE TABLE s2.leaf3 (id integer NOT NULL, a integer, b text, big text, flag boolean);
	ALTER TABLE s2.mid ATTACH PARTITION s2.leaf3 FOR VALUES FROM (40) TO (60);
	ALTER TABLE s1.root ATTACH PARTITION s2.mid FOR VALUES FROM (40) TO (100);
	CREATE TABLE s2.leaf4 PARTITION OF s2.mid FOR VALUES FROM (60) TO (100);
	CREATE TABLE s1.fullroot (id integer, a integer, b text, big text, flag boolean) PARTITION BY LIST (a);
	CREATE TABLE s1.full1 (a integer, big text, id integer, flag boolean, b text);
	CREATE TABLE s1.full2 PARTITION OF s1.fullroot DEFAULT;
	ALTER TABLE s1.fullroot ATTACH PARTITION s1.full1 FOR VALUES IN (0, 1, 2);
	ALTER TABLE s1.fullroot REPLICA IDENTITY FULL;
	ALTER TABLE s1.full1 REPLICA IDENTITY FULL;
	ALTER TABLE s1.full2 REPLICA IDENTITY FULL;
	DO $$
	DECLARE
		name regclass;
	BEGIN
		FOR name IN SELECT c.oid FROM pg_class c WHERE relnamespace IN ('s1'::regnamespace, 's2'::regnamespace) AND relkind IN ('r', 'p') LOOP
			EXECUTE format('ALTER TABLE %s ALTER COLUMN big SET STORAGE EXTERNAL', name);
		END LOOP;
	END $$;
	SQL

# The columns that updates and deletes may be filtered by, and those that a list then needs.
my %key = (
	's1.plain' => ['id'], 's1.whole' => [qw(id a b big flag)], 's2.chosen' => [qw(a id)], 's2.bare' => [],
	's2.wide' => [qw(id big)], 's1.made' => ['id'], 's1.root' => ['id'], 's1.leaf1' => ['id'], 's2.leaf2' => ['id'],
	's2.mid' => ['id'], 's2.leaf3' => ['id'], 's2.leaf4' => ['id'], 's1.fullroot' => [qw(id a b big flag)],
	's1.full1' => [qw(id a b big flag)], 's1.full2' => [qw(id a b big flag)]);
my @all = sort keys %key;
my @inserted = grep { !/mid|root/ || /s1\.(full)?root/ } @all;

my %filters = (
	id => [ 'id % 3 = 0', 'id < 25', 'id BETWEEN 10 AND 70', 'NULLIF(id, 7) IS NOT NULL' ],
	a => [ 'a > 2', 'a IS DISTINCT FROM 3', 'a = ANY (ARRAY[1, 2, 5])' ],
	b => [ "b LIKE 'x%'", "length(b) > 2" ],
	big => [ 'length(big) > 3000', "big < 'm'" ],
	flag => [ 'flag', 'flag IS NOT TRUE' ]);

sub filter_on
{
	my (@columns) = @_;
	my @terms = map { any(@{ $filters{$_} }) } @columns[ map { int(rand(@columns)) } 1 .. (chance(0.3) ? 2 : 1) ];
	return '(' . join(chance(0.5) ? ' AND ' : ' OR ', @terms) . ')';
}

# publication: what stands behind CREATE PUBLICATION name, or behind ALTER PUBLICATION name SET.
sub published_table
{
	my ($table, $lists, $inserts_only) = @_;
	my $text = "TABLE ONLY $table";
	my @columns = qw(id a b big flag);

	$text = "TABLE $table" if $table =~ /root|mid/;
	if (chance(0.4))
	{
		# mostly the same list everywhere, since different ones are refused
		my %needed = map { $_ => 1 } @{ $key{$table} };
		my @list = $lists->{$table} && !chance(0.05) ? @{ $lists->{$table} } : grep { $needed{$_} || chance(0.5) } @columns;
		if (@list && @list < @columns)
		{
			$lists->{$table} = \@list;
			$text .= ' (' . join(', ', sort { rand() <=> 0.5 } @list) . ')';
		}
	}
	if (chance(0.5))
	{
		my @usable = $inserts_only ? @columns : @{ $key{$table} };
		$text .= ' WHERE ' . filter_on(@usable) if @usable;
	}
	return $text;
}

sub publication
{
	my ($lists) = @_;
	my $inserts_only = chance(0.3);
	my @operations = $inserts_only ? ('insert') : grep { chance(0.8) } qw(insert update delete);
	my $what;

	push @operations, 'truncate' if chance(0.8) || !@operations;
	if (chance(0.12))
	{
		$what = 'FOR ALL TABLES';
	}
	elsif (chance(0.2))
	{
		$what = 'FOR TABLES IN SCHEMA ' . any('s1', 's2', 's1, s2');
	}
	else
	{
		my %chosen = map { any(@all, 's1.root', 's1.fullroot') => 1 } 1 .. 4;
		$what = 'FOR ' . join(', ', map { published_table($_, $lists, $inserts_only) } sort keys %chosen);
	}
	return "$what WITH (publish = '" . join(', ', @operations) . "'" . (chance(0.5) ? ', publish_via_partition_root' : '') . ')';
}

# -------- the changes --------

my $largest = 6000;

sub value
{
	my ($column) = @_;
	return int(rand(100)) if $column eq 'id';
	return chance(0.1) ? 'NULL' : int(rand(8)) if $column eq 'a';
	return any('NULL', "'x'", "'xyz'", "'b''c'", "''") if $column eq 'b';
	return any('true', 'false', 'NULL') if $column eq 'flag';
	return chance(0.4) ? "'" . any('s', 'z') . "'" : "repeat('" . any('a', 'm', 'z') . "', " . int(2000 + rand($largest)) . ')';
}

sub change
{
	my ($definitions) = @_;
	my $table = any(@inserted);
	my @columns = qw(a b big flag);
	my $dice = rand();

	return "INSERT INTO $table (id, a, b, big, flag) SELECT i, " . join(', ', map { value($_) } @columns)
		. ' FROM generate_series(' . value('id') . '::integer, 99, ' . (3 + int(rand(30))) . ') i'
		if $dice < 0.28;
	return "UPDATE $table SET " . join(', ', map { "$_ = " . value($_) } grep { chance(0.35) || $_ eq 'flag' } @columns)
		. ' WHERE ' . any("id = " . value('id'), 'id % 5 = ' . int(rand(5)), 'a = ' . int(rand(8)), 'id < ' . value('id'))
		if $dice < 0.48;
	# to and fro over the edges of filters and, sometimes, of partitions
	return "UPDATE $table SET id = id + " . any(-20, -2, -1, 1, 2, 3, 20) . ', b = ' . value('b')
		. " WHERE id IN (SELECT id FROM $table ORDER BY md5(id::text || '" . int(rand(1000)) . "') LIMIT " . any(1, 1, 3) . ')'
		if $dice < 0.75;
	return "DELETE FROM $table WHERE id % 11 = " . int(rand(11)) if $dice < 0.82;
	return 'TRUNCATE ' . join(', ', map { any(@all) } 1 .. 1 + int(rand(2))) . any('', ' RESTART IDENTITY', ' CASCADE') if $dice < 0.86;
	return definition($definitions);
}

# definition: DDL; what fails is taken back and goes on.
sub definition
{
	my ($publications) = @_;
	my $table = any(@all);
	my $name = any(@$publications);
	my $dice = rand();

	return "ALTER PUBLICATION $name SET (publish = '" . join(', ', 'truncate', grep { chance(0.6) } qw(insert update delete)) . "')"
		if $dice < 0.15;
	return "ALTER PUBLICATION $name SET (publish_via_partition_root = " . any('true', 'false') . ')' if $dice < 0.25;
	return "ALTER PUBLICATION $name ADD " . published_table($table, {}, 0) if $dice < 0.35;
	return "ALTER PUBLICATION $name DROP TABLE $table" if $dice < 0.4;
	return "ALTER PUBLICATION $name " . any('ADD', 'DROP') . ' TABLES IN SCHEMA ' . any('s1', 's2') if $dice < 0.45;
	return any('ALTER TABLE s1.root DETACH PARTITION s2.leaf2', 'ALTER TABLE s1.root DETACH PARTITION s2.mid',
		'ALTER TABLE s2.mid DETACH PARTITION s2.leaf3', 'ALTER TABLE s1.fullroot DETACH PARTITION s1.full1') if $dice < 0.55;
	return any('ALTER TABLE s1.root ATTACH PARTITION s2.leaf2 FOR VALUES FROM (20) TO (40)',
		'ALTER TABLE s1.root ATTACH PARTITION s2.mid FOR VALUES FROM (40) TO (100)',
		'ALTER TABLE s2.mid ATTACH PARTITION s2.leaf3 FOR VALUES FROM (40) TO (60)',
		'ALTER TABLE s1.fullroot ATTACH PARTITION s1.full1 FOR VALUES IN (0, 1, 2)') if $dice < 0.75;
	return "ALTER TABLE $table ADD COLUMN extra" . int(rand(1000)) . ' integer DEFAULT ' . int(rand(10)) if $dice < 0.82;
	return "ALTER TABLE $table RENAME COLUMN b TO " . any('b1', 'b2') if $dice < 0.85;
	return "ALTER TABLE $table RENAME COLUMN " . any('b1', 'b2') . ' TO b' if $dice < 0.9;
	return "ANALYZE $table" if $dice < 0.92;
	return "CREATE INDEX ON $table (id)" if $dice < 0.95;
	return "ALTER TABLE $table SET SCHEMA " . any('s1', 's2');
}

# A statement of its own transaction, or several of one; each in a subtransaction that an error takes back.
sub transaction
{
	my ($publications) = @_;
	my @statements = map { change($publications) } 1 .. (chance(0.3) ? 3 + int(rand(10)) : 1);
	return "DO \$do\$ BEGIN\n"
		. join('', map { "BEGIN EXECUTE \$q\$$_\$q\$;" . (chance(0.1) ? " RAISE 'undone';" : '') . ' EXCEPTION WHEN OTHERS THEN NULL; END;' . "\n" } @statements) . "END \$do\$;\n";
}

# -------- the rounds --------

# peek DATABASE, QUERY: lines, and the error.
sub peek
{
	my ($database, $query) = @_;
	my ($status, $out, $err) = $node->psql($database, $query, timeout => 120);
	return ([ split /\n/, $out ], $status == 0 ? '' : $err || 'failed');
}

for my $round (1 .. $rounds)
{
	my $start = $seed + $round - 1;
	my $database = "round$round";
	my @names = map { "p$_" } 1 .. 5;
	my %lists;
	my ($compared, $refusals, $changes) = (0, 0, 0);

	srand($start);
	sql($node, "CREATE DATABASE $database");
	sql($node, $tables, $database);
	sql($node, join('', map { transaction([@names]) } 1 .. 10), $database);
	for my $name (@names)
	{
		my $tries = 0;
		while ($tries++ < 20)
		{
			my ($status) = $node->psql($database, "CREATE PUBLICATION $name " . publication(\%lists));
			last if $status == 0;
		}
	}
	sql($node, "SELECT pg_create_logical_replication_slot('${_}_$database', '$_') FROM (SELECT 1) one", $database)
		for qw(pgoutput walhouse_output);
	sql($node, join('', map { transaction(\@names) } 1 .. 70), $database);

	my @sets = ((map { [$_] } @names), (map { my %set = map { any(@names) => 1 } 1 .. 3; [ sort keys %set ] } 1 .. 6));
	for my $set (@sets)
	{
		my $list = join(',', @$set);
		my ($theirs, $their_error) = peek($database,
			"SELECT encode(data, 'hex') FROM pg_logical_slot_peek_binary_changes('pgoutput_$database', NULL, NULL,"
			. " 'proto_version', '1', 'publication_names', '$list')");
		my $streaming = chance(0.5) ? 'on' : 'off';
		my ($ours, $our_error) = peek($database, "SET logical_decoding_work_mem = '64kB'; SELECT data FROM pg_logical_slot_peek_changes('walhouse_output_$database', NULL, NULL,"
			. " 'format', 'json', 'publication', '$list', 'generated_columns', 'publication', 'streaming', '$streaming')");
		my $difference;
		if ($their_error || $our_error)
		{
			$difference = $their_error =~ $refused && $our_error =~ $refused ? '' : "pgoutput: $their_error\nwalhouse: $our_error";
			$refusals++;
		}
		else
		{
			my $expected = parse_pgoutput(@$theirs);
			$difference = difference($expected, parse_walhouse(@$ours));
			$changes += @{ $_->{changes} } for @$expected;
			$compared++;
		}
		next unless $difference;
		fail("round $round, seed $start, publications $list, streaming $streaming");
		diag($difference);
		diag(sql($node, q{SELECT string_agg(format('%s all %s root %s %s%s%s%s: %s', pubname, puballtables, pubviaroot, pubinsert::text,
			pubupdate::text, pubdelete::text, pubtruncate::text, (SELECT string_agg(format('%s (%s) %s', prrelid::regclass, prattrs,
			pg_get_expr(prqual, prrelid)), ', ') FROM pg_publication_rel WHERE prpubid = p.oid)), chr(10)) FROM pg_publication p}, $database))
			if $ENV{WALHOUSE_VERBOSE};
		last;
	}
	ok($compared + $refusals == @sets, "round $round: $compared sets with $changes changes, $refusals refused");
	$seen{refused} += $refusals;
	$seen{compared} += $compared;
	$seen{changes} += $changes;
	sql($node, "SELECT pg_drop_replication_slot('${_}_$database')") for qw(pgoutput walhouse_output);
	sql($node, "DROP DATABASE $database");
}
note(join(', ', map { "$_ $seen{$_}" } sort keys %seen));
for my $thing (qw(insert update delete truncate compared segment))
{
	cmp_ok($seen{$thing} || 0, '>', 0, "$thing has occurred");
}
$node->stop;
done_testing();
