-- sums.sql: rollups and periodic snapshots over the star's facts.

-- Prices by month, and by week of the calendar; from the weeks, the highs and lows of 52 of them.
SELECT walhouse.create_rollup('dw.market_month', 'dw.market', '{symbol}',
    '{"days": "count(*)", "quoted": "count(volume)", "high": "max(high)", "low": "min(low)", "volume": "sum(volume)", "mean": "avg(close)", "prices": "count(distinct close)"}',
    bucket => 'month');
SELECT walhouse.create_rollup('dw.market_week', 'dw.market', '{symbol}', '{"high": "max(high)", "low": "min(low)"}', bucket => 'week');
CREATE VIEW dw.market_weeks AS
SELECT symbol, period_start, max(high) OVER w AS high_52w, min(low) OVER w AS low_52w
FROM dw.market_week WINDOW w AS (PARTITION BY symbol ORDER BY period_start RANGE '51 weeks' PRECEDING);

-- Trades by day, version of the security, side and status; by the hour of their completion, if they have one; by client, of all times.
SELECT walhouse.create_rollup('dw.trade_day', 'dw.trade', '{security_sk,side,status}',
    '{"trades": "count(*)", "shares": "sum(quantity)", "amount": "sum(amount)", "fees": "sum(fee)", "dearest": "max(price)", "cheapest": "min(price)",
      "customers": "count(distinct customer_id)", "mean": "avg(price)"}');
SELECT walhouse.create_rollup('dw.trade_hour', 'dw.trade', '{}', '{"trades": "count(*)", "last": "max(completed_at)"}', bucket => 'hour', bucket_column => 'completed_at');
SELECT walhouse.create_rollup('dw.client_total', 'dw.trade', '{client_sk}', '{"trades": "count(*)", "amount": "sum(amount)", "first": "min(created_at)"}', bucket => 'none');
-- What was entered in each quarter about each share's holdings.
SELECT walhouse.create_rollup('dw.entry_quarter', 'dw.holding_entry', '{symbol,is_reversal}', '{"entries": "count(*)", "shares": "sum(quantity)", "cost": "sum(cost)"}',
    bucket => 'quarter');

-- Balances at the end of each day; holdings at the end of each week in which something was entered.
SELECT walhouse.create_periodic_snapshot('dw.cash_day', 'dw.cash', '{account_id}',
    '{"turnover": "sum(amount)", "entries": "count(*)", "balance": "balance(amount)", "entered": "balance(*)", "last_kind": "last(kind)"}');
SELECT walhouse.create_periodic_snapshot('dw.holding_week', 'dw.holding_entry', '{account_id,symbol}',
    '{"shares": "balance(quantity)", "cost": "balance(cost)", "moved": "sum(quantity)"}', period => 'week', fill => false);
