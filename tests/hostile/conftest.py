"""How many spoilt and made-up files are tried: ``SPINLOOM_CASES``, 10000 if it is not set."""

import os

import pytest
from hypothesis import HealthCheck, settings

collect_ignore = ["cases.py"]  # a program, not a module of tests
CASES = int(os.environ.get("SPINLOOM_CASES", "10000"))
settings.register_profile(
    "hostile",
    max_examples=max(10, CASES // 50),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def cases() -> int:
    """Spoilt files, of all kinds together."""
    return CASES
