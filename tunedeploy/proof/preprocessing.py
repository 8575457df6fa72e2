"""Whether raw rows become the arrays that training saw, by the merged folder's preprocessing and by the bundle's."""

from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison
from tunedeploy.device.encoders import Encoder, Row
from tunedeploy.proof.scene import Scene
from tunedeploy.proof.torch_run import sample
from tunedeploy.run.lineage import FILE

PIXELS = 2e-5  # two float32 ways to (x / 255 - mean) / std differ by a few ulp of values up to 3


def preprocessing(scene: Scene) -> list[Comparison]:
    """Raw rows give what they gave in training, by the merged folder's preprocessing and by the bundled one."""
    data = data_of(scene.recipe)
    rows = [*sample(data.eval, 256), *scene.task.edge_rows(data.eval[0])]
    expected = scene.trained.encode(rows)
    made = []
    for name, stage, encoder in (("merged", "merge", scene.merged.encoder), ("bundled", "bundle", scene.encoder)):
        worst, where = 0.0, ""
        for row, first, second in zip(rows, expected, encoder.encode(rows), strict=True):
            for key in first:
                difference = agreement.largest_difference(first[key][None], second[key][None])[0]
                if difference > worst:
                    worst, where = difference, f"{row.get('origin', 'an edge row')}, {key}"
        made.append(
            Comparison(
                name=f"training vs {name} preprocessing: largest difference", stage=stage, file="merged", value=worst,
                limit=PIXELS if scene.trained.facts["kind"] == "image" else 0, rows=len(rows), where=where,
            )
        )  # fmt: skip
    odd = scene.task.contradictions(scene.rundir / "merged", scene.trained.facts)
    told = Comparison(
        name="preprocessing told otherwise", stage="merge", file="merged", value=len(odd), limit=0, where=", ".join(odd)
    )
    changed = scene.task.rewritten(scene.rundir / "merged", scene.trained)
    whole = Comparison(
        name="parts of the preprocessing that are not training's", stage="merge", file="merged", value=len(changed),
        limit=0, where=", ".join(changed),
    )  # fmt: skip
    facts = [key for key, value in scene.trained.facts.items() if scene.encoder.facts.get(key) != value]
    said = Comparison(
        name="training vs bundled preprocessing: facts that differ", stage="export", file=FILE, value=len(facts),
        limit=0, where=", ".join(facts),
    )  # fmt: skip
    return [*made, told, whole, said, *broken_refused(scene)]


def broken_refused(scene: Scene) -> list[Comparison]:
    """Rows that no answer can be given to, a file cut off for one, are refused by every preprocessing."""
    broken = scene.task.broken_rows()
    if not broken:
        return []
    encoders = (scene.trained, scene.merged.encoder, scene.encoder)
    taken = sum(not refuses(encoder, row) for row in broken for encoder in encoders)
    return [
        Comparison(
            name="broken rows that were taken", stage="bundle", file="merged", value=taken, limit=0, rows=len(broken)
        )
    ]


def refuses(encoder: Encoder, row: Row) -> bool:
    """Whether a row is refused with the error that users are told of."""
    try:
        encoder.encode([row])
    except (OSError, ValueError):
        return True
    return False
