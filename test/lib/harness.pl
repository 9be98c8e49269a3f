# harness.pl NAME COUNTS COMMAND... -- FILE...: run each FILE as `COMMAND FILE`, read the TAP it prints, and append
# "NAME passed failed skipped" to the file COUNTS. A file that dies or breaks its plan counts as one more failure;
# a file that skips itself as one skipped. A bail-out fails its own file and stops no other. The names of the files that failed go to COUNTS.failed.
#   JOBS      files at a time (default 1)
#   COMMENTS  1: what tests print as comments is shown, too
use strict;
use warnings;
use TAP::Harness;

my ($name, $counts, @rest) = @ARGV;
my (@command, @files);
push @command, shift @rest while @rest && $rest[0] ne '--';
shift @rest;
@files = @rest;

# TAP lets a file that bails out stop all the others.
@command = ('bash', '-o', 'pipefail', '-c', '"$@" | sed -u "s/^Bail out!/not ok - bailed out:/"', 'run', @command);

my $harness = TAP::Harness->new({ exec => \@command, jobs => $ENV{JOBS} || 1, timer => 1,
	failures => 1, comments => $ENV{COMMENTS} || 0 });
my $total = $harness->runtests(@files);

my $skipped = $total->skipped;
my $failed = $total->failed;
my @failed_files;
for my $file ($total->descriptions)
{
	my ($parser) = $total->parsers($file);
	$skipped++ if $parser->skip_all;
	push @failed_files, $file if $parser->has_problems;
	$failed++ if $parser->has_problems && !$parser->failed;
}
my $passed = $total->passed - $total->skipped;

open my $out, '>>', $counts or die "$counts: $!";
print $out "$name $passed $failed $skipped\n";
close $out;
open $out, '>>', "$counts.failed" or die "$counts.failed: $!";
print $out "$name $_\n" for @failed_files;
close $out;
exit($failed ? 1 : 0);
