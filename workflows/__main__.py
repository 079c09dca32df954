"""``python -m workflows`` is ``spinloom``."""

from workflows.cli import main

main()
