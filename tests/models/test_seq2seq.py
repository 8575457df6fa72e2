"""Text to text through a cache: it matters neither where calls are cut, nor who shares the batch, nor what runs it."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from transformers import MarianConfig, MarianMTModel, PreTrainedModel

from tunedeploy.device.encoders import Array
from tunedeploy.device.programs import seq2seq as program
from tunedeploy.device.programs.seq2seq import Seq2Seq
from tunedeploy.device.signature import Arrays, Run
from tunedeploy.device.typed import Mismatch
from tunedeploy.errors import RunError
from tunedeploy.models import seq2seq
from tunedeploy.models.conversion import name_axes
from tunedeploy.models.torch_inputs import arguments, tensors

ENGLISH = ["the cat sleeps", "a dog", "we saw the old house today", "she is not here", "rain", "they left late"]
FRENCH = [
    "le chat dort",
    "un chien",
    "nous voyons la vieille maison",
    "elle n'est pas là",
    "pluie",
    "ils se couchent",
]


def marian(tokenizer: Tokenizer) -> PreTrainedModel:
    """A Marian of two layers: absolute positions, and a decoder built like BART's."""
    config = MarianConfig(
        vocab_size=tokenizer.get_vocab_size(), d_model=32, encoder_layers=2, decoder_layers=2, pad_token_id=0,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, eos_token_id=1,
        decoder_start_token_id=0, max_position_embeddings=64, dropout=0.0, forced_eos_token_id=None,
        attn_implementation="eager",
    )  # fmt: skip
    return MarianMTModel(config).eval()


MAKERS: dict[str, Callable[[Tokenizer], PreTrainedModel]] = {
    "t5": lambda tokenizer: seq2seq.small_t5(tokenizer, width=64, layers=2),
    "marian": marian,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return seq2seq.train_tokenizer([*ENGLISH, *FRENCH], size=320, max_length=32)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def model(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> PreTrainedModel:
    """Trained until it knows its six sentences by heart, so that it says different words and ends."""
    torch.manual_seed(0)
    made = MAKERS[request.param](tokenizer)
    inputs, answers = batch_of(tokenizer), torch.from_numpy(padded(tokenizer, FRENCH))
    optimizer = torch.optim.Adam(made.parameters(), lr=3e-3)
    made.train()
    for _ in range(160):
        optimizer.zero_grad()
        made(
            input_ids=torch.from_numpy(inputs["input_ids"]), attention_mask=torch.from_numpy(inputs["attention_mask"]),
            labels=answers.masked_fill(answers == 0, -100),
        ).loss.backward()  # fmt: skip
        optimizer.step()
    return made.eval()


def padded(tokenizer: Tokenizer, texts: list[str]) -> Array:
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    return np.asarray([[*row, *[0] * (max(map(len, ids)) - len(row))] for row in ids])


def batch_of(tokenizer: Tokenizer, rows: slice = slice(None)) -> dict[str, Array]:
    ids, answers = padded(tokenizer, ENGLISH[rows]), padded(tokenizer, FRENCH[rows])
    prefix = np.concatenate([np.zeros((len(answers), 1), np.int64), answers[:, :-1]], axis=1)
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).astype(np.int64),
        program.PREFIX: prefix,
        program.PREFIX_MASK: (answers != 0).astype(np.int64),
    }


def program_of(model: PreTrainedModel) -> Seq2Seq:
    return Seq2Seq(settings=seq2seq.facts_of(model, max_new_tokens=32))


def torch_run(model: PreTrainedModel, dtype: torch.dtype = torch.float32) -> Run:
    nets, graphs = seq2seq.nets_of(model), {graph.name: graph for graph in program_of(model).graphs}

    def run(name: str, inputs: Arrays) -> dict[str, Array]:
        given = tensors({key: np.asarray(value) for key, value in inputs.items()})
        given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in given.items()}
        with torch.inference_mode():
            outputs = nets[name](**arguments(graphs[name], given))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return {value.name: one.numpy() for value, one in zip(graphs[name].outputs, outputs, strict=True)}

    return run


def splits(steps: int) -> Iterator[tuple[int, ...]]:
    """Every cut into two calls, some into three, and one call a step."""
    yield from ((at,) for at in range(1, steps))
    yield from list(combinations(range(1, steps), 2))[::5]
    yield tuple(range(1, steps))


