#!/usr/bin/env node
// Reads walhouse's delimited batches from standard input; prints committed transactions as JSON lines.
//
//     npm install protobufjs@7
//     walhouse_recv -d dbname=shop --slot shop --start --streaming --format delimited | ./consumer.js src/wire/walhouse.proto
//
// Rows are read with the descriptors that come in the stream. Transactions in progress wait in memory until they
// commit; what was counted and hashed is held to the tally of each. See docs/consumers.md.
'use strict';
const protobuf = require('protobufjs');
const { FileDescriptorProto } = require('protobufjs/ext/descriptor');

const root = new protobuf.Root().loadSync(process.argv[2] || 'walhouse.proto', { keepCase: true });
const Batch = root.lookupType('walhouse.v1.Batch');
const enums = (name) => root.lookupEnum('walhouse.v1.' + name).values;
const Kind = enums('ValueKind'), Op = enums('Op'), Before = enums('BeforeKind'), Special = enums('Special.Kind');

const fail = (text) => { console.error(text); process.exit(1); };
const big = (value) => BigInt(String(value || 0)); // protobufjs gives 64-bit integers as Long
const has = (message, name) => Object.prototype.hasOwnProperty.call(message, name);

// -------- checksums: CRC-32C, reflected --------

const TABLE = new Uint32Array(256).map((_, byte) => {
  for (let i = 0; i < 8; i++) byte = byte & 1 ? (byte >>> 1) ^ 0x82F63B78 : byte >>> 1;
  return byte;
});

function crc32c(...pieces) {
  let crc = 0xFFFFFFFF;
  for (const piece of pieces) for (const byte of piece) crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >>> 8);
  return (crc ^ 0xFFFFFFFF) >>> 0;
}

// -------- values: as walhouse_recv prints them --------

const pad = (number, width = 2) => String(number).padStart(width, '0');
const fraction = (micros) => micros ? '.' + pad(micros, 6).replace(/0+$/, '') : '';
const divmod = (a, b) => { const r = ((a % b) + b) % b; return [(a - r) / b, r]; };
const hex = (bytes) => '\\x' + Buffer.from(bytes).toString('hex');

const MANY_SECONDS = 1000000000n; // of an interval: from here on its hours stand apart

function lsn(value) {
  return (big(value) >> 32n).toString(16).toUpperCase() + '/' + (big(value) & 0xFFFFFFFFn).toString(16).toUpperCase();
}

// Year, month and day in the proleptic Gregorian calendar, and ' BC' for years before 1.
function calendar(days) {
  let [era, day] = divmod(Number(days) + 719468, 146097);
  let year = Math.floor((day - Math.floor(day / 1460) + Math.floor(day / 36524) - Math.floor(day / 146096)) / 365);
  day -= 365 * year + Math.floor(year / 4) - Math.floor(year / 100);
  let month = Math.floor((5 * day + 2) / 153);
  day -= Math.floor((153 * month + 2) / 5) - 1;
  month += month < 10 ? 3 : -9;
  year += era * 400 + (month <= 2 ? 1 : 0);
  return [`${pad(year > 0 ? year : 1 - year, 4)}-${pad(month)}-${pad(day)}`, year > 0 ? '' : ' BC'];
}

function clock(value) {
  const [seconds, micros] = divmod(Number(value), 1000000);
  return `${pad(Math.floor(seconds / 3600))}:${pad(Math.floor(seconds / 60) % 60)}:${pad(seconds % 60)}` + fraction(micros);
}

function timestamp(value, zone = '') {
  const [days, time] = divmod(big(value), 86400000000n);
  const [date, era] = calendar(days);
  return date + 'T' + clock(time) + zone + era;
}

function timetz(value) {
  const seconds = Math.abs(value.zone);
  let text = (value.zone > 0 ? '-' : '+') + pad(Math.floor(seconds / 3600));
  if (seconds % 3600) text += ':' + pad(Math.floor(seconds / 60) % 60);
  if (seconds % 60) text += ':' + pad(seconds % 60);
  return clock(value.microseconds) + text;
}

function interval(value) {
  const micros = big(value.microseconds);
  let text = 'P' + (value.months ? value.months + 'M' : '') + (value.days ? value.days + 'D' : '');
  if (micros || text === 'P') {
    const sign = micros < 0n ? '-' : '';
    const size = micros < 0n ? -micros : micros;
    let seconds = size / 1000000n;
    text += 'T';
    if (seconds >= MANY_SECONDS) {
      text += `${sign}${seconds / 3600n}H`;
      seconds %= 3600n;
    }
    text += `${sign}${seconds}${fraction(Number(size % 1000000n))}S`;
  }
  return text;
}

