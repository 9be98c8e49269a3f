-- increment_2.sql: the second day after the history.
SET gen.phase = 3;
SET gen.commits = on;
SELECT gen.base() + 2 AS day \gset

CALL gen.customers(:'day', 1 + gen.count(1, 'increment customers', :'day'));
CALL gen.day(:'day');

-- A share gets another symbol: a key changes, and with it the keys and columns of all that name it, in one transaction.
SELECT symbol FROM oltp.security ORDER BY gen.dice('renamed', symbol) LIMIT 1 \gset
BEGIN;
UPDATE oltp.security SET symbol = 'NEW''' || symbol, changed_at = gen.at(:'day', 8) WHERE symbol = :'symbol';
UPDATE oltp.daily_market SET symbol = 'NEW''' || symbol WHERE symbol = :'symbol';
UPDATE oltp.trade SET symbol = 'NEW''' || symbol WHERE symbol = :'symbol';
UPDATE oltp.holding SET symbol = 'NEW''' || symbol WHERE symbol = :'symbol';
UPDATE oltp.watch SET symbol = 'NEW''' || symbol WHERE symbol = :'symbol';
COMMIT;

-- What was traded before it was listed is listed now; another share is not listed any more; one goes and is back at once.
INSERT INTO oltp.security VALUES ('GREY "1"', 1, NULL, 'common', 'OTC', NULL, 'active', gen.at(:'day', 9));
DELETE FROM oltp.security WHERE symbol = (SELECT max(symbol) FROM oltp.security);
BEGIN;
CREATE TEMPORARY TABLE back AS SELECT * FROM oltp.security ORDER BY gen.dice('back', symbol) LIMIT 1;
DELETE FROM oltp.security WHERE symbol IN (SELECT symbol FROM back);
INSERT INTO oltp.security TABLE back;
COMMIT;
-- Companies merge: the shares of one are another's; a company that is gone still has shares.
UPDATE oltp.security SET company_id = 1, changed_at = gen.at(:'day', 9.5) WHERE company_id = 2;
DELETE FROM oltp.company WHERE company_id = 3;
UPDATE oltp.company SET name = upper(name), industry = 'IT', changed_at = gen.at(:'day', 10) WHERE company_id IN (1, 4);

-- The list of industries is written anew.
BEGIN;
CREATE TEMPORARY TABLE industries AS SELECT industry, upper(name) AS name, sector FROM oltp.industry WHERE industry <> 'OG';
TRUNCATE oltp.industry;
INSERT INTO oltp.industry TABLE industries;
INSERT INTO oltp.industry VALUES ('NW', 'New', 'Technology');
COMMIT;

-- A deleted account is back; an account goes to another customer; a customer is forgotten; one becomes active again.
INSERT INTO oltp.account
    SELECT account_id, customer_id, branch, broker_no, description, tax_status, status, opened_on, gen.at(:'day', 9)
    FROM gen.change, LATERAL jsonb_populate_record(NULL::oltp.account, image) WHERE rel = 'account' AND key = '[1005]' AND NOT live ORDER BY n DESC LIMIT 1;
INSERT INTO gen.ledger (phase, what, rows) VALUES (3, 'account deleted', -1);
UPDATE oltp.account SET customer_id = 5, changed_at = gen.at(:'day', 10) WHERE account_id = 1003;
WITH gone AS (DELETE FROM oltp.customer WHERE customer_id = 6 RETURNING 1)
SELECT gen.note('customer deleted', count(*)) FROM gone;
UPDATE oltp.customer SET status = 'active', changed_at = gen.at(:'day', 11) WHERE status = 'inactive' AND customer_id % 2 = 0;
-- Two customers had each other's number.
BEGIN;
UPDATE oltp.customer SET customer_id = -11 WHERE customer_id = 11;
UPDATE oltp.customer SET customer_id = 11 WHERE customer_id = 12;
UPDATE oltp.customer SET customer_id = 12 WHERE customer_id = -11;
COMMIT;
-- A number is used again, for somebody else, in one transaction.
BEGIN;
DELETE FROM oltp.customer WHERE customer_id = 10;
INSERT INTO oltp.customer (customer_id, last_name, tier, status, joined_on, changed_at) VALUES (10, 'Somebody Else', 2, 'active', :'day', gen.at(:'day', 12));
COMMIT;

-- More corrections that come late, of one customer: between what is known, back to what it was, at a boundary, before all.
UPDATE oltp.customer SET tier = 3, city = 'Then', changed_at = gen.at(gen.base() - 60, 10) WHERE customer_id = 4;
UPDATE oltp.customer SET city = 'Later', changed_at = gen.at(gen.base() - 30, 10) WHERE customer_id = 4;
UPDATE oltp.customer SET city = 'Then', changed_at = gen.at(gen.base() - 30, 10) WHERE customer_id = 4;
UPDATE oltp.customer SET tier = 2, changed_at = gen.at(gen.base() - 2000, 10) WHERE customer_id = 4;
UPDATE oltp.customer SET city = 'Corrected again', changed_at = changed_at - interval '100 days' WHERE gen.dice('corrected again', customer_id::text) < 0.15;
UPDATE oltp.customer SET changed_at = gen.at(:'day', 11) WHERE NOT isfinite(changed_at);

