"""A bundle's tokenizer against the probe in its goldens: every entry and every script, which no golden row shows."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .comparison import Comparison, Ledger
from .encoders.text import open_tokenizer
from .errors import RunError
from .inside import inside
from .kit import tokenizer_probe

FILE = "tokenizer.json"
TOKENIZER = Ledger(stage="bundle", file=FILE)


def probed(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, object]]:
    """What goldens record of a folder's tokenizer; nothing where there is none.

    Args:
        folder: of the bundle.
        rows: raw rows; where one is a pair, pairs are probed.

    Raises:
        RunError: the tokenizer cannot be read, or refuses a text.
    """
    if not (folder / FILE).is_file():
        return {}
    pairs = any(row.get("text_pair") is not None for row in rows)
    probe = digests(folder / FILE, pairs=pairs)
    return {"tokenizer_probe": {"version": tokenizer_probe.VERSION, "tokenizers": version("tokenizers"), **probe}}


def digests(path: Path, *, pairs: bool) -> tokenizer_probe.Probe:
    """The probe of a tokenizer.json, see kit.tokenizer_probe.

    Raises:
        RunError: it cannot be read, or refuses a text.
    """
    try:
        return tokenizer_probe.probe(lambda: open_tokenizer(path), pairs=pairs)
    except Exception as error:
        if type(error) is not Exception:  # the package has none of its own
            raise
        raise RunError(f"{path}: cannot encode the probe's texts: {error}") from error


def as_probed(folder: Path, golden: Mapping[str, Any]) -> list[Comparison]:
    """Parts of the probe that come out differently; bundles from before the probe have nothing to compare.

    Raises:
        RunError: the goldens hold no probe, or one of a later version; or the tokenizer refuses a text.
    """
    wanted = golden.get("tokenizer_probe")
    if wanted is None:
        return []
    place = f"{folder / 'parity' / 'golden.json'}: tokenizer_probe"
    if not is_probe(wanted):
        raise RunError(f"{place}: is not a probe of a tokenizer")
    if wanted["version"] != tokenizer_probe.VERSION:
        return [other_texts(place, wanted["version"])]
    got = digests(inside(folder, FILE), pairs=wanted["pairs"])
    parts = {**wanted["sha256"], **got["sha256"]}
    changed = [name for name in parts if wanted["sha256"].get(name) != got["sha256"].get(name)]
    where, facts = ", ".join(changed[:4]) + another_version(wanted) * bool(changed), {"parts": len(parts)}
    return [TOKENIZER.at_most("tokenizer-probe", len(changed), 0, rows=got["texts"], where=where, facts=facts)]


def other_texts(place: str, probe_version: int) -> Comparison:
    """A probe of texts that this version does not make: an earlier one is reported, without a limit.

    Raises:
        RunError: a later one; what cannot be compared must not pass for compared.
    """
    if probe_version > tokenizer_probe.VERSION:
        raise RunError(
            f"{place}: version: expected {tokenizer_probe.VERSION} or lower, got {probe_version}; a later version of "
            f"tunedeploy wrote it: verify with that one, or run pytest on the parity kit, which has the texts"
        )
    return TOKENIZER.informational("tokenizer-probe-version", probe_version)


def is_probe(value: Any) -> bool:
    """Whether JSON holds what `probed` writes."""
    kinds = {"version": int, "tokenizers": str, "pairs": bool, "sha256": dict}
    if not isinstance(value, dict) or not all(type(value.get(key)) is kind for key, kind in kinds.items()):
        return False
    return value["version"] >= 1 and all(isinstance(digest, str) for digest in value["sha256"].values())


def another_version(wanted: Mapping[str, Any]) -> str:
    """The versions of the tokenizers package, where this one is not that of the goldens."""
    try:
        here = version("tokenizers")
    except PackageNotFoundError:
        return ""
    return "" if here == wanted["tokenizers"] else f" (made with tokenizers {wanted['tokenizers']}, here {here})"
