-- The dimensions: rules for all of them, and what each should hold.
CREATE TEMPORARY TABLE member ON COMMIT DROP AS SELECT * FROM expected.member();
CREATE TEMPORARY TABLE version ON COMMIT DROP AS
    SELECT *, lead(valid_from) OVER w AS next_from, row_number() OVER w AS nth, count(*) OVER (PARTITION BY dimension, key) AS versions,
        count(*) FILTER (WHERE is_current) OVER (PARTITION BY dimension, key) AS currents
    FROM member WHERE sk > 0 WINDOW w AS (PARTITION BY dimension, key ORDER BY valid_from);
SELECT plan(60);

-- ---- All dimensions.
SELECT cmp_ok((SELECT count(*) FROM version WHERE versions > 2), '>', 50::bigint, 'there are members of several versions to look at');
SELECT is_empty('SELECT * FROM version WHERE valid_from >= valid_to', 'each version has a length');
SELECT is_empty('SELECT * FROM version WHERE next_from < valid_to', 'versions of a key do not overlap');
SELECT is_empty('SELECT * FROM version WHERE nth = 1 AND valid_from <> ''-infinity''', 'the first version of a key holds since ever');
SELECT is_empty('SELECT * FROM version WHERE nth > 1 AND NOT isfinite(valid_from)', 'the others since a moment');
SELECT is_empty('SELECT * FROM version WHERE is_current <> (valid_to = ''infinity'')', 'a version is current if and only if it has no end');
SELECT is_empty('SELECT * FROM version WHERE currents > 1', 'a key has one current version at most');
SELECT is_empty('SELECT * FROM version WHERE is_current AND next_from IS NOT NULL', 'and it is the last');
SELECT is_empty('SELECT sk, dimension FROM member GROUP BY 1, 2 HAVING count(*) > 1', 'surrogate keys are distinct');
SELECT is_empty('SELECT * FROM member WHERE sk = 0 OR sk < -3', 'and positive, but for the three members that stand for none');
SELECT is_empty($$ SELECT dimension FROM member WHERE sk < 0 GROUP BY 1 HAVING array_agg(sk ORDER BY sk) <> '{-3,-2,-1}' $$,
    'each dimension has the unknown, the not applicable and the error member');
SELECT is_empty('SELECT dimension, key, valid_from FROM version GROUP BY 1, 2, 3 HAVING count(*) > 1', 'no version is there twice');
SELECT is_empty('SELECT * FROM version WHERE is_inferred AND versions > 1', 'an inferred member has no history');
SELECT is_empty($$ SELECT v.* FROM version v WHERE next_from > valid_to AND dimension IN ('customer', 'account', 'company')
    AND NOT EXISTS (SELECT FROM expected.event e WHERE e.rel IN (v.dimension, v.dimension || '+customer') AND e.key = v.key AND NOT e.live AND e.clock = v.valid_to) $$,
    'there are gaps between versions where the source had deleted the key, and nowhere else');
SELECT is_empty($$ SELECT * FROM version WHERE next_from > valid_to AND dimension IN ('broker', 'security') $$,
    'dimensions that keep deleted members have no gaps');
SELECT is_empty($$ SELECT key FROM version v WHERE dimension = 'customer' AND versions > 1 AND key NOT IN (SELECT key FROM expected.event WHERE rel = 'customer' AND NOT live)
    GROUP BY key HAVING sum(CASE WHEN next_from = valid_to THEN 1 ELSE 0 END) <> count(*) - 1 $$,
    'one version of a customer ends where the next begins');

-- ---- Customers: types 0, 1, 2, 3 and 6 side by side.
SELECT results_eq($$ SELECT customer_id FROM dw.customer WHERE is_current AND NOT is_inferred AND customer_id IS NOT NULL ORDER BY 1 $$,
    'SELECT customer_id FROM oltp.customer ORDER BY 1', 'each customer of the source has a current version, and no other');
SELECT is((SELECT count(*) FROM dw.customer WHERE is_current AND NOT is_inferred AND customer_sk > 0), expected.told('customer created') - expected.told('customer deleted'),
    'there are as many customers as the ledger made and did not delete');
