# SPDX-License-Identifier: MIT
"""What the tests that look at a process from outside share: the process, and the oracle for its numbered records."""
import contextlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from collections import defaultdict

from support import ROOT, contrail

TOOL = os.environ.get("CONTRAIL_SNAPSHOT_PY") or os.path.join(ROOT, "tools", "contrail_snapshot.py")
spec = importlib.util.spec_from_file_location("contrail_snapshot", TOOL)
snapshot = importlib.util.module_from_spec(spec)
sys.modules["contrail_snapshot"] = snapshot
spec.loader.exec_module(snapshot)

WRITERS = 4


class Target:
    """The program of tests/outside, compiled once a test module."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="contrail-outside-")
        self.path = os.path.join(self.folder, "target")

    def build(self):
        compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
        if not compiler or not sys.platform.startswith("linux"):
            raise unittest.SkipTest("no C++ compiler, or no Linux")
        source = os.path.join(ROOT, "tests", "outside", "target.cpp")
        built = subprocess.run([compiler, "-std=c++20", "-O2", "-g", "-pthread", "-I", os.path.join(ROOT, "include"),
                                source, "-o", self.path], capture_output=True, text=True)
        if built.returncode:
            raise AssertionError(built.stderr)

    def remove(self):
        shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def running(self, *arguments, command=(), **more):
        """The process, ready; it is ended afterwards, whatever state a test left it in."""
        process = subprocess.Popen([*command, self.path, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                   **more)
        try:
            process.said = []
            for line in process.stdout:
                if line == "ready\n":
                    break
                process.said.append(line.strip())
            else:
                process.wait()  # it ended instead
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextlib.contextmanager
    def writing(self):
        """The process with four threads that write, and a function that tells how far they have come."""
        progress = os.path.join(self.folder, "progress")
        with open(progress, "wb") as file:
            file.write(bytes(4096))

        def written():
            with open(progress, "rb") as file:
                return struct.unpack(f"<{WRITERS}Q", file.read(8 * WRITERS))

        with self.running("numbered", progress) as process:
            yield process, written


def take(pid, *arguments, command=(sys.executable,)):
    """Runs the tool with its output to a pipe: exit code, dump, complaints."""
    result = subprocess.run([*command, TOOL, "--pid", str(pid), "-o", "-", *arguments], capture_output=True)
    return result.returncode, result.stdout, result.stderr.decode()


def checksum(thread, sequence):
    x = (thread << 56 ^ sequence) * 0x9E3779B97F4A7C15 % 2**64
    return x ^ x >> 29


def numbered_records(data, stopped=False):
    """By thread, the first and the last of its numbered records, after all of them were checked; and their count.

    A record's sequence number is its number in its lane, of which every chunk states the first. So each is told to be
    in its place: one that is altered, there twice, out of order, or lost without being counted, would not be. Of a
    stopped process nothing may be missing after what the image says was overwritten. (Before that there may be holes: a
    chunk that was open, or floored, for a whole round of the pool outlives younger ones.)
    """
    image = contrail.Image(data)
    assert not image.warnings, image.warnings
    chunks = defaultdict(list)
    count = 0
    for chunk in image.chunks:
        records = contrail.Records()
        assert image.decode(chunk, records, image.latest), "a damaged chunk"
        expected = chunk.records_before
        assert all(r[2] in image.bindings for rows in records.all for r in rows), "a record without a binding"
        for payload in sorted(r[3] for rows in records.all for r in rows):
            thread, sequence, check = struct.unpack_from("<3Q", data, payload >> 10)
            assert thread < WRITERS and check == checksum(thread, sequence), "a record was altered"
            assert sequence == expected, f"record {sequence} stands where {expected} belongs"
            expected += 1
        count += expected - chunk.records_before
        if expected > chunk.records_before:
            chunks[thread].append((chunk.writer, chunk.tid_lane, chunk.records_before, expected, chunk.sealed_ticks))
    found = {}
    for thread, spans in chunks.items():
        assert len({span[:2] for span in spans}) == 1, "one thread in two lanes"
        for before, after in zip(spans, spans[1:]):
            assert before[3] <= after[2], "two chunks with the same records"
            if stopped and before[3] != after[2]:
                assert 0 < before[4] <= image.sb.overwritten_ticks, "a hole after what was overwritten"
        found[thread] = spans[0][2], spans[-1][3] - 1
    return image, found, count
