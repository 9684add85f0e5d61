#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes a dump of a running process from outside: also of one that hangs, spins, or is stopped.

    contrail_snapshot.py --pid PID -o OUT.contrail [--last 5s]

The process does nothing for it and does not notice: its memory is read through /proc/PID/mem, without ptrace, signals
or locks. The file is a dump like those the process writes itself; contrail.py reads it. OUT may be "-".

Exit codes: 0 all went well; 1 the dump was written, and the warnings say what it lacks; 2 nothing was written.
One file, Python >= 3.9, standard library only; docs/format.md specifies the format.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import os
import platform
import pwd
import re
import stat
import struct
import sys
import time
from array import array
from fractions import Fraction
from typing import BinaryIO, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, TextIO, Tuple

# ---- the format: of docs/format.md what is needed; tests/python/test_snapshot.py compares it with contrail.py ------

MAGIC_BYTES = (0x1A0A0D4C52544389).to_bytes(8, "little")
FORMAT_MAJOR, LIVE, DUMP = 1, 1, 2
SUPERBLOCK_BYTES, SLOT_BYTES, SPAN_BYTES, CHUNK_BYTES, CHUNK_HEADER_BYTES = 4096, 16384, 256, 8192, 128
LANES_OFFSET, LANE_BYTES, LANE_COUNT = 256, 64, 3
FRAMES_OFFSET, FRAME_BYTES, FRAME_COUNT = 448, 192, 83
BINDING_BYTES, END_KIND = 32, 255
SUPERBLOCK = {  # member: where it is, its struct code
    "version": (8, "HH"), "superblock_bytes": (12, "I"), "kind": (16, "I"), "source": (20, "I"),
    "image_bytes": (24, "Q"), "base_address": (32, "Q"), "slots_offset": (40, "Q"), "slot_bytes": (48, "I"),
    "slot_count": (52, "I"), "chunk_states_offset": (56, "Q"), "chunks_offset": (64, "Q"), "chunk_bytes": (72, "I"),
    "chunk_count": (76, "I"), "binding_index_offset": (80, "Q"), "binding_index_count": (88, "Q"),
    "bindings_offset": (96, "Q"), "bindings_bytes": (104, "Q"), "late_bindings_offset": (112, "Q"),
    "scratch_offset": (120, "Q"), "scratch_bytes": (128, "Q"), "pid": (136, "I"), "lane_count": (140, "I"),
    "frame_bytes": (144, "I"), "frame_count": (148, "I"), "tick_hz": (168, "Q"), "start": (176, "4Q"),
    "dump": (688, "4Q"), "window_ns": (720, "Q"), "cutoff_ticks": (728, "Q"),
    "ended": (756, "I"), "spans_offset": (984, "Q"), "span_bytes": (992, "I"), "span_count": (996, "I")}
ONLY_IN_DUMPS, IN_BOTH = 688, 792  # where these parts of the superblock begin; between them one only in live images
FIXED = {"superblock_bytes": SUPERBLOCK_BYTES, "slot_bytes": SLOT_BYTES, "chunk_bytes": CHUNK_BYTES,
         "lane_count": LANE_COUNT, "frame_bytes": FRAME_BYTES, "frame_count": FRAME_COUNT}
SLOT_HEAD = struct.Struct("<Q2IQQQ32s")  # state, tid, index, owner, attached, version of the name, name
SLOT_LIVE = 2
CHUNK_HEAD = struct.Struct("<Q2I2I2I")  # ticket, extent, records, slot, generation, tid, lane
CHUNK_SEALED_TICKS, CHUNK_ANCHOR = 56, 64
OPEN, SEALED = 1, 2
FREE_FRAME, POINT_MARK = 0, 1 << 62  # start_ticks between these two: an open region
FRAME_START, FRAME_PAYLOAD = 16, 32
TSC, CNTVCT, MONOTONIC = 1, 2, 3
IMAGE_ALIGNMENT = 16384
LARGEST_IMAGE = 1 << 34

Anchor = Tuple[int, int, int, int]  # ticks, monotonic, realtime, boottime


class Refused(Exception):
    """Nothing can be written; the text says why and what to do, in one sentence."""


# ---- the process -----------------------------------------------------------------------------------------------


