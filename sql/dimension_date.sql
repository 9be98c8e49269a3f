-- Date dimensions: their rows, their limits, and recomputation.
SET client_min_messages = warning;
SET datestyle = 'ISO, YMD';
CREATE SCHEMA dw;
SELECT walhouse.create_date_dimension('dw.date', '2023-12-30', '2024-03-02', fiscal_year_start_month => 4);
SELECT * FROM dw.date WHERE date_sk IN (-1, 20231231, 20240101, 20240229) ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE is_weekend) AS weekend, count(*) FILTER (WHERE is_month_end) AS month_ends FROM dw.date WHERE date_sk > 0;
-- Settings of the session do not matter.
SET walhouse.allow_writes = on;
SET lc_time = 'C'; SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; SET search_path = dw;
SELECT walhouse.create_date_dimension('day', '2024-12-31', '2024-12-31');
RESET search_path; SET datestyle = 'ISO, YMD';
SELECT day_sk, iso_year, iso_week, fiscal_year, fiscal_quarter, day_name FROM dw.day ORDER BY 1;
SELECT * FROM walhouse.verify();
UPDATE dw.date SET quarter = 9 WHERE date_sk = 20240101;
DELETE FROM dw.date WHERE date_sk = 20240102;
SELECT * FROM walhouse.verify('dw.date');
-- The ends of the calendar
SELECT walhouse.create_date_dimension('dw.old', '0044-03-15 BC', '0044-03-15 BC');
SELECT walhouse.create_date_dimension('dw.far', '5874897-12-31', '5874897-12-31');
SELECT old_sk, date, year FROM dw.old UNION ALL SELECT far_sk, date, year FROM dw.far ORDER BY 1;
SELECT walhouse.create_date_dimension('dw.x', '2024-01-02', '2024-01-01');
SELECT walhouse.create_date_dimension('dw.x', '-infinity', '2024-01-01');
SELECT walhouse.create_date_dimension('dw.x', '2024-01-01', '2024-01-01', 13);
SELECT walhouse.create_date_dimension('dw.x', NULL, '2024-01-01');
SELECT walhouse.create_date_dimension('dw.date', '2024-01-01', '2024-01-01');
-- What asks for a query, or for the owner, of a model that has none
SELECT walhouse.model_computes(model_id, ROW(1)) FROM walhouse.model WHERE relation = 'dw.date'::regclass;
SELECT walhouse.resume('dw.date');
CALL walhouse.build('dw.date');
CREATE ROLE regress_stranger;
GRANT USAGE ON SCHEMA dw, walhouse TO regress_stranger;
\set VERBOSITY terse
SET ROLE regress_stranger;
SELECT walhouse.model_computes(model_id, ROW(1)) FROM walhouse.model WHERE relation = 'dw.date'::regclass;
SELECT walhouse.resume('dw.date');
SELECT walhouse.drop_model('dw.date');
SELECT * FROM walhouse.verify('dw.date');
RESET ROLE;
\set VERBOSITY default
DROP OWNED BY regress_stranger;
DROP ROLE regress_stranger;
SELECT count(walhouse.drop_model(relation)) FROM walhouse.model;
SELECT count(*) FROM pg_class WHERE relnamespace = 'dw'::regnamespace;
DROP SCHEMA dw;
RESET ALL;
