"""Bundle: put what an app ships into one folder, with its parity kit, lineage and model card."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy import plugins, progress
from tunedeploy.bundling import kit, tokenizer_facts
from tunedeploy.bundling.card import card
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.comparison import breach_lines
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.device.manifest import MANIFEST, SCHEMA
from tunedeploy.device.runtime import instruction_set
from tunedeploy.errors import ParityError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.proof.bundle import Bundle
from tunedeploy.proof.scene import TORCH_VS_ONNX
from tunedeploy.run.folder import RunDir, versions, whole_folder, without_folders, write_json, write_text
from tunedeploy.stages.export import lineage
from tunedeploy.stages.merge import sample
from tunedeploy.stages.quantize import encoder_of

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("train", "merge", "export", "quantize", "verify")
OUTPUTS = ("dist",)
GOLDEN_ROWS = 16  # of the evaluation split, beside the edge rows
# Files of the merged folder that an app needs; weights are in the .onnx files.
SHIPPED = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
    "preprocessor_config.json",
)  # fmt: skip


def run(recipe: "Recipe", rundir: RunDir) -> dict[str, Any]:
    """Write `dist/` in one piece, once it has passed its own verification.

    Returns:
        The bundle's files and their bytes.

    Raises:
        ParityError: it has not.
    """
    task = plugins.load("tasks", recipe.task)
    data = data_of(recipe)
    train, quantize = rundir.record("train").result, rundir.record("quantize").result
    encoder = encoder_of(recipe, rundir)
    ledger = rundir.ledger()
    rows = [*sample(data.eval, GOLDEN_ROWS)]
    rows += task.edge_rows(rows[0])
    with whole_folder(rundir / "dist") as folder:
        copy(rundir, folder, quantize["variants"], train["labels"])
        tokenizer_facts.settle(folder, encoder.facts)
        write_json(folder / "labels.json", train["labels"])
        files = {name: f"onnx/{Path(one['file']).name}" for name, one in quantize["variants"].items()}
        limit = next(one["limit"] for one in ledger["comparisons"] if one["name"] == TORCH_VS_ONNX)
        limits = {"variants": files, "fp32": limit, "labels": train["labels"]}
        kit.write(folder / "parity", bundle=folder, encoder=encoder, rows=rows, limits=limits)
        manifest = manifest_of(recipe, rundir, folder, files)
        write_text(folder / "README.md", card(manifest, ledger))
        manifest["files"] = {path.relative_to(folder).as_posix(): sha256(path) for path in files_below(folder)}
        write_json(folder / MANIFEST, manifest)
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files_below(folder)}
        check(folder, rundir / "dist")
    return {"files": sizes}


def check(folder: Path, dist: Path) -> None:
    """Verify a bundle where it was written, as `tunedeploy verify` will where it goes.

    Raises:
        ParityError: one line a breach.
    """
    progress.note("bundle: verifying what was written")
    lines = breach_lines(Bundle(folder).verify())
    if lines:
        raise ParityError([line.replace(str(folder), str(dist)) for line in lines])


def copy(rundir: RunDir, folder: Path, variants: dict[str, Any], labels: list[str]) -> None:
    """Put configuration, tokenizer and the .onnx files where transformers.js and our own loader look for them."""
    for name in SHIPPED:
        if (rundir / "merged" / name).is_file():
            shutil.copyfile(rundir / "merged" / name, folder / name)
    config = read_json(folder / "config.json")
    config |= {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
    write_json(folder / "config.json", config)
    (folder / "onnx").mkdir()
    for one in variants.values():
        shutil.copyfile(rundir / one["file"], folder / "onnx" / Path(one["file"]).name)


def manifest_of(recipe: "Recipe", rundir: RunDir, folder: Path, files: dict[str, str]) -> dict[str, Any]:
    """What the bundle is, for programs; no path, no time, no host name."""
    train, export = rundir.record("train").result, rundir.record("export").result
    quantize = rundir.record("quantize").result
    data = data_of(recipe)
    encoder = encoder_of(recipe, rundir)
    variants = {
        name: {
            "file": files[name],
            "bytes": one["bytes"],
            "sha256": sha256(folder / files[name]),
            "value": one["metric"],
            "drop": one["drop"],
            **{key: one[key] for key in ("setting", "cpus") if key in one},
        }
        for name, one in quantize["variants"].items()
    }
    return {
        "schema": SCHEMA,
        "task": recipe.task,
        "method": recipe.tune.method,
        "model": without_folders(recipe.model.name),
        "labels": train["labels"],
        "metric": train["metric"],
        "value": train["metrics"][train["metric"]],
        "rows": {"train": len(data.train), "eval": len(data.eval)},
        "eval_source": data.eval_source,
        "variants": variants,
        "preprocessing": encoder.facts,
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


def portable_recipe(recipe: "Recipe") -> dict[str, Any]:
    """What was asked for, paths cut to their last part."""
    resolved = recipe.resolved()
    asked = {name: part for name, part in resolved.items() if name != "export"}
    return {**without_folders(resolved), "id": onnx_files.recipe_id(asked)}
