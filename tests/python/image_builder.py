# SPDX-License-Identifier: MIT
"""Builds dumps and live images in memory, so that the converter can be tested on traces whose truth is known.

    image = ImageBuilder()
    work = image.bind(REGION, "work", fields=[("n", INT32)])
    thread = image.thread(tid=7, name="main")
    thread.region(work, start=image.start + 100, end=image.start + 900, values=[42])
    data = image.dump()

It follows image.hpp on its own and shares no code with tools/contrail.py, so that one checks the other.
"""
import struct

# field_type
BOOL, CHAR, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, INT128, UINT128, FLOAT, DOUBLE, POINTER, STRING, \
    DURATION, CODE_POINT = range(1, 19)
# binding_kind
REGION, INSTANT, COUNTER, LOG, EVENT_TYPE, OVERFLOW, END_OF_DUMP = 1, 2, 3, 4, 5, 6, 255
DYNAMIC = 2  # binding_flag_dynamic

SIZES = {BOOL: 1, CHAR: 1, INT8: 1, UINT8: 1, INT16: 2, UINT16: 2, INT32: 4, UINT32: 4, INT64: 8, UINT64: 8,
         INT128: 16, UINT128: 16, FLOAT: 4, DOUBLE: 8, POINTER: 8, STRING: 2, DURATION: 8, CODE_POINT: 4}
CODES = {BOOL: "B", CHAR: "B", INT8: "b", UINT8: "B", INT16: "h", UINT16: "H", INT32: "i", UINT32: "I", INT64: "q",
         UINT64: "Q", FLOAT: "f", DOUBLE: "d", POINTER: "Q", DURATION: "q", CODE_POINT: "I"}

MAGIC = 0x1A0A0D4C52544389
SUPERBLOCK_BYTES, SLOT_BYTES, CHUNK_BYTES, CHUNK_HEADER_BYTES = 4096, 16384, 8192, 128
EPOCH_TICKS = 1 << 23
FIRST_FRAME = (0, 65, 74)
LIVE, DUMP = 1, 2
MASK = (1 << 64) - 1


