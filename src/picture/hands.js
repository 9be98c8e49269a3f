/*
 * hands.js: what people do with the page: move, find, ask, click, type. The last of the scripts: it begins.
 */

// ---- Moving about

let moving = 0;

function show(view) {
	moving++;
	put(view);
}

function put(view) {
	state.view = view;
	$("world").style.transform = "translate(" + view.x + "px," + view.y + "px) scale(" + view.k + ")";
	$("stage").style.backgroundPosition = view.x + "px " + view.y + "px";
	document.body.classList.toggle("far", view.k < 0.45);
}

// The same in a few steps, unless something else is shown meanwhile.
function moveTo(view) {
	if (matchMedia("(prefers-reduced-motion: reduce)").matches)
		return show(view);
	const from = state.view, began = performance.now(), mine = ++moving;
	const step = now => {
		if (mine !== moving)
			return;
		const t = Math.min(1, (now - began) / 220), e = 1 - (1 - t) ** 3;
		put({x: from.x + (view.x - from.x) * e, y: from.y + (view.y - from.y) * e, k: from.k + (view.k - from.k) * e});
		if (t < 1)
			requestAnimationFrame(step);
	};
	requestAnimationFrame(step);
}

function bounds(some) {
	const boxes = [...cards].filter(([relation]) => !some || some.has(relation)).map(([, card]) => card);
	return boxes.length && {left: Math.min(...boxes.map(b => b.x)), right: Math.max(...boxes.map(b => b.x + b.width)),
		top: Math.min(...boxes.map(b => b.y)), bottom: Math.max(...boxes.map(b => b.y + b.height))};
}

function fitted(width, height, box) {
	const k = Math.min(1.25, (width - 60) / (box.right - box.left), (height - 60) / (box.bottom - box.top));
	return {k, x: (width - k * (box.left + box.right)) / 2, y: (height - k * (box.top + box.bottom)) / 2};
}

// All, or the relations that are given, into the window; and it stays so until somebody moves.
function fit(animate, some) {
	const box = bounds(some instanceof Set ? some : null);
	if (!box)
		return;
	(animate ? moveTo : show)(fitted($("stage").clientWidth, $("stage").clientHeight, box));
	state.fitted = some || true;
}

function zoom(factor, x = $("stage").clientWidth / 2, y = $("stage").clientHeight / 2) {
	const {view} = state, k = Math.min(3, Math.max(0.03, view.k * factor));
	state.fitted = false;
	show({k, x: x - (x - view.x) * k / view.k, y: y - (y - view.y) * k / view.k});
}

// The picture made anew, while a card stays where it is on the screen.
function redrawAround(relation) {
	const before = cards.get(relation);
	state.fitted = false;
	draw();
	const after = cards.get(relation), {view} = state;
	if (before && after)
		show({...view, x: view.x + (before.x - after.x) * view.k, y: view.y + (before.y - after.y) * view.k});
}

function toggle(relation) {
	state.open[state.open.has(relation) ? "delete" : "add"](relation);
	redrawAround(relation);
}

function openAll(open) {
	state.open = new Set(open ? graph.relations : []);
	draw();
	fit(true);
}

function elementOf(port) {
	const card = cards.get(port.relation);
	const at = card && card.ports.get(port);
	return at === (card && card.element) ? at && at.querySelector(".name") : at;
}

function focusOn(port) {
	const at = elementOf(port);
	if (at)
		at.focus({preventScroll: true});
}

// Chooses a port and brings it to where it can be seen.
function visit(port) {
	if (!isShown(port.relation))
		state.only = false;
	choose(port);
	if (port.name !== "" && !state.open.has(port.relation))
		state.open.add(port.relation);
	draw();
	comeNear(port);
	focusOn(port);
}

function comeNear(port) {
	const card = cards.get(port.relation), {clientWidth: width, clientHeight: height} = $("stage"), k = Math.max(0.8, Math.min(1.25, state.view.k));
	// Of a relation, its columns too, as far as there is room.
	const x = card.x + card.width / 2, y = port.name === "" ? card.y + Math.min(card.height, 0.8 * height / k) / 2 : middleOf(card, port);
	const at = [x * state.view.k + state.view.x, y * state.view.k + state.view.y];
	if (state.view.k === k && at[0] > 120 && at[0] < width - 120 && at[1] > 60 && at[1] < height - 60)
		return;
	state.fitted = false;
	moveTo({k, x: width / 2 - x * k, y: height / 2 - y * k});
}

