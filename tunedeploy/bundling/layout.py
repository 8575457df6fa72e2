"""The files of a bundle, and the manifest that describes them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tunedeploy import plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import manifest
from tunedeploy.device.external_data import parts_of_file
from tunedeploy.device.files import read_json, sha256
from tunedeploy.device.manifest import SCHEMA, Contents, files_of
from tunedeploy.device.runtime import instruction_set
from tunedeploy.graphs import files as onnx_files
from tunedeploy.run.atomic import write_json
from tunedeploy.run.exported import parts_of
from tunedeploy.run.folder import RunDir, versions, without_folders
from tunedeploy.run.lineage import lineage
from tunedeploy.run.results import Variant, value_of

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe


# Files of the merged folder that an app needs; weights are in the .onnx files.
SHIPPED = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
    "preprocessor_config.json", "generation_config.json",
)  # fmt: skip


def copy(rundir: RunDir, folder: Path, variants: Mapping[str, Variant], labels: list[str]) -> None:
    """Put configuration, tokenizer and the .onnx files where transformers.js and our own loader look for them."""
    for name in SHIPPED:
        if (rundir / "merged" / name).is_file():
            shutil.copyfile(rundir / "merged" / name, folder / name)
    config = read_json(folder / "config.json")
    if labels:
        config |= {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
    write_json(folder / "config.json", config)
    (folder / "onnx").mkdir()
    for variant in variants.values():
        for file in files_of(variant).values():
            for part in parts_of_file(rundir / file):
                shutil.copyfile(part, folder / shipped_file(part.name))


def shipped_file(file: str) -> str:
    """The path that a run's file has in a bundle."""
    return f"onnx/{Path(file).name}"


def manifest_of(recipe: "Recipe", rundir: RunDir, folder: Path) -> Contents:
    """The description of a bundle for programs; it holds no path, no time and no host name."""
    train, export = rundir.record("train").result, rundir.record("export").result
    quantize = rundir.record("quantize").result
    data = data_of(recipe)
    parts = parts_of(recipe, rundir)
    metric = parts.decision.metrics[train["metric"]]
    contents: Contents = {
        "schema": SCHEMA,
        "task": recipe.task,
        "method": recipe.tune.method,
        "model": without_folders(recipe.model.name),
        "labels": train["labels"],
        "metric": train["metric"],
        "metric_unit": metric.unit,
        "metric_better": metric.better,
        "graphs": {graph.name: graph.to_json() for graph in parts.program.graphs},
        "decision": dict(parts.decision.facts),
        "columns": [column.to_json() for column in plugins.load("tasks", recipe.task).COLUMNS],
        "value": value_of(train),
        "rows": {"train": len(data.train), "eval": len(data.eval)},
        "eval_source": data.eval_source,
        "variants": {name: shipped(variant, folder) for name, variant in quantize["variants"].items()},
        "preprocessing": dict(parts.encoder.facts),
        "opset": export["opset"],
        "ir": export["ir"],
        "fusions": export["fusions"],
        "target": recipe.export.target,
        "seed": recipe.train.seed,
        "recipe": portable_recipe(recipe),
        "lineage": lineage(recipe, rundir),
        "versions": versions(),
        "instruction_set": instruction_set(),
    }
    if len(parts.program.graphs) > 1:
        contents["program"] = dict(parts.program.facts)
    return contents


def shipped(variant: Variant, folder: Path) -> manifest.Variant:
    """A variant as the manifest describes it; the hash is that of `file`, and the manifest's `files` has all hashes."""
    described: manifest.Variant = {
        "file": shipped_file(variant["file"]),
        "bytes": variant["bytes"],
        "sha256": sha256(folder / shipped_file(variant["file"])),
        "value": variant["metric"],
        "drop": variant["drop"],
    }
    if "files" in variant:
        described["files"] = {graph: shipped_file(file) for graph, file in variant["files"].items()}
    if "setting" in variant:
        described["setting"] = dict(variant["setting"])
    if "cpus" in variant:
        described["cpus"] = variant["cpus"]
    return described


def portable_recipe(recipe: "Recipe") -> manifest.Recipe:
    """The recipe, with paths cut to their last part."""
    resolved = recipe.resolved()
    sections = {name: part for name, part in resolved.items() if name != "export"}
    return cast(manifest.Recipe, {**without_folders(resolved), "id": onnx_files.recipe_id(sections)})
