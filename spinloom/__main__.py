"""``python -m spinloom`` is ``spinloom``."""

from spinloom.workflows.cli import main

main()
