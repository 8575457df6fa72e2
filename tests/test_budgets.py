"""The length budgets of the package; complexity and parameters are ruff's to count."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE_LINES = 300
FUNCTION_LINES = 40  # from `def` to the last line, docstring included


@pytest.fixture(scope="module")
def sources(checkout: Path) -> dict[str, str]:
    files = {
        str(path.relative_to(checkout)): path.read_text("utf-8") for path in (checkout / "tunedeploy").rglob("*.py")
    }
    assert len(files) > 10, f"only {len(files)} files under {checkout / 'tunedeploy'}"
    return files


def test_no_file_is_longer_than_its_budget(sources: dict[str, str]) -> None:
    lengths = {name: len(text.splitlines()) for name, text in sources.items()}
    over = [f"{name}: {lines} lines, budget {FILE_LINES}" for name, lines in lengths.items() if lines > FILE_LINES]
    assert not over, "\n" + "\n".join(over)


def test_no_function_is_longer_than_its_budget(sources: dict[str, str]) -> None:
    found = [(name, *function) for name, text in sources.items() for function in functions(text)]
    assert len(found) > 20, f"only {len(found)} functions found"
    over = [
        f"{name}:{line}: {function} has {lines} lines, budget {FUNCTION_LINES}"
        for name, function, line, lines in found
        if lines > FUNCTION_LINES
    ]
    assert not over, "\n" + "\n".join(over)


def test_a_long_function_is_found_wherever_it_stands() -> None:
    body = "\n".join(f"            x = {n}" for n in range(50))
    text = f"class A:\n    def outer(self):\n        async def inner():\n{body}\n"
    assert list(functions(text)) == [("outer", 2, 52), ("inner", 3, 51)]


def functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, first line and number of lines of every function, methods and nested ones included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1
