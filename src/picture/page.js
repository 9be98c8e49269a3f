/*
 * page.js: what is seen. A card for each relation, a curve for each link, and the path of what is chosen. What is open, chosen or hidden is
 * kept in `state`; draw() makes the picture anew where cards change their size, light() where only the path does.
 */
const MEANING = {
	IDENTITY: "taken as it is", TRANSFORMATION: "computed from it", AGGREGATION: "made of many rows of it", JOIN: "joined by it", FILTER: "filtered by it",
	GROUP_BY: "grouped by it", SORT: "ordered by it", WINDOW: "a window is made of it", CONDITIONAL: "chosen by it", ROWS: "its rows are counted on"
};
const STAGES = {
	source: "source", log: "change log", mirror: "mirror", table: "table", dimension: "dimension", fact: "fact", rollup: "rollup", snapshot: "periodic snapshot", view: "view"
};
const HEAD = 34, ROW = 22, FOOT = 6, WIDTH = {least: 150, most: 340};
// Relations begin open where they have no more columns than this, and all of them together no more than that.
const OPEN_AT_FIRST = {each: 24, all: 600};

const $ = id => document.getElementById(id);
const graph = new Graph(JSON.parse($("data").textContent));
const state = {open: new Set(), chosen: null, path: null, only: false, indirect: true, hits: new Set(), fitted: false, view: {x: 0, y: 0, k: 1}};
const cards = new Map(); // of relations that are shown: {element, x, y, width, height, ports: elements by port}
let paths = []; // {element, links, bends, own: within a card, class}
const pen = document.createElement("canvas").getContext("2d");

// element(tag, {attributes}, children...): texts as texts, whatever is in them.
function element(tag, attributes, ...children) {
	const made = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes || {}))
		if (name === "class")
			made.className = value;
		else if (name.startsWith("on"))
			made.addEventListener(name.slice(2), value);
		else
			made.setAttribute(name, value);
	made.append(...children);
	return made;
}

// ---- What is shown

const isShown = relation => !state.only || state.path.relations.has(relation);
const shownPorts = relation => !state.open.has(relation) ? [] : relation.ports.filter(port => !state.only || state.path.ports.has(port));
const shownLinks = () => graph.links.filter(link => (state.indirect || link.direct) && (state.only ? state.path.links.has(link) : true));
// Types as people write them.
const typeOf = column => (column.type || "").replace(/^(timestamp|time)(\(\d\))? with time zone/, "$1tz$2").replace(/ without time zone/, "").replace("character varying", "varchar").replace("double precision", "float8");
const counted = (number, word) => number + " " + word + (number === 1 ? "" : "s");
const label = port => port.name === "" ? port.relation.id : port.relation.id + "." + port.name;

// Names as PostgreSQL quotes them: up to the last point outside of quotes is the schema.
function nameParts(id) {
	const [schema] = /^(?:.*: )?(?:"(?:[^"]|"")*"|[^".]*)\.(?=.)/s.exec(id) || [""];
	return [schema, id.slice(schema.length)];
}

function textWidth(text, font) {
	pen.font = font;
	return pen.measureText(text).width;
}

function sizeOf(relation) {
	const ports = shownPorts(relation), family = "system-ui, sans-serif";
	const widest = Math.max(textWidth(relation.id, "600 13px " + family) + 84,
		...ports.map(port => textWidth(port.name, "600 12.5px " + family) + textWidth(typeOf(port.column), "11px " + family) + 42));
	return {width: Math.min(WIDTH.most, Math.max(WIDTH.least, Math.ceil(widest))), height: HEAD + (ports.length ? ports.length * ROW + FOOT : 0)};
}

// ---- Drawing

function draw() {
	const shown = graph.relations.filter(isShown), number = new Map(shown.map((relation, i) => [relation, i]));
	const nodes = shown.map(sizeOf), pairs = new Map();
	for (const link of shownLinks()) {
		const from = number.get(link.from.relation), to = number.get(link.to.relation);
		if (from !== undefined && to !== undefined && from !== to)
			pairs.set(from + ">" + to, [from, to]);
	}
	const via = layered(nodes, [...pairs.values()]);
	const ways = new Map([...pairs.keys()].map((key, i) => [key, via[i]]));
	drawCards(shown, nodes);
	drawLinks(number, ways);
	light();
}

