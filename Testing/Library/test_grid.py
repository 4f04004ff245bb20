from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from CFSegmenterLib.grid import ModelGrid, Taps, axis_weights, nearest_axes, resample
from Testing.Library.painted import ORIENTATIONS, an_affine, centers, reoriented

GEOMETRIES = {
    "plain": an_affine((1.0, 1.0, 1.0)),
    "left-handed": an_affine((1.5, 1.5, 4.0), signs=(-1, 1, 1)),
    "as DICOM": an_affine((0.8, 0.8, 3.0), signs=(-1, -1, 1), origin=(120, 95, -700)),
    "sagittal slices": an_affine((1.1, 0.9, 2.5), order=(1, 2, 0), origin=(-30, 12, 55)),
    "coronal, flipped": an_affine((0.7, 1.9, 5.0), order=(2, 0, 1), signs=(-1, 1, -1), origin=(7, 8, 9)),
    "oblique": an_affine((1.3, 0.8, 3.1), degrees=(20, -13, 31), origin=(-123.4, 77.7, -999.1)),
    "oblique, left-handed": an_affine((2.0, 1.2, 0.9), (0, 2, 1), (1, -1, 1), (-25, 17, 9), (300, -200, 100)),
}
SHAPE = (14, 16, 12)
SLOPE = np.array([0.31, -0.57, 0.83])

affines = st.builds(
    an_affine,
    st.tuples(*[st.floats(0.3, 9)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from((1, -1))] * 3),
    st.tuples(*[st.floats(-44, 44)] * 3),
    st.tuples(*[st.floats(-500, 500)] * 3),
)


def a_ramp(shape, affine) -> np.ndarray:
    """An image whose value is a linear function of the place in the patient."""
    return (centers(shape, affine) @ SLOPE).astype(np.float32)


def box_corners(shape, affine) -> np.ndarray:
    """(8, 3) RAS of the corners of the box that the voxels fill, in an order of their own."""
    ends = np.array(list(product(*[(-0.5, n - 0.5) for n in shape])))
    corners = ends @ affine[:3, :3].T + affine[:3, 3]
    return corners[np.lexsort(np.round(corners, 3).T)]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_the_axes_of_the_model_run_along_r_a_s_for_every_orientation(order, signs):
    affine = an_affine((1.0, 2.0, 3.0), order, signs, origin=(5, -6, 7))
    grid = ModelGrid.fit((4, 5, 6), affine, (1.0, 1.0, 1.0))
    directions = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_reordering_and_back_changes_nothing(order, signs):
    grid = ModelGrid.fit((4, 5, 6), an_affine((1.0, 2.0, 3.0), order, signs), (1.0, 1.0, 1.0))
    for shape in ((4, 5, 6), (4, 5, 6, 3)):
        array = np.random.default_rng(0).normal(size=shape)
        assert grid.reorder(array).shape[:3] == grid.ordered_shape
        np.testing.assert_array_equal(grid.restore_order(grid.reorder(array)), array)


@given(affine=affines, shape=st.tuples(*[st.integers(2, 40)] * 3), spacing=st.tuples(*[st.floats(0.4, 12)] * 3))
@settings(max_examples=60, deadline=None)
def test_the_box_of_the_image_is_kept_edge_to_edge(affine, shape, spacing):
    grid = ModelGrid.fit(shape, affine, spacing)
    np.testing.assert_allclose(box_corners(grid.shape, grid.affine), box_corners(shape, affine), atol=1e-6)


@given(affine=affines, shape=st.tuples(*[st.integers(2, 40)] * 3), spacing=st.tuples(*[st.floats(0.4, 12)] * 3))
@settings(max_examples=60, deadline=None)
def test_the_spacing_is_met_to_half_a_voxel_of_the_whole_extent(affine, shape, spacing):
    grid = ModelGrid.fit(shape, affine, spacing)
    extent = np.array(grid.shape) * np.linalg.norm(grid.affine[:3, :3], axis=0)
    off = np.abs(np.array(grid.shape) * spacing - extent)
    alone = np.array(grid.shape) == 1
    assert np.all((off <= np.array(spacing) / 2 + 1e-6) | alone)


def relative_spacing(affine, factors) -> np.ndarray:
    """Spacing along R, A, S that is the volume's own there, times `factors`."""
    own = np.linalg.norm(affine[:3, :3], axis=0)
    return own[list(nearest_axes(affine[:3, :3] / own))] * factors


