# LineageQueries: random queries and statements over the tables of 320_lineage_perturbation.pl, made of what PostgreSQL has: joins, subqueries,
# LATERAL, CTEs, set operations, groups, windows, functions, views, statements that write.
#
#   my $queries = LineageQueries->new(seed => 17);
#   my $text = $queries->query;          # a SELECT whose columns are c1, c2, …
#   my ($text, $table) = $queries->statement;   # an INSERT, UPDATE, DELETE or MERGE, and what it writes
#
# What comes out must be a function of what the tables hold, rows with the same values being the same: no order is asked for that ties could decide.
package LineageQueries;

use strict;
use warnings;

# Every table has these columns, by type; views and functions beside them.
my %tables = (
	a => { id => 'i', x => 'i', y => 'i', s => 't' },
	b => { id => 'i', aid => 'i', x => 'i', s => 't', u => 't' },
	c => { id => 'i', k => 'i', x => 'i', s => 't', n => 'n' },
	d => { id => 'i', parent => 'i', x => 'i', s => 't' },
	r => { id => 'i', owner => 't', x => 'i' });
my %views = (
	v_join => { id => 'i', x => 'i', s => 't' },
	v_group => { s => 't', n => 'i', m => 'i' },
	v_window => { id => 'i', place => 'i', x => 'i' },
	v_union => { id => 'i', s => 't' },
	v_deep => { id => 'i', s => 't', m => 'i' });

sub new
{
	my ($class, %options) = @_;
	srand($options{seed});
	return bless { names => 0, seen => {} }, $class;
}

# seen: how often each construct was made.
sub seen { return $_[0]{seen} }

sub query
{
	my ($self) = @_;
	$self->{names} = 0;
	$self->{ctes} = [];
	$self->{writes} = 0;
	my ($with, $body) = ('', undef);
	if (rand() < 0.25)
	{
		my @parts = map { $self->cte } 1 .. 1 + int(rand(2));
		$with = 'WITH RECURSIVE ' . join(', ', @parts) . ' ';
	}
	($body) = $self->select_or_set([], 2, undef);
	$self->{ctes} = [];
	return $with . $body;
}

sub saw { my ($self, $what) = @_; $self->{seen}{$what}++; return; }
sub pick { my ($self, @list) = @_; return $list[ rand @list ]; }
sub chance { return rand() < $_[1] }
sub name { my ($self, $letter) = @_; return $letter . ++$self->{names}; }

# select_or_set OUTER, DEPTH, TYPES: a query and the types of its columns; OUTER are the columns that it may refer to.
sub select_or_set
{
	my ($self, $outer, $depth, $types) = @_;
	$types ||= [ map { $self->pick('i', 'i', 't') } 1 .. 1 + int(rand(4)) ];
	if ($depth > 0 && $self->chance(0.15))
	{
		my $operator = $self->pick('UNION ALL', 'UNION ALL', 'UNION', 'INTERSECT', 'EXCEPT', 'EXCEPT ALL', 'INTERSECT ALL');
		$self->saw($operator);
		my ($left) = $self->select($outer, $depth - 1, $types);
		my ($right) = $self->select($outer, $depth - 1, $types);
		return ("($left) $operator ($right)", $types);
	}
	return $self->select($outer, $depth, $types);
}

