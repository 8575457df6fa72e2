"""The errors of a device: what it raises on purpose, and what checks take for a breach; see tunedeploy.errors."""

import re
from collections.abc import Sequence

# What ends a line, moves the cursor, or is half a character, which no terminal can be sent.
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class TunedeployError(Exception):
    """Base of the tree. `lines` holds one message per problem; `exit_code` is the process's."""

    exit_code = 1

    def __init__(self, lines: str | Sequence[str]) -> None:
        self.lines = tuple(one_line(line) for line in ([lines] if isinstance(lines, str) else lines))
        assert self.lines, "an error says what is wrong"
        super().__init__("\n".join(self.lines))


def one_line(text: str) -> str:
    """The text on one line: a file may have a line break in its name, and a library several lines to say."""
    return _BREAKS.sub(lambda match: match.group().encode("unicode_escape").decode(), text.strip())


class UserError(TunedeployError):
    """Something the user can fix: exit code 1."""


class DataError(UserError):
    """The data set cannot be used as the recipe says."""


class ImageError(DataError, OSError):
    """An image cannot be read; an OSError too, as it is where Pillow is called without tunedeploy."""


class ModelError(UserError):
    """The model cannot be found, read or tuned as the recipe says."""


class RunError(UserError):
    """A run folder or a bundle is missing, unfinished or changed."""


class PackageError(RunError):
    """A bundle needs a package that is not installed here."""
