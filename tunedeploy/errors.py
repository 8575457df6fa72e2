"""Every error that tunedeploy raises on purpose, and the exit code each one ends with.

    TunedeployError
    ├── UsageError      2  the command line itself is wrong
    ├── UserError       1  something the user can fix; one line: place, problem, cure
    │   ├── RecipeError    the recipe: all its mistakes at once, one line each
    │   ├── DataError      the data set: file, row, what is wrong
    │   │   └── ImageError    an image that cannot be read
    │   ├── ModelError     the model or its weights: cannot be found, read or tuned
    │   └── RunError       the run folder or bundle: missing, unfinished, changed
    └── BreachError     3  what was built is not what was trained, or misses its budget
        ├── ParityError    two neighbours of the pipeline disagree
        └── BudgetError    accuracy drop, size or latency over the recipe's limit

Anything else that escapes is a bug and keeps its traceback.
"""

import errno
import re
from collections.abc import Sequence

# A full, read-only or forbidden place is the user's to change, and so is whatever is wrong with a file that is named.
FULL = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG}
# What ends a line, moves the cursor, or is half a character, which no terminal can be sent.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class TunedeployError(Exception):
    """Base of the tree. `lines` holds one message a problem; `exit_code` is the process's."""

    exit_code = 1

    def __init__(self, lines: str | Sequence[str]) -> None:
        self.lines = tuple(one_line(line) for line in ([lines] if isinstance(lines, str) else lines))
        assert self.lines, "an error says what is wrong"
        super().__init__("\n".join(self.lines))


def one_line(text: str) -> str:
    """The text on one line: a file may have a line break in its name, and a library several lines to say."""
    return _BREAKS.sub(lambda match: match.group().encode("unicode_escape").decode(), text.strip())


class UsageError(TunedeployError):
    """The command line is wrong: exit code 2."""

    exit_code = 2


class UserError(TunedeployError):
    """Something the user can fix: exit code 1."""


class RecipeError(UserError):
    """The recipe has mistakes; `lines` holds every one of them as `file:line:column: problem`."""


class DataError(UserError):
    """The data set cannot be used as the recipe says."""


class ImageError(DataError, OSError):
    """An image cannot be read; an OSError too, as it is where Pillow is called without tunedeploy."""


class ModelError(UserError):
    """The model cannot be found, read or tuned as the recipe says."""


class RunError(UserError):
    """A run folder or a bundle is missing, unfinished or changed."""


class BreachError(TunedeployError):
    """What was built breaks its contract: exit code 3. Nothing is written to the bundle."""

    exit_code = 3


class ParityError(BreachError):
    """Two neighbours of the pipeline disagree; each line has stage, file, row, number, limit."""


class BudgetError(BreachError):
    """The accuracy drop, the size or the latency is over the recipe's limit."""
