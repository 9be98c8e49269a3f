-- generator.sql: the business of a brokerage, day by day, as statements that a program of it could have run. What happens is a
-- function of the settings gen.seed, gen.scale and gen.base alone, which the database has:
--   gen.seed    which brokerage it is
--   gen.scale   how large: 1 is 30 customers and 2 trades a day
--   gen.base    the last day of the history, a Wednesday; the increments are the two days after it
--   gen.phase   what is going on: 1 history, 2 and 3 increments
--   gen.commits on: each step of a day commits; off: the caller does
-- Each decision is gen.dice() of what it decides and for whom, so none depends on the order of rows or statements.
--
-- gen.ledger says what was done, in the transaction that did it: what was rolled back was not done. gen.change has an image of
-- each changed row, by triggers, from gen.record() on.
CREATE SCHEMA gen;
CREATE TABLE gen.ledger (n bigserial PRIMARY KEY, phase integer NOT NULL, what text NOT NULL, rows bigint NOT NULL, amount numeric);
CREATE TABLE gen.change (n bigserial PRIMARY KEY, xid xid, rel text, key text, live boolean, image jsonb);
CREATE SEQUENCE gen.customer_no;
CREATE SEQUENCE gen.account_no START 1001;
CREATE SEQUENCE gen.trade_no START 100001;
CREATE SEQUENCE gen.cash_no;
CREATE SEQUENCE gen.visit_no;

CREATE FUNCTION gen.dice(what text, a text DEFAULT '', b text DEFAULT '') RETURNS double precision LANGUAGE sql STABLE
RETURN (hashtextextended(what || '/' || a || '/' || b, current_setting('gen.seed')::bigint) & 9007199254740991) / 9007199254740992.0::double precision;

-- gen.of(items, …): one of the items; NULL may be one.
CREATE FUNCTION gen.of(items anyarray, what text, a text DEFAULT '', b text DEFAULT '') RETURNS anyelement LANGUAGE sql STABLE
AS 'SELECT items[1 + floor(gen.dice(what, a, b) * cardinality(items))::integer]';

-- gen.count(n, …): about n times the scale; a fraction is a chance.
CREATE FUNCTION gen.count(n double precision, what text, d date) RETURNS integer LANGUAGE sql STABLE
RETURN floor(n * current_setting('gen.scale')::double precision + gen.dice(what, d::text))::integer;

-- gen.at(d, hour): wall clock in New York.
CREATE FUNCTION gen.at(d date, hour double precision) RETURNS timestamptz LANGUAGE sql STABLE
RETURN (d + hour * interval '1 hour') AT TIME ZONE 'America/New_York';

CREATE FUNCTION gen.base() RETURNS date LANGUAGE sql STABLE RETURN current_setting('gen.base')::date;

CREATE FUNCTION gen.note(what text, rows bigint, amount numeric DEFAULT NULL) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO gen.ledger (phase, what, rows, amount) SELECT current_setting('gen.phase')::integer, what, rows, amount WHERE rows > 0;
END;

CREATE PROCEDURE gen.step() LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('gen.commits')::boolean THEN
        COMMIT;
    END IF;
END $$;

-- Records what there is, and from now on each change: of a changed key the end of the old one, too.
CREATE FUNCTION gen.key(image jsonb, columns text[]) RETURNS text LANGUAGE sql STABLE
RETURN (SELECT jsonb_agg(image -> c ORDER BY n) FROM unnest(columns) WITH ORDINALITY AS u (c, n))::text;

CREATE FUNCTION gen.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before text;
    after text;
BEGIN
    before := CASE WHEN TG_OP <> 'INSERT' THEN gen.key(to_jsonb(OLD), TG_ARGV) END;
    after := CASE WHEN TG_OP <> 'DELETE' THEN gen.key(to_jsonb(NEW), TG_ARGV) END;
    IF before <> after OR TG_OP = 'DELETE' THEN
        INSERT INTO gen.change (xid, rel, key, live, image) VALUES (pg_current_xact_id()::xid, TG_TABLE_NAME, before, false, to_jsonb(OLD));
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO gen.change (xid, rel, key, live, image) VALUES (pg_current_xact_id()::xid, TG_TABLE_NAME, after, true, to_jsonb(NEW));
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION gen.note_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO gen.change (xid, rel, key, live, image)
        SELECT pg_current_xact_id()::xid, %L, gen.key(to_jsonb(t), %L), false, to_jsonb(t) FROM %s AS t', TG_TABLE_NAME, TG_ARGV, TG_RELID::regclass);
    RETURN NULL;
