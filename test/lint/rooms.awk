# rooms.awk: hold every #include of src/ to src/rooms.
#   awk -f test/lint/rooms.awk src/rooms src/*.c src/*/*.[ch]
# A room includes its own headers, and the public ones of the rooms that its line names; never another room's
# *_private.h. Own headers are included by path from src/. Files directly in src/ may include every public header.
# Prints file:line: what is wrong; status 1 if anything is.

function wrong(text)
{
	printf "%s:%d: %s\n", FILENAME, FNR, text
	bad = 1
}

BEGIN {
	for (i = 2; i < ARGC; i++)
	{
		n = split(ARGV[i], part, "/")
		if (n == 3)
		{
			folder[part[2]] = 1
			header[part[2] "/" part[3]] = 1
		}
	}
}

FNR == 1 {
	n = split(FILENAME, part, "/")
	me = (n == 3) ? part[2] : ""
	if (FILENAME != ARGV[1] && me != "" && !(me in known))
		wrong("src/rooms has no line for the room \"" me "\"")
}

# src/rooms itself: a room may name only rooms that stand above it, so there can be no circle.
FILENAME == ARGV[1] {
	sub(/#.*/, "")
	if ($0 ~ /^[ \t]*$/)
		next
	if ($1 !~ /^[a-z]+:$/)
	{
		wrong("a line is \"room: room room\"")
		next
	}
	room = substr($1, 1, length($1) - 1)
	if (room in known)
		wrong("the room \"" room "\" has two lines")
	for (i = 2; i <= NF; i++)
	{
		if (!($i in known))
			wrong("\"" room "\" names \"" $i "\", which does not stand above it")
		may[room, $i] = 1
	}
	known[room] = 1
	next
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, quoted, "\"")
	path = quoted[2]
	n = split(path, part, "/")
	if (path ~ /^\.\.?\//)
	{
		wrong("include \"" path "\" by its path from src/")
		next
	}
	if (n == 1 && me != "" && ((me "/" path) in header))
	{
		wrong("include \"" path "\" as \"" me "/" path "\"")
		next
	}
	if (n != 2 || !(part[1] in known || part[1] in folder) || part[1] == me)
		next
	if (!(part[1] in known))
		wrong("\"" path "\" is in a folder that src/rooms does not name")
	else if (path ~ /_private\.h$/)
		wrong("\"" path "\" is private to the room \"" part[1] "\"")
	else if (me != "" && !((me, part[1]) in may))
		wrong("\"" me "\" may not include \"" path "\": its line in src/rooms does not name \"" part[1] "\"")
}

END { exit bad }
