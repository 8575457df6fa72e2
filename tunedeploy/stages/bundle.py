"""Bundle: put what an app ships into one folder, with its parity kit, lineage and model card."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunedeploy import plugins, progress
from tunedeploy.bundling import kit, tokenizer_facts
from tunedeploy.bundling.card import card
from tunedeploy.bundling.layout import copy, manifest_of, shipped_file
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.comparison import breach_lines
from tunedeploy.device.files import files_below, sha256
from tunedeploy.device.manifest import MANIFEST, Manifest, files_of
from tunedeploy.errors import ParityError
from tunedeploy.proof.bundle import Bundle
from tunedeploy.proof.torch_run import sample
from tunedeploy.run import results
from tunedeploy.run.atomic import whole_folder, write_json, write_text
from tunedeploy.run.entries import entry
from tunedeploy.run.exported import encoder_of, parts_of
from tunedeploy.run.folder import RunDir

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RECIPE_KEYS = ("task", "data", "export")
AFTER = ("train", "merge", "export", "quantize", "verify")
OUTPUTS = ("dist",)
GOLDEN_ROWS = 16  # of the evaluation split, beside the edge rows


def run(recipe: "Recipe", rundir: RunDir) -> results.Bundle:
    """Write `dist/` in one piece, once it has passed its own verification.

    Returns:
        The bundle's files and their bytes.

    Raises:
        ParityError: it has not.
    """
    task = plugins.load("tasks", recipe.task)
    data = data_of(recipe)
    train, quantize = rundir.record("train").result, rundir.record("quantize").result
    parts = parts_of(recipe, rundir)
    ledger = rundir.ledger()
    real = sample(data.eval, GOLDEN_ROWS)
    rows = [task.golden_row(row, parts.encoder.facts) for row in (*real, *task.edge_rows(real[0]))]
    with whole_folder(rundir / "dist") as folder:
        copy(rundir, folder, quantize["variants"], train["labels"])
        tokenizer_facts.settle(folder, parts.encoder.facts)
        write_json(folder / "labels.json", train["labels"])
        files = {
            name: {graph: shipped_file(file) for graph, file in files_of(variant).items()}
            for name, variant in quantize["variants"].items()
        }
        limit = entry(ledger["comparisons"], "torch-vs-onnx", rundir / "ledger.json")["limit"]
        assert isinstance(limit, float), "its limit is a tolerance"
        encoder = encoder_of(recipe, rundir)
        limits: kit.Limits = {"variants": files, "fp32": limit, "labels": train["labels"], "encoder": encoder}
        kit.write(folder / "parity", bundle=folder, parts=parts, rows=rows, limits=limits)
        contents = manifest_of(recipe, rundir, folder)
        write_text(folder / "README.md", card(contents, ledger))
        hashes = {path.relative_to(folder).as_posix(): sha256(path) for path in files_below(folder)}
        manifest: Manifest = {**contents, "files": hashes}
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