function setOnly(only) {
	if (only && !state.path)
		return;
	state.only = only;
	if (only)
		state.path.relations.forEach(relation => state.open.add(relation));
	draw();
	fit(true);
}

function setIndirect(shown) {
	state.indirect = $("indirect").checked = shown;
	if (state.chosen)
		choose(state.chosen);
	draw();
}

function setTheme(theme) {
	const dark = theme || (isDark() ? "light" : "dark");
	document.documentElement.dataset.theme = dark;
	nameTheme();
}
const isDark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const nameTheme = () => $("theme").textContent = isDark() ? "Light" : "Dark";

// ---- Finding

function find(text) {
	const wanted = text.trim().toLowerCase(), has = name => name.toLowerCase().includes(wanted);
	const found = !wanted ? [] : graph.ports.filter(port => has(port.name || port.relation.id)).sort((a, b) => (a.name !== "") - (b.name !== "") || a.id - b.id);
	state.hits = new Set(found);
	$("count").textContent = wanted ? found.length + " found" : "";
	$("found").hidden = !found.length;
	$("found").replaceChildren(...found.slice(0, 100).map((port, i) => {
		const name = port.name || port.relation.id, at = name.toLowerCase().indexOf(wanted);
		return element("li", {role: "option", "aria-selected": i === 0, "data-port": port.id},
			name.slice(0, at), element("mark", {}, name.slice(at, at + wanted.length)), name.slice(at + wanted.length), element("small", {}, port.name ? port.relation.id : STAGES[port.relation.stage]));
	}));
	light();
}

function moveInFound(step) {
	const all = [...$("found").children], now = all.findIndex(li => li.getAttribute("aria-selected") === "true");
	if (!all.length)
		return;
	const next = all[(now + step + all.length) % all.length];
	all[now].setAttribute("aria-selected", false);
	next.setAttribute("aria-selected", true);
	next.scrollIntoView({block: "nearest"});
}

function takeFound(li) {
	if (!li)
		return;
	$("found").hidden = true;
	visit(graph.ports[li.dataset.port]);
}

// ---- The tip at an edge, or at a name that has no room

let hot = [];
function heat(elements) {
	hot.forEach(e => e.classList.remove("hot"));
	hot = elements;
	hot.forEach(e => e.classList.add("hot"));
}

// The line nearest to a place in the window, if one is within some pixels: lines are too thin, and their dashes too short, to be met themselves.
function pathNear(x, y, pixels) {
	const {left, top} = $("stage").getBoundingClientRect(), {view} = state;
	const at = [(x - left - view.x) / view.k, (y - top - view.y) / view.k];
	let best = pixels / view.k, found = null;
	for (const path of paths)
		for (const bend of path.own && !path.element.classList.contains("on") ? [] : path.bends) {
			const distance = distanceTo(bend, at, best);
			if (distance < best) {
				best = distance;
				found = path;
			}
		}
	return found;
}

// How far a place is from a bend, by a chain of short lines; Infinity where it is out of reach, since a bend lies within its four points.
function distanceTo([ax, ay, bx, by, cx, cy, dx, dy], [x, y], reach) {
	if (x < Math.min(ax, bx, cx, dx) - reach || x > Math.max(ax, bx, cx, dx) + reach || y < Math.min(ay, by, cy, dy) - reach || y > Math.max(ay, by, cy, dy) + reach)
		return Infinity;
	let [px, py] = [ax, ay], least = Infinity;
	for (let i = 1; i <= 24; i++) {
		const t = i / 24, s = 1 - t, [wa, wb, wc, wd] = [s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t];
		const qx = wa * ax + wb * bx + wc * cx + wd * dx, qy = wa * ay + wb * by + wc * cy + wd * dy;
		const along = Math.max(0, Math.min(1, ((x - px) * (qx - px) + (y - py) * (qy - py)) / ((qx - px) ** 2 + (qy - py) ** 2 || 1)));
		least = Math.min(least, Math.hypot(x - px - along * (qx - px), y - py - along * (qy - py)));
		[px, py] = [qx, qy];
	}
	return least;
}