END $$;

CREATE PROCEDURE gen.record() LANGUAGE plpgsql AS $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT c.oid::regclass AS name, c.relname, array_agg(a.attname::text ORDER BY k.n) AS key,
            string_agg(quote_literal(a.attname), ', ' ORDER BY k.n) AS arguments
        FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
        CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, n)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE c.relnamespace = 'oltp'::regnamespace AND c.relname <> 'daily_market'
        GROUP BY 1, 2
    LOOP
        EXECUTE format('INSERT INTO gen.change (rel, key, live, image) SELECT %L, gen.key(to_jsonb(t), %L), true, to_jsonb(t) FROM %s AS t',
            t.relname, t.key, t.name);
        EXECUTE format('CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION gen.note_change(%s)',
            t.name, t.arguments);
        EXECUTE format('CREATE TRIGGER note_truncate BEFORE TRUNCATE ON %s EXECUTE FUNCTION gen.note_truncate(%s)', t.name, t.arguments);
    END LOOP;
END $$;

-- ---- The brokerage as it opens.
CREATE PROCEDURE gen.found(d date) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO oltp.holiday SELECT make_date(y, m, day), name
        FROM generate_series(extract(year FROM d)::integer, extract(year FROM d)::integer + 3) AS y,
            (VALUES (1, 1, 'New Year'), (7, 4, 'Independence Day'), (12, 25, 'Christmas')) AS h (m, day, name);
    INSERT INTO oltp.industry VALUES ('IT', 'Software', 'Technology'), ('BK', 'Banks', 'Finance'), ('OG', 'Oil & Gas', 'Energy'),
        ('RE', 'Real "Estate"', 'Property'), ('', 'None given', NULL), ('A''B', 'Apples'' & Bananas', 'Food');
    INSERT INTO oltp.company
        SELECT i, gen.of('{Acme,O''Hara,"Say \"Cheese\"",Müller & Söhne,Globex}'::text[], 'company', i::text) || ' ' || i,
            gen.of('{IT,BK,OG,RE,"",A''B,NULL}'::text[], 'industry', i::text), gen.of('{AAA,BB,C,NULL}'::text[], 'rating', i::text),
            'CEO ' || i, date '1950-01-01' + (gen.dice('founded', i::text) * 20000)::integer, 'active', gen.at(d, 8)
        FROM generate_series(1, 6 + gen.count(4, 'companies', d)) AS i;
    INSERT INTO oltp.security
        SELECT gen.of('{A,B,"C D",E''F,"\"G\"",Ñ,H.I}'::text[], 'symbol', i::text) || i, 1 + (i - 1) % (SELECT max(company_id) FROM oltp.company),
            CASE WHEN i % 5 > 0 THEN 'Share ' || i END, gen.of('{common,preferred}'::text[], 'issue', i::text),
            gen.of('{NYSE,NASDAQ}'::text[], 'exchange', i::text), nullif(1000 * i, 3000), 'active', gen.at(d, 8)
        FROM generate_series(1, 8 + gen.count(4, 'securities', d)) AS i;
    INSERT INTO oltp.broker
        SELECT gen.of('{NY,LA,"O''Hare"}'::text[], 'branch', i::text), i, 'Broker ' || i, gen.of('{junior,senior,NULL}'::text[], 'title', i::text),
            CASE WHEN i > 2 THEN 'Broker ' || 1 + i % 2 END, gen.of('{red,blue}'::text[], 'group', i::text)
        FROM generate_series(1, 4 + gen.count(2, 'brokers', d)) AS i;
    CALL gen.customers(d, gen.count(25, 'first customers', d));
END $$;

-- n customers come, each with an account or two, some of them shared, and a first deposit.
CREATE PROCEDURE gen.customers(d date, n integer) LANGUAGE plpgsql AS $$
DECLARE
    newest bigint := (SELECT coalesce(max(customer_id), 0) FROM oltp.customer);
