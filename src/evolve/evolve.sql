-- evolve: models that change.

CREATE FUNCTION walhouse.rename(model regclass, name text) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'walhouse_rename';
COMMENT ON FUNCTION walhouse.rename(regclass, text) IS
    'Gives a model another name, schema.table or, in its schema, table; and with it all that is called after it: the view of its query, the views and tables beside it, partitions, indexes. Columns keep their names. Waits for a load that is under way, and for readers. For the model''s owner, who needs CREATE on the schema. Raises when the name is taken.';