sub select
{
	my ($self, $outer, $depth, $types) = @_;
	my ($from, $scope) = $self->from($outer, $depth);
	my $shape = $self->pick(qw(plain plain plain plain group group window distinct limit sets on srf));
	my @all = (@$scope, $self->chance(0.7) ? @$outer : ());
	my $where = $self->chance(0.5) ? ' WHERE ' . $self->condition(\@all, $depth) : '';
	my (@columns, @keys);
	my $tail = '';

	$self->saw($shape);
	$self->saw('refers outwards') if @all > @$scope;
	if ($shape eq 'group' || $shape eq 'sets')
	{
		# An aggregate of nothing but outer columns would belong to the query outside.
		@keys = map { [ $_, $self->type_of($_, $scope) ] } $self->columns_of($scope, 1 + int(rand(2)));
		for my $type (@$types)
		{
			my @fit = grep { $_->[1] eq $type } @keys;
			push @columns, $self->chance(0.4) && @fit ? $self->pick(@fit)->[0] : $self->aggregate($scope, $type);
		}
		my $list = join(', ', map { $_->[0] } @keys);
		$tail = $shape eq 'group' ? " GROUP BY $list" : $self->pick(" GROUP BY ROLLUP ($list)", " GROUP BY GROUPING SETS (($list), ())", " GROUP BY CUBE ($list)");
		$tail .= ' HAVING ' . $self->aggregate($scope, 'i') . ' > ' . int(rand(5)) if $self->chance(0.3);
	}
	elsif ($shape eq 'window')
	{
		@columns = map { $self->chance(0.6) ? $self->window(\@all, $scope, $_) : $self->value(\@all, $depth, $_) } @$types;
	}
	elsif ($shape eq 'srf')
	{
		my $first = 1;
		@columns = map { my $set = $_ eq 'i' && $first; $first = 0 if $set; $set ? 'generate_series(1, ' . $self->value(\@all, 0, 'i') . ' % 4)' : $self->value(\@all, 0, $_) } @$types;
	}
	else
	{
		@columns = map { $self->value(\@all, $depth, $_) } @$types;
	}
	my $n = 0;
	my $list = join(', ', map { "$_ AS c" . ++$n } @columns);
	my $order = join(', ', 1 .. @columns);
	$list = "DISTINCT $list" if $shape eq 'distinct';
	$list = "DISTINCT ON (1) $list" if $shape eq 'on' && $columns[0] !~ /^\W?\d+$/;
	$tail .= " ORDER BY $order" if $shape eq 'on';
	$tail .= " ORDER BY $order LIMIT " . (1 + int(rand(4))) if $shape eq 'limit';
	return ("SELECT $list FROM $from$where$tail", $types);
}

# from: what stands there, and the columns that it gives ([name, type]).
sub from
{
	my ($self, $outer, $depth) = @_;
	my ($from, @scope) = $self->item($outer, [], $depth);
	my $count = $self->pick(0, 0, 1, 1, 2);
	for (1 .. $count)
	{
		my ($item, @more) = $self->item($outer, \@scope, $depth);
		my $kind = $self->pick('JOIN', 'JOIN', 'LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN', 'CROSS JOIN');
		$kind = $self->pick('JOIN', 'LEFT JOIN', 'CROSS JOIN') if $item =~ /LATERAL/;
		$self->saw($kind);
		if ($kind eq 'CROSS JOIN')
		{
			$from .= " CROSS JOIN $item";
		}
		else
		{
			my ($left) = grep { $_->[1] eq 'i' } $self->shuffled(@scope);
			my ($right) = grep { $_->[1] eq 'i' } $self->shuffled(@more);
			if ($left && $right)
			{
				$from .= " $kind $item ON $left->[0] = $right->[0]";
				$from .= ' AND ' . $self->condition([ @scope, @more ], 0) if $kind ne 'FULL JOIN' && $self->chance(0.2);
			}
			else
			{
				$from .= " CROSS JOIN $item";
			}
		}
		push @scope, @more;
	}
	if ($self->chance(0.1))
	{
		my ($one, $two) = ($self->name('j'), $self->name('j'));
		my $kind = $self->pick('FULL JOIN', 'LEFT JOIN', 'JOIN');
		$self->saw('USING');
		my $join = "(SELECT id, s FROM a) $one $kind (SELECT id, x AS w FROM " . $self->pick('b', 'c', 'd') . ") $two USING (id)";
		my $alias = $self->name('u');
		$from .= " CROSS JOIN (SELECT * FROM $join) $alias";
		push @scope, [ "$alias.id", 'i' ], [ "$alias.s", 't' ], [ "$alias.w", 'i' ];
	}
	return ($from, \@scope);
}

