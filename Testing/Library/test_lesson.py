"""What an update teaches from a patch: the new annotation where there is one, the teacher's answer elsewhere."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from CFSegmenterLib.cases import Case
from CFSegmenterLib.hierarchy import overlap_matrix
from CFSegmenterLib.lesson import FirstLesson, IncrementalLesson
from CFSegmenterLib.losses import Annotation, first_stage_loss
from CFSegmenterLib.network import PrototypeNetwork
from CFSegmenterLib.patches import Patch
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.settings import DistillationSettings, LossSettings
from CFSegmenterLib.structures import Vocabulary

OLD, NEW = ("liver", "spleen"), "gallbladder"
NAMES = ("background", *OLD, NEW)
KNOWN = 1 + len(OLD)
SIDE = 8


def a_network(seed: int) -> PrototypeNetwork:
    torch.manual_seed(seed)
    network = PrototypeNetwork("dynunet", 16, 32, filters=[16, 16, 16]).eval()
    network.aim_at(prototypes())
    return network


def prototypes() -> torch.Tensor:
    bank = PrototypeBank.start(32)
    for name in NAMES[1:]:
        bank = bank.append(name)
    return torch.from_numpy(bank.as_float32())


class Scene:
    """A teacher, its student, and one patch of a source that annotates `annotated`."""

    def __init__(
        self,
        *annotated: str,
        student_seed: int = 1,
        loss: LossSettings | None = None,
        share: float = 1.0,
        **distillation,
    ):
        vocabulary = Vocabulary.load()
        case = Case(Path("image"), Path("labels"), "new", "ct", "1", "training", {}, annotated)
        self.said = Annotation.of(NAMES, annotated, (), vocabulary)
        self.loss = loss or LossSettings()
        self.first = FirstLesson([case], {("new", annotated): self.said}, prototypes(), self.loss)
        self.teacher, self.student = a_network(0), a_network(student_seed)
        overlaps = torch.tensor(overlap_matrix(NAMES, vocabulary))
        settings = DistillationSettings(**distillation)
        self.lesson = IncrementalLesson(
            self.first, self.teacher, KNOWN, overlaps, settings, contextlib.nullcontext(), share
        )
        self.image = torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
        self.answer = self.lesson.answer(self.image)

    def terms(self, labels: torch.Tensor | None = None, lesson=None):
        labels = torch.zeros(SIDE**3, dtype=torch.int64) if labels is None else labels
        patch = Patch(self.image[0], labels.reshape(SIDE, SIDE, SIDE), 0)
        features = self.student(self.image)[0].flatten(0, 2)
        return (lesson or self.lesson)(self.image, features, self.student.cosine(), patch)

    def similarities(self) -> torch.Tensor:
        return self.student.cosine().similarities(self.student(self.image)[0].flatten(0, 2), prototypes())


def test_beside_images_that_only_remind_a_new_annotation_weighs_as_much_as_without_them():
    alone, beside = Scene(NEW), Scene(NEW, share=0.5)
    reminder = Scene(share=0.5)
    labels = torch.zeros(SIDE**3, dtype=torch.int64)
    labels[: SIDE**2] = 3
    new = alone.terms(labels)
    kept = 10 * new.answers + new.features
    one = beside.terms(labels).total
    assert one.item() == pytest.approx((2 * (new.total - kept) + kept).item(), rel=1e-5)
    other = reminder.terms()
    mean = (one + other.total) / 2  # a step's: the annotated patch's own loss, and half of each patch's distillation
    expected = new.total - kept + (kept + 10 * other.answers + other.features) / 2
    assert mean.item() == pytest.approx(expected.item(), rel=1e-5)


def test_where_nothing_is_new_an_unannotated_image_asks_nothing_of_a_student_that_is_its_teacher():
    scene = Scene(student_seed=0, answers=10.0, features=1.0)
    scene.lesson.known = len(NAMES)
    terms = scene.terms()
    terms.total.backward()
    assert abs(float(terms.total.detach())) < 1e-4
    gradients = [p.grad.abs().max() for p in scene.student.parameters() if p.grad is not None]
    assert max(map(float, gradients)) < 1e-3


def test_an_image_without_annotation_draws_a_student_that_moved_back_to_its_teacher():
    scene = Scene()
    terms = scene.terms()
    assert terms.answers > 0.01 and terms.features > 0.01
    assert terms.focal == 0 and terms.dice == 0
    terms.total.backward()
    assert sum(float(p.grad.abs().sum()) for p in scene.student.parameters() if p.grad is not None) > 0


def test_the_total_is_the_first_stage_and_the_weighted_distillation():
    scene = Scene(NEW, answers=3.0, features=0.5)
    labels = torch.arange(SIDE**3) % 7 == 0
    terms = scene.terms(3 * labels.long())
    first = first_stage_loss(scene.similarities(), 3 * labels.long(), scene.said, scene.loss)
    torch.testing.assert_close(terms.total, first.total + 3.0 * terms.answers + 0.5 * terms.features)


def test_where_something_is_annotated_anew_the_teacher_is_not_asked():
    scene = Scene(NEW)
    labels = torch.zeros(SIDE**3, dtype=torch.int64)
    labels[: SIDE**3 // 2] = NAMES.index(NEW)
    before = scene.terms(labels).answers
    # Whatever the teacher says there makes no difference.
    answer = scene.answer
    answer.similarities[: SIDE**3 // 2] = torch.tensor([-1.0, 1.0, -1.0])
    answer.best[: SIDE**3 // 2] = 1
    scene.lesson.answer = lambda image: answer
    assert scene.terms(labels).answers == before


def test_label_0_overrules_a_teacher_that_sees_what_is_completely_annotated():
    # The liver is drawn completely here; where it is not drawn, a teacher that sees liver is wrong.
    scene = Scene("liver", NEW)
    answer = scene.answer
    answer.similarities[:] = torch.tensor([-1.0, 1.0, -1.0])
    answer.best[:] = 1
    scene.lesson.answer = lambda image: answer
    assert scene.terms().answers == 0
    # Of the spleen, which is not annotated, it may be right.
    answer.similarities[:] = torch.tensor([-1.0, -1.0, 1.0])
    answer.best[:] = 2
    assert scene.terms().answers > 0


def test_a_new_structure_is_free_to_take_background_but_plain_distillation_does_not_see_it_at_all():
    aware = Scene(NEW)
    plain = Scene(NEW, background_aware=False)
    for scene in (aware, plain):
        scene.answer.similarities[:] = torch.tensor([1.0, -1.0, -1.0])
        answer = scene.answer
        scene.lesson.answer = lambda image, answer=answer: answer
    assert aware.terms().answers != plain.terms().answers


def test_weighting_by_similarity_follows_the_teacher_most_where_it_is_surest():
    even, weighted = Scene(), Scene(similarity_weighted=True)
    weights = weighted.answer.similarities.amax(dim=1).clamp(min=0)
    student = even.similarities().detach()
    teacher = even.answer.similarities
    log_p, log_q = (torch.log_softmax(s / 0.1, dim=1) for s in (teacher, student))
    matched = torch.cat([torch.logsumexp(log_q[:, [0, 3]], dim=1, keepdim=True), log_q[:, 1:3]], dim=1)
    each = (log_p.exp() * (log_p - matched)).sum(dim=1)
    torch.testing.assert_close(even.terms().answers, each.mean(), rtol=1e-4, atol=1e-5)
    expected = (each * weights).sum() / weights.sum().clamp(min=1)
    torch.testing.assert_close(weighted.terms().answers, expected, rtol=1e-4, atol=1e-5)


def test_pseudo_labels_are_what_the_teacher_is_sure_of_and_nothing_else():
    scene = Scene(NEW, pseudo_labels=True, confidence=0.9, margin=0.2)
    answer = scene.answer
    answer.similarities[:] = torch.tensor([0.5, 0.45, 0.0])  # unsure, everywhere
    answer.best[:] = 0
    answer.similarities[:10] = torch.tensor([-0.5, 0.9, -0.5])  # sure of the liver in ten voxels
    answer.best[:10] = 1
    scene.lesson.answer = lambda image: answer
    labels = torch.zeros(SIDE**3, dtype=torch.int64)
    labels[20:40] = NAMES.index(NEW)
    found = scene.terms(labels)

    wanted = labels.clone()
    wanted[:10] = 1
    said = Annotation.of(NAMES, (NEW,), (), Vocabulary.load())
    said.annotated[1] = True
    first = first_stage_loss(scene.similarities(), wanted, said, scene.loss)
    torch.testing.assert_close(found.focal, first.focal)
    torch.testing.assert_close(found.dice, first.dice)


@pytest.mark.parametrize("annotated", [(), (NEW,), ("liver", NEW)])
def test_the_teacher_gets_no_gradient(annotated):
    scene = Scene(*annotated)
    scene.terms().total.backward()
    assert all(p.grad is None and not p.requires_grad for p in scene.lesson.teacher.parameters())
    assert all(p.grad is None for p in scene.teacher.parameters())


def test_a_part_that_is_new_may_lie_in_a_whole_that_is_known():
    names = ("background", "left hippocampus", "spleen", "anterior hippocampus")
    vocabulary = Vocabulary.load()
    scene = Scene(NEW)
    scene.lesson.overlaps = torch.tensor(overlap_matrix(names, vocabulary))
    answer = scene.answer
    answer.similarities[:] = torch.tensor([-0.5, 0.9, -0.5])
    answer.best[:] = 1
    scene.lesson.answer = lambda image: answer
    free = scene.terms().answers
    scene.lesson.overlaps = torch.zeros(4, 4, dtype=torch.bool)
    assert free < scene.terms().answers