def cut_apart(made: Seq2Seq, run: Run, batch: Arrays) -> float:
    """The largest difference of logits between one call and any cut of it, as a share of their range."""
    whole = made.forward(run, batch)[program.OUTPUT]
    cuts = list(splits(batch[program.PREFIX].shape[1]))
    assert len(cuts) > 10
    return max(float(np.abs(made.forward_in_calls(run, batch, cut)[program.OUTPUT] - whole).max()) for cut in cuts) / (
        float(np.ptp(whole))
    )


@pytest.fixture(scope="module")
def onnx_run(model: PreTrainedModel) -> Run:
    """Both graphs in onnxruntime, exported with free axes."""
    made, nets = program_of(model), seq2seq.nets_of(model)
    sessions = {}
    for graph in made.graphs:
        example = seq2seq.example_of(made.settings)[graph.name]
        kwargs, shapes = arguments(graph, tensors(example)), arguments(graph, graph.dynamic_axes())
        exported: Any = torch.onnx.export(
            nets[graph.name], (), kwargs=kwargs, dynamo=True, verbose=False, dynamic_shapes=shapes, opset_version=18,
            input_names=[value.name for value in graph.inputs], output_names=[value.name for value in graph.outputs],
        )  # fmt: skip
        file = exported.model_proto
        name_axes(file, graph)
        session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
        sessions[graph.name] = session

    def run(name: str, inputs: Arrays) -> dict[str, Array]:
        names = [one.name for one in sessions[name].get_outputs()]
        return dict(zip(names, sessions[name].run(None, dict(inputs)), strict=True))

    run.sessions = sessions  # type: ignore[attr-defined]
    return run


