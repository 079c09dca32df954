"""The µMAG standard problem 4: reversal of a 500 nm x 125 nm x 3 nm permalloy film out of its S-state.

Specification: NIST µMAG, https://www.ctcms.nist.gov/~rdm/std4/spec4.html. Compared with

* M. Donahue and D. Porter (OOMMF, 1 nm cells), https://www.ctcms.nist.gov/~rdm/std4/Donahue/: the published images of
  the first zero crossing of <m_x>, stdprob4a-138ps.omf and stdprob4b-137ps.omf, are of 138 ps and 137 ps;
* G. Albuquerque, J. Miltat and A. Thiaville (4 nm cells), https://www.ctcms.nist.gov/~rdm/std4/albuq/,
  FIELD_1_LM_DT25.TXT and FIELD_2_LM_DT25.TXT: <m_y> and <m_z> there, interpolated between the rows about the crossing;
* mumax3, test/standardproblem4.mx3 (128 x 32 x 1 cells, the mesh used here): the relaxed S-state and <m> at 1 ns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from spinloom.device_models.card import MU0, parse_card
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.scan import drive

pytestmark = pytest.mark.slow

MUMAX_S_STATE = (0.9669684171676636, 0.1252732127904892, 0.0)
MUMAX_FIELD_1_AT_1_NS = (-0.9846124053001404, 0.12604089081287384, 0.04327124357223511)


@dataclass(frozen=True)
class Case:
    B: tuple[float, float, float]
    ps: int
    crossing_ps: float
    m_yz: tuple[float, float]


CASES = {
    "field 1": Case((-24.6e-3, 4.3e-3, 0.0), 1000, 138.0, (0.7306, -0.1328)),
    "field 2": Case((-35.5e-3, -6.3e-3, 0.0), 150, 137.0, (-0.2260, 0.0720)),
}


def film(B):
    return parse_card(
        {
            "name": "standard_problem_4",
            "geometry": {
                "shape": "box",
                "size": (500e-9, 125e-9, 3e-9),
                "cell": (500e-9 / 128, 125e-9 / 32, 3e-9),
            },
            "material": {"Ms": 8e5, "A": 13e-12, "alpha": 0.02, "gamma0": 2.211e5},
            "bias": {"H": tuple(b / MU0 for b in B)},
            "torque": {"polariser": (0, 0, 1), "P": 0.4, "J_max": 1e6},
            "readout": {"axis": (1, 0, 0)},
            "start": {"m": (1, 0.1, 0)},
        }
    )


@pytest.fixture(scope="module")
def s_state():
    engine = EmbeddedEngine(film((0, 0, 0)), 1e-12)
    return engine.equilibria[0], np.asarray(engine.node.moment(engine.node.start(1)))[0]


def test_s_state(s_state):
    np.testing.assert_allclose(s_state[1], MUMAX_S_STATE, atol=5e-5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reversal(s_state, case):
    _, m = drive(EmbeddedEngine(film(case.B), 1e-12, s_state[0]).node, np.zeros((case.ps, 1)))
    m = m[:, 0]
    after = int(np.argmax(m[:, 0] < 0))
    share = m[after - 1, 0] / (m[after - 1, 0] - m[after, 0])
    assert after + share == pytest.approx(case.crossing_ps, abs=1.0)
    crossing = (1 - share) * m[after - 1] + share * m[after]
    np.testing.assert_allclose(crossing[1:], case.m_yz, atol=0.01)
    if case.ps == 1000:
        np.testing.assert_allclose(m[-1], MUMAX_FIELD_1_AT_1_NS, atol=0.01)
