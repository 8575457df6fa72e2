"""What the command line prints: a result on stdout, progress and errors on stderr, and the exit code."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunedeploy import progress
from tunedeploy.cli.console import Console, bundle_text
from tunedeploy.run.pipeline import is_main_process

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def fail(lines: Sequence[str], code: int) -> None:
    """Print what is wrong on stderr and exit."""
    for line in lines:
        print(f"error: {on_one_line(line)}", file=sys.stderr)
    sys.exit(code)


def on_one_line(text: str) -> str:
    """A message without the line breaks and control characters of file names, labels and other packages' messages."""
    text = " ".join(part.strip() for part in COLOUR.sub("", text).splitlines() if part.strip())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@contextmanager
def heard(as_json: bool) -> Iterator[None]:
    """Show progress and notes of the block on stderr; none of them with --json."""
    main = is_main_process()
    console = Console(silent=as_json or not main)
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


def say(as_json: bool, value: Any, text: Callable[[], str]) -> None:
    """Print a result: a JSON document, or text for people."""
    shown = json.dumps(value, indent=2, ensure_ascii=False) if as_json else text()
    try:
        print(shown, flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the reader has seen enough; the exit code still counts
    except UnicodeEncodeError:  # a terminal whose encoding lacks characters of the labels
        print(shown.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding), flush=True)


def shipped(as_json: bool, folder: Path, dist: Path) -> None:
    """Show the ledger and the files of a finished bundle."""
    from tunedeploy.device.manifest import bundle_id, read_bytes
    from tunedeploy.run.folder import RunDir

    identity = bundle_id(read_bytes(dist))
    document = {"run": str(folder), "bundle": str(dist), "bundle_id": identity, **RunDir(folder).shipped()}
    say(as_json, document, lambda: bundle_text(document))
