# Instant: dates and times in plain Perl: microseconds since 1970 in UTC, as numbers; from and to the texts that PostgreSQL prints with
# DateStyle ISO and TimeZone UTC. Local times of a zone are microseconds of a calendar that knows no zone.
package Instant;

use strict;
use warnings;
use POSIX qw(tzset floor);
use Exporter 'import';

our @EXPORT = qw($INFINITY instant_of text_of_instant text_of_local date_of_local utc_of_local local_of_utc
	truncate_local add_period);
our $INFINITY = 9**9**9;
my $DAY = 86_400_000_000;
my (%parsed, %offsets);

# instant_of TEXT: of a timestamptz (in UTC), timestamp or date; undef for NULL.
sub instant_of
{
	my ($text) = @_;
	return undef unless defined $text;
	return $parsed{$text} //= _parse($text);
}

sub _parse
{
	my ($text) = @_;
	return $INFINITY if $text eq 'infinity';
	return -$INFINITY if $text eq '-infinity';
	my ($y, $m, $d, $rest) = $text =~ /^(\d+)-(\d\d)-(\d\d)(.*)$/ or die "no time: $text";
	my $micros = 0;
	if ($rest =~ /^ (\d\d):(\d\d):(\d\d)(?:\.(\d+))?/)
	{
		$micros = (($1 * 60 + $2) * 60 + $3) * 1_000_000 + (defined $4 ? substr("${4}00000", 0, 6) : 0);
	}
	$y = 1 - $y if $rest =~ /BC$/;
	return _days($y, $m, $d) * $DAY + $micros;
}

# text_of_instant MICROS: as a timestamptz in UTC.
sub text_of_instant
{
	my ($micros) = @_;
	return _text($micros, '+00');
}

# text_of_local MICROS: as a timestamp.
sub text_of_local { return _text($_[0], '') }

sub _text
{
	my ($micros, $zone) = @_;
	return undef unless defined $micros;
	return $micros > 0 ? 'infinity' : '-infinity' if abs($micros) == $INFINITY;
	my $days = floor($micros / $DAY);
	$days-- while $days * $DAY > $micros; # division is not exact
	$days++ while ($days + 1) * $DAY <= $micros;
	my ($y, $m, $d) = _civil($days);
	my $rest = $micros - $days * $DAY;
	my $seconds = int($rest / 1_000_000);
	my $text = sprintf '%04d-%02d-%02d %02d:%02d:%02d', $y > 0 ? $y : 1 - $y, $m, $d, int($seconds / 3600),
		int($seconds / 60) % 60, $seconds % 60;
	my $fraction = $rest % 1_000_000;
	$text .= sprintf('.%06d', $fraction) =~ s/0+$//r if $fraction;
	return $text . $zone . ($y > 0 ? '' : ' BC');
}

# date_of_local MICROS: the day of a local time, as a date.
sub date_of_local
{
	my ($micros) = @_;
	return undef unless defined $micros;
	return $micros > 0 ? 'infinity' : '-infinity' if abs($micros) == $INFINITY;
	return text_of_local(truncate_local('day', $micros)) =~ s/ 00:00:00//r;
}

# utc_of_local ZONE, MICROS: as PostgreSQL reads a local time: one that comes twice is the second, one that never comes is
# counted from before the gap.
sub utc_of_local
{
	my ($zone, $local) = @_;
	return $local if !defined $local || abs($local) == $INFINITY;
	my $before = $local - _offset($zone, $local - $DAY);
	my $after = $local - _offset($zone, $local + $DAY);
	return $after if local_of_utc($zone, $after) == $local;
	return $before;
}

sub local_of_utc
{
	my ($zone, $utc) = @_;
	return $utc if !defined $utc || abs($utc) == $INFINITY;
	return $utc + _offset($zone, $utc);
}

# _offset ZONE, MICROS: of a zone at an instant, in microseconds.
sub _offset
{
	my ($zone, $utc) = @_;
	my $seconds = floor($utc / 1_000_000);
	return $offsets{$zone}{$seconds} //= do
	{
		local $ENV{TZ} = $zone;
		tzset();
		my ($s, $m, $h, $d, $month, $y) = localtime $seconds;
		((((_days($y + 1900, $month + 1, $d) * 24 + $h) * 60 + $m) * 60 + $s) - $seconds) * 1_000_000;
	};
}

# truncate_local UNIT, MICROS: as date_trunc; a week begins on Monday.
sub truncate_local
{
	my ($unit, $local) = @_;
	return $local if !defined $local || abs($local) == $INFINITY;
	return _floor_to($local, 3_600_000_000) if $unit eq 'hour';
	my $days = _floor_to($local, $DAY) / $DAY;
	return $days * $DAY if $unit eq 'day';
	return ($days - ($days + 3) % 7) * $DAY if $unit eq 'week';
	my ($y, $m) = _civil($days);
	$m -= ($m - 1) % 3 if $unit eq 'quarter';
	$m = 1 if $unit eq 'year';
	return _days($y, $m, 1) * $DAY;
}

# add_period UNIT, MICROS: the beginning of the next period.
sub add_period
{
	my ($unit, $local) = @_;
	my %length = (hour => 3_600_000_000, day => $DAY, week => 7 * $DAY, month => 32 * $DAY, quarter => 93 * $DAY, year => 367 * $DAY);
	return truncate_local($unit, $local + $length{$unit});
}

sub _floor_to
{
	my ($n, $step) = @_;
	return $n - $n % $step;
}

# _days YEAR, MONTH, DAY: since 1970-01-01, in the Gregorian calendar; year 0 is 1 BC.
sub _days
{
	my ($y, $m, $d) = @_;
	$y-- if $m <= 2;
	my $era = floor($y / 400);
	my $year = $y - $era * 400;
	my $day = int((153 * ($m + ($m > 2 ? -3 : 9)) + 2) / 5) + $d - 1;
	return $era * 146_097 + $year * 365 + int($year / 4) - int($year / 100) + $day - 719_468;
}

sub _civil
{
	my ($days) = @_;
	$days += 719_468;
	my $era = floor($days / 146_097);
	my $day = $days - $era * 146_097;
	my $year = int(($day - int($day / 1460) + int($day / 36_524) - int($day / 146_096)) / 365);
	my $rest = $day - (365 * $year + int($year / 4) - int($year / 100));
	my $month = int((5 * $rest + 2) / 153);
	my $y = $year + $era * 400 + ($month >= 10 ? 1 : 0);
	return ($y, $month < 10 ? $month + 3 : $month - 9, $rest - int((153 * $month + 2) / 5) + 1);
}

1;
