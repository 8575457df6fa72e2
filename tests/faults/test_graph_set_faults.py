"""Faults that only several graphs can have: in the cache between two calls, in a graph of another run, in the loop."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.faults import graphs
from tests.faults.judging import judge_anew
from tests.finished import Finished, build, repair_bundle, repair_run, tell_anew
from tests.tiny import Tiny
from tunedeploy import api
from tunedeploy.device.programs.seq2seq import DECODER, ENCODER, PRESENT

Finisher = Callable[[str], Finished]
TASK = "translation"
FP32, INT8 = f"onnx/{DECODER}.onnx", f"quantized/{DECODER}_int8.onnx"


def breaches(path: Path) -> dict[str, str]:
    """Id to line of every comparison that does not hold."""
    return {one.id: one.line() for one in api.comparisons_of(path) if not one.ok}


def instead_of(model: onnx.ModelProto, value: str, make: Callable[[str], list[onnx.NodeProto]]) -> None:
    """What a graph computed for an output is called `computed`, and nodes make the output of it."""
    for node in model.graph.node:
        node.output[:] = ["computed" if name == value else name for name in node.output]
        node.input[:] = ["computed" if name == value else name for name in node.input]
    model.graph.node.extend(make("computed"))


def logits_that_a_filled_cache_shifts(model: onnx.ModelProto) -> None:
    """The first call is right; a later one adds 0.3 to the logits of the first token of the vocabulary."""
    past = next(value for value in model.graph.input if value.name.startswith("past_key_values"))
    graphs.constant(model, "third", np.int64(2))
    graphs.constant(model, "none", np.int64(0))
    shift = np.zeros(model.graph.output[0].type.tensor_type.shape.dim[2].dim_value, np.float32)
    shift[0] = 0.3
    graphs.constant(model, "shift", shift)
    instead_of(
        model, "logits",
        lambda computed: [
            helper.make_node("Shape", [past.name], ["size"]),
            helper.make_node("Gather", ["size", "third"], ["cached"]),
            helper.make_node("Greater", ["cached", "none"], ["filled"]),
            helper.make_node("Cast", ["filled"], ["factor"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["shift", "factor"], ["added"]),
            helper.make_node("Add", [computed, "added"], ["logits"]),
        ],
    )  # fmt: skip


def values_for_keys(model: onnx.ModelProto) -> None:
    """What the decoder hands on as its keys are its values: nothing of one call reads them."""
    value = f"{PRESENT}.0.decoder.value"
    instead_of(
        model,
        f"{PRESENT}.0.decoder.key",
        lambda _: [helper.make_node("Identity", [value], [f"{PRESENT}.0.decoder.key"])],
    )


def a_cache_that_forgets_its_first(model: onnx.ModelProto) -> None:
    """The decoder's keys are handed on with the first place set to nothing."""
    name = f"{PRESENT}.0.decoder.key"
    for constant, value in (("first", [0]), ("end", [1]), ("places", [2])):
        graphs.constant(model, constant, np.asarray(value, np.int64))
    graphs.constant(model, "last", np.asarray([np.iinfo(np.int64).max], np.int64))
    graphs.constant(model, "nothing", np.float32(0))
    instead_of(
        model, name,
        lambda computed: [
            helper.make_node("Slice", [computed, "first", "end", "places"], ["head_of_it"]),
            helper.make_node("Mul", ["head_of_it", "nothing"], ["forgotten"]),
            helper.make_node("Slice", [computed, "end", "last", "places"], ["rest_of_it"]),
            helper.make_node("Concat", ["forgotten", "rest_of_it"], [name], axis=2),
        ],
    )  # fmt: skip


def faulty(run: Path, file: str, fault: Callable[[onnx.ModelProto], None]) -> Path:
    """A run whose file has a fault and whose records say of it what the stages would have said."""
    with graphs.edited(run / file) as model:
        fault(model)
    recorded(run, file)
    return run


def recorded(run: Path, file: str) -> None:
    """Write the hashes, sizes and, of a quantized file, the figures that the stages would have written."""
    if file.startswith("quantized"):
        judge_anew(run)
    tell_anew(run)
    repair_run(run)


FAULTS = [logits_that_a_filled_cache_shifts, values_for_keys, a_cache_that_forgets_its_first]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_float32_decoder_that_is_wrong_in_cached_steps_only_is_stopped(
    fault: Callable[[onnx.ModelProto], None], finished: Finisher, tmp_path: Path
) -> None:
    stopped = breaches(faulty(finished(TASK).copy(tmp_path).run, FP32, fault))
    assert {"cache-invariance", "graph-vs-torch"} <= stopped.keys()
    assert DECODER in stopped["graph-vs-torch"]
    assert "torch-vs-onnx" not in stopped  # a pass in one call shows nothing of it


@pytest.mark.parametrize("fault", FAULTS)
def test_an_int8_decoder_that_is_judged_by_its_own_wrong_texts_is_stopped(
    fault: Callable[[onnx.ModelProto], None], finished: Finisher, tmp_path: Path
) -> None:
    run = faulty(finished(TASK).copy(tmp_path).run, INT8, fault)
    assert {"unexplained-nodes", "local-parity"} & breaches(run).keys()


@pytest.mark.parametrize("file", [f"onnx/{ENCODER}.onnx", f"onnx/{DECODER}.onnx", f"quantized/{ENCODER}_int8.onnx"])
def test_a_graph_of_another_run_is_stopped(file: str, finished: Finisher, another_run: Path, tmp_path: Path) -> None:
    run = finished(TASK).copy(tmp_path).run
    shutil.copyfile(another_run / file, run / file)
    recorded(run, file)
    assert {"graph-vs-torch", "stored-weights", "local-parity"} & breaches(run).keys()


@pytest.fixture(scope="module")
def another_run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same recipe with another seed, up to its files."""
    folder = tmp_path_factory.mktemp("another")
    return build(tiny, folder, TASK, until="quantize", train={"seed": 1, "epochs": 1}).run


@pytest.mark.parametrize("key", ["eos_id", "start_id", "max_new_tokens"])
def test_a_loop_that_starts_or_ends_otherwise_is_stopped(key: str, finished: Finisher, tmp_path: Path) -> None:
    dist = finished(TASK).copy(tmp_path).dist
    graphs.rewrite(dist / "manifest.json", lambda manifest: manifest["program"].update({key: 2}))
    repair_bundle(dist)
    assert breaches(dist)


def test_a_healthy_run_and_its_bundle_raise_no_alarm(finished: Finisher) -> None:
    run = finished(TASK)
    assert not breaches(run.run)
    assert not breaches(run.dist)
