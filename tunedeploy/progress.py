"""Progress of long work: stages report it here, and the command line decides how to show it.

A library call is silent unless `listen` sets a listener.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Receives notes and progress."""

    def note(self, text: str) -> None:
        """One line worth reading."""
        ...

    def update(self, name: str, done: float, total: float, text: str) -> None:
        """How far a long task is; `text` may hold a loss."""
        ...


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send all notes and progress inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def note(text: str) -> None:
    """Send one line to the listener, if there is one."""
    listener = _listener.get()
    if listener is not None:
        listener.note(text)


def tracker(name: str, total: float) -> Callable[..., None]:
    """A function that takes the amount done and an optional text, and reports at most ten times a second."""
    last = -1.0

    def update(done: float, text: str = "") -> None:
        nonlocal last
        listener = _listener.get()
        now = time.monotonic()
        if listener is not None and (done >= total or now - last > 0.1):
            last = now
            listener.update(name, done, total, text)

    return update
