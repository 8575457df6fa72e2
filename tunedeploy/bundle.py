"""Load a bundle and use it: predict, score, verify; needs numpy, onnxruntime and tokenizers or Pillow, no torch."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tunedeploy import parity, plugins
from tunedeploy.checks import CHECKS, names_kept, tried
from tunedeploy.encoders import Array, Row
from tunedeploy.errors import RunError
from tunedeploy.manifest import read_manifest
from tunedeploy.parity import Comparison
from tunedeploy.rundir import files_below, read_array, read_json, sha256
from tunedeploy.runtime import Session, instruction_set, logits_of


class Bundle:
    """A bundle on disk.

    Args:
        path: the folder with manifest.json.

    Raises:
        RunError: it is no bundle.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path}: is no bundle, it has no manifest.json; 'tunedeploy export' writes one")
        self.path = path
        self.manifest = read_manifest(path)
        self.labels: tuple[str, ...] = tuple(self.manifest["labels"])
        self.task: Any = plugins.load("tasks", self.manifest["task"])
        self._sessions: dict[str, Session] = {}

    @cached_property
    def encoder(self) -> Any:
        """The bundle's preprocessing."""
        try:
            return self.task.device_encoder(self.path, self.manifest["preprocessing"])
        except (TypeError, KeyError, AttributeError) as error:
            raise RunError(
                f"{self.path / 'manifest.json'}: 'preprocessing' is not that of this task: {error}"
            ) from error

    def session(self, variant: str = "fp32") -> Session:
        """The session of a variant, opened once.

        Raises:
            RunError: the bundle has no such variant, or its file does not load.
        """
        variants = self.manifest["variants"]
        if variant not in variants:
            raise RunError(f"{self.path}: no variant {variant!r}; it has {', '.join(variants)}")
        if variant not in self._sessions:
            self._sessions[variant] = Session(self.path / variants[variant]["file"])
        return self._sessions[variant]

    def logits(self, rows: Sequence[Row], variant: str = "fp32", progress: Callable[[int], Any] | None = None) -> Array:
        """Outputs (rows, labels) of raw rows."""
        return logits_of(self.session(variant), self.encoder, rows, progress)

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

    def verify(self, checks: Sequence[str] = CHECKS) -> list[Comparison]:
        """Every comparison asked for; breaches are in the list, nothing is raised for them."""
        made = integrity(self) if "integrity" in checks else []
        asked = [one for one in CHECKS[1:] if one in checks]
        if asked:
            made += tried(against_goldens, self, asked, stage="bundle", file="parity")
        return made


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle folder.

    Raises:
        RunError: it is no bundle.
    """
    return Bundle(Path(path))


def integrity(bundle: Bundle) -> list[Comparison]:
    """Every file has the bytes that the manifest says, none is missing and none was added."""
    listed: dict[str, str] = bundle.manifest["files"]
    there = {path.relative_to(bundle.path).as_posix(): path for path in files_below(bundle.path)}
    made = [
        *((name, "missing") for name in listed if name not in there),
        *((name, "changed") for name, digest in listed.items() if name in there and sha256(there[name]) != digest),
        *((name, "added") for name in there if name not in listed and name != "manifest.json" and not _by_pytest(name)),
    ]
    if not made:
        return [
            Comparison(name="files missing, changed or added", stage="bundle", file="manifest.json", value=0, limit=0)
        ]
    return [Comparison(name=f"file {what}", stage="bundle", file=name, value=1, limit=0) for name, what in made]


def _by_pytest(name: str) -> bool:
    return any(part in ("__pycache__", ".pytest_cache") for part in name.split("/"))


def against_goldens(bundle: Bundle, checks: Sequence[str]) -> list[Comparison]:
    """Goldens of the parity kit, run again: inputs from raw rows, outputs from inputs, answers from outputs."""
    folder = bundle.path / "parity"
    golden, rules = read_json(folder / "golden.json"), read_json(folder / "tolerances.json")
    arrays: dict[str, Array] = read_array(folder / "golden.npz")
    made: list[Comparison] = []
    if "preprocessing" in checks:
        made += tried(inputs_again, bundle, golden, arrays, stage="bundle", file="parity/golden.npz")
        made += tried(told_alike, bundle, golden, stage="bundle", file="labels.json")
    listed = {name: one["file"] for name, one in bundle.manifest["variants"].items()}
    ruled = {name: one["file"] for name, one in rules["variants"].items()}
    made.append(
        Comparison(
            name="variants that manifest.json and tolerances.json tell otherwise", stage="bundle",
            file="parity/tolerances.json", value=len(set(listed.items()) ^ set(ruled.items())) + (not ruled), limit=0,
        )
    )  # fmt: skip
    for variant, rule in rules["variants"].items():
        made += tried(variant_again, bundle, variant, rules, arrays, checks, stage="bundle", file=rule["file"])
    return made


def variant_again(
    bundle: Bundle, variant: str, rules: Mapping[str, Any], arrays: Mapping[str, Array], checks: Sequence[str]
) -> list[Comparison]:
    """One variant's names, outputs and answers; outputs by decisions where integer kernels may round otherwise."""
    made, rule = [], rules["variants"][variant]
    made_on = (rules["made_on"]["instruction_set"], rules["made_on"]["onnxruntime"])
    here = made_on == (instruction_set(), onnxruntime.__version__)
    if "parity" in checks:
        inputs = bundle.manifest["preprocessing"]["inputs"]
        made.append(names_kept(bundle.session(variant), inputs, stage="bundle", file=rule["file"]))
        made += evaluation_kept(bundle, variant, rule["file"])
        made += cpus_kept(bundle, variant)
    if {"parity", "metric"} & set(checks):
        expected, got = outputs_again(bundle, variant, arrays)
        if "parity" in checks:
            reference, _ = outputs_again(bundle, variant, arrays, "fp32")
            made.append(
                Comparison(
                    name=f"fp32 goldens vs {variant}: gain of the logits", stage="bundle", file=rule["file"],
                    value=parity.gain(reference, got), limit=parity.GAIN, rows=len(got),
                )
            )  # fmt: skip
            made.append(outputs_kept(variant, rule, expected, got, exact=here or variant == "fp32"))
        if "metric" in checks:
            made.append(answers_kept(variant, rule, expected, got))
    return made