def test_one_call_computes_what_the_whole_model_computes(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    batch = batch_of(tokenizer)
    with torch.inference_mode():
        expected = model(
            input_ids=torch.from_numpy(batch["input_ids"]), attention_mask=torch.from_numpy(batch["attention_mask"]),
            decoder_input_ids=torch.from_numpy(batch[program.PREFIX]),
        ).logits.numpy()  # fmt: skip
    got = program_of(model).forward(torch_run(model), batch)
    assert list(got) == [program.OUTPUT]
    np.testing.assert_allclose(got[program.OUTPUT], expected, atol=1e-5)


def test_where_the_calls_are_cut_changes_nothing_in_torch(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    batch = batch_of(tokenizer)
    assert cut_apart(program_of(model), torch_run(model), batch) < 1e-6
    double = torch_run(model.double(), torch.float64)
    try:
        assert cut_apart(program_of(model), double, batch) < 1e-14
    finally:
        model.float()


def test_where_the_calls_are_cut_changes_nothing_in_onnxruntime(
    model: PreTrainedModel, tokenizer: Tokenizer, onnx_run: Run
) -> None:
    batch = batch_of(tokenizer)
    made = program_of(model)
    assert cut_apart(made, onnx_run, batch) < 1e-6
    expected = made.forward(torch_run(model), batch)[program.OUTPUT]
    assert np.abs(made.forward(onnx_run, batch)[program.OUTPUT] - expected).max() < 1e-5 * np.ptp(expected)


def test_a_row_is_the_same_alone_and_beside_longer_ones(
    model: PreTrainedModel, tokenizer: Tokenizer, onnx_run: Run
) -> None:
    made = program_of(model)
    for run in (torch_run(model), onnx_run):
        together = made.forward(run, batch_of(tokenizer))[program.OUTPUT]
        sequences = made.answer(run, batch_of(tokenizer))[program.SEQUENCES]
        for at in range(len(ENGLISH)):
            batch = batch_of(tokenizer, slice(at, at + 1))
            alone = made.forward(run, batch)[program.OUTPUT][0]
            np.testing.assert_allclose(alone, together[at, : len(alone)], atol=1e-5 * np.ptp(together))
            answer = made.answer(run, batch)[program.SEQUENCES][0]
            assert answer.tolist() == sequences[at, : len(answer)].tolist()


def test_greedy_text_is_that_of_transformers_and_the_same_in_onnxruntime(
    model: PreTrainedModel, tokenizer: Tokenizer, onnx_run: Run
) -> None:
    batch, made = batch_of(tokenizer), program_of(model)
    generated = model.generate(  # type: ignore[operator]
        input_ids=torch.from_numpy(batch["input_ids"]), attention_mask=torch.from_numpy(batch["attention_mask"]),
        max_new_tokens=32, do_sample=False, num_beams=1,
    )  # fmt: skip
    ours = made.answer(torch_run(model), batch)[program.SEQUENCES]
    assert ours.tolist() == generated[:, 1:].tolist()
    assert made.answer(onnx_run, batch)[program.SEQUENCES].tolist() == ours.tolist()
    texts = [text.strip() for text in tokenizer.decode_batch(ours.tolist())]
    assert len(set(texts)) == len(texts)  # else it would be a poor test
    assert texts == FRENCH


def test_what_is_behind_a_row_s_end_is_padding_and_the_loop_ends_with_the_last_row(
    model: PreTrainedModel, tokenizer: Tokenizer
) -> None:
    made = program_of(model)
    sequences = made.answer(torch_run(model), batch_of(tokenizer))[program.SEQUENCES]
    ends = (sequences == made.settings.eos_id).argmax(1)
    assert len(set(ends)) > 1
    for row, end in zip(sequences, ends, strict=True):
        assert (row[end + 1 :] == made.settings.pad_id).all()
    assert sequences.shape[1] == ends.max() + 1
    shorter = Seq2Seq(settings=seq2seq.facts_of(model, max_new_tokens=2))
    assert (
        shorter.answer(torch_run(model), batch_of(tokenizer))[program.SEQUENCES].tolist() == sequences[:, :2].tolist()
    )


def test_the_files_have_the_axes_of_the_graphs(model: PreTrainedModel, onnx_run: Any) -> None:
    for graph in program_of(model).graphs:
        session = onnx_run.sessions[graph.name]
        for values, got in ((graph.inputs, session.get_inputs()), (graph.outputs, session.get_outputs())):
            assert {value.name: list(value.axes) for value in values} == {one.name: one.shape for one in got}


def test_a_step_that_forgets_the_cache_or_starts_its_positions_again_shows(
    model: PreTrainedModel, tokenizer: Tokenizer
) -> None:
    class Forgetful(Seq2Seq):
        def step(self, run: Run, memory: Arrays, ids: Array, past: Arrays) -> tuple[Array, dict[str, Array]]:
            return super().step(run, memory, ids, self.no_past(len(ids)))

    assert cut_apart(Forgetful(settings=program_of(model).settings), torch_run(model), batch_of(tokenizer)) > 1e-2


def test_facts_open_the_program_again_and_others_are_refused(model: PreTrainedModel) -> None:
    facts = program_of(model).facts
    assert program.opened(facts, program_of(model).graph) == program_of(model)
    for wrong in ({"heads": 0}, {"eos_id": facts["vocabulary"]}, {"layers": "2"}, {"beams": 4}):
        with pytest.raises(Mismatch, match=next(iter(wrong))):
            program.opened(facts | wrong, program_of(model).graph)


def test_any_text_comes_back_from_its_ids(tokenizer: Tokenizer) -> None:
    for text in ("Où est-il né ?", "l'œuf 🙂", "a  b"):
        assert tokenizer.decode(tokenizer.encode(text).ids).removeprefix(" ") == text
    assert tokenizer.encode("the cat sleeps").ids[-1] == 1
    assert len(tokenizer.encode("word " * 100).ids) == 32


def test_logits_that_are_not_finite_end_the_loop_with_a_line(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    healthy = torch_run(model)

    def broken(name: str, inputs: Arrays) -> dict[str, Array]:
        outputs = healthy(name, inputs)
        return {key: value * np.nan if key == program.OUTPUT else value for key, value in outputs.items()}

    with pytest.raises(RunError, match="gives NaN or infinity at step 1; no text can be made of it"):
        program_of(model).answer(broken, batch_of(tokenizer))


def test_a_pass_without_right_answers_is_a_line(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    batch = {name: array for name, array in batch_of(tokenizer).items() if name != program.PREFIX}
    with pytest.raises(RunError, match="a row has no target"):
        program_of(model).forward(torch_run(model), batch)


@pytest.mark.parametrize(
    ("key", "value"),
    [("layers", 200_000), ("heads", 2**31), ("head_width", 2**31), ("max_new_tokens", 2**31), ("vocabulary", 2**31)],
)
def test_sizes_that_no_model_has_are_refused_before_arrays_of_them_are_made(
    key: str, value: int, model: PreTrainedModel
) -> None:
    made = program_of(model)
    with pytest.raises(Mismatch, match=f"{key}: expected"):
        program.opened(made.facts | {key: value}, made.graph)
