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

Errors that a device raises are defined in device/errors.py, which ships without this file. Anything else that escapes
is a bug and keeps its traceback.
"""

import errno

from tunedeploy.device.errors import DataError as DataError
from tunedeploy.device.errors import ImageError as ImageError
from tunedeploy.device.errors import ModelError as ModelError
from tunedeploy.device.errors import RunError as RunError
from tunedeploy.device.errors import TunedeployError as TunedeployError
from tunedeploy.device.errors import UserError as UserError
from tunedeploy.device.errors import one_line as one_line

# The user can fix a full, read-only or forbidden location, and whatever is wrong with a file that the error names.
FULL = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG}


class UsageError(TunedeployError):
    """The command line is wrong: exit code 2."""

    exit_code = 2


class RecipeError(UserError):
    """The recipe has mistakes; `lines` holds every one of them as `file:line:column: problem`."""


class BreachError(TunedeployError):
    """What was built breaks its contract: exit code 3. Nothing is written to the bundle."""

    exit_code = 3


class ParityError(BreachError):
    """Two neighbours of the pipeline disagree; each line has stage, file, row, number, limit."""


class BudgetError(BreachError):
    """The accuracy drop, the size or the latency is over the recipe's limit."""
