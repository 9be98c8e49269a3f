# WalhouseStream: a strict follower of the change stream, on WalhouseWire: it holds entries to the rules of their order and of the
# tally, and keeps what the transactions that committed leave of the tables.
package WalhouseStream;

use strict;
use warnings;
use Exporter 'import';
use WalhouseTest;
use WalhouseWire qw(fields varint crc32c);

our @EXPORT = qw(get_batches split_delimited entries_of replay);

my %ENTRY = (1 => 'hello', 2 => 'begin', 3 => 'commit', 4 => 'relation', 5 => 'rows', 6 => 'truncate', 7 => 'message',
	8 => 'stream_start', 9 => 'stream_stop', 10 => 'stream_commit', 11 => 'stream_abort', 12 => 'prepare', 13 => 'stream_prepare',
	14 => 'commit_prepared', 15 => 'rollback_prepared', 16 => 'rewrite', 17 => 'partitions', 18 => 'chunk');

# get_batches NODE, SLOT, settings => text, function => 'get' or 'peek', options...: what an SQL function takes off a slot.
sub get_batches
{
	my ($node, $slot, %options) = @_;
	my $settings = delete $options{settings} // '';
	my $function = delete $options{function} // 'get';
	my $list = join '', map { ", '$_', '$options{$_}'" } sort keys %options;
	my $hex = sql($node, "$settings
		SELECT encode(data, 'hex') FROM pg_logical_slot_${function}_binary_changes('$slot', NULL, NULL$list)");
	return map { pack 'H*', $_ } split /\n/, $hex;
}

# split_delimited BYTES: the batches of framing=delimited, with or without the line ends of pg_recvlogical.
sub split_delimited
{
	my ($bytes) = @_;
	my ($at, @batches) = (0);
	while ($at < length $bytes)
	{
		$at++, next if substr($bytes, $at, 1) eq "\n";
		my $len = varint(\$bytes, \$at);
		die 'a batch is cut off' if $at + $len > length $bytes;
		push @batches, substr $bytes, $at, $len;
		$at += $len;
	}
	return @batches;
}

sub zigzag { my $n = $_[0]; return $n & 1 ? -($n >> 1) - 1 : $n >> 1 }

# entries_of BATCHES: {kind, f => {number => last value}, all => {number => [values]}, batch => its number}.
sub entries_of
{
	my @entries;
	my $batch = 0;
	for my $bytes (@_)
	{
		$batch++;
		for my $entry (fields($bytes))
		{
			die "field $entry->[0] in a batch" if $entry->[0] != 1;
			my ($inner) = fields($entry->[1]);
			my %entry = (kind => $ENTRY{ $inner->[0] } // die("entry $inner->[0]"), batch => $batch, f => {}, all => {});
			for my $field (fields($inner->[1]))
			{
				$entry{f}{ $field->[0] } = $field->[1];
				push @{ $entry{all}{ $field->[0] } }, $field->[1];
			}
			push @entries, \%entry;
		}
	}
	return @entries;
}

# replay ENTRIES[, STATE]: follows the stream; dies where it breaks a rule. The state that it returns can be gone on with:
#   rows => {table => {first column => [columns]}}, transactions => [[xid, kind, changes]...], messages => [[prefix, content]...],
#   prepared => {gid => transaction}, aborts => subtransactions that were voided, segments => their number
sub replay
{
	my ($entries, $state) = @_;
	$state //= { rows => {}, transactions => [], messages => [], prepared => {}, relations => {}, open => {}, aborts => 0, segments => 0 };
	for my $entry (@$entries)
	{
		my $do = __PACKAGE__->can("do_$entry->{kind}") // die "no rule for $entry->{kind}";
		$do->($state, $entry->{f}, $entry->{all}, $entry);
	}
	die 'the stream ends in a transaction or segment' if $state->{txn};
	return $state;
}

sub new_txn { return { xid => $_[0], changes => [], seq => 0 } }

sub do_hello
{
	my ($state, $f, $all) = @_;
	$state->{relations} = {};
	$state->{open} = {};
	$state->{txn} = undef;
	$state->{options} = { map { my %o = map { @$_ } fields($_); $o{1} => $o{2} } @{ $all->{9} } };
	return;
}

sub do_begin
{
	my ($state, $f) = @_;
	die 'begin in a transaction' if $state->{txn};
	$state->{txn} = new_txn($f->{1});
	$state->{txn}{origin} = $f->{5};
	$state->{txn}{gid} = $f->{6};
	return;
}

sub do_stream_start
{
	my ($state, $f) = @_;
	my $known = $state->{open}{ $f->{1} };
	die 'a segment in a transaction' if $state->{txn};
	die 'first is wrong' if !!$f->{2} == !!$known;
	$state->{txn} = $state->{open}{ $f->{1} } //= new_txn($f->{1});
	$state->{txn}{origin} = $f->{3};
	$state->{txn}{is_streamed} = 1;
	$state->{segments}++;
	return;
}

sub do_stream_stop
{
	my ($state, $f) = @_;
	die 'stop without start' if !$state->{txn} || !$state->{txn}{is_streamed} || $state->{txn}{xid} != $f->{1};
	$state->{txn} = undef;
	return;
}

sub do_stream_abort
{
	my ($state, $f) = @_;
	my $txn = $state->{open}{ $f->{1} } // die 'abort of an unknown transaction';
	die 'an abort in a transaction' if $state->{txn};
	if ($f->{1} == $f->{2})
	{
		delete $state->{open}{ $f->{1} };
		push @{ $state->{transactions} }, [ $f->{1}, 'stream_abort', 0 ];
		return;
	}
	my @left = grep { ($_->{subxid} // 0) != $f->{2} } @{ $txn->{changes} };
	die 'abort of a subtransaction that sent nothing' if @left == @{ $txn->{changes} };
	$txn->{changes} = \@left;
	$state->{aborts}++;
	return;
}

sub do_relation
{
	my ($state, $f, $all) = @_;
	die "schema $f->{1} is told twice" if $state->{relations}{ $f->{1} };
	my @columns = map { my %c = map { @$_ } fields($_); { attnum => $c{1}, kind => $c{7}, name => $c{2} } } @{ $all->{6} // [] };
	$state->{relations}{ $f->{1} } = { relid => $f->{2}, name => $f->{4}, columns => \@columns };
	return;
}

# row: the columns of an image as an array, undef for NULL; a value that is told as unchanged is a reference.
sub row
{
	my ($relation, $bytes) = @_;
	my %row = map { @$_ } fields($bytes);
	my ($at, %unchanged) = (0);
	while (defined $row{2001} && $at < length $row{2001}) { $unchanged{ varint(\$row{2001}, \$at) } = 1 }
	return [ map {
		my $value = $row{ $_->{attnum} };
		$unchanged{ $_->{attnum} } ? \'unchanged' : defined $value && ($_->{kind} == 2 || $_->{kind} == 3) ? zigzag($value) : $value
	} @{ $relation->{columns} } ];
}

sub add
{
	my ($state, $seq, $subxid, %change) = @_;
	my $txn = $state->{txn} // die 'a change outside of a transaction';
	die "seq $seq does not follow $txn->{seq}" if $seq <= $txn->{seq};
	die 'a subxid outside of a segment' if defined $subxid && !$txn->{is_streamed};
	$txn->{seq} = $seq;
	push @{ $txn->{changes} }, { %change, subxid => $subxid, seq => $seq };
	return;
}

sub do_rows
{
	my ($state, $f, $all) = @_;
	my $relation = $state->{relations}{ $f->{1} } // die "schema $f->{1} is unknown";
	my @after = @{ $all->{4} // [] };
	my @before = @{ $all->{5} // [] };
	my $count = @after > @before ? @after : @before || 1;
	die 'images do not match' if $f->{2} == 1 && @before || $f->{2} == 3 && @after || $f->{6} && @before != $count;
	defined row($relation, $_)->[0] or die 'an image without its key' for @after, @before;
	add($state, $f->{3} + $_, $f->{7}, op => $f->{2}, relation => $relation, after => $after[$_], before => $before[$_])
		for 0 .. $count - 1;
	return;
}

sub do_truncate
{
	my ($state, $f) = @_;
	my ($at, @tables) = (0);
	push @tables, $state->{relations}{ varint(\$f->{2}, \$at) } // die 'truncate of an unknown table' while $at < length $f->{2};
	add($state, $f->{1}, $f->{5}, op => 4, tables => \@tables);
	return;
}

sub do_message
{
	my ($state, $f) = @_;
	if ($f->{1}) { add($state, $f->{5}, $f->{6}, op => 5, prefix => $f->{2}, content => $f->{3}) }
	elsif ($state->{txn}) { die 'a message that is not transactional in a transaction' }
	else { push @{ $state->{messages} }, [ $f->{2}, $f->{3}, 0 ] }
	return;
}

# check_tally: what the end of a transaction says of it.
sub check_tally
{
	my ($state, $txn, $f, $all) = @_;
	my (%found, $changes);
	for my $change (@{ $txn->{changes} })
	{
		my $op = $change->{op};
		next if $op == 5;
		$changes++;
		if ($op == 4) { $found{ $_->{relid} }[4]++ for @{ $change->{tables} }; next }
		my $tally = $found{ $change->{relation}{relid} } //= [];
		$tally->[$op]++;
		$tally->[5] = ($tally->[5] // 0) + crc32c(chr($op) . ($change->{after} // '') . ($change->{before} // ''));
	}
	die "changes: $f->{5} told, " . ($changes // 0) . ' came' if $f->{5} != ($changes // 0);
	return if ($state->{options}{tally} // '') ne 'on';
	my $told = join ' ', map {
		my %t = map { @$_ } fields($_);
		$t{6} = unpack 'Q<', $t{6};
		join ',', map { $t{$_} } 1 .. 6
	} @{ $all->{6} // [] };
	my $came = join ' ', map { join ',', $_, map { $_ // 0 } @{ $found{$_} }[ 1 .. 5 ] } sort { $a <=> $b } keys %found;
	die "tally: $told told, $came came" if $told ne $came;
	return;
}

sub apply
{
	my ($state, $txn) = @_;
	for my $change (@{ $txn->{changes} })
	{
		if ($change->{op} == 5) { push @{ $state->{messages} }, [ $change->{prefix}, $change->{content}, $change->{seq} ]; next }
		if ($change->{op} == 4) { $state->{rows}{ $_->{name} } = {} for @{ $change->{tables} }; next }
		my $rows = $state->{rows}{ $change->{relation}{name} } //= {};
		my $after = defined $change->{after} ? row($change->{relation}, $change->{after}) : undef;
		my $key = defined $change->{before} ? row($change->{relation}, $change->{before})->[0] : $after->[0];
		my $old = $rows->{$key};
		die "change of a missing row $key" if !$old && $change->{op} != 1;
		die "insert of a row that is there: $key" if $old && $change->{op} == 1;
		delete $rows->{$key};
		next if !$after;
		$after->[$_] = $old->[$_] for grep { ref $after->[$_] } 0 .. $#$after;
		$rows->{ $after->[0] } = $after;
	}
	return;
}

sub do_commit
{
	my ($state, $f, $all, $entry) = @_;
	my $txn = $state->{txn} // die 'commit of nothing';
	die 'commit of another' if $txn->{xid} != $f->{1} || $txn->{is_streamed} || defined $txn->{gid};
	end($state, $txn, $f, $all, $entry);
	return apply($state, $txn);
}

sub do_stream_commit
{
	my ($state, $f, $all, $entry) = @_;
	my $txn = $state->{open}{ $f->{1} } // die 'commit of an unknown transaction';
	die 'a commit in a segment' if $state->{txn};
	end($state, $txn, $f, $all, $entry);
	return apply($state, $txn);
}

sub do_prepare
{
	my ($state, $f, $all, $entry) = @_;
	my $txn = $state->{txn} // die 'prepare of nothing';
	die 'prepare of another' if $txn->{xid} != $f->{1} || $txn->{is_streamed} || $txn->{gid} ne $f->{7};
	end($state, $txn, $f, $all, $entry);
	return $state->{prepared}{ $f->{7} } = $txn;
}

sub do_stream_prepare
{
	my ($state, $f, $all, $entry) = @_;
	my $txn = $state->{open}{ $f->{1} } // die 'prepare of an unknown transaction';
	die 'a prepare in a segment' if $state->{txn};
	end($state, $txn, $f, $all, $entry);
	return $state->{prepared}{ $f->{7} } = $txn;
}

sub end
{
	my ($state, $txn, $f, $all, $entry) = @_;
	check_tally($state, $txn, $f, $all);
	push @{ $state->{transactions} }, [ $f->{1}, $entry->{kind}, $f->{5}, $txn->{origin} ];
	delete $state->{open}{ $f->{1} };
	$state->{txn} = undef;
	return;
}

sub do_commit_prepared
{
	my ($state, $f, $all, $entry) = @_;
	my $txn = delete $state->{prepared}{ $f->{7} } // die "commit of $f->{7}, which is not prepared";
	push @{ $state->{transactions} }, [ $f->{1}, $entry->{kind}, 0, $f->{8} ];
	return apply($state, $txn);
}

sub do_rollback_prepared
{
	my ($state, $f, $all, $entry) = @_;
	delete $state->{prepared}{ $f->{7} } // die "rollback of $f->{7}, which is not prepared";
	push @{ $state->{transactions} }, [ $f->{1}, $entry->{kind}, 0 ];
	return;
}

sub do_chunk { return }

1;
