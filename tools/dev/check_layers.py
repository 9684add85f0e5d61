#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Proves that each header includes only headers above it in LAYERS, and only what costs little to compile."""

from __future__ import annotations

import re
import sys
from pathlib import Path

INCLUDE = Path(__file__).resolve().parents[2] / "include" / "contrail"

LAYERS = """
config
error
task_context
options
detail/memory
detail/atomic
detail/errno_keeper
detail/clock
detail/image
detail/stream
detail/text
detail/site_text
detail/enum_names
detail/schema
detail/payload
detail/descriptor
detail/site
registry
log
detail/process
detail/object
detail/type_macros
detail/ring
detail/call_site
task
macros
detail/storage
detail/safe_writer
detail/write_signals
detail/filter
detail/binding
detail/thread_id
detail/signal_frame
detail/crash_stack
detail/pool
detail/lane
detail/threads
detail/slow_records
detail/span
detail/dump_file
detail/image_file
detail/snapshot
detail/dump
detail/dump_signal
detail/crash
detail/start
detail/fork
flight_recorder
disabled
short_macros
contrail
detail/perf_event
detail/switch_buffers
thread_states
detail/start_text
env
detail/session_marks
detail/session_claim
detail/session_copy
detail/kept_dumps
detail/zeroed_array
detail/watch_records
detail/watch_conditions
detail/watch
trigger
http
pfr
fmt
blocking
detail/session_sink
detail/session_thread
detail/session_start
session
detail/reader_bytes
detail/reader_clock
detail/reader_records
detail/reader_bindings
detail/reader_stream
detail/reader_image
detail/reader_threads
reader
""".split()

# The only includers of C++ headers; all others live in every translation unit of their users.
MAY_INCLUDE_CXX = {"pfr", "fmt", "reader", "blocking", "http"} | {name for name in LAYERS if name.startswith("detail/reader_")}

INCLUDE_LINE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def violations() -> list[str]:
    found = []
    for path in sorted(INCLUDE.rglob("*.hpp")):
        name = path.relative_to(INCLUDE).with_suffix("").as_posix()
        lines = path.read_text(encoding="utf-8").splitlines()
        guard = "CONTRAIL_" + re.sub(r"\W", "_", name).upper() + "_HPP"
        if name not in LAYERS:
            found.append(f"{name}.hpp has no layer: add it to the list in tools/dev/check_layers.py.")
            continue
        if lines[0] != "// SPDX-License-Identifier: MIT":
            found.append(f"{name}.hpp does not open with its SPDX line.")
        if f"#ifndef {guard}" not in lines:
            found.append(f"{name}.hpp is not guarded by {guard}.")
        for number, line in enumerate(lines, 1):
            match = INCLUDE_LINE.match(line)
            if not match:
                continue
            place, included = f"{name}.hpp:{number}", match[2]
            if included.startswith("contrail/"):
                other = included.removeprefix("contrail/").removesuffix(".hpp")
                if match[1] == "<":
                    found.append(f'{place} includes <{included}>; our own headers are included with "".')
                if other not in LAYERS[: LAYERS.index(name)]:
                    found.append(f"{place} includes {included}, which is not above it in the layers.")
            elif name not in MAY_INCLUDE_CXX and not included.endswith(".h"):
                found.append(f"{place} includes <{included}>, which every translation unit would pay for.")
    return found


def main() -> int:
    found = violations()
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
