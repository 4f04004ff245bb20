from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

from CFSegmenterLib.losses import (
    Annotation,
    LossTerms,
    balancing_weights,
    dice_term,
    first_stage_loss,
    focal_term,
)
from CFSegmenterLib.network import FoldedCosine
from CFSegmenterLib.settings import LossSettings
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()
ABDOMEN = ["background", "liver", "spleen", "right kidney", "left kidney"]
BRAIN = ["background", "anterior hippocampus", "posterior hippocampus", "left hippocampus", "right hippocampus",
         "liver"]  # fmt: skip
a_loss = partial(LossSettings, balance=0.0, hidden=1.0, entropy=1.0)
"""Settings of the loss as the method has it, without the weights that experience gave some of its terms."""

ONLY_FOCAL = a_loss(dice=0, entropy=0, entropy_unannotated=0)


def an_annotation(names: list[str], annotated: list[str], absent: tuple[str, ...] = ()) -> Annotation:
    return Annotation.of(names, annotated, absent, VOCABULARY)


def some_cosines(count: int = 60, classes: int = 5, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    values = np.random.default_rng(seed).uniform(-1, 1, (count, classes))
    return torch.from_numpy(values).to(dtype).requires_grad_()


def some_labels(options: list[int], count: int = 60, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).choice(options, count))


def pushes(names: list[str], annotation: Annotation, label: str) -> dict[str, float]:
    """The gradient of one voxel's loss with respect to each of its similarities; it starts undecided."""
    similarities = torch.zeros(1, len(names), dtype=torch.float64, requires_grad=True)
    first_stage_loss(similarities, torch.tensor([names.index(label)]), annotation, ONLY_FOCAL).total.backward()
    return dict(zip(names, similarities.grad[0].tolist(), strict=True))


def test_a_labelled_voxel_is_pulled_to_its_structure_and_pushed_from_all_others():
    found = pushes(ABDOMEN, an_annotation(ABDOMEN, ["liver"]), "liver")
    assert found["liver"] < 0
    assert all(found[name] > 0 for name in ABDOMEN if name != "liver")


def test_a_voxel_labelled_0_is_pushed_only_from_what_its_source_annotates():
    found = pushes(ABDOMEN, an_annotation(ABDOMEN, ["liver", "spleen"]), "background")
    assert found["liver"] > 0 and found["spleen"] > 0
    for name in ("background", "right kidney", "left kidney"):
        assert found[name] < 0  # any of them may be the truth, so their sum is raised


def test_a_structure_outside_the_field_of_view_is_denied_like_an_annotated_one():
    found = pushes(ABDOMEN, an_annotation(ABDOMEN, ["liver"], ("spleen",)), "background")
    assert found["spleen"] > 0 and found["left kidney"] < 0


def test_absence_is_not_annotation():
    annotation = an_annotation(ABDOMEN, [], ("spleen",))
    assert annotation.annotated.tolist() == [False] * 5
    assert annotation.ambiguous.tolist() == [True, True, False, True, True]


def test_a_part_does_not_compete_with_what_it_overlaps():
    annotation = an_annotation(BRAIN, ["anterior hippocampus", "posterior hippocampus"])
    found = pushes(BRAIN, annotation, "anterior hippocampus")
    assert found["left hippocampus"] == 0 and found["right hippocampus"] == 0
    assert found["posterior hippocampus"] > 0 and found["liver"] > 0 and found["background"] > 0

    annotation = an_annotation(BRAIN, ["left hippocampus", "right hippocampus"])
    found = pushes(BRAIN, annotation, "left hippocampus")
    assert found["anterior hippocampus"] == 0 and found["posterior hippocampus"] == 0
    assert found["right hippocampus"] > 0


def test_a_part_competes_with_its_whole_where_they_are_drawn_beside_each_other():
    names = ("background", "liver", "liver tumor", "spleen")
    both = an_annotation(names, ["liver", "liver tumor"])
    assert pushes(names, both, "liver")["liver tumor"] > 0
    assert pushes(names, both, "liver tumor")["liver"] > 0
    for alone in (["liver"], ["liver tumor"]):
        assert not an_annotation(names, alone).excluded[1:3, 1:3].diagonal().any()
        assert an_annotation(names, alone).excluded[1, 2] and an_annotation(names, alone).excluded[2, 1]


