"""What onnxruntime's quantizer writes for operators that few models have is explained too, and no fault."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.proof import small
from tunedeploy import plugins
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.inside.local import local_parity

IMAGE, MATRIX = (3, 8, 8), (16,)
WAYS: dict[str, dict[str, Any]] = {"static": {"method": "MinMax"}, "dynamic": {"per_channel": True}}


def clipped(path: Path, low: float, high: float) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"]),
        helper.make_node("Clip", ["c", "low", "high"], ["a"]),
        helper.make_node("Conv", ["a", "w1"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["logits"]),
    ]
    stored = {
        "w0": small.normal(8, 3, 3, 3), "w1": small.normal(8, 8, 1, 1, seed=1), "w2": small.normal(8, 3, seed=2),
        "low": np.float32(low), "high": np.float32(high),
    }  # fmt: skip
    return small.write(path, nodes, stored, IMAGE)


def with_computed_factor(path: Path, across: int) -> Path:
    """A Gemm both of whose factors are computed, with a stored bias."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Transpose", ["a"], ["turned"], perm=[1, 0]),
        helper.make_node("Gemm", ["a", "a" if across else "turned", "bias"], ["g"], transB=across),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("ReduceMean", ["r", "axis"], ["m"], keepdims=1),
        helper.make_node("Mul", ["m", "a"], ["ma"]),
        helper.make_node("MatMul", ["ma", "w1"], ["logits"]),
    ]
    stored = {
        "w0": small.normal(16, 16), "w1": small.normal(16, 3, seed=1), "bias": np.ones(1, np.float32),
        "axis": np.array([1]),
    }  # fmt: skip
    return small.write(path, nodes, stored, MATRIX)


def with_batch_norm(path: Path) -> Path:
    """A batch norm behind an activation, as DenseNet ends: nothing folds it into a convolution."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("BatchNormalization", ["r", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("GlobalAveragePool", ["n"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w1"], ["logits"]),
    ]
    stored = {
        "w0": small.normal(8, 3, 3, 3), "w1": small.normal(8, 3, seed=2), "scale": small.normal(8, seed=3),
        "shift": small.normal(8, seed=4), "mean": small.normal(8, seed=5), "var": small.normal(8, seed=6) ** 2 + 1,
    }  # fmt: skip
    return small.write(path, nodes, stored, IMAGE)


def assert_explained(source: Path, shape: tuple[int, ...], **setting: Any) -> Path:
    samples = small.rows(4, *shape)
    target = small.converted(source, "int8", samples, **setting)
    assert small.alarms(source, target, "int8") == []
    if "method" in setting:
        assert small.odd_ranges(source, target, samples, setting["method"]) == []
    nodes = local_parity(Graph(source), Graph(target), small.matched(source, target, "int8"), samples[0])
    assert max(node.share for node in nodes) <= 1
    return target


@pytest.mark.parametrize("bounds", [(0, 6), (-1, 1), (-0.7, 2.3), (0.5, 6), (-3, -1)], ids=str)
def test_a_clip_raises_no_alarm(bounds: tuple[float, float], tmp_path: Path) -> None:
    assert_explained(clipped(tmp_path / "model.onnx", *bounds), IMAGE, method="MinMax")


@pytest.mark.parametrize("bounds", [(0.5, 6), (-3, -1)], ids=str)
def test_a_clip_that_no_range_replaces_is_missed_where_it_is_dropped(
    bounds: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clipped(tmp_path / "model.onnx", *bounds)
    monkeypatch.setattr(plugins.load("precisions", "int8"), "clips_off_zero", lambda source: [])
    target = small.converted(source, "int8", small.rows(4, *IMAGE), method="MinMax")
    assert small.alarms(source, target, "int8")


def test_a_batch_norm_that_stands_alone_raises_no_alarm(tmp_path: Path) -> None:
    assert_explained(with_batch_norm(tmp_path / "model.onnx"), IMAGE, method="MinMax")


def test_the_shift_of_a_batch_norm_is_held_to_its_scales(tmp_path: Path) -> None:
    source = with_batch_norm(tmp_path / "model.onnx")
    target = small.converted(source, "int8", small.rows(4, *IMAGE), method="MinMax")
    scale = next(name for name in Graph(target).stored if name.startswith("shift") and name.endswith("scale"))
    small.change(target, scale, lambda values: values * 2)
    assert small.alarms(source, target, "int8")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("across", [0, 1])
def test_a_gemm_whose_factors_are_computed_raises_no_alarm(across: int, way: str, tmp_path: Path) -> None:
    assert_explained(with_computed_factor(tmp_path / "model.onnx", across), MATRIX, **WAYS[way])


def test_the_scale_of_a_bias_is_held_to_that_of_a_computed_factor(tmp_path: Path) -> None:
    source = with_computed_factor(tmp_path / "model.onnx", 0)
    target = assert_explained(source, MATRIX, method="MinMax")
    scale = next(name for name in Graph(target).stored if name.startswith("bias") and name.endswith("scale"))
    small.change(target, scale, lambda values: values * 2)
    assert small.alarms(source, target, "int8")
