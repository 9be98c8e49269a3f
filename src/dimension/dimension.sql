-- dimension: declaring dimensions.

CREATE FUNCTION walhouse.create_dimension(name text, query text, key text[], scd jsonb DEFAULT '{"*": 2}',
    on_delete text DEFAULT 'close', unknown boolean DEFAULT true)
RETURNS regclass LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_dimension';
COMMENT ON FUNCTION walhouse.create_dimension(text, text, text[], jsonb, text, boolean) IS
    'Declares a dimension: a table with <name>_sk, the columns of query (a SELECT over one mirror), valid_from, valid_to, is_current, is_inferred and load_id, and the view <name>_query. key: the columns that are the mirror''s key. scd: the type of each column, "*" for the others; 1 overwrites all versions, 2 opens a version. on_delete: close (the open version ends). unknown: keep row -1, to which facts with a NULL key point. Declaring is DDL only; CALL walhouse.run or walhouse.build fills the dimension. Raises when the query cannot be kept current (naming the construct), when the key is not the mirror''s, and when privileges are missing.';

CREATE FUNCTION walhouse.create_date_dimension(name text, from_date date, to_date date,
    fiscal_year_start_month integer DEFAULT 1)
RETURNS regclass LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_create_date_dimension';
COMMENT ON FUNCTION walhouse.create_date_dimension(text, date, date, integer) IS
    'Makes and fills a date dimension with a row for each day from from_date to to_date; <name>_sk is the date in digits, 20260131. fiscal_year_start_month: 1 to 12; a fiscal year that does not begin in January has the number of the year it ends in. Facts that refer to other dates make rows for them (is_inferred); a NULL or infinite date is row -1. It belongs to no feed. Raises when the range is not finite or empty.';
