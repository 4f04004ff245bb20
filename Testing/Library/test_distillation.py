from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from CFSegmenterLib.distillation import background_aware_distillation, feature_distillation, frozen
from CFSegmenterLib.hierarchy import overlap_matrix
from CFSegmenterLib.network import FoldedCosine, PrototypeNetwork
from CFSegmenterLib.structures import Vocabulary


def cosines(count: int, classes: int, seed: int, dtype=torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, classes))).to(dtype)


def slow_mib(student, teacher, temperature: float) -> float:
    """MiB's distillation, voxel by voxel and class by class, less what no student can help: the teacher's entropy."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        student_powers = [math.exp(x / temperature) for x in s]
        teacher_powers = [math.exp(x / temperature) for x in t]
        q = [x / sum(student_powers) for x in student_powers]
        p = [x / sum(teacher_powers) for x in teacher_powers]
        matched = [q[0] + sum(q[len(p) :]), *q[1 : len(p)]]
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, matched, strict=True))
    return total / len(student)


@pytest.mark.parametrize("new", [0, 1, 3])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_it_equals_a_slow_loop_over_the_formula_of_mib(new, temperature):
    student, teacher = cosines(30, 5 + new, 1), cosines(30, 5, 2)
    found = background_aware_distillation(student, teacher, temperature)
    assert found.item() == pytest.approx(slow_mib(student, teacher, temperature), rel=1e-9)


def test_its_gradient_is_that_of_the_cross_entropy_with_the_teacher():
    student, teacher = cosines(20, 7, 3).requires_grad_(), cosines(20, 4, 4)
    found = torch.autograd.grad(background_aware_distillation(student, teacher, 0.1), student)[0]
    q = torch.softmax(student / 0.1, dim=1)
    matched = torch.cat([q[:, :1] + q[:, 4:].sum(dim=1, keepdim=True), q[:, 1:4]], dim=1)
    cross_entropy = -(torch.softmax(teacher / 0.1, dim=1) * matched.log()).sum(dim=1).mean()
    torch.testing.assert_close(found, torch.autograd.grad(cross_entropy, student)[0])


def test_it_is_never_negative_and_only_zero_where_both_agree():
    for seed in range(20):
        student, teacher = cosines(10, 6, seed), cosines(10, 4, 100 + seed)
        assert background_aware_distillation(student, teacher, 0.1) > 0
    assert background_aware_distillation(teacher, teacher, 0.1).item() == pytest.approx(0, abs=1e-12)


def test_a_new_structure_may_take_what_the_teacher_called_background_but_nothing_of_an_old_structure():
    teacher = torch.tensor([[0.9, -0.5, -0.5]])
    new = torch.tensor([[-0.5, -0.5, -0.5, 0.9]])
    assert background_aware_distillation(new, teacher, 0.1) < 1e-4

    teacher = torch.tensor([[-0.5, 0.9, -0.5]])
    assert background_aware_distillation(new, teacher, 0.1) > 5


def test_a_plain_distillation_would_forbid_the_new_structure():
    # What the background-aware one is for: without it, background that turned into a new structure costs much.
    teacher = torch.tensor([[0.9, -0.5, -0.5]])
    new = torch.tensor([[-0.5, -0.5, -0.5, 0.9]])
    p, log_q = torch.softmax(teacher / 0.1, 1), torch.log_softmax(new / 0.1, 1)[:, :3]
    assert (p * (p.log() - log_q)).sum() > 5


def test_a_part_that_is_new_does_not_compete_with_the_whole_that_is_known():
    names = ["background", "left hippocampus", "liver", "anterior hippocampus"]
    overlaps = torch.tensor(overlap_matrix(names, Vocabulary.load()))
    teacher = torch.tensor([[-0.5, 0.9, -0.5]])
    part = torch.tensor([[-0.5, 0.9, -0.5, 0.9]], requires_grad=True)
    found = background_aware_distillation(part, teacher, 0.1, overlaps)
    assert found < 1e-4
    assert torch.autograd.grad(found, part)[0][0, 3] == 0
    assert background_aware_distillation(part, teacher, 0.1) > 0.5

    liver = torch.tensor([[-0.5, -0.5, 0.9]])
    assert background_aware_distillation(part, liver, 0.1, overlaps) > 0.5


def test_what_is_known_keeps_competing_among_itself_even_where_it_overlaps():
    names = ["background", "left hippocampus", "anterior hippocampus"]
    overlaps = torch.tensor(overlap_matrix(names, Vocabulary.load()))
    student, teacher = cosines(20, 3, 5), cosines(20, 3, 6)
    with_overlaps = background_aware_distillation(student, teacher, 0.1, overlaps)
    torch.testing.assert_close(with_overlaps, background_aware_distillation(student, teacher, 0.1))


def test_extreme_cosines_give_finite_distillation_and_gradients():
    student = torch.tensor([[1.0, -1, -1, -1], [-1, -1, -1, 1], [0, 0, 0, 0]], requires_grad=True)
    teacher = torch.tensor([[-1.0, 1, -1], [1, -1, -1], [0, 0, 0]])
    for overlaps in (None, torch.ones(4, 4, dtype=torch.bool)):
        found = background_aware_distillation(student, teacher, 0.005, overlaps)
        assert torch.isfinite(found)
        assert torch.isfinite(torch.autograd.grad(found, student)[0]).all()


def test_no_gradient_flows_into_the_teacher():
    student, teacher = cosines(5, 4, 7).requires_grad_(), cosines(5, 3, 8).requires_grad_()
    background_aware_distillation(student, teacher, 0.1).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize(("student", "teacher"), [((4, 3), (4, 5)), ((4, 3), (5, 3))])
def test_a_student_that_knows_less_or_sees_other_voxels_is_refused(student, teacher):
    with pytest.raises(ValueError, match="do not fit"):
        background_aware_distillation(torch.zeros(student), torch.zeros(teacher), 0.1)


def two_projections(dimension: int = 64, channels: int = 8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(9)
    return [torch.randn(dimension, channels, generator=generator, dtype=dtype).requires_grad_() for _ in range(2)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_feature_distillation_equals_the_cosine_of_wide_embeddings(dtype, tolerance):
    mine, theirs = two_projections(dtype=dtype)
    features, wanted = cosines(50, 8, 10, dtype), cosines(50, 8, 11, dtype)
    embedded, followed = (f.double() @ m.double().T for f, m in ((features, mine), (wanted, theirs)))
    direct = torch.nn.functional.cosine_similarity(embedded, followed)
    found = feature_distillation(features, wanted, FoldedCosine(mine), FoldedCosine(theirs))
    assert found.item() == pytest.approx((1 - direct).mean().item(), abs=tolerance)

    counted = torch.arange(50) % 3 == 0
    found = feature_distillation(features, wanted, FoldedCosine(mine), FoldedCosine(theirs), counted)
    assert found.item() == pytest.approx((1 - direct)[counted].mean().item(), abs=tolerance)


def test_a_teacher_of_another_width_can_be_followed():
    mine, theirs = torch.randn(32, 8, dtype=torch.float64), torch.randn(32, 5, dtype=torch.float64)
    features, wanted = cosines(10, 8, 12), cosines(10, 5, 13)
    direct = torch.nn.functional.cosine_similarity(features @ mine.T, wanted @ theirs.T)
    found = feature_distillation(features, wanted, FoldedCosine(mine), FoldedCosine(theirs))
    assert found.item() == pytest.approx((1 - direct).mean().item(), abs=1e-10)


def test_feature_distillation_moves_the_student_and_not_the_teacher():
    mine, theirs = two_projections()
    features, wanted = cosines(10, 8, 14).requires_grad_(), cosines(10, 8, 15).requires_grad_()
    feature_distillation(features, wanted, FoldedCosine(mine), FoldedCosine(theirs)).backward()
    assert wanted.grad is None and theirs.grad is None
    assert features.grad.abs().sum() > 0 and mine.grad.abs().sum() > 0


def test_voxels_with_a_new_label_do_not_count_and_none_at_all_cost_nothing():
    mine, theirs = two_projections()
    features, wanted = cosines(10, 8, 16).requires_grad_(), cosines(10, 8, 17)
    counted = torch.arange(10) < 5
    feature_distillation(features, wanted, FoldedCosine(mine), FoldedCosine(theirs), counted).backward()
    assert features.grad[:5].abs().sum() > 0 and features.grad[5:].abs().sum() == 0

    nothing = feature_distillation(features, wanted, FoldedCosine(mine), FoldedCosine(theirs), counted & ~counted)
    assert nothing == 0
    nothing.backward()
    assert torch.isfinite(features.grad).all()


def test_features_of_length_zero_give_finite_gradients():
    mine, theirs = two_projections(dtype=torch.float32)
    features = torch.zeros(4, 8, requires_grad=True)
    found = feature_distillation(features, torch.zeros(4, 8), FoldedCosine(mine), FoldedCosine(theirs))
    found.backward()
    assert found == 1
    assert torch.isfinite(features.grad).all()


def test_a_frozen_copy_is_a_copy_in_evaluation_mode():
    network = PrototypeNetwork("dynunet", 16, 32, filters=[16, 16, 16]).train()
    teacher = frozen(network)
    assert not teacher.training and network.training
    assert all(p.requires_grad for p in network.parameters())
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = teacher(image)
        for parameter in network.parameters():
            parameter.add_(1)
        torch.testing.assert_close(teacher(image), before, rtol=0, atol=0)
    assert not teacher(image).requires_grad
