-- picture: lineage that is kept, drawn. One shape in JSON; the other formats are made of it.

CREATE TYPE walhouse.lineage_format AS ENUM ('json', 'dot', 'mermaid', 'html');
COMMENT ON TYPE walhouse.lineage_format IS
    'How walhouse.lineage_graph() draws: json (the shape itself), dot (Graphviz), mermaid (a flowchart), html (a page that needs nothing else).';

CREATE VIEW walhouse.lineage_hop AS
    WITH feed_table AS (
        -- A change log stands between a source and its mirror where something reads it.
        SELECT t.feed_id, t.source_relid, pg_catalog.format('%s: %I.%I', f.name, t.source_schema, t.source_name) AS node, t.mirror, t.log,
               EXISTS (SELECT FROM walhouse.lineage_edge e WHERE e.source = t.log) AS log_is_read
        FROM walhouse.feed_table t JOIN walhouse.feed f ON f.feed_id = t.feed_id
    ), feed_column AS (
        SELECT t.node, t.mirror, t.log, t.log_is_read, c.source_name, c.log_column::text, c.mirror_column::text,
               CASE c.conversion WHEN 'text' THEN 'TRANSFORMATION' ELSE 'IDENTITY' END AS subtype
        FROM feed_table t JOIN walhouse.feed_column c ON c.feed_id = t.feed_id AND c.source_relid = t.source_relid
        WHERE NOT c.dropped
        UNION ALL
        SELECT t.node, t.mirror, t.log, t.log_is_read, '', '', '', 'ROWS' FROM feed_table t
    )
    SELECT e.source::text AS source, e.source_column, e.relation::text AS reader, e."column" AS reader_column, e.subtype
    FROM walhouse.lineage_edge e
    UNION ALL
    SELECT c.node, c.source_name, CASE WHEN c.log_is_read THEN c.log ELSE c.mirror END::text, CASE WHEN c.log_is_read THEN c.log_column ELSE c.mirror_column END, c.subtype
    FROM feed_column c
    UNION ALL
    SELECT c.log::text, c.log_column, c.mirror::text, c.mirror_column, CASE c.subtype WHEN 'ROWS' THEN 'ROWS' ELSE 'IDENTITY' END
    FROM feed_column c WHERE c.log_is_read;
COMMENT ON VIEW walhouse.lineage_hop IS
    'Kept lineage, and what feeds add to it: from tables of sources (as feed: schema.table) to mirrors, by way of change logs that something reads. Empty columns stand for rows, as in walhouse.lineage_edge.';
GRANT SELECT ON walhouse.lineage_hop TO PUBLIC;

