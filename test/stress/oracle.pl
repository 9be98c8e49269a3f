# oracle.pl KINDS FILE: what test_decoding wrote, as lines of xid, table, operation, without what walhouse never sends:
# materialized views, and that a partitioned table itself was truncated. KINDS is what kinds.sql prints; a name may have been
# several things, one after another.
use strict;
use warnings;

my ($kinds_file, $file) = @ARGV;
my (%kinds, $xid, $left_out);
open my $kinds, '<', $kinds_file or die "$kinds_file: $!";
while (<$kinds>)
{
	chomp;
	my ($name, $since, $kind) = split /\t/;
	push @{ $kinds{$name} }, [ $since, $kind ];
}
open my $in, '<', $file or die "$file: $!";
while (<$in>)
{
	if (/^BEGIN (\d+)$/) { $xid = $1 }
	elsif (/^table ((?:[^":\s]|"(?:[^"]|"")*")+): (INSERT|UPDATE|DELETE):/) { put($1, substr $2, 0, 1) }
	elsif (/^table (.+): TRUNCATE: (?:\(no-flags\)|restart_seqs|cascade)/)
	{
		my $names = $1;
		put($1, 'T') while $names =~ /\G((?:[^", ]|"(?:[^"]|"")*")+)(?:, )?/g;
	}
}

sub put
{
	my ($name, $op) = @_;
	$name =~ s/"((?:[^"]|"")*)"/$1 =~ s,"",",gr/ge;
	my $kinds = $kinds{$name} or die "$name: of what kind was it?\n";
	my ($kind) = map { $_->[1] } (reverse grep { $_->[0] <= $xid } @$kinds), $kinds->[0];
	return if $kind eq 'm' || ($kind eq 'p' && $op eq 'T');
	print "$xid\t$name\t$op\n";
	return;
}
