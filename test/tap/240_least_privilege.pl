# The whole way without a superuser: the source's role has REPLICATION and SELECT alone and must give a password (scram, over
# TCP); the warehouse's owner "etl" is an ordinary role. "analyst" may read the star and nothing more; "stranger" has
# no rights: what they try fails with a clear error, and no secret shows.
use strict;
use warnings;
use WalhouseTest;
use WalhouseProof;
use Test::More;
use PostgreSQL::Test::Utils qw(slurp_file);

my $password = 'hush-4f2c';
my $source = new_server('source', start => 0, conf => "listen_addresses = '127.0.0.1'\npassword_encryption = 'scram-sha-256'\n");
my $house = new_server('house', extension => 1, conf => "log_statement = none\n");
open my $hba, '>', $source->data_dir . '/pg_hba.conf' or die "pg_hba.conf: $!";
print $hba "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";
close $hba;
$source->start;

sql($source, qq{
	CREATE TABLE customer (id int PRIMARY KEY, name text, city text);
	CREATE TABLE sale (id int PRIMARY KEY, customer int, at timestamptz, amount numeric);
	CREATE TABLE secret (id int PRIMARY KEY, what text);
	INSERT INTO customer SELECT i, 'name ' || i, 'Köln' FROM generate_series(1, 20) AS i;
	INSERT INTO sale SELECT i, 1 + i % 22, timestamptz '2026-01-01 00:00+00' + i * interval '1 day', i FROM generate_series(1, 100) AS i;
	CREATE PUBLICATION shop FOR TABLE customer, sale;
	CREATE ROLE feeder LOGIN REPLICATION PASSWORD '$password';
	GRANT SELECT ON customer, sale TO feeder;
});
sql($house, q{
	CREATE ROLE etl LOGIN;
	CREATE ROLE analyst LOGIN;
	CREATE ROLE stranger LOGIN;
	GRANT CREATE ON DATABASE postgres TO etl;
	GRANT USAGE ON FOREIGN DATA WRAPPER walhouse TO etl;
});
my $options = sprintf "host '127.0.0.1', port '%s', dbname 'postgres'", $source->port;

# ---- The owner's way.
as('etl', "CREATE SERVER shop FOREIGN DATA WRAPPER walhouse OPTIONS ($options)");
as('etl', q{CREATE USER MAPPING FOR etl SERVER shop OPTIONS (user 'feeder')});
refused('etl', 'without a password', q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop')}, qr/password/);
as('etl', q{ALTER USER MAPPING FOR etl SERVER shop OPTIONS (ADD password 'wrong')});
refused('etl', 'with a wrong password', q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop')}, qr/password authentication failed/);
as('etl', qq{ALTER USER MAPPING FOR etl SERVER shop OPTIONS (SET password '$password')});

# A server that lets everybody in does not count: the connection must have used the password.
as('etl', sprintf q{CREATE SERVER open FOREIGN DATA WRAPPER walhouse OPTIONS (host '%s', port '%s', dbname 'postgres')}, $source->host, $source->port);
as('etl', qq{CREATE USER MAPPING FOR etl SERVER open OPTIONS (user 'feeder', password '$password')});
refused('etl', 'where the source asks for no password', q{CALL walhouse.create_feed('open', server => 'open', publication => 'shop')}, qr/password/);
as('etl', 'DROP SERVER open CASCADE');
refused('etl', 'with a file of the server', q{CREATE SERVER files FOREIGN DATA WRAPPER walhouse OPTIONS (host 'x', sslkey '/etc/passwd')}, qr/sslkey|superuser|pg_read_server_files/);
refused('etl', 'with an option off the list', q{CREATE SERVER files FOREIGN DATA WRAPPER walhouse OPTIONS (service 'x')}, qr/invalid option/);
refused('etl', 'with a passfile', q{CREATE SERVER files FOREIGN DATA WRAPPER walhouse OPTIONS (passfile '/x')}, qr/invalid option/);

# All that is missing is reported at once.
sql($source, 'CREATE PUBLICATION more FOR TABLE customer, sale, secret; CREATE TABLE nokey (a int); ALTER PUBLICATION more ADD TABLE nokey');
refused('etl', 'a table that the role may not read, and one without a key, at once',
	q{CALL walhouse.create_feed('more', server => 'shop', publication => 'more')}, qr/secret/, qr/nokey/);
is(value($source, 'SELECT count(*) FROM pg_replication_slots'), '0', 'what was refused left no slot');
is(value($house, 'SELECT count(*) FROM walhouse.feed'), '0', 'nor a feed');

as('etl', q{CALL walhouse.create_feed('shop', server => 'shop', publication => 'shop')});
is(value($house, q{SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ', ') FROM pg_class WHERE relnamespace IN ('shop'::regnamespace, 'shop_log'::regnamespace)}),
	'etl', 'mirrors and logs belong to the owner of the feed');
as('etl', q{
	CREATE SCHEMA dw;
	SELECT walhouse.create_date_dimension('dw.date', '2025-01-01', '2027-12-31');
	SELECT walhouse.create_dimension('dw.customer', $$ SELECT id, name, city FROM shop.customer $$, key => '{id}');
	SELECT walhouse.create_fact('dw.sale', $$ SELECT id, at, customer, amount FROM shop.sale $$, key => '{id}', event_time => 'at',
		dimensions => '{"customer_sk": "dw.customer(customer)", "date_sk": "dw.date(at)"}')});
as('etl', q{CALL walhouse.build('dw.customer')});
as('etl', q{CALL walhouse.build('dw.sale')});
is(value($house, q{SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ', ') FROM pg_class WHERE relnamespace = 'dw'::regnamespace}),
	'etl', 'models and their partitions belong to the owner');