class Mapping(NamedTuple):
    begin: int
    end: int
    is_file: bool
    offset: int  # in the file


class Process:
    """Another process's memory and names, through /proc. The descriptor stays with the memory it was opened for, so
    that neither exec nor another process with the same id can be mistaken for it."""

    def __init__(self, pid: int) -> None:
        self.pid, self.unreadable, self.no_names = pid, 0, ""
        try:
            status = self.status(f"/proc/{pid}/status")
            self.pid = pid = int(status.get("Tgid", pid))  # the id of a thread means its process
            if pid != int(status.get("Pid", pid)):
                status = self.status(f"/proc/{pid}/status")
        except (FileNotFoundError, ProcessLookupError):
            raise Refused(f"there is no process {pid}") from None
        except OSError as error:
            raise Refused(f"process {pid} cannot be looked at: {error.strerror}") from None
        if status.get("State", "?")[0] in "ZX":
            raise Refused(f"process {pid} has ended (it is a zombie), and its memory is gone; if it recorded into a"
                          " file (options.file), read that file with contrail.py")
        self.user = int(status.get("Uid", "0").split()[0])
        self.inner_pid = self.inner(status, pid)
        try:
            # The mappings first: what is opened after all that can fail need not be closed here.
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
                self.mappings = [m for m in map(self.mapping, file) if m]
            self.memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            raise Refused(self.no_permission()) from None
        except (FileNotFoundError, ProcessLookupError):
            raise Refused(f"process {pid} has ended") from None
        except OSError as error:
            raise Refused(f"the memory of process {pid} cannot be opened: {error.strerror}") from None
        try:
            self.pages: Optional[int] = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.pages = None  # a kernel without it

    @staticmethod
    def status(path: str) -> Dict[str, str]:
        with open(path, encoding="utf-8", errors="replace") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    @staticmethod
    def inner(status: Dict[str, str], id: int) -> int:
        """An id as the process itself sees it, which in a container is not ours."""
        return int(status.get("NSpid", str(id)).split()[-1])

    @staticmethod
    def mapping(line: str) -> Optional[Mapping]:
        """A line of maps, if an image can be there: writable, and no device or special page."""
        fields = line.split(None, 5)
        path = fields[5].strip() if len(fields) > 5 else ""
        if not fields[1].startswith("rw") or path in ("[heap]", "[stack]", "[vvar]"):
            return None
        if path.startswith("/dev/") and not path.startswith(("/dev/shm/", "/dev/zero")):
            return None
        begin, end = (int(address, 16) for address in fields[0].split("-"))
        return Mapping(begin, end, fields[4] != "0", int(fields[2], 16))

    def no_permission(self) -> str:
        what = f"the memory of process {self.pid} may not be read"
        if self.user != os.geteuid():
            try:
                owner = pwd.getpwuid(self.user).pw_name
            except KeyError:
                owner = str(self.user)
            return f"{what}: it belongs to user {owner}; run this as that user, or as root"
        try:
            with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as file:
                scope = int(file.read())
        except (OSError, ValueError):
            scope = 0
        if scope:
            return (f"{what}: /proc/sys/kernel/yama/ptrace_scope is {scope}; run this as root, set that to 0, or give"
                    " it CAP_SYS_PTRACE (docker run --cap-add=SYS_PTRACE)")
        return (f"{what}: it changed its user or has privileges of its own; run this as root, or with CAP_SYS_PTRACE"
                " (docker run --cap-add=SYS_PTRACE)")

    def close(self) -> None:
        for fd in (self.memory, self.pages):
            if fd is not None:
                with contextlib.suppress(OSError):  # nothing was written to it
                    os.close(fd)

    def read_all(self, fd: int, at: int, size: int) -> bytes:
        done = b""
        while len(done) < size:
            try:
                piece = os.pread(fd, size - len(done), at + len(done))
            except OSError as error:
                if error.errno in (errno.EIO, errno.EFAULT):
                    raise
                raise Refused(f"reading process {self.pid} failed: {error.strerror}") from None
            if not piece:
                raise Refused(f"process {self.pid} ended before the dump was complete")
            done = done + piece if done else piece
        return done

    def read(self, address: int, size: int) -> bytes:
        """These bytes, all of them. Each 8-byte word is whole: the kernel copies aligned memory in wider units."""
        try:
            return self.read_all(self.memory, address, size)
        except OSError:
            raise Refused(f"memory of process {self.pid} at 0x{address:x} cannot be read: it was unmapped, or the file"
                          " behind it was truncated") from None

    def words(self, address: int, count: int) -> Sequence[int]:
        return struct.unpack(f"<{count}Q", self.read(address, 8 * count))

    def starts(self, address: int) -> bool:
        """Whether an image can begin here."""
        try:
            return self.read_all(self.memory, address, 8) == MAGIC_BYTES
        except OSError:
            self.unreadable += 1
            return False

    def touched(self, begin: int, end: int) -> Iterator[int]:
        """Where in private memory images can begin: aligned, and used. Asking for unused pages would map them."""
        page = os.sysconf("SC_PAGE_SIZE")
        step = max(IMAGE_ALIGNMENT, page)
        block = step << 12
        for at in range(begin, end, block):
            some = range(at, min(at + block, end), step)
            if self.pages is None:
                yield from some
                continue
            try:
                entries = array("Q", self.read_all(self.pages, at // page * 8, len(some) * step // page * 8))
            except OSError as error:
                raise Refused(f"reading process {self.pid} failed: {error.strerror}") from None
            present_or_swapped = 62
            yield from (at for at, entry in zip(some, entries[::step // page]) if entry >> present_or_swapped)

    def images(self) -> Iterator[int]:
        """Addresses of what begins with the magic."""
        for m in self.mappings:
            first = -(-m.begin // IMAGE_ALIGNMENT) * IMAGE_ALIGNMENT
            if m.is_file:
                yield from (a for a in (first,) if m.offset == 0 and self.starts(a))
            elif m.end - first > 1 << 40:  # what a sanitizer reserves; mappings merge, but not with that
                yield from (a for a in (first,) if self.starts(a))
            else:
                yield from filter(self.starts, self.touched(first, m.end))

    def thread_names(self) -> Dict[int, bytes]:
        """By the thread's id as the process itself sees it. `no_names` says why some are not here."""
        names = {}
        folder = f"/proc/{self.pid}/task"
        try:
            for tid in os.listdir(folder):
                try:
                    with open(f"{folder}/{tid}/comm", "rb") as file:
                        name = file.read()[:31].rstrip(b"\n")
                    names[self.inner(self.status(f"{folder}/{tid}/status"), int(tid))] = name
                except (FileNotFoundError, ProcessLookupError):
                    pass  # this thread just ended
        except OSError as error:
            self.no_names = error.strerror
        return names


# ---- the clock -------------------------------------------------------------------------------------------------

HARDWARE_TICKS = {  # machine: its clock, and a function that returns it
    "x86_64": (TSC, bytes.fromhex("0f31 48c1e220 4809d0 c3")),  # rdtsc; shl rdx, 32; or rax, rdx; ret
    "aarch64": (CNTVCT, bytes.fromhex("40e03bd5 c0035fd6"))}  # mrs x0, cntvct_el0; ret


def hardware_ticks(source: int) -> Optional[Callable[[], int]]:
    """Reads the processor's counter as the recorded process does; None where that is not possible."""
    clock, code = HARDWARE_TICKS.get(platform.machine(), (None, b""))
    if clock != source or struct.calcsize("P") != 8:
        return None
    try:
        # From a file, so that no page is ever writable and executable, and so that the kernel cleans the caches.
        fd = os.memfd_create("ticks")
        try:
            os.write(fd, code.ljust(4096, b"\0"))
            libc = ctypes.CDLL(None, use_errno=True)
            libc.mmap.restype = ctypes.c_void_p
            libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                                  ctypes.c_long)
            read_execute, private = 5, 2
            address = libc.mmap(None, 4096, read_execute, private, fd, 0)
        finally:
            os.close(fd)
        if address in (None, ctypes.c_void_p(-1).value):
            return None
        return ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    except (OSError, AttributeError):
        return None


def is_rate(hz: int) -> bool:
    """Whether a clock can have so many ticks per second."""
    return 10**5 <= hz <= 10**11


class Clock:
    """The recorder's clock, read here."""

    def __init__(self, source: int, start: Anchor, tick_hz: int, newest: Callable[[], Anchor]) -> None:
        """`newest` finds an anchor of the image, from which ticks are worked out if they cannot be read."""
        self.start, self.hz = start, tick_hz
        self.read = (lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC)) if source == MONOTONIC \
            else hardware_ticks(source)
        self.is_read = self.read is not None
        if not self.is_read:
            ticks, monotonic, *_ = newest()
            hz = (ticks - start[0]) * 10**9 // (monotonic - start[1]) if monotonic - start[1] > 10**6 else 0
            self.hz = hz if is_rate(hz) else tick_hz

    def now(self) -> Anchor:
        """The same moment on four clocks: the best of a few tries."""
        best: Anchor = (0, 0, 0, 0)
        shortest = 1 << 64
        for _ in range(20):
            before = self.read() if self.read else 0
            monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            realtime = time.clock_gettime_ns(time.CLOCK_REALTIME)
            boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            took = (self.read() if self.read else 0) - before
            ticks = before + took // 4 if self.read else self.start[0] + (monotonic - self.start[1]) * self.hz // 10**9
            if took < shortest:
                shortest, best = took, (max(1, min(ticks, 2**64 - 1)), monotonic, realtime, boottime)
        return best

    def rate(self, now: Anchor) -> int:
        """Ticks per second since the start, far better than what start measured in 50 us."""
        ns = now[1] - self.start[1]
        hz = (now[0] - self.start[0]) * 10**9 // ns if ns >= 10**6 else 0
        return hz if is_rate(hz) else self.hz


# ---- the image -------------------------------------------------------------------------------------------------


class Superblock:
    """The first page of an image, its members by name."""

    def __init__(self, page: bytes) -> None:
        self.page = bytearray(page)

    def __getitem__(self, name: str) -> int:
        at, code = SUPERBLOCK[name]
        return struct.unpack_from("<" + code, self.page, at)[0]

    def many(self, name: str) -> Tuple[int, ...]:
        at, code = SUPERBLOCK[name]
        return struct.unpack_from("<" + code, self.page, at)

    def set(self, **members: object) -> None:
        for name, value in members.items():
            at, code = SUPERBLOCK[name]
            struct.pack_into("<" + code, self.page, at, *(value if isinstance(value, tuple) else (value,)))

    def problem(self) -> str:
        """Why this cannot be read; empty if it can."""
        if self["image_bytes"] > LARGEST_IMAGE:
            return f"its size is {self['image_bytes']}"
        for name, value in FIXED.items():
            if self[name] != value:
                return f"its {name} is {self[name]} instead of {value}"
        for name, is_good in (("tick_hz", is_rate(self["tick_hz"])), ("chunk_count", self["chunk_count"] > 0),
                              ("binding_index_count", self["binding_index_count"] <= 1 << 16)):
            if not is_good:
                return f"its {name} is {self[name]}"
        parts = {"slots_offset": self["slot_count"] * SLOT_BYTES, "chunk_states_offset": self["chunk_count"] * 8,
                 "chunks_offset": self["chunk_count"] * CHUNK_BYTES, "bindings_offset": self["bindings_bytes"],
                 "binding_index_offset": self["binding_index_count"] * 4}
        if self["span_count"]:
            parts["spans_offset"] = self["span_count"] * SPAN_BYTES
        for name, size in parts.items():
            if self[name] < SUPERBLOCK_BYTES or self[name] + size > self["image_bytes"]:
                return f"its {name} is {self[name]}"
        return ""


def find_image(process: Process, notes: List[str]) -> Superblock:
    """The recorder of the process. An image that a later start replaced stays mapped; the one whose recording began
    last is the one in use, since every start stamps it."""
    found: List[Superblock] = []
    inherited: List[int] = []
    others: List[str] = []
    for address in process.images():
        sb = Superblock(process.read(address, SUPERBLOCK_BYTES))
        major, minor = sb.many("version")
        if major != FORMAT_MAJOR:
            others.append(f"a recorder of format version {major}.{minor}, which this program does not read; use the one"
                          " that came with its header")
        elif sb["kind"] != LIVE or sb["base_address"] != address:
            continue  # a copy: what a dump left in its work space, or a file that somebody reads
        elif sb.problem():
            others.append(f"a damaged recorder at 0x{address:x}: {sb.problem()}")
        elif sb["pid"] != process.inner_pid:
            inherited.append(sb["pid"])
        else:
            found.append(sb)
    others = sorted(set(others))
    if found:
        notes += [f"process {process.pid} also has {other}" for other in others]
        return max(found, key=lambda sb: sb.many("start")[1])
    if others:
        raise Refused(f"process {process.pid} has {others[0]}")
    if inherited:
        raise Refused(f"process {process.pid} does not record: it only inherited the memory of process {inherited[0]},"
                      " which forked it; call start in the child, or set options.follow_fork")
    if is_32_bit(process.pid):
        raise Refused(f"process {process.pid} is a 32-bit program, and contrail records only in 64-bit ones")
    unreadable = f" (its memory cannot be read in {process.unreadable} places)" if process.unreadable else ""
    raise Refused(f"process {process.pid} has no contrail recorder, or has not called start{unreadable}")


def is_32_bit(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/exe", "rb") as file:
            return file.read(5) == b"\x7fELF\1"
    except OSError:
        return False


def is_region(start: int) -> bool:
    return FREE_FRAME < start < POINT_MARK


class Snapshot:
    """Copies a live image to a dump while threads write to it; none of them waits.

    The kernel copies in no order that one may rely on, so what must be read before something else is read by an earlier
    copy: a chunk's extent before its bytes, its state before and after. A frame's bytes are good if the copy before and
    the one after have the same start.
    """

    BATCH = 128  # chunks between two looks at their states
    TRIES = 16

    def __init__(self, process: Process, image: Superblock, last_ns: int) -> None:
        self.process, self.sb, self.last_ns = process, image, last_ns
        self.base = image["base_address"]
        self.chunks = self.base + image["chunks_offset"]
        self.states = self.base + image["chunk_states_offset"]
        self.slots = self.base + image["slots_offset"]
        start = image.many("start")
        self.clock = Clock(image["source"], (start[0], start[1], start[2], start[3]), image["tick_hz"],
                           self.newest_anchor)
        self.warnings: List[str] = []
        self.bad_bindings, self.bindings_left = 0, image["bindings_bytes"]
        self.threads = self.copied = self.torn = 0

    def newest_anchor(self) -> Anchor:
        """Of the chunk that was taken last. It may be changing; a wrong one only makes the dump's moment inexact."""
        states = self.process.words(self.states, self.sb["chunk_count"])
        newest = max(range(len(states)), key=states.__getitem__)
        anchor = self.process.words(self.chunks + newest * CHUNK_BYTES + CHUNK_ANCHOR, 4)
        return anchor[0], anchor[1], anchor[2], anchor[3]

    # ---- slots ----

    def copy_slots(self) -> List[bytes]:
        names = self.process.thread_names()
        slots = []
        for i in range(self.sb["slot_count"]):
            state, = self.process.words(self.slots + i * SLOT_BYTES, 1)
            if state & 0xFF == SLOT_LIVE:
                slots += self.copy_slot(self.slots + i * SLOT_BYTES, state, names)
        self.threads = len(slots)
        return slots

    def copy_slot(self, address: int, state: int, names: Dict[int, bytes]) -> List[bytes]:
        before, slot = self.process.read(address, SLOT_BYTES), self.process.read(address, SLOT_BYTES)
        frames = [FRAMES_OFFSET + i * FRAME_BYTES for i in range(FRAME_COUNT)]
        for _ in range(self.TRIES):
            after = self.process.read(address, SLOT_BYTES)
            starts = [[struct.unpack_from("<Q", copy, at + FRAME_START)[0] for at in frames]
                      for copy in (before, slot, after)]
            still_open = [at for at, *three in zip(frames, *starts)
                          if is_region(three[0]) and three[0] == three[1] == three[2]]
            # An argument set meanwhile may be in the copy with its first word, which is stored last, and without its
            # others. Then the next copy differs.
            if all(slot[at:at + FRAME_BYTES] == after[at:at + FRAME_BYTES] for at in still_open):
                break
            before, slot = slot, after
        heads = [SLOT_HEAD.unpack_from(copy) for copy in (before, slot, after)]
        if any(head[0] != state for head in heads):
            return []  # the slot went to another thread
        _, tid, index, owner, attached, version, name = heads[1]
        if version == 0 and tid in names:
            version, name = 2, names[tid]
        elif any(head[5] != version for head in heads):
            version = 0  # the name was changing
        copy = bytearray(SLOT_BYTES)
        SLOT_HEAD.pack_into(copy, 0, state, tid, index, owner, attached, version, name)
        lanes_end = LANES_OFFSET + LANE_COUNT * LANE_BYTES
        copy[LANES_OFFSET:lanes_end] = slot[LANES_OFFSET:lanes_end]
        for at in still_open:
            copy[at:at + FRAME_BYTES] = slot[at:at + FRAME_BYTES]
        return [bytes(copy)]

    # ---- bindings ----

    def binding_index(self) -> Sequence[int]:
        count = self.sb["binding_index_count"]
        return struct.unpack(f"<{count}I", self.process.read(self.base + self.sb["binding_index_offset"], 4 * count))

    def binding(self, offset: int) -> bytes:
        """The entry at an offset that was published, so that it is whole. Entries do not overlap: together they are no
        larger than the arena."""
        room = self.sb["bindings_bytes"] - offset
        at = self.base + self.sb["bindings_offset"] + offset
        if room >= BINDING_BYTES:
            size, = struct.unpack("<I", self.process.read(at, 4))
            if BINDING_BYTES <= size <= min(room, self.bindings_left) and size % 8 == 0:
                self.bindings_left -= size
                return self.process.read(at, size)
        self.bad_bindings += 1
        return b""

    # ---- chunks ----

    def choose(self, cutoff: int) -> List[Tuple[int, int]]:
        """(ticket, index) of the chunks as they are now, the newest first. Writers recycle the oldest first: so what
        they take away while this copies is a prefix of the recording, not holes in it."""
        states = self.process.words(self.states, self.sb["chunk_count"])
        chosen = [(word >> 2, i) for i, word in enumerate(states) if word & 3 in (OPEN, SEALED)]
        if cutoff > self.sb.many("start")[0]:
            chosen = [(ticket, i) for ticket, i in chosen if states[i] & 3 == OPEN or self.process.words(
                self.chunks + i * CHUNK_BYTES + CHUNK_SEALED_TICKS, 1)[0] >= cutoff]
        return sorted(chosen, reverse=True)

    def end_of(self, index: int) -> int:
        """How many bytes of a chunk are published; 0: that cannot be told."""
        at = self.chunks + index * CHUNK_BYTES
        _, extent, _, slot, _, _, lane = CHUNK_HEAD.unpack(self.process.read(at, CHUNK_HEAD.size))
        if extent == 0:
            if slot >= self.sb["slot_count"] or lane >= LANE_COUNT:
                return 0
            cursor, = self.process.words(self.slots + slot * SLOT_BYTES + LANES_OFFSET + lane * LANE_BYTES, 1)
            if CHUNK_HEADER_BYTES <= cursor - at <= CHUNK_BYTES:
                return cursor - at
            # The cursor is elsewhere: the chunk was sealed just now, or is not written to yet.
            extent = CHUNK_HEAD.unpack(self.process.read(at, CHUNK_HEAD.size))[1] or CHUNK_HEADER_BYTES
        return extent

    def copy_chunks(self, chosen: Sequence[Tuple[int, int]]) -> Iterator[bytes]:
        for begin in range(0, len(chosen), self.BATCH):
            batch = sorted((i, ticket) for ticket, i in chosen[begin:begin + self.BATCH])
            while batch:
                first = batch[0][0]
                count = next((k for k, (i, _) in enumerate(batch) if i != first + k), len(batch))
                run, batch = batch[:count], batch[count:]
                yield from self.copy_run(first, [ticket for _, ticket in run])

    def copy_run(self, first: int, tickets: Sequence[int]) -> Iterator[bytes]:
        """Neighbouring chunks, each as a dump has it; zeros for one that was recycled meanwhile."""
        ends = [self.end_of(first + k) for k in range(len(tickets))]
        data = self.process.read(self.chunks + first * CHUNK_BYTES, len(tickets) * CHUNK_BYTES)
        states = self.process.words(self.states + first * 8, len(tickets))
        for k, (ticket, end, state) in enumerate(zip(tickets, ends, states)):
            chunk = data[k * CHUNK_BYTES:(k + 1) * CHUNK_BYTES]
            if state >> 2 == ticket and state & 3 in (OPEN, SEALED) and CHUNK_HEADER_BYTES <= end <= CHUNK_BYTES:
                self.copied += 1
                yield (struct.pack("<QQ", ticket, end) + chunk[16:end]).ljust(CHUNK_BYTES, b"\0")
            else:
                self.torn += 1
                yield bytes(CHUNK_BYTES)

    # ---- spans ----

    def copy_spans(self) -> List[bytes]:
        """The open ones, each if it was the same one before and after the copy."""
        at, count, size = self.base + self.sb["spans_offset"], self.sb["span_count"], SPAN_BYTES
        if not count or self.sb["span_bytes"] != size:
            return []
        states = self.process.words(at, count * size // 8)[::size // 8]
        data = self.process.read(at, count * size)
        after = self.process.words(at, count * size // 8)[::size // 8]
        return [data[i * size:(i + 1) * size] for i, (a, b) in enumerate(zip(states, after))
                if a & 3 > 1 and b & 3 > 1 and a >> 2 == b >> 2]

    # ---- the dump ----

    def write(self, out: BinaryIO) -> None:
        """In the order of a dump, for its reasons: open regions before chunks, names before and after them."""
        now, start = self.clock.now(), self.sb.many("start")[0]
        hz = self.clock.rate(now)
        cutoff = max(start, now[0] - self.last_ns * hz // 10**9) if self.last_ns else start
        slots = self.copy_slots()
        spans = self.copy_spans()
        index = self.binding_index()
        entries = [self.binding(offset - 1) for offset in index if offset]
        # After the slots: what ended before they were copied is in these chunks. And last: they do not wait for us.
        chosen = self.choose(cutoff)
        early_bytes = sum(map(len, entries))
        spans_offset = SUPERBLOCK_BYTES + len(slots) * SLOT_BYTES

        sb = Superblock(bytes(self.sb.page))
        bindings_offset = spans_offset + len(spans) * SPAN_BYTES
        chunks_offset = bindings_offset + early_bytes
        # The counters moved on since the image was found.
        sb.page[560:688] = self.process.read(self.base + 560, 128)
        sb.page[ONLY_IN_DUMPS:IN_BOTH] = bytes(IN_BOTH - ONLY_IN_DUMPS)
        sb.set(kind=DUMP, tick_hz=hz, slots_offset=SUPERBLOCK_BYTES, slot_count=len(slots), chunk_states_offset=0,
               bindings_offset=bindings_offset, bindings_bytes=early_bytes, binding_index_offset=0,
               binding_index_count=0, chunks_offset=chunks_offset, chunk_count=len(chosen),
               late_bindings_offset=chunks_offset + len(chosen) * CHUNK_BYTES, scratch_offset=0, scratch_bytes=0,
               dump=now, window_ns=self.last_ns, cutoff_ticks=cutoff, spans_offset=spans_offset,
               span_count=len(spans))
        out.write(sb.page)
        out.write(b"".join(slots + spans))
        out.write(b"".join(entries))
        for chunk in self.copy_chunks(chosen):
            out.write(chunk)
        late = [self.binding(offset - 1) for offset, known in zip(self.binding_index(), index) if offset and not known]
        out.write(b"".join(late))
        total = chunks_offset + len(chosen) * CHUNK_BYTES + sum(map(len, late)) + 64
        out.write(struct.pack("<IHBBQQQ4Q", 64, 0, END_KIND, 0, total, self.copied, self.torn, *self.clock.now()))

        if not self.clock.is_read:
            self.warnings.append("this machine's counter could not be read, so the moment of the dump is worked out"
                                 " from the process's last reading")
        if self.process.no_names:
            self.warnings.append("the names that the system has for threads cannot be read:"
                                 f" {self.process.no_names}")
        if self.bad_bindings:
            self.warnings.append(f"{self.bad_bindings} bindings of the process are damaged: some names are missing")


# ---- output ----------------------------------------------------------------------------------------------------


def create_beside(path: str) -> Tuple[int, str]:
    """A new file of mode 0600 beside `path`, never through a symbolic link."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode) and not stat.S_ISLNK(os.lstat(path).st_mode):
            raise Refused(f"{path} is there and is no file; use -o - to write to a pipe")
    except FileNotFoundError:
        pass
    for attempt in range(16):  # one of the same name may be left over from a snapshot that was killed
        temporary = f"{path}.tmp-{os.getpid()}-{attempt}"
        try:
            return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                           0o600), temporary
        except FileExistsError:
            continue
    raise Refused(f"too many files named {path}.tmp-… are left over; remove them")


def write_file(path: str, snapshot: Snapshot) -> None:
    """The file appears complete or not at all; an older one of that name stays whole until then."""
    fd, temporary = create_beside(path)
    try:
        with os.fdopen(fd, "wb", buffering=1 << 20) as file:
            snapshot.write(file)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.unlink(temporary)
        raise


class Memory(List[bytes]):
    """Collects what a slow pipe would take too long for: writers recycle chunks meanwhile."""

    def write(self, piece: bytes) -> None:
        self.append(bytes(piece))


def write_pipe(snapshot: Snapshot) -> None:
    if sys.stdout is None:
        raise Refused("standard output is closed; use -o FILE")
    out = sys.stdout.buffer
    if out.isatty():
        raise Refused("a dump is no text for a terminal; use -o FILE")
    memory = Memory()
    snapshot.write(memory)  # type: ignore[arg-type]
    for piece in memory:
        out.write(piece)
    out.flush()


def discard(stream: Optional[TextIO]) -> None:
    """What a stream still holds goes nowhere: at the exit it would fail again, with a traceback and another code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, stream.fileno())  # type: ignore[union-attr]
        os.close(null)


def say(what: str) -> None:
    if sys.stderr is None:  # closed; print would take standard output instead, where the dump may go
        return
    try:
        print(f"contrail_snapshot.py: {what}.", file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)  # the exit code is all that is left


# ---- command ---------------------------------------------------------------------------------------------------


def parse_duration(source: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(ns|us|ms|s|min|h|)", source.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"'{source}' is not a duration such as 200ms, 1.5s or 2min")
    unit = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
    return min(int(Fraction(match[1]) * unit[match[2]]), 2**63)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(prog="contrail_snapshot.py", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pid", type=int, required=True, metavar="PID", help="the process")
    options.add_argument("-o", dest="out", required=True, metavar="OUT.contrail", help="the dump; - is standard output")
    options.add_argument("--last", type=parse_duration, default=0, metavar="5s",
                         help="only what ended since then (all that memory holds)")
    return options


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if not sys.platform.startswith("linux"):
            raise Refused("this needs Linux and its /proc")
        process = Process(options.pid)
        notes: List[str] = []
        try:
            image = find_image(process, notes)
            snapshot = Snapshot(process, image, options.last)
            if options.out == "-":
                write_pipe(snapshot)
            else:
                write_file(options.out, snapshot)
        finally:
            process.close()
    except Refused as reason:
        say(str(reason))
        return 2
    except BrokenPipeError:
        discard(sys.stdout)
        return 2
    except OSError as error:
        say(f"{'standard output' if options.out == '-' else options.out} cannot be written: {error.strerror}")
        discard(sys.stdout)
        return 2
    except KeyboardInterrupt:
        return 130
    except MemoryError:
        say("this machine has too little memory for it; write to a file")
        return 2
    if options.out != "-":
        try:
            print(options.out, flush=True)
        except (OSError, UnicodeError) as error:
            notes.append(f"the dump was written, but standard output does not take its name ({error})")
            discard(sys.stdout)
    if image["ended"]:
        notes.append("its recording has ended, and the dump shows how it was then")
    for note in notes:
        say(f"note: {note}")
    for warning in snapshot.warnings:
        say(f"warning: {warning}")
    return 1 if snapshot.warnings else 0


if __name__ == "__main__":
    sys.exit(main())
