# SPDX-License-Identifier: MIT
"""What the tests of the converter share: running it, and taking its output apart."""
import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
from decimal import Decimal

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CONVERTER = os.environ.get("CONTRAIL_PY") or os.path.join(ROOT, "tools", "contrail.py")
sys.path.insert(0, HERE)

import trace_rules  # noqa: E402

spec = importlib.util.spec_from_file_location("contrail", CONVERTER)
contrail = importlib.util.module_from_spec(spec)
sys.modules["contrail"] = contrail
spec.loader.exec_module(contrail)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


def run(*arguments):
    """Runs the converter's main in this process."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = contrail.main(list(arguments))
        except SystemExit as exit:
            code = exit.code
        out.flush()
    return Result(code, out.buffer.getvalue(), err.getvalue())


def run_on(data, command, *arguments):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "in.contrail")
        with open(path, "wb") as file:
            file.write(data)
        more = ["-o", "-"] if command == "convert" else []
        return run(command, path, *more, *arguments)


class Json:
    """A converted trace: its events, by phase."""

    def __init__(self, data):
        self.problems = trace_rules.check(data)
        self.trace = json.loads(data, parse_float=Decimal)
        self.events = self.trace["traceEvents"]
        self.metadata = self.trace["metadata"]

    def of(self, phase, name=None):
        return [e for e in self.events if e["ph"] == phase and name in (None, e["name"])]

    def slices(self):
        """(name, start, end, tid) of the X events, in ns."""
        return [(e["name"], int(e["ts"] * 1000), int((e["ts"] + e["dur"]) * 1000), e["tid"]) for e in self.of("X")]

    def one(self, phase, name=None):
        found = self.of(phase, name)
        assert len(found) == 1, found
        return found[0]


def convert(data, *arguments, code=0):
    """Converts, and insists on the exit code and on trace_rules."""
    result = run_on(data, "convert", *arguments)
    assert result.code == code, (result.code, result.err)
    trace = Json(result.out)
    assert not trace.problems, trace.problems
    trace.err = result.err
    return trace
