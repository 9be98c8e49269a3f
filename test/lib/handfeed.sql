-- handfeed.sql: a feed without a source. Its mirrors are ordinary tables; triggers on them write the change log as ingest would.
-- SELECT handfeed.make('shop', 'UTC'); CREATE TABLE shop.t (… PRIMARY KEY …); SELECT handfeed.add('shop', 'shop.t');
-- then any statements on shop.t, and SELECT handfeed.commit('shop', '2026-01-01 12:00+00') to end a source transaction.
-- handfeed.reach('shop') moves the feed's position to the last one, or to a given lsn.
CREATE SCHEMA handfeed;
CREATE TABLE handfeed.state (feed text PRIMARY KEY, lsn pg_lsn NOT NULL, clock timestamptz NOT NULL, seq bigint NOT NULL,
    operations bigint[] NOT NULL DEFAULT '{0,0,0,0}'); -- inserts, updates, deletes, truncates

CREATE FUNCTION handfeed.make(f text, zone text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE SCHEMA %I', f);
    EXECUTE format('CREATE SCHEMA %I', f || '_log');
    EXECUTE format('CREATE TABLE %I.txn (end_lsn pg_lsn PRIMARY KEY, xid bigint, commit_time timestamptz NOT NULL,
                    origin text, clock timestamptz NOT NULL, inserts bigint NOT NULL DEFAULT 0, updates bigint NOT NULL DEFAULT 0,
                    deletes bigint NOT NULL DEFAULT 0, truncates integer NOT NULL DEFAULT 0, context text[])', f || '_log');
    INSERT INTO walhouse.feed (name, owner, server, slot, publication, time_zone, state, horizon, log_partition_size)
    VALUES (f, current_user::regrole, 'none', 'none', 'none', zone, 'ready', '0/1000', 16777216);
    INSERT INTO walhouse.feed_position (feed_id, position, clock)
    SELECT feed_id, '0/1000', '2000-01-01 00:00+00' FROM walhouse.feed WHERE name = f;
    INSERT INTO handfeed.state VALUES (f, '0/1100', '2000-01-01 00:00+00', 0);
END $$;

CREATE FUNCTION handfeed.add(f text, mirror regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    relation name := (SELECT relname FROM pg_class WHERE oid = mirror);
    id integer := (SELECT feed_id FROM walhouse.feed WHERE name = f);
    log text := format('%I.%I', f || '_log', relation);
    columns text;
BEGIN
    SELECT string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum) INTO columns
    FROM pg_attribute WHERE attrelid = mirror AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('CREATE TABLE %s (lsn pg_lsn NOT NULL, seq bigint NOT NULL, op "char" NOT NULL, %s)
                    PARTITION BY RANGE (lsn)', log, columns);
    EXECUTE format('CREATE INDEX ON %s (lsn, seq)', log);
    EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (''0/0'') TO (''FFFFFFFF/FFFFFFFF'')',
                   f || '_log', relation || '_0', log);
    INSERT INTO walhouse.feed_table (feed_id, source_relid, source_schema, source_name, mirror, log, key, state, sync_lsn)
    SELECT id, mirror, 'public', relation, mirror, log::regclass,
           (SELECT array_agg(k ORDER BY o) FROM unnest(i.indkey::smallint[]) WITH ORDINALITY u (k, o)), 'ready', '0/1000'
    FROM pg_index i WHERE i.indrelid = mirror AND i.indisprimary;
    INSERT INTO walhouse.feed_column (feed_id, source_relid, attnum, source_name, source_type, log_column, mirror_column)
    SELECT id, mirror, attnum, attname, format_type(atttypid, atttypmod), attname, attname
    FROM pg_attribute WHERE attrelid = mirror AND attnum > 0 AND NOT attisdropped;
    EXECUTE format('CREATE TRIGGER handfeed AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW
                    EXECUTE FUNCTION handfeed.capture(%L, %L)', mirror, f, log);
    EXECUTE format('CREATE TRIGGER handfeed_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT
                    EXECUTE FUNCTION handfeed.capture_truncate(%L, %L)', mirror, f, log);
END $$;

CREATE FUNCTION handfeed.key_columns(mirror regclass) RETURNS name[] LANGUAGE sql AS $$
    SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
    AND a.attnum = ANY (i.indkey::smallint[]) WHERE i.indrelid = mirror AND i.indisprimary $$;

CREATE FUNCTION handfeed.write(log text, at pg_lsn, number bigint, op "char", image anyelement) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %s SELECT $1, $2, $3, ($4).*', log) USING at, number, op, image;
END $$;

-- A change of one row, as ingest logs it: B once per key and transaction, and a key change (of the image) as D and I.
CREATE FUNCTION handfeed.capture() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keys name[] := handfeed.key_columns(TG_RELID);
    at pg_lsn;
    number bigint;
    touched boolean;
    same_key boolean;
    match text := (SELECT string_agg(format('l.%1$I = ($2).%1$I', k), ' AND ') FROM unnest(keys) k);
    nulls text := (SELECT string_agg(CASE WHEN attname = ANY (keys) THEN format('($4).%I', attname) ELSE 'NULL' END, ', '
                   ORDER BY attnum) FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped);
BEGIN
    UPDATE handfeed.state SET seq = seq + 1, operations[array_position('{INSERT,UPDATE,DELETE}', TG_OP)] =
        operations[array_position('{INSERT,UPDATE,DELETE}', TG_OP)] + 1 WHERE feed = TG_ARGV[0] RETURNING lsn, seq INTO at, number;
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('SELECT EXISTS (SELECT FROM %s l WHERE lsn = $1 AND %s)', TG_ARGV[1], match) INTO touched USING at, OLD;
        IF NOT touched THEN PERFORM handfeed.write(TG_ARGV[1], at, number, 'B', OLD); END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        EXECUTE format('SELECT %s', (SELECT string_agg(format('($1).%1$I::text = ($2).%1$I::text', k), ' AND ')
                       FROM unnest(keys) k)) INTO same_key USING OLD, NEW;
        IF same_key THEN PERFORM handfeed.write(TG_ARGV[1], at, number, 'U', NEW); RETURN NULL; END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        EXECUTE format('INSERT INTO %s SELECT $1, $2, $3, %s', TG_ARGV[1], nulls) USING at, number, 'D'::"char", OLD;
    END IF;
    IF TG_OP <> 'DELETE' THEN PERFORM handfeed.write(TG_ARGV[1], at, number, 'I', NEW); END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION handfeed.capture_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    at pg_lsn;
    number bigint;
BEGIN
    UPDATE handfeed.state SET seq = seq + 1 WHERE feed = TG_ARGV[0] RETURNING lsn, seq INTO at, number;
    EXECUTE format('INSERT INTO %1$s SELECT $1, $2, ''B'', m.* FROM %2$s m WHERE NOT EXISTS (SELECT FROM %1$s l
                    WHERE l.lsn = $1 AND (%3$s))', TG_ARGV[1], TG_RELID::regclass,
                   (SELECT string_agg(format('l.%1$I = m.%1$I', k), ' AND ') FROM unnest(handfeed.key_columns(TG_RELID)) k))
    USING at, number;
    EXECUTE format('INSERT INTO %s (lsn, seq, op) VALUES ($1, $2 + 1, ''T'')', TG_ARGV[1]) USING at, number;
    UPDATE handfeed.state SET seq = seq + 1, operations[4] = operations[4] + 1 WHERE feed = TG_ARGV[0];
    RETURN NULL;
END $$;

-- Ends a source transaction that committed at a time, perhaps with messages of the application; the feed clock never goes back.
CREATE FUNCTION handfeed.commit(f text, at timestamptz, context text[] DEFAULT NULL) RETURNS pg_lsn LANGUAGE plpgsql AS $$
DECLARE
    done handfeed.state;
BEGIN
    UPDATE handfeed.state SET clock = greatest(clock, at) WHERE feed = f RETURNING * INTO done;
    EXECUTE format('INSERT INTO %I.txn (end_lsn, xid, commit_time, clock, inserts, updates, deletes, truncates, context)
                    VALUES ($1, 700, $2, $3, $5[1], $5[2], $5[3], $5[4], $4)', f || '_log') USING done.lsn, at, done.clock, context, done.operations;
    UPDATE handfeed.state SET lsn = lsn + 256, seq = 0, operations = '{0,0,0,0}' WHERE feed = f;
    RETURN done.lsn;
END $$;

-- The feed has ingested up to an lsn; without one, everything that was committed.
CREATE FUNCTION handfeed.reach(f text, up_to pg_lsn DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO walhouse.feed_position (feed_id, position, clock)
                    SELECT d.feed_id, t.end_lsn, t.clock FROM %I.txn t, walhouse.feed d
                    WHERE d.name = $1 AND t.end_lsn <= coalesce($2, t.end_lsn) ORDER BY t.end_lsn DESC LIMIT 1
                    ON CONFLICT DO NOTHING', f || '_log') USING f, up_to;
END $$;

-- Removes a feed; its models must be gone.
CREATE FUNCTION handfeed.remove(f text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    id integer := (SELECT feed_id FROM walhouse.feed WHERE name = f);
BEGIN
    DELETE FROM walhouse.load_model l USING walhouse.load d WHERE d.feed_id = id AND l.load_id = d.load_id;
    DELETE FROM walhouse.load WHERE feed_id = id;
    DELETE FROM walhouse.feed_column WHERE feed_id = id;
    DELETE FROM walhouse.feed_table WHERE feed_id = id;
    DELETE FROM walhouse.feed_position WHERE feed_id = id;
    DELETE FROM walhouse.feed WHERE feed_id = id;
    EXECUTE format('DROP SCHEMA %I CASCADE', f);
    EXECUTE format('DROP SCHEMA %I CASCADE', f || '_log');
END $$;
