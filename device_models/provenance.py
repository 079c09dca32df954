"""What made a result: versions, time and place, written beside every result."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import spinloom

PACKAGES = (
    "spinloom",
    "jax",
    "numpy",
    "scipy",
    "scikit-learn",
    "xarray",
    "discretisedfield",
    "micromagneticmodel",
    "oommfc",
    "ubermag",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on.

    Examples
    --------
    >>> "jax" in versions()
    True
    """
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def stamp() -> dict[str, str]:
    """Attributes for a file: when it was made, on what, with which versions (JSON)."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": json.dumps(versions()),
    }


def data_folder() -> Path:
    """The folder ``data``, which is installed with the package."""
    return Path(spinloom.__file__).parent / "data"
