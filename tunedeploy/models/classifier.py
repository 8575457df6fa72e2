"""A trunk, a dropout and a linear head: the shape of model that is tuned, with what is needed to feed it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tunedeploy.device.decisions import Decision
from tunedeploy.device.encoders import Array, Encoder, Row
from tunedeploy.device.parts import Parts
from tunedeploy.device.programs import Program
from tunedeploy.device.programs.single import Single
from tunedeploy.device.signature import Graph


class Classifier(nn.Module):
    """Logits from a trunk's features.

    Subclasses give `features(**inputs) -> (batch, width)` and a `forward` whose parameters are named like the inputs of
    the whole pass. `trunk` holds what was pretrained, `head` what is new; none (`labels` 0) if the trunk has its own.
    """

    def __init__(self, trunk: nn.Module, *, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head: nn.Linear | None = nn.Linear(width, labels) if labels else None

    @property
    def own_head(self) -> nn.Linear:
        """The head, of a model that has one."""
        assert self.head is not None
        return self.head

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """What the head reads: (batch, width)."""
        raise NotImplementedError

    def tail(self, outputs: torch.Tensor) -> torch.Tensor:
        """What is computed from the head's outputs without trained weights: nothing here."""
        return outputs

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features (..., width) to outputs (..., labels)."""
        return self.tail(self.own_head(self.dropout(features)))


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A model with what is needed to feed it.

    Attributes:
        model: float32, on the CPU, in eval mode.
        encoder: raw rows to inputs as training does it.
        graph: what goes into the model and comes out: the whole pass.
        program: how its files are called; None where the pass is one file.
        nets: the modules of each file, by its graph, which share the model's weights; None for the model itself.
        traced: inputs of each graph to trace it with, where real rows do not show all of its axes.
        decision: what an answer is.
        fresh: names of parameters that no checkpoint gave, to be trained and saved whatever the method.
        facts: what the trunk, the pooling and the preprocessing are, as JSON.
        augmented: the encoder with random augmentation, for training rows; None where there is none.
        notes: what the user should know, one line each.
    """

    model: Classifier
    encoder: Encoder
    graph: Graph
    decision: Decision
    fresh: frozenset[str]
    facts: Mapping[str, Any]
    program: Program | None = None
    nets: Callable[[nn.Module], Mapping[str, nn.Module]] | None = None
    traced: Mapping[str, dict[str, Array]] | None = None
    augmented: Callable[[int], Encoder] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def parts(self) -> Parts:
        """From raw rows to answers, under any Run."""
        program = self.program or Single(graph=self.graph)
        return Parts(encoder=self.encoder, program=program, decision=self.decision)

    def examples(self, rows: Sequence[Row]) -> Mapping[str, dict[str, Array]]:
        """Inputs of each graph to trace it with; no two free axes should have one size."""
        if self.traced is not None:
            return self.traced
        return {self.graph.name: self.graph.select(self.encoder.collate(self.encoder.encode(rows)))}

    def modules(self) -> Mapping[str, nn.Module]:
        """The module of each file, by its graph."""
        return {self.graph.name: self.model} if self.nets is None else self.nets(self.model)


def set_training(module: nn.Module, inherited: bool = True) -> None:
    """Put into training mode exactly what is trained.

    A module whose parameters are all frozen stays in eval, its BatchNorm buffers and dropout untouched; a module
    without parameters (a dropout, an activation) follows the module it stands in.
    """
    own = list(module.parameters())
    module.training = any(parameter.requires_grad for parameter in own) if own else inherited
    if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.training = all(parameter.requires_grad for parameter in own)
    for child in module.children():
        set_training(child, module.training)


def freeze_trunk(assembly: Assembly) -> None:
    """Freeze all but the fresh parameters."""
    for name, parameter in assembly.model.named_parameters():
        parameter.requires_grad_(name in assembly.fresh)


def trained_state(model: nn.Module, fresh: frozenset[str]) -> dict[str, torch.Tensor]:
    """A copy of what training can have changed, by name."""
    state = model.state_dict()
    return {name: state[name].detach().clone() for name in trained_names(model, fresh)}


def trained_names(model: nn.Module, fresh: frozenset[str]) -> list[str]:
    """Trained and fresh parameters, and buffers of modules that were trained; those that a state dict has, sorted."""
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad} | fresh
    for prefix, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and all(parameter.requires_grad for parameter in own):
            names |= {f"{prefix}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return sorted(names & model.state_dict().keys())


def load_trained(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a trained state; the model must have each of its tensors."""
    unexpected = model.load_state_dict(dict(state), strict=False).unexpected_keys
    assert not unexpected, unexpected
