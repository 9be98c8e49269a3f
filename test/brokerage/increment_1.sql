-- increment_1.sql: the day after the history. Each statement outside BEGIN and COMMIT is a transaction of its own.
SET gen.phase = 2;
SET gen.commits = on;
SELECT gen.base() + 1 AS day \gset

CALL gen.customers(:'day', 1 + gen.count(2, 'increment customers', :'day'));
CALL gen.day(:'day');

-- Several versions of a customer in one load, with watches between them that must find the one of their moment.
CREATE TEMPORARY TABLE busy AS
    SELECT customer_id FROM oltp.customer ORDER BY gen.dice('busy', customer_id::text) LIMIT gen.count(5, 'busy', :'day') + 2;
CREATE FUNCTION pg_temp.watch(label text) RETURNS void LANGUAGE sql AS $$
    WITH placed AS (
        INSERT INTO oltp.watch SELECT customer_id, (SELECT min(symbol) FROM oltp.security), clock_timestamp(), NULL FROM busy RETURNING 1)
    SELECT gen.note('watch placed', count(*)) FROM placed;
$$;
SELECT pg_temp.watch('before');
UPDATE oltp.customer SET tier = 1, changed_at = gen.at(:'day', 10) WHERE customer_id IN (TABLE busy);
SELECT pg_temp.watch('first');
UPDATE oltp.customer SET city = 'Rome', changed_at = gen.at(:'day', 11) WHERE customer_id IN (TABLE busy);
UPDATE oltp.customer SET tier = NULL, changed_at = gen.at(:'day', 12) WHERE customer_id IN (TABLE busy);
SELECT pg_temp.watch('third');
UPDATE oltp.customer SET tier = 1, changed_at = gen.at(:'day', 13) WHERE customer_id IN (TABLE busy);

-- Within one transaction the last image counts: there and back again is nothing, three cities are one.
BEGIN;
CREATE TEMPORARY TABLE tiers AS SELECT customer_id, tier FROM oltp.customer WHERE customer_id % 5 = 1;
UPDATE oltp.customer SET tier = 9 WHERE customer_id % 5 = 1;
UPDATE oltp.customer c SET tier = t.tier FROM tiers t WHERE t.customer_id = c.customer_id;
COMMIT;
BEGIN;
UPDATE oltp.customer SET city = 'Nowhere' WHERE customer_id = 3;
UPDATE oltp.customer SET city = NULL WHERE customer_id = 3;
UPDATE oltp.customer SET city = 'Reykjavík', changed_at = gen.at(:'day', 14) WHERE customer_id = 3;
COMMIT;

-- What is rolled back has not been; who comes and goes in one transaction was never there.
BEGIN;
UPDATE oltp.customer SET city = 'Rollback', tier = 3;
DELETE FROM oltp.trade;
SELECT gen.note('trade deleted', 1000000);
ROLLBACK;
BEGIN;
INSERT INTO oltp.customer (customer_id, last_name, status, joined_on, changed_at) VALUES (900001, 'Never', 'active', :'day', gen.at(:'day', 9));
SAVEPOINT s;
UPDATE oltp.customer SET last_name = 'Ever' WHERE customer_id = 900001;
ROLLBACK TO s;
DELETE FROM oltp.customer WHERE customer_id = 900001;
COMMIT;

-- Customers become inactive, and their accounts with them; a few accounts are closed alone, one row is deleted.
BEGIN;
CREATE TEMPORARY TABLE quits AS
    SELECT customer_id FROM oltp.customer c WHERE status = 'active' AND NOT EXISTS (SELECT FROM oltp.account a JOIN oltp.trade t USING (account_id)
        WHERE a.customer_id = c.customer_id AND t.status IN ('pending', 'submitted'))
    ORDER BY gen.dice('quits', customer_id::text) LIMIT gen.count(2, 'quits', :'day') + 1;
WITH gone AS (UPDATE oltp.customer SET status = 'inactive', changed_at = gen.at(:'day', 16) WHERE customer_id IN (TABLE quits) RETURNING 1)
SELECT gen.note('customer inactivated', count(*)) FROM gone;
WITH gone AS (UPDATE oltp.account SET status = 'closed', changed_at = gen.at(:'day', 16) WHERE customer_id IN (TABLE quits) AND status = 'active' RETURNING 1)
SELECT gen.note('account closed', count(*)) FROM gone;
COMMIT;
WITH gone AS (UPDATE oltp.account SET status = 'closed', changed_at = gen.at(:'day', 16.1)
    WHERE account_id IN (SELECT account_id FROM oltp.account WHERE status = 'active' ORDER BY gen.dice('closes', account_id::text) LIMIT 1) RETURNING 1)
