-- Rollups and periodic snapshots: what they say against the source's rows, summed up here.
SELECT plan(19);

-- ---- Rollups.
SELECT bag_eq('SELECT symbol, period_start, days, quoted, high, low, volume, mean, prices FROM dw.market_month',
    $$ SELECT symbol, date_trunc('month', day)::date, count(*) AS days, count(volume) AS quoted, max(high), min(low), sum(volume), avg(close), count(DISTINCT close) AS prices FROM oltp.daily_market GROUP BY 1, 2 $$,
    'prices by month are those of the source');
SELECT results_eq('SELECT sum(days) FROM dw.market_month', 'SELECT count(*)::numeric FROM oltp.daily_market', 'and of all its days');
SELECT bag_eq('SELECT symbol, period_start, high, low FROM dw.market_week',
    $$ SELECT symbol, date_trunc('week', day)::date, max(high), min(low) FROM oltp.daily_market GROUP BY 1, 2 $$, 'a week begins on Monday');
SELECT bag_eq('SELECT symbol, period_start, high_52w, low_52w FROM dw.market_weeks',
    $$ SELECT w.symbol, w.week, max(o.high), min(o.low) FROM (SELECT DISTINCT symbol, date_trunc('week', day)::date AS week FROM oltp.daily_market) AS w
        JOIN oltp.daily_market o ON o.symbol = w.symbol AND o.day BETWEEN w.week - 51 * 7 AND w.week + 6 GROUP BY 1, 2 $$,
    'highs and lows of 52 weeks of the calendar are those found among the days');
SELECT bag_eq('SELECT s.symbol, period_start, side, r.status, sum(trades) AS trades, sum(r.shares) AS shares, sum(r.amount) AS amount, sum(fees) AS fees, max(dearest), min(cheapest) FROM dw.trade_day r JOIN dw.security s USING (security_sk) GROUP BY 1, 2, 3, 4',
    $$ SELECT symbol, (created_at AT TIME ZONE 'America/New_York')::date, side, status, count(*)::numeric, sum(quantity)::numeric AS shares, sum(quantity * price) AS amount, sum(fee) AS fees, max(price), min(price)
        FROM oltp.trade GROUP BY 1, 2, 3, 4 $$, 'trades by day of New York, over the versions of a security');
SELECT bag_eq('SELECT security_sk, period_start, side, status, trades, shares, amount, fees, dearest, cheapest, customers FROM dw.trade_day',
    $$ SELECT security_sk, (created_at AT TIME ZONE 'America/New_York')::date, side, status, count(*) AS trades, sum(quantity) AS shares, sum(amount) AS amount, sum(fee) AS fees, max(price), min(price), count(DISTINCT customer_id) AS customers
        FROM dw.trade GROUP BY 1, 2, 3, 4 $$, 'and for each version the fact''s rows that point to it');
SELECT is_empty('SELECT period_start, mean, amount FROM dw.trade_day WHERE (mean IS NULL) <> (dearest IS NULL) OR mean NOT BETWEEN cheapest AND dearest', 'a mean lies between the extremes');
SELECT bag_eq('SELECT period_start, trades, last FROM dw.trade_hour',
    $$ SELECT date_trunc('hour', completed_at, 'America/New_York'), count(*), max(completed_at) FROM oltp.trade GROUP BY 1 $$, 'trades by the hour of their completion, those without one together');
SELECT bag_eq('SELECT client_sk, trades, amount, "first" FROM dw.client_total', 'SELECT client_sk, count(*), sum(amount), min(created_at) FROM dw.trade GROUP BY 1',
    'totals of clients follow when trades get other versions');
SELECT bag_eq('SELECT symbol, is_reversal, period_start, entries, shares, cost FROM dw.entry_quarter',
    $$ SELECT symbol, is_reversal, date_trunc('quarter', booked_at AT TIME ZONE 'America/New_York')::date, count(*), sum(quantity) AS shares, sum(cost) AS cost FROM dw.holding_entry GROUP BY 1, 2, 3 $$,
    'entries by quarter are those of the book');
SELECT results_eq('SELECT symbol, sum(shares) FROM dw.entry_quarter GROUP BY 1 HAVING sum(shares) <> 0 ORDER BY symbol COLLATE "C"',
    'SELECT symbol, sum(quantity)::numeric FROM oltp.holding GROUP BY 1 ORDER BY symbol COLLATE "C"', 'and add up to what is held of a share');

