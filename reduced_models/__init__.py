"""Reduced-order models of one junction: scikit-learn estimators, and the region they can be trusted in."""

if __name__ != "spinloom.reduced_models":
    raise ImportError(f"import spinloom.reduced_models, not {__name__}: the folder is a part of the package spinloom")
