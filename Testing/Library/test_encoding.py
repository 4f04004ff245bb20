from __future__ import annotations

import tempfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from CFSegmenterLib import encoding as encoding_module
from CFSegmenterLib.encoding import allocator
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.grid import ModelGrid
from CFSegmenterLib.volume import Volume
from Testing.Library.painted import (
    ORGANS,
    ORIENTATIONS,
    a_plain_model,
    an_affine,
    centers,
    painted_encoding,
    painted_features,
    random_features,
    reoriented,
)

OBLIQUE = an_affine((2.0, 3.0, 5.0), (1, 0, 2), (-1, 1, -1), degrees=(14, -9, 23), origin=(-60, 40, 300))
SHAPE = (18, 14, 9)
SPACING = (4.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def a_painted_model():
    return a_plain_model()


def blocks(shape, count: int = 4) -> np.ndarray:
    """Indices 0 to `count` in slabs along the last two axes, all of them present."""
    _, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return (y * 3 // shape[1] * 2 + (z * 2 // shape[2])) % (count + 1)


def an_identical_encoding(model, indices: np.ndarray | None = None):
    """On a volume whose grid is the model's."""
    indices = blocks((8, 9, 7)) if indices is None else indices
    return painted_encoding(model, indices, indices.shape, an_affine(SPACING), SPACING), indices


def a_random_encoding(model, shape=SHAPE, affine=OBLIQUE, spacing=SPACING, seed=0):
    grid = ModelGrid.fit(shape, affine, spacing)
    return painted_encoding(model, None, shape, affine, spacing, random_features(model, grid.shape, seed))


def all_similarities(encoding) -> np.ndarray:
    """(I, J, K, K + 1) float64 computed slowly: features at each of the volume's voxels, times prototypes."""
    channels = [encoding.grid.to_volume(encoding.features[..., c]) for c in range(encoding.features.shape[-1])]
    projection = encoding.model.network.projection.detach().double().numpy()
    return np.stack(channels, axis=-1).astype(np.float64) @ (encoding.model.bank.matrix @ projection).T


# --- similarity ---------------------------------------------------------------------------------------------


def test_a_structure_is_similar_to_itself_and_to_nothing_else(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    for index, name in enumerate(ORGANS, start=1):
        similarity = encoding.similarity(name)
        assert similarity.dtype == np.float32 and similarity.shape == indices.shape
        np.testing.assert_allclose(similarity, indices == index, atol=2e-3)


@pytest.mark.parametrize("spacing", [(1.5, 1.2, 2.5), (4.0, 4.0, 4.0), (9.0, 7.0, 8.0)])
def test_a_similarity_is_the_cosine_of_the_interpolated_feature(a_painted_model, spacing):
    encoding = a_random_encoding(a_painted_model, spacing=spacing)
    expected = all_similarities(encoding)
    for index, name in enumerate(ORGANS, start=1):
        np.testing.assert_allclose(encoding.similarity(name), expected[..., index], atol=2e-3)


def test_a_similarity_stays_between_minus_one_and_one(a_painted_model):
    encoding, _ = an_identical_encoding(a_painted_model)
    encoding.features[...] = encoding.features * np.float16(1.01)  # as rounding to half precision may do
    for name in ORGANS:
        assert np.abs(encoding.similarity(name)).max() <= 1


# --- segment ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_labels_come_back_voxel_for_voxel_in_every_orientation(a_painted_model, order, signs):
    painted = blocks((6, 7, 8))  # on the model's grid, which runs along R, A, S
    stored, affine = reoriented(painted, an_affine(SPACING, origin=(9, -8, 7)), order, signs)
    encoding = painted_encoding(a_painted_model, painted, stored.shape, affine, SPACING)
    segmentation = encoding.segment(ORGANS)
    for index, name in enumerate(ORGANS, start=1):
        np.testing.assert_array_equal(segmentation.mask(name), stored == index)


@pytest.mark.parametrize(
    "affine", [OBLIQUE, an_affine((2.0, 3.0, 5.0), (2, 0, 1), (1, -1, -1), (-20, 8, 5), (1, 2, 3))]
)
@pytest.mark.parametrize("spacing", [(1.7, 1.7, 1.7), (3.0, 4.0, 5.0)])
def test_what_lies_at_a_place_in_the_patient_is_labelled_there(a_painted_model, affine, spacing):
    shape = (22, 16, 14)
    grid = ModelGrid.fit(shape, affine, spacing)
    middle = centers(shape, affine).reshape(-1, 3).mean(axis=0) + np.array([3, -2, 4])  # off center: flips show

    def ball(of_shape, matrix):
        return np.linalg.norm(centers(of_shape, matrix) - middle, axis=-1) < 13

    encoding = painted_encoding(a_painted_model, 4 * ball(grid.shape, grid.affine), shape, affine, spacing)
    expected, found = ball(shape, affine), encoding.segment(["spleen"]).mask("spleen")
    assert found.shape == shape
    assert 2 * np.count_nonzero(found & expected) / (found.sum() + expected.sum()) > 0.88


@pytest.mark.parametrize("names, features", [(ORGANS, 16), (ORGANS, 3), (("liver",), 16)])
@pytest.mark.parametrize("spacing", [(2.0, 2.5, 3.0), (9.0, 7.0, 8.0), (2.0, 3.0, 5.0)])
def test_every_voxel_goes_to_the_most_similar_prototype(names, features, spacing):
    encoding = a_random_encoding(a_plain_model(names, features), spacing=spacing)
    similarities = all_similarities(encoding)
    ranked = np.sort(similarities, axis=-1)
    clear = ranked[..., -1] - ranked[..., -2] > 1e-3
    best = similarities.argmax(axis=-1)
    np.testing.assert_array_equal(encoding.best()[clear], best[clear])
    segmentation = encoding.segment(names)
    for index, name in enumerate(names, start=1):
        np.testing.assert_array_equal(segmentation.mask(name)[clear], best[clear] == index)
    np.testing.assert_allclose(encoding.margin(), ranked[..., -1] - ranked[..., -2], atol=2e-3)


@pytest.mark.parametrize("rows_bytes, block_values", [(1, 1), (3000, 7), (1 << 30, 1 << 30)])
@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (1.5, 1.7, 2.0), (3.0, 2.0, 5.0)])
def test_the_size_of_slabs_and_blocks_makes_no_difference(
    a_painted_model, monkeypatch, spacing, rows_bytes, block_values
):
    usual = a_random_encoding(a_painted_model, spacing=spacing)
    expected, margin = usual.segment(), usual.margin()
    monkeypatch.setattr(encoding_module, "ROWS_BYTES", rows_bytes)
    monkeypatch.setattr(encoding_module, "BLOCK_VALUES", block_values)
    other = a_random_encoding(a_painted_model, spacing=spacing)
    found = other.segment()
    for name in ORGANS:
        same = found.mask(name) == expected.mask(name)
        assert same.mean() > 0.9999 or same.all()
    np.testing.assert_allclose(other.margin(), margin, atol=1e-5)


def test_slabs_stay_small_where_the_model_is_much_finer_than_the_volume(a_painted_model, monkeypatch):
    monkeypatch.setattr(encoding_module, "ROWS_BYTES", 200_000)
    encoding = a_random_encoding(
        a_painted_model, shape=(12, 6, 6), affine=an_affine((8.0, 8.0, 8.0)), spacing=(2.0, 2.0, 2.0)
    )
    finest = 4 * 24 * 24 * 5 * 4  # the model's rows behind one of the volume's, as 5 similarities in float32
    slabs = list(encoding._slabs(encoding.grid.ordered_shape))
    assert [start for start, _ in slabs] == list(range(0, 12, max(1, 200_000 // finest)))


def test_asking_for_one_more_never_changes_another(a_painted_model):
    alone = {name: a_random_encoding(a_painted_model).segment([name]).mask(name) for name in ORGANS}
    encoding = a_random_encoding(a_painted_model)
    for asked in (ORGANS, ORGANS[::-1], ORGANS[1:3], ("spleen", "liver")):
        together = encoding.segment(asked)
        for name in asked:
            np.testing.assert_array_equal(together.mask(name), alone[name])


def test_what_was_taught_only_in_another_kind_of_scan_takes_no_voxel_of_what_is_at_home_here():
    at_home, guest = ORGANS[:-1], ORGANS[-1]
    record = a_plain_model().manifest.sources[0]
    sources = tuple(
        record.model_copy(update={"name": modality, "modality": modality, "structures": structures})
        for modality, structures in (("mr-t2", at_home), ("ct", (guest,)))
    )
    models = [a_plain_model(), a_plain_model(sources=sources)]
    alike, second = (a_random_encoding(model).segment(ORGANS) for model in models)
    lost = alike.mask(guest) & ~second.mask(guest)
    assert lost.any() and second.mask(guest).any()
    assert not np.any(second.mask(guest) & ~alike.mask(guest))
    for name in at_home:
        assert not np.any(alike.mask(name) & ~second.mask(name)), name
    regained = np.any([second.mask(name) & ~alike.mask(name) for name in at_home], axis=0)
    np.testing.assert_array_equal(regained, lost)


def test_structures_that_exclude_each_other_share_one_label_map(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    segmentation = encoding.segment(["spleen", "liver"])
    assert segmentation.names == ("spleen", "liver")
    (layer,) = segmentation.layers
    assert layer.dtype == np.uint8 and layer.flags.c_contiguous
    assert segmentation.places == {"spleen": (0, 1), "liver": (0, 2)}
    np.testing.assert_array_equal(layer, np.select([indices == 4, indices == 1], [1, 2], 0))
    assert segmentation.voxels("spleen") == np.count_nonzero(indices == 4)


def test_a_structure_that_is_not_there_is_answered_with_an_empty_mask(a_painted_model):
    encoding, _ = an_identical_encoding(a_painted_model, np.zeros((5, 6, 7), dtype=int))
    segmentation = encoding.segment(["liver"])
    assert not segmentation.mask("liver").any() and segmentation.voxels("liver") == 0


def test_a_structure_of_one_piece_keeps_its_largest_and_others_keep_all(a_painted_model):
    organ, other = ORGANS[0], ORGANS[1]
    indices = np.zeros((12, 9, 7), dtype=int)
    indices[1:5, 1:5, 1:5], indices[9:11, 1:3, 1:3] = 1, 1
    indices[1:4, 6:8, 1:5], indices[9:11, 6:8, 5:7] = 2, 2
    manifest = a_painted_model.manifest.model_copy(update={"one_piece": (organ,)})
    encoding, _ = an_identical_encoding(replace(a_painted_model, manifest=manifest), indices)
    found = encoding.segment([organ, other])
    kept = indices.copy()
    kept[9:11, 1:3, 1:3] = 0
    np.testing.assert_array_equal(found.mask(organ), kept == 1)
    np.testing.assert_array_equal(found.mask(other), indices == 2)
    np.testing.assert_array_equal(encoding.best(), kept)
    assert encoding.similarity(organ)[10, 2, 2] > 0.99, "the map still shows what was left out"


def test_an_encoding_counts_what_was_decided_among_its_bytes(a_painted_model):
    encoding, _ = an_identical_encoding(a_painted_model)
    before = encoding.nbytes
    assert before == encoding.features.nbytes
    encoding.segment(["liver"])
    assert encoding.nbytes == before + 2 * encoding.features[..., 0].size  # one contest, a uint16 a voxel


@pytest.mark.parametrize("apart", [False, True])
def test_a_tumor_that_was_drawn_beside_its_organ_takes_no_voxel_that_resembles_the_organ_more(apart):
    pair = ("liver", "liver tumor")
    model = a_plain_model(pair, told_apart=(pair,) if apart else ())
    resembled = model.bank.matrix @ model.network.projection.detach().double().numpy()
    features = np.zeros((6, 6, 6, model.network.features))
    features[1:5] = resembled[1] + 0.8 * resembled[2]  # an organ, which is somewhat like its tumor
    features[2:4] = 0.5 * resembled[1] + resembled[2]
    features[[0, 5]] = resembled[0]
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    encoding = painted_encoding(model, None, (6, 6, 6), np.eye(4), (1, 1, 1), features.astype(np.float16))
    found = encoding.segment(pair)
    liver, tumor = (np.unique(np.nonzero(found.mask(name))[0]).tolist() for name in pair)
    assert liver == [1, 2, 3, 4]
    assert tumor == ([2, 3] if apart else [1, 2, 3, 4])


def test_asking_for_nothing_in_particular_gives_everything_that_was_taught(a_painted_model):
    encoding, _ = an_identical_encoding(a_painted_model)
    assert encoding.segment().names == ORGANS
    nothing = encoding.segment([])
    assert nothing.names == () and nothing.layers == ()


def test_any_spelling_finds_a_structure_and_saying_it_twice_is_saying_it_once(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    segmentation = encoding.segment(["Kidney (left)", "left kidney", "LIVER", "kidney_right"])
    assert segmentation.names == ("left kidney", "liver", "right kidney")
    np.testing.assert_array_equal(segmentation.mask("left kidney"), indices == 3)


def test_a_structure_of_the_users_own_is_asked_for_by_its_own_name():
    encoding, indices = an_identical_encoding(a_plain_model(("liver", "my lesion 7")), blocks((6, 6, 6), 2))
    np.testing.assert_array_equal(encoding.segment(["My  Lesion 7"]).mask("my lesion 7"), indices == 2)


def test_a_structure_that_was_not_taught_is_answered_with_those_that_were(a_painted_model):
    encoding, _ = an_identical_encoding(a_painted_model)
    for ask in (encoding.similarity, lambda name: encoding.segment(["liver", name])):
        with pytest.raises(UserError, match=r"'painted' was not taught 'pancreas'.*it knows liver, right kidney"):
            ask("pancreas")
        with pytest.raises(UserError, match="did you mean spleen"):
            ask("spleeen")


def test_more_than_255_structures_fit_in_one_answer():
    names = tuple(f"finding {n}" for n in range(300))
    model = a_plain_model(names, features=8, dimension=320)
    encoding = a_random_encoding(model, shape=(6, 6, 6), affine=np.diag([4.0, 4.0, 4.0, 1.0]))
    segmentation = encoding.segment()
    (layer,) = segmentation.layers
    assert layer.dtype == np.uint16
    np.testing.assert_array_equal(layer, encoding.best())
    assert segmentation.places["finding 299"] == (0, 300)


def test_the_second_question_needs_no_second_decision(a_painted_model):
    encoding, _ = an_identical_encoding(a_painted_model)
    steps = []
    encoding.segment(["liver"], lambda *said: bool(steps.append(said)) or True)
    assert steps and steps[-1][0] == steps[-1][1]
    count = len(steps)
    encoding.segment(["spleen"], lambda *said: bool(steps.append(said)) or True)
    assert len(steps) == count


def test_a_cancelled_question_can_be_asked_again(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    for ask in (lambda p: encoding.segment(["liver"], p), encoding.best, encoding.margin):
        with pytest.raises(Cancelled):
            ask(lambda *_: False)
    np.testing.assert_array_equal(encoding.segment(["liver"]).mask("liver"), indices == 1)


# --- wholes and parts ---------------------------------------------------------------------------------------


def test_a_whole_is_the_union_of_its_parts_where_all_of_them_are_known(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    assert "kidney" in encoding.structures and encoding.structures[:4] == ORGANS
    segmentation = encoding.segment(["left kidney", "kidney", "liver"])
    kidneys = (indices == 2) | (indices == 3)
    np.testing.assert_array_equal(segmentation.mask("kidney"), kidneys)
    np.testing.assert_array_equal(segmentation.mask("left kidney"), indices == 3)
    np.testing.assert_array_equal(segmentation.mask("liver"), indices == 1)
    assert segmentation.places["kidney"][0] != segmentation.places["left kidney"][0]
    np.testing.assert_allclose(encoding.similarity("kidneys"), kidneys, atol=2e-3)


def test_a_whole_of_which_a_part_is_missing_is_not_made_up():
    model = a_plain_model(("liver", "left kidney"))
    encoding, _ = an_identical_encoding(model, blocks((6, 6, 6), 2))
    assert "kidney" not in encoding.structures
    with pytest.raises(UserError, match="was not taught 'kidney'"):
        encoding.segment(["kidney"])


def test_a_whole_that_was_taught_contains_its_parts():
    names = ("hippocampus", "anterior hippocampus", "spleen")
    encoding, indices = an_identical_encoding(a_plain_model(names), blocks((8, 9, 7), 3))
    # Nothing is quite unlike the background, so where a contest has no other winner the background wins.
    background = painted_features(encoding.model, np.zeros(indices.shape, dtype=int))
    encoding.features[...] = encoding.features * np.float16(0.9) + background * np.float16(0.1)
    segmentation = encoding.segment(names)
    np.testing.assert_array_equal(segmentation.mask("hippocampus"), (indices == 1) | (indices == 2))
    np.testing.assert_array_equal(segmentation.mask("anterior hippocampus"), indices == 2)
    np.testing.assert_array_equal(segmentation.mask("spleen"), indices == 3)
    np.testing.assert_array_equal(encoding.best() > 0, indices > 0)


def test_what_overlaps_another_member_of_a_contest_still_keeps_its_voxels():
    names = ("anterior hippocampus", "left amygdala", "left hippocampus")
    model = a_plain_model(names)
    reached = model.bank.matrix @ model.network.projection.detach().double().numpy()
    both = 0.8 * reached[3] + 0.6 * reached[2]  # left hippocampus before left amygdala; nothing anterior about it
    features = np.broadcast_to(both.astype(np.float16), (4, 5, 6, 16)).copy()
    encoding = painted_encoding(model, None, (4, 5, 6), an_affine(SPACING), SPACING, features)
    segmentation = encoding.segment(names)
    assert segmentation.mask("left hippocampus").all()
    assert not segmentation.mask("left amygdala").any() and not segmentation.mask("anterior hippocampus").any()
    assert np.all(encoding.best() == 3)
    np.testing.assert_allclose(encoding.margin(), 0.2, atol=2e-3)


def test_a_voxel_may_lie_in_two_structures_that_divide_a_whole_differently():
    names = ("left hippocampus", "right hippocampus", "anterior hippocampus", "posterior hippocampus")
    model = a_plain_model(names)
    with torch.no_grad():
        reached = (model.bank.matrix @ model.network.projection.double().numpy()).astype(np.float32)
    both = (reached[1] + reached[3]) / np.sqrt(2)  # left and anterior at once
    features = np.broadcast_to(both.astype(np.float16), (5, 5, 5, 16)).copy()
    encoding = painted_encoding(model, None, (5, 5, 5), an_affine(SPACING), SPACING, features)
    segmentation = encoding.segment(names)
    assert segmentation.mask("left hippocampus").all() and segmentation.mask("anterior hippocampus").all()
    assert not segmentation.mask("right hippocampus").any() and not segmentation.mask("posterior hippocampus").any()
    assert len(segmentation.layers) == 2


# --- probe and painted prototypes ---------------------------------------------------------------------------


def test_a_probe_ranks_what_lies_at_a_point(a_painted_model):
    painted = blocks((9, 8, 7))
    affine = an_affine(SPACING, (2, 0, 1), (-1, 1, -1), degrees=(10, 20, -15), origin=(-50, 20, 11))
    shape = tuple(np.array(painted.shape)[[2, 0, 1]])  # axis n of the volume runs along the patient's axis order[n]
    encoding = painted_encoding(a_painted_model, painted, shape, affine, SPACING)
    segmentation = encoding.segment()
    for index in ((0, 0, 0), (6, 8, 7), (3, 4, 1), (5, 1, 6)):
        ras = (affine @ np.append(index, 1))[:3]
        probe = encoding.probe(ras)
        assert [name for name, _ in probe.ranked] != [] and len(probe.ranked) == 5
        values = [value for _, value in probe.ranked]
        assert values == sorted(values, reverse=True) and values[0] == pytest.approx(1, abs=2e-3)
        found = next((name for name in ORGANS if segmentation.mask(name)[index]), "background")
        assert probe.ranked[0][0] == found


def test_a_probe_says_what_the_map_says_there(a_painted_model):
    encoding = a_random_encoding(a_painted_model, shape=(8, 9, 7), affine=an_affine(SPACING, origin=(5, 6, 7)))
    ranked = dict(encoding.probe((5 + 4 * 3, 6 + 4 * 2, 7 + 4 * 5)).ranked)
    for name in ORGANS:
        assert ranked[name] == pytest.approx(encoding.similarity(name)[3, 2, 5], abs=1e-5)


@pytest.mark.parametrize("point", [(-2.1, 0, 0), (0, 0, 26.1), (1e9, 0, 0), (np.nan, 0, 0), (0, np.inf, 0)])
def test_a_point_outside_is_refused(a_painted_model, point):
    encoding, _ = an_identical_encoding(a_painted_model)
    with pytest.raises(UserError, match="outside the volume"):
        encoding.probe(point)


def test_what_was_probed_can_be_looked_for_everywhere(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    index = tuple(np.argwhere(indices == 4)[0])
    query = encoding.probe(np.array(index) * 4.0).query
    np.testing.assert_allclose(encoding.similarity(query), indices == 4, atol=3e-3)
    assert np.linalg.norm(query.embedding) == pytest.approx(1, abs=1e-5) and query.embedding.shape == (32,)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_a_painted_example_finds_the_rest_of_the_structure(a_painted_model, dtype):
    encoding, indices = an_identical_encoding(a_painted_model)
    mask = np.zeros(indices.shape, dtype=dtype)
    painted = np.argwhere(indices == 2)[:5]
    mask[tuple(painted.T)] = 1
    query = encoding.prototype_from(mask, "what I mean")
    assert query.name == "what I mean"
    np.testing.assert_allclose(encoding.similarity(query), indices == 2, atol=3e-3)


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (1.6, 1.9, 2.2), (8.0, 9.0, 10.0)])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::9])
def test_a_painted_example_is_taken_from_its_place_in_any_geometry(a_painted_model, spacing, order, signs):
    shape = (24, 22, 20)
    affine = an_affine((3.0, 3.5, 4.0), order, signs, degrees=(5, 7, -11), origin=(3, -90, 14))
    grid = ModelGrid.fit(shape, affine, spacing)
    middle = centers(shape, affine).reshape(-1, 3).mean(axis=0) + np.array([6, -5, 8])

    def ball(of_shape, matrix, radius):
        return np.linalg.norm(centers(of_shape, matrix) - middle, axis=-1) < radius

    encoding = painted_encoding(a_painted_model, 3 * ball(grid.shape, grid.affine, 24), shape, affine, spacing)
    similarity = encoding.similarity(encoding.prototype_from(ball(shape, affine, 8)))
    assert similarity[ball(shape, affine, 12)].min() > 0.9
    assert similarity[~ball(shape, affine, 40)].max() < 0.1


def test_a_single_painted_voxel_is_enough_on_any_grid(a_painted_model):
    for spacing in ((1.0, 1.0, 1.0), (4.0, 4.0, 4.0), (11.0, 13.0, 9.0)):
        encoding = a_random_encoding(
            a_painted_model, shape=(9, 8, 7), affine=an_affine((4.0, 4.0, 4.0)), spacing=spacing
        )
        for index in ((0, 0, 0), (8, 7, 6), (4, 4, 3)):
            mask = np.zeros((9, 8, 7), dtype=bool)
            mask[index] = True
            query = encoding.prototype_from(mask)
            assert np.all(np.isfinite(query.embedding)) and np.linalg.norm(query.embedding) == pytest.approx(
                1, abs=1e-4
            )
            assert spacing[0] != 4.0 or encoding.similarity(query)[index] > 0.9


def test_a_painted_example_is_the_mean_of_the_features_under_it(a_painted_model):
    encoding = a_random_encoding(a_painted_model, shape=(6, 6, 6), affine=an_affine(SPACING))
    mask = np.random.default_rng(0).random((6, 6, 6)) < 0.2
    mean = encoding.features[mask].astype(np.float64).mean(axis=0)
    direction = a_painted_model.network.projection.detach().double().numpy() @ mean
    np.testing.assert_allclose(
        encoding.prototype_from(mask).embedding, direction / np.linalg.norm(direction), atol=1e-4
    )


def test_a_prototype_of_a_new_structure_can_be_appended_to_the_bank(a_painted_model):
    encoding = a_random_encoding(a_painted_model, shape=(6, 6, 6), affine=an_affine(SPACING))
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[2:4, 2:4, 2:4] = True
    query = encoding.prototype_from(mask, "cyst of mine")
    grown = a_painted_model.bank.append(query.name, query.embedding)
    np.testing.assert_array_equal(grown.matrix[:5], a_painted_model.bank.matrix)


def test_a_mask_that_is_empty_or_of_another_image_is_refused(a_painted_model):
    encoding, indices = an_identical_encoding(a_painted_model)
    with pytest.raises(UserError, match="empty"):
        encoding.prototype_from(np.zeros(indices.shape, dtype=bool))
    with pytest.raises(UserError, match=r"\(8, 9\).*\(8, 9, 7\)"):
        encoding.prototype_from(np.ones((8, 9), dtype=bool))
    with pytest.raises(UserError, match="paint on the volume that was encoded"):
        encoding.prototype_from(np.ones((9, 8, 7), dtype=bool))


# --- with a network -----------------------------------------------------------------------------------------


def test_a_scan_stored_in_another_order_is_labelled_alike(a_segmenter, a_small_volume):
    plain = a_segmenter.encode(a_small_volume).segment()
    assert plain.voxels("liver") > 100
    for order, signs in ORIENTATIONS[3::11]:
        array, affine = reoriented(a_small_volume.array, a_small_volume.affine, order, signs)
        turned = a_segmenter.encode(Volume.checked(array, affine, "mr-t2")).segment()
        for name in plain.names:
            expected, _ = reoriented(plain.mask(name), a_small_volume.affine, order, signs)
            np.testing.assert_array_equal(turned.mask(name), expected)


def test_an_encoding_in_a_file_answers_like_one_in_memory_and_leaves_nothing_behind(
    a_segmenter, a_small_volume, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    in_memory = a_segmenter.encode(a_small_volume)
    in_file = a_segmenter.encode(a_small_volume, memory_limit=0)
    assert isinstance(in_file.features, np.memmap) and not isinstance(in_memory.features, np.memmap)
    assert list(tmp_path.iterdir()) == [], "the file has no name even while it is used"
    np.testing.assert_array_equal(in_file.features, in_memory.features)
    np.testing.assert_array_equal(in_file.best(), in_memory.best())
    np.testing.assert_array_equal(in_file.margin(), in_memory.margin())
    np.testing.assert_array_equal(in_file.similarity("liver"), in_memory.similarity("liver"))
    mask = in_memory.segment(["liver"]).mask("liver")
    np.testing.assert_array_equal(in_file.prototype_from(mask).embedding, in_memory.prototype_from(mask).embedding)
    point = np.argwhere(mask)[0] @ a_small_volume.affine[:3, :3].T + a_small_volume.affine[:3, 3]
    assert in_file.probe(point).ranked == in_memory.probe(point).ranked
    del in_file
    assert list(tmp_path.iterdir()) == []


def test_an_encoding_that_fits_nowhere_is_refused_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(UserError, match="no room for the encoding"):
        allocator(0)((1 << 20, 1 << 20, 1 << 10, 32))
    assert list(tmp_path.iterdir()) == []


def test_what_fits_stays_in_memory():
    assert not isinstance(allocator(2 * 24)((2, 3, 4, 1)), np.memmap)
    in_file = allocator(2 * 24 - 1)((2, 3, 4, 1))
    assert isinstance(in_file, np.memmap) and in_file.dtype == np.float16 and in_file.shape == (2, 3, 4, 1)
    in_file[...] = 1.5
    assert np.all(in_file == np.float16(1.5))
