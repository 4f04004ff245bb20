"""Distillation: what a frozen teacher knows, kept by the student that learns something new.

Background-aware, after "Modeling the Background for Incremental Learning in Semantic Segmentation" (MiB): what the
teacher calls background may be one of the new structures, so its background is matched to the student's background
and new structures together, and each old structure to itself. As prototypes are only ever appended, the teacher's are
the first of the student's.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from .network import FoldedCosine, PrototypeNetwork


def frozen(network: PrototypeNetwork) -> PrototypeNetwork:
    """A copy to be the teacher: in evaluation mode, and deaf to every gradient and optimizer."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def background_aware_distillation(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    overlaps: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean divergence of the student's answer from the teacher's, in the teacher's classes.

    It is the Kullback-Leibler divergence, which has the gradient of the method's cross-entropy and is 0 where the two
    agree.

    Args:
        student: (N, K' + 1) cosines of N voxels, background first, then the teacher's structures, then new ones.
        teacher: (N, K + 1) cosines of the same voxels, K <= K'; no gradient flows into them.
        temperature: tau of the softmax over cosines.
        overlaps: (K' + 1, K' + 1) bool, which structures overlap. Where the teacher sees an old structure, the new ones
            that overlap it do not compete with it; None lets all compete.
        weights: (N,) how much each voxel counts; None counts all alike.

    Raises:
        ValueError: the two are not of the same voxels, or the student knows less than the teacher.
    """
    if len(student) != len(teacher) or student.shape[1] < teacher.shape[1]:
        raise ValueError(f"a student's {tuple(student.shape)} cosines do not fit its teacher's {tuple(teacher.shape)}")
    known = teacher.shape[1]
    logits = student / temperature
    if overlaps is not None:
        left_out = overlaps[teacher.argmax(dim=1)]
        left_out[:, :known] = False
        logits = logits.masked_fill(left_out, -torch.inf)
    log_q = torch.log_softmax(logits, dim=1)
    background = torch.logsumexp(torch.cat([log_q[:, :1], log_q[:, known:]], dim=1), dim=1)
    matched = torch.cat([background[:, None], log_q[:, 1:known]], dim=1)
    return _divergence(teacher, matched, temperature, weights)


def plain_distillation(student: Tensor, teacher: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """Mean divergence from the teacher's answer among the teacher's classes alone, after "Learning without Forgetting".

    What the student gives to new structures is left out of its softmax, so it learns nothing of where these may be.

    Args:
        student, teacher, temperature, weights: as in `background_aware_distillation`.
    """
    log_q = torch.log_softmax(student[:, : teacher.shape[1]] / temperature, dim=1)
    return _divergence(teacher, log_q, temperature, weights)


def _divergence(teacher: Tensor, log_q: Tensor, temperature: float, weights: Tensor | None) -> Tensor:
    log_p = torch.log_softmax(teacher.detach() / temperature, dim=1)
    each = (log_p.exp() * (log_p - log_q)).sum(dim=1)
    return each.mean() if weights is None else (each * weights).sum() / weights.sum().clamp(min=1)


def feature_distillation(
    student: Tensor, teacher: Tensor, cosine: FoldedCosine, teacher_cosine: FoldedCosine, weights: Tensor | None = None
) -> Tensor:
    """Mean of 1 - cos(z^S, z^T) over voxels, computed in C channels: the numerator is f_S^T (M_S^T M_T) f_T.

    Args:
        student: (N, C) features f_S; gradients flow into them and into `cosine`.
        teacher: (N, C') features f_T of the same voxels; no gradient flows into them.
        cosine, teacher_cosine: the folded cosines of the two projections, of the same D.
        weights: (N,) how much each voxel counts, 0 where there is a new label; None counts all alike.

    Returns:
        0..2; 0 where no voxel counts.
    """
    with torch.no_grad():
        wanted = teacher_cosine.unit(teacher)
    between = cosine.projection.T @ teacher_cosine.projection.detach().to(cosine.projection)
    cosines = ((cosine.unit(student) @ between) * wanted.to(between)).sum(dim=1)
    if weights is None:
        return (1 - cosines).mean()
    return ((1 - cosines) * weights).sum() / weights.sum().clamp(min=1)
