# decode.pl: the tables of the bench's part `decode`, from the lines PART|WORKLOAD... that test/bench/run has recorded, on
# standard input. Ratios are those of the repeats: their median, least and greatest.
use strict;
use warnings;

my %title = (narrow => 'narrow rows, transactions of 100', big => 'narrow rows, one transaction',
	wide => 'wide rows of 25 columns, inserts, updates, deletes', full => 'the same, REPLICA IDENTITY FULL',
	pgbench => "pgbench's transactions", toasted => 'updates that leave 16 kB of TOAST unchanged');
# Goals: of CPU and of time beside pgoutput, bytes a change, and (for all) of time beside wal2json and decoderbufs.
my %goal = (narrow => [ 0.40, 32 ], big => [ 0.25, 32 ], wide => [ 0.40, 310 ], pgbench => [ 0.55, 40 ]);
my $json_goal = 0.25;

my (%figures, @workloads, %names, %rows);
while (<STDIN>)
{
	chomp;
	my ($part, $name, $measure, $value) = split /\|/;
	next if $part !~ s/^decode //;
	push @workloads, $part if !grep { $_ eq $part } @workloads;
	if ($name eq 'rows') { $rows{$part} = $value; next }
	push @{ $names{$part} }, $name if !$figures{$part}{$name};
	push @{ $figures{$part}{$name}{$measure} }, $value;
}

sub median
{
	my @v = sort { $a <=> $b } @_;
	return ($v[$#v / 2] + $v[@v / 2]) / 2;
}
sub span { my @v = sort { $a <=> $b } @_; return ($v[0], $v[-1]) }

sub figure
{
	my ($workload, $name, $measure, $format) = @_;
	my $values = $figures{$workload}{$name}{$measure} or return '';
	return sprintf $format, median(@$values);
}

# ratios WORKLOAD NAME MEASURE PEER: of each repeat.
sub ratios
{
	my ($workload, $name, $measure, $peer) = @_;
	my ($ours, $theirs) = map { $figures{$workload}{$_}{$measure} || [] } $name, $peer;
	return map { $ours->[$_] / ($theirs->[$_] || 1e-9) } grep { defined $theirs->[$_] } 0 .. $#$ours;
}
sub ratio
{
	my @r = ratios(@_);
	return @r ? sprintf('%.2f (%.2f–%.2f)', median(@r), span(@r)) : '';
}

my @goals;
sub goal
{
	my ($what, $workload, $name, $measure, $peer, $limit) = @_;
	my @r = ratios($workload, $name, $measure, $peer) or return;
	my $is = sprintf '%.2f', median(@r);
	push @goals, "| $title{$workload}: $what, beside $peer | ≤ " . sprintf('%.2f', $limit) . sprintf(" | %s (%.2f–%.2f) | %s |", $is, span(@r),
		$is <= $limit ? 'met' : 'NOT MET');
}

for my $workload (@workloads)
{
	print "\nDecoding $title{$workload}: $rows{$workload} changes, per change, ratios beside pgoutput\n\n";
	print "| plugin | walsender CPU, µs | ratio | time, µs | ratio | bytes | messages | reader CPU, µs | memory, MB | SQL CPU, µs | ratio |\n";
	print '|', '-|' x 11, "\n";
	for my $name (@{ $names{$workload} })
	{
		print '| ', join(' | ', $name, figure($workload, $name, 'cpu', '%.2f'), ratio($workload, $name, 'cpu', 'pgoutput'),
			figure($workload, $name, 'wall', '%.2f'), ratio($workload, $name, 'wall', 'pgoutput'), figure($workload, $name, 'bytes', '%.1f'),
			figure($workload, $name, 'messages', '%.3f'), figure($workload, $name, 'reader', '%.2f'), figure($workload, $name, 'memory', '%.1f'),
			figure($workload, $name, 'sqlcpu', '%.2f'), ratio($workload, $name, 'sqlcpu', 'pgoutput')), " |\n";
	}
	next if !$goal{$workload};
	my ($limit, $bytes) = @{ $goal{$workload} };
	my $ours = $workload eq 'big' ? 'walhouse streaming' : 'walhouse';
	goal('CPU', $workload, $ours, 'cpu', 'pgoutput', $limit);
	goal('time', $workload, $ours, 'wall', 'pgoutput', $limit);
	goal('time', $workload, $ours, 'wall', $_, $json_goal) for 'wal2json 2', 'decoderbufs';
	my $is = figure($workload, $ours, 'bytes', '%.1f');
	push @goals, "| $title{$workload}: bytes a change | ≤ $bytes | $is | " . ($is <= $bytes ? 'met' : 'NOT MET') . ' |' if length $is;
}
print "\nGoals\n\n| through a walsender | goal | is | |\n|-|-|-|-|\n", map { "$_\n" } @goals;
