# Pictures of lineage in the hands of those who read them: Graphviz takes the dot, and a browser shows the page. A click on a column lights up exactly what upstream() and
# downstream() say; names are shown as they are, whatever is in them; search, keys, themes and print do what they should; nothing is asked of any network, nothing runs but the page's own
# script; 500 relations are laid out in a moment, without overlap.
#   PICTURES=DIR   keeps the pages, and what the browser showed
use strict;
use warnings;
use FindBin;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use WalhouseBrowser;
use WalhouseTest;
use Test::More;

my $node = new_server('house', extension => 1, initdb => ['--encoding=UTF8']);
my $folder = $ENV{PICTURES} || PostgreSQL::Test::Utils::tempdir();
my $json = JSON::PP->new->canonical->allow_nonref;

$node->safe_psql('postgres', <<"SQL");
\\i $FindBin::Bin/../lib/handfeed.sql
SELECT handfeed.make('shop', 'UTC');
CREATE TABLE shop.customers (id int PRIMARY KEY, name text, city text, segment text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, ordered_at timestamptz, status text, channel text, amount numeric, discount numeric, paid boolean);
SELECT handfeed.add('shop', 'shop.customers'), handfeed.add('shop', 'shop.orders');
CREATE SCHEMA dw;
SELECT walhouse.create_dimension('dw.customer', 'SELECT id, upper(name) AS name, city, segment FROM shop.customers', '{id}');
SELECT walhouse.create_junk_dimension('dw.kind', '{status text,channel text}');
SELECT walhouse.create_fact('dw.sales', 'SELECT id, customer_id, ordered_at, status, channel, amount, amount * (1 - discount) AS net, paid FROM shop.orders', '{id}', 'ordered_at',
	'{"customer_sk": "dw.customer(customer_id)", "kind_sk": "dw.kind(status,channel)"}', milestones => '{"paid_at": "paid"}');
SELECT walhouse.create_rollup('dw.by_customer', 'dw.sales', '{customer_sk}', '{"n": "count(*)", "total": "sum(amount)"}', 'month');
CREATE SCHEMA bi;
SELECT walhouse.track_lineage('bi');
CREATE VIEW bi.revenue AS SELECT customer_city AS city, sum(amount) AS revenue FROM dw.sales_as_was WHERE status = 'paid' GROUP BY customer_city;
CREATE VIEW bi.top AS SELECT city, revenue, rank() OVER (ORDER BY revenue DESC) AS place FROM bi.revenue LIMIT 10;
COMMENT ON COLUMN bi.top.place IS 'first is best';
\\i $FindBin::Bin/../lib/hostile_names.sql
SQL

sub picture
{
	my ($name, $format, $root) = @_;
	my $file = "$folder/$name.$format";

	$node->command_ok([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . " options='-c client_encoding=UTF8'", '-o', $file, '-c', "SELECT walhouse.lineage_graph('$format'" . ($root ? ", $root" : '') . ')' ],
		"$name is drawn as $format");
	return $file;
}

