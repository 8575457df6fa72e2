"""Learning rate over the course of training, as a pure function of the share that is done."""

import math

STEP_AT = (0.5, 0.75)  # `step` divides the rate by 10 at these shares (He et al. 2016)
RISE = 0.3  # `one-cycle` rises for this share (Smith and Topin 2018)


def factor(schedule: str, done: float, warmup: float, step: float = 0.0) -> float:
    """The factor on the recipe's learning rate.

    Args:
        schedule: linear, cosine, step, one-cycle or constant.
        done: share of training that is done, 0..1.
        warmup: share over which the rate rises from zero; one-cycle has its own rise.
        step: share that one step is; the rise counts the step to come, so that none is taken at zero.

    Returns:
        A factor in 0..1.
    """
    if schedule == "one-cycle":
        rising = done < RISE
        phase = done / RISE if rising else 1 - (done - RISE) / (1 - RISE)
        return 0.04 + 0.96 * (1 - math.cos(math.pi * phase)) / 2 if rising else (1 - math.cos(math.pi * phase)) / 2
    if done < warmup:
        return min(1.0, (done + step) / warmup)
    rest = (done - warmup) / max(1e-9, 1 - warmup)
    if schedule == "linear":
        return max(0.0, 1 - rest)
    if schedule == "cosine":
        return (1 + math.cos(math.pi * min(1.0, rest))) / 2
    if schedule == "step":
        return float(0.1 ** sum(done >= at for at in STEP_AT))
    assert schedule == "constant", schedule
    return 1.0
