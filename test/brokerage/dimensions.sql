-- dimensions.sql: the star's dimensions, declared as its owner would.
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2015-01-01', '2040-12-31', fiscal_year_start_month => 10, holidays => 'brokerage.holiday');
SELECT walhouse.create_time_dimension('dw.time', 'minute');
SELECT walhouse.create_junk_dimension('dw.order_kind', '{side text,is_cash boolean,channel text}');

SELECT walhouse.create_dimension('dw.broker',
    $$ SELECT branch, broker_no, name, title, manager, "group" FROM brokerage.broker $$,
    key => '{branch,broker_no}', scd => '{"*": 1, "title": 0, "manager": 3}', on_delete => 'ignore');

SELECT walhouse.create_dimension('dw.industry',
    $$ SELECT industry, name, sector FROM brokerage.industry $$,
    key => '{industry}', scd => '{"*": 1}');

SELECT walhouse.create_dimension('dw.company',
    $$ SELECT company_id, name, industry, rating, ceo, founded, status FROM brokerage.company $$,
    key => '{company_id}', scd => '{"*": 2, "ceo": 1, "rating": 6, "founded": 0}', outriggers => '{"industry_sk": "dw.industry(industry)"}');

-- A share has versions of its own and of its company.
SELECT walhouse.create_dimension('dw.security',
    $$ SELECT s.symbol, s.name, s.issue, s.exchange, s.shares, s.status, s.company_id, c.name AS company, c.industry, c.rating, c.ceo
       FROM brokerage.security s LEFT JOIN brokerage.company c ON c.company_id = s.company_id $$,
    key => '{symbol}', scd => '{"*": 2, "exchange": 1, "ceo": 1}', on_delete => 'tombstone', outriggers => '{"issuer_sk": "dw.company(company_id)"}');

SELECT walhouse.create_dimension('dw.customer',
    $$ SELECT customer_id, tax_id, last_name, first_name, gender, born, tier, street, city, country, email, phone, net_worth, credit, status, joined_on
       FROM brokerage.customer $$,
    key => '{customer_id}', scd => '{"*": 2, "email": 1, "phone": 1, "credit": 1, "country": 3, "tier": 6, "joined_on": 0}');

-- What must be forgotten with the customer.
SELECT walhouse.create_dimension('dw.contact',
    $$ SELECT customer_id, tax_id, email, phone FROM brokerage.customer $$,
    key => '{customer_id}', scd => '{"*": 1, "tax_id": 2}', on_delete => 'purge');

-- The same customers in the time of the business: a version holds since the change that was told, however late.
SELECT walhouse.create_dimension('dw.client',
    $$ SELECT customer_id, changed_at, last_name, tier, street, city, country, phone, status FROM brokerage.customer $$,
    key => '{customer_id}', scd => '{"*": 2, "phone": 1}', effective => 'changed_at');

-- Whatever opens a version of a customer opens one of each of his accounts.
SELECT walhouse.create_dimension('dw.account',
    $$ SELECT a.account_id, a.customer_id, a.branch, a.broker_no, a.description, a.tax_status, a.status, a.opened_on,
           c.tax_id, c.last_name, c.first_name, c.gender, c.born, c.tier, c.street, c.city, c.net_worth, c.status AS customer_status
       FROM brokerage.account a JOIN brokerage.customer c ON c.customer_id = a.customer_id $$,
    key => '{account_id}', scd => '{"*": 2, "description": 1, "opened_on": 0}');

-- What customers are like, in a few bands: which combinations there are, and who had which when.
SELECT walhouse.create_mini_dimension('dw.profile',
    $$ SELECT customer_id, tier, CASE WHEN credit < 600 THEN 'poor' WHEN credit < 700 THEN 'fair' WHEN credit >= 700 THEN 'good' END AS credit_band,
           net_worth >= 25000 AS is_wealthy, status FROM brokerage.customer $$,
    key => '{customer_id}');

-- Who holds which account, and what part of it.
SELECT walhouse.create_bridge('dw.holder',
    $$ SELECT account_id, customer_id, share FROM brokerage.account_holder $$,
    key => '{account_id,customer_id}', members => '{"customer_sk": "dw.customer(customer_id)"}', weight => 'share');