BEGIN
    IF n = 0 THEN
        RETURN;
    END IF;
    INSERT INTO oltp.customer
        SELECT id, CASE WHEN gen.dice('tax', id::text) > 0.1 THEN 'T-' || id * 7919 % 100000 END,
            gen.of('{O''Brien,"D\"Arcy",Müller,Ng,"van der Berg","NULL",\\N,Smith,Åberg}'::text[], 'last', id::text),
            gen.of('{Ann,Bob,"",NULL,José,Li}'::text[], 'first', id::text), gen.of('{f,m,x,NULL}'::text[], 'gender', id::text),
            date '1940-01-01' + (gen.dice('born', id::text) * 22000)::integer, gen.of('{1,2,3,NULL}'::smallint[], 'tier', id::text),
            id || ' Main St', gen.of('{Boston,New York,"",NULL,Zürich}'::text[], 'city', id::text), gen.of('{US,US,US,CH,NULL}'::text[], 'country', id::text),
            'c' || id || '@example.org', gen.of('{555-1,555-2,NULL}'::text[], 'phone', id::text),
            gen.of('{NULL,NaN,10000.0,25000.00,100000}'::numeric[], 'worth', id::text), 500 + (gen.dice('credit', id::text) * 6)::integer * 50,
            'active', d, gen.at(d, 8.5)
        FROM (SELECT nextval('gen.customer_no') AS id FROM generate_series(1, n)) AS i;
    PERFORM gen.note('customer created', n);

    CREATE TEMPORARY TABLE opened AS
        SELECT nextval('gen.account_no') AS account_id, customer_id
        FROM (SELECT customer_id FROM oltp.customer, generate_series(1, 2) AS k
            WHERE joined_on = d AND customer_id > newest AND (k = 1 OR gen.dice('second account', customer_id::text) < 0.4)
            ORDER BY customer_id, k) AS c;
    CALL gen.open_accounts(d);
    DROP TABLE opened;
END $$;

-- Opens the accounts that the temporary table "opened" has.
CREATE PROCEDURE gen.open_accounts(d date) LANGUAGE plpgsql AS $$
DECLARE
    branches text[] := (SELECT array_agg(branch ORDER BY broker_no) FROM oltp.broker);
    brokers integer[] := (SELECT array_agg(broker_no ORDER BY broker_no) FROM oltp.broker);
    done bigint;
    sum numeric;
BEGIN
    -- Some have no broker; a few have a description that is stored out of line.
    INSERT INTO oltp.account
        SELECT account_id, customer_id, branches[b], brokers[b],
            CASE WHEN gen.dice('described', account_id::text) < 0.05
                THEN (SELECT string_agg(md5(account_id || ' ' || i), '') FROM generate_series(1, 120) AS i)
                ELSE gen.of('{Savings,"Rainy ''day''","",NULL}'::text[], 'description', account_id::text) END,
            gen.of('{0,1,2}'::smallint[], 'tax status', account_id::text), 'active', d, gen.at(d, 9)
        FROM (SELECT *, CASE WHEN gen.dice('by phone', account_id::text) > 0.1
            THEN 1 + floor(gen.dice('broker', account_id::text) * cardinality(brokers))::integer END AS b FROM opened) AS o;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('account opened', done);

    WITH joint AS (
        SELECT o.*, (SELECT max(c.customer_id) FROM oltp.customer c WHERE c.customer_id < o.customer_id) AS partner,
            gen.dice('joint', account_id::text) < 0.3 AS is_joint FROM opened o),
    held AS (
        INSERT INTO oltp.account_holder
        SELECT account_id, customer_id, CASE WHEN is_joint AND partner IS NOT NULL THEN 0.5 ELSE 1.0 END FROM joint
        UNION ALL
        SELECT account_id, partner, 0.5 FROM joint WHERE is_joint AND partner IS NOT NULL
        RETURNING 1)
    SELECT count(*) INTO done FROM held;
    PERFORM gen.note('holder added', done);

    WITH booked AS (
        INSERT INTO oltp.cash_transaction
        SELECT nextval('gen.cash_no'), account_id, NULL, d + time '09:15', 'deposit', 1000 + 100 * floor(gen.dice('first deposit', account_id::text) * 90)
        FROM opened ORDER BY account_id RETURNING amount)
    SELECT count(*), sum(b.amount) INTO done, sum FROM booked b;
    PERFORM gen.note('cash booked', done, sum);
