-- The facts: rules for all of them, and the rows and sums of each.
CREATE TEMPORARY TABLE member ON COMMIT DROP AS SELECT *, lead(valid_from) OVER (PARTITION BY dimension, key ORDER BY valid_from) AS next_from FROM expected.member();
CREATE INDEX ON member (dimension, sk);
CREATE TEMPORARY TABLE reference ON COMMIT DROP AS SELECT * FROM expected.reference();
ANALYZE member, reference;
SELECT plan(39);

-- ---- Surrogate keys.
SELECT cmp_ok((SELECT count(DISTINCT (fact, role)) FROM reference), '>=', 12::bigint, 'there are keys of many roles to look at');
SELECT is_empty('SELECT r.* FROM reference r LEFT JOIN member m USING (dimension, sk) WHERE m.sk IS NULL', 'each surrogate key is one of its dimension');
SELECT is_empty('SELECT * FROM reference WHERE key IS NULL AND sk <> null_sk AND NOT sent', 'a row without a key has the member that its role says');
SELECT is_empty('SELECT * FROM reference WHERE key IS NOT NULL AND sk < 0 AND NOT sent', 'a row with a key has a member');
SELECT is_empty('SELECT r.*, m.key FROM reference r JOIN member m USING (dimension, sk) WHERE sk > 0 AND m.key <> r.key', 'of that very key');
SELECT is_empty('SELECT r.*, m.valid_from FROM reference r JOIN member m USING (dimension, sk) WHERE sk > 0 AND m.valid_from > r.event_time',
    'and the version had begun at the time of the event');
SELECT is_empty('SELECT r.*, m.next_from FROM reference r JOIN member m USING (dimension, sk) WHERE sk > 0 AND m.next_from <= r.event_time',
    'and no later one had');
SELECT is_empty($$ SELECT r.*, m.valid_to FROM reference r JOIN member m USING (dimension, sk) WHERE sk > 0 AND m.valid_to <= r.event_time
    AND NOT EXISTS (SELECT FROM expected.event e WHERE e.rel IN (dimension, dimension || '+customer', CASE dimension WHEN 'client' THEN 'customer' END) AND e.key = m.key AND NOT e.live AND e.clock = m.valid_to) $$,
    'and had not ended, unless the source had deleted the member');
SELECT is((SELECT count(*) > 0 FROM reference r JOIN member m USING (dimension, sk) WHERE fact = 'watch' AND dimension = 'customer' AND isfinite(m.valid_from) AND m.next_from IS NOT NULL),
    (SELECT max(phase) > 1 FROM expected.ledger), 'from the first increment on there are rows of versions that are neither the first nor the last');
SELECT cmp_ok((SELECT count(*) FROM reference r JOIN member m USING (dimension, sk) WHERE fact = 'trade' AND r.dimension = 'client' AND isfinite(m.valid_from) AND m.next_from IS NOT NULL),
    '>', 10::bigint, 'trades of the history have clients'' versions of the history');
SELECT set_eq($$ SELECT DISTINCT r.key FROM reference r JOIN member m USING (dimension, sk) WHERE is_inferred AND dimension = 'security' $$,
    $$ SELECT DISTINCT jsonb_build_array(symbol)::text FROM (SELECT symbol FROM oltp.trade UNION SELECT symbol FROM oltp.watch UNION SELECT symbol FROM oltp.daily_market) AS t
        WHERE symbol IS NOT NULL AND jsonb_build_array(symbol)::text NOT IN (SELECT key FROM expected.event WHERE rel = 'security' AND live) $$,
    'rows of securities that the source has never listed, and no others, have inferred members');
SELECT results_eq($$ SELECT DISTINCT w.relation::text, a.event_time FROM walhouse.ahead a JOIN walhouse.model w USING (model_id) ORDER BY 1, 2 $$,
    $$ SELECT DISTINCT 'dw.' || fact, event_time FROM reference, (SELECT clock FROM walhouse.feed_position ORDER BY position DESC LIMIT 1) AS f
        WHERE event_time >= f.clock AND sk > 0 AND dimension NOT IN ('broker', 'client', 'contact') ORDER BY 1, 2 $$,
    'rows ahead of the clock, and no others, wait for the versions that may yet come');

