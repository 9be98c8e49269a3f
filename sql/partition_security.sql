-- partition: nothing that a table's owner wrote runs with more than the owner's rights, whatever statement of a step it is part of.
CREATE SCHEMA partition_security;
-- nobody but the test does what is due
ALTER SYSTEM SET walhouse.worker = off;
SELECT pg_reload_conf();
CREATE ROLE partition_security_owner;
GRANT CREATE, USAGE ON SCHEMA partition_security TO partition_security_owner;
SET ROLE partition_security_owner;
SET search_path = partition_security;
-- of this session, whose user may do all of it
SET partition_security.here = on;
CREATE TABLE ran (who name, how text);
-- tries to become what the session is, and writes down who it is then; the server computes an immutable one wherever it plans
CREATE FUNCTION note_it(how text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('partition_security.here', true) = 'on' THEN
        RETURN true;
    END IF;
    BEGIN
        PERFORM set_config('role', 'none', false);
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    BEGIN
        PERFORM set_config('session_authorization', rolname, false) FROM pg_catalog.pg_roles WHERE oid = 10;
    EXCEPTION WHEN OTHERS THEN NULL;
    END;
    PERFORM set_config('default_transaction_read_only', 'on', false), set_config('lock_timeout', '1h', false);
    INSERT INTO partition_security.ran VALUES (current_user, how);
    RETURN true;
END $$;
CREATE FUNCTION is_fine(how text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN partition_security.note_it(how); END $$;
CREATE FUNCTION is_fine(how text, v int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN partition_security.note_it(how); END $$;
CREATE TABLE t (at date NOT NULL, v int, CHECK (partition_security.is_fine('check'))) PARTITION BY RANGE (at);
CREATE INDEX ON t (v) WHERE partition_security.is_fine('predicate');
CREATE INDEX ON t (partition_security.is_fine('expression', v));
SELECT walhouse.create_partition_set('t', 'day', seal_after => '1 day', retire_after => '3 days', lead_count => 2) > 0 AS made;
CALL walhouse.maintain_partitions('t', '2026-01-01 12:00+00');
INSERT INTO t SELECT '2026-01-01', i FROM generate_series(1, 10) i;
SELECT DISTINCT who, how FROM ran ORDER BY how;
TRUNCATE ran;
CALL walhouse.maintain_partitions('t', '2026-01-03 12:00+00');
SELECT DISTINCT who, how FROM ran ORDER BY how;
TRUNCATE ran;
CALL walhouse.maintain_partitions('t', '2026-01-10 12:00+00');
SELECT DISTINCT who, how FROM ran ORDER BY how;
-- what they set stays with nobody: every step was done
SELECT partition, state, failures, error FROM walhouse.partitions WHERE parent = 't'::regclass ORDER BY partition::text;
RESET ROLE;
DROP SCHEMA partition_security CASCADE;
DROP ROLE partition_security_owner;
ALTER SYSTEM RESET walhouse.worker;
SELECT pg_reload_conf();
