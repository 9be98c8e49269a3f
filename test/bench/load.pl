# load.pl: the tables of the bench's part `load`, from the lines PART|SIDE... that test/bench/run has recorded, on standard input.
# Ratios are those of the repeats: their median, least and greatest.
use strict;
use warnings;

my %title = (inserts => 'inserts, 100 a transaction', big => 'inserts, one transaction', updates => 'updates, 100 a transaction',
	small => 'inserts, one a transaction', moves => 'updates of a type-2 dimension, 100 a transaction', deletes => 'deletes, 100 a transaction');
my %name = (copy => 'logical replication: a plain copy', ingest => 'walhouse: change log and mirrors', star => 'walhouse: star',
	triggers => 'logical replication: star by triggers');
# Goals: the least ratio of rows per second, of a side beside a peer.
my @goal = ([ inserts => 'ingest', 'copy', 2.0 ], [ inserts => 'star', 'copy', 1.0 ], [ inserts => 'star', 'triggers', 5 ],
	[ big => 'star', 'copy', 1.0 ], [ updates => 'star', 'copy', 1.5 ], [ small => 'ingest', 'copy', 1.0 ], [ small => 'star', 'copy', 1.0 ]);

my (%figures, @phases, %sides, %rows);
while (<STDIN>)
{
	chomp;
	my ($phase, $side, $measure, $value) = split /\|/;
	next if $phase !~ s/^load //;
	push @phases, $phase if !grep { $_ eq $phase } @phases;
	if ($side eq 'rows') { $rows{$phase} = $value; next }
	push @{ $sides{$phase} }, $side if !$figures{$phase}{$side};
	push @{ $figures{$phase}{$side}{$measure} }, $value;
}

