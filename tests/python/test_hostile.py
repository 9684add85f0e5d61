# SPDX-License-Identifier: MIT
"""Truncated, flipped and made-up input: exit code 0, 1 or 2, a trace that viewers load, and never a traceback.

CONTRAIL_TEST_LENGTH=long tries every truncation and every bit; otherwise a sample that differs from run to run no more than
its seed."""
import os
import random
import struct
import time
import unittest
from types import SimpleNamespace

from support import Json, contrail, run_on
from image_builder import (CHUNK_BYTES, COUNTER, DOUBLE, DYNAMIC, EPOCH_TICKS, EVENT_TYPE, INT32, INT64, LOG, PERF_EXIT,
                           PERF_FORK, REGION, SLOT_BYTES, STRING, SUPERBLOCK_BYTES, UINT8, ImageBuilder)

EXHAUSTIVE = os.environ.get("CONTRAIL_TEST_LENGTH") == "long"


def small_image():
    """One of everything, in two threads."""
    image = ImageBuilder()
    a = image.bind(REGION, "a", category="net", file="a.cpp", line=3)
    w = image.bind(REGION, "w", fields=[("n", INT32), ("s", STRING)], flags=DYNAMIC)
    c = image.bind(COUNTER, "c", fields=[("value", INT64)])
    log = image.bind(LOG, "{:>{}} {}", fields=[("0", DOUBLE), ("1", INT32), ("2", STRING)])
    e = image.bind(EVENT_TYPE, "e", fields=[("k", UINT8, None, {1: "one", 2: "two"}), ("v", INT32, 4)], late=True)
    one, two = image.thread(1, "one"), image.thread(2, "two")
    t = image.start + 10_000
    for i in range(20):
        one.region(a, t + i * 1000, t + i * 1000 + 500)
        one.region(w, t + i * 1000 + 600, t + i * 1000 + 700, [i, "text"], [("status", STRING, "ok")])
        two.point(c, t + i * 1000, [i])
        two.point(log, t + i * 1000 + 1, [0.5, 8, "x"])
        two.point(e, t + i * 1000 + 2, [i % 3, [1, 2, 3, 4]])
    one.region(a, t + 30_000, t + 30_000 + EPOCH_TICKS, form="long")
    one.anchor(t + 30_000 + EPOCH_TICKS)
    # A task, by a thread whose id is no id.
    span = [t + 39_500, t + 38_000, 7, 3, 1 << 40 | 1, 0xA, 0xB, 0xC, 0xD]
    two.words(t + 39_500, [image.bind(contrail.TASK, "task").id << 16 | len(span) << 6 | 5 << 2 | 3, *span])
    two.async_region(a, t, t + 40_000, begin_tid=1)
    one.open(w, t + 50_000, [1, "open"])
    now = image.anchor(image.last_ticks())[1]
    for cpu in range(2):
        buffer = image.switches(cpu, since=image.monotonic * (1 - cpu), until=now)
        for i in range(10):
            buffer.into(1 + cpu, image.monotonic + 2000 * i)
            buffer.out(1 + cpu, image.monotonic + 2000 * i + 1000, preempted=i % 3 == 0)
        buffer.task(PERF_FORK, 3 + cpu, image.monotonic + 30_000)
        buffer.task(PERF_EXIT, 3 + cpu, image.monotonic + 40_000)
    two.thread_state = 3
    return image


