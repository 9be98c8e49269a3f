# What lineage costs: 500 views read anew in less than 2 seconds, and what a change of a source column would do to 200 views that use it told in less than
# 100 ms. Busy machines are slower, so the test asks for no more than five times that, and prints what it saw. What DDL pays is printed, too.
use strict;
use warnings;
use FindBin;
use WalhouseTest;
use Test::More;
use Time::HiRes qw(time);

my $node = one_server();
$node->safe_psql('postgres', <<"SQL");
\\i $FindBin::Bin/../lib/handfeed.sql
SELECT handfeed.make('shop', 'UTC');
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, ordered_at timestamptz, status text, amount numeric, discount numeric, channel text);
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text, segment text);
SELECT handfeed.add('shop', 'shop.orders'), handfeed.add('shop', 'shop.customers');
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, city, segment FROM shop.customers', '{id}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer_id, ordered_at, status, amount, amount * (1 - discount) AS net, channel FROM shop.orders', '{id}', 'ordered_at', '{"customer_sk": "dw.customer(customer_id)"}');
CREATE SCHEMA bi;
DO \$\$
BEGIN
	FOR n IN 1 .. 100 LOOP
		EXECUTE format('CREATE VIEW bi.by_city_%s AS SELECT s.customer_city AS city, date_trunc(''month'', s.ordered_at) AS month, sum(s.net) AS net, count(*) AS n, max(s.amount) AS most,
			rank() OVER (ORDER BY sum(s.net) DESC) AS place FROM dw.sales_as_was s WHERE s.status = ''paid'' AND s.amount > %s GROUP BY 1, 2', n, n);
		EXECUTE format('CREATE VIEW bi.top_%s AS WITH best AS (SELECT city, net FROM bi.by_city_%s WHERE place <= 3) SELECT b.city, b.net / nullif(t.total, 0) AS share FROM best b, LATERAL (SELECT sum(net) AS total FROM best) t', n, n);
		EXECUTE format('CREATE VIEW bi.people_%s AS SELECT c.name, c.segment, (SELECT count(*) FROM dw.sales s WHERE s.customer_sk = c.customer_sk AND s.channel = ''web'') AS web FROM dw.customer c WHERE c.is_current', n);
		EXECUTE format('CREATE VIEW bi.both_%s AS SELECT name, segment FROM bi.people_%s UNION SELECT city, ''x'' FROM dw.customer WHERE valid_to = ''infinity''', n, n);
		EXECUTE format('CREATE VIEW bi.wide_%s AS SELECT s.*, CASE WHEN s.channel = ''web'' THEN upper(s.status) ELSE coalesce(s.status, ''none'') END AS label FROM dw.sales_as_is s WHERE s.customer_segment IS NOT NULL', n);
	END LOOP;
END \$\$;
SQL

# Milliseconds of a statement, best of three.
sub milliseconds
{
	my ($statement) = @_;
	my $best;
	for (1 .. 3)
	{
		my $out = $node->safe_psql('postgres', "\\timing on\n$statement");
		my ($time) = $out =~ /.*Time: ([0-9.]+) ms/s or die "no time in $out";
		$best = $time if !defined $best || $time < $best;
	}
	return $best;
}

my $all = milliseconds("SELECT walhouse.track_lineage('bi')");
is($node->safe_psql('postgres', "SELECT count(*) FROM walhouse.stat_lineage WHERE relation::text LIKE 'bi.%' AND NOT is_stale"), '500', '500 views are read');
diag(sprintf('500 views read in %.0f ms (2000 is the goal)', $all));
cmp_ok($all, '<', 5 * 2000, 'in time');

my $impact = "SELECT count(*) FROM walhouse.impact('ALTER TABLE public.orders DROP COLUMN discount')";
is($node->safe_psql('postgres', "SELECT count(DISTINCT reader) FROM walhouse.impact('ALTER TABLE public.orders DROP COLUMN discount') WHERE node LIKE 'bi.%'"), '300', 'the column is used by 300 views');
my $told = milliseconds($impact);
diag(sprintf('what dropping a source column does to 300 views told in %.0f ms (100 is the goal, for 200)', $told));
cmp_ok($told, '<', 5 * 100, 'in time');

# The price of DDL that does not concern lineage.
my $ddl = 'DO $$ BEGIN FOR n IN 1 .. 200 LOOP EXECUTE format(\'CREATE TABLE public.t_%s (a int)\', n); EXECUTE format(\'DROP TABLE public.t_%s\', n); END LOOP; END $$';
my $with = milliseconds($ddl);
$node->safe_psql('postgres', 'ALTER EVENT TRIGGER walhouse_lineage DISABLE; ALTER EVENT TRIGGER walhouse_lineage_drop DISABLE');
my $without = milliseconds($ddl);
diag(sprintf('CREATE TABLE and DROP TABLE take %.2f ms, %.2f without the event triggers', $with / 200, $without / 200));
cmp_ok($with - $without, '<', 200 * 20, 'DDL of others pays little');
$node->stop('fast');
done_testing();
