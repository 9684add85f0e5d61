# SPDX-License-Identifier: MIT
"""Random traces, whose truth is known, come out whole: every slice, its time, its nesting; by seed, so repeatable."""
import json
import os
import random
import shutil
import subprocess
import tempfile
import unittest
from collections import Counter

from support import HERE, convert
from image_builder import EPOCH_TICKS, INT32, REGION, ImageBuilder

ROUNDS = int(os.environ.get("CONTRAIL_ROUNDS", "15"))


class Random:
    """A trace of nested regions on a few threads, with many ties: some clocks tick once per 40 ns.

    Reading a clock takes time, so regions of less than `shortest` ns do not happen, but equal times do."""

    def __init__(self, seed, args=True, shortest=0):
        self.random = r = random.Random(seed)
        self.hz = r.choice([24_000_000, 10**9, 2_100_000_000, 3_300_000_000])
        self.image = ImageBuilder(tick_hz=self.hz, start=r.randrange(1, 1 << 50))
        self.names = [self.image.bind(REGION, f"r{i}") for i in range(4)]
        self.with_argument = self.image.bind(REGION, "n", id=r.choice([100, 0xFFF, 0x1000]), fields=[("n", INT32)])
        self.args, self.shortest = args, max(1, -(-shortest * self.hz // 10**9)) if self.hz > 10**9 // 40 else 0
        self.truth = []  # (name, start ticks, end ticks, tid)
        self.records = 0
        for tid in range(1, r.randrange(2, 6)):
            self.thread(self.image.thread(tid, f"t{tid}"))

    def thread(self, thread):
        r, self.now = self.random, self.image.start + 2000 + self.random.randrange(1000)
        step = r.choice([2, 50, 5000, EPOCH_TICKS // 3])
        todo = r.randrange(1, r.choice([20, 400, 3000]))
        while todo > 0:
            todo -= self.nest(thread, step, r.randrange(0, 6))

    def nest(self, thread, step, depth):
        r, start, count = self.random, self.now, 1
        self.now += r.randrange(step) + self.shortest
        if depth > 0:
            for _ in range(r.randrange(4)):
                count += self.nest(thread, step, depth - 1)
                self.now += r.randrange(step) + self.shortest
        end = self.now
        if self.args and r.random() < 0.2:
            binding, values = self.with_argument, [r.randrange(5)]
        else:
            binding, values = r.choice(self.names), []
        thread.region(binding, start, end, values, form="long" if r.random() < 0.02 else None)
        self.truth.append((binding.name, start, end, thread.tid))
        return count

    def ns(self, ticks):
        return (ticks - self.image.start) * 10**9 // self.hz

    def check(self, slices, tolerance):
        """Each slice is one of the truth, moved by less than `tolerance` ns; all are there."""
        zero = min(self.ns(start) for _, start, _, _ in self.truth)
        left = Counter((n, t) for n, _, _, t in self.truth)
        left.subtract((n, t) for n, _, _, t in slices)
        if any(left.values()):
            return f"slices missing or made up: {left}"
        for key in left:
            for edge in (1, 2):  # starts, then ends
                truth = sorted(self.ns(t[edge]) - zero for t in self.truth if (t[0], t[3]) == key)
                found = sorted(t[edge] for t in slices if (t[0], t[3]) == key)
                off = [(f, t) for t, f in zip(truth, found) if abs(t - f) > tolerance]
                if off:
                    return f"{key}: {off[0][0]} should be {off[0][1]}"
        return None


class Traces(unittest.TestCase):
    def test_nested_regions_come_out_whole(self):
        for seed in range(ROUNDS):
            with self.subTest(seed=seed):
                trace = Random(seed)
                self.assertIsNone(trace.check(convert(trace.image.dump()).slices(), 12))
                # A live image has no anchor at its end, so the rounding of its early ones is carried on.
                span = trace.ns(max(end for _, _, end, _ in trace.truth))
                self.assertIsNone(trace.check(convert(trace.image.live()).slices(), 12 + span // 20_000))

    def test_regions_in_any_relation_pass_the_viewers_rules(self):
        for seed in range(ROUNDS):
            with self.subTest(seed=seed):
                r, image = random.Random(seed), ImageBuilder(tick_hz=10**9)
                names = [image.bind(REGION, f"r{i}") for i in range(3)]
                still_open = image.bind(REGION, "open")
                count = 0
                for tid in range(1, 4):
                    thread, ends = image.thread(tid), sorted(r.randrange(10_000, 10_000 + r.choice([20, 300, 10**6]))
                                                             for _ in range(300))
                    for end in ends:
                        start = max(2000, end - r.randrange(r.choice([1, 5, 400])))
                        thread.region(r.choice(names), image.start + start, image.start + end, lane=r.randrange(3))
                        count += 1
                    for _ in range(r.randrange(5)):
                        thread.open(still_open, image.start + r.randrange(9_000, 11_000), lane=r.randrange(3))
                        count += 1
                trace = convert(image.dump())
                self.assertEqual(len(trace.of("X")) + len(trace.of("b")), count)

    def test_a_stack_deeper_than_viewers_show_goes_to_async_tracks(self):
        image = ImageBuilder(tick_hz=10**9)
        thread, a = image.thread(1), image.bind(REGION, "a")
        for i in range(600):
            thread.region(a, image.start + 10_000 - i, image.start + 10_000 + i)
        trace = convert(image.dump())
        self.assertEqual((len(trace.of("X")), len(trace.of("b"))), (512, 88))


class Speedscope(unittest.TestCase):
    """speedscope's own importer, run under node, draws every slice with its nesting and time."""

    def setUp(self):
        self.folder = os.path.join(os.path.dirname(HERE), "speedscope")
        if not shutil.which("node"):
            self.skipTest("node is not installed")
        if not os.path.isdir(os.path.join(self.folder, "node_modules", "speedscope")):
            self.skipTest("speedscope is not installed: run 'npm ci --ignore-scripts' in tests/speedscope")

    def test_speedscope_draws_every_slice_where_it_was(self):
        for seed in range(10):
            with self.subTest(seed=seed), tempfile.NamedTemporaryFile(suffix=".json") as file:
                made = Random(seed, shortest=10)
                trace = convert(made.image.dump())
                file.write(json.dumps(trace.trace, default=float).encode())
                file.flush()
                result = subprocess.run(["node", os.path.join(self.folder, "check.mjs"), file.name],
                                        capture_output=True, text=True, timeout=120)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                drawn = json.loads(result.stdout)
                self.assertEqual(len(drawn), len({s[3] for s in trace.slices()}))
                for profile in drawn:
                    tid = int(profile["name"].rpartition("tid ")[2].rstrip(")"))
                    mine = [s for s in trace.slices() if s[3] == tid]
                    found = [(name.partition(" ")[0], round(start * 1000), round(end * 1000))
                             for name, _, start, end in profile["slices"]]
                    shift = mine[0][1]  # speedscope's profiles begin at their first slice
                    # It has no picture of a slice of no length.
                    expected = Counter((n, s - shift, e - shift) for n, s, e, _ in mine if s < e)
                    self.assertEqual(expected, Counter(f for f in found if f[1] < f[2]))
                    self.depths(profile["slices"])

    def depths(self, slices):
        """The drawn depth of each slice is the number of slices around it."""
        around = []
        for name, depth, start, end in sorted(slices, key=lambda s: (s[2], -s[3], s[1])):
            while around and around[-1] <= start and end > start:
                around.pop()
            if end > start:
                self.assertEqual(depth, len(around), (name, start, end))
                around.append(end)


if __name__ == "__main__":
    unittest.main()
