# SPDX-License-Identifier: MIT
"""What the converter says of the trigger that made a dump: in info, in the metadata, and as a global instant."""
import random
import struct
import unittest
from decimal import Decimal

from image_builder import REGION, ImageBuilder
from support import convert, run_on

AT = 856  # of trigger_ticks in the superblock


def triggered(image, ticks, text):
    data = bytearray(image)
    data[AT:AT + 128] = struct.pack("<Q120s", ticks, text)
    return bytes(data)


class Triggers(unittest.TestCase):
    def setUp(self):
        builder = ImageBuilder(tick_hz=10**9)
        self.begin = builder.start + 10_000
        builder.thread(7, "worker").region(builder.bind(REGION, "work"), self.begin, self.begin + 5000)
        self.image, self.live = builder.dump(), builder.live()

    def info(self, data):
        shown = run_on(data, "info").out.decode()
        return next((line[11:] for line in shown.splitlines() if line.startswith("trigger ")), None)

    def event(self, data):
        return next(e for e in convert(data).of("i") if e["name"].startswith("trigger: "))

    def test_without_a_trigger_nothing_is_said(self):
        for data in (self.image, triggered(self.image, 0, b"left over"), triggered(self.live, self.begin, b"live")):
            self.assertIsNone(self.info(data))
            self.assertEqual(convert(data).of("i"), [])

    def test_a_trigger_is_a_global_instant_at_its_moment(self):
        data = triggered(self.image, self.begin + 2500, b"work took 5 us")
        self.assertEqual(self.info(data), "work took 5 us")
        event = self.event(data)
        self.assertEqual((event["name"], event["cat"], event["s"]), ("trigger: work took 5 us", "contrail", "g"))
        self.assertEqual(event["ts"], Decimal("2.5"))

    def test_a_trigger_without_any_thread_is_shown(self):
        self.assertEqual(self.event(triggered(ImageBuilder().dump(), 1 << 45, b"early"))["name"], "trigger: early")

    def test_a_moment_outside_the_trace_is_moved_to_its_edge(self):
        self.assertEqual(self.event(triggered(self.image, 1, b"early"))["ts"], 0)
        self.assertLess(self.event(triggered(self.image, 2**64 - 1, b"late"))["ts"], 10**6)

    def test_any_text_is_shown_and_steers_no_terminal(self):
        data = triggered(self.image, self.begin, b"\x1b[31m\xff\xfe\"\\\n" + b"x" * 120)
        self.assertNotIn("\x1b", self.info(data))
        self.assertTrue(self.event(data)["name"].endswith("x"))

    def test_any_bytes_are_survived(self):
        for seed in range(50):
            noise = random.Random(seed)
            data = triggered(self.image, noise.getrandbits(64), noise.randbytes(120))
            self.assertIn(run_on(data, "info").code, (0, 1))
            convert(data)


if __name__ == "__main__":
    unittest.main()
