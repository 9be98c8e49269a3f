-- source: the foreign data wrapper that holds connections.

CREATE FUNCTION walhouse.fdw_validator(options text[], catalog oid) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walhouse_fdw_validator';
COMMENT ON FUNCTION walhouse.fdw_validator(text[], oid) IS
    'Checks options of servers and user mappings of FOREIGN DATA WRAPPER walhouse; an error names those that are valid.';

CREATE FOREIGN DATA WRAPPER walhouse NO HANDLER VALIDATOR walhouse.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER walhouse IS 'Sources of feeds: servers and user mappings with libpq''s options.';
