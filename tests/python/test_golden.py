# SPDX-License-Identifier: MIT
"""Dumps of earlier versions read today as they did then: tests/golden/README.md."""
import glob
import os
import unittest

from support import ROOT, run
import trace_rules

GOLDEN = os.path.join(ROOT, "tests", "golden")
LARGEST_BYTES = 70 * 1024
DUMPS = sorted(glob.glob(os.path.join(GOLDEN, "*.contrail")))


class Golden(unittest.TestCase):
    maxDiff = 4000

    def each(self):
        for path in DUMPS:
            with self.subTest(os.path.basename(path)):
                yield path

    def test_there_are_dumps_of_the_first_version(self):
        names = {os.path.basename(path) for path in DUMPS}
        self.assertLessEqual({"v1-everything.contrail", "v1-unfinished.contrail", "v1-window.contrail",
                              "v1-losses.contrail"}, names)

    def test_each_dump_converts_to_the_json_beside_it(self):
        for path in self.each():
            result = run("convert", path, "-o", "-")
            self.assertEqual((result.code, result.err), (0, ""))
            with open(path[:-len("contrail")] + "json", "rb") as file:
                expected = file.read()
            self.assertEqual(trace_rules.check(expected), [])
            # Line by line first: one event is easier to look at than all.
            self.assertEqual(result.out.decode().split("\n"), expected.decode().split("\n"))
            self.assertEqual(result.out, expected)

    def test_each_dump_has_its_information_types_and_table(self):
        for path in self.each():
            for command in ("info", "registry", "table"):
                result = run(command, path)
                self.assertEqual((command, result.code, result.err), (command, 0, ""))
                self.assertTrue(result.out)

    def test_the_lines_that_the_page_of_the_text_shows_are_those_of_a_stream(self):
        with open(os.path.join(ROOT, "docs", "text.md"), encoding="utf-8") as file:
            shown = file.read().split("```text\n")[1].split("```")[0].splitlines()
        lines = iter(run("text", os.path.join(GOLDEN, "v1.2-open.contrail")).out.decode().splitlines())
        self.assertEqual([line for line in shown if line not in lines], [], "`in` goes on in the text: these are out of order")
        self.assertGreater(len(shown), 10)

    def test_dumps_stay_small(self):
        for path in self.each():
            self.assertLessEqual(os.path.getsize(path), LARGEST_BYTES)


if __name__ == "__main__":
    unittest.main()