def align(value, to):
    return -(-value // to) * to


class Binding:
    def __init__(self, id, kind, name, category="", file="", line=0, function="", fields=(), flags=0, type_id=0):
        """`fields` are (name, type), (name, type, count) or (name, type, count or None, {value: enumerator})."""
        self.id, self.kind, self.name, self.category = id, kind, name, category
        self.file, self.line, self.function, self.flags, self.type_id = file, line, function, flags, type_id
        self.fields, position = [], 0
        for field in fields:
            name, type, count, enumerators = (tuple(field) + (None, None))[:4]
            position = align(position, min(SIZES[type], 8))
            self.fields.append((name, type, count, enumerators or {}, position))
            position += SIZES[type] * (1 if count is None else count)
        self.fixed_bytes = position

    def entry(self):
        strings = [s.encode() if isinstance(s, str) else s for s in
                   (self.name, self.category, self.file, self.function)]
        heads, enumerators, names, enumerator_names = b"", b"", [], []
        for name, type, count, values, offset in self.fields:
            name = name.encode()
            heads += struct.pack("<HBBHHHHHH", len(name), type, 0, offset, 1 if count is None else count,
                                 len(enumerators) // 16, len(values), count is not None, 0)
            names.append(name)
            for value, text in values.items():
                enumerators += struct.pack("<qH6x", value, len(text.encode()))
                enumerator_names.append(text.encode())
        body = heads + enumerators + b"".join(strings + names + enumerator_names)
        total = align(32 + len(body), 8)
        head = struct.pack("<IHBBQIHHHHHH", total, self.id, self.kind, self.flags, self.type_id, self.line,
                           len(self.fields), len(enumerators) // 16, *map(len, strings))
        return (head + body).ljust(total, b"\0")

    def payload(self, values, dynamic=()):
        """The payload words of a record with these values; `dynamic` holds (key, type, value)."""
        fixed, tail = bytearray(self.fixed_bytes), b""
        for (_, type, count, _, offset), value in zip(self.fields, values):
            for i, v in enumerate([value] if count is None else value):
                at = offset + i * SIZES[type]
                if type == STRING:
                    cut = isinstance(v, tuple)  # (text,) stands for a text that was cut
                    text = v[0] if cut else v
                    text = text.encode() if isinstance(text, str) else text
                    struct.pack_into("<H", fixed, at, len(text) | cut << 15)
                    tail += text
                elif type in (INT128, UINT128):
                    fixed[at:at + 16] = (v & (1 << 128) - 1).to_bytes(16, "little")
                else:
                    struct.pack_into("<" + CODES[type], fixed, at, v)
        data = bytes(fixed) + tail
        data = data.ljust(align(len(data), 8), b"\0")
        for key, type, value in dynamic:
            cut = isinstance(value, tuple)
            value = value[0] if cut else value
            raw = value.encode() if type == STRING else struct.pack("<" + CODES[type], value)
            body = key.encode() + raw
            data += struct.pack("<Q", type | len(key.encode()) << 16 | len(raw) << 32 | cut << 48)
            data += body.ljust(align(len(body), 8), b"\0")
        return list(struct.unpack("<%dQ" % (len(data) // 8), data))


class Lane:
    """One write position. It rolls chunks and starts time epochs as the recorder does."""

    def __init__(self, thread, index):
        self.thread, self.index = thread, index
        self.words_before = self.records_before = 0
        self.chunk = None

    def open_chunk(self, ticks):
        image = self.thread.image
        image.next_ticket += 1
        self.chunk = Chunk(self, image.next_ticket, ticks)
        image.chunks.append(self.chunk)

    def append(self, ticks, words, is_record=True):
        """`words` is a function of the time within the epoch, or a list."""
        if self.chunk is None:
            self.open_chunk(ticks)
        made = words(0) if callable(words) else words
        needed = len(made) + 1  # an epoch word may stand before it
        if len(self.chunk.words) + needed > (CHUNK_BYTES - CHUNK_HEADER_BYTES) // 8:
            self.seal(ticks)
            self.open_chunk(ticks)
        chunk = self.chunk
        if callable(words):
            base = ticks & ~(EPOCH_TICKS - 1)
            if base != chunk.current_epoch:
                chunk.words.append(base | 3)
                chunk.current_epoch = base
                self.words_before += 1
            made = words(ticks - base)
        chunk.words += made
        self.words_before += len(made)
        if is_record:
            self.records_before += 1

    def seal(self, ticks):
        if self.chunk is not None:
            self.chunk.sealed_ticks = ticks
            self.chunk = None


class Chunk:
    def __init__(self, lane, ticket, ticks):
        self.lane, self.ticket, self.opened = lane, ticket, ticks
        self.epoch = self.current_epoch = ticks & ~(EPOCH_TICKS - 1)
        self.words, self.sealed_ticks = [], 0
        self.words_before, self.records_before = lane.words_before, lane.records_before
        self.generation, self.name = lane.thread.generation, lane.thread.name
        self.anchor = lane.thread.image.anchor(ticks)
        self.torn = False

    def encode(self, end_bytes, ticket=None):
        thread = self.lane.thread
        head = struct.pack("<QQIIIIQQQQ4Q32s", self.ticket if ticket is None else ticket, end_bytes, thread.slot,
                           self.generation, thread.tid, self.lane.index, self.words_before, self.records_before,
                           self.epoch, self.sealed_ticks, *self.anchor, (self.name or "").encode()[:31])
        return (head + struct.pack("<%dQ" % len(self.words), *self.words)).ljust(CHUNK_BYTES, b"\0")

    @property
    def end_bytes(self):
        return CHUNK_HEADER_BYTES + 8 * len(self.words)


class Thread:
    def __init__(self, image, tid, name, slot, generation, named):
        self.image, self.tid, self.name, self.slot, self.generation = image, tid, name, slot, generation
        self.named, self.state, self.thread_state = named, 2, 0
        self.lanes = [Lane(self, i) for i in range(3)]
        self.frames = []  # (lane, depth, site word, start, payload)
        self.attach_ticks = image.start

    def region(self, binding, start, end, values=(), dynamic=(), lane=0, form=None):
        payload = binding.payload(values, dynamic) if values or dynamic else []
        duration = end - start
        if form is None:
            form = "plain" if not payload else "payload" if binding.id <= 0xFFF and len(payload) <= 15 else "long"
            if duration >= EPOCH_TICKS:
                form = "long"
        if form == "long":
            words = [binding.id << 16 | (2 + len(payload)) << 6 | 2 << 2 | 3, start, end] + payload
        elif form == "payload":
            def words(time):
                return [time << 41 | duration << 18 | binding.id << 6 | len(payload) << 2 | 2] + payload
        else:
            def words(time):
                return [time << 41 | duration << 18 | binding.id << 2 | 1]
        self.lanes[lane].append(end, words)

    def point(self, binding, ticks, values=(), dynamic=(), lane=0, form=None):
        payload = binding.payload(values, dynamic) if values or dynamic else []
        if form == "long" or len(payload) > 255:
            words = [binding.id << 16 | (1 + len(payload)) << 6 | 3 << 2 | 3, ticks] + payload
        else:
            def words(time):
                return [time << 41 | len(payload) << 18 | binding.id << 2] + payload
        self.lanes[lane].append(ticks, words)

    def async_region(self, binding, start, end, begin_tid, values=(), lane=0):
        payload = binding.payload(values) if values else []
        head = binding.id << 16 | (3 + len(payload)) << 6 | 4 << 2 | 3
        self.lanes[lane].append(end, [head, start, end, begin_tid] + payload)

    def anchor(self, ticks, lane=0, anchor=None):
        words = [4 << 6 | 1 << 2 | 3] + list(anchor or self.image.anchor(ticks))
        self.lanes[lane].append(ticks, words, is_record=False)

    def words(self, ticks, words, lane=0):
        """Raw words, for what a recorder would not write."""
        self.lanes[lane].append(ticks, list(words))

    def open(self, binding, start, values=(), lane=0):
        payload = binding.payload(values) if values else []
        if not payload:
            site = binding.id << 2 | 1
        elif binding.id <= 0xFFF:
            site = binding.id << 6 | len(payload) << 2 | 2
        else:
            site = binding.id << 2 | 3
        depth = sum(1 for frame in self.frames if frame[0] == lane)
        self.frames.append((lane, depth, site, start, payload))

    def lose(self, words, records, lane=0):
        """The lane wrote this much that is not in the image."""
        self.lanes[lane].words_before += words
        self.lanes[lane].records_before += records

    def reuse(self, tid, name, named=True):
        """The slot's next thread."""
        other = Thread(self.image, tid, name, self.slot, self.generation + 1, named)
        self.image.threads[self.image.threads.index(self)] = other
        return other

    def encode_slot(self, chunk_address, base_address):
        data = bytearray(SLOT_BYTES)
        name = (self.name or "").encode()[:31] if self.named else b""
        struct.pack_into("<QIIQQQ32s", data, 0, self.state | self.generation << 8, self.tid, self.slot, 0,
                         self.attach_ticks, 2 if self.named else 0, name)
        struct.pack_into("<Q", data, 168, self.thread_state)
        for lane in self.lanes:
            chunk, cursor = 0, 0
            if lane.chunk is not None:
                chunk = chunk_address.get(lane.chunk, 0)
                cursor = chunk + lane.chunk.end_bytes
            struct.pack_into("<8Q", data, 256 + 64 * lane.index, cursor, 0, 0, chunk, 0, lane.words_before, 0, 0)
            end = 64 if lane.index == 0 else 8
            struct.pack_into("<Q", data, 448 + 192 * (FIRST_FRAME[lane.index] + end) + 16, MASK >> 1)
        for lane, depth, site, start, payload in self.frames:
            at = 448 + 192 * (FIRST_FRAME[lane] + depth)
            struct.pack_into("<4Q", data, at, ((start << 18) - site) & MASK, 0, start, 0)
            struct.pack_into("<%dQ" % len(payload), data, at + 32, *payload)
        return bytes(data)


SWITCH_OUT, SWITCH_PREEMPT = 1 << 13, 1 << 14
PERF_LOST, PERF_COMM, PERF_EXIT, PERF_THROTTLE, PERF_FORK, PERF_SWITCH = 2, 3, 4, 5, 7, 14


class SwitchBuffer:
    """What the kernel recorded on one processor: the newest record comes first. Times are monotonic ns."""

    def __init__(self, image, cpu, since=0, until=0):
        self.image, self.cpu, self.since, self.until = image, cpu, since, until
        self.records, self.spoilt = [], b""  # what stands behind the oldest whole record

    def add(self, kind, flags, pid, tid, time, body=b""):
        self.records.append(struct.pack("<IHH", kind, flags, 24 + len(body)) + body + struct.pack("<IIQ", pid, tid, time))

    def into(self, tid, time, pid=None):
        self.add(PERF_SWITCH, 0, pid or self.image.pid, tid, time)

    def out(self, tid, time, preempted=False, pid=None):
        self.add(PERF_SWITCH, SWITCH_OUT | (SWITCH_PREEMPT if preempted else 0), pid or self.image.pid, tid, time)

    def task(self, kind, tid, time, parent=1, pid=None):
        pid = pid or self.image.pid
        self.add(kind, 0, pid, parent if kind == PERF_FORK else tid, time, struct.pack("<4IQ", pid, pid, tid, parent, time))

    def encode(self, offset, unused=40):
        data = b"".join(reversed(self.records)) + self.spoilt
        return data + bytes(unused) + struct.pack("<4QI28x", offset, len(data), self.since, self.until, self.cpu)


class ImageBuilder:
    def __init__(self, pid=4242, tick_hz=2_000_000_000, start=1 << 45, executable="/usr/bin/server", host="box"):
        self.pid, self.tick_hz, self.start, self.executable, self.host = pid, tick_hz, start, executable, host
        self.bindings, self.threads, self.chunks = [], [], []
        self.late = set()  # ids of the bindings that were made while the chunks were copied
        self.next_ticket = 0
        self.monotonic, self.realtime = 5_000_000_000, 1_700_000_000_000_000_000
        self.suspended, self.suspended_at = 0, start  # ns asleep, and the tick
        self.dropped = [0] * 8
        self.version = (1, 0)
        self.next_id = 0
        self.switch_buffers = []
        self.thread_states = self.thread_states_error = self.unwatched_threads = 0
        self.perf_event_paranoid = -100

    def switches(self, cpu, since=0, until=0):
        """A buffer of context switches; `since`: 0 where older ones were overwritten."""
        self.thread_states = 1
        self.switch_buffers.append(SwitchBuffer(self, cpu, since, until))
        return self.switch_buffers[-1]

    def anchor(self, ticks):
        """The four clocks at a moment."""
        ns = (ticks - self.start) * 10**9 // self.tick_hz
        asleep = self.suspended if ticks >= self.suspended_at else 0
        return ticks, self.monotonic + ns, self.realtime + ns, self.monotonic + ns + asleep

    def bind(self, kind, name, id=None, late=False, **more):
        self.next_id = (self.next_id + 1) if id is None else id
        binding = Binding(self.next_id, kind, name, **more)
        self.bindings.append(binding)
        if late:
            self.late.add(binding.id)
        return binding

    def thread(self, tid, name=None, slot=None, generation=1, named=True):
        thread = Thread(self, tid, name, len(self.threads) if slot is None else slot, generation, named and name)
        self.threads.append(thread)
        return thread

    def superblock(self, **members):
        m = dict(magic=MAGIC, superblock_bytes=SUPERBLOCK_BYTES, kind=DUMP, source=1, image_bytes=0, base_address=0,
                 slots_offset=0, slot_count=0, chunk_states_offset=0, chunks_offset=0, chunk_count=0,
                 binding_index_offset=0, binding_index_count=0, bindings_offset=0, bindings_bytes=0,
                 late_bindings_offset=0, dump=(0, 0, 0, 0), window_ns=0, cutoff=0, sequence=0, signal=0, tid=0,
                 switches_offset=0, switches_bytes=0)
        m.update(members)
        data = struct.pack(
            "<QHHIIIQQ QIIQQIIQQQQQQQ IIII4IQ 4Q4Q 256s64s 5Q8Q3Q 4QQQIIII".replace(" ", ""),
            m["magic"], *self.version, m["superblock_bytes"], m["kind"], m["source"], m["image_bytes"],
            m["base_address"],
            m["slots_offset"], SLOT_BYTES, m["slot_count"], m["chunk_states_offset"], m["chunks_offset"],
            CHUNK_BYTES, m["chunk_count"], m["binding_index_offset"], m["binding_index_count"],
            m["bindings_offset"], m["bindings_bytes"], m["late_bindings_offset"], 0, 0,
            self.pid, 3, 192, 83, *FIRST_FRAME, 0, self.tick_hz, *self.anchor(self.start),
            *self.anchor(self.start + 1000), self.executable.encode(), self.host.encode(),
            self.next_ticket, len(self.bindings), 0, len(self.threads), len(self.threads), *self.dropped, 0, 0, 0,
            *m["dump"], m["window_ns"], m["cutoff"], m["sequence"], m["signal"], m["tid"], 0)
        states = struct.pack("<IiiIQQII", self.thread_states, self.thread_states_error, self.perf_event_paranoid,
                             self.unwatched_threads, m["switches_offset"], m["switches_bytes"], 64,
                             len(self.switch_buffers) if m["kind"] == DUMP else 0)
        return (data.ljust(1016, b"\0") + states).ljust(SUPERBLOCK_BYTES, b"\0")

    def last_ticks(self):
        return max([self.start + 2000] + [c.sealed_ticks or c.current_epoch + EPOCH_TICKS for c in self.chunks])

    def dump(self, at=None, end=True, **members):
        """The bytes of a dump made at `at` ticks (default: after all records)."""
        at = self.last_ticks() if at is None else at
        early = b"".join(b.entry() for b in self.bindings if b.id not in self.late)
        late = b"".join(b.entry() for b in self.bindings if b.id in self.late)
        slots = b"".join(t.encode_slot({}, 0) for t in self.threads)
        chunks = b"".join(c.encode(c.end_bytes, 0 if c.torn else None) for c in self.chunks)
        bindings_offset = SUPERBLOCK_BYTES + len(slots)
        chunks_offset = bindings_offset + len(early)
        switches, switches_offset = b"", chunks_offset + len(chunks)
        for buffer in self.switch_buffers:
            switches += buffer.encode(switches_offset + len(switches))
        late_offset = switches_offset + len(switches)
        head = self.superblock(**{**dict(
            slots_offset=SUPERBLOCK_BYTES, slot_count=len(self.threads), chunks_offset=chunks_offset,
            chunk_count=len(self.chunks), bindings_offset=bindings_offset, bindings_bytes=len(early),
            late_bindings_offset=late_offset, dump=self.anchor(at), sequence=1, switches_offset=switches_offset,
            switches_bytes=len(switches)), **members})
        data = head + slots + early + chunks + switches + late
        if end:
            data += struct.pack("<IHBBQQQ4Q", 64, 0, END_OF_DUMP, 0, len(data) + 64, len(self.chunks),
                                sum(c.torn for c in self.chunks), *self.anchor(at + 1000))
        return data

    def live(self, base_address=0x7F0000000000, slot_count=None, chunk_count=None, spoil=None):
        """The bytes of the image of a process that was killed. `spoil` may change the chunk states."""
        slot_count = slot_count or len(self.threads) + 2
        chunk_count = chunk_count or len(self.chunks) + 3
        states_offset = SUPERBLOCK_BYTES + slot_count * SLOT_BYTES
        index_offset = align(states_offset + 8 * chunk_count, 64)
        index_count = max([b.id for b in self.bindings] + [0]) + 5
        arena_offset = align(index_offset + 4 * index_count, 64)
        arena, index = b"", [0] * index_count
        for binding in self.bindings:
            index[binding.id] = len(arena) + 1
            arena += binding.entry()
        chunks_offset = align(arena_offset + len(arena) + 256, 4096)
        total = chunks_offset + chunk_count * CHUNK_BYTES
        data = bytearray(total)
        data[:SUPERBLOCK_BYTES] = self.superblock(
            kind=LIVE, image_bytes=total, base_address=base_address, slots_offset=SUPERBLOCK_BYTES,
            slot_count=slot_count, chunk_states_offset=states_offset, chunks_offset=chunks_offset,
            chunk_count=chunk_count, binding_index_offset=index_offset, binding_index_count=index_count,
            bindings_offset=arena_offset, bindings_bytes=len(arena) + 256)
        addresses, states = {}, [0] * chunk_count
        for i, chunk in enumerate(self.chunks):
            at = chunks_offset + i * CHUNK_BYTES
            addresses[chunk] = base_address + at
            is_open = chunk.lane.chunk is chunk
            states[i] = chunk.ticket << 2 | (1 if is_open else 2)
            data[at:at + CHUNK_BYTES] = chunk.encode(0 if is_open else chunk.end_bytes | 7 << 32)
        if spoil:
            spoil(states, data)
        struct.pack_into("<%dQ" % chunk_count, data, states_offset, *states)
        struct.pack_into("<%dI" % index_count, data, index_offset, *index)
        data[arena_offset:arena_offset + len(arena)] = arena
        for thread in self.threads:
            at = SUPERBLOCK_BYTES + thread.slot * SLOT_BYTES
            data[at:at + SLOT_BYTES] = thread.encode_slot(addresses, base_address)
        return bytes(data)


def large(regions, threads):
    """A dump of that many plain regions, nested as a busy server nests them, to measure a reader with."""
    import random
    chance = random.Random(5)
    image = ImageBuilder(tick_hz=2_100_000_000)
    stages = [image.bind(REGION, f"stage_{i}", category="app") for i in range(50)]
    for i in range(threads):
        thread, now = image.thread(1000 + i, f"worker-{i}"), image.start + 10_000 + i
        left = regions // threads
        while left > 0:
            begin, now = now, now + 50
            for _ in range(min(chance.randrange(4), left - 1)):
                end = now + chance.randrange(60, 2000)
                thread.region(chance.choice(stages), now, end)
                now, left = end + chance.randrange(40, 100), left - 1
            thread.region(chance.choice(stages), begin, now)
            now, left = now + chance.randrange(40, 3000), left - 1
    return image.dump()


if __name__ == "__main__":
    import sys
    if not 2 <= len(sys.argv) <= 4:
        sys.exit("usage: image_builder.py OUT.contrail [REGIONS [THREADS]]   (2000000 regions of 8 threads)")
    with open(sys.argv[1], "wb") as file:
        file.write(large(*([int(a) for a in sys.argv[2:]] + [2_000_000, 8][len(sys.argv) - 2:])))
