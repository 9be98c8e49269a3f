-- verify() of each model, into a table that the demo prints and judges.
\set ON_ERROR_STOP on
CREATE TEMPORARY TABLE verdict AS
	SELECT v.*, m.kind, m.model_id FROM walhouse.verify() v JOIN walhouse.model m ON m.relation = v.model;
\pset linestyle unicode
\pset border 1
\pset footer off
\pset numericlocale on
SELECT model, position, expected, found, missing, unexpected, different FROM verdict ORDER BY model_id;
-- An error here is how the demo learns that something is wrong.
DO $$
BEGIN
	IF (SELECT count(*) FROM verdict WHERE kind <> 'date') <> (SELECT count(*) FROM walhouse.model WHERE kind <> 'date')
		OR EXISTS (SELECT FROM verdict v WHERE v.missing + v.unexpected + v.different <> 0 OR v.expected <> v.found)
	THEN
		RAISE EXCEPTION 'the star is not what its sources say';
	END IF;
END $$;
