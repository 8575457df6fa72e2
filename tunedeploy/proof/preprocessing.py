"""Whether raw rows become the arrays that training saw, by the merged folder's preprocessing and by the bundle's."""

from tunedeploy.device import agreement
from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.device.encoders import Encoder, Row
from tunedeploy.proof.scene import Scene
from tunedeploy.proof.torch_run import sample


def preprocessing(scene: Scene) -> list[Comparison]:
    """Raw rows give what they gave in training, by the merged folder's preprocessing and by the bundled one."""
    rows = [*sample(scene.data.eval, 256), *scene.task.edge_rows(scene.data.eval[0])]
    expected = scene.trained.encode(rows)
    comparisons = []
    for id, stage, encoder in (
        ("merged-preprocessing", "merge", scene.merged.encoder),
        ("bundled-preprocessing", "bundle", scene.encoder),
    ):
        worst, where = 0.0, ""
        for row, first, second in zip(rows, expected, encoder.encode(rows), strict=True):
            for key in first:
                difference = agreement.largest_difference(first[key][None], second[key][None])[0]
                if difference > worst:
                    worst, where = difference, f"{row.get('origin', 'an edge row')}, {key}"
        limit = scene.trained.tolerance
        comparisons.append(Ledger(stage=stage, file="merged").at_most(id, worst, limit, rows=len(rows), where=where))
    contradictions = scene.task.contradictions(scene.rundir / "merged", scene.trained.facts)
    merged = Ledger(stage="merge", file="merged")
    changed = scene.task.rewritten(scene.rundir / "merged", scene.trained)
    facts = [key for key, value in scene.trained.facts.items() if scene.encoder.facts.get(key) != value]
    return [
        *comparisons,
        merged.at_most("preprocessing-facts", len(contradictions), 0, where=", ".join(contradictions)),
        merged.at_most("preprocessing-parts", len(changed), 0, where=", ".join(changed)),
        scene.float32.at_most("bundled-preprocessing-facts", len(facts), 0, where=", ".join(facts)),
        *broken_refused(scene),
    ]


def broken_refused(scene: Scene) -> list[Comparison]:
    """Every preprocessing refuses rows that cannot be answered, such as a truncated file."""
    broken = scene.task.broken_rows()
    if not broken:
        return []
    encoders = (scene.trained, scene.merged.encoder, scene.encoder)
    taken = sum(not refuses(encoder, row) for row in broken for encoder in encoders)
    return [Ledger(stage="bundle", file="merged").at_most("broken-rows", taken, 0, rows=len(broken))]


def refuses(encoder: Encoder, row: Row) -> bool:
    """Whether a row is refused with an error that users are shown."""
    try:
        encoder.encode([row])
    except (OSError, ValueError):
        return True
    return False