# item: one thing in FROM, with an alias; what stands left of it may be referred to where it is LATERAL.
sub item
{
	my ($self, $outer, $left, $depth) = @_;
	my $kind = $self->pick(qw(table table table view view subquery lateral function values cte whole));
	my $alias = $self->name('t');
	$kind = 'table' if ($kind =~ /subquery|lateral/ && $depth <= 0) || ($kind eq 'cte' && !@{ $self->{ctes} }) || ($kind eq 'lateral' && !@$left);
	$self->saw("from $kind");
	if ($kind eq 'subquery' || $kind eq 'lateral')
	{
		my ($query, $types) = $self->select_or_set($kind eq 'lateral' ? $left : [], $depth - 1, undef);
		my $n = 0;
		return (($kind eq 'lateral' ? 'LATERAL ' : '') . "($query) $alias", map { [ "$alias.c" . ++$n, $_ ] } @$types);
	}
	if ($kind eq 'function')
	{
		my $argument = @$left && $self->chance(0.6) ? $self->value($left, 0, 'i') : int(rand(8));
		return ("LATERAL " . ($self->pick("f_rows($argument) $alias", "f_rows(k => $argument) $alias")), [ "$alias.id", 'i' ], [ "$alias.s", 't' ]) if $self->chance(0.6);
		return ("LATERAL generate_series(1, $argument % 4) $alias(g)", [ "$alias.g", 'i' ]);
	}
	if ($kind eq 'values')
	{
		my @rows = map { '(' . $self->value($left, 0, 'i') . ', ' . $self->value($left, 0, 't') . ')' } 1 .. 2;
		return ('LATERAL (VALUES ' . join(', ', @rows) . ") $alias(v, w)", [ "$alias.v", 'i' ], [ "$alias.w", 't' ]);
	}
	if ($kind eq 'cte')
	{
		my $cte = $self->pick(@{ $self->{ctes} });
		return ("$cte->[0] $alias", map { [ "$alias.$_->[0]", $_->[1] ] } @{ $cte->[1] });
	}
	if ($kind eq 'whole')
	{
		my $row = $self->name('q');
		return ("(SELECT $row AS t, ($row).x AS x1 FROM a $row) $alias", [ "$alias.x1", 'i' ], [ "($alias.t).s", 't' ]);
	}
	my %of = $kind eq 'view' ? %views : %tables;
	my $name = $self->pick(sort keys %of);
	return ("$name $alias", map { [ "$alias.$_", $of{$name}{$_} ] } grep { $of{$name}{$_} ne 'n' } sort keys %{ $of{$name} });
}

# cte: a definition; what it gives can be read from then on.
sub cte
{
	my ($self) = @_;
	my $name = $self->name('w');
	my $kind = $self->pick(qw(plain plain recursive modifying));
	# Two that write the same row would leave it to chance which of them does.
	$kind = 'plain' if $kind eq 'modifying' && $self->{writes}++;
	$self->saw("cte $kind");
	if ($kind eq 'recursive')
	{
		my $scope = [ [ 'e.x', 'i' ], [ 'e.s', 't' ] ];
		my $deep = [ @$scope, [ "$name.v", 'i' ] ];
		my $text = "$name AS (SELECT e.id, " . $self->value($scope, 0, 'i') . ' AS v, (' . $self->value($scope, 0, 't')
			. ")::text AS w, 0 AS depth FROM d e WHERE e.parent IS NULL UNION ALL SELECT e.id, " . $self->value($deep, 0, 'i') . ', ('
			. $self->value([ @$scope, [ "$name.w", 't' ] ], 0, 't') . ")::text, $name.depth + 1 FROM d e JOIN $name ON e.parent = $name.id WHERE $name.depth < 4)";
		push @{ $self->{ctes} }, [ $name, [ [ 'v', 'i' ], [ 'w', 't' ], [ 'depth', 'i' ] ] ];
		return $text . $self->pick('', '', " SEARCH DEPTH FIRST BY v SET o", " CYCLE id SET looped USING path");
	}
	if ($kind eq 'modifying')
	{
		my $scope = [ [ 'o.x', 'i' ], [ 'o.s', 't' ], [ 'o.id', 'i' ] ];
		my $text = $self->pick(
			'INSERT INTO o (id, x, s) SELECT 100 + row_number() OVER (ORDER BY o.id, o.x, o.y, o.s), ' . $self->value($scope, 0, 'i') . ', ' . $self->value($scope, 0, 't') . ' FROM a o WHERE ' . $self->condition($scope, 0),
			'UPDATE o SET x = ' . $self->value($scope, 0, 'i') . ', s = a.s FROM a WHERE a.id = o.id AND ' . $self->condition($scope, 0),
			'DELETE FROM o WHERE ' . $self->condition($scope, 1));
		push @{ $self->{ctes} }, [ $name, [ [ 'x', 'i' ], [ 's', 't' ], [ 'q', 'i' ] ] ];
		return "$name AS ($text RETURNING o.x, o.s, " . $self->value($scope, 0, 'i') . ' AS q)';
	}
	my ($query, $types) = $self->select_or_set([], 1, undef);
	my $n = 0;
	push @{ $self->{ctes} }, [ $name, [ map { [ 'c' . ++$n, $_ ] } @$types ] ];
	return "$name AS ($query)";
}

