"""A System in, a Table out: the ubermag way to a card and back."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import version

import discretisedfield as df
import micromagneticmodel as mm
import numpy as np
import pytest

from spinloom.device_models.card import load_card
from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.provenance import data_folder
from spinloom.device_models.system import card_system
from spinloom.device_models.ubermag import card_of, card_toml, table

CARDS = sorted((data_folder() / "devices").glob("*.toml"))
LIMITS = {"J_max": 1e11, "axis": (1, 0, 0)}


def ellipse(width=80e-9, depth=50e-9, n=(16, 10, 1), thickness=2e-9, at=(0.0, 0.0, 0.0), **system):
    """A system as one writes it in ubermag, without a card."""
    x0, y0, z0 = at
    p1, p2 = (x0 - width / 2, y0 - depth / 2, z0), (x0 + width / 2, y0 + depth / 2, z0 + thickness)
    mesh = df.Mesh(region=df.Region(p1=p1, p2=p2), n=n)

    def norm(point):
        x, y, _ = point
        return 1e6 if ((x - x0) / width) ** 2 + ((y - y0) / depth) ** 2 <= 0.25 else 0

    terms = {
        "energy": mm.Exchange(A=15e-12) + mm.Demag() + mm.Zeeman(H=(0, 15e3, 0)),
        "dynamics": mm.Precession(gamma0=mm.consts.gamma0)
        + mm.Damping(alpha=0.05)
        + mm.Slonczewski(mp=(0, 0, 1), P=0.5),
        "m": df.Field(mesh, nvdim=3, value=(1, 0, 0), norm=norm, valid="norm"),
    }
    return mm.System(name="ellipse", **{**terms, **system})


def with_energy(*terms):
    system = ellipse()
    for term in terms:
        system.energy += term
    return system


def nearly(a, b):
    """Equal but for the last digits of the directions."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(nearly(a[key], b[key]) for key in a)
    return a == b or (not isinstance(a, str) and a == pytest.approx(b, rel=0, abs=1e-14))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_shipped_card_comes_back_from_its_system(path):
    card = load_card(path)
    torque, readout = card.torque, card.readout
    found = card_of(card_system(card, u=0.3), J_max=torque.J_max, axis=readout.axis, TMR=readout.TMR, RA=readout.RA)
    assert nearly(found.model_dump(), card.model_dump())


@pytest.mark.parametrize("nz", [1, 2])
@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (40e-9, 25e-9, -1e-9)])
def test_a_system_comes_back_from_its_card_but_for_its_place(nz, at):
    system = ellipse(n=(16, 10, nz), at=at)
    system.energy += mm.UniaxialAnisotropy(K=4e5, u=(0, 0, 1))
    again = card_system(card_of(system, **LIMITS), u=1)
    assert again.name == system.name
    assert again.energy == system.energy
    np.testing.assert_allclose(again.m.mesh.region.edges, system.m.mesh.region.edges)
    np.testing.assert_allclose(again.m.array, system.m.array, rtol=1e-12)
    np.testing.assert_allclose(again.dynamics.slonczewski.J, 1e11 / nz)


def test_values_of_a_card():
    card = card_of(ellipse(), J_max=8e10, axis=(0, 2, 0), TMR=1.5, RA=3e-12, name="mine-1")
    assert card.name == "mine-1"
    assert card.geometry.model_dump() == {
        "shape": "ellipse",
        "size": (80e-9, 50e-9, 2e-9),
        "cell": (5e-9, 5e-9, 2e-9),
    }
    assert (card.material.Ms, card.material.A, card.material.alpha) == (1e6, 15e-12, 0.05)
    assert card.bias.H == (0, 15e3, 0)
    assert card.torque.model_dump() == {
        "polariser": (0, 0, 1),
        "P": 0.5,
        "Lambda": 1.0,
        "eps_prime": 0.0,
        "J_max": 8e10,
        "oersted": "off",
    }
    assert card.readout.model_dump() == {"axis": (0, 1, 0), "TMR": 1.5, "RA": 3e-12, "offset": 0.0}
    assert card.start.m == (1, 0, 0)


