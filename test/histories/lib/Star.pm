# Star: random models over the source's tables. Each is a query in SQL and the same in Perl, with the arguments of its declaration.
#
# A model: name, kind, tables, sql, columns ([name, type]), key, rows (code: state => rows of the query as hashes of texts; '!bad' in a row that
# the query cannot compute), declare (the statement), and what its kind adds: scd, on_delete, effective (dimensions); event, roles,
# corrections, measures, milestones, lags (facts).
package Star;

use strict;
use warnings;
use Exporter 'import';
use JSON::PP;
use Facts;
use Instant;
use Pg;
use Source;

our @EXPORT = qw(random_star has_feature);

my $json = JSON::PP->new->canonical->utf8(0);
my %feature; # what the extension at hand can do

# has_feature PG: asks a database once.
sub has_feature
{
	my ($pg) = @_;
	my $customers = q{'SELECT customer_id, region, level, since FROM shop.customers', '{customer_id}'};
	my $orders = q{'SELECT order_id, at, due, paid, amount FROM shop.orders', '{order_id}'};
	my %probe = (effective => "SELECT walhouse.create_dimension('dw.probe', $customers, effective => 'since')",
		outriggers => "SELECT walhouse.create_dimension('dw.probe', $customers, outriggers => '{}')",
		mini => q{SELECT walhouse.create_mini_dimension('dw.probe', 'SELECT customer_id, region FROM shop.customers', '{customer_id}')},
		bridge => q{SELECT walhouse.create_bridge('dw.probe', 'SELECT household_id, customer_id FROM shop.households', '{household_id,customer_id}',
			'{"probe_sk": "cal.date(customer_id)"}')},
		reverse => "SELECT walhouse.create_fact('dw.probe', $orders, 'at', corrections => 'reverse', measures => '{amount}')",
		milestones => qq{SELECT walhouse.create_fact('dw.probe', $orders, 'at', milestones => '{"paid_at": "paid"}')},
		rollup => "SELECT walhouse.create_rollup('dw.probe', NULL, NULL, NULL)", snapshot => "SELECT walhouse.create_periodic_snapshot('dw.probe', NULL, NULL, NULL)",
		lags => qq{SELECT walhouse.create_fact('dw.probe', $orders, 'at', lags => '{"to_pay": ["at", "due"]}')});
	for my $name (sort keys %probe)
	{
		$pg->query('BEGIN');
		$feature{$name} = eval { $pg->query($probe{$name}); 1 } || $@->state !~ /^(0A000|42883)$/;
		$pg->query('ROLLBACK');
	}
	return \%feature;
}

# random_star: models, those that others need first.
sub random_star
{
	my @models;
	push @models, random_dimension($_, @models) for 1 .. pick(1, 1, 2, 2, 3);
	push @models, random_bridge(@models) if $feature{bridge} && chance(0.15);
	push @models, random_mini() if $feature{mini} && chance(0.2);
	push @models, random_junk() if chance(0.3);
	my @facts = map { random_fact($_, @models) } 1 .. pick(0, 1, 1, 1, 2);
	push @models, @facts;
	for my $fact (@facts)
	{
		push @models, random_aggregate('rollup', scalar @models, $fact) if $feature{rollup} && chance(0.4);
		push @models, random_aggregate('snapshot', scalar @models, $fact) if $feature{snapshot} && chance(0.4);
	}
	return @models;
}

# ---- expressions: SQL over a table's columns, its type, and the same in Perl

