"""How long work tells where it is: stages say it here, and the command line decides how it looks.

A library call is silent; `listen` sets who hears of it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Who is told."""

    def note(self, text: str) -> None:
        """One line worth reading."""
        ...

    def update(self, name: str, done: float, total: float, text: str) -> None:
        """Where a long task is; `text` may hold a loss."""
        ...


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Tell `listener` of everything inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def note(text: str) -> None:
    """Say one line."""
    listener = _listener.get()
    if listener is not None:
        listener.note(text)


def tracker(name: str, total: float) -> Callable[..., None]:
    """A function to be called with what is done and an optional text; tells at most ten times a second."""
    last = -1.0

    def update(done: float, text: str = "") -> None:
        nonlocal last
        listener = _listener.get()
        now = time.monotonic()
        if listener is not None and (done >= total or now - last > 0.1):
            last = now
            listener.update(name, done, total, text)

    return update
