from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.evaluation import (
    ImpossibleAnswer,
    Score,
    dice,
    evaluate_cases,
    evaluate_fully,
    impossible_structures,
    spread,
    summarize,
    summarize_impossible,
    surface_distance,
)
from CFSegmenterLib.structures import Vocabulary


def a_score(structure="liver", source="here", case=0, dice=0.9, distance=1.0, false_positive=False) -> Score:
    return Score(structure, source, "mr-t2", case, dice, distance, false_positive)


def a_ball(shape, middle, radius) -> np.ndarray:
    away = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) - np.asarray(middle)
    return np.linalg.norm(away, axis=-1) < radius


def surface_points(mask: np.ndarray, spacing) -> np.ndarray:
    """(n, 3) mm of every voxel of a mask that has a face towards the outside, found voxel by voxel."""
    padded = np.pad(mask, 1)
    inside = np.ones(mask.shape, dtype=bool)
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return np.argwhere(mask & ~inside) * np.asarray(spacing)


def slow_surface_distance(truth: np.ndarray, answer: np.ndarray, spacing) -> float:
    """The definition: the mean, over both surfaces, of the distance to the nearest point of the other one."""
    one, other = surface_points(truth, spacing), surface_points(answer, spacing)
    between = np.linalg.norm(one[:, None] - other[None], axis=-1)
    return float(np.concatenate([between.min(axis=1), between.min(axis=0)]).mean())


# --- measures -----------------------------------------------------------------------------------------------


def test_dice_counts_the_overlap_twice():
    truth, answer = np.zeros((4, 4, 4), dtype=bool), np.zeros((4, 4, 4), dtype=bool)
    truth[0], answer[0, :2] = True, True
    assert dice(truth, answer) == pytest.approx(2 * 8 / (16 + 8))
    assert dice(truth, truth) == 1
    assert dice(truth, ~truth) == 0


def test_dice_of_nothing_is_no_number_but_a_missed_structure_scores_zero():
    nothing, something = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert dice(nothing, nothing) is None
    assert dice(something, nothing) == dice(nothing, something) == 0


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 4.9), (5.0, 0.5, 2.0)])
@pytest.mark.parametrize("seed", range(4))
def test_the_surface_distance_is_that_of_the_definition(spacing, seed):
    random = np.random.default_rng(seed)
    shape = (14, 12, 11)
    truth = a_ball(shape, random.uniform(2, 9, 3), 4)  # some of them touch the edge of the image
    answer = a_ball(shape, random.uniform(2, 9, 3), 3) | (random.random(shape) < 0.01)
    found = surface_distance(truth, answer, spacing)
    assert found == pytest.approx(slow_surface_distance(truth, answer, spacing), rel=1e-4)
    assert found == pytest.approx(surface_distance(answer, truth, spacing), rel=1e-6), "symmetric"


