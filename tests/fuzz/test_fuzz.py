"""Whatever is damaged ends in an answer or in one line, never in a traceback."""

from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import Tiny

AREAS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("_", "test_")))
TRIALS = 60


def test_every_kind_of_file_that_is_read_has_a_fuzzer() -> None:
    assert set(AREAS) >= {"bundles", "checkpoints", "data", "models", "recipes", "runs"}


@pytest.mark.parametrize("area", AREAS)
def test_damage_never_ends_in_a_traceback(area: str, tiny: Tiny, tmp_path: Path) -> None:
    fuzzer = import_module(f"tests.fuzz.{area}")
    subject = fuzzer.prepare(tiny, tmp_path / "healthy")
    endings: Counter[str] = Counter()
    for seed in range(getattr(fuzzer, "TRIALS", TRIALS)):
        try:
            endings[fuzzer.trial(subject, np.random.default_rng(seed), tmp_path / f"{seed}")] += 1
        except AssertionError as error:
            raise AssertionError(f"trial {seed} of {area}: {error}") from error
    assert endings["refused"] + endings["breach"] > 0, endings
