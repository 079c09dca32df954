"""The program that tries files is no module of tests."""

collect_ignore = ["cases.py"]
