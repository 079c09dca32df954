"""What can be said to a user: this cannot go on, and beware."""

from __future__ import annotations


class SpinloomError(ValueError):
    """A mistake in the input that its author can mend.

    The message names the field or the file, what was expected and what came.
    The command line prints it without a traceback and exits with code 2.
    """


class NotUsableError(SpinloomError):
    """An engine that computes outside Spinloom cannot be used.

    Attributes
    ----------
    found : bool
        whether there is one, if not one that can be used
    """

    def __init__(self, message: str, found: bool) -> None:
        super().__init__(message)
        self.found = found


class SpinloomWarning(UserWarning):
    """A result that is computed but should be looked at before it is used."""
