"""The ten tests of the method, under their numbers. Each compares the library with the formula, written out slowly."""

from __future__ import annotations

import hashlib
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch

from CFSegmenterLib.distillation import background_aware_distillation, feature_distillation, frozen
from CFSegmenterLib.intensity import ForegroundZScoreRule
from CFSegmenterLib.losses import Annotation, first_stage_loss
from CFSegmenterLib.model import Manifest, Model, build_network
from CFSegmenterLib.network import FoldedCosine, PrototypeNetwork, weights_of
from CFSegmenterLib.phantom import NAMES as PHANTOM_NAMES
from CFSegmenterLib.phantom import draw_small
from CFSegmenterLib.protocols import Protocol
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.settings import BackboneSettings, LossSettings
from CFSegmenterLib.structures import Vocabulary
from CFSegmenterLib.windows import unit_features
from Testing.real_data import CLIP_VECTORS

RIGHT_KIDNEY, LEFT_KIDNEY = 1, 2  # rows of the real CLIP vectors
a_loss = partial(LossSettings, balance=0.0, hidden=1.0, entropy=1.0)
"""Settings of the loss as the method has it, without the weights that experience gave some of its terms."""

NAMES = ("background", "liver", "spleen", "right kidney", "left kidney", "pancreas")


def text_like_vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Vectors with pairwise cosines of about 0.99, as real text vectors of organ names have."""
    random = np.random.default_rng(seed)
    common = random.standard_normal(dimension)
    return common + 0.1 * random.standard_normal((count, dimension))


def a_bank(names=NAMES, dimension: int = 32) -> PrototypeBank:
    bank = PrototypeBank.start(dimension)
    for name in names[1:]:
        bank = bank.append(name)
    return bank


def a_network(seed: int = 0, features: int = 16, dimension: int = 32) -> PrototypeNetwork:
    torch.manual_seed(seed)
    return PrototypeNetwork("dynunet", features, dimension, filters=[16, 16, 16]).eval()


def an_annotation(*annotated: str, names=NAMES) -> Annotation:
    return Annotation.of(names, annotated, (), Vocabulary.load())


def some_similarities(count: int = 200, classes: int = len(NAMES), seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).uniform(-1, 1, (count, classes))
    return torch.from_numpy(values).requires_grad_()


def probabilities(similarities: torch.Tensor, temperature: float) -> np.ndarray:
    powers = np.exp(similarities.detach().numpy() / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def checksum(network: PrototypeNetwork) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights_of(network).items()):
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture
def a_model() -> Model:
    """An untrained model of small phantoms; nothing here depends on what it has learned."""
    bank = a_bank()
    manifest = Manifest(
        name="untrained",
        version="1",
        created="2026-01-01",
        licence="CC0",
        prototypes=tuple(bank.to_dict()["entries"]),
        prototype_seed=bank.seed,
        backbone=BackboneSettings(features=16, options={"filters": [16, 16, 16]}),
        dimension=bank.dimension,
        temperature=0.1,
        protocols=(
            Protocol(
                name="small phantom",
                modality="mr-t2",
                spacing=(4, 4, 4),
                patch=(24, 32, 16),
                intensity=ForegroundZScoreRule(),
                typical_spacing=(4, 4, 4),
                typical_extent=(128, 128, 96),
            ),
        ),
    )
    torch.manual_seed(0)
    return Model(build_network(manifest).eval(), bank, manifest)


def test_1_adding_a_class_changes_no_parameter_shape_and_no_older_prototype(a_model):
    # Built from a manifest, as every model is, once with its classes and once with twelve more.
    bank, manifest = a_model.bank, a_model.manifest
    vectors = text_like_vectors(6, bank.dimension)
    for number in range(12):
        embedding = vectors[number // 2] if number % 2 else None
        bank = bank.append(f"addition {number}", embedding, "a text" if number % 2 else None)

    grown = manifest.model_copy(update={"prototypes": tuple(bank.to_dict()["entries"])})
    before, after = build_network(manifest), build_network(grown)
    assert len(grown.structures) == len(manifest.structures) + 12
    assert {n: t.shape for n, t in weights_of(before).items()} == {n: t.shape for n, t in weights_of(after).items()}
    assert bank.matrix[: len(a_model.bank)].tobytes() == a_model.bank.matrix.tobytes()
    assert bank.as_float32()[: len(a_model.bank)].tobytes() == a_model.bank.as_float32().tobytes()


def test_1_adding_a_class_leaves_the_similarities_to_older_ones_as_they_are(a_model):
    cosine = a_model.network.cosine()
    features = torch.randn(50, a_model.network.features)
    before = cosine.similarities(features, torch.from_numpy(a_model.bank.as_float32()))
    grown = a_model.bank.append("adrenal gland")
    after = cosine.similarities(features, torch.from_numpy(grown.as_float32()))
    torch.testing.assert_close(after[:, :-1], before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("vectors", ["like texts", "real texts", "none"])
def test_2_prototypes_are_orthonormal(vectors):
    if vectors == "real texts":
        if not CLIP_VECTORS.exists():
            pytest.skip("the real text vectors lie outside this repository")
        embeddings = np.load(CLIP_VECTORS)
    else:
        embeddings = text_like_vectors(32, 512) if vectors == "like texts" else np.zeros((0, 512))
    bank = PrototypeBank.start(512)
    for number, embedding in enumerate(embeddings):
        bank = bank.append(f"text {number}", embedding, "a text")
    while len(bank) < 104:
        bank = bank.append(f"code {len(bank)}")
    for rows in (bank.matrix, bank.as_float32().astype(np.float64)):
        assert np.abs(rows @ rows.T - np.eye(104)).max() < 1e-6


def test_2_a_full_bank_is_orthonormal():
    bank = a_bank([f"{n}" for n in range(64)], 64)
    rows = bank.as_float32().astype(np.float64)
    assert bank.remaining == 0
    assert np.abs(rows @ rows.T - np.eye(64)).max() < 1e-6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("dimension", [32, 512])
def test_3_the_cosine_in_few_channels_equals_the_direct_one(dimension, dtype, tolerance):
    generator = torch.Generator().manual_seed(3)
    projection = torch.randn(dimension, 16, generator=generator, dtype=torch.float64)
    features = 3 * torch.randn(500, 16, generator=generator, dtype=torch.float64)
    prototypes = torch.linalg.qr(torch.randn(dimension, 20, generator=generator, dtype=torch.float64))[0].T

    embedded = features @ projection.T  # D channels, as the method is written
    direct = torch.nn.functional.cosine_similarity(embedded[:, None], prototypes[None], dim=2)
    folded = FoldedCosine(projection.to(dtype)).similarities(features.to(dtype), prototypes.to(dtype))
    assert folded.dtype == dtype
    assert (folded.double() - direct).abs().max() < tolerance


def test_3_the_gradient_through_the_few_channels_equals_the_direct_one():
    generator = torch.Generator().manual_seed(4)
    projection = torch.randn(32, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    features = torch.randn(40, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    prototypes = torch.linalg.qr(torch.randn(32, 5, generator=generator, dtype=torch.float64))[0].T
    weights = torch.randn(40, 5, generator=generator, dtype=torch.float64)

    direct = torch.nn.functional.cosine_similarity((features @ projection.T)[:, None], prototypes[None], dim=2)
    wanted = torch.autograd.grad((direct * weights).sum(), (projection, features))
    folded = FoldedCosine(projection).similarities(features, prototypes)
    found = torch.autograd.grad((folded * weights).sum(), (projection, features))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


def direct_similarities(network: PrototypeNetwork, image: np.ndarray, prototypes: np.ndarray, patch) -> np.ndarray:
    """(X, Y, Z, K): every window's D-wide embeddings compared with every prototype, and those maps averaged."""
    total = np.zeros((*image.shape, len(prototypes)))
    mass = np.zeros((*image.shape, 1))
    bell = [np.maximum(np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2), 1e-3) for n in patch]
    weight = bell[0][:, None, None, None] * bell[1][:, None, None] * bell[2][:, None]
    starts = []
    for length, side in zip(image.shape, patch, strict=True):
        count = math.ceil((length - side) / (side / 2)) + 1
        starts.append([round(s) for s in np.linspace(0, length - side, count)])
    for corner in itertools.product(*starts):
        box = tuple(slice(c, c + n) for c, n in zip(corner, patch, strict=True))
        with torch.no_grad():
            features = network(torch.from_numpy(image[box])[None, None])[0].double().numpy()
        embedded = features @ network.projection.detach().double().numpy().T
        # An untrained network has voxels without any feature; they resemble nothing.
        embedded /= np.maximum(np.linalg.norm(embedded, axis=-1, keepdims=True), 1e-3)
        total[box] += weight * (embedded @ prototypes.T)
        mass[box] += weight
    return total / mass


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((16, 16, 12), (16, 16, 12)), ((16, 16, 16), (16, 8, 16)), ((21, 17, 12), (8, 12, 8)), ((40, 9, 8), (8, 8, 8))],
    ids=["one window", "one axis", "all axes", "long"],
)
def test_4_similarities_encoded_once_equal_a_direct_pass(shape, patch):
    network = a_network(4)
    prototypes = a_bank([f"{n}" for n in range(9)]).matrix
    image = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    unit = unit_features(network, image, patch).astype(np.float32)
    with torch.no_grad():
        queries = network.cosine().queries(torch.tensor(prototypes)).numpy()
    # What is kept of a unit feature is float16.
    np.testing.assert_allclose(unit @ queries.T, direct_similarities(network, image, prototypes, patch), atol=2e-3)


