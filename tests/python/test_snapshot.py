# SPDX-License-Identifier: MIT
"""Dumps of running processes, taken from outside by tools/contrail_snapshot.py."""
import contextlib
import io
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import unittest

import outside
from outside import TOOL, numbered_records, snapshot, take
from support import contrail, convert, run_on

LONG = os.environ.get("CONTRAIL_TEST_LENGTH") == "long"
target = outside.Target()


def setUpModule():
    target.build()


def tearDownModule():
    target.remove()


def wait_until_stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)


class Format(unittest.TestCase):
    def test_the_tool_has_the_offsets_and_constants_of_the_converter(self):
        for member, (at, code) in snapshot.SUPERBLOCK.items():
            name = "version_major" if member == "version" else member
            self.assertEqual(at, contrail.SUPERBLOCK.offsets[name], member)
        self.assertEqual(snapshot.ONLY_IN_DUMPS, contrail.SUPERBLOCK.offsets["dump"])
        self.assertEqual(snapshot.IN_BOTH, contrail.SUPERBLOCK.offsets["crash"])
        for name in ("MAGIC_BYTES", "FORMAT_MAJOR", "LIVE", "DUMP", "SUPERBLOCK_BYTES", "SLOT_BYTES", "CHUNK_BYTES",
                     "CHUNK_HEADER_BYTES", "LANES_OFFSET", "LANE_COUNT", "FRAMES_OFFSET", "FRAME_BYTES", "FRAME_COUNT",
                     "IMAGE_ALIGNMENT"):
            self.assertEqual(getattr(snapshot, name), getattr(contrail, name), name)
        self.assertEqual(snapshot.LANE_BYTES, contrail.LANE.size)
        self.assertEqual(snapshot.BINDING_BYTES, contrail.BINDING.size)
        self.assertEqual(snapshot.END_KIND, contrail.END)
        self.assertEqual(snapshot.SLOT_HEAD.size, contrail.SLOT.size)
        self.assertEqual(snapshot.CHUNK_HEAD.size, contrail.CHUNK.offsets["words_before"])
        self.assertEqual(snapshot.CHUNK_SEALED_TICKS, contrail.CHUNK.offsets["sealed_ticks"])
        self.assertEqual(snapshot.CHUNK_ANCHOR, contrail.CHUNK.offsets["anchor"])
        self.assertEqual(snapshot.FRAME_START, contrail.FRAME.offsets["start_ticks"])
        self.assertEqual(snapshot.FRAME_PAYLOAD, contrail.FRAME_PAYLOAD_OFFSET)


