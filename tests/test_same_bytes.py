"""While code moves between rooms, the tiny runs come out as they did: the same files, the same ledger values."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.finished import Finished
from tests.same_bytes import TASKS, machine, outcome, recorded, versions


@pytest.fixture
def record() -> dict[str, Any]:
    """What was recorded on a machine and with packages like these."""
    here, known = machine(), recorded()
    if here not in known:
        pytest.skip(f"nothing was recorded on {here!r}, whose float32 sums may differ; known: {', '.join(known)}")
    differ = [f"{name} {one}" for name, one in versions().items() if known[here]["versions"][name] != one]
    if differ:
        pytest.skip(f"recorded with other versions than {', '.join(differ)}")
    tasks: dict[str, Any] = known[here]["tasks"]
    return tasks


@pytest.mark.parametrize("task", TASKS)
def test_files_and_ledger_are_what_they_were(
    task: str, record: dict[str, Any], finished: Callable[[str], Finished]
) -> None:
    before, now = record[task], outcome(finished(task))
    assert len(before["files"]) > 10
    assert now["files"] == before["files"]
    # A check may be added meanwhile; none may go, and none may find another value.
    assert {name: now["ledger"].get(name) for name in before["ledger"]} == before["ledger"]
