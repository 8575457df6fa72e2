"""Fuzzers: damaged recipes, data, models, runs and bundles put through the commands that read them.

A module here is one area. It has `prepare(tiny, folder) -> Any`, which builds the healthy thing once, and
`trial(subject, rng, folder) -> str`, which damages a copy of it in one random way, puts it through the commands and
returns how they ended: "accepted", "refused" (one line, exit code 1 or 2) or "breach" (exit code 3).
`ended` below turns a command line into one of these, and any traceback or second line into an AssertionError.
`test_fuzz.py` runs a few hundred trials of each area; `benchmarks/fuzz.py` runs thousands.
"""

import contextlib
import io
import traceback
from collections.abc import Sequence

from tunedeploy.cli.commands import main

ENDINGS = {0: "accepted", 1: "refused", 2: "refused", 3: "breach"}


def ended(arguments: Sequence[str]) -> str:
    """How a command ended.

    Raises:
        AssertionError: a traceback, a refusal without a line or of a line that is broken in two, or another exit code.
    """
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException as error:
            shown = "".join(traceback.format_exception(error)[-3:])
            raise AssertionError(f"{' '.join(arguments)}: {shown}") from error
    assert code in ENDINGS, f"{' '.join(arguments)}: exit code {code}"
    lines = err.getvalue().splitlines()
    problems = [line for line in lines if line.startswith("error: ")]
    assert code == 0 or problems, f"{' '.join(arguments)}: exit code {code} without a line that says why: {lines}"
    if problems:
        behind = lines[lines.index(problems[0]) :]
        assert behind == problems, f"{' '.join(arguments)}: a message of more than one line: {behind}"
    return ENDINGS[code]
