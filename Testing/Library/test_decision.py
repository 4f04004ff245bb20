from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from CFSegmenterLib.decision import Layer, margins, plan_layers, winners, with_guests_last
from CFSegmenterLib.hierarchy import overlap_matrix
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()
EXCLUSIVE = ("background", "liver", "right kidney", "left kidney", "spleen")
NESTED = ("background", "left hippocampus", "right hippocampus", "anterior hippocampus", "posterior hippocampus")
MIXED = ("background", "hippocampus", "left hippocampus", "liver", "anterior hippocampus", "my own lesion")
SHARED = ("background", "anterior hippocampus", "left amygdala", "left hippocampus", "right amygdala", "liver")
ALL = (EXCLUSIVE, NESTED, MIXED, SHARED, ("background", "liver"))


def overlaps_of(names) -> np.ndarray:
    return overlap_matrix(names, VOCABULARY)


def layers_of(names) -> tuple[Layer, ...]:
    return plan_layers(overlaps_of(names))


def some_similarities(columns: int, rows: int = 400, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (rows, columns)).astype(np.float32)


def test_structures_that_exclude_each_other_share_one_contest():
    (layer,) = layers_of(EXCLUSIVE)
    assert layer == Layer((1, 2, 3, 4), (0, 1, 2, 3, 4))


def test_parts_by_different_divisions_are_decided_apart():
    assert layers_of(NESTED) == (Layer((1, 2), (0, 1, 2)), Layer((3, 4), (0, 3, 4)))


def test_what_overlaps_one_member_only_still_objects_to_the_others():
    first, second = layers_of(SHARED)
    assert first.members == (1, 2, 4, 5) and first.rivals == (0, 1, 2, 4, 5)
    assert first.objections == (((2, 4, 5), (3,)),), "the left hippocampus excludes all but the anterior one"
    assert second == Layer((3,), (0, 2, 3, 4, 5))


@pytest.mark.parametrize("names", ALL)
def test_every_structure_is_decided_once_against_all_that_it_excludes(names):
    layers = layers_of(names)
    overlaps = overlaps_of(names)
    assert sorted(i for layer in layers for i in layer.members) == list(range(1, len(names)))
    for layer in layers:
        assert 0 in layer.rivals and set(layer.members) <= set(layer.rivals)
        for indices in (layer.members, layer.rivals, *(i for pair in layer.objections for i in pair)):
            assert list(indices) == sorted(indices)
        for member in layer.members:
            against = {i for concerned, others in layer.objections if member in concerned for i in others}
            excluded = set(np.flatnonzero(~overlaps[member]))
            assert set(layer.rivals) | against == excluded
            assert not against & set(layer.rivals)


def test_there_is_nothing_to_decide_without_structures():
    assert layers_of(("background",)) == ()


@pytest.mark.parametrize("names", ALL)
def test_a_voxel_belongs_to_what_is_more_similar_than_all_that_it_excludes(names):
    similarities, overlaps = some_similarities(len(names)), overlaps_of(names)
    found = {}
    for layer in layers_of(names):
        won = winners(torch.from_numpy(similarities), layer)
        found.update({member: won == member for member in layer.members})
        assert set(np.unique(won)) <= {0, *layer.members}
    for index in range(1, len(names)):
        excluded = ~overlaps[index]
        excluded[index] = False
        expected = similarities[:, index] > similarities[:, excluded].max(axis=1)
        assert expected.any()
        np.testing.assert_array_equal(found[index], expected, names[index])
    for one in found:
        for other in found:
            if one != other and not overlaps[one, other]:
                assert not np.any(found[one] & found[other]), "what excludes each other is never both"


GUESTS = [(EXCLUSIVE, (2, 4)), (NESTED, (3, 4)), (MIXED, (1, 5)), (SHARED, (2, 5)), (EXCLUSIVE, (1, 2, 3, 4))]


def decided(similarities: torch.Tensor, names) -> dict[int, np.ndarray]:
    won = [(layer, winners(similarities, layer)) for layer in layers_of(names)]
    return {member: found == member for layer, found in won for member in layer.members}