def test_a_full_mesh_is_a_box():
    mesh = df.Mesh(p1=(0, 0, 0), p2=(60e-9, 40e-9, 2e-9), n=(12, 8, 1))
    system = ellipse(m=df.Field(mesh, nvdim=3, value=(0, 1, 0), norm=8e5))
    card = card_of(system, **LIMITS)
    assert card.geometry.shape == "box"
    assert card.geometry.size == (60e-9, 40e-9, 2e-9)


@pytest.mark.parametrize("name", ["K", "K1"])
def test_both_names_of_the_first_anisotropy(name):
    card = card_of(with_energy(mm.UniaxialAnisotropy(**{name: 4e5}, u=(0, 0, 2))), **LIMITS)
    assert (card.material.Ku, card.material.Ku_axis) == (4e5, (0, 0, 1))


def test_a_relaxed_field_starts_from_its_mean_direction():
    system = ellipse()
    angle = np.linspace(-0.5, 0.5, 16)[:, None, None] * np.ones((16, 10, 1))
    values = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    system.m = df.Field(system.m.mesh, nvdim=3, value=values, norm=system.m.norm)
    np.testing.assert_allclose(card_of(system, **LIMITS).start.m, (1, 0, 0), atol=1e-12)


def curled():
    system = ellipse()
    system.m = df.Field(system.m.mesh, nvdim=3, value=lambda p: (-p[1], p[0], 0), norm=system.m.norm)
    return system


def field_on(mesh, **values):
    return ellipse(m=df.Field(mesh, **{"nvdim": 3, "value": (1, 0, 0), "norm": 1e6, **values}))


MESH = {"p1": (0, 0, 0), "p2": (60e-9, 40e-9, 2e-9), "n": (12, 8, 1)}
PADDED = df.Mesh(p1=(-50e-9, -50e-9, 0), p2=(50e-9, 50e-9, 2e-9), n=(20, 20, 1))


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (
            lambda: with_energy(mm.DMI(D=1e-3, crystalclass="Cnv_z")),
            "energy: a card cannot hold DMI; expected Exchange",
        ),
        (lambda: with_energy(mm.CubicAnisotropy(K=1e4, u1=(1, 0, 0), u2=(0, 1, 0))), "cannot hold CubicAnisotropy"),
        (lambda: with_energy(mm.Zeeman(H=(1, 0, 0), name="stray")), "energy: two terms Zeeman; add them up"),
        (lambda: with_energy(mm.UniaxialAnisotropy(K1=1e5, K2=1e4, u=(0, 0, 1))), "K2: expected 0, got 10000 J/m3"),
        (lambda: with_energy(mm.UniaxialAnisotropy(K={"a": 1e5}, u=(0, 0, 1))), "UniaxialAnisotropy.K: expected one"),
        (lambda: ellipse(energy=mm.Exchange(A=1e-11)), "energy: no Demag, which every card has; add it"),
        (
            lambda: ellipse(energy=mm.Exchange(A=1e-11) + mm.Demag(asymptotic_radius=6)),
            "asymptotic_radius: .* leave it",
        ),
        (
            lambda: ellipse(energy=mm.Exchange(A={"a": 1e-11, "b": 2e-11}) + mm.Demag()),
            "Exchange.A: expected one value for all cells, got a dict; a card is uniform",
        ),
        (
            lambda: ellipse(energy=mm.Exchange(A=1e-11) + mm.Demag() + mm.Zeeman(H=(0, 0, 1), func="sin", f=1e9, t0=0)),
            "Zeeman.f.*: a card's parameters do not change in time",
        ),
        (lambda: ellipse(dynamics=mm.Precession(gamma0=2.2e5) + mm.Damping(alpha=0.1)), "dynamics: no Slonczewski"),
        (lambda: ellipse(dynamics=mm.ZhangLi(u=1, beta=0.1)), "dynamics: a card cannot hold ZhangLi"),
        (lambda: ellipse(m=None), "system.m: expected a field of 3 components in 3 dimensions, got nothing"),
        (lambda: field_on(df.Mesh(**MESH), nvdim=1, value=1), "expected a field of 3 components .* got 1 components"),
        (lambda: field_on(df.Mesh(**MESH), norm=0), "no magnetic cell"),
        (lambda: field_on(df.Mesh(**MESH), norm=lambda p: 8e5 + 1e13 * p[0]), "expected one Ms for all cells, got 8"),
        (lambda: field_on(df.Mesh(**MESH, bc="x")), "mesh.bc: expected none, got 'x'"),
        (
            lambda: field_on(df.Mesh(region=df.Region(p1=(0, 0, 0), p2=(6, 4, 2), units=["nm"] * 3), n=(6, 4, 1))),
            "units: expected m, got nm, nm, nm",
        ),
        (lambda: field_on(df.Mesh(**{**MESH, "p2": (60, 40, 2)})), "(?s)system.m.mesh: size.0: .* less than .* got 60"),
        (
            lambda: field_on(PADDED, norm=lambda p: 1e6 * (p[0] ** 2 + p[1] ** 2 < 9e-16)),
            "ellipse that touches its edges",
        ),
        (curled, r"system.m: \|<m>\| is .*, expected at least 0.5: a card starts uniform"),
    ],
)
def test_what_a_card_cannot_hold_is_named(system, message):
    with pytest.raises(SpinloomError, match=message):
        card_of(system(), **LIMITS)


