# SPDX-License-Identifier: MIT
"""tools/contrail_snapshot.py when the n-th of its system calls fails: for every n until it makes fewer, once, and with
all later ones of its kind, and with all later ones; also when calls do half of what they are asked for.

Whatever fails, there is a good dump, or one sentence that says what failed; an older file stays whole until then, and
nothing else is left. The tool runs in this process, with its `os` and `open` replaced.
"""
import contextlib
import ctypes
import errno
import io
import os
import shutil
import stat
import tempfile
import unittest
from unittest import mock

import outside
from outside import numbered_records, snapshot
from support import contrail

LONG = os.environ.get("CONTRAIL_TEST_LENGTH") == "long"
HALF = "half"  # in place of an errno
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EMFILE)
ALL_ERRORS = (*ERRORS, errno.EINTR, HALF)
ONCE, ITS_KIND, ALL = "once", "all of its kind", "all"
EACH_OF_THEM = {how: ALL_ERRORS for how in (ONCE, ITS_KIND, ALL)}
ONE_IN_TURN = None
OLDER = b"an older file"
LIBRARY = ctypes.CDLL
target = outside.Target()


def setUpModule():
    target.build()


def tearDownModule():
    target.remove()


class System:
    """In place of the module os. It knows each system call that the tool may make; another is an AttributeError."""

    CALLS = {"open", "read", "pread", "write", "close", "lstat", "replace", "unlink", "listdir", "memfd_create", "dup2"}
    NO_CALLS = {"getpid", "geteuid", "sysconf", "devnull"} | {name for name in dir(os) if name.isupper()}
    AGAIN = {"open", "read", "pread", "write"}  # Python repeats these after EINTR
    IN_PIECES = {"read", "pread", "write"}

    def __init__(self, number=0, error=None, how=ONCE):
        self.number, self.error, self.how = number, error, how
        self.calls, self.failed, self.paths = [], [], {}

    def __getattr__(self, name):
        if name in self.NO_CALLS:
            return getattr(os, name)
        if name not in self.CALLS:
            raise AttributeError(f"{name} is not a system call that this test knows")
        return lambda *arguments, **more: self.call(name, getattr(os, name), arguments, more)

    @staticmethod
    def can_fail(name, error):
        return not (error == HALF and name not in System.IN_PIECES or error == errno.EINTR and name in System.AGAIN)

    def call(self, name, function, arguments, more={}):
        self.calls.append(name)
        is_later = bool(self.failed) and (self.how == ALL or self.how == ITS_KIND and name == self.failed[0][0])
        fails = (len(self.calls) == self.number or is_later) and self.can_fail(name, self.error)
        on = self.paths.get(arguments[0], arguments[0]) if arguments else ""
        if fails:
            self.failed.append((name, on))
            if name == "close":
                function(*arguments, **more)  # such a close has closed
            if self.error != HALF:
                raise OSError(self.error, os.strerror(self.error))
            if name == "write":
                arguments = arguments[0], arguments[1][:(len(arguments[1]) + 1) // 2]
            else:  # in whole words, as /proc/PID/pagemap insists on
                arguments = arguments[0], min(arguments[1], (arguments[1] + 15) // 16 * 8), *arguments[2:]
        result = function(*arguments, **more)
        if name in ("open", "memfd_create"):
            self.paths[result] = on
        return result

    def open_file(self, path, mode="r", encoding=None, errors=None):
        """In place of the built-in open, to read."""
        file = io.BufferedReader(File(self, self.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        return file if "b" in mode else io.TextIOWrapper(file, encoding, errors)

    def fdopen(self, fd, mode, buffering):
        return io.BufferedWriter(File(self, fd), buffering)

    def library(self, *_, **more):
        """In place of ctypes.CDLL: its mmap fails too."""
        real = LIBRARY(None, **more).mmap

        class Library:
            class mmap:
                def __new__(cls, *arguments):
                    real.restype, real.argtypes = cls.restype, cls.argtypes
                    try:
                        return self.call("mmap", real, arguments)
                    except OSError:
                        return ctypes.c_void_p(-1).value
        return Library


class File(io.RawIOBase):
    def __init__(self, system, fd):
        self.system, self.fd = system, fd

    def readable(self):
        return True

    def writable(self):
        return True

    def fileno(self):
        return self.fd

    def readinto(self, buffer):
        piece = self.system.read(self.fd, len(buffer))
        buffer[:len(piece)] = piece
        return len(piece)

    def write(self, piece):
        return self.system.write(self.fd, piece)

    def close(self):
        if not self.closed:
            super().close()
            self.system.close(self.fd)


class Faults(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = os.path.join(self.folder, "out.contrail")
        process = target.running("steps")
        self.process = process.__enter__()
        self.addCleanup(process.__exit__, None, None, None)
        for _ in range(3):
            self.step()
        code, err, _ = self.run_tool(System(), self.path)
        self.assertEqual((code, err), (0, ""))
        self.reference = self.content()
        self.assertEqual(numbered_records(self.reference)[2], 3 * 201)  # a region, a task, and 199 others

    def step(self, count=200):
        """The process is told to go on, and does."""
        self.process.stdin.buffer.raw.write(bytes([count]))
        self.assertTrue(os.read(self.process.stdout.fileno(), 1))

    def content(self):
        with open(self.path, "rb") as file:
            return file.read()

    def run_tool(self, system, path):
        """Exit code, complaints, and what standard output got."""
        out, err = os.memfd_create("out"), io.StringIO()
        to_read = os.dup(out)
        system.paths[out] = "standard output"
        stdout = io.TextIOWrapper(io.BufferedWriter(File(system, out)), "utf-8")
        descriptors = len(os.listdir("/proc/self/fd"))
        fakes = dict(os=system, open=system.open_file)
        with mock.patch.multiple(snapshot, create=True, **fakes), contextlib.redirect_stderr(err), \
                mock.patch.object(snapshot.ctypes, "CDLL", system.library), contextlib.redirect_stdout(stdout):
            code = snapshot.main(["--pid", str(self.process.pid), "-o", path])
        self.assertEqual(len(os.listdir("/proc/self/fd")), descriptors, "descriptors are left open")
        said = os.pread(to_read, 1 << 24, 0)
        os.close(to_read)
        with contextlib.suppress(OSError):
            stdout.close()
        return code, err.getvalue(), said

    def check_dump(self, data, code, err):
        image = contrail.Image(data)
        self.assertEqual(image.warnings, [])
        for part in ("bindings_offset", "chunks_offset", "late_bindings_offset"):
            self.assertEqual(getattr(image.sb, part), getattr(contrail.Image(self.reference).sb, part))
        begin, at = image.sb.bindings_offset, image.sb.slots_offset + snapshot.FRAMES_OFFSET
        self.assertEqual(data[begin:-64], self.reference[begin:-64])
        self.assertEqual(data[at:begin], self.reference[at:begin])
        if code == 0:
            self.assertEqual([s.name for s in image.slots.values()],
                             [s.name for s in contrail.Image(self.reference).slots.values()])
        for line in err.splitlines():
            self.assertRegex(line, r"contrail_snapshot.py: (note|warning): .*\.$")
        self.assertEqual(code, 1 if "warning" in err else 0)

    def check_refusal(self, system, err, unlinked=True):
        self.assertRegex(err, r"\Acontrail_snapshot.py: .*\.\n\Z")
        self.assertNotIn("please report", err)
        # The sentence is about what failed first and mattered, the process or the file.
        is_about_file = [not str(on).startswith("/proc") for _, on in system.failed]
        if all(is_about_file):
            self.assertIn(f"cannot be written: {os.strerror(system.error)}", err)
        elif not any(is_about_file):
            self.assertNotIn("written", err)
            self.assertIn(str(self.process.pid), err)

    def fail_each(self, check, plan):
        runs = 0
        for how, errors in plan.items():
            number, calls = 1, 1
            while number <= calls:
                for error in errors or [ERRORS[number % len(ERRORS)]]:
                    system = System(number, error, how)
                    with self.subTest(number=number, error=error, how=how, failed=system.failed):
                        check(system, runs)
                    runs += bool(system.failed)
                    calls = len(system.calls)
                number += 1
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            self.assertEqual(file.read().split()[2], "S", "the process was stopped")
        self.step()
        self.assertGreater(runs, 300)

    def test_a_file_is_there_with_a_good_dump_or_as_it_was(self):
        def check(system, turn):
            older = turn % 2 == 0
            if older:
                with open(self.path, "wb") as file:
                    file.write(OLDER)
            elif os.path.exists(self.path):
                os.unlink(self.path)
            code, err, said = self.run_tool(system, self.path)
            left = set(os.listdir(self.folder)) - {"out.contrail"}
            if "unlink" not in [name for name, _ in system.failed]:
                self.assertEqual(left, set())
            for name in left:
                os.unlink(os.path.join(self.folder, name))
            if code == 2:
                self.check_refusal(system, err)
                self.assertEqual(os.path.exists(self.path), older)
                self.assertEqual(said, b"")
                if older:
                    self.assertEqual(self.content(), OLDER)
            else:
                self.check_dump(self.content(), code, err)
                self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
                if "its name" not in err:
                    self.assertEqual(said.decode(), self.path + "\n")
            if system.error == HALF or not system.failed:
                self.assertEqual((code, err), (0, ""))

        some = {ONCE: ALL_ERRORS, ITS_KIND: ONE_IN_TURN, ALL: ONE_IN_TURN}
        self.fail_each(check, EACH_OF_THEM if LONG else some)

    def test_a_pipe_gets_a_good_dump_or_there_is_an_error(self):
        def check(system, _):
            code, err, said = self.run_tool(system, "-")
            if code == 2:
                self.check_refusal(system, err)
                if not any(on == "standard output" for _, on in system.failed):
                    self.assertEqual(said, b"")
            else:
                self.check_dump(said, code, err)
            self.assertEqual(os.listdir(self.folder), ["out.contrail"])
            if system.error == HALF or not system.failed:
                self.assertEqual((code, err), (0, ""))

        some = {ONCE: ONE_IN_TURN, ITS_KIND: ONE_IN_TURN, ALL: (errno.EIO, HALF)}
        self.fail_each(check, EACH_OF_THEM if LONG else some)


if __name__ == "__main__":
    unittest.main()
