# SPDX-License-Identifier: MIT
"""What the converter says of a crash: in info, and as an event of the thread that crashed."""
import random
import struct
import unittest
from decimal import Decimal

from support import convert, run_on
from image_builder import REGION, ImageBuilder

AT = 792  # of crash_note in the superblock
SIGNAL, TERMINATE = 1, 2


def crashed(image, cause, signal=0, code=0, tid=7, address=0, sender=0, thread=b"system's name"):
    data = bytearray(image)
    data[AT:AT + 64] = struct.pack("<IIiIQII32s", cause, signal, code, tid, address, sender, 0, thread)
    return bytes(data)


class Crashes(unittest.TestCase):
    def setUp(self):
        builder = ImageBuilder(tick_hz=10**9)
        start = builder.start + 10_000
        self.thread = builder.thread(7, "worker")
        self.thread.region(builder.bind(REGION, "work"), start, start + 500)
        self.image, self.live = builder.dump(), builder.live()

    def info(self, data):
        shown = run_on(data, "info").out.decode()
        return next((line[11:] for line in shown.splitlines() if line.startswith("crashed ")), None)

    def event(self, data):
        trace = convert(data)
        return next(e for e in trace.of("i") if e["name"].startswith("crashed: "))

    def test_without_a_crash_nothing_is_said(self):
        self.assertIsNone(self.info(self.image))
        self.assertEqual(convert(self.image).of("i"), [])

    def test_a_fault_has_its_signal_and_address(self):
        data = crashed(self.image, SIGNAL, 11, 1, address=0x10)
        self.assertEqual(self.info(data), "SIGSEGV at 0x10, where nothing is mapped (thread 7 worker)")
        event = self.event(data)
        self.assertEqual((event["name"], event["cat"], event["tid"], event["s"]),
                         ("crashed: SIGSEGV at 0x10, where nothing is mapped", "contrail", 7, "t"))
        self.assertEqual(event["args"], {"signal": "SIGSEGV", "code": 1, "address": "0x10",
                                         "fault": "where nothing is mapped"})
        self.assertGreater(event["ts"], Decimal("0.5"))

    def test_a_fault_without_a_known_reason_has_its_address(self):
        self.assertEqual(self.info(crashed(self.image, SIGNAL, 4, 77, address=0x1000)),
                         "SIGILL at 0x1000 (thread 7 worker)")

    def test_a_fault_without_an_address_has_none(self):
        data = crashed(self.image, SIGNAL, 11, 0x80)
        self.assertEqual(self.info(data), "SIGSEGV (thread 7 worker)")
        self.assertNotIn("address", self.event(data)["args"])

    def test_a_signal_has_its_sender(self):
        self.assertEqual(self.info(crashed(self.image, SIGNAL, 11, 0, sender=99)),
                         "SIGSEGV sent by process 99 (thread 7 worker)")
        self.assertEqual(self.info(crashed(self.image, SIGNAL, 6, -6, sender=4242)),
                         "SIGABRT raised by itself (thread 7 worker)")

    def test_terminate_is_told_apart(self):
        data = crashed(self.image, TERMINATE)
        self.assertEqual(self.info(data), "std::terminate (thread 7 worker)")
        event = self.event(data)
        self.assertEqual((event["name"], event["tid"], event.get("args")), ("crashed: std::terminate", 7, None))

    def test_a_thread_that_never_recorded_has_the_systems_name(self):
        data = crashed(self.image, SIGNAL, 11, 1, tid=8, thread=b"stranger")
        self.assertEqual(self.info(data), "SIGSEGV at 0x0, where nothing is mapped (thread 8 stranger)")
        trace = convert(data)
        self.assertEqual({e["tid"]: e["args"]["name"] for e in trace.of("M") if e["name"] == "thread_name"},
                         {7: "worker", 8: "stranger"})
        self.assertEqual([e["tid"] for e in trace.of("i")], [8])

    def test_a_live_image_tells_of_its_crash_too(self):
        self.assertEqual(self.info(crashed(self.live, SIGNAL, 6, -6, sender=4242)),
                         "SIGABRT raised by itself (thread 7 worker)")

    def test_a_cause_of_a_newer_version_is_left_out(self):
        self.assertIsNone(self.info(crashed(self.image, 3, 11, 1)))

    def test_any_bytes_make_a_trace(self):
        chance = random.Random(1)
        for _ in range(20):
            data = bytearray(crashed(self.image, SIGNAL))
            data[AT + 4:AT + 64] = chance.randbytes(60)
            convert(bytes(data))
            self.assertIn("thread", self.info(bytes(data)))


if __name__ == "__main__":
    unittest.main()
