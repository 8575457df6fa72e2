"""Find plug-ins: a file in an axis folder is one, and so is an entry point of another package.

Names and descriptions are read from the file's name and its docstring's first line, with no import, so that
`tunedeploy list` stays fast. `load` imports one and holds it to its axis's Protocol in `contracts/`.
"""

import ast
import importlib
import importlib.util
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, overload

from tunedeploy import contracts
from tunedeploy.contracts.method import Method
from tunedeploy.contracts.objective import Objective
from tunedeploy.contracts.precision import Precision
from tunedeploy.contracts.target import Target
from tunedeploy.contracts.task import Task
from tunedeploy.errors import UserError
from tunedeploy.extras import lacking

CONTRACTS: dict[str, type] = {
    "tasks": Task, "methods": Method, "objectives": Objective, "precisions": Precision, "targets": Target,
}  # fmt: skip
AXES = tuple(CONTRACTS)


def names(axis: str) -> dict[str, str]:
    """The one-line description of every plug-in on an axis, by its name as a recipe writes it; sorted."""
    assert axis in AXES, axis
    descriptions = {_name(path.stem): _first_line(path) for path in _files(axis)}
    for name, point in _outside(axis).items():
        descriptions.setdefault(name, _first_line(_origin(point)))
    return dict(sorted(descriptions.items()))


@overload
def load(axis: Literal["tasks"], name: str) -> Task: ...
@overload
def load(axis: Literal["methods"], name: str) -> Method: ...
@overload
def load(axis: Literal["objectives"], name: str) -> Objective: ...
@overload
def load(axis: Literal["precisions"], name: str) -> Precision: ...
@overload
def load(axis: Literal["targets"], name: str) -> Target: ...
@overload
def load(axis: str, name: str) -> contracts.Plugin: ...
def load(axis: str, name: str) -> Any:
    """Import one plug-in.

    Returns:
        The plug-in's module, completed with its Protocol's defaults for optional members.

    Raises:
        UserError: no plug-in has that name, it lacks a member of its Protocol, or its package needs an extra that is
            not installed.
    """
    return _load(axis, name)


@cache
def _load(axis: str, name: str) -> ModuleType:
    module = _imported(axis, name)
    contract = CONTRACTS[axis]
    missing = contracts.lacks(contract, module)
    if missing:
        where = f"tunedeploy/contracts/{axis[:-1]}.py"
        problem = f"{axis[:-1]} {name!r} ({module.__name__}) is missing {', '.join(missing)}"
        raise UserError(f"{problem}; {where} says what it needs")
    contracts.complete(contract, module)
    return module


def _imported(axis: str, name: str) -> ModuleType:
    if name not in names(axis):
        raise UserError(f"no {axis[:-1]} {name!r}; known: {', '.join(names(axis))}")
    inside = Path(__file__).parent / axis / f"{name.replace('-', '_')}.py"
    try:
        if inside.is_file():
            return importlib.import_module(f"tunedeploy.{axis}.{inside.stem}")
        module: ModuleType = _outside(axis)[name].load()
    except ModuleNotFoundError as error:
        line = lacking(error) or f"needs the package {error.name!r}; install it with 'pip install {error.name}'"
        raise UserError(f"{axis[:-1]} {name!r} {line}") from error
    return module


def _files(axis: str) -> list[Path]:
    folder = Path(__file__).parent / axis
    return [path for path in folder.glob("*.py") if not path.stem.startswith("_")]


def _name(stem: str) -> str:
    return stem.replace("_", "-")


def _outside(axis: str) -> dict[str, EntryPoint]:
    return {_name(point.name): point for point in entry_points(group=f"tunedeploy.{axis}")}


def _origin(point: EntryPoint) -> Path | None:
    top, *inside = point.module.split(".")
    spec = importlib.util.find_spec(top)  # given a dotted name, find_spec would import the package
    if spec is None or not inside:
        return Path(spec.origin) if spec and spec.origin else None
    stems = [Path(folder, *inside) for folder in spec.submodule_search_locations or ()]
    files = [path for stem in stems for path in (stem.with_suffix(".py"), stem / "__init__.py")]
    return next((path for path in files if path.is_file()), None)


def _first_line(path: Path | None) -> str:
    if path is None or path.suffix != ".py":
        return ""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return docstring.splitlines()[0] if docstring else ""