def test_4_an_encoding_answers_with_the_direct_similarity(a_model, a_small_volume):
    encoding = Segmenter(a_model, device="cpu", precision="32-true").encode(a_small_volume)
    model = a_model
    image = encoding.protocol.intensity.apply(a_small_volume.array)
    direct = direct_similarities(model.network, image, model.bank.matrix, encoding.protocol.patch)
    for index, name in enumerate(model.bank.names):
        if index:
            np.testing.assert_allclose(encoding.similarity(name), direct[..., index], atol=2e-3)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_5_a_voxel_that_may_be_anything_costs_nothing_and_moves_nothing(gamma):
    similarities = some_similarities()
    settings = a_loss(gamma=gamma, entropy=0, entropy_unannotated=0)
    terms = first_stage_loss(similarities, torch.zeros(200, dtype=torch.int64), an_annotation(), settings)
    terms.total.backward()
    assert abs(float(terms.focal.detach())) < 1e-12
    assert abs(float(terms.dice.detach())) < 1e-12
    assert float(similarities.grad.abs().max()) < 1e-12


@pytest.mark.parametrize("gamma", [0.0, 0.7, 2.0])
def test_6_with_everything_annotated_it_is_the_focal_cross_entropy(gamma):
    similarities = some_similarities()
    labels = np.random.default_rng(6).integers(0, len(NAMES), 200)
    terms = first_stage_loss(
        similarities, torch.from_numpy(labels), an_annotation(*NAMES[1:]), a_loss(gamma=gamma, temperature=0.3)
    )
    q = probabilities(similarities, 0.3)[np.arange(200), labels]
    assert terms.focal.item() == pytest.approx(float(np.mean(-((1 - q) ** gamma) * np.log(q))), rel=1e-9)

    if gamma == 0:
        plain = torch.nn.functional.cross_entropy(similarities / 0.3, torch.from_numpy(labels))
        assert terms.focal.item() == pytest.approx(plain.item(), rel=1e-9)