-- ---- Rows.
SELECT bag_eq('SELECT trade_id, created_at, account_id, customer_id, branch, broker_no, symbol, side, is_cash, channel, status, quantity, "limit", price, fee, commission, amount,
        submitted_at, completed_at, cancelled_at FROM dw.trade',
    'SELECT trade_id, created_at, account_id, customer_id, branch, broker_no, symbol, side, is_cash, channel, t.status, quantity, "limit", price, fee, commission, quantity * price,
        submitted_at, completed_at, cancelled_at FROM oltp.trade t LEFT JOIN oltp.account USING (account_id)', 'trades are the source''s, with their accounts''');
SELECT bag_eq('SELECT trade_id, status, at, account_id, symbol FROM dw.trade_step',
    'SELECT trade_id, h.status, at, account_id, symbol FROM oltp.trade_history h JOIN oltp.trade USING (trade_id)', 'steps are the source''s, of trades that are there');
SELECT bag_eq('SELECT cash_id, at, account_id, trade_id, kind, amount::text FROM dw.cash',
    'SELECT cash_id, at, account_id, trade_id, kind, amount::text FROM oltp.cash_transaction WHERE isfinite(at)', 'cash is the source''s, where it has a time');
SELECT bag_eq('SELECT trade_id, opened_at, account_id, symbol, quantity, cost FROM dw.holding',
    'SELECT trade_id, opened_at, account_id, symbol, quantity, cost FROM oltp.holding', 'holdings are the source''s');
SELECT bag_eq('SELECT customer_id, symbol, placed_at, removed_at FROM dw.watch', 'TABLE oltp.watch', 'watches are the source''s');
SELECT bag_eq('SELECT symbol, day, close::text, high::text, low::text, volume FROM dw.market',
    'SELECT symbol, day, close::text, high::text, low::text, volume FROM oltp.daily_market', 'prices are the source''s, in their very form');
SELECT bag_eq($$ SELECT r.model::text, r.key::text FROM walhouse.rejected r WHERE r.model = 'dw.cash'::regclass $$,
    $$ SELECT 'dw.cash', format('{%s}', cash_id) FROM oltp.cash_transaction WHERE isfinite(at) IS NOT TRUE $$, 'what has no place in time is rejected, and nothing else');

-- ---- Counts and sums: the source's, and the generator's.
SELECT is((SELECT count(*) FROM dw.trade), expected.told('trade created') - expected.told('trade deleted'), 'as many trades as were made and not deleted');
SELECT is((SELECT count(*) FROM dw.trade WHERE status = 'completed'), expected.told('trade completed'), 'as many completed as the ledger says');
SELECT is((SELECT count(*) FROM dw.trade WHERE status = 'cancelled'), expected.told('trade cancelled'), 'as many cancelled');
SELECT is((SELECT ROW(sum(quantity), sum(fee), sum(commission), sum(amount)) FROM dw.trade),
    (SELECT ROW(sum(quantity), sum(fee), sum(commission), sum(quantity * price)) FROM oltp.trade), 'sums of trades are the source''s');
SELECT is((SELECT count(*) FROM dw.cash) + (SELECT count(*) FROM walhouse.rejected WHERE model = 'dw.cash'::regclass), expected.told('cash booked') - expected.told('cash deleted'), 'as much cash as was booked and not deleted');
SELECT is((SELECT sum(amount) FROM dw.cash) + coalesce((SELECT sum((r."row" ->> 'amount')::numeric) FROM walhouse.rejected r WHERE r.model = 'dw.cash'::regclass), 0),
    expected.told_amount('cash booked', 'cash corrected') - expected.told_amount('cash deleted'), 'and of the amount that was booked, corrected and not deleted');
SELECT is((SELECT count(*) FROM dw.watch), expected.told('watch placed') - expected.told('watch deleted'), 'as many watches as were placed and not forgotten');
SELECT is((SELECT count(*) FROM dw.market), expected.told('price quoted') - expected.told('price struck'), 'as many prices as were quoted and not struck out');
SELECT is((SELECT ROW(sum(close), sum(high), sum(low), sum(volume)) FROM dw.market), (SELECT ROW(sum(close), sum(high), sum(low), sum(volume)) FROM oltp.daily_market),
    'sums of prices are the source''s');
SELECT is_empty($$ SELECT tableoid::regclass, date_trunc('month', day) FROM dw.market GROUP BY 1, 2 HAVING count(*) > 31 * (SELECT count(DISTINCT symbol) FROM dw.market) $$,
    'no day of a share is there twice');
SELECT is_empty($$ SELECT tableoid::regclass FROM dw.market GROUP BY 1 HAVING count(DISTINCT date_trunc('month', day)) > 1 $$, 'a partition of prices holds one month');
SELECT is_empty($$ SELECT tableoid::regclass FROM dw.trade GROUP BY 1 HAVING count(DISTINCT date_trunc('month', created_at AT TIME ZONE 'America/New_York')) > 1 $$,
    'a partition of trades holds one month of New York');

-- ---- Dates, times, combinations.
SELECT is_empty($$ SELECT trade_id, created_at, created_date_sk, created_time_sk FROM dw.trade
    WHERE created_date_sk::text <> to_char(created_at AT TIME ZONE 'America/New_York', 'YYYYMMDD')
        OR created_time_sk <> to_char(created_at AT TIME ZONE 'America/New_York', 'HH24MI')::integer $$, 'a trade has the day and minute of New York');
SELECT is_empty($$ SELECT trade_id, status, completed_at, completed_date_sk, completed_time_sk FROM dw.trade
    WHERE (completed_date_sk, completed_time_sk) IS DISTINCT FROM CASE WHEN status = 'completed'
        THEN (to_char(completed_at AT TIME ZONE 'America/New_York', 'YYYYMMDD')::bigint, to_char(completed_at AT TIME ZONE 'America/New_York', 'HH24MI')::bigint)
        ELSE (-2::bigint, -2::bigint) END $$, 'and those of its completion, or none that apply');
SELECT is_empty($$ SELECT cash_id, at, date_sk FROM dw.cash WHERE date_sk::text <> to_char(at, 'YYYYMMDD') OR time_sk <> to_char(at, 'HH24MI')::integer $$,
    'cash has its wall clock''s');
SELECT is_empty($$ SELECT cash_id, account_sk FROM dw.cash WHERE account_sk < 0 AND account_sk <> CASE WHEN amount = 0 THEN -3 WHEN account_id IS NULL THEN -2 END $$,
    'cash of nobody applies to no account, void cash is an error');
SELECT is_empty($$ SELECT trade_id FROM dw.trade t JOIN dw.order_kind k USING (order_kind_sk)
    WHERE (k.side, k.is_cash, k.channel) IS DISTINCT FROM (t.side, t.is_cash, t.channel) $$, 'a trade has the combination of its own side, cash and channel');

-- ---- The views beside a fact.
SELECT bag_eq('SELECT trade_id, customer_city, customer_tier, account_status, security_rating, created_date_date FROM dw.trade_as_was',
    'SELECT trade_id, c.city, c.tier, a.status, s.rating, d.date FROM dw.trade t JOIN dw.customer c USING (customer_sk) JOIN dw.account a USING (account_sk)
        JOIN dw.security s USING (security_sk) JOIN dw.date d ON d.date_sk = t.created_date_sk', 'as it was: attributes of the versions that rows point to');
SELECT bag_eq('SELECT trade_id, customer_city, customer_tier FROM dw.trade_as_is WHERE customer_sk > 0',
    'SELECT trade_id, c.city, c.tier FROM dw.trade t JOIN LATERAL (SELECT * FROM dw.customer c WHERE c.customer_id = t.customer_id ORDER BY valid_from DESC LIMIT 1) AS c ON true
        WHERE t.customer_sk > 0', 'as it is: those of the last version of the same member');
SELECT is((SELECT count(*) FROM dw.trade_as_is), (SELECT count(*) FROM dw.trade), 'the views lose no row');

SELECT * FROM finish();
