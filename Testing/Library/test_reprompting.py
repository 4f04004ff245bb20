"""Text prototypes for a trained model: other directions, the same answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CFSegmenterLib.encoding import Encoding
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.model import load_model, save_model
from CFSegmenterLib.model_card import write_card
from CFSegmenterLib.network import weights_of
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.reprompting import next_version, rotation_between, with_text_prototypes
from CFSegmenterLib.segmenter import Segmenter

NAMES = ("liver", "right kidney", "left kidney", "spleen")


@pytest.fixture
def embeddings():
    """Text vectors as CLIP gives them: of one cone, twins nearly the same."""
    random = np.random.default_rng(5)
    cone, organs = random.normal(size=32), random.normal(size=(3, 32))
    rows = [cone + 0.3 * organs[i] + 0.05 * random.normal(size=32) for i in (0, 1, 1, 2)]
    return {name: (row, f"A scan of a {name}") for name, row in zip(NAMES, rows, strict=True)}


def cosines(projection, features, prototypes):
    """(N, K) cosines, computed the long way in float64."""
    z = features @ projection.T
    return (z / np.linalg.norm(z, axis=1, keepdims=True)) @ prototypes.T


def test_similarities_are_the_same_to_rounding(a_model, embeddings):
    new = with_text_prototypes(a_model, embeddings)
    features = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, after = (
            m.network.cosine().similarities(features, torch.from_numpy(m.bank.as_float32())) for m in (a_model, new)
        )
    assert (after - before).abs().max() < 1e-5


def test_the_identity_is_exact_in_double_precision(embeddings):
    random = np.random.default_rng(0)
    old = PrototypeBank.start(32, 0)
    new = PrototypeBank.start(32, 0)
    for name, (row, prompt) in embeddings.items():
        old, new = old.append(name), new.append(name, row, prompt)
    rotation = rotation_between(old.matrix, new.matrix)
    projection, features = random.normal(size=(32, 16)), random.normal(size=(500, 16))
    before = cosines(projection, features, old.matrix)
    after = cosines(rotation @ projection, features, new.matrix)
    assert np.abs(after - before).max() < 1e-10
    assert np.abs(rotation.T @ rotation - np.eye(32)).max() < 1e-12
    assert np.abs(rotation @ old.matrix.T - new.matrix.T).max() < 1e-12


@pytest.mark.parametrize("count", [1, 31, 32])
def test_a_bank_of_any_size_can_be_turned(count):
    random = np.random.default_rng(count)
    old, new = (np.linalg.qr(random.normal(size=(32, count)))[0].T for _ in range(2))
    rotation = rotation_between(old, new)
    assert np.abs(rotation @ old.T - new.T).max() < 1e-12
    assert np.abs(rotation @ rotation.T - np.eye(32)).max() < 1e-12


def test_a_volume_is_segmented_as_before(a_model, a_small_volume, embeddings):
    new = with_text_prototypes(a_model, embeddings)
    first = Segmenter(a_model, "cpu", "32-true").encode(a_small_volume)
    second = Segmenter(new, "cpu", "32-true").encode(a_small_volume)
    for name in NAMES:
        np.testing.assert_allclose(second.similarity(name), first.similarity(name), atol=1e-3)  # float16 features
    assert np.mean(first.best() != second.best()) < 1e-3
    np.testing.assert_allclose(second.margin(), first.margin(), atol=2e-3)


def test_one_encoding_answers_the_same_through_either_model(a_model, a_segmenter, a_small_volume, embeddings):
    encoding = a_segmenter.encode(a_small_volume)
    new = with_text_prototypes(a_model, embeddings)
    other = Encoding(new, encoding.protocol, encoding.grid, encoding.affine, encoding.features)
    for name in NAMES:
        np.testing.assert_allclose(other.similarity(name), encoding.similarity(name), atol=1e-5)


def test_a_painted_example_finds_the_same(a_model, a_segmenter, a_small_volume, a_small_phantom, embeddings):
    encoding = a_segmenter.encode(a_small_volume)
    new = with_text_prototypes(a_model, embeddings)
    other = Encoding(new, encoding.protocol, encoding.grid, encoding.affine, encoding.features)
    mask = a_small_phantom.labels == 4
    maps = [e.similarity(e.prototype_from(mask)) for e in (encoding, other)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)


def test_the_manifest_says_where_every_prototype_came_from(a_model, embeddings):
    new = with_text_prototypes(a_model, embeddings, encoder={"architecture": "ViT-B-32"})
    entries = new.manifest.prototypes
    assert [entry["source"] for entry in entries] == ["code", "text", "text", "text", "text"]
    assert entries[3]["prompt"] == "A scan of a left kidney"
    assert entries[1]["kept"] > 0.5 > entries[3]["kept"] > 0  # what is left of a twin is little
    assert (new.manifest.version, new.manifest.parent) == ("2", "1")
    assert new.manifest.training["text"] == {"architecture": "ViT-B-32"}
    assert new.manifest.structures == a_model.manifest.structures
    assert new.bank.matrix.shape == a_model.bank.matrix.shape


def test_a_structure_without_a_vector_keeps_a_code_direction(a_model, embeddings):
    new = with_text_prototypes(a_model, {"Left Kidney": embeddings["left kidney"]})
    assert [entry.source for entry in new.bank.entries] == ["code", "code", "code", "text", "code"]
    gram = new.bank.matrix @ new.bank.matrix.T
    assert np.abs(gram - np.eye(5)).max() < 1e-6


def test_the_background_can_have_a_text_too(a_model, embeddings):
    background = (np.random.default_rng(9).normal(size=32), "A scan of nothing")
    new = with_text_prototypes(a_model, {**embeddings, "background": background})
    assert new.bank.entries[0].source == "text" and new.bank.entries[0].kept == pytest.approx(1)


def test_the_old_model_is_left_as_it_was(a_model, embeddings):
    before = {name: tensor.clone() for name, tensor in weights_of(a_model.network).items()}
    matrix = a_model.bank.matrix.copy()
    new = with_text_prototypes(a_model, embeddings)
    for name, tensor in weights_of(a_model.network).items():
        assert torch.equal(tensor, before[name])
        assert name == "projection" or torch.equal(weights_of(new.network)[name], tensor)
    np.testing.assert_array_equal(a_model.bank.matrix, matrix)
    assert not torch.equal(new.network.projection, a_model.network.projection)


def test_the_new_model_survives_its_folder(a_model, embeddings, tmp_path):
    new = with_text_prototypes(a_model, embeddings)
    save_model(new, tmp_path / "text", write_card(new.manifest))
    again = load_model(tmp_path / "text")
    assert again.bank == new.bank
    assert torch.equal(again.network.projection, new.network.projection)
    third = with_text_prototypes(again, {"liver": embeddings["spleen"]})
    assert (third.manifest.version, third.manifest.parent) == ("3", "2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no text embedding"),
        ({"heart": (np.ones(32), "A heart")}, "no structure 'heart'"),
        ({"liver": (np.ones(16), "A liver")}, "shape"),
        ({"liver": (np.zeros(32), "A liver")}, "zero"),
        ({"liver": (np.full(32, np.nan), "A liver")}, "NaN"),
        ({"liver": (np.ones(32), "A"), "spleen": (2 * np.ones(32), "B")}, "nothing of its own"),
    ],
)
def test_vectors_that_cannot_be_used_are_explained(a_model, given, said):
    with pytest.raises(UserError, match=said):
        with_text_prototypes(a_model, given)


@pytest.mark.parametrize(("old", "new"), [("1", "2"), ("9", "10"), ("1.9", "1.10"), ("v3", "v4"), ("beta", "beta.2")])
def test_versions_count_up(old, new):
    assert next_version(old) == new
