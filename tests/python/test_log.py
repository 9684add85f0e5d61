# SPDX-License-Identifier: MIT
"""The text of a TRACE_LOG equals what fmt::format gives, over a table that fmt itself makes."""
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

from support import HERE, contrail

INTEGERS = {contrail.INT8, contrail.INT16, contrail.INT32, contrail.INT64, contrail.INT128}


def value_of(kind, raw):
    if kind == contrail.STRING:
        return raw.decode()
    if kind in (contrail.FLOAT32, contrail.FLOAT64):
        return struct.unpack("<" + contrail.TYPES[kind][1], raw)[0]
    return int.from_bytes(raw, "little", signed=kind in INTEGERS)


class FmtTable(unittest.TestCase):
    def test_every_row_of_the_table_reads_as_fmt_formats_it(self):
        compiler = shutil.which("g++") or shutil.which("clang++")
        if not compiler:
            self.skipTest("no C++ compiler")
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "fmt_table")
            built = subprocess.run([compiler, "-std=c++20", "-O0", os.path.join(HERE, "fmt_table.cpp"), "-o", program,
                                    "-lfmt"], capture_output=True, text=True)
            if built.returncode and "fmt/" in built.stderr:
                self.skipTest("fmt is not installed (Debian: libfmt-dev)")
            self.assertEqual(built.returncode, 0, built.stderr)
            rows = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertGreater(len(rows), 10000)
        wrong = []
        for row in rows:
            source, *arguments, expected = row.split("\t")
            source = bytes.fromhex(source).decode()
            try:
                expected = bytes.fromhex(expected).decode()
            except UnicodeDecodeError:  # fmt 9 writes half a character for a wide fill together with "0"
                continue
            kinds = [int(a.partition(":")[0]) for a in arguments]
            values = [value_of(k, bytes.fromhex(a.partition(":")[2])) for k, a in zip(kinds, arguments)]
            shown = contrail.format_log(source, kinds, values)
            if shown != expected:
                wrong.append(f"{source!r} of {values} (types {kinds}) is {shown!r} and should be {expected!r}")
        self.assertEqual(wrong[:20], [], f"{len(wrong)} of {len(rows)} rows differ")


class BeyondFmt(unittest.TestCase):
    """What fmt has no text for without more headers, or what contrail does not keep."""

    def text(self, source, kinds, *values):
        return contrail.format_log(source, kinds, values)

    def test_durations_are_nanoseconds(self):
        self.assertEqual(self.text("{}|{:>8}", [contrail.DURATION] * 2, 1500, -2), "1500ns|    -2ns")

    def test_enumerations_are_their_names(self):
        self.assertEqual(self.text("{} {:>6}", [contrail.UINT8] * 2, "red", "blue"), "red   blue")

    def test_arrays_read_as_fmt_ranges_writes_them(self):
        self.assertEqual(self.text("{} {}", [contrail.INT32, contrail.STRING], [1, -2], ["a", 'b"']),
                         '[1, -2] ["a", "b\\""]')


if __name__ == "__main__":
    unittest.main()
