"""Full fine-tuning: every weight is trained."""

from collections.abc import Iterator

from pydantic import Field
from torch import nn

from tunedeploy.contracts.method import ParameterGroup
from tunedeploy.models.classifier import Assembly
from tunedeploy.recipe.read import Section

DEFAULTS = {
    "train.lr": 5e-5,  # pretrained transformers forget above 1e-4 (Mosbach et al. 2021)
    "train.epochs": 3,
}
CACHES_FEATURES = False


class Options(Section):
    """Keys of `tune`."""

    head_lr: float = Field(
        default=1e-3, gt=0
    )  # the new head starts from nothing and may move faster than pretrained weights
    layer_decay: float = Field(
        default=1.0, gt=0, le=1
    )  # each layer towards the input learns this factor slower; 1 is plain fine-tuning


def attach(assembly: Assembly, options: Options) -> None:
    """Make every parameter trainable."""
    del options
    assembly.model.requires_grad_(True)


def fold(model: nn.Module) -> None:
    """Nothing to fold: the trained weights are the model's own."""


def parameter_groups(model: nn.Module, options: Options, lr: float) -> list[ParameterGroup]:
    """Groups of parameters with learning rates that fall towards the input (ELECTRA, Clark et al. 2020)."""
    depths = dict(_depths(model))
    deepest = max(depths.values(), default=0)
    groups: dict[int, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(depths[name], []).append(parameter)
    return [
        {"params": group, "lr": lr * options.layer_decay ** (deepest - depth)}
        for depth, group in sorted(groups.items())
    ]


def _depths(model: nn.Module) -> Iterator[tuple[str, int]]:
    """Depth of every parameter: 0 before the first block of the longest stack, then the block, then one more."""
    stacks = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList | nn.Sequential)
    ]
    stack = max(stacks, key=lambda named: sum(p.numel() for p in named[1].parameters()), default=("", nn.ModuleList()))
    order = {name: at for at, (name, _) in enumerate(stack[1].named_children())}  # DenseNet's are conv0, norm0, ...
    count, seen = len(order), False
    for name, _ in model.named_parameters():
        inside = bool(stack[0]) and name.startswith(f"{stack[0]}.")
        seen = seen or inside
        block = name.removeprefix(f"{stack[0]}.").split(".")[0]
        yield name, order[block] + 1 if inside else (count + 1 if seen else 0)
