# SPDX-License-Identifier: MIT
"""Every C++ block of docs/ and README.md that begins with `// complete` builds without a warning, runs, and prints what
the `text output` block after it says. `…` there stands for anything. `// complete: fmt` links fmt; where an opt-in's
headers are missing its blocks are skipped."""
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parents[2]
OPENING = re.compile(r"^```(\S*)\s*(\S*)\s*$")
FLAGS = "-std=c++20 -O1 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Werror".split()
NEEDS = {"fmt": "fmt/format.h", "pfr": "boost/pfr/core.hpp"}


class Block(NamedTuple):
    where: str
    language: str
    note: str
    text: str


class Snippet(NamedTuple):
    where: str
    text: str
    opt_ins: List[str]
    output: Optional[str]


def blocks(page: Path) -> Iterator[Block]:
    language: Optional[str] = None
    note, first, lines = "", 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if language is None:
            opening = OPENING.match(line)
            if opening:
                language, note, first, lines = opening[1], opening[2], number, []
        elif line == "```":
            yield Block(f"{page.relative_to(ROOT)}:{first}", language, note, "\n".join(lines) + "\n")
            language = None
        else:
            lines.append(line)


def snippets() -> Iterator[Snippet]:
    for page in sorted((ROOT / "docs").glob("*.md")) + [ROOT / "README.md"]:
        found = list(blocks(page)) if page.exists() else []
        for block, following in zip(found, found[1:] + [None]):
            marker = re.match(r"// complete(?::([ \w]+))?\n", block.text)
            if block.language == "cpp" and marker:
                output = following.text if following and following.note == "output" else None
                yield Snippet(block.where, block.text, (marker[1] or "").split(), output)


def compiler() -> List[str]:
    return shlex.split(os.environ.get("CXX", "")) or [shutil.which("g++") or shutil.which("clang++") or "c++"]


def has_header(header: str) -> bool:
    source = f"#if !__has_include(<{header}>)\n#error missing\n#endif\n"
    return subprocess.run([*compiler(), "-std=c++20", "-fsyntax-only", "-x", "c++", "-"], input=source, text=True,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


class Snippets(unittest.TestCase):
    def test_the_guide_has_complete_programs(self) -> None:
        self.assertGreater(sum(s.where.startswith("docs/guide.md") for s in snippets()), 5)

    def test_complete_programs_build_run_and_print_what_is_written(self) -> None:
        for snippet in snippets():
            with self.subTest(snippet.where), tempfile.TemporaryDirectory() as folder:
                if not all(has_header(NEEDS[name]) for name in snippet.opt_ins):
                    continue
                (Path(folder) / "snippet.cpp").write_text(snippet.text, encoding="utf-8")
                libraries = ["-pthread"] + ["-lfmt" for name in snippet.opt_ins if name == "fmt"]
                built = subprocess.run([*compiler(), *FLAGS, "-I", str(ROOT / "include"),
                                        "-I", str(ROOT / "single_include"), "snippet.cpp", "-o", "snippet",
                                        *libraries], cwd=folder, capture_output=True, text=True, check=False)
                self.assertEqual(built.returncode, 0, f"{snippet.where} does not build:\n{built.stderr}")
                ran = subprocess.run(["./snippet"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(ran.returncode, 0, f"{snippet.where} failed:\n{ran.stdout}{ran.stderr}")
                if snippet.output is not None:
                    expected = ".*".join(re.escape(part) for part in snippet.output.split("…"))
                    self.assertRegex(ran.stdout, re.compile(rf"\A{expected}\Z", re.DOTALL), snippet.where)


if __name__ == "__main__":
    unittest.main()
