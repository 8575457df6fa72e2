"""Arrays of an encoder as the tensors that a torch model takes."""

import torch

from tunedeploy.device.encoders import Array


def tensors(inputs: dict[str, Array]) -> dict[str, torch.Tensor]:
    """Arrays as tensors, sharing memory."""
    return {name: torch.from_numpy(value) for name, value in inputs.items()}
