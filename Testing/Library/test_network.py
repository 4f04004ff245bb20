from __future__ import annotations

import pytest
import torch

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.network import (
    BACKBONES,
    FoldedCosine,
    PrototypeNetwork,
    build_backbone,
    load_weights,
    weights_of,
)
from CFSegmenterLib.prototypes import PrototypeBank

SMALL = {
    "dynunet": {"filters": [16, 16, 32]},
    "segresnet": {"init_filters": 8, "blocks_down": [1, 1, 1]},
    "unet": {"channels": [8, 8, 16], "residual_units": 1},
}


def a_network(backbone: str = "dynunet", features: int = 16, dimension: int = 32) -> PrototypeNetwork:
    torch.manual_seed(0)
    return PrototypeNetwork(backbone, features, dimension, **SMALL[backbone]).eval()


def codes(count: int, dimension: int) -> torch.Tensor:
    bank = PrototypeBank.start(dimension)
    for number in range(count - 1):
        bank = bank.append(f"structure {number}")
    return torch.from_numpy(bank.as_float32())


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_gives_every_voxel_a_feature(name):
    network, stride = build_backbone(name, 24, **SMALL[name])
    assert stride == (4, 4, 4)
    image = torch.randn(2, 1, 8, 4, 12)
    assert network(image).shape == (2, 24, 8, 4, 12)


@pytest.mark.parametrize(
    ("name", "options", "stride"),
    [
        ("dynunet", {"filters": [16, 16, 16, 16]}, (8, 8, 8)),
        ("dynunet", {"filters": [16, 16, 16], "residual": True}, (4, 4, 4)),
        ("dynunet", {"filters": [16, 16, 16], "strides": [2, [2, 2, 1]]}, (4, 4, 2)),
        ("segresnet", {"init_filters": 8, "blocks_down": [1, 1]}, (2, 2, 2)),
        ("unet", {"channels": [8, 8], "residual_units": 0}, (2, 2, 2)),
    ],
)
def test_options_of_a_backbone_are_used_and_its_stride_follows(name, options, stride):
    network, found = build_backbone(name, 16, **options)
    assert found == stride
    assert network(torch.zeros(1, 1, *(2 * step for step in stride))).shape[1] == 16


def test_options_of_a_backbone_change_it():
    def size(**options) -> int:
        return sum(p.numel() for p in build_backbone("dynunet", 16, **options)[0].parameters())

    assert size(filters=[16, 16, 16]) < size(filters=[16, 16, 32])
    assert size(filters=[16, 16, 16]) < size(filters=[16, 16, 16], residual=True)


def test_an_unknown_backbone_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"no backbone 'resnet'; choose one of dynunet, segresnet, unet"):
        build_backbone("resnet", 16)


