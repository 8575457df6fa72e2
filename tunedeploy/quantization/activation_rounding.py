"""How much signal is left of what enters a product when one scale rounds its whole tensor to 8 bits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tunedeploy.device.encoders import Inputs
from tunedeploy.graphs.onnx_graph import Graph

BATCHES = 4  # each batch has its own scale, and all give nearly the same figure


def input_rounding_db(source: Path, samples: Sequence[Inputs]) -> dict[str, float]:
    """For each product with stored weights of a float32 file: its input's signal to rounding noise, in dB.

    A few values far from the rest, as transformers have them, stretch the scale and leave few steps to the others.
    Rounding to a step s adds s^2 / 12 of noise, and dynamic quantization takes (largest - smallest) / 255 for s.

    Raises:
        RunError: onnxruntime can neither load nor run the file as written.
    """
    if not samples:
        return {}
    graph = Graph(source)
    products = {
        node.name: node.input[0]
        for node in graph.model.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in graph.stored
    }
    names = sorted({name for name in products.values() if name in graph.makers})
    signal, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1e-300)
    for batch in samples[:BATCHES]:
        for name, value in graph.run(batch, names).items():
            step = (max(float(value.max()), 0.0) - min(float(value.min()), 0.0)) / 255
            signal[name] += float(np.square(value, dtype=np.float64).sum())
            noise[name] += step**2 / 12 * value.size
    decibels = {name: 10 * np.log10(max(signal[name], 1e-300) / noise[name]) for name in names}
    return {node: float(decibels[name]) for node, name in products.items() if name in decibels}
