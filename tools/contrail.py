#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads what contrail recorded: a dump or stream (.contrail), the image file of a process that runs or was killed, a core
file.

    contrail.py convert IN... [-o OUT.json]   Chrome trace JSON, for ui.perfetto.dev, chrome://tracing, speedscope; of
                                              several processes one timeline
    contrail.py info IN                       who, when, threads, window, records by type, losses
    contrail.py registry IN                   every event type and its schema
    contrail.py table IN                      the busiest regions: count, total, p50, p99, max
    contrail.py text IN                       all of it, one line for each thing; docs/text.md

IN and OUT may be "-". Exit codes: 0 all went well; 1 a part could be read, and the warnings say what could not;
2 nothing could be read. One file, Python >= 3.9, standard library only; docs/format.md specifies the format.
"""
from __future__ import annotations

import argparse
import errno
import fcntl
import gc
import json
import math
import os
import re
import struct
import sys
import time
from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import chain, islice, repeat
from operator import itemgetter
from types import SimpleNamespace
from typing import Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

# ---- the format: mirrors include/contrail/detail/image.hpp, compared with it by tests/python/test_format.py ----


class Layout:
    """A struct of image.hpp: its members in order, each with its struct code."""

    def __init__(self, **members: str) -> None:
        self.struct = struct.Struct("<" + "".join(members.values()))
        self.size, self.offsets, self.counts, at = self.struct.size, {}, [], 0
        for name, code in members.items():
            self.offsets[name] = at
            self.counts.append((name, len(struct.unpack("<" + code, bytes(struct.calcsize("<" + code))))))
            at += struct.calcsize("<" + code)

    def read(self, data: bytes, at: int) -> Any:
        values = iter(self.struct.unpack_from(data, at))
        return SimpleNamespace(**{name: next(values) if count == 1 else tuple(islice(values, count))
                                  for name, count in self.counts})


MAGIC = 0x1A0A0D4C52544389
MAGIC_BYTES = MAGIC.to_bytes(8, "little")
FORMAT_MAJOR, FORMAT_MINOR = 1, 2
SUPERBLOCK = Layout(
    magic="Q", version_major="H", version_minor="H", superblock_bytes="I", kind="I", source="I", image_bytes="Q",
    base_address="Q", slots_offset="Q", slot_bytes="I", slot_count="I", chunk_states_offset="Q", chunks_offset="Q",
    chunk_bytes="I", chunk_count="I", binding_index_offset="Q", binding_index_count="Q", bindings_offset="Q",
    bindings_bytes="Q", late_bindings_offset="Q", scratch_offset="Q", scratch_bytes="Q", pid="I", lane_count="I",
    frame_bytes="I", frame_count="I", lane_first_frame="4I", tick_hz="Q", start="4Q", ready="4Q", executable="256s",
    host="64s", next_ticket="Q", next_id="Q", arena_used="Q", attached="Q", attached_slots="Q", dropped="8Q",
    overwritten_ticks="Q", next_span="Q", next_flow="Q",
    dump="4Q", window_ns="Q", cutoff_ticks="Q", dump_sequence="I", dump_signal="I", dump_tid="I", reserved0="I",
    storage="I", ended="I", end="4Q", crash="64s", trigger_ticks="Q", trigger="120s", spans_offset="Q", span_bytes="I",
    span_count="I", seed="2Q", thread_states="I", thread_states_error="i", perf_event_paranoid="i",
    unwatched_threads="I", switches_offset="Q", switches_bytes="Q", switch_buffer_bytes="I", switch_buffer_count="I")
CRASH = Layout(cause="I", signal="I", code="i", tid="I", address="Q", sender="I", reserved="I", thread="32s")
SLOT = Layout(state="Q", tid_index="2I", owner_object="Q", attach_ticks="Q", name_version="Q", name="32s")
LANE = Layout(cursor="Q", deadline="Q", epoch_base="Q", chunk="Q", extra_words="Q", words_before="Q",
              anchor_ticks="Q", dropped="Q")
SWITCH_BUFFER = Layout(offset="Q", bytes="Q", since_ns="Q", until_ns="Q", cpu="I", reserved="7I")
FRAME = Layout(word="Q", owner="Q", start_ticks="Q", stack_pointer="Q")
SPAN = Layout(state="Q", binding="2I", words="8Q", payload="20Q", reserved="2Q")
CHUNK = Layout(ticket="Q", extent="2I", writer="2I", tid_lane="2I", words_before="Q", records_before="Q",
               epoch_base="Q", sealed_ticks="Q", anchor="4Q", thread_name="32s")
BINDING = Layout(bytes="I", id="H", kind="B", flags="B", type_id="Q", line="I", field_count="H",
                 enumerator_count="H", name_bytes="H", category_bytes="H", file_bytes="H", function_bytes="H")
FIELD = Layout(name_bytes="H", type="B", flags="B", offset="H", count="H", first_enumerator="H",
               enumerator_count="H", is_array="H", reserved="H")
ENUMERATOR = Layout(value="q", name_bytes="H", reserved="6s")
END_OF_DUMP = Layout(bytes="I", id="H", kind="B", flags="B", total_bytes="Q", chunks_written="Q", chunks_torn="Q",
                     anchor="4Q")
STREAM_BLOCK = Layout(type="I", begin="I", bytes="Q")
STREAM_STATE = Layout(anchor="4Q", next_ticket="Q", attached="Q", attached_slots="Q", dropped="8Q", lost_records="Q",
                      lost_chunks="Q", chunks="Q", cause="I", error_number="i")
SUPERBLOCK_BYTES, SLOT_BYTES, CHUNK_BYTES, CHUNK_HEADER_BYTES = 4096, 16384, 8192, 128
LANES_OFFSET, LANE_COUNT, FRAMES_OFFSET, FRAME_BYTES, FRAME_COUNT = 256, 3, 448, 192, 83
FRAME_PAYLOAD_OFFSET, FRAME_PAYLOAD_WORDS = 32, 20
SPAN_PAYLOAD_OFFSET = 80
SLOT_THREAD_STATE = 168  # offset
EPOCH_TICKS, ANCHOR_WORD = 2**23, 4 << 6 | 1 << 2 | 3
LIVE, DUMP, STREAM = 1, 2, 3
BINDING_BLOCK, SLOT_BLOCK, CHUNK_BLOCK, STATE_BLOCK, END_BLOCK, SPAN_BLOCK = range(1, 7)
NO_CAUSE, BY_STOP, BY_FAILURE, BY_RECORDER = 0, 1, 2, 3
IN_MEMORY, IN_FILE = 0, 1
NOT_ENDED, STOPPED, EXITED = 0, 1, 2
NO_CRASH, BY_SIGNAL, BY_TERMINATE = 0, 1, 2
STATES_UNWANTED, STATES_ON, STATES_REFUSED, STATES_NO_MEMORY = 0, 1, 2, 3
UNKNOWN_STATE, RUNNING, RUNNABLE, WAITING = 0, 1, 2, 3
REGION, INSTANT, COUNTER, LOG, EVENT_TYPE, OVERFLOW, TASK, ASYNC, FRAME_MARK, END = 1, 2, 3, 4, 5, 6, 7, 8, 9, 255
OVERFLOW_ID = 0xFFFE  # what found no room has it; its index is 0
UNKNOWN = 0  # of an id without a binding; no kind of the format
KINDS = {UNKNOWN: "?", REGION: "region", INSTANT: "instant", COUNTER: "counter", LOG: "log", EVENT_TYPE: "event type",
         OVERFLOW: "overflow", TASK: "task", ASYNC: "async span", FRAME_MARK: "frame"}
FLAG_CUT, FLAG_DYNAMIC, STRING_CUT = 1, 2, 0x8000
BLOCKED_SHIFT, BLOCKED_ON = 4, ("", "sync", "net", "syscall", "io", "sleep", "reason 6", "reason 7")
CLOCKS = {1: "tsc", 2: "cntvct", 3: "monotonic"}
DROP_REASONS = ("no chunk free", "more threads than slots", "no lane free in a signal handler",
                "regions open too deep", "regions not nested", "more tasks open than entries")
(BOOLEAN, CHARACTER, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, INT128, UINT128, FLOAT32, FLOAT64,
 POINTER, STRING, DURATION, CODE_POINT, FLOW_OUT, FLOW_IN) = range(1, 21)
TYPES = {  # field_type: its name, its struct code
    BOOLEAN: ("bool", "B"), CHARACTER: ("char", "B"), INT8: ("int8", "b"), UINT8: ("uint8", "B"),
    INT16: ("int16", "h"), UINT16: ("uint16", "H"), INT32: ("int32", "i"), UINT32: ("uint32", "I"),
    INT64: ("int64", "q"), UINT64: ("uint64", "Q"), INT128: ("int128", "Qq"), UINT128: ("uint128", "QQ"),
    FLOAT32: ("float", "f"), FLOAT64: ("double", "d"), POINTER: ("pointer", "Q"), STRING: ("string", "H"),
    DURATION: ("duration", "q"), CODE_POINT: ("code point", "I"), FLOW_OUT: ("flow out", "Q"), FLOW_IN: ("flow in", "Q")}
INTEGERS = {*range(BOOLEAN, FLOAT32), CODE_POINT}  # what an enumeration can be made of
SMALL_INTEGERS = {INT8, UINT8, INT16, UINT16, INT32, UINT32}

ELLIPSIS = "\u2026".encode()  # behind what was cut
MAX_NAME = 4096  # bytes; longer names are cut, so that a hostile image of few bytes cannot make a large output
MAX_EVENT_NAME = 60  # of each name in a line of text of an event; whole names stand in the lines of the bindings
MAX_WIDTH = 10000  # of a formatted log argument, for the same reason
MAX_MESSAGE = 1 << 16  # characters that a log message's arguments can take; else its format is shown
MAX_LOG_NAME = 120  # characters of a message that name its event; args hold all of it
VIEWER_DEPTH = 512  # Perfetto cuts deeper slices
# speedscope takes a trace with an event of such a name for a CPU profile and shows nothing of it.
DIVERTING_NAMES = {"Profile", "CpuProfile", "ProfileChunk"}


class Unusable(Exception):
    """Nothing can be read; the text says why, in one sentence."""


def c_string(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


quote: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


# ---- values ----------------------------------------------------------------------------------------------------

def shortest32(value: float) -> str:
    """The shortest decimal that reads back as the same 32-bit float, in the notation of repr."""
    for digits in range(9):
        mantissa, exponent = f"{value:.{digits}e}".split("e")
        last = int(mantissa.replace(".", ""))
        for near in (last, last + 1, last - 1):  # below a power of two floats are denser, so the nearest may fail
            short = float(f"{near}e{int(exponent) - digits}")
            if array("f", [short])[0] == value:
                return repr(short)
    return repr(value)


def json_float(value: float, kind: int = FLOAT64) -> str:
    if value - value != 0:
        return '"NaN"' if value != value else '"Infinity"' if value > 0 else '"-Infinity"'
    return shortest32(value) if kind == FLOAT32 else repr(value)


def character(code: int) -> str:
    return chr(code) if code < 0xD800 or 0xDFFF < code < 0x110000 else "\ufffd"


def duration_text(ns: int) -> str:
    """Exact, in the largest unit that leaves a whole part: 1500000 is "1.5 ms"."""
    for unit, digits in (("s", 9), ("ms", 6), ("us", 3)):
        if abs(ns) >= 10**digits:
            whole, rest = divmod(abs(ns), 10**digits)
            return "-" * (ns < 0) + f"{whole}.{rest:0{digits}}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{ns} ns"


def value_json(kind: int, value: Any) -> str:
    """A field's value; bytes are a text or the name of an enumerator."""
    if isinstance(value, list):
        return "[" + ",".join([value_json(kind, v) for v in value]) + "]"
    if isinstance(value, bytes):
        return quote(text(value))
    if isinstance(value, float):
        return json_float(value, kind)
    if kind == BOOLEAN:
        return "true" if value else "false"
    if kind in (POINTER, FLOW_OUT, FLOW_IN):
        return f'"0x{value:x}"'
    if kind == DURATION:
        return quote(duration_text(value))
    if kind == CHARACTER:  # a byte beyond ASCII is part of some character
        return quote(character(value) if value < 0x80 else "\ufffd")
    if kind == CODE_POINT and value < 0x110000:
        return quote(character(value))
    return str(value) if abs(value) <= 2**53 else f'"{value}"'  # JavaScript's numbers are exact up to here


# ---- log messages: what fmt::format gives ----------------------------------------------------------------------

HOLE = re.compile(r"\{\{|\}\}|\{(\d*)(?::((?:[^{}]|\{\d*\})*))?\}|[{}]", re.DOTALL)
SPEC = re.compile(r"(?:(.)(?=[<>^])|)([<>^]?)([+\- ]?)(#?)(0?)(\d+|\{\d*\})?(?:\.(\d+|\{\d*\}))?L?([a-zA-Z?]?)\Z",
                  re.DOTALL)