@pytest.mark.parametrize(
    ("name", "features", "options"),
    [
        ("dynunet", 16, {"filter": [16]}),
        ("dynunet", 16, {"filters": [16, 16]}),
        ("dynunet", 16, {"filters": [16]}),
        ("dynunet", 16, {"filters": []}),
        ("dynunet", 16, {"filters": [16, 24, 32]}),
        ("dynunet", 16, {"filters": [16, -16, 16]}),
        ("dynunet", 16, {"filters": "abc"}),
        ("dynunet", 16, {"filters": 3}),
        ("segresnet", 16, {"init_filters": 12}),
        ("segresnet", 16, {"blocks_down": [1]}),
        ("segresnet", 16, {"blocks_down": []}),
        ("unet", 12, {}),
        ("unet", 16, {"channels": [8]}),
        ("unet", 16, {"residual_units": "two"}),
    ],
)
def test_options_that_cannot_be_built_get_a_sentence(name, features, options):
    with pytest.raises(UserError, match=f"The backbone '{name}' with {features} features cannot be built") as caught:
        build_backbone(name, features, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backbone", SMALL)
def test_features_come_with_channels_last(backbone):
    network = a_network(backbone)
    features = network(torch.randn(2, 1, 8, 4, 12))
    assert features.shape == (2, 8, 4, 12, 16)
    assert network.features == 16 and network.stride == (4, 4, 4)


@pytest.mark.parametrize("backbone", SMALL)
def test_the_answer_for_one_image_does_not_depend_on_the_others_of_its_batch(backbone):
    network = a_network(backbone)
    images = torch.randn(2, 1, 8, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-5)


def test_no_parameter_but_the_projection_depends_on_the_width_of_prototypes():
    narrow, wide = weights_of(a_network(dimension=32)), weights_of(a_network(dimension=64))
    assert {n for n in narrow if narrow[n].shape != wide[n].shape} == {"projection"}
    assert wide["projection"].shape == (64, 16)


def a_cosine(dimension: int = 32, channels: int = 16, dtype=torch.float32) -> FoldedCosine:
    generator = torch.Generator().manual_seed(1)
    return FoldedCosine(torch.randn(dimension, channels, generator=generator, dtype=dtype))


def test_a_unit_feature_has_an_embedding_of_length_one():
    cosine = a_cosine()
    unit = cosine.unit(torch.randn(3, 4, 5, 16))
    assert unit.shape == (3, 4, 5, 16)
    torch.testing.assert_close(cosine.embed(unit).norm(dim=-1), torch.ones(3, 4, 5), rtol=0, atol=1e-5)


def test_a_similarity_does_not_depend_on_the_length_of_a_feature():
    cosine, prototypes = a_cosine(), codes(8, 32)
    features = torch.randn(100, 16)
    once, tenfold = (cosine.similarities(f, prototypes) for f in (features, 10 * features))
    torch.testing.assert_close(once, tenfold, rtol=0, atol=1e-5)
    assert once.abs().max() <= 1 + 1e-6


def test_averaging_unit_features_is_averaging_all_similarities():
    cosine, prototypes = a_cosine(), codes(8, 32)
    units = cosine.unit(torch.randn(5, 40, 16))
    weights = torch.softmax(torch.randn(5, 40, 1), dim=0)
    queries = cosine.queries(prototypes)
    torch.testing.assert_close((units * weights).sum(0) @ queries.T, (weights * (units @ queries.T)).sum(0))


def test_the_embedding_of_a_voxel_has_the_same_similarities_as_its_feature():
    cosine, prototypes = a_cosine(), codes(8, 32)
    features = torch.randn(20, 16)
    embedded = cosine.embed(cosine.unit(features))
    torch.testing.assert_close(embedded @ prototypes.T, cosine.similarities(features, prototypes))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_features_of_low_precision_are_compared_in_full(dtype):
    found = a_cosine().similarities(torch.randn(5, 16).to(dtype), codes(3, 32))
    assert found.dtype == torch.float32


@pytest.mark.parametrize("length", [0.0, 1e-20, 1e10])
def test_extreme_features_give_finite_similarities_and_gradients(length):
    projection = torch.randn(32, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
    features = (length * torch.ones(4, 16)).requires_grad_()
    found = FoldedCosine(projection).similarities(features, codes(3, 32))
    found.sum().backward()
    for tensor in (found, features.grad, projection.grad):
        assert torch.isfinite(tensor).all()
    assert found.abs().max() <= 1 + 1e-5


def test_a_projection_that_lost_a_direction_can_still_be_compared_through():
    projection = torch.randn(32, 16, generator=torch.Generator().manual_seed(3))
    projection[:, 5] = 0
    found = FoldedCosine(projection).similarities(torch.randn(50, 16), codes(3, 32))
    assert torch.isfinite(found).all() and found.abs().max() <= 1 + 1e-5


@pytest.mark.parametrize("classes", [2, 9, 16])
def test_a_projection_that_was_aimed_reaches_every_prototype(classes):
    network, prototypes = a_network(dimension=64), codes(classes, 64)
    network.aim_at(prototypes)
    basis = network.projection.detach()
    torch.testing.assert_close(basis.T @ basis, torch.eye(16), rtol=0, atol=1e-5)
    torch.testing.assert_close((prototypes @ basis).norm(dim=1), torch.ones(classes), rtol=0, atol=1e-4)


def test_a_projection_aimed_at_more_prototypes_than_channels_favours_none_much():
    network, prototypes = a_network(dimension=128), codes(60, 128)
    reached = (prototypes @ network.projection.detach()).norm(dim=1)
    assert reached.square().mean() == pytest.approx(16 / 128, rel=0.5)  # a random subspace: sqrt(C / D)
    network.aim_at(prototypes)
    reached = (prototypes @ network.projection.detach()).norm(dim=1)
    assert reached.square().mean() == pytest.approx(16 / 60, rel=1e-3)  # the bank's own: sqrt(C / K)
    assert reached.min() > 0.2


def test_weights_are_listed_once_though_dynunet_registers_its_blocks_twice():
    network = a_network()
    listed = weights_of(network)
    assert len(network.state_dict()) > len(listed)
    assert len({t.data_ptr() for t in listed.values()}) == len(listed)
    assert sum(t.numel() for t in listed.values()) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("backbone", SMALL)
def test_loaded_weights_give_the_same_features_bit_for_bit(backbone):
    torch.manual_seed(5)
    network = PrototypeNetwork(backbone, 16, 32, **SMALL[backbone]).eval()
    other = a_network(backbone)
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert not torch.equal(other(image), network(image))
        load_weights(other, {n: t.clone() for n, t in weights_of(network).items()})
        assert torch.equal(other(image), network(image))


def test_weights_that_do_not_fit_are_refused():
    network = a_network()
    weights = weights_of(network)
    with pytest.raises(ValueError, match="projection"):
        load_weights(network, {n: t for n, t in weights.items() if n != "projection"})
    with pytest.raises(ValueError, match="another"):
        load_weights(network, {**weights, "another": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"projection has the shape \(16, 32\), not \(32, 16\)"):
        load_weights(network, {**weights, "projection": torch.zeros(16, 32)})