-- Inactive customers and closed accounts of the day, a watch for each customer who changed, at this moment.
WITH gone AS (UPDATE oltp.customer SET status = 'inactive', changed_at = gen.at(:'day', 16) WHERE customer_id = 5 AND status = 'active' RETURNING 1)
SELECT gen.note('customer inactivated', count(*)) FROM gone;
WITH placed AS (
    INSERT INTO oltp.watch SELECT customer_id, (SELECT max(symbol) FROM oltp.security), clock_timestamp(), NULL FROM oltp.customer WHERE customer_id <= 12 RETURNING 1)
SELECT gen.note('watch placed', count(*)) FROM placed;
WITH gone AS (UPDATE oltp.watch SET removed_at = gen.at(:'day', 13) WHERE removed_at IS NULL AND gen.dice('removed', customer_id || symbol) < 0.1 RETURNING 1)
SELECT gen.note('watch removed', count(*)) FROM gone;
-- A watch that was removed is wanted again: its removal is taken back.
WITH wanted AS (UPDATE oltp.watch SET removed_at = NULL WHERE removed_at IS NOT NULL AND gen.dice('wanted', customer_id || symbol || placed_at::date) < 0.05 RETURNING 1)
INSERT INTO gen.ledger (phase, what, rows) SELECT 3, 'watch removed', -count(*) FROM wanted;

-- Cash that was at no time has one now, what was to come moves to the past, and all fees are reckoned again.
UPDATE oltp.cash_transaction SET at = :'day'::date + time '12:00' WHERE at = 'infinity';
UPDATE oltp.cash_transaction SET at = gen.base() - 10 + time '10:00', amount = 2.5 WHERE kind = 'to come';
WITH gone AS (DELETE FROM oltp.cash_transaction WHERE at IS NULL RETURNING amount)
SELECT gen.note('cash deleted', count(*), sum(amount)) FROM gone;
BEGIN;
UPDATE oltp.trade SET fee = fee + 0.25 WHERE status = 'completed';
UPDATE oltp.customer SET credit = credit + 1 WHERE tier = 1;
UPDATE oltp.cash_transaction SET kind = kind || '*' WHERE trade_id % 5 = 0;
COMMIT;

-- Trades: a pending one is submitted, taken back and submitted again; one that was cancelled is deleted; a quantity was wrong.
SELECT min(account_id) AS account FROM oltp.account WHERE status = 'active' \gset
SELECT min(symbol) AS symbol FROM oltp.security WHERE status = 'active' \gset
SELECT gen.place(:account, :'symbol', 90, gen.at(:'day', 14)) AS trade \gset
SELECT gen.submit(:trade, gen.at(:'day', 14.2));
BEGIN;
UPDATE oltp.trade SET status = 'pending', submitted_at = NULL WHERE trade_id = :trade;
DELETE FROM oltp.trade_history WHERE trade_id = :trade AND status = 'submitted';
COMMIT;
SELECT gen.submit(:trade, gen.at(:'day', 14.3));
UPDATE oltp.trade SET quantity = 91 WHERE trade_id = :trade;
CALL gen.complete(:trade, :'day', 14.5);
BEGIN;
CREATE TEMPORARY TABLE gone AS SELECT trade_id FROM oltp.trade WHERE status = 'cancelled' ORDER BY gen.dice('gone', trade_id::text) LIMIT 3;
DELETE FROM oltp.trade_history WHERE trade_id IN (TABLE gone);
WITH deleted AS (DELETE FROM oltp.trade WHERE trade_id IN (TABLE gone) RETURNING 1)
SELECT gen.note('trade deleted', count(*)) FROM deleted;
INSERT INTO gen.ledger (phase, what, rows) SELECT 3, 'trade cancelled', -count(*) FROM gone;
COMMIT;

-- An order of this very moment, whose customer moves right after it.
SELECT gen.place(account_id, :'symbol', 3, clock_timestamp()) FROM oltp.account WHERE account_id = :account;
UPDATE oltp.customer SET city = 'Gone' WHERE customer_id IN (SELECT customer_id FROM oltp.account WHERE account_id = :account);

-- Holders whose shares did not add up leave, another comes; a company's prices of a year change their form alone.
WITH gone AS (DELETE FROM oltp.account_holder WHERE customer_id > 900000 AND account_id % 2 = 0 RETURNING 1)
SELECT gen.note('holder removed', count(*)) FROM gone;
UPDATE oltp.account_holder SET share = 0.5 WHERE share = 1.0 AND account_id % 9 = 1;
WITH more AS (INSERT INTO oltp.account_holder SELECT account_id, 1, 0.50 FROM oltp.account a WHERE account_id % 9 = 1 ON CONFLICT DO NOTHING RETURNING 1)
SELECT gen.note('holder added', count(*)) FROM more;
UPDATE oltp.daily_market SET close = close + 0.0, high = trim_scale(high) WHERE symbol = :'symbol';

-- Updates that change nothing.
UPDATE oltp.customer SET last_name = last_name WHERE customer_id < 10;
UPDATE oltp.broker SET name = name;
UPDATE oltp.watch SET removed_at = removed_at WHERE removed_at IS NOT NULL;