def test_a_part_does_not_compete_in_any_term():
    everything = a_loss(dice=1, entropy=1)
    annotation = an_annotation(BRAIN, ["anterior hippocampus", "posterior hippocampus"])
    similarities = some_cosines(classes=6)
    labels = some_labels([1, 2])
    first_stage_loss(similarities, labels, annotation, everything).total.backward()
    assert (similarities.grad[:, [3, 4]] == 0).all()
    assert (similarities.grad[:, [0, 1, 2, 5]] != 0).all()


def test_a_voxel_outside_drawn_parts_is_not_in_the_whole_either():
    found = pushes(BRAIN, an_annotation(BRAIN, ["anterior hippocampus", "posterior hippocampus"]), "background")
    assert all(found[name] > 0 for name in BRAIN[1:5])
    found = pushes(BRAIN, an_annotation(BRAIN, ["anterior hippocampus"]), "background")
    assert found["anterior hippocampus"] > 0
    assert all(found[name] < 0 for name in ("posterior hippocampus", "left hippocampus", "right hippocampus"))


def test_masks_of_an_annotation_say_what_they_say():
    annotation = an_annotation(BRAIN, ["left hippocampus"])
    assert annotation.annotated.tolist() == [False, False, False, True, False, False]
    assert annotation.ambiguous.tolist() == [True, True, True, False, True, True]
    assert annotation.excluded[3].tolist() == [False, True, True, False, False, False]
    assert not annotation.excluded[0].any() and not annotation.excluded[:, 0].any()


def test_the_background_is_always_ambiguous_and_never_annotated():
    annotation = an_annotation(ABDOMEN, ABDOMEN[1:])
    assert annotation.ambiguous.tolist() == [True, False, False, False, False]
    assert annotation.annotated.tolist() == [False, True, True, True, True]
    assert an_annotation(ABDOMEN, ABDOMEN[1:], ("background",)).ambiguous.tolist() == [True, False, False, False, False]


def test_names_that_nobody_knows_are_annotated_like_others():
    names = ["background", "frobnicator", "liver"]
    annotation = an_annotation(names, ["frobnicator"])
    assert annotation.annotated.tolist() == [False, True, False]
    assert annotation.ambiguous.tolist() == [True, False, True]
    assert not annotation.excluded.any()


def test_an_annotation_moves_to_a_device_with_all_its_masks():
    moved = an_annotation(ABDOMEN, ["liver"]).to(torch.device("meta"))
    assert {moved.annotated.device.type, moved.ambiguous.device.type, moved.excluded.device.type} == {"meta"}


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_the_focal_term_is_the_mean_of_its_formula(gamma):
    p = np.array([0.999, 0.7, 0.1, 1e-6])
    wanted = np.mean(-((1 - p) ** gamma) * np.log(p))
    assert focal_term(torch.from_numpy(p).log(), gamma).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("certain", [0.0, 1e-7])
def test_a_certain_voxel_costs_nothing_even_where_rounding_makes_it_more_than_certain(gamma, certain):
    log_p = torch.tensor([certain], requires_grad=True)
    loss = focal_term(log_p, gamma)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(log_p.grad).all()


def test_a_hidden_structure_may_be_taken_for_less_likely_than_the_background():
    similarities, labels = some_cosines(), torch.zeros(60, dtype=torch.int64)
    annotation = an_annotation(ABDOMEN, ["liver", "spleen"])
    q = torch.softmax(similarities.detach() / 0.1, dim=1)
    for hidden in (1.0, 0.5, 0.01):
        terms = first_stage_loss(similarities, labels, annotation, a_loss(gamma=0, hidden=hidden))
        merged = q[:, 0] + hidden * (q[:, 3] + q[:, 4])
        assert terms.focal.item() == pytest.approx(-merged.log().mean().item(), rel=1e-6)

    def pulls(hidden: float) -> list[float]:
        undecided = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
        settings = a_loss(dice=0, entropy=0, hidden=hidden)
        first_stage_loss(undecided, labels[:1], annotation, settings).total.backward()
        return (-undecided.grad[0]).tolist()

    background, _, _, right, left = pulls(1.0)
    assert background == pytest.approx(right) == pytest.approx(left)
    background, _, _, right, left = pulls(0.5)
    assert background > right == pytest.approx(left)


