"""The variant to ship is the one whose size times time is least, and the page says what it costs."""

from typing import Any

from tunedeploy.page.choice import choice
from tunedeploy.run.results import Variant


def variant(size: int, ms: float, drop: float = 0.0) -> Variant:
    measured: Any = {"file": "a.onnx", "bytes": size, "ms": ms, "metric": 90.0 - drop, "drop": drop}
    return measured  # type: ignore[no-any-return]


def test_the_smallest_and_fastest_is_shipped_with_what_it_loses() -> None:
    chosen = choice({"fp32": variant(4000, 2.0), "int8": variant(1000, 1.0, 0.25)}, allowed=1.0, unit="%")
    assert chosen.variant == "int8"
    assert chosen.reasons == (
        "it is the smallest and the fastest of 2 variants that held their budget",
        "it is 4.0 times smaller and 2.0 times faster than fp32",
        "it loses 0.25 points against fp32, where 1.00 points are allowed",
    )


def test_a_variant_that_broke_a_limit_is_neither_shipped_nor_counted_nor_named_as_better() -> None:
    over: Any = {**variant(4000, 0.1), "problems": ["quantize: fp32: has 0.00 MB, allowed 0.002"]}
    two = choice({"fp32": over, "int8": variant(1000, 1.0), "fp16": variant(2000, 2.0)}, allowed=1.0, unit="%")
    assert two.variant == "int8"
    assert two.reasons[0] == "it is the smallest and the fastest of 2 variants that held their budget"
    assert two.reasons[-1] == "not among them: fp32: has 0.00 MB, allowed 0.002"
    assert not [reason for reason in two.reasons if reason.startswith("where only")]
    lone = choice({"fp32": over, "int8": variant(1000, 1.0)}, allowed=1.0, unit="%")
    assert (lone.variant, lone.reasons[0]) == ("int8", "it is the only one of 2 variants that held its budget")


def test_a_file_that_is_slower_here_says_which_one_is_faster() -> None:
    chosen = choice({"fp32": variant(4000, 2.0), "int8": variant(1000, 2.4)}, allowed=1.0, unit="%")
    assert chosen.variant == "int8"
    assert chosen.reasons[0].startswith("it is the smallest of 2")
    assert "1.2 times slower than fp32" in chosen.reasons[1]
    assert chosen.reasons[-1] == "where only speed counts, ship fp32: it is faster on this machine"


def test_a_small_file_that_is_far_slower_is_not_shipped() -> None:
    chosen = choice({"fp32": variant(4000, 2.0), "int8": variant(3000, 4.0)}, allowed=1.0, unit="%")
    assert (chosen.variant, chosen.reasons[-1]) == ("fp32", "where only size counts, ship int8")


def test_times_that_differ_by_the_machine_s_noise_are_equal() -> None:
    chosen = choice({"fp32": variant(4000, 2.0), "int8": variant(1000, 2.02, -0.5)}, allowed=0.01, unit="")
    assert chosen.reasons == (
        "it is the smallest and the fastest of 2 variants that held their budget",
        "it is 4.0 times smaller and as fast as fp32",
        "it loses 0.0000 against fp32, where 0.0100 are allowed",
    )


def test_a_lone_variant_names_the_key_that_adds_others() -> None:
    chosen = choice({"fp32": variant(0, 0.0)}, allowed=1.0, unit="%")
    assert (chosen.variant, "export.quantize" in chosen.reasons[0]) == ("fp32", True)
