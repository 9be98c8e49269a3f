-- walhouse: joined at build from src/preamble.sql and each room's SQL, in the order of src/rooms.
\echo Use "CREATE EXTENSION walhouse" to load this file. \quit

GRANT USAGE ON SCHEMA walhouse TO PUBLIC;

