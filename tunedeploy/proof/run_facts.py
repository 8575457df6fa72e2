"""A run's statements about itself, recomputed from what they describe: configurations, scores, hashes, bundle facts."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunedeploy.bundling.layout import manifest_of
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.external_data import data_digest, size_of_file
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.device.manifest import files_of
from tunedeploy.graphs import files as onnx_files
from tunedeploy.models import start
from tunedeploy.proof.bundle_facts import differing, parsed
from tunedeploy.proof.judge import kernels
from tunedeploy.proof.scene import Scene, ledger_of
from tunedeploy.proof.torch_run import answers, trained
from tunedeploy.run.answers import read_answers
from tunedeploy.run.exported import onnx_facts
from tunedeploy.run.folder import versions
from tunedeploy.run.lineage import lineage
from tunedeploy.run.results import Variant, setting_of

DRAWN = 24  # rows of the evaluation split that the trained model runs again
ROUNDED = 1.01e-4  # two figures of four digits
TRAINED = Ledger(stage="train", file="train/eval_logits.npy")
# Keys of a manifest that depend on the machine; files are compared by their hashes.
OF_THE_MACHINE = ("versions", "instruction_set", "files")


def compared(ledger: Ledger, id: str, names: list[str]) -> Comparison:
    """Compare facts; `where` names those that differ."""
    return ledger.at_most(id, len(names), 0, where=", ".join(names[:4]))


def folder_described(scene: Scene) -> list[Comparison]:
    """Every JSON file of the merged folder is what saving the base model writes: training changes weights alone.

    Under another version of transformers only what both versions write is compared.
    """
    labels = scene.data.labels
    alike = scene.rundir.record("merge").versions == versions()
    differences: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        fresh, merged = Path(name), scene.rundir / "merged"
        scene.task.save(start.base(scene.recipe, scene.data), labels, fresh)
        for path in files_below(fresh):
            file = path.relative_to(fresh).as_posix()
            if path.suffix == ".json" and file != "tokenizer.json":  # tokenizer.json is compared part by part
                differences += [
                    f"{file}: {key}" for key in keys_that_differ(read_json(path), read_json(merged / file), alike)
                ]
    return [compared(Ledger(stage="merge", file="merged"), "merged-facts", differences)]


def keys_that_differ(fresh: Any, stored: Any, alike: bool) -> list[str]:
    """Keys of two JSON objects with other values; where the versions that wrote them differ, of those both have."""
    if not isinstance(fresh, Mapping) or not isinstance(stored, Mapping):
        return [] if fresh == stored else ["all of it"]
    keys = (fresh.keys() | stored.keys() if alike else fresh.keys() & stored.keys()) - {"transformers_version"}
    return sorted(key for key in keys if fresh.get(key) != stored.get(key) or (key in fresh) != (key in stored))


def metadata_described(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """Each file's metadata says truly how it was made; `labels_kept` compares the labels."""
    return [file_described(scene, name, variant, graph, file) for graph, file in files_of(variant).items()]


def file_described(scene: Scene, name: str, variant: Variant, graph: str, file: str) -> Comparison:
    """As `metadata_described`, for one file."""
    path = scene.rundir / file
    metadata = {prop.key: prop.value for prop in onnx_files.read(path).metadata_props}
    facts = onnx_facts(path)
    preprocessing = {key: facts["preprocessing"].get(key) for key in scene.trained.facts}
    pairs: dict[str, tuple[Any, Any]] = {
        "variant": (metadata.get("tunedeploy.variant"), name),
        "task": (metadata.get("tunedeploy.task"), scene.recipe.task),
        "preprocessing": (preprocessing, scene.trained.facts),
        "lineage": (facts["lineage"], ancestors(scene)),
        "data_sha256": (metadata.get("tunedeploy.data_sha256"), data_digest(path)),
    }
    if name != "fp32":
        pairs["made_from"] = (metadata.get("tunedeploy.made_from"), sha256(scene.float_paths[graph]))
        setting = setting_of(variant["setting"], graph)
        pairs["quantization"] = (parsed(metadata.get("tunedeploy.quantization")), setting)
    return compared(replace(ledger_of(name, variant), file=file), "metadata", differing(pairs))


def ancestors(scene: Scene) -> dict[str, str]:
    """The lineage, each hash computed from the file itself and not read from the stages' records."""
    recorded = lineage(scene.recipe, scene.rundir)
    files = {"adapter": "train/adapter.safetensors", "head": "train/head.safetensors"}
    weights = sorted((scene.rundir / "merged").glob("*.safetensors"))
    merged = next(path for path in weights if not path.name.endswith("head.safetensors"))
    return recorded | {name: sha256(scene.rundir / file) for name, file in files.items()} | {"merged": sha256(merged)}


