#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that a source does not compile, with a sentence that helps, and compiles once the mistake is mended.

usage: check.py COMPILER SOURCE

The source's first lines say what is expected; -DOK mends the mistake:

    // expect: put it in an argument          this text stands in the compiler's errors
    // needs: boost/pfr.hpp                   skipped (exit code 77) where this header is not installed
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SKIPPED = 77


def compile_only(compiler: str, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", f"-I{TESTS.parent / 'include'}", f"-I{TESTS}"]
        + list(arguments),
        input=text,
        capture_output=True,
        text=True,
    )


def main() -> int:
    compiler, source = sys.argv[1:]
    text = Path(source).read_text(encoding="utf-8")
    expected = re.findall(r"^// expect: (.*\S)", text, re.MULTILINE)
    if not expected:
        print(f"{source} has no line '// expect: <text>'.")
        return 1
    for header in re.findall(r"^// needs: (\S+)", text, re.MULTILINE):
        if compile_only(compiler, "-xc++", "-", text=f"#include <{header}>\n").returncode != 0:
            print(f"<{header}> is not installed.")
            return SKIPPED

    mended = compile_only(compiler, "-DOK", source)
    if mended.returncode != 0:
        print(f"With -DOK it should compile:\n{mended.stderr}")
        return 1
    failing = compile_only(compiler, source)
    if failing.returncode == 0:
        print("It compiles.")
        return 1
    missing = [text for text in expected if text not in failing.stderr]
    if missing:
        print(f"The compiler says nothing of {missing}:\n{failing.stderr}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
