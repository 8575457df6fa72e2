"""Puts faulty files to torch's own checks: `torch.onnx.export(..., verify=True)`, and `assert_onnx_program` by hand.

    python benchmarks/peers/torch_judge.py CASES.json RESULT.json

Each case is a real export. Right after the exporter has optimized its graph, and before it verifies, the file that is
to be judged takes the graph's place.
"""

import contextlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import torch
from classifiers import rebuilt
from torch.onnx import ONNXProgram
from torch.onnx.testing import assert_onnx_program

VERIFY, BY_HAND = "torch verify=True", "torch assert_onnx_program"
CROSS = "❌"  # what the exporter prints after a step that failed; it raises nothing
AXES = {"pixel_values": {0: "batch"}}
TOKENS = {0: "batch", 1: "sequence"}


@contextlib.contextmanager
def exported_as(file: str) -> Iterator[None]:
    """Every graph that torch optimizes meanwhile becomes this file's."""
    optimize = ONNXProgram.optimize

    def swap(self: ONNXProgram) -> None:
        optimize(self)
        self.model = onnx_ir.load(file)

    ONNXProgram.optimize = swap
    try:
        yield
    finally:
        ONNXProgram.optimize = optimize


def judge(case: dict[str, str]) -> dict[str, list[str]]:
    """What both checks say of one case: verdict and evidence."""
    example = {name: torch.from_numpy(value) for name, value in np.load(case["example"]).items()}
    axes = {name: AXES.get(name, TOKENS) for name in example}
    model, said = rebuilt(Path(case["merged"])), io.StringIO()
    handler, logger = logging.StreamHandler(said), logging.getLogger("torch.onnx")
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        with exported_as(case["onnx"]), contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                model, (), kwargs=example, dynamo=True, verify=True, dynamic_shapes=axes, output_names=None
            )
    except Exception as error:  # noqa: BLE001 - whatever it raises would have ended the user's program
        return {VERIFY: ["stopped", repr(error)[:300]], BY_HAND: ["stopped", repr(error)[:300]]}
    finally:
        logger.removeHandler(handler)
    lines = [line for line in said.getvalue().splitlines() if CROSS in line or "difference" in line or "fails" in line]
    return {VERIFY: ["warned" if lines else "passed", "; ".join(lines)[:300]], BY_HAND: by_hand(program)}


def by_hand(program: Any) -> list[str]:
    """torch's helper for tests, at its own tolerance, on the example that was exported with."""
    try:
        assert_onnx_program(program, strategy=None)
    except Exception as error:  # noqa: BLE001 - an AssertionError of a test, or onnxruntime's own
        return ["stopped", repr(error)[:300]]
    return ["passed", ""]


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    verdicts = {name: judge(case) for name, case in cases.items()}
    packages = ("torch", "onnxscript", "onnxruntime", "transformers")
    result = {"verdicts": verdicts, "versions": {name: version(name) for name in packages}}
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
