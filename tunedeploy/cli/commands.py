"""The command line: parse, call one stage, print, and turn errors into exit codes. Imports no torch."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Each registers its commands, in the order of the help.
from tunedeploy.cli import init as init  # isort: skip
from tunedeploy.cli import commands_start as commands_start  # isort: skip
from tunedeploy.cli import commands_use as commands_use  # isort: skip
from tunedeploy.cli import commands_inspect as commands_inspect  # isort: skip
from tunedeploy.cli.app import app
from tunedeploy.cli.output import fail
from tunedeploy.errors import FULL, TunedeployError
from tunedeploy.extras import lacking


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="tunedeploy")
    except TunedeployError as error:
        fail(error.lines, error.exit_code)
    except ModuleNotFoundError as error:
        line = lacking(error)
        if line is None:
            raise
        fail([f"this command {line}"], 1)
    except MemoryError as error:
        cure = "close other programs, lower train.batch_size, or name a smaller model"
        fail([f"out of memory{': ' if str(error) else ''}{error}; {cure}"], 1)
    except BrokenPipeError:
        sys.stdout = None  # the reader of a pipe has seen enough
        sys.exit(0)
    except OSError as error:
        if error.errno not in FULL and not isinstance(error.filename, str | bytes | Path):
            raise
        place = os.fsdecode(error.filename) if error.filename is not None else "output"
        cure = "free space, or name a place that can be written" if error.errno in FULL else "check that path"
        fail([f"{place}: {error.strerror or error}; {cure}"], 1)
