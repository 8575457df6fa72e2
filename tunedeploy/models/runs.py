"""The Run of a model in torch: what runs its graphs in float32, or in a float64 copy."""

import copy

import numpy as np
import torch

from tunedeploy.device.encoders import Array
from tunedeploy.device.programs import Pass
from tunedeploy.device.signature import Arrays, Graph, Run
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.torch_inputs import arguments, named, tensors


def as_double(model: torch.nn.Module) -> torch.nn.Module:
    """A float64 copy, for the noise floor."""
    return copy.deepcopy(model).double()


def torch_run(assembly: Assembly, *, double: bool = False) -> Run:
    """The Run of a model in torch, in float32 or in a float64 copy."""
    modules = assembly.modules()
    if double:
        modules = {name: as_double(module) for name, module in modules.items()}
    graphs = {graph.name: graph for graph in assembly.parts.program.graphs}
    return lambda graph, inputs: run_torch(modules[graph], graphs[graph], inputs, double=double)


def torch_pass(assembly: Assembly, *, double: bool = False) -> Pass:
    """The whole pass of a model in torch."""
    return Pass(program=assembly.parts.program, run=torch_run(assembly, double=double))


def run_torch(model: torch.nn.Module, graph: Graph, inputs: Arrays, *, double: bool) -> dict[str, Array]:
    """One batch through a torch model, its outputs by name."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    batch = {name: value.to(device) for name, value in tensors(graph.select(inputs)).items()}
    if double:
        batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    with torch.inference_mode():
        outputs = named(graph, model(**arguments(graph, batch)))
        return {name: np.asarray(value.cpu().numpy()) for name, value in outputs.items()}