SELECT gen.note('account closed', count(*)) FROM gone;
WITH gone AS (DELETE FROM oltp.account WHERE account_id = 1005 RETURNING 1)
SELECT gen.note('account deleted', count(*)) FROM gone;

-- Customers who have been there for long open another account.
BEGIN;
CREATE TEMPORARY TABLE opened AS
    SELECT nextval('gen.account_no') AS account_id, customer_id
    FROM (SELECT customer_id FROM oltp.customer WHERE status = 'active' ORDER BY gen.dice('opens', customer_id::text) LIMIT gen.count(2, 'opens', :'day') + 1) AS c;
CALL gen.open_accounts(:'day');
DROP TABLE opened;
COMMIT;

-- A correction that comes late: since forty days before the change that is known, the customer lives elsewhere.
UPDATE oltp.customer SET city = 'Corrected', street = 'as of then', changed_at = changed_at - interval '40 days'
    WHERE gen.dice('corrected', customer_id::text) < 0.2;
-- One at the very instant of the last change, one without any time to it, one that changes nothing of note.
UPDATE oltp.customer SET city = 'Same instant' WHERE customer_id = 7;
UPDATE oltp.customer SET country = NULL, changed_at = 'infinity' WHERE customer_id = 8;
UPDATE oltp.customer SET phone = '555-11', changed_at = changed_at - interval '5 days' WHERE customer_id = 9;

-- Orders: one through all its states in three transactions, one in a single one; orders for what nobody lists, and for nothing.
SELECT min(account_id) AS account, max(account_id) AS other FROM oltp.account WHERE status = 'active' \gset
SELECT min(symbol) AS symbol FROM oltp.security \gset
SELECT gen.place(:account, :'symbol', 70, gen.at(:'day', 14)) AS trade \gset
SELECT gen.submit(:trade, gen.at(:'day', 14.2));
CALL gen.complete(:trade, :'day', 14.5);
BEGIN;
SELECT gen.place(:other, :'symbol', 80, gen.at(:'day', 14.3)) AS trade \gset
SELECT gen.submit(:trade, gen.at(:'day', 14.3));
CALL gen.complete(:trade, :'day', 14.6);
COMMIT;
SELECT gen.place(:other, 'GREY "1"', 5, gen.at(:'day', 14.7)) AS trade \gset
SELECT gen.place(:account, NULL, 6, gen.at(:'day', 14.8)) AS trade \gset

-- Trades are cancelled after the fact, others were never meant.
BEGIN;
CREATE TEMPORARY TABLE busted AS SELECT array_agg(id) AS ids FROM gen.revocable('busted', 1 + gen.count(2, 'busted', :'day')) AS id;
SELECT gen.revoke(ids) FROM busted;
WITH gone AS (UPDATE oltp.trade t SET status = 'cancelled', cancelled_at = gen.at(:'day', 16), completed_at = NULL, price = NULL, commission = NULL
    FROM busted b WHERE trade_id = ANY (b.ids) RETURNING trade_id, status, cancelled_at),
    said AS (INSERT INTO oltp.trade_history TABLE gone RETURNING 1)
SELECT gen.note('trade cancelled', count(*)) FROM said;
INSERT INTO gen.ledger (phase, what, rows) SELECT 2, 'trade completed', -cardinality(ids) FROM busted;
COMMIT;
BEGIN;
CREATE TEMPORARY TABLE mistaken AS SELECT array_agg(id) AS ids FROM gen.revocable('mistaken', 1 + gen.count(2, 'mistaken', :'day')) AS id;
SELECT gen.revoke(ids) FROM mistaken;
DELETE FROM oltp.trade_history t USING mistaken m WHERE trade_id = ANY (m.ids);
DELETE FROM oltp.trade t USING mistaken m WHERE trade_id = ANY (m.ids);
INSERT INTO gen.ledger (phase, what, rows) SELECT 2, w, CASE w WHEN 'trade deleted' THEN 1 ELSE -1 END * cardinality(ids)
    FROM mistaken, unnest('{trade deleted,trade completed}'::text[]) AS w;
COMMIT;

