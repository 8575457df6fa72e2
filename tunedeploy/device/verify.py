"""A bundle held to the goldens that came with it: inputs from raw rows, outputs from inputs, answers from outputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import onnxruntime

from . import typed
from .agreement import GAIN, gain, largest_difference, tells_gain
from .comparison import Comparison, Ledger, names_kept, tried
from .decisions import flipped
from .encoders import Array
from .generated import cache_again, texts_again
from .goldens import Golden, Goldens, Rule, raw_row, read_goldens
from .inside import inside
from .manifest import MANIFEST, files_of
from .runtime import instruction_set
from .signature import elements
from .tokenizer_checks import as_probed

if TYPE_CHECKING:
    from .bundle import Bundle


class Config(TypedDict):
    """config.json, as far as other programs read labels from it."""

    id2label: NotRequired[dict[str, str]]
    label2id: NotRequired[dict[str, int]]


def against_goldens(bundle: "Bundle", checks: Sequence[str]) -> list[Comparison]:
    """Goldens of the parity kit, run again: inputs from raw rows, outputs from inputs, answers from outputs."""
    goldens = read_goldens(bundle.path, bundle.manifest, bundle.graph)
    golden, arrays = goldens.golden, goldens.arrays
    comparisons: list[Comparison] = []
    if "preprocessing" in checks:
        comparisons += tried(inputs_again, bundle, golden, arrays, stage="bundle", file="parity/golden.npz")
        comparisons += tried(labels_alike, bundle, golden, stage="bundle", file="labels.json")
        comparisons += tried(preprocessing_alike, bundle, golden, stage="bundle", file=MANIFEST)
        comparisons += tried(as_probed, bundle.path, golden, stage="bundle", file="tokenizer.json")
    comparisons += tried(bundle.facts_kept, arrays, checks, stage="bundle", file="manifest.json")
    comparisons += rules_kept(bundle, goldens)
    for variant, entry in bundle.manifest["variants"].items():
        if variant in goldens.rules["variants"]:
            comparisons += tried(variant_again, bundle, variant, goldens, checks, stage="bundle", file=entry["file"])
    return comparisons


def rules_kept(bundle: "Bundle", goldens: Goldens) -> list[Comparison]:
    """Every variant has a rule, and every rule is that of a variant."""
    listed = {name: variant["file"] for name, variant in bundle.manifest["variants"].items()}
    ruled = {name: rule["file"] for name, rule in goldens.rules["variants"].items()}
    unmatched = len(set(listed.items()) ^ set(ruled.items())) + (not ruled)
    return [Ledger(stage="bundle", file="parity/tolerances.json").at_most("golden-rules", unmatched, 0)]


def variant_again(bundle: "Bundle", variant: str, goldens: Goldens, checks: Sequence[str]) -> list[Comparison]:
    """One variant's names, outputs and answers; outputs by decisions where integer kernels may round differently."""
    comparisons: list[Comparison] = []
    rule, made_on = goldens.rules["variants"][variant], goldens.rules["made_on"]
    here = made_on == made_on | {"instruction_set": instruction_set(), "onnxruntime": onnxruntime.__version__}
    ledger = Ledger(stage="bundle", file=rule["file"], variant=variant)
    if "parity" in checks:
        for graph in bundle.program.graphs:
            session = bundle.sessions(variant).of_graph[graph.name]
            file = session.path.relative_to(bundle.path).as_posix()
            comparisons.append(names_kept(replace(ledger, file=file), session, graph))
        comparisons += bundle.graph_kept(variant)
    if {"parity", "metric"} & set(checks):
        got = Outputs(bundle, goldens, outputs_again(bundle, variant, goldens))
        expected = Outputs(bundle, goldens, goldens.outputs(variant))
        if "parity" in checks:
            comparisons.append(gain_kept(ledger, Outputs(bundle, goldens, goldens.outputs("fp32")), expected, got))
            comparisons.append(outputs_kept(ledger, rule, expected, got, exact=here or variant == "fp32"))
            comparisons += cache_again(ledger, bundle, goldens)
        if "metric" in checks:
            comparisons.append(answers_kept(ledger, "golden-answers", rule, expected, got))
            comparisons += texts_again(ledger, bundle, goldens, exact=here)
    return comparisons


class Outputs:
    """What a variant gives for the golden batches: its outputs, one of each group, and what they mean."""

    def __init__(self, bundle: "Bundle", goldens: Goldens, outputs: Sequence[Array]) -> None:
        value = bundle.graph.outputs[0]
        self.decision = bundle.decision
        batches = [goldens.inputs(group) for group in goldens.groups]
        pairs = list(zip(outputs, batches, strict=True))
        # The valid parts, and the row of all groups that each is of.
        parts = [elements(value, output, batch) for output, batch in pairs]
        starts = np.cumsum([0, *(len(output) for output in outputs)])
        self.valid = np.concatenate([part for part, _ in parts])
        self.rows = np.concatenate([row + start for (_, row), start in zip(parts, starts, strict=False)])
        answers = [bundle.decision.answers({value.name: output}, batch) for output, batch in pairs]
        self.evidence = np.concatenate([answer.evidence for answer in answers])
        self.unit_rows = np.concatenate([answer.row + start for answer, start in zip(answers, starts, strict=False)])