SELECT bag_eq('SELECT customer_id, tax_id, last_name, first_name, gender, born, tier, street, city, country, email, phone, net_worth::text, credit, status
        FROM dw.customer WHERE is_current AND NOT is_inferred AND customer_sk > 0',
    'SELECT customer_id, tax_id, last_name, first_name, gender, born, tier, street, city, country, email, phone, net_worth::text, credit, status FROM oltp.customer',
    'the current version of a customer is the source''s row');
CREATE TEMPORARY VIEW wanted_customer AS
    SELECT v.key AS id, valid_from, valid_to, is_current, c.tax_id, c.last_name, c.first_name, c.gender, c.born, c.tier, c.street, c.city, c.net_worth::text AS net_worth, c.status
    FROM expected.versions('customer', '{tax_id,last_name,first_name,gender,born,tier,street,city,net_worth,status}') v, jsonb_populate_record(NULL::oltp.customer, image) AS c;
SELECT bag_eq('SELECT jsonb_build_array(customer_id)::text, valid_from, valid_to, is_current, tax_id, last_name, first_name, gender, born, tier, street, city, net_worth::text, status
    FROM dw.customer WHERE customer_sk > 0 AND NOT is_inferred', 'TABLE wanted_customer',
    'versions of customers are those that the record of changes gives');
SELECT is_empty($$ SELECT customer_id, email, phone, credit, last FROM dw.customer c JOIN expected.past('customer', 'phone') p ON p.key = jsonb_build_array(customer_id)::text
    WHERE NOT is_inferred AND phone IS DISTINCT FROM last $$, 'type 1: all versions of a customer have the last phone number');
SELECT is_empty($$ SELECT customer_id FROM dw.customer WHERE customer_sk > 0 GROUP BY 1 HAVING count(DISTINCT (email, phone, credit)) > 1 $$,
    'type 1: contact and credit are the same on all versions');
SELECT is_empty($$ SELECT customer_id, joined_on, first FROM dw.customer c JOIN expected.past('customer', 'joined_on') p ON p.key = jsonb_build_array(customer_id)::text
    WHERE NOT is_inferred AND joined_on::text IS DISTINCT FROM first $$, 'type 0: when a customer joined is what was said at first');
SELECT is_empty($$ SELECT customer_id, country, country_previous, last, previous FROM dw.customer c JOIN expected.past('customer', 'country') p ON p.key = jsonb_build_array(customer_id)::text
    WHERE NOT is_inferred AND (country, country_previous) IS DISTINCT FROM (last, previous) $$, 'type 3: the country, and the one before it');
SELECT is_empty($$ SELECT customer_id, tier_current, last FROM dw.customer c JOIN expected.past('customer', 'tier') p ON p.key = jsonb_build_array(customer_id)::text
    WHERE NOT is_inferred AND tier_current::text IS DISTINCT FROM last $$, 'type 6: the last tier stands beside that of the version');
SELECT is_empty($$ SELECT * FROM (SELECT customer_id, valid_from, (tax_id, last_name, first_name, gender, born, tier, street, city, net_worth::text, status)::text AS looks,
        lag((tax_id, last_name, first_name, gender, born, tier, street, city, net_worth::text, status)::text) OVER w AS before, lag(valid_to) OVER w AS ended
        FROM dw.customer WHERE customer_sk > 0 WINDOW w AS (PARTITION BY customer_id ORDER BY valid_from)) AS v
    WHERE looks = before AND ended = valid_from $$, 'neighbouring versions of a customer differ');
SELECT is_empty($$ SELECT customer_id FROM dw.customer WHERE customer_id = 900001 OR last_name IN ('Never', 'Ever') OR city IN ('Rollback', 'Nowhere') $$,
    'nothing of what was rolled back or undone in its transaction is there');

-- ---- The same customers in the time of the business.
SELECT bag_eq('SELECT jsonb_build_array(customer_id)::text, valid_from, valid_to, is_current, last_name, tier, street, city, country, status, changed_at
    FROM dw.client WHERE client_sk > 0 AND NOT is_inferred',
    $$ SELECT v.key, valid_from, valid_to, is_current, c.last_name, c.tier, c.street, c.city, c.country, c.status, c.changed_at
        FROM expected.told_versions('customer', '{last_name,tier,street,city,country,status}', 'changed_at') v, jsonb_populate_record(NULL::oltp.customer, image) AS c $$,
    'business time: versions begin when the business says, however late it said so');
