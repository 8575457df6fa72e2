"""The fuzzers of tests/fuzz at length: counts of how damaged files end, and every trial that ended in a traceback.

    python benchmarks/fuzz.py [AREA ...] [--first 0] [--trials 10000] [--seconds 600]

A trial is known by its number; `--first` goes on where another run stopped. Prints a row an area; exits 1 if any trial
ended otherwise than in an answer, one line, or exit code 3.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout: this file is run by its path too

import numpy as np

from tests.fuzz.test_fuzz import AREAS
from tests.tiny import Tiny


def fuzz(area: str, folder: Path, *, numbers: range, seconds: float) -> tuple[Counter[str], list[str]]:
    """How the trials of an area ended, and what was wrong, one entry a bad trial."""
    fuzzer = import_module(f"tests.fuzz.{area}")
    subject = fuzzer.prepare(Tiny(folder), folder / "healthy")
    endings: Counter[str] = Counter()
    wrong = []
    until = time.monotonic() + seconds
    for seed in numbers:
        if time.monotonic() > until:
            break
        place = folder / f"{seed}"
        try:
            endings[fuzzer.trial(subject, np.random.default_rng([1, seed]), place)] += 1
        except AssertionError as error:
            wrong.append(f"{area} {seed}: {error}")
        shutil.rmtree(place, ignore_errors=True)
    return endings, wrong


def main() -> None:
    """Fuzz the areas named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="the trial to begin with")
    parser.add_argument("--trials", type=int, default=10_000, help="of each area")
    parser.add_argument("--seconds", type=float, default=1e9, help="of each area, at most")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.trials)
    problems: list[str] = []
    print("| area | trials | accepted | refused | breach | wrong |\n|---|---|---|---|---|---|")
    for area in arguments.areas or AREAS:
        with tempfile.TemporaryDirectory() as folder:
            endings, wrong = fuzz(area, Path(folder), numbers=numbers, seconds=arguments.seconds)
        counts = [endings[one] for one in ("accepted", "refused", "breach")]
        print(f"| {area} | {sum(counts) + len(wrong)} | {' | '.join(map(str, counts))} | {len(wrong)} |", flush=True)
        problems += wrong
    print("\n".join(problems[:50]), file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
