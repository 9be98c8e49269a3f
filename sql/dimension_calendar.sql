-- Calendars of date dimensions: fiscal years of months and of weeks, holidays, flags; and dimensions of the time of day.
\getenv srcdir PG_ABS_SRCDIR
\set handfeed :srcdir '/test/lib/handfeed.sql'
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
\set ECHO none
\i :handfeed
\set ECHO all
SELECT handfeed.make('shop', 'Europe/Berlin') \g /dev/null
CREATE SCHEMA dw;
\set QUIET off

-- Retail's 4-5-4: weeks from Sunday, a year begins with the Sunday nearest to 1 February; the year that began on 2023-01-29 had 53 weeks.
SELECT walhouse.create_date_dimension('dw.retail', '2022-01-01', '2026-12-31', 2, '4-5-4', 7);
SELECT fiscal_year, min(date), max(date), max(fiscal_week) AS weeks, max(date) FILTER (WHERE is_fiscal_year_start) AS starts, max(date) FILTER (WHERE is_fiscal_year_end) AS ends
FROM dw.retail WHERE date_part('year', date) IS NOT NULL GROUP BY 1 ORDER BY 1;
SELECT fiscal_quarter, fiscal_month, count(*) / 7 AS weeks FROM dw.retail WHERE fiscal_year = 2024 GROUP BY 1, 2 ORDER BY 1, 2;
-- For each calendar and month, with changing weekdays: years of whole weeks from the right weekday, each within three days of the first of the
-- month, periods as the name says, and the week too many in the last one.
CREATE TABLE dw.checked (calendar text, month int, weekday int, wrong text);
DO $$
DECLARE
    cal text;
BEGIN
    FOR m IN 1 .. 12 LOOP
        FOREACH cal IN ARRAY CASE m % 3 WHEN 0 THEN ARRAY['4-4-5'] WHEN 1 THEN ARRAY['4-5-4'] ELSE ARRAY['5-4-4'] END LOOP
            PERFORM walhouse.create_date_dimension('dw.try', '2017-01-01', '2025-12-31', m, cal, 1 + (m * 3) % 7);
            INSERT INTO dw.checked SELECT cal, m, 1 + (m * 3) % 7, string_agg(wrong, ', ') FROM (
                SELECT format('year %s has %s days', fiscal_year, count(*)) AS wrong FROM dw.try WHERE date IS NOT NULL GROUP BY fiscal_year
                    HAVING count(*) NOT IN (364, 371) AND min(date) > '2017-01-01' AND max(date) < '2025-12-31'
                UNION ALL SELECT format('%s starts a year', date) FROM dw.try WHERE is_fiscal_year_start
                    AND (day_of_week <> 1 + (m * 3) % 7 OR fiscal_week <> 1 OR fiscal_quarter <> 1 OR fiscal_month <> 1
                         OR NOT EXISTS (SELECT FROM generate_series(-3, 3) n WHERE extract(day FROM date + n) = 1 AND extract(month FROM date + n) = m
                                        AND extract(year FROM date + n) = fiscal_year - (m > 1)::int))
                UNION ALL SELECT format('%s ends a year', date) FROM dw.try t WHERE is_fiscal_year_end <> (SELECT is_fiscal_year_start FROM dw.try n WHERE n.date = t.date + 1)
                UNION ALL SELECT format('year %s month %s has %s weeks', fiscal_year, fiscal_month, count(*) / 7.0) FROM dw.try WHERE date IS NOT NULL
                    GROUP BY fiscal_year, fiscal_month, fiscal_quarter HAVING min(date) > '2018-06-01' AND max(date) < '2025-01-01' AND (
                    fiscal_quarter <> (fiscal_month + 2) / 3
                    OR (count(*) <> 7 * split_part(cal, '-', (fiscal_month - 1) % 3 + 1)::int
                        AND (fiscal_month <> 12 OR count(*) <> 7 * split_part(cal, '-', 3)::int + 7))
                    OR count(*) <> max(date) - min(date) + 1)) w;
            PERFORM walhouse.drop_model('dw.try');
        END LOOP;
    END LOOP;
END $$;
SELECT count(*), count(wrong), min(wrong) FROM dw.checked;

-- Flags, and names of ISO weeks, where years of both kinds meet.
SELECT walhouse.create_date_dimension('dw.plain', '2024-01-01', '2027-12-31', 4);
SELECT date, iso_year, iso_week_name, is_month_start AS ms, is_month_end AS me, is_quarter_start AS qs, is_quarter_end AS qe, is_year_start AS ys, is_year_end AS ye,
    fiscal_year AS fy, fiscal_quarter AS fq, fiscal_month AS fm, fiscal_week AS fw, is_fiscal_year_start AS fs, is_fiscal_year_end AS fe
FROM dw.plain WHERE date IN ('2024-02-29', '2024-03-31', '2024-04-01', '2024-12-30', '2024-12-31', '2025-01-01', '2027-01-01') ORDER BY date;
SELECT count(*) FILTER (WHERE is_month_start) = count(*) FILTER (WHERE is_month_end) AS months, count(*) FILTER (WHERE is_quarter_end) AS quarters,
    count(*) FILTER (WHERE is_year_end) AS years, count(*) FILTER (WHERE is_fiscal_year_start) AS fiscal FROM dw.plain;

