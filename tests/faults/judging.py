"""The judge's record of a quantized file made anew, as if the file had been so from its conversion on."""

from pathlib import Path

from tunedeploy import api
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.files import read_json
from tunedeploy.device.manifest import files_of
from tunedeploy.proof.judge import Judge
from tunedeploy.run.answers import write_answers
from tunedeploy.run.atomic import write_json
from tunedeploy.run.exported import parts_of, sessions_of
from tunedeploy.run.folder import STAGE_FOLDER, RunDir

FP32, INT8 = "onnx/model.onnx", "quantized/model_int8.onnx"
SEMANTIC = ("parity", "preprocessing", "metric")


def judge_anew(run: Path, precision: str = "int8") -> None:
    """Write the answers, the metric, the drop, the flips and the gain that the quantize stage would have noted.

    Raises:
        RunError: onnxruntime cannot load a file, or refuses a batch.
    """
    recipe, rundir = api.recipe_of(run), RunDir(run)
    parts, rows = parts_of(recipe, rundir), data_of(recipe).eval
    path = run / STAGE_FOLDER / "quantize.json"
    record = read_json(path)
    variants, metric = record["result"]["variants"], record["result"]["metric"]
    before, after = (
        parts.answers(sessions_of(rundir, variants[name]), rows, metric=metric) for name in ("fp32", precision)
    )
    write_answers((run / variants[precision]["file"]).with_suffix(".npy"), after)
    if after.evidence.shape != before.evidence.shape:
        return  # there is no score of such answers
    judge = Judge(recipe=recipe, parts=parts, metric=metric, fp32=before)
    values = [judge.score(answers, rows) for answers in (before, after)]
    noted = {"metric": round(values[1], 4), "drop": round(parts.decision.metrics[judge.metric].worse(*values), 4)}
    noted["bytes"] = sum((run / file).stat().st_size for file in files_of(variants[precision]).values())
    variants[precision] |= noted | judge.against_fp32(after)
    write_json(path, record)
