-- churn(n, before): about n changes, after as many before, in what a long life brings: small transactions and large ones, subtransactions that abort, large
-- values, columns that change their names, tables that come and go. Tables are of changing definition, never of growing size.
\set ON_ERROR_STOP on
CREATE TABLE kept (id bigint PRIMARY KEY, a integer, label_0 text, tags text[], doc jsonb, amount numeric(12,2));
CREATE TABLE whole (id integer PRIMARY KEY, note text, large text);
ALTER TABLE whole REPLICA IDENTITY FULL, ALTER large SET STORAGE EXTERNAL;
INSERT INTO whole SELECT i, 'note ' || i, repeat(md5(i::text), 300) FROM generate_series(1, 100) i;

-- One round makes 5,000 changes: of kept 2,000 inserts, 1,000 updates and 1,900 deletes, and of others 100.
CREATE PROCEDURE churn_round(r bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR b IN 0 .. 19 LOOP
		EXECUTE format('INSERT INTO kept SELECT %s * 2000 + %s * 100 + i, i, ''label '' || i, ARRAY[''x'', i::text], jsonb_build_object(''i'', i), i * 1.5
			FROM generate_series(0, 99) i', r, b);
		COMMIT;
		UPDATE kept SET a = a + 1, amount = amount * 2 WHERE id BETWEEN r * 2000 + b * 100 AND r * 2000 + b * 100 + 49;
		COMMIT;
	END LOOP;
	DELETE FROM kept WHERE id BETWEEN r * 2000 AND r * 2000 + 1899;
	UPDATE whole SET note = note || 'x', large = CASE WHEN id = 1 THEN repeat(md5(r::text), 300) ELSE large END WHERE id <= 50;
	UPDATE whole SET note = 'note' WHERE id <= 50;
	COMMIT;
END $$;

-- A large transaction of 50,000 changes, a fifth of which is in subtransactions, of which every other one aborts.
CREATE PROCEDURE churn_large(r bigint) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO kept SELECT -i, i FROM generate_series(1, 20000) i;
	FOR s IN 1 .. 20 LOOP
		BEGIN
			UPDATE kept SET a = a + s WHERE id BETWEEN -s * 500 AND -(s - 1) * 500 - 1;
			IF s % 2 = 0 THEN
				RAISE EXCEPTION 'aborted';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
	DELETE FROM kept WHERE id < 0;
	COMMIT;
END $$;

-- Something of everything, in a thousand changes.
CREATE PROCEDURE churn_little() LANGUAGE plpgsql AS $$
BEGIN
	FOR r IN 1 .. 4 LOOP
		INSERT INTO kept SELECT i, i, 'label', ARRAY['x', i::text], jsonb_build_object('i', i), i * 1.5 FROM generate_series(1, 100) i;
		BEGIN
			UPDATE kept SET a = a + 1 WHERE id <= 20;
			RAISE EXCEPTION 'aborted';
		EXCEPTION WHEN raise_exception THEN
			UPDATE kept SET a = a + 2 WHERE id <= 20;
		END;
		IF r = 2 THEN
			ALTER TABLE kept RENAME label_0 TO label_1;
		END IF;
		UPDATE whole SET note = note || 'x', large = CASE WHEN id = 1 THEN repeat(md5(r::text), 300) ELSE large END WHERE id <= 30;
		DELETE FROM kept;
		COMMIT;
	END LOOP;
	TRUNCATE kept;
	COMMIT;
END $$;

CREATE PROCEDURE churn(n bigint, before bigint DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
	FOR r IN before / 10000 + 1 .. (before + n) / 10000 LOOP
		CALL churn_round(r);
		IF r % 10 = 0 THEN
			CALL churn_large(r);
		END IF;
		EXECUTE format('ALTER TABLE kept RENAME label_%s TO label_%s', (r - 1) % 97, r % 97);
		EXECUTE format('CREATE TABLE passing_%s (id integer PRIMARY KEY, note text)', r);
		EXECUTE format('INSERT INTO passing_%s SELECT i, ''passing'' FROM generate_series(1, 10) i', r);
		COMMIT;
		EXECUTE format('DROP TABLE passing_%s', r);
		EXECUTE 'TRUNCATE kept';
		COMMIT;
	END LOOP;
END $$;