def test_the_weight_of_hidden_structures_does_not_touch_labelled_voxels():
    similarities, labels = some_cosines(), torch.ones(60, dtype=torch.int64)
    annotation = an_annotation(ABDOMEN, ["liver"])
    one, other = (first_stage_loss(similarities, labels, annotation, a_loss(hidden=h)) for h in (1.0, 0.1))
    assert one.focal == other.focal


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_what_is_rare_in_a_patch_may_weigh_more(balance):
    similarities, annotation = some_cosines(), an_annotation(ABDOMEN, ["liver", "spleen"])
    labels = torch.tensor([0] * 49 + [1] * 9 + [2] * 2)
    q = torch.softmax(similarities.detach() / 0.1, dim=1)
    merged = [q[:, [0, 3, 4]].sum(dim=1), q[:, 1], q[:, 2]]
    means = [-merged[label][labels == label].log().mean().item() for label in range(3)]
    weights = [n ** (1 - balance) for n in (49, 9, 2)]
    wanted = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    found = first_stage_loss(similarities, labels, annotation, a_loss(gamma=0, balance=balance)).focal
    assert found.item() == pytest.approx(wanted, rel=1e-6)


def test_the_weights_of_voxels_sum_to_one_whatever_occurs():
    for labels in (torch.tensor([0]), torch.tensor([7, 7, 3]), torch.zeros(5, dtype=torch.int64)):
        for balance in (0.0, 0.3, 1.0):
            assert balancing_weights(labels, balance).sum().item() == pytest.approx(1)


def slow_dice(q: np.ndarray, labels: np.ndarray, ambiguous: list[int], annotated: list[int]) -> float:
    losses = []
    for channel in ["hidden", *annotated]:
        overlap = predicted = wanted = 0.0
        for voxel, label in zip(q, labels, strict=True):
            p = sum(voxel[k] for k in ambiguous) if channel == "hidden" else voxel[channel]
            t = float(label == 0) if channel == "hidden" else float(label == channel)
            overlap, predicted, wanted = overlap + p * t, predicted + p, wanted + t
        if channel == "hidden" or wanted:
            losses.append(1 - (2 * overlap + 1e-5) / (predicted + wanted + 1e-5))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("present", [[0, 1, 2], [0, 2], [1, 2], [0]])
def test_the_dice_term_equals_a_slow_loop_over_the_merged_channels(present):
    similarities, labels = some_cosines(), some_labels(present)
    terms = first_stage_loss(similarities, labels, an_annotation(ABDOMEN, ["liver", "spleen"]), a_loss())
    q = torch.softmax(similarities.detach() / 0.1, dim=1).numpy()
    assert terms.dice.item() == pytest.approx(slow_dice(q, labels.numpy(), [0, 3, 4], [1, 2]), rel=1e-9)


def test_a_perfect_answer_has_no_dice_loss():
    labels = torch.tensor([0, 0, 1, 2, 2])
    q = torch.nn.functional.one_hot(labels, 5).double()
    annotation = an_annotation(ABDOMEN, ["liver", "spleen"])
    assert dice_term(q, q[:, [0, 3, 4]].sum(dim=1), labels, annotation).item() == pytest.approx(0, abs=1e-9)


def test_what_was_drawn_in_part_is_learned_and_what_was_not_is_left_open():
    annotation = an_annotation(ABDOMEN, ["liver"])  # of the spleen, 2, a part was drawn
    similarities = torch.zeros(4, 5, requires_grad=True)
    labels = torch.tensor([2, 2, 0, 1])
    first_stage_loss(similarities, labels, annotation, a_loss(entropy=0)).total.backward()
    slope = similarities.grad
    assert (slope[:2, 2] < 0).all() and (slope[:2, [0, 1, 3, 4]] > 0).all()  # towards the spleen, where it was drawn
    assert slope[2, 2] == slope[2, 0] == slope[2, 3] < 0  # undrawn, it may be the spleen as well as background


