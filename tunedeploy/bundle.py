"""Load a bundle and use it: predict, score, verify; needs numpy, onnxruntime and tokenizers or Pillow, no torch."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import onnxruntime

from tunedeploy import external_data, parity, plugins, signature, typed
from tunedeploy.bundle_facts import another_decoder, facts_kept, variants_described
from tunedeploy.checks import CHECKS, cpus_kept, evaluation_kept, names_kept, tried, unusable
from tunedeploy.encoders import Array, Inputs, Row
from tunedeploy.errors import RunError, UserError
from tunedeploy.goldens import FOLDER, Golden, Goldens, Rule, raw_row, read_goldens
from tunedeploy.inside import inside
from tunedeploy.integrity import identity, integrity
from tunedeploy.manifest import MANIFEST, Manifest, bundle_id, parse_manifest, read_bytes
from tunedeploy.parity import Comparison
from tunedeploy.runtime import Session, instruction_set, logits_of
from tunedeploy.tokenizer_checks import as_probed


class Config(TypedDict):
    """config.json, as far as other programs read labels from it."""

    id2label: dict[str, str]
    label2id: NotRequired[dict[str, int]]


class Bundle:
    """A bundle on disk.

    Args:
        path: the folder with manifest.json.

    Raises:
        RunError: it is no bundle.
    """

    def __init__(self, path: Path) -> None:
        if not (path / MANIFEST).is_file():
            raise RunError(f"{path}: is no bundle, it has no manifest.json; 'tunedeploy export' writes one")
        self.path = path
        content = read_bytes(path)
        self.id = bundle_id(content)
        self.manifest: Manifest = parse_manifest(content, path)
        self.labels: tuple[str, ...] = tuple(self.manifest["labels"])
        self.task: Any = self._task()
        self._sessions: dict[str, Session] = {}

    def _task(self) -> Any:
        columns = self.manifest["recipe"]["data"]
        try:
            task = plugins.load("tasks", self.manifest["task"])
            for column in task.COLUMNS:
                typed.check(columns.get(column.key), str | None, f"recipe.data.{column.key}")
        except UserError as error:
            raise RunError(f"{self.path / MANIFEST}: task: {error}") from error
        return task

    @cached_property
    def encoder(self) -> Any:
        """The bundle's preprocessing."""
        try:
            return self.task.device_encoder(self.path, self.manifest["preprocessing"])
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

    def predict(self, inputs: Sequence[Any], variant: str = "fp32") -> list[dict[str, Any]]:
        """Label and probability of each input: a text, a row with `text` and `text_pair`, an image or its path."""
        if isinstance(inputs, str | bytes | Mapping):
            raise TypeError("predict takes a list of inputs; write predict([one])")
        rows = [one if isinstance(one, Mapping) else {self.task.BARE_INPUT: one} for one in inputs]
        if self.manifest["recipe"]["data"].get("text_pair") and any(one.get("text_pair") is None for one in rows):
            raise TypeError("this model reads pairs; give rows with 'text' and 'text_pair'")
        if not rows:
            return []
        found: list[dict[str, Any]] = self.task.decode(self.logits(rows, variant), self.labels)
        return found

    def score(self, rows: Sequence[Row], variant: str = "fp32", progress: Callable[[int], Any] | None = None) -> float:
        """The bundle's metric in percent on rows with `label` as an index."""
        value: float = self.task.score(
            self.manifest["metric"], self.logits(rows, variant, progress), self.task.targets(rows)
        )
        return value

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
            made += tried(variants_described, self, stage="bundle", file=MANIFEST)
        asked = [one for one in CHECKS[1:] if one in checks]
        if asked:
            made += tried(against_goldens, self, asked, stage="bundle", file=FOLDER)
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
        made = identity(path, read_bytes(path), expect=expect, key=holder)
        if not all(one.ok for one in made):
            return made
        bundle = Bundle(path)
    except RunError as error:
        return [unusable(error, stage="bundle", file=MANIFEST)]
    return [*made, *bundle.verify({*checks, "integrity"} if strict else checks, strict=strict)]


def against_goldens(bundle: Bundle, checks: Sequence[str]) -> list[Comparison]:
    """Goldens of the parity kit, run again: inputs from raw rows, outputs from inputs, answers from outputs."""
    goldens = read_goldens(bundle.path, bundle.manifest)
    golden, rules, arrays = goldens.golden, goldens.rules, goldens.arrays
    made: list[Comparison] = []
    if "preprocessing" in checks:
        made += tried(inputs_again, bundle, golden, arrays, stage="bundle", file="parity/golden.npz")
        made += tried(told_alike, bundle, golden, stage="bundle", file="labels.json")
        made += tried(as_probed, bundle.path, golden, stage="bundle", file="tokenizer.json")
    made += tried(facts_kept, bundle, arrays, checks, stage="bundle", file="manifest.json")
    listed = {name: one["file"] for name, one in bundle.manifest["variants"].items()}
    ruled = {name: one["file"] for name, one in rules["variants"].items()}
    made.append(
        Comparison(
            name="variants that manifest.json and tolerances.json tell otherwise", stage="bundle",
            file="parity/tolerances.json", value=len(set(listed.items()) ^ set(ruled.items())) + (not ruled), limit=0,
        )
    )  # fmt: skip
    for variant, file in listed.items():
        if variant in ruled:
            made += tried(variant_again, bundle, variant, goldens, checks, stage="bundle", file=file)
    return made


