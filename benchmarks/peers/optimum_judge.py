"""Puts faulty files to optimum-onnx: its export of the torch model, validated on the file that is to be judged.

    python benchmarks/peers/optimum_judge.py CASES.json RESULT.json

`onnx_export_from_model` is what `optimum-cli export onnx` calls once it has loaded a model. Between its export and its
validation the file to be judged takes the exported one's place; inputs and tolerance are optimum's own.
"""

import io
import json
import logging
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from classifiers import rebuilt
from optimum.exporters.onnx import convert
from transformers import BertConfig, BertForSequenceClassification

CHECK = "optimum export"
DRAWS = 5  # its inputs are random: what the most alarming of five draws says counts
AXES = {"batch": "batch_size", "sequence": "sequence_length"}  # optimum refuses axes that it does not know by name
GRADES = ("passed", "warned", "stopped")


def place(source: Path, target: Path) -> None:
    """Copy an ONNX file, its axes called as optimum calls them."""
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in AXES:
                axis.dim_param = AXES[axis.dim_param]
    onnx.save(model, target)


def instead(file: Path, real: Callable[..., Any]) -> Callable[..., Any]:
    """An `export_models` that exports once, and then puts the file in place of what was exported."""
    names: Any = None

    def export_models(*args: Any, **kwargs: Any) -> Any:
        nonlocal names
        names = names or real(*args, **kwargs)
        place(file, Path(kwargs["output_dir"]) / "model.onnx")
        return names

    return export_models


def judge(case: dict[str, str], folder: Path) -> list[str]:
    """The verdict of one case, and the evidence."""
    example = np.load(case["example"])
    shape = example["pixel_values"].shape if "pixel_values" in example else ()
    sides = dict(zip(("height", "width"), shape[2:], strict=True)) if shape else {}
    model, real = rebuilt(Path(case["merged"])), convert.export_models
    convert.export_models = instead(Path(case["onnx"]), real)
    try:
        found = [once(model, case["task"], folder, draw, sides) for draw in range(DRAWS)]
    finally:
        convert.export_models = real
    return max(found, key=lambda one: GRADES.index(one[0]))


def once(model: Any, task: str, folder: Path, draw: int, sides: dict[str, int]) -> list[str]:
    """One call: an exception ends the user's program, a warning does not."""
    said = io.StringIO()
    handler, logger = logging.StreamHandler(said), logging.getLogger(convert.__name__)
    logger.addHandler(handler)
    random.seed(draw)
    torch.manual_seed(draw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            convert.onnx_export_from_model(model, folder, task=task, **sides)
    except Exception as error:  # noqa: BLE001 - whatever it raises would have ended the user's program
        return ["stopped", f"{error!r} from {error.__cause__!r}"[:300]]
    finally:
        logger.removeHandler(handler)
    warned = "succeeded with the warning" in said.getvalue()
    return ["warned" if warned else "passed", said.getvalue().partition("succeeded with the ")[2][:300]]


def on_the_command_line(folder: Path) -> dict[str, Any]:
    """The command itself on a healthy model, and again with a tolerance that it breaks: exit codes, and why."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=94, max_position_embeddings=64, num_labels=200, **sizes)
    BertForSequenceClassification(config).save_pretrained(folder / "bert")
    program = [str(Path(sys.executable).with_name("optimum-cli")), "export", "onnx", "--task", "text-classification"]
    exits, said = [], ""
    for more in ([], ["--atol", "1e-12"]):
        command = [*program, "--model", str(folder / "bert"), *more, str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        exits.append(done.returncode)
        said = done.stdout + done.stderr
    warning = said[said.find("The ONNX export") :].partition("The exported model was saved")[0]
    return {"exits": exits, "said": warning.strip()}


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        verdicts = {name: {CHECK: judge(case, folder / name)} for name, case in cases.items()}
        command = on_the_command_line(folder)
    packages = ("optimum-onnx", "optimum", "transformers", "torch", "onnxruntime")
    result = {"verdicts": verdicts, "versions": {name: version(name) for name in packages}, "command": command}
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
