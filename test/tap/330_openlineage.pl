# walhouse.openlineage(): every load is a run with a start and one end, builds tell of datasets and jobs, failures carry their error; all of it valid
# by the standard's own schemas, facet by facet.
use strict;
use warnings;
use FindBin;
use WalhouseTest;
use WalhouseProof;
use IPC::Run;
use JSON::PP;
use Test::More;

my ($source, $house) = source_and_house();
sql($source, q{
	CREATE SCHEMA "Odd ""shop";
	CREATE TABLE customer (id int PRIMARY KEY, name text, city text);
	CREATE TABLE "Odd ""shop"."the.sale" (id int PRIMARY KEY, customer int, "on" timestamptz, amount numeric);
	INSERT INTO customer SELECT i, 'name ' || i, 'city ' || i % 3 FROM generate_series(1, 20) AS i;
	INSERT INTO "Odd ""shop"."the.sale" SELECT i, 1 + i % 20, timestamptz '2026-01-01' + i * interval '1 day', i FROM generate_series(1, 50) AS i;
	CREATE PUBLICATION p FOR TABLE customer, "Odd ""shop"."the.sale";
});
create_server($house, 'shop', $source);
sql($house, q{
	CALL walhouse.create_feed('shop', server => 'shop', publication => 'p');
	CREATE SCHEMA dw;
	SELECT walhouse.create_dimension('dw.customer', $$ SELECT id, upper(name) AS name, city FROM shop.customer WHERE id > 0 $$, key => '{id}');
	COMMENT ON TABLE dw.customer IS 'Who buys; "quoted"';
	SELECT walhouse.create_fact('dw."Sale"', $$ SELECT s.id, s.customer, c.city, s."on", s.amount FROM shop."the.sale" s JOIN shop.customer c ON c.id = s.customer $$,
		key => '{id}', event_time => 'on', dimensions => '{"customer_sk": "dw.customer(customer)"}');
	SELECT walhouse.create_rollup('dw.by_city', 'dw."Sale"', '{city}', '{"total": "sum(amount)"}', 'month');
	CALL walhouse.run('shop');
});
# events SINCE: [recorded, load, event], decoded.
sub events
{
	my ($since, $more) = @_;
	return map { my ($recorded, $load, $event) = split /\|/, $_, 3; [ $recorded, $load, decode_json($event) ] }
		split /\n/, value($house, "SELECT recorded, load_id, event FROM walhouse.openlineage($since" . ($more // '') . ')');
}
sub plain { return JSON::PP->new->canonical->encode([ map { $_->[2] } @_ ]) }
sub of { my ($events, $type, $job) = @_; return grep { ($_->{eventType} // '') eq $type && $_->{job}{name} =~ /$job/ } map { $_->[2] } @$events }

my @built = events(0);
my @datasets = map { $_->[2]{dataset} } grep { $_->[2]{dataset} } @built;
my %dataset = map { $_->{name} => $_ } @datasets;
is(join(' ', sort keys %dataset), 'postgres.dw.Sale postgres.dw.by_city postgres.dw.customer postgres.shop.customer postgres.shop.the.sale',
	'builds tell of the models, and of the mirrors that they read');
like($dataset{'postgres.dw.customer'}{namespace}, qr{^postgres://[^/]+:\d+$}, 'named as the standard has it');
is($dataset{'postgres.dw.customer'}{facets}{documentation}{description}, 'Who buys; "quoted"', 'with what is documented');
is(join(' ', map { "$_->{name}:$_->{type}:$_->{ordinal_position}" } @{ $dataset{'postgres.dw.customer'}{facets}{schema}{fields} }[ 0 .. 2 ]),
	'customer_sk:bigint:1 id:integer:2 name:text:3', 'with their columns');
is($dataset{'postgres.dw.customer'}{facets}{lifecycleStateChange}{lifecycleStateChange}, 'CREATE', 'made for the first time');
my $lineage = $dataset{'postgres.dw.customer'}{facets}{columnLineage};
is(edges($lineage->{fields}{name}{inputFields}), 'postgres.shop.customer.name DIRECT/TRANSFORMATION', 'a column and what it comes from');
is(edges($lineage->{fields}{city}{inputFields}), 'postgres.shop.customer.city DIRECT/IDENTITY', 'unchanged');
like(edges($lineage->{dataset}), qr{postgres\.shop\.customer\.id INDIRECT/FILTER}, 'and what decides which rows there are');
my $mirror = $dataset{'postgres.shop.the.sale'}{facets}{columnLineage}{fields}{on}{inputFields}[0];
is("$mirror->{name} $mirror->{field}", 'postgres.Odd "shop.the.sale on', 'a mirror leads to the source');
like($mirror->{namespace}, qr{^postgres://.*:@{[ $source->port ]}$}, 'on its server');
my @jobs = map { $_->[2] } grep { !$_->[2]{run} && $_->[2]{job} } @built;
is(join(' ', sort map { $_->{job}{name} } @jobs), 'postgres.dw.Sale postgres.dw.by_city postgres.dw.customer', 'and of their jobs');
my ($sale) = grep { $_->{job}{name} eq 'postgres.dw.Sale' } @jobs;
is(join(' ', map { $_->{name} } @{ $sale->{inputs} }), 'postgres.dw.customer postgres.shop.customer postgres.shop.the.sale', 'with what they read');
like($sale->{job}{facets}{sql}{query}, qr/JOIN shop\.customer/, 'and their query');

# Loads.
my $since = $built[-1][0];
sql($source, q{UPDATE customer SET city = 'Rome' WHERE id < 4; INSERT INTO "Odd ""shop"."the.sale" VALUES (100, 1, '2026-03-01', 7)});
sql($house, q{CALL walhouse.run('shop')});
my @loaded = events($since);
is(scalar(grep { $_->[0] <= $since } @loaded), 0, 'what was asked for before does not come again');
my ($end) = of(\@loaded, 'COMPLETE', qr/dw\.customer/);
is($end->{outputs}[0]{name}, 'postgres.dw.customer', 'a load of a model writes it');
is($end->{outputs}[0]{outputFacets}{outputStatistics}{rowCount}, 6, 'so many rows: three versions ended, three began');
is($end->{outputs}[0]{facets}{version}{datasetVersion}, value($house, q{SELECT to_lsn FROM walhouse.load_model ORDER BY load_id DESC LIMIT 1}), 'its version is an LSN');
my ($load) = of(\@loaded, 'COMPLETE', qr/shop\.load$/);
is($end->{run}{facets}{parent}{run}{runId}, $load->{run}{runId}, 'its parent is the load');
is(lc $load->{run}{facets}{walhouse_provenance}{transactions}, 2, 'of two source transactions') or diag(encode_json($load));
ok(plain(events($since)) eq plain(@loaded), 'asked again, the same comes again');
is(join(' ', map { $_->[0] } events(0, q{, feed => 'nobody'})), '', 'no events of a feed that is not there');
is(scalar(keys %{ { map { $_->[1] => 1 } events(0, q{, max_loads => 2}) } }), 2, 'not more loads than asked for');

is($end->{inputs}[0]{inputFacets}{inputStatistics}{rowCount}, 3, 'and so many changes that it read');
my ($written) = of(\@loaded, 'COMPLETE', qr/dw\.Sale/);
is(join(' ', map { "$_->{name}:" . ($_->{inputFacets}{inputStatistics}{rowCount} // '') } @{ $written->{inputs} }),
	'postgres.dw.customer: postgres.shop.customer:3 postgres.shop.the.sale:1', 'and of each of several tables');
is(encode($written->{outputs}[0]{outputFacets}{subset}{outputCondition}), encode({ type => 'partition', partitions => [ map {
	{ identifier => "postgres.dw.Sale_p2026_0$_", dimensions => { on => "2026-0$_-01T00:00:00" } } } 1 .. 3 ] }), 'a load of a fact says which partitions it wrote to');
my ($summed) = of(\@loaded, 'COMPLETE', qr/dw\.by_city/);
is($summed->{inputs}[0]{inputFacets}{inputStatistics}{rowCount}, value($house, q{SELECT inserted + updated + deleted FROM walhouse.load_model JOIN walhouse.model USING (model_id)
	WHERE relation = 'dw."Sale"'::regclass ORDER BY load_id DESC LIMIT 1}), 'a rollup reads what became of its fact');
ok(!exists $summed->{outputs}[0]{outputFacets}{subset}, 'and has no partitions');

# Two partitions far apart; a few of many; some of many side by side.
$since = $loaded[-1][0];
sql($source, q{UPDATE "Odd ""shop"."the.sale" SET "on" = '2026-07-01' WHERE id = 1});
sql($house, q{CALL walhouse.run('shop')});
is(join(' ', map { $_->{identifier} } map { @{ $_->{outputs}[0]{outputFacets}{subset}{outputCondition}{partitions} } } of([ events($since) ], 'COMPLETE', qr/dw\.Sale/)),
	'postgres.dw.Sale_p2026_01 postgres.dw.Sale_p2026_07', 'two partitions have their names, however far apart');
$since = (events($since))[-1][0];
sql($source, q{UPDATE "Odd ""shop"."the.sale" SET amount = 0 WHERE id = 1 OR "on" >= '2026-02-01' AND "on" < '2026-02-03' OR "on" = '2026-03-01'; DELETE FROM "Odd ""shop"."the.sale" WHERE id = 2});
sql($house, q{CALL walhouse.run('shop')});
is(scalar(map { @{ $_->{outputs}[0]{outputFacets}{subset}{outputCondition}{partitions} } } of([ events($since) ], 'COMPLETE', qr/dw\.Sale/)), 4, 'so have all those that there are');
$since = (events($since))[-1][0];
sql($source, q{INSERT INTO "Odd ""shop"."the.sale" VALUES (200, 1, '2026-06-02', 7), (201, 1, '2026-04-01', 7); UPDATE "Odd ""shop"."the.sale" SET amount = 8 WHERE id = 1});
sql($house, q{CALL walhouse.run('shop')});
$since = (events($since))[-1][0];
sql($source, q{UPDATE "Odd ""shop"."the.sale" SET amount = 9 WHERE id IN (1, 200, 3)});
sql($house, q{CALL walhouse.run('shop')});
is(join(' ', map { $_->{identifier} } map { @{ $_->{outputs}[0]{outputFacets}{subset}{outputCondition}{partitions} } } of([ events($since) ], 'COMPLETE', qr/dw\.Sale/)),
	'postgres.dw.Sale_p2026_01 postgres.dw.Sale_p2026_06 postgres.dw.Sale_p2026_07', 'and three with others in between');
my $stretch = decode_json(value($house, q{SELECT walhouse.openlineage_subset('dw."Sale"', 'on', 3, '2026-01-01', '2026-08-01', NULL)->'outputCondition'}));
is(join(' ', map { ($stretch->{$_}{left}{field}, $stretch->{$_}{comparison}, $stretch->{$_}{right}{value}) } qw(left right)),
	'on GREATER_EQUAL_THAN 2026-01-01T00:00:00 on LESS_THAN 2026-08-01T00:00:00', 'those of which it is not known any more which they were are told by the stretch that they lie in');

# A model that stops.
$since = (events($since))[-1][0];
sql($house, q{ALTER TABLE dw.customer ADD CHECK (city <> 'Oslo; it "rains": there'), ADD CHECK (name <> 'x')});
sql($source, q{UPDATE customer SET city = 'Oslo; it "rains": there' WHERE id = 5});
sql($house, q{CALL walhouse.run('shop')});
my @failed = events($since);
my ($failure) = of(\@failed, 'FAIL', qr/dw\.customer/);
like($failure->{run}{facets}{errorMessage}{message}, qr/^new row for relation "customer" violates check constraint/, 'fails, with its error');
is(scalar(of(\@failed, 'FAIL', qr/dw\.Sale/)), 1, 'and so does the fact that needs it');
sql($house, q{CREATE ROLE anybody});
unlike(value($house, q{SET ROLE anybody; SELECT event FROM walhouse.openlineage(0)}), qr/violates check/, 'others do not see the error');

# A build that fails; another definition.
$since = (events($since))[-1][0];
sql($house, q{SELECT walhouse.create_dimension('dw.broken', $$ SELECT id, city::int AS city FROM shop.customer $$, key => '{id}')});
$house->psql('postgres', q{CALL walhouse.build('dw.broken')});
my @unbuilt = map { $_->[2] } events($since);
is(join(' ', map { "$_->{eventType}:$_->{job}{name}" } @unbuilt),
	'START:postgres.shop.build START:postgres.dw.broken FAIL:postgres.dw.broken FAIL:postgres.shop.build', 'a build that fails is a run of its own');
like($unbuilt[2]{run}{facets}{errorMessage}{message}, qr/^invalid input syntax for type integer: "/, 'with its error');
$since = (events($since))[-1][0];
sql($house, q{ALTER TABLE dw.customer DROP CONSTRAINT customer_city_check; SELECT walhouse.resume('dw.customer')});
my $view = value($house, q{SELECT query FROM walhouse.model WHERE relation = 'dw.customer'::regclass});
sql($house, qq{SET walhouse.allow_writes = on; CREATE OR REPLACE VIEW $view AS SELECT id, lower(name) AS name, city FROM shop.customer WHERE id > 0});
sql($source, q{UPDATE customer SET city = 'Ulm' WHERE id = 6});
sql($house, q{CALL walhouse.run('shop')});
my @altered = map { $_->[2] } events($since);
my ($altered) = grep { ($_->{dataset}{name} // '') eq 'postgres.dw.customer' } @altered;
is($altered->{dataset}{facets}{lifecycleStateChange}{lifecycleStateChange}, 'ALTER', 'another definition is told as one');
like((grep { !$_->{run} && ($_->{job}{name} // '') eq 'postgres.dw.customer' } @altered)[0]{job}{facets}{sql}{query}, qr/lower/, 'with the query');
is((grep { ($_->{eventType} // '') eq 'COMPLETE' && $_->{job}{name} eq 'postgres.dw.customer' } @altered)[0]{run}{facets}{walhouse_provenance}{definition}, 2, 'runs say with which they ran');
like((grep { !$_->{run} && ($_->{job}{name} // '') eq 'postgres.dw.customer' } map { $_->[2] } events(0))[0]{job}{facets}{sql}{query}, qr/upper/, 'and the build had the one of then');
$since = (events($since))[-1][0];
sql($source, q{UPDATE customer SET city = 'Bonn' WHERE id = 6});
sql($house, q{CALL walhouse.run('shop')});
is(scalar(grep { $_->[2]{dataset} } events($since)), 0, 'once');

# A verification of a model that others read.
sql($house, q{INSERT INTO walhouse.verification SELECT model_id, now(), 1, 100, NULL, NULL, 20, 20, 0, 0, 1 FROM walhouse.model WHERE relation = 'dw.customer'::regclass});
my @checked = map { @{ $_->{inputs} } } of([ events(0) ], 'COMPLETE', qr/dw\.Sale/);
my ($check) = grep { $_->{name} eq 'postgres.dw.customer' && $_->{inputFacets} } @checked;
is($check->{inputFacets}{dataQualityAssertions}{assertions}[0]{success}, JSON::PP::false, 'assertions go along');

# A model that is dropped, told once, where it belongs among the loads; one that was never built is not.
$since = (events($since))[-1][0];
sql($house, q{SELECT walhouse.drop_model('dw.by_city'), walhouse.drop_model('dw.broken')});
sql($source, q{UPDATE customer SET city = 'Hof' WHERE id = 6});
sql($house, q{CALL walhouse.run('shop')});
is(join(' ', map { ($_->[2]{dataset}{name} // '') . ':' . ($_->[2]{dataset}{facets}{lifecycleStateChange}{lifecycleStateChange} // '') . ($_->[2]{eventType} // '') } (events($since))[0, 1]),
	'postgres.dw.by_city:DROP :START', 'a model that was dropped is told, before the load that comes next');
is(scalar(grep { ($_->[2]{dataset}{facets}{lifecycleStateChange}{lifecycleStateChange} // '') eq 'DROP' } events(0)), 1, 'once');
is(scalar(grep { ($_->[2]{dataset}{facets}{lifecycleStateChange}{lifecycleStateChange} // '') eq 'DROP' } events(0, q{, max_loads => 1})), 0, 'and not before loads that are left out');

# Every run begins once and ends once; indirect ways are spelt as the standard has them.
my (%started, %ended);
for my $event (map { $_->[2] } grep { $_->[2]{run} } events(0))
{
	($event->{eventType} eq 'START' ? \%started : \%ended)->{ $event->{run}{runId} }++;
	like($event->{run}{runId}, qr/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/, 'a UUID') if $event->{eventType} eq 'START';
}
is(join(' ', sort keys %started), join(' ', sort keys %ended), 'every run begins and ends');
is(scalar(grep { $_ != 1 } values %started, values %ended), 0, 'once');
my %ways = map { ("$_->{type}/$_->{subtype}" => 1) } map { @{ $_->{transformations} } }
	map { my $l = $_->{facets}{columnLineage}; $l ? ((map { @{ $_->{inputFields} } } values %{ $l->{fields} }), @{ $l->{dataset} // [] }) : () }
	map { ($_->[2]{dataset} // ()), @{ $_->[2]{outputs} // [] } } events(0);
is(join(' ', grep { !m{^(DIRECT/(IDENTITY|TRANSFORMATION|AGGREGATION)|INDIRECT/(JOIN|FILTER|GROUP_BY|SORT|WINDOW|CONDITIONAL))$} } sort keys %ways), '',
	'ways are those of the standard');

my $lines = value($house, 'SELECT event FROM walhouse.openlineage(0)');
SKIP:
{
	my ($python) = grep { -x && system("$_ -c 'import jsonschema' 2>/dev/null") == 0 } '/usr/bin/python3';
	my $schemas = ($ENV{WALHOUSE_SHARED} || '') . '/data/openlineage';
	skip('the standard\'s schemas are not there (../shared/data/openlineage)', 1) if !-r "$schemas/OpenLineage.json";
	skip('/usr/bin/python3 has no jsonschema (package python3-jsonschema)', 1) if !$python;
	IPC::Run::run([ $python, "$FindBin::Bin/lib/openlineage_check.py", $schemas ], '<', \$lines, '>', \my $out, '2>', \my $err);
	is($?, 0, 'events are valid') or diag("$out$err");
	note($out);
}
$house->stop;
$source->stop;
done_testing();

sub encode { return JSON::PP->new->canonical->encode($_[0]) }
sub edges
{
	return join ', ', map { my $field = $_; map { "$field->{name}.$field->{field} $_->{type}/$_->{subtype}" } @{ $field->{transformations} } } @{ $_[0] // [] };
}
