# SPDX-License-Identifier: MIT
"""The recorder in core files: of gdb, of the kernel, made up, cut, and hostile."""
import os
import random
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest

import outside
from image_builder import REGION, INT32, ImageBuilder
from support import Json, contrail, run, run_on

LONG = os.environ.get("CONTRAIL_TEST_LENGTH") == "long"
CORE_PATTERN = "/proc/sys/kernel/core_pattern"
target = outside.Target()


def setUpModule():
    target.build()


def tearDownModule():
    target.remove()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)
    return path


def image_at(base, name, start=1 << 45, executable="/usr/bin/server"):
    image = ImageBuilder(start=start, executable=executable)
    image.monotonic += start - (1 << 45)
    work = image.bind(REGION, name, fields=[("n", INT32)])
    thread = image.thread(tid=7, name="main")
    for i in range(20):
        thread.region(work, image.start + 10_000 + i * 1000, image.start + 10_500 + i * 1000, [i])
    thread.open(work, image.start + 50_000, [99])
    return image.live(base_address=base)


def core(segments, kind=4, many=False):
    """A core file: segments are (address, bytes in the file, bytes in memory or None)."""
    table, at = [], 64 + 56 * (len(segments) + 1)
    sections = at + sum(len(content) for _, content, _ in segments)
    for address, content, in_memory in segments:
        table.append(struct.pack("<IIQQQQQQ", 1, 6, at, address, 0, len(content), in_memory or len(content), 4096))
        at += len(content)
    notes = struct.pack("<IIQQQQQQ", 4, 0, 0, 0, 0, 0, 0, 4)
    count = len(segments) + 1
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", kind, 62, 1, 0, 64, sections if many else 0, 0, 64, 56,
                       0xFFFF if many else count, 64 if many else 0, 1 if many else 0, 0)
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0) if many else b""
    return b"".join([head, notes, *table, *(content for _, content, _ in segments), section])


BASE = 0x7F00_0000_4000


