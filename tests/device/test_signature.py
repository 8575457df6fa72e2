"""A graph says what goes in and comes out, where an output means something, and reads itself back from a manifest."""

import numpy as np
import pytest

from tunedeploy.device.programs.single import Single
from tunedeploy.device.signature import Graph, Recording, Value, elements, read_graph
from tunedeploy.device.typed import Mismatch

IDS = Value(name="input_ids", axes=("batch", "sequence"), dtype="int64")
MASK = Value(name="attention_mask", axes=("batch", "sequence"), dtype="int64", role="mask")
SCORES = Value(name="logits", axes=("batch", "sequence", 3), role="scores", valid="attention_mask")
GRAPH = Graph(name="model", inputs=(IDS, MASK), outputs=(SCORES,))


def batch(length: int, *rows: int) -> dict[str, np.ndarray]:
    """Rows of so many tokens each, padded to a length, with an array beside that no graph takes."""
    mask = np.asarray([[1] * row + [0] * (length - row) for row in rows])
    return {"input_ids": mask * 5, "attention_mask": mask, "word_starts": mask}


def test_a_graph_takes_its_own_inputs_out_of_a_batch_that_holds_more() -> None:
    assert list(GRAPH.select(batch(4, 2))) == ["input_ids", "attention_mask"]
    with pytest.raises(KeyError):
        GRAPH.select({"input_ids": np.zeros((1, 1))})


def test_free_axes_have_names_and_sizes() -> None:
    assert GRAPH.dynamic_axes() == {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
    assert GRAPH.sizes(batch(4, 2, 3)) == {"batch": 2, "sequence": 4}
    assert GRAPH.paddable()


def test_padding_changes_no_element_of_an_output_that_is_valid_by_a_mask() -> None:
    rng = np.random.default_rng(0)
    short = rng.normal(size=(2, 3, 3))
    longer = np.concatenate([short, rng.normal(size=(2, 4, 3))], axis=1)  # what stands in padding means nothing
    own, rows = elements(SCORES, short, batch(3, 2, 3))
    padded, same = elements(SCORES, longer, batch(7, 2, 3))
    assert np.array_equal(own, padded)
    assert rows.tolist() == same.tolist() == [0, 0, 1, 1, 1]


def test_a_whole_output_is_one_element_a_row() -> None:
    value = Value(name="logits", axes=("batch", 3))
    values, rows = elements(value, np.eye(3), {})
    assert np.array_equal(values, np.eye(3))
    assert rows.tolist() == [0, 1, 2]


def test_a_manifest_gives_the_graph_back() -> None:
    assert read_graph("model", GRAPH.to_json()) == GRAPH


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"outputs": []}, "expected inputs and outputs"),
        ({"inputs": [IDS.__dict__ | {"axes": ["batch", None]}]}, "expected a whole number, got null"),
        ({"inputs": [{"axes": ["batch"]}]}, "inputs\\[0\\].name: missing"),
        ({"inputs": GRAPH.to_json()["inputs"] * 2}, "each with a name of its own"),
        ({"inputs": GRAPH.to_json()["inputs"][:1]}, "logits is valid by an input that is not there"),
    ],
)
def test_a_graph_that_means_nothing_is_refused_with_its_place(change: dict[str, list], problem: str) -> None:
    described = {**GRAPH.to_json(), **change}
    described["inputs"] = [
        {key: list(one) if isinstance(one, tuple) else one for key, one in value.items() if one or key == "axes"}
        for value in described["inputs"]
    ]
    with pytest.raises(Mismatch, match=problem):
        read_graph("model", described)


def test_a_recording_keeps_what_a_program_calls() -> None:
    recording = Recording(lambda graph, inputs: {"logits": inputs["input_ids"] * 2})
    outputs = Single(graph=GRAPH).forward(recording, batch(3, 3))
    (call,) = recording.calls
    assert (call.graph, list(call.inputs)) == ("model", ["input_ids", "attention_mask"])
    assert np.array_equal(call.outputs["logits"], outputs["logits"])
