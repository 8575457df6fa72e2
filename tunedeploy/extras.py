"""Packages that training needs and a device does not, and what to say where one is missing."""

# By the names that are imported; pyproject.toml has those that are installed, as the extra `train`.
TRAIN = frozenset({
    "accelerate", "datasets", "filelock", "huggingface_hub", "onnx", "onnxscript", "peft", "pyarrow", "pydantic",
    "sacrebleu", "safetensors", "seqeval", "sklearn", "torch", "transformers", "typing_extensions", "yaml",
})  # fmt: skip
CURE = "pip install 'tunedeploy[train]'"


def lacking(error: ModuleNotFoundError) -> str | None:
    """What is missing and the cure, in one line; None where it is none of these packages: that is a bug."""
    return f"needs the package {error.name!r}; {CURE}" if error.name in TRAIN else None
