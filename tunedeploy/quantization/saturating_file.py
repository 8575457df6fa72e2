"""A file that computes, on a CPU whose products never saturate, what another gives on one where they do.

Each product that can saturate is followed by the excess of its pairs over 16 bits, computed only for pairs that can.
"""

import numpy as np
import onnx

from tunedeploy.device.encoders import Array
from tunedeploy.graphs.files import opset
from tunedeploy.quantization.saturation import at_risk, neighbours, products

DOMAIN = "tunedeploy"
# Places and weights are (channels, pairs), so that every channel has its own pairs.
EXCESS = """
<domain: "tunedeploy", opset_import: ["": {opset}]>
Saturate (exact, activations, first, second, first_weight, second_weight) => (saturated) {{
    wide = Cast<to = 6>(activations)
    left = Gather<axis = -1>(wide, first)
    right = Gather<axis = -1>(wide, second)
    left_product = Mul(left, first_weight)
    right_product = Mul(right, second_weight)
    pair = Add(left_product, right_product)
    lowest = Constant<value = int32 {{-32768}}>()
    highest = Constant<value = int32 {{32767}}>()
    clipped = Clip(pair, lowest, highest)
    excess = Sub(clipped, pair)
    axis = Constant<value = int64[1] {{-1}}>()
    by_channel = ReduceSum<keepdims = 0>(excess, axis)
    saturated = Add(exact, by_channel)
}}
"""


def saturating(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The file with its saturation written out.

    Returns:
        None where a product that can saturate is not a MatMulInteger, since the output of others is already rounded,
        or where its weights are moved or computed.
    """
    at_risk_products = [product for product in products(model) if at_risk(product.weights).any()]
    if not all(product.known for product in at_risk_products):
        return None
    risky = {product.node.output[0]: product.weights for product in at_risk_products}
    other = onnx.ModelProto()
    other.CopyFrom(model)
    del other.graph.node[:]
    for node in model.graph.node:
        other.graph.node.append(node)
        if node.output[0] not in risky:
            continue
        if node.op_type != "MatMulInteger":
            return None
        out = node.output[0]
        constants = pairs_at_risk(risky[out])
        other.graph.node[-1].output[0] = f"{out}/exact"
        inputs = [f"{out}/exact", node.input[0], *(f"{out}/{name}" for name in constants)]
        other.graph.node.append(onnx.helper.make_node("Saturate", inputs, [out], f"{out}/saturate", domain=DOMAIN))
        other.graph.initializer.extend(
            onnx.numpy_helper.from_array(value, f"{out}/{name}") for name, value in constants.items()
        )
    other.functions.append(onnx.parser.parse_function(EXCESS.format(opset=opset(model))))
    other.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return other


def pairs_at_risk(weights: Array) -> dict[str, Array]:
    """Places and weights of the pairs that can saturate, (channels, most pairs of a channel); the rest weigh zero."""
    risky = at_risk(weights)
    order = np.argsort(~risky, axis=1, kind="stable")[:, : risky.sum(1).max()]
    chosen = np.take_along_axis(risky, order, 1)
    first, second = (
        np.where(chosen, np.take_along_axis(side.astype(np.int32), order, 1), 0).astype(np.int32)
        for side in neighbours(weights)
    )
    places = {"first": 2 * order, "second": np.minimum(2 * order + 1, weights.shape[1] - 1)}
    return places | {"first_weight": first, "second_weight": second}
