"""A bundle held to the goldens that came with it: inputs from raw rows, outputs from inputs, answers from outputs."""

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import onnxruntime

from . import typed
from .agreement import largest_difference
from .comparison import Comparison, names_kept, tried
from .decisions import classes
from .encoders import Array
from .goldens import Golden, Goldens, Rule, raw_row, read_goldens
from .inside import inside
from .runtime import instruction_set
from .tokenizer_checks import as_probed

if TYPE_CHECKING:
    from .bundle import Bundle


class Config(TypedDict):
    """config.json, as far as other programs read labels from it."""

    id2label: dict[str, str]
    label2id: NotRequired[dict[str, int]]


def against_goldens(bundle: "Bundle", checks: Sequence[str]) -> list[Comparison]:
    """Goldens of the parity kit, run again: inputs from raw rows, outputs from inputs, answers from outputs."""
    goldens = read_goldens(bundle.path, bundle.manifest)
    golden, arrays = goldens.golden, goldens.arrays
    made: list[Comparison] = []
    if "preprocessing" in checks:
        made += tried(inputs_again, bundle, golden, arrays, stage="bundle", file="parity/golden.npz")
        made += tried(told_alike, bundle, golden, stage="bundle", file="labels.json")
        made += tried(as_probed, bundle.path, golden, stage="bundle", file="tokenizer.json")
    made += tried(bundle.facts_kept, arrays, checks, stage="bundle", file="manifest.json")
    made += rules_kept(bundle, goldens)
    for variant, one in bundle.manifest["variants"].items():
        if variant in goldens.rules["variants"]:
            made += tried(variant_again, bundle, variant, goldens, checks, stage="bundle", file=one["file"])
    return made


def rules_kept(bundle: "Bundle", goldens: Goldens) -> list[Comparison]:
    """Every variant is held to a rule, and every rule is of a variant."""
    listed = {name: one["file"] for name, one in bundle.manifest["variants"].items()}
    ruled = {name: one["file"] for name, one in goldens.rules["variants"].items()}
    return [
        Comparison(
            name="variants that manifest.json and tolerances.json tell otherwise", stage="bundle",
            file="parity/tolerances.json", value=len(set(listed.items()) ^ set(ruled.items())) + (not ruled), limit=0,
        )
    ]  # fmt: skip


def variant_again(bundle: "Bundle", variant: str, goldens: Goldens, checks: Sequence[str]) -> list[Comparison]:
    """One variant's names, outputs and answers; outputs by decisions where integer kernels may round otherwise."""
    made: list[Comparison] = []
    rule, made_on = goldens.rules["variants"][variant], goldens.rules["made_on"]
    here = made_on == made_on | {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__}
    file = rule["file"]
    if "parity" in checks:
        inputs = list(goldens.inputs(goldens.groups[0]))  # read_goldens held their names to the preprocessing
        made.append(names_kept(bundle.session(variant), inputs, stage="bundle", file=file))
        made += bundle.graph_kept(variant)
    if {"parity", "metric"} & set(checks):
        expected, got = goldens.outputs(variant), outputs_again(bundle, variant, goldens)
        if "parity" in checks:
            # Goldens that lie no further apart than quantization moves them tell no gain; the file's own do.
            base = "fp32" if classes.tells_gain(goldens.outputs("fp32"), expected) else variant
            made.append(
                Comparison(
                    name=f"{base} goldens vs {variant}: gain of the logits", stage="bundle", file=file,
                    value=classes.gain(goldens.outputs(base), got), limit=classes.GAIN, rows=len(got),
                )
            )  # fmt: skip
            made.append(outputs_kept(variant, rule, expected, got, exact=here or variant == "fp32"))
        if "metric" in checks:
            made.append(answers_kept(f"{variant}: golden answers that changed", rule, expected, got))
    return made


def inputs_again(bundle: "Bundle", golden: Golden, arrays: Mapping[str, Array]) -> list[Comparison]:
    """Raw golden rows through the bundle's preprocessing against the golden inputs."""
    worst, where = 0.0, ""
    for at, row in enumerate(golden["rows"]):
        raw = raw_row(bundle.path, row, at=at, needed=bundle.encoder.key)
        for name, value in bundle.encoder.collate(bundle.encoder.encode([raw])).items():
            difference = largest_difference(value, arrays[f"raw{at:03d}/input/{name}"])[0]
            if difference > worst:
                worst, where = difference, f"golden row {at}, {name}"
    return [
        Comparison(
            name="raw rows vs golden inputs: largest difference", stage="bundle", file="parity/golden.npz",
            value=worst, limit=golden["input_tolerance"], rows=len(golden["rows"]),
            where=where + another_decoder(bundle.manifest) * bool(where),
        )
    ]  # fmt: skip


def another_decoder(manifest: Mapping[str, Any]) -> str:
    """Versions of the package that turns raw rows into inputs, where this one is not that of the goldens.

    Pillow's versions differ: 13 scales tall images in another order than 12, by up to 23 steps of 8 bits when bicubic.
    """
    name = "pillow" if manifest["preprocessing"].get("kind") == "image" else "tokenizers"
    made = manifest.get("versions", {}).get(name)
    try:
        here = version(name)
    except PackageNotFoundError:
        return ""
    return "" if made in (None, here) else f" (made with {name} {made}, here {here})"


def told_alike(bundle: "Bundle", golden: Golden) -> list[Comparison]:
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
        facts.append(typed.parse(told, typed.OBJECT, f"{place}: tunedeploy.preprocessing"))
    odd = bundle.encoder.contradictions(bundle.path)
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


def outputs_again(bundle: "Bundle", variant: str, goldens: Goldens) -> Array:
    """Outputs of now for every group of golden inputs, (rows, labels)."""
    return np.concatenate([bundle.outputs(goldens.inputs(group), variant) for group in goldens.groups])


def outputs_kept(variant: str, rule: Rule, expected: Array, got: Array, *, exact: bool) -> Comparison:
    """Outputs against goldens: by difference on an equal machine, by decisions on another."""
    value, row = largest_difference(expected, got)
    if exact or not np.isfinite(value):
        return Comparison(
            name=f"{variant} vs golden outputs: largest logit difference", stage="bundle", file=rule["file"],
            value=value, limit=rule["max_abs"], rows=len(expected), where=f"golden row {row}",
        )  # fmt: skip
    return answers_kept(f"{variant} vs golden outputs: answers changed outside near-ties", rule, expected, got)


def answers_kept(name: str, rule: Rule, expected: Array, got: Array) -> Comparison:
    """Golden rows whose answer changed though it was no near-tie: none may, on any machine."""
    changed = classes.flipped(expected, got, rule.get("near_tie", 2 * rule["max_abs"]))
    return Comparison(
        name=name, stage="bundle", file=rule["file"], value=len(changed), limit=0, rows=len(expected),
        where=f"golden row {changed[0]}" if len(changed) else "",
        facts={"largest_difference": largest_difference(expected, got)[0]},
    )  # fmt: skip
