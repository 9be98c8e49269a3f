# Oracle: what models must have, from the definitions, in loops over the source's states; it knows nothing of change logs, positions of
# loads, and how the extension works.
#
# An event is what one commit did to one key: another image than before, or none any more. A commit at which the query cannot compute what
# it gives for a row of its driving table counts, for that row, as one that did not happen. Events are given as [commit, row]; row: undef where the key is gone.
package Oracle;

use strict;
use warnings;
use Exporter 'import';
use Instant;
use Source;

our @EXPORT = qw(model_key image);

sub new
{
	my ($class, %case) = @_; # commits, zone
	return bless {%case}, $class;
}

# image ROW, COLUMNS: one text for each image.
sub image
{
	my ($row, @columns) = @_;
	return join "\x1e", map { defined $row->{$_} ? "=$row->{$_}" : '~' } @columns;
}

# model_key MODEL, ROW: one text for each key.
sub model_key
{
	my ($model, $row) = @_;
	return join "\x1f", map { canonical($row->{$_}) // '' } @{ $model->{key} };
}

# driving_key MODEL, KEY: of the row of the driving table, which begins the model's key.
sub driving_key
{
	my ($model, $key) = @_;
	return $model->{drives} ? (split /\x1f/, $key)[0] : $key;
}

# changes MODEL: key => [[commit, row], …], whenever the outcome of a key is another one; and notes where rows cannot be computed.
sub changes
{
	my ($self, $model) = @_;
	return $self->{changes}{ $model->{name} } if $self->{changes}{ $model->{name} };
	my @columns = map { $_->[0] } @{ $model->{columns} };
	my (%changes, %now, %bad, @bad);
	for my $i (0 .. $#{ $self->{commits} })
	{
		my $commit = $self->{commits}[$i];
		my $before = $i ? $self->{commits}[$i - 1]{state} : {};
		$bad[$i] = %bad ? 1 : 0;
		next unless grep { !$i || $commit->{state}{$_} != $before->{$_} } @{ $model->{tables} };
		my %rows;
		%bad = ();
		for my $row ($model->{rows}->($commit->{state}))
		{
			my $key = model_key($model, $row);
			$bad{ driving_key($model, $key) } = 1 if $row->{'!bad'} || $rows{$key};
			$rows{$key} = $row;
		}
		$bad[$i] = %bad ? 1 : 0;
		for my $key (grep { !$bad{ driving_key($model, $_) } } keys %{ { %now, %rows } })
		{
			my $image = $rows{$key} ? image($rows{$key}, @columns) : undef;
			next if ($image // '') eq ($now{$key} // '');
			push @{ $changes{$key} }, [$i, $rows{$key}];
			$rows{$key} ? ($now{$key} = $image) : delete $now{$key};
		}
	}
	$self->{bad}{ $model->{name} } = \@bad;
	return $self->{changes}{ $model->{name} } = \%changes;
}

# is_bad_at MODEL, COMMIT: whether the query cannot be computed on the source's state then.
sub is_bad_at
{
	my ($self, $model, $commit) = @_;
	$self->changes($model);
	return $self->{bad}{ $model->{name} }[$commit];
}

# events MODEL, FROM, TO: key => [event, …]: the state at FROM, then what came up to TO.
sub events
{
	my ($self, $model, $from, $to) = @_;
	my $changes = $self->changes($model);
	my %events;
	for my $key (keys %$changes)
	{
		my @before = grep { $_->[0] <= $from } @{ $changes->{$key} };
		my @events = grep { $_->[0] > $from && $_->[0] <= $to } @{ $changes->{$key} };
		unshift @events, [$from, $before[-1][1], 1] if @before && $before[-1][1];
		$events{$key} = \@events if @events;
	}
	return \%events;
}

# clock EVENT: the feed clock; -infinity for the state that the history starts with.
sub clock
{
	my ($self, $event) = @_;
	return $event->[2] ? -$INFINITY : $self->{commits}[$event->[0]]{clock};
}

# ---- dimensions

# dimension_rows MODEL, FROM, TO: key => [version, …] in the order of valid_from; a version is a hash of texts, with valid_from and
# valid_to as numbers.
sub dimension_rows
{
	my ($self, $model, $from, $to) = @_;
	return $self->{versions}{ $model->{name} }{"$from $to"} ||= do
	{
		my $events = $self->events($model, $from, $to);
		my %rows;
		for my $key (keys %$events)
		{
			my @versions = $self->versions_of($model, @{ $events->{$key} });
			$rows{$key} = \@versions if @versions;
		}
		\%rows;
	};
}

# versions_of MODEL, EVENTS: of one key.
sub versions_of
{
	my ($self, $model, @all) = @_;
	my @events = map { [@$_] } @all; # commit, row, is of the start, instant
	my @versioned = grep { my $t = $model->{scd}{$_}; defined $t && ($t == 2 || $t == 6) } map { $_->[0] } @{ $model->{columns} };
	my $mode = $model->{on_delete};
	if ($mode eq 'purge')
	{
		my $last = (grep { !$events[$_][1] } 0 .. $#events)[-1];
		splice @events, 0, $last + 1 if defined $last;
	}
	@events = grep { $_->[1] } @events if $mode ne 'close';
	@events = $self->by_effective_time($model, @events) if $model->{effective};
	my (@versions, $open, $before);
	my $edge = -$INFINITY;
	for my $event (@events)
	{
		my $row = $event->[1];
		my $opens = $row && (!$open || !$before || image($row, @versioned) ne image($before, @versioned));
		$before = $row;
		next unless $opens || ($open && !$row);
		my $at = $model->{effective} ? $event->[3] : $self->clock($event);
		if (!@versions) { $at = -$INFINITY }
		elsif (!$model->{effective} && $at < $edge + 1) { $at = $edge + 1 }
		$edge = $at;
		$open->{valid_to} = $at if $open;
		undef $open;
		push @versions, $open = { %$row, valid_from => $at, valid_to => $INFINITY } if $row;
	}
	$self->overwrite($model, \@versions, grep { $_->[1] } @events);
	$_->{is_current} = $_->{valid_to} == $INFINITY ? 't' : 'f' for @versions;
	if ($mode eq 'tombstone')
	{
		$_->{is_deleted} = $_->{is_current} eq 't' && !$all[-1][1] ? 't' : 'f' for @versions;
	}
	return @versions;
}

# overwrite: what is the same on all versions of a key, from its images in order.
sub overwrite
{
	my ($self, $model, $versions, @live) = @_;
	return unless @live;
	for my $column (map { $_->[0] } @{ $model->{columns} })
	{
		next if $column eq ($model->{effective} // '');
		my $scd = $model->{scd}{$column};
		my $value = $live[-1][1]{$column};
		$_->{$column} = !defined $scd || $scd == 1 || $scd == 3 ? $value : $scd == 0 ? $live[0][1]{$column} : $_->{$column} for @$versions;
		$_->{"${column}_current"} = $value for defined $scd && $scd == 6 ? @$versions : ();
		next unless defined $scd && $scd == 3;
		my $previous;
		for my $i (1 .. $#live)
		{
			$previous = $live[$i - 1][1]{$column} if image($live[$i - 1][1], $column) ne image($live[$i][1], $column);
		}
		$_->{"${column}_previous"} = $previous for @$versions;
	}
	return;
}

# attributes MODEL: the columns of a dimension's rows.
sub attributes
{
	my ($model) = @_;
	return ((map { my $scd = $model->{scd}{ $_->[0] } // 1; ($_->[0], $scd == 3 ? "$_->[0]_previous" : $scd == 6 ? "$_->[0]_current" : ()) }
			@{ $model->{columns} }), 'is_current', $model->{on_delete} eq 'tombstone' ? 'is_deleted' : ());
}

# by_effective_time: each event with its effective instant, in this order; of several at one instant the one that was committed last.
sub by_effective_time
{
	my ($self, $model, @events) = @_;
	my ($type) = map { $_->[1] } grep { $_->[0] eq $model->{effective} } @{ $model->{columns} };
	my @columns = map { $_->[0] } @{ $model->{columns} };
	my $greatest = -$INFINITY;
	my ($dead, $last, %at);
	for my $event (@events)
	{
		# Where deletes were left out, what comes behind one may be what was before it.
		my $image = $event->[1] ? image($event->[1], @columns) : '';
		next if defined $last && $last eq $image;
		$last = $image;
		if ($event->[1])
		{
			my $own = instant_of($event->[1]{ $model->{effective} });
			$own = utc_of_local($self->{zone}, $own) if $type ne 'timestamptz';
			$own = $self->clock($event) if !defined $own || abs($own) == $INFINITY;
			$event->[3] = defined $dead && $dead > $own ? $dead : $own;
			undef $dead;
		}
		else
		{
			my $clock = $self->clock($event);
			$dead = $event->[3] = $clock > $greatest ? $clock : $greatest;
		}
		$greatest = $event->[3] if $event->[3] > $greatest;
		$at{ $event->[3] } = $event;
	}
	return map { $at{$_} } sort { $a <=> $b } keys %at;
}

1;