function drawCards(shown, nodes) {
	const kept = document.activeElement && document.activeElement.dataset.port;
	cards.clear();
	shown.forEach((relation, i) => {
		const {x, y, width, height} = nodes[i], ports = new Map();
		const [schema, name] = nameParts(relation.id);
		const head = element("div", {class: "head"},
			element("button", {type: "button", class: "name", tabindex: -1, "data-port": relation.rows.id}, element("i", {}, schema), element("b", {}, name)),
			element("span", {class: "size"}));
		if (relation.ports.length)
			head.append(element("button", {type: "button", class: "toggle", tabindex: -1, "aria-label": "Columns of " + relation.id, "aria-expanded": state.open.has(relation)}));
		const card = element("article", {class: "card" + (height > HEAD ? " open" : "") + (relation.is_stale ? " stale" : ""), "data-stage": relation.stage, "data-relation": relation.index}, head);
		ports.set(relation.rows, card);
		for (const port of shownPorts(relation)) {
			const row = element("button", {type: "button", class: "column", tabindex: -1, "data-port": port.id},
				element("span", {class: "name"}, port.name), element("span", {class: "type"}, typeOf(port.column)));
			ports.set(port, row);
			card.append(row);
		}
		Object.assign(card.style, {left: x + "px", top: y - height / 2 + "px", width: width + "px", height: height + "px"});
		cards.set(relation, {element: card, ports, x, y: y - height / 2, width, height});
	});
	$("cards").replaceChildren(...[...cards.values()].map(card => card.element));
	const first = $("cards").querySelector("button");
	if (first)
		first.tabIndex = 0;
	if (kept !== undefined && kept !== null)
		focusOn(graph.ports[kept]);
}

// Where a link meets a card: at the column's row, or at the head of a card that is closed.
function middleOf(card, port) {
	const row = card.ports.get(port);
	return row && row !== card.element ? card.y + HEAD + ROW * ([...card.ports.keys()].indexOf(port) - 0.5) : card.y + HEAD / 2;
}

function drawLinks(number, ways) {
	const drawn = new Map(), heights = new Map();
	const height = port => {
		if (!heights.has(port))
			heights.set(port, middleOf(cards.get(port.relation), port));
		return heights.get(port);
	};
	for (const link of shownLinks()) {
		const from = cards.get(link.from.relation), to = cards.get(link.to.relation);
		if (!from || !to)
			continue;
		const own = from === to, a = height(link.from), b = height(link.to);
		if (own && a === b)
			continue;
		const key = [link.from.relation.index, a, link.to.relation.index, b].join();
		const path = drawn.get(key) || {links: [], own, direct: false};
		path.links.push(link);
		path.direct = path.direct || link.direct;
		path.bends = path.bends || (own ? bow(from, a, b) : curve([[from.x + from.width, a], ...ways.get(number.get(link.from.relation) + ">" + number.get(link.to.relation)), [to.x, b]]));
		drawn.set(key, path);
	}
	paths = [...drawn.values()];
	const made = document.createDocumentFragment();
	paths.forEach(path => {
		path.element = document.createElementNS("http://www.w3.org/2000/svg", "path");
		path.element.setAttribute("d", path.bends.map(([x, y, ...rest]) => "M" + x + " " + y + "C" + rest.join(" ")).join(""));
		path.class = (path.direct ? "direct" : "indirect") + (path.own ? " own" : "");
		made.append(path.element);
	});
	$("links").replaceChildren(made);
}

// Bends, each two ends and two points between that draw it, through points: leaving and arriving level. A line that goes back takes a wide one.
function curve(points) {
	return points.slice(1).map(([bx, by], i) => {
		const [ax, ay] = points[i], reach = bx > ax ? (bx - ax) / 2 : Math.min(160, 60 + (ax - bx) / 4);
		return [ax, ay, ax + reach, ay, bx - reach, by, bx, by].map(Math.round);
	});
}

// From a column to another of the same relation: around the card's right side.
function bow(card, a, b) {
	const x = card.x + card.width, reach = x + 20 + Math.min(60, Math.abs(a - b) / 3);
	return [[x, a, reach, a, reach, b, x, b].map(Math.round)];
}

// ---- The path of what is chosen

function choose(port) {
	state.chosen = port;
	if (!port)
		state.path = null;
	else {
		const {up, down} = graph.path(port, state.indirect);
		const ports = new Set([...up.ports, ...down.ports]);
		state.path = {up, down, ports, links: new Set([...up.links, ...down.links]), relations: new Set([...ports].map(p => p.relation))};
	}
	const redraw = state.only;
	state.only = state.only && port !== null;
	describe();
	if (redraw)
		draw();
	else
		light();
	if (state.fitted)
		fit(true, state.fitted);
}

