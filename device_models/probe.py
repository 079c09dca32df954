"""What a device is good for, in seconds of full micromagnetics: resonance, response, switching, precession, chaos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spinloom.device_models.card import DeviceCard, expect_cold
from spinloom.device_models.drives import calibration_drive
from spinloom.device_models.engines.embedded import EmbeddedEngine
from spinloom.device_models.node import Engine
from spinloom.device_models.scan import expect_finite, naming

TICK = 1e-11
"""Every drive of a probe is held for as long (s)."""
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
"""Shares of J_max that are tried, of both signs."""
PAST = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75)
"""Levels that are entered from +1 and from -1."""
STEP, RINGDOWN = 0.02, 5e-9
"""Small step of the drive, and how long its answer is watched (s)."""
TWINS = ((1.0, "noise"), (1.0, "tones"), (1.0, "holds"), *((level, "tones") for level in reversed(LEVELS[:-1])))
"""Amplitude and kind of the random drives; each also drives a twin."""
APART, SEED = 1e-6, 0
"""How far each cell of a twin is turned at the start, and the seed of all that is random."""
SWITCHED, PRECESSES, DECAYS = 0.1, 0.02, 0.5
"""Change of <m> that is a switch; rms that is a precession, if less than half of it went in the second half."""
CHAOTIC = 1e3
"""Twins that are apart by so many times their first distance are parted by chaos."""
FLOOR = 1e-13
"""Smaller distances between twins are those of rounding, and say nothing of their rate."""
USUAL_TICK = 7.5e-12


@dataclass(frozen=True)
class Probe:
    """What a probe found.

    Attributes
    ----------
    name : str
        of the device
    safe : float
        largest share of J_max, of :data:`LEVELS`, up to which nothing switches, precesses or parts twins; 0 if none
    switches, precesses, chaotic : float or None
        smallest share of J_max that makes the layer leave its well for good; oscillate on under a held drive,
        also after a burst at resonance; part twins
    hysteresis : float
        largest difference of the signal at one held level between those that came from +1 and from -1
    resonance, quality : float or None
        natural frequency (Hz) and Q at rest, from the answer of <m> to a small step; None if it does not ring
    slope : float
        d signal / du at rest, static
    slope_m : tuple of float
        d<m> / du at rest, by component
    offset, spread : float
        mean and standard deviation of the signal under random drives of full amplitude
    spread_m : tuple of float
        standard deviation of each component of <m> under them
    second, third : float
        shares of u^2 and u^3 in the static answer at the safe level (at 0.1 if there is none)
    J_max : float
        suggested (A/m2)
    tick : float or None
        suggested (s), at most a twentieth of the resonance period
    period : tuple of float or None
        suggested range for the period of a task (s)
    levels : list of dict
        ``u``, the ``signal`` at the end of a hold from rest, ``oscillation`` (rms of <m>) there, ``after_burst``, and
        ``returned``, how far <m> is from its rest when the drive is off again
    past : list of dict
        ``u`` and the signal there ``from_above`` and ``from_below``
    twins : list of dict
        ``amplitude, kind, rate_per_ns`` at which they part, and their final ``separation`` in <m>
    spectrum : dict
        ``f`` (Hz) and the amplitude ``m`` of the answer to the small step
    advice : list of str
    """

    name: str
    safe: float
    switches: float | None
    precesses: float | None
    chaotic: float | None
    hysteresis: float
    resonance: float | None
    quality: float | None
    slope: float
    slope_m: tuple[float, ...]
    offset: float
    spread: float
    spread_m: tuple[float, ...]
    second: float
    third: float
    J_max: float
    tick: float | None
    period: tuple[float, float] | None
    levels: list[dict[str, float]]
    past: list[dict[str, float]]
    twins: list[dict[str, Any]]
    spectrum: dict[str, list[float]]
    advice: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return asdict(self)


def probe(card: DeviceCard, engine: Engine | None = None, progress: Callable[[float], None] | None = None) -> Probe:
    """Try a device with steps, held levels, bursts at resonance, random drives, and twins.

    Parameters
    ----------
    card : DeviceCard
    engine : Engine, optional
        of this card; the embedded engine if not given
    progress : callable, optional
        called with the share of the work just done

    Raises
    ------
    DivergedError
        naming drive and tick, where <m> is not finite
    """
    expect_cold(card, "the probe")
    tell = (lambda _: None) if progress is None else progress
    engine = EmbeddedEngine(card, TICK) if engine is None else engine
    axis, rest = np.asarray(card.readout.axis), engine.equilibria[0]
    m_rest = rest[card.geometry.mask()].mean(axis=0)
    ring = _ring(engine)
    tell(0.1)
    resonance, quality = ringing(ring, TICK)
    times = _Times.of(resonance, quality)
    batch = _batch(times, resonance)
    u = np.stack([drive for drive, _ in batch], axis=1)
    starts = np.stack([_turned(rest, k) if member == "twin" else rest for k, (_, member) in enumerate(batch)])
    with naming(lambda k: _named(*batch[k], times)):
        _, m = engine.play(
            np.full(len(u), TICK), u, starts, (lambda n: tell(0.9 * n / len(u))) if progress is not None else None
        )
        expect_finite(m)
    of = {member: [k for k, (_, name) in enumerate(batch) if name == member] for member in {b[1] for b in batch}}
    levels = _levels(u, m, of, times, m_rest, card)
    late = m[times.held - times.window : times.held]
    above, below = (late[:, of[name]].mean(axis=0) @ axis + card.readout.offset for name in ("+", "-"))
    past = [
        {"u": level, "from_above": float(a), "from_below": float(b)}
        for level, a, b in zip(PAST, above, below, strict=True)
    ]
    twins = _twins(m, of, times)
    full = m[: times.held, of["random"][: sum(amplitude == 1 for amplitude, _ in TWINS)]]
    slope_m = ring[-max(1, len(ring) // 5) :].mean(axis=0)
    switches = _first(levels, lambda row: row["returned"] > SWITCHED)
    precesses = _first(levels, lambda row: row["precesses"])
    chaotic = min((twin["amplitude"] for twin in twins if twin["separation"] > CHAOTIC * APART), default=None)
    bad = min((a for a in (switches, precesses, chaotic) if a is not None), default=np.inf)
    safe = max((level for level in LEVELS if level < bad), default=0.0)
    second, third = _curvature(levels, safe or LEVELS[0])
    figures: dict[str, Any] = {
        "name": card.name,
        "safe": safe,
        "switches": switches,
        "precesses": precesses,
        "chaotic": chaotic,
        "hysteresis": float(np.abs(above - below).max()),
        "resonance": resonance,
        "quality": quality,
        "slope": float(slope_m @ axis),
        "slope_m": tuple(map(float, slope_m)),
        "offset": float((full @ axis).mean()) + card.readout.offset,
        "spread": float((full @ axis).std()),
        "spread_m": tuple(map(float, full.std(axis=(0, 1)))),
        "second": second,
        "third": third,
        "J_max": card.torque.J_max * (safe or LEVELS[0]),
        "tick": None if resonance is None else min(USUAL_TICK, 0.05 / resonance),
        "period": _period(resonance, quality),
        "levels": levels,
        "past": past,
        "twins": twins,
        "spectrum": _spectrum(ring),
    }
    return Probe(**figures, advice=_advice(card, figures))


@dataclass(frozen=True)
class _Times:
    """Ticks until which devices are excited, held and let go, and the length of the windows that are looked at."""

    excited: int
    held: int
    off: int
    window: int

    @classmethod
    def of(cls, resonance: float | None, quality: float | None) -> _Times:
        period = 0.5e-9 if resonance is None else 1 / resonance
        decay = period if quality is None else quality * period / np.pi
        excite, hold, off = 6 * period, 6 * decay, 6 * decay
        spans = (np.clip(excite, 1e-9, 3e-9), np.clip(hold, 3e-9, 6e-9), np.clip(off, 2e-9, 5e-9))
        excited, held, off = np.cumsum([round(span / TICK) for span in spans])
        return cls(int(excited), int(held), int(off), max(10, round((held - excited) / 4)))


def _ring(engine: Engine) -> np.ndarray:
    """d<m>/du after a small step of the drive, (n_ticks, 3): half the difference of a step up and a step down."""
    n = round(RINGDOWN / TICK)
    with naming(lambda k: f"step of the drive to {[STEP, -STEP][k]:g} of J_max"):
        _, m = engine.play(np.full(n, TICK), np.tile([STEP, -STEP], (n, 1)))
        expect_finite(m)
    return (m[:, 0] - m[:, 1]) / (2 * STEP)


def ringing(signal: np.ndarray, tick: float, most: int = 8) -> tuple[float, float] | tuple[None, None]:
    r"""Natural frequency (Hz) and Q of the strongest oscillation in a sum of decaying exponentials.

    The exponents are those of ESPRIT (Roy and Kailath, IEEE Trans. ASSP 37, 984 (1989)) on all components
    together: of a pole :math:`e^{\lambda\,\mathrm{tick}}`, :math:`\omega_0 = |\lambda|` and
    :math:`Q = |\lambda| / 2|\mathrm{Re}\lambda|`.

    Parameters
    ----------
    signal : (n, components) ndarray
    tick : float
        between its rows (s)
    most : int
        most exponentials

    Returns
    -------
    frequency, quality : float
        None both if nothing in it oscillates

    Examples
    --------
    >>> t = 1e-11 * np.arange(400)
    >>> f, q = ringing((np.exp(-1e9 * t) * np.cos(2e10 * t))[:, None], 1e-11)
    >>> round(f / 1e9, 3), round(q, 2)
    (3.187, 10.01)
    """
    n, rows = len(signal), len(signal) // 2
    if not np.abs(np.diff(signal, axis=0)).max() > 1e-12:
        return None, None
    hankel = np.concatenate([np.lib.stride_tricks.sliding_window_view(part, rows).T for part in signal.T], axis=1)
    left, sizes, _ = np.linalg.svd(hankel, full_matrices=False)
    order = int(min(most, (sizes > 1e-4 * sizes[0]).sum()))
    poles = np.linalg.eigvals(np.linalg.lstsq(left[:-1, :order], left[1:, :order], rcond=None)[0])
    weights = np.linalg.lstsq(poles ** np.arange(n)[:, None], signal.astype(complex), rcond=None)[0]
    strength = np.linalg.norm(weights, axis=1)
    rings = (poles.imag > 1e-6) & (np.abs(poles) < 1) & (strength > 1e-2 * strength.max())
    if not rings.any():
        return None, None
    pole = poles[rings][strength[rings].argmax()]
    exponent = np.log(pole) / tick
    return float(np.abs(exponent) / (2 * np.pi)), float(np.abs(exponent) / (2 * np.abs(exponent.real)))


def _batch(times: _Times, resonance: float | None) -> list[tuple[np.ndarray, str]]:
    """All drives (ticks,) with what each is for; twins come after all others."""
    t = TICK * np.arange(times.off)
    burst = np.sign(np.sin(2 * np.pi * (resonance or 2e9) * t + 1e-9))
    excited, held = t < times.excited * TICK, t < times.held * TICK
    drives = []
    for level in (*LEVELS, *(-level for level in LEVELS)):
        drives += [(np.where(held, level, 0.0), "held")]
        drives += [(np.where(excited, abs(level) * burst, np.where(held, level, 0.0)), "burst")]
    for first, name in ((1.0, "+"), (-1.0, "-")):
        drives += [(np.where(excited, first, np.where(held, level, 0.0)), name) for level in PAST]
    random = [
        np.where(held, amplitude * calibration_drive(kind, len(t), TICK, np.random.default_rng([SEED, k])), 0.0)
        for k, (amplitude, kind) in enumerate(TWINS)
    ]
    return drives + [(u, name) for name in ("random", "twin") for u in random]


def _named(u: np.ndarray, member: str, times: _Times) -> str:
    """What one drive of the batch is called."""
    if member in ("random", "twin"):
        return f"random drive of at most {np.abs(u).max():.2g} of J_max"
    level = u[times.held - 1]
    if member == "held":
        return f"level {level:g} of J_max"
    if member == "burst":
        return f"burst at resonance, then level {level:g} of J_max"
    return f"level {level:g} of J_max, entered from {member}1"


def _turned(field: np.ndarray, k: int) -> np.ndarray:
    """A field whose cells are all turned by about 1e-6."""
    rng = np.random.default_rng([SEED, 1, k])
    turned = field + APART * (rng.normal(size=3) + rng.normal(size=field.shape)) / np.sqrt(2)
    length = np.linalg.norm(turned, axis=-1, keepdims=True)
    return np.where(np.linalg.norm(field, axis=-1, keepdims=True) > 0, turned / length, 0.0)


def _levels(
    u: np.ndarray, m: np.ndarray, of: dict[str, list[int]], times: _Times, rest: np.ndarray, card: DeviceCard
) -> list[dict[str, Any]]:
    """How each held level ends: the smallest first."""
    late = m[times.held - times.window : times.held]
    early = m[times.held - 2 * times.window : times.held - times.window]
    off = np.linalg.norm(m[-times.window // 2 :].mean(axis=0) - rest, axis=-1)
    wobble = [np.sqrt(part.var(axis=0).sum(axis=-1)) for part in (early, late)]
    rows = []
    for held, burst in zip(of["held"], of["burst"], strict=True):
        pair = [held, burst]
        goes_on = [wobble[1][k] > PRECESSES and wobble[1][k] > DECAYS * wobble[0][k] for k in pair]
        rows.append(
            {
                "u": float(u[times.held - 1, held]),
                "signal": float(late[:, held].mean(axis=0) @ np.array(card.readout.axis)) + card.readout.offset,
                "oscillation": float(wobble[1][held]),
                "after_burst": float(wobble[1][burst]),
                "precesses": any(goes_on),
                "returned": float(off[pair].max()),
            }
        )
    return sorted(rows, key=lambda row: row["u"])


def _first(levels: list[dict[str, Any]], bad: Callable[[dict[str, Any]], bool]) -> float | None:
    return min((abs(row["u"]) for row in levels if bad(row)), default=None)


def _twins(m: np.ndarray, of: dict[str, list[int]], times: _Times) -> list[dict[str, Any]]:
    apart = np.linalg.norm(m[: times.held, of["random"]] - m[: times.held, of["twin"]], axis=-1)
    t = TICK * np.arange(times.held) * 1e9
    rows = []
    for (amplitude, kind), distance in zip(TWINS, apart.T, strict=True):
        seen = distance > FLOOR
        rate = np.polyfit(t[seen], np.log(distance[seen]), 1)[0] if seen.sum() > 1 else 0.0
        last = distance[-len(distance) // 5 :].max()
        rows.append({"amplitude": amplitude, "kind": kind, "rate_per_ns": float(rate), "separation": float(last)})
    return rows


def _curvature(levels: list[dict[str, Any]], most: float) -> tuple[float, float]:
    """Shares of the second and third order in the static answer, at the largest of these levels."""
    rows = [row for row in levels if abs(row["u"]) <= most]
    u, s = (np.array([row[key] for row in rows]) for key in ("u", "signal"))
    powers = np.stack([u**k for k in range(min(4, len(rows)))], axis=1)
    terms = np.zeros(4)
    terms[: powers.shape[1]] = np.abs(np.linalg.lstsq(powers, s, rcond=None)[0] * most ** np.arange(powers.shape[1]))
    total = max(terms[1:].sum(), 1e-300)
    return float(terms[2] / total), float(terms[3] / total)


def _spectrum(ring: np.ndarray, most: float = 25e9) -> dict[str, list[float]]:
    f = np.fft.rfftfreq(4 * len(ring), TICK)
    amplitude = np.linalg.norm(np.fft.rfft(ring - ring[-1], 4 * len(ring), axis=0), axis=1) * TICK
    return {"f": f[f <= most].tolist(), "m": amplitude[f <= most].tolist()}


def _period(resonance: float | None, quality: float | None) -> tuple[float, float] | None:
    """1.2 to 2.5 periods of the resonance; the more, the longer it rings."""
    if resonance is None or quality is None:
        return None
    least = min(2.0, 1.2 + 0.1 * quality)
    return least / resonance, 2.5 / resonance


def _advice(card: DeviceCard, found: dict[str, Any]) -> list[str]:
    """What the figures mean, and what to change, in sentences."""
    safe, text = found["safe"], []
    reasons = [
        f"{what} at {found[key]:g} of J_max"
        for key, what in (("switches", "it switches"), ("precesses", "it precesses"), ("chaotic", "twins part"))
        if found[key] is not None
    ]
    if safe == 0:
        text.append(
            f"Nothing is quiet: {'; '.join(reasons)}. Raise the bias or the damping, or lower torque.J_max below "
            f"{found['J_max']:.3g} A/m2."
        )
    elif safe < 1:
        text.append(f"Quiet up to {safe:g} of J_max ({'; '.join(reasons)}): set torque.J_max = {found['J_max']:.3g}.")
    else:
        text.append("Quiet at full drive: it neither switches nor precesses.")
    parted = sorted({twin["amplitude"] for twin in found["twins"] if twin["separation"] > CHAOTIC * APART})
    if parted:
        where = ", ".join(f"{amplitude:g}" for amplitude in parted)
        text.append(f"Twins part under drives of {where} of J_max: it is chaotic there, and no model can follow.")
    else:
        text.append("Twins stay together at every drive: where a reduced model fails, a better one can exist.")
    text += _axis_advice(card, found)
    best = max(found["spread_m"])
    if safe == 1 and best < 0.15:
        factor = min(5.0, 0.3 / max(best, 1e-3))
        J_max = found["J_max"] = factor * card.torque.J_max
        text.append(f"The answer is small (<m> spreads by {best:.2g} at most): try torque.J_max = {J_max:.3g}.")
    if found["period"] is not None:
        low, high = (1e9 * value for value in found["period"])
        text.append(
            f"It rings at {found['resonance'] / 1e9:.3g} GHz with Q = {found['quality']:.2g}: take ticks of at most "
            f"{found['tick']:.2g} s and periods of {low:.2g} to {high:.2g} ns."
        )
    return text


def _axis_advice(card: DeviceCard, found: dict[str, Any]) -> list[str]:
    slopes = np.abs(found["slope_m"])
    largest = int(slopes.argmax())
    if slopes[largest] < 0.02:
        return ["No component of <m> answers to a small drive: tilt the bias or turn the polariser."]
    if abs(found["slope"]) >= 0.2 * slopes[largest]:
        return []
    axis = ["[1, 0, 0]", "[0, 1, 0]", "[0, 0, 1]"][largest]
    return [
        f"The signal answers to small drives to second order only (dr/du = {found['slope']:.2g}, spread "
        f"{found['spread']:.2g}): read along {'xyz'[largest]}, readout.axis = {axis} (dr/du = "
        f"{found['slope_m'][largest]:.2g}, spread {found['spread_m'][largest]:.2g}), or tilt the bias."
    ]
