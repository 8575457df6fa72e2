"""Whether a bundle is what was built: its files, its id, and who signed it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy.errors import UsageError
from tunedeploy.inside import entries_below, inside
from tunedeploy.manifest import MANIFEST, SIGNATURE, bundle_id
from tunedeploy.parity import Comparison
from tunedeploy.rundir import sha256

if TYPE_CHECKING:
    from tunedeploy.bundle import Bundle

SHORTEST_ID = 12  # hex digits: enough to tell a mix-up; against an attacker, who can search, take all 64


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
        return [_entry("files missing, changed or added", MANIFEST, 0)]
    return [_entry(f"file {what}", name, 1) for name, what in made]


def identity(folder: Path, manifest: bytes, *, expect: str | None, key: Any) -> list[Comparison]:
    """The manifest is the one that is expected, and the one that was signed.

    Args:
        folder: the bundle's.
        manifest: the bytes of its manifest.
        expect: the bundle's id, or its beginning.
        key: the public key that it must be signed with; None to let that be.

    Raises:
        UsageError: `expect` is no id.
    """
    made = []
    if expect is not None:
        digits = expect.lower()
        if len(digits) < SHORTEST_ID or len(digits) > 64 or set(digits) - set("0123456789abcdef"):
            raise UsageError(f"--expect {expect}: is not an id; expected {SHORTEST_ID} to 64 hexadecimal digits")
        own = bundle_id(manifest)
        what = "bundle ids other than the one expected"
        made.append(_entry(what, MANIFEST, int(not own.startswith(digits)), "" if own.startswith(digits) else own))
    if key is not None:
        from tunedeploy.signature import flaw

        found = flaw(folder, manifest, key)
        made.append(_entry("signatures that do not hold", SIGNATURE, int(found is not None), found or ""))
    return made


def _entry(name: str, file: str, value: int, where: str = "") -> Comparison:
    return Comparison(name=name, stage="bundle", file=file, value=value, limit=0, where=where)


def _by_pytest(name: str) -> bool:
    return any(part in ("__pycache__", ".pytest_cache") for part in name.split("/"))