class Hostile(unittest.TestCase):
    def survive(self, data, what):
        command = self.commands[self.turn % len(self.commands)]
        self.turn += 1
        result = run_on(data, *command)
        if result.code not in (0, 1, 2) or "report that" in result.err or "Traceback" in result.err:
            self.fail(f"{what}: {command} gives {result.code}: {result.err}")
        if result.code:
            self.assertTrue(result.err.startswith("contrail.py: "), what)
        if command[0] == "convert" and result.code < 2:
            problems = Json(result.out).problems
            self.assertEqual(problems, [], f"{what}: {command}")

    def setUp(self):
        self.turn = 0
        self.commands = [("convert",), ("convert", "--src"), ("info",), ("convert", "--last", "1ms"), ("table",),
                         ("registry",)]
        self.random = random.Random(7)

    def interesting(self, data, live):
        """The bytes that mean something: all but long runs of zeros."""
        view, found, at = data, [], 0
        while at < len(view):
            if any(view[at:at + 64]):
                found += range(at, min(at + 64, len(view)))
            at += 64
        return found

    def test_every_truncation_is_survived(self):
        for data in (small_image().dump(), small_image().live()):
            lengths = range(len(data)) if EXHAUSTIVE else sorted(
                set(self.random.sample(range(len(data)), 150)) | set(range(0, 100)) |
                set(range(SUPERBLOCK_BYTES - 3, SUPERBLOCK_BYTES + 3)) | set(range(len(data) - 130, len(data))))
            for length in lengths:
                self.survive(data[:length], f"truncated to {length}")

    def test_every_flipped_bit_is_survived(self):
        for live in (False, True):
            data = small_image().live() if live else small_image().dump()
            bits = [byte * 8 + bit for byte in self.interesting(data, live) for bit in range(8)]
            for bit in bits if EXHAUSTIVE else self.random.sample(bits, 700):
                flipped = bytearray(data)
                flipped[bit // 8] ^= 1 << bit % 8
                self.survive(bytes(flipped), f"{'live' if live else 'dump'}, bit {bit % 8} of byte {bit // 8}")

    def test_every_word_replaced_by_an_extreme_is_survived(self):
        for live in (False, True):
            data = small_image().live() if live else small_image().dump()
            words = sorted({at // 8 for at in self.interesting(data, live)})
            for word in words if EXHAUSTIVE else self.random.sample(words, 120):
                for value in (0, 2**64 - 1, 2**63, 0xFFFF, 0x7FFFFFFF00000001):
                    changed = bytearray(data)
                    struct.pack_into("<Q", changed, word * 8, value)
                    self.survive(bytes(changed), f"word {word} set to {value:#x}")

    def test_random_bytes_behind_a_good_superblock_are_survived(self):
        data = small_image().dump()
        for seed in range(2000 if EXHAUSTIVE else 40):
            r = random.Random(seed)
            self.survive(data[:SUPERBLOCK_BYTES] + r.randbytes(len(data) - SUPERBLOCK_BYTES), f"seed {seed}")

    def test_random_words_in_a_chunk_are_survived(self):
        for seed in range(2000 if EXHAUSTIVE else 60):
            r, image = random.Random(seed), small_image()
            thread = image.threads[0]
            for _ in range(r.randrange(1, 200)):
                words = [r.getrandbits(64) & ~(r.getrandbits(64) & 0x7FFFFFC) for _ in range(3)]
                thread.words(image.start + 10**6, words)
            self.survive(image.dump(), f"seed {seed}")

    def test_small_hostile_images_do_not_grow(self):
        """Output and time stay in proportion to the input, whatever the schema claims."""
        image = ImageBuilder()
        many = image.bind(REGION, "m" * 60_000, fields=[("k" * 2000, UINT8)] * 25)
        empty = image.bind(EVENT_TYPE, "e", fields=[("x", INT32, 0)] * 3000)
        shared = image.bind(EVENT_TYPE, "s", fields=[("x", UINT8)] * 2000)
        thread = image.thread(1, "one")
        for i in range(200):
            thread.point(empty, image.start + 10_000 + i)
            thread.point(many, image.start + 10_000 + i, [1] * 25)
            thread.point(shared, image.start + 10_000 + i, [1] * 2000)
        data = image.dump()
        start = time.monotonic()
        result = run_on(data, "convert")
        self.assertLess(time.monotonic() - start, 20)
        self.assertLess(len(result.out), 100 * len(data))

    def test_long_names_of_many_records_do_not_fill_the_memory(self):
        """Of a few bytes each, and with all names that a record can have."""
        image, most = ImageBuilder(), 4096
        fields = [(f"{i}" + "\1" * (most - 3), UINT8, None, {1: "\1" * most}) for i in range(40)]
        kinds = [(image.bind(REGION, "\1" * most, category="\1" * most), []),
                 (image.bind(REGION, "many", fields=fields), [1] * 40),
                 (image.bind(COUNTER, "\2" * most, fields=[("value", INT64)]), [1])]
        thread, written = image.thread(1, "one"), []
        for i in range(1500):
            for id, values in kinds:
                add = thread.point if id.kind == COUNTER else thread.region
                add(id, *[image.start + 10_000 + i] * (1 if id.kind == COUNTER else 2), values)
        log = image.bind(LOG, "{0:9999}" * 500, fields=[("0", INT32)])
        for i in range(500):
            thread.point(log, image.start + 20_000 + i, [1])
        data = image.dump()
        trace = contrail.Trace(contrail.Image(data))
        writer = contrail.Writer(trace)
        out = SimpleNamespace(write=lambda piece: written.append(len(piece)))
        writer.write(out, lambda shown: None)
        self.assertLess(max(written), 2 * contrail.BLOCK_BYTES)
        self.assertLess(sum(written), 1000 * len(data))
        self.assertLess(sum(len(rest) for *_, rest in writer.counters), 1 << 20)

    def test_huge_counts_in_the_superblock_cost_nothing(self):
        for member in ("slot_count", "chunk_count", "binding_index_count", "bindings_bytes", "chunks_offset",
                       "slots_offset", "bindings_offset", "late_bindings_offset", "chunk_states_offset"):
            for live in (False, True):
                for value in (2**32 - 1, 2**63, 2**64 - 8, 1, 8):
                    data = bytearray(small_image().live() if live else small_image().dump())
                    at = contrail.SUPERBLOCK.offsets[member]
                    width = 4 if member in ("slot_count", "chunk_count") else 8
                    data[at:at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
                    start = time.monotonic()
                    self.survive(bytes(data), f"{member} = {value}")
                    self.assertLess(time.monotonic() - start, 10)


if __name__ == "__main__":
    unittest.main()
