# References: what stands beside models as views: outriggers (as_was, as_is), a bridge's members and weights, and the two views of facts.
# Views have rows that are looked up, not kept; so they are compared with the rows of the tables, which Play has compared with the oracle and left in
# its "table" (by surrogate key) and "of_key" (by key, in the order of valid_from).
package References;

use strict;
use warnings;
use Exporter 'import';
use Instant;
use Oracle;
use Source;

our @EXPORT = qw(compare_outriggers compare_bridge compare_fact_views);

# member PLAY, DIMENSION, KEY VALUES, INSTANT: the surrogate key of the version that holds then; infinity: of the last one; undef: there is none.
sub member
{
	my ($play, $dimension, $values, $at) = @_;
	return -1 if grep { !defined } @$values;
	my $key = join "\x1f", map { canonical($_) } @$values;
	my $sk;
	for my $row (@{ $play->{of_key}{ $dimension->{table} }{$key} || [] })
	{
		$sk = $row->{'wh sk'} if instant_of($row->{valid_from}) <= $at;
	}
	return $sk;
}

sub view_columns
{
	my ($play, $view) = @_;
	return map { $_->[0] } @{ $play->pg->query('SELECT attname FROM pg_attribute WHERE attnum > 0 AND attrelid = ' . Pg::quote($view) . '::regclass') };
}

sub view_name { my ($model, $suffix) = @_; return 'dw.' . quoted("$model->{table}_$suffix") }

# attributes PLAY, DIMENSION, SK, ROLE, COLUMNS: what a view must show of a dimension's row, for the columns that the view has.
sub attributes_of
{
	my ($play, $dimension, $sk, $role, $has) = @_;
	my $row = defined $sk ? $play->{table}{ $dimension->{table} }{$sk} : {};
	return map { $has->{"${role}_$_"} ? ("${role}_$_" => $row->{$_}) : () } Oracle::attributes($dimension), 'valid_from', 'valid_to';
}

# compare_outriggers PLAY, MODEL: where all of them stand at the same position.
sub compare_outriggers
{
	my ($play, $model) = @_;
	for my $view ('as_was', 'as_is')
	{
		my $name = view_name($model, $view);
		my @columns = view_columns($play, $name);
		my %has = map { $_ => 1 } @columns;
		my $sk_column = "$model->{table}_sk";
		my (@expected, %dates);
		%dates = map { @$_ } @{ $play->pg->query('SELECT date, date_sk FROM cal.date WHERE date_sk > 0') } if grep { $_->{date} } @{ $model->{outriggers} };
		for my $row (values %{ $play->{table}{ $model->{table} } })
		{
			my %row = (%$row, $sk_column => $row->{'wh sk'});
			my $at = $view eq 'as_is' ? $INFINITY : instant_of($row->{valid_from});
			for my $reference (@{ $model->{outriggers} })
			{
				my @values = map { $row->{$_} } @{ $reference->{key} };
				my $sk = $row->{'wh sk'} < 0 ? $row->{'wh sk'}
					: $reference->{date} ? (!defined $values[0] || $values[0] =~ /inf/ ? -1 : $dates{ $values[0] })
					: member($play, $reference->{dimension}, \@values, $at);
				$row{ $reference->{column} } = $sk;
				next if $reference->{date};
				my $role = $reference->{column} =~ s/_sk$//r;
				%row = (%row, attributes_of($play, $reference->{dimension}, $sk, $role, \%has));
			}
			push @expected, Play::line(\%row, grep { exists $row{$_} } @columns);
		}
		my %known = map { map { (split /=/)[0] => 1 } split / \| / } $expected[0] // '';
		my @known = grep { $known{$_} } @columns;
		$play->same($name, \@expected, [map { Play::line($_, @known) } $play->rows('SELECT ' . join(', ', map { quoted($_) } @known) . " FROM $name", @known)]);
	}
	return;
}

