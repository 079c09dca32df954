"""What can be said to a user: this cannot go on, and beware."""

from __future__ import annotations


class SpinloomError(ValueError):
    """A mistake in the input that its author can mend.

    The message names the field or the file, what was expected and what came.
    The command line prints it without a traceback and exits with its code.

    Attributes
    ----------
    exit_code : int
        of the command line
    """

    exit_code = 2


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


class UnfinishedError(SpinloomError):
    """Not all was done, and not for the input's sake: what is finished is saved, and the same command goes on."""

    exit_code = 4


class DivergedError(SpinloomError):
    """A computation left the finite numbers.

    Attributes
    ----------
    tick : int
        the first at whose end something is not finite, from 0
    member : int
        of the batch, whatever it is a batch of
    """

    def __init__(self, message: str, tick: int, member: int) -> None:
        super().__init__(message)
        self.tick = tick
        self.member = member


class SpinloomWarning(UserWarning):
    """A result that is computed but should be looked at before it is used."""