SELECT set_eq('SELECT customer_id FROM dw.client WHERE is_current AND NOT is_inferred AND client_sk > 0', 'SELECT customer_id FROM oltp.customer',
    'business time: each customer of the source has a current version, and no other');
SELECT is((SELECT count(*) > 0 FROM dw.client WHERE city LIKE 'Corrected%' AND NOT is_current), (SELECT max(phase) > 1 FROM expected.ledger),
    'business time: what is corrected late stands before what was known');
SELECT is_empty($$ SELECT customer_id, valid_from, changed_at FROM dw.client WHERE isfinite(valid_from) AND isfinite(changed_at) AND changed_at > valid_from $$,
    'business time: no version begins before the change that opened it');

-- ---- Contacts, which go with their customers.
SELECT bag_eq('SELECT customer_id, tax_id, email, phone FROM dw.contact WHERE is_current AND NOT is_inferred AND contact_sk > 0',
    'SELECT customer_id, tax_id, email, phone FROM oltp.customer', 'a contact is that of the source''s customer');
SELECT is_empty($$ SELECT customer_id FROM dw.contact WHERE contact_sk > 0 AND customer_id NOT IN (SELECT customer_id FROM oltp.customer)
    AND (NOT is_inferred OR num_nonnulls(tax_id, email, phone) > 0) $$, 'purge: nothing is left of who is gone but the key that facts name');
SELECT is_empty('SELECT customer_id FROM dw.watch EXCEPT SELECT customer_id FROM oltp.customer EXCEPT SELECT customer_id FROM dw.contact WHERE is_inferred',
    'purge: and that is there where a fact names it');

