-- What facts say together: trades, cash, holdings, watches, prices.
SELECT plan(20);

-- ---- Trades and their steps.
SELECT is_empty($$ SELECT trade_id FROM dw.trade WHERE NOT (created_at <= coalesce(submitted_at, created_at) AND coalesce(submitted_at, created_at) <= coalesce(completed_at, 'infinity')
    AND created_at <= coalesce(cancelled_at, created_at)) $$, 'a trade is created, submitted, and completed or cancelled, in this order');
SELECT is_empty($$ SELECT trade_id, status, submitted_at, completed_at, cancelled_at FROM dw.trade
    WHERE (status = 'completed') <> (completed_at IS NOT NULL) OR (status = 'cancelled') <> (cancelled_at IS NOT NULL)
        OR (status = 'submitted' AND submitted_at IS NULL) OR (status = 'pending' AND submitted_at IS NOT NULL) $$, 'its times go with its status');
SELECT is_empty($$ SELECT t.trade_id, t.submitted_at, s.at FROM dw.trade t LEFT JOIN dw.trade_step s ON s.trade_id = t.trade_id AND s.status = 'submitted'
    WHERE t.submitted_at IS DISTINCT FROM s.at $$, 'a trade was submitted when its history says');
SELECT is_empty($$ SELECT t.trade_id, t.completed_at, s.at FROM dw.trade t LEFT JOIN dw.trade_step s ON s.trade_id = t.trade_id AND s.status = 'completed'
    WHERE t.completed_at IS DISTINCT FROM s.at AND t.status <> 'cancelled' $$, 'and completed, unless it was cancelled after that');
SELECT is_empty($$ SELECT t.trade_id, t.cancelled_at, s.at FROM dw.trade t LEFT JOIN dw.trade_step s ON s.trade_id = t.trade_id AND s.status = 'cancelled'
    WHERE t.cancelled_at IS DISTINCT FROM s.at $$, 'and cancelled');
SELECT is_empty($$ SELECT trade_id, created_at FROM dw.trade EXCEPT SELECT trade_id, at FROM dw.trade_step WHERE status IN ('pending', 'submitted') $$,
    'a trade was created when its first step says');
SELECT is_empty($$ SELECT s.trade_id, s.status FROM dw.trade_step s LEFT JOIN dw.trade t USING (trade_id) WHERE t.trade_id IS NULL $$, 'no step is of a trade that is not there');
SELECT is_empty($$ SELECT trade_id, to_submit, to_complete FROM dw.trade
    WHERE (to_submit, to_complete) IS DISTINCT FROM (submitted_at - created_at, completed_at - created_at) $$, 'how long it took is what lies between');

-- ---- Cash.
SELECT is_empty($$ SELECT t.trade_id, t.status, count(c.cash_id) FROM dw.trade t LEFT JOIN dw.cash c USING (trade_id)
    GROUP BY 1, 2 HAVING count(c.cash_id) <> CASE WHEN t.status = 'completed' THEN 1 ELSE 0 END $$, 'a completed trade moved cash once, others did not');
SELECT is_empty($$ SELECT t.trade_id, c.amount, t.amount FROM dw.trade t JOIN dw.cash c USING (trade_id)
    WHERE abs(c.amount) NOT BETWEEN t.amount - t.fee - t.commission AND t.amount + t.fee + t.commission $$, 'namely its amount with its costs');
SELECT results_eq('SELECT account_id, sum(amount) FROM dw.cash GROUP BY 1 ORDER BY 1',
    'SELECT account_id, sum(amount) FROM oltp.cash_transaction WHERE isfinite(at) GROUP BY 1 ORDER BY 1', 'the balance of each account is the source''s');

-- ---- Holdings.
SELECT results_eq('SELECT account_id, symbol, sum(quantity) FROM dw.holding GROUP BY 1, 2 HAVING sum(quantity) <> 0 ORDER BY 1, 2',
    $$ SELECT account_id, symbol, sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) FROM dw.trade WHERE status = 'completed'
        GROUP BY 1, 2 HAVING sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) <> 0 ORDER BY 1, 2 $$, 'what an account holds is what it bought less what it sold');