def test_a_part_that_was_drawn_does_not_contradict_the_merged_channel():
    labels = torch.tensor([0, 0, 1, 2, 2])
    q = torch.nn.functional.one_hot(labels, 5).double()
    annotation = an_annotation(ABDOMEN, ["liver"])
    hidden = q[:, annotation.ambiguous].sum(dim=1)
    assert dice_term(q, hidden, labels, annotation).item() == pytest.approx(0, abs=1e-9)


def test_a_part_that_was_drawn_does_not_compete_with_the_whole_around_it():
    annotation = an_annotation(BRAIN, [])
    part, whole = (torch.tensor([BRAIN.index(n)]) for n in ("anterior hippocampus", "left hippocampus"))
    for one, other in ((part, whole), (whole, part)):
        similarities = torch.zeros(1, len(BRAIN), requires_grad=True)
        first_stage_loss(similarities, one, annotation, ONLY_FOCAL).total.backward()
        assert similarities.grad[0, other] == 0 and similarities.grad[0, one] < 0


def test_a_structure_without_a_voxel_in_the_patch_does_not_enter_the_dice_term():
    similarities, labels = some_cosines(), some_labels([0, 1])
    few = first_stage_loss(similarities, labels, an_annotation(ABDOMEN, ["liver"], ("spleen",)), a_loss())
    more = first_stage_loss(similarities, labels, an_annotation(ABDOMEN, ["liver", "spleen"]), a_loss())
    assert few.dice == more.dice


def test_the_entropy_term_is_the_mean_entropy():
    similarities, labels = some_cosines(), some_labels([0, 1])
    terms = first_stage_loss(similarities, labels, an_annotation(ABDOMEN, ["liver"]), a_loss())
    q = torch.softmax(similarities.detach() / 0.1, dim=1).numpy()
    assert terms.entropy.item() == pytest.approx(float(-(q * np.log(q)).sum(axis=1).mean()), rel=1e-9)

    annotation, nothing = an_annotation(ABDOMEN, ["liver"]), torch.zeros(3, dtype=torch.int64)
    undecided = first_stage_loss(torch.zeros(3, 5), nothing, annotation, a_loss())
    assert undecided.entropy.item() == pytest.approx(math.log(5), rel=1e-6)


def test_what_does_not_compete_has_no_part_in_the_entropy():
    annotation = an_annotation(BRAIN, ["anterior hippocampus", "posterior hippocampus"])
    found = first_stage_loss(torch.zeros(3, 6), torch.ones(3, dtype=torch.int64), annotation, a_loss())
    assert found.entropy.item() == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.parametrize(("annotated", "weight"), [(["liver"], 1.0), ([], 3.0)])
def test_entropy_weighs_more_where_nothing_is_annotated(annotated, weight):
    similarities, labels = some_cosines(), torch.zeros(60, dtype=torch.int64)
    terms = first_stage_loss(similarities, labels, an_annotation(ABDOMEN, annotated), a_loss())
    assert terms.total.item() == pytest.approx((terms.focal + terms.dice + weight * terms.entropy).item(), rel=1e-12)


def test_each_weight_is_used():
    similarities, labels, annotation = some_cosines(), some_labels([0, 1]), an_annotation(ABDOMEN, ["liver"])

    def total(**settings) -> float:
        return first_stage_loss(similarities, labels, annotation, a_loss(**settings)).total.item()

    terms = first_stage_loss(similarities, labels, annotation, a_loss())
    focal, dice, entropy = terms.focal.item(), terms.dice.item(), terms.entropy.item()
    assert total(dice=0, entropy=0) == pytest.approx(focal)
    assert total(dice=2, entropy=0.5, entropy_unannotated=7) == pytest.approx(focal + 2 * dice + 0.5 * entropy)
    assert total(gamma=0) > total(gamma=2)
    assert total(temperature=1.0) != pytest.approx(total(temperature=0.1), rel=0.1)