-- Holidays from a table of one's own; two on one day.
CREATE TABLE dw.feast (name varchar(40), date date, remark int);
INSERT INTO dw.feast VALUES ('New Year', '2026-01-01'), ('Labour Day', '2026-05-01'), ('Ascension', '2026-05-14'), ('Also that', '2026-05-14'), ('Afar', '2031-05-01');
SELECT walhouse.create_date_dimension('dw.day', '2026-01-01', '2026-12-31', holidays => 'dw.feast');
SELECT date, is_holiday, holiday_name FROM dw.day WHERE is_holiday OR date = '2026-01-02' ORDER BY date;
ALTER TABLE dw.feast RENAME TO feasts;
DELETE FROM dw.feasts WHERE name = 'Also that';
UPDATE dw.feasts SET date = '2026-05-02' WHERE name = 'Labour Day';
SELECT missing, unexpected, different FROM walhouse.verify('dw.day');
SELECT walhouse.refresh_dates('dw.day');
SELECT date, holiday_name FROM dw.day WHERE is_holiday ORDER BY date;
SELECT missing, unexpected, different FROM walhouse.verify('dw.day');
SELECT walhouse.refresh_dates('dw.day');
DROP TABLE dw.feasts;

-- The time of day.
SELECT walhouse.create_time_dimension('dw.minute');
SELECT walhouse.create_time_dimension('dw.second', 'second');
SELECT walhouse.create_time_dimension('dw.hour', granularity => 'hour');
SELECT count(*), count(DISTINCT minute_sk), min(minute_sk), max(minute_sk), max(minute_of_day) FROM dw.minute;
SELECT * FROM dw.minute WHERE minute_sk IN (-3, 0, 559, 600, 1200, 2359) ORDER BY 1;
SELECT * FROM dw.second WHERE second_sk IN (0, 235959) ORDER BY 1;
SELECT hour_sk, label, day_part FROM dw.hour WHERE hour_sk % 6 = 0 AND hour_sk >= 0 ORDER BY 1;

-- Facts look them up from times and timestamps, in the feed's time zone.
CREATE TABLE shop.call (id int PRIMARY KEY, at timestamptz, local timestamp, clock time, day date);
SELECT handfeed.add('shop', 'shop.call') \g /dev/null
SELECT walhouse.create_fact('dw.call', 'SELECT id, at, local, clock, day FROM shop.call', '{id}', 'at',
    '{"at_sk": "dw.minute(at)", "local_sk": "dw.second(local)", "clock_sk": {"dimension": "dw.hour(clock)", "null": "not_applicable"}, "day_sk": "dw.day(day)"}');
INSERT INTO shop.call VALUES (1, '2026-07-01 22:59:59.999+00', '2026-01-01 23:59:59.999999', '24:00', '2026-05-02'),
    (2, '2026-07-01 00:00+00', 'infinity', NULL, '2031-05-01'), (3, '2026-01-01 00:00+00', NULL, '09:45', 'infinity'),
    (4, '2026-01-01 00:00+00', '2026-01-01 12:00', '12:00', '5874897-12-31'), (5, '2026-01-01 00:00+00', '2026-01-01 12:00', '12:00', '4713-11-24 BC');
SELECT handfeed.commit('shop', '2026-07-02'), handfeed.reach('shop') \g /dev/null
CALL walhouse.build('dw.call');
SELECT id, at_label, local_label, clock_label, clock_sk, day_date, day_holiday_name, day_fiscal_year AS fy, day_is_fiscal_year_end AS fe, day_is_month_end AS me FROM dw.call_as_was ORDER BY id;
SELECT model, expected, found, missing, unexpected, different FROM walhouse.verify() ORDER BY model::text;

-- What is refused.
SELECT walhouse.create_date_dimension('dw.bad', '2026-01-01', '2026-12-31', 1, '4-4-4');
SELECT walhouse.create_date_dimension('dw.bad', '2026-01-01', '2026-12-31', 1, '4-4-5', 0);
SELECT walhouse.create_date_dimension('dw.bad', '2026-01-01', '2026-12-31', NULL);
SELECT walhouse.create_date_dimension('dw.bad', '2026-01-01', '2026-12-31', holidays => 'dw.checked');
SELECT walhouse.create_time_dimension('dw.bad', 'century');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, at, day FROM shop.call', '{id}', 'at', '{"x_sk": "dw.minute(day)"}');
SELECT walhouse.create_fact('dw.bad', 'SELECT id, at, clock FROM shop.call', '{id}', 'at', '{"x_sk": "dw.day(clock)"}');
SELECT walhouse.refresh_dates('dw.minute');

\set QUIET on
SELECT walhouse.drop_model('dw.call') \g /dev/null
SELECT walhouse.drop_model(relation) FROM walhouse.model \g /dev/null
SELECT to_regclass('dw.day_holidays');
DROP TABLE dw.feasts, dw.checked;
SELECT handfeed.remove('shop') \g /dev/null
DROP SCHEMA dw, handfeed CASCADE;
