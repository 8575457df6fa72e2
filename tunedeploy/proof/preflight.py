"""Try on the untrained model, while planning, what would otherwise stop a build only after training."""

import copy
import hashlib
import io
import json
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy import progress
from tunedeploy.device import agreement
from tunedeploy.device.encoders import Array, Features
from tunedeploy.device.signature import Run, elements
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Assembly, Classifier
from tunedeploy.models.conversion import onnx_of
from tunedeploy.models.loading import foreign, trunk_of_depth
from tunedeploy.models.runs import torch_run
from tunedeploy.proof.torch_run import sample

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

ROWS = 4  # a model that mixes rows with their padding does so in every row
PADDING = (1, 16)  # tokens behind a row
MARGIN = 10.0  # times what verify allows; what lies between is for verify to decide, on the trained model
LAYERS = 1  # of a trunk that is converted; the others are the same operators again
LARGEST = 100  # layers with weights of a trunk that is converted whole, where its depth cannot be cut: 10 s and more

_converted: set[str] = set()  # content keys of what this process has converted already


def check(recipe: "Recipe", assembly: Assembly, rows: Any) -> None:
    """Refuse a model that could not become a bundle, however it is trained.

    Raises:
        ModelError: its answers depend on padding or on the rows beside them, or the exporter cannot convert it.
    """
    check_independence(recipe, assembly, rows)
    check_conversion(recipe, assembly, rows)


def check_independence(recipe: "Recipe", assembly: Assembly, rows: Any) -> None:
    """Compare a row alone with itself padded and with itself among others, in torch alone.

    Raises:
        ModelError: they differ by more than rounding explains; verify would blame the exported file for it.
    """
    name = recipe.model.name
    encoder = assembly.encoder
    features = encoder.encode(sample(rows, ROWS))
    longest = int(encoder.facts.get("max_length") or 0)  # of images none
    if longest:  # room for padding
        features = [{key: value[: max(1, longest // 2)] for key, value in row.items()} for row in features]
    with foreign(f"model {name!r}: cannot be run"):
        single, double = torch_run(assembly), torch_run(assembly, double=True)
        own = joined(by_row(assembly, single, [row]) for row in features)
        exact = joined(by_row(assembly, double, [row]) for row in features)
        others = {"it stands beside other rows": np.concatenate(by_row(assembly, single, features))}
        for extra in PADDING if longest else ():
            sizes = [min(len(row["input_ids"]) + extra, longest) for row in features]
            padded = (by_row(assembly, single, [row], size) for row, size in zip(features, sizes, strict=True))
            others[f"padding follows it ({extra})"] = joined(padded)
    spread = agreement.output_range(own)
    limit = MARGIN * agreement.tolerance(agreement.noise_floor(own, exact), spread)
    moves = {how: agreement.largest_difference(own, other)[0] for how, other in others.items()}
    how, value = max(moves.items(), key=lambda move: move[1])
    if value > limit:
        raise ModelError(
            f"model {name!r}: torch alone gives a row other answers when {how}: a logit moves by {value:.2g} of a "
            f"range of {spread:.2g}, allowed {limit:.1g}; no exported file could agree with it, name another model"
        )


def by_row(assembly: Assembly, run: Run, features: list[Features], size: int | None = None) -> list[Array]:
    """The first output's values for each row of one batch."""
    graph, batch = assembly.graph, assembly.encoder.collate(features, size)
    value = graph.outputs[0]
    values, rows = elements(value, assembly.parts.program.forward(run, batch)[value.name], batch)
    return [values[rows == row] for row in range(len(features))]


def joined(batches: Iterable[list[Array]]) -> Array:
    """The values of several batches' rows, concatenated."""
    return np.concatenate([values for batch in batches for values in batch])


def check_conversion(recipe: "Recipe", assembly: Assembly, rows: Any) -> None:
    """Convert the untrained model, its trunk cut to one layer where it can be.

    Raises:
        ModelError: the exporter cannot convert it.
    """
    shallow = of_depth(assembly.model, LAYERS)
    weighted = [module for module in assembly.model.modules() if any(True for _ in module.parameters(recurse=False))]
    if shallow is None and len(weighted) > LARGEST:
        return  # a convolutional network, as a rule, which converts
    try:
        convert(recipe, assembly, shallow or assembly.model, rows)
    except ModelError as error:
        if shallow is None:
            raise ModelError(f"model {recipe.model.name!r}: {error.lines[0]}; name another model") from error
        # Some trunks do not fit together when their depth is cut (ConvNeXt's norm behind its stages).
        check_whole(recipe, assembly, rows)


def check_whole(recipe: "Recipe", assembly: Assembly, rows: Any) -> None:
    """Convert the untrained model with all its layers.

    Raises:
        ModelError: the exporter cannot convert it.
    """
    try:
        convert(recipe, assembly, assembly.model, rows)
    except ModelError as error:
        raise ModelError(f"model {recipe.model.name!r}: {error.lines[0]}; name another model") from error


def convert(recipe: "Recipe", assembly: Assembly, model: Classifier, rows: Any) -> None:
    """Convert a model, unless this process has converted one with the same content key.

    Raises:
        ModelError: the exporter cannot convert it.
    """
    small = replace(assembly, model=model)
    key = content_key(recipe, small)
    if key in _converted:
        return
    cut = "" if model is assembly.model else ", cut to one layer"
    progress.note(f"plan: trying the conversion of the untrained model{cut}")
    began = time.monotonic()
    pair = sample(rows, 2)
    onnx_of(recipe, small, pair if len(pair) == 2 else pair * 2, io.StringIO())
    _converted.add(key)
    progress.note(f"plan: the model can be converted ({time.monotonic() - began:.1f} s)")


def of_depth(model: Classifier, layers: int) -> Classifier | None:
    """The same model with random weights and so many layers; None where the trunk's depth is no setting of it."""
    trunk = trunk_of_depth(model.trunk, layers)
    return None if trunk is None else copy.deepcopy(model, {id(model.trunk): trunk})


def content_key(recipe: "Recipe", assembly: Assembly) -> str:
    """A hash of everything that a conversion depends on except the values of the weights."""
    model = assembly.model
    config: Any = getattr(model.trunk, "config", None)
    facts = {
        "modules": [(name, type(module).__name__) for name, module in model.named_modules()],
        "tensors": [(name, list(tensor.shape)) for name, tensor in model.state_dict().items()],
        "config": config.to_dict() if config is not None else None,
        "facts": [dict(assembly.facts), assembly.encoder.facts],
        "opset": recipe.export.opset,
    }
    return hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()
