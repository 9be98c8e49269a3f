-- lineage: from which columns a query's columns come.

CREATE FUNCTION walhouse.column_lineage(query text, expand_views boolean DEFAULT true, OUT target regclass, OUT "position" integer,
    OUT "column" text, OUT source regclass, OUT source_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_column_lineage_query';
COMMENT ON FUNCTION walhouse.column_lineage(text, boolean) IS
    'The sources of every column that a statement gives (target NULL) or writes (target: into which relation), read off the tree of PostgreSQL''s own parser; nothing is executed. query: one SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE, or a statement that holds one, analysed with the caller''s search_path and rights. expand_views: look into views, down to tables. Where column is NULL, the source decides which rows there are, or their order, and bears on all of them; where source_column is NULL, only the source''s rows count. kind: DIRECT (subtype IDENTITY, TRANSFORMATION, AGGREGATION) or INDIRECT (JOIN, FILTER, GROUP_BY, SORT, WINDOW, CONDITIONAL, ROWS).';

CREATE FUNCTION walhouse.column_lineage(relation regclass, expand_views boolean DEFAULT true, OUT target regclass, OUT "position" integer,
    OUT "column" text, OUT source regclass, OUT source_column text, OUT kind text, OUT subtype text)
RETURNS SETOF record LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_column_lineage_relation';
COMMENT ON FUNCTION walhouse.column_lineage(regclass, boolean) IS
    'The same of a view or a materialized view; of a table, what its generated columns come from. It needs what reading a view''s definition needs, which PostgreSQL shows to everybody.';
