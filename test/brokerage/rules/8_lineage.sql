-- Lineage: every row can answer for itself.
CREATE TEMPORARY TABLE written ON COMMIT DROP AS SELECT * FROM expected.written();
SELECT plan(14);

SELECT cmp_ok((SELECT count(DISTINCT load_id) FROM written), '>', 5::bigint, 'rows were written by several loads');
SELECT is_empty('SELECT model, load_id, count(*) FROM written WHERE NOT EXISTS (SELECT FROM walhouse.load l WHERE l.load_id = written.load_id) GROUP BY 1, 2',
    'each row names a load that there was');
SELECT is_empty('SELECT w.model, w.load_id, count(*) FROM written w JOIN walhouse.model m ON m.relation = w.model
    WHERE m.kind IN (''dimension'', ''fact'') AND NOT EXISTS (SELECT FROM walhouse.load_model l WHERE l.load_id = w.load_id AND l.model_id = m.model_id)
        AND NOT EXISTS (SELECT FROM walhouse.load_model l WHERE l.load_id = w.load_id AND l.inferred > 0) GROUP BY 1, 2', 'which was one of its model''s, or made the member for a fact');
SELECT is_empty('SELECT * FROM (SELECT model_id, load_id, from_lsn, lag(to_lsn) OVER (PARTITION BY model_id ORDER BY load_id) AS before FROM walhouse.load_model) AS l
    WHERE before IS NOT NULL AND from_lsn <> before', 'the loads of a model follow each other without a gap');
SELECT is_empty('SELECT load_id FROM walhouse.load WHERE kind = ''load'' AND from_lsn >= to_lsn', 'a load moves forward');
SELECT is_empty($$ SELECT l.load_id, l.transactions, t.* FROM walhouse.load l
    CROSS JOIN LATERAL (SELECT count(*), min(commit_time), max(commit_time) FROM brokerage_log.txn WHERE end_lsn > l.from_lsn AND end_lsn <= l.to_lsn) AS t (n, first, last)
    WHERE kind = 'load' AND (l.transactions, l.from_time, l.to_time) IS DISTINCT FROM (t.n, t.first, t.last) $$, 'and says how many transactions it read, and of which time');
SELECT is_empty($$ SELECT relation, (SELECT sum(inserted) - sum(deleted) FROM walhouse.load_model l WHERE l.model_id = m.model_id) AS said, count FROM walhouse.model m
    JOIN (SELECT model, count(*) FROM written GROUP BY 1) AS w ON w.model = m.relation
    WHERE kind = 'fact' AND (SELECT sum(inserted) - sum(deleted) FROM walhouse.load_model l WHERE l.model_id = m.model_id) <> count $$,
    'what loads say they inserted and deleted is what there is');

-- The load of a row read the last transaction that made the row what it is, or was the build after it.
CREATE TEMPORARY TABLE made ON COMMIT DROP AS
    SELECT rel, key, max(end_lsn) AS end_lsn FROM expected.event e JOIN expected.txn x USING (o) JOIN brokerage_log.txn t USING (xid) GROUP BY 1, 2;
CREATE TEMPORARY VIEW out_of_range AS
    SELECT f.rel, f.key, m.end_lsn, l.from_lsn, l.to_lsn
    FROM (SELECT 'cash_transaction' AS rel, jsonb_build_array(cash_id)::text AS key, load_id FROM dw.cash
        UNION ALL SELECT 'holding', jsonb_build_array(trade_id)::text, load_id FROM dw.holding
        UNION ALL SELECT 'trade', jsonb_build_array(trade_id)::text, load_id FROM dw.trade) AS f
    JOIN made m USING (rel, key) JOIN walhouse.load l USING (load_id)
    WHERE m.end_lsn > l.to_lsn OR (l.kind = 'load' AND m.end_lsn <= l.from_lsn);
SELECT is_empty($$ SELECT * FROM out_of_range WHERE rel = 'cash_transaction' $$, 'the load of a cash row read the transaction that wrote it');
SELECT is_empty($$ SELECT * FROM out_of_range WHERE rel = 'holding' $$, 'and so it is with holdings');
SELECT is_empty($$ SELECT * FROM out_of_range o WHERE rel = 'trade' AND end_lsn > to_lsn $$, 'and with trades, which may be written again with their accounts');
SELECT is_empty($$ SELECT c.customer_id, c.valid_from, l.* FROM dw.customer c JOIN walhouse.load l USING (load_id)
    WHERE customer_sk > 0 AND NOT is_inferred AND l.kind = 'load' AND NOT EXISTS (
        SELECT FROM expected.event e JOIN expected.txn x USING (o) JOIN brokerage_log.txn t USING (xid)
        WHERE e.rel = 'customer' AND e.key = jsonb_build_array(c.customer_id)::text AND e.clock >= c.valid_from AND t.end_lsn > l.from_lsn AND t.end_lsn <= l.to_lsn) $$,
    'the load of a customer''s version read a transaction that touched the customer since the version began');
SELECT is_empty($$ SELECT customer_id, valid_from FROM dw.customer c WHERE isfinite(valid_from) AND NOT EXISTS (SELECT FROM brokerage_log.txn t WHERE t.clock = c.valid_from) $$,
    'a version begins with a transaction');
SELECT is_empty($$ SELECT customer_id, valid_to FROM dw.customer c WHERE isfinite(valid_to) AND NOT EXISTS (SELECT FROM brokerage_log.txn t WHERE t.clock = c.valid_to) $$,
    'and ends with one');
SELECT is_empty($$ SELECT load_id, error FROM walhouse.load WHERE error IS NOT NULL $$, 'no load met an error');

SELECT * FROM finish();