-- ---- Accounts: their versions follow their customers'.
SELECT bag_eq('SELECT account_id, customer_id, branch, broker_no, description, tax_status, status, last_name, tier, city, customer_status
        FROM dw.account WHERE is_current AND NOT is_inferred AND account_sk > 0',
    'SELECT a.account_id, a.customer_id, a.branch, a.broker_no, a.description, a.tax_status, a.status, c.last_name, c.tier, c.city, c.status AS customer_status
        FROM oltp.account a JOIN oltp.customer c USING (customer_id)', 'the current version of an account is the source''s row with its customer''s');
CREATE TEMPORARY VIEW wanted_account AS
    SELECT v.key, valid_from, valid_to, is_current, r.*
    FROM expected.versions('account+customer', '{customer_id,branch,broker_no,tax_status,status,customer_tax_id,customer_last_name,customer_first_name,customer_gender,
        customer_born,customer_tier,customer_street,customer_city,customer_net_worth,customer_status}') v,
    jsonb_to_record(image) AS r (customer_id bigint, branch text, broker_no integer, tax_status smallint, status text, customer_tax_id text, customer_last_name text,
        customer_tier smallint, customer_street text, customer_city text, customer_status text);
SELECT bag_eq('SELECT jsonb_build_array(account_id)::text, valid_from, valid_to, is_current, customer_id, branch, broker_no, tax_status, status,
    tax_id, last_name, tier, street, city, customer_status FROM dw.account WHERE account_sk > 0 AND NOT is_inferred', 'TABLE wanted_account',
    'versions of accounts are those that the record of both tables gives');
SELECT is((SELECT count(*) FROM dw.account WHERE is_current AND NOT is_inferred AND account_sk > 0 AND status = 'closed'),
    (SELECT count(*) FROM oltp.account JOIN oltp.customer c USING (customer_id) WHERE account.status = 'closed'), 'closed accounts are current, and closed');
-- The first version of an account is said to hold since ever; its customer may have had some before it was opened.
CREATE TEMPORARY VIEW account_version AS
    SELECT a.*, CASE WHEN valid_from = '-infinity' THEN e.opened ELSE valid_from END AS starts
    FROM dw.account a JOIN (SELECT key, min(clock) AS opened FROM expected.event WHERE rel = 'account+customer' AND live GROUP BY 1) AS e
        ON e.key = jsonb_build_array(account_id)::text
    WHERE account_sk > 0 AND NOT is_inferred;
SELECT is_empty($$ SELECT a.account_id, a.starts, a.valid_to FROM account_version a
    WHERE NOT EXISTS (SELECT FROM dw.customer c WHERE c.customer_id = a.customer_id AND c.valid_from <= a.starts AND a.valid_to <= c.valid_to) $$,
    'each version of an account lies in one version of its customer');
SELECT is_empty($$ SELECT a.account_id, a.starts FROM account_version a JOIN dw.customer c
        ON c.customer_id = a.customer_id AND c.valid_from <= a.starts AND a.starts < c.valid_to
    WHERE (a.tax_id, a.last_name, a.first_name, a.gender, a.born, a.tier, a.street, a.city, a.net_worth, a.customer_status)
        IS DISTINCT FROM (c.tax_id, c.last_name, c.first_name, c.gender, c.born, c.tier, c.street, c.city, c.net_worth, c.status) $$,
    'and has that version''s attributes');
SELECT is_empty($$ SELECT c.customer_id, c.valid_from, a.account_id FROM dw.customer c JOIN account_version a
        ON a.customer_id = c.customer_id AND a.starts < c.valid_from AND c.valid_from < a.valid_to $$, 'a new version of a customer ends those of his accounts');
SELECT isnt_empty($$ SELECT FROM account_version a JOIN dw.customer c ON c.customer_id = a.customer_id AND c.valid_from = a.valid_from WHERE isfinite(a.valid_from) $$,
    'and there are such');
SELECT is_empty($$ SELECT account_id, opened_on, first FROM dw.account JOIN expected.past('account', 'opened_on') p ON p.key = jsonb_build_array(account_id)::text
    WHERE NOT is_inferred AND opened_on::text IS DISTINCT FROM first $$, 'type 0: when an account was opened stays, though the account was deleted and came back');
SELECT is_empty($$ SELECT account_id, left(description, 20), left(last, 20) FROM dw.account JOIN expected.past('account', 'description') p ON p.key = jsonb_build_array(account_id)::text
    WHERE NOT is_inferred AND description IS DISTINCT FROM last $$, 'type 1: descriptions, also those stored out of line, are the last on all versions');

-- ---- Companies and securities.
SELECT bag_eq('SELECT company_id, name, industry, rating, ceo, status FROM dw.company WHERE is_current AND company_sk > 0',
    'SELECT company_id, name, industry, rating, ceo, status FROM oltp.company', 'the current version of a company is the source''s row');
CREATE TEMPORARY VIEW wanted_company AS
    SELECT v.key AS id, valid_from, valid_to, is_current, c.name, c.industry, c.rating, c.status
    FROM expected.versions('company', '{name,industry,rating,status}') v, jsonb_populate_record(NULL::oltp.company, image) AS c;
SELECT bag_eq('SELECT jsonb_build_array(company_id)::text, valid_from, valid_to, is_current, name, industry, rating, status FROM dw.company WHERE company_sk > 0',
    'TABLE wanted_company', 'versions of companies are those that the record of changes gives');
SELECT is_empty($$ SELECT company_id, rating_current, last FROM dw.company JOIN expected.past('company', 'rating') p ON p.key = jsonb_build_array(company_id)::text
    WHERE rating_current IS DISTINCT FROM last $$, 'type 6: the last rating is on all versions of a company');
SELECT is_empty($$ SELECT company_id, ceo, last FROM dw.company JOIN expected.past('company', 'ceo') p ON p.key = jsonb_build_array(company_id)::text
    WHERE ceo IS DISTINCT FROM last $$, 'type 1: and its last chief');
SELECT bag_eq('SELECT symbol, name, issue, exchange, shares, status, company_id, company, industry, rating, ceo FROM dw.security
        WHERE is_current AND NOT is_deleted AND NOT is_inferred AND security_sk > 0',
    'SELECT symbol, s.name, issue, exchange, shares, s.status, company_id, c.name AS company, industry, rating, ceo FROM oltp.security s LEFT JOIN oltp.company c USING (company_id)',
    'the current version of a security that is listed is the source''s row with its company''s, if it has one');
CREATE TEMPORARY VIEW wanted_security AS
    SELECT v.key, valid_from, valid_to, is_current, r.*
    FROM expected.versions('security+company', '{name,issue,shares,status,company_id,company_name,company_industry,company_rating}', false) v,
    jsonb_to_record(image) AS r (name text, company_id integer, company_name text, company_industry text, company_rating text);
SELECT bag_eq('SELECT jsonb_build_array(symbol)::text, valid_from, valid_to, is_current, name, company_id, company, industry, rating
    FROM dw.security WHERE security_sk > 0 AND NOT is_inferred', 'TABLE wanted_security', 'versions of securities are those that the record of both tables gives');
SELECT is_empty($$ SELECT symbol FROM dw.security WHERE is_current AND security_sk > 0 AND NOT is_inferred AND is_deleted = (symbol IN (SELECT symbol FROM oltp.security)) $$,
    'a security has a tombstone if and only if the source has it no more');
SELECT is_empty($$ SELECT symbol FROM dw.security WHERE is_deleted AND NOT is_current $$, 'and its last version alone');
SELECT bag_eq($$ SELECT DISTINCT jsonb_build_array(symbol)::text FROM dw.security WHERE security_sk > 0 AND NOT is_inferred $$,
    $$ SELECT DISTINCT key FROM expected.event WHERE rel = 'security' AND live $$, 'all securities that ever were are there, also under their old symbols');

-- ---- Brokers, industries.
SELECT bag_eq($$ SELECT branch, broker_no, name, manager, "group" FROM dw.broker WHERE broker_sk > 0 $$,
    'SELECT branch, broker_no, name, manager, "group" FROM oltp.broker', 'type 1: a broker is the source''s row, under a key of two columns');
SELECT is_empty($$ SELECT branch, broker_no, manager_previous, previous FROM dw.broker JOIN expected.past('broker', 'manager') p ON p.key = jsonb_build_array(branch, broker_no)::text
    WHERE manager_previous IS DISTINCT FROM previous $$, 'type 3: and his manager before');
SELECT is_empty($$ SELECT branch, broker_no, title, first FROM dw.broker JOIN expected.past('broker', 'title') p ON p.key = jsonb_build_array(branch, broker_no)::text
    WHERE title IS DISTINCT FROM first $$, 'type 0: and his first title');
SELECT bag_eq('SELECT industry, name, sector FROM dw.industry WHERE is_current AND industry_sk > 0', 'TABLE oltp.industry',
    'industries are the source''s, also after their table was written anew');

-- ---- Members for what has none, dates, times and combinations.
SELECT is_empty($$ SELECT dimension, key FROM version WHERE is_inferred
    AND EXISTS (SELECT FROM expected.event e WHERE e.rel = CASE dimension WHEN 'client' THEN 'customer' WHEN 'profile_history' THEN 'profile' WHEN 'holder' THEN 'account_holder' ELSE dimension END
        AND e.key = version.key AND e.live) AND dimension NOT IN ('account', 'contact') $$,
    'no member that the source has had is an inferred one');
SELECT is_empty($$ SELECT date_sk, date FROM dw.date WHERE date_sk > 0 AND (date_sk::text <> to_char(date, 'YYYYMMDD') OR day_name <> to_char(date, 'FMDay')
    OR is_weekend <> (extract(isodow FROM date) > 5) OR fiscal_year <> extract(year FROM date + interval '3 months')
    OR is_holiday <> (date IN (SELECT date FROM oltp.holiday))) $$, 'dates are what the calendar says, holidays the source''s');
SELECT is((SELECT count(*) FROM dw.time WHERE time_sk >= 0), 1440::bigint, 'a day has 1440 minutes');
SELECT is_empty($$ SELECT t.side, t.is_cash, t.channel, count(k.order_kind_sk) FROM (SELECT DISTINCT side, is_cash, channel FROM oltp.trade) AS t
    LEFT JOIN dw.order_kind k ON (k.side, k.is_cash, k.channel) IS NOT DISTINCT FROM (t.side, t.is_cash, t.channel) AND order_kind_sk > 0
    GROUP BY 1, 2, 3 HAVING count(k.order_kind_sk) <> 1 $$, 'each combination of side, cash and channel is one member');

SELECT * FROM finish();
