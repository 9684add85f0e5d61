# SPDX-License-Identifier: MIT
"""Thread states: made-up and recorded context switches, of which the truth is known, as slices, processor times and tables."""
import os
import struct
import unittest

from support import ROOT, contrail, convert, run, run_on
from image_builder import (PERF_COMM, PERF_EXIT, PERF_FORK, PERF_LOST, PERF_SWITCH, PERF_THROTTLE, REGION,
                           ImageBuilder)

GOLDEN = os.path.join(ROOT, "tests", "golden", "v1.2-states.contrail")


class Made(ImageBuilder):
    """One tick is a nanosecond; times are ns since `zero`, at which a region of 1 ns begins the trace."""

    def __init__(self, until=100_000, since=True, cpus=1):
        super().__init__(tick_hz=10**9)
        self.zero = self.start + 10_000
        self.worker = self.thread(77, "worker")
        self.mark, self.work = self.bind(REGION, "mark"), self.bind(REGION, "work")
        self.worker.region(self.mark, self.zero, self.zero + 1)
        self.end = until
        self.cpus = [self.switches(i, since=self.at(0) if since else 0, until=self.at(until)) for i in range(cpus)]

    def at(self, ns):
        return self.anchor(self.zero + ns)[1]

    def region(self, begin, end, binding=None, thread=None):
        (thread or self.worker).region(binding or self.work, self.zero + begin, self.zero + end)

    def made(self, **more):
        return self.dump(self.zero + self.end, **more)

    def converted(self, *arguments):
        return convert(self.made(), *arguments)


def recorded():
    with open(GOLDEN, "rb") as file:
        return convert(file.read())


def states(trace, thread="worker"):
    """(name, begin, end) of a thread's states."""
    tid = next(e["tid"] for e in trace.of("M", "thread_name") if e["args"]["name"] == f"states of {thread}")
    # Each is written 1 ns shorter than it was.
    return [(name, begin, end + 1) for name, begin, end, of in trace.slices() if of == tid]


def cpu(trace, name="work"):
    """What the regions had of a processor, in ns; None where it is not said."""
    found = [e.get("args", {}).get("cpu_us") for e in trace.of("X", name)]
    return [None if value is None else int(value * 1000) for value in found]


