"""The compared methods: each loss against a slow formula, or a property that its paper promises."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.losses import Annotation
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.settings import TrainingSettings
from CFSegmenterLib.structures import Vocabulary
from Testing.Benchmarks.accuracy.methods import ALL, INCREMENTAL
from Testing.Benchmarks.accuracy.methods.ablations import TextPrototypes
from Testing.Benchmarks.accuracy.methods.clip_driven import ClipDrivenNetwork
from Testing.Benchmarks.accuracy.methods.dodnet import DoDNetNetwork
from Testing.Benchmarks.accuracy.methods.lwf import WEIGHT, LwfLesson
from Testing.Benchmarks.accuracy.methods.mib import MibLesson
from Testing.Benchmarks.accuracy.methods.naive import NaiveLesson
from Testing.Benchmarks.accuracy.methods.no_background import THRESHOLD, ThresholdNetwork
from Testing.Benchmarks.accuracy.methods.rival import binary_terms, dynamic_head, parameters_of
from Testing.Benchmarks.accuracy.methods.softmax import SoftmaxNetwork
from Testing.Benchmarks.accuracy.methods.versatile import VersatileNetwork

from .test_lesson import KNOWN, NAMES, SIDE, Scene

SETTINGS = TrainingSettings(
    backbone={"name": "unet", "features": 16, "options": {"channels": [16, 16, 16], "residual_units": 0}}, dimension=32
)
TAU = 0.1


@pytest.fixture(scope="module")
def a_plan(a_small_source):
    """Of a source that annotates liver, right kidney, left kidney and spleen."""
    return plan_training(read_case_lists([a_small_source]), SETTINGS)


@pytest.fixture
def an_image() -> torch.Tensor:
    return torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def some_labels() -> torch.Tensor:
    return torch.randint(0, 5, (SIDE**3,), generator=torch.Generator().manual_seed(4))


def annotating(plan, *annotated: str) -> Annotation:
    return Annotation.of(plan.bank.names, annotated, (), Vocabulary.load())


def of_new_only(scene: Scene) -> torch.Tensor:
    """Labels of a patch in which every third voxel is the new structure."""
    labels = torch.zeros(SIDE**3, dtype=torch.int64)
    labels[::3] = NAMES.index("gallbladder")
    return labels


def slow_dice(answers: list[list[float]], wanted: list[list[bool]]) -> float:
    """1 - soft Dice, mean over channels."""
    total = 0.0
    for answer, want in zip(answers, wanted, strict=True):
        overlap = sum(a for a, w in zip(answer, want, strict=True) if w)
        total += 1 - (2 * overlap + 1e-5) / (sum(answer) + sum(want) + 1e-5)
    return total / len(answers)


def probabilities(similarities: torch.Tensor) -> list[list[float]]:
    powers = [[math.exp(s / TAU) for s in row] for row in similarities.tolist()]
    return [[p / sum(row) for p in row] for row in powers]


def slow_loss(similarities: torch.Tensor, labels: torch.Tensor, hidden: list[int]) -> float:
    """Cross-entropy and Dice, voxel by voxel, where label 0 may be any of `hidden`."""
    q = probabilities(similarities)
    of_zero = [sum(row[k] for k in hidden) for row in q]
    marks = labels.tolist()
    target = [zero if y == 0 else row[y] for row, zero, y in zip(q, of_zero, marks, strict=True)]
    channels, wanted = [of_zero], [[y == 0 for y in marks]]
    for k in sorted(set(marks) - {0}):
        channels.append([row[k] for row in q])
        wanted.append([y == k for y in marks])
    return -sum(map(math.log, target)) / len(target) + slow_dice(channels, wanted)


def test_fine_tuning_takes_label_0_for_background_and_nothing_else():
    scene = Scene("gallbladder")
    labels = of_new_only(scene)
    found = scene.terms(labels, NaiveLesson(scene.lesson)).total.detach()
    assert float(found) == pytest.approx(slow_loss(scene.similarities(), labels, [0]), rel=1e-4)


def test_lwf_adds_the_teachers_answer_among_old_classes():
    scene = Scene("gallbladder")
    labels = of_new_only(scene)
    found = scene.terms(labels, LwfLesson(scene.lesson))
    similarities = scene.similarities()
    q = probabilities(similarities[:, :KNOWN])
    p = probabilities(scene.answer.similarities)
    divergence = sum(
        a * math.log(a / b) for mine, its in zip(p, q, strict=True) for a, b in zip(mine, its, strict=True)
    ) / len(p)
    expected = slow_loss(similarities, labels, [0]) + WEIGHT * divergence
    assert float(found.total) == pytest.approx(expected, rel=1e-3)


def test_mib_lets_label_0_be_any_old_structure_and_the_old_background_any_new_one():
    scene = Scene("gallbladder")
    labels = of_new_only(scene)
    found = scene.terms(labels, MibLesson(scene.lesson))
    similarities = scene.similarities()
    q, p = probabilities(similarities), probabilities(scene.answer.similarities)
    matched = [[row[0] + sum(row[KNOWN:]), *row[1:KNOWN]] for row in q]
    divergence = sum(
        a * math.log(a / b) for mine, its in zip(p, matched, strict=True) for a, b in zip(mine, its, strict=True)
    ) / len(p)
    expected = slow_loss(similarities, labels, list(range(KNOWN))) + WEIGHT * divergence
    assert float(found.total) == pytest.approx(expected, rel=1e-3)


def test_mib_knows_that_an_old_structure_that_is_drawn_again_is_drawn_everywhere():
    scene = Scene("gallbladder", "liver")
    labels = of_new_only(scene)
    lesson = MibLesson(scene.lesson)
    found = scene.terms(labels, lesson)
    hidden = [k for k in range(KNOWN) if NAMES[k] != "liver"]
    expected = slow_loss(scene.similarities(), labels, hidden)
    assert float(found.focal + found.dice) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("lesson", [NaiveLesson, LwfLesson, MibLesson])
def test_only_the_student_learns(lesson):
    scene = Scene("gallbladder")
    scene.terms(of_new_only(scene), lesson(scene.lesson)).total.backward()
    assert all(p.grad is None for p in scene.lesson.teacher.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in scene.student.parameters())


def test_the_methods_of_an_update_change_the_lesson_and_nothing_else(a_plan):
    scene = Scene("gallbladder")
    lessons = {name: method.lesson(scene.lesson) for name, method in INCREMENTAL.items()}
    assert lessons["ours"] is lessons["ours-unlabelled"] is lessons["joint"] is scene.lesson
    assert {type(lessons[name]) for name in ("naive", "lwf", "mib")} == {NaiveLesson, LwfLesson, MibLesson}
    for method in INCREMENTAL.values():
        assert method.settings(SETTINGS) is SETTINGS
        assert method.plan(a_plan, {}) is a_plan
        assert method.network(a_plan, torch.zeros(1), {}) is None
        assert method.lesson(scene.first) is scene.first


def test_a_dynamic_head_is_the_convolutions_that_its_parameters_say():
    widths = (8, 8, 8, 2)
    random = torch.Generator().manual_seed(1)
    features = torch.randn(5, 8, generator=random)
    parameters = torch.randn(3, parameters_of(widths), generator=random)
    found = dynamic_head(features, parameters, widths)
    assert found.shape == (3, 5, 2)
    w1, w2, w3, b1, b2, b3 = parameters[1].split([64, 64, 16, 8, 8, 2])
    out = (features @ w1.reshape(8, 8) + b1).relu()
    out = (out @ w2.reshape(8, 8) + b2).relu()
    torch.testing.assert_close(found[1], out @ w3.reshape(8, 2) + b3)


def test_the_heads_have_as_many_parameters_as_in_their_papers():
    assert parameters_of((8, 8, 8, 2)) == 162
    assert parameters_of((8, 8, 8, 1)) == 153


def test_dodnets_answer_follows_its_task_code(a_plan, an_image):
    network = DoDNetNetwork(a_plan).eval()
    one, two = network.logits(an_image, torch.tensor([1, 2]))
    assert not torch.allclose(one, two)
    with torch.no_grad():  # without the code's weights every task is the same
        network.controller.weight[:, network.deepest.channels :] = 0
    one, two = network.logits(an_image, torch.tensor([1, 2]))
    torch.testing.assert_close(one, two)


def test_clip_drivens_answer_follows_its_text(a_plan, an_image):
    texts = {"liver": np.ones(32), "spleen": np.ones(32), "left kidney": -np.ones(32)}
    network = ClipDrivenNetwork(a_plan, texts).eval()
    liver, spleen, kidney = (network.logits(an_image, torch.tensor([a_plan.bank.index(name)]))[0] for name in texts)
    torch.testing.assert_close(liver, spleen)
    assert not torch.allclose(liver, kidney)


@pytest.mark.parametrize("kind", ["dodnet", "clip-driven"])
def test_the_head_is_made_from_the_deepest_feature_of_the_same_image(kind, a_plan, an_image):
    network = ALL[kind].network(a_plan, torch.zeros(1), {}).eval()
    network.logits(an_image, torch.tensor([1]))
    assert network.deepest.channels == 16
    assert network.deepest.output.shape[2:] == (2, 2, 2)  # two halvings of 8 voxels
    copied = copy.deepcopy(network)
    before = network.deepest.output
    copied.logits(an_image + 1, torch.tensor([1]))
    assert network.deepest.output is before
    assert not torch.equal(copied.deepest.output, before)


@pytest.mark.parametrize("kind", ["dodnet", "clip-driven"])
def test_masked_back_propagation_gives_no_gradient_to_what_is_not_annotated(kind, a_plan, an_image, some_labels):
    network = ALL[kind].network(a_plan, torch.zeros(1), {})
    said = annotating(a_plan, "liver")
    one = network.loss(an_image, some_labels, said).total
    elsewhere = torch.where(some_labels == a_plan.bank.index("spleen"), 0, some_labels)
    assert torch.equal(one, network.loss(an_image, elsewhere, said).total)
    if kind == "dodnet":
        one.backward()
        codes = network.controller.weight.grad[:, network.deepest.channels :]
        asked = codes.abs().amax(dim=0) > 0
        assert asked.tolist() == [name == "liver" for name in a_plan.bank.names[1:]]


def test_one_against_all_terms_equal_a_slow_formula():
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    labels = torch.tensor([0, 2, 5, 5, 1, 2])
    cross_entropy, dice = binary_terms(logits, labels, torch.tensor([2, 5]))
    answers = [[1 / (1 + math.exp(-x)) for x in row] for row in logits.tolist()]
    wanted = [[y == k for y in labels.tolist()] for k in (2, 5)]
    expected = -np.mean(
        [math.log(a if w else 1 - a) for row, want in zip(answers, wanted, strict=True)
         for a, w in zip(row, want, strict=True)]
    )  # fmt: skip
    assert float(cross_entropy) == pytest.approx(expected)
    assert float(dice) == pytest.approx(slow_dice(answers, wanted))


def test_the_plain_classifier_denies_what_is_not_drawn_and_versatile_does_not(a_plan, an_image):
    """A voxel labelled 0 where only the liver is annotated: may the network answer "spleen"?"""
    said, nothing = annotating(a_plan, "liver"), torch.zeros(SIDE**3, dtype=torch.int64)
    focal = {}
    for kind in (SoftmaxNetwork, VersatileNetwork):
        network = kind(a_plan)
        with torch.no_grad():
            network.head.bias[a_plan.bank.index("spleen")] = 30.0
        focal[kind] = float(network.loss(an_image, nothing, said).focal)
    assert focal[SoftmaxNetwork] > 10
    assert focal[VersatileNetwork] < 1e-3


@pytest.mark.parametrize("kind", ["softmax", "versatile", "dodnet", "clip-driven", "classifier-our-loss"])
def test_a_rival_answers_every_structure_of_every_voxel(kind, a_plan, an_image):
    network = ALL[kind].network(a_plan, torch.zeros(1), {}).eval()
    answers = network(an_image.expand(2, -1, -1, -1, -1))
    assert answers.shape == (2, SIDE, SIDE, SIDE, 5)
    assert float(answers.min()) >= 0 and float(answers.max()) <= 1
    if kind in ("dodnet", "clip-driven"):
        assert torch.equal(answers[..., 0], torch.full((2, SIDE, SIDE, SIDE), 0.5))
    else:
        torch.testing.assert_close(answers.sum(dim=-1), torch.ones(2, SIDE, SIDE, SIDE))


def test_without_a_prototype_everything_is_as_like_the_background(an_image):
    network = ThresholdNetwork("unet", 16, 32, channels=[16, 16, 16], residual_units=0)
    prototypes = torch.linalg.qr(torch.randn(32, 4))[0].T
    network.aim_at(prototypes)
    cosine = network.cosine()
    unit = cosine.unit(network(an_image)[0].flatten(0, 2))
    similarities = unit @ cosine.queries(prototypes).T
    torch.testing.assert_close(similarities[:, 0], torch.full((SIDE**3,), THRESHOLD))
    assert unit.shape[1] == network.features == 17
    plain = super(ThresholdNetwork, network).cosine().similarities(network(an_image)[0].flatten(0, 2), prototypes)
    torch.testing.assert_close(similarities[:, 1:], plain[:, 1:])


def test_text_prototypes_are_raw_or_orthogonal_and_in_either_order(a_plan):
    texts = {"liver": np.eye(32)[0] + 0.1, "spleen": np.eye(32)[1] + 0.1}
    names = set(a_plan.bank.names)
    raw = TextPrototypes("raw", "", orthogonalize=False).plan(a_plan, texts).bank
    own = raw.matrix[raw.index("liver")]
    assert own @ texts["liver"] == pytest.approx(np.linalg.norm(texts["liver"]))
    assert own @ raw.matrix[raw.index("spleen")] > 0.2
    for backwards in (False, True):
        bank = TextPrototypes("text", "", backwards=backwards).plan(a_plan, texts).bank
        assert set(bank.names) == names
        np.testing.assert_allclose(bank.matrix @ bank.matrix.T, np.eye(5), atol=1e-9)
        assert (bank.names[1] == a_plan.bank.names[-1]) == backwards
