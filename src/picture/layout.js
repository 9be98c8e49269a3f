"use strict";
/*
 * layout.js: where cards stand. Layers from left to right, few crossings, cards near to what they are linked to.
 *
 * layered(nodes, links): nodes are {width, height}, links pairs of their numbers [from, to]; sets x and y (the middle) of each node, and
 * returns for each link the points that it passes on its way, [] for most. Cycles are cut where a walk in the nodes' order meets them.
 */
const GAP = {row: 14, passage: 10, column: 96, block: 40};

function layered(nodes, links) {
	const edges = withoutCycles(nodes.length, links);
	const grid = cellsOf(nodes, edges);
	reduceCrossings(grid);
	placeRows(grid);
	placeColumns(grid);
	for (const cell of grid.cells)
		if (cell.node >= 0)
			Object.assign(nodes[cell.node], {x: cell.x, y: cell.y});
	return links.map((link, i) => (grid.passages[i] || []).flatMap(id => {
		const {x, y, width} = grid.cells[id];
		return [[x, y], [x + width, y]];
	}));
}

// The links that are left when those are taken away that close a cycle; null in their places.
function withoutCycles(count, links) {
	const out = Array.from({length: count}, () => []);
	const state = new Uint8Array(count), kept = links.map(() => null);
	links.forEach(([from, to], i) => from !== to && out[from].push(i));
	for (let start = 0; start < count; start++) {
		const stack = state[start] ? [] : [[start, 0]];
		state[start] = state[start] || 1;
		while (stack.length) {
			const top = stack[stack.length - 1], i = out[top[0]][top[1]++];
			if (i === undefined) {
				state[top[0]] = 2;
				stack.pop();
				continue;
			}
			const to = links[i][1];
			if (state[to] !== 1)
				kept[i] = links[i];
			if (state[to] === 0) {
				state[to] = 1;
				stack.push([to, 0]);
			}
		}
	}
	return kept;
}

// The layer of each node: one after the last of its sources; what has no source stands just before its readers.
function layersOf(count, edges) {
	const into = new Uint32Array(count), out = Array.from({length: count}, () => []);
	const layer = new Uint32Array(count), order = [];
	const sourceless = [];
	for (const edge of edges.filter(Boolean)) {
		into[edge[1]]++;
		out[edge[0]].push(edge[1]);
	}
	for (let i = 0; i < count; i++)
		if (!into[i]) {
			order.push(i);
			sourceless.push(i);
		}
	for (const i of order)
		for (const to of out[i]) {
			layer[to] = Math.max(layer[to], layer[i] + 1);
			if (--into[to] === 0)
				order.push(to);
		}
	for (const i of sourceless)
		if (out[i].length)
			layer[i] = Math.min(...out[i].map(to => layer[to])) - 1;
	return layer;
}

// Cells by layers: the nodes, and a passage in each layer that a link crosses.
function cellsOf(nodes, edges) {
	const layer = layersOf(nodes.length, edges), layers = [], passages = [];
	const cells = nodes.map((n, i) => ({node: i, layer: layer[i], width: n.width, height: n.height, before: [], after: []}));
	const join = (a, b) => {
		cells[a].after.push(b);
		cells[b].before.push(a);
	};
	edges.forEach((edge, i) => {
		if (!edge)
			return;
		let last = edge[0];
		passages[i] = [];
		for (let at = layer[edge[0]] + 1; at < layer[edge[1]]; at++) {
			const id = cells.length;
			cells.push({node: -1, layer: at, width: 0, height: 0, before: [], after: []});
			passages[i].push(id);
			join(last, id);
			last = id;
		}
		join(last, edge[1]);
	});
	// What hangs together begins side by side.
	const seen = new Uint8Array(cells.length);
	for (let start = 0; start < cells.length; start++) {
		const stack = [start];
		while (stack.length) {
			const id = stack.pop(), cell = cells[id];
			if (seen[id])
				continue;
			seen[id] = 1;
			(layers[cell.layer] = layers[cell.layer] || []).push(id);
			stack.push(...cell.before, ...cell.after.slice().reverse());
		}
	}
	return {cells, layers: layers.map(l => l || []), passages};
}