def test_7_without_focusing_it_is_the_unbiased_cross_entropy_of_mib():
    # MiB, eq. (3) and (4): the background of a step stands for itself and all that earlier steps have taught.
    similarities = some_similarities(seed=7)
    old, new = ("liver", "spleen"), ("right kidney", "left kidney", "pancreas")
    labels = np.random.default_rng(7).choice([0, 3, 4, 5], 200)
    terms = first_stage_loss(similarities, torch.from_numpy(labels), an_annotation(*new), a_loss(gamma=0))
    total = 0.0
    for q, label in zip(probabilities(similarities, 0.1), labels, strict=True):
        seen_before = [0, *(NAMES.index(n) for n in old)]
        total -= math.log(sum(q[k] for k in seen_before) if label == 0 else q[label])
    assert terms.focal.item() == pytest.approx(total / 200, rel=1e-9)


def test_8_distillation_is_zero_and_moves_nothing_where_the_student_is_the_teacher():
    network = a_network()
    teacher, prototypes = frozen(network), torch.from_numpy(a_bank().as_float32())
    image = torch.randn(1, 1, 8, 8, 8)
    features, wanted = network(image).flatten(0, 3), teacher(image).flatten(0, 3)
    similar = background_aware_distillation(
        network.cosine().similarities(features, prototypes), teacher.cosine().similarities(wanted, prototypes), 0.1
    )
    alike = feature_distillation(features, wanted, network.cosine(), teacher.cosine())
    (similar + alike).backward()
    assert abs(similar.item()) < 1e-6
    assert abs(alike.item()) < 1e-5
    assert max(float(p.grad.abs().max()) for p in network.parameters() if p.grad is not None) < 1e-4

    other = a_network(1)
    moved = other(image).flatten(0, 3)
    similar = background_aware_distillation(
        other.cosine().similarities(moved, prototypes), teacher.cosine().similarities(wanted, prototypes), 0.1
    )
    assert similar.item() > 0.01
    assert feature_distillation(moved, wanted, other.cosine(), teacher.cosine()).item() > 0.01


