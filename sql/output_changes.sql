-- What the plugin sends of inserts, updates, deletes and truncates, for each replica identity.
\pset format unaligned
\set VERBOSITY terse
CREATE SCHEMA output_changes;
SET search_path = output_changes;
SELECT slot_name FROM pg_create_logical_replication_slot('output_changes', 'walhouse_output');
\set changes 'SELECT regexp_replace(data, $$"(xid|relid|commit_lsn|end_lsn|commit_time)":("[^"]*"|[0-9]+)$$, $$"\\1":0$$, $$g$$) AS entry FROM pg_logical_slot_get_changes($$output_changes$$, NULL, NULL, $$format$$, $$json$$) WHERE data NOT LIKE $$%"kind":"hello"%$$;'

-- one transaction, several kinds of change
CREATE TABLE shop (id integer PRIMARY KEY, name text, price numeric(10,2));
BEGIN;
INSERT INTO shop VALUES (1, 'tea', 3.50), (2, NULL, 0), (3, '', NULL);
UPDATE shop SET price = 4 WHERE id = 1;
UPDATE shop SET id = 20 WHERE id = 2;
DELETE FROM shop WHERE id = 3;
COMMIT;
:changes

-- the same definition is not sent twice in a session, and is sent again in the next
INSERT INTO shop VALUES (4, 'milk', 1.0);
INSERT INTO shop VALUES (5, 'salt', 1.00);
:changes

-- replica identities
ALTER TABLE shop REPLICA IDENTITY FULL;
UPDATE shop SET price = 5 WHERE id = 1;
DELETE FROM shop WHERE id = 20;
ALTER TABLE shop REPLICA IDENTITY NOTHING;
UPDATE shop SET price = 6 WHERE id = 1;
DELETE FROM shop WHERE id = 1;
DELETE FROM shop WHERE id = 4;
CREATE TABLE coded (id integer, code text NOT NULL, label text);
CREATE UNIQUE INDEX coded_code ON coded (code, id);
ALTER TABLE coded ALTER COLUMN id SET NOT NULL;
ALTER TABLE coded REPLICA IDENTITY USING INDEX coded_code;
INSERT INTO coded VALUES (1, 'a', 'first');
UPDATE coded SET label = 'second';
UPDATE coded SET code = 'b';
DELETE FROM coded;
CREATE TABLE bare (a integer, b integer);
INSERT INTO bare VALUES (1, 2);
UPDATE bare SET b = 3;
BEGIN;
DELETE FROM bare;
INSERT INTO bare VALUES (7, 8), (9, 10);
DELETE FROM bare;
COMMIT;
:changes

-- truncate
CREATE TABLE parent (id serial PRIMARY KEY);
CREATE TABLE child (id integer REFERENCES parent);
TRUNCATE shop;
TRUNCATE parent, coded RESTART IDENTITY CASCADE;
:changes

-- rolled back work is not sent; a subtransaction's is, in its place
BEGIN;
INSERT INTO bare VALUES (1, 1);
SAVEPOINT a;
INSERT INTO bare VALUES (2, 2);
ROLLBACK TO a;
INSERT INTO bare VALUES (3, 3);
SAVEPOINT b;
INSERT INTO bare VALUES (4, 4);
COMMIT;
BEGIN;
INSERT INTO bare VALUES (5, 5);
ROLLBACK;
:changes

-- a table without columns, and one that lost its only one
CREATE TABLE nothing ();
INSERT INTO nothing DEFAULT VALUES;
ALTER TABLE bare DROP COLUMN a, DROP COLUMN b;
INSERT INTO bare DEFAULT VALUES;
:changes

-- large values: unchanged ones are listed, and filled in from a full old row
CREATE TABLE big (id integer PRIMARY KEY, n integer, body text);
ALTER TABLE big ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO big VALUES (1, 1, repeat('x', 10000));
UPDATE big SET n = 2;
ALTER TABLE big REPLICA IDENTITY FULL;
UPDATE big SET n = 3;
UPDATE big SET body = 'short';
\set ECHO none
SELECT regexp_replace(replace(data, repeat('x', 10000), 'x*10000'), '"(xid|relid|commit_lsn|end_lsn|commit_time)":("[^"]*"|[0-9]+)', '"\1":0', 'g') AS entry FROM pg_logical_slot_get_changes('output_changes', NULL, NULL, 'format', 'json') WHERE data LIKE '{"kind":"insert"%' OR data LIKE '{"kind":"update"%';
\set ECHO all

-- binary is what is sent without format=json
INSERT INTO big VALUES (2, 1, NULL);
SELECT data FROM pg_logical_slot_peek_changes('output_changes', NULL, NULL);
SELECT count(*) FROM pg_logical_slot_get_binary_changes('output_changes', NULL, NULL);

SELECT pg_drop_replication_slot('output_changes');
DROP SCHEMA output_changes CASCADE;