class States(unittest.TestCase):
    def test_a_thread_that_is_preempted_is_runnable_and_one_that_waits_is_waiting(self):
        image = Made()
        one = image.cpus[0]
        one.out(77, image.at(10_000), preempted=True)
        one.into(77, image.at(25_000))
        one.out(77, image.at(40_000))
        one.into(77, image.at(70_000))
        image.region(5_000, 80_000)
        image.region(82_000, 90_000)
        trace = image.converted()
        self.assertEqual(states(trace), [("running", 0, 10_000), ("runnable", 10_000, 25_000), ("running", 25_000, 40_000),
                                         ("waiting", 40_000, 70_000), ("running", 70_000, 100_000)])
        self.assertEqual(cpu(trace), [5_000 + 15_000 + 10_000, 8_000])
        rows = [line.split() for line in run_on(image.made(), "info").out.decode().splitlines()]
        self.assertIn("77 worker 55 us 15 us 30 us 0 ns 4".split(), rows)

    def test_a_thread_that_moves_is_followed_from_processor_to_processor(self):
        image = Made(cpus=3)
        image.cpus[0].out(77, image.at(10_000))
        image.cpus[2].into(77, image.at(20_000))
        image.cpus[2].out(77, image.at(30_000))
        image.cpus[1].into(77, image.at(50_000))
        trace = image.converted()
        self.assertEqual([s[0] for s in states(trace)], ["running", "waiting", "running", "waiting", "running"])
        self.assertEqual([e["args"]["cpu"] for e in trace.of("X", "running")], [0, 2, 1])

    def test_nothing_is_said_of_what_was_before_the_oldest_record_of_any_processor(self):
        image = Made(since=False, cpus=2)
        image.cpus[0].into(77, image.at(5_000))
        image.cpus[0].out(77, image.at(50_000))
        image.cpus[0].into(77, image.at(60_000))
        image.cpus[1].out(99, image.at(40_000))  # this one reaches back less
        image.region(6_000, 30_000)
        image.region(39_000, 41_000)
        image.region(45_000, 55_000)
        trace = image.converted()
        self.assertEqual(states(trace)[0], ("running", 40_000, 50_000))
        self.assertEqual(cpu(trace), [None, None, 5_000])

    def test_a_processor_without_any_record_that_had_some_says_that_nothing_is_known(self):
        image = Made(cpus=2)
        image.cpus[0].out(77, image.at(10_000))
        image.cpus[1].since = 0
        trace = image.converted()
        self.assertEqual([e for e in trace.events if e.get("cat") == "thread state"], [])

    def test_a_torn_oldest_record_is_left_out(self):
        for spoilt in (b"\0" * 8, b"\xff" * 24, struct.pack("<IHH", PERF_SWITCH, 0, 24), struct.pack("<IHH", 14, 0, 16),
                       struct.pack("<IHHIIQ", PERF_SWITCH, 0, 24, 4242, 77, 2**63)):
            image = Made(since=False)
            image.cpus[0].into(77, image.at(20_000))
            image.cpus[0].out(77, image.at(50_000))
            image.cpus[0].spoilt = spoilt
            image.region(10_000, 60_000)
            image.region(30_000, 60_000)
            trace = image.converted()
            self.assertEqual(states(trace), [("running", 20_000, 50_000), ("waiting", 50_000, 100_000)])
            self.assertEqual(cpu(trace), [None, 20_000])

    def test_a_torn_newest_record_leaves_nothing_to_be_said(self):
        image = Made()
        image.cpus[0].out(77, image.at(10_000))
        image.cpus[0].records.append(b"\xff" * 24)
        image.region(20_000, 30_000)
        self.assertEqual(cpu(image.converted()), [None])

    def test_damage_within_a_buffer_ends_what_is_known(self):
        image = Made()
        one = image.cpus[0]
        one.into(77, image.at(10_000))
        one.records.append(b"\xff" * 24)
        one.out(77, image.at(50_000))
        image.region(1_000, 20_000)
        image.region(55_000, 60_000)
        trace = image.converted()
        self.assertEqual(states(trace), [("waiting", 50_000, 100_000)])
        self.assertEqual(cpu(trace), [None, 0])

    def test_threads_begin_runnable_and_end(self):
        image = Made()
        other = image.thread(88, "other")
        one = image.cpus[0]
        one.task(PERF_FORK, 88, image.at(10_000), parent=77)
        one.into(88, image.at(12_000))
        one.task(PERF_EXIT, 88, image.at(30_000))
        one.out(77, image.at(90_000))
        image.region(15_000, 25_000, thread=other)
        trace = image.converted()
        self.assertEqual(states(trace, "other"), [("runnable", 10_000, 12_000), ("running", 12_000, 30_000)])
        self.assertEqual(cpu(trace), [10_000])

    def test_a_thread_id_that_is_used_again_is_another_thread(self):
        image = Made()
        one = image.cpus[0]
        first = image.thread(88, "first")
        image.region(5_000, 9_000, thread=first)
        first.lanes[0].seal(image.zero + 20_000)
        second = first.reuse(88, "second")
        second.attach_ticks = image.zero + 41_000
        image.region(45_000, 50_000, thread=second)
        one.task(PERF_EXIT, 88, image.at(20_000))
        one.task(PERF_FORK, 88, image.at(40_000))
        one.into(88, image.at(41_000))
        one.out(88, image.at(60_000))
        trace = image.converted()
        self.assertEqual(states(trace, "first"), [("running", 0, 20_000)])
        self.assertEqual(states(trace, "second (tid 88 again)"),
                         [("runnable", 40_000, 41_000), ("running", 41_000, 60_000), ("waiting", 60_000, 100_000)])
        self.assertEqual(cpu(trace), [4_000, 5_000])

    def test_a_missing_record_is_no_state_and_no_processor_time(self):
        image = Made()
        one = image.cpus[0]
        one.out(77, image.at(10_000))
        one.out(77, image.at(40_000))  # it must have run in between
        one.into(77, image.at(50_000))
        one.into(77, image.at(80_000))  # and stopped
        image.region(5_000, 15_000)
        image.region(42_000, 49_000)
        image.region(60_000, 82_000)
        image.region(85_000, 95_000)
        trace = image.converted()
        self.assertEqual(states(trace), [("running", 0, 10_000), ("waiting", 40_000, 50_000), ("running", 80_000, 100_000)])
        self.assertEqual(cpu(trace), [None, 0, None, 10_000])

    def test_a_thread_with_two_events_has_each_switch_once(self):
        image = Made()
        one = image.cpus[0]
        for late in (0, 300):
            one.out(77, image.at(10_000) + late)
        for late in (0, 300):
            one.into(77, image.at(40_000) + late)
        for late in (0, 300):
            one.task(PERF_FORK, 88, image.at(50_000) + late)
        for late in (0, 300):
            one.task(PERF_EXIT, 88, image.at(60_000) + late)
        trace = image.converted()
        self.assertEqual(states(trace), [("running", 0, 10_000), ("waiting", 10_000, 40_000), ("running", 40_000, 100_000)])
        self.assertEqual(states(trace, "thread 88"), [("runnable", 50_000, 60_000)])

    def test_records_of_other_kinds_and_other_processes_are_skipped(self):
        image = Made()
        one = image.cpus[0]
        one.into(77, image.at(5_000), pid=1)
        one.add(PERF_COMM, 0, 4242, 77, image.at(6_000), struct.pack("<II16s", 4242, 77, b"renamed"))
        one.add(PERF_THROTTLE, 0, 4242, 77, image.at(7_000), bytes(24))
        one.add(1000, 0, 4242, 77, image.at(8_000), bytes(800))
        one.task(PERF_FORK, 500, image.at(9_000), pid=500)
        one.out(77, image.at(10_000))
        trace = image.converted()
        self.assertEqual(states(trace), [("running", 0, 10_000), ("waiting", 10_000, 100_000)])

    def test_what_was_before_a_loss_is_not_known(self):
        image = Made()
        one = image.cpus[0]
        one.out(77, image.at(10_000))
        one.into(77, image.at(20_000))
        one.add(PERF_LOST, 0, 4242, 77, image.at(30_000), struct.pack("<QQ", 0, 3))
        one.out(77, image.at(40_000))
        self.assertEqual(states(image.converted()), [("running", 30_000, 40_000), ("waiting", 40_000, 100_000)])

    def test_a_thread_without_a_switch_did_all_the_time_what_it_did_at_the_end(self):
        for state, name, had in ((1, "running", 20_000), (2, "runnable", 0), (3, "waiting", 0)):
            image = Made()
            image.worker.thread_state = state
            image.region(10_000, 30_000)
            trace = image.converted()
            self.assertEqual((states(trace), cpu(trace)), ([(name, 0, 100_000)], [had]))
            image.unwatched_threads = 1  # it may be one of these
            self.assertEqual(cpu(image.converted()), [None])

    def test_a_wait_is_named_after_the_region_that_says_what_for(self):
        image = Made()
        blocked = image.bind(REGION, "the queue", flags=1 << 4)
        image.region(5_000, 60_000, blocked)
        one = image.cpus[0]
        one.out(77, image.at(10_000))
        one.into(77, image.at(50_000))
        one.out(77, image.at(70_000))
        trace = image.converted()
        self.assertEqual([s[0] for s in states(trace)], ["running", "waiting (sync)", "running", "waiting"])
        self.assertEqual(trace.one("X", "waiting (sync)")["args"], {"in": "the queue"})

    def test_a_wait_is_named_after_the_innermost_such_region_around_it(self):
        image = Made()
        outer, inner = (image.bind(REGION, name, flags=why << 4) for name, why in (("reply", 2), ("lock", 1)))
        image.region(20_000, 30_000, inner)
        image.region(5_000, 60_000, outer)
        one = image.cpus[0]
        for begin in (22_000, 40_000):
            one.out(77, image.at(begin))
            one.into(77, image.at(begin + 5_000))
        one.out(77, image.at(70_000))
        waits = [s[0] for s in states(image.converted()) if s[0] != "running"]
        self.assertEqual(waits, ["waiting (sync)", "waiting (net)", "waiting"])

    def test_without_arguments_there_is_no_processor_time(self):
        image = Made()
        image.cpus[0].out(77, image.at(90_000))
        image.region(10_000, 30_000)
        self.assertEqual(cpu(image.converted("--no-args")), [None])
        self.assertEqual(cpu(image.converted()), [20_000])

    def test_each_states_track_stands_below_its_thread(self):
        image = Made()
        image.region(1_000, 2_000, thread=image.thread(88, "other"))
        image.cpus[0].out(77, image.at(10_000))
        image.cpus[0].out(88, image.at(20_000))
        image.cpus[0].out(99, image.at(20_000))  # it never recorded
        trace = image.converted()
        names = {e["tid"]: e["args"]["name"] for e in trace.of("M", "thread_name")}
        order = sorted((e["args"]["sort_index"], names[e["tid"]]) for e in trace.of("M", "thread_sort_index"))
        self.assertEqual([name for _, name in order],
                         ["worker", "states of worker", "other", "states of other", "states of thread 99"])
        self.assertEqual(len(set(names)), len(names))

    def test_the_canonical_text_is_that_of_a_dump_without_states(self):
        image, bare = Made(), Made()
        image.cpus[0].out(77, image.at(10_000))
        bare.switch_buffers, bare.thread_states = [], 0
        shown = [run_on(made.made(), "text").out.decode().split("\n")[1:] for made in (image, bare)]
        self.assertEqual(shown[0], shown[1])