sub shuffled
{
	my ($self, @list) = @_;
	my @result;
	push @result, splice(@list, rand @list, 1) while @list;
	return @result;
}

sub columns_of
{
	my ($self, $scope, $count) = @_;
	my @some = map { $_->[0] } $self->shuffled(@$scope);
	return @some > $count ? @some[ 0 .. $count - 1 ] : @some;
}

sub type_of
{
	my ($self, $name, $scope) = @_;
	my ($found) = grep { $_->[0] eq $name } @$scope;
	return $found->[1];
}

# value SCOPE, DEPTH, TYPE: an expression.
sub value
{
	my ($self, $scope, $depth, $type) = @_;
	my @fit = map { $_->[0] } grep { $_->[1] eq $type } @$scope;
	return $type eq 'i' ? int(rand(9)) : "'" . $self->pick(qw(p q r)) . "'::text" if !@fit && $self->chance(0.7) || $self->chance(0.06);
	return $self->pick(@fit) if @fit && $self->chance(0.45);
	my $one = sub { return $self->value($scope, $depth - 1, $_[0]) };
	return $self->subquery($scope, $type) if $depth > 0 && $self->chance(0.2);
	return @fit ? $self->pick(@fit) : $type eq 'i' ? 3 : "'p'::text" if $depth < -2;
	if ($type eq 'i')
	{
		return $self->pick(
			sub { $one->('i') . $self->pick(' + ', ' - ') . $one->('i') },
			sub { 'abs(' . $one->('i') . ') % 5' },
			sub { 'length(' . $one->('t') . ')' },
			sub { 'coalesce(' . $one->('i') . ', ' . $one->('i') . ')' },
			sub { 'greatest(' . $one->('i') . ', ' . $one->('i') . ')' },
			sub { 'nullif(' . $one->('i') . ', ' . $one->('i') . ')' },
			sub { 'CASE WHEN ' . $self->condition($scope, $depth - 1) . ' THEN ' . $one->('i') . ' ELSE ' . $one->('i') . ' END' },
			sub { 'CASE ' . $one->('i') . ' WHEN ' . $one->('i') . ' THEN ' . $one->('i') . ' END' },
			sub { 'f_twice(' . $one->('i') . ')' },
			sub { 'f_strict(' . $one->('i') . ', ' . $one->('i') . ')' },
			sub { 'f_lookup(' . $one->('i') . ')' },
			sub { '(ARRAY[' . $one->('i') . ', ' . $one->('i') . '])[1 + abs(coalesce(' . $one->('i') . ', 0)) % 2]' },
			sub { '((' . $one->('i') . ')::text)::int' })->();
	}
	return $self->pick(
		sub { $one->('t') . ' || ' . $one->('t') },
		sub { 'upper(' . $one->('t') . ')' },
		sub { '(' . $one->('i') . ')::text' },
		sub { 'concat(' . $one->('t') . ', ' . $one->('i') . ')' },
		sub { 'CASE WHEN ' . $self->condition($scope, $depth - 1) . ' THEN ' . $one->('t') . ' END' },
		sub { 'coalesce(' . $one->('t') . ', ' . $one->('t') . ')' },
		sub { '(' . $one->('t') . ')::varchar(20)' },
		sub { 'ROW(' . $one->('i') . ', ' . $one->('t') . ')::text' },
		sub { 'f_name(' . $one->('i') . ')' })->();
}

