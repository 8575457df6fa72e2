"""What a run says of itself, made again from what it speaks of: configurations, scores, hashes, the bundle's facts."""

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
OF_THE_MACHINE = ("versions", "instruction_set", "files")  # of a manifest; files are compared by their hashes


def compared(ledger: Ledger, id: str, odd: list[str]) -> Comparison:
    """A comparison of facts; the names of those that differ are its place."""
    return ledger.at_most(id, len(odd), 0, where=", ".join(odd[:4]))


def folder_described(scene: Scene) -> list[Comparison]:
    """Every JSON file of the merged folder is what saving the base model writes: training changes weights alone.

    Under another version of transformers only what both versions write is compared.
    """
    labels = scene.data.labels
    alike = scene.rundir.record("merge").versions == versions()
    odd: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        fresh, there = Path(name), scene.rundir / "merged"
        scene.task.save(start.base(scene.recipe, scene.data), labels, fresh)
        for path in files_below(fresh):
            file = path.relative_to(fresh).as_posix()
            if path.suffix == ".json" and file != "tokenizer.json":  # that one is compared part by part
                odd += [f"{file}: {key}" for key in keys_that_differ(read_json(path), read_json(there / file), alike)]
    return [compared(Ledger(stage="merge", file="merged"), "merged-facts", odd)]


def keys_that_differ(fresh: Any, there: Any, alike: bool) -> list[str]:
    """Keys of two JSON objects with other values; where the versions that wrote them differ, of those both have."""
    if not isinstance(fresh, Mapping) or not isinstance(there, Mapping):
        return [] if fresh == there else ["all of it"]
    keys = (fresh.keys() | there.keys() if alike else fresh.keys() & there.keys()) - {"transformers_version"}
    return sorted(key for key in keys if fresh.get(key) != there.get(key) or (key in fresh) != (key in there))


def metadata_described(scene: Scene, name: str, variant: Variant) -> list[Comparison]:
    """What each file's metadata says of its making; labels are looked at by `labels_kept`."""
    return [file_described(scene, name, variant, graph, file) for graph, file in files_of(variant).items()]


def file_described(scene: Scene, name: str, variant: Variant, graph: str, file: str) -> Comparison:
    """The same of one file."""
    path = scene.rundir / file
    metadata = {one.key: one.value for one in onnx_files.read(path).metadata_props}
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
    """The lineage, each hash taken of the file that is there and not from the stages' records."""
    said = lineage(scene.recipe, scene.rundir)
    files = {"adapter": "train/adapter.safetensors", "head": "train/head.safetensors"}
    weights = sorted((scene.rundir / "merged").glob("*.safetensors"))
    merged = next(path for path in weights if not path.name.endswith("head.safetensors"))
    return said | {name: sha256(scene.rundir / file) for name, file in files.items()} | {"merged": sha256(merged)}


def scores_described(scene: Scene) -> list[Comparison]:
    """Metrics of training and of each file are those of the answers kept, and the metric is the one of this data."""
    train, quantize = scene.rundir.record("train").result, scene.rundir.record("quantize").result
    metric = scene.task.metric_name(scene.truth, scene.data.labels)
    true = {name: round(scene.decision.score(name, scene.kept, scene.truth), 4) for name in scene.decision.metrics}
    true["rows"] = len(scene.data.eval)
    written = read_json(scene.rundir / "train" / "metrics.json")
    odd = [f"metrics: {key}" for key, value in true.items() if train["metrics"].get(key) != value]
    odd += [f"metrics.json: {key}" for key, value in true.items() if written.get(key) != value]
    odd += ["metric"] * (train["metric"] != metric)
    made = [compared(TRAINED, "training-scores", odd)]
    odd = ["metric"] * (quantize["metric"] != metric)
    for name, one in quantize["variants"].items():
        odd += [f"{name}: {key}" for key in figures_that_differ(scene, quantize["variants"], name)]
        size = sum(size_of_file(scene.rundir / file) for file in files_of(one).values())
        odd += [f"{name}: bytes"] * (one["bytes"] != size)
    return [*made, compared(Ledger(stage="quantize", file="quantized"), "file-scores", odd)]


def figures_that_differ(scene: Scene, variants: Mapping[str, Variant], name: str) -> list[str]:
    """`metric` and `drop` of a variant against the answers that it was judged by; float32's, which are not kept,
    against those that it gives now, where units at a near-tie may fall to the other side on another machine."""
    metric = scene.rundir.record("train").result["metric"]
    measure = scene.decision.metrics[metric]
    one, room = variants[name], ROUNDED
    if name == "fp32":
        same_kernels = scene.rundir.record("quantize").result["made_on"] == kernels()
        room += 0 if same_kernels else (200 if measure.unit == "%" else 2) / len(scene.data.eval)
        answers = scene.whole
    else:
        path = (scene.rundir / one["file"]).with_suffix(".npy")
        answers = read_answers(path, rows=len(scene.data.eval), width=scene.width)
    value = scene.decision.score(metric, answers, scene.truth)
    drop = 0.0 if name == "fp32" else measure.worse(variants["fp32"]["metric"], one["metric"])
    said = {"metric": (one["metric"], value, room), "drop": (one["drop"], drop, ROUNDED)}
    return [key for key, (first, second, limit) in said.items() if not abs(first - second) <= limit]


def trained_again(scene: Scene) -> list[Comparison]:
    """Answers that training ended with against the trained model itself, adapters on, on rows drawn by their hash.

    All later files are compared with these answers, so they must be the trained model's own.
    """
    path = scene.rundir / "train" / "eval_logits.npy"
    kept, rows = scene.kept, len(scene.data.eval)
    seed = int(sha256(path)[:8], 16)
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:DRAWN])
    tuned = trained(scene.recipe, scene.rundir, scene.data)
    expected = kept.of_rows(chosen)
    got = answers(tuned, tuned.encoder.encode([scene.data.eval[int(at)] for at in chosen]))
    floor = scene.noise_floor
    numbers = scene.decision.numbers
    value, unit = agreement.largest_difference(numbers(expected.evidence), numbers(got.evidence))
    limit = agreement.tolerance(floor, agreement.output_range(numbers(kept.evidence)))
    where = str(scene.data.eval[int(chosen[expected.row[unit]])]["origin"])
    facts = {"noise_floor": floor}
    return [TRAINED.at_most("training-logits", value, limit, rows=len(chosen), where=where, facts=facts)]


def bundle_described(scene: Scene) -> list[Comparison]:
    """The manifest of the run's bundle, where it has one, is the one that would be written now."""
    folder = scene.rundir / "dist"
    if not scene.rundir.has("bundle") or not (folder / "manifest.json").is_file():
        return []
    there = read_json(folder / "manifest.json")
    fresh = json.loads(json.dumps(manifest_of(scene.recipe, scene.rundir, folder)))
    odd = [key for key in keys_that_differ(fresh, there, alike=True) if key not in OF_THE_MACHINE]
    return [compared(Ledger(stage="bundle", file="dist/manifest.json"), "manifest-facts", odd)]