class Refusals(unittest.TestCase):
    def note(self, image, live=False):
        data = image.live() if live else image.made()
        result = run_on(data, "info")
        self.assertEqual((result.code, result.err), (0, ""))
        notes = [line for line in result.out.decode().splitlines() if line.startswith("note ") and "thread" in line]
        self.assertEqual(len(notes), 1, notes)
        self.assertIn(notes[0][11:], (convert(data).metadata["notes"]))
        return notes[0][11:]

    def refused(self, state, error, paranoid=-100):
        image = Made()
        image.switch_buffers = []
        image.thread_states, image.thread_states_error, image.perf_event_paranoid = state, error, paranoid
        return self.note(image)

    def test_each_says_what_to_do(self):
        self.assertEqual(self.refused(2, 13, 4),
                         "no thread states: the system refused the context switches of the process (Permission denied);"
                         " kernel.perf_event_paranoid is 4: set it to 2, or give the program CAP_PERFMON")
        self.assertIn("whether a sandbox, such as a container's, forbids perf_event_open", self.refused(2, 1, 2))
        self.assertIn("ulimit -n", self.refused(2, 24, 2))
        self.assertIn("ulimit -l", self.refused(3, 1, 2))

    def test_a_killed_process_took_its_states_along(self):
        image = Made()
        self.assertIn("only a dump that the process itself makes has them", self.note(image, live=True))

    def test_threads_without_events_are_told_of(self):
        image = Made()
        image.unwatched_threads = 3
        image.cpus[0].out(77, image.at(10_000))
        self.assertIn("3 threads that ran before start have no states", self.note(image))

    def test_damaged_buffers_are_told_of(self):
        image = Made()
        image.cpus[0].out(77, image.at(10_000))
        data = bytearray(image.made())
        sb = contrail.SUPERBLOCK.read(data, 0)
        struct.pack_into("<Q", data, sb.switches_offset + sb.switches_bytes - 64, 2**60)
        result = run_on(bytes(data), "info")
        self.assertEqual(result.code, 0)
        self.assertIn("thread states are missing", result.out.decode())


