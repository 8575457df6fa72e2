"""What the command line prints: a result on stdout, progress and errors on stderr, and the exit code."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tunedeploy import progress
from tunedeploy.cli.console import Console, coloured
from tunedeploy.run.pipeline import is_main_process

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Leave out, in the block, progress, notes and all but the last line of what `say` prints, if `quiet`."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


def fail(lines: Sequence[str], code: int) -> None:
    """Print what is wrong on stderr and exit."""
    for line in lines:
        print(f"{coloured('error:', 'red', sys.stderr)} {on_one_line(line)}", file=sys.stderr)
    sys.exit(code)


def on_one_line(text: str) -> str:
    """A message without the line breaks and control characters of file names, labels and other packages' messages."""
    text = " ".join(part.strip() for part in COLOUR.sub("", text).splitlines() if part.strip())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@contextmanager
def heard(as_json: bool) -> Iterator[None]:
    """Show progress and notes of the block on stderr; none of them with --json or --quiet."""
    main = is_main_process()
    console = Console(silent=as_json or _quiet.get() or not main)
    with progress.listen(console):
        try:
            yield
        except KeyboardInterrupt:
            console.close()
            fail(["interrupted; what was finished is kept, the same command goes on from there"], 130)
        finally:
            console.close()
    if not main:
        sys.exit(0)  # in a distributed launch only the main process prints


def say(
    as_json: bool, value: Any, text: Callable[[], str], *, is_answer: bool = False, brief: str | None = None
) -> None:
    """Print a result: a JSON document, or text for people.

    Args:
        as_json: whether `value` is printed instead of the text.
        value: JSON.
        text: called for the text.
        is_answer: whether the text is what was asked for, and so printed whole with --quiet too.
        brief: what --quiet leaves of it; its last line when None.
    """
    shown = json.dumps(value, indent=2, ensure_ascii=False) if as_json else text()
    if _quiet.get() and not (as_json or is_answer):
        shown = brief if brief is not None else shown.splitlines()[-1] if shown else shown
    try:
        print(shown, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the reader has seen enough; the exit code still counts
    except UnicodeEncodeError:  # a terminal whose encoding lacks characters of the labels
        print(shown.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding), flush=True)


def shipped(as_json: bool, folder: Path, dist: Path, *, verbose: bool) -> None:
    """Show what a finished run made: what was trained, the variants, the ledger, and what to type next."""
    from tunedeploy.cli.summary import bundle_text, trained_text
    from tunedeploy.device.manifest import bundle_id, read_bytes
    from tunedeploy.run.folder import RunDir

    run = RunDir(folder)
    identity = bundle_id(read_bytes(dist))
    report = str(folder / "report.html")
    document = {"run": str(folder), "bundle": str(dist), "bundle_id": identity, "report": report, **run.shipped()}

    def text() -> str:
        plan = run.record("plan").result
        trained = trained_text(plan, run.record("train").result)
        return bundle_text(document, trained, next_commands(folder, dist, identity), verbose=verbose)

    say(as_json, document, text)


def next_commands(folder: Path, dist: Path, identity: str) -> list[str]:
    """Three commands that work on a bundle, quoted for a shell."""
    from tunedeploy import api
    from tunedeploy.cli.summary import typed
    from tunedeploy.commands.inputs import example_input

    sample = example_input(dist)
    inputs = (sample,) if sample is not None else ("--data", api.recipe_of(folder).data.train)
    return [
        typed("predict", dist, *inputs),
        typed("eval", folder),
        typed("verify", dist, "--expect", identity[:12]),
    ]
