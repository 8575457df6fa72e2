"""LoRA: low-rank updates beside frozen linear and convolution layers (Hu et al. 2021), folded into them at the end."""

import warnings
from collections import Counter
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Assembly, freeze_trunk
from tunedeploy.recipe.read import Section

DEFAULTS = {
    "train.lr": 2e-3,  # adapters start at zero and take rates 40 times those of full fine-tuning
    "train.epochs": 3,
    "train.batch_size": 16,  # twice the steps of 32 in a tenth more time; banking77 gains half a point
}
CACHES_FEATURES = False
# A head that is right for the frozen features does not bend the adapters in the first steps (Kumar et al. 2022).
PROBES_FIRST = True


class Options(Section):
    """Keys of `tune`."""

    rank: int = Field(default=8, ge=1)  # doubling it doubles the trained weights and the adapter file
    alpha: float | None = Field(
        default=None, gt=0
    )  # scale of the update is alpha / rank; twice the rank, so that it is 2 at any rank
    dropout: float = Field(
        default=0.0, ge=0, lt=1
    )  # on the adapter's input; small data sets gain more from fewer epochs
    rslora: bool = False  # scale by alpha / sqrt(rank) (Kalajdzievski 2023), for ranks of 32 and more
    dora: bool = False  # learn magnitude apart from direction (Liu et al. 2024); slower, a little better


def attach(assembly: Assembly, options: Options) -> None:
    """Freeze the trunk and put an adapter beside every layer where that is smaller than the layer.

    Raises:
        ModelError: the trunk has no such layer.
    """
    trunk = assembly.model.trunk
    target_modules = targets(trunk, options.rank)
    if not target_modules:
        raise ModelError(
            f"lora: no layer is larger than a rank-{options.rank} adapter; lower tune.rank or tune.method: full"
        )
    freeze_trunk(assembly)
    config: Any = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha if options.alpha is not None else 2 * options.rank,  # type: ignore[arg-type]
        lora_dropout=options.dropout,
        use_rslora=options.rslora,
        use_dora=options.dora,
        target_modules=target_modules,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns about defaults that we set on purpose
        inject_adapter_in_model(config, trunk)
    fresh = assembly.fresh
    for name, parameter in assembly.model.named_parameters():
        if name in fresh:
            parameter.requires_grad_(True)


def targets(trunk: nn.Module, rank: int) -> list[str]:
    """Names of the layers an adapter of this rank pays for: linear, transposed linear (GPT-2) and convolution.

    A depthwise convolution is smaller than its adapter, so it is left out by size and not by name. A weight that two
    layers share (a language head and its embeddings) is left out: folding the update of the one would change the other.
    """
    uses = Counter(id(weight) for _, weight in trunk.named_parameters(remove_duplicate=False))
    # Exact types: subclasses (torch's out_proj of MultiheadAttention) are read past, not called.
    names = []
    for name, layer in trunk.named_modules():
        if type(layer) is nn.Linear:
            size = rank * (layer.in_features + layer.out_features)
        elif type(layer) is Conv1D:
            size = rank * sum(layer.weight.shape)
        elif type(layer) is nn.Conv2d and layer.groups == 1:
            size = rank * (layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1] + layer.out_channels)
        else:
            continue
        if size < layer.weight.numel() and uses[id(layer.weight)] == 1:
            names.append(name)
    return names


def fold(model: nn.Module) -> None:
    """Add every adapter's update to its layer's weight, in place, and take the adapter away.

    Runs in the dtype the weights have: call it in float32, since bfloat16 rounds a small update away.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, layer in layers:
        merge: Any = layer
        merge.merge(safe_merge=True)
        model.set_submodule(name, merge.get_base_layer())
    trunk: Any = model.trunk
    if hasattr(trunk, "peft_config"):
        del trunk.peft_config
