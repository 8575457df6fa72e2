"""Whether a bundle's files are those that its manifest lists."""

from typing import TYPE_CHECKING

from .comparison import Comparison, Ledger
from .files import sha256
from .inside import entries_below, inside
from .manifest import MANIFEST, SIGNATURE

if TYPE_CHECKING:
    from .bundle import Bundle


def integrity(bundle: "Bundle", *, pytest_ran: bool = True) -> list[Comparison]:
    """Every file has the bytes that the manifest says, none is missing, none was added, none is a link.

    Args:
        bundle: opened.
        pytest_ran: allow what pytest leaves beside the kit, such as compiled tests, which is code without a hash.
    """
    folder, listed = bundle.path, bundle.manifest["files"]
    entries = dict(entries_below(folder))
    breaches = [(name, "file-not-regular") for name, regular in entries.items() if not regular]
    for name, digest in listed.items():
        if name in (MANIFEST, SIGNATURE):
            breaches.append((name, "file-not-listable"))
        elif name not in entries:
            breaches.append((name, "file-missing"))
        elif entries[name] and sha256(inside(folder, name)) != digest:
            breaches.append((name, "file-changed"))
    known = {*listed, MANIFEST, SIGNATURE}
    breaches += [
        (name, "file-added")
        for name, regular in entries.items()
        if regular and name not in known and not (pytest_ran and _by_pytest(name))
    ]
    if not breaches:
        return [entry("bundle-files", MANIFEST, 0)]
    return [entry(id, name, 1) for name, id in breaches]


def entry(id: str, file: str, value: int, where: str = "") -> Comparison:
    """A comparison that is a breach unless the value is 0."""
    return Ledger(stage="bundle", file=file).at_most(id, value, 0, where=where)


def _by_pytest(name: str) -> bool:
    """Whether a file is what pytest leaves behind; Python code below `parity/device/` is run by apps, and is not."""
    *folders, file = name.split("/")
    compiled = folders == ["parity", "__pycache__"] and file.startswith(("test_parity.", "tokenizer_probe."))
    return compiled or ".pytest_cache" in folders