END $$;

-- ---- A day.
CREATE PROCEDURE gen.day(d date) LANGUAGE plpgsql AS $$
BEGIN
    CALL gen.customers(d, gen.count(0.02, 'new customers', d));
    CALL gen.step();
    CALL gen.changes(d);
    CALL gen.orders(d, gen.count(2, 'orders', d));
    CALL gen.progress(d);
    CALL gen.cash(d);
    CALL gen.watches(d);
    CALL gen.visits(d);
    CALL gen.market(d);
    CALL gen.step();
END $$;

CREATE PROCEDURE gen.days(from_day date, to_day date) LANGUAGE plpgsql AS $$
DECLARE
    d date;
BEGIN
    FOR d IN SELECT t FROM generate_series(from_day, to_day, interval '1 day') AS t
        WHERE extract(isodow FROM t) < 6 AND t::date NOT IN (SELECT date FROM oltp.holiday) ORDER BY t
    LOOP
        CALL gen.day(d);
    END LOOP;
END $$;

-- Customers move, rise and fall, get another phone number; companies are rated; brokers get another manager; some updates change nothing.
CREATE PROCEDURE gen.changes(d date) LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    UPDATE oltp.customer SET street = d || ' Street', city = gen.of('{Boston,Paris,"L''Aquila",NULL}'::text[], 'to', customer_id::text, d::text),
            changed_at = gen.at(d, 9.1)
        WHERE gen.dice('moves', customer_id::text, d::text) < 0.012;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('customer moved', done);
    CALL gen.step();

    UPDATE oltp.customer SET tier = gen.of('{1,2,3,NULL}'::smallint[], 'new tier', customer_id::text, d::text), changed_at = gen.at(d, 9.2)
        WHERE gen.dice('changes tier', customer_id::text, d::text) < 0.006;
    CALL gen.step();

    UPDATE oltp.customer SET credit = 500 + (gen.dice('new credit', customer_id::text, d::text) * 6)::integer * 50,
            phone = gen.of('{555-7,555-8,NULL}'::text[], 'new phone', customer_id::text, d::text), changed_at = gen.at(d, 9.3)
        WHERE gen.dice('changes credit', customer_id::text, d::text) < 0.01;
    CALL gen.step();

    UPDATE oltp.account SET description = description, status = status WHERE gen.dice('no change', account_id::text, d::text) < 0.02;
    UPDATE oltp.account SET tax_status = (tax_status + 1) % 3, changed_at = gen.at(d, 9.4)
        WHERE gen.dice('changes tax', account_id::text, d::text) < 0.004;
    CALL gen.step();

    UPDATE oltp.company SET rating = gen.of('{AAA,AA,BB,C,NULL}'::text[], 'new rating', company_id::text, d::text),
            ceo = CASE WHEN gen.dice('new ceo', company_id::text, d::text) < 0.5 THEN 'CEO of ' || d ELSE ceo END, changed_at = gen.at(d, 9.6)
        WHERE gen.dice('is rated', company_id::text, d::text) < 0.01;
    UPDATE oltp.broker SET manager = 'Broker ' || 1 + floor(4 * gen.dice('new manager', broker_no::text, d::text)), title = 'senior'
        WHERE gen.dice('is managed', broker_no::text, d::text) < 0.01;
    CALL gen.step();
END $$;

-- n orders come in: at the market (submitted at once) or with a limit (pending). Who has something may sell it.
CREATE PROCEDURE gen.orders(d date, n integer) LANGUAGE plpgsql AS $$
DECLARE
    accounts bigint[] := (SELECT array_agg(account_id ORDER BY account_id) FROM oltp.account WHERE status = 'active');
    symbols text[] := (SELECT array_agg(symbol ORDER BY symbol COLLATE "C") FROM oltp.security WHERE status = 'active');
    done bigint;