function tellAt(event) {
	const row = event.target.closest("[data-port]");
	const near = event.buttons || event.target.closest(".card") ? null : pathNear(event.clientX, event.clientY, 6);
	const port = row && graph.ports[row.dataset.port];
	if (near) {
		const {links} = near;
		heat([near.element]);
		tip(event, ...links.slice(0, 6).flatMap(link => [element("b", {}, label(link.from) + " \u2192 " + label(link.to)),
			...link.ways.map(way => element("p", {}, (["IDENTITY", "TRANSFORMATION", "AGGREGATION"].includes(way) ? "direct" : "indirect") + ", " + way.toLowerCase().replace("_", " ") + ": " + (MEANING[way] || "")))]),
		...(links.length > 6 ? [element("p", {}, "and " + (links.length - 6) + " more")] : []));
	} else {
		heat(port ? paths.filter(p => p.links.some(link => link.from === port || link.to === port)).map(p => p.element) : []);
		const text = row && row.querySelector(".name, b");
		if (port && (text.scrollWidth > text.clientWidth + 1 || row.scrollWidth > row.clientWidth + 1 || port.column && port.column.comment))
			tip(event, element("b", {}, label(port)), ...(port.column ? [element("p", {}, [port.column.type, port.column.comment].filter(Boolean).join(": "))] : []));
		else
			$("tip").hidden = true;
	}
}

function tip(event, ...content) {
	const box = $("tip");
	box.replaceChildren(...content);
	box.hidden = false;
	box.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)) + "px";
	box.style.top = (event.clientY + 20 + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : event.clientY + 16) + "px";
}

// ---- Hands

function mind() {
	const stage = $("stage"), fingers = new Map();
	let drag = null;
	stage.addEventListener("wheel", event => {
		const {left, top} = stage.getBoundingClientRect();
		event.preventDefault();
		if (event.shiftKey) {
			state.fitted = false;
			show({...state.view, x: state.view.x - event.deltaY - event.deltaX});
		} else
			zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : event.deltaMode ? 0.05 : 0.0015)), event.clientX - left, event.clientY - top);
	}, {passive: false});
	stage.addEventListener("pointerdown", event => {
		fingers.set(event.pointerId, event);
		if (event.button === 0 || event.button === 1)
			drag = {x: event.clientX, y: event.clientY, view: state.view, moved: false};
	});
	addEventListener("pointermove", event => {
		const other = [...fingers.values()].find(f => f.pointerId !== event.pointerId), mine = fingers.get(event.pointerId);
		if (mine && other) {
			// Two fingers: what they hold grows with their distance.
			const apart = e => Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY), {left, top} = stage.getBoundingClientRect();
			zoom(apart(event) / Math.max(1, apart(mine)), (event.clientX + other.clientX) / 2 - left, (event.clientY + other.clientY) / 2 - top);
			fingers.set(event.pointerId, event);
			drag = drag && {...drag, moved: true, view: state.view, x: event.clientX, y: event.clientY};
		} else if (drag) {
			const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
			if (drag.moved = drag.moved || Math.hypot(dx, dy) > 4) {
				state.fitted = false;
				stage.classList.add("dragged");
				$("tip").hidden = true;
				show({...drag.view, x: drag.view.x + dx, y: drag.view.y + dy});
			}
		}
	});
	const release = event => {
		fingers.delete(event.pointerId);
		stage.classList.remove("dragged");
		// The click that ends a drag is none; it comes before any timer.
		const mine = drag;
		setTimeout(() => drag === mine && (drag = null));
	};
	addEventListener("pointerup", release);
	addEventListener("pointercancel", release);
	stage.addEventListener("mousemove", event => drag && drag.moved || tellAt(event));
	stage.addEventListener("mouseleave", () => {
		heat([]);
		$("tip").hidden = true;
	});
	stage.addEventListener("click", event => {
		const row = event.target.closest("[data-port]"), card = event.target.closest("[data-relation]");
		if (drag && drag.moved)
			return;
		if (event.target.closest(".toggle"))
			toggle(graph.relations[card.dataset.relation]);
		else if (row)
			choose(state.chosen && state.chosen.id === Number(row.dataset.port) ? null : graph.ports[row.dataset.port]);
		else if (!card)
			choose(null);
	});
	stage.addEventListener("dblclick", event => {
		const head = event.target.closest(".head .name");
		if (head)
			toggle(graph.relations[head.closest("[data-relation]").dataset.relation]);
	});
}

