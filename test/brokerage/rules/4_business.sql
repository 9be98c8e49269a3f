-- What facts say together: trades, cash, holdings, watches, prices.
SELECT plan(32);

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
SELECT bag_eq('SELECT jsonb_build_array(trade_id)::text, submission_heard FROM dw.trade', $$ SELECT * FROM expected.became('trade', '$.submitted_at != null') $$,
    'milestones: a submission is heard of by the transaction that first told it');
SELECT bag_eq('SELECT jsonb_build_array(trade_id)::text, completion_heard FROM dw.trade', $$ SELECT * FROM expected.became('trade', '$.status == "completed"') $$,
    'milestones: and so is a completion, also one that was taken back');
SELECT bag_eq('SELECT jsonb_build_array(trade_id)::text, cancellation_heard FROM dw.trade', $$ SELECT * FROM expected.became('trade', '$.status == "cancelled"') $$,
    'milestones: and a cancellation');
SELECT is_empty('SELECT trade_id FROM dw.trade WHERE submission_heard > completion_heard OR completion_heard > cancellation_heard', 'milestones are heard of in their order');
SELECT is_empty($$ SELECT trade_id, completion_heard, heard_date_sk, to_hear FROM dw.trade
    WHERE heard_date_sk <> coalesce(to_char(completion_heard AT TIME ZONE 'America/New_York', 'YYYYMMDD')::bigint, -2)
        OR to_hear IS DISTINCT FROM completion_heard - completed_at $$, 'a milestone has its day, and a lag after what it tells of');

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

SELECT bag_eq($$ SELECT trade_id, account_id, symbol, quantity, cost::text, is_reversal, booked_at FROM dw.holding_entry WHERE booked_lsn > (SELECT horizon FROM walhouse.feed) $$,
    $$ SELECT h.trade_id, h.account_id, h.symbol, CASE WHEN is_reversal THEN -h.quantity ELSE h.quantity END, (CASE WHEN is_reversal THEN -h.cost ELSE h.cost END)::text, is_reversal, clock
        FROM expected.entry('holding') AS e, jsonb_populate_record(NULL::oltp.holding, image) AS h WHERE o > 0 $$,
    'entries of holdings: what changes is taken back and written anew');
SELECT bag_eq($$ SELECT trade_id, account_id, symbol, quantity, cost::text, is_reversal FROM dw.holding_entry WHERE booked_lsn <= (SELECT horizon FROM walhouse.feed) $$,
    $$ SELECT h.trade_id, h.account_id, h.symbol, h.quantity, h.cost::text, false FROM expected.entry('holding') AS e, jsonb_populate_record(NULL::oltp.holding, image) AS h WHERE o = 0 $$,
    'and what was there at first is written once');
SELECT is_empty($$ SELECT e.trade_id, e.booked_lsn, e.booked_at FROM dw.holding_entry e LEFT JOIN brokerage_log.txn t ON t.end_lsn = e.booked_lsn
    WHERE booked_lsn > (SELECT horizon FROM walhouse.feed) AND (t.clock IS DISTINCT FROM e.booked_at) $$, 'an entry names the transaction that made it');
SELECT results_eq('SELECT account_id, symbol, sum(quantity), sum(cost) FROM dw.holding_entry GROUP BY 1, 2 HAVING sum(quantity) <> 0 ORDER BY 1, 2',
    'SELECT account_id, symbol, sum(quantity), sum(cost) FROM oltp.holding GROUP BY 1, 2 ORDER BY 1, 2', 'entries add up to what is held');
SELECT is_empty($$ SELECT trade_id FROM dw.holding_entry GROUP BY trade_id HAVING sum(CASE WHEN is_reversal THEN -1 ELSE 1 END) NOT IN (0, 1)
    OR (sum(CASE WHEN is_reversal THEN -1 ELSE 1 END) = 1) <> (trade_id IN (SELECT trade_id FROM oltp.holding)) $$, 'each entry but the last of what is held is taken back, once');
SELECT results_eq($$ SELECT account_id, date_trunc('month', at), sum(amount) FROM dw.cash_entry GROUP BY 1, 2 HAVING sum(amount) <> 0 ORDER BY 1, 2 $$,
    $$ SELECT account_id, date_trunc('month', at), sum(amount) FROM oltp.cash_transaction WHERE isfinite(at) GROUP BY 1, 2 HAVING sum(amount) <> 0 ORDER BY 1, 2 $$,
    'entries of cash add up to each account''s cash of each month');
SELECT bag_eq($$ SELECT cash_id, at, account_id, kind, amount::text, is_reversal, booked_at FROM dw.cash_entry WHERE booked_lsn > (SELECT horizon FROM walhouse.feed) $$,
    $$ SELECT c.cash_id, c.at, c.account_id, c.kind, (CASE WHEN is_reversal THEN -c.amount ELSE c.amount END)::text, is_reversal, clock
        FROM (SELECT o, clock, is_reversal, image FROM expected.entry('cash_transaction') WHERE o > 0) AS e, jsonb_populate_record(NULL::oltp.cash_transaction, image) AS c WHERE isfinite(c.at) $$,
    'and tell each correction, also of the account or the time alone');

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