def test_9_the_teacher_gets_no_gradient_and_stays_the_same_while_its_student_learns():
    student = a_network()
    teacher = frozen(student)
    kept = checksum(teacher)
    bank = torch.from_numpy(a_bank().append("adrenal gland").as_float32())
    known = len(NAMES)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.01)
    names = (*NAMES, "adrenal gland")
    for step in range(4):
        image = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(step))
        labels = torch.randint(0, 2, (512,), generator=torch.Generator().manual_seed(step)) * known
        features, wanted = student(image).flatten(0, 3), teacher(image).flatten(0, 3)
        similarities = student.cosine().similarities(features, bank)
        loss = first_stage_loss(similarities, labels, an_annotation("adrenal gland", names=names), a_loss()).total
        loss = loss + background_aware_distillation(
            similarities, teacher.cosine().similarities(wanted, bank[:known]), 0.1
        )
        loss = loss + feature_distillation(features, wanted, student.cosine(), teacher.cosine(), labels == 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert checksum(teacher) == kept
    assert checksum(student) != kept


def test_10_twins_have_orthogonal_prototypes_though_their_texts_hardly_differ():
    pairs = [text_like_vectors(2, 512)]
    if CLIP_VECTORS.exists():
        pairs.append(np.load(CLIP_VECTORS)[[RIGHT_KIDNEY, LEFT_KIDNEY]])
    for right, left in pairs:
        assert right @ left / np.linalg.norm(right) / np.linalg.norm(left) > 0.98
        bank = PrototypeBank.start(512).append("right kidney", right, "a text").append("left kidney", left, "a text")
        assert abs(bank.matrix[1] @ bank.matrix[2]) < 1e-12


def test_10_twins_are_told_apart_by_a_network_that_learned_them():
    # Both kidneys of the small phantom are equally bright: only where they lie tells them apart.
    names = ("background", *PHANTOM_NAMES.values())
    prototypes = torch.from_numpy(a_bank(names).as_float32())
    annotation = an_annotation(*names[1:], names=names)

    def an_example(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        phantom = draw_small(seed)
        image = torch.from_numpy(phantom.image[::2, ::2, ::2].astype(np.float32))
        labels = torch.from_numpy(phantom.labels[::2, ::2, ::2].astype(np.int64)).flatten()
        return ((image - image.mean()) / image.std())[None, None], labels

    torch.manual_seed(0)
    network = PrototypeNetwork("dynunet", 16, 32, filters=[16, 16, 32])
    network.aim_at(prototypes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    examples = [an_example(seed) for seed in range(8)]
    for step in range(80):
        image, labels = examples[step % 8]
        similarities = network.cosine().similarities(network(image).flatten(0, 3), prototypes)
        optimizer.zero_grad()
        first_stage_loss(similarities, labels, annotation, a_loss()).total.backward()
        optimizer.step()

    image, labels = an_example(900)
    with torch.no_grad():
        answer = network.cosine().similarities(network(image).flatten(0, 3), prototypes).argmax(dim=1)
    right, left = names.index("right kidney"), names.index("left kidney")
    for kidney, twin in ((right, left), (left, right)):
        assert (answer[labels == kidney] == kidney).float().mean() > 0.7
        assert (answer[labels == kidney] == twin).float().mean() < 0.05
