"""A node whose answer is known: r follows the drive with one pole."""

import jax.numpy as jnp
import numpy as np
import pytest


class LowPass:
    """``m_x`` relaxes to the drive by a fixed share in every tick."""

    name, version = "low pass", "1"

    def __init__(self, share=0.4, traceable=True):
        self.tick, self.traceable, self.share = 1e-11, traceable, share
        self.drives = []

    def start(self, n):
        m = jnp.tile(jnp.array([0.0, 1.0, 0.0]), (n, 1))
        return m, m

    def step(self, state, u):
        if not self.traceable:
            self.drives.append(np.array(u))
        x = state[:, 0] + self.share * (jnp.asarray(u) - state[:, 0])
        m = jnp.stack([x, jnp.sqrt(1 - 0.9 * x**2), 0 * x], axis=1)
        return m, m


@pytest.fixture
def low_pass():
    return LowPass()


@pytest.fixture
def plain_low_pass():
    return LowPass(traceable=False)