sql($source, q{
	UPDATE customer SET city = 'Bonn' WHERE id < 5;
	INSERT INTO sale VALUES (200, 1, '2026-09-09 00:00+00', 1), (201, 77, now(), 2);
	DELETE FROM sale WHERE id = 10});
as('etl', q{CALL walhouse.run('shop')});
verify('after run');

# A table that is copied again while nothing else happens: its fact is built once, and not for ever, although the dimension's last
# load is older than the copy; also in a session whose transactions would keep one snapshot.
my ($copied) = $house->psql('postgres', q{SET default_transaction_isolation = 'repeatable read'; CALL walhouse.resync_table('shop', 'sale'); CALL walhouse.run('shop')},
	extra_params => [ '-U', 'etl' ], timeout => 60);
is($copied, 0, 'an idle feed is copied again and run');
is(value($house, q{SELECT string_agg(state, ' ') FROM walhouse.stat_model}), 'live live live', 'and all its models are live');
verify('after the copy');
as('etl', q{SELECT walhouse.start('shop')});
sql($source, q{UPDATE customer SET city = 'Trier' WHERE id < 3; INSERT INTO sale VALUES (202, 1, '2024-01-09 00:00+00', 1)});
ok(poll($house, 'postgres', q{SELECT count(*) FROM dw.sale}, '102'), 'the worker follows');
is(value($house, q{SELECT DISTINCT usename FROM pg_stat_activity WHERE backend_type = 'walhouse feed worker'}), 'etl', 'the worker is no superuser');
ok(reach($house, 'shop', $source), 'the worker has followed');
verify('with the worker');
as('etl', q{CALL walhouse.resync_table('shop', 'public.customer')});
ok(reach($house, 'shop', $source), 'a table is copied again');
verify('after resync');

# ---- The analyst reads the star, and the state; nothing else.
as('etl', q{GRANT USAGE ON SCHEMA dw TO analyst; GRANT SELECT ON dw.sale, dw.customer, dw.date TO analyst});
is(as('analyst', q{SELECT count(*) FROM dw.sale JOIN dw.customer USING (customer_sk) JOIN dw.date USING (date_sk)}) > 90 ? 'rows' : 'none', 'rows',
	'the analyst reads the star');
