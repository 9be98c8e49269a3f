
-- output: what the rows in the stream look like.  The library is that of the output plugin, so that one code decides.

CREATE FUNCTION walhouse.proto_for(relation regclass)
RETURNS text
LANGUAGE c STRICT STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS '$libdir/walhouse_output', 'walhouse_proto_for';
COMMENT ON FUNCTION walhouse.proto_for(regclass) IS
    'A .proto file (proto2) that protoc compiles, with a message for the rows of a table as walhouse_output sends them. Error: the relation is no table.';

CREATE FUNCTION walhouse.proto_for_publication(publication name)
RETURNS text
LANGUAGE c STRICT STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS '$libdir/walhouse_output', 'walhouse_proto_for_publication';
COMMENT ON FUNCTION walhouse.proto_for_publication(name) IS
    'A .proto file with a message for each table of a publication: its column lists are honoured, and with publish_via_partition_root it has the root instead of partitions. Error: the publication does not exist, or lists different columns.';
