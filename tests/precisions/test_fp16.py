"""fp16: what the converter refuses is one line with its cure."""

from pathlib import Path

import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from tunedeploy.errors import ModelError
from tunedeploy.precisions import fp16

REFUSED = {
    "AssertionError": [
        helper.make_node("Add", ["x", "b"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Neg", ["a"], ["y"]),
    ],
    "InferenceError": [helper.make_node("Unheard", ["x"], ["y"], domain="elsewhere")],
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_converter_raises_is_one_line(kind: str, tmp_path: Path) -> None:
    nodes: list[NodeProto] = REFUSED[kind]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y")]
    source = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:])), source)
    with pytest.raises(ModelError, match=f"float16 converter fails: {kind}: .*; use int8 or fp32") as caught:
        fp16.convert(source, tmp_path / "half.onnx", {}, [])
    assert len(caught.value.lines) == 1
    assert not (tmp_path / "half.onnx").exists()
