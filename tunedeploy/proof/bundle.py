"""A bundle opened where tunedeploy is installed: `verify` looks at more than a device does.

The manifest's statements about recipe, scores, tokenizer and files are compared with them, and each graph is inspected
where the onnx package is installed.
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
        """Make every comparison asked for; breaches are in the list and are not raised."""
        comparisons = super().verify(checks, strict=strict)
        if "integrity" in checks:
            comparisons += tried(variants_described, self, stage="bundle", file=MANIFEST)
        return comparisons

    def facts_kept(self, arrays: Mapping[str, Array], checks: Collection[str]) -> list[Comparison]:
        """Facts that contradict what they describe."""
        return facts_kept(self, arrays, tuple(checks))

    def graph_kept(self, variant: str) -> list[Comparison]:
        """Nodes that compute as in training, and products that can saturate though they were said not to."""
        described = self.manifest["variants"][variant]
        comparisons = []
        for file in files_of(described).values():
            ledger = Ledger(stage="bundle", file=file, variant=variant)
            path = inside(self.path, file)
            comparisons += [*evaluation_kept(ledger, path), *cpus_kept(ledger, path, described)]
        return comparisons


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder.

    Raises:
        RunError: the folder is not a bundle.
    """
    return Bundle(Path(path))


def examine(
    path: Path, checks: Sequence[str] = CHECKS, *, expect: str | None = None, key: Path | None = None
) -> list[Comparison]:
    """As `Bundle.verify`, for a folder whose manifest may be damaged, or may not be the expected or signed one.

    No other file of such a bundle is opened. The id and the signature cover the manifest alone, so where either is
    asked for, the files are always compared with the manifest.
    """
    strict = expect is not None or key is not None
    holder = signature.public_key(key) if key is not None else None  # a key that cannot be used is not a breach
    try:
        comparisons = signature.identity(path, read_bytes(path), expect=expect, key=holder)
        if not all(comparison.ok for comparison in comparisons):
            return comparisons
        bundle = Bundle(path)
    except RunError as error:
        return [unusable(error, stage="bundle", file=MANIFEST)]
    return [*comparisons, *bundle.verify({*checks, "integrity"} if strict else checks, strict=strict)]
