# Workers verify models by turns: each once in an interval, calendars too, as their owners; what was planted is found, logged with a
# hint and shown; what cannot be verified does not keep the others from their turn; ingest goes on meanwhile; rows are pruned.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use Time::HiRes qw(time);

my ($source, $house) = source_and_house(house => { conf => "walhouse.verify_interval = 0\nwalhouse.verify_sample = 40\n" });
my @models = qw(dw.customer dw.date dw.flag dw.sale dw.other);

sql($source, q{
	CREATE TABLE public.customers (id int PRIMARY KEY, name text, vip boolean);
	CREATE TABLE public.sales (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
	INSERT INTO public.customers SELECT i, 'customer ' || i, i % 2 = 0 FROM generate_series(1, 2000) i;
	INSERT INTO public.sales SELECT i, 1 + i % 2000, timestamptz '2026-01-01' + i * interval '1 hour', i FROM generate_series(1, 2000) i;
});
sql($house, q{CREATE ROLE modeller; CREATE SCHEMA dw; GRANT CREATE, USAGE ON SCHEMA dw TO modeller});
create_server($house, 'shop', $source);
sql($house, q{CALL walhouse.create_feed('shop', server => 'shop', tables => '{public.customers,public.sales}')});
sql($house, q{
	GRANT USAGE ON SCHEMA shop, shop_log TO modeller;
	GRANT SELECT ON ALL TABLES IN SCHEMA shop, shop_log TO modeller;
	SELECT walhouse.create_date_dimension('dw.date', '2026-01-01', '2026-12-31');
	SELECT walhouse.create_junk_dimension('dw.flag', '{odd boolean}');
	SELECT walhouse.create_dimension('dw.customer', 'SELECT id, name, vip FROM shop.customers', '{id}');
	SELECT walhouse.create_fact('dw.sale', 'SELECT id, customer, at, amount, amount % 2 = 1 AS odd FROM shop.sales', '{id}', 'at',
		'{"customer_sk": "dw.customer(customer)", "date_sk": "dw.date(at)", "flag_sk": "dw.flag(odd)"}');
	SET ROLE modeller;
	SELECT walhouse.create_dimension('dw.other', 'SELECT id, name FROM shop.customers', '{id}');
});
sql($house, q{SELECT walhouse.start('shop')});
ok(reach($house, 'shop', $source), 'the star is built');
sql($source, q{UPDATE public.customers SET name = name || '!' WHERE id % 3 = 0; UPDATE public.sales SET amount = amount + 2 WHERE id % 5 = 0});
ok(reach($house, 'shop', $source), 'and followed');
is(value($house, 'SELECT count(*) FROM walhouse.verification'), '0', 'nothing is verified with an interval of 0');

interval('2s');
ok(poll($house, 'postgres', 'SELECT count(DISTINCT model_id) FROM walhouse.verification', scalar @models), 'every model is verified');
is(value($house, 'SELECT count(*) FROM walhouse.verification WHERE missing + unexpected + different > 0 OR error IS NOT NULL'), '0', 'and right');
is(value($house, q{SELECT bool_and(found BETWEEN 1 AND 100 AND sample = 40) FROM walhouse.verification v JOIN walhouse.model m USING (model_id)
	WHERE m.relation <> 'dw.flag'::regclass}), 't', 'samples of the size that is set');
ok(poll($house, 'postgres', q{SELECT string_agg(model::text, ' ' ORDER BY model::text) FROM walhouse.stat_model
	WHERE last_verify IS NOT NULL AND verify_differences = 0 AND (verify_position = position OR feed IS NULL)},
	'dw.customer dw.date dw.flag dw.other dw.sale'), 'stat_model shows it');
ok(poll($house, 'postgres', 'SELECT min(n) >= 3 FROM (SELECT count(*) AS n FROM walhouse.verification GROUP BY model_id) c'), 'again and again');
is(value($house, q{SELECT count(*) FROM (SELECT started - lag(started) OVER (PARTITION BY model_id ORDER BY started) AS pause
	FROM walhouse.verification) p WHERE pause < interval '2 s'}), '0', 'but not more often than the interval says');

# Planted in every row, so that any sample meets it.
sql($house, q{SET walhouse.allow_writes = on; UPDATE dw.sale SET amount = amount + 1; UPDATE dw.other SET name = 'x' WHERE is_current});
ok(poll($house, 'postgres', q{SELECT string_agg(model::text, ' ' ORDER BY model::text) FROM walhouse.stat_model WHERE verify_differences > 0},
	'dw.other dw.sale'), 'what was planted is found');
like(log_of($house), qr/WARNING:  dw\.sale differs from a recomputation.*Of a sample of its keys 0 rows are missing.*walhouse\.verify\('dw\.sale'\).*walhouse\.build\('dw\.sale'\)/s,
	'and logged, with what to do');
is(value($house, q{SELECT missing = 0 AND unexpected = 0 AND different > 0 FROM walhouse.verification WHERE model_id =
	(SELECT model_id FROM walhouse.model WHERE relation = 'dw.sale'::regclass) ORDER BY started DESC LIMIT 1}), 't', 'as verify() counts');
is(value($house, q{SELECT count(*) FROM walhouse.model WHERE state <> 'live'}), '0', 'models go on: what to do is for people to say');
sql($house, q{CALL walhouse.build('dw.sale'); CALL walhouse.build('dw.other')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.stat_model WHERE verify_differences = 0}, scalar @models), 'a build mends it');

