# WalhouseJson: from the JSON lines of the stream back to PostgreSQL's values, in SQL.
package WalhouseJson;

use strict;
use warnings;
use Exporter 'import';

our @EXPORT = qw($json_reader from_json);

# $json_reader: functions that a database needs before it runs what from_json gives.
our $json_reader = <<~'SQL';
	-- An array of JSON, as the text that array_in reads; scale is what numbers are multiplied by, delimiter the type's.
	CREATE FUNCTION json_items(j json, scale numeric, delimiter text) RETURNS text LANGUAGE sql AS $$
		SELECT '{' || coalesce(string_agg(CASE
			WHEN json_typeof(e) = 'array' THEN json_items(e, scale, delimiter)
			WHEN json_typeof(e) = 'null' THEN 'NULL'
			WHEN scale IS NOT NULL THEN ((e #>> '{}')::numeric * scale)::text
			ELSE '"' || replace(replace(e #>> '{}', '\', '\\'), '"', '\"') || '"'
			END, delimiter ORDER BY n), '') || '}'
		FROM json_array_elements(j) WITH ORDINALITY AS i (e, n)
	$$;
	CREATE FUNCTION json_bounds(j json) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		items json := j -> 'values';
		subscripts text := '';
		bound integer;
	BEGIN
		FOR bound IN SELECT b::text::integer FROM json_array_elements(j -> 'lower_bounds') AS b LOOP
			subscripts := subscripts || format('[%s:%s]', bound, bound + json_array_length(items) - 1);
			items := items -> 0;
		END LOOP;
		RETURN subscripts || '=';
	END $$;
	CREATE FUNCTION array_of_json(j json, scale numeric, delimiter text) RETURNS text LANGUAGE sql AS $$
		SELECT CASE json_typeof(j)
			WHEN 'array' THEN json_items(j, scale, delimiter)
			WHEN 'object' THEN json_bounds(j) || json_items(j -> 'values', scale, delimiter)
			ELSE j #>> '{}' END
	$$;
	SQL

# from_json TYPE, JSON[, whether it is a domain over an array]: SQL that makes a value of a type from SQL that gives its JSON.
sub from_json
{
	my ($type, $json, $is_array) = @_;

	# money is its smallest unit
	return "((($json) #>> '{}')::numeric * 0.01)::money" if $type eq 'money';
	return sprintf "array_of_json(%s, %s, '%s')::%s", $json, $type eq 'money[]' ? '0.01' : 'NULL',
		$type eq 'box[]' ? ';' : ',', $type if $is_array || $type =~ /\[\]$/;
	# The cast from text does not know all that the input function reads.
	return "regclassin(textout(($json) #>> '{}'))" if $type eq 'regclass';
	return "(($json) #>> '{}')::$type";
}

1;
