# Aggregates: the part of the oracle that is about rollups and periodic snapshots. Periods, groups, what is carried forward, and which row is the
# last: in loops. What PostgreSQL's aggregates give for lists of values, PostgreSQL is asked, since that is the definition; one row for
# each list, so that nothing of its own is added up.
package Oracle;

use strict;
use warnings;
use Instant;
use Pg;
use Source;

# aggregate_rows MODEL, ROWS, CLOCK, PG: ROWS are the fact's (fact_rows); CLOCK: the feed clock; a list of hashes: period_start, groups, measures.
sub aggregate_rows
{
	my ($self, $model, $rows, $clock, $pg) = @_;
	my (%period, @groups); # of a group: [image, example, {period => rows}]
	my %group;
	for my $row (@$rows)
	{
		my $period = $self->period_of($model, $row);
		next if $model->{kind} eq 'snapshot' && !(defined $period && $self->is_in_bounds($row->{ $model->{bucket_column} }));
		my $image = image($row, @{ $model->{group_by} });
		my $group = $group{$image} ||= { example => $row, rows => {} };
		push @{ $group->{rows}{ $period // '' } }, $row;
	}
	my @result = $model->{kind} eq 'rollup' ? map { rollup_rows($_) } values %group : map { $self->snapshot_rows($model, $_, $clock) } values %group;
	ask($model, $pg, @result);
	return map { { %{ $_->{example} }, %{ $_->{values} }, period_start => $_->{period} eq '' ? undef : $_->{period} } } @result;
}

# A row that shall be: example (for its groups), period, own (the rows of its period), all (of the group up to its end).
sub rollup_rows
{
	my ($group) = @_;
	return map { { example => $group->{example}, period => $_, own => $group->{rows}{$_}, all => [] } } keys %{ $group->{rows} };
}

sub snapshot_rows
{
	my ($self, $model, $group, $clock) = @_;
	my $unit = $model->{bucket};
	my @periods = sort keys %{ $group->{rows} };
	my @result;
	if ($model->{fill})
	{
		my $last = date_of_local(truncate_local($unit, local_of_utc($self->{zone}, $clock)));
		$last = $periods[-1] if $periods[-1] gt $last;
		my $at = instant_of($periods[0]);
		@periods = ();
		while (date_of_local($at) le $last)
		{
			push @periods, date_of_local($at);
			$at = add_period($unit, $at);
		}
	}
	my @all;
	for my $period (@periods)
	{
		my $own = $group->{rows}{$period} || [];
		@all = (@all, @$own) if @$own; # a new list, or the one of the period before
		push @result, { example => $group->{example}, period => $period, own => $own, all => @$own ? [@all] : $result[-1]{all} };
	}
	return @result;
}

# period_of: a date, or for hours a time; undef without one.
sub period_of
{
	my ($self, $model, $row) = @_;
	return '' if $model->{bucket} eq 'none';
	my $text = $row->{ $model->{bucket_column} };
	return undef unless defined $text;
	my $time = instant_of($text);
	my $is_instant = column_type($model->{fact}, $model->{bucket_column}) eq 'timestamptz';
	return $text =~ /(-?infinity)/ ? $1 : undef if abs($time) == $INFINITY;
	my $local = $is_instant ? local_of_utc($self->{zone}, $time) : $time;
	if ($model->{bucket} eq 'hour')
	{
		my $rest = $local % 3_600_000_000;
		return $is_instant ? text_of_instant($time - $rest) : text_of_local($local - $rest);
	}
	return date_of_local(truncate_local($model->{bucket}, $local));
}

sub is_in_bounds
{
	my ($self, $text) = @_;
	my $year = (gmtime)[5] + 1900;
	my ($y) = $text =~ /^(\d+)/ or return 0;
	return $text !~ /BC/ && $y >= $year - 100 && $y <= $year + 100;
}

# ask MODEL, PG, ROWS: fills values.
sub ask
{
	my ($model, $pg, @rows) = @_;
	my (%list, @lists, %sql);
	my $key = sub {
		my ($row, $measure) = @_;
		my $rows = $measure->{function} =~ /^balance/ ? $row->{all} : $row->{own};
		my @values = map { $_->{ $measure->{column} // '' } } @$rows;
		return join "\x1e", $measure->{sql}, map { $_ // '~' } @values;
	};
	for my $measure (@{ $model->{measures} })
	{
		next if $measure->{function} eq 'last' || !defined $measure->{column};
		for my $row (@rows)
		{
			my $text = $key->($row, $measure);
			next if defined $list{$text};
			my @values = map { $_->{ $measure->{column} } } @{ $measure->{function} eq 'balance' ? $row->{all} : $row->{own} };
			$list{$text} = @lists;
			push @lists, "(SELECT $measure->{sql} FROM (VALUES " . join(', ', (map { '(' . Pg::quote($_) . "::$measure->{type})" } @values)) . ') v (c))' if @values;
			push @lists, "(SELECT $measure->{sql} FROM (SELECT NULL::$measure->{type} WHERE false) v (c))" unless @values;
		}
	}
	my @answers;
	while (my @some = splice @lists, 0, 200)
	{
		push @answers, @{ $pg->query('SELECT ' . join ', ', map { "${_}::text" } @some)->[0] };
	}
	for my $row (@rows)
	{
		for my $measure (@{ $model->{measures} })
		{
			my $value = $measure->{function} eq 'last' ? last_value($model, $measure, $row->{all})
				: defined $measure->{column} ? $answers[$list{ $key->($row, $measure) }]
				: $measure->{function} eq 'balance' ? scalar @{ $row->{all} } : scalar @{ $row->{own} };
			$row->{values}{ $measure->{name} } = $value;
		}
	}
	return;
}

# last_value: of the row with the greatest period column, then key.
sub last_value
{
	my ($model, $measure, $rows) = @_;
	my @key = ($model->{bucket_column}, @{ $model->{fact}{key} });
	my $best;
	for my $row (@$rows)
	{
		next if $best && compare_key($row, $best, $model->{bucket_column}, @{ $model->{fact}{key} }) < 0;
		$best = $row;
	}
	my $value = $best->{ $measure->{column} };
	$value = canonical($value) if $measure->{type} eq 'numeric';
	return defined $value && $measure->{type} eq 'float8' && $value eq '-0' ? '0' : $value;
}

sub compare_key
{
	my ($one, $other, $time, @key) = @_;
	my $order = instant_of($one->{$time}) <=> instant_of($other->{$time});
	$order ||= $one->{$_} <=> $other->{$_} for @key; # numbers all
	return $order;
}

1;