// Cells go where the mean of their neighbours is, to and fro; the order with the fewest crossings is kept.
function reduceCrossings({cells, layers}) {
	const number = layer => layer.forEach((id, i) => cells[id].place = i);
	const rounds = cells.length > 3000 ? 8 : 24;
	let best = Infinity, kept;
	layers.forEach(number);
	for (let round = 0; round <= rounds; round++) {
		const found = layers.reduce((sum, layer) => sum + crossings(cells, layer), 0);
		if (found < best) {
			best = found;
			kept = layers.map(layer => layer.slice());
		}
		if (best === 0)
			break;
		const forward = round % 2 === 0;
		for (const layer of forward ? layers : layers.slice().reverse()) {
			for (const id of layer) {
				const near = forward ? cells[id].before : cells[id].after;
				cells[id].mean = near.length ? near.reduce((sum, n) => sum + cells[n].place, 0) / near.length : cells[id].place;
			}
			// Of equals, every other time the last goes first.
			layer.sort((a, b) => cells[a].mean - cells[b].mean || (round % 4 < 2 ? 1 : -1) * (cells[a].place - cells[b].place));
			number(layer);
		}
	}
	kept.forEach((layer, i) => number(layers[i] = layer));
}

// How often links from a layer to the next cross: inversions, counted by a tree of sums.
function crossings(cells, layer) {
	const ends = layer.flatMap(id => cells[id].after.map(to => cells[to].place).sort((a, b) => a - b));
	const size = Math.max(0, ...ends) + 2, sums = new Uint32Array(size + 1);
	let found = 0;
	ends.forEach((end, i) => {
		let smaller = 0;
		for (let at = end + 1; at > 0; at -= at & -at)
			smaller += sums[at];
		found += i - smaller;
		for (let at = end + 1; at <= size; at += at & -at)
			sums[at]++;
	});
	return found;
}

// A layer that is much taller than the picture should be becomes several columns, filled row by row, so that what was above stays above.
function blocksOf({cells, layers}) {
	const area = cells.reduce((sum, c) => sum + (c.width + GAP.column) * (c.height + GAP.row), 0);
	const tallest = Math.max(1800, Math.sqrt(area) * 0.7);
	return layers.map(layer => {
		const height = layer.reduce((sum, id) => sum + cells[id].height + GAP.row, 0);
		const count = Math.max(1, Math.round(height / tallest));
		const blocks = Array.from({length: count}, () => []);
		let next = 0;
		for (const id of layer)
			blocks[cells[id].node < 0 ? 0 : next++ % count].push(id);
		return blocks;
	});
}

function placeRows(grid) {
	const {cells} = grid;
	grid.blocks = blocksOf(grid);
	const gap = (a, b) => (cells[a].height + cells[b].height) / 2 + (cells[a].node < 0 || cells[b].node < 0 ? GAP.passage : GAP.row);
	for (const block of grid.blocks.flat()) {
		let y = 0;
		block.forEach((id, i) => cells[id].y = y += i ? gap(block[i - 1], id) : 0);
		block.forEach(id => cells[id].y -= y / 2);
	}
	for (let round = 0; round < 12; round++) {
		const forward = round % 2 === 0;
		for (const blocks of forward ? grid.blocks : grid.blocks.slice().reverse())
			for (const block of blocks)
				settle(cells, block, gap, id => round >= 10 ? cells[id].before.concat(cells[id].after) : forward ? cells[id].before : cells[id].after);
	}
}

// The places nearest to where cells would like to be, in their order and with their gaps: neighbours that are too near move as one.
function settle(cells, block, gap, near) {
	const groups = [];
	let offset = 0;
	block.forEach((id, i) => {
		const cell = cells[id], around = near(id);
		let weight = 0, sum = 0;
		offset += i ? gap(block[i - 1], id) : 0;
		for (const n of around) {
			// Long links are drawn straight.
			const w = cell.node < 0 && cells[n].node < 0 ? 8 : 1;
			weight += w;
			sum += w * cells[n].y;
		}
		if (!weight) {
			weight = 0.05;
			sum = weight * cell.y;
		}
		let group = {first: i, weight, sum: sum - weight * offset};
		cell.offset = offset;
		while (groups.length && groups[groups.length - 1].sum / groups[groups.length - 1].weight > group.sum / group.weight) {
			const above = groups.pop();
			group = {first: above.first, weight: above.weight + group.weight, sum: above.sum + group.sum};
		}
		groups.push(group);
	});
	groups.forEach((group, g) => {
		const end = g + 1 < groups.length ? groups[g + 1].first : block.length;
		for (let i = group.first; i < end; i++)
			cells[block[i]].y = group.sum / group.weight + cells[block[i]].offset;
	});
}

function placeColumns({cells, blocks}) {
	let x = 0;
	for (const layer of blocks) {
		const left = x;
		layer.forEach((block, i) => {
			const width = Math.max(60, ...block.map(id => cells[id].width));
			x += i ? GAP.block : 0;
			block.forEach(id => cells[id].x = x);
			x += width;
		});
		for (const id of layer.flat())
			if (cells[id].node < 0)
				Object.assign(cells[id], {x: left, width: x - left});
		const links = layer.flat().reduce((sum, id) => sum + cells[id].after.length, 0);
		x += GAP.column + Math.min(120, links * 3);
	}
}
