"""The stages, and the command line that runs them."""

if __name__ != "spinloom.workflows":
    raise ImportError(f"import spinloom.workflows, not {__name__}: the folder is a part of the package spinloom")
