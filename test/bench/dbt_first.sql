-- The bench's peer of a type-2 dimension: a snapshot as dbt makes it at its first run (dbt-postgres, strategy timestamp), from the same
-- mirror that the dimension reads. dbt makes no index, and none is added.
\set ON_ERROR_STOP on
CREATE SCHEMA dbt;
CREATE TABLE dbt.member AS
	SELECT *, md5(coalesce(member_id::varchar, '') || '|' || coalesce(updated_at::varchar, '')) AS dbt_scd_id, updated_at AS dbt_updated_at,
		updated_at AS dbt_valid_from, nullif(updated_at, updated_at) AS dbt_valid_to
	FROM star.members;
VACUUM ANALYZE dbt.member;
