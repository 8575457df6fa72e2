"""End a process at any of its file operations, as a kill or a power cut would."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

OPERATIONS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
KILLED = 9


def killed_at(number: int, call: Callable[[], Any]) -> bool:
    """Run a call in a child process that ends just before its file operation of this number.

    Returns:
        Whether it got so far; otherwise the call has ended well.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, none of which the call needs
        child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.addaudithook(_end_at(number))
            call()
            code = 0
        except Exception:  # noqa: BLE001  the child ends here whatever it was
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"operation {number}: the call ended with {code}"
    return code == KILLED


def _end_at(number: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in OPERATIONS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
            if left == 0:
                os._exit(KILLED)
            left -= 1

    return hook
