-- walhouse: joined at build from src/preamble.sql and each room's SQL, in the order of src/rooms.
\echo Use "CREATE EXTENSION walhouse" to load this file. \quit

-- The schema is made here, as a member: one that the control file names would stay behind after DROP EXTENSION.
CREATE SCHEMA walhouse;
GRANT USAGE ON SCHEMA walhouse TO PUBLIC;