def evaluation_kept(bundle: Bundle, variant: str, file: str) -> list[Comparison]:
    """Nodes that compute as in training, which onnxruntime passes over; a device without onnx cannot look."""
    try:
        import onnx
    except ModuleNotFoundError:
        return []
    from tunedeploy.checks import nodes_in_evaluation

    return [nodes_in_evaluation(onnx.load(bundle.path / file), name=variant, stage="bundle", file=file)]


def cpus_kept(bundle: Bundle, variant: str) -> list[Comparison]:
    """Products that can saturate in a file that was said to be proved; a device without onnx cannot look."""
    try:
        import onnx
    except ModuleNotFoundError:
        return []
    del onnx
    from tunedeploy.cpu_checks import products_kept

    said = bundle.manifest["variants"][variant]
    return products_kept(bundle.path / said["file"], variant, said, stage="bundle")


def inputs_again(bundle: Bundle, golden: Mapping[str, Any], arrays: Mapping[str, Array]) -> list[Comparison]:
    """Raw golden rows through the bundle's preprocessing against the golden inputs."""
    worst, where = 0.0, ""
    for at, row in enumerate(golden["rows"]):
        raw = {**row, "image": str(bundle.path / "parity" / row["image"])} if "image" in row else row
        for name, value in bundle.encoder.collate(bundle.encoder.encode([raw])).items():
            difference = parity.largest_difference(value, arrays[f"raw{at:03d}/input/{name}"])[0]
            if difference > worst:
                worst, where = difference, f"golden row {at}, {name}"
    return [
        Comparison(
            name="raw rows vs golden inputs: largest difference", stage="bundle", file="parity/golden.npz",
            value=worst, limit=golden["input_tolerance"], rows=len(golden["rows"]), where=where,
        )
    ]  # fmt: skip


def told_alike(bundle: Bundle, golden: Mapping[str, Any]) -> list[Comparison]:
    """Labels, in order, and preprocessing are told alike by every file of the bundle that tells them."""
    config = read_json(bundle.path / "config.json")
    names, ids = config["id2label"], config.get("label2id", {})
    labels = [read_json(bundle.path / "labels.json"), list(bundle.labels), [names[str(at)] for at in range(len(names))]]
    labels.append(sorted(ids, key=lambda label: ids[label]))
    facts = [bundle.manifest["preprocessing"]]
    for name in bundle.manifest["variants"]:
        metadata = bundle.session(name).metadata
        labels.append(json.loads(metadata["tunedeploy.labels"]))
        facts.append(json.loads(metadata["tunedeploy.preprocessing"]))
    odd = bundle.task.contradictions(bundle.path, golden["preprocessing"])
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


def outputs_again(
    bundle: Bundle, variant: str, arrays: Mapping[str, Array], golden: str | None = None
) -> tuple[Array, Array]:
    """Golden outputs (of `golden` where named) and those of now, (rows, labels).

    Raises:
        RunError: there are none.
    """
    keys = sorted(name.rpartition("/output/")[0] for name in arrays if name.endswith(f"/output/{variant}"))
    expected, got = [], []
    for key in keys:
        inputs = {name.rpartition("/")[2]: value for name, value in arrays.items() if name.startswith(f"{key}/input/")}
        expected.append(arrays[f"{key}/output/{golden or variant}"])
        got.append(bundle.session(variant)(inputs))
    if not expected:
        raise RunError(f"{bundle.path / 'parity' / 'golden.npz'}: has no output of {variant}")
    return np.concatenate(expected), np.concatenate(got)


def outputs_kept(variant: str, rule: Mapping[str, Any], expected: Array, got: Array, *, exact: bool) -> Comparison:
    """Outputs against goldens: by difference on an equal machine, by decisions on another."""
    value, row = parity.largest_difference(expected, got)
    if exact or not np.isfinite(value):
        return Comparison(
            name=f"{variant} vs golden outputs: largest logit difference", stage="bundle", file=rule["file"],
            value=value, limit=rule["max_abs"], rows=len(expected), where=f"golden row {row}",
        )  # fmt: skip
    clear = parity.margins(expected) > rule["near_tie"]
    flipped = np.flatnonzero(clear & (expected.argmax(1) != got.argmax(1)))
    return Comparison(
        name=f"{variant} vs golden outputs: answers changed outside near-ties", stage="bundle", file=rule["file"],
        value=len(flipped), limit=int(np.ceil(rule["flips"] * len(expected))), rows=len(expected),
        where=f"golden row {flipped[0]}" if len(flipped) else "", facts={"largest_difference": value},
    )  # fmt: skip


def answers_kept(variant: str, rule: Mapping[str, Any], expected: Array, got: Array) -> Comparison:
    """Golden rows whose answer changed though it was no near-tie."""
    clear = parity.margins(expected) > rule.get("near_tie", 2 * rule["max_abs"])
    changed = np.flatnonzero(clear & (expected.argmax(1) != got.argmax(1)))
    return Comparison(
        name=f"{variant}: golden answers that changed", stage="bundle", file=rule["file"], value=len(changed), limit=0,
        rows=len(expected), where=f"golden row {changed[0]}" if len(changed) else "",
    )  # fmt: skip
