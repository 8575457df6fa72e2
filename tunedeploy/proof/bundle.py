"""A bundle opened where tunedeploy is installed: `verify` looks at more than a device does.

What the manifest says of recipe, scores, tokenizer and files is held to them, and where the onnx package is there, each
graph is looked into.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tunedeploy.bundling import signing as signature
from tunedeploy.device import bundle as device
from tunedeploy.device.comparison import CHECKS, Comparison, Ledger, tried, unusable
from tunedeploy.device.encoders import Array
from tunedeploy.device.inside import inside
from tunedeploy.device.manifest import MANIFEST, files_of, read_bytes
from tunedeploy.errors import RunError
from tunedeploy.proof.bundle_facts import facts_kept, variants_described
from tunedeploy.proof.nodes import cpus_kept, evaluation_kept


class Bundle(device.Bundle):
    """See device.bundle.Bundle."""

    def verify(self, checks: Collection[str] = CHECKS, *, strict: bool = False) -> list[Comparison]:
        """Every comparison asked for; breaches are in the list, nothing is raised for them."""
        made = super().verify(checks, strict=strict)
        if "integrity" in checks:
            made += tried(variants_described, self, stage="bundle", file=MANIFEST)
        return made

    def facts_kept(self, arrays: Mapping[str, Array], checks: Collection[str]) -> list[Comparison]:
        """Facts that differ from what they speak of."""
        return facts_kept(self, arrays, tuple(checks))

    def graph_kept(self, variant: str) -> list[Comparison]:
        """Nodes that compute as in training, and products that can saturate though they were said not to."""
        described = self.manifest["variants"][variant]
        made = []
        for file in files_of(described).values():
            ledger = Ledger(stage="bundle", file=file, variant=variant)
            path = inside(self.path, file)
            made += [*evaluation_kept(ledger, path), *cpus_kept(ledger, path, described)]
        return made


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder.

    Raises:
        RunError: it is no bundle.
    """
    return Bundle(Path(path))


def examine(
    path: Path, checks: Sequence[str] = CHECKS, *, expect: str | None = None, key: Path | None = None
) -> list[Comparison]:
    """As `Bundle.verify`, of a folder whose manifest may be damaged, or not the one that is expected or was signed.

    Nothing else of such a bundle is opened. The id and the signature are of the manifest alone, so where one is asked
    for, the files are always compared with it.
    """
    strict = expect is not None or key is not None
    holder = signature.public_key(key) if key is not None else None  # one that cannot be used is no breach
    try:
        made = signature.identity(path, read_bytes(path), expect=expect, key=holder)
        if not all(one.ok for one in made):
            return made
        bundle = Bundle(path)
    except RunError as error:
        return [unusable(error, stage="bundle", file=MANIFEST)]
    return [*made, *bundle.verify({*checks, "integrity"} if strict else checks, strict=strict)]
