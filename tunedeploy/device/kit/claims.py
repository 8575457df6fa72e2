"""Check this bundle on this machine: pytest parity/ needs numpy, onnxruntime, pytest, and tokenizers or Pillow.

Neither torch nor tunedeploy: what it runs is `device/` beside it, as apps do. Raw texts or pixels must become the
golden inputs, and the golden inputs the golden outputs. There is a single rule, over all goldens together:

- no answer changes but where two labels were nearly tied (`near_tie`), and the logits are not scaled;
- float32 anywhere, and every variant on the instruction set and the onnxruntime that made the bundle: no logit differs
  by more than `max_abs`. Elsewhere integer kernels may round differently.

It needs Python 3.11 or newer. Nothing outside this bundle is read, whatever its files say. But to run a test is to run
code: check a bundle that comes from elsewhere with `tunedeploy verify DIST --expect ID` first.
"""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).absolute().parent


def device():
    """The package `device`, under a name of this bundle's own: the kits of two bundles may run in one process."""
    name, folder = f"device_{hashlib.sha256(str(HERE).encode()).hexdigest()[:12]}", HERE / "device"
    inside = [str(folder)]
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=inside)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return name


sys.dont_write_bytecode = True  # or importing `device/` would add files to the bundle
DEVICE = device()
bundles, comparison, errors, goldens, integrity, tokenizer_checks, verify = (
    importlib.import_module(f"{DEVICE}.{name}")
    for name in ("bundle", "comparison", "errors", "goldens", "integrity", "tokenizer_checks", "verify")
)
BUNDLE = bundles.load_bundle(HERE.parent)
GOLDENS = goldens.read_goldens(BUNDLE.path, BUNDLE.manifest, BUNDLE.graph)


def holds(check, *arguments):
    """Fail with a line for each comparison of a check that is a breach."""
    comparisons = comparison.tried(check, *arguments, stage="bundle", file="parity")
    breaches = [entry.line() for entry in comparisons if not entry.ok]
    assert comparisons
    assert not breaches, "\n".join(breaches)


@pytest.fixture
def encoder():
    """The bundle's preprocessing; without the package that it needs there is nothing to compare."""
    try:
        return BUNDLE.encoder
    except errors.PackageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("variant", sorted(BUNDLE.manifest["variants"]))
def test_golden_inputs_give_the_golden_outputs(variant):
    holds(verify.rules_kept, BUNDLE, GOLDENS)
    holds(verify.variant_again, BUNDLE, variant, GOLDENS, ("parity", "metric"))


def test_raw_rows_give_the_golden_inputs(encoder):
    holds(verify.inputs_again, BUNDLE, GOLDENS.golden, GOLDENS.arrays)


def test_every_file_tells_the_same_labels():
    holds(verify.labels_alike, BUNDLE, GOLDENS.golden)


def test_every_file_tells_the_same_preprocessing(encoder):
    holds(verify.preprocessing_alike, BUNDLE, GOLDENS.golden)


def test_every_file_is_the_one_that_was_built():
    holds(integrity.integrity, BUNDLE)


if "tokenizer_probe" in GOLDENS.golden:

    def test_the_whole_tokenizer_gives_what_it_gave(encoder):
        holds(tokenizer_checks.as_probed, BUNDLE.path, GOLDENS.golden)