class Recorded(unittest.TestCase):
    """What a kernel recorded, and what the threads measured meanwhile: also where no kernel permits it."""

    def test_processor_times_are_those_that_the_threads_measured(self):
        trace = recorded()
        seen = 0
        for event in trace.of("X", "measured"):
            args, seen = event["args"], seen + 1
            measured, shown = int(args["cpu_ns"]), int(args["cpu_us"] * 1000)
            if args["what"].startswith("it competes"):
                self.assertLess(abs(shown - measured), measured // 100)
            else:  # some microseconds of each switch the kernel charges to the thread, and they are not in its records
                self.assertLessEqual(shown, measured + 10_000)
                self.assertGreater(shown, measured // 2)
        self.assertEqual(seen, 4)

    def test_two_threads_on_one_processor_never_run_at_the_same_time(self):
        trace = recorded()
        runs = [s for thread in ("one", "other") for s in states(trace, thread) if s[0] == "running"]
        runs.sort(key=lambda s: s[1])
        self.assertGreater(len(runs), 20)
        for before, after in zip(runs, runs[1:]):
            self.assertLessEqual(before[2], after[1])

    def test_the_wait_has_its_reason(self):
        trace = recorded()
        wait = next(e for e in trace.of("X", "measured") if e["args"]["what"] == "it waits")
        shown = trace.one("X", "waiting (io)")
        self.assertEqual(shown["args"], {"in": "pipe"})
        self.assertGreater(shown["dur"], wait["dur"] * 9 / 10)

    def test_info_has_a_row_for_each_thread(self):
        shown = run("info", GOLDEN).out.decode()
        self.assertRegex(shown, r"tid +thread +running +runnable +waiting +not known +switches")
        for name in ("one", "other"):
            self.assertRegex(shown, rf"\d+  {name} +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms +0 ns +\d+")


if __name__ == "__main__":
    unittest.main()
