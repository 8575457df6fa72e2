"""What a bundle's manifest must have, whatever else it tells."""

from pathlib import Path
from typing import Any

from tunedeploy.errors import RunError
from tunedeploy.rundir import read_json

KEYS: dict[str, type] = {
    "task": str, "labels": list, "metric": str, "variants": dict, "preprocessing": dict, "recipe": dict, "files": dict,
}  # fmt: skip


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a bundle's folder.

    Raises:
        RunError: it lacks a key, or tells something else under it.
    """
    manifest: dict[str, Any] = read_json(path / "manifest.json")
    odd = odd_key(manifest)
    if odd:
        raise RunError(f"{path / 'manifest.json'}: is no manifest of a bundle, it has no {odd!r} as one has")
    return manifest


def odd_key(manifest: Any) -> str | None:
    """The first key that a manifest lacks, or that holds something else than it should."""
    if not isinstance(manifest, dict):
        return next(iter(KEYS))
    odd = [key for key, kind in KEYS.items() if not isinstance(manifest.get(key), kind)]
    if odd:
        return odd[0]
    if not all(isinstance(one, dict) and isinstance(one.get("file"), str) for one in manifest["variants"].values()):
        return "variants"
    return None if isinstance(manifest["recipe"].get("data"), dict) else "recipe"


def is_bundle(path: Path) -> bool:
    """Whether a folder holds a bundle; a manifest.json alone may be a web app's."""
    try:
        manifest = read_json(path / "manifest.json")
    except RunError:
        return False
    return isinstance(manifest, dict) and all(key in manifest for key in KEYS)