class MadeUp(unittest.TestCase):
    def events(self, data, code=0):
        result = run_on(data, "convert")
        self.assertEqual(result.code, code, result.err)
        trace = Json(result.out)
        self.assertEqual(trace.problems, [])
        return trace, result.err

    def check(self, trace, name="work"):
        found = [(e["args"]["n"], "unfinished" in e["args"]) for e in trace.of("X", name)]
        self.assertEqual(found, [(i, False) for i in range(20)] + [(99, True)])

    def test_the_image_is_found_and_its_address_told(self):
        data = core([(0x400000, b"code" * 1024, None), (BASE, image_at(BASE, "work"), None)])
        trace, _ = self.events(data)
        self.check(trace)
        self.assertIn(f"from a core file, where the recorder was at 0x{BASE:x}".encode(), run_on(data, "info").out)
        self.assertIn(b"region  work", run_on(data, "registry").out)
        self.assertIn(b"work", run_on(data, "table").out)

    def test_a_mapping_that_begins_before_the_image(self):
        self.check(self.events(core([(BASE - 3 * 4096, bytes(3 * 4096) + image_at(BASE, "work"), None)]))[0])

    def test_an_image_in_several_segments_in_any_order(self):
        image = image_at(BASE, "work")
        cuts = [0, 4096, 20480, len(image) // 4096 * 4096, len(image)]
        parts = [(BASE + a, image[a:b], None) for a, b in zip(cuts, cuts[1:]) if a < b]
        self.check(self.events(core(parts))[0])
        self.check(self.events(core(parts[::-1]))[0])

    def test_more_segments_than_the_header_can_count(self):
        nothing = [(0x1000 * i, b"", 0x1000) for i in range(70_000)]
        self.check(self.events(core(nothing + [(BASE, image_at(BASE, "work"), None)], many=True))[0])

    def test_of_several_images_the_one_that_started_last(self):
        older = image_at(BASE, "older"), None
        newer = image_at(BASE + (1 << 24), "newer", start=(1 << 45) + 10**9), None
        for order in (0, 1), (1, 0):
            parts = [[(BASE, *older), (BASE + (1 << 24), *newer)][i] for i in order]
            self.check(self.events(core(parts))[0], "newer")

    def test_copies_of_an_image_are_not_taken_for_it(self):
        elsewhere = image_at(BASE, "copy", start=(1 << 45) + 10**9)
        dump = ImageBuilder(start=(1 << 45) + 10**9).dump(base_address=BASE + (1 << 25))
        self.check(self.events(core([(BASE, image_at(BASE, "work"), None), (BASE + (1 << 24), elsewhere, None),
                                     (BASE + (1 << 25), dump, None)]))[0])
        self.assertIn("no recorder is in this core file", run_on(core([(BASE + 16384, elsewhere, None)]), "info").err)

    def test_what_the_core_lacks_is_told(self):
        image = image_at(BASE, "work")
        hole = 2 * 4096 + 4096
        parts = [(BASE, image[:hole], None), (BASE + hole + 4096, image[hole + 4096:], None)]
        _, err = self.events(core(parts), code=1)
        self.assertIn(f"lacks 4096 of the recorder's {len(image)} bytes (see ulimit -c", err)
        _, err = self.events(core([(BASE, image[:-8192], len(image))]), code=1)
        self.assertIn(f"lacks 8192 of the recorder's {len(image)} bytes", err)

    def test_the_file_may_have_holes(self):
        image = image_at(BASE, "work")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "core")
            # A mapping that begins with a gigabyte of nothing, and the image behind it.
            head = bytearray(core([(BASE - (1 << 30), b"", 0)]))
            struct.pack_into("<QQQQ", head, 64 + 56 + 8, 4096, BASE - (1 << 30), 0, (1 << 30) + len(image))
            with open(path, "wb") as file:
                file.write(head)
                file.seek(4096 + (1 << 30))
                file.write(image)
                file.seek(8 << 30)  # and more of nothing
                file.truncate()
            result = run("convert", path, "-o", "-")
        self.assertEqual(result.code, 0, result.err)
        self.check(Json(result.out))

    def test_a_damaged_size_does_not_ask_for_memory(self):
        image = bytearray(image_at(BASE, "work"))
        struct.pack_into("<Q", image, contrail.SUPERBLOCK.offsets["image_bytes"], 1 << 60)
        for far in 1 << 30, 1 << 40:
            result = run_on(core([(BASE, bytes(image), None), (BASE + far, bytes(4096), None)]), "info")
            self.assertEqual(result.code, 1)
            self.assertIn(f"lacks {(1 << 60) - len(image)} of", result.err)

    def refused(self, data):
        result = run_on(data, "info")
        self.assertEqual((result.code, result.out), (2, b""))
        self.assertEqual(result.err.count("\n"), 1, result.err)
        return result.err

    def test_what_has_no_recorder_is_refused(self):
        self.assertIn("no recorder is in this core file", self.refused(core([(BASE, bytes(1 << 16), None)])))
        self.assertIn("coredump_filter", self.refused(core([(BASE, b"", 1 << 20)])))
        self.assertIn("a program or a library, not a core file", self.refused(core([], kind=3)))
        self.assertIn("32-bit", self.refused(b"\x7fELF\1\1\1" + bytes(500)))
        self.assertIn("cut within its header", self.refused(b"\x7fELF\2\1\1" + bytes(20)))

    def test_a_pipe_is_refused(self):
        data = core([(BASE, image_at(BASE, "work"), None)])
        result = subprocess.run(["python3", contrail.__file__, "info", "-"], input=data, capture_output=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn(b"must be a file, not a pipe", result.stderr)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            result = subprocess.run(["python3", contrail.__file__, "info", "-"], stdin=file, capture_output=True)
        self.assertEqual(result.returncode, 0, result.stderr)


class Hostile(unittest.TestCase):
    def survive(self, path, what):
        result = run("info", path)
        self.assertIn(result.code, (0, 1, 2), what)
        self.assertNotIn("report that", result.err, what)
        self.assertNotIn("Traceback", result.err, what)
        if result.code:
            self.assertTrue(result.err.startswith("contrail.py: "), what)
        return result.code

    def test_headers_of_any_content_are_survived(self):
        chance = random.Random(3)
        good = core([(0x400000, bytes(4096), None), (BASE - 4096, bytes(4096) + image_at(BASE, "work"), None),
                     (BASE + (1 << 24), image_at(BASE + (1 << 24), "newer"), None)])
        image_begins = good.index(contrail.MAGIC_BYTES)
        interesting = [0, 1, 2, 55, 56, 57, 4095, 4096, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 62, 1 << 63,
                       (1 << 64) - 1, (1 << 64) - 4096, BASE, BASE - 16384, len(good), len(good) - 1, image_begins]
        codes = set()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "core")
            for turn in range(100_000 if LONG else 3_000):
                data = bytearray(good)
                for _ in range(chance.randrange(1, 4)):
                    # The ELF header and the program headers, or the first members of the superblock.
                    at = chance.choice((chance.randrange(64 + 56 * 4), image_begins + chance.randrange(168)))
                    if chance.random() < 0.5:
                        data[at] = chance.randrange(256)
                    else:
                        size = chance.choice((2, 4, 8))
                        at = at // size * size
                        value = chance.choice(interesting) % (1 << 8 * size)
                        data[at:at + size] = value.to_bytes(size, "little")
                if chance.random() < 0.2:
                    del data[chance.randrange(len(data)):]
                codes.add(self.survive(write(path, data), f"turn {turn}"))
        self.assertEqual(codes, {0, 1, 2})

    def test_every_truncation_of_the_beginning_and_some_later_ones(self):
        good = core([(BASE, image_at(BASE, "work"), None)])
        lengths = [*range(4, 64 + 56 * 2 + 300, 1 if LONG else 3), *range(4000, len(good), 997 if LONG else 4999)]
        with tempfile.TemporaryDirectory() as folder:
            for length in lengths:
                code = self.survive(write(os.path.join(folder, "core"), good[:length]), f"cut at {length}")
                self.assertIn(code, (1, 2), f"cut at {length}")

    def test_overlapping_segments_are_not_read_again_and_again(self):
        data = bytearray(core([(BASE + i * (1 << 30), b"", 0) for i in range(20_000)]) + bytes(1 << 20))
        begin = 64 + 56 * 20_001
        for i in range(1, 20_001):
            struct.pack_into("<QQQQ", data, 64 + 56 * i + 8, begin, BASE + i * (1 << 30), 0, 1 << 20)
        result = run_on(bytes(data), "info")
        self.assertIn("no recorder", result.err)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            found = sum(size for _, _, size in contrail.core_segments(file.fileno(), len(data)))
        self.assertLessEqual(found, len(data))


