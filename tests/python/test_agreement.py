# SPDX-License-Identifier: MIT
"""contrail.py and contrail/reader.hpp make the same text of every input: docs/text.md.

Golden dumps, small images with one of everything, the fuzzer's corpus, and mutations of them. Each mutation is a line of
a plan; tests/fuzz/mutants.cpp applies it and prints the exit code and a checksum of the text, and so does this file.
CONTRAIL_TEST_LENGTH=long tries every bit and every truncation of all that has at most 64 KiB; otherwise a sample."""
import contextlib
import glob
import importlib.util
import io
import os
import random
import shutil
import subprocess
import tempfile
import unittest
import zlib

from support import ROOT, contrail
from test_hostile import small_image

LONG = os.environ.get("CONTRAIL_TEST_LENGTH") == "long"
LARGEST_BYTES = 64 * 1024
ONE_OF_EACH_KIND = ("small-dump", "small-live", "v1.2-stream")  # a superblock is read alike in all dumps of a kind
FUZZ = os.path.join(ROOT, "tests", "fuzz")


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_corpus = load(os.path.join(FUZZ, "make_corpus.py"))


def text_of(data):
    """The exit code and the text, as `contrail.py text` gives them."""
    try:
        image = contrail.Image(data)
    except contrail.Unusable:
        return 2, ""
    shown = "".join(contrail.TextWriter(contrail.Trace(image)).lines())
    return (1 if image.warnings else 0), shown


def answer(data):
    code, shown = text_of(data)
    return f"{code} {zlib.crc32(shown.encode('ascii')):08x}"


