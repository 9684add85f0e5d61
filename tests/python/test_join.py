# SPDX-License-Identifier: MIT
"""Several inputs of `convert`: one timeline, in which each process has its own tracks."""
import os
import tempfile
import unittest
from decimal import Decimal

from image_builder import REGION, ImageBuilder
from support import Json, run
from test_thread_states import Made


def process(pid, host="box", begin_us=0, **clocks):
    """One region "work" of 10 us. The clocks are those at the start of the recording, `begin_us` before the region."""
    builder = ImageBuilder(pid=pid, tick_hz=10**9, host=host)
    vars(builder).update(clocks)
    begin = builder.start + 2000 + begin_us * 1000
    builder.thread(pid, "main").region(builder.bind(REGION, "work"), begin, begin + 10_000)
    return builder.dump()


class Join(unittest.TestCase):
    def join(self, *images, code=0, arguments=()):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, f"{i}.contrail") for i in range(len(images))]
            for path, image in zip(paths, images):
                with open(path, "wb") as file:
                    file.write(image)
            result = run("convert", *paths, "-o", "-", *arguments)
        self.assertEqual(result.code, code, result.err)
        self.err = result.err
        if code == 2:
            return None
        trace = Json(result.out)
        self.assertEqual(trace.problems, [])
        return trace

    def times(self, trace):
        return {e["pid"]: e["ts"] for e in trace.of("X", "work")}

    def notes(self, trace):
        return [note for process in trace.metadata["processes"] for note in process["notes"]]

    def test_processes_of_one_boot_are_joined_by_the_monotonic_clock(self):
        later = dict(monotonic=5_003_000_000, realtime=1_700_000_000_003_400_000)  # stepped by 0.4 ms
        trace = self.join(process(1), process(2, **later))
        self.assertEqual(self.times(trace), {1: 0, 2: 3000})
        self.assertEqual(self.notes(trace), [])
        trace = self.join(process(2, **later), process(1))
        self.assertEqual(self.times(trace), {1: 0, 2: 3000})

    def test_processes_of_two_hosts_or_boots_are_joined_by_wall_clock_time(self):
        later = dict(monotonic=77_000_000, realtime=1_700_000_000_002_000_000)
        for host in ("box", "other"):
            trace = self.join(process(1), process(2, host=host, **later))
            self.assertEqual(self.times(trace), {1: 0, 2: 2000})
            self.assertEqual(len(self.notes(trace)), 1)

    def test_each_process_keeps_its_name_threads_and_metadata(self):
        trace = self.join(process(1), process(2, begin_us=5))
        self.assertEqual([e["pid"] for e in trace.of("M", "process_name")], [1, 2])
        self.assertEqual([e["pid"] for e in trace.of("M", "thread_name")], [1, 2])
        self.assertEqual([p["pid"] for p in trace.metadata["processes"]], [1, 2])

    def test_two_dumps_of_one_process_are_two_processes(self):
        trace = self.join(process(7), process(7, begin_us=5), process(8, begin_us=9))
        self.assertEqual(self.times(trace), {7: 0, 8: 5, 9: 9})
        self.assertEqual([p.get("shown as pid") for p in trace.metadata["processes"]], [None, 8, 9])
        trace = self.join(process(2**32 - 1), process(2**32 - 1))
        self.assertEqual(set(self.times(trace)), {2**32 - 1, 1})

    def test_thread_states_of_a_process_that_began_later_are_whole(self):
        class Later(Made):
            def anchor(self, ticks):
                ticks, *clocks = super().anchor(ticks)
                return (ticks, *(ns + 5 * 10**9 for ns in clocks))

        made = Made(), Later()
        made[1].pid += 1
        for image in made:
            image.cpus[0].out(77, image.at(40_000))
        trace = self.join(*(image.made() for image in made))
        found = [(e["pid"], e["name"], e["dur"]) for e in trace.of("X") if e["cat"] == "thread state"]
        self.assertEqual([row[1:] for row in found[:2]], [row[1:] for row in found[2:]])
        self.assertEqual(len(found), 4)

    def test_time_zero_is_the_first_event_of_all(self):
        trace = self.join(process(1, begin_us=5), process(2))
        self.assertEqual(self.times(trace), {1: 5, 2: 0})
        zeros = {p["time zero, unix ns"] for p in trace.metadata["processes"]}
        self.assertEqual(len(zeros), 1)

    def test_an_input_that_cannot_be_read_is_named(self):
        self.join(process(1), b"nothing", code=2)
        self.assertIn("1.contrail", self.err)
        trace = self.join(process(1), process(2)[:-64], code=1)
        self.assertIn("1.contrail: warning", self.err)
        self.assertEqual(len(trace.of("X")), 2)

    def test_last_counts_from_the_end_of_each(self):
        trace = self.join(process(1), process(2, begin_us=10**6), arguments=("--last", "10ms"))
        self.assertEqual(self.times(trace), {1: 0, 2: Decimal(10**6)})


if __name__ == "__main__":
    unittest.main()