is(as('analyst', q{SELECT string_agg(model::text, ', ' ORDER BY model::text) FROM walhouse.stat_model WHERE model <> 'dw.date'::regclass}),
	'dw.customer, dw.sale', 'and sees the state of models');
refused('analyst', 'the mirror', 'SELECT * FROM shop.customer', qr/permission denied/);
refused('analyst', 'the change log', 'SELECT * FROM shop_log.customer', qr/permission denied/);
refused('analyst', 'writing into the star', 'DELETE FROM dw.sale', qr/permission denied/);
for my $role (qw(analyst stranger))
{
	my $denied = qr/permission denied|must be owner|must be member|does not exist/;
	refused($role, 'run', q{CALL walhouse.run('shop')}, $denied);
	refused($role, 'start', q{SELECT walhouse.start('shop')}, $denied);
	refused($role, 'stop', q{SELECT walhouse.stop('shop')}, $denied);
	refused($role, 'takeover', q{SELECT walhouse.takeover('shop')}, $denied);
	refused($role, 'resync', q{CALL walhouse.resync('shop')}, $denied);
	refused($role, 'resync_table', q{CALL walhouse.resync_table('shop', 'public.customer')}, $denied);
	refused($role, 'drop_feed', q{CALL walhouse.drop_feed('shop')}, $denied);
	refused($role, 'build', q{CALL walhouse.build('dw.sale')}, $denied);
	refused($role, 'drop_model', q{SELECT walhouse.drop_model('dw.sale')}, $denied);
	refused($role, 'create_feed', q{CALL walhouse.create_feed('mine', server => 'shop', publication => 'shop')}, $denied);
	refused($role, 'a model over what it may not read', q{SELECT walhouse.create_dimension('dw.mine', $$ SELECT id FROM shop.customer $$, key => '{id}')}, $denied);
	refused($role, 'a server', 'CREATE SERVER mine FOREIGN DATA WRAPPER walhouse', qr/permission denied/);
	refused($role, "writing to walhouse.$_", "DELETE FROM walhouse.$_", qr/permission denied/)
		for qw(feed feed_position feed_table feed_column model load load_model);
	is(as($role, q{SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL}), '0', "$role sees no user mapping's options");
}
is(value($house, q{SELECT state FROM walhouse.feed}) . ' ' . value($house, q{SELECT count(*) FROM walhouse.model}), 'ready 3', 'all is still there');

# A role that may read a mirror and its log, and has a schema of its own, may have its own models.
as('etl', q{GRANT USAGE ON SCHEMA shop, shop_log TO analyst; GRANT SELECT ON shop.customer, shop_log.customer, shop_log.txn TO analyst});
sql($house, 'CREATE SCHEMA mine AUTHORIZATION analyst');
as('analyst', q{SELECT walhouse.create_dimension('mine.city', $$ SELECT id, city FROM shop.customer $$, key => '{id}')});
ok(poll($house, 'postgres', q{SELECT state FROM walhouse.model WHERE relation = 'mine.city'::regclass}, 'live'), 'the worker builds a model of another owner');
is(as('analyst', q{SELECT count(*) FROM mine.city WHERE city_sk > 0 AND is_current}), '20', 'which is the other owner\'s');
refused('etl', 'reading the other owner\'s model', 'SELECT * FROM mine.city', qr/permission denied/);
as('analyst', q{SELECT walhouse.drop_model('mine.city')});
# So it may have facts that read every event: bookings, and milestones, of which one row has no place.
as('analyst', q{
	SELECT walhouse.create_fact('mine.book', $$ SELECT id, city, octet_length(city) AS letters FROM shop.customer $$, '{id}', 'booked_at',
		corrections => 'reverse', measures => '{letters}');
	SELECT walhouse.create_fact('mine.way', $$ SELECT id, CASE WHEN id <> 7 THEN timestamp '2026-01-01' END AS at, city = 'Ulm' AS is_there FROM shop.customer $$,
		'{id}', 'at', milestones => '{"there_at": "is_there"}')});
