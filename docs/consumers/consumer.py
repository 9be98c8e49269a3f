#!/usr/bin/python3
"""Reads walhouse's delimited batches from standard input; prints committed transactions as JSON lines.

    protoc -I src/wire --python_out=. src/wire/walhouse.proto        # writes walhouse_pb2.py
    walhouse_recv -d dbname=shop --slot shop --start --streaming --format delimited | ./consumer.py

Rows are read with the descriptors that come in the stream. Transactions in progress wait in memory until they
commit; what was counted and hashed is held to the tally of each. See docs/consumers.md.
"""
import ctypes
import json
import math
import sys

from google.protobuf import descriptor_pool, message_factory
import walhouse_pb2 as wal

Special = wal.Special

# -------- checksums: CRC-32C, reflected --------

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(*pieces):
    crc = 0xFFFFFFFF
    for piece in pieces:
        for byte in piece:
            crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


# -------- values: as walhouse_recv prints them --------

MANY_SECONDS = 1000000000  # of an interval: from here on its hours stand apart


def lsn(number):
    return '%X/%X' % (number >> 32, number & 0xFFFFFFFF)


def calendar(days):
    """Year, month and day in the proleptic Gregorian calendar, and ' BC' for years before 1."""
    era, day = divmod(days + 719468, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    return '%04d-%02d-%02d' % (year if year > 0 else 1 - year, month, day), '' if year > 0 else ' BC'


def clock(microseconds):
    seconds, fraction = divmod(microseconds, 1000000)
    text = '%02d:%02d:%02d' % (seconds // 3600, seconds // 60 % 60, seconds % 60)
    return text + (('.%06d' % fraction).rstrip('0') if fraction else '')


def timestamp(microseconds, zone=''):
    days, time = divmod(microseconds, 86400 * 1000000)
    date, era = calendar(days)
    return date + 'T' + clock(time) + zone + era


def timetz(value):
    seconds = abs(value.zone)
    text = '%s%02d' % ('-' if value.zone > 0 else '+', seconds // 3600)
    text += ':%02d' % (seconds // 60 % 60) if seconds % 3600 else ''
    return clock(value.microseconds) + text + (':%02d' % (seconds % 60) if seconds % 60 else '')


def interval(value):
    text = 'P' + ('%dM' % value.months if value.months else '') + ('%dD' % value.days if value.days else '')
    if value.microseconds or text == 'P':
        sign = '-' if value.microseconds < 0 else ''
        seconds, fraction = divmod(abs(value.microseconds), 1000000)
        text += 'T'
        if seconds >= MANY_SECONDS:
            text += '%s%dH' % (sign, seconds // 3600)
            seconds %= 3600
        text += sign + str(seconds) + (('.%06d' % fraction).rstrip('0') if fraction else '') + 'S'
    return text


def numeric(value):
    if value.HasField('big'):
        return value.big
    digits = str(abs(value.unscaled)).rjust(value.scale + 1, '0')
    sign = '-' if value.unscaled < 0 else ''
    return sign + digits[:len(digits) - value.scale] + ('.' + digits[-value.scale:] if value.scale else '')


def number(value, is_single):
    if math.isnan(value):
        return 'NaN'
    if math.isinf(value):
        return 'Infinity' if value > 0 else '-Infinity'
    if is_single:  # the shortest digits that read back as the same float4
        for digits in range(1, 10):
            short = float('%.*g' % (digits, value))
            if ctypes.c_float(short).value == ctypes.c_float(value).value:
                return short
    return value


def uuid(value):
    text = value.hex()
    return '-'.join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def hexadecimal(value):
    return '\\x' + value.hex()


RENDER = {
    wal.INT64: str, wal.UINT64: str, wal.NUMERIC: numeric, wal.TIME: clock, wal.TIMETZ: timetz,
    wal.DATE: lambda days: ''.join(calendar(days)), wal.TIMESTAMP: timestamp,
    wal.TIMESTAMPTZ: lambda at: timestamp(at, 'Z'), wal.INTERVAL: interval, wal.UUID: uuid,
    wal.BYTES: hexadecimal, wal.FLOAT: lambda value: number(value, True),
    wal.DOUBLE: lambda value: number(value, False)}


def array(value, kind):
    """Nested lists, by dimension; lower bounds are told where one is not 1."""
    count = math.prod(value.dimension) if value.dimension else 0
    elements = iter(value.value)
    render = RENDER.get(kind, lambda element: element)
    items = [None if value.nulls and value.nulls[i // 8] >> i % 8 & 1 else render(next(elements))
             for i in range(count)]
    for length in reversed(value.dimension[1:]):
        items = [items[i:i + length] for i in range(0, len(items), length)]
    bounds = list(value.lower_bound)
    return {'lower_bounds': bounds, 'values': items} if any(bound != 1 for bound in bounds) else items


def special(value, kind, raw):
    if value.kind == Special.OUT_OF_RANGE:
        return value.text if raw is None else raw.decode()
    if value.kind == Special.NOT_UTF8:
        return {'not_utf8': hexadecimal(value.raw if raw is None else raw)}
    if value.kind == Special.NAN:
        return 'NaN'
    name = 'Infinity' if kind == wal.NUMERIC else 'infinity'
    return name if value.kind == Special.POSITIVE_INFINITY else '-' + name


# -------- rows --------

class Relation:
    def __init__(self, definition):
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(definition.descriptor)
        self.row = pool.FindMessageTypeByName('walhouse.row.s%d.Row' % definition.schema)
        if hasattr(message_factory, 'GetMessageClass'):
            self.message = message_factory.GetMessageClass(self.row)
        else:
            self.message = message_factory.MessageFactory(pool).GetPrototype(self.row)
        self.definition = definition
        self.names = {'schema': definition.namespace, 'table': definition.name}
        self.line = dict(self.names, leaf=definition.leaf.name) if definition.HasField('leaf') else self.names

    def image(self, data, chunks, keys=None):
        """The columns of a row by name, those whose values were not sent, and those that changed."""
        fields = {field.number: value for field, value in self.message.FromString(data).ListFields()}
        unchanged = set(fields.get(2001, ()))
        specials = {value.attnum: value for value in fields.get(2002, ())}
        changed = set(fields.get(2003, ()))
        chunked = {value.attnum: whole(value, chunks) for value in fields.get(2004, ())}
        values = {}
        for column in self.definition.column:
            attnum = column.attnum
            raw = chunked.get(attnum)
            if attnum in unchanged or keys is not None and attnum not in keys:
                continue
            if attnum in specials:
                values[column.name] = special(specials[attnum], column.kind, raw)
            elif attnum in fields or raw is not None:
                value = fields.get(attnum) if raw is None else self.parse(column, raw)
                values[column.name] = (array(value, column.element_kind) if column.kind == wal.ARRAY else
                                       RENDER.get(column.kind, lambda same: same)(value))
            else:
                values[column.name] = None
        names = {column.attnum: column.name for column in self.definition.column}
        return values, [names[n] for n in sorted(unchanged) if n in names], [names[n] for n in sorted(changed) if n in names]

    def parse(self, column, raw):
        """The value of a field whose bytes came in chunks."""
        if column.kind == wal.BYTES:
            return raw
        if column.kind == wal.ARRAY:
            return self.row.fields_by_number[column.attnum].message_type._concrete_class.FromString(raw)
        return raw.decode()


def whole(chunked, chunks):
    value = b''.join(chunks.get(chunked.id, ()))
    if len(value) != chunked.size or crc32c(value) != chunked.crc32c:
        sys.exit('chunks of value %d do not fit together' % chunked.id)
    return value


# -------- transactions --------

class Transaction:
    """What a transaction has sent: lines, each with its subtransaction and what it adds to the tally."""

    def __init__(self, begin):
        self.begin = begin
        self.changes = []
        self.chunks = {}

    def add(self, line, subxid=0, tally=()):
        self.changes.append((subxid, line, tally))

    def abort(self, subxid):
        self.changes = [change for change in self.changes if change[0] != subxid]

    def check(self, end):
        """Hold what came to the tally. tally of a change: (table, insert, update, delete, truncate, hash)."""
        sums = {}
        count = 0
        for _, _, tally in self.changes:
            count += bool(tally)
            for relid, *numbers in tally:
                sums[relid] = [a + b for a, b in zip(sums.get(relid, [0] * 5), numbers)]
        if count != end.changes:
            sys.exit('transaction %d has %d changes, not %d' % (end.xid, count, end.changes))
        for tally in end.tally:
            found = sums.pop(tally.relid, [0] * 5)
            found[4] &= 0xFFFFFFFFFFFFFFFF
            if found != [tally.inserts, tally.updates, tally.deletes, tally.truncates, tally.hash]:
                sys.exit('transaction %d: the tally of table %d does not match' % (end.xid, tally.relid))
        if end.tally and sums:
            sys.exit('transaction %d: a table is missing in the tally' % end.xid)


def print_line(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)


def with_origin(line, message):
    for name in ('origin', 'gid'):
        if name in message.DESCRIPTOR.fields_by_name and message.HasField(name):
            line[name] = getattr(message, name)
    return line


def tallies(end):
    found = [{'relid': t.relid, 'inserts': t.inserts, 'updates': t.updates, 'deletes': t.deletes,
              'truncates': t.truncates, 'hash': '%016x' % t.hash} for t in end.tally]
    return {'changes': end.changes, **({'tally': found} if found else {})}


class Consumer:
    def __init__(self):
        self.position = 0  # a real consumer keeps it, in the transaction in which it keeps the data
        self.hello()

    def hello(self):
        self.relations = {}
        self.open = {}  # by xid
        self.current = None

    def take(self, entry):
        kind = entry.WhichOneof('kind')
        if kind is None:  # of a later version
            return
        message = getattr(entry, kind)
        if kind == 'hello':
            self.hello()
        elif kind == 'relation':
            self.relations[message.schema] = Relation(message)
        elif kind == 'begin':
            self.current = self.open[message.xid] = Transaction(with_origin({}, message))
        elif kind == 'stream_start':
            if message.first:
                self.open[message.xid] = Transaction(with_origin({}, message))
            self.current = self.open[message.xid]
        elif kind == 'stream_stop':
            self.current = None
        elif kind == 'stream_abort':
            if message.xid == message.subxid:
                self.open.pop(message.xid, None)
            elif message.xid in self.open:
                self.open[message.xid].abort(message.subxid)
        elif kind in ('commit', 'stream_commit'):
            self.end(message, {'kind': 'commit', 'xid': message.xid, 'commit_lsn': lsn(message.commit_lsn),
                               'end_lsn': lsn(message.end_lsn), 'commit_time': timestamp(message.commit_time, 'Z')},
                     message.commit_lsn, message.commit_time)
        elif kind in ('prepare', 'stream_prepare'):
            self.end(message, {'kind': 'prepare', 'xid': message.xid, 'prepare_lsn': lsn(message.prepare_lsn),
                               'end_lsn': lsn(message.end_lsn), 'prepare_time': timestamp(message.prepare_time, 'Z'),
                               'gid': message.gid}, message.prepare_lsn, message.prepare_time)
        elif kind == 'commit_prepared':
            self.alone(message, with_origin({
                'kind': kind, 'xid': message.xid, 'commit_lsn': lsn(message.commit_lsn), 'end_lsn': lsn(message.end_lsn),
                'commit_time': timestamp(message.commit_time, 'Z'), 'gid': message.gid}, message))
        elif kind == 'rollback_prepared':
            self.alone(message, {
                'kind': kind, 'xid': message.xid, 'prepare_end_lsn': lsn(message.prepare_end_lsn),
                'end_lsn': lsn(message.end_lsn), 'prepare_time': timestamp(message.prepare_time, 'Z'),
                'gid': message.gid, 'rollback_time': timestamp(message.rollback_time, 'Z')})
        elif kind == 'chunk':
            self.current.chunks.setdefault(message.id, []).append(message.data)
        elif kind == 'rows':
            self.rows(message)
        else:
            getattr(self, kind)(message)

    def rows(self, rows):
        relation = self.relations[rows.schema]
        for i in range(len(rows.after) or len(rows.before) or 1):
            before = rows.before[i] if rows.before_kind != wal.BEFORE_NONE else None
            after = rows.after[i] if rows.op != wal.DELETE else None
            line = {'kind': wal.Op.Name(rows.op).lower(), **relation.line, 'seq': rows.first_seq + i}
            if before is not None:
                is_key = rows.before_kind == wal.BEFORE_KEY
                keys = relation.definition.identity_key if is_key else None
                line['key' if is_key else 'before'] = relation.image(before, self.current.chunks, keys)[0]
            if after is not None:
                line['after'], unchanged, changed = relation.image(after, self.current.chunks)
                line.update({'unchanged': unchanged} if unchanged else {})
                line.update({'changed': changed} if changed else {})
            crc = crc32c(bytes([rows.op]), after or b'', before or b'')
            self.current.add(line, rows.subxid, [(relation.definition.relid, rows.op == wal.INSERT,
                                                  rows.op == wal.UPDATE, rows.op == wal.DELETE, 0, crc)])

    def truncate(self, message):
        relations = [self.relations[schema] for schema in message.schema]
        line = {'kind': 'truncate', 'seq': message.seq, 'tables': [relation.names for relation in relations],
                'cascade': message.cascade, 'restart_identity': message.restart_identity}
        self.current.add(line, message.subxid, [(r.definition.relid, 0, 0, 0, 1, 0) for r in relations])

    def rewrite(self, message):
        self.current.add({'kind': 'rewrite', 'seq': message.seq, **self.relations[message.schema].names}, message.subxid)

    def partitions(self, message):
        tables = {key: [{'relid': t.relid, 'schema': t.namespace, 'table': t.name} for t in getattr(message, key)]
                  for key in ('attached', 'detached')}
        self.current.add({'kind': 'partitions', 'relid': message.relid, 'schema': message.namespace,
                          'table': message.name, **tables}, message.subxid)

    def message(self, message):
        try:
            content = message.content.decode()
        except UnicodeDecodeError:
            content = {'not_utf8': hexadecimal(message.content)}
        line = {'kind': 'message', 'transactional': message.transactional, 'prefix': message.prefix,
                'lsn': lsn(message.lsn), **({'seq': message.seq} if message.HasField('seq') else {}), 'content': content}
        if message.transactional:
            self.current.add(line, message.subxid)
        else:
            print_line(line)

    def end(self, message, line, commit_lsn, commit_time):
        transaction = self.open.pop(message.xid)
        self.current = None
        transaction.check(message)
        if message.end_lsn <= self.position:  # sent again
            return
        if line['kind'] == 'prepare':
            transaction.begin['gid'] = message.gid
        print_line({'kind': 'begin', 'xid': message.xid, 'commit_lsn': lsn(commit_lsn), 'end_lsn': lsn(message.end_lsn),
                    'commit_time': timestamp(commit_time, 'Z'), **transaction.begin})
        for _, change, _ in transaction.changes:
            print_line(change)
        self.alone(message, {**line, **tallies(message)})

    def alone(self, message, line):
        if message.end_lsn > self.position:
            print_line(line)
            self.position = message.end_lsn


def batches(file):
    """Each batch stands after its length, a varint; line ends between them are pg_recvlogical's."""
    while True:
        length, shift = 0, 0
        while True:
            byte = file.read(1)
            if not byte:
                return
            if byte == b'\n' and shift == 0:
                continue
            length |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
        data = file.read(length)
        if len(data) < length:
            return
        yield wal.Batch.FromString(data)


def main():
    consumer = Consumer()
    for batch in batches(sys.stdin.buffer):
        if batch.HasField('compression'):
            sys.exit('a compressed batch: walhouse_recv writes plain ones')
        for entry in batch.entry:
            consumer.take(entry)


if __name__ == '__main__':
    main()