def variant_again(bundle: Bundle, variant: str, goldens: Goldens, checks: Sequence[str]) -> list[Comparison]:
    """One variant's names, outputs and answers; outputs by decisions where integer kernels may round otherwise."""
    made: list[Comparison] = []
    rule, made_on = goldens.rules["variants"][variant], goldens.rules["made_on"]
    here = made_on == made_on | {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__}
    file = rule["file"]
    if "parity" in checks:
        inputs = bundle.encoder.facts["inputs"]
        made.append(names_kept(bundle.session(variant), inputs, stage="bundle", file=file))
        made += evaluation_kept(inside(bundle.path, file), name=variant, stage="bundle", file=file)
        made += cpus_kept(inside(bundle.path, file), variant, bundle.manifest["variants"][variant])
    if {"parity", "metric"} & set(checks):
        expected, got = goldens.outputs(variant), outputs_again(bundle, variant, goldens)
        if "parity" in checks:
            # Goldens that lie no further apart than quantization moves them tell no gain; the file's own do.
            base = "fp32" if parity.tells_gain(goldens.outputs("fp32"), expected) else variant
            made.append(
                Comparison(
                    name=f"{base} goldens vs {variant}: gain of the logits", stage="bundle", file=file,
                    value=parity.gain(goldens.outputs(base), got), limit=parity.GAIN, rows=len(got),
                )
            )  # fmt: skip
            made.append(outputs_kept(variant, rule, expected, got, exact=here or variant == "fp32"))
        if "metric" in checks:
            made.append(answers_kept(f"{variant}: golden answers that changed", rule, expected, got))
    return made


def inputs_again(bundle: Bundle, golden: Golden, arrays: Mapping[str, Array]) -> list[Comparison]:
    """Raw golden rows through the bundle's preprocessing against the golden inputs."""
    worst, where = 0.0, ""
    for at, row in enumerate(golden["rows"]):
        raw = raw_row(bundle.path, row, at=at, needed=bundle.task.BARE_INPUT)
        for name, value in bundle.encoder.collate(bundle.encoder.encode([raw])).items():
            difference = parity.largest_difference(value, arrays[f"raw{at:03d}/input/{name}"])[0]
            if difference > worst:
                worst, where = difference, f"golden row {at}, {name}"
    return [
        Comparison(
            name="raw rows vs golden inputs: largest difference", stage="bundle", file="parity/golden.npz",
            value=worst, limit=golden["input_tolerance"], rows=len(golden["rows"]),
            where=where + another_decoder(bundle.manifest) * bool(where),
        )
    ]  # fmt: skip


def told_alike(bundle: Bundle, golden: Golden) -> list[Comparison]:
    """Labels, in order, and preprocessing are told alike by every file of the bundle that tells them."""
    config = typed.read(inside(bundle.path, "config.json"), Config)
    names, ids = config["id2label"], config.get("label2id", {})
    labels = [typed.read(inside(bundle.path, "labels.json"), list[str]), list(bundle.labels)]
    labels.append([names.get(str(at), "") for at in range(len(names))])
    labels.append(sorted(ids, key=lambda label: ids[label]))
    facts = [bundle.manifest["preprocessing"]]
    for name in bundle.manifest["variants"]:
        metadata, place = bundle.session(name).metadata, bundle.manifest["variants"][name]["file"]
        labels.append(typed.parse(metadata["tunedeploy.labels"], list[str], f"{place}: tunedeploy.labels"))
        told = metadata["tunedeploy.preprocessing"]
        facts.append(typed.parse(told, dict[str, Any], f"{place}: tunedeploy.preprocessing"))
    odd = bundle.task.contradictions(bundle.path, bundle.encoder.facts)
    return [
        Comparison(
            name="label lists that differ", stage="bundle", file="labels.json", limit=0, rows=len(labels),
            value=sum(one != golden["labels"] for one in labels),
        ),
        Comparison(
            name="preprocessing told otherwise", stage="bundle", file="manifest.json", limit=0, rows=len(facts) + 1,
            value=sum(one != golden["preprocessing"] for one in facts) + len(odd), where=", ".join(odd),
        ),
    ]  # fmt: skip


def outputs_again(bundle: Bundle, variant: str, goldens: Goldens) -> Array:
    """Outputs of now for every group of golden inputs, (rows, labels)."""
    return np.concatenate([bundle.outputs(goldens.inputs(group), variant) for group in goldens.groups])


def outputs_kept(variant: str, rule: Rule, expected: Array, got: Array, *, exact: bool) -> Comparison:
    """Outputs against goldens: by difference on an equal machine, by decisions on another."""
    value, row = parity.largest_difference(expected, got)
    if exact or not np.isfinite(value):
        return Comparison(
            name=f"{variant} vs golden outputs: largest logit difference", stage="bundle", file=rule["file"],
            value=value, limit=rule["max_abs"], rows=len(expected), where=f"golden row {row}",
        )  # fmt: skip
    return answers_kept(f"{variant} vs golden outputs: answers changed outside near-ties", rule, expected, got)


def answers_kept(name: str, rule: Rule, expected: Array, got: Array) -> Comparison:
    """Golden rows whose answer changed though it was no near-tie: none may, on any machine; the kit's rule too."""
    clear = parity.margins(expected) > rule.get("near_tie", 2 * rule["max_abs"])
    changed = np.flatnonzero(clear & (expected.argmax(1) != got.argmax(1)))
    return Comparison(
        name=name, stage="bundle", file=rule["file"], value=len(changed), limit=0, rows=len(expected),
        where=f"golden row {changed[0]}" if len(changed) else "",
        facts={"largest_difference": parity.largest_difference(expected, got)[0]},
    )  # fmt: skip