def test_a_structure_that_fills_the_image_has_its_surface_at_the_edge():
    truth, answer = np.ones((6, 7, 8), dtype=bool), np.ones((6, 7, 8), dtype=bool)
    answer[:, :, 6:] = False
    expected = slow_surface_distance(truth, answer, (1.0, 1.0, 3.0))
    assert surface_distance(truth, answer, (1.0, 1.0, 3.0)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("axis, spacing", [(0, 0.7), (1, 1.3), (2, 4.9)])
def test_a_sheet_that_is_moved_is_as_far_away_as_it_was_moved(axis, spacing):
    truth = np.zeros((12, 12, 12), dtype=bool)
    truth[(slice(None),) * axis + (3,)] = True
    answer = np.roll(truth, 4, axis)
    assert surface_distance(truth, answer, (0.7, 1.3, 4.9)) == pytest.approx(4 * spacing, rel=1e-5)


def test_two_single_voxels_are_apart_by_their_distance_in_mm():
    truth, answer = np.zeros((9, 9, 9), dtype=bool), np.zeros((9, 9, 9), dtype=bool)
    truth[1, 2, 3] = answer[4, 6, 3] = True
    assert surface_distance(truth, answer, (1.0, 2.0, 3.0)) == pytest.approx(np.hypot(3, 8), rel=1e-5)


def test_the_same_mask_is_at_no_distance():
    mask = a_ball((12, 12, 12), (6, 6, 6), 4)
    assert surface_distance(mask, mask.copy(), (1.0, 2.0, 3.0)) == 0


def test_there_is_no_distance_to_nothing():
    nothing, something = np.zeros((5, 5, 5), dtype=bool), a_ball((5, 5, 5), (2, 2, 2), 2)
    for pair in ((nothing, something), (something, nothing), (nothing, nothing)):
        assert surface_distance(*pair, (1.0, 1.0, 1.0)) is None


def test_the_room_around_a_structure_makes_no_difference():
    truth, answer = a_ball((11, 11, 11), (5, 5, 5), 3.5), a_ball((11, 11, 11), (6, 5, 4), 3)
    wide = [np.pad(mask, ((30, 5), (0, 17), (9, 9))) for mask in (truth, answer)]
    assert surface_distance(*wide, (1.0, 2.0, 3.0)) == pytest.approx(surface_distance(truth, answer, (1.0, 2.0, 3.0)))


# --- cases --------------------------------------------------------------------------------------------------


@pytest.fixture
def validation_cases(a_small_source):
    return read_case_lists([a_small_source])[0].of("validation")


def test_cases_are_scored_as_a_user_would_see_them(a_segmenter, validation_cases):
    scores = evaluate_cases(a_segmenter, validation_cases)
    assert len(scores) == 2 * 4
    assert {(s.case, s.structure) for s in scores} == {(c, n) for c in range(2) for n in validation_cases[0].annotated}
    assert all(s.source == "phantom_small" and s.modality == "mr-t2" for s in scores)
    assert all(0 <= s.dice <= 1 and not s.false_positive for s in scores)
    assert all(s.distance is None or 0 <= s.distance < 100 for s in scores)
    assert all(s.dice > 0.5 and s.distance < 20 for s in scores if s.structure == "liver")


def test_a_score_is_that_of_the_answer_against_the_labels(a_segmenter, validation_cases):
    from CFSegmenterLib.prepared import load_case

    case = validation_cases[0]
    volume, labels = load_case(case)
    answer = a_segmenter.encode(volume).segment(["liver"]).mask("liver")
    truth = labels == next(value for value, name in case.values.items() if name == "liver")
    (score,) = [s for s in evaluate_cases(a_segmenter, [case]) if s.structure == "liver"]
    assert score.dice == pytest.approx(dice(truth, answer))
    assert score.distance == pytest.approx(surface_distance(truth, answer, volume.spacing))


def test_distances_are_left_out_where_they_are_not_asked_for(a_segmenter, validation_cases):
    assert all(s.distance is None for s in evaluate_cases(a_segmenter, validation_cases[:1], distances=False))


def test_only_what_is_annotated_is_scored(a_segmenter, validation_cases):
    case = replace(validation_cases[0], annotated=("spleen", "liver"))
    assert [s.structure for s in evaluate_cases(a_segmenter, [case], distances=False)] == ["spleen", "liver"]


def test_what_the_model_was_not_taught_is_not_scored(a_segmenter, validation_cases):
    case = replace(validation_cases[0], values={**validation_cases[0].values, 9: "pancreas"}, annotated=("pancreas",))
    assert evaluate_cases(a_segmenter, [case], distances=False) == []


def test_label_values_of_one_name_are_one_structure(a_segmenter, validation_cases):
    case = validation_cases[0]
    both = replace(case, values={**case.values, 77: "liver"})
    plain = evaluate_cases(a_segmenter, [case], distances=False)
    assert evaluate_cases(a_segmenter, [both], distances=False) == plain


def test_what_is_labelled_as_a_part_belongs_to_the_whole(a_segmenter, validation_cases, tmp_path):
    case = validation_cases[0]
    labels = nibabel.load(case.labels)
    voxels = np.asarray(labels.dataobj).copy()
    voxels[::2][voxels[::2] == 1] = 9
    nibabel.save(nibabel.Nifti1Image(voxels, labels.affine, labels.header), tmp_path / "labels.nii.gz")
    with_tumors = replace(case, labels=tmp_path / "labels.nii.gz", values={**case.values, 9: "liver tumor"})
    plain = evaluate_cases(a_segmenter, [case], distances=False)
    assert evaluate_cases(a_segmenter, [with_tumors], distances=False) == plain


def test_a_structure_that_is_not_in_the_labels_is_an_invention_or_nothing(a_segmenter, validation_cases, tmp_path):
    case = validation_cases[0]
    labels = nibabel.load(case.labels)
    emptied = np.where(np.asarray(labels.dataobj) == 1, 0, np.asarray(labels.dataobj)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(emptied, labels.affine, labels.header), tmp_path / "labels.nii.gz")
    scores = evaluate_cases(a_segmenter, [replace(case, labels=tmp_path / "labels.nii.gz")])
    (liver,) = [s for s in scores if s.structure == "liver"]
    assert liver.dice == 0 and liver.distance is None and liver.false_positive


def test_an_evaluation_reports_each_case_and_can_be_cancelled(a_segmenter, validation_cases):
    said = []
    evaluate_cases(
        a_segmenter, validation_cases, distances=False, progress=lambda *step: bool(said.append(step[:2])) or True
    )
    assert list(dict.fromkeys(said)) == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(Cancelled):
        evaluate_cases(a_segmenter, validation_cases, progress=lambda done, *_: done < 1)


def test_an_evaluation_can_be_cancelled_in_the_middle_of_a_case(a_segmenter, validation_cases):
    said = []
    with pytest.raises(Cancelled):
        evaluate_cases(a_segmenter, validation_cases, progress=lambda *step: bool(said.append(step)) or len(said) < 4)
    assert said == [(0, 2, "case 1 of 2")] * 4


def test_a_case_that_cannot_be_read_ends_the_evaluation_in_a_sentence(a_segmenter, validation_cases, tmp_path):
    with pytest.raises(UserError):
        evaluate_cases(a_segmenter, [replace(validation_cases[0], image=tmp_path / "gone.nii.gz")])


def test_what_an_image_cannot_contain_is_asked_for_too(a_segmenter, validation_cases):
    case = validation_cases[0]
    nowhere = replace(case, values={1: "left hippocampus"}, annotated=())
    manifest, vocabulary = a_segmenter.model.manifest, Vocabulary.load()
    assert impossible_structures(manifest, case, vocabulary) == ()
    brain = replace(case, values={1: "left hippocampus"}, annotated=("left hippocampus",), source="elsewhere")
    assert set(impossible_structures(manifest, brain, vocabulary)) == set(manifest.structures)
    assert impossible_structures(manifest, replace(nowhere, source="elsewhere"), vocabulary) == ()
    scores, answers = evaluate_fully(a_segmenter, [case], distances=False, impossible=True)
    assert len(scores) == 4 and answers == []


# --- summaries ----------------------------------------------------------------------------------------------


def test_a_summary_is_the_mean_over_cases_and_then_over_structures():
    scores = [
        a_score("liver", case=0, dice=0.9, distance=1.0),
        a_score("liver", case=1, dice=0.7, distance=3.0),
        a_score("spleen", case=0, dice=0.4, distance=None),
    ]
    summary = summarize(scores)
    assert [(row["structure"], row["cases"]) for row in summary["structures"]] == [("liver", 2), ("spleen", 1)]
    assert summary["structures"][0]["dice"] == pytest.approx(0.8)
    assert summary["structures"][0]["distance_mm"] == pytest.approx(2.0)
    assert summary["structures"][1]["distance_mm"] is None
    source = summary["sources"]["here"]
    assert source["dice"] == pytest.approx(0.6) and source["distance_mm"] == pytest.approx(2.0)
    assert source["cases"] == 2 and source["structures"] == 2 and source["modality"] == "mr-t2"


def test_a_structure_that_was_neither_there_nor_found_does_not_count():
    scores = [a_score(case=0, dice=None, distance=None), a_score(case=1, dice=0.5)]
    (row,) = summarize(scores)["structures"]
    assert row["dice"] == pytest.approx(0.5) and row["cases"] == 1 and row["false_positives"] == 0


def test_inventions_are_counted():
    scores = [a_score(case=n, dice=0.0, distance=None, false_positive=n < 2) for n in range(3)]
    assert summarize(scores)["structures"][0]["false_positives"] == 2


def test_sources_are_kept_apart():
    scores = [a_score(source="here", dice=1.0), a_score(source="there", dice=0.2)]
    summary = summarize(scores)
    assert {name: row["dice"] for name, row in summary["sources"].items()} == {"here": 1.0, "there": pytest.approx(0.2)}
    assert len(summary["structures"]) == 2


def test_nothing_sums_up_to_nothing():
    assert summarize([]) == {"structures": [], "sources": {}}
    assert summarize_impossible([]) == []


def test_impossible_answers_are_summed_up_by_source():
    answers = [
        ImpossibleAnswer("liver", "brain", "mr-t1", 0, 2.0),
        ImpossibleAnswer("spleen", "brain", "mr-t1", 0, 0.0),
        ImpossibleAnswer("liver", "brain", "mr-t1", 1, 4.0),
        ImpossibleAnswer("spleen", "brain", "mr-t1", 1, 0.0),
        ImpossibleAnswer("liver", "heart", "mr-cine", 2, 0.0),
    ]
    brain, heart = summarize_impossible(answers)
    assert brain["source"] == "brain" and brain["structures"] == 2 and brain["cases"] == 2
    assert brain["ml_per_case"] == pytest.approx(3.0) and brain["found"] == pytest.approx(0.5)
    assert brain["worst"] == "liver"
    assert heart["worst"] is None and heart["ml_per_case"] == 0 and heart["found"] == 0


@pytest.mark.parametrize(
    ("annotated", "order"),
    [
        ([], []),
        ([("liver",), ("liver",), ("liver", "spleen"), ("gallbladder",)], [2, 3, 0, 1]),
        ([(), ("liver",)], [1, 0]),
    ],
)
def test_the_beginning_of_spread_cases_shows_every_structure(annotated, order):
    assert spread(annotated) == order
