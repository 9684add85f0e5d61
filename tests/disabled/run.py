#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that code with disabled macros compiles to the same bytes as code without macros.

usage: run.py COMPILER FLAG...

Compares the contents of all sections that a program would load. Also prints what including the header then costs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SINGLE_INCLUDE = HERE.parents[1] / "single_include"


def compile_to(output: Path, compiler: str, *arguments: str, text: str | None = None) -> float:
    """Seconds it took."""
    start = time.monotonic()
    command = [compiler, "-std=c++20", f"-I{SINGLE_INCLUDE}", "-c", *arguments, "-o", str(output)]
    subprocess.run(command, check=True, input=text, text=True)
    return time.monotonic() - start


def loaded_sections(object_file: Path) -> dict[str, str]:
    """The section's size and contents, by name; empty ones are left out."""
    listing = subprocess.run(["objdump", "-h", object_file], check=True, capture_output=True, text=True).stdout
    sections = {}
    for name, size, flags in re.findall(r"^ +\d+ (\S+) +([0-9a-f]+) .*\n +(.*)$", listing, re.MULTILINE):
        if "ALLOC" in flags and int(size, 16) != 0:
            dump = ["objdump", "-s", "-j", name, object_file]
            text = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
            sections[name] = size + text.partition("Contents of section")[2]
    return sections


def main() -> int:
    compiler, *flags = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_to(folder / "disabled.o", compiler, *flags, "-Wall", "-Wextra", "-Werror", str(HERE / "site.cpp"))
        compile_to(folder / "bare.o", compiler, *flags, "-DBARE", str(HERE / "site.cpp"))
        disabled, bare = loaded_sections(folder / "disabled.o"), loaded_sections(folder / "bare.o")
        different = [name for name in sorted(disabled | bare) if disabled.get(name) != bare.get(name)]
        for section in different:
            print(f"{section} differs.\nwith disabled macros:{disabled.get(section, ' none')}")
            print(f"without macros:{bare.get(section, ' none')}")
        if ".text" not in bare:
            print("There is no code to compare.")
            return 1

        empty, including = [], []
        for _ in range(7):
            empty.append(compile_to(folder / "e.o", compiler, *flags, "-xc++", "-", text="\n"))
            include = '#define CONTRAIL_DISABLED\n#include "contrail.hpp"\n'
            including.append(compile_to(folder / "i.o", compiler, *flags, "-xc++", "-", text=include))
        print(f"Including the disabled header costs {1000 * (min(including) - min(empty)):.1f} ms.")
        return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