# Columns of a query: [name, type, sql, code]; the code sees a row, or a hash of alias => row, and dies where SQL fails.
sub column
{
	my ($name, $type, $alias, $as) = @_;
	my $sql = ($alias ? "$alias." : '') . quoted($name) . (defined $as ? ' AS ' . quoted($as) : '');
	return [$as // $name, $type, $sql, $alias ? sub { $_[0]{$alias} ? $_[0]{$alias}{$name} : undef } : sub { $_[0]{$name} }];
}

sub expression
{
	my ($name, $type, $sql, $code) = @_;
	return [$name, $type, "$sql AS " . quoted($name), $code];
}

sub truth { return defined $_[0] ? ($_[0] ? 't' : 'f') : undef }
sub divided { my ($by, $n) = @_; return undef unless defined $n; die "division by zero\n" unless $n; return int($by / $n) }

# product_of A, B: of numerics, with PostgreSQL's scale.
sub product_of
{
	my ($x, $y) = @_;
	return undef unless defined $x && defined $y;
	return 'NaN' if $x eq 'NaN' || $y eq 'NaN';
	my $infinite = $x =~ /Inf/ || $y =~ /Inf/;
	my $is_zero = sub { $_[0] =~ /^-?0*(\.0*)?$/ };
	return 'NaN' if $infinite && ($is_zero->($x) || $is_zero->($y));
	return (($x =~ /^-/) xor ($y =~ /^-/)) ? '-Infinity' : 'Infinity' if $infinite;
	my ($scale_x, $scale_y) = map { /\.(\d+)/ ? length $1 : 0 } $x, $y;
	my $scale = $scale_x + $scale_y;
	my $product = ($x =~ s/\.//r) * ($y =~ s/\.//r);
	my $digits = sprintf '%0*d', $scale + 1, abs $product;
	substr($digits, length($digits) - $scale, 0) = '.' if $scale;
	return ($product < 0 ? '-' : '') . $digits;
}

# some FROM, AT LEAST: a random part of a list, in its order.
sub some
{
	my ($least, @list) = @_;
	my @chosen = grep { chance(0.5) } 0 .. $#list;
	@chosen = 0 .. $least - 1 if @chosen < $least;
	return @list[@chosen];
}

# shuffled LIST
sub shuffled
{
	my @list = @_;
	for my $i (reverse 1 .. $#list)
	{
		my $j = int rand $i + 1;
		@list[$i, $j] = @list[$j, $i];
	}
	return @list;
}

# query_of TABLE, CONDITIONS, COLUMNS: one table; a condition is [sql, code], or nothing.
sub query_of
{
	my ($table, $condition, @columns) = @_;
	my $rows = sub {
		my ($state) = @_;
		my @rows;
		for my $row (values %{ $state->{$table} })
		{
			push @rows, compute($row, @columns) if !$condition || $condition->[1]->($row);
		}
		return @rows;
	};
	return (tables => [$table], columns => [map { [$_->[0], $_->[1]] } @columns], rows => $rows,
		sql => 'SELECT ' . join(', ', map { $_->[2] } @columns) . ' FROM ' . quoted_table($table) . ($condition ? " WHERE $condition->[0]" : ''));
}

# joined_of TABLES, FROM, COLUMNS, MATCHES: several tables; the code gives hashes of alias => row.
sub joined_of
{
	my ($tables, $from, $matches, @columns) = @_;
	my $rows = sub {
		my ($state) = @_;
		return map { compute($_, @columns) } $matches->($state);
	};
	return (tables => $tables, columns => [map { [$_->[0], $_->[1]] } @columns], rows => $rows, joins => 1,
		sql => 'SELECT ' . join(', ', map { $_->[2] } @columns) . " FROM $from");
}

sub compute
{
	my ($row, @columns) = @_;
	my %result;
	for my $column (@columns)
	{
		my $value = eval { $column->[3]->($row) };
		$result{'!bad'} = 1 if $@;
		$result{ $column->[0] } = $value;
	}
	return \%result;
}

# matching ROWS, COLUMN, VALUE: the rows of a table where a column equals a value; one undef when LEFT is true and there are none.
sub matching
{
	my ($rows, $column, $value, $is_left) = @_;
	my @found = defined $value ? grep { defined $_->{$column} && $_->{$column} eq $value } values %$rows : ();
	return @found ? @found : $is_left ? (undef) : ();
}

# ---- dimensions

# What a dimension is over: its name's stem, the entity that its key stands for, the key, and a query.
my @dimension_queries = (
	sub { # customers alone
		my ($bad) = @_;
		my @columns = some(1, (map { column($_, Source::type_of('customers', $_)) } qw(name city score level bio region points)),
			expression('shout', 'text', 'upper(name)', sub { defined $_[0]{name} ? uc $_[0]{name} : undef }),
			expression('place', 'text', q{coalesce(city, '-')}, sub { $_[0]{city} // '-' }),
			expression('odd', 'boolean', 'points % 2 = 1', sub { truth(defined $_[0]{points} ? $_[0]{points} % 2 : undef) }));
		push @columns, expression('share', 'integer', '12 / points', sub { divided(12, $_[0]{points}) }) if $bad;
		my $condition = pick(undef, ['active IS NOT FALSE', sub { ($_[0]{active} // 't') eq 't' }],
			[q{city IS DISTINCT FROM 'Rom'}, sub { ($_[0]{city} // '') ne 'Rom' }]);
		return ('customer', 'customer', ['customer_id'], sub {
				my ($effective) = @_;
				return query_of('customers', $condition, shuffled(column('customer_id', 'integer'), @columns,
						$effective ? column($effective, Source::type_of('customers', $effective)) : ()));
			}, [qw(since since_local since_day)]);
	},
	sub { # customers with their address and 1:1 extension
		my ($bad) = @_;
		my @columns = some(2, column('name', 'text', 'c'), column('city', 'text', 'a'), column('country', 'text', 'a'), column('level', 'numeric', 'p'));
		push @columns, expression('share', 'integer', '12 / p.points', sub { divided(12, $_[0]{p} ? $_[0]{p}{points} : undef) }) if $bad;
		my $active = chance(0.5);
		my $from = 'shop.customers c LEFT JOIN shop.addresses a USING (address_id) LEFT JOIN shop.profiles p USING (customer_id)'
			. ($active ? ' WHERE c.active IS NOT FALSE' : '');
		return ('client', 'customer', ['customer_id'], sub {
				my ($effective) = @_;
				return joined_of([qw(customers addresses profiles)], $from, sub {
						my ($s) = @_;
						my @found;
						for my $c (values %{ $s->{customers} })
						{
							next if $active && ($c->{active} // 't') ne 't';
							push @found, { c => $c, a => (matching($s->{addresses}, 'address_id', $c->{address_id}, 1))[0],
								p => $s->{profiles}{ $c->{customer_id} } };
						}
						return @found;
					}, ['customer_id', 'integer', 'customer_id', sub { $_[0]{c}{customer_id} }], @columns,
					$effective ? column('since', 'timestamptz', $effective eq 'own' ? 'c' : 'a') : ());
			}, [qw(own other)]);
	},
	sub { # products alone
		my @columns = some(1, column('name', 'text'), column('price', 'numeric'), column('category_id', 'integer'));
		return ('product', 'product', ['product_id'],
			sub { query_of('products', undef, column('product_id', 'integer'), @columns, $_[0] ? column('changed', 'timestamptz') : ()) }, ['changed']);
	},
	sub { # products, and two steps of categories that are there together or not at all
		my @columns = (column('name', 'text', 'p'), column('price', 'numeric', 'p'), column('title', 'text', 'c'), column('title', 'text', 'pc', 'parent'));
		my $from = 'shop.products p LEFT JOIN (shop.categories c JOIN shop.categories pc ON pc.category_id = c.parent_id)'
			. ' ON c.category_id = p.category_id';
		return ('article', 'product', ['product_id'], sub {
				my ($effective) = @_;
				return joined_of([qw(products categories)], $from, sub {
						my ($s) = @_;
						my @found;
						for my $p (values %{ $s->{products} })
						{
							my ($c) = matching($s->{categories}, 'category_id', $p->{category_id});
							my ($pc) = $c ? matching($s->{categories}, 'category_id', $c->{parent_id}) : ();
							push @found, $pc ? { p => $p, c => $c, pc => $pc } : { p => $p };
						}
						return @found;
					}, column('product_id', 'integer', 'p'), @columns, $effective ? column('changed', 'timestamptz', 'p') : ());
			}, ['changed']);
	},
	sub { # its own outrigger
		return ('category', 'category', ['category_id'],
			sub { query_of('categories', undef, column('category_id', 'bigint'), column('title', 'text'), column('parent_id', 'integer')) }, []);
	},
	sub { # names that want quotes; a numeric key
		my @columns = some(1, column('label', 'text'), column('select', 'integer'));
		return ('odd "dim"', 'odd', ['the code', 're gion'], sub {
				my ($effective) = @_;
				return query_of('Odd"Names', undef, shuffled(column('code', 'numeric', undef, 'the code'), column('re gion', 'text'), @columns,
						$effective ? column('When', 'date') : ()));
			}, ['When']);
	},
	sub { # nothing proves that a customer has a kind of tag once
		return ('tagged', 'tag', ['customer_id', 'kind'], sub {
				return (drives => 1, joined_of([qw(customers tags)], 'shop.customers c JOIN shop.tags t ON t.customer_id = c.customer_id WHERE t.kind IS NOT NULL', sub {
						my ($s) = @_;
						return map { my $t = $_; map { { c => $_, t => $t } } matching($s->{customers}, 'customer_id', $t->{customer_id}) }
							grep { defined $_->{kind} } values %{ $s->{tags} };
					}, column('customer_id', 'integer', 'c'), column('kind', 'text', 't'), column('name', 'text', 'c'), column('weight', 'integer', 't')));
			}, []);
	},
	sub { # an association: a bridge, or a dimension
		return ('household', 'household', ['household_id', 'customer_id'],
			sub { query_of('households', undef, column('household_id', 'integer'), column('customer_id', 'integer'), column('share', 'numeric')) }, []);
	},
	sub { # a key of text
		return ('region', 'region', ['region'], sub { query_of('regions', undef, map { column($_, Source::type_of('regions', $_)) } qw(region country tax)) }, []);
	});

sub random_dimension
{
	my ($n, @others) = @_;
	my ($stem, $entity, $key, $query, $times) = pick(@dimension_queries[0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8])->(chance(0.25));
	my $effective = $feature{effective} && @$times && chance(0.5) ? pick(@$times) : undef;
	my %model = (name => "dw." . ($stem =~ /\W/ ? quoted("$stem $n") : "${stem}_$n"), table => $stem =~ /\W/ ? "$stem $n" : "${stem}_$n",
		kind => 'dimension', entity => $entity, key => $key, $query->($effective), on_delete => pick(qw(close close tombstone ignore purge purge)));
	if ($effective)
	{
		my %is_time = map { $_ => 1 } @$times, 'since';
		($model{effective}) = map { $_->[0] } grep { $is_time{ $_->[0] } } @{ $model{columns} };
	}
	my %scd = ('*' => pick(2, 2, 2, 1, 6));
	my %is_key = map { $_ => 1 } @$key;
	for my $column (map { $_->[0] } @{ $model{columns} })
	{
		next if $is_key{$column} || $column eq ($model{effective} // '');
		$scd{$column} = pick(0, 1, 2, 2, 3, 6) if chance(0.5);
		$model{scd}{$column} = $scd{$column} // $scd{'*'};
	}
	my %outriggers = random_outriggers(\%model, @others);
	$model{declare} = sprintf q{SELECT walhouse.create_dimension(%s, %s, %s, scd => %s, on_delete => '%s'%s%s)}, Pg::quote($model{name}),
		Pg::quote($model{sql}), array(@$key), Pg::quote($json->encode(\%scd)), $model{on_delete},
		$model{effective} ? ', effective => ' . Pg::quote($model{effective}) : '', %outriggers ? ', outriggers => ' . Pg::quote($json->encode(\%outriggers)) : '';
	return \%model;
}

# random_outriggers MODEL, OTHERS: as the argument says them; the model has them as roles.
sub random_outriggers
{
	my ($model, @others) = @_;
	my @candidates;
	return unless $feature{outriggers};
	for my $column (map { $_->[0] } @{ $model->{columns} })
	{
		my ($entity) = $column eq 'region' ? 'region' : $column =~ /^(category_id|parent_id)$/ ? 'category' : next;
		next if $model->{entity} eq 'region';
		push @candidates, map { [$_, $column] } grep { $_->{kind} eq 'dimension' && $_->{entity} eq $entity } $model, @others;
	}
	my ($date) = map { $_->[0] } grep { $_->[1] eq 'date' } @{ $model->{columns} };
	push @candidates, [undef, $date] if $date;
	my (@chosen, %argument);
	for my $candidate (grep { chance(0.6) } @candidates)
	{
		my ($dimension, $column) = @$candidate;
		my $role = { column => 'out ' . @chosen . '_sk', key => [$column], dimension => $dimension, date => $dimension ? undef : 'cal.date' };
		push @chosen, $role;
		$argument{ $role->{column} } = ($dimension ? $dimension->{name} : 'cal.date') . '(' . quoted($column) . ')';
	}
	$model->{outriggers} = \@chosen if @chosen; # a dimension may be its own, and has itself then
	return %argument;
}

# random_bridge OTHERS: over the association of households and customers.
sub random_bridge
{
	my (@others) = @_;
	my @members = grep { $_->{kind} eq 'dimension' && $_->{entity} eq 'customer' } @others;
	return () unless @members;
	my %model = (name => 'dw.bridge', table => 'bridge', kind => 'dimension', entity => 'bridge', key => ['household_id', 'customer_id'], on_delete => 'close',
		query_of('households', undef, column('household_id', 'integer'), column('customer_id', 'integer'), column('share', 'numeric')), scd => { share => 2 },
		weight => chance(0.6) ? 'share' : undef);
	$model{members} = [map { { column => "$_->{table} member", key => ['customer_id'], dimension => $_ } } @members[0 .. (chance(0.3) ? $#members : 0)]];
	my %argument = map { $_->{column} => "$_->{dimension}{name}(customer_id)" } @{ $model{members} };
	$model{declare} = sprintf 'SELECT walhouse.create_bridge(%s, %s, %s, members => %s, weight => %s)', Pg::quote($model{name}), Pg::quote($model{sql}),
		array(@{ $model{key} }), Pg::quote($json->encode(\%argument)), Pg::quote($model{weight});
	return \%model;
}

# random_mini: the history of combinations, a dimension like others that is declared with them, and the combinations.
sub random_mini
{
	my @columns = some(1, map { column($_, Source::type_of('customers', $_)) } qw(region level active points));
	my %history = (name => 'dw.profile_history', table => 'profile_history', kind => 'dimension', entity => 'history', key => ['customer_id'], on_delete => 'close',
		query_of('customers', undef, shuffled(column('customer_id', 'integer'), @columns)), scd => { map { $_->[0] => 2 } @columns });
	my %mini = (name => 'dw.profile', table => 'profile', kind => 'mini', entity => 'customer', history => \%history,
		columns => [grep { $_->[0] ne 'customer_id' } @{ $history{columns} }]);
	$mini{declare} = sprintf 'SELECT walhouse.create_mini_dimension(%s, %s, %s)', Pg::quote($mini{name}), Pg::quote($history{sql}), array('customer_id');
	return (\%history, \%mini);
}

sub array { return Pg::quote('{' . join(',', map { '"' . (s/(["\\])/\\$1/gr) . '"' } @_) . '}') }

sub random_junk
{
	my @columns = some(1, ['channel', 'text'], ['paid', 'boolean'], ['amount', 'numeric'], ['day', 'date']);
	return { name => 'dw.flags', table => 'flags', kind => 'junk', columns => \@columns,
		declare => 'SELECT walhouse.create_junk_dimension(' . Pg::quote('dw.flags') . ', ' . array(map { "$_->[0] $_->[1]" } @columns) . ')' };
}

# ---- facts

# What a fact is over: stem, key, query, the columns that may be its event time, and those that give the keys of entities.
my @fact_queries = (
	sub { # orders alone
		my ($bad) = @_;
		my $event = pick(qw(at at local_at due));
		my $as = $event eq 'at' && chance(0.3) ? 'When "it" was' : $event;
		my @columns = (column('order_id', 'integer'), column($event, Source::type_of('orders', $event), undef, $as eq $event ? undef : $as),
			map { column($_, Source::type_of('orders', $_)) } qw(customer_id referrer_id code), 're gion', qw(paid shipped channel amount ratio));
		push @columns, column('due', 'date') if $event ne 'due';
		push @columns, expression('doubled', 'numeric', 'amount * 2', sub { product_of($_[0]{amount}, '2') });
		push @columns, expression('share', 'integer', '12 / (order_id - customer_id)',
			sub { defined $_[0]{customer_id} ? divided(12, $_[0]{order_id} - $_[0]{customer_id}) : undef }) if $bad && 0;
		my $condition = chance(0.5) ? [q{status IS DISTINCT FROM 'void'}, sub { ($_[0]{status} // '') ne 'void' }] : undef;
		return ('order', ['order_id'], { query_of('orders', $condition, shuffled(@columns)) }, $as,
			{ customer => [['customer_id'], ['referrer_id']], odd => [['code', 're gion']], region => [['channel']] }, ['paid', 'shipped'],
			[qw(amount doubled ratio)]);
	},
	sub { # movements alone
		my $event = pick(qw(at at local_at day));
		my @columns = (column('movement_id', 'bigint'), column($event, Source::type_of('movements', $event)),
			map { column($_, Source::type_of('movements', $_)) } qw(product_id customer_id qty cost exact weight place big took));
		push @columns, column('day', 'date') if $event ne 'day';
		push @columns, expression('channel', 'text', 'place', sub { $_[0]{place} });
		push @columns, expression('paid', 'boolean', 'qty % 2 = 1', sub { truth(defined $_[0]{qty} ? $_[0]{qty} % 2 : undef) });
		return ('movement', ['movement_id'], { query_of('movements', undef, @columns) }, $event,
			{ customer => [['customer_id']], product => [['product_id']], region => [['place']] }, ['paid'], [qw(qty cost exact weight big took)]);
	},
	sub { # lines with their header, their product, and its category
		my ($bad) = @_;
		my $from = q{(shop.lines l JOIN shop.orders o USING (order_id)) LEFT JOIN shop.products p ON p.product_id = l.product_id}
			. q{ LEFT JOIN shop.categories c ON c.category_id = p.category_id}
			. q{ LEFT JOIN shop.categories pc ON pc.category_id = c.parent_id AND pc.title IS DISTINCT FROM 'secret'}
			. q{ WHERE o.status IS DISTINCT FROM 'void' AND coalesce(c.title, '') <> 'hidden'};
		my $event = pick(qw(at at local_at due));
		my @columns = (column('order_id', 'integer', 'o'), column('line', 'numeric', 'l'), column($event, Source::type_of('orders', $event), 'o'),
			column('customer_id', 'integer', 'o'), column('product_id', 'integer', 'l'), column('name', 'text', 'p', 'product'),
			column('title', 'text', 'c', 'category'), column('title', 'text', 'pc', 'parent "cat"'), column('qty', 'numeric', 'l'), column('paid', 'boolean', 'o'),
			column('shipped', 'boolean', 'o'), column('channel', 'text', 'o'),
			expression('amount', 'numeric', 'l.qty * p.price', sub { product_of($_[0]{l}{qty}, $_[0]{p} ? $_[0]{p}{price} : undef) }),
			expression('label', 'text', q{CASE WHEN l.qty > 1 THEN upper(o.status) ELSE l.note END},
				sub { ($_[0]{l}{qty} // 0) > 1 ? (defined $_[0]{o}{status} ? uc $_[0]{o}{status} : undef) : $_[0]{l}{note} }));
		push @columns, expression('share', 'integer', '12 / l.points', sub { divided(12, $_[0]{l}{points}) }) if $bad;
		return ('sale', ['order_id', 'line'], { joined_of([qw(lines orders products categories)], $from, sub {
				my ($s) = @_;
				my @found;
				for my $l (values %{ $s->{lines} })
				{
					my $o = $s->{orders}{ $l->{order_id} };
					next if !$o || ($o->{status} // '') eq 'void';
					my ($p) = matching($s->{products}, 'product_id', $l->{product_id});
					my ($c) = $p ? matching($s->{categories}, 'category_id', $p->{category_id}) : ();
					my ($pc) = $c ? matching($s->{categories}, 'category_id', $c->{parent_id}) : ();
					undef $pc if $pc && ($pc->{title} // '') eq 'secret';
					next if $c && ($c->{title} // '') eq 'hidden';
					push @found, { l => $l, o => $o, p => $p, c => $c, pc => $pc };
				}
				return @found;
			}, @columns) }, $event, { customer => [['customer_id']], product => [['product_id']] }, ['paid', 'shipped'], [qw(amount qty)]);
	},
	sub { # headers with a customer in a comma join, and an address beyond
		my $from = 'shop.orders o, shop.customers c LEFT JOIN shop.addresses a USING (address_id) WHERE c.customer_id = o.customer_id AND o.order_id > 0';
		my @columns = (column('order_id', 'integer', 'o'), column('local_at', 'timestamp', 'o'), column('customer_id', 'integer', 'o'),
			column('name', 'text', 'c'), column('city', 'text', 'a'), column('amount', 'numeric', 'o'), column('paid', 'boolean', 'o'),
			column('shipped', 'boolean', 'o'), column('channel', 'text', 'o'));
		return ('head', ['order_id'], { joined_of([qw(orders customers addresses)], $from, sub {
				my ($s) = @_;
				my @found;
				for my $o (grep { $_->{order_id} > 0 && defined $_->{customer_id} } values %{ $s->{orders} })
				{
					my $c = $s->{customers}{ $o->{customer_id} } or next;
					push @found, { o => $o, c => $c, a => (matching($s->{addresses}, 'address_id', $c->{address_id}, 1))[0] };
				}
				return @found;
			}, @columns) }, 'local_at', { customer => [['customer_id']] }, ['paid', 'shipped'], [qw(amount)]);
	});

sub random_fact
{
	my ($n, @others) = @_;
	my ($stem, $key, $query, $event, $entities, $flags, $measures) = pick(@fact_queries[0, 0, 1, 1, 2, 2, 3])->(chance(0.25));
	my %model = (%$query, name => "dw.${stem}_$n", table => "${stem}_$n", kind => 'fact', key => $key, event => $event, corrections => 'replace');
	my %type = map { @$_ } @{ $model{columns} };
	random_choices(\%model, $flags, $measures);
	my @roles;
	for my $other (@others)
	{
		if ($other->{kind} eq 'junk')
		{
			my %is_measure = map { $_ => 1 } @{ $model{measures} || [] };
			next if grep { $is_measure{ $_->[0] } || ($type{ $_->[0] } // '') ne $_->[1] } @{ $other->{columns} };
			push @roles, { dimension => $other, key => [map { $_->[0] } @{ $other->{columns} }] };
		}
		elsif ($other->{kind} =~ /^(dimension|mini)$/)
		{
			push @roles, map { { dimension => $other, key => $_ } } grep { chance(0.8) } @{ $entities->{ $other->{entity} } || [] };
		}
	}
	my @times = grep { $_->[1] =~ /^(date|timestamp)/ && $_->[0] ne 'booked_at' } Oracle::fact_columns(\%model);
	push @roles, { date => 'cal.date', key => [pick(@times)->[0]] } if chance(0.4);
	my @clocks = grep { $_->[1] =~ /^timestamp/ } @times;
	push @roles, { time => pick('cal.minute', 'cal.hour', 'cal.second'), key => [pick(@clocks)->[0]] } if @clocks && chance(0.3);
	for my $i (0 .. $#roles)
	{
		my $role = $roles[$i];
		$role->{column} = $i == 1 ? 'role two_sk' : "role_${i}_sk";
		next if $role->{dimension} && $role->{dimension}{kind} eq 'junk';
		$role->{null} = pick(qw(unknown not_applicable error)) if chance(0.25);
		$role->{not_applicable_if} = pick(@$flags) if chance(0.15);
		$role->{error_if} = pick(@$flags) if chance(0.15);
	}
	for my $role (grep { $_->{dimension} && $_->{dimension}{kind} eq 'mini' } @roles)
	{
		push @roles, { %$role, column => ($role->{column} =~ s/_sk$//r) . '_history_sk', dimension => $role->{dimension}{history}, is_made => 1 };
	}
	$model{roles} = \@roles;
	$model{declare} = declare_fact(\%model);
	return \%model;
}

# random_choices: by what a fact follows its source, and the columns that come with it.
sub random_choices
{
	my ($model, $flags, $measures) = @_;
	if ($feature{reverse} && chance(0.35))
	{
		$model->{corrections} = 'reverse';
		$model->{measures} = [some(1, @$measures)];
		$model->{event} = 'booked_at' if chance(0.25);
		return;
	}
	$model->{milestones} = { map { chance(0.6) ? ("$_ on" => $_) : () } @$flags } if $feature{milestones} && chance(0.4);
	delete $model->{milestones} unless %{ $model->{milestones} || {} };
	my @times = grep { $_->[1] =~ /^(date|timestamp)/ } Oracle::fact_columns($model);
	$model->{lags} = { map { ("lag $_" => [pick(@times)->[0], pick(@times)->[0]]) } 1 .. pick(1, 2) } if $feature{lags} && chance(0.3);
	return;
}

# ---- aggregates

# random_aggregate KIND, N, FACT: a rollup or a periodic snapshot.
sub random_aggregate
{
	my ($kind, $n, $fact) = @_;
	my %model = (name => "dw.${kind}_$n", table => "${kind}_$n", kind => $kind, fact => $fact, fill => chance(0.6) ? 1 : 0,
		bucket => $kind eq 'rollup' ? pick(qw(hour day week month quarter year none)) : pick(qw(day week week month)));
	my @columns = Oracle::fact_columns($fact);
	my @groups = ((grep { $_->[1] =~ /^(integer|bigint|text|boolean|date)$/ && $_->[0] !~ /^(label|note|order_id|movement_id)$/ } @columns),
		map { [$_->{column}, 'sk'] } grep { !$_->{time} } @{ $fact->{roles} });
	$model{group_by} = [map { $_->[0] } (shuffled(@groups))[0 .. pick(0, 0, 1, 2) - 1]];
	$model{group_by} = [$groups[0][0]] unless @{ $model{group_by} } || $model{bucket} ne 'none';
	$model{group_by} = [grep { defined } @{ $model{group_by} }];
	my @times = grep { $_->[1] =~ /^(date|timestamp)/ } @columns;
	my $time = chance(0.7) ? undef : pick(grep { $model{bucket} ne 'hour' || $_->[1] ne 'date' } @times);
	my ($event) = grep { $_->[0] eq $fact->{event} } @columns;
	$time ||= pick(grep { $_->[1] ne 'date' } @times) if $model{bucket} eq 'hour' && $event->[1] eq 'date';
	$model{bucket} = 'day' if $model{bucket} eq 'hour' && !$time && $event->[1] eq 'date';
	$model{bucket_column} = $time ? $time->[0] : $fact->{event};
	$model{measures} = [map { random_measure("m $_", $kind, $fact, @columns) } 1 .. pick(1, 2, 3, 4)];
	my %measures = map { $_->{name} => $_->{text} } @{ $model{measures} };
	$model{declare} = sprintf q{SELECT walhouse.create_%s(%s, %s, %s, %s, '%s', %s%s)}, $kind eq 'rollup' ? 'rollup' : 'periodic_snapshot', Pg::quote($model{name}),
		Pg::quote($fact->{name}), array(@{ $model{group_by} }), Pg::quote($json->encode(\%measures)), $model{bucket}, $time ? Pg::quote($time->[0]) : 'NULL',
		$kind eq 'rollup' ? '' : $model{fill} ? ', fill => true' : ', fill => false';
	return \%model;
}

# random_measure NAME, KIND, FACT, COLUMNS: name, text (as it is declared), function, column, type, sql (over a column c of values).
sub random_measure
{
	my ($name, $kind, $fact, @columns) = @_;
	my $function = pick('count', 'count', 'count distinct', 'sum', 'sum', 'avg', 'min', 'max', $kind eq 'rollup' ? () : ('balance', 'balance', 'last', 'last'));
	$function = 'sum' if $function eq 'last' && $fact->{corrections} eq 'reverse'; # a booking has no last row
	if ($function =~ /^(count|balance)$/ && chance(0.4))
	{
		return { name => $name, function => $function, text => "$function(*)" };
	}
	my $adds = $function =~ /^(sum|avg|balance)$/;
	my $column = pick(grep { $_->[1] =~ ($adds ? qr/^(integer|bigint|numeric)$/ : $function =~ /^(min|max|count distinct)$/ ? qr/^(integer|bigint|numeric|float8|text|date|timestamp|timestamptz)$/
			: $function eq 'last' ? qr/^(?!interval)/ : qr//) }
		@columns);
	my $value = $column->[1] eq 'float8' ? "CASE WHEN c = 0 THEN 0 ELSE c END" : 'c';
	my $call = $function eq 'count distinct' ? "count(DISTINCT $value)" : $function eq 'balance' ? "sum($value)" : "$function($value)";
	$call = "trim_scale($call)" if $function eq 'avg' || ($column->[1] eq 'numeric' && $function !~ /count/) || ($adds && $column->[1] eq 'bigint');
	# PostgreSQL's own asks the scale of each value how many digits it shall have.
	$call = 'trim_scale(round(trim_scale(sum(c)), greatest(scale(trim_scale(sum(c))), 16)) / count(c))' if $function eq 'avg' && $column->[1] eq 'numeric';
	return { name => $name, function => $function, column => $column->[0], type => $column->[1], sql => $call,
		text => $function eq 'count distinct' ? 'count(distinct ' . quoted($column->[0]) . ')' : "$function(" . quoted($column->[0]) . ')' };
}

sub declare_fact
{
	my ($model) = @_;
	my %dimensions;
	for my $role (grep { !$_->{is_made} } @{ $model->{roles} })
	{
		my $reference = ($role->{dimension} ? $role->{dimension}{name} : $role->{date} || $role->{time})
			. '(' . join(', ', map { quoted($_) } @{ $role->{key} }) . ')';
		my %options = map { $_ => $role->{$_} } grep { $role->{$_} } qw(null not_applicable_if error_if);
		$dimensions{ $role->{column} } = %options ? { dimension => $reference, %options } : $reference;
	}
	my $choices = $model->{corrections} eq 'reverse' ? ", corrections => 'reverse', measures => " . array(@{ $model->{measures} }) : '';
	$choices .= join '', map { $model->{$_} ? ", $_ => " . Pg::quote($json->encode($model->{$_})) : () } qw(milestones lags);
	return sprintf q{SELECT walhouse.create_fact(%s, %s, %s, %s, %s, '%s'%s)}, Pg::quote($model->{name}), Pg::quote($model->{sql}), array(@{ $model->{key} }),
		Pg::quote($model->{event}), Pg::quote($json->encode(\%dimensions)), pick(qw(day month month year)), $choices;
}

1;
