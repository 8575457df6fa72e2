"""The judge's record of a quantized file made anew, as if the file had been so from its conversion on."""

from pathlib import Path

import numpy as np

from tunedeploy import api, plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.files import read_json
from tunedeploy.device.runtime import Session, logits_of
from tunedeploy.proof.judge import Judge
from tunedeploy.run.atomic import write_json
from tunedeploy.run.exported import encoder_of
from tunedeploy.run.folder import STAGE_FOLDER, RunDir

FP32, INT8 = "onnx/model.onnx", "quantized/model_int8.onnx"
SEMANTIC = ("parity", "preprocessing", "metric")


def judge_anew(run: Path, file: str = INT8, precision: str = "int8") -> None:
    """Write the logits, the metric, the drop, the flips and the gain that the quantize stage would have noted.

    Raises:
        RunError: onnxruntime cannot load the file, or refuses a batch.
    """
    recipe, rundir = api.recipe_of(run), RunDir(run)
    encoder, rows = encoder_of(recipe, rundir), data_of(recipe).eval
    answers = logits_of(Session(run / FP32), encoder, rows)
    logits = logits_of(Session(run / file), encoder, rows)
    np.save((run / file).with_suffix(".npy"), logits)
    if logits.shape != answers.shape:
        return  # there is no score of such logits
    path = run / STAGE_FOLDER / "quantize.json"
    record = read_json(path)
    judge = Judge(recipe=recipe, encoder=encoder, metric=record["result"]["metric"], answers=answers)
    task = plugins.load("tasks", recipe.task)
    values = [float(task.score(judge.metric, one, task.targets(rows))) for one in (answers, logits)]
    noted = {"metric": round(values[1], 4), "drop": round(values[0] - values[1], 4)}
    noted |= {"bytes": (run / file).stat().st_size} | judge.against_fp32(logits)
    record["result"]["variants"][precision] |= noted
    write_json(path, record)
