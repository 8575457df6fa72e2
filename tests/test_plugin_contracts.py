"""Every plug-in satisfies the Protocol of its axis; one that does not is refused in a line that says what it lacks."""

import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tunedeploy import contracts, plugins
from tunedeploy.data import kinds

EVERY = [(axis, name) for axis in plugins.AXES for name in plugins.names(axis)]


@pytest.mark.parametrize(("axis", "name"), EVERY)
def test_a_plugin_has_every_member_and_the_signatures_of_its_contract(axis: str, name: str) -> None:
    contract, plugin = plugins.CONTRACTS[axis], plugins.load(axis, name)
    signatures = contracts.functions(contract)
    assert signatures
    assert contracts.lacks(contract, plugin) == []
    assert [one for one in contracts.defaults(contract) if not hasattr(plugin, one)] == []
    for function, wanted in signatures.items():
        own = inspect.signature(getattr(plugin, function))
        assert shape(own)[: len(shape(wanted))] == shape(wanted), f"{axis} {name}: {function}{own}, expected {wanted}"
        added = list(own.parameters.values())[len(wanted.parameters) :]
        assert all(one.default is not one.empty for one in added), f"{axis} {name}: nobody passes {added}"


def shape(signature: inspect.Signature) -> list[tuple[str, str]]:
    """Names and kinds of parameters."""
    return [(one.name, one.kind.name) for one in signature.parameters.values()]


@pytest.mark.parametrize("axis", plugins.AXES)
def test_what_a_plugin_defines_beyond_its_contract_is_not_a_misspelt_option(axis: str) -> None:
    """An optional member under a wrong name would be passed over in silence; other names in capitals are few."""
    known = {*contracts.defaults(plugins.CONTRACTS[axis]), *contracts.required(plugins.CONTRACTS[axis])}
    own = {
        "HUB_TASK",
        "LARGEST",
        "DYNAMIC_OPS",
        "OUTLIER_DB",
        "LIMITS",
        "SHOWN",
        "SMALL_HEAD",
        "LONGEST_GOLDEN",
        "GOLDEN_NUMBERS",
    }
    for name in plugins.names(axis):
        module = plugins.load(axis, name)
        assert isinstance(module, ModuleType)
        capitals = {one for one in vars(module) if one.isupper()} - known - own
        assert {one for one in capitals if one not in IMPORTED} == set()


KINDS = {name.upper() for name in kinds.names()}
IMPORTED = {"HALVES", "IGNORE", "IMAGE_ROWS", "OUTPUT", "OUTSIDE", "TEXT_ROWS", "TYPE_CHECKING", *KINDS}


def test_members_that_may_be_left_out_have_their_default_in_the_contract() -> None:
    bare = SimpleNamespace(CACHES_FEATURES=False, attach=None, fold=None)
    assert contracts.lacks(plugins.CONTRACTS["methods"], bare) == []
    contracts.complete(plugins.CONTRACTS["methods"], bare)
    assert (bare.PROBES_FIRST, bare.DEFAULTS, bare.Options) == (False, {}, None)
    weight = SimpleNamespace(requires_grad=True)
    frozen = SimpleNamespace(requires_grad=False)
    model = SimpleNamespace(parameters=lambda: [weight, frozen])
    assert bare.parameter_groups(model, None, 0.5) == [{"params": [weight], "lr": 0.5}]


def test_a_member_that_a_plugin_has_is_left_as_it_is() -> None:
    own = SimpleNamespace(REWRITES=("mine",), INTEGERS=True)
    contracts.complete(plugins.CONTRACTS["precisions"], own)
    assert (own.REWRITES, own.INTEGERS) == (("mine",), True)


def test_what_a_contract_requires() -> None:
    required = {axis: contracts.required(contract) for axis, contract in plugins.CONTRACTS.items()}
    assert required["methods"] == ["CACHES_FEATURES", "attach", "fold"]
    assert required["precisions"] == ["FILE", "candidates", "convert"]
    assert (required["objectives"], required["targets"]) == (["Objective"], ["breaches"])
    assert {"COLUMNS", "assemble", "decision", "loss", "report", "edge_rows"} <= set(required["tasks"])
    assert not {"SYNONYMS", "broken_rows", "rewritten"} & set(required["tasks"])


def test_a_plugin_that_lacks_members_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    info = tmp_path / "acme_tuning-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tuning\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunedeploy.methods]\nacme-half = acme_half\n")
    (tmp_path / "acme_half.py").write_text(
        '"""Acme half: no way back."""\nCACHES_FEATURES = False\nfolds = attach = print\n'
    )
    code = "from tunedeploy import plugins; plugins.load('methods', 'acme-half')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(
        "method 'acme-half' (acme_half) is missing fold; tunedeploy/contracts/method.py says what it needs"
    )


def test_the_contracts_load_nothing() -> None:
    """They name the types of rooms that load plug-ins themselves: only a type checker may follow these imports."""
    code = "import sys; before = set(sys.modules); import tunedeploy.plugins; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name.split(".")[1] for name in done.stdout.split() if name.startswith("tunedeploy.")}
    assert "contracts" in ours
    assert ours <= {"contracts", "plugins", "extras", "errors", "device"}
    assert "torch" not in done.stdout.split()
