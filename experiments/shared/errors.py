"""What the user can mend, told from what is a bug.

Whatever a command line, a file or a full disk can cause is a `UserError`: its message names the
flag or the file, what was found there and what to do. Any other exception is a mistake of ours, and
`experiments.shared.command` says so.
"""

from collections.abc import Sequence

_MAX_LISTED = 5


class UserError(ValueError):
    """Something that the user can mend; the message says what and how."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that is not there."""

    def __str__(self) -> str:
        """Returns the message alone, not the number that an OSError may begin with."""
        return " ".join(map(str, self.args))


def raise_all(errors: Sequence[Exception], what: str) -> None:
    """Raises one error that lists up to five of `errors` and their number; nothing if none.

    Args:
        errors: what was found, each message naming the file or id.
        what: begins the message: the file or data set that was checked.

    Raises:
        MissingFileError: all of `errors` are files that are not there.
        UserError: otherwise.
    """
    if not errors:
        return
    lines = [f"  {error}" for error in errors[:_MAX_LISTED]]
    if len(errors) > _MAX_LISTED:
        lines.append(f"  ... and {len(errors) - _MAX_LISTED} more")
    plural = "s" if len(errors) > 1 else ""
    only_missing = all(isinstance(error, FileNotFoundError) for error in errors)
    kind = MissingFileError if only_missing else UserError
    raise kind("\n".join([f"{what}: {len(errors)} problem{plural}", *lines]))
