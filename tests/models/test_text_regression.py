"""A regressor of texts: the texts of a pair are read alone, and numbers have the unit of the data."""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.tiny import Tiny
from tunedeploy.device.encoders import Row, open_encoder, text_pairs
from tunedeploy.device.errors import RunError
from tunedeploy.models import text, text_regression
from tunedeploy.models.sources import Source
from tunedeploy.models.text_regression import PairsEncoder, TextRegressor
from tunedeploy.models.torch_inputs import tensors

PAIRS: list[Row] = [
    {"text": first, "text_pair": second}
    for first, second in [
        ("we saw rain and storm", "it was frost again"),
        ("snow", "the coach was very very very good and then we saw some more soup with bread"),
        ("", ""),
        ("soup", "soup"),
        ("the race", ""),
        ("goal " * 500, "tennis"),
    ]
]


@pytest.fixture(scope="module")
def source(tiny: Tiny) -> Source:
    return Source(scheme="hf", name=str(tiny["bert"]))


@pytest.fixture(scope="module")
def model(source: Source) -> TextRegressor:
    torch.manual_seed(0)
    made, fresh = text_regression.build(source, pooling="mean", pairs=True, unit=(2.5, 1.5))
    assert fresh == {"head.weight", "head.bias"}
    return made


@pytest.fixture(scope="module")
def encoder(source: Source, model: TextRegressor) -> PairsEncoder:
    tokenizer = text.open_tokenizer(source)
    return PairsEncoder(tokenizer, text_pairs.pair_facts(text.text_facts(model, tokenizer, 16)))


def numbers(model: TextRegressor, encoder: PairsEncoder, rows: list[Row], size: int | None = None) -> torch.Tensor:
    with torch.inference_mode():
        out: torch.Tensor = model(**tensors(encoder.collate(encoder.encode(rows), size)))
    return out


def test_a_row_is_the_same_alone_and_beside_others_and_before_any_padding(
    model: TextRegressor, encoder: PairsEncoder
) -> None:
    together = numbers(model, encoder, PAIRS)
    assert together.shape == (len(PAIRS), 1)
    assert together.std() > 0
    for size in (None, 16, 40):
        alone = torch.cat([numbers(model, encoder, [row], size) for row in PAIRS])
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_each_text_of_a_pair_is_read_alone(model: TextRegressor, encoder: PairsEncoder, source: Source) -> None:
    torch.manual_seed(0)
    single, _ = text_regression.build(source, pooling="mean", pairs=False, unit=(0.0, 1.0))
    alone = text.TransformersEncoder(encoder.tokenizer, text.text_facts(single, encoder.tokenizer, 16))
    with torch.inference_mode():
        first, second = (
            torch.cat([single.features(**tensors(alone.collate(alone.encode([{"text": row[key]}])))) for row in PAIRS])
            for key in ("text", "text_pair")
        )
        features = model.features(**tensors(encoder.collate(encoder.encode(PAIRS))))
    torch.testing.assert_close(features, text_regression.likeness(first, second), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[:, 32:].mean(1), cosine_similarity(first, second), atol=1e-5, rtol=0)


def test_the_untrained_model_ranks_pairs_as_their_cosine_does(model: TextRegressor, encoder: PairsEncoder) -> None:
    with torch.inference_mode():
        cosines = model.features(**tensors(encoder.collate(encoder.encode(PAIRS))))[:, 32:].mean(1)
    given = numbers(model, encoder, PAIRS)[:, 0]
    assert given.argsort().tolist() == cosines.argsort().tolist()
    assert float(given[3]) == pytest.approx(2.5 + 1.5 * text_regression.STEEP / 2, abs=1e-4)  # two equal texts