class Real(unittest.TestCase):
    def check(self, path):
        """The whole of what `target crash` recorded."""
        result = run("convert", path, "-o", "-")
        self.assertEqual((result.code, result.err), (0, ""))
        trace = Json(result.out)
        self.assertEqual(trace.problems, [])
        self.assertEqual(trace.one("X", "while it crashed")["args"], {"number": 42, "unfinished": True})
        sequences = sorted(e["args"]["sequence"] for e in trace.events if "sequence" in e.get("args", {}))
        self.assertEqual(sequences, list(range(5000)))

    def test_a_core_of_gdb(self):
        if not shutil.which("gcore"):
            self.skipTest("gdb is not installed")
        with tempfile.TemporaryDirectory() as folder, target.running("crash") as process:
            made = subprocess.run(["gcore", "-o", "core", str(process.pid)], cwd=folder, capture_output=True, text=True)
            path = os.path.join(folder, f"core.{process.pid}")
            if not os.path.exists(path):
                self.skipTest(f"gdb may not look into processes here: {made.stderr.strip()[-200:]}")
            self.check(path)
            # Cut within the recorder: what is there is read, and what is not is told.
            with open(path, "rb") as file:
                data = file.read()
                segments = contrail.core_segments(file.fileno(), len(data))
                _, base, size = max(contrail.images_in_core(file.fileno(), segments))
            at = next(offset + base - address for address, offset, present in segments
                      if address <= base < address + present)
            result = run("info", write(path, data[:at + size - size // 4]))
            self.assertEqual(result.code, 1)
            self.assertIn(f"lacks {size // 4} of the recorder's {size} bytes", result.err)
            self.assertIn(b"while it crashed", result.out)
            result = run("info", write(path, data[:at]))
            self.assertEqual(result.code, 2)
            self.assertIn("no recorder is in this core file", result.err)

    def kernel_core(self, folder, coredump_filter):
        with open(CORE_PATTERN, encoding="ascii") as file:
            pattern = file.read().strip()
        if "/" in pattern or pattern.startswith("|"):
            self.skipTest(f"the kernel gives core files to somebody else here: {pattern}")

        def allow():
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            with open("/proc/self/coredump_filter", "w", encoding="ascii") as file:
                file.write(coredump_filter)

        try:
            with target.running("crash", cwd=folder, preexec_fn=allow) as process:
                process.communicate()
        except subprocess.SubprocessError:
            self.skipTest("this process may not have core files (ulimit -c)")
        self.assertEqual(process.returncode, -6)
        found = os.listdir(folder)
        if len(found) != 1:
            self.skipTest("the kernel wrote no core file")
        return os.path.join(folder, found[0])

    def test_a_core_of_the_kernel(self):
        with tempfile.TemporaryDirectory() as folder:
            self.check(self.kernel_core(folder, "0x33"))

    def test_a_core_without_private_memory_says_what_to_set(self):
        with tempfile.TemporaryDirectory() as folder:
            result = run("info", self.kernel_core(folder, "0x10"))
        self.assertEqual(result.code, 2)
        self.assertIn("/proc/PID/coredump_filter, whose bit 0 must be set", result.err)


if __name__ == "__main__":
    unittest.main()
