-- random.sql: how tests of random histories begin: the same settings for all, handfeed.sql, the schemas dw and oracle, oracle.pick(); and what
-- :seed and :transactions are where nobody set them before the file: 0.42, and what the file calls usual.
\set QUIET on
\if :{?seed}
\else
\set seed 0.42
\endif
\if :{?transactions}
\else
\set transactions :usual_transactions
\endif
SET client_min_messages = error;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET jit = off; -- it tells of itself at DEBUG1
\ir handfeed.sql
CREATE SCHEMA dw;
CREATE SCHEMA oracle;
CREATE FUNCTION oracle.pick(VARIADIC a text[]) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT a[1 + floor(random() * array_length(a, 1))::int] $$;
