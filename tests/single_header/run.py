#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds programs with the single header in an otherwise empty folder, runs them, and reads their dumps.

usage: CONTRAIL_PY=... run.py COMPILER CASE
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
INCLUDE = f"-I{ROOT / 'include'}"
WARNINGS = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Werror".split()
SKIPPED = 77

NAMES = ["trade", "two on", "one line", "with object", "known later", "instant", "queue", "shop::order", "lambda",
         "square", "twice", "long region", "long scope", "long variable", "long instant", "long counter",
         "elsewhere::point", "task", "child", "blocked", "arrives", "async", "series", "long task", "long task too",
         "long async", "long blocked"]  # fmt: skip

SERVICES = ["-DCONTRAIL_WITH_ENV", "-DCONTRAIL_WITH_THREAD_STATES", "-DCONTRAIL_WITH_TRIGGER", "-DCONTRAIL_WITH_HTTP",
            "-DCONTRAIL_WITH_READER", "-DCONTRAIL_WITH_SESSION", "-DCONTRAIL_WITH_BLOCKING"]

# case -> flags, sources, names expected in the dump (None: no dump is made)
CASES: dict[str, tuple[list[str], list[str], list[str] | None]] = {
    "O2": (["-O2"], ["every_macro.cpp"], NAMES),
    "O0": (["-O0"], ["every_macro.cpp"], NAMES),
    "no_exceptions": (["-O2", "-fno-exceptions", "-fno-rtti"], ["every_macro.cpp"], NAMES),
    "cxx23": (["-O2", "-std=c++2b"], ["every_macro.cpp"], NAMES),
    "lto": (["-O2", "-flto"], ["every_macro.cpp"], NAMES),
    "gc_sections": (["-O2", "-fuse-ld=lld", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"],
                    ["every_macro.cpp"], NAMES),
    "compact": (["-O2", "-DCONTRAIL_COMPACT"], ["every_macro.cpp"], NAMES),
    "opt_ins": (["-O2", "-DCONTRAIL_WITH_PFR", "-DCONTRAIL_WITH_FMT", "-DCONTRAIL_WITH_SESSION", "-lfmt"],
                ["every_macro.cpp"], NAMES + ["shop::parcel"]),
    "reader": (["-O2", "-DCONTRAIL_WITH_READER"], ["reader.cpp"], None),
    "reader_disabled": (["-O2", "-DCONTRAIL_WITH_READER", "-DCONTRAIL_DISABLED"], ["reader.cpp"], None),
    "services": (["-O2", *SERVICES], ["services.cpp"], ["in one header"]),
    "services_disabled": (["-O2", *SERVICES, "-DCONTRAIL_DISABLED"], ["services.cpp"], None),
    "services_unsupported": (["-O0", *SERVICES, "-DCONTRAIL_FORCE_UNSUPPORTED"], ["services.cpp"], None),
    "unsupported": (["-O2", "-DCONTRAIL_FORCE_UNSUPPORTED", "-DCONTRAIL_WITH_SESSION",
                     '-DEXPECT_ERROR="not supported here"'], ["every_macro.cpp"], None),
    "disabled": (["-O2", "-DCONTRAIL_DISABLED", "-DCONTRAIL_WITH_SESSION", '-DEXPECT_ERROR="compiled out"'],
                 ["every_macro.cpp"], None),
    "two_units": (["-O2", INCLUDE], ["two_headers_main.cpp", "two_headers_other.cpp"],
                  ["with include", "with single header", "in both"]),
    "two_units_O0": (["-O0", INCLUDE], ["two_headers_main.cpp", "two_headers_other.cpp"],
                     ["with include", "with single header", "in both"]),
    "two_units_macros_only": (["-O2", INCLUDE, "-DOTHER_MACROS_ONLY"], ["two_headers_main.cpp", "two_headers_other.cpp"],
                              ["with include", "with single header", "in both"]),
    "one_unit": (["-O2", INCLUDE], ["both_in_one_unit.cpp"], ["in one unit"]),
    "one_unit_single_first": (["-O2", INCLUDE, "-DSINGLE_FIRST"], ["both_in_one_unit.cpp"], ["in one unit"]),
}  # fmt: skip


def compiles(compiler: str, text: str) -> bool:
    command = [compiler, "-std=c++20", "-fsyntax-only", "-xc++", "-"]
    return subprocess.run(command, input=text, text=True, stderr=subprocess.DEVNULL).returncode == 0


def run_case(compiler: str, case: str, folder: Path) -> int:
    flags, sources, names = CASES[case]
    if case == "opt_ins" and not compiles(compiler, "#include <boost/pfr.hpp>\n#include <fmt/format.h>\n"):
        print("Boost or fmt is not installed.")
        return SKIPPED
    if case == "gc_sections" and not shutil.which("ld.lld"):
        print("lld is not installed.")
        return SKIPPED
    if case == "lto" and "clang" in compiler:
        flags = flags + ["-fuse-ld=lld"]  # the distribution's ld reads no clang bitcode without a plugin

    headers = ["contrail.hpp"] + (["contrail_opt_ins.hpp"] if any("_WITH_" in flag for flag in flags) else [])
    for file in [ROOT / "single_include" / name for name in headers] + [HERE / source for source in sources]:
        shutil.copy(file, folder)
    libraries = [flag for flag in flags if flag.startswith("-l")]
    flags = ["-std=c++20"] + WARNINGS + [flag for flag in flags if flag not in libraries]
    build = [compiler, *flags, "-pthread", *sources, *libraries, "-o", "program"]
    print(" ".join(build), flush=True)
    subprocess.run(build, cwd=folder, check=True)
    subprocess.run(["./program", "out.contrail"], cwd=folder, check=True, timeout=60)
    if names is not None:
        subprocess.run([sys.executable, HERE.parent / "expect_names.py", folder / "out.contrail", *names], check=True)
    return 0


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run_case(sys.argv[1], sys.argv[2], Path(folder))
        except subprocess.CalledProcessError as error:
            print(error)
            return 1


if __name__ == "__main__":
    sys.exit(main())