EXTREMES = {
    "all one": torch.ones(6, 6),
    "all minus one": -torch.ones(6, 6),
    "zero": torch.zeros(6, 6),
    "certain and right": 2 * torch.eye(6) - 1,
    "certain and wrong": 2 * torch.eye(6).flip(0) - 1,
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("temperature", [1e-3, 0.1])
def test_extreme_similarities_give_a_finite_loss_and_finite_gradients(name, gamma, temperature):
    settings = a_loss(gamma=gamma, temperature=temperature, hidden=0.5, balance=0.5)
    for annotated in ([], ["anterior hippocampus", "posterior hippocampus"], ["left hippocampus", "right hippocampus"]):
        annotation = an_annotation(BRAIN, annotated)
        drawn = [0, *(BRAIN.index(n) for n in annotated)]
        for labels in (torch.tensor([drawn[i % len(drawn)] for i in range(6)]), torch.full((6,), drawn[-1])):
            similarities = EXTREMES[name].clone().requires_grad_()
            terms = first_stage_loss(similarities, labels, annotation, settings)
            terms.total.backward()
            for tensor in (terms.total, terms.focal, terms.dice, terms.entropy, similarities.grad):
                assert torch.isfinite(tensor).all()


def test_a_patch_of_one_voxel_and_one_of_a_single_structure_are_fine():
    annotation = an_annotation(ABDOMEN, ["liver"])
    for labels in (torch.tensor([1]), torch.tensor([0]), torch.ones(50, dtype=torch.int64)):
        similarities = some_cosines(len(labels))
        first_stage_loss(similarities, labels, annotation, a_loss()).total.backward()
        assert torch.isfinite(similarities.grad).all()


@pytest.mark.parametrize("annotated", [[], ["liver"], ["anterior hippocampus", "posterior hippocampus"]])
def test_the_gradient_is_the_slope(annotated):
    annotation = an_annotation(BRAIN, annotated)
    labels = torch.tensor([0, *(BRAIN.index(n) for n in annotated), 0])
    similarities = some_cosines(len(labels), 6)
    settings = a_loss(temperature=0.5)
    assert torch.autograd.gradcheck(lambda s: first_stage_loss(s, labels, annotation, settings).total, similarities)


def test_the_gradient_is_the_slope_down_to_features_and_projection():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    projection = torch.randn(8, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    prototypes = torch.eye(8, dtype=torch.float64)[:5]
    labels, annotation = torch.tensor([0, 1, 1, 2, 0, 2]), an_annotation(ABDOMEN, ["liver", "spleen"])

    def loss(features, projection):
        similarities = FoldedCosine(projection).similarities(features, prototypes)
        return first_stage_loss(similarities, labels, annotation, a_loss(temperature=0.5)).total

    assert torch.autograd.gradcheck(loss, (features, projection))


def test_single_precision_gives_nearly_the_same_loss():
    labels, annotation = some_labels([0, 1, 2]), an_annotation(ABDOMEN, ["liver", "spleen"])
    exact = first_stage_loss(some_cosines(), labels, annotation, a_loss()).total.item()
    found = first_stage_loss(some_cosines(dtype=torch.float32), labels, annotation, a_loss()).total
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact, rel=1e-5)


def test_the_order_of_voxels_does_not_matter():
    similarities, labels = some_cosines().detach(), some_labels([0, 1, 2])
    annotation, order = an_annotation(ABDOMEN, ["liver", "spleen"]), torch.randperm(60)
    one = first_stage_loss(similarities, labels, annotation, a_loss()).total
    other = first_stage_loss(similarities[order], labels[order], annotation, a_loss()).total
    torch.testing.assert_close(one, other)


def test_following_the_gradient_decides_every_voxel_as_it_is_labelled():
    annotation = an_annotation(ABDOMEN, ["liver", "spleen"])
    labels = some_labels([0, 1, 2])
    logits = some_cosines(seed=3).detach().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        first_stage_loss(torch.tanh(logits), labels, annotation, a_loss()).total.backward()
        optimizer.step()
    winners = logits.argmax(dim=1)
    assert torch.equal(winners[labels > 0], labels[labels > 0])
    assert not torch.isin(winners[labels == 0], torch.tensor([1, 2])).any()


def test_terms_are_averaged_term_by_term_and_without_gradient():
    def terms(offset: float) -> LossTerms:
        return LossTerms(*(torch.tensor(offset + n, requires_grad=True) for n in range(4)))

    mean = terms(0.0).detached().plus(terms(2.0)).over(2)
    assert [t.item() for t in (mean.total, mean.focal, mean.dice, mean.entropy)] == [1, 2, 3, 4]
    assert not mean.total.requires_grad