function light() {
	const {path, chosen} = state;
	document.body.classList.toggle("lit", path !== null);
	$("only").disabled = !path;
	$("only").setAttribute("aria-pressed", state.only);
	const isStart = port => port === chosen || chosen.name === "" && port.relation === chosen.relation;
	for (const [relation, card] of cards) {
		const lit = path && path.relations.has(relation);
		card.element.classList.toggle("on", Boolean(lit));
		card.element.classList.toggle("has-hit", relation.ports.concat(relation.rows).some(port => state.hits.has(port)));
		card.element.querySelector(".size").textContent = relation.ports.length && (lit ? relation.ports.filter(port => path.ports.has(port)).length + "/" : "") + relation.ports.length;
		for (const [port, row] of card.ports) {
			const isOn = path && path.ports.has(port), isCard = row === card.element;
			row.classList.toggle("chosen", port === chosen);
			row.classList.toggle("hit", state.hits.has(port));
			if (isCard)
				continue;
			row.classList.toggle("on", Boolean(isOn));
			row.classList.toggle("up", Boolean(isOn && path.up.ports.has(port) && !isStart(port)));
			row.classList.toggle("down", Boolean(isOn && !path.up.ports.has(port) && !isStart(port)));
			row.setAttribute("aria-pressed", port === chosen);
		}
	}
	const above = [];
	for (const {element, links, class: plain} of paths) {
		const up = path && links.some(link => path.up.links.has(link)), down = path && links.some(link => path.down.links.has(link));
		element.setAttribute("class", plain + (up ? " on up" : down ? " on down" : ""));
		if (up || down)
			above.push(element);
	}
	$("links").append(...above);
}

// ---- What is said of it

function describe() {
	const port = state.chosen, box = $("details");
	box.hidden = !port;
	if (!port)
		return;
	const {relation, column} = port, parts = [];
	const add = (tag, text, kind) => text && parts.push(element(tag, kind ? {class: kind} : {}, text));
	parts.push(element("button", {type: "button", class: "close", "aria-label": "Close", onclick: () => choose(null)}, "\u00d7"));
	add("h2", port.name || relation.id);
	if (port.name) {
		add("p", (column.type ? column.type + " of " : "of ") + relation.id, "soft");
		add("p", column.comment);
	} else {
		add("p", [relation.kind === STAGES[relation.stage] ? relation.kind : STAGES[relation.stage] + ", " + relation.kind, relation.feed && "feed " + relation.feed].filter(Boolean).join("; "), "soft");
		add("p", relation.comment);
	}
	if (relation.is_stale)
		add("p", "Its lineage may be out of date: " + relation.stale_reason + ".");
	if (relation.opaque.length)
		add("p", "It uses functions that may read what is not seen: " + relation.opaque.join(", ") + ".");
	parts.push(...neighbours(port, "before", "from", "Comes from"), ...neighbours(port, "after", "to", "Bears on"));
	const extent = side => {
		const found = [...side.ports].filter(p => p.name !== "" && p.relation !== relation);
		return counted(found.length, "column") + " of " + counted(new Set(found.map(p => p.relation)).size, "relation");
	};
	add("h3", "All the way");
	add("p", "up: " + extent(state.path.up));
	add("p", "down: " + extent(state.path.down));
	if (relation.definition) {
		add("h3", "Definition");
		add("pre", relation.definition.trim());
	}
	box.replaceChildren(...parts);
	box.scrollTop = 0;
}

// One step up or down from a port; of a whole relation, which others it is linked to.
function neighbours(port, side, end, title) {
	const whole = port.name === "", found = new Map();
	for (const link of (whole ? [port, ...port.relation.ports] : [port]).flatMap(p => p[side])) {
		const other = whole ? link[end].relation.rows : link[end];
		if (other !== port && (state.indirect || link.direct))
			found.set(other, new Set([...found.get(other) || [], ...link.ways]));
	}
	const items = [...found].map(([other, ways]) => element("li", {}, element("button", {type: "button", onclick: () => visit(other)},
		label(other), element("small", {}, [...ways].map(way => MEANING[way] || way).join(", ")))));
	return items.length ? [element("h3", {}, title), element("ul", {}, ...items)] : [];
}
