"""Reduced-order models of one junction: scikit-learn estimators, and the region they can be trusted in."""

import device_models as device_models  # sets float64 before JAX is used
