"""Mutation testing stands on changes that are single, that can be drawn again, and that are judged by what they do."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import mutate
from tests.faults import graphs
from tests.faults.judging import FP32
from tests.faults.mutations import KINDS, mutant
from tests.finished import Finished

Finisher = Callable[[str], Finished]


@pytest.fixture(scope="module")
def trials(finished: Finisher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, mutate.Trial]:
    folder = tmp_path_factory.mktemp("mutate")
    return {
        name: mutate.Trial(name=name, run=finished(task).copy(folder / name), file=file)
        for name, (task, file) in mutate.FILES.items()
    }


def test_every_kind_of_change_finds_a_place_and_changes_one_thing(trials: dict[str, mutate.Trial]) -> None:
    kinds: Counter[str] = Counter()
    for trial in trials.values():
        for seed in range(150):
            model, kind, what = mutant(trial.model, trial.values, np.random.default_rng(seed))
            assert what
            assert model.SerializeToString(deterministic=True) != trial.model.SerializeToString(deterministic=True)
            assert abs(len(model.graph.node) - len(trial.model.graph.node)) <= 8
            kinds[kind] += 1
    assert set(kinds) == set(KINDS)


def test_a_mutant_is_drawn_again_by_its_number(trials: dict[str, mutate.Trial]) -> None:
    trial = trials["text-int8"]
    drawn = [mutant(trial.model, trial.values, np.random.default_rng([0, 3])) for _ in range(2)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("name", mutate.FILES)
def test_the_file_itself_is_an_equivalent_mutant_and_raises_no_alarm(
    name: str, trials: dict[str, mutate.Trial]
) -> None:
    trial = trials[name]
    for fused in (True, False):
        own = mutate.answers(trial.model, trial.batches, fused=fused)
        assert mutate.largest(own, trial.expected[fused]) <= trial.noise
    assert trial.judged(trial.model, all_checks=True) == []


def test_rows_that_verify_does_not_use_hold_every_token_and_every_length(trials: dict[str, mutate.Trial]) -> None:
    trial = trials["text-fp32"]
    table = graphs.stored(trial.model, "trunk.embeddings.word_embeddings.weight")
    assert {int(one) for batch in trial.batches for one in np.unique(batch["input_ids"])} == set(range(table.dims[0]))
    assert {batch["input_ids"].shape[1] for batch in trial.batches} >= set(range(2, 65))
    assert {len(batch["input_ids"]) for batch in trial.batches} >= {4, 32, 33, 40}


def test_a_changed_bias_is_live_and_stopped_and_the_run_is_as_it_was(trials: dict[str, mutate.Trial]) -> None:
    trial = trials["text-fp32"]
    path: Path = trial.run.run / FP32
    before = path.read_bytes()
    model = onnx.ModelProto()
    model.CopyFrom(trial.model)
    bias = graphs.stored(model, "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(bias), "head.bias"))
    changed = mutate.answers(model, trial.batches, fused=False)
    assert mutate.largest(changed, trial.expected[False]) > trial.noise
    assert trial.judged(model)
    assert path.read_bytes() == before