# subquery: one that gives a single value whatever the tables hold.
sub subquery
{
	my ($self, $scope, $type) = @_;
	my ($from, $inner) = $self->from([], 0);
	my @all = (@$inner, @$scope);
	my $where = ' WHERE ' . $self->condition(\@all, 0);
	$self->saw('subquery in an expression');
	return "(SELECT " . $self->aggregate($inner, $type) . " FROM $from$where)" if $self->chance(0.5);
	return "(SELECT " . $self->value(\@all, 0, $type) . " FROM $from$where ORDER BY 1 LIMIT 1)" if $self->chance(0.5);
	return "(SELECT count(*)::int FROM $from$where)" if $type eq 'i';
	return 'ARRAY(SELECT ' . $self->value(\@all, 0, 't') . " FROM $from$where ORDER BY 1)::text";
}

sub condition
{
	my ($self, $scope, $depth) = @_;
	my $one = sub { return $self->value($scope, $depth - 1, $_[0]) };
	if ($depth > 0 && $self->chance(0.3))
	{
		my ($from, $inner) = $self->from([], 0);
		my @all = (@$inner, @$scope);
		$self->saw('subquery in a condition');
		return $self->pick('', 'NOT ') . "EXISTS (SELECT FROM $from WHERE " . $self->condition(\@all, 0) . ')' if $self->chance(0.5);
		return $one->('i') . $self->pick(' IN', ' NOT IN', ' > ALL', ' = ANY') . ' (SELECT ' . $self->value(\@all, 0, 'i') . " FROM $from)";
	}
	return $self->pick(
		sub { $one->('i') . $self->pick(' < ', ' > ', ' = ', ' <> ') . $one->('i') },
		sub { $one->('i') . ' > ' . int(rand(6)) },
		sub { $one->('t') . $self->pick(' < ', ' = ', ' >= ') . $one->('t') },
		sub { $one->('i') . ' IS NULL' },
		sub { $one->('i') . ' IN (1, 3, ' . $one->('i') . ')' },
		sub { $depth > -1 ? '(' . $self->condition($scope, $depth - 1) . $self->pick(' AND ', ' OR ') . $self->condition($scope, $depth - 1) . ')' : 'true' },
		sub { $one->('i') . ' BETWEEN 1 AND ' . $one->('i') })->();
}

sub aggregate
{
	my ($self, $scope, $type) = @_;
	my $one = sub { return $self->value($scope, 0, $_[0]) };
	my $filter = $self->chance(0.2) ? ' FILTER (WHERE ' . $self->condition($scope, 0) . ')' : '';
	return $self->pick(
		sub { "(count(*)$filter)::int" },
		sub { '(count(' . $self->pick('DISTINCT ', '') . $one->('i') . ")$filter)::int" },
		sub { '(sum(' . $one->('i') . ")$filter)::int" },
		sub { 'max(' . $one->('i') . ")$filter" },
		sub { 'length(string_agg(' . $one->('t') . ", '' ORDER BY " . "1)$filter)" },
		sub { '(percentile_disc(0.5) WITHIN GROUP (ORDER BY ' . $one->('i') . ")$filter)::int" })->() if $type eq 'i';
	my $text = $one->('t');
	return $self->pick("min($text)$filter", "string_agg($text, ',' ORDER BY $text)$filter", "(array_agg(DISTINCT $text)$filter)::text");
}

