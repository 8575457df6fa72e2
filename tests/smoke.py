"""Does it work at all with the packages that are installed: a tiny text recipe and a tiny image one, each to a bundle.

    python tests/smoke.py

`make test-oldest` runs it with the lower bound of every dependency, where the whole suite would only show that others'
warnings and messages have changed since.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout: this file is run by its path

from tests.finished import TASKS
from tests.tiny import Tiny

CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Exits with the first command's code that is not 0."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tiny").mkdir()
        tiny = Tiny(folder / "tiny")
        call("--help")
        for task, method in (("text-classification", "lora"), ("image-classification", "full")):
            recipe = tiny.write(
                folder / f"{task}.yaml", task, tune={"method": method}, train={"epochs": 3},
                export={"quantize": "int8", "max_drop": 100.0},
            )  # fmt: skip
            call("run", str(recipe), "--run", str(folder / task))
            call("verify", str(folder / task / "dist"))
            call("predict", str(folder / task / "dist"), sample(tiny, task))
            kit = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / task / "dist/parity")]
            run(kit)
    print(f"{len(TASKS)} tasks, each to a bundle that verifies and predicts")


def sample(tiny: Tiny, task: str) -> str:
    """An input for `predict`."""
    return "snow and wind" if task == "text-classification" else str(next(tiny["images"].rglob("*.png")))


def call(*arguments: str) -> None:
    run([sys.executable, "-m", "tunedeploy", *arguments])


def run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=CHECKOUT)
    if done.returncode:
        print(f"exit code {done.returncode}: {' '.join(command)}", file=sys.stderr)
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