BEGIN
    WITH held AS (
        SELECT *, row_number() OVER (ORDER BY account_id, symbol COLLATE "C") AS nth, count(*) OVER () AS of
        FROM (SELECT account_id, symbol, sum(quantity)::integer AS quantity FROM oltp.holding h
            WHERE NOT EXISTS (SELECT FROM oltp.trade t WHERE t.account_id = h.account_id AND t.symbol = h.symbol AND t.side = 'sell'
                AND t.status IN ('pending', 'submitted'))
            GROUP BY 1, 2) AS h),
    sold AS (
        SELECT DISTINCT ON (h.nth) i, h.account_id, h.symbol, ceil(h.quantity * gen.dice('how many', i::text, d::text))::integer AS quantity
        FROM generate_series(1, n) AS i JOIN held h ON h.nth = 1 + floor(gen.dice('sells', i::text, d::text) * h.of)
        WHERE gen.dice('side', i::text, d::text) < 0.4 ORDER BY h.nth, i),
    placed AS (
        SELECT nextval('gen.trade_no') AS trade_id, o.* FROM (
            SELECT i, coalesce(s.account_id, gen.of(accounts, 'account', i::text, d::text)) AS account_id,
                coalesce(s.symbol, gen.of(symbols, 'symbol', i::text, d::text)) AS symbol,
                CASE WHEN s.i IS NULL THEN 'buy' ELSE 'sell' END AS side,
                coalesce(s.quantity, 10 * (1 + floor(gen.dice('quantity', i::text, d::text) * 20))::integer) AS quantity,
                gen.dice('limited', i::text, d::text) < 0.4 AS is_limited
            FROM generate_series(1, n) AS i LEFT JOIN sold s USING (i) ORDER BY i) AS o),
    traded AS (
        INSERT INTO oltp.trade (trade_id, account_id, symbol, side, is_cash, channel, quantity, "limit", fee, status, created_at, submitted_at)
        SELECT trade_id, account_id, symbol, side, gen.of('{t,t,f,NULL}'::boolean[], 'cash', trade_id::text), gen.of('{web,phone,NULL}'::text[], 'channel', trade_id::text),
            quantity, CASE WHEN is_limited THEN 10 + trade_id % 50 END, 1 + trade_id % 3, CASE WHEN is_limited THEN 'pending' ELSE 'submitted' END,
            gen.at(d, 9.5 + i * 0.001), CASE WHEN NOT is_limited THEN gen.at(d, 9.5 + i * 0.001) END
        FROM placed RETURNING trade_id, status, created_at)
    INSERT INTO oltp.trade_history SELECT trade_id, status, created_at FROM traded;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('trade created', done);
    CALL gen.step();
END $$;

-- Orders go on: pending ones are submitted or cancelled, submitted ones are carried out at the day's price, or stay overnight.
CREATE PROCEDURE gen.progress(d date) LANGUAGE plpgsql AS $$
DECLARE
    t oltp.trade;
    done bigint;
BEGIN
    WITH moved AS (
        UPDATE oltp.trade SET status = 'submitted', submitted_at = gen.at(d, 11)
            WHERE status = 'pending' AND symbol IS NOT NULL AND gen.dice('is submitted', trade_id::text, d::text) < 0.4 RETURNING *)
    INSERT INTO oltp.trade_history SELECT trade_id, status, submitted_at FROM moved;
    CALL gen.step();

    WITH moved AS (
        UPDATE oltp.trade SET status = 'cancelled', cancelled_at = gen.at(d, 12)
            WHERE status = 'pending' AND gen.dice('is cancelled', trade_id::text, d::text) < 0.2 RETURNING *)
    INSERT INTO oltp.trade_history SELECT trade_id, status, cancelled_at FROM moved;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('trade cancelled', done);
    CALL gen.step();

    FOR t IN SELECT * FROM oltp.trade WHERE status = 'submitted' AND gen.dice('is completed', trade_id::text, d::text) < 0.8 ORDER BY trade_id
    LOOP
        CALL gen.complete(t, d, 15);
    END LOOP;
    CALL gen.step();
END $$;

-- gen.price(symbol, d): what a share costs at the end of a day.
CREATE FUNCTION gen.price(symbol text, d date) RETURNS numeric LANGUAGE sql STABLE
RETURN round(((10 + 80 * gen.dice('price', symbol)) * (1 + 0.3 * sin(gen.dice('swing', symbol) * 7 + (d - gen.base()) / 60.0))
    * (0.98 + 0.04 * gen.dice('noise', symbol, d::text)))::numeric, 2);

