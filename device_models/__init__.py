"""One magnetic tunnel junction: its card, its engines, its calibration."""

if __name__ != "spinloom.device_models":
    raise ImportError(f"import spinloom.device_models, not {__name__}: the folder is a part of the package spinloom")
