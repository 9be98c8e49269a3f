-- What belongs together: outriggers of dimensions, the bridge between accounts and those who hold them, and profiles of customers.
SELECT plan(24);

-- ---- Outriggers.
SELECT bag_eq('SELECT company_sk, company_id, valid_from FROM dw.company_as_was', 'SELECT company_sk, company_id, valid_from FROM dw.company', 'the view as it was has each version of a company once');
SELECT bag_eq('SELECT company_sk, company_id, valid_from FROM dw.company_as_is', 'SELECT company_sk, company_id, valid_from FROM dw.company', 'and so has the view as it is');
SELECT bag_eq('SELECT company_sk, industry_sk, industry_name FROM dw.company_as_was WHERE company_sk > 0',
    'SELECT company_sk, CASE WHEN c.industry IS NULL THEN -1 ELSE i.industry_sk END, i.name FROM dw.company c
        LEFT JOIN LATERAL (SELECT * FROM dw.industry i WHERE i.industry = c.industry AND i.valid_from <= c.valid_from ORDER BY i.valid_from DESC LIMIT 1) AS i ON true
        WHERE company_sk > 0', 'a version of a company has the industry that there was when it began');
SELECT bag_eq('SELECT company_id, industry_name FROM dw.company_as_is WHERE is_current AND industry IN (SELECT industry FROM oltp.industry)',
    'SELECT company_id, i.name FROM oltp.company JOIN oltp.industry i USING (industry)', 'as it is: the industry as the source has it now');
SELECT is_empty($$ SELECT symbol, valid_from, rating, issuer_rating, company, issuer_name FROM dw.security_as_was
    WHERE security_sk > 0 AND isfinite(valid_from) AND company IS NOT NULL AND (rating, company) IS DISTINCT FROM (issuer_rating, issuer_name) $$,
    'a version of a security meets the version of its company whose attributes it has');
SELECT isnt_empty('SELECT FROM dw.security_as_was WHERE issuer_industry_name IS NOT NULL', 'and over it the industry');

-- ---- The bridge.
SELECT bag_eq('SELECT account_id, customer_id, share::text FROM dw.holder WHERE is_current', 'SELECT account_id, customer_id, share::text FROM oltp.account_holder',
    'who holds what now is what the source says');
SELECT is((SELECT count(*) FROM dw.holder WHERE is_current), expected.told('holder added') - expected.told('holder removed'), 'as many holders as were added and not removed');
SELECT bag_eq('SELECT jsonb_build_array(account_id, customer_id)::text, valid_from, valid_to, is_current, share::text FROM dw.holder',
    $$ SELECT key, valid_from, valid_to, is_current, image ->> 'share' FROM expected.versions('account_holder', '{share}') $$, 'versions of the bridge are those that the record of changes gives');
SELECT is_empty('SELECT holder_sk FROM dw.holder WHERE holder_sk <= 0', 'the bridge has no members that stand for none');
SELECT is_empty($$ SELECT * FROM (SELECT account_id, customer_id, valid_from, valid_to, lead(valid_from) OVER (PARTITION BY account_id, customer_id ORDER BY valid_from) AS next
        FROM dw.holder_members) AS m WHERE next < valid_to OR valid_from >= valid_to $$, 'its pieces do not overlap');
SELECT results_eq($$ SELECT account_id, customer_id, range_agg(tstzrange(valid_from, valid_to)) FROM dw.holder_members GROUP BY 1, 2 ORDER BY 1, 2 $$,
    $$ SELECT account_id, customer_id, range_agg(tstzrange(valid_from, valid_to)) FROM dw.holder GROUP BY 1, 2 ORDER BY 1, 2 $$, 'and cover the time of its versions');
SELECT is_empty($$ SELECT m.account_id, m.customer_id, m.valid_from, m.customer_sk, c.customer_sk FROM dw.holder_members m
    LEFT JOIN LATERAL (SELECT customer_sk FROM dw.customer c WHERE c.customer_id = m.customer_id AND c.valid_from <= m.valid_from ORDER BY c.valid_from DESC LIMIT 1) AS c ON true
    WHERE m.customer_sk IS DISTINCT FROM c.customer_sk $$, 'each piece has the customer''s version that held when it began');
SELECT is_empty($$ SELECT m.account_id, m.customer_id, c.valid_from FROM dw.holder_members m JOIN dw.customer c
    ON c.customer_id = m.customer_id AND m.valid_from < c.valid_from AND c.valid_from < m.valid_to $$, 'and until the next one begins');
SELECT bag_eq('SELECT account_id, members, weight FROM dw.holder_weights',
    'SELECT account_id, count(*), sum(share) FROM oltp.account_holder GROUP BY 1 HAVING sum(share) <> 1', 'accounts whose shares do not add up are shown');
-- Of accounts whose shares always added up, that is of those that nobody joined or left.
CREATE TEMPORARY VIEW steady AS
    SELECT account_id FROM oltp.account_holder WHERE account_id NOT IN (SELECT (image ->> 'account_id')::bigint FROM expected.event WHERE rel = 'account_holder' AND o > 0);
SELECT results_eq($$ SELECT c.account_id, sum(c.amount * m.share) FROM dw.cash c JOIN dw.holder_members m
            ON m.account_id = c.account_id AND m.valid_from <= c.at AT TIME ZONE 'America/New_York' AND c.at AT TIME ZONE 'America/New_York' < m.valid_to
        WHERE c.account_id IN (TABLE steady) GROUP BY 1 ORDER BY 1 $$,
    'SELECT account_id, sum(amount) FROM dw.cash WHERE account_id IN (TABLE steady) GROUP BY 1 ORDER BY 1', 'what is allotted to holders is all that there is');

-- ---- Profiles.
CREATE TEMPORARY TABLE profiled ON COMMIT DROP AS
    SELECT v.key, (v.key::jsonb ->> 0)::bigint AS customer_id, valid_from, valid_to, is_current, r.*
    FROM expected.versions('profile', '{tier,credit_band,is_wealthy,status}') v, jsonb_to_record(image) AS r (tier smallint, credit_band text, is_wealthy boolean, status text);
SELECT bag_eq('SELECT customer_id, valid_from, valid_to, is_current, tier, credit_band, is_wealthy, status FROM dw.profile_history WHERE profile_history_sk > 0 AND NOT is_inferred',
    'SELECT customer_id, valid_from, valid_to, is_current, tier, credit_band, is_wealthy, status FROM profiled', 'who had which profile when is what the record of changes gives');
SELECT is_empty($$ SELECT tier, credit_band, is_wealthy, status FROM dw.profile WHERE profile_sk > 0 GROUP BY 1, 2, 3, 4 HAVING count(*) > 1 $$, 'a profile is there once');
SELECT bag_eq('SELECT tier, credit_band, is_wealthy, status FROM dw.profile WHERE profile_sk > 0 AND num_nonnulls(tier, credit_band, is_wealthy, status) > 0',
    'SELECT DISTINCT tier, credit_band, is_wealthy, status FROM profiled WHERE num_nonnulls(tier, credit_band, is_wealthy, status) > 0', 'profiles are those that customers have had');
SELECT cmp_ok((SELECT count(*) FROM dw.profile WHERE profile_sk > 0), '<', (SELECT count(*) FROM dw.profile_history), 'and there are fewer than versions of customers');
CREATE TEMPORARY VIEW wanted_profile AS
    SELECT f.*, p.tier, p.credit_band, p.is_wealthy, p.status
    FROM (SELECT 'trade' AS fact, trade_id::text AS id, customer_id, created_at AS at FROM dw.trade
        UNION ALL SELECT 'watch', symbol || placed_at, customer_id, placed_at FROM dw.watch) AS f
    LEFT JOIN LATERAL (SELECT * FROM profiled p WHERE p.customer_id = f.customer_id AND p.valid_from <= f.at ORDER BY valid_from DESC LIMIT 1) AS p ON true;
SELECT bag_eq('SELECT trade_id::text, t.customer_id, p.tier, p.credit_band, p.is_wealthy, p.status FROM dw.trade t JOIN dw.profile p USING (profile_sk)',
    'SELECT id, customer_id, tier, credit_band, is_wealthy, status FROM wanted_profile WHERE fact = ''trade''', 'a trade has the profile that its customer had then');
SELECT bag_eq('SELECT symbol || placed_at, w.customer_id, p.tier, p.credit_band, p.is_wealthy, p.status FROM dw.watch w JOIN dw.profile p USING (profile_sk)',
    'SELECT id, customer_id, tier, credit_band, is_wealthy, status FROM wanted_profile WHERE fact = ''watch''', 'and so has a watch');
SELECT is_empty($$ SELECT trade_id FROM dw.trade t JOIN dw.profile p USING (profile_sk) JOIN dw.profile_history h USING (profile_history_sk)
    WHERE (p.tier, p.credit_band, p.is_wealthy, p.status) IS DISTINCT FROM (h.tier, h.credit_band, h.is_wealthy, h.status) $$, 'the profile and its history agree');
SELECT results_eq('SELECT customer_id, profile_tier, profile_credit_band FROM dw.watch_as_is WHERE customer_id IN (SELECT customer_id FROM oltp.customer) ORDER BY 1, symbol, placed_at',
    'SELECT customer_id, c.tier, CASE WHEN credit < 600 THEN ''poor'' WHEN credit < 700 THEN ''fair'' WHEN credit >= 700 THEN ''good'' END
        FROM dw.watch JOIN oltp.customer c USING (customer_id) ORDER BY 1, symbol, placed_at', 'as it is: what the customer is like now');

SELECT * FROM finish();
