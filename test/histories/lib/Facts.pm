# Facts: the part of the oracle that is about facts: rows that follow the source's, bookings, milestones, lags, and what surrogate keys stand for.
package Oracle;

use strict;
use warnings;
use Instant;
use Source;

# fact_rows MODEL, FROM, TO, VERSIONS: [rows, rejected]; VERSIONS: code that gives a dimension's rows. A row has the fact's columns and, for each
# role, what its surrogate key stands for.
sub fact_rows
{
	my ($self, $model, $from, $to, $versions) = @_;
	my $events = $self->events($model, $from, $to);
	my (@rows, @rejected);
	for my $key (keys %$events)
	{
		my @events = @{ $events->{$key} };
		my $last = $events[-1][1];
		my $reason = $last && $self->rejection($model, $last);
		push @rejected, { key => [map { $last->{$_} } @{ $model->{key} }], reason => $reason } if $reason;
		for my $row ($model->{corrections} eq 'reverse' ? $self->bookings($model, $from, @events) : $last && !$reason ? $self->present_row($model, @events) : ())
		{
			my $at = $self->event_instant($model, $row);
			$row->{ $_->{column} } = $self->link_of($model, $_, $row, $at, $versions) for @{ $model->{roles} };
			push @rows, $row;
		}
	}
	return (\@rows, \@rejected);
}

# fact_columns MODEL: of its table, but for surrogate keys: [name, type].
sub fact_columns
{
	my ($model) = @_;
	return (@{ $model->{columns} },
		$model->{corrections} eq 'reverse' ? (['booked_at', 'timestamptz'], ['booked_lsn', 'pg_lsn'], ['is_reversal', 'boolean']) : (),
		(map { [$_, 'timestamptz'] } sort keys %{ $model->{milestones} || {} }), (map { [$_, 'interval'] } sort keys %{ $model->{lags} || {} }));
}

# present_row: the last image of a key, with its milestones and lags.
sub present_row
{
	my ($self, $model, @events) = @_;
	my %row = %{ $events[-1][1] };
	for my $milestone (keys %{ $model->{milestones} || {} })
	{
		my $column = $model->{milestones}{$milestone};
		my ($was, $reached);
		for my $event (@events)
		{
			my $is = ($event->[1] || {})->{$column} // 'f';
			undef $reached unless $event->[1];
			# Of the state that history begins with nobody knows when it became so.
			$reached //= $self->clock($event) if $is eq 't' && ($was // 'f') ne 't' && !$event->[2];
			$was = $is;
		}
		$row{$milestone} = text_of_instant($reached);
	}
	$self->add_lags($model, \%row);
	return \%row;
}

sub add_lags
{
	my ($self, $model, $row) = @_;
	for my $lag (keys %{ $model->{lags} || {} })
	{
		my ($one, $other) = map {
			my $time = instant_of($row->{$_});
			$model->{milestones}{$_} || column_type($model, $_) eq 'timestamptz' ? $time : utc_of_local($self->{zone}, $time);
		} @{ $model->{lags}{$lag} };
		$row->{$lag} = defined $one && defined $other && abs($one) != $INFINITY && abs($other) != $INFINITY ? text_of_interval($other - $one) : undef;
	}
	return;
}

# bookings: what was and what is, whenever they differ; what has no place is not booked.
sub bookings
{
	my ($self, $model, $from, @events) = @_;
	my ($was, @rows);
	for my $event (@events)
	{
		my $commit = $self->{commits}[$event->[2] ? $from : $event->[0]];
		my %book = (booked_at => text_of_instant($commit->{clock}),
			booked_lsn => $event->[2] ? $self->{start_lsn}{ $model->{name} } : Ingest::text_of_lsn($commit->{lsn}));
		push @rows, { %$was, %book, is_reversal => 't', map { $_ => negated($was->{$_}, column_type($model, $_)) } @{ $model->{measures} } } if $was;
		undef $was;
		next unless $event->[1];
		$was = $event->[1] unless $self->rejection($model, $event->[1]);
		push @rows, { %$was, %book, is_reversal => 'f' } if $was;
	}
	$self->add_lags($model, $_) for @rows;
	return @rows;
}

# negated VALUE, TYPE: of a number or an interval; zero has a sign where it is a floating-point number.
sub negated
{
	my ($value, $type) = @_;
	return $value eq '0' ? '-0' : $value eq '-0' ? '0' : $value =~ s/^-// ? $value : "-$value" if defined $value && $type eq 'float8' && $value ne 'NaN';
	return $value if !defined $value || $value eq 'NaN';
	if ($value =~ /(mon|day|:)/)
	{
		my $text = join ' ', map { /^0+(:0+)*$/ ? $_ : /^-(.*)/ ? $1 : /^[0-9]/ ? "-$_" : $_ } split / /, $value;
		return $text =~ s/^(-?\d+) (mon|day)s?\b/"$1 $2" . ($1 eq '1' ? '' : 's')/er;
	}
	return $value =~ s/^-// ? $value : $value =~ /^0+(\.0*)?$/ ? $value : "-$value";
}