WIDE = ((0x1100, 0x115F), (0x2329, 0x232A), (0x2E80, 0x303E), (0x3040, 0xA4CF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
        (0xFE10, 0xFE19), (0xFE30, 0xFE6F), (0xFF00, 0xFF60), (0xFFE0, 0xFFE6), (0x1F300, 0x1F64F),
        (0x1F900, 0x1F9FF), (0x20000, 0x2FFFD), (0x30000, 0x3FFFD))  # fmt's idea of what takes two columns


class Spec(NamedTuple):
    fill: str = " "
    align: str = ""
    sign: str = ""
    alternate: bool = False
    zero: bool = False
    width: int = 0
    precision: int = -1
    type: str = ""


PLAIN, QUOTED = Spec(), Spec(type="?")


def display_width(shown: str) -> int:
    if shown.isascii():
        return len(shown)
    return len(shown) + sum(any(low <= ord(c) <= high for low, high in WIDE) for c in shown)


def pad(sign: str, shown: str, spec: Spec, default: str) -> str:
    if spec.zero and not spec.align:
        return sign + shown.rjust(spec.width - len(sign), "0")
    if not spec.width:
        return sign + shown
    room = spec.width - len(sign) - display_width(shown)
    left = {"<": 0, ">": room, "^": room // 2}[spec.align or default]
    return spec.fill * left + sign + shown + spec.fill * (room - left)


def escaped(value: str, quotes: str = '"') -> str:
    plain = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", quotes: "\\" + quotes}
    return quotes + "".join(plain.get(c) or (c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 0x100 else
                                             f"\\u{{{ord(c):x}}}") for c in value) + quotes


def format_integer(value: int, spec: Spec) -> str:
    kind = spec.type or "d"
    if kind == "c":
        return pad("", chr(value & 0xFF), spec, "<")
    sign = "-" if value < 0 else spec.sign.strip("-")
    if spec.alternate and kind != "d":
        sign += "0" + kind.strip("o") if value or kind != "o" else ""  # octal: only a zero
    return pad(sign, format(abs(value), kind.replace("B", "b")), spec, ">")


def hexadecimal(value: float, precision: int, alternate: bool) -> str:
    """What printf's %a gives for a value that is not negative."""
    mantissa, exponent = value.hex()[2:].split("p")
    digits, kept = int(mantissa.replace(".", "").ljust(14, "0"), 16), 13 if precision < 0 else min(precision, 13)
    if kept < 13:
        drop = 4 * (13 - kept)
        digits = digits + (1 << drop - 1) - 1 + (digits >> drop & 1) >> drop  # half to even
    shown = f"{digits:0{kept + 1}x}"
    fraction = shown[1:].rstrip("0") if precision < 0 else shown[1:].ljust(precision, "0")
    return f"0x{shown[0]}{'.' if fraction or alternate else ''}{fraction}p{exponent}"


def format_float(value: float, spec: Spec, single: bool) -> str:
    kind, alternate = spec.type, "#" if spec.alternate else ""
    sign = "-" if math.copysign(1, value) < 0 else spec.sign.strip("-")
    if value - value != 0:
        shown = "nan" if value != value else "inf"
        spec = spec._replace(fill=spec.fill.replace("0", " "), align=spec.align or (">" if spec.zero else "<"))
    elif kind in ("a", "A"):
        shown = hexadecimal(abs(value), spec.precision, spec.alternate)
    elif kind or spec.precision >= 0:
        shown = format(abs(value), f"{alternate}.{6 if spec.precision < 0 else spec.precision}{kind or 'g'}")
        shown += "0" if shown[-1] == "." and kind in ("", "g", "G") else ""
    else:
        shown = shortest32(abs(value)) if single else repr(abs(value))
        if alternate and "." not in shown:
            shown = shown.replace("e", ".e")
        elif not alternate and shown.endswith(".0"):
            shown = shown[:-2]
    return pad(sign, shown.upper() if kind.isupper() else shown, spec, ">")


def format_value(kind: int, value: Any, spec: Spec) -> str:
    quotes = '"'
    if isinstance(value, bytes):
        value = text(value)
    if isinstance(value, list):
        value = ", ".join(format_value(kind, v, QUOTED if isinstance(v, (bytes, str)) else PLAIN) for v in value)
        value = f"[{value}]"
    elif isinstance(value, float):
        return format_float(value, spec, kind == FLOAT32)
    elif kind == POINTER:
        return pad("0x", f"{value:x}", spec, ">")
    elif kind == DURATION:
        value = f"{value}ns"
    elif kind == BOOLEAN and spec.type in ("", "s"):
        value = "true" if value else "false"
    elif kind in (CHARACTER, CODE_POINT) and spec.type in ("", "c", "?") and not isinstance(value, str):
        value, quotes = character(value if value < 0x80 or kind == CODE_POINT else 0xD800), "'"
    elif not isinstance(value, str):
        return format_integer(value - ((value & 0x80) << 1) if kind == CHARACTER else value, spec)
    if spec.type == "?":
        value = escaped(value, quotes)
    return pad("", value[:spec.precision] if spec.precision >= 0 else value, spec, "<")


def format_log(source: str, kinds: Sequence[int], values: Sequence[Any]) -> str:
    """The message; IndexError, TypeError or ValueError when the arguments do not fit the format."""
    automatic = iter(range(len(values)))

    def argument(digits: str) -> int:
        return int(digits) if digits else next(automatic, len(values))

    def number(digits: Optional[str], missing: int) -> int:
        if digits is None:
            return missing
        value = int(values[argument(digits[1:-1])] if digits[0] == "{" else digits)
        return max(0, min(value, MAX_WIDTH))

    def replace(hole: Any) -> str:
        if hole.group() in ("{{", "}}"):
            return hole.group()[0]
        index = argument(hole[1]) if hole[1] is not None else len(values)
        if not hole[2]:
            return format_value(kinds[index], values[index], PLAIN)
        match = SPEC.match(hole[2])
        if not match:
            raise ValueError
        fill, align, sign, alternate, zero, width, precision, kind = match.groups()
        fill = "0" if zero and align else fill or " "  # as fmt 9 does; later versions ignore the zero
        spec = Spec(fill, align, sign, bool(alternate), bool(zero), number(width, 0), number(precision, -1), kind)
        return format_value(kinds[index], values[index], spec)

    room = MAX_MESSAGE

    def counted(hole: Any) -> str:
        nonlocal room
        shown = replace(hole)
        room -= len(shown)
        if room < 0:
            raise ValueError
        return shown

    return HOLE.sub(counted, source)


# ---- bindings --------------------------------------------------------------------------------------------------

Damaged = struct.error  # what struct raises for a read beyond the end; our own checks raise the same


def string(data: bytes, at: int, size: int, cut: int = 0) -> bytes:
    """As it stands in the image; text() shows it."""
    if at + size > len(data):
        raise Damaged("a text beyond the end")
    return data[at:at + size] + (ELLIPSIS if cut else b"")


def numbers(kind: int, count: int, data: bytes, at: int) -> List[Any]:
    code = TYPES[kind][1]
    if len(code) == 1:
        return list(struct.unpack_from(f"<{count}{code}", data, at))
    halves = iter(struct.unpack_from("<" + code * count, data, at))
    return [low | high << 64 for low, high in zip(halves, halves)]


class Field(NamedTuple):
    name: bytes
    type: int
    offset: int
    count: int
    is_array: bool
    first_enumerator: int
    enumerator_count: int
    enumerators: Dict[int, bytes]


def max_name_bytes(fields: Iterable[Field]) -> int:
    """Of a record's arguments, what names of fields and enumerators can take."""
    return sum(len(f.name) + f.count * max(map(len, f.enumerators.values()), default=0) for f in fields)


class Binding:
    """What an id stands for, and how its payload reads. `entry` is as in the image."""

    def __init__(self, entry: bytes) -> None:
        head = BINDING.read(entry, 0)
        self.id, self.kind, self.flags, self.type_id = head.id, head.kind, head.flags, head.type_id
        enumerators_at = BINDING.size + head.field_count * FIELD.size
        at = enumerators_at + head.enumerator_count * ENUMERATOR.size

        def name(size: int) -> bytes:
            nonlocal at
            at += size
            return string(entry, at - size, size)[:MAX_NAME]

        heads = [FIELD.read(entry, i) for i in range(BINDING.size, enumerators_at, FIELD.size)]
        values = [ENUMERATOR.read(entry, i) for i in range(enumerators_at, at, ENUMERATOR.size)]
        self.line = head.line
        self.raw = [name(head.name_bytes), name(head.category_bytes), name(head.file_bytes), name(head.function_bytes)]
        self.name, self.category, self.source, self.function = map(text, self.raw)
        self.source += f":{head.line}" if self.source else ""
        names = [name(f.name_bytes) for f in heads]
        self.enumerators = [(e.value, name(e.name_bytes)) for e in values]
        if sum(f.enumerator_count for f in heads) > 2**16:  # fields may share enumerators, hostile ones without bound
            self.enumerators = []
        self.fields = [Field(n, f.type, f.offset, f.count, bool(f.is_array), f.first_enumerator, f.enumerator_count,
                             dict(self.enumerators[f.first_enumerator:f.first_enumerator + f.enumerator_count])
                             if f.type in INTEGERS else {})
                       for n, f in zip(names, heads)]
        self.fixed_bytes, self.readable, code = 0, [], "<"
        for field in self.fields:
            if field.type not in TYPES or field.count == 0 or field.offset < self.fixed_bytes:
                break  # of a newer minor version, or damaged: this field and those after it cannot be read
            code += f"{field.offset - self.fixed_bytes}x" + TYPES[field.type][1]
            self.fixed_bytes = field.offset + struct.calcsize("<" + TYPES[field.type][1]) * field.count
            self.readable.append(field)
        self.longest = max_name_bytes(self.readable)
        short = MAX_NAME
        if self.longest > MAX_NAME:  # so many that each record would make a large output
            short = MAX_EVENT_NAME
            self.readable = [f._replace(enumerators={v: n[:short] for v, n in f.enumerators.items()})
                             for f in self.readable]
            self.longest = max_name_bytes(f._replace(name=f.name[:short]) for f in self.readable)
        self.keys = unique_keys(text(f.name[:short]) for f in self.readable)
        self.arrows = [i for i, f in enumerate(self.readable) if f.type in (FLOW_OUT, FLOW_IN) and not f.is_array]
        self.blocked = BLOCKED_ON[head.flags >> BLOCKED_SHIFT & 7]
        # Most payloads are small integers: one % operation writes them all.
        self.template: Optional[str] = None
        if not head.flags & FLAG_DYNAMIC and all(f.type in SMALL_INTEGERS and not f.is_array and f.count == 1
                                                 and not f.enumerators for f in self.readable):
            self.struct = struct.Struct(code)
            self.template = ",".join(quote(key).replace("%", "%%") + ":%d" for key in self.keys)

    def read(self, payload: bytes, stored_as: Dict[int, int] = {}) -> Tuple[List[Any], Dict[bytes, Tuple[int, Any]]]:
        """The fields' values, and those of the fields set at run time by key. Texts are bytes. `stored_as` may name
        other types to read some as."""
        values: List[Any] = []
        tail = self.fixed_bytes
        if tail > len(payload):
            raise Damaged("a payload without all its fields")
        for field in self.readable:
            row = numbers(stored_as.get(field.type, field.type), field.count, payload, field.offset)
            if field.type == STRING:
                for i, word in enumerate(row):
                    row[i] = string(payload, tail, word & ~STRING_CUT, word & STRING_CUT)
                    tail += word & ~STRING_CUT
            elif field.enumerators:
                row = [field.enumerators.get(v, v) for v in row]
            values.append(row if field.is_array else row[0])
        found: Dict[bytes, Tuple[int, Any]] = {}
        at = tail + 7 & ~7
        while self.flags & FLAG_DYNAMIC and at + 8 <= len(payload):
            word, = struct.unpack_from("<Q", payload, at)
            if word == 0:
                break
            kind, key_bytes, value_bytes = word & 0xFF, word >> 16 & 0xFFFF, word >> 32 & 0xFFFF
            value_at = at + 8 + key_bytes
            key = string(payload, at + 8, key_bytes)
            if kind == STRING:
                found[key] = kind, string(payload, value_at, value_bytes, word >> 48 & 1)
            elif kind in TYPES:
                found[key] = kind, numbers(stored_as.get(kind, kind), 1, payload, value_at)[0]
            at = value_at + value_bytes + 7 & ~7
        return values, found

    def arguments(self, payload: bytes) -> str:
        """The inside of the JSON object "args"."""
        if self.template is not None and self.fixed_bytes <= len(payload):
            return self.template % self.struct.unpack_from(payload)
        try:
            values, dynamic = self.read(payload)
        except Damaged:
            return '"(damaged)":true'
        members = {key: value_json(f.type, v) for key, f, v in zip(self.keys, self.readable, values)}
        members.update((text(key), value_json(kind, v)) for key, (kind, v) in dynamic.items())
        return ",".join(f"{quote(key)}:{v}" for key, v in members.items())

    def flows(self, payload: bytes) -> List[Tuple[int, int]]:
        """The arrows that leave or arrive here: direction, id."""
        try:
            values = self.read(payload)[0]
        except Damaged:
            return []
        return [(self.readable[i].type, values[i]) for i in self.arrows if values[i]]

    def message(self, payload: bytes) -> str:
        """The text of a log record."""
        try:
            return format_log(self.name, [f.type for f in self.readable], self.read(payload)[0])
        except (Damaged, ValueError, IndexError, TypeError, OverflowError):
            return self.name


class Bindings(Dict[int, Binding]):
    """By id; an id that the image does not tell gets a placeholder, and is part of its name."""

    def __missing__(self, id: int) -> Binding:
        name = f"unknown #{id}".encode()
        self[id] = Binding(BINDING.struct.pack(0, id, UNKNOWN, 0, 0, 0, 0, 0, len(name), 0, 0, 0) + name)
        return self[id]


def unique_keys(names: Iterable[str]) -> List[str]:
    """A JSON object holds a key once: the second "n" becomes "n (2)"."""
    keys: Dict[str, int] = {}
    for name in names:
        key = name
        while key in keys:
            keys[name] += 1
            key = f"{name} ({keys[name]})"
        keys[key] = 1
    return list(keys)


# ---- time ------------------------------------------------------------------------------------------------------

Anchor = Tuple[int, int, int, int]  # ticks, monotonic, realtime, boottime
Line = Tuple[int, int, int]  # (c, m, s): nanoseconds = (c + ticks * m) >> s
FOREVER = 1 << 200


class Clock:
    """Ticks to monotonic nanoseconds, piecewise linear between anchors, in integers only."""

    SPACING_NS = 10**8  # anchors nearer to each other would turn their reading noise into changes of rate
    SUSPEND_NS, SLOW_NS = 10**6, 10**9

    def __init__(self, anchors: Iterable[Anchor], hz: int) -> None:
        self.notes: List[str] = []
        usable = self.read_at_once(sorted({a for a in anchors if a[0]})) or [(0, 0, 0, 0)]
        good = self.plausible(usable, hz)
        self.ignored = len(usable) - len(good)
        chosen = self.thin(self.in_order(good))
        first, self.last = chosen[0], chosen[-1]
        if self.last[1] - first[1] < 10**4:
            chosen = [first, (first[0] + hz, first[1] + 10**9, 0, 0)]
        self.ticks = [a[0] for a in chosen[1:-1]]
        segments = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(chosen, chosen[1:])]
        self.lines: List[Line] = []
        for a, (ticks, ns) in zip(chosen, segments):
            # Exactly a.ns + floor((t - a.ticks) * ns / ticks) for all t of 64 bits: rounding the slope up makes the
            # product wrong by less than 2**64 either way, which the addend makes 0 to 2**65, and that is less than
            # the 1 / ticks to the next whole number.
            shift = 65 + ticks.bit_length()
            slope = -(-(ns << shift) // ticks)
            self.lines.append(((a[1] << shift) - a[0] * slope + 2**64, slope, shift))
        ticks, ns = chosen[-1][0] - first[0], chosen[-1][1] - first[1]
        self.hz = ticks * 10**9 // ns
        off = sum(abs(n * ticks - t * ns) * 1000 > t * ns for t, n in segments)
        if off:
            self.notes.append(f"the clock's rate is off by more than 1000 ppm in {off} of {len(segments)} segments")

    @classmethod
    def read_at_once(cls, anchors: List[Anchor]) -> List[Anchor]:
        """Without those whose clocks were read one long after the other, since their thread was interrupted: they say
        more time asleep, which was read last."""
        return [a for i, a in enumerate(anchors) if not cls.SUSPEND_NS < cls.stands_out(anchors, i) < cls.SLOW_NS]

    @classmethod
    def stands_out(cls, anchors: List[Anchor], i: int) -> int:
        """How much more time asleep an anchor says than both its neighbours; 0 where these do not agree."""
        if not 0 < i < len(anchors) - 1:
            return 0
        before, here, after = (a[3] - a[1] for a in anchors[i - 1:i + 2])
        return here - before if abs(before - after) < cls.SUSPEND_NS else 0

    @classmethod
    def plausible(cls, anchors: List[Anchor], hz: int) -> List[Anchor]:
        """Without the anchors that damage moved: those off the nominal rate by half, seen from the median."""
        middle = sorted(anchors, key=lambda a: a[1] * hz - a[0] * 10**9)[len(anchors) // 2]

        def fits(anchor: Anchor) -> bool:
            expected = (anchor[0] - middle[0]) * 10**9
            return any(abs((anchor[i] - middle[i]) * hz - expected) <= abs(expected) // 2 + 10**6 * hz for i in (1, 3))

        # Only damage undoes a suspend.
        good = [a for i, a in enumerate(anchors) if fits(a) and abs(cls.stands_out(anchors, i)) <= cls.SUSPEND_NS]
        return good if 2 * len(good) >= len(anchors) else anchors

    def in_order(self, anchors: List[Anchor]) -> List[Anchor]:
        """Without those that go back. Threads that read the clocks at once may come in either order; more is damage."""
        kept = anchors[:1]
        for anchor in anchors[1:]:
            if anchor[0] > kept[-1][0] and anchor[1] >= kept[-1][1]:
                kept.append(anchor)
            else:
                self.ignored += abs(anchor[1] - kept[-1][1]) > self.SUSPEND_NS
        return kept

    def thin(self, anchors: List[Anchor]) -> List[Anchor]:
        """The first, the last, those around a suspend, and in between what is SPACING_NS apart."""
        kept, last = anchors[:1], anchors[-1]
        for before, anchor in zip(anchors, anchors[1:]):
            asleep = (anchor[3] - anchor[1]) - (before[3] - before[1])
            if abs(asleep) > self.SUSPEND_NS:
                self.notes.append(f"the machine was suspended for {duration_text(asleep)}; times around it are less"
                                  " exact")
                kept += [a for a in (before, anchor) if a is not kept[-1]]
            elif anchor[1] - kept[-1][1] >= self.SPACING_NS:
                kept.append(anchor)
        if len(kept) > 1 and 0 < last[1] - kept[-1][1] < self.SPACING_NS and not self.notes:
            kept.pop()
        return kept if kept[-1] is last else kept + [last]

    def line(self, ticks: int) -> Tuple[Line, int]:
        """The line that holds at a tick, and the tick at which the next one begins."""
        index = bisect_right(self.ticks, ticks)
        return self.lines[index], self.ticks[index] if index < len(self.ticks) else FOREVER

    def ns(self, ticks: int) -> int:
        c, m, s = self.lines[bisect_right(self.ticks, ticks)]
        return c + ticks * m >> s

    def ticks_at(self, ns: int) -> int:
        """The first tick at or after a time."""
        low, high = 0, 2**64
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.ns(middle) < ns else (low, middle)
        return low

    def realtime(self, ns: int) -> int:
        """Unix nanoseconds of a monotonic time, as the newest anchor saw the offset."""
        return ns - self.last[1] + self.last[2]


# ---- the image -------------------------------------------------------------------------------------------------

# All times are ticks, until Writer makes them nanoseconds. A payload is byte offset << 10 | words; 0: none.
Record = Tuple[int, int, int, int]  # start, end, id, payload
Async = Tuple[int, int, int, int, int]  # the same, and the tid that began it


class SpanWords(NamedTuple):
    """What a task or an asynchronous span is."""
    id: int
    parent: int
    tid: int  # that began it
    trace_high: int
    trace_low: int
    own: int  # its id in the trace, and its parent's
    from_: int

    @classmethod
    def of(cls, words: Sequence[int]) -> "SpanWords":
        id, parent, tid, *trace = words
        return cls(id, parent, tid & 0xFFFFFFFF, *trace)


Span = Tuple[int, int, int, int, SpanWords]  # as a Record, and what it is


class Records:
    """What was decoded, in the order in which it was written."""

    def __init__(self) -> None:
        self.regions: List[Record] = []
        self.points: List[Record] = []
        self.asyncs: List[Async] = []
        self.spans: List[Span] = []
        self.all: Tuple[List[Any], ...] = (self.regions, self.points, self.asyncs, self.spans)
        self.switches: List[Tuple[int, int]] = []  # ticks, the thread's current task from then on
        self.anchors: List[Anchor] = []

    def count(self) -> int:
        return sum(map(len, self.all))

    def newest(self) -> int:
        return max((r[1] for records in self.all for r in records[-1:]), default=0)

    def keep_from(self, oldest: int) -> None:
        """Drops what ended before."""
        for records in self.all:
            records[:] = [r for r in records if r[1] >= oldest]


class Image:
    """A dump, a stream or a live image: superblock, slots, bindings, and which chunks hold what."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.warnings: List[str] = []  # a part could not be read
        self.notes: List[str] = []  # all was read, and this is worth knowing
        self.in_use: Optional[bool] = None  # of a recorder's file: its process still runs; None: who knows
        self.bindings = Bindings()
        self.end: Any = None
        self.chunks: List[Any] = []
        self.switches = Switches()
        self.torn = 0
        self.state: Any = None  # of a stream, its last one
        self.input_bytes = len(data)
        self.sb = self.read_superblock()
        self.crash = CRASH.read(self.sb.crash, 0)
        self.is_stream = self.sb.kind == STREAM
        self.is_dump = self.sb.kind != LIVE
        self.cut = max(self.sb.start[0], self.sb.cutoff_ticks if self.is_dump else 0)  # records ended since then
        if self.is_stream:
            self.slots: Dict[int, Any] = {}
            self.read_stream()
        else:
            self.slots = self.read_slots()
            self.spans = self.spans_at(self.fitting("spans", self.sb.spans_offset, self.sb.span_count, SPAN.size))
            self.read_chunks()
            self.read_bindings()
            self.switches.read(self)
        self.clock = self.make_clock()
        # No record can be much younger than the newest clock reading; a damaged time would stretch the whole trace.
        self.latest = self.clock.last[0] + 3600 * self.sb.tick_hz

    def read_superblock(self) -> Any:
        data = self.data
        if not data:
            raise Unusable("it is empty")
        if data[:8] != MAGIC_BYTES:
            raise Unusable("it is not a contrail dump (it does not begin with contrail's magic bytes)")
        major, minor = struct.unpack_from("<HH", data.ljust(12, b"\0"), 8)
        if len(data) >= 12 and major != FORMAT_MAJOR:
            raise Unusable(f"it has format version {major}.{minor}, and this converter reads {FORMAT_MAJOR}.x; use"
                           " the contrail.py that came with the header which wrote it")
        if len(data) < SUPERBLOCK_BYTES:
            raise Unusable(f"it is truncated: {len(data)} bytes do not hold the first {SUPERBLOCK_BYTES}")
        sb = SUPERBLOCK.read(data, 0)
        if sb.kind not in (LIVE, DUMP, STREAM):
            raise Unusable(f"it is damaged, or newer than this converter: its kind is {sb.kind}, neither a live image nor"
                           " a dump nor a stream")
        fixed = dict(superblock_bytes=SUPERBLOCK_BYTES, slot_bytes=SLOT_BYTES, chunk_bytes=CHUNK_BYTES,
                     lane_count=LANE_COUNT, frame_bytes=FRAME_BYTES, frame_count=FRAME_COUNT)
        self.warnings += [f"the superblock's {name} is {getattr(sb, name)} instead of {value}"
                          for name, value in fixed.items() if getattr(sb, name) != value]
        if not 10**5 <= sb.tick_hz <= 10**11:
            self.warnings.append(f"the superblock's tick_hz is {sb.tick_hz}")
            sb.tick_hz = 10**9
        return sb

    def fitting(self, what: str, at: int, count: int, size: int) -> range:
        """The offsets of `count` entries at `at`, as far as they lie within the file."""
        fit = max(0, min(count, (len(self.data) - at) // size)) if at >= SUPERBLOCK_BYTES else 0
        if fit < count:
            self.warnings.append(f"only {fit} of {count} {what} are in the file")
        return range(at, at + fit * size, size)

    def read_slots(self) -> Dict[int, Any]:
        slots = {}
        for at in self.fitting("thread slots", self.sb.slots_offset, self.sb.slot_count, SLOT_BYTES):
            slot = self.read_slot(at)
            if slot.state & 0xFF:
                slot.frames = range(at + FRAMES_OFFSET, at + FRAMES_OFFSET + FRAME_COUNT * FRAME_BYTES, FRAME_BYTES)
                slots[slot.index] = slot
        return slots

    def spans_at(self, places: Iterable[int]) -> List[Span]:
        """Those that were open, without an end."""
        spans = []
        for at in places:
            span = SPAN.read(self.data, at)
            id, words = span.binding
            if span.state & 3 > 1 and words <= FRAME_PAYLOAD_WORDS:
                spans.append((span.words[0], NEVER, id & 0xFFFF, -(at + SPAN_PAYLOAD_OFFSET << 10 | words),
                              SpanWords.of(span.words[1:])))
        return spans

    def read_slot(self, at: int) -> Any:
        slot = SLOT.read(self.data, at)
        slot.generation, (slot.tid, slot.index) = slot.state >> 8, slot.tid_index
        slot.name = c_string(slot.name) if slot.name_version % 2 == 0 < slot.name_version else b""
        slot.thread_state, = struct.unpack_from("<Q", self.data, at + SLOT_THREAD_STATE)
        slot.lanes = [LANE.read(self.data, at + LANES_OFFSET + n * LANE.size) for n in range(LANE_COUNT)]
        return slot

    def read_binding(self, at: int, limit: int, earliest: int) -> int:
        """Keeps the binding at `at`, unless it is of a newer minor version; where the next one may begin."""
        if not earliest <= at <= limit - BINDING.size:
            raise Damaged("a binding beyond the end, or within another one")
        size, id, kind = struct.unpack_from("<IHB", self.data, at)
        if not BINDING.size <= size <= limit - at or size % 8:
            raise Damaged("a binding of an impossible size")
        if kind == END and not self.is_stream:
            self.end = END_OF_DUMP.read(self.data, at)
        elif kind != UNKNOWN and kind in KINDS and id not in self.bindings:
            self.bindings[id] = Binding(self.data[at:at + size])
        return at + size

    def read_bindings(self) -> None:
        sb, size, damaged, read_to, entries = self.sb, len(self.data), 0, SUPERBLOCK_BYTES, ()
        early_end = min(sb.bindings_offset + sb.bindings_bytes, size)
        if self.is_dump:
            runs = [(sb.bindings_offset, early_end), (sb.late_bindings_offset, size)]
        else:
            index = self.fitting("binding index entries", sb.binding_index_offset, sb.binding_index_count, 4)
            entries = struct.unpack(f"<{len(index)}I", self.data[index.start:index.stop])
            runs = [(sb.bindings_offset + entry - 1, early_end) for entry in sorted(set(entries) - {0})]
        for at, limit in runs:
            try:
                while at < limit and self.end is None:
                    read_to = self.read_binding(at, limit, read_to)
                    at = read_to if self.is_dump else limit
            except Damaged:
                damaged += 1
        damaged += sum(entry != 0 and (id or OVERFLOW_ID) not in self.bindings for id, entry in enumerate(entries))
        if damaged:
            self.warnings.append("some bindings are damaged, so that some names are lost")
        if self.is_dump and self.end is None:
            self.warnings.append("the dump is truncated: its end is missing")
        elif self.is_dump and self.end.total_bytes != size:
            self.warnings.append(f"the dump should have {self.end.total_bytes} bytes and has {size}")

    def read_chunks(self) -> None:
        """In the order of their tickets."""
        sb, damaged, skipped = self.sb, 0, 0
        offsets, states = self.fitting("chunks", sb.chunks_offset, sb.chunk_count, CHUNK_BYTES), repeat(None)
        if not self.is_dump:
            found = self.fitting("chunk states", sb.chunk_states_offset, sb.chunk_count, 8)
            states = struct.unpack(f"<{len(found)}Q", self.data[found.start:found.stop])
        elif len(offsets) < sb.chunk_count and SUPERBLOCK_BYTES <= offsets.stop <= len(self.data) - CHUNK_HEADER_BYTES:
            offsets = range(offsets.start, offsets.stop + 1, CHUNK_BYTES)  # of the next chunk the beginning is there
        for at, state in zip(offsets, states):
            chunk = CHUNK.read(self.data, at)
            end = chunk.extent[0] if self.is_dump else chunk.extent[0] or self.open_end(at, chunk)
            if self.is_dump and chunk.ticket == 0:
                self.torn += 1
            elif not self.is_dump and state & 3 not in (1, 2):
                continue
            elif not self.is_dump and (end == 0 or chunk.ticket != state >> 2):
                skipped += 1  # the process died while it took, opened or sealed this chunk
            elif (CHUNK_HEADER_BYTES <= end <= CHUNK_BYTES and end % 8 == 0 and chunk.tid_lane[1] < LANE_COUNT
                    and chunk.epoch_base % EPOCH_TICKS == 0):
                chunk.at, chunk.end = at, at + min(end, len(self.data) - at & ~7)
                self.chunks.append(chunk)
            else:
                damaged += 1
        self.chunks.sort(key=lambda c: c.ticket)
        if skipped:
            self.notes.append(f"{skipped} of {len(offsets)} chunks were changing hands when the process ended")
        if damaged:
            self.warnings.append(f"{damaged} of {len(offsets)} chunks are damaged")

    def read_stream(self) -> None:
        """Takes the blocks in order, up to the last whole one. What is spread over several blocks goes behind the data."""
        data, sb, at, kind, damaged_bindings, damaged = self.data, self.sb, SUPERBLOCK_BYTES, 0, 0, 0
        pieces: Dict[int, List[Tuple[int, int]]] = {}  # by ticket: where each begins and ends
        filled: Dict[int, int] = {}  # by ticket: the bytes of the chunk that are there
        names: Dict[Tuple[int, int], bytes] = {}
        spans: Dict[int, int] = {}  # those that are open, by index: where
        before: Dict[Tuple[int, int], List[int]] = {}  # what lanes had dropped when the session began
        self.session_start = sb.dump
        while kind != END_BLOCK and len(data) - at >= STREAM_BLOCK.size:
            kind, begin, size = STREAM_BLOCK.struct.unpack_from(data, at)
            at += STREAM_BLOCK.size
            end = at + size
            if size % 8 or end > len(data):
                kind = 0
                break
            if kind == BINDING_BLOCK:
                try:
                    self.read_binding(at, end, at)
                except Damaged:
                    damaged_bindings += 1
            elif kind == SLOT_BLOCK and size >= FRAMES_OFFSET:
                slot = self.read_slot(at)
                key, step = (slot.index, slot.generation), FRAME_BYTES + 8  # each frame stands behind its index
                slot.frames = range(at + FRAMES_OFFSET + 8, end - FRAME_BYTES + 1, step)
                if slot.name:
                    names[key] = slot.name
                if not self.state:
                    before[key] = [lane.dropped for lane in slot.lanes]
                for lane, dropped in zip(slot.lanes, before.get(key, ())):
                    lane.dropped = lane.dropped - dropped & NEVER
                if slot.state & 0xFF:
                    self.slots[slot.index] = slot
                elif slot.index in self.slots:  # nobody has it any more
                    self.slots[slot.index].frames = ()
            elif kind == CHUNK_BLOCK:
                ticket, extent = struct.unpack_from("<QI", data, at) if size >= CHUNK_HEADER_BYTES else (0, 0)
                words = begin + size - CHUNK_HEADER_BYTES
                if not ticket or begin != filled.get(ticket, CHUNK_HEADER_BYTES) or not words == extent <= CHUNK_BYTES:
                    damaged += 1
                else:
                    pieces.setdefault(ticket, []).append((at, end))
                    filled[ticket] = extent
            elif kind == SPAN_BLOCK and size >= SPAN.size:
                spans[begin] = at
            elif kind == SPAN_BLOCK:
                spans.pop(begin, None)
            elif kind in (STATE_BLOCK, END_BLOCK) and size >= STREAM_STATE.size:
                self.state = STREAM_STATE.read(data, at)
            at = end
        made, made_at = [data], len(data)
        for ticket, parts in pieces.items():
            at = parts[-1][0]
            chunk = CHUNK.read(data, at)
            if chunk.tid_lane[1] >= LANE_COUNT or chunk.epoch_base % EPOCH_TICKS:
                damaged += 1
                continue
            if len(parts) > 1:
                made += [data[at:at + CHUNK_HEADER_BYTES]] + [data[a + CHUNK_HEADER_BYTES:b] for a, b in parts]
                at, made_at = made_at, made_at + filled[ticket]
            chunk.at, chunk.end = at, at + filled[ticket]
            chunk.thread_name = names.get(chunk.writer, chunk.thread_name)
            self.chunks.append(chunk)
        self.data = b"".join(made) if len(made) > 1 else data
        self.chunks.sort(key=lambda c: c.ticket)
        self.slots = dict(sorted(self.slots.items()))
        self.spans = self.spans_at(spans[index] for index in sorted(spans))
        self.note_stream_end(kind, damaged_bindings, damaged)

    def note_stream_end(self, kind: int, damaged_bindings: int, damaged: int) -> None:
        sb, state = self.sb, self.state
        if state:
            sb.dropped = tuple(now - then & NEVER for now, then in zip(state.dropped, sb.dropped))
            sb.dump, sb.attached = state.anchor, state.attached
        if damaged_bindings:
            self.warnings.append("some bindings are damaged, so that some names are lost")
        if damaged:
            self.warnings.append(f"{damaged} pieces of chunks are damaged")
        if kind != END_BLOCK or not state:
            self.warnings.append("the stream has no end: its process was killed or still writes it, or it was cut; all up to"
                                 " the last whole block is here")
        elif state.cause == BY_FAILURE:
            self.warnings.append(f"a write of the session failed (system error {state.error_number}), which ended the stream")
        elif state.cause == BY_RECORDER:
            self.notes.append("the flight recorder was stopped before the session")

    def open_end(self, at: int, chunk: Any) -> int:
        """The bytes in use of a chunk that a live image's thread still writes; 0: none can be told."""
        slot, lane = self.slots.get(chunk.writer[0]), chunk.tid_lane[1]
        if not slot or slot.generation != chunk.writer[1] or lane >= LANE_COUNT:
            return 0
        end = slot.lanes[lane].cursor - self.sb.base_address - at
        return end if CHUNK_HEADER_BYTES <= end <= CHUNK_BYTES else 0

    def warn_of_unknown_ids(self) -> None:
        """When all events were shown: then all ids that occur were asked for."""
        unknown = sum(b.kind == UNKNOWN for b in self.bindings.values())
        if unknown:
            self.warnings.append(f"{unknown} ids have no binding: their events are named 'unknown #id'")

    def make_clock(self) -> Clock:
        anchors = [self.sb.start, self.sb.ready] + ([self.sb.dump] if self.is_dump else [])
        anchors += [self.end.anchor] if self.end else [self.session_start] if self.is_stream else []
        anchors += [chunk.anchor for chunk in self.chunks]
        needle = struct.pack("<Q", ANCHOR_WORD)
        records = Records()
        for chunk in self.chunks:
            if self.data.find(needle, chunk.at + CHUNK_HEADER_BYTES, chunk.end) >= 0:
                self.decode(chunk, records, 2**64)
        clock = Clock(anchors + records.anchors, self.sb.tick_hz)
        if clock.ignored:
            self.warnings.append(f"{clock.ignored} clock anchors contradict the others")
        self.notes += clock.notes
        return clock

    def decode(self, chunk: Any, out: Records, latest: int) -> bool:
        """Appends a chunk's records; False when it is damaged: then those before the damage."""
        # This loop and the one of Writer.slices are what the time of a conversion goes into.
        begin = chunk.at + CHUNK_HEADER_BYTES
        size = chunk.end - begin >> 3
        payload_of_next = begin + 8
        add_region, add_point = out.regions.append, out.points.append
        base, earliest = chunk.epoch_base, self.sb.start[0]
        oldest = earliest if base >= earliest else 0  # such a chunk can hold records of an earlier recording
        skip = 0
        if size and not 0 < base <= latest:
            return False
        for i, w in enumerate(struct.unpack_from(f"<{size}Q", self.data, begin)):
            if i < skip:
                continue
            tag = w & 3
            if tag == 1:
                end = base + (w >> 41)
                add_region((end - (w >> 18 & 0x7FFFFF), end, w >> 2 & 0xFFFF, 0))
            elif tag == 2:
                words = w >> 2 & 15
                skip = i + 1 + words
                if skip > size:
                    return False
                end = base + (w >> 41)
                add_region((end - (w >> 18 & 0x7FFFFF), end, w >> 6 & 0xFFF, payload_of_next + 8 * i << 10 | words))
            elif tag == 0:
                words = w >> 18 & 0xFF
                skip = i + 1 + words
                if skip > size or w == 0:
                    return False
                time = base + (w >> 41)
                add_point((time, time, w >> 2 & 0xFFFF, payload_of_next + 8 * i << 10 | words))
            elif w >> 2 & 15 == 0:
                base = w & ~(EPOCH_TICKS - 1)
                if not 0 < base <= latest:
                    return False
            else:
                form, words, id = w >> 2 & 15, w >> 6 & 1023, w >> 16 & 0xFFFF
                skip = i + 1 + words
                fixed = (0, 4, 2, 1, 3, 9, 2)[form] if form <= 6 else 0
                if skip > size or words < fixed:
                    return False
                at = payload_of_next + 8 * i
                first = struct.unpack_from(f"<{fixed}Q", self.data, at)
                payload = at + 8 * fixed << 10 | words - fixed
                if form == 1:
                    if w == ANCHOR_WORD:
                        out.anchors.append(first)
                elif form == 3 and oldest <= first[0] <= latest:
                    add_point((first[0], first[0], id, payload))
                elif form == 2 and first[0] <= first[1] and oldest <= first[1] <= latest:
                    add_region((max(first[0], min(earliest, first[1])), first[1], id, payload))
                elif form == 4 and first[0] <= first[1] and oldest <= first[1] <= latest:
                    out.asyncs.append((max(first[0], min(earliest, first[1])), first[1], id, payload,
                                       first[2] & 0xFFFFFFFF))
                elif form == 5 and first[1] <= first[0] and oldest <= first[0] <= latest:
                    out.spans.append((max(first[1], min(earliest, first[0])), first[0], id, payload, SpanWords.of(first[2:])))
                elif form == 6 and oldest <= first[0] <= latest:
                    out.switches.append(first)
                elif form <= 6:
                    return False  # a time that cannot be; other forms are of a newer minor version
        return True

    def open_regions(self, slot: Any) -> List[Tuple[int, int, int]]:
        """(start ticks, id, payload) of the regions that were open, the outer first."""
        found = []
        for at in slot.frames:
            word, _, start, _ = FRAME.struct.unpack_from(self.data, at)
            site = (start << 18) - word & 2**64 - 1
            if word and site & 3 and site <= 0x3FFFF and self.sb.start[0] <= start <= self.latest:
                id = site >> 6 if site & 3 == 2 else site >> 2
                found.append((start, id, at + FRAME_PAYLOAD_OFFSET << 10 | FRAME_PAYLOAD_WORDS))
        return found


# ---- thread states: the kernel's records of context switches ----------------------------------------------------

PERF_HEADER, PERF_FOOTER, PERF_TASK = struct.Struct("<IHH"), struct.Struct("<IIQ"), struct.Struct("<4I")
PERF_LOST, PERF_EXIT, PERF_FORK, PERF_SWITCH = 2, 4, 7, 14
SWITCH_OUT, SWITCH_PREEMPT = 1 << 13, 1 << 14
OFF, NEW, GONE = 4, 5, 6  # it did not run, and why is not known; it began; it ended
STATE_NAMES = {RUNNING: "running", RUNNABLE: "runnable", WAITING: "waiting", OFF: "not running"}
STATE_COLOURS = {RUNNING: "running", RUNNABLE: "runnable", WAITING: "sleeping", OFF: "unknown"}  # of chrome://tracing
DOUBLE_NS = 10**4  # a thread may have two events, and so two records of each switch


class Activity:
    """What a thread did: from `times[i]` on it was `states[i]`, on `cpus[i]`, until `end`. Monotonic ns."""

    def __init__(self, tid: int, end: int, changes: Sequence[Tuple[int, int, int]]) -> None:
        self.tid, self.end = tid, end
        self.track: Optional[Track] = None
        self.times, self.states, self.cpus = map(list, zip(*changes))
        self.ran, self.unknown = [0], [0]  # until then
        for begin, end, state, _ in self.intervals():
            self.ran.append(self.ran[-1] + (end - begin if state == RUNNING else 0))
            self.unknown.append(self.unknown[-1] + (end - begin if state == UNKNOWN_STATE else 0))

    @property
    def name(self) -> str:
        return self.track.name if self.track else f"thread {self.tid}"

    def intervals(self) -> Iterator[Tuple[int, int, int, int]]:
        return zip(self.times, self.times[1:] + [self.end], self.states, self.cpus)

    def until(self, sums: List[int], state: int, time: int) -> int:
        i = bisect_right(self.times, time) - 1
        return sums[i] + (time - self.times[i] if self.states[i] == state else 0)

    def running(self, begin: int, end: int) -> Optional[int]:
        """How long of that time; None where not all of it is known."""
        if not self.times[0] <= begin <= end <= self.end:
            return None
        if self.until(self.unknown, UNKNOWN_STATE, end) != self.until(self.unknown, UNKNOWN_STATE, begin):
            return None
        return self.until(self.ran, RUNNING, end) - self.until(self.ran, RUNNING, begin)


class Switches:
    """The switches of all threads between two moments; all that were in between, if `since` is before `until`."""

    def __init__(self) -> None:
        self.since = self.until = 0
        self.changes: List[Tuple[int, int, int, int]] = []  # time, tid, what it did from then on, cpu
        self.is_damaged = False

    def read(self, image: Image) -> None:
        sb, data = image.sb, image.data
        if sb.thread_states != STATES_ON or not sb.switch_buffer_count:
            return
        at, sinces, untils = sb.switches_offset + sb.switches_bytes, [], []
        for _ in range(sb.switch_buffer_count):
            at -= SWITCH_BUFFER.size
            if not SUPERBLOCK_BYTES <= sb.switches_offset <= at <= len(data) - SWITCH_BUFFER.size:
                self.is_damaged = True
                return
            head = SWITCH_BUFFER.read(data, at)
            if not sb.switches_offset <= head.offset <= head.offset + head.bytes <= at:
                self.is_damaged = True
                return
            sinces.append(self.read_buffer(data, sb.pid, head))
            untils.append(head.until_ns)
            at = head.offset
        self.since, self.until = max(sinces), min(untils)
        self.changes.sort()

    def read_buffer(self, data: bytes, pid: int, head: Any) -> int:
        """Takes the records of a processor; since when all are here. The oldest one may be cut, and is left out."""
        at, end, oldest, lost = head.offset, head.offset + head.bytes, head.until_ns, 0
        latest = head.until_ns + 3600 * 10**9
        while end - at >= PERF_HEADER.size:
            kind, flags, size = PERF_HEADER.unpack_from(data, at)
            if size < PERF_HEADER.size + PERF_FOOTER.size or size % 8 or size > end - at:
                break
            of, tid, time = PERF_FOOTER.unpack_from(data, at + size - PERF_FOOTER.size)
            # The kernel's quick clock may go back by a little.
            if not 0 < time <= latest:
                break
            if kind == PERF_SWITCH:
                oldest, latest = min(time, oldest), time + 10**6
                if of == pid:
                    state = RUNNING if not flags & SWITCH_OUT else RUNNABLE if flags & SWITCH_PREEMPT else WAITING
                    self.changes.append((time, tid, state, head.cpu))
            elif kind in (PERF_FORK, PERF_EXIT) and size >= PERF_HEADER.size + PERF_TASK.size + PERF_FOOTER.size:
                of, _, tid, _ = PERF_TASK.unpack_from(data, at + PERF_HEADER.size)
                if of == pid:
                    self.changes.append((time, tid, GONE if kind == PERF_EXIT else NEW, head.cpu))
            elif kind == PERF_LOST:
                lost = max(lost, time)
            at += size
        return max(lost, head.since_ns if head.since_ns and at >= end else oldest)

    def activities(self) -> List[Activity]:
        """By thread; a thread id that was used again is another thread."""
        by_tid: Dict[int, List[Tuple[int, int, int]]] = defaultdict(list)
        for time, tid, state, cpu in self.changes:
            if self.since <= time <= self.until:
                by_tid[tid].append((time, state, cpu))
        found = []
        for tid, changes in by_tid.items():
            made: List[Tuple[int, int, int]] = []
            is_over = False
            for time, state, cpu in changes:
                if is_over and state != NEW:
                    continue
                if state == NEW:
                    if made and time - made[0][0] < DOUBLE_NS:
                        continue
                elif not made:  # what it did before follows from what it does now
                    made.append((self.since, OFF if state == RUNNING else RUNNING, -1 if state == RUNNING else cpu))
                elif state != GONE and (state == RUNNING) == (made[-1][1] == RUNNING):
                    if time - made[-1][0] < DOUBLE_NS:
                        continue
                    made[-1] = (made[-1][0], UNKNOWN_STATE, -1)  # a record between these two is missing
                if state in (NEW, GONE) and made:
                    found.append(Activity(tid, time, made))
                    made = []
                is_over = state == GONE
                if not is_over:
                    made.append((time, RUNNABLE if state == NEW else state, cpu))
            if made:
                found.append(Activity(tid, self.until, made))
        return found


# ---- tracks ----------------------------------------------------------------------------------------------------

NEVER = 2**64 - 1


class Life:
    """One thread's use of one slot; a thread has several when several shared objects record."""

    def __init__(self, tid: int, slot: Any) -> None:
        self.tid, self.slot = tid, slot
        self.lanes: Dict[int, List[Any]] = defaultdict(list)
        self.name, self.begin, self.end = b"", NEVER, 0
        if slot:
            self.begin, self.end, self.name = slot.attach_ticks or NEVER, NEVER, slot.name

    def add(self, chunk: Any) -> None:
        """Chunks come in the order of their tickets, so the newest name wins."""
        self.lanes[chunk.tid_lane[1]].append(chunk)
        self.begin = min(self.begin, chunk.anchor[0])
        self.end = max(self.end, chunk.sealed_ticks or NEVER)
        if not (self.slot and self.slot.name):
            self.name = c_string(chunk.thread_name) or self.name


class Track(Records):
    """What one thread did."""

    def __init__(self, tid: int, again: bool) -> None:
        super().__init__()
        self.tid = self.system_tid = tid
        self.again = again  # an earlier thread had this tid
        self.lives: List[Life] = []
        self.unfinished: List[Record] = []
        self.overwritten = self.lost = self.dropped = 0
        self.activity: Optional[Activity] = None

    @property
    def given_name(self) -> bytes:
        return next((life.name for life in reversed(self.lives) if life.name), b"")

    @property
    def name(self) -> str:
        again = f" (tid {self.system_tid} again)" if self.again else ""
        return (text(self.given_name) or f"thread {self.system_tid}") + again

    def decode(self, image: Image) -> int:
        """Fills the track; the number of damaged chunks."""
        damaged = 0
        lanes = [chunks for life in self.lives for chunks in life.lanes.values()]
        for chunks in lanes:
            expected = 0
            for chunk in chunks:
                new, missing = Records(), chunk.records_before - expected
                if chunk is chunks[0]:  # of a stream: what it wrote before the session, or its beginning is lost
                    self.overwritten += 0 if image.is_stream else missing
                else:
                    self.lost += max(0, missing)
                damaged += not image.decode(chunk, new, image.latest)
                expected = chunk.records_before + new.count()
                if chunk.epoch_base < image.cut:
                    new.keep_from(image.cut)
                for records, more in zip(self.all, new.all):
                    records += more
                self.switches += new.switches
        if len(lanes) > 1:
            self.regions.sort(key=itemgetter(1))
            self.points.sort(key=itemgetter(1))
            self.switches.sort(key=itemgetter(0))
        self.dropped = sum(lane.dropped for life in self.lives if life.slot for lane in life.slot.lanes)
        return damaged

    def add_unfinished(self, image: Image, now: int, ended_elsewhere: Set[Tuple[int, int, int]]) -> None:
        found = [region for life in self.lives if life.slot for region in image.open_regions(life.slot)]
        # A region that ended while the dump was written is in both the frames and the chunks.
        starts = {start for start, _, _ in found}
        ended = {(r[0], r[2]) for r in self.regions if r[0] in starts} if found else ()
        now = max([now] + [r[1] for r in self.regions[-1:]] + list(starts))
        self.unfinished = [(start, now, id, -payload) for start, id, payload in found
                           if (start, id) not in ended and (self.system_tid, start, id) not in ended_elsewhere]


class Trace:
    """Everything in an image, decoded."""

    def __init__(self, image: Image, last_ns: Optional[int] = None, progress: Callable[[str], None] = lambda s: None
                 ) -> None:
        self.image = image
        self.tracks = self.make_tracks()
        damaged = 0
        for i, track in enumerate(self.tracks):
            progress(f"decoding thread {i + 1} of {len(self.tracks)}")
            damaged += track.decode(image)
        if damaged:
            image.warnings.append(f"{damaged} chunks are damaged; the records before the damage were read")
        self.newest = max([track.newest() for track in self.tracks] + [image.sb.start[0]])
        self.now = image.sb.dump[0] if image.is_dump and image.sb.dump[0] else self.newest
        elsewhere = {(a[4], a[0], a[2]) for t in self.tracks for a in t.asyncs}
        for track in self.tracks:
            track.add_unfinished(image, max(self.now, self.newest), elsewhere)
            if last_ns is not None:
                track.keep_from(image.clock.ticks_at(image.clock.ns(self.now) - last_ns))
            # Records stand in the order in which they ended. Backwards, an outer region comes before its inner ones,
            # and a stable sort keeps that for those that start in the same tick.
            track.regions.reverse()
            track.regions[:0] = track.unfinished
            track.regions.sort(key=itemgetter(0))
        ended = {s[4].id for t in self.tracks for s in t.spans}
        now = max(self.now, self.newest)
        self.open_spans = [(start, max(now, start), *rest) for start, _, *rest in image.spans
                           if rest[2].id not in ended and image.sb.start[0] <= start <= image.latest]
        firsts = (r[0] for t in self.tracks for r in chain(t.regions[:1], t.points, t.asyncs, t.spans))
        firsts = chain(firsts, (s[0] for s in self.open_spans))
        self.first = image.clock.ns(min(firsts, default=self.now))
        self.activities = self.make_activities()

    def make_activities(self) -> List[Activity]:
        """Of the threads with tracks first. One that did nothing but what it did when the dump was made left no record."""
        image, ns = self.image, self.image.clock.ns
        if not image.switches.since < image.switches.until:
            return []
        found = image.switches.activities()
        known = {activity.tid for activity in found}
        for slot in image.slots.values():
            if (slot.tid not in known and slot.thread_state in STATE_NAMES and not image.sb.unwatched_threads
                    and slot.state & 0xFF):
                known.add(slot.tid)
                found.append(Activity(slot.tid, image.switches.until, [(image.switches.since, slot.thread_state, -1)]))
        for activity in found:
            for track in self.tracks:
                begin = min(life.begin for life in track.lives)
                if track.system_tid == activity.tid and (not track.again or ns(begin) <= activity.end):
                    activity.track = track
            if activity.track:
                activity.track.activity = activity
        order = {id(track): i for i, track in enumerate(self.tracks)}
        return sorted(found, key=lambda a: (order.get(id(a.track), len(order)), a.tid, a.times[0]))

    def make_tracks(self) -> List[Track]:
        lives = {(s.index, s.generation): Life(s.tid, s) for s in self.image.slots.values()}
        for chunk in self.image.chunks:
            key = chunk.writer
            if key not in lives:
                lives[key] = Life(chunk.tid_lane[0], None)
            lives[key].add(chunk)
        tracks: List[Track] = []
        unused = max((life.tid for life in lives.values()), default=0) + 1
        for life in sorted(lives.values(), key=lambda life: (life.tid, life.begin)):
            others = tracks[-1].lives if tracks and tracks[-1].system_tid == life.tid else []
            later = all(life.begin > other.end and life.name != other.name for other in others)
            if later:
                tracks.append(Track(life.tid, again=bool(others)))
                if others or not 0 < life.tid < 2**32:  # viewers take tid 0 for the process
                    tracks[-1].tid, unused = unused % 2**32 or 1, unused + 1
            tracks[-1].lives.append(life)
        return tracks


# ---- crashes ---------------------------------------------------------------------------------------------------

SIGNALS = {4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 11: "SIGSEGV", 31: "SIGSYS"}
FAULTS = {(11, 1): "where nothing is mapped", (11, 2): "where that access is not permitted",
          (7, 1): "which is misaligned", (7, 2): "where nothing is, as beyond the end of a mapped file",
          (8, 1): "integer division by zero", (8, 2): "integer overflow", (8, 3): "division by zero",
          (31, 1): "a system call that a filter forbids"}
CODE_OF_KERNEL = 0x80  # SI_KERNEL: there is no address


class Crash:
    """What ended the process. The thread may be one that never recorded."""

    def __init__(self, trace: Trace) -> None:
        note = trace.image.crash
        track = next((t for t in reversed(trace.tracks) if t.system_tid == note.tid), None)
        self.is_stranger, self.system_tid = track is None, note.tid
        self.tid = track.tid if track else note.tid or trace.image.sb.pid or 1
        self.thread = track.name if track else text(c_string(note.thread)) or f"thread {note.tid}"
        self.details: Dict[str, Any] = {}
        if note.cause == BY_TERMINATE:
            self.what = "std::terminate"
            return
        self.what = SIGNALS.get(note.signal, f"signal {note.signal}")
        self.details = {"signal": self.what, "code": note.code}
        if note.code <= 0:
            self.details["sent by process"] = note.sender
            self.what += " raised by itself" if note.sender == trace.image.sb.pid else f" sent by process {note.sender}"
        elif note.code != CODE_OF_KERNEL:
            self.details["address"] = f"0x{note.address:x}"
            fault = FAULTS.get((note.signal, note.code))
            self.what += f" at 0x{note.address:x}" + (f", {fault}" if fault else "")
            self.details.update({"fault": fault} if fault else {})

    @property
    def where(self) -> str:
        return f"thread {self.system_tid} {printable(self.thread)}"


def crash_of(trace: Trace) -> Optional[Crash]:
    return Crash(trace) if trace.image.crash.cause in (BY_SIGNAL, BY_TERMINATE) else None


def trigger_of(trace: Trace) -> Optional[str]:
    """What made the recorder dump by itself."""
    sb = trace.image.sb
    return text(c_string(sb.trigger)) if trace.image.is_dump and sb.trigger_ticks else None


# ---- Chrome trace JSON -----------------------------------------------------------------------------------------

BLOCK, BLOCK_BYTES = 20_000, 1 << 24  # slices made at a time, and their names; this bounds the memory for their text
THOUSANDTHS = [f".{i:03}" for i in range(1000)]
TO_DURATION = [f'{t},"dur":' for t in THOUSANDTHS]
TO_END = [t + "}" for t in THOUSANDTHS]


def microseconds(ns: int) -> str:
    return f"{ns // 1000}{THOUSANDTHS[ns % 1000]}"


OWN_KEY = re.compile('"(task|parent|blocked on|unfinished|src|cpu_us|trace id|span id|parent span id|overlaps|begun on tid|'
                     'ended on tid)":')


def beside(fields: str, own: List[str]) -> List[str]:
    """The converter's own members, under other keys where the program's fields have these: an object holds a key once."""
    if not OWN_KEY.search(fields):
        return own
    taken = json.loads(f"{{{fields}}}")
    parts = [member[1:].split('"', 1) for member in own]
    return [f'"{key} (contrail)"{rest}' if key in taken else f'"{key}"{rest}' for key, rest in parts]


class Writer:
    """Trace to JSON text. Each event begins with a comma; metadata events come first."""

    def __init__(self, trace: Trace, arguments: bool = True, sources: bool = False, number: int = 0) -> None:
        self.trace, self.data, self.sources = trace, trace.image.data, sources
        self.bindings, self.with_arguments = trace.image.bindings, arguments
        self.pid = trace.image.sb.pid or 1
        self.crash, self.trigger = crash_of(trace), trigger_of(trace)
        tids = sorted((t.system_tid != self.pid, t.tid) for t in trace.tracks)
        self.trigger_tid = tids[0][1] if tids else self.pid  # the main thread's track, if there is one
        self.async_id = 0
        self.mask = number << 56  # ids of spans are unique only in their process
        self.arrows: Dict[int, str] = {}  # span id of a task: members of the arrow from its parent in another process
        self.calls: Dict[int, List[Tuple[str, int, int]]] = defaultdict(list)  # id of a task: its children there
        unused = max([t.tid for t in trace.tracks] + [self.pid, self.crash.tid if self.crash else 0]) + 1
        self.state_tids = [(unused + i) % 2**32 for i in range(len(trace.activities))]
        self.counters: List[Tuple[int, Track, int, str]] = []
        self.marks: Dict[Tuple[str, str], List[Tuple[int, int, Track, int]]] = defaultdict(list)  # of frames
        self.spans = [*trace.open_spans, *chain(*(t.spans for t in trace.tracks))]
        self.tasks = {s[4].id: f"{self.bindings[s[2]].name[:MAX_EVENT_NAME]} 0x{s[4].id ^ self.mask:x}"
                      for s in self.spans}
        self.ns = lambda ticks: trace.image.clock.ns(ticks) - trace.first  # since the first event

    @property
    def last(self) -> int:
        return self.ns(max(self.trace.now, self.trace.newest))

    def head(self, phase: str, track: Track, id: int, name: Optional[str] = None) -> str:
        binding = self.bindings[id]
        name = binding.name if name is None else name
        if name in DIVERTING_NAMES:
            name += " "
        category = quote(binding.category or "default")
        return (f',\n{{"ph":"{phase}","pid":{self.pid},"tid":{track.tid},"cat":{category},"name":{quote(name)},')

    def arguments(self, id: int, payload: int, *extra: str) -> str:
        """An event's last members and its closing brace. A negative payload marks an unfinished region."""
        binding = self.bindings[id]
        fields = binding.arguments(self.payload(payload)) if self.with_arguments and payload & 1023 else ""
        own = [member for member in extra if member]
        if binding.blocked:
            own.append(f'"blocked on":"{binding.blocked}"')
        if payload < 0:
            own.append('"unfinished":true')
        if self.sources and binding.source:
            own.append(f'"src":{quote(binding.source)}')
        inside = ([fields] if fields else []) + (beside(fields, own) if fields and own else own)
        members = f',"args":{{{",".join(inside)}}}}}' if inside else "}"
        if binding.arrows:  # a slice carries one
            for kind, arrow in binding.flows(self.payload(payload))[:1]:
                members = f',"bind_id":"0x{arrow:x}","flow_{"out" if kind == FLOW_OUT else "in"}":true{members}'
        return members

    def task(self, id: int) -> str:
        """What an event says of the task that it belongs to."""
        return f'"task":{quote(self.tasks.get(id, f"0x{id ^ self.mask:x}"))}' if id and self.with_arguments else ""

    def payload(self, payload: int) -> bytes:
        at = abs(payload) >> 10
        return self.data[at:at + 8 * (abs(payload) & 1023)]

    def metadata_events(self) -> str:
        sb = self.trace.image.sb
        process = os.path.basename(text(c_string(sb.executable))) or "process"
        rows = [(0, "process_name", {"name": process})]
        tracks = sorted(self.trace.tracks, key=lambda t: (t.system_tid != sb.pid, t.tid))
        for order, track in enumerate(tracks):
            rows += [(track.tid, "thread_name", {"name": track.name}),
                     (track.tid, "thread_sort_index", {"sort_index": 2 * order if self.state_tids else order})]
        order_of = {id(track): i for i, track in enumerate(tracks)}
        for i, (activity, tid) in enumerate(zip(self.trace.activities, self.state_tids)):
            order = 2 * order_of[id(activity.track)] + 1 if activity.track else 2 * len(tracks) + i
            rows += [(tid, "thread_name", {"name": f"states of {activity.name}"}),
                     (tid, "thread_sort_index", {"sort_index": order})]
        if self.crash and self.crash.is_stranger:
            rows.append((self.crash.tid, "thread_name", {"name": self.crash.thread}))
        if not self.trace.tracks:
            begun_by = {span[4].tid or 1 for span in self.trace.open_spans}
            rows += [(tid, "thread_name", {"name": f"thread {tid}"}) for tid in sorted(begun_by)]
            if self.trigger is not None and self.trigger_tid not in begun_by:
                rows.append((self.trigger_tid, "thread_name", {"name": "trigger"}))
        return ",\n".join(f'{{"ph":"M","pid":{self.pid},"tid":{tid or self.pid},"name":"{name}","args":{quote(args)}}}'
                          for tid, name, args in rows)

    def slices(self, track: Track) -> Iterable[str]:
        """The regions of a thread as X events that nest strictly, and those that cannot as async events; in blocks."""
        base, clock = self.trace.first, self.trace.image.clock
        arrows = {id for id in set(map(itemgetter(2), track.points)) if self.bindings[id].arrows}
        regions = track.regions
        if arrows:
            regions = sorted(regions + [p for p in track.points if p[2] in arrows and self.bindings[p[2]].kind != LOG],
                             key=itemgetter(0))
        heads = {id: self.head("X", track, id) + '"ts":' for id in set(map(itemgetter(2), regions))}
        activity = track.activity if self.with_arguments else None
        cpu = ""
        plain = self.sources or any(self.bindings[id].blocked for id in heads)  # these have more arguments than their own
        switches, current, now = track.switches + [(FOREVER, 0)], 0, ""
        next_switch = switches[0][0]
        out: List[str] = []
        add = out.append
        stack: List[Tuple[int, int]] = []
        push, pop = stack.append, stack.pop
        top = limit = FOREVER  # the end of the slice that is open now: as written, and as recorded
        floor = opened = empty = -FOREVER  # newest start that was moved, start of a slice, and empty slice
        high = c = m = s = -1
        longest = max((len(head) + 6 * (self.bindings[id].longest + MAX_EVENT_NAME) for id, head in heads.items()), default=1)
        size = max(1, min(BLOCK, BLOCK_BYTES // longest))  # a byte is at most 6 characters of JSON
        for block in range(0, len(regions), size):
            for start, end, id, payload in regions[block:block + size]:
                while start >= next_switch:
                    now = self.task(switches[current][1])
                    current += 1
                    next_switch = switches[current][0]
                if start >= high:  # another line of the clock, that of nanoseconds since the trace's first event
                    (c, m, s), high = clock.line(start)
                    c -= base << s
                start, end = c + start * m >> s, c + end * m >> s if end < high else clock.ns(end) - base
                if activity:
                    ran = activity.running(start + base, end + base)
                    cpu = f'"cpu_us":{microseconds(ran)}' if ran is not None else ""
                if start < floor:  # the one before was moved
                    start = floor
                    end = max(start, end)
                touches = False
                while start >= top:
                    touches = start == top
                    top, limit = pop()
                recorded_end = end
                if end >= top:
                    end = top - 1
                # speedscope adds ts and dur in floating point and takes an end before a begin of the same time, so
                # these are kept 1 ns apart where there is room: the ends of two slices, an end and the next begin, an
                # empty slice and any begin.
                if touches or start <= empty or start >= end:
                    if start < end:
                        start = max(start, empty) + 1
                    if start >= end:
                        end = empty = start = min(max(start, opened + 1, empty), top - 1)
                    floor = start
                if recorded_end > limit or len(stack) >= VIEWER_DEPTH:
                    add(self.async_pair(track, track.tid, (start, max(start, recorded_end), id, payload),
                                        '"overlaps":true', now, cpu))
                    continue
                push((top, limit))
                top, limit = end, recorded_end
                duration = end - start
                if duration:
                    opened = start
                whole = start // 1000
                if payload or plain or now or cpu:
                    add(f"{heads[id]}{whole}{TO_DURATION[start - whole * 1000]}{microseconds(duration)}"
                        f"{self.arguments(id, payload, now, cpu)}")
                else:
                    add(f"{heads[id]}{whole}{TO_DURATION[start - whole * 1000]}"
                        f"{duration // 1000}{TO_END[duration % 1000]}")
            yield "".join(out)
            out.clear()

    def states(self, activity: Activity, tid: int) -> Iterator[str]:
        """What the thread did, as slices in a row on a track below its own; each ends 1 ns before the next begins, as
        speedscope wants it. A wait has the name of the region in which it began, if that says what for."""
        waits = self.waits(activity.track)
        starts = [start for start, _ in waits]
        base, last = self.trace.first, self.last
        head = f',\n{{"ph":"X","pid":{self.pid},"tid":{tid},"cat":"thread state","name":'
        for begin, end, state, cpu in activity.intervals():
            begin, end = max(0, begin - base), min(end - base, last)
            if end <= begin or state not in STATE_NAMES:
                continue
            name, inside = STATE_NAMES[state], f'"cpu":{cpu}' if state == RUNNING and cpu >= 0 else ""
            i = bisect_right(starts, begin) - 1
            if state == WAITING and i >= 0 and waits[i][1]:
                name, inside = f"{name} ({waits[i][1].blocked})", f'"in":{quote(waits[i][1].name)}'
            inside = f',"args":{{{inside}}}' if inside and self.with_arguments else ""
            yield (f'{head}"{name}","cname":"thread_state_{STATE_COLOURS[state]}","ts":{microseconds(begin)},'
                   f'"dur":{microseconds(end - begin - 1)}{inside}}}')

    def waits(self, track: Optional[Track]) -> List[Tuple[int, Optional[Binding]]]:
        """From when on a thread was in which of its blocked regions, the innermost one; None: in none."""
        ids = {id: b for id, b in self.bindings.items() if b.blocked}
        regions = [(self.ns(start), -self.ns(end), ids[id])
                   for start, end, id, _ in (track.regions if track and ids else ()) if id in ids]
        changes: List[Tuple[int, Optional[Binding]]] = []
        open_ones: List[Tuple[int, Binding]] = []
        for start, end, binding in [*sorted(regions, key=itemgetter(0, 1)), (FOREVER, 0, None)]:
            while open_ones and open_ones[-1][0] < start:
                until, _ = open_ones.pop()
                changes.append((until + 1, open_ones[-1][1] if open_ones else None))
            if binding is not None:
                open_ones.append((min(-end, open_ones[-1][0]) if open_ones else -end, binding))
                changes.append((start, binding))
        return changes

    def async_pair(self, track: Track, begin_tid: int, region: Record, *extra: str) -> str:
        start, end, id, payload = region
        self.async_id += 1
        mark = f'"id":"0x{self.async_id ^ self.mask:x}","ts":'
        begin = self.head("b", track, id)
        if begin_tid != track.tid:
            extra += (f'"begun on tid":{begin_tid}',)
        return (f"{begin}{mark}{microseconds(start)}{self.arguments(id, payload, *extra)}"
                f"{self.head('e', track, id)}{mark}{microseconds(end)}}}")

    def span(self, span: Span, tracks: Dict[int, Track], track: Optional[Track] = None) -> str:
        """A task or an asynchronous span, on a track of its own; `track` is the thread that ended it."""
        start, end, id, payload, what = span
        binding = self.bindings[id]
        track = track or tracks.get(what.tid) or next(iter(tracks.values()), Track(what.tid or 1, False))
        mark = f'"id":"0x{what.id ^ self.mask:x}","ts":'
        above = quote(self.tasks.get(what.parent, f"0x{what.parent ^ self.mask:x}"))
        extra = [f'"parent":{above}'] if what.parent else []
        if what.own:
            extra += [f'"trace id":"{what.trace_high:016x}{what.trace_low:016x}"', f'"span id":"{what.own:016x}"']
            extra += [f'"parent span id":"{what.from_:016x}"'] if what.from_ else []
        extra = extra if self.with_arguments else []
        begun_by = tracks.get(what.tid, track)
        def head(phase: str, name: Optional[str] = None) -> str:
            default = f'"cat":"{word(KINDS[binding.kind])}"'
            return self.head(phase, begun_by, id, name).replace('"cat":"default"', default, 1) + mark

        if track is not begun_by:
            extra.append(f'"ended on tid":{track.tid}')
        begin, end = self.ns(start), self.ns(end)
        arrow = "" if binding.arrows else self.arrows.get(what.own, "")  # a slice carries one
        calls = "".join(
            f'{head("n", name)}{microseconds(max(begin, min(time, end)))},"bind_id":"0x{own:x}","flow_out":true}}'
            for name, own, time in self.calls.get(what.id, ()))
        return (f"{head('b')}{microseconds(begin)}{arrow}{self.arguments(id, payload, *extra)}{calls}"
                f"{head('e')}{microseconds(end)}}}")

    def frames(self) -> Iterator[str]:
        """What lies between two marks of the same name: a frame, numbered, with the arguments of the first."""
        for marks in self.marks.values():
            marks.sort(key=itemgetter(0))
            for number, ((begin, id, track, payload), (end, *_)) in enumerate(zip(marks, marks[1:]), 1):
                yield self.async_pair(track, track.tid, (self.ns(begin), self.ns(end), id, payload), f'"frame":{number}')

    def points(self, track: Track) -> Iterator[str]:
        switches, current, now = track.switches + [(FOREVER, 0)], 0, ""
        heads = {id: self.head("i", track, id) + '"s":"t","ts":' for id in set(map(itemgetter(2), track.points))}
        for ticks, _, id, payload in track.points:
            binding, time = self.bindings[id], microseconds(self.ns(ticks))
            while ticks >= switches[current][0]:
                now = self.task(switches[current][1])
                current += 1
            series = self.counter_series(binding, payload) if binding.kind == COUNTER else None
            if series:
                self.counters.append((ticks, track, id, f'"ts":{time},"args":{{{series}}}}}'))
            elif binding.kind == FRAME_MARK:
                self.marks[binding.category, binding.name].append((ticks, id, track, payload))
            elif binding.arrows and binding.kind != LOG:
                continue  # an empty slice, since no viewer draws arrows to instants
            elif binding.kind == LOG:
                message = binding.message(self.payload(payload))
                shown = message if len(message) <= MAX_LOG_NAME else message[:MAX_LOG_NAME] + "\u2026"
                extra = [f'"message":{quote(message)}'] if self.with_arguments else []
                yield f'{self.head("i", track, id, shown)}"s":"t","ts":{time}{self.arguments(id, 0, *extra, now)}'
            else:
                yield f"{heads[id]}{time}{self.arguments(id, payload, now)}"

    def counter_series(self, binding: Binding, payload: int) -> str:
        """Empty when nothing in it is a number, which only damage brings about."""
        try:
            values = binding.read(self.payload(payload))[0]
        except Damaged:
            return ""
        return ",".join(f"{quote(key)}:{value_json(field.type if isinstance(value, float) else INT64, value)}"
                        for key, field, value in zip(binding.keys, binding.readable, values)
                        if not isinstance(value, (bytes, list)))

    def write(self, out: BinaryIO, progress: Callable[[str], None]) -> None:
        tracks = {track.system_tid: track for track in self.trace.tracks}
        for i, track in enumerate(self.trace.tracks):
            progress(f"writing thread {i + 1} of {len(self.trace.tracks)}")
            asyncs = (self.async_pair(track, tid, (self.ns(start), self.ns(end), id, payload))
                      for start, end, id, payload, tid in track.asyncs)
            spans = (self.span(span, tracks, track) for span in track.spans)
            for events in chain(self.slices(track), self.points(track), asyncs, spans):
                out.write(events.encode("ascii"))
        states = (self.states(*row) for row in zip(self.trace.activities, self.state_tids))
        for events in chain((self.span(span, tracks) for span in self.trace.open_spans), self.frames(),
                            chain.from_iterable(states)):
            out.write(events.encode("ascii"))
        if self.crash:
            time = microseconds(max(0, self.ns(self.trace.now)))
            details = ",".join(f"{quote(key)}:{quote(value)}" for key, value in self.crash.details.items())
            details = f',"args":{{{details}}}' if details and self.with_arguments else ""
            out.write(f',\n{{"ph":"i","pid":{self.pid},"tid":{self.crash.tid},"cat":"contrail","name":'
                      f'{quote("crashed: " + self.crash.what)},"s":"t","ts":{time}{details}}}'.encode("ascii"))
        if self.trigger is not None:
            fired = self.ns(self.trace.image.sb.trigger_ticks)
            time = microseconds(max(0, min(fired, self.ns(self.trace.now))))
            out.write(f',\n{{"ph":"i","pid":{self.pid},"tid":{self.trigger_tid},"cat":"contrail","name":'
                      f'{quote("trigger: " + self.trigger)},"s":"g","ts":{time}}}'.encode("ascii"))
        self.counters.sort(key=itemgetter(0))  # chrome://tracing takes their order from the file
        for _, track, id, rest in self.counters:
            out.write(f'{self.head("C", track, id)}{rest}'.encode("ascii"))


def is_one_clock(one: Image, other: Image) -> bool:
    """Whether two processes had the same monotonic clock: that of one host, which booted in the same second."""
    booted = [image.clock.last[2] - image.clock.last[3] for image in (one, other)]
    return one.sb.host == other.sb.host and abs(booted[0] - booted[1]) < 10**9


def join(writers: Sequence[Writer]) -> None:
    """Makes one timeline of several processes, on the first one's clock. Of the clocks of other hosts and boots nothing
    is known but the wall-clock time. Tasks get arrows from their parents in other processes."""
    first, pids = writers[0].trace.image, set()
    ahead = [0] * len(writers)
    for i, image in enumerate(w.trace.image for w in writers):
        if not is_one_clock(first, image):
            ahead[i] = image.clock.realtime(0) - first.clock.realtime(0)
            image.notes.append("its times were joined to those of other processes by wall-clock time")
    zero = min(w.trace.first + more for w, more in zip(writers, ahead))
    spans = [[span[4] for span in w.spans] for w in writers]
    parents = {what.own: (w, what.id) for w, found in zip(writers, spans) for what in found if what.own}
    for w, more in zip(writers, ahead):
        w.trace.first = zero - more
        while w.pid in pids:  # one process dumped twice, or processes of two hosts
            w.pid = w.pid % (2**32 - 1) + 1
        pids.add(w.pid)
    for w, found in zip(writers, spans):
        own = {what.own for what in found}
        for (start, _, id, *_), what in zip(w.spans, found):
            if what.from_ in parents and what.from_ not in own:
                caller, parent = parents[what.from_]
                w.arrows[what.own] = f',"bind_id":"0x{what.own:x}","flow_in":true'
                # One nanosecond earlier: of an arrow that leaves when it arrives Perfetto may see the arrival first.
                caller.calls[parent].append((w.bindings[id].name, what.own, w.ns(start) - 1))


def write_json(writers: Sequence[Writer], out: BinaryIO, progress: Callable[[str], None]) -> None:
    out.write(b'{"displayTimeUnit":"ns","traceEvents":[\n')
    out.write(",\n".join(w.metadata_events() for w in writers).encode("ascii"))
    for w in writers:
        w.write(out, progress)
    each = [{**metadata_of(w.trace), **({} if w.pid == (w.trace.image.sb.pid or 1) else {"shown as pid": w.pid})}
            for w in writers]
    metadata = quote(each[0] if len(each) == 1 else {"recorder": "contrail", "processes": each})
    out.write(f'\n],\n"metadata":{metadata},\n"otherData":{metadata}}}\n'.encode("ascii"))


# ---- canonical text: docs/text.md. C++ makes the same bytes of the same image (tests/python/test_agreement.py) ----

BITS = {FLOAT32: UINT32, FLOAT64: UINT64}  # floating point is shown as it is stored
HEX_DIGITS = {FLOAT32: 8, FLOAT64: 16, POINTER: 1, FLOW_OUT: 1, FLOW_IN: 1}  # at least
NOT_PLAIN = re.compile(r'[^ !#-\[\]-~]')


def quoted(raw: bytes) -> str:
    return '"' + NOT_PLAIN.sub(lambda c: f"\\x{ord(c[0]):02x}", raw.decode("latin-1")) + '"'


def word(name: str) -> str:
    return name.replace(" ", "_")


def type_word(kind: int) -> str:
    return word(TYPES[kind][0]) if kind in TYPES else f"type{kind}"


def value_text(kind: int, value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join([value_text(kind, v) for v in value]) + "]"
    if isinstance(value, bytes):
        return quoted(value if kind == STRING else value[:MAX_EVENT_NAME])
    if kind == BOOLEAN:
        return "true" if value else "false"
    digits = HEX_DIGITS.get(kind)
    return f"0x{value:0{digits}x}" if digits else str(value)


class TextWriter:
    """Trace to canonical text."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.image = trace, trace.image
        self.bindings, self.sb = trace.image.bindings, trace.image.sb
        self.zero = self.moment(trace.first)
        self.keys: Dict[int, List[str]] = {}

    @staticmethod
    def moment(ns: int) -> int:
        return max(1 - 2**62, min(ns, 2**62 - 1))  # so that differences have 64 bits

    def ns(self, ticks: int) -> int:
        return self.moment(self.image.clock.ns(ticks)) - self.zero

    def head(self, id: int) -> str:
        b = self.bindings[id]
        name, category = quoted(b.raw[0][:MAX_EVENT_NAME]), quoted(b.raw[1][:MAX_EVENT_NAME])
        return f" {word(KINDS[b.kind])} {category} {name}"

    def fields(self, id: int, payload: int) -> str:
        at, size, b = abs(payload) >> 10, 8 * (abs(payload) & 1023), self.bindings[id]
        if not size:
            return "\n"
        try:
            values, dynamic = b.read(self.image.data[at:at + size], BITS)
        except Damaged:
            return " damaged\n"
        if id not in self.keys:
            self.keys[id] = [f" {quoted(f.name[:MAX_EVENT_NAME])}={type_word(f.type)}:" for f in b.readable]
        shown = [key + value_text(f.type, v) for key, f, v in zip(self.keys[id], b.readable, values)]
        shown += [f" {quoted(key)}={type_word(kind)}:{value_text(kind, v)}" for key, (kind, v) in dynamic.items()]
        return "".join(shown) + "\n"

    def summary(self) -> Iterator[str]:
        trace, image, sb = self.trace, self.image, self.sb
        yield f"contrail {sb.version_major}.{sb.version_minor} {form_of(image, 'live')} {image.input_bytes}\n"
        yield f"process {sb.pid} {quoted(c_string(sb.executable))} {quoted(c_string(sb.host))}\n"
        yield f"clock {CLOCKS.get(sb.source, f'source{sb.source}')} {sb.tick_hz} {min(image.clock.hz, NEVER)}\n"
        yield "started {} {} {} {}\n".format(*sb.start)
        if image.is_dump:
            yield "dumped {} {} {} {}\n".format(*sb.dump)
            yield f"asked {sb.window_ns} {sb.cutoff_ticks} {sb.dump_sequence} {sb.dump_signal} {sb.dump_tid}\n"
        else:
            yield "ended {} {} {} {} {} {}\n".format(sb.storage, sb.ended, *sb.end)
        crash = image.crash
        if crash.cause:
            yield (f"crash {crash.cause} {crash.signal} {crash.code} {crash.tid} {crash.address} {crash.sender}"
                   f" {quoted(c_string(crash.thread))}\n")
        if image.is_dump and sb.trigger_ticks:
            yield f"trigger {sb.trigger_ticks} {quoted(c_string(sb.trigger))}\n"
        yield f"holds {len(trace.tracks)} threads of {sb.attached}, {len(image.chunks)} chunks\n"
        yield (f"time {self.moment(image.clock.realtime(self.zero))} {max(0, self.ns(trace.newest))}"
               f" {self.ns(trace.now)}\n")
        for why, count in losses_of(trace).items():
            yield f"lost {min(count, NEVER)} {quoted(why.encode())}\n"
        for id, b in sorted(self.bindings.items()):
            yield (f"binding {id} {word(KINDS[b.kind])} {b.flags} {b.type_id:016x} {b.line} "
                   f"{' '.join(map(quoted, b.raw))}\n")
            for value, name in b.enumerators:
                yield f"enumerator {value} {quoted(name)}\n"
            for f in b.fields:
                yield (f"field {quoted(f.name)} {type_word(f.type)} {f.count if f.is_array else '-'} {f.offset}"
                       f" {f.first_enumerator} {f.enumerator_count}\n")

    def events(self, track: Track) -> Iterator[str]:
        ns = self.ns
        yield (f"thread {track.system_tid} {quoted(track.given_name)} regions {len(track.regions)} points "
               f"{len(track.points)} async {len(track.asyncs)} spans {len(track.spans)} open {len(track.unfinished)} overwritten "
               f"{min(track.overwritten, NEVER)} missing {min(track.lost, NEVER)} dropped {min(track.dropped, NEVER)}"
               f"{' again' if track.again else ''}\n")
        heads = {r[2]: self.head(r[2]) for records in track.all for r in records}
        for start, end, id, payload in track.regions:
            begin = ns(start)
            form = "open" if payload < 0 else "region"
            yield f"{form} {begin} {ns(end) - begin}{heads[id]}{self.fields(id, payload)}"
        for ticks, _, id, payload in track.points:
            yield f"point {ns(ticks)}{heads[id]}{self.fields(id, payload)}"
        for start, end, id, payload, tid in track.asyncs:
            begin = ns(start)
            yield f"async {begin} {ns(end) - begin} {tid}{heads[id]}{self.fields(id, payload)}"
        yield from (self.span("span", span) for span in track.spans)
        yield from (f"task {ns(ticks)} {id}\n" for ticks, id in track.switches)

    def span(self, form: str, span: Span) -> str:
        start, end, id, payload, what = span
        begin = self.ns(start)
        return (f"{form} {begin} {self.ns(end) - begin} {what.id} {what.parent} {what.tid} {what.trace_high:016x}"
                f"{what.trace_low:016x} {what.own:016x} {what.from_:016x}{self.head(id)}{self.fields(id, payload)}")

    def lines(self) -> Iterator[str]:
        yield from self.summary()
        for track in self.trace.tracks:
            yield from self.events(track)
        yield from (self.span("open-span", span) for span in self.trace.open_spans)
        self.image.warn_of_unknown_ids()
        yield from (f"note {quoted(note.encode())}\n" for note in self.image.notes)
        yield from (f"warning {quoted(warning.encode())}\n" for warning in self.image.warnings)


# ---- reports ---------------------------------------------------------------------------------------------------

def utc(ns: int) -> str:
    try:
        moment = datetime(1970, 1, 1) + timedelta(seconds=ns // 10**9)
        return f"{moment:%Y-%m-%d %H:%M:%S}.{ns % 10**9 // 10**6:03} UTC"
    except OverflowError:
        return "at an impossible time"


def losses_of(trace: Trace) -> Dict[str, int]:
    """What the trace does not show, each count exact; only those that are not zero."""
    losses = {"overwritten by newer records": sum(t.overwritten for t in trace.tracks),
              "missing between others": sum(t.lost for t in trace.tracks),
              "chunks recycled while they were copied": trace.image.torn}
    if trace.image.state:  # the session counted them; gaps show those between others
        losses["missing at the ends of threads"] = max(
            0, trace.image.state.lost_records - losses["missing between others"])
    losses.update((f"dropped: {why}", count) for why, count in zip(DROP_REASONS, trace.image.sb.dropped))
    return {why: count for why, count in losses.items() if count}


def form_of(image: Image, live: str) -> str:
    return "stream" if image.is_stream else "dump" if image.is_dump else live


def ending(image: Image) -> str:
    """What became of the process whose file this is."""
    sb = image.sb
    if sb.storage != IN_FILE:
        return ""
    if sb.ended in (STOPPED, EXITED):
        return f", in which recording was stopped {utc(sb.end[2])}" if sb.ended == STOPPED else \
            f" of a process that exited {utc(sb.end[2])}"
    return " of a process that " + {True: "still runs", False: "was killed, crashed or called _exit",
                                    None: "runs or was killed"}[image.in_use]


def about_states(image: Image) -> List[str]:
    """Why there are no thread states, or not all, and what to do about it."""
    sb, cause = image.sb, os.strerror(image.sb.thread_states_error)
    if sb.thread_states == STATES_NO_MEMORY:
        return [f"no thread states: the system gave their buffers no memory ({cause}); raise the limit of locked memory"
                " (ulimit -l) or kernel.perf_event_mlock_kb"]
    if sb.thread_states == STATES_REFUSED:
        advice = "see whether the kernel has it, and whether a sandbox, such as a container's, forbids perf_event_open"
        if sb.perf_event_paranoid > 2:
            advice = (f"kernel.perf_event_paranoid is {sb.perf_event_paranoid}: set it to 2, or give the program"
                      " CAP_PERFMON")
        elif sb.thread_states_error in (errno.EMFILE, errno.ENFILE):
            advice = "raise the limit of open files (ulimit -n)"
        return [f"no thread states: the system refused the context switches of the process ({cause}); {advice}"]
    if sb.thread_states != STATES_ON:
        return []
    if not sb.switch_buffer_count:
        return ["no thread states: they are in the kernel's memory, and only a dump that the process itself makes has them"]
    notes = ["thread states are missing, as the kernel's records of them are damaged"] if image.switches.is_damaged else []
    if sb.unwatched_threads:
        notes.append(f"{sb.unwatched_threads} threads that ran before start have no states, nor do those that they began; call"
                     " start earlier, or raise the limit of open files (ulimit -n)")
    return notes


def states_text(trace: Trace) -> List[str]:
    """How long each thread ran and did not, in the time that the trace covers."""
    begin, end = trace.first, trace.image.clock.ns(max(trace.now, trace.newest))
    rows: List[Sequence[Any]] = [("tid", "thread", "running", "runnable", "waiting", "not known", "switches")]
    for activity in trace.activities:
        spent, switches = [0] * 5, -1
        for a, b, state, _ in activity.intervals():
            spent[state] += max(0, min(b, end) - max(a, begin))
            switches += begin < b and a < end
        rows.append((activity.tid, activity.name, *(brief(spent[s]) for s in (RUNNING, RUNNABLE, WAITING)),
                     brief(spent[UNKNOWN_STATE] + spent[OFF]), max(0, switches)))
    return ["", columns(rows, 2)] if len(rows) > 1 else []


def metadata_of(trace: Trace) -> Dict[str, Any]:
    image, sb, crash, fired = trace.image, trace.image.sb, crash_of(trace), trigger_of(trace)
    zero = image.clock.realtime(trace.first)
    return {
        "recorder": "contrail", "format": f"{sb.version_major}.{sb.version_minor}",
        "executable": text(c_string(sb.executable)), "host": text(c_string(sb.host)), "pid": sb.pid,
        "clock": CLOCKS.get(sb.source, f"source {sb.source}"), "recording started": utc(sb.start[2]),
        "dumped": utc(sb.dump[2]) if image.is_dump else f"never: this is a live image{ending(image)}",
        **({"crashed": f"{crash.what} ({crash.where})"} if crash else {}),
        **({"trigger": fired} if fired is not None else {}),
        "time zero": utc(zero), "time zero, unix ns": str(zero),
        "losses": {why: count if count <= 2**53 else str(count) for why, count in losses_of(trace).items()},
        "warnings": image.warnings, "notes": image.notes + about_states(image),
        "sources": {f"{b.category}:{b.name}" if b.category else b.name: b.source
                    for b in image.bindings.values() if b.source}}


def columns(rows: Sequence[Sequence[Any]], left: int) -> str:
    """Rows as aligned text, the first `left` columns to the left and the others to the right."""
    cells = [[printable(str(c)) for c in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells)]
    return "\n".join("  ".join(pad("", c, Spec(width=w), "<" if i < left else ">")
                               for i, (c, w) in enumerate(zip(row, widths))).rstrip() for row in cells)


def printable(shown: str) -> str:
    """A name from an image must not steer the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)


def brief(ns: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return f"{ns / size:.4g} {unit}" if abs(ns) < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns} ns"


def info_text(trace: Trace, size: int) -> str:
    image, sb, ns = trace.image, trace.image.sb, trace.image.clock.ns
    about = metadata_of(trace)
    ended: Counter = Counter()
    still_open: Counter = Counter()
    threads: List[Sequence[Any]] = [("tid", "name", "regions", "points", "open", "first", "last", "overwritten",
                                     "missing", "dropped")]
    for t in trace.tracks:
        still_open.update(r[2] for r in t.unfinished)
        ended.update(r[2] for records in t.all for r in records)
        moments = [moment for records in t.all for r in records for moment in r[:2]]
        span = [f"{(ns(f(moments)) - ns(trace.now)) / 1e9:+.6f} s" if moments else "" for f in (min, max)]
        threads.append((t.system_tid, t.name, len(t.regions) + len(t.asyncs) - len(t.unfinished), len(t.points),
                        len(t.unfinished), *span, t.overwritten, t.lost, t.dropped))
    ended.subtract(still_open)
    by_name: Dict[Tuple[str, str, str], List[int]] = defaultdict(lambda: [0, 0])  # several ids can mean the same
    for id in ended:
        b = trace.image.bindings[id]
        counts = by_name[KINDS[b.kind], b.category, b.name[:100]]
        counts[:] = counts[0] + ended[id], counts[1] + still_open[id]
    names: List[Sequence[Any]] = [("kind", "category", "name", "records", "open")]
    names += [(*key, *counts) for key, counts in sorted(by_name.items(), key=lambda item: -item[1][0])]
    how = f" (number {sb.dump_sequence}{f', by signal {sb.dump_signal}' if sb.dump_signal else ''}, on thread " \
          f"{sb.dump_tid})" if sb.dump_tid or sb.dump_signal else " (from outside)" if image.is_dump else ""
    crash = crash_of(trace)
    return "\n".join([
        f"{form_of(image, 'live image')}, format {about['format']}, {size} bytes, "
        f"{len(image.chunks)} chunks",
        f"process    {printable(about['executable']) or 'unknown'}, pid {sb.pid}, on {printable(about['host'])}",
        f"recording  since {about['recording started']}",
        f"{'streamed   until ' if image.is_stream else 'dumped     '}{about['dumped']}{how}",
        *([f"crashed    {crash.what} ({crash.where})"] if crash else []),
        *([f"trigger    {printable(about['trigger'])}"] if "trigger" in about else []),
        f"clock      {about['clock']}, {image.clock.hz / 1e6:.6g} ticks per us",
        f"window     {brief(max(0, ns(trace.newest) - trace.first))} covered, "
        f"{brief(sb.window_ns) if sb.window_ns else 'all'} asked for",
        f"records    {sum(ended.values())}, and {sum(still_open.values())} regions still open",
        f"threads    {len(trace.tracks)} here, {sb.attached} attached in all",
        "", columns(threads, 2), *states_text(trace), "", columns(names, 3), "",
        *([f"lost       {count}  {why}" for why, count in about["losses"].items()] or ["lost       nothing"]),
        *[f"note       {note}" for note in about["notes"]]])


def registry_text(image: Image) -> str:
    shown = {}
    for b in image.bindings.values():
        lines = [f"{KINDS[b.kind]}  {b.name}" + (f"  id 0x{b.type_id:016x}" if b.type_id else "")]
        where = [f"category {b.category}"] if b.category else []
        where += [b.source + (f" in {b.function}" if b.function else "")] if b.source else []
        where += ["cut to fit"] if b.flags & FLAG_CUT else []
        where += ["may carry fields set at run time"] if b.flags & FLAG_DYNAMIC else []
        lines += ["    " + ", ".join(where)] if where else []
        for f in b.fields:
            names = ", ".join(f"{text(n)} = {v}" for v, n in f.enumerators.items())
            shape = (TYPES[f.type][0] if f.type in TYPES else f"type {f.type}") + (f"[{f.count}]" if f.is_array else "")
            lines.append(f"    {text(f.name)}: {shape}" + (f" {{{names}}}" if names else "") + f" at {f.offset}")
        shown["\n".join(map(printable, lines))] = (-b.kind, b.category, b.name)
    return "\n".join(sorted(shown, key=shown.__getitem__)) or "no event type was bound"


def table_text(trace: Trace, limit: int) -> str:
    """Nearest-rank percentiles of the regions' durations, the largest total first."""
    by_name: Dict[Tuple[str, str], List[int]] = defaultdict(list)
    of_id: Dict[int, List[int]] = {}  # several ids can mean the same
    ns = trace.image.clock.ns
    for track in trace.tracks:
        for start, end, id, payload in track.regions + [a[:4] for a in track.asyncs]:
            if payload >= 0:
                if id not in of_id:
                    of_id[id] = by_name[trace.image.bindings[id].name[:60], trace.image.bindings[id].category]
                of_id[id].append(ns(end) - ns(start))
    rows: List[Sequence[Any]] = [("region", "category", "count", "total", "p50", "p99", "max")]
    for name, durations in sorted(by_name.items(), key=lambda item: -sum(item[1]))[:limit]:
        durations.sort()
        n = len(durations)
        figures = sum(durations), durations[(n - 1) // 2], durations[-(-99 * n // 100) - 1], durations[-1]
        rows.append((*name, n, *map(brief, figures)))
    return columns(rows, 2) if len(rows) > 1 else "no region was recorded"


# ---- core files ------------------------------------------------------------------------------------------------

ELF_MAGIC = b"\x7fELF"
ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # [1] type, [5] where the segments are, [9:11] their size and number
ELF_SEGMENT = struct.Struct("<IIQQQQQQ")  # type, flags, offset, address, physical address, bytes in file, in memory
IMAGE_ALIGNMENT = 16384
NO_RECORDER = ("no recorder is in this core file: the process had not called start, or its memory was left out (see"
               " ulimit -c and /proc/PID/coredump_filter, whose bit 0 must be set); a recorder in a file is read from"
               " that file")


def core_segments(fd: int, size: int) -> List[Tuple[int, int, int]]:
    """(address, offset, bytes) of what a core file holds of memory; no byte of the file is in two of them."""
    try:
        head = ELF_HEADER.unpack(os.pread(fd, ELF_HEADER.size, 0))
        if head[0][4:6] != b"\2\1":
            raise Unusable("it is an ELF file of a 32-bit or big-endian machine, where contrail does not record")
        if head[1] != 4:
            raise Unusable("it is a program or a library, not a core file")
        at, entry, count = head[5], head[9], head[10]
        if count == 0xFFFF:  # more than fit: the first section's sh_info has the number
            count, = struct.unpack("<I", os.pread(fd, 4, min(head[6] + 44, size)))
    except struct.error:
        raise Unusable("it is a core file that was cut within its header") from None
    if entry != ELF_SEGMENT.size:
        raise Unusable("it is a damaged core file: its program headers have an impossible size")
    table = os.pread(fd, max(0, min(count * entry, size - at)), min(at, size))
    found, end = [], 0
    for kind, _, offset, address, _, file_bytes, *_ in sorted(
            ELF_SEGMENT.iter_unpack(table[:len(table) // entry * entry]), key=itemgetter(2)):
        present = min(file_bytes, size - offset)
        if kind == 1 and offset >= end and present > 0:
            found.append((address, offset, present))
            end = offset + present
    return sorted(found)


def images_in_core(fd: int, segments: Sequence[Tuple[int, int, int]]) -> Iterator[Tuple[int, int, int]]:
    """(start of its recording, address, bytes) of each live image. Holes of a sparse file are stepped over."""
    for address, offset, present in segments:
        at, end = offset + -address % IMAGE_ALIGNMENT, offset + present - SUPERBLOCK_BYTES
        while at <= end:
            word = os.pread(fd, 8, at)
            if word == MAGIC_BYTES:
                sb = SUPERBLOCK.read(os.pread(fd, SUPERBLOCK_BYTES, at).ljust(SUPERBLOCK_BYTES, b"\0"), 0)
                if sb.kind == LIVE and sb.base_address == address + at - offset:
                    yield sb.start[1], sb.base_address, sb.image_bytes
            elif word == bytes(8):
                try:
                    at += max(0, os.lseek(fd, at, os.SEEK_DATA) - at - 1) // IMAGE_ALIGNMENT * IMAGE_ALIGNMENT
                except OSError:
                    break  # nothing but a hole up to the file's end
            at += IMAGE_ALIGNMENT


def image_in_core(fd: int, warnings: List[str], notes: List[str]) -> bytes:
    """The image of the recorder that a core file holds; of several, the one whose recording began last."""
    size = os.fstat(fd).st_size
    if not size:
        raise Unusable("a core file must be a file, not a pipe")
    segments = core_segments(fd, size)
    _, base, image_bytes = max(images_in_core(fd, segments), default=(0, 0, 0))
    if not base:
        raise Unusable(NO_RECORDER)
    image, missing = bytearray(), 0
    limit = min(image_bytes, 2 * size)  # with gaps, but not as large as a damaged superblock may say
    for address, offset, present in segments:
        skip = base + len(image) - address
        if skip < 0 and -skip <= limit - len(image):  # a gap
            missing -= skip
            image.extend(bytes(-skip))
            skip = 0
        while 0 <= skip < present and len(image) < limit:
            piece = os.pread(fd, min(present - skip, limit - len(image), 1 << 24), offset + skip)
            if not piece:
                break
            image += piece
            skip += len(piece)
    missing += image_bytes - len(image)
    if missing:
        warnings.append(f"the core file lacks {missing} of the recorder's {image_bytes} bytes (see ulimit -c and"
                        " /proc/PID/coredump_filter)")
    notes.append(f"from a core file, where the recorder was at 0x{base:x}")
    return bytes(image)


# ---- the file of a process that may still run ------------------------------------------------------------------

def is_locked(fd: int) -> bool:
    """Whether a process has the file mapped as its recorder: the lock lives as long as the mapping."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False  # a pipe, or a file system without locks


def runs(sb: Any) -> bool:
    """Whether the process that began this recording runs on this machine: the file may be a copy, without the lock."""
    try:
        with open(f"/proc/{sb.pid}/stat", "rb") as file:
            began = int(file.read().rpartition(b")")[2].split()[19]) * 10**9 // os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return False
    since_boot = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return (began <= sb.start[3] and abs(since_boot - (sb.start[2] - sb.start[3])) < 60 * 10**9
            and text(c_string(sb.host)) == os.uname().nodename[:63])


def settled(fd: int, sb: Any, size: int) -> bytes:
    """An image that is written to meanwhile, as a dump of this moment would have it. The system copies in no order that
    one may rely on, so what must be read before something else is read by an earlier copy: open regions before chunks;
    of a few chunks at a time their states, the cursors, the chunks' ends, the chunks, their states again; bindings last.
    """
    def copy(begin: int, length: int) -> bytearray:
        made = bytearray()
        while len(made) < length:
            piece = os.pread(fd, length - len(made), begin + len(made))
            if not piece:
                raise Unusable("it became shorter while it was read")
            made += piece
        return made

    def words(begin: int, count: int) -> Sequence[int]:
        return struct.unpack(f"<{count}Q", copy(begin, 8 * count))

    slots, states, chunks = sb.slots_offset, sb.chunk_states_offset, sb.chunks_offset
    if (not SUPERBLOCK_BYTES <= slots <= slots + sb.slot_count * SLOT_BYTES <= states <= states + 8 * sb.chunk_count
            <= chunks <= chunks + sb.chunk_count * CHUNK_BYTES <= size):
        return bytes(copy(0, size))  # damaged: whatever tells of that shall see it as it is
    used = {at: copy(at, SLOT_BYTES) for at in range(slots, slots + sb.slot_count * SLOT_BYTES, SLOT_BYTES)
            if words(at, 1)[0] & 0xFF}
    for at, slot in used.items():
        before, slot[:], after = slot[:], copy(at, SLOT_BYTES), copy(at, SLOT_BYTES)
        for frame in range(FRAMES_OFFSET, FRAMES_OFFSET + FRAME_COUNT * FRAME_BYTES, FRAME_BYTES):
            if before[frame:frame + FRAME_PAYLOAD_OFFSET] != after[frame:frame + FRAME_PAYLOAD_OFFSET]:
                slot[frame:frame + FRAME_BYTES] = bytes(FRAME_BYTES)  # it began or ended meanwhile

    spans = range(sb.spans_offset, sb.spans_offset + sb.span_count * SPAN.size, SPAN.size)
    if not SUPERBLOCK_BYTES <= spans.start <= spans.stop <= chunks:
        spans = range(0)
    began = {at: words(at, 1)[0] for at in spans}
    open_spans = {at: copy(at, SPAN.size) for at, state in began.items() if state & 3 > 1}
    still = {at: words(at, 1)[0] for at in open_spans}

    content, batch = bytearray(), 16
    held: List[int] = []
    for first in range(0, sb.chunk_count, batch):
        count = min(batch, sb.chunk_count - first)
        before = words(states + 8 * first, count)
        cursors = {at: words(at + LANES_OFFSET, LANE_COUNT * LANE.size // 8)[::LANE.size // 8] for at in used}
        ends = copy(chunks + first * CHUNK_BYTES, count * CHUNK_BYTES)
        copied = copy(chunks + first * CHUNK_BYTES, count * CHUNK_BYTES)
        for i, (state, later) in enumerate(zip(before, words(states + 8 * first, count))):
            head = CHUNK.read(ends, i * CHUNK_BYTES)
            end = head.extent[0]
            if end == 0:
                cursor = cursors.get(slots + head.writer[0] * SLOT_BYTES, ())[head.tid_lane[1]:][:1]
                end = sum(cursor) - sb.base_address - chunks - (first + i) * CHUNK_BYTES
                end = end if CHUNK_HEADER_BYTES <= end <= CHUNK_BYTES else CHUNK_HEADER_BYTES  # opened since
            struct.pack_into("<I", copied, i * CHUNK_BYTES + 8, end)
            same = state & 3 in (1, 2) and later & 3 in (1, 2) and state >> 2 == later >> 2
            held.append(state if same else 0)
        content += copied
    rest = chunks + len(content)
    image = copy(0, chunks) + content + copy(rest, size - rest)
    image[slots:slots + sb.slot_count * SLOT_BYTES] = bytes(sb.slot_count * SLOT_BYTES)
    for at, slot in used.items():
        image[at:at + SLOT_BYTES] = slot
    image[spans.start:spans.stop] = bytes(len(spans) * SPAN.size)
    for at, span in open_spans.items():
        if still[at] & 3 > 1 and still[at] >> 2 == began[at] >> 2:  # else another one began there meanwhile
            image[at:at + SPAN.size] = span
    struct.pack_into(f"<{len(held)}Q", image, states, *held)
    return bytes(image)


# ---- commands --------------------------------------------------------------------------------------------------

def read_input(path: str, warnings: List[str], notes: List[str]) -> Tuple[bytes, Optional[bool]]:
    """The whole input, and of a recorder's file whether a process has it mapped; of a core file the recorder's image. It
    is read, not mapped: a file that shrinks meanwhile must not kill the reader."""
    try:
        with (sys.stdin.buffer if path == "-" else open(path, "rb")) as file:
            start = file.read(8)
            if start[:4] == ELF_MAGIC:
                return image_in_core(file.fileno(), warnings, notes), None
            if start != MAGIC_BYTES:
                return start, None  # /dev/zero never ends
            in_use = is_locked(file.fileno())
            data = start + file.read()
            if len(data) < SUPERBLOCK_BYTES or path == "-":
                return data, None
            sb = SUPERBLOCK.read(data, 0)
            if sb.kind != LIVE or sb.storage != IN_FILE:
                return data, None
            return settled(file.fileno(), sb, len(data)) if in_use else data, in_use or runs(sb)
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror}") from None


def write_output(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Under a temporary name beside `path`, then renamed, so that nobody sees half a file."""
    if path == "-":
        return write(sys.stdout.buffer)
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe
        with open(path, "wb") as file:
            return write(file)
    path = os.path.realpath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "xb") as file:
        try:
            write(file)
            file.flush()
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                os.unlink(temporary)
            raise


def parse_duration(source: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(ns|us|ms|s|min|h|)", source.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"'{source}' is not a duration such as 200ms, 1.5s or 2min")
    unit = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
    return int(Fraction(match[1]) * unit[match[2]])


def discard(stream: Any) -> None:
    """What a stream still holds goes nowhere: at the exit it would fail again, with a traceback and another code."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Progress:
    """One line on the terminal, for work that takes longer than a second."""

    def __init__(self) -> None:
        self.begin, self.clear = time.monotonic() + 1, ""

    def __call__(self, shown: str) -> None:
        if time.monotonic() > self.begin and sys.stderr.isatty():
            self.clear = "\r\x1b[K"
            print(self.clear + shown, end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        print(self.clear, end="", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="contrail.py", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("convert", "info", "registry", "table", "text"):
        command = commands.add_parser(name)
        command.add_argument("inputs", metavar="IN", nargs="+" if name == "convert" else 1,
                             help="a dump, a stream, the image file of a process, or a core file")
        if name not in ("registry", "text"):
            command.add_argument("--last", type=parse_duration, metavar="200ms", help="only what ended since then")
        if name == "table":
            command.add_argument("--top", type=int, default=20, metavar="N", help="how many rows (20)")
        if name == "convert":
            command.add_argument("-o", dest="out", metavar="OUT.json", help="default: IN.json, of the first")
            command.add_argument("--no-args", action="store_true",
                                 help="leave arguments out: smaller, and speedscope then adds up regions that differ in"
                                      " arguments only")
            command.add_argument("--src", action="store_true",
                                 help="give each event its file and line in its arguments")
    return top


def open_image(path: str) -> Image:
    warnings: List[str] = []
    notes: List[str] = []
    data, in_use = read_input(path, warnings, notes)
    image = Image(data)
    image.in_use = in_use
    image.warnings[:0], image.notes[:0] = warnings, notes
    return image


def run(options: argparse.Namespace, progress: Progress) -> List[Tuple[str, str]]:
    """Does the command; the warnings, and what they are about."""
    images = []
    for options.input in options.inputs:  # whom messages are about
        images.append(open_image(options.input))
    image, options.input = images[0], options.inputs[0]
    if options.command == "registry":
        shown = registry_text(image)
    else:
        traces = [Trace(image, getattr(options, "last", None), progress) for image in images]
    if options.command == "convert":
        out = options.out or ("-" if options.input == "-" else options.input + ".json")
        writers = [Writer(trace, not options.no_args, options.src, i) for i, trace in enumerate(traces)]
        if len(writers) > 1:
            join(writers)
        write_output(out, lambda file: write_json(writers, file, progress))
        shown = "" if out == "-" else out
    elif options.command == "info":
        shown = info_text(traces[0], image.input_bytes)
    elif options.command == "table":
        shown = table_text(traces[0], options.top)
    elif options.command == "text":
        sys.stdout.writelines(TextWriter(traces[0]).lines())
        shown = ""
    if options.command != "text":  # which tells of them itself
        for image in images:
            image.warn_of_unknown_ids()
    progress.done()
    if shown:
        print(shown)
    return [(path, warning) for path, image in zip(options.inputs, images) for warning in image.warnings]


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parser().parse_args(arguments)
    options.input = options.inputs[0]
    progress = Progress()
    # Of a closed stream Python has nothing, and print would take standard output for standard error.
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))

    def complain(what: Any) -> None:
        try:
            print(f"contrail.py: {printable(options.input)}: {what}.", file=sys.stderr, flush=True)
        except OSError:
            discard(sys.stderr)  # the exit code is all that is left

    gc.disable()  # millions of tuples and no cycles
    try:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        warnings = run(options, progress)
        sys.stdout.flush()
        for options.input, warning in warnings:
            complain(f"warning: {warning}")
        return 1 if warnings else 0
    except Unusable as reason:
        complain(reason)
    except BrokenPipeError:
        discard(sys.stdout)
        return 1
    except KeyboardInterrupt:
        progress.done()
        return 130
    except OSError as error:
        complain(f"the output cannot be written: {error.strerror}")
        discard(sys.stdout)
    except MemoryError:
        complain("this machine has too little memory for it")
    except Exception as error:  # a mistake of ours; whoever reads a dump in a hurry is not helped by a traceback
        complain(f"it defeats this converter ({type(error).__name__}: {error}); please report that")
    return 2


if __name__ == "__main__":
    sys.exit(main())
