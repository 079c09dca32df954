"""Mirror symmetry: the basis is orthonormal, matrices stay what they are, and fall into the blocks that they should."""

from __future__ import annotations

import numpy as np
import pytest

from spinloom.device_models.engines.fields import Dense
from spinloom.device_models.engines.mirrors import Blocks, Parities


def lopsided():
    mask = np.ones((4, 3, 1), dtype=bool)
    mask[0, 0, 0] = False
    return mask


MASKS = {
    "even by odd": (np.ones((4, 3, 1), dtype=bool), 4),
    "one column": (np.ones((1, 1, 3), dtype=bool), 4),
    "no mirror": (lopsided(), 1),
    "one mirror": (np.pad(np.ones((4, 2, 1), dtype=bool), ((0, 0), (0, 1), (0, 0))), 2),
}


@pytest.mark.parametrize(("mask", "parities"), MASKS.values(), ids=MASKS)
def test_folding_keeps_lengths_and_has_a_way_back(mask, parities):
    basis = Parities.of(mask)
    values = np.random.default_rng(0).standard_normal((mask.sum(), 2))
    folded = np.asarray(basis.fold @ values)
    assert len(basis.bounds) == parities + 1 and basis.bounds[-1] == mask.sum()
    np.testing.assert_allclose(np.linalg.norm(folded, axis=0), np.linalg.norm(values, axis=0), rtol=1e-13)
    np.testing.assert_allclose(basis.unfold @ folded, values, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("mask", "parities"), MASKS.values(), ids=MASKS)
def test_a_matrix_without_symmetry_is_one_block_and_the_same(mask, parities):
    cells = mask.sum()
    rng = np.random.default_rng(1)
    matrix, values = rng.standard_normal((2, cells, 2, cells)), rng.standard_normal((2, cells, 3))
    basis, blocks = Parities.of(mask), Blocks.of(matrix, mask)
    folded = np.concatenate([basis.fold @ component for component in values])
    product = np.split(np.asarray(blocks @ folded), 2)
    expected = np.einsum("aibj,bjn->ain", matrix, values)
    assert len(blocks.blocks) == 1
    np.testing.assert_allclose([basis.unfold @ part for part in product], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("axis", "sizes"),
    [
        ((0, 0, 1), (37, 44, 44, 52, 88, 88, 89, 89)),
        ((1, 0, 1), (126, 132, 132, 141)),
        ((1, 1, 0), (37, 44, 44, 52, 176, 178)),
    ],
)
def test_the_blocks_of_a_disc(disc, alter, axis, sizes):
    """A flat disc has eight; an easy axis off the mesh's axes couples some of them."""
    card = alter(disc, material={"Ku": 1e5, "Ku_axis": axis})
    dense = Dense.of(card, card.geometry.mask())
    assert sorted(len(block) for block in dense.blocks.blocks) == sorted(sizes)