const COMMANDS = {
	only: {key: "o", run: () => setOnly(!state.only)},
	expand: {key: "e", run: () => openAll(true)},
	collapse: {key: "c", run: () => openAll(false)},
	smaller: {key: "-", run: () => zoom(1 / 1.3)},
	larger: {key: "+", run: () => zoom(1.3)},
	// Again and again: the path, all.
	fit: {key: "f", run: () => fit(true, state.path && !(state.fitted instanceof Set) && state.path.relations)},
	theme: {key: "d", run: () => setTheme()},
	indirect: {key: "i", run: () => setIndirect(!state.indirect)}
};

// Arrows go along columns and links from what has the focus; letters are commands.
function mindKeys() {
	for (const [id, {run}] of Object.entries(COMMANDS))
		$(id).addEventListener(id === "indirect" ? "change" : "click", id === "indirect" ? () => setIndirect($(id).checked) : run);
	$("search").addEventListener("input", () => find($("search").value));
	$("search").addEventListener("focus", () => $("found").hidden = !$("found").children.length);
	$("search").addEventListener("keydown", event => {
		const act = {ArrowDown: () => moveInFound(1), ArrowUp: () => moveInFound(-1), Enter: () => takeFound($("found").querySelector("[aria-selected=true]")),
			Escape: () => { $("search").value = ""; find(""); $("search").blur(); }}[event.key];
		event.stopPropagation();
		if (act) {
			event.preventDefault();
			act();
		}
	});
	$("found").addEventListener("mousedown", event => event.preventDefault());
	$("found").addEventListener("click", event => takeFound(event.target.closest("li")));
	addEventListener("click", event => event.target.closest && !event.target.closest("#finder") && ($("found").hidden = true));
	addEventListener("keydown", event => {
		if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT" && event.target.type === "search")
			return;
		const command = Object.values(COMMANDS).find(c => c.key === event.key.toLowerCase() || c.key === "+" && event.key === "=");
		const port = document.activeElement.dataset.port && graph.ports[document.activeElement.dataset.port];
		if (command)
			command.run();
		else if (event.key === "/")
			$("search").select();
		else if (event.key === "Escape")
			state.only ? setOnly(false) : choose(null);
		else if (port && event.key.startsWith("Arrow"))
			step(port, event.key);
		else if (port && event.key === " " && event.target.closest(".head"))
			toggle(port.relation);
		else
			return;
		event.preventDefault();
	});
}

function step(port, key) {
	const ports = [port.relation.rows, ...shownPorts(port.relation)], at = ports.indexOf(port);
	const links = (key === "ArrowLeft" ? port.before : port.after).filter(link => state.indirect || link.direct);
	const along = links.map(link => key === "ArrowLeft" ? link.from : link.to).filter(p => p.relation !== port.relation);
	const next = key === "ArrowUp" ? ports[at - 1] : key === "ArrowDown" ? ports[at + 1] : along.find(elementOf) || along.map(p => p.relation.rows).find(elementOf);
	if (next) {
		focusOn(next);
		comeNear(next);
	}
}

// ---- The beginning

function begin() {
	const columns = graph.relations.reduce((sum, relation) => sum + relation.ports.length, 0);
	const title = graph.root ? graph.root.relation + (graph.root.column ? "." + graph.root.column : "") : graph.database;
	document.title = "Lineage of " + title;
	$("title").replaceChildren("Lineage of " + title, element("small", {}, counted(graph.relations.length, "relation") + ", " + counted(columns, "column")));
	const stages = new Set(graph.relations.map(relation => relation.stage));
	$("stages").replaceChildren(...Object.entries(STAGES).filter(([stage]) => stages.has(stage)).map(([stage, name]) => element("li", {"data-stage": stage}, name)));
	$("empty").hidden = graph.relations.length > 0;
	const few = graph.relations.filter(relation => relation.ports.length <= OPEN_AT_FIRST.each);
	if (few.reduce((sum, relation) => sum + relation.ports.length, 0) <= OPEN_AT_FIRST.all)
		state.open = new Set(few);
	nameTheme();
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
	mind();
	mindKeys();
	draw();
	const root = graph.root && graph.port(graph.root.relation, graph.root.column);
	if (root)
		choose(root);
	fit(false);
	let seen;
	addEventListener("beforeprint", () => {
		const box = bounds();
		seen = state.view;
		// A page that lies, A4 or Letter, in CSS pixels.
		if (box)
			show(fitted(970, 620, box));
	});
	addEventListener("afterprint", () => show(seen));
	addEventListener("resize", () => state.fitted && fit(false, state.fitted));
}
begin();
