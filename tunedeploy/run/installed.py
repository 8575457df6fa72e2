"""The program that answers here: Python, every distribution with its version, and the code that can be edited in place.

A version tells of every change of a package that is installed anew. It does not tell of one that is installed from
a checkout, nor of a file dropped into a plug-in folder, so files of tunedeploy and of other plug-ins count as well.
"""

import hashlib
import platform
from collections.abc import Iterable
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def program() -> dict[str, object]:
    """What a command runs on, JSON: equal in two processes only if nothing of it was installed or edited between."""
    return {"python": platform.python_version(), "packages": packages(), "code": code([PACKAGE, *plug_ins()])}


def packages() -> list[str]:
    """`name==version` of each distribution that can be imported, sorted; of one found twice, each version."""
    facts = (distribution.metadata for distribution in distributions())
    return sorted({f"{each['Name']}=={each['Version']}" for each in facts if each})


def plug_ins() -> list[Path]:
    """The folder or file of each package that other distributions' entry points name as plug-ins of tunedeploy."""
    each = (point for distribution in distributions() for point in distribution.entry_points)
    points = [point for point in each if point.group.startswith("tunedeploy.")]
    paths: list[Path] = []
    for top in sorted({point.module.partition(".")[0] for point in points}):
        spec = find_spec(top)  # the top alone is found without importing anything
        if spec is not None:
            folders = spec.submodule_search_locations
            paths += [Path(place) for place in (folders if folders is not None else [spec.origin or ""])]
    return paths


def code(places: Iterable[Path]) -> str:
    """SHA-256 of the sizes and times of modification of the Python files that places are or have below them."""
    facts = []
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if file.is_file():
                stat = file.stat()
                facts.append((str(file), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(facts).encode()).hexdigest()