# window: functions for which rows that tie are the same; where they are not, all columns of FROM order them.
sub window
{
	my ($self, $scope, $from, $type) = @_;
	my $partition = $self->chance(0.5) ? 'PARTITION BY ' . $self->value($scope, 0, $self->pick('i', 't')) . ' ' : '';
	my $order = 'ORDER BY ' . $self->value($scope, 0, 'i') . ' + 0';
	my $total = 'ORDER BY ' . join(', ', map { $_->[0] } @$from);
	my $value = $self->value($scope, 0, $type);
	return $self->pick("(rank() OVER ($partition$order))::int", "(sum($value) OVER ($partition$order))::int", "max($value) OVER ($partition)",
		"(count(*) OVER ($partition$order))::int", "lag($value) OVER ($partition$total)", "(row_number() OVER ($partition$total))::int",
		"(count($value) FILTER (WHERE " . $self->condition($scope, 0) . ") OVER ($partition))::int") if $type eq 'i';
	return $self->pick("min($value) OVER ($partition$order)", "first_value($value) OVER ($partition$total)", "lead($value, 1, 'z') OVER ($partition$total)");
}

# statement: it writes into o, which has the key id.
sub statement
{
	my ($self) = @_;
	$self->{names} = 0;
	$self->{ctes} = [];
	my $kind = $self->pick(qw(insert conflict update from merge delete columns));
	my ($source) = $self->select([], 1, [ 'i', 'i', 't' ]);
	my $old = [ [ 'o.id', 'i' ], [ 'o.x', 'i' ], [ 'o.y', 'i' ], [ 'o.s', 't' ] ];
	my $new = [ [ 'n.c1', 'i' ], [ 'n.c2', 'i' ], [ 'n.c3', 't' ] ];
	my $both = [ @$old, @$new ];
	my $i = sub { return $self->value($_[0], 1, 'i') };
	my $t = sub { return $self->value($_[0], 1, 't') };
	my $keyed = "(SELECT c1, max(c2) AS c2, max(c3) AS c3 FROM ($source) n GROUP BY c1) n";
	$self->saw("statement $kind");
	return 'INSERT INTO o (id, x, s) SELECT 100 + row_number() OVER (ORDER BY c1, c2, c3), ' . $i->($new) . ', ' . $t->($new) . " FROM ($source) n" if $kind eq 'insert';
	my $set = 'x = ' . $i->([ @$old, [ 'excluded.x', 'i' ], [ 'excluded.s', 't' ] ]);
	return "INSERT INTO o (id, x, s) SELECT c1, c2, c3 FROM $keyed WHERE c1 IS NOT NULL ON CONFLICT (id) DO " . $self->pick('NOTHING', "UPDATE SET $set", "UPDATE SET $set WHERE o.y > 2") if $kind eq 'conflict';
	return 'UPDATE o SET x = ' . $i->($old) . ', s = ' . $t->($old) . ' WHERE ' . $self->condition($old, 1) if $kind eq 'update';
	return 'UPDATE o SET x = ' . $i->($both) . ', s = ' . $t->($both) . " FROM $keyed WHERE n.c1 = o.id" if $kind eq 'from';
	return "UPDATE o SET (x, s) = (SELECT max(n.c2), min(n.c3) FROM ($source) n WHERE n.c1 < o.id), y = " . $i->($old) if $kind eq 'columns';
	return "DELETE FROM o USING $keyed WHERE n.c1 = o.id AND " . $self->condition($both, 0) if $kind eq 'delete';
	return "MERGE INTO o USING $keyed ON n.c1 = o.id WHEN MATCHED AND " . $self->condition($both, 0) . ' THEN UPDATE SET x = ' . $i->($both) . ', s = ' . $t->($both)
		. ' WHEN MATCHED AND o.y > 4 THEN DELETE WHEN NOT MATCHED AND n.c1 IS NOT NULL THEN INSERT (id, x, s) VALUES (n.c1, ' . $i->($new) . ', ' . $t->($new) . ')';
}

1;
