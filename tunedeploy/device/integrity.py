"""Whether a bundle's files are those that its manifest lists."""

from typing import TYPE_CHECKING

from .comparison import Comparison
from .files import sha256
from .inside import entries_below, inside
from .manifest import MANIFEST, SIGNATURE

if TYPE_CHECKING:
    from .bundle import Bundle


def integrity(bundle: "Bundle", *, pytest_ran: bool = True) -> list[Comparison]:
    """Every file has the bytes that the manifest says, none is missing, none was added, none is a link.

    Args:
        bundle: opened.
        pytest_ran: let pass what pytest leaves beside the kit, compiled tests for one: code that no hash is of.
    """
    folder, listed = bundle.path, bundle.manifest["files"]
    entries = dict(entries_below(folder))
    made = [(name, "is a link, or not a regular file") for name, regular in entries.items() if not regular]
    for name, digest in listed.items():
        if name in (MANIFEST, SIGNATURE):
            made.append((name, "cannot be listed"))
        elif name not in entries:
            made.append((name, "missing"))
        elif entries[name] and sha256(inside(folder, name)) != digest:
            made.append((name, "changed"))
    known = {*listed, MANIFEST, SIGNATURE}
    made += [
        (name, "added")
        for name, regular in entries.items()
        if regular and name not in known and not (pytest_ran and _by_pytest(name))
    ]
    if not made:
        return [entry("files missing, changed or added", MANIFEST, 0)]
    return [entry(f"file {what}", name, 1) for name, what in made]


def entry(name: str, file: str, value: int, where: str = "") -> Comparison:
    """A comparison that is a breach unless the value is 0."""
    return Comparison(name=name, stage="bundle", file=file, value=value, limit=0, where=where)


def _by_pytest(name: str) -> bool:
    return any(part in ("__pycache__", ".pytest_cache") for part in name.split("/"))
