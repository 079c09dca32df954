"""One tick, and runs, on traceable nodes and on nodes that live elsewhere."""

import numpy as np

from spinloom.networks.loop import run
from spinloom.networks.topology import Topology, draw

AXIS = (1.0, 0.0, 0.0)
TOPOLOGY = Topology(nodes=5, spectral_radius=0.9, feedback=1.5, input=0.7, bias=0.4, gain=1.3)


def _weights():
    weights = draw(TOPOLOGY, [0, 1])
    return weights.with_readout(np.random.default_rng(0).normal(size=(2, 1, 6)))


def _signals(ticks=17):
    rng = np.random.default_rng(1)
    return rng.normal(size=(ticks, 2)), rng.random(ticks) < 0.5, rng.normal(size=(ticks, 2))


def test_the_loop_is_the_equation_that_the_documentation_states(low_pass):
    weights, (target, hold, s) = _weights(), _signals()
    _, record = run(low_pass, weights, AXIS, target=target, hold=hold, s=s)
    for k in range(2):
        r, z = np.zeros(5), 0.0
        for t in range(len(target)):
            v = weights.W[k] @ r + weights.w_fb[k] * z + weights.W_in[k] * s[t, k] + weights.b[k]
            u = np.clip(weights.gain[k] * v, -1, 1)
            r = r + 0.4 * (u - r)
            out = weights.w_out[k, 0] @ np.append(r, 1)
            z = target[t, k] if hold[t] else out
            np.testing.assert_allclose(record.u[t, k], u, atol=1e-12)
            np.testing.assert_allclose(record.r[t, k], r, atol=1e-12)
            np.testing.assert_allclose(record.z[t, k], out, atol=1e-12)


def test_a_compiled_scan_and_a_plain_loop_agree(low_pass, plain_low_pass):
    weights, (target, hold, s) = _weights(), _signals()
    _, compiled = run(low_pass, weights, AXIS, target=target, hold=hold, s=s, chunk=5)
    _, plain = run(plain_low_pass, weights, AXIS, target=target, hold=hold, s=s, chunk=7)
    for a, b in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert len(plain_low_pass.drives) == len(target)


def test_a_run_goes_on_where_it_stopped(low_pass):
    weights, (target, hold, s) = _weights(), _signals()
    _, whole = run(low_pass, weights, AXIS, target=target, hold=hold, s=s)
    state, first = run(low_pass, weights, AXIS, target=target[:6], hold=hold[:6], s=s[:6])
    _, second = run(low_pass, weights, AXIS, target=target[6:], hold=hold[6:], s=s[6:], state=state)
    np.testing.assert_allclose(np.concatenate([first.r, second.r]), whole.r, atol=1e-12)


def test_drives_never_pass_the_compliance_limit(low_pass):
    weights = draw(TOPOLOGY.model_copy(update={"gain": 50.0}), [0, 1])
    target, hold, s = _signals()
    _, record = run(low_pass, weights, AXIS, target=target, hold=hold, s=s)
    assert np.abs(record.u).max() == 1.0


def test_progress_counts_every_tick(low_pass):
    weights, (target, hold, s) = _weights(), _signals()
    seen = []
    run(low_pass, weights, AXIS, target=target, hold=hold, s=s, chunk=5, progress=seen.append)
    assert sum(seen) == len(target)