def inputs_again(bundle: "Bundle", golden: Golden, arrays: Mapping[str, Array]) -> list[Comparison]:
    """Raw golden rows through the bundle's preprocessing against the golden inputs."""
    worst, where = 0.0, ""
    for at, row in enumerate(golden["rows"]):
        raw = raw_row(bundle.path, row, at=at, needed=bundle.encoder.key)
        for name, value in bundle.encoder.collate(bundle.encoder.encode([raw])).items():
            difference = largest_difference(value, arrays[f"raw{at:03d}/input/{name}"])[0]
            if difference > worst:
                worst, where = difference, f"golden row {at}, {name}"
    ledger = Ledger(stage="bundle", file="parity/golden.npz")
    where += another_decoder(bundle.manifest) * bool(where)
    rows = len(golden["rows"])
    return [ledger.at_most("golden-inputs", worst, golden["input_tolerance"], rows=rows, where=where)]


def another_decoder(manifest: Mapping[str, Any]) -> str:
    """Versions of the package that turns raw rows into inputs, where this one is not that of the goldens.

    Pillow's versions differ: 13 scales tall images in another order than 12, by up to 23 steps of 8 bits when bicubic.
    """
    name = "pillow" if manifest["preprocessing"].get("kind") == "image" else "tokenizers"
    recorded = manifest.get("versions", {}).get(name)
    try:
        here = version(name)
    except PackageNotFoundError:
        return ""
    return "" if recorded in (None, here) else f" (made with {name} {recorded}, here {here})"


def metadata_of_files(bundle: "Bundle") -> Iterator[tuple[str, Mapping[str, str]]]:
    """The metadata of each .onnx file, with its name."""
    for name, variant in bundle.manifest["variants"].items():
        for graph, file in files_of(variant).items():
            yield file, bundle.sessions(name).of_graph[graph].metadata


def labels_alike(bundle: "Bundle", golden: Golden) -> list[Comparison]:
    """Every file of the bundle that lists the labels lists the same, in order."""
    config = typed.read(inside(bundle.path, "config.json"), Config)
    names, ids = config.get("id2label", {}), config.get("label2id", {})
    labels = [typed.read(inside(bundle.path, "labels.json"), list[str]), list(bundle.labels)]
    if bundle.labels:  # numbers have no labels, yet configurations list some
        labels.append([names.get(str(at), "") for at in range(len(names))])
        labels.append(sorted(ids, key=lambda label: ids[label]))
    for place, metadata in metadata_of_files(bundle):
        labels.append(typed.parse(metadata["tunedeploy.labels"], list[str], f"{place}: tunedeploy.labels"))
    others = sum(listed != golden["labels"] for listed in labels)
    return [Ledger(stage="bundle", file="labels.json").at_most("label-lists", others, 0, rows=len(labels))]


def preprocessing_alike(bundle: "Bundle", golden: Golden) -> list[Comparison]:
    """Every file of the bundle that has facts of the preprocessing has the same, and the encoder's files agree."""
    facts = [bundle.manifest["preprocessing"]]
    for place, metadata in metadata_of_files(bundle):
        stored = metadata["tunedeploy.preprocessing"]
        facts.append(typed.parse(stored, typed.OBJECT, f"{place}: tunedeploy.preprocessing"))
    contradictions = bundle.encoder.contradictions(bundle.path)
    others = sum(stated != golden["preprocessing"] for stated in facts) + len(contradictions)
    described = Ledger(stage="bundle", file=MANIFEST)
    return [described.at_most("preprocessing-facts", others, 0, rows=len(facts) + 1, where=", ".join(contradictions))]


def outputs_again(bundle: "Bundle", variant: str, goldens: Goldens) -> list[Array]:
    """The outputs, computed now, for every group of golden inputs."""
    name = bundle.graph.outputs[0].name
    return [bundle.outputs(goldens.inputs(group), variant)[name] for group in goldens.groups]


def gain_kept(ledger: Ledger, fp32: Outputs, expected: Outputs, got: Outputs) -> Comparison:
    """The gain over float32's goldens, or over the variant's own where quantization noise drowns that comparison."""
    centred = fp32.decision.centred
    tells = tells_gain(centred(fp32.evidence), centred(expected.evidence))
    base, name = (fp32, "fp32") if tells else (expected, ledger.variant)
    value = gain(centred(base.evidence), centred(got.evidence))
    return ledger.at_most("golden-gain", value, GAIN, rows=len(got.evidence), words={"reference": name})


def outputs_kept(ledger: Ledger, rule: Rule, expected: Outputs, got: Outputs, *, exact: bool) -> Comparison:
    """Outputs against goldens: by difference on an equal machine, by decisions on another."""
    value, at = largest_difference(expected.valid, got.valid)
    if exact or not np.isfinite(value):
        where = f"golden row {expected.rows[at]}"
        return ledger.at_most("golden-outputs", value, rule["max_abs"], rows=int(expected.rows[-1]) + 1, where=where)
    return answers_kept(ledger, "golden-flips", rule, expected, got)


def answers_kept(ledger: Ledger, id: str, rule: Rule, expected: Outputs, got: Outputs) -> Comparison:
    """Golden answers that changed though they were no near-tie: none may, on any machine."""
    tie = rule.get("near_tie", 2 * rule["max_abs"])
    changed = flipped(expected.decision, expected.evidence, got.evidence, tie)
    where = f"golden row {expected.unit_rows[changed[0]]}" if len(changed) else ""
    numbers = expected.decision.numbers
    facts = {"largest_difference": largest_difference(numbers(expected.evidence), numbers(got.evidence))[0]}
    return ledger.at_most(id, len(changed), 0, rows=len(expected.evidence), where=where, facts=facts)
