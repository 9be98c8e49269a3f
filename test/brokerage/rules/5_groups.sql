-- What belongs together: outriggers of dimensions, and the bridge between accounts and those who hold them.
SELECT plan(16);

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

SELECT * FROM finish();
