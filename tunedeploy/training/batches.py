"""Which rows make a step: shuffled reproducibly, grouped by length, the same rows however a step is split."""

from collections.abc import Sequence

import numpy as np

from tunedeploy.device.encoders import Array, Features

POOL = 50  # steps whose rows are sorted by length together; more saves padding and shuffles less


def windows(lengths: Array, *, size: int, seed: int, epoch: int, weights: Array | None = None) -> list[Array]:
    """Row indices of every optimizer step of one epoch.

    Args:
        lengths: (rows,), in tokens; all equal for images.
        size: rows a step = batch size x accumulation x processes.
        seed: of the run.
        epoch: 0, 1, ...; each has its own order.
        weights: (rows,) chances of being drawn, with replacement, for resampling; each row once when None.

    Returns:
        Arrays of at most `size` indices, every row once an epoch (or as many draws).
    """
    rng = np.random.default_rng([seed, epoch])
    count = len(lengths)
    order = rng.permutation(count) if weights is None else rng.choice(count, count, p=weights / weights.sum())
    steps: list[Array] = []
    for at in range(0, count, size * POOL):
        pool = order[at : at + size * POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        cuts = list(range(size, len(pool), size))
        if cuts and size > 2 and len(pool) - cuts[-1] == 1:
            cuts[-1] -= 1  # BatchNorm over maps of one pixel has no variance in a step of one row, and torch refuses it
        steps += np.split(pool, cuts)
    return [steps[at] for at in rng.permutation(len(steps))]


def micro_batches(window: Array, *, parts: int, process: int, processes: int) -> list[tuple[Array, bool]]:
    """One process's share of a step, in `parts` micro-batches.

    Every process gets `parts` of them, since gradients are averaged in step; where rows run out the pair's
    second item is False and its row counts nothing.
    """
    shares = np.array_split(window, parts * processes)[process::processes]
    return [(share, True) if len(share) else (window[:1], False) for share in shares]


def by_length(lengths: Array, batch_size: int) -> list[Array]:
    """All rows in batches of similar length, for evaluation."""
    order = np.argsort(lengths, kind="stable")
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]


def class_weights(label_ids: Array, labels: int) -> Array:
    """A weight for each class, inverse to its rows, 1 on average over the rows (King and Zeng 2001), at most 10."""
    counts = np.bincount(label_ids, minlength=labels)
    weights = len(label_ids) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.asarray(np.minimum(weights, 10.0))


def is_imbalanced(label_ids: Array, share: float = 0.7) -> bool:
    """Whether one class holds more than `share` of the rows."""
    return bool(np.bincount(label_ids).max() > share * len(label_ids))


def balance_of(choice: str, label_ids: Array) -> str:
    """`auto` becomes `weights` where one class dominates, else `none`."""
    if choice != "auto":
        return choice
    return "weights" if is_imbalanced(label_ids) else "none"


def lengths_of(features: Sequence[Features]) -> Array:
    """The first axis of each row's first array, (rows,)."""
    return np.asarray([len(next(iter(row.values()))) for row in features])