# text_of_interval MICROS: as the difference of two timestamps is printed: days, and the time in a day.
sub text_of_interval
{
	my ($micros) = @_;
	my $sign = $micros < 0 ? '-' : '';
	$micros = abs $micros;
	my $days = int($micros / 86_400_000_000);
	$days-- while $days * 86_400_000_000 > $micros;
	$days++ while ($days + 1) * 86_400_000_000 <= $micros;
	my $rest = $micros - $days * 86_400_000_000;
	my $seconds = int($rest / 1_000_000);
	my $time = sprintf '%s%02d:%02d:%02d', $sign, int($seconds / 3600), int($seconds / 60) % 60, $seconds % 60;
	$time .= sprintf('.%06d', $rest % 1_000_000) =~ s/0+$//r if $rest % 1_000_000;
	return $time unless $days;
	return "$sign$days " . ("$sign$days" eq '1' ? 'day' : 'days') . ($rest ? " $time" : '');
}

sub column_type
{
	my ($model, $column) = @_;
	return (map { $_->[1] } grep { $_->[0] eq $column } $model->{kind} eq 'fact' ? fact_columns($model) : @{ $model->{columns} })[0];
}

# event_instant: when a row of a fact was.
sub event_instant
{
	my ($self, $model, $row) = @_;
	my $time = instant_of($row->{ $model->{event} });
	return column_type($model, $model->{event}) eq 'timestamptz' ? $time : utc_of_local($self->{zone}, $time);
}

# rejection: why a row has no place; the bounds are a hundred years on either side.
sub rejection
{
	my ($self, $model, $row) = @_;
	for my $measure (grep { ($row->{$_} // '') eq '-9223372036854775808' } @{ $model->{measures} || [] })
	{
		return 'a measure has no negative';
	}
	return undef if $model->{event} eq 'booked_at';
	my $text = $row->{ $model->{event} };
	return 'event time is null' unless defined $text;
	return 'event time is infinite' if $text =~ /infinity/;
	my $year = (gmtime)[5] + 1900;
	my ($y) = $text =~ /^(\d+)/;
	return 'event time is outside the bounds' if $text =~ /BC/ || $y < $year - 100 || $y > $year + 100;
	return undef;
}

# combination DIMENSION, ROW: of a junk or mini-dimension's columns; numbers are the same with and without zeroes behind the point.
sub combination
{
	my ($dimension, $row) = @_;
	return join "\x1f", map { canonical($row->{ $_->[0] }) // '~' } @{ $dimension->{columns} };
}

# link_of MODEL, ROLE, ROW, INSTANT, VERSIONS: what the surrogate key stands for: a number for the members of none, otherwise the dimension's key
# and, where there are versions, when the version begins.
sub link_of
{
	my ($self, $model, $role, $row, $at, $versions) = @_;
	my %others = (unknown => -1, not_applicable => -2, error => -3);
	my $null = $others{ $role->{null} || 'unknown' };
	return '-3' if $role->{error_if} && ($row->{ $role->{error_if} } // 'f') eq 't';
	return '-2' if $role->{not_applicable_if} && ($row->{ $role->{not_applicable_if} } // 'f') eq 't';
	my @key = map { $row->{$_} } @{ $role->{key} };
	if ($role->{date} || $role->{time})
	{
		my $time = instant_of($key[0]);
		return $null if !defined $time || abs($time) == $INFINITY;
		$time = local_of_utc($self->{zone}, $time) if column_type($model, $role->{key}[0]) eq 'timestamptz';
		return date_of_local($time) if $role->{date};
		my %precision = ('cal.hour' => 3_600_000_000, 'cal.minute' => 60_000_000, 'cal.second' => 1_000_000);
		return text_of_local($time - $time % $precision{ $role->{time} }) =~ s/.* (..:..:..).*/$1/r;
	}
	return join "\x1f", map { canonical($_) // '~' } @key if $role->{dimension}{kind} eq 'junk';
	return $null if grep { !defined } @key;
	my $key = join "\x1f", map { canonical($_) } @key;
	my $from = -$INFINITY;
	my $held;
	for my $version (@{ $versions->($role->{dimension}{history} || $role->{dimension})->{$key} || [] })
	{
		($from, $held) = ($version->{valid_from}, $version) if $version->{valid_from} <= $at;
	}
	return combination($role->{dimension}, $held || {}) if $role->{dimension}{history};
	return "$key from " . text_of_instant($from);
}

1;