# ---- Graphviz
my $dot = picture('names', 'dot', q{'"a.b"."v</table>"'});
SKIP:
{
	skip('Graphviz is not there', 3) unless grep { -x "$_/dot" } split /:/, $ENV{PATH};
	my ($svg, $err);
	IPC::Run::run([ 'dot', '-Tsvg', $dot ], '>', \$svg, '2>', \$err);
	is($?, 0, 'Graphviz draws it');
	is($err, '', 'without a warning');
	my %shown = map { $_ => 1 } map { s/&#(\d+);/chr $1/ger =~ s/&lt;/</gr =~ s/&gt;/>/gr =~ s/&quot;/"/gr =~ s/&amp;/&/gr =~ s/\xa0/ /gr } map { utf8::decode(my $t = $_); $t } $svg =~ m{<text[^>]*>([^<]*)</text>}g;
	my @missing = grep { !$shown{$_} } map { s/[\x00-\x1f]/?/gr } @{ names('"a.b"."v</table>"') };
	is_deeply(\@missing, [], 'with every name as it is, but for control characters');
}

# ---- The browser
my $browser = WalhouseBrowser->start(width => 1500, height => 900);
unless ($browser)
{
	SKIP: { skip('there is no Chromium to open the page in', 1); }
	$node->stop('fast');
	done_testing();
	exit;
}
open_page(picture('star', 'html'));
is($browser->value('document.title'), 'Lineage of postgres', 'the page is there');
is($browser->value('graph.relations.length'), sql($node, "SELECT jsonb_array_length(walhouse.lineage_graph_json() -> 'relations')"), 'with all relations');
is($browser->value('document.querySelectorAll(".card").length'), $browser->value('graph.relations.length'), 'a card for each');
is($browser->value('document.querySelectorAll("#links path").length > 40'), 1, 'and curves');
is(overlaps(), '', 'no card lies on another');
is($browser->value(q{[...cards.values()].every(c => { const r = c.element.getBoundingClientRect(), s = $("stage").getBoundingClientRect(); return r.left >= s.left && r.right <= s.right && r.top >= s.top && r.bottom <= s.bottom; })}),
	1, 'all are in the window');
shot('star');

# What upstream() and downstream() say of each column; change logs that nothing reads are not drawn.
my $said = $json->decode(decoded(sql($node, q{
	SELECT jsonb_agg(jsonb_build_object('relation', c.relation, 'column', c.name,
		'all', (SELECT jsonb_agg(DISTINCT jsonb_build_array(n.node, n.name)) FROM said n WHERE (n.relation, n.of) = (c.relation, c.name)),
		'values', (SELECT jsonb_agg(DISTINCT jsonb_build_array(n.node, n.name)) FROM said n WHERE (n.relation, n.of) = (c.relation, c.name) AND n.kind = 'DIRECT')))
	FROM columns c} =~ s/\A/WITH columns AS (
		SELECT r.relation::regclass::text AS relation, a.attname::text AS name FROM (SELECT relation FROM walhouse.lineage_relation UNION SELECT mirror FROM walhouse.feed_table) r
			JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum > 0 AND NOT a.attisdropped
	), said AS MATERIALIZED (
		SELECT c.relation, c.name AS of, c.relation AS node, c.name, 'DIRECT' AS kind FROM columns c
		UNION ALL
		SELECT c.relation, c.name, u.node, u.source_column, u.kind FROM columns c, walhouse.upstream(c.relation::regclass, c.name) u WHERE u.source_column IS NOT NULL AND u.node NOT LIKE 'shop\\_log.%'
		UNION ALL
		SELECT c.relation, c.name, d.node, d.reader_column, d.kind FROM columns c, walhouse.downstream(c.relation::regclass, c.name) d WHERE d.reader_column IS NOT NULL
	)/r)));
cmp_ok(scalar @$said, '>', 60, 'of many columns there is something to say');
$browser->value('openAll(true)');
my $told = $browser->value('(' . q{said => {
	const lit = ({relation, column}) => {
		choose(graph.port(relation, column));
		return [...document.querySelectorAll(".column.on")].map(e => [graph.relations[e.closest(".card").dataset.relation].id, e.querySelector(".name").textContent]);
	};
	const all = said.map(lit);
	setIndirect(false);
	const values = said.map(lit);
	return all.map((lit, i) => ({all: lit, values: values[i]}));
}} . ')(' . $json->encode([ map { { relation => $_->{relation}, column => $_->{column} } } @$said ]) . ')');
my @wrong;
for my $i (0 .. $#$said)
{
	for my $kind (qw(all values))
	{
		my ($expected, $found) = map { join "\n", sort map { join '.', @$_ } @{ $_->[$i]{$kind} } } $said, $told;
		push @wrong, "$said->[$i]{relation}.$said->[$i]{column} ($kind)\nexpected:\n$expected\nfound:\n$found" if $expected ne $found;
	}
}
is(scalar @wrong, 0, 'each column lights up what is up and down from it, and nothing else') or diag($wrong[0]);
$browser->value('setIndirect(true); choose(null); fit(false)');

# By hand: a click lights up, the rest fades, a click beside it ends that.
$browser->click(row('dw.sales', 'amount'));
is($browser->value('state.chosen && label(state.chosen)'), 'dw.sales.amount', 'a click chooses the column');
is_deeply(lit('up'), [ 'shop.orders.amount', 'shop: public.orders.amount' ], 'up are its sources');
is_deeply(lit('down'), [ sort 'dw.sales_as_was.amount', 'dw.sales_as_is.amount', 'dw.by_customer.total', 'bi.revenue.revenue', 'bi.top.revenue', 'bi.top.place' ], 'down are its readers');
ok($browser->until(q{getComputedStyle(cards.get(graph.byId.get("shop.customers")).element).opacity < 0.3}), 'what is not on the path fades');
is($browser->value(q{getComputedStyle(cards.get(graph.byId.get("shop.orders")).element).opacity}), '1', 'what is on it does not');
like($browser->value('$("details").textContent'), qr/amount.*numeric of dw\.sales.*shop\.orders\.amount.*taken as it is.*SELECT/s, 'the side tells of it');
shot('path');
$browser->click('#only');
is($browser->value('document.querySelectorAll(".card").length'), $browser->value('state.path.relations.size'), 'the path alone');
is($browser->value('document.querySelectorAll(".column:not(.on)").length'), 0, 'has no other columns');
is(overlaps(), '', 'and no overlaps');
shot('only');
$browser->key('Escape');
$browser->key('Escape');
is($browser->value('String(state.only) + document.body.classList.contains("lit")'), 'falsefalse', 'Escape, twice, ends both');
$browser->value('fit(false)');
$browser->click(q{cards.get(graph.byId.get("dw.kind")).element.querySelector(".toggle")});
is($browser->value(q{cards.get(graph.byId.get("dw.kind")).ports.size}), 1, 'a relation is closed');
is(overlaps(), '', 'and the picture is made anew');

# An edge tells what it is.
$browser->value('fit(false)');
my $point = $browser->value(q{(() => { const path = paths.find(p => p.links[0].from === graph.port("bi.revenue", "revenue") && p.links[0].to === graph.port("bi.top", "place")).element;
	const at = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM()); return {x: at.x, y: at.y}; })()});
ok($browser->hover($point->{x}, $point->{y}, '!$("tip").hidden'), 'an edge under the mouse has something to say')
	or diag(join "\n", "at $point->{x}, $point->{y}", $browser->value("[document.elementFromPoint($point->{x}, $point->{y}).outerHTML.slice(0, 200), state.view, [...cards].map(([r, c]) => [r.id, c.x, c.y, c.width, c.height])].map(x => JSON.stringify(x)).join()"));
like($browser->value('$("tip").textContent'), qr/bi\.revenue\.revenue . bi\.top\.place.*indirect, window/, 'from where to where, and how');
is($browser->value(q{(() => { let missed = 0; for (const k of [0.5, 0.73, 1]) { show({...state.view, k}); for (const path of paths.filter(p => !p.own)) {
	const at = path.element.getPointAtLength(path.element.getTotalLength() / 3).matrixTransform(path.element.getScreenCTM()); missed += !pathNear(at.x, at.y, 2); } } return missed; })()}),
	0, 'so has every edge, however small the picture is');
$browser->value('fit(false)');

# Search.
$browser->key('/', '/');
is($browser->value('document.activeElement.id'), 'search', 'a key leads to the search');
$browser->type('City');
my $cities = sql($node, q{SELECT count(*) FROM jsonb_array_elements(walhouse.lineage_graph_json() -> 'relations') r, jsonb_array_elements(r -> 'columns') c WHERE c ->> 'name' ~* 'city'});
is($browser->value('$("count").textContent'), "$cities found", 'it finds whatever the case');
is($browser->value('[...document.querySelectorAll("#found mark")].every(m => m.textContent === "city")'), 1, 'and marks it');
is($browser->value('document.querySelectorAll(".column.hit").length'), $cities, 'in the picture, too');
$browser->key('ArrowDown');
my $second = $browser->value('label(graph.ports[$("found").children[1].dataset.port])');
$browser->key('Enter');
is($browser->value('label(state.chosen)'), $second, 'Enter takes the one that the arrows went to');
ok($browser->until('(r => r.left > 0 && r.right < innerWidth && r.top > 40)(elementOf(state.chosen).getBoundingClientRect())'), 'and brings it into sight');
$browser->value('$("search").value = ""; find(""); choose(null); setIndirect(true); fit(false)');

# Keys.
$browser->value('focusOn(graph.port("bi.revenue", "revenue"))');
$browser->key('ArrowLeft');
is($browser->value('label(graph.ports[document.activeElement.dataset.port])'), 'dw.sales_as_was.amount', 'left is where it comes from');
$browser->key('ArrowUp');
is($browser->value('graph.ports[document.activeElement.dataset.port].relation.id'), 'dw.sales_as_was', 'up is another column');
$browser->key('Enter', "\r");
ok($browser->value('state.chosen && state.chosen.id === Number(document.activeElement.dataset.port)'), 'Enter chooses');
$browser->key('Escape');
my $before = $browser->value('state.view.k');
$browser->key('+', '+');
cmp_ok($browser->value('state.view.k'), '>', $before, 'plus makes it larger');

# The wheel holds on to what is under the mouse, dragging moves, and is no click.
$browser->value('fit(false)');
$before = $browser->value('state.view.k');
my $world = '(r => [(700 - r.left) / state.view.k, (400 - r.top) / state.view.k].map(Math.round).join())($("world").getBoundingClientRect())';
my $held = $browser->value($world);
$browser->mouse('mouseWheel', 700, 400, deltaX => 0, deltaY => -300);
ok($browser->until("state.view.k > $before * 1.2"), 'the wheel makes it larger');
is($browser->value($world), $held, 'around the mouse');
my $x = $browser->value('state.view.x');
my $card = $browser->place(row('dw.sales', 'net'));
$browser->mouse('mousePressed', $card->{x}, $card->{y}, button => 'left', buttons => 1, clickCount => 1);
$browser->mouse('mouseMoved', $card->{x} - 40 * $_, $card->{y}, button => 'left', buttons => 1) for 1 .. 3;
$browser->mouse('mouseReleased', $card->{x} - 120, $card->{y}, button => 'left', buttons => 0, clickCount => 1);
is($browser->value('Math.round(state.view.x)'), sprintf('%.0f', $x - 120), 'a drag moves the picture');
is($browser->value('state.chosen'), undef, 'and chooses nothing');

# Dark and light: as the system likes, until the button says otherwise.
my $back = 'getComputedStyle(document.body).backgroundColor';
my $light = $browser->value($back);
$browser->scheme('dark');
my $dark = $browser->value($back);
isnt($dark, $light, 'the page is dark where the system is');
shot('dark');
$browser->click('#theme');
is($browser->value($back), $light, 'the button makes it light');
$browser->scheme('light');
$browser->click('#theme');
is($browser->value($back), $dark, 'and dark');
$browser->click('#theme');

# Names that are markup: texts, nothing else.
open_page(picture('names', 'html', q{'"a.b"."v</table>"'}));
is_deeply($browser->value(q{[...cards.get(graph.byId.get('"a.b"."v</table>"')).element.querySelectorAll(".column .name")].map(e => e.textContent)}), names('"a.b"."v</table>"'), 'names are shown as they are');
is($browser->value('document.querySelectorAll(".card b b, .card table, img, #data ~ script").length'), 1, 'none has become an element');
is($browser->value('document.title'), 'Lineage of "a.b"."v</table>"', 'nor ended the title');
is($browser->value('label(state.chosen)'), '"a.b"."v</table>"', 'the root is chosen from the start');
is_deeply(lit('down'), [], 'nothing is down from it');
like($browser->value('$("details").textContent'), qr{</script><img src=x onerror="alert\(3\)"> & so on}, 'its comment is text, too');
$browser->value('[...$("details").querySelectorAll("li button")][0].click()');
is($browser->value('label(state.chosen)'), '"a.b"."t ""<table>"" & co"', 'the side leads to neighbours');
is_deeply($browser->value(q{['dw.sales', 'shop: public.orders', '"a.b"."c.d"', 'plain', 'a."b.c"'].map(id => nameParts(id).join("|"))}),
	[ 'dw.|sales', 'shop: public.|orders', '"a.b".|"c.d"', '|plain', 'a.|"b.c"' ], 'schemas are told from names');
shot('names');

# Five hundred relations.
$node->safe_psql('postgres', <<'SQL');
DO $$
BEGIN
	FOR n IN 1 .. 125 LOOP
		EXECUTE format('CREATE VIEW bi.by_city_%s AS SELECT s.customer_city AS city, sum(s.net) AS net, count(*) AS n, rank() OVER (ORDER BY sum(s.net) DESC) AS place FROM dw.sales_as_was s WHERE s.amount > %s GROUP BY 1', n, n);
		EXECUTE format('CREATE VIEW bi.top_%s AS SELECT b.city, b.net FROM bi.by_city_%s b WHERE place <= 3', n, n);
		EXECUTE format('CREATE VIEW bi.people_%s AS SELECT c.name, c.segment FROM dw.customer c WHERE c.is_current', n);
		EXECUTE format('CREATE VIEW bi.wide_%s AS SELECT s.*, p.net AS best FROM dw.sales_as_is s JOIN bi.top_%s p ON p.city = s.customer_city', n, n);
	END LOOP;
END $$;
SQL
my $took = open_page(picture('large', 'html'));
cmp_ok($browser->value('graph.relations.length'), '>=', 510, 'more than 500 relations');
my $laid = $browser->value('(began => { draw(); return performance.now() - began; })(performance.now())');
my $opened = $browser->value('(began => { openAll(true); return performance.now() - began; })(performance.now())');
diag(sprintf('%d relations with %d links: opened in %.0f ms, laid out in %.0f ms, with all columns in %.0f ms',
	$browser->value('graph.relations.length'), $browser->value('graph.links.length'), $took, $laid, $opened));
cmp_ok($took, '<', 10_000, 'are opened in time');
cmp_ok($laid, '<', 5_000, 'laid out in time');
cmp_ok($opened, '<', 10_000, 'with all their columns, too');
is(overlaps(), '', 'without overlap');
$browser->value('openAll(false); choose(graph.port("bi.wide_7", "best"))');
is($browser->value('state.path.relations.has(graph.byId.get("shop.orders")) && !state.path.relations.has(graph.byId.get("bi.wide_8"))'), 1, 'a path through them is the right one');
$browser->value('setOnly(true)');
cmp_ok($browser->value('cards.size'), '<', 15, 'and small when it is alone');
shot('large');

# On paper there is the picture, light, without what cannot be pressed there.
$browser->send('Emulation.setEmulatedMedia', { media => 'print' });
is($browser->value('getComputedStyle(document.querySelector("nav")).display + getComputedStyle(document.querySelector("#stage")).display'), 'noneblock', 'buttons are not printed');
cmp_ok(length $browser->send('Page.printToPDF', { landscape => JSON::PP::true })->{data}, '>', 10_000, 'it prints');
$browser->send('Emulation.setEmulatedMedia', { media => '' });

# Nothing but its own script runs, and nothing is fetched; of that alone the browser complains.
is_deeply([ $browser->complaints ], [], 'no complaint in the console');
is_deeply([ grep { !m{^file://\Q$folder\E/\w+\.html$} } $browser->requests ], [], 'no request leaves the page');
$browser->value('{ const s = document.createElement("script"); s.textContent = "window.taken = 1"; document.body.append(s); }');
is($browser->value('window.taken'), undef, 'a script that got in would not run');
$browser->value('{ const i = document.createElement("img"); i.src = "file:///nothing.png"; document.body.append(i); }');
ok($browser->until('true') && wait_until(sub { $browser->value('1'); 2 <= grep { /Content Security Policy/ } $browser->complaints }, 30), 'nor be a picture fetched');

$node->stop('fast');
done_testing();

sub open_page
{
	my ($file) = @_;
	return $browser->open($file);
}

# names RELATION: of its columns, in their order.
sub names
{
	my ($relation) = @_;
	return $json->decode(decoded(sql($node, "SELECT json_agg(attname ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$relation'::regclass AND attnum > 0")));
}

# decoded: psql gives bytes.
sub decoded
{
	my ($text) = @_;
	utf8::decode($text) unless utf8::is_utf8($text);
	return $text;
}

# row RELATION, COLUMN: an expression for the page.
sub row { return 'elementOf(graph.port(' . $json->encode($_[0]) . ', ' . $json->encode($_[1]) . '))' }

# lit UP_OR_DOWN: columns in that colour.
sub lit
{
	my ($side) = @_;
	return $browser->value("[...document.querySelectorAll('.column.$side')].map(e => label(graph.ports[e.dataset.port])).sort()");
}

# overlaps: two cards that lie on each other, if there are any.
sub overlaps
{
	return $browser->value(q{(() => { const all = [...cards].sort((a, b) => a[1].y - b[1].y);
		for (let i = 0; i < all.length; i++)
			for (let j = i + 1; j < all.length && all[j][1].y < all[i][1].y + all[i][1].height; j++)
				if (all[i][1].x < all[j][1].x + all[j][1].width && all[j][1].x < all[i][1].x + all[i][1].width)
					return all[i][0].id + " and " + all[j][0].id;
		return ""; })()});
}

sub shot
{
	my ($name) = @_;
	return unless $ENV{PICTURES};
	$browser->value('new Promise(done => setTimeout(done, 400))');
	$browser->picture("$folder/$name.png");
	return;
}
