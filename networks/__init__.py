"""Recurrent networks of any kind of node: topology, tasks, training, free runs."""

import device_models as device_models  # sets float64 before JAX is used
