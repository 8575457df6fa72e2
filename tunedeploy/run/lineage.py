"""Which files a run's ONNX file descends from, each by its SHA-256."""

from typing import TYPE_CHECKING

from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.files import sha256
from tunedeploy.graphs import files as onnx_files
from tunedeploy.models import sources
from tunedeploy.run.folder import RunDir

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe


def lineage(recipe: "Recipe", rundir: RunDir) -> dict[str, str]:
    """SHA-256 of each ancestor, from the base weights to the merged ones, with recipe and data."""
    train, merge = rundir.record("train").outputs, rundir.record("merge").outputs
    resolved = {name: part for name, part in recipe.resolved().items() if name != "export"}
    weights = sorted(name for name in merge if name.endswith(".safetensors") and not name.endswith("head.safetensors"))
    return {
        "base": sources.fingerprint(recipe.model.name, recipe.model.weights),
        "data": data_of(recipe).fingerprint,
        "recipe": onnx_files.recipe_id(resolved),
        "adapter": train["train/adapter.safetensors"],
        "head": train["train/head.safetensors"],
        "merged": merge[weights[0]] if weights else sha256(rundir / "merged" / "model.safetensors"),
    }
