"""What the machine refuses, in words: memory, space, permission."""

from __future__ import annotations

import errno

_ADVICE = {
    errno.ENOSPC: "free some space, or choose another output",
    errno.EDQUOT: "free some space, or choose another output",
    errno.EFBIG: "the system limits the size of files (ulimit -f); choose another output",
    errno.EROFS: "choose another output",
    errno.EACCES: "choose another file or folder, or ask for the right to it",
    errno.EPERM: "choose another file or folder, or ask for the right to it",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "check its links",
    errno.ENOTDIR: "choose another file or folder",
    errno.EISDIR: "choose a file",
    errno.EMFILE: "the system limits how many files may be open (ulimit -n)",
    errno.ENFILE: "end other programs, and try again",
    errno.EAGAIN: "the system limits how many processes may run (ulimit -u); end others, and try again",
}
MEMORY = "not enough memory; take fewer devices, networks or trials at a time, or a coarser mesh, or end other programs"


def told(error: BaseException) -> str | None:
    """One message for what no program can mend; None for an error of the program itself.

    Parameters
    ----------
    error : exception

    Returns
    -------
    message : str or None

    Examples
    --------
    >>> told(OSError(errno.ENOSPC, "No space left on device", "runs/a.nc"))
    'runs/a.nc: no space left on device; free some space, or choose another output'
    >>> told(MemoryError()) == MEMORY, told(KeyError("x"))
    (True, None)
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return MEMORY
    if isinstance(error, OSError) and error.errno in _ADVICE:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{(error.strerror or 'refused').lower()}; {_ADVICE[error.errno]}"
    # XLA says it in an error of its own, which is known by this word alone.
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return MEMORY
    return None