-- ---- Balances, by running sums over the days.
CREATE TEMPORARY TABLE moved ON COMMIT DROP AS
    SELECT account_id, at::date AS day, sum(amount) AS turnover, count(*) AS entries, (array_agg(kind ORDER BY at DESC, cash_id DESC))[1] AS last_kind
    FROM oltp.cash_transaction WHERE isfinite(at) GROUP BY 1, 2;
CREATE TEMPORARY TABLE day ON COMMIT DROP AS
    SELECT a.account_id, d::date AS day
    FROM (SELECT account_id, min(day) AS first, greatest(max(day), (SELECT (clock AT TIME ZONE 'America/New_York')::date FROM walhouse.feed_position ORDER BY position DESC LIMIT 1)) AS last
        FROM moved GROUP BY 1) AS a, generate_series(first, last, interval '1 day') AS d;
CREATE TEMPORARY TABLE balance ON COMMIT DROP AS
    SELECT d.account_id, d.day, m.turnover, coalesce(m.entries, 0) AS entries, sum(m.turnover) OVER w AS balance, (sum(m.entries) OVER w)::bigint AS entered,
        (array_agg(m.last_kind) FILTER (WHERE m.last_kind IS NOT NULL) OVER w) AS kinds
    FROM day d LEFT JOIN moved m ON m.day = d.day AND m.account_id IS NOT DISTINCT FROM d.account_id WINDOW w AS (PARTITION BY d.account_id ORDER BY d.day);
SELECT cmp_ok((SELECT count(*) FROM dw.cash_day), '>', (SELECT 20 * count(*) FROM moved) / 10, 'there are many days without cash to look at');
SELECT bag_eq('SELECT account_id, period_start FROM dw.cash_day', 'SELECT account_id, day FROM day', 'each account has a row for each day from its first one on, and no other');
SELECT bag_eq('SELECT account_id, period_start, balance, entered FROM dw.cash_day', 'SELECT account_id, day, balance, entered FROM balance',
    'the balance of a day is the running sum of all cash up to it');
SELECT bag_eq('SELECT account_id, period_start, turnover, entries FROM dw.cash_day', 'SELECT account_id, day, turnover, entries FROM balance',
    'what moved on a day is nothing on a day without cash');
SELECT bag_eq('SELECT account_id, period_start, last_kind FROM dw.cash_day', 'SELECT account_id, day, kinds[cardinality(kinds)] FROM balance', 'the last kind of cash is carried on');
SELECT results_eq($$ SELECT account_id, balance FROM (SELECT DISTINCT ON (account_id) account_id, balance FROM dw.cash_day ORDER BY account_id, period_start DESC) AS b ORDER BY 1 $$,
    'SELECT account_id, sum(amount) FROM oltp.cash_transaction WHERE isfinite(at) GROUP BY 1 ORDER BY 1', 'the last balance of an account is all its cash');
SELECT bag_eq('SELECT account_id, symbol, period_start, shares, cost, moved FROM dw.holding_week',
    $$ SELECT account_id, symbol, week, sum(shares) OVER w AS held, sum(cost) OVER w AS paid, shares FROM (
        SELECT account_id, symbol, date_trunc('week', booked_at AT TIME ZONE 'America/New_York')::date AS week, sum(quantity) AS shares, sum(cost) AS cost
        FROM dw.holding_entry GROUP BY 1, 2, 3) AS e WINDOW w AS (PARTITION BY account_id, symbol ORDER BY week) $$, 'holdings of a week are the running sum of entries');
SELECT results_eq($$ SELECT account_id, symbol, shares FROM (SELECT DISTINCT ON (account_id, symbol) account_id, symbol, shares FROM dw.holding_week ORDER BY account_id, symbol, period_start DESC) AS b
        WHERE shares <> 0 ORDER BY account_id, symbol COLLATE "C" $$,
    'SELECT account_id, symbol, sum(quantity) FROM oltp.holding GROUP BY 1, 2 ORDER BY account_id, symbol COLLATE "C"', 'and the last of them what is held');

SELECT * FROM finish();