def mutate(data, edits):
    """The same as change() in mutants.cpp."""
    data = bytearray(data)
    for edit in edits:
        at, _, value = edit[1:].partition("=")
        at = int(at)
        if edit[0] == "f":
            data[at // 8] ^= 1 << at % 8
        elif edit[0] == "b":
            data[at] = int(value)
        elif edit[0] == "w":
            data[at:at + 8] = int(value).to_bytes(8, "little")
        elif edit[0] == "c":
            del data[at:]
    return bytes(data)


def program(name, *sources):
    """The one that CMake built, or one made now."""
    built = os.environ.get("CONTRAIL_" + name.upper())
    if built and os.path.exists(built):
        return built
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise unittest.SkipTest("no C++ compiler")
    made = os.path.join(FOLDER.name, name)
    if not os.path.exists(made):
        command = [compiler, "-std=c++20", "-O2", "-I", os.path.join(ROOT, "include"), "-I",
                   os.path.join(ROOT, "tools", "text"), *(os.path.join(ROOT, s) for s in sources), "-o", made]
        subprocess.run(command, check=True)
    return made


def setUpModule():
    global FOLDER, DUMPS
    FOLDER = tempfile.TemporaryDirectory()
    DUMPS = make_corpus.seeds()


def tearDownModule():
    FOLDER.cleanup()


class Agreement(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(11)
        self.names = sorted(DUMPS)
        self.paths = []
        for name in self.names:
            self.paths.append(os.path.join(FOLDER.name, name))
            with open(self.paths[-1], "wb") as file:
                file.write(DUMPS[name])

    def agree(self, plan):
        """`plan` holds (number of the dump, edit, edit...)."""
        mutants = program("mutants", "tests/fuzz/mutants.cpp")
        with tempfile.TemporaryFile() as lines:
            lines.write("".join(" ".join(map(str, row)) + "\n" for row in plan).encode())
            lines.seek(0)
            cxx = subprocess.Popen([mutants, *self.paths], stdin=lines, stdout=subprocess.PIPE, text=True)
            with contextlib.closing(cxx.stdout):
                count = 0
                for row, theirs in zip(plan, cxx.stdout):
                    data = mutate(DUMPS[self.names[row[0]]], row[1:])
                    if answer(data) != theirs.strip():
                        cxx.kill()
                        cxx.wait()
                        self.fail(self.difference(row, data))
                    count += 1
            self.assertEqual(cxx.wait(), 0, f"after {count} inputs, at {plan[count:count + 1]}")
            self.assertEqual(count, len(plan))

    def difference(self, row, data):
        """The first line in which the two texts differ."""
        path = os.path.join(FOLDER.name, "differs")
        with open(path, "wb") as file:
            file.write(data)
        tool = subprocess.run([program("text", "tools/text/contrail_text.cpp"), path], capture_output=True)
        code, ours = text_of(data)
        where = f"{self.names[row[0]]}, {' '.join(row[1:])}: "
        if code != tool.returncode:
            return where + f"Python gives {code}, C++ {tool.returncode}: {tool.stderr.decode()}"
        for mine, theirs in zip(ours.split("\n"), tool.stdout.decode().split("\n")):
            if mine != theirs:
                return where + f"\nPython: {mine}\nC++:    {theirs}"
        return where + "one has more lines"

    def each(self):
        return [(i, DUMPS[name]) for i, name in enumerate(self.names) if not LONG or len(DUMPS[name]) <= LARGEST_BYTES]

    def busy(self, data):
        """The bytes that are not within long runs of zeros."""
        return [b for at in range(0, len(data), 64) if any(data[at:at + 64]) for b in range(at, min(at + 64, len(data)))]

    def test_on_every_truncation(self):
        self.agree([(i, f"c{size}") for i, data in self.each() for size in range(0, len(data) + 1, 1 if LONG else 64)])

    def test_on_every_flipped_bit(self):
        plan = []
        for i, data in self.each():
            if LONG:
                bits = range(8 * len(data))
            else:
                header = range(8 * 256) if self.names[i] in ONE_OF_EACH_KIND else ()
                bits = sorted({*header, *self.random.sample([8 * b + k for b in self.busy(data) for k in range(8)], 1000)})
            plan += [(i, f"f{bit}") for bit in bits]
        self.agree(plan)

    def test_on_words_replaced_by_extremes(self):
        extremes = (0, 1, 2**63 - 1, 2**63, 2**64 - 1, 0xFFFF, 0x7FFFFFFF00000001)
        plan = []
        for i, data in self.each():
            words = sorted({b & ~7 for b in self.busy(data) if b & ~7 <= len(data) - 8})
            chosen = words if LONG else self.random.sample(words, 100)
            plan += [(i, f"w{at}={value}") for at in chosen for value in extremes]
        self.agree(plan)

    def test_on_random_mutations(self):
        plan = []
        for i, data in self.each():
            busy = self.busy(data)
            for _ in range(20_000 if LONG else 700):
                edits = []
                for _ in range(self.random.choice((2, 3, 5, 20))):
                    at = self.random.choice(busy)
                    kind = self.random.randrange(4)
                    if kind == 0:
                        edits.append(f"f{8 * at + self.random.randrange(8)}")
                    elif kind == 1:
                        edits.append(f"b{at}={self.random.randrange(256)}")
                    else:  # a word, sometimes one that stands elsewhere in the same dump
                        at = min(at & ~7, len(data) - 8)
                        other = min(self.random.choice(busy) & ~7, len(data) - 8)
                        value = int.from_bytes(data[other:other + 8], "little")
                        edits.append(f"w{at}={self.random.choice((value, value, self.random.getrandbits(64)))}")
                if self.random.randrange(8) == 0:
                    edits.append(f"c{self.random.randrange(len(data))}")
                plan.append((i, *edits))
        self.agree(plan)

    def test_on_the_corpus_of_the_fuzzer(self):
        corpus = sorted(glob.glob(os.path.join(FUZZ, "corpus", "*")))
        self.assertTrue(corpus)
        for path in corpus:
            with open(path, "rb") as file:
                DUMPS[os.path.basename(path)] = make_corpus.unpack(file.read())
        self.addCleanup(lambda: [DUMPS.pop(os.path.basename(path)) for path in corpus])
        self.setUp()
        self.agree([(i, f"c{len(DUMPS[name])}") for i, name in enumerate(self.names)])

    def test_packing_loses_nothing(self):
        for data in (b"", b"\0", b"a\0", b"\0" * 256, b"\0" * 257, b"x" + b"\0" * 1000 + b"y", *DUMPS.values()):
            self.assertEqual(make_corpus.unpack(make_corpus.pack(data)), data)

    def test_the_programs_agree_on_text_exit_code_and_warnings(self):
        tool = program("text", "tools/text/contrail_text.cpp")
        inputs = [*self.paths]
        for number, data in enumerate((b"", b"no dump", DUMPS["v1-window"][:29_000], DUMPS["v1-window"][:5_000],
                                       mutate(DUMPS["v1-window"], ["b8=9"]), mutate(DUMPS["v1-window"], ["b52=200"]))):
            inputs.append(os.path.join(FOLDER.name, f"input {number}"))
            with open(inputs[-1], "wb") as file:
                file.write(data)
        codes = set()
        for path in inputs + [os.path.join(FOLDER.name, "is not there"), FOLDER.name]:
            ours = subprocess.run([os.environ.get("PYTHON", "python3"), contrail.__file__, "text", path],
                                  capture_output=True)
            theirs = subprocess.run([tool, path], capture_output=True)
            self.assertEqual((path, ours.returncode, ours.stdout), (path, theirs.returncode, theirs.stdout))
            said = [e.replace(b"contrail.py: ", b"").replace(b"contrail_text: ", b"") for e in (ours.stderr, theirs.stderr)]
            if ours.returncode != 2:
                self.assertEqual(*said)
            self.assertEqual(bool(ours.stderr), ours.returncode != 0)
            self.assertEqual(bool(theirs.stderr), theirs.returncode != 0)
            codes.add(ours.returncode)
        self.assertEqual(codes, {0, 1, 2})


if __name__ == "__main__":
    unittest.main()