CREATE FUNCTION walhouse.lineage_graph_json(root regclass DEFAULT NULL, "column" text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH RECURSIVE hop AS MATERIALIZED (
        SELECT * FROM walhouse.lineage_hop
    ), root AS (
        SELECT $1::text AS node, a.attname::text AS name
        FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND ($2 IS NULL OR a.attname = $2)
    ), up AS (
        SELECT node, name FROM root
        UNION
        SELECT $1::text, '' WHERE $1 IS NOT NULL
        UNION
        SELECT h.source, h.source_column FROM up u JOIN hop h ON h.reader = u.node AND h.reader_column = u.name
    ), down AS (
        SELECT node, name FROM root
        UNION
        SELECT $1::text, '' WHERE $1 IS NOT NULL AND $2 IS NULL
        UNION
        SELECT h.reader, h.reader_column FROM down d JOIN hop h ON h.source = d.node AND h.source_column = d.name
    ), reached AS (
        SELECT node, name FROM up UNION SELECT node, name FROM down
    ), edge AS MATERIALIZED (
        SELECT h.* FROM hop h
        WHERE $1 IS NULL OR (h.reader, h.reader_column) IN (SELECT node, name FROM up) OR (h.source, h.source_column) IN (SELECT node, name FROM down)
    ), relation AS (
        SELECT c.oid, c.oid::regclass::text AS node, f.name AS feed,
               CASE WHEN t.mirror = c.oid THEN 'mirror' WHEN t.log = c.oid THEN 'log'
                    WHEN m.kind IN ('fact', 'rollup') THEN m.kind WHEN m.kind = 'periodic_snapshot' THEN 'snapshot' WHEN m.kind IS NOT NULL THEN 'dimension'
                    WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS stage,
               COALESCE(replace(m.kind, '_', ' '), CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END) AS kind,
               CASE WHEN c.relkind IN ('v', 'm') OR m.query IS NOT NULL THEN pg_get_viewdef(COALESCE(m.query, c.oid), true) END AS definition
        FROM pg_class c
             LEFT JOIN walhouse.model m ON m.relation = c.oid
             LEFT JOIN walhouse.feed_table t ON c.oid IN (t.mirror, t.log)
             LEFT JOIN walhouse.feed f ON f.feed_id = COALESCE(t.feed_id, m.feed_id)
        WHERE c.oid IN (SELECT e.relation FROM walhouse.lineage_edge e UNION SELECT e.source FROM walhouse.lineage_edge e UNION SELECT r.relation FROM walhouse.lineage_relation r
                        UNION SELECT t.mirror FROM walhouse.feed_table t UNION SELECT $1)
          AND ($1 IS NULL OR c.oid::regclass::text IN (SELECT node FROM reached))
    ), node AS (
        SELECT r.node, r.stage, r.kind, r.feed, obj_description(r.oid, 'pg_class') AS comment, r.definition,
               COALESCE(s.is_stale, false) AS is_stale, s.reason, COALESCE(s.opaque, '{}') AS opaque
        FROM relation r LEFT JOIN walhouse.stat_lineage s ON s.relation = r.oid
        UNION ALL
        SELECT n.node, 'source', 'table', f.name, NULL, NULL, false, NULL, '{}'
        FROM walhouse.feed_table t JOIN walhouse.feed f ON f.feed_id = t.feed_id, LATERAL format('%s: %I.%I', f.name, t.source_schema, t.source_name) n (node)
        WHERE $1 IS NULL OR n.node IN (SELECT node FROM reached)
    ), attribute AS (
        SELECT r.node, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, col_description(r.oid, a.attnum) AS comment, a.attnum::integer AS place
        FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT format('%s: %I.%I', f.name, t.source_schema, t.source_name), c.source_name,
               -- As walhouse keeps it, a type of PostgreSQL's own is pg_catalog.name(typmod).
               COALESCE(format_type(to_regtype(substring(c.source_type FROM '^(pg_catalog\..*?)(?:\(\d+\))?$')), COALESCE(substring(c.source_type FROM '\((\d+)\)$')::integer, -1)), c.source_type), NULL, c.attnum
        FROM walhouse.feed_column c JOIN walhouse.feed_table t ON t.feed_id = c.feed_id AND t.source_relid = c.source_relid JOIN walhouse.feed f ON f.feed_id = t.feed_id
        WHERE NOT c.dropped
    ), named AS (
        -- System columns, and columns that are no more, where the lineage names them.
        SELECT node, name, type, comment, place FROM attribute
        UNION ALL
        SELECT e.node, e.name, NULL, NULL, 10000
        FROM (SELECT source, source_column FROM edge UNION SELECT reader, reader_column FROM edge) e (node, name)
        WHERE e.name <> '' AND NOT EXISTS (SELECT FROM attribute a WHERE a.node = e.node AND a.name = e.name)
    ), columns AS (
        SELECT n.node, jsonb_agg(jsonb_build_object('name', n.name, 'type', n.type, 'comment', n.comment) ORDER BY n.place, n.name COLLATE "C") AS columns
        FROM named n WHERE $1 IS NULL OR (n.node, n.name) IN (SELECT node, name FROM reached)
        GROUP BY n.node
    )
    SELECT jsonb_build_object('version', 1, 'database', current_database(),
        'root', CASE WHEN $1 IS NOT NULL THEN jsonb_build_object('relation', $1::text, 'column', $2) END,
        'relations', COALESCE((SELECT jsonb_agg(jsonb_build_object('id', n.node, 'stage', n.stage, 'kind', n.kind, 'feed', n.feed, 'comment', n.comment,
                'definition', n.definition, 'is_stale', n.is_stale, 'stale_reason', n.reason, 'opaque', n.opaque, 'columns', COALESCE(c.columns, '[]'))
                ORDER BY array_position('{source,log,mirror,table,dimension,fact,rollup,snapshot,view}', n.stage), n.node COLLATE "C")
            FROM node n LEFT JOIN columns c ON c.node = n.node), '[]'),
        'edges', COALESCE((SELECT jsonb_agg(jsonb_build_object('from', e.source, 'from_column', NULLIF(e.source_column, ''), 'to', e.reader, 'to_column', NULLIF(e.reader_column, ''),
                'kind', CASE WHEN e.subtype IN ('IDENTITY', 'TRANSFORMATION', 'AGGREGATION') THEN 'DIRECT' ELSE 'INDIRECT' END, 'subtype', e.subtype)
                ORDER BY e.source COLLATE "C", e.source_column COLLATE "C", e.reader COLLATE "C", e.reader_column COLLATE "C", e.subtype COLLATE "C")
            FROM edge e WHERE e.source IN (SELECT node FROM node) AND e.reader IN (SELECT node FROM node)), '[]'))
$$;
COMMENT ON FUNCTION walhouse.lineage_graph_json(regclass, text) IS
    'Kept lineage as one JSON object. root: what is up and down from it, NULL for all; column: of that one alone. Members: version (of the shape), database, root; relations, with id, stage, kind, feed, comment, definition, is_stale, stale_reason, opaque, and their columns (name, type, comment); edges, each a step of one kind, with from, from_column, to, to_column (NULL: the rows), kind, subtype. Names and definitions alone, no data.';

-- Names in the other formats.

CREATE FUNCTION walhouse.lineage_graph_text(name text, format walhouse.lineage_format) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE $2
        WHEN 'dot' THEN replace(replace(replace(replace(replace(t.name, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '\', '\\')
        WHEN 'mermaid' THEN (SELECT string_agg(CASE WHEN c ~ '^[A-Za-z0-9_ :]$' OR c !~ '^[\x01-\x7f]$' THEN c ELSE '#' || ascii(c) || ';' END, '' ORDER BY i)
                             FROM string_to_table(t.name, NULL) WITH ORDINALITY s (c, i))
        ELSE t.name END
    FROM (SELECT regexp_replace($1, '[\x01-\x1f\x7f]', '?', 'g')) t (name)
$$;
COMMENT ON FUNCTION walhouse.lineage_graph_text(text, walhouse.lineage_format) IS
    'A name as a label in a picture: what the format would take for its own is escaped; control characters, which no format can show, are question marks.';

CREATE FUNCTION walhouse.lineage_graph_links(graph jsonb, OUT source integer, OUT source_column integer, OUT reader integer, OUT reader_column integer,
    OUT is_direct boolean, OUT subtypes text)
RETURNS SETOF record LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH port AS MATERIALIZED (
        SELECT r.value ->> 'id' AS node, c.value ->> 'name' AS name, r.place::integer AS relation, c.place::integer AS "column"
        FROM jsonb_array_elements($1 -> 'relations') WITH ORDINALITY r (value, place),
             LATERAL (SELECT c.value, c.place FROM jsonb_array_elements(r.value -> 'columns') WITH ORDINALITY c (value, place) UNION ALL SELECT '{"name": ""}', 0) c
    )
    SELECT s.relation, s."column", r.relation, r."column", bool_or(e.kind = 'DIRECT'), string_agg(lower(e.subtype), ', ' ORDER BY e.kind, e.subtype)
    FROM jsonb_to_recordset($1 -> 'edges') e ("from" text, from_column text, "to" text, to_column text, kind text, subtype text)
         JOIN port s ON s.node = e."from" AND s.name = COALESCE(e.from_column, '')
         JOIN port r ON r.node = e."to" AND r.name = COALESCE(e.to_column, '')
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
$$;
COMMENT ON FUNCTION walhouse.lineage_graph_links(jsonb) IS
    'The edges of what lineage_graph_json() gave, one for each two ends: relations and columns by their places, from 1 on; column 0 is the rows.';

CREATE FUNCTION walhouse.lineage_graph_color(stage text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE stage WHEN 'source' THEN '#dfe3e8' WHEN 'log' THEN '#e6dccb' WHEN 'mirror' THEN '#cfe3ee' WHEN 'dimension' THEN '#cfe8d5' WHEN 'fact' THEN '#f7d9c4'
                  WHEN 'rollup' THEN '#f6e3b4' WHEN 'snapshot' THEN '#f3d3dc' WHEN 'view' THEN '#dcd6f0' ELSE '#e3e3dc' END;
COMMENT ON FUNCTION walhouse.lineage_graph_color(text) IS
    'The colour of a stage in pictures.';

CREATE FUNCTION walhouse.lineage_graph_dot(graph jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH relation AS (
        SELECT r.value, r.place FROM jsonb_array_elements($1 -> 'relations') WITH ORDINALITY r (value, place)
    ), line (part, place, line) AS (
        SELECT 0, 0, E'digraph lineage {\n  graph [rankdir=LR, ranksep=1.2, nodesep=0.3];\n  node [shape=plain, fontname="Helvetica", fontsize=11];\n  edge [color="#5b6b7b", arrowsize=0.6];'
        UNION ALL
        SELECT 1, r.place, format('  n%s [label=<<table border="0" cellborder="1" cellspacing="0" cellpadding="4" color="#8a949e"><tr><td port="c0" bgcolor="%s"><b>%s</b></td></tr>%s</table>>, tooltip="%s"];',
                   r.place, walhouse.lineage_graph_color(r.value ->> 'stage'), walhouse.lineage_graph_text(r.value ->> 'id', 'dot'), c.cells, r.value ->> 'kind')
        FROM relation r,
             LATERAL (SELECT string_agg(format('<tr><td port="c%s" align="left">%s</td></tr>', c.place, walhouse.lineage_graph_text(c.value ->> 'name', 'dot')), '' ORDER BY c.place) AS cells
                      FROM jsonb_array_elements(r.value -> 'columns') WITH ORDINALITY c (value, place)) c
        UNION ALL
        SELECT 2, row_number() OVER (), format('  n%s:c%s:e -> n%s:c%s:w [tooltip="%s"%s];', l.source, l.source_column, l.reader, l.reader_column, l.subtypes,
                                               CASE WHEN NOT l.is_direct THEN ', style=dashed, color="#a9b3bd"' END)
        FROM walhouse.lineage_graph_links($1) l
        UNION ALL
        SELECT 3, 0, E'}\n'
    )
    SELECT string_agg(line, E'\n' ORDER BY part, place) FROM line
$$;
COMMENT ON FUNCTION walhouse.lineage_graph_dot(jsonb) IS
    'What lineage_graph_json() gave, for Graphviz: a table for each relation with a port for each column; indirect edges dashed.';

CREATE FUNCTION walhouse.lineage_graph_mermaid(graph jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    WITH link AS MATERIALIZED (
        SELECT l.*, row_number() OVER () AS place FROM walhouse.lineage_graph_links($1) l
    ), relation AS (
        SELECT r.value, r.place, EXISTS (SELECT FROM link l WHERE (l.source, l.source_column) = (r.place, 0) OR (l.reader, l.reader_column) = (r.place, 0)) AS has_rows
        FROM jsonb_array_elements($1 -> 'relations') WITH ORDINALITY r (value, place)
    ), line (part, place, line) AS (
        SELECT 0, 0, 'flowchart LR'
        UNION ALL
        -- quote_ident() has seen to it that a point parts schema and relation.
        SELECT 1, r.place, format(E'  subgraph n%s["%s"]\n%s%s  end\n  style n%1$s fill:%5$s,stroke:#8a949e,color:#1b2228', r.place, replace(walhouse.lineage_graph_text(r.value ->> 'id', 'mermaid'), '#46;', '.'),
                                  CASE WHEN r.has_rows THEN format(E'    n%sc0(["rows"])\n', r.place) END, c.nodes, walhouse.lineage_graph_color(r.value ->> 'stage'))
        FROM relation r,
             LATERAL (SELECT string_agg(format(E'    n%sc%s["%s"]\n', r.place, c.place, walhouse.lineage_graph_text(c.value ->> 'name', 'mermaid')), '' ORDER BY c.place) AS nodes
                      FROM jsonb_array_elements(r.value -> 'columns') WITH ORDINALITY c (value, place)) c
        UNION ALL
        SELECT 2, l.place, format('  n%sc%s %s n%sc%s', l.source, l.source_column, CASE WHEN l.is_direct THEN '-->' ELSE '-.->' END, l.reader, l.reader_column)
        FROM link l
    )
    SELECT string_agg(line, E'\n' ORDER BY part, place) || E'\n' FROM line
$$;
COMMENT ON FUNCTION walhouse.lineage_graph_mermaid(jsonb) IS
    'What lineage_graph_json() gave, as a Mermaid flowchart: a subgraph for each relation with a node for each column; indirect edges dotted.';

-- The page: its parts are files of this folder, which the Makefile puts in the place of their names.
CREATE FUNCTION walhouse.lineage_graph_page(OUT html text, OUT style text, OUT script text) RETURNS record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $wh_function$ SELECT
$wh_html$
@page.html@
$wh_html$,
$wh_style$
@page.css@
$wh_style$,
$wh_script$
@layout.js@
@graph.js@
@page.js@
@hands.js@
$wh_script$
$wh_function$;
COMMENT ON FUNCTION walhouse.lineage_graph_page() IS
    'The page in which lineage_graph_html() shows a graph: its frame, with %STYLE%, %SCRIPT%, %DATA% and the hashes of the first two to be put in; its style; its script.';

CREATE FUNCTION walhouse.lineage_graph_html(graph jsonb) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    -- Nothing runs in the page but what has the script's hash. In JSON, the one character that could end the data's element is written by its number.
    SELECT replace(replace(replace(replace(replace(ltrim(p.html, E'\n'),
               '%STYLE_HASH%', encode(sha256(convert_to(p.style, 'UTF8')), 'base64')),
               '%SCRIPT_HASH%', encode(sha256(convert_to(p.script, 'UTF8')), 'base64')),
               '%STYLE%', p.style), '%SCRIPT%', p.script), '%DATA%', replace($1::text, '<', '\u003c'))
    FROM walhouse.lineage_graph_page() p
$$;
COMMENT ON FUNCTION walhouse.lineage_graph_html(jsonb) IS
    'What lineage_graph_json() gave, as a page that needs no network and no other file, in UTF-8.';

CREATE FUNCTION walhouse.lineage_graph(format walhouse.lineage_format, root regclass DEFAULT NULL, "column" text DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE $1 WHEN 'json' THEN g.graph::text WHEN 'dot' THEN walhouse.lineage_graph_dot(g.graph) WHEN 'mermaid' THEN walhouse.lineage_graph_mermaid(g.graph)
                   WHEN 'html' THEN walhouse.lineage_graph_html(g.graph) END
    FROM walhouse.lineage_graph_json($2, $3) g (graph)
$$;
COMMENT ON FUNCTION walhouse.lineage_graph(walhouse.lineage_format, regclass, text) IS
    'A picture of kept lineage: relations and their columns, by stage, and what comes of what. format: json, dot, mermaid or html. root: what is up and down from a relation, as upstream() and downstream() tell; NULL: all. column: of that column alone.';