-- A submitted order is carried out: a purchase opens a holding, a sale takes from the oldest ones; cash changes hands.
CREATE PROCEDURE gen.complete(t oltp.trade, d date, hour double precision) LANGUAGE plpgsql AS $$
DECLARE
    paid numeric := gen.price(t.symbol, d);
    charge numeric := round(t.quantity * gen.price(t.symbol, d) * 0.002, 2);
    moment timestamptz := gen.at(d, hour + t.trade_id % 1000 * 0.0002);
    total numeric := CASE t.side WHEN 'buy' THEN -1 ELSE 1 END * t.quantity * gen.price(t.symbol, d) - t.fee - round(t.quantity * gen.price(t.symbol, d) * 0.002, 2);
BEGIN
    IF t.side = 'buy' THEN
        INSERT INTO oltp.holding VALUES (t.trade_id, t.account_id, t.symbol, t.quantity, t.quantity * paid, moment);
    ELSE
        WITH o AS (
            SELECT *, sum(quantity) OVER (ORDER BY trade_id) - quantity AS before FROM oltp.holding
            WHERE account_id = t.account_id AND symbol = t.symbol),
        used AS (
            DELETE FROM oltp.holding h USING o WHERE h.trade_id = o.trade_id AND o.before + o.quantity <= t.quantity)
        UPDATE oltp.holding h SET quantity = h.quantity - (t.quantity - o.before), cost = round(h.cost * (h.quantity - (t.quantity - o.before)) / h.quantity, 2)
            FROM o WHERE h.trade_id = o.trade_id AND o.before < t.quantity AND o.before + o.quantity > t.quantity;
    END IF;
    UPDATE oltp.trade SET status = 'completed', price = paid, commission = charge, completed_at = moment
        WHERE trade_id = t.trade_id;
    INSERT INTO oltp.trade_history VALUES (t.trade_id, 'completed', moment);
    INSERT INTO oltp.cash_transaction
        VALUES (nextval('gen.cash_no'), t.account_id, t.trade_id, moment AT TIME ZONE 'America/New_York', 'trade', total);
    PERFORM gen.note('trade completed', 1), gen.note('cash booked', 1, total);
END $$;

-- Deposits and withdrawals; some are booked days after the day they are for.
CREATE PROCEDURE gen.cash(d date) LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
    sum numeric;
BEGIN
    WITH booked AS (
        INSERT INTO oltp.cash_transaction
        SELECT nextval('gen.cash_no'), account_id, NULL,
            d + time '16:30' - CASE WHEN gen.dice('late', account_id::text, d::text) < 0.2 THEN interval '6 days' ELSE '0' END,
            CASE WHEN way < 0.5 THEN 'deposit' ELSE 'withdrawal' END, CASE WHEN way < 0.5 THEN 1 ELSE -1 END * round((way * 500)::numeric, 2)
        FROM (SELECT account_id, gen.dice('way', account_id::text, d::text) AS way FROM oltp.account
            WHERE status = 'active' AND gen.dice('cash', account_id::text, d::text) < 0.03 ORDER BY account_id) AS a
        RETURNING amount)
    SELECT count(*), sum(b.amount) INTO done, sum FROM booked b;
    PERFORM gen.note('cash booked', done, sum);
    CALL gen.step();
END $$;

CREATE PROCEDURE gen.watches(d date) LANGUAGE plpgsql AS $$
DECLARE
    customers bigint[] := (SELECT array_agg(customer_id ORDER BY customer_id) FROM oltp.customer WHERE status = 'active');
    symbols text[] := (SELECT array_agg(symbol ORDER BY symbol COLLATE "C") FROM oltp.security WHERE status = 'active');
    done bigint;
BEGIN
    INSERT INTO oltp.watch
        SELECT gen.of(customers, 'watches', i::text, d::text), gen.of(symbols, 'watched', i::text, d::text), gen.at(d, 17 + i * 0.001), NULL
        FROM generate_series(1, gen.count(0.5, 'watch', d)) AS i;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('watch placed', done);
    CALL gen.step();

    UPDATE oltp.watch SET removed_at = gen.at(d, 18)
        WHERE removed_at IS NULL AND gen.dice('unwatches', customer_id || symbol, d::text) < 0.01;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('watch removed', done);
    CALL gen.step();