SELECT is_empty($$ SELECT h.trade_id FROM dw.holding h LEFT JOIN dw.trade t USING (trade_id) WHERE t.status IS DISTINCT FROM 'completed' OR t.side <> 'buy' OR h.quantity NOT BETWEEN 1 AND t.quantity $$,
    'each holding is of a purchase that was completed, and not larger');

-- ---- Watches.
SELECT is((SELECT count(*) FROM dw.watch WHERE removed_at IS NULL), expected.told('watch placed') - expected.told('watch removed') - expected.told('watch deleted'),
    'as many watches are active as were placed and neither removed nor forgotten');
SELECT is_empty($$ SELECT customer_id, symbol, placed_at, removed_at, removed_date_sk FROM dw.watch
    WHERE removed_date_sk <> CASE WHEN removed_at IS NULL THEN -2 ELSE to_char(removed_at AT TIME ZONE 'America/New_York', 'YYYYMMDD')::bigint END
        OR placed_date_sk <> to_char(placed_at AT TIME ZONE 'America/New_York', 'YYYYMMDD')::bigint $$, 'the days of a watch are those of its placement and removal');
SELECT results_eq($$ SELECT d.date, count(*) FROM dw.date d JOIN dw.watch w ON w.placed_date_sk <= d.date_sk AND (w.removed_date_sk = -2 OR w.removed_date_sk > d.date_sk)
        WHERE d.date BETWEEN current_date - 400 AND current_date GROUP BY 1 ORDER BY 1 $$,
    $$ SELECT d::date, count(*) FROM generate_series(current_date - 400, current_date, interval '1 day') AS d
        JOIN oltp.watch w ON (placed_at AT TIME ZONE 'America/New_York')::date <= d AND coalesce((removed_at AT TIME ZONE 'America/New_York')::date, 'infinity') > d
        GROUP BY 1 ORDER BY 1 $$, 'on each day as many watches were active as the source''s times say');

-- ---- Prices.
SELECT is_empty($$ SELECT symbol, day FROM dw.market WHERE NOT (low <= close AND close <= high) $$, 'a price lies between the day''s low and high');
SELECT bag_eq('SELECT symbol, day, high_52w, low_52w FROM dw.market_year',
    $$ SELECT m.symbol, m.day, max(o.high), min(o.low) FROM oltp.daily_market m JOIN oltp.daily_market o ON o.symbol = m.symbol AND o.day BETWEEN m.day - 364 AND m.day
        GROUP BY m.symbol, m.day $$, 'highs and lows of 52 weeks are those found day by day');
SELECT bag_eq('SELECT symbol, day, high_52w_on, low_52w_on FROM dw.market_year WHERE day > current_setting(''brokerage.base'')::date - 21',
    $$ SELECT m.symbol, m.day, h.day AS high_on, l.day AS low_on FROM oltp.daily_market m
        CROSS JOIN LATERAL (SELECT day FROM oltp.daily_market o WHERE o.symbol = m.symbol AND o.day BETWEEN m.day - 364 AND m.day ORDER BY high DESC, day DESC LIMIT 1) AS h
        CROSS JOIN LATERAL (SELECT day FROM oltp.daily_market o WHERE o.symbol = m.symbol AND o.day BETWEEN m.day - 364 AND m.day ORDER BY low, day DESC LIMIT 1) AS l
        WHERE m.day > current_setting('brokerage.base')::date - 21 $$, 'and so are the days when they were last');
SELECT is((SELECT count(*) > 0 FROM dw.market_year WHERE high_52w_on = current_setting('brokerage.base')::date - 100 AND day > high_52w_on + 50), (SELECT max(phase) > 1 FROM expected.ledger),
    'a high that was corrected rises in the windows of all days after it');

SELECT * FROM finish();
