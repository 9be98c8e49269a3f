-- Splits go on behind the key of the last row, whatever its types: char and bit are one character and one bit by their bare names.
SET client_min_messages = error;
SET timezone = 'UTC';
ALTER SYSTEM SET walhouse.worker = off;
SELECT pg_reload_conf();
CREATE SCHEMA keys;
CREATE DOMAIN keys.code AS char(4);
CREATE TABLE keys.mixed (at date, code char(4), mask bit(3), also keys.code, word text COLLATE "C", note text, PRIMARY KEY (code, mask, also, word, at));
INSERT INTO keys.mixed SELECT date '2026-01-01' + i, 'a' || i % 3, (i % 8)::bit(3), 'b' || i, 'word ' || i, repeat('x', i) FROM generate_series(1, 20) i;
CALL walhouse.convert_to_partitions('keys.mixed', 'at', 'day', '{"lead_count": 0}');
SELECT count(*), md5(string_agg(m::text, ',' ORDER BY m)) AS rows FROM keys.mixed m \gset before_
CALL walhouse.split_partition('keys.mixed_whole', every => 'week', chunk => 3);
SELECT count(*) = :before_count AND md5(string_agg(m::text, ',' ORDER BY m)) = :'before_rows' AS is_the_same FROM keys.mixed m;
SELECT count(*) > 2 AS is_split FROM pg_inherits WHERE inhparent = 'keys.mixed'::regclass;

-- leave nothing behind
SELECT walhouse.drop_partition_set('keys.mixed');
DROP SCHEMA keys CASCADE;
ALTER SYSTEM RESET walhouse.worker;
SELECT pg_reload_conf();