END $$;

-- Customers look at pages; some visits get their page later, old ones are forgotten.
CREATE PROCEDURE gen.visits(d date) LANGUAGE plpgsql AS $$
DECLARE
    customers bigint[] := (SELECT array_agg(customer_id ORDER BY customer_id) FROM oltp.customer);
BEGIN
    INSERT INTO oltp.visit
        SELECT nextval('gen.visit_no'), gen.of(customers, 'visits', i::text, d::text), gen.at(d, 18.5), gen.of('{/,/prices,NULL,""}'::text[], 'page', i::text, d::text)
        FROM generate_series(1, gen.count(1, 'visits', d)) AS i;
    CALL gen.step();
    UPDATE oltp.visit SET page = '/found/' || visit_id WHERE page IS NULL AND gen.dice('found', visit_id::text, d::text) < 0.3;
    DELETE FROM oltp.visit WHERE at < gen.at(d - 40, 0);
    CALL gen.step();
END $$;

-- The day's prices; now and then a share is not traded.
CREATE PROCEDURE gen.market(d date) LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    INSERT INTO oltp.daily_market
        SELECT symbol, d, close, round(close * (1 + 0.03 * gen.dice('high', symbol, d::text))::numeric, 2),
            round(close * (1 - 0.03 * gen.dice('low', symbol, d::text))::numeric, 2), nullif((1000 * gen.dice('volume', symbol, d::text))::bigint, 7)
        FROM (SELECT symbol, gen.price(symbol, d) AS close FROM oltp.security
            WHERE status = 'active' AND gen.dice('is traded', symbol, d::text) < 0.95) AS s;
    GET DIAGNOSTICS done = ROW_COUNT;
    PERFORM gen.note('price quoted', done);
    CALL gen.step();
END $$;

-- ---- Single orders, for what the increments tell in detail.
CREATE FUNCTION gen.place(account_id bigint, symbol text, quantity integer, moment timestamptz) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
    SELECT gen.note('trade created', 1);
    INSERT INTO oltp.trade (trade_id, account_id, symbol, side, is_cash, channel, quantity, fee, status, created_at)
        VALUES (nextval('gen.trade_no'), account_id, symbol, 'buy', NULL, 'desk', quantity, 2.5, 'pending', moment);
    INSERT INTO oltp.trade_history VALUES (currval('gen.trade_no'), 'pending', moment);
    SELECT currval('gen.trade_no');
END;

CREATE FUNCTION gen.submit(id bigint, moment timestamptz) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    UPDATE oltp.trade SET status = 'submitted', submitted_at = moment WHERE trade_id = id;
    INSERT INTO oltp.trade_history VALUES (id, 'submitted', moment);
END;

CREATE PROCEDURE gen.complete(id bigint, d date, hour double precision) LANGUAGE plpgsql AS $$
DECLARE
    t oltp.trade;
BEGIN
    SELECT * INTO t FROM oltp.trade WHERE trade_id = id;
    CALL gen.complete(t, d, hour);
END $$;

-- Completed purchases whose shares are all there and not for sale: n of them that may be taken back.
CREATE FUNCTION gen.revocable(what text, n integer) RETURNS SETOF bigint LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT t.trade_id FROM oltp.trade t JOIN oltp.holding h USING (trade_id)
    WHERE t.status = 'completed' AND t.quantity = h.quantity
        AND NOT EXISTS (SELECT FROM oltp.trade o WHERE o.account_id = h.account_id AND o.symbol = h.symbol
            AND o.side = 'sell' AND o.status IN ('pending', 'submitted'))
    ORDER BY gen.dice(what, t.trade_id::text) LIMIT n;
END;

-- What a purchase did is undone: its shares and its cash.
CREATE FUNCTION gen.revoke(ids bigint[]) RETURNS void LANGUAGE sql
BEGIN ATOMIC
    DELETE FROM oltp.holding WHERE trade_id = ANY (ids);
    WITH gone AS (DELETE FROM oltp.cash_transaction WHERE trade_id = ANY (ids) RETURNING amount)
    SELECT gen.note('cash deleted', count(*), sum(amount)) FROM gone;
END;
