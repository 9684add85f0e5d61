#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds examples and tests for arm64, runs them under qemu's user mode, and checks what they dump on this machine.

usage: run.py FOLDER

Exits with 77, after a line that says so, where the cross compiler or qemu is not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64"
SYSTEM = Path("/usr/aarch64-linux-gnu")
CONVERTER = ROOT / "tools" / "contrail.py"
FLAGS = ["-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{ROOT}/include", f"-I{ROOT}/tests"]
SKIPPED = 77

EXAMPLES = [
    "01_first_trace", "02_arguments", "03_typed_events", "05_logs", "06_counters_and_instants", "07_known_later",
    "08_categories_and_filters", "09_dump_on_signal", "10_threads",
]

# Catch2 programs, and the cases that say nothing under qemu.
TESTS = {
    "unit/ring_test": [],
    "unit/pool_test": [],
    "unit/dump_signal_test": [],
    "unit/threads_test": ["~threads that come and go reuse slots*"],  # it measures memory, and qemu's grows
    "integration/macros": [],
    "integration/process_life": [],
    "integration/stress": [],
    "integration/fault_paths": [],
}


@dataclass
class outcome:
    title: str
    failure: str = ""
    lines: list[str] = field(default_factory=list)


def compile_program(source: Path, to: Path, *more: str) -> None:
    launcher = ["ccache"] if shutil.which("ccache") else []
    subprocess.run([*launcher, COMPILER, *FLAGS, *more, str(source), "-o", str(to)], check=True, capture_output=True, text=True)


def emulated(program: Path, wrapper: Path) -> Path:
    """A script that runs a program of the other architecture, for whoever expects an executable."""
    wrapper.write_text(f'#!/bin/sh\nexec {EMULATOR} -L {SYSTEM} "{program}" "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper


def check_example(name: str, folder: Path, *more: str) -> outcome:
    """The example prints and records on arm64 what its caption promises."""
    source = ROOT / "examples" / f"{name}.cpp"
    place = folder / (name + "".join(more))
    place.mkdir(exist_ok=True)
    result = outcome(f"example {name} {' '.join(more)}".rstrip())
    program = place / "program" / name  # its name is in the dump's
    program.parent.mkdir(exist_ok=True)
    compile_program(source, program, *more)
    wrapper = emulated(program, place / "run")
    run = subprocess.run([sys.executable, str(ROOT / "examples" / "check.py"), str(wrapper), str(source), str(CONVERTER)],
                         cwd=place, capture_output=True, text=True, timeout=120)
    if run.returncode != 0:
        result.failure = run.stdout + run.stderr
    return result


def check_test(name: str, cases: list[str], catch: Path, folder: Path) -> outcome:
    """A test program passes on arm64; those of its cases that go through the converter run it on this machine."""
    result = outcome(f"test {name}")
    program = folder / Path(name).name
    compile_program(ROOT / "tests" / f"{name}.cpp", program, "-isystem", str(folder / "include"), str(catch))
    environment = os.environ | {"CONTRAIL_PY": str(CONVERTER), "PYTHON": sys.executable}
    run = subprocess.run([EMULATOR, "-L", str(SYSTEM), str(program), *cases], cwd=folder, env=environment,
                         capture_output=True, text=True, timeout=240)
    if run.returncode != 0:
        result.failure = run.stdout + run.stderr
    result.lines = run.stdout.strip().splitlines()[-1:]
    return result


def guarded(title: str, work, *arguments) -> outcome:
    try:
        return work(*arguments)
    except subprocess.CalledProcessError as failed:
        return outcome(title, failed.stderr or str(failed))
    except subprocess.TimeoutExpired as late:
        return outcome(title, str(late))


def build_catch(folder: Path) -> Path:
    """Catch2's main for arm64. Its headers are those of this machine, beside nothing else of /usr/include."""
    include = folder / "include"
    include.mkdir(exist_ok=True)
    if not (include / "catch2").exists():
        (include / "catch2").symlink_to("/usr/include/catch2")
    to = folder / "catch_main.o"
    compile_program(ROOT / "tests" / "catch_main.cpp", to, "-O0", "-c", "-isystem", str(include))
    return to


def main() -> int:
    for tool in (COMPILER, EMULATOR):
        if shutil.which(tool) is None:
            print(f"Left out: arm64, as {tool} is not installed.")
            return SKIPPED
    folder = Path(sys.argv[1]) / "programs"
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        catch = pool.submit(build_catch, folder) if Path("/usr/include/catch2/catch.hpp").exists() else None
        jobs = [pool.submit(guarded, name, check_example, name, folder) for name in EXAMPLES]
        # Without the dynamic linker there is nothing to pin, and one object to find.
        jobs.append(pool.submit(guarded, "static", check_example, EXAMPLES[0], folder, "-static"))
        if catch is None:
            print("Left out: the tests on arm64, as the headers of Catch2 2 are not installed.")
        else:
            main_object = catch.result()
            jobs += [pool.submit(guarded, name, check_test, name, cases, main_object, folder)
                     for name, cases in TESTS.items()]
        outcomes = [job.result() for job in jobs]
    for result in outcomes:
        print(f"{result.title}: {'FAILED' if result.failure else 'good'} {' '.join(result.lines)}".rstrip())
        if result.failure:
            print(result.failure)
    failed = sum(bool(result.failure) for result in outcomes)
    print(f"arm64: {len(outcomes) - failed} of {len(outcomes)} programs good in {time.monotonic() - began:.0f} s")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
