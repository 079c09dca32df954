"""A macrospin junction as a sub-circuit of behavioural sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm, logm

from spinloom.device_models.card import DeviceCard
from spinloom.device_models.errors import SpinloomError
from spinloom.reduced_models.macrospin import MacrospinLaw
from spinloom.reduced_models.model import CalibratedModel
from spinloom.workflows.export.netlist import card_line, identifier, number, weighted

RESTORES = 1.0
"""Rate at which |m| returns to 1 (per ps)."""
XYZ = "xyz"


@dataclass(frozen=True)
class Turn:
    """What the fitted read-out of a macrospin does, spread over the tick.

    The law of a tick turns the vector by the LLG equation, and then reads it, y = unit(A m): another small turn, G. A
    circuit does both at a time: it follows the LLG equation plus the generator of A. Its vector is then G^(-1/2) of the
    law's, up to the third order in the turns of a tick (Strang, SIAM J. Numer. Anal. 5, 506 (1968)), and
    <m> = A unit(A^(-1/2) vector).

    Attributes
    ----------
    rate : (3, 4) ndarray
        generator, affine in the vector (per tick)
    before : (3, 4) ndarray
        A^(-1/2)
    read : (3, 4) ndarray
        A

    Examples
    --------
    >>> Turn.of(np.eye(4, 3)) is None
    True
    >>> Turn.of(0.999 * np.eye(4, 3)).begun(np.array([0.0, 1.0, 0.0])).tolist()
    [0.0, 1.0, 0.0]
    """

    rate: np.ndarray
    before: np.ndarray
    read: np.ndarray

    @classmethod
    def of(cls, readout: np.ndarray) -> Turn | None:
        """That of a read-out (4, 3), y = [m, 1] @ readout; None of one that changes nothing.

        Raises
        ------
        SpinloomError
            where it is no small turn, so that no circuit follows it
        """
        if np.array_equal(readout, np.eye(4, 3)):
            return None
        A = np.eye(4)
        A[:3] = readout.T
        if not np.abs(A - np.eye(4)).max() < 0.5:  # a NaN is no small turn either
            raise SpinloomError("export: expected a macrospin whose read-out is near the identity; fit it again")
        generator = np.real(logm(A))
        return cls(generator[:3], expm(-generator / 2)[:3], A[:3])

    def begun(self, m: np.ndarray) -> np.ndarray:
        """The circuit's vectors where the law's state is ``m``, (..., 3)."""
        turned = m @ self.before[:, :3].T + self.before[:, 3]
        return turned / np.linalg.norm(turned, axis=-1, keepdims=True)


@dataclass(frozen=True)
class Junction:
    """What the sub-circuit of a macrospin is made of.

    Attributes
    ----------
    name : str
        an identifier
    law : MacrospinLaw
        of one device
    card : DeviceCard
        its area, TMR, RA, J_max and read-out axis
    tick : float
        (s)
    m : (3,) ndarray
        <m> at the start
    """

    name: str
    law: MacrospinLaw
    card: DeviceCard
    tick: float
    m: np.ndarray

    @classmethod
    def of(cls, model: CalibratedModel) -> Junction:
        """That of a reduced model.

        Raises
        ------
        SpinloomError
            for a model that is not a macrospin, or warm
        """
        if model.kind != "macrospin":
            raise SpinloomError(
                f"model: SPICE takes a macrospin, whose law is a differential equation; got a "
                f"{model.kind.replace('_', ' ')}, a map of one tick. Fit one ('spinloom fit CAL.nc --kind macrospin "
                "--out macrospin.nc') and train on it, or export to ONNX"
            )
        law = model.estimator.law()
        return cls(identifier(model.card.name, "mtj"), law, model.card, model.tick, np.asarray(model.m_start))

    @property
    def full(self) -> float:
        """The current of u = 1 (A)."""
        return self.card.torque.J_max * self.card.area

    def start(self, m: np.ndarray) -> np.ndarray:
        """Voltages of the state where <m> is given, (..., 3)."""
        turn = Turn.of(np.asarray(self.law.readout))
        m = np.asarray(m) / np.linalg.norm(m, axis=-1, keepdims=True)
        return m if turn is None else turn.begun(m)

    def subcircuit(self) -> str:
        """Two sub-circuits: with the ports ``pl fl mx my mz``, and with ``pl fl`` alone."""
        probed, start = f"{self.name}_m", self.start(self.m)
        lines = [
            f"* {self.name}: V(pl,fl) > 0 drives I(pl) > 0, which is u > 0. Start from sx0, sy0, sz0 with 'uic'.",
            card_line(
                f".subckt {probed} pl fl mx my mz "
                + " ".join(f"s{axis}0={number(value)}" for axis, value in zip(XYZ, start, strict=True))
            ),
            *self._parameters(),
            "* junction: conductance with the cosine of the angle to the pinned layer",
            "Vi pl j 0",
            *weighted("e", self.card.readout.axis, _nodes("m")),
            "Bj j fl I=V(j,fl)*{p_g}*(1+{p_c}*V(e))",
            "Bu u 0 V=I(Vi)/{p_i}",
            *self._llg(),
            *self._moment(),
            f".ends {probed}",
            f".subckt {self.name} pl fl "
            + " ".join(f"s{axis}0={number(v)}" for axis, v in zip(XYZ, start, strict=True)),
            f"X1 pl fl mx my mz {probed} " + " ".join(f"s{axis}0={{s{axis}0}}" for axis in XYZ),
            f".ends {self.name}",
        ]
        return "\n".join(lines)

    def _parameters(self) -> list[str]:
        law, read, torque = self.law, self.card.readout, self.card.torque
        alpha, kx, kz, a, b, *H = (float(value) for value in law.theta)
        values = {
            "p_alpha": (alpha, "damping"),
            "p_gamma0": (law.gamma0, "gyromagnetic ratio (m/(A s))"),
            "p_kx": (kx, "stiffness along x, relative to y: demagnetisation, anisotropy (A/m)"),
            "p_kz": (kz, "the same along z (A/m)"),
            "p_aj": (a, "damping-like torque at u = 1 (A/m)"),
            "p_bj": (b, "field-like torque at u = 1 (A/m)"),
            **{f"p_h{axis}": (value, "bias field (A/m)") for axis, value in zip(XYZ, H, strict=True)},
            **{f"p_p{axis}": (value, "polariser") for axis, value in zip(XYZ, law.polariser, strict=True)},
            "p_tmr": (read.TMR, "(R_AP - R_P) / R_P"),
            "p_ra": (read.RA, "resistance-area product, parallel (ohm m2)"),
            "p_area": (self.card.area, "(m2)"),
            "p_jmax": (torque.J_max, "current density at u = 1 (A/m2)"),
        }
        return [
            *(f".param {name}={number(value)} ; {told}" for name, (value, told) in values.items()),
            ".param p_i={p_jmax*p_area}",
            ".param p_g={p_area/p_ra*(2+p_tmr)/(2*(1+p_tmr))}",
            ".param p_c={p_tmr/(2+p_tmr)}",
            ".param p_rate={p_gamma0/(1+p_alpha*p_alpha)*1e-12}",
        ]

    def _llg(self) -> list[str]:
        """The state on 1 pF: the current in ampere is the change of m per picosecond."""
        turn = Turn.of(np.asarray(self.law.readout))
        lines = ["* effective field (A/m), and the LLG equation: 1 V is 1, and 1 A into 1 pF is a change of 1 per ps"]
        for axis, one, two in _cyclic():
            stiff = {"x": "-{p_kx}*V(sx)", "y": "", "z": "-{p_kz}*V(sz)"}[axis]
            lines.append(
                card_line(
                    f"Bh{axis} h{axis} 0 V={{p_h{axis}}}{stiff}"
                    f"+ V(u)*({{p_aj}}*(V(s{one})*{{p_p{two}}}-V(s{two})*{{p_p{one}}})+{{p_bj}}*{{p_p{axis}}})"
                )
            )
        for axis, one, two in _cyclic():
            lines.append(card_line(f"Bt{axis} t{axis} 0 V=V(s{two})*V(h{one})-V(s{one})*V(h{two})"))
        if turn is not None:
            lines.append("* what the fitted read-out turns the vector by in a tick, spread over the tick")
            ps = self.tick / 1e-12
            for axis, row in zip(XYZ, turn.rate / ps, strict=True):
                lines += weighted(f"d{axis}", row[:3], _nodes("s"), row[3])
            lines.append(f"Bdm dm 0 V={'+'.join(f'V(s{axis})*V(d{axis})' for axis in XYZ)}")
        for axis, one, two in _cyclic():
            drift = "" if turn is None else f"+V(d{axis})-V(s{axis})*V(dm)"
            lines += [
                f"C{axis} s{axis} 0 1p IC={{s{axis}0}}",
                card_line(
                    f"Bm{axis} 0 s{axis} I={{p_rate}}*(V(t{axis})"
                    f"+{{p_alpha}}*(V(s{one})*V(t{two})-V(s{two})*V(t{one})))"
                    f"{drift}+ ({number(RESTORES / 2)})*V(s{axis})*(1-V(sx)*V(sx)-V(sy)*V(sy)-V(sz)*V(sz))"
                ),
            ]
        return lines

    def _moment(self) -> list[str]:
        """<m> on the ports."""
        turn = Turn.of(np.asarray(self.law.readout))
        if turn is None:
            return [f"B{axis} m{axis} 0 V=V(s{axis})" for axis in XYZ]
        lines = ["* <m>, by the fitted read-out"]
        for axis, row in zip(XYZ, turn.before, strict=True):
            lines += weighted(f"q{axis}", row[:3], _nodes("s"), row[3])
        lines.append("Bq q 0 V=sqrt(V(qx)*V(qx)+V(qy)*V(qy)+V(qz)*V(qz))")
        for axis, row in zip(XYZ, turn.read, strict=True):
            lines += weighted(f"a{axis}", row[:3], _nodes("q"))
            lines.append(f"B{axis} m{axis} 0 V=V(a{axis})/V(q)+({number(row[3])})")
        return lines


def _nodes(head: str) -> list[str]:
    return [f"{head}{axis}" for axis in XYZ]


def _cyclic() -> list[tuple[str, str, str]]:
    return [("x", "y", "z"), ("y", "z", "x"), ("z", "x", "y")]
