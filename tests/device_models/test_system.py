"""The card as ubermag sees it, and fields read from OVF files."""

from __future__ import annotations

import discretisedfield as df
import numpy as np
import pytest

from spinloom.device_models.errors import SpinloomError
from spinloom.device_models.system import card_field, card_mesh, card_system, read_field


def terms(system):
    return {type(term).__name__: term for term in system.energy}


def dynamics(system):
    return {type(term).__name__: term for term in system.dynamics}


def test_terms_and_values(disc, alter):
    card = alter(
        disc,
        material={"Ku": 4e5, "Ku_axis": (0, 3, 4)},
        torque={"Lambda": 1.5, "eps_prime": 0.05, "polariser": (1, 0, 0)},
    )
    system = card_system(card, u=-0.25)
    assert system.name == "disc60"
    energy = terms(system)
    assert set(energy) == {"Exchange", "Demag", "Zeeman", "UniaxialAnisotropy"}
    assert energy["Exchange"].A == 13e-12
    assert tuple(energy["Zeeman"].H) == (0, 7725.0, 0)
    assert energy["UniaxialAnisotropy"].K == 4e5
    np.testing.assert_allclose(energy["UniaxialAnisotropy"].u, (0, 0.6, 0.8), atol=1e-15)
    motion = dynamics(system)
    assert set(motion) == {"Precession", "Damping", "Slonczewski"}
    assert motion["Precession"].gamma0 == card.material.gamma0
    assert motion["Damping"].alpha == 0.1
    torque = motion["Slonczewski"]
    np.testing.assert_allclose(torque.J, -0.25 * 1.05e11)
    assert (torque.P, torque.Lambda, torque.eps_prime) == (0.4, 1.5, 0.05)
    assert tuple(torque.mp) == (1, 0, 0)


def test_no_term_for_what_is_zero(disc, alter):
    assert set(terms(card_system(alter(disc, bias={"H": (0, 0, 0)})))) == {"Exchange", "Demag"}


@pytest.mark.parametrize(
    ("name", "ubermags"),
    [("60nm-disc+1.5", "device_60nm_disc_1_5"), ("a.b", "a_b"), ("class", "device_class"), ("größe²", "gr__e_")],
)
def test_every_name_of_a_card_is_fit_for_ubermag(disc, name, ubermags):
    assert card_system(disc.model_copy(update={"name": name})).name == ubermags


@pytest.mark.parametrize("nz", [1, 2, 4])
def test_current_is_spread_over_the_thickness(disc, alter, nz):
    """OOMMF takes the torque's thickness from one cell, so J falls with the number of cells."""
    card = alter(disc, geometry={"cell": (4e-9, 4e-9, 2e-9 / nz)})
    np.testing.assert_allclose(dynamics(card_system(card, u=1.0))["Slonczewski"].J, 1.05e11 / nz)


def test_mesh(disc, alter):
    mesh = card_mesh(alter(disc, geometry={"cell": (4e-9, 6e-9, 1e-9)}))
    assert tuple(mesh.n) == (15, 10, 2)
    np.testing.assert_allclose(mesh.region.pmin, (-30e-9, -30e-9, 0))
    np.testing.assert_allclose(mesh.region.pmax, (30e-9, 30e-9, 2e-9))


def test_field_is_the_cards_mask_times_Ms(disc):
    field = card_field(disc)
    norm = np.linalg.norm(field.array, axis=-1)
    np.testing.assert_allclose(norm, disc.geometry.mask() * disc.material.Ms, rtol=1e-12)
    m = np.random.default_rng(0).standard_normal((15, 15, 1, 3))
    directed = card_field(disc, m).array
    inside = disc.geometry.mask()
    np.testing.assert_allclose(
        directed[inside] / 8e5, (m / np.linalg.norm(m, axis=-1, keepdims=True))[inside], rtol=1e-12
    )


@pytest.mark.parametrize("suffix", [".omf", ".ovf"])
@pytest.mark.parametrize("representation", ["bin8", "txt"])
def test_field_survives_a_file(disc, tmp_path, suffix, representation):
    m = np.random.default_rng(1).standard_normal((15, 15, 1, 3))
    field = card_field(disc, m)
    field.to_file(str(tmp_path / f"m{suffix}"), representation=representation)
    found = read_field(tmp_path / f"m{suffix}")
    inside = disc.geometry.mask()
    np.testing.assert_allclose(found[inside], (m / np.linalg.norm(m, axis=-1, keepdims=True))[inside], atol=1e-12)
    assert not found[~inside].any()


def test_no_such_field(tmp_path):
    with pytest.raises(SpinloomError, match="m.omf: no such file; expected an OVF field"):
        read_field(tmp_path / "m.omf")


@pytest.mark.parametrize("content", [b"", b"not an OVF file\n", b"# OOMMF OVF 2.0\n# Segment count: 1\n"])
def test_damaged_field(tmp_path, content):
    path = tmp_path / "m.omf"
    path.write_bytes(content)
    with pytest.raises(SpinloomError, match="m.omf: not a readable OVF field"):
        read_field(path)


def test_truncated_field(disc, tmp_path):
    path = tmp_path / "m.omf"
    card_field(disc).to_file(str(path), representation="bin8")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SpinloomError, match=r"m\.omf"):
        read_field(path)


def test_scalar_field(disc, tmp_path):
    path = tmp_path / "m.ovf"
    df.Field(card_mesh(disc), nvdim=1, value=1.0).to_file(str(path))
    with pytest.raises(SpinloomError, match="expected finite vectors of 3 components, got 1"):
        read_field(path)


def test_field_with_nan(disc, tmp_path):
    path = tmp_path / "m.ovf"
    values = np.ones((15, 15, 1, 3))
    values[3, 3] = np.nan
    df.Field(card_mesh(disc), nvdim=3, value=values).to_file(str(path))
    with pytest.raises(SpinloomError, match="expected finite vectors"):
        read_field(path)


def test_a_header_that_asks_for_too_much(tmp_path, disc):
    path = tmp_path / "m.omf"
    card_field(disc).to_file(str(path))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"# xnodes: 15", b"# xnodes: 1500000000000"))
    with pytest.raises(SpinloomError, match=r"its header asks for 2.25e\+13 cells of 3 components; at most 200000"):
        read_field(path)
    path.write_bytes(content.replace(b"# valuedim: 3", b"# valuedim: 3000000000"))
    with pytest.raises(SpinloomError, match="its header asks for 225 cells of 3000000000 components"):
        read_field(path)
    path.write_bytes(content.replace(b"xnodes", b"nodes"))
    with pytest.raises(SpinloomError, match="not a readable OVF field .its header has no xnodes"):
        read_field(path)


def test_only_fields_of_oommf_are_read(tmp_path, disc):
    """Others are read by other libraries."""
    for name in ("m.vtk", "m.h5", "m.txt"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(SpinloomError, match="expected an OVF field .* got a file that ends otherwise"):
            read_field(tmp_path / name)
