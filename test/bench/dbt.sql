-- The statements of a later run of the same snapshot, as dbt-postgres writes them (strategy timestamp, hard deletes ignored).
\set ON_ERROR_STOP on
BEGIN;
CREATE TEMPORARY TABLE member__dbt_tmp AS
	WITH snapshot_query AS (SELECT * FROM star.members),
	snapshotted_data AS (SELECT *, member_id AS dbt_unique_key FROM dbt.member WHERE dbt_valid_to IS NULL),
	insertions_source_data AS (
		SELECT *, member_id AS dbt_unique_key, updated_at AS dbt_updated_at, updated_at AS dbt_valid_from,
			nullif(updated_at, updated_at) AS dbt_valid_to,
			md5(coalesce(member_id::varchar, '') || '|' || coalesce(updated_at::varchar, '')) AS dbt_scd_id
		FROM snapshot_query),
	updates_source_data AS (
		SELECT *, member_id AS dbt_unique_key, updated_at AS dbt_updated_at, updated_at AS dbt_valid_from, updated_at AS dbt_valid_to
		FROM snapshot_query),
	insertions AS (
		SELECT 'insert' AS dbt_change_type, source_data.*
		FROM insertions_source_data AS source_data
		LEFT OUTER JOIN snapshotted_data ON snapshotted_data.dbt_unique_key = source_data.dbt_unique_key
		WHERE snapshotted_data.dbt_unique_key IS NULL
			OR (snapshotted_data.dbt_unique_key IS NOT NULL AND snapshotted_data.dbt_valid_from < source_data.updated_at)),
	updates AS (
		SELECT 'update' AS dbt_change_type, source_data.*, snapshotted_data.dbt_scd_id
		FROM updates_source_data AS source_data
		JOIN snapshotted_data ON snapshotted_data.dbt_unique_key = source_data.dbt_unique_key
		WHERE snapshotted_data.dbt_valid_from < source_data.updated_at)
	SELECT * FROM insertions UNION ALL SELECT * FROM updates;
UPDATE dbt.member SET dbt_valid_to = dbt_internal_source.dbt_valid_to
	FROM member__dbt_tmp AS dbt_internal_source
	WHERE dbt_internal_source.dbt_scd_id::text = dbt.member.dbt_scd_id::text
		AND dbt_internal_source.dbt_change_type::text IN ('update'::text, 'delete'::text) AND dbt.member.dbt_valid_to IS NULL;
INSERT INTO dbt.member (member_id, name, city, segment, updated_at, dbt_updated_at, dbt_valid_from, dbt_valid_to, dbt_scd_id)
	SELECT member_id, name, city, segment, updated_at, dbt_updated_at, dbt_valid_from, dbt_valid_to, dbt_scd_id
	FROM member__dbt_tmp AS dbt_internal_source WHERE dbt_internal_source.dbt_change_type::text = 'insert'::text;
COMMIT;
DROP TABLE member__dbt_tmp;
