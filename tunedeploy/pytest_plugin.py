"""A pytest plug-in: `pytest --tunedeploy-bundle=dist/` adds the checks of a bundle to any test run."""

from pathlib import Path
from typing import Any

import pytest

from tunedeploy.errors import TunedeployError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option; it may be given several times."""
    group = parser.getgroup("tunedeploy")
    group.addoption(
        "--tunedeploy-bundle",
        action="append",
        default=[],
        metavar="DIST",
        help="check this bundle: integrity, parity, preprocessing and metric are a test each",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a configuration from a bundle: with a space instead of the `=`, pytest takes DIST for its own folder.

    Raises:
        pytest.UsageError: pytest's configuration lies in a bundle.
    """
    for path in config.getoption("--tunedeploy-bundle"):
        if config.inipath is not None and config.inipath.is_relative_to(Path(path).resolve()):
            raise pytest.UsageError(f"{config.inipath}: pytest was configured by the bundle; "
                                    f"write --tunedeploy-bundle={path} with an equals sign")  # fmt: skip


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Append a test for each check of each bundle to those collected."""
    bundles = config.getoption("--tunedeploy-bundle")
    if not bundles:
        return  # without the option, nothing more of tunedeploy is loaded
    from tunedeploy.device.comparison import CHECKS

    items += [
        BundleCheck.from_parent(session, name=f"{path}::{check}", path=Path(path), check=check)
        for path in bundles
        for check in CHECKS
    ]


class BundleCheck(pytest.Item):
    """One check of one bundle."""

    def __init__(self, *, path: Path, check: str, **more: Any) -> None:
        super().__init__(path=path, **more)
        self.check = check

    def runtest(self) -> None:
        """Run the check; it raises ParityError with one line per breach."""
        from tunedeploy import api

        api.verify(self.path, [self.check])

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any, **__: Any) -> str:
        """The breaches, without a traceback: they are not a bug of the test."""
        if isinstance(excinfo.value, TunedeployError):
            return "\n".join(excinfo.value.lines)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where reports place the test: the bundle's path, no line, the name."""
        return self.path, None, self.name