def inside(grid: ModelGrid) -> tuple[slice, ...]:
    """The voxels of the model that do not reach beyond the centers of the volume's outer voxels."""
    margins = [int(np.ceil(there / here)) for there, here in zip(grid.shape, grid.ordered_shape, strict=True)]
    return tuple(slice(m, -m) for m in margins)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("factors", [(0.6, 0.7, 0.5), (1.0, 1.0, 1.0), (2.6, 1.7, 3.1), (0.4, 1.0, 2.2)])
def test_a_voxel_of_the_model_shows_what_lies_at_its_place_in_the_patient(name, factors):
    affine = GEOMETRIES[name]
    grid = ModelGrid.fit(SHAPE, affine, relative_spacing(affine, factors))
    there, expected = grid.to_model(a_ramp(SHAPE, affine)), a_ramp(grid.shape, grid.affine)
    # The widened triangle of the averaging is off by up to a tenth of the volume's voxel; interpolating is exact.
    coarser = np.array(grid.ordered_shape) > np.array(grid.shape)
    allowed = 2e-3 + 0.1 * (np.abs(SLOPE @ grid.affine[:3, :3]) * grid.shape / grid.ordered_shape) @ coarser
    assert there[inside(grid)].size > 0
    np.testing.assert_allclose(there[inside(grid)], expected[inside(grid)], atol=allowed)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("factors", [(0.6, 0.7, 0.5), (1.0, 1.0, 1.0), (2.0, 2.2, 3.1)])
