"""Recurrent networks of any kind of node: topology, tasks, training, free runs."""

if __name__ != "spinloom.networks":
    raise ImportError(f"import spinloom.networks, not {__name__}: the folder is a part of the package spinloom")