function numeric(value) {
  if (has(value, 'big')) return value.big;
  const unscaled = big(value.unscaled);
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(value.scale + 1, '0');
  const point = digits.length - value.scale;
  return (unscaled < 0n ? '-' : '') + digits.slice(0, point) + (value.scale ? '.' + digits.slice(point) : '');
}

function number(value, isSingle) {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  if (!isSingle) return value;
  for (let digits = 1; digits < 10; digits++) { // the shortest digits that read back as the same float4
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

const RENDER = {
  [Kind.INT64]: String, [Kind.UINT64]: String, [Kind.NUMERIC]: numeric, [Kind.TIME]: clock, [Kind.TIMETZ]: timetz,
  [Kind.DATE]: (days) => calendar(days).join(''), [Kind.TIMESTAMP]: (at) => timestamp(at),
  [Kind.TIMESTAMPTZ]: (at) => timestamp(at, 'Z'), [Kind.INTERVAL]: interval, [Kind.BYTES]: hex,
  [Kind.UUID]: (bytes) => hex(bytes).slice(2).replace(/(.{8})(....)(....)(....)/, '$1-$2-$3-$4-'),
  [Kind.FLOAT]: (value) => number(value, true), [Kind.DOUBLE]: (value) => number(value, false),
};
const render = (kind, value) => (RENDER[kind] || ((same) => same))(value);

// Nested lists, by dimension; lower bounds are told where one is not 1.
function array(value, kind) {
  const count = value.dimension.length ? value.dimension.reduce((a, b) => a * b) : 0;
  let items = [], next = 0;
  for (let i = 0; i < count; i++) {
    const isNull = has(value, 'nulls') && value.nulls[i >> 3] >> (i & 7) & 1;
    items.push(isNull ? null : render(kind, value.value[next++]));
  }
  for (const length of value.dimension.slice(1).reverse()) {
    const rows = [];
    for (let i = 0; i < items.length; i += length) rows.push(items.slice(i, i + length));
    items = rows;
  }
  return value.lower_bound.some((bound) => bound !== 1) ? { lower_bounds: value.lower_bound, values: items } : items;
}

function special(value, kind, raw) {
  if (value.kind === Special.OUT_OF_RANGE) return raw ? raw.toString() : value.text;
  if (value.kind === Special.NOT_UTF8) return { not_utf8: hex(raw || value.raw) };
  if (value.kind === Special.NAN) return 'NaN';
  const name = kind === Kind.NUMERIC ? 'Infinity' : 'infinity';
  return value.kind === Special.POSITIVE_INFINITY ? name : '-' + name;
}

// -------- rows --------

class Relation {
  constructor(definition) {
    const file = FileDescriptorProto.decode(definition.descriptor);
    this.row = protobuf.Root.fromDescriptor({ file: [file] }).lookupType(`walhouse.row.s${definition.schema}.Row`);
    this.definition = definition;
    this.names = { schema: definition.namespace, table: definition.name };
    this.line = definition.leaf ? { ...this.names, leaf: definition.leaf.name } : this.names;
  }

  // The columns of a row by name, those whose values were not sent, and those that changed.
  image(data, chunks, keys) {
    const row = this.row.decode(data);
    const list = (id) => row[this.row.fieldsById[id].name] || [];
    const specials = new Map(list(2002).map((value) => [value.attnum, value]));
    const chunked = new Map(list(2004).map((value) => [value.attnum, whole(value, chunks)]));
    const values = {};
    for (const column of this.definition.column) {
      const field = this.row.fieldsById[column.attnum];
      const raw = chunked.get(column.attnum);
      if (list(2001).includes(column.attnum) || (keys && !keys.includes(column.attnum))) continue;
      if (specials.has(column.attnum)) values[column.name] = special(specials.get(column.attnum), column.kind, raw);
      else if (raw || has(row, field.name)) {
        const value = raw ? this.parse(column, field, raw) : row[field.name];
        values[column.name] = column.kind === Kind.ARRAY ? array(value, column.element_kind) : render(column.kind, value);
      } else values[column.name] = null;
    }
    const names = (attnums) => this.definition.column.filter((c) => attnums.includes(c.attnum)).map((c) => c.name);
    return [values, names(list(2001)), names(list(2003))];
  }

  // The value of a field whose bytes came in chunks.
  parse(column, field, raw) {
    if (column.kind === Kind.BYTES) return raw;
    return column.kind === Kind.ARRAY ? field.resolve().resolvedType.decode(raw) : raw.toString();
  }
}

function whole(chunked, chunks) {
  const value = Buffer.concat(chunks.get(chunked.id) || []);
  if (big(chunked.size) !== BigInt(value.length) || crc32c(value) !== chunked.crc32c) fail(`chunks of value ${chunked.id} do not fit together`);
  return value;
}

// -------- transactions --------

// What a transaction has sent: lines, each with its subtransaction and what it adds to the tally.
class Transaction {
  constructor(begin) {
    this.begin = begin;
    this.changes = [];
    this.chunks = new Map();
  }

  add(line, subxid, tally = []) { this.changes.push({ line, subxid, tally }); }

  abort(subxid) { this.changes = this.changes.filter((change) => change.subxid !== subxid); }

  // Holds what came to the tally; tally of a change: [table, insert, update, delete, truncate, hash].
  check(end) {
    const sums = new Map();
    const counted = this.changes.filter((change) => change.tally.length);
    if (BigInt(counted.length) !== big(end.changes)) fail(`transaction ${end.xid} has ${counted.length} changes, not ${end.changes}`);
    for (const { tally } of counted) {
      for (const [relid, ...numbers] of tally) {
        const sum = sums.get(relid) || [0n, 0n, 0n, 0n, 0n];
        sums.set(relid, sum.map((old, i) => old + BigInt(numbers[i])));
      }
    }
    for (const tally of end.tally) {
      const found = sums.get(tally.relid) || [0n, 0n, 0n, 0n, 0n];
      const told = [tally.inserts, tally.updates, tally.deletes, tally.truncates, tally.hash].map(big);
      found[4] = BigInt.asUintN(64, found[4]);
      if (String(found) !== String(told)) fail(`transaction ${end.xid}: the tally of table ${tally.relid} does not match`);
      sums.delete(tally.relid);
    }
    if (end.tally.length && sums.size) fail(`transaction ${end.xid}: a table is missing in the tally`);
  }
}

const print = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const optional = (message, ...names) => Object.fromEntries(names.filter((n) => has(message, n)).map((n) => [n, message[n]]));

function tallies(end) {
  const tally = end.tally.map((t) => ({
    relid: t.relid, inserts: Number(t.inserts), updates: Number(t.updates), deletes: Number(t.deletes),
    truncates: Number(t.truncates), hash: big(t.hash).toString(16).padStart(16, '0'),
  }));
  return { changes: Number(end.changes), ...(tally.length ? { tally } : {}) };
}

class Consumer {
  constructor() {
    this.position = 0n; // a real consumer keeps it, in the transaction in which it keeps the data
    this.hello();
  }

  take(entry) {
    if (!entry.kind) return; // of a later version
    this[entry.kind](entry[entry.kind]);
  }

  hello() {
    this.relations = new Map();
    this.open = new Map(); // by xid
    this.current = null;
  }

  relation(message) { this.relations.set(message.schema, new Relation(message)); }

  begin(message) {
    this.current = new Transaction(optional(message, 'origin', 'gid'));
    this.open.set(message.xid, this.current);
  }

  stream_start(message) {
    if (message.first) this.open.set(message.xid, new Transaction(optional(message, 'origin')));
    this.current = this.open.get(message.xid);
  }

  stream_stop() { this.current = null; }

  stream_abort(message) {
    if (message.xid === message.subxid) this.open.delete(message.xid);
    else if (this.open.has(message.xid)) this.open.get(message.xid).abort(message.subxid);
  }

  commit(m) {
    this.end(m, m.commit_lsn, m.commit_time, {
      kind: 'commit', xid: m.xid, commit_lsn: lsn(m.commit_lsn), end_lsn: lsn(m.end_lsn), commit_time: timestamp(m.commit_time, 'Z'),
    });
  }

  stream_commit(message) { this.commit(message); }

  prepare(m) {
    this.end(m, m.prepare_lsn, m.prepare_time, {
      kind: 'prepare', xid: m.xid, prepare_lsn: lsn(m.prepare_lsn), end_lsn: lsn(m.end_lsn),
      prepare_time: timestamp(m.prepare_time, 'Z'), gid: m.gid,
    });
  }

  stream_prepare(message) { this.prepare(message); }

  commit_prepared(m) {
    this.alone(m, {
      kind: 'commit_prepared', xid: m.xid, commit_lsn: lsn(m.commit_lsn), end_lsn: lsn(m.end_lsn),
      commit_time: timestamp(m.commit_time, 'Z'), gid: m.gid, ...optional(m, 'origin'),
    });
  }

  rollback_prepared(m) {
    this.alone(m, {
      kind: 'rollback_prepared', xid: m.xid, prepare_end_lsn: lsn(m.prepare_end_lsn), end_lsn: lsn(m.end_lsn),
      prepare_time: timestamp(m.prepare_time, 'Z'), gid: m.gid, rollback_time: timestamp(m.rollback_time, 'Z'),
    });
  }

  chunk(message) {
    const { chunks } = this.current;
    chunks.set(message.id, (chunks.get(message.id) || []).concat([message.data]));
  }

  rows(rows) {
    const relation = this.relations.get(rows.schema);
    const { chunks } = this.current;
    const op = Object.keys(Op).find((name) => Op[name] === rows.op).toLowerCase();
    for (let i = 0; i < (rows.after.length || rows.before.length || 1); i++) {
      const before = rows.before_kind === Before.BEFORE_NONE ? null : rows.before[i];
      const after = rows.op === Op.DELETE ? null : rows.after[i];
      const line = { kind: op, ...relation.line, seq: Number(rows.first_seq) + i };
      if (before) {
        const isKey = rows.before_kind === Before.BEFORE_KEY;
        line[isKey ? 'key' : 'before'] = relation.image(before, chunks, isKey ? relation.definition.identity_key : null)[0];
      }
      if (after) {
        const [values, unchanged, changed] = relation.image(after, chunks, null);
        Object.assign(line, { after: values }, unchanged.length ? { unchanged } : {}, changed.length ? { changed } : {});
      }
      const crc = crc32c([rows.op], after || [], before || []);
      this.current.add(line, rows.subxid, [[relation.definition.relid, rows.op === Op.INSERT, rows.op === Op.UPDATE,
        rows.op === Op.DELETE, 0, crc]]);
    }
  }

  truncate(message) {
    const relations = message.schema.map((schema) => this.relations.get(schema));
    this.current.add({
      kind: 'truncate', seq: Number(message.seq), tables: relations.map((relation) => relation.names),
      cascade: message.cascade, restart_identity: message.restart_identity,
    }, message.subxid, relations.map((relation) => [relation.definition.relid, 0, 0, 0, 1, 0]));
  }

  rewrite(message) {
    const { names } = this.relations.get(message.schema);
    this.current.add({ kind: 'rewrite', seq: Number(message.seq), ...names }, message.subxid);
  }

  partitions(message) {
    const tables = (list) => list.map((t) => ({ relid: t.relid, schema: t.namespace, table: t.name }));
    this.current.add({
      kind: 'partitions', relid: message.relid, schema: message.namespace, table: message.name,
      attached: tables(message.attached), detached: tables(message.detached),
    }, message.subxid);
  }

  message(message) {
    let content;
    try {
      content = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(message.content);
    } catch (error) {
      content = { not_utf8: hex(message.content) };
    }
    const line = {
      kind: 'message', transactional: message.transactional, prefix: message.prefix, lsn: lsn(message.lsn),
      ...(has(message, 'seq') ? { seq: Number(message.seq) } : {}), content,
    };
    if (message.transactional) this.current.add(line, message.subxid);
    else print(line);
  }

  end(message, commitLsn, commitTime, line) {
    const transaction = this.open.get(message.xid);
    this.open.delete(message.xid);
    this.current = null;
    transaction.check(message);
    if (big(message.end_lsn) <= this.position) return; // sent again
    print({
      kind: 'begin', xid: message.xid, commit_lsn: lsn(commitLsn), end_lsn: lsn(message.end_lsn),
      commit_time: timestamp(commitTime, 'Z'), ...transaction.begin, ...optional(message, 'gid'),
    });
    for (const change of transaction.changes) print(change.line);
    this.alone(message, { ...line, ...tallies(message) });
  }

  alone(message, line) {
    if (big(message.end_lsn) <= this.position) return;
    print(line);
    this.position = big(message.end_lsn);
  }
}

// Each batch stands after its length, a varint; line ends between them are pg_recvlogical's.
async function main() {
  const consumer = new Consumer();
  let rest = Buffer.alloc(0);
  for await (const piece of process.stdin) {
    rest = Buffer.concat([rest, piece]);
    for (;;) {
      let length = 0, at = 0;
      if (rest[0] === 0x0A) {
        rest = rest.subarray(1);
        continue;
      }
      while (at < rest.length && rest[at] >= 0x80) length += (rest[at] & 0x7F) * 2 ** (7 * at++);
      if (at >= rest.length) break;
      length += rest[at] * 2 ** (7 * at++);
      if (rest.length < at + length) break;
      const batch = Batch.decode(rest.subarray(at, at + length));
      if (has(batch, 'compression')) fail('a compressed batch: walhouse_recv writes plain ones');
      batch.entry.forEach((entry) => consumer.take(entry));
      rest = rest.subarray(at + length);
    }
  }
}

main();
