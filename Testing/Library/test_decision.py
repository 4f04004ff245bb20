from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from CFSegmenterLib.decision import Layer, margins, plan_layers, winners
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()
EXCLUSIVE = ("background", "liver", "right kidney", "left kidney", "spleen")
NESTED = ("background", "left hippocampus", "right hippocampus", "anterior hippocampus", "posterior hippocampus")
MIXED = ("background", "hippocampus", "left hippocampus", "liver", "anterior hippocampus", "my own lesion")


def names_of(layer: Layer, names) -> tuple[set[str], set[str]]:
    return {names[i] for i in layer.members}, {names[i] for i in layer.rivals}


def test_structures_that_exclude_each_other_share_one_contest():
    (layer,) = plan_layers(EXCLUSIVE, VOCABULARY)
    assert layer == Layer((1, 2, 3, 4), (0, 1, 2, 3, 4))


def test_parts_by_different_divisions_are_decided_apart():
    first, second = plan_layers(NESTED, VOCABULARY)
    assert names_of(first, NESTED) == (
        {"left hippocampus", "right hippocampus"},
        {"background", "left hippocampus", "right hippocampus"},
    )
    assert names_of(second, NESTED) == (
        {"anterior hippocampus", "posterior hippocampus"},
        {"background", "anterior hippocampus", "posterior hippocampus"},
    )


@pytest.mark.parametrize("names", [EXCLUSIVE, NESTED, MIXED, ("background", "liver")])
def test_every_structure_is_decided_once_and_never_against_what_it_overlaps(names):
    layers = plan_layers(names, VOCABULARY)
    assert sorted(i for layer in layers for i in layer.members) == list(range(1, len(names)))
    for layer in layers:
        assert 0 in layer.rivals and set(layer.members) <= set(layer.rivals)
        assert list(layer.rivals) == sorted(layer.rivals) and list(layer.members) == sorted(layer.members)
        for member in layer.members:
            for rival in set(layer.rivals) - {member}:
                assert not VOCABULARY.overlaps(names[member], names[rival])


def test_a_structure_competes_with_everything_that_it_excludes_though_decided_elsewhere():
    layers = plan_layers(MIXED, VOCABULARY)
    for layer in layers:
        assert MIXED.index("liver") in layer.rivals
        assert MIXED.index("my own lesion") in layer.rivals


def test_there_is_nothing_to_decide_without_structures():
    assert plan_layers(("background",), VOCABULARY) == ()


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


@given(similarities=similarities_, layer=layers_)
@settings(max_examples=100, deadline=None)
def test_the_margin_is_the_lead_over_the_second(similarities, layer):
    ranked = np.sort(similarities[:, list(layer.rivals)], axis=1)
    found = margins(torch.from_numpy(similarities), layer)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, ranked[:, -1] - ranked[:, -2], atol=1e-6)
    assert np.all(found >= 0)


def test_similarities_are_left_as_they_were():
    similarities = torch.rand(20, 5)
    kept = similarities.clone()
    for layer in (Layer((1, 2, 3, 4), (0, 1, 2, 3, 4)), Layer((2,), (0, 2, 3))):
        winners(similarities, layer), margins(similarities, layer)
    torch.testing.assert_close(similarities, kept, rtol=0, atol=0)


def test_where_two_are_equally_similar_there_is_no_margin_and_the_older_one_wins():
    layer = Layer((1, 2), (0, 1, 2))
    similarities = torch.tensor([[0.1, 0.7, 0.7], [0.7, 0.7, 0.1], [0.2, 0.2, 0.2]])
    assert winners(similarities, layer).tolist() == [1, 0, 0]
    np.testing.assert_array_equal(margins(similarities, layer), 0)


def test_one_structure_and_the_background_are_enough_for_a_margin():
    np.testing.assert_allclose(margins(torch.tensor([[0.25, 0.75]]), Layer((1,), (0, 1))), [0.5])
