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

for my $phase (@phases)
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

print "\nGoals\n\n| rows a second | goal | is | |\n|-|-|-|-|\n";
for my $goal (@goal)
{
	my ($phase, $side, $peer, $limit) = @$goal;
	my @r = $figures{$phase} ? ratio($phase, $side, 'rate', $peer) : ();
	next if !@r;
	printf "| %s: %s, beside %s | ≥ %.1f | %.2f (%.2f–%.2f) | %s |\n", $title{$phase}, $name{$side}, $name{$peer}, $limit, @r,
		$r[0] >= $limit ? 'met' : 'NOT MET';
}
