/*
 * graph.js: what is drawn. Ports are the columns of relations, and the rows of each (column ""); links join two ports, in one or several ways.
 */
class Graph {
	constructor(data) {
		this.root = data.root;
		this.database = data.database;
		this.ports = [];
		this.relations = data.relations.map((relation, index) => {
			const made = {...relation, index};
			made.rows = this.addPort(made, "", null);
			made.ports = relation.columns.map(column => this.addPort(made, column.name, column));
			return made;
		});
		this.byId = new Map(this.relations.map(relation => [relation.id, relation]));
		this.links = [];
		const known = new Map();
		for (const edge of data.edges) {
			const from = this.port(edge.from, edge.from_column), to = this.port(edge.to, edge.to_column);
			if (!from || !to)
				continue;
			const key = from.id + ">" + to.id;
			let link = known.get(key);
			if (!link) {
				known.set(key, link = {id: this.links.length, from, to, ways: [], direct: false});
				this.links.push(link);
				from.after.push(link);
				to.before.push(link);
			}
			link.ways.push(edge.subtype);
			link.direct = link.direct || edge.kind === "DIRECT";
		}
	}

	addPort(relation, name, column) {
		const port = {id: this.ports.length, relation, name, column, before: [], after: []};
		this.ports.push(port);
		return port;
	}

	// The port of a column, or of the rows where there is none; undefined where nothing is so called.
	port(id, name) {
		const relation = this.byId.get(id);
		if (!relation || !name)
			return relation && relation.rows;
		relation.byName = relation.byName || new Map(relation.ports.map(port => [port.name, port]));
		return relation.byName.get(name);
	}

	// All that is up and down from a port, as walhouse.upstream() and downstream() tell; of rows, from the whole relation.
	path(port, withIndirect) {
		const whole = port.name === "" ? port.relation.ports : [];
		const up = this.walk([port, port.relation.rows, ...whole], "before", "from", withIndirect);
		const down = this.walk([port, ...whole], "after", "to", withIndirect);
		return {start: port, up, down};
	}

	walk(starts, side, end, withIndirect) {
		const ports = new Set(starts), links = new Set();
		for (const port of ports)
			for (const link of port[side])
				if (link.direct || withIndirect) {
					links.add(link);
					ports.add(link[end]);
				}
		return {ports, links};
	}
}