@pytest.mark.parametrize("names, guests", GUESTS)
def test_guests_take_nothing_from_the_structures_at_home(names, guests):
    similarities = torch.from_numpy(some_similarities(len(names)))
    without = similarities.clone()
    without[:, list(guests)] = -torch.inf
    found = decided(with_guests_last(similarities, guests, overlaps_of(names)), names)
    alone = decided(without, names)
    for host in set(found) - set(guests):
        np.testing.assert_array_equal(found[host], alone[host], names[host])


@pytest.mark.parametrize("names, guests", GUESTS)
def test_guests_share_what_is_left_to_the_background_by_the_common_rule(names, guests):
    similarities, overlaps = torch.from_numpy(some_similarities(len(names))), overlaps_of(names)
    found = decided(with_guests_last(similarities, guests, overlaps), names)
    hosts = [i for i in range(1, len(names)) if i not in guests]
    for guest in guests:
        excluding = [i for i in hosts if not overlaps[guest, i]]
        others = [i for i in guests if i != guest and not overlaps[guest, i]]
        expected = similarities[:, guest] > similarities[:, 0]
        for host in excluding:
            expected &= similarities[:, host] <= similarities[:, 0]
        for other in others:
            its_hosts = [i for i in hosts if not overlaps[other, i]]
            is_out = (similarities[:, its_hosts] > similarities[:, :1]).any(dim=1)
            expected &= is_out | (similarities[:, guest] > similarities[:, other])
        assert expected.any()
        np.testing.assert_array_equal(found[guest], expected.numpy(), names[guest])


@pytest.mark.parametrize("names", ALL)
def test_the_margin_is_the_lead_over_the_best_that_is_excluded(names):
    similarities, overlaps = some_similarities(len(names)), overlaps_of(names)
    expected = []
    for voxel in similarities:
        best = voxel.argmax()
        expected.append(voxel[best] - max(voxel[i] for i in range(len(names)) if i != best and not overlaps[best, i]))
    found = margins(torch.from_numpy(similarities), overlaps)
    assert found.dtype == np.float32 and np.all(found >= 0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


similarities_ = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).uniform(-1, 1, (40, 7)).astype(np.float32)
)
layers_ = st.tuples(st.sets(st.integers(1, 6), min_size=1), st.sets(st.integers(1, 6))).map(
    lambda both: Layer(tuple(sorted(both[0])), tuple(sorted({0} | both[0] | both[1])))
)


@given(similarities=similarities_, layer=layers_)
@settings(max_examples=100, deadline=None)
def test_the_most_similar_rival_wins_and_counts_where_it_is_a_member(similarities, layer):
    expected = []
    for voxel in similarities:
        best = max(layer.rivals, key=lambda rival: voxel[rival])
        expected.append(best if best in layer.members else 0)
    found = winners(torch.from_numpy(similarities), layer)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)


def test_similarities_are_left_as_they_were():
    similarities = torch.rand(20, 6)
    kept = similarities.clone()
    for layer in (Layer((1, 2, 3, 4), (0, 1, 2, 3, 4)), Layer((2,), (0, 2, 3)), *layers_of(SHARED)):
        winners(similarities, layer)
    for names in (SHARED, SHARED[:5]):
        margins(similarities[:, : len(names)], overlaps_of(names))
    with_guests_last(similarities, (2, 4), overlaps_of(SHARED))
    torch.testing.assert_close(similarities, kept, rtol=0, atol=0)


def test_where_two_are_equally_similar_there_is_no_margin_and_the_older_one_wins():
    similarities = torch.tensor([[0.1, 0.7, 0.7], [0.7, 0.7, 0.1], [0.2, 0.2, 0.2]])
    assert winners(similarities, Layer((1, 2), (0, 1, 2))).tolist() == [1, 0, 0]
    np.testing.assert_array_equal(margins(similarities, np.zeros((3, 3), dtype=bool)), 0)


def test_one_structure_and_the_background_are_enough_for_a_margin():
    found = margins(torch.tensor([[0.25, 0.75]]), overlaps_of(("background", "liver")))
    np.testing.assert_allclose(found, [0.5])
