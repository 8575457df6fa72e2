"""The model as training finds it: built from the recipe, seeded, with its method attached."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from tunedeploy import plugins
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Assembly, set_training
from tunedeploy.models.memory import memory
from tunedeploy.models.torch_inputs import named
from tunedeploy.run.results import Weights

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.recipe.read import Recipe


# Of the model in float32, at once: as trained, as merged, in float64 (which counts twice), in a session of its file.
COPIES = 5


Tensors = Mapping[str, torch.Tensor]
Loss = Callable[[Tensors], torch.Tensor]  # outputs by name to the loss of each row


def base(recipe: "Recipe", data: "Data") -> Assembly:
    """The model before any training; the same recipe and seed give the same weights, the fresh ones included.

    Raises:
        ModelError: it cannot be opened, or this machine's memory cannot hold it, which is better known before training.
    """
    torch.manual_seed(recipe.train.seed)
    assembly = plugins.load("tasks", recipe.task).assemble(recipe, data)
    size = counts(assembly)["bytes"]
    if COPIES * size > memory():
        raise ModelError(
            f"model {recipe.model.name!r}: is {size / 1e9:.1f} GB in float32, and proving it takes {COPIES} times as "
            f"much memory; this machine has {memory() / 1e9:.0f} GB; name a smaller model"
        )
    return assembly


def attached(recipe: "Recipe", data: "Data") -> Assembly:
    """The model with the recipe's method attached: what is trained requires a gradient."""
    assembly = base(recipe, data)
    plugins.load("methods", recipe.tune.method).attach(assembly, recipe.tune)
    return assembly


def counts(assembly: Assembly) -> Weights:
    """Weights in all and trained, and bytes of the model in float32."""
    parameters = list(assembly.model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return {"total": total, "trainable": trained, "bytes": 4 * total}


def freeze_unreached(assembly: Assembly, inputs: Tensors, loss: Loss) -> int:
    """Freeze parameters that one real batch gives no gradient (a pooler nobody reads), and return their number.

    They would waste optimizer state, and DDP refuses them. Modes, buffers and gradients are as before afterwards.
    """
    model = assembly.model
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    rng = torch.get_rng_state()
    model.eval()
    with torch.enable_grad():
        torch.autograd.backward(loss(named(assembly.graph, model(**inputs))).sum())
    torch.set_rng_state(rng)
    count = 0
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.requires_grad_(False)
            count += parameter.numel()
        parameter.grad = None
    for name, value in model.named_buffers():
        value.copy_(buffers[name])
    set_training(model)
    return count