sub median
{
	my @v = sort { $a <=> $b } @_;
	return ($v[$#v / 2] + $v[@v / 2]) / 2;
}
sub figure { my ($phase, $side, $measure, $format) = @_; return sprintf $format, median(@{ $figures{$phase}{$side}{$measure} }) }
sub ratio
{
	my ($phase, $side, $measure, $peer) = @_;
	my ($ours, $theirs) = map { $figures{$phase}{$_}{$measure} } $side, $peer;
	return if !$ours || !$theirs;
	my @r = sort { $a <=> $b } map { $ours->[$_] / ($theirs->[$_] || 1e-9) } 0 .. $#$ours;
	return (median(@r), $r[0], $r[-1]);
}
sub ratio_text { my @r = ratio(@_); return @r ? sprintf('%.2f (%.2f–%.2f)', @r) : '' }

for my $phase (grep { $title{$_} } @phases)
{
	print "\nLoad, $title{$phase}: $rows{$phase} changes, ratios beside the plain copy\n\n";
	print "| | rows/s | ratio | CPU, µs a change | ratio | source CPU, µs | WAL, bytes a change | memory, MB |\n", '|', '-|' x 8, "\n";
	for my $side (sort { ($a ne 'copy') <=> ($b ne 'copy') || $a cmp $b } @{ $sides{$phase} })
	{
		print '| ', join(' | ', $name{$side}, figure($phase, $side, 'rate', '%.0f'), ratio_text($phase, $side, 'rate', 'copy'),
			figure($phase, $side, 'cpu', '%.2f'), ratio_text($phase, $side, 'cpu', 'copy'), figure($phase, $side, 'sender', '%.1f'),
			figure($phase, $side, 'wal', '%.0f'), figure($phase, $side, 'memory', '%.1f')), " |\n";
	}
}

# The phases of steps.sh.
my @met;
sub median_of { my ($phase, $side, $measure) = @_; return $figures{$phase} && $figures{$phase}{$side} && median(@{ $figures{$phase}{$side}{$measure} }) }
# goal NAME FORMAT LIMIT VALUE: a value that must be at least, or at most (LIMIT < 0), so much.
sub goal
{
	my ($name, $format, $limit, $value) = @_;
	push @met, sprintf("| %s | %s $format | $format | %s |", $name, $limit < 0 ? '≤' : '≥', abs $limit, $value,
		($limit < 0 ? $value <= -$limit : $value >= $limit) ? 'met' : 'NOT MET');
}

my @keys = sort { $a <=> $b } map { /^type2 (\d+)/ } @phases;
for my $keys (@keys)
{
	my $phase = "type2 $keys";
	my $million = $keys >= 1e6 ? sprintf('%gM', $keys / 1e6) : $keys;
	print "\nLoad, changes of $rows{$phase} of $keys members of a type-2 dimension, ratios beside dbt's snapshot\n\n",
		"| | changed keys/s | ratio | CPU, µs a key | ratio | WAL, bytes a key |\n", '|', '-|' x 6, "\n";
	print "| $_->[1] | ", join(' | ', figure($phase, $_->[0], 'rate', '%.0f'), ratio_text($phase, $_->[0], 'rate', 'dbt'),
		figure($phase, $_->[0], 'cpu', '%.1f'), ratio_text($phase, $_->[0], 'cpu', 'dbt'),
		$figures{$phase}{ $_->[0] }{wal} ? figure($phase, $_->[0], 'wal', '%.0f') : ''), " |\n"
		for [ load => 'walhouse: load' ], [ both => 'walhouse: ingest and load' ], [ dbt => 'dbt: snapshot' ];
	goal("type-2 changes, $million keys: changed keys/s of the load", '%.0f', 50000, median_of($phase, 'load', 'rate'));
	goal("type-2 changes, $million keys: changed keys/s of the load's CPU", '%.0f', 50000, 1e6 / median_of($phase, 'load', 'cpu'));
	goal("type-2 changes, $million keys: the load beside dbt's snapshot", '%.1f', 30, (ratio($phase, 'load', 'rate', 'dbt'))[0]);
}
goal("type-2 changes: $keys[-1] keys beside $keys[0], CPU a key", '%.2f', -1.1, median_of("type2 $keys[-1]", 'load', 'cpu') / median_of("type2 $keys[0]", 'load', 'cpu'))
	if @keys > 1;
goal("type-2 changes: $keys[-1] keys beside $keys[0], changed keys/s", '%.2f', 0.9, median_of("type2 $keys[-1]", 'load', 'rate') / median_of("type2 $keys[0]", 'load', 'rate'))
	if @keys > 1;

if ($figures{build})
{
	print "\nLoad, build of a fact with three look-ups from its mirror: $rows{build} rows, beside COPY (binary) into the same partitions\n\n",
		"| | rows/s | ratio | CPU, µs a row | ratio |\n|-|-|-|-|-|\n";
	print "| $_->[1] | ", join(' | ', figure('build', $_->[0], 'rate', '%.0f'), ratio_text('build', $_->[0], 'rate', 'copy'),
		figure('build', $_->[0], 'cpu', '%.2f'), ratio_text('build', $_->[0], 'cpu', 'copy')), " |\n"
		for [ build => 'walhouse: build' ], [ copy => 'COPY' ];
	goal('build of a fact, rows/s beside COPY', '%.2f', 0.6, (ratio('build', 'build', 'rate', 'copy'))[0]);
}
if ($figures{batches})
{
	print "\nLoad, transactions of 100 rows, one at a time, $rows{batches} of them: what the worker takes for each\n\n",
		"| | CPU, ms | rows/s of CPU | loads | commit to visible, ms |\n|-|-|-|-|-|\n";
	print "| $_->[1] | ", join(' | ', figure('batches', $_->[0], 'cpu', '%.2f'), sprintf('%.0f', 100000 / median_of('batches', $_->[0], 'cpu')),
		figure('batches', $_->[0], 'loads', '%.2f'), figure('batches', $_->[0], 'seen', '%.1f')), " |\n"
		for [ batches => 'a star' ], [ twenty => 'and twenty models of which nothing comes' ], [ crowd => 'and a row of each of them' ];
	goal('loads of 100 rows, one commit each: rows/s of CPU', '%.0f', 50000, 100000 / median_of('batches', 'batches', 'cpu'));
	goal('the same with twenty idle models, CPU beside none', '%.2f', -1.1, (ratio('batches', 'twenty', 'cpu', 'batches'))[0]);
}
if ($figures{latency})
{
	print "\nFrom the return of the commit until it is visible, $rows{latency} transactions of one row, ms\n\n| | median | p99 |\n|-|-|-|\n";
	print "| $_->[1] | ", figure('latency', $_->[0], 'median', '%.2f'), ' | ', figure('latency', $_->[0], 'p99', '%.2f'), " |\n"
		for grep { $figures{latency}{ $_->[0] } } [ star => 'walhouse: star' ], [ copy => $name{copy} ];
	goal('commit to visible: median beside the copy', '%.1f', -10, (ratio('latency', 'star', 'median', 'copy'))[0]);
	goal('commit to visible: p99, ms', '%.0f', -50, median_of('latency', 'star', 'p99'));
}

print "\nGoals\n\n| | goal | is | |\n|-|-|-|-|\n";
for my $goal (@goal)
{
	my ($phase, $side, $peer, $limit) = @$goal;
	my @r = $figures{$phase} ? ratio($phase, $side, 'rate', $peer) : ();
	next if !@r;
	printf "| rows/s, %s: %s, beside %s | ≥ %.1f | %.2f (%.2f–%.2f) | %s |\n", $title{$phase}, $name{$side}, $name{$peer}, $limit, @r,
		$r[0] >= $limit ? 'met' : 'NOT MET';
}
print map { "$_\n" } @met;