class Writers(unittest.TestCase):
    def test_records_stay_whole_single_and_in_order_while_threads_write(self):
        total = 0
        with target.writing() as (process, written), tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "out.contrail")
            for _ in range(500 if LONG else 50):
                before = written()
                with contextlib.redirect_stdout(io.StringIO()):
                    self.assertEqual(snapshot.main(["--pid", str(process.pid), "-o", path]), 0)
                after = written()
                wait_until_stopped(process.pid)  # leaves the processors to the oracle
                with open(path, "rb") as file:
                    image, found, count = numbered_records(file.read())
                total += count
                self.assertTrue(image.is_dump)
                self.assertEqual(image.end.chunks_written, len(image.chunks))
                self.assertEqual(image.end.chunks_torn, image.torn)
                for thread, (_, last) in found.items():
                    self.assertLessEqual(last, after[thread])  # one more than was counted may be complete
                    if image.torn == 0:
                        self.assertGreaterEqual(last + 1, before[thread])
                os.kill(process.pid, signal.SIGCONT)
        self.assertGreater(total, 1000 * (500 if LONG else 50))

    def test_a_stopped_process_is_complete_to_its_last_record(self):
        with target.writing() as (process, written):
            for _ in range(5):
                wait_until_stopped(process.pid)
                code, data, err = take(process.pid)
                self.assertEqual((code, err), (0, ""))
                image, found, _ = numbered_records(data, stopped=True)
                self.assertEqual(image.torn, 0)
                self.assertEqual(len(found), outside.WRITERS)
                for thread, done in enumerate(written()):
                    self.assertIn(found[thread][1] + 1 - done, (0, 1), "the last complete record")
                os.kill(process.pid, signal.SIGCONT)

    def test_it_converts_without_a_warning(self):
        with target.running("restart") as process:
            _, data, _ = take(process.pid)
        trace = convert(data)
        self.assertEqual(trace.metadata["warnings"], [])
        self.assertIn(b"(from outside)", run_on(data, "info").out)

    def test_a_window_leaves_older_chunks_out(self):
        with target.writing() as (process, _):
            wait_until_stopped(process.pid)
            _, all_of_it, _ = take(process.pid)
            code, data, _ = take(process.pid, "--last", "0.001ms")
        self.assertEqual(code, 0)
        self.assertEqual(contrail.Image(data).sb.window_ns, 1000)
        self.assertLess(len(data), len(all_of_it) // 4)
        self.assertLess(0, len(data))


class Stepping(snapshot.Process):
    """Reads in pieces, in any order, and lets the process go on before each piece: whatever order of reading something
    relies on has to come from two calls."""

    # Where frame 0 falls apart: its word, start, arguments, and the first field that is set later.
    FRAME = [snapshot.FRAMES_OFFSET + at for at in (0, 8, 16, 24, 56, 64, 72, 80)]

    def __init__(self, process, seed):
        super().__init__(process.pid)
        self.process, self.random = process, random.Random(seed)
        self.chance, self.cuts_spans = 0.7, False
        # Some processes hardly write, so that a region stays open and gets more arguments while it is copied.
        self.counts = ((0, 1, 1, 1, 2, 3, 10, 80), (0,) * 20 + (1,), (0, 1, 2, 80, 250), (0,) * 20 + (1,))[seed % 4]

    def step(self):
        count = self.random.choice(self.counts)
        self.process.stdin.buffer.raw.write(bytes([count]))
        os.read(self.process.stdout.fileno(), 1)

    def read(self, address, size):
        cuts = [size]
        if size > 8:
            cuts += [8 * self.random.randrange(size // 8) for _ in range(self.random.choice((0, 0, 1, 2, 3)))]
        if size == snapshot.SLOT_BYTES:
            cuts += self.random.sample(self.FRAME, self.random.randrange(len(self.FRAME)))
        if self.cuts_spans and size % snapshot.SPAN_BYTES == 0:  # within each entry, as any may be the open one
            cuts += [at + self.random.choice((16, 80, 88, 96)) for at in range(0, size, snapshot.SPAN_BYTES)]
        pieces, begin = [], 0
        for end in sorted(set(cuts) - {0}):
            pieces.append((begin, end))
            begin = end
        data = bytearray(size)
        for begin, end in self.random.sample(pieces, len(pieces)):
            if self.random.random() < self.chance:
                self.step()
            data[begin:end] = super().read(address + begin, end - begin)
        return bytes(data)


class Interleaved(unittest.TestCase):
    def check_open_tasks(self, data, image, last):
        """That every task that shows as open was, with the arguments that it had, unless it has a record too."""
        count = 0
        for _, _, _, payload, _ in image.spans:
            thread, sequence, check = struct.unpack_from("<3Q", data, -payload >> 10)
            self.assertEqual((thread, check), (0, outside.checksum(thread, sequence)), "altered arguments")
            count += 1 if sequence > last else 0
        self.assertLessEqual(count, 1, "only one is open at a time")
        return count

    def check_open_regions(self, data, image, last):
        """That every region that shows as open was, with the arguments that it had."""
        count = 0
        for slot in image.slots.values():
            for _, id, payload in image.open_regions(slot):
                at = payload >> 10
                thread, sequence, check = struct.unpack_from("<3Q", data, at)
                self.assertEqual((thread, check), (0, outside.checksum(thread, sequence)), "altered arguments")
                values, fields = image.bindings[id].read(data[at:at + 8 * (payload & 1023)])
                self.assertEqual(values[1], sequence)
                for key, (_, value) in fields.items():
                    self.assertEqual((key, value), (b"extra", outside.checksum(outside.WRITERS, sequence)))
                count += 1 if sequence > last else 0
        return count

    def test_an_open_region_has_its_own_arguments_whatever_happens_while_it_is_copied(self):
        shown = with_fields = 0
        with target.running("steps") as process:
            observed = Stepping(process, 1)
            with contextlib.closing(observed):
                taken = snapshot.Snapshot(observed, snapshot.find_image(observed, []), 0)
                observed.counts, observed.chance = (0, 0, 1), 0.3
                for _ in range(100_000 if LONG else 3_000):
                    slot, = taken.copy_slots()
                    at = snapshot.FRAMES_OFFSET
                    if struct.unpack_from("<Q", slot, at + snapshot.FRAME_START)[0] == 0:
                        continue
                    shown += 1
                    at += snapshot.FRAME_PAYLOAD
                    thread, sequence, check, field = struct.unpack_from("<4Q", slot, at)
                    self.assertEqual((thread, check), (0, outside.checksum(thread, sequence)))
                    if field:
                        with_fields += 1
                        key, value = struct.unpack_from("<5sQ", slot, at + 32)
                        self.assertEqual((key, value), (b"extra", outside.checksum(outside.WRITERS, sequence)))
        self.assertGreater(min(shown, with_fields), 100)

    def test_an_open_task_has_its_own_arguments_whatever_happens_while_it_is_copied(self):
        shown = 0
        with target.running("steps") as process:
            observed = Stepping(process, 1)
            with contextlib.closing(observed):
                taken = snapshot.Snapshot(observed, snapshot.find_image(observed, []), 0)
                observed.counts, observed.chance, observed.cuts_spans = (70,), 0.03, True
                for _ in range(10_000 if LONG else 500):
                    for span in taken.copy_spans():
                        shown += 1
                        thread, sequence, check = struct.unpack_from("<3Q", span, contrail.SPAN_PAYLOAD_OFFSET)
                        self.assertEqual((thread, check), (0, outside.checksum(thread, sequence)))
        self.assertGreater(shown, 10)

    def test_a_dump_is_right_whatever_happens_between_any_two_reads(self):
        records = torn = late = still_open = tasks = 0
        for seed in range(1000 if LONG else 80):
            with target.running("steps") as process:
                observed = Stepping(process, seed)
                for _ in range((0, 0, 5, 1000)[seed // 4 % 4]):
                    observed.step()
                with contextlib.closing(observed):
                    taken = snapshot.Snapshot(observed, snapshot.find_image(observed, []), 0)
                    out = io.BytesIO()
                    taken.write(out)
            data = out.getvalue()
            with self.subTest(seed=seed):
                self.assertEqual(taken.bad_bindings, 0)
                image, found, count = numbered_records(data)
                last = found.get(0, (0, -1))[1]
                still_open += self.check_open_regions(data, image, last)
                tasks += self.check_open_tasks(data, image, last)
                records, torn = records + count, torn + image.torn
                late += len(data) - 64 - image.sb.late_bindings_offset > 0
        came_up = dict(records=records, torn=torn, late=late, still_open=still_open, tasks=tasks)
        self.assertTrue(all(count > 3 for count in came_up.values()), came_up)


class Services(unittest.TestCase):
    def test_beside_a_session_and_a_trigger_open_tasks_are_in_it(self):
        with tempfile.TemporaryDirectory() as folder:
            with target.running("services", os.path.join(folder, "stream.contrail")) as process:
                code, data, err = take(process.pid)
        self.assertEqual((code, err), (0, ""))
        trace = convert(data)
        self.assertEqual((trace.err, trace.metadata["warnings"]), ("", []))
        spans = {e["name"]: e for e in trace.of("b")}
        self.assertEqual({name for name, e in spans.items() if e["args"].get("unfinished")}, {"order", "part of it", "request"})
        self.assertIn("ended", spans)
        self.assertEqual(spans["order"]["args"]["number"], 7)
        self.assertEqual(spans["request"]["args"]["url"], "/a")
        for child in ("part of it", "request", "ended"):
            self.assertEqual(spans[child]["args"]["parent"], "order " + spans["order"]["id"])
        self.assertEqual(spans["part of it"]["args"]["trace id"], spans["order"]["args"]["trace id"])
        waits = trace.one("X", "waits")["args"]
        self.assertEqual(waits, {"task": "part of it " + spans["part of it"]["id"], "unfinished": True})


class Hung(unittest.TestCase):
    def test_a_deadlock_shows_what_each_thread_waits_for(self):
        with target.running("deadlock") as process:
            code, data, err = take(process.pid)
        self.assertEqual((code, err), (0, ""))
        trace = convert(data)
        names = {e["tid"]: e["args"]["name"] for e in trace.of("M", "thread_name")}
        waiting = {names[e["tid"]]: e["args"] for e in trace.of("X", "wait for a lock")}
        self.assertEqual(waiting, {
            "named by the macro": {"wanted": "b", "turn": 7, "unfinished": True},
            "named later": {"wanted": "a", "turn": 7, "unfinished": True}})

    def test_how_long_a_region_is_open_is_exact_however_long_nothing_was_recorded(self):
        with target.running("deadlock") as process:
            _, first, _ = take(process.pid)
            _, second, _ = take(process.pid)
        length = [max(end - start for name, start, end, _ in convert(data).slices() if name == "wait for a lock")
                  for data in (first, second)]
        moments = [contrail.Image(data).sb.dump[1] for data in (first, second)]
        self.assertAlmostEqual(length[1] - length[0], moments[1] - moments[0], delta=100_000)

    def test_it_can_work_the_time_out_where_the_counter_cannot_be_read(self):
        with target.writing() as (process, _):
            wait_until_stopped(process.pid)
            _, exact, _ = take(process.pid)
            program = ("import sys, runpy, platform; platform.machine = lambda: 'other'; sys.argv = sys.argv[1:];"
                       "runpy.run_path(sys.argv[0], run_name='__main__')")
            code, data, err = take(process.pid, command=(sys.executable, "-c", program))
        if contrail.Image(exact).sb.source == snapshot.MONOTONIC:
            self.skipTest("this machine's counter is not trusted")
        self.assertEqual(code, 1)
        self.assertIn("counter could not be read", err)
        self.assertEqual(contrail.Image(data).clock.notes, [])
        numbered_records(data)
        distance = contrail.Image(data).sb.dump[0] - contrail.Image(exact).sb.dump[0]
        self.assertLess(0, distance)
        self.assertLess(distance / contrail.Image(exact).clock.hz, 60)


class Processes(unittest.TestCase):
    def refused(self, pid, **more):
        code, data, err = take(pid, **more)
        self.assertEqual((code, data), (2, b""))
        self.assertEqual(err.count("\n"), 1, err)
        return err

    def test_no_such_process(self):
        child = subprocess.Popen(["true"])
        child.wait()
        self.assertIn(f"there is no process {child.pid}", self.refused(child.pid))
        self.assertIn("there is no process -1", self.refused(-1))

    def test_a_zombie(self):
        child = subprocess.Popen([target.path, "none"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertIn("zombie", self.refused(child.pid))
        child.wait()

    def test_no_recorder(self):
        with target.running("none") as process:
            self.assertIn("no contrail recorder, or has not called start", self.refused(process.pid))

    def test_a_child_that_only_inherited_the_memory(self):
        with target.running("forked") as process:
            err = self.refused(int(process.said[0]))
            self.assertIn(f"inherited the memory of process {process.pid}", err)
            self.assertEqual(take(process.pid)[0], 0)

    def test_a_thread_id_means_its_process(self):
        with target.running("deadlock") as process:
            tid = max(map(int, os.listdir(f"/proc/{process.pid}/task")))
            code, data, _ = take(tid)
        self.assertEqual(code, 0)
        self.assertEqual(contrail.Image(data).sb.pid, process.pid)

    def test_a_process_in_a_container(self):
        inside = ("unshare", "--pid", "--fork", "--mount-proc")
        if os.geteuid() != 0 or subprocess.run([*inside, "true"], capture_output=True).returncode:
            self.skipTest("this process may not make a process namespace")
        with target.running("deadlock", command=inside) as process:
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as file:
                pid = int(file.read())
            code, data, err = take(pid)
            os.kill(pid, signal.SIGKILL)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(contrail.Image(data).sb.pid, 1)
        names = {e["args"]["name"] for e in convert(data).of("M", "thread_name")}
        self.assertEqual(names, {"named by the macro", "named later"})

    def test_of_several_recordings_the_last_is_taken(self):
        with target.running("restart") as process:
            code, data, err = take(process.pid)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual([e["args"] for e in convert(data).of("i", "mark")], [{"megabytes": 2}])

    def test_a_recorder_in_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            with target.running("file", os.path.join(folder, "box.contrail")) as process:
                if process.poll() == 77:
                    self.skipTest("this version has no recorder in a file")
                code, data, err = take(process.pid)
            self.assertEqual((code, err), (0, ""))
        trace = convert(data)
        self.assertEqual(trace.one("X", "still open")["args"], {"number": 42, "unfinished": True})
        self.assertEqual(len(trace.of("i")) + len(trace.of("X", "numbered region")), 1000)

    def test_another_users_process_is_refused(self):
        if os.geteuid() != 0 or not shutil.which("setpriv"):
            self.skipTest("only root can become another user, by setpriv")
        python = next((p for p in ("/usr/bin/python3", sys.executable) if os.path.exists(p)), None)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            tool = shutil.copy(TOOL, folder)
            os.chmod(tool, 0o644)
            if subprocess.run([*nobody, python, "-c", f"open({tool!r})"], capture_output=True).returncode:
                self.skipTest("no Python that other users may run")
            with target.running("none") as process:
                result = subprocess.run([*nobody, python, tool, "--pid", str(process.pid), "-o", "-"],
                                        capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("it belongs to user root; run this as that user, or as root", result.stderr)

    def test_one_that_ends_meanwhile(self):
        with target.writing() as (process, _):
            wait_until_stopped(process.pid)
            observed = snapshot.Process(process.pid)
            self.addCleanup(observed.close)
            image = snapshot.find_image(observed, [])
            taken = snapshot.Snapshot(observed, image, 0)
            process.kill()
            process.wait()
            with tempfile.TemporaryDirectory() as folder:
                with self.assertRaisesRegex(snapshot.Refused, "ended before the dump was complete"):
                    snapshot.write_file(os.path.join(folder, "out.contrail"), taken)
                self.assertEqual(os.listdir(folder), [])


class Output(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "out.contrail")

    def take(self, path):
        with target.running("deadlock") as process:
            return subprocess.run([sys.executable, TOOL, "--pid", str(process.pid), "-o", path], capture_output=True,
                                  text=True)

    def test_the_file_is_private_and_nothing_else_is_left(self):
        result = self.take(self.path)
        self.assertEqual((result.returncode, result.stdout), (0, self.path + "\n"))
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(os.listdir(self.folder), ["out.contrail"])

    def test_a_symbolic_link_is_replaced_not_followed(self):
        victim = os.path.join(self.folder, "victim")
        with open(victim, "w") as file:
            file.write("precious")
        os.symlink(victim, self.path)
        self.assertEqual(self.take(self.path).returncode, 0)
        self.assertFalse(os.path.islink(self.path))
        with open(victim) as file:
            self.assertEqual(file.read(), "precious")

    def test_a_full_disk_leaves_what_was_there(self):
        self.assertEqual(self.take(self.path).returncode, 0)
        with open(self.path, "rb") as file:
            old = file.read()
        limited = ("import resource, signal, sys, runpy; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
                   "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); sys.argv = sys.argv[1:];"
                   "runpy.run_path(sys.argv[0], run_name='__main__')")
        with target.running("deadlock") as process:
            result = subprocess.run([sys.executable, "-c", limited, TOOL, "--pid", str(process.pid), "-o", self.path],
                                    capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("cannot be written: File too large", result.stderr)
        with open(self.path, "rb") as file:
            self.assertEqual(file.read(), old)
        self.assertEqual(os.listdir(self.folder), ["out.contrail"])

    def test_a_pipe_or_folder_is_not_replaced(self):
        os.mkfifo(self.path)
        for path in (self.path, self.folder):
            result = self.take(path)
            self.assertEqual(result.returncode, 2)
            self.assertIn("is no file; use -o -", result.stderr)

    def test_a_missing_folder_is_one_sentence(self):
        result = self.take(os.path.join(self.folder, "none", "out"))
        self.assertEqual(result.returncode, 2)
        self.assertIn("No such file or directory", result.stderr)


if __name__ == "__main__":
    unittest.main()