-- Cash long ago, cash corrected, moved to another month, deleted, without an account, for a day to come, and at no time at all.
WITH booked AS (INSERT INTO oltp.cash_transaction
    SELECT nextval('gen.cash_no'), account_id, NULL, gen.base() - 90 + time '12:00', 'late', 12.345 FROM oltp.account WHERE account_id % 4 = 0 ORDER BY 2 RETURNING amount)
SELECT gen.note('cash booked', count(*), sum(amount)) FROM booked;
WITH mended AS (UPDATE oltp.cash_transaction SET amount = amount + 0.50 WHERE trade_id IS NULL AND gen.dice('mended', cash_id::text) < 0.03 RETURNING 1)
SELECT gen.note('cash corrected', count(*), 0.50 * count(*)) FROM mended;
UPDATE oltp.cash_transaction SET at = at - interval '1 month' WHERE trade_id IS NULL AND gen.dice('dated', cash_id::text) < 0.03;
WITH gone AS (DELETE FROM oltp.cash_transaction WHERE trade_id IS NULL AND gen.dice('erased', cash_id::text) < 0.02 RETURNING amount)
SELECT gen.note('cash deleted', count(*), sum(amount)) FROM gone;
WITH booked AS (INSERT INTO oltp.cash_transaction VALUES
    (nextval('gen.cash_no'), NULL, NULL, :'day'::date + time '10:00', 'nobody''s', 1),
    (nextval('gen.cash_no'), :account, NULL, :'day'::date + time '10:01', 'void', 0),
    (nextval('gen.cash_no'), :account, NULL, (now() AT TIME ZONE 'America/New_York')::date + 20 + time '10:00', 'to come', 2.50),
    (nextval('gen.cash_no'), :account, NULL, NULL, 'at no time', 3.0),
    (nextval('gen.cash_no'), :account, NULL, 'infinity', 'never', 4) RETURNING amount)
SELECT gen.note('cash booked', count(*), sum(amount)) FROM booked;
-- Whoever has cash to come changes afterwards.
UPDATE oltp.account SET tax_status = (tax_status + 1) % 3, description = 'changed after' WHERE account_id = :account;

-- A watch that is placed and removed within the load, and one that is forgotten.
WITH placed AS (INSERT INTO oltp.watch SELECT customer_id, 'brief', gen.at(:'day', 12), NULL FROM busy RETURNING 1)
SELECT gen.note('watch placed', count(*)) FROM placed;
WITH gone AS (UPDATE oltp.watch SET removed_at = gen.at(:'day', 13) WHERE symbol = 'brief' RETURNING 1)
SELECT gen.note('watch removed', count(*)) FROM gone;
WITH gone AS (DELETE FROM oltp.watch WHERE removed_at IS NULL AND gen.dice('forgotten', customer_id || symbol || placed_at::date) < 0.05 RETURNING 1)
SELECT gen.note('watch deleted', count(*)) FROM gone;

-- Prices were wrong: highs that rise above all of the year, a low that was none, a day that is struck out and one that comes late.
UPDATE oltp.daily_market SET high = high * 3, volume = NULL WHERE day = gen.base() - 100 AND gen.dice('high was', symbol) < 0.5;
UPDATE oltp.daily_market SET low = low + 0.000 WHERE day = gen.base() - 50;
WITH gone AS (DELETE FROM oltp.daily_market WHERE day = gen.base() - 29 RETURNING 1)
SELECT gen.note('price struck', count(*)) FROM gone;
WITH late AS (INSERT INTO oltp.daily_market SELECT symbol, gen.base() - 4, 10, 11, 0.5, 0 FROM oltp.security RETURNING 1)
SELECT gen.note('price quoted', count(*)) FROM late;

-- A company is rated three times; holders whose shares do not add up; a broker changes group.
UPDATE oltp.company SET rating = 'D', changed_at = gen.at(:'day', 10) WHERE company_id = 2;
UPDATE oltp.company SET rating = NULL, changed_at = gen.at(:'day', 11) WHERE company_id = 2;
UPDATE oltp.company SET rating = 'AA', ceo = 'Third''s "the" charm', changed_at = gen.at(:'day', 12) WHERE company_id = 2;
WITH more AS (INSERT INTO oltp.account_holder SELECT account_id, 900000 + account_id, 0.25 FROM oltp.account WHERE account_id % 7 = 0 RETURNING 1)
SELECT gen.note('holder added', count(*)) FROM more;
UPDATE oltp.broker SET "group" = 'green', title = 'head', manager = NULL WHERE broker_no = 2;
