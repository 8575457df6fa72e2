"""Load a bundle and use it: predict, score, verify; needs numpy, onnxruntime and tokenizers or Pillow, no torch."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from . import external_data, typed, verify
from .comparison import CHECKS, Comparison, tried
from .decisions import classes
from .encoders import Array, DeviceEncoder, Inputs, Row, open_encoder
from .errors import RunError
from .goldens import FOLDER
from .inside import inside
from .integrity import integrity
from .manifest import MANIFEST, Manifest, bundle_id, parse_manifest, read_bytes
from .runtime import Session, logits_of


class Bundle:
    """A bundle on disk.

    Args:
        path: the folder with manifest.json.

    Raises:
        RunError: it is no bundle.
    """

    def __init__(self, path: Path) -> None:
        if not (path / MANIFEST).is_file():
            raise RunError(f"{path}: is not a bundle: missing manifest.json; 'tunedeploy export' writes one")
        self.path = path
        content = read_bytes(path)
        self.id = bundle_id(content)
        self.manifest: Manifest = parse_manifest(content, path)
        self.labels: tuple[str, ...] = tuple(self.manifest["labels"])
        self._sessions: dict[str, Session] = {}

    @cached_property
    def encoder(self) -> DeviceEncoder:
        """The bundle's preprocessing."""
        try:
            return open_encoder(self.path, self.manifest["preprocessing"])
        except typed.Mismatch as error:
            raise RunError(f"{self.path / MANIFEST}: preprocessing: {error}") from error

    def session(self, variant: str = "fp32") -> Session:
        """The session of a variant, opened once.

        Raises:
            RunError: the bundle has no such variant, or its file does not load.
        """
        variants = self.manifest["variants"]
        if variant not in variants:
            raise RunError(f"{self.path}: no variant {variant!r}; it has {', '.join(variants)}")
        if variant not in self._sessions:
            path = inside(self.path, variants[variant]["file"])
            beside = external_data.locations(path)
            if beside:
                raise RunError(f"{path}: keeps tensors in {beside[0]!r}; a bundle's ONNX file holds all of its own")
            self._sessions[variant] = Session(path)
        return self._sessions[variant]

    def outputs(self, inputs: Inputs, variant: str = "fp32") -> Array:
        """Logits (rows, labels) of one batch.

        Raises:
            RunError: the file refuses the batch, or gives another shape.
        """
        session = self.session(variant)
        logits = session(inputs)
        expected = (len(next(iter(inputs.values()))), len(self.labels))
        if logits.shape != expected or logits.dtype.kind != "f":
            raise RunError(f"{session.path}: gives {logits.dtype} {logits.shape}, expected float32 {expected}")
        return logits

    def logits(self, rows: Sequence[Row], variant: str = "fp32", progress: Callable[[int], Any] | None = None) -> Array:
        """Outputs (rows, labels) of raw rows.

        Raises:
            RunError: as `outputs`, or one of them is NaN or infinity, of which no answer can be made.
        """
        self.session(variant)
        logits = logits_of(lambda inputs: self.outputs(inputs, variant), self.encoder, rows, progress)
        if not np.isfinite(logits).all():
            raise RunError(f"{self.session(variant).path}: gives NaN or infinity")
        return logits

    def predict(self, inputs: Sequence[Any], variant: str = "fp32") -> list[classes.Answer]:
        """Label and probability of each input: a text, a row with `text` and `text_pair`, an image or its path."""
        if isinstance(inputs, str | bytes | Mapping):
            raise TypeError("predict takes a list of inputs; write predict([one])")
        rows = [one if isinstance(one, Mapping) else {self.encoder.key: one} for one in inputs]
        if self.manifest["recipe"]["data"].get("text_pair") and any(one.get("text_pair") is None for one in rows):
            raise TypeError("this model reads pairs; give rows with 'text' and 'text_pair'")
        if not rows:
            return []
        return classes.decode(self.logits(rows, variant), self.labels)

    def score(self, rows: Sequence[Row], variant: str = "fp32", progress: Callable[[int], Any] | None = None) -> float:
        """The bundle's metric in percent on rows with `label` as an index."""
        return classes.score(self.manifest["metric"], self.logits(rows, variant, progress), classes.targets(rows))

    def verify(self, checks: Collection[str] = CHECKS, *, strict: bool = False) -> list[Comparison]:
        """Every comparison asked for; breaches are in the list, nothing is raised for them.

        Args:
            checks: names out of CHECKS.
            strict: what pytest leaves beside the kit counts as an added file.
        """
        made: list[Comparison] = []
        if "integrity" in checks:
            look = partial(integrity, self, pytest_ran=not strict)
            made += tried(look, stage="bundle", file=MANIFEST)
        asked = [one for one in CHECKS[1:] if one in checks]
        if asked:
            made += tried(verify.against_goldens, self, asked, stage="bundle", file=FOLDER)
        return made

    def facts_kept(self, arrays: Mapping[str, Array], checks: Collection[str]) -> list[Comparison]:
        """More that the bundle says of itself; where tunedeploy is installed it looks at it (see bundle_checks)."""
        del arrays, checks
        return []

    def graph_kept(self, variant: str) -> list[Comparison]:
        """More of a variant's graph; a device has no package that reads one."""
        del variant
        return []


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder.

    Raises:
        RunError: it is no bundle.
    """
    return Bundle(Path(path))
