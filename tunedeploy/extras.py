"""Packages that training needs and a device does not, and the message for a missing one."""

# Import names; pyproject.toml lists the distribution names as the extra `train`.
TRAIN = frozenset({
    "accelerate", "datasets", "filelock", "huggingface_hub", "onnx", "onnxscript", "peft", "pyarrow", "pydantic",
    "sacrebleu", "safetensors", "seqeval", "sklearn", "torch", "transformers", "typing_extensions", "yaml",
})  # fmt: skip
CURE = "pip install 'tunedeploy[train]'"


def lacking(error: ModuleNotFoundError) -> str | None:
    """The missing package and its cure, in one line; None for any other package, whose absence is a bug."""
    return f"needs the package {error.name!r}; {CURE}" if error.name in TRAIN else None
