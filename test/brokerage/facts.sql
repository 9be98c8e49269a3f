-- facts.sql: the star's facts.
SELECT walhouse.create_fact('dw.trade',
    $$ SELECT t.trade_id, t.created_at, t.account_id, a.customer_id, a.branch, a.broker_no, t.symbol, t.side, t.is_cash, t.channel, t.status,
           t.quantity, t."limit", t.price, t.fee, t.commission, t.quantity * t.price AS amount, t.submitted_at, t.completed_at, t.cancelled_at,
           t.status <> 'completed' AS is_open, t.submitted_at IS NOT NULL AS was_submitted, t.status = 'completed' AS is_completed, t.status = 'cancelled' AS is_cancelled
       FROM brokerage.trade t LEFT JOIN brokerage.account a ON a.account_id = t.account_id $$,
    key => '{trade_id}', event_time => 'created_at',
    dimensions => '{"account_sk": "dw.account(account_id)", "customer_sk": "dw.customer(customer_id)",
                    "client_sk": "dw.client(customer_id)", "profile_sk": "dw.profile(customer_id)", "broker_sk": "dw.broker(branch, broker_no)",
                    "security_sk": "dw.security(symbol)", "order_kind_sk": "dw.order_kind(side, is_cash, channel)",
                    "created_date_sk": "dw.date(created_at)", "created_time_sk": "dw.time(created_at)",
                    "completed_date_sk": {"dimension": "dw.date(completed_at)", "not_applicable_if": "is_open"},
                    "completed_time_sk": {"dimension": "dw.time(completed_at)", "null": "not_applicable"},
                    "heard_date_sk": {"dimension": "dw.date(completion_heard)", "null": "not_applicable"}}',
    milestones => '{"submission_heard": "was_submitted", "completion_heard": "is_completed", "cancellation_heard": "is_cancelled"}',
    lags => '{"to_submit": ["created_at", "submitted_at"], "to_complete": ["created_at", "completed_at"], "to_hear": ["completed_at", "completion_heard"]}');

SELECT walhouse.create_fact('dw.trade_step',
    $$ SELECT h.trade_id, h.status, h.at, t.account_id, t.symbol
       FROM brokerage.trade_history h JOIN brokerage.trade t ON t.trade_id = h.trade_id $$,
    key => '{trade_id,status}', event_time => 'at',
    dimensions => '{"account_sk": "dw.account(account_id)", "security_sk": "dw.security(symbol)", "date_sk": "dw.date(at)", "time_sk": "dw.time(at)"}');

SELECT walhouse.create_fact('dw.cash',
    $$ SELECT cash_id, at, account_id, trade_id, kind, amount, amount = 0 AS is_void FROM brokerage.cash_transaction $$,
    key => '{cash_id}', event_time => 'at',
    dimensions => '{"account_sk": {"dimension": "dw.account(account_id)", "null": "not_applicable", "error_if": "is_void"},
                    "date_sk": "dw.date(at)", "time_sk": "dw.time(at)"}');

SELECT walhouse.create_fact('dw.holding',
    $$ SELECT trade_id, opened_at, account_id, symbol, quantity, cost FROM brokerage.holding $$,
    key => '{trade_id}', event_time => 'opened_at',
    dimensions => '{"account_sk": "dw.account(account_id)", "security_sk": "dw.security(symbol)", "date_sk": "dw.date(opened_at)"}',
    partition_by => 'year');

-- The same as an account book: what changes is taken back and written anew, so that sums over any span of time are what they were told to be.
SELECT walhouse.create_fact('dw.holding_entry',
    $$ SELECT trade_id, account_id, symbol, quantity, cost FROM brokerage.holding $$,
    key => '{trade_id}', event_time => 'booked_at',
    dimensions => '{"account_sk": "dw.account(account_id)", "security_sk": "dw.security(symbol)", "booked_date_sk": "dw.date(booked_at)"}',
    corrections => 'reverse', measures => '{quantity,cost}');

-- Cash in the month it is for, corrections included.
SELECT walhouse.create_fact('dw.cash_entry',
    $$ SELECT cash_id, at, account_id, kind, amount FROM brokerage.cash_transaction $$,
    key => '{cash_id}', event_time => 'at',
    dimensions => '{"account_sk": {"dimension": "dw.account(account_id)", "null": "not_applicable"}, "date_sk": "dw.date(at)", "booked_date_sk": "dw.date(booked_at)"}',
    corrections => 'reverse', measures => '{amount}');

-- No measures: who watched what, from when to when.
SELECT walhouse.create_fact('dw.watch',
    $$ SELECT customer_id, symbol, placed_at, removed_at FROM brokerage.watch $$,
    key => '{customer_id,symbol,placed_at}', event_time => 'placed_at',
    dimensions => '{"customer_sk": "dw.customer(customer_id)", "client_sk": "dw.client(customer_id)", "profile_sk": "dw.profile(customer_id)",
                    "contact_sk": "dw.contact(customer_id)", "security_sk": "dw.security(symbol)", "placed_date_sk": "dw.date(placed_at)",
                    "removed_date_sk": {"dimension": "dw.date(removed_at)", "null": "not_applicable"}}',
    partition_by => 'year');

SELECT walhouse.create_fact('dw.market',
    $$ SELECT symbol, day, close, high, low, volume FROM brokerage.daily_market $$,
    key => '{symbol,day}', event_time => 'day',
    dimensions => '{"security_sk": "dw.security(symbol)", "date_sk": "dw.date(day)"}');

-- Beside each day the highest and the lowest price of the 52 weeks that end with it, and when that was last.
CREATE VIEW dw.market_year AS
SELECT symbol, day, security_sk, close, (peak)[1] AS high_52w, date '2000-01-01' + (peak)[2]::integer AS high_52w_on,
    (floor)[1] AS low_52w, date '2000-01-01' - (floor)[2]::integer AS low_52w_on
FROM (SELECT *, max(ARRAY[high, day - date '2000-01-01']) OVER w AS peak, min(ARRAY[low, date '2000-01-01' - day]) OVER w AS floor
    FROM dw.market WINDOW w AS (PARTITION BY symbol ORDER BY day RANGE '52 weeks' PRECEDING)) AS m;
