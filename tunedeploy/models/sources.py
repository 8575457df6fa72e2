"""Find a model by the name a recipe gives it: a folder, a hub id, pkg://, torchvision://, timm:// or new://."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from tunedeploy.device.files import sha256
from tunedeploy.errors import ModelError
from tunedeploy.models.packages import install_line


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a trunk comes from.

    `scheme` is `hf`, `torchvision`, `timm` or `new`; `name` is a folder or hub id (hf) or an architecture, which `new`
    builds from a configuration and the recipe's seed; `weights` a state-dict file, the name of the library's own
    weights, or None for random weights.
    """

    scheme: str
    name: str
    weights: str | None = None

    @property
    def is_random(self) -> bool:
        """Whether the trunk starts from random weights."""
        return self.scheme != "hf" and self.weights is None

    @property
    def folder(self) -> Path:
        """The folder of an `hf` source; may not exist when `name` is a hub id."""
        return Path(self.name)


def locate(name: str, weights: str | None = None) -> Source:
    """Turn a recipe's `model` into a Source.

    Raises:
        ModelError: a named package, folder or file does not exist.
    """
    scheme, _, rest = name.partition("://")
    if scheme in ("torchvision", "timm") and rest:
        return Source(scheme=scheme, name=rest, weights=_weights_file(weights))
    if scheme == "new" and rest:
        if weights is not None:
            raise ModelError(f"model.weights: {name} starts from random weights; name a folder to start from others")
        return Source(scheme="new", name=rest)
    if weights is not None:
        raise ModelError(
            f"model.weights goes with torchvision:// or timm://; {name!r} is a folder that holds its own weights"
        )
    path = package_path(name) if scheme == "pkg" else Path(name)
    if scheme == "pkg" or path.is_dir():
        return Source(scheme="hf", name=str(_model_folder(path)))
    if path.is_file():
        raise ModelError(
            f"model {name!r} is a file of weights; name the architecture and the file: "
            f"model: {{name: timm://ARCHITECTURE, weights: {name}}}"
        )
    return Source(scheme="hf", name=hub_folder(name))


@cache
def hub_folder(name: str) -> str:
    """The folder in the hub's cache that holds a model: its weights, its pooling and its preprocessing.

    Raises:
        ModelError: the hub has no such model, or cannot be reached and the cache holds none.
    """
    try:
        files = ["*.json", "*.safetensors", "*.txt", "*.model", "1_Pooling/*"]
        folder = Path(snapshot_download(name, allow_patterns=files))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*files, "*.bin"]))
    except (OSError, ValueError, RuntimeError) as error:  # the hub's own errors are kinds of these
        raise ModelError(
            f"model {name!r}: no such folder here, and the hub has no such model or cannot be reached; "
            "name a folder, a hub id or pkg://package/folder"
        ) from error
    return str(_model_folder(folder))


def package_path(name: str) -> Path:
    """The path behind `pkg://package/folder/or/file`, found without importing the package.

    Raises:
        ModelError: the package is not installed, or holds no such path.
    """
    package, _, inside = name.removeprefix("pkg://").partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"{name}: no installed package {package!r}; install it with '{install_line(package)}'")
    root = Path(next(iter(spec.submodule_search_locations)))
    path = root / inside
    if not path.exists():
        entries = ", ".join(sorted(entry.name for entry in root.iterdir())[:12])
        raise ModelError(f"{name}: package {package!r} has no {inside!r}; it holds {entries}")
    return path


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a safetensors file, or from a torch file read with weights_only.

    Raises:
        ModelError: the file is neither, or holds anything besides tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, EOFError, KeyError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as weights: {_first_sentence(error)}") from error
    except Exception as error:
        # torch raises pickle.UnpicklingError for a file that wants to run code; importing pickle here only to
        # name it would be the one place of this package that does.
        if type(error).__name__ != "UnpicklingError":
            raise
        raise ModelError(
            f"{path}: holds more than tensors, and unpickling it could run code; save it again as safetensors"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path}: is not a state dict (names to tensors)")
    return dict(state)


def fit_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], where: str) -> str:
    """Load a state dict whose names, or at least whose order and shapes, are the model's.

    Returns:
        How the tensors were matched: `by name` or `by order and shape`.

    Raises:
        ModelError: neither fits; the line names the first tensor that differs.
    """
    own = model.state_dict()
    state = {name.removeprefix("module."): value for name, value in state.items()}  # DataParallel's prefix
    if own.keys() == state.keys() and all(own[name].shape == state[name].shape for name in own):
        model.load_state_dict(state)
        return "by name"
    pairs = zip(own.items(), state.items(), strict=False)
    mismatch = next((pair for pair in pairs if pair[0][1].shape != pair[1][1].shape), None)
    if mismatch is None and len(own) == len(state):
        model.load_state_dict(dict(zip(own, state.values(), strict=True)))
        return "by order and shape"
    if mismatch is None:
        raise ModelError(f"{where}: holds {len(state)} tensors, the model {len(own)}; another architecture?")
    (name, want), (stored_name, got) = mismatch
    raise ModelError(
        f"{where}: tensor {stored_name!r} is {tuple(got.shape)} where the model's {name!r} is {tuple(want.shape)}; "
        "another architecture?"
    )


def _weights_file(weights: str | None) -> str | None:
    if weights is None:
        return None
    path = package_path(weights) if weights.startswith("pkg://") else Path(weights)
    if path.is_file():
        return str(path)
    if path.suffix or "/" in weights:
        raise ModelError(f"model.weights: no such file {weights}")
    return weights


def _model_folder(path: Path) -> Path:
    if not (path / "config.json").is_file():
        subfolders = sorted(child.parent.name for child in path.glob("*/config.json")) if path.is_dir() else []
        cure = f"; did you mean {path.name}/{subfolders[0]}?" if subfolders else "; a Hugging Face model folder has one"
        raise ModelError(f"{path}: no config.json in it{cure}")
    return path


def _first_sentence(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def fingerprint(name: str, weights: str | None = None) -> str:
    """SHA-256 over the files a model comes from.

    The same whatever folder they lie in.
    """
    source = locate(name, weights)
    digest = hashlib.sha256(source.scheme.encode())
    if source.scheme != "hf":
        digest.update(source.name.encode())
        if source.weights:
            file = Path(source.weights)
            digest.update(bytes.fromhex(sha256(file)) if file.is_file() else source.weights.encode())
        return digest.hexdigest()
    for path in [*sorted(source.folder.iterdir()), *sorted(source.folder.glob("1_Pooling/*"))]:
        if path.suffix in (".json", ".safetensors", ".bin", ".txt", ".model"):
            digest.update(path.name.encode() + bytes.fromhex(sha256(path)))
    return digest.hexdigest()