def scores_described(scene: Scene) -> list[Comparison]:
    """Recorded metrics of training and of each file are those of the stored answers; the metric suits the data."""
    train, quantize = scene.rundir.record("train").result, scene.rundir.record("quantize").result
    metric = scene.task.metric_name(scene.truth, scene.data.labels)
    true = {
        name: round(scene.decision.score(name, scene.trained_answers, scene.truth), 4)
        for name in scene.decision.metrics
    }
    true["rows"] = len(scene.data.eval)
    written = read_json(scene.rundir / "train" / "metrics.json")
    differences = [f"metrics: {key}" for key, value in true.items() if train["metrics"].get(key) != value]
    differences += [f"metrics.json: {key}" for key, value in true.items() if written.get(key) != value]
    differences += ["metric"] * (train["metric"] != metric)
    comparisons = [compared(TRAINED, "training-scores", differences)]
    differences = ["metric"] * (quantize["metric"] != metric)
    for name, variant in quantize["variants"].items():
        differences += [f"{name}: {key}" for key in figures_that_differ(scene, quantize["variants"], name)]
        size = sum(size_of_file(scene.rundir / file) for file in files_of(variant).values())
        differences += [f"{name}: bytes"] * (variant["bytes"] != size)
    return [*comparisons, compared(Ledger(stage="quantize", file="quantized"), "file-scores", differences)]


def figures_that_differ(scene: Scene, variants: Mapping[str, Variant], name: str) -> list[str]:
    """Names of a variant's figures, `metric` and `drop`, that the answers it was judged by contradict.

    Float32's answers are not stored: its figures are compared with the answers that it gives now, and units at a
    near-tie may flip on another machine.
    """
    metric = scene.rundir.record("train").result["metric"]
    measure = scene.decision.metrics[metric]
    variant, room = variants[name], ROUNDED
    if name == "fp32":
        same_kernels = scene.rundir.record("quantize").result["made_on"] == kernels()
        room += 0 if same_kernels else (200 if measure.unit == "%" else 2) / len(scene.data.eval)
        answers = scene.evaluation_answers
    else:
        path = (scene.rundir / variant["file"]).with_suffix(".npy")
        answers = read_answers(path, rows=len(scene.data.eval), width=scene.width)
    value = scene.decision.score(metric, answers, scene.truth)
    drop = 0.0 if name == "fp32" else measure.worse(variants["fp32"]["metric"], variant["metric"])
    figures = {"metric": (variant["metric"], value, room), "drop": (variant["drop"], drop, ROUNDED)}
    return [key for key, (first, second, limit) in figures.items() if not abs(first - second) <= limit]


def trained_again(scene: Scene) -> list[Comparison]:
    """The answers that training ended with against the trained model's own, adapters on, on rows drawn by their hash.

    All later files are compared with these answers, so they must really be the trained model's.
    """
    path = scene.rundir / "train" / "eval_logits.npy"
    trained_answers, rows = scene.trained_answers, len(scene.data.eval)
    seed = int(sha256(path)[:8], 16)
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:DRAWN])
    tuned = trained(scene.recipe, scene.rundir, scene.data)
    expected = trained_answers.of_rows(chosen)
    got = answers(tuned, tuned.encoder.encode([scene.data.eval[int(at)] for at in chosen]))
    floor = scene.noise_floor
    numbers = scene.decision.numbers
    value, unit = agreement.largest_difference(numbers(expected.evidence), numbers(got.evidence))
    limit = agreement.tolerance(floor, agreement.output_range(numbers(trained_answers.evidence)))
    where = str(scene.data.eval[int(chosen[expected.row[unit]])]["origin"])
    facts = {"noise_floor": floor}
    return [TRAINED.at_most("training-logits", value, limit, rows=len(chosen), where=where, facts=facts)]


def bundle_described(scene: Scene) -> list[Comparison]:
    """The manifest of the run's bundle, where it has one, is the one that would be written now."""
    folder = scene.rundir / "dist"
    if not scene.rundir.has("bundle") or not (folder / "manifest.json").is_file():
        return []
    written = read_json(folder / "manifest.json")
    fresh = json.loads(json.dumps(manifest_of(scene.recipe, scene.rundir, folder)))
    differences = [key for key in keys_that_differ(fresh, written, alike=True) if key not in OF_THE_MACHINE]
    return [compared(Ledger(stage="bundle", file="dist/manifest.json"), "manifest-facts", differences)]