# One that cannot be verified has its turn, and the others theirs.
sql($house, q{REVOKE SELECT ON shop.customers FROM modeller});
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM walhouse.verification WHERE error LIKE 'permission denied for table customers%'}),
	'it runs as the model\'s owner, and the error is kept');
my $turns = value($house, 'SELECT count(*) FROM walhouse.verification WHERE error IS NULL');
ok(poll($house, 'postgres', "SELECT count(*) >= $turns + 8 FROM walhouse.verification WHERE error IS NULL"), 'the others have their turns');
is(value($house, q{SELECT verify_differences IS NULL AND last_verify IS NOT NULL FROM walhouse.stat_model WHERE model = 'dw.other'::regclass}), 't', 'no figure stands for it');
sql($house, q{GRANT SELECT ON shop.customers TO modeller});

# A lock on a model costs a second, not the feed.
my $locker = $house->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE dw.date IN ACCESS EXCLUSIVE MODE');
ok(poll($house, 'postgres', q{SELECT count(*) > 0 FROM walhouse.verification WHERE error LIKE '%lock timeout%'}), 'a verification gives up waiting for a lock');
$locker->query_safe('COMMIT');
$locker->quit;

# A feed that is never idle has its turn when it is overdue; and it is not delayed.
my $from = value($house, 'SELECT clock_timestamp()');
my ($slowest, $until) = (0, time() + 60);
my ($n, $verified) = (0, 0);
while ($verified < 3 && time() < $until)
{
	my $begin = time();
	$n++;
	sql($source, "INSERT INTO public.customers VALUES (10000 + $n, 'busy', false)");
	until_true(sub { value($house, "SELECT count(*) FROM shop.customers WHERE id = 10000 + $n") eq '1' }, 30);
	$slowest = time() - $begin if time() - $begin > $slowest;
	$verified = value($house, "SELECT count(*) FROM walhouse.verification WHERE started > '$from' AND error IS NULL");
}
cmp_ok($verified, '>', 2, 'a busy feed is verified, too');
cmp_ok($slowest, '<', 5, "and follows meanwhile, $n commits, the slowest in $slowest s");

# The last 20 of each model stay; drop_model takes them along; errors are for owners of catalogs.
sql($house, q{INSERT INTO walhouse.verification (model_id, started, duration_ms, sample, expected, found, missing, unexpected, different)
	SELECT model_id, timestamptz '2020-01-01' + i * interval '1 day', 1, 1, 1, 1, 0, 0, 0 FROM walhouse.model, generate_series(1, 100) i});
ok(poll($house, 'postgres', 'SELECT max(n) FROM (SELECT count(*) AS n FROM walhouse.verification GROUP BY model_id) c', '20'), 'the last 20 of each model are kept');
fails_with($house, 'errors are not for everybody', 'SET ROLE modeller; SELECT error FROM walhouse.verification', qr/permission denied/);
is(value($house, 'SET ROLE modeller; SELECT count(*) > 0 FROM (SELECT model_id, different FROM walhouse.verification) v') =~ /t$/, 1, 'figures are');
sql($house, q{SELECT walhouse.drop_model('dw.other')});
interval('0');
until_true(sub { value($house, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walhouse verify worker'}) eq '0' }, 30);
is(value($house, q{SELECT count(*) FROM walhouse.verification v WHERE NOT EXISTS (SELECT FROM walhouse.model m WHERE m.model_id = v.model_id)}), '0',
	'and go with their model');
is(value($house, q{SELECT failures || ' ' || COALESCE(error, '-') FROM walhouse.stat_feed}), '0 -', 'the feed\'s worker had no part in any of this');
sql($house, q{SELECT walhouse.stop('shop')});
$_->stop for $source, $house;
done_testing();

sub interval
{
	my ($value) = @_;
	sql($house, "ALTER SYSTEM SET walhouse.verify_interval = '$value'");
	sql($house, 'SELECT pg_reload_conf()');
	return;
}

sub log_of
{
	my ($node) = @_;
	open my $file, '<', $node->logfile or die $node->logfile . ": $!";
	local $/;
	return <$file>;
}