def test_a_parameter_that_was_left_out_is_named():
    system = ellipse()
    system.dynamics = mm.Precession(gamma0=2.2e5) + mm.Damping(alpha=0.1) + mm.Slonczewski(P=0.4)
    with pytest.raises(SpinloomError, match="system ellipse: torque.polariser: missing; add it"):
        card_of(system, **LIMITS)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_card_is_read_back_from_its_file(path, tmp_path):
    card = load_card(path)
    (tmp_path / "card.toml").write_text(card_toml(card), encoding="utf-8")
    assert load_card(tmp_path / "card.toml") == card


def test_table_is_that_of_ubermag():
    rng = np.random.default_rng(0)
    durations, u, m = rng.uniform(1e-12, 9e-12, 20), rng.uniform(-1, 1, 20), rng.standard_normal((20, 3))
    found = table(durations, u, m)
    assert (found.x, found.y) == ("t", ["u", "mx", "my", "mz"])
    assert found.units == {"t": "s", "u": "", "mx": "", "my": "", "mz": ""}
    np.testing.assert_array_equal(found.data["t"], np.cumsum(durations))
    np.testing.assert_array_equal(found.data[["mx", "my", "mz"]], m)
    assert found.xmax == np.cumsum(durations)[-1]


def test_even_table_has_a_spectrum():
    t = 5e-12 * np.arange(1, 201)
    m = np.stack([np.sin(2 * np.pi * 4e9 * t), np.zeros(200), np.zeros(200)], axis=1)
    spectrum = table(5e-12, np.zeros(200), m).rfft(y=["mx"]).data
    assert spectrum["f"][spectrum["ft_mx"].abs().argmax()] == pytest.approx(4e9)


@pytest.mark.parametrize(("durations", "m"), [(np.ones(4), (5, 3)), (1.0, (5, 2, 3)), (1.0, (4, 3))])
def test_table_of_what_does_not_belong_together(durations, m):
    with pytest.raises(SpinloomError, match="take one device at a time"):
        table(durations, np.zeros(5), np.zeros(m))


def test_nothing_of_ubermag_is_imported_before_it_is_needed():
    program = (
        "import sys, spinloom, spinloom.device_models.ubermag; "
        "print({'ubermag', 'oommfc', 'discretisedfield', 'micromagneticmodel', 'ubermagtable'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_ubermag_itself_imports_without_a_warning():
    """Warnings are errors here."""
    assert importlib.import_module("ubermag").__version__ == version("ubermag")


def test_a_temperature_goes_there_and_back(disc):
    warm = disc.at(77)
    assert card_system(warm).T == 77
    assert card_of(card_system(warm), J_max=disc.torque.J_max, axis=disc.readout.axis, name=disc.name) == warm
