"""A new structure's head start: what the features tell apart already is answered with its prototype."""

import pytest
import torch

from CFSegmenterLib.aiming import Readout, aimed
from CFSegmenterLib.network import FoldedCosine

C, D, KNOWN = 8, 64, 3


@pytest.fixture
def prototypes():
    return torch.linalg.qr(torch.randn(D, KNOWN + 1, generator=torch.Generator().manual_seed(1)))[0].T


@pytest.fixture
def projection(prototypes):
    """One that reaches the known prototypes and nearly nothing of the new one."""
    random = torch.Generator().manual_seed(2)
    mix = torch.randn(C, KNOWN, generator=random)
    return (mix @ prototypes[:KNOWN]).T + 0.05 * torch.randn(D, C, generator=random)


@pytest.fixture
def features():
    """(400, C), of which the first 100 are of the new structure: their last channel is larger."""
    features = torch.randn(400, C, generator=torch.Generator().manual_seed(3))
    features[:100, -1] += 6
    return features


@pytest.fixture
def after(projection, prototypes, features):
    units = FoldedCosine(projection).unit(features)
    readout = Readout(C)
    readout.see(units[:50], units[100:250])
    readout.see(units[50:100], units[250:])
    return aimed(projection, prototypes[KNOWN], readout.direction())


def test_what_the_features_tell_apart_is_found_before_the_first_step(projection, after, prototypes, features):
    of_new = [FoldedCosine(each).similarities(features, prototypes)[:, KNOWN] for each in (projection, after)]
    inside, outside = of_new[1][:100], of_new[1][100:]
    assert (of_new[0][:100] < 0.5).all()
    assert inside.mean() > 0.5
    assert (inside > outside.quantile(0.95)).double().mean() > 0.9


def test_the_order_of_the_old_structures_stays_as_it_was(projection, after, prototypes, features):
    before, now = (
        FoldedCosine(each.double()).similarities(features.double(), prototypes[:KNOWN].double())
        for each in (projection, after)
    )
    assert torch.equal(before.argsort(dim=1), now.argsort(dim=1))
    ratio = now / before
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-4, atol=0)


def test_the_numerator_of_the_new_similarity_is_the_readout(projection, prototypes, features):
    direction = torch.arange(C, dtype=torch.float64)
    units = FoldedCosine(projection).unit(features)
    after = aimed(projection.double(), prototypes[KNOWN], direction)
    torch.testing.assert_close(units.double() @ after.T @ prototypes[KNOWN].double(), units.double() @ direction)


def test_features_seen_at_once_or_in_parts_give_the_same(projection, features):
    whole, parts = Readout(C), Readout(C)
    whole.see(features[:100], features[100:])
    for start in range(0, 100, 25):
        parts.see(features[start : start + 25], features[100 + 3 * start : 175 + 3 * start])
    torch.testing.assert_close(whole.direction(), parts.direction())


def test_features_that_say_nothing_give_no_head_start_and_better_ones_a_larger_one(features):
    found = []
    for strength in (0.0, 1.0, 3.0):
        moved = features.clone()
        moved[:100, -1] += strength - 6
        units = torch.cat([moved, torch.ones(400, 1)], dim=1)
        readout = Readout(C + 1)
        readout.see(units[:100], units[100:])
        said = units.double() @ readout.direction()
        found.append(float(said[:100].mean() - said[100:].mean()))
    assert abs(found[0]) < 0.05
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.4


@pytest.mark.parametrize("inside, outside", [(0, 5), (5, 0), (0, 0)])
def test_a_structure_of_which_nothing_was_seen_has_no_direction(inside, outside):
    readout = Readout(C)
    readout.see(torch.ones(inside, C), torch.ones(outside, C))
    assert readout.direction() is None