ok(poll($house, 'postgres', q{SELECT count(*) FROM walhouse.model WHERE state = 'live' AND relation::text ~ '^mine'}, '2'), 'facts that read every event, too');
sql($source, q{UPDATE customer SET city = 'Ulm' WHERE id IN (7, 8)});
ok(reach($house, 'shop', $source) && poll($house, 'postgres', q{SELECT count(there_at) FROM mine.way}, '1'), 'and the worker follows in them');
is(as('analyst', q{SELECT string_agg(letters::text, ' ' ORDER BY id, is_reversal DESC) FROM mine.book WHERE booked_lsn > (SELECT min(booked_lsn) FROM mine.book)}),
	'-5 3 -5 3', 'with the bookings of the change');
is(as('analyst', q{SELECT sum(missing + unexpected + different) FROM walhouse.verify()}), '0', 'which verify() finds right');
is(as('analyst', q{SELECT count(*) FROM walhouse.as_known(NULL::mine.book, at => clock_timestamp())}), as('analyst', 'SELECT count(*) FROM mine.book'),
	'and as_known() knows');
as('analyst', "SELECT walhouse.drop_model('mine.$_')") for qw(book way);

# ---- No secret shows.
unlike(slurp_file($house->logfile), qr/\Q$password\E/, 'the password is not in the warehouse\'s log');
unlike(slurp_file($source->logfile), qr/\Q$password\E/, 'nor in the source\'s') if value($source, 'SHOW log_statement') eq 'none';
my $everything = join "\n", (map { as('stranger', "SELECT * FROM walhouse.$_") } qw(feed_position feed_column load_model stat_feed stat_model)),
	map { sql($house, "SELECT * FROM walhouse.$_") } qw(feed feed_table model load); # where errors stand, which strangers may not read
unlike($everything, qr/\Q$password\E/, 'nor in the catalog and views');
unlike(value($house, 'SELECT string_agg(query, E\'\n\') FROM pg_stat_activity'), qr/\Q$password\E/, 'nor among the activities');

# ---- The end.
as('etl', q{SELECT walhouse.stop('shop')});
as('etl', "SELECT walhouse.drop_model('$_')") for qw(dw.sale dw.customer dw.date);
as('etl', q{CALL walhouse.drop_feed('shop')});
as('etl', 'DROP SERVER shop CASCADE; DROP SCHEMA dw');
is(value($source, 'SELECT count(*) FROM pg_replication_slots'), '0', 'the slot is gone');
sql($house, 'DROP SCHEMA mine; DROP OWNED BY etl, analyst, stranger; DROP ROLE etl; DROP ROLE analyst; DROP ROLE stranger');
ok(1, 'the roles own nothing that is left');

$house->stop;
$source->stop;
done_testing();

# as ROLE, STATEMENT: what the role gets; the test ends when it fails.
sub as
{
	my ($role, $statement) = @_;
	my $out = $house->safe_psql('postgres', $statement, extra_params => [ '-U', $role ]);
	chomp $out;
	return $out;
}

# refused ROLE, WHAT, STATEMENT, QR...: it fails, and the error matches.
sub refused
{
	my ($role, $what, $statement, @patterns) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $out, $err) = $house->psql('postgres', $statement, extra_params => [ '-U', $role ], timeout => 60);
	return fail("$role: $what is refused") unless $status;
	like($err, $_, "$role: $what is refused") for @patterns;
	unlike($err, qr/\Q$password\E/, "$role: and the error shows no secret") if $role ne 'etl' || $what =~ /password/;
	return;
}

sub verify
{
	my ($what) = @_;
	for my $model (qw(dw.customer dw.sale))
	{
		is(as('etl', "SELECT missing, unexpected, different, expected > 0 FROM walhouse.verify('$model')"), '0|0|0|t', "$what: verify of $model is clean");
	}
	return;
}