# compare_fact_views PLAY, MODEL, ROWS: ROWS are the fact's, with surrogate keys.
sub compare_fact_views
{
	my ($play, $model, @rows) = @_;
	my @roles = grep { $_->{dimension} && $_->{dimension}{scd} && !$_->{is_made} } @{ $model->{roles} };
	for my $view ('as_was', 'as_is')
	{
		my $name = view_name($model, $view);
		my @columns = view_columns($play, $name);
		my %has = map { $_ => 1 } @columns;
		my @own = map { $_->[0] } Oracle::fact_columns($model);
		my (@known, @expected);
		for my $row (@rows)
		{
			my %row = map { $_ => $row->{$_} } @own;
			for my $role (@roles)
			{
				my $sk = $row->{ $role->{column} };
				my $member = $play->{table}{ $role->{dimension}{table} }{$sk};
				$sk = member($play, $role->{dimension}, [map { $member->{$_} } @{ $role->{dimension}{key} }], $INFINITY) if $view eq 'as_is' && $sk > 0;
				%row = (%row, attributes_of($play, $role->{dimension}, $sk, $role->{column} =~ s/_sk$//r, \%has));
			}
			@known = grep { exists $row{$_} } @columns;
			push @expected, Play::line(\%row, @known);
		}
		@known = @own unless @rows;
		$play->same($name, \@expected, [map { Play::line($_, @known) } $play->rows('SELECT ' . join(', ', map { quoted($_) } @known) . " FROM $name", @known)]);
	}
	return;
}

# compare_bridge PLAY, MODEL: members and weights.
sub compare_bridge
{
	my ($play, $model) = @_;
	my @own = map { $_->[0] } @{ $model->{columns} };
	my @all = (@own, (map { $_->{column} } @{ $model->{members} }), 'valid_from', 'valid_to', 'is_current');
	my (@expected, %group);
	my %in_member = map { map { $_ => 1 } @{ $_->{key} } } @{ $model->{members} };
	my @group = grep { !$in_member{$_} } @{ $model->{key} };
	for my $row (grep { $_->{'wh sk'} > 0 && $_->{is_inferred} eq 'f' } values %{ $play->{table}{ $model->{table} } })
	{
		my ($from, $to) = map { instant_of($row->{$_}) } qw(valid_from valid_to);
		my %cuts = ($from => $from);
		for my $member (@{ $model->{members} })
		{
			my $key = join "\x1f", map { canonical($row->{$_}) // '~' } @{ $member->{key} };
			$cuts{$_} = $_ for grep { $_ > $from && $_ < $to } map { instant_of($_->{valid_from}) } @{ $play->{of_key}{ $member->{dimension}{table} }{$key} || [] };
		}
		my @cuts = sort { $a <=> $b } values %cuts;
		for my $i (0 .. $#cuts)
		{
			my $end = $i < $#cuts ? $cuts[$i + 1] : $to;
			my %piece = (%$row, valid_from => text_of_instant($cuts[$i]), valid_to => text_of_instant($end), is_current => $end == $INFINITY ? 't' : 'f');
			$piece{ $_->{column} } = member($play, $_->{dimension}, [map { $row->{$_} } @{ $_->{key} }], $cuts[$i]) for @{ $model->{members} };
			push @expected, Play::line(\%piece, @all);
		}
		push @{ $group{ Oracle::image({ map { $_ => canonical($row->{$_}) } @group }, @group) } }, $row->{ $model->{weight} } if $model->{weight} && $to == $INFINITY;
	}
	my $name = view_name($model, 'members');
	$play->same($name, \@expected, [map { Play::line($_, @all) } $play->rows('SELECT ' . join(', ', map { quoted($_) } @all) . " FROM $name", @all)]);
	return unless $model->{weight};

	@expected = ();
	for my $key (keys %group)
	{
		my @weights = grep { defined } @{ $group{$key} };
		my $sum = 0;
		$sum += $_ * 100 for @weights;
		push @expected, "$key " . @{ $group{$key} } . ' ' . (@weights ? $sum / 100 : '~') if !@weights || $sum != 100 || @weights < @{ $group{$key} };
	}
	$name = view_name($model, 'weights');
	my @found = map { my @row = @$_; my %row; @row{@group} = map { canonical($_) } splice @row, 0, @group; Oracle::image(\%row, @group) . " $row[0] " . ($row[1] // '~') }
		@{ $play->pg->query('SELECT ' . join(', ', map { quoted($_) } @group) . ", members, trim_scale(weight::numeric) FROM $name") };
	$play->same($name, \@expected, \@found);
	return;
}

1;
