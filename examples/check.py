#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves an example's caption: that it prints what it says, and records what it says.

usage: check.py EXECUTABLE SOURCE [CONVERTER]

Runs the executable in the current directory, compares its output to the lines under "Prints:" (… stands for
anything), converts the dump it wrote (named like the source), and looks for the names of "Records:".
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path


def caption_of(source: Path) -> list[str]:
    """The comment lines at the top of a source file, without their slashes."""
    lines = []
    for line in source.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].removeprefix(" "))
    return lines


def promised_output(caption: list[str]) -> str:
    """A regular expression for what the caption says under "Prints:"."""
    start = caption.index("Prints:") + 1
    promised = []
    for line in caption[start:]:
        if not line.startswith("  "):
            break
        promised.append(re.escape(line[2:]).replace("…", ".*"))
    return "\n".join(promised) + "\n"


def promised_names(caption: list[str], label: str) -> set[str]:
    """The quoted names on the caption's line that starts with the label."""
    for line in caption:
        if line.startswith(label):
            return set(re.findall(r'"([^"]*)"', line))
    return set()


def recorded_names(converter: str, dump: Path) -> set[str]:
    """The names of all events, threads and log texts in a dump."""
    converted = subprocess.run(
        [sys.executable, converter, "convert", str(dump), "-o", "-"], check=True, capture_output=True
    )
    trace = json.loads(converted.stdout)
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    names = set()
    for event in events:
        names.add(event.get("name", ""))
        for key in ("name", "message", "text"):
            names.add(str(event.get("args", {}).get(key, "")))
    return names


def main() -> int:
    executable, source = sys.argv[1], Path(sys.argv[2])
    converter = sys.argv[3] if len(sys.argv) > 3 else None
    caption = caption_of(source)

    dump = Path(source.stem + ".contrail")
    dump.unlink(missing_ok=True)
    run = subprocess.run([executable], check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    print(run.stdout, end="")
    if not re.fullmatch(promised_output(caption), run.stdout):
        print(f"the caption of {source.name} promises another output", file=sys.stderr)
        return 1

    if converter:
        names = recorded_names(converter, dump)
        missing = promised_names(caption, "Records:") - names
        unexpected = promised_names(caption, "Not recorded:") & names
        if missing or unexpected:
            print(f"missing in the trace: {sorted(missing)}; unexpected: {sorted(unexpected)}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