def test_a_map_of_the_model_comes_back_to_the_places_where_it_was(name, factors):
    affine = GEOMETRIES[name]
    grid = ModelGrid.fit(SHAPE, affine, relative_spacing(affine, factors))
    back = grid.to_volume(a_ramp(grid.shape, grid.affine))
    assert back.shape == SHAPE
    expected = a_ramp(SHAPE, affine)
    # Beyond the centers of the model's outer voxels the map is held, not continued.
    index = (centers(SHAPE, affine) - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T
    between = np.all((index >= -1e-9) & (index <= np.array(grid.shape) - 1 + 1e-9), axis=-1)
    assert between.mean() > 0.3
    np.testing.assert_allclose(back[between], expected[between], atol=2e-3)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_there_and_back_keeps_a_linear_image(name):
    affine = GEOMETRIES[name]
    grid = ModelGrid.fit(SHAPE, affine, relative_spacing(affine, (0.8, 0.5, 0.7)))
    image = a_ramp(SHAPE, affine)
    middle = (slice(2, -2),) * 3
    np.testing.assert_allclose(grid.to_volume(grid.to_model(image))[middle], image[middle], atol=2e-3)


@given(affine=affines, shape=st.tuples(*[st.integers(2, 20)] * 3), spacing=st.tuples(*[st.floats(0.6, 12)] * 3))
@settings(max_examples=60, deadline=None)
def test_what_is_constant_stays_constant(affine, shape, spacing):
    grid = ModelGrid.fit(shape, affine, np.maximum(spacing, np.linalg.norm(affine[:3, :3], axis=0).min() / 2))
    np.testing.assert_allclose(grid.to_model(np.full(shape, 7.5)), 7.5, rtol=1e-5)
    np.testing.assert_allclose(grid.to_volume(np.full(grid.shape, -3.25)), -3.25, rtol=1e-5)


def test_thin_slices_are_averaged_not_skipped():
    image = np.zeros((8, 8, 64), dtype=np.float32)
    image[:, :, ::2] = 1.0  # nearest-neighbor sampling every fourth slice would see only ones
    grid = ModelGrid.fit(image.shape, np.eye(4), (1.0, 1.0, 4.0))
    np.testing.assert_allclose(grid.to_model(image)[:, :, 1:-1], 0.5, atol=1e-3)


def test_a_single_thick_voxel_holds_the_average_of_what_it_covers():
    image = np.random.default_rng(0).normal(size=(6, 6, 5)).astype(np.float32)
    grid = ModelGrid.fit(image.shape, np.eye(4), (1.0, 1.0, 50.0))
    assert grid.shape == (6, 6, 1)
    shown = grid.to_model(image)[..., 0]
    assert np.all(shown >= image.min(axis=2)) and np.all(shown <= image.max(axis=2))
    assert np.abs(shown - image.mean(axis=2)).max() < np.abs(image - image.mean(axis=2, keepdims=True)).max()
    assert grid.to_volume(shown[..., None]).shape == image.shape


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("spacing", [(1.0, 2.0, 3.0), (2.3, 1.7, 1.9)])
def test_the_same_voxels_in_another_order_give_the_same_bits(order, signs, spacing):
    image = np.random.default_rng(1).normal(size=(9, 10, 11)).astype(np.float32)
    affine = an_affine((1.0, 2.0, 3.0), degrees=(5, -8, 11), origin=(1, 2, 3))
    turned, turned_affine = reoriented(image, affine, order, signs)
    here, there = ModelGrid.fit(image.shape, affine, spacing), ModelGrid.fit(turned.shape, turned_affine, spacing)
    np.testing.assert_allclose(there.affine, here.affine, atol=1e-9)
    np.testing.assert_array_equal(there.to_model(turned), here.to_model(image))
    values = np.random.default_rng(2).normal(size=here.shape).astype(np.float32)
    back, _ = reoriented(here.to_volume(values), affine, order, signs)
    np.testing.assert_array_equal(there.to_volume(values), back)


def test_the_order_of_voxels_in_memory_makes_no_difference():
    image = np.random.default_rng(1).normal(size=(9, 10, 11)).astype(np.float32)
    grid = ModelGrid.fit(image.shape, np.eye(4), (1.4, 2.1, 0.8))
    padded = np.zeros((18, 20, 22), dtype=np.float32)
    padded[::2, ::2, ::2] = image
    for stored in (np.asfortranarray(image), padded[::2, ::2, ::2], image[::-1].copy()[::-1]):
        np.testing.assert_array_equal(grid.to_model(stored), grid.to_model(image))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_voxels_of_any_type_are_resampled_and_left_as_they_are(dtype):
    image = (np.arange(4 * 5 * 6) % 2).reshape(4, 5, 6).astype(dtype)
    kept = image.copy()
    for spacing in ((1.0, 1.0, 1.0), (1.7, 0.6, 2.0)):
        assert ModelGrid.fit(image.shape, np.eye(4), spacing).to_model(image).dtype == np.float32
    np.testing.assert_array_equal(image, kept)


def test_a_volume_of_the_right_spacing_is_not_interpolated():
    image = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    grid = ModelGrid.fit(image.shape, an_affine((2.0, 3.0, 4.0), (2, 0, 1), (1, -1, 1)), (3.0, 4.0, 2.0))
    assert grid.is_identity
    np.testing.assert_array_equal(grid.restore_order(grid.to_model(image)), image)
    np.testing.assert_array_equal(grid.to_volume(grid.to_model(image)), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_labels_are_exact_where_nothing_is_resampled(dtype):
    labels = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(dtype)
    for order, signs in ORIENTATIONS:
        grid = ModelGrid.fit(labels.shape, an_affine((2.0, 2.0, 2.0), order, signs), (2.0, 2.0, 2.0))
        there = grid.labels_to_model(labels)
        assert there.dtype == dtype and there.flags.c_contiguous
        np.testing.assert_array_equal(grid.restore_order(there), labels)


def test_a_coarser_voxel_gets_the_label_that_fills_most_of_it():
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[:4], labels[4:] = 3, 7
    labels[0, 0, 0] = 9  # an eighth of a voxel
    grid = ModelGrid.fit(labels.shape, np.eye(4), (2.0, 2.0, 2.0))
    there = grid.labels_to_model(labels)
    assert there.shape == (4, 4, 4) and there.dtype == np.uint8
    assert np.all(there[:2] == 3) and np.all(there[2:] == 7)


@given(affine=affines, spacing=st.tuples(*[st.floats(1, 12)] * 3), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_resampling_never_invents_a_label(affine, spacing, seed):
    labels = np.random.default_rng(seed).choice([0, 2, 5, 300], (7, 8, 9)).astype(np.uint16)
    grid = ModelGrid.fit(labels.shape, affine, np.maximum(spacing, np.linalg.norm(affine[:3, :3], axis=0).max() / 3))
    assert set(np.unique(grid.labels_to_model(labels))) <= {0, 2, 5, 300}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("factors", [(0.6, 0.9, 0.7), (1.4, 1.2, 1.3)])
def test_labels_come_to_the_places_where_they_were_drawn(name, factors):
    affine = GEOMETRIES[name]

    def blob(shape, matrix):
        """An ellipsoid as wide as the image allows, nearer to one corner."""
        index = (centers(shape, matrix) - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        return np.linalg.norm((index + 0.5) / SHAPE - (0.45, 0.55, 0.48), axis=-1) < 0.4

    grid = ModelGrid.fit(SHAPE, affine, relative_spacing(affine, factors))
    there, expected = grid.labels_to_model(blob(SHAPE, affine).astype(np.uint8)) > 0, blob(grid.shape, grid.affine)
    assert 2 * np.count_nonzero(there & expected) / (there.sum() + expected.sum()) > 0.93


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_point_is_found_in_the_voxel_around_it(name):
    grid = ModelGrid.fit(SHAPE, GEOMETRIES[name], (2.5, 2.5, 2.5))
    random = np.random.default_rng(0)
    for _ in range(50):
        index = random.integers(0, grid.shape)
        inside = index + random.uniform(-0.49, 0.49, 3)
        assert grid.index_of((grid.affine @ np.append(inside, 1))[:3]) == tuple(index)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_point_counts_as_inside_up_to_the_edge_of_the_box(name):
    grid = ModelGrid.fit(SHAPE, GEOMETRIES[name], (2.5, 2.5, 2.5))
    middle = (np.array(grid.shape) - 1) / 2
    for axis, (outer, last) in product(range(3), ((-1, False), (1, True))):
        for beyond in (-0.01, 0.01):
            index = middle.copy()
            edge = grid.shape[axis] - 0.5 if last else -0.5
            index[axis] = edge + outer * beyond
            found = grid.index_of((grid.affine @ np.append(index, 1))[:3])
            assert (found is None) == (beyond > 0)
            assert found is None or found[axis] == (grid.shape[axis] - 1 if last else 0)


def test_a_point_that_is_no_number_lies_outside():
    grid = ModelGrid.fit(SHAPE, np.eye(4), (1.0, 1.0, 1.0))
    for point in ((np.nan, 1, 1), (np.inf, 1, 1), (1, -np.inf, 1), (1e300, 1, 1)):
        assert grid.index_of(point) is None


@pytest.mark.parametrize("degrees", [(0, 0, 45), (45, 0, 0), (45, 45, 45), (0, 90, 0), (35.264, 0, 45)])
def test_no_axis_is_taken_twice_however_the_volume_is_turned(degrees):
    directions = an_affine((1, 1, 1), degrees=degrees)[:3, :3]
    assert sorted(nearest_axes(directions)) == [0, 1, 2]


@given(there=st.integers(1, 60), here=st.integers(1, 60))
def test_the_weights_of_an_axis_are_shares(there, here):
    weights = axis_weights(there, here)
    assert weights.shape == (there, here) and weights.dtype == np.float32
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    assert np.all(weights.sum(axis=0) > 0), "every voxel of the volume counts somewhere"
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-5)


@given(there=st.integers(1, 60), here=st.integers(1, 120))
def test_downsampling_moves_nothing(there, here):
    centers = (np.arange(there) + 0.5) * here / there - 0.5
    reach = max(1.0, here / there)
    whole = (centers - reach >= -1) & (centers + reach <= here)
    found = axis_weights(there, here) @ np.arange(here)
    np.testing.assert_allclose(found[whole], centers[whole], atol=1e-4)


def test_the_outer_voxels_are_held_beyond_their_centers():
    weights = axis_weights(8, 2)  # four new voxels in each old one; two of them outside its center
    np.testing.assert_allclose(weights[:2], [[1, 0], [1, 0]])
    np.testing.assert_allclose(weights[-2:], [[0, 1], [0, 1]])
    np.testing.assert_allclose(weights[2:6, 0], [0.875, 0.625, 0.375, 0.125])


def test_equal_grids_take_each_voxel_as_it_is():
    np.testing.assert_array_equal(axis_weights(7, 7), np.eye(7))
    taps = Taps.between(7, 7)
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    np.testing.assert_array_equal(taps.interpolate(values, 0), values)


@given(there=st.integers(1, 40), here=st.integers(1, 40), data=st.data())
@settings(max_examples=200, deadline=None)
def test_a_part_of_the_taps_needs_only_its_own_voxels(there, here, data):
    start = data.draw(st.integers(0, there - 1))
    stop = data.draw(st.integers(start + 1, there))
    taps = Taps.between(there, here)
    values = np.random.default_rng(0).normal(size=(here, 2)).astype(np.float32)
    part, needed = taps.part(start, stop)
    assert 0 <= needed.start < needed.stop <= here
    np.testing.assert_array_equal(part.interpolate(values[needed], 0), taps.interpolate(values, 0)[start:stop])


def test_the_order_in_which_the_axes_are_resampled_makes_no_difference():
    array = np.random.default_rng(0).normal(size=(6, 7, 8, 2)).astype(np.float32)
    weights = (axis_weights(3, 6), axis_weights(11, 7), axis_weights(8, 8))
    expected = np.einsum("ai,bj,ck,ijkn->abcn", *[w.astype(np.float64) for w in weights], array)
    np.testing.assert_allclose(resample(array, weights), expected, atol=1e-5)