@pytest.mark.parametrize("unit", [(0.0, 1.0), (250_000.0, 80_000.0), (0.004, 0.001)])
def test_the_unit_of_the_data_changes_nothing_of_what_is_learned(unit: tuple[float, float], source: Source) -> None:
    def step(unit: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        model, _ = text_regression.build(source, pooling="mean", pairs=False, unit=unit)
        ids = torch.randint(5, 40, (8, 6))
        wanted = torch.linspace(-2, 2, 8)[:, None] * unit[1] + unit[0]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        (((model(ids, torch.ones_like(ids)) - wanted) / unit[1]) ** 2).mean().backward()
        optimizer.step()
        with torch.no_grad():
            return model.head.weight, (model(ids, torch.ones_like(ids)) - unit[0]) / unit[1]

    for ours, theirs in zip(step(unit), step((0.0, 1.0)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_mean_and_scale_are_facts_and_no_weights(model: TextRegressor) -> None:
    assert not {"mean", "scale"} & model.state_dict().keys()
    assert [name for name, _ in model.named_buffers() if "." not in name] == ["mean", "scale"]


def test_a_number_keeps_its_digits_where_the_trunk_computes_in_bfloat16(model: TextRegressor) -> None:
    priced = TextRegressor(model.trunk, width=32, pooling="mean", pairs=True, unit=(250_000.0, 80_000.0))
    assert priced.tail(torch.full((2, 1), 0.5, dtype=torch.bfloat16)).tolist() == [[290_000.0]] * 2


def test_a_bundle_encodes_pairs_as_training_does(encoder: PairsEncoder, tmp_path: Path) -> None:
    text.save_tokenizer(encoder.tokenizer, tmp_path, encoder.facts["max_length"])
    device = open_encoder(tmp_path, encoder.facts)
    assert device.facts == encoder.facts
    rows = [*PAIRS, {"text": "ÄÖÜ naïve 🙂", "text_pair": "日本語"}]
    for size in (None, 3, 40):
        ours, theirs = (one.collate(one.encode(rows), size) for one in (encoder, device))
        assert list(ours) == list(theirs) == ["input_ids", "attention_mask"]
        for name, array in ours.items():
            assert array.shape[:2] == (len(rows), 2)
            np.testing.assert_array_equal(array, theirs[name])
    assert device.sizes(device.encode(rows)) == encoder.sizes(encoder.encode(rows))
    assert max(size or 0 for size in device.sizes(device.encode(rows))) == 16  # the longest text, not the longest pair


def test_a_row_without_a_second_text_has_one_id_there(encoder: PairsEncoder) -> None:
    batch = encoder.collate([{"input_ids": np.asarray([5, 6]), "token_type_ids": np.zeros(2, np.int64)}])
    assert batch["attention_mask"].tolist() == [[[1, 1], [1, 0]]]


def test_a_pair_without_its_second_text_is_one_line(encoder: PairsEncoder) -> None:
    with pytest.raises(RunError, match="missing text_pair: the model compares two texts"):
        encoder.encode([{"text": "soup", "text_pair": None}])


def test_it_exports_with_free_axes(model: TextRegressor, encoder: PairsEncoder) -> None:
    axes = {
        value.name: {at: axis for at, axis in enumerate(value.axes) if isinstance(axis, str)}
        for value in text_pairs.values(text_pairs.INPUTS)
    }
    example = tensors(encoder.collate(encoder.encode(PAIRS[:2])))
    program = torch.onnx.export(
        model, (), kwargs=example, dynamo=True, verbose=False, dynamic_shapes=axes, output_names=["logits"],
        input_names=list(axes), opset_version=18,
    )  # fmt: skip
    file = io.BytesIO()
    assert program is not None
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    assert [one.shape for one in session.get_inputs()] == [["batch", 2, "sequence"]] * 2
    assert session.get_outputs()[0].shape == ["batch", 1]
    for count, size in ((1, None), (6, None), (1, 1), (3, 40), (33, 9)):
        inputs = encoder.collate(encoder.encode((PAIRS * 6)[:count]), size)
        with torch.inference_mode():
            expected = model(**tensors(inputs)).numpy()
        np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=1e-5)
