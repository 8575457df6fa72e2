"""Doctor: what this machine has that decides how a run goes."""

import importlib.util
import os

import psutil

from tunedeploy.device.runtime import instruction_set
from tunedeploy.run.folder import versions


def examine() -> dict[str, str | int | None]:
    """Versions, hardware, number formats and extras, flat."""
    memory = psutil.virtual_memory()
    return {
        **versions(),
        "instruction set": " ".join(instruction_set()),
        "cores": psutil.cpu_count(logical=False),
        "memory": f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free",
        **training(),
        "int8 saturates": "no"
        if any("vnni" in feature or "amx" in feature for feature in instruction_set())
        else "may, without VNNI",
        "extra vision": "yes" if importlib.util.find_spec("torchvision") else "no: pip install 'tunedeploy[vision]'",
        "hub": "offline" if os.environ.get("HF_HUB_OFFLINE") == "1" else "allowed",
    }


def training() -> dict[str, str | int | None]:
    """What training would use; where torch is not installed, how to install it."""
    if importlib.util.find_spec("torch") is None:
        return {"training": "no: pip install 'tunedeploy[train]'"}
    import torch

    from tunedeploy.training.machine import cpu_has_bf16, precision_of

    gpu = torch.cuda.is_available()
    return {
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if gpu else "none",
        "bf16": "yes" if cpu_has_bf16() or gpu else "no (AVX512-BF16 or AMX is missing)",
        "precision auto": precision_of("auto"),
    }
