"""Stored ranges of activations are those of the calibration rows, to what float32 explains."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.proof import small
from tunedeploy.device.encoders import Inputs

SHAPE = (3, 12, 12)


def mobile(path: Path) -> Path:
    """What MobileNets are made of: Clip to 6, a depthwise convolution, a residual, a maximum, averages, a softmax."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c0", "low", "high"], ["a0"]),
        helper.make_node("Conv", ["a0", "w1", "b0"], ["c1"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Relu", ["c1"], ["a1"]),
        helper.make_node("MaxPool", ["a1"], ["m1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["m1", "w2", "b0"], ["c2"]),
        helper.make_node("Add", ["c2", "m1"], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("GlobalAveragePool", ["turned"], ["mean"]),
        helper.make_node("Softmax", ["mean"], ["gate"], axis=1),
        helper.make_node("Mul", ["turned", "gate"], ["gated"]),
        helper.make_node("GlobalAveragePool", ["gated"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "head", "bias"], ["logits"]),
    ]
    stored = {
        "w0": small.normal(8, 3, 3, 3, seed=1), "w1": small.normal(8, 1, 3, 3, seed=2),
        "w2": small.normal(8, 8, 1, 1, seed=3), "b0": small.normal(8, seed=4), "low": np.float32(0),
        "high": np.float32(6), "head": small.normal(8, 3, seed=5), "bias": small.normal(3, seed=6),
    }  # fmt: skip
    return small.write(path, nodes, stored, SHAPE)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mobile(tmp_path_factory.mktemp("ranges") / "model.onnx")


@pytest.fixture(scope="module")
def samples() -> list[Inputs]:
    return small.rows(8, *SHAPE)


@pytest.fixture
def target(source: Path, samples: list[Inputs], tmp_path: Path) -> Path:
    made = small.converted(source, "int8", samples, method="MinMax")
    return made.rename(tmp_path / "int8.onnx")


def activations(path: Path) -> dict[str, tuple[str, str]]:
    """Scale and zero point of each QuantizeLinear, by the value that it rounds."""
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "QuantizeLinear"]
    assert len(nodes) >= 8
    return {node.input[0]: (node.input[1], node.input[2]) for node in nodes}


def test_ranges_of_the_calibration_rows_raise_no_alarm(source: Path, target: Path, samples: list[Inputs]) -> None:
    assert small.odd_ranges(source, target, samples) == []


def test_ranges_measured_row_by_row_raise_no_alarm(source: Path, samples: list[Inputs], tmp_path: Path) -> None:
    single = [{"x": batch["x"][at : at + 1]} for batch in samples for at in range(8)]
    target = small.converted(source, "int8", single, method="MinMax").rename(tmp_path / "int8.onnx")
    assert small.odd_ranges(source, target, samples) == []


@pytest.mark.parametrize("method", ["Percentile", "Entropy"])
def test_ranges_that_cut_tails_raise_no_alarm(method: str, source: Path, samples: list[Inputs], tmp_path: Path) -> None:
    target = small.converted(source, "int8", samples, method=method).rename(tmp_path / "int8.onnx")
    assert small.odd_ranges(source, target, samples, method) == []


@pytest.mark.parametrize("factor", [0.99, 0.999, 1.001, 1.01])
def test_each_scale_that_is_off_by_little_is_found(
    factor: float, source: Path, target: Path, samples: list[Inputs]
) -> None:
    healthy = target.read_bytes()
    for value, (scale, _) in activations(target).items():
        small.change(target, scale, lambda values: values * factor)
        assert small.odd_ranges(source, target, samples), value
        target.write_bytes(healthy)


@pytest.mark.parametrize("step", [-1, 1])
def test_each_zero_point_that_is_off_by_one_is_found(
    step: int, source: Path, target: Path, samples: list[Inputs]
) -> None:
    healthy = target.read_bytes()
    for value, (_, zero) in activations(target).items():
        small.change(target, zero, lambda values: np.where(values == 0, 1, values.astype(int) + step))
        assert small.odd_ranges(source, target, samples), value
        target.write_bytes(healthy)
