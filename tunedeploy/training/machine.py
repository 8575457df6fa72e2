"""What this machine can do for training: threads, devices and number formats."""

from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState

from tunedeploy.errors import RecipeError


def precision_of(choice: str) -> str:
    """The number format of AMP on this machine: `fp32`, `bf16` or `fp16`.

    Raises:
        RecipeError: the machine has no hardware for the one asked for.
    """
    cuda = torch.cuda.is_available()
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else cpu_has_bf16()
    if choice == "auto":
        return "bf16" if has_bf16 else ("fp16" if cuda else "fp32")
    if choice == "fp16" and not cuda:
        raise RecipeError("train.precision: fp16 needs a GPU, and none is here; write auto, bf16 or fp32")
    if choice == "bf16" and not has_bf16:
        raise RecipeError(
            "train.precision: bf16 would be emulated on this machine, slower than fp32; write auto or fp32"
        )
    return choice


def cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def accelerator_of(precision: str) -> Accelerator:
    """An Accelerator for this process: one device, DDP or FSDP as it was launched."""
    AcceleratorState._reset_state(False)  # a second run in one process may use another precision
    # One process embeds the data set while the others wait, which on a large one outlasts the usual ten minutes.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=24))
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision, kwargs_handlers=[patience])


def set_threads(count: int | None) -> int:
    """Set the number of CPU threads torch computes with, and return it; what the environment says when None."""
    if count is not None:
        torch.set_num_threads(count)
    return torch.get_num_threads()
