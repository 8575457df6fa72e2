"""Rooms import each other in the direction that docs/architecture.md says, and in no other."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tunedeploy"
PAGE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| `([\w.]+)` \| [^|]+ \|([^|]*)\|$", re.MULTILINE)
TYPES = "contracts"  # the one room whose imports for the type checker are no arrows, since it has no others
Arrows = dict[str, set[str]]


def documented() -> Arrows:
    """Each room of the page and the rooms that it may import."""
    return {room: set(re.findall(r"`([\w.]+)`", imports)) for room, imports in ROW.findall(PAGE.read_text("utf-8"))}


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def room_of(module: str, rooms: Arrows) -> str:
    """The row that a module belongs to: the longest that its name begins with."""
    fitting = [room for room in rooms if module == room or module.startswith(f"{room}.")]
    assert fitting, f"docs/architecture.md has no room for tunedeploy/{module.replace('.', '/')}.py"
    return max(fitting, key=len)


def imports_of(path: Path, names: dict[str, Path], *, as_run: bool = False) -> set[str]:
    """Our own modules that a file imports, at its top or in a function; `as_run` leaves out what only mypy follows."""
    imported = set()
    tree = ast.parse(path.read_text("utf-8"))
    typed = [one for one in ast.walk(tree) if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    left_out = {node for one in typed for node in ast.walk(one)} if as_run else set()
    for node in (one for one in ast.walk(tree) if one not in left_out):
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").partition(".")[0] == "tunedeploy"
        ):
            base = (node.module or "").removeprefix("tunedeploy").removeprefix(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".removeprefix(".")
                imported.add(whole if whole in names else base or "__init__")
    return imported


@pytest.fixture(scope="module")
def actual() -> Arrows:
    """The arrows between rooms that the code has."""
    names, rooms = modules(), documented()
    arrows: Arrows = {room: set() for room in rooms}
    for module, path in names.items():
        home = room_of(module, rooms)
        imported = imports_of(path, names, as_run=home == TYPES)
        arrows[home] |= {room_of(one, rooms) for one in imported} - {home}
    return arrows


@pytest.mark.parametrize("room", documented())
def test_a_room_imports_what_the_page_says_and_nothing_else(room: str, actual: Arrows) -> None:
    assert actual[room] == documented()[room]


def test_the_arrows_form_no_circle() -> None:
    assert set(TopologicalSorter(documented()).static_order()) == set(documented())  # a circle has no order


def test_a_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(tunedeploy/[\w/.]+)`", PAGE.read_text("utf-8")))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
