-- hostile_names.sql: a tracked schema in which every name is one that some format of pictures could stumble over.
CREATE SCHEMA "a.b";
CREATE TABLE "a.b"."t ""<table>"" & co" (id int PRIMARY KEY, "it's" text, "say ""hi""" text, "<b>bold</b>" text, "a & b &amp; c" text, "{x|y}" text,
    U&"two\000Alines\0009and\0001more" text, "back\slash \N" text, "`tick`" text, "#35; #quot;" text, "%DATA%" text, "end" text, "--> x -.- y" text, "1. item" text, "- item" text,
    "${x}" text, "]]>" text, "naïve 数 ☃ 🦆" text, " blank " text, "</script><script>alert(1)//" text, "<!--" text, "a_column_whose_name_is_as_long_as_postgresql_lets_names_become_" text);
SELECT walhouse.track_lineage('"a.b"') \g /dev/null
CREATE VIEW "a.b"."v</table>" AS SELECT * FROM "a.b"."t ""<table>"" & co" WHERE "it's" <> '</script><script>alert(2)</script>';
COMMENT ON VIEW "a.b"."v</table>" IS '</script><img src=x onerror="alert(3)"> & so on';
COMMENT ON COLUMN "a.b"."v</table>"."<b>bold</b>" IS '<i>not slanted</i>';
