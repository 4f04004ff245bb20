from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from CFSegmenterLib.pictures import (
    AXIAL,
    CORONAL,
    CT_SOFT_TISSUE,
    SAGITTAL,
    Outline,
    Viewer,
    choose_slices,
    draw_margin,
    draw_overview,
    draw_similarity,
    draw_slice,
    gray_window,
    spread_slices,
)
from CFSegmenterLib.volume import Volume
from Testing.Library.painted import ORIENTATIONS, an_affine, centers, reoriented

PLANES = (AXIAL, CORONAL, SAGITTAL)
RED = (255, 0, 0)


def a_marked_volume(order=(0, 1, 2), signs=(1, 1, 1), degrees=(0, 0, 0)) -> tuple[Volume, np.ndarray]:
    """A volume with a bright corner at the patient's left, anterior, superior end; and that corner's mask."""
    shape, affine = (20, 24, 16), an_affine((2.0, 2.0, 3.0), degrees=degrees, origin=(10, -20, 300))
    array = np.full(shape, 100, dtype=np.int16)
    array[:6, -7:, -5:] = 900  # low R is left
    array, affine = reoriented(array, affine, order, signs)
    return Volume.checked(array, affine, "mr"), array > 500


def pixels(png: bytes) -> np.ndarray:
    """(rows, columns, 3) float."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)


def middle_of(mask: np.ndarray) -> tuple[float, float]:
    """Where the middle of a mask lies, as shares of its rows and columns."""
    rows, columns = np.nonzero(mask)
    return (rows.mean() + 0.5) / mask.shape[0], (columns.mean() + 0.5) / mask.shape[1]


# --- the right way round ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_left_is_on_the_viewers_right_and_anterior_and_superior_are_up(order, signs):
    volume, corner = a_marked_volume(order, signs, degrees=(8, -5, 12))
    viewer = Viewer(volume)
    for plane in PLANES:
        inside = [viewer.cut(corner, plane, i) for i in range(viewer.count(plane))]
        index = int(np.argmax([cut.sum() for cut in inside]))
        row, column = middle_of(inside[index])
        assert row < 0.4, f"{plane.name}: anterior or superior is up"
        # On a sagittal slice the patient looks to the left.
        assert column < 0.4 if plane is SAGITTAL else column > 0.6


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_slices_run_from_left_to_right_posterior_to_anterior_and_inferior_to_superior(order, signs):
    volume, corner = a_marked_volume(order, signs)
    viewer = Viewer(volume)
    assert [viewer.count(plane) for plane in PLANES] == [16, 24, 20]
    filled = {p: [i for i in range(viewer.count(p)) if viewer.cut(corner, p, i).any()] for p in PLANES}
    assert filled[AXIAL] == list(range(11, 16))
    assert filled[CORONAL] == list(range(17, 24))
    assert filled[SAGITTAL] == list(range(6))


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_storage_of_a_scan_gives_the_same_picture(order, signs):
    expected, _ = a_marked_volume()
    volume, _ = a_marked_volume(order, signs)
    for plane, index in zip(PLANES, (12, 18, 3), strict=True):
        np.testing.assert_array_equal(
            Viewer(volume).cut(volume.array, plane, index), Viewer(expected).cut(expected.array, plane, index)
        )
        assert Viewer(volume).size(plane) == pytest.approx(Viewer(expected).size(plane))


def test_a_cut_shows_the_places_in_the_patient_where_they_belong():
    shape, affine = (9, 8, 7), an_affine((3.0, 2.0, 5.0), (1, 2, 0), (-1, 1, -1), (15, -12, 20), (5, 6, 7))
    ras = centers(shape, affine)
    viewer = Viewer(Volume(np.zeros(shape), affine))
    for plane, across, up, sign in ((AXIAL, 0, 1, -1), (CORONAL, 0, 2, -1), (SAGITTAL, 1, 2, -1)):
        x, y = (viewer.cut(ras[..., axis], plane, 2) for axis in (across, up))
        assert np.all(sign * np.diff(x, axis=1) > 0), f"{plane.name}: from {plane.marks[0]} to {plane.marks[1]}"
        assert np.all(np.diff(y, axis=0) < 0), f"{plane.name}: from {plane.marks[2]} down to {plane.marks[3]}"


@pytest.mark.parametrize("plane", PLANES, ids=lambda p: p.name)
def test_a_drawn_slice_is_the_right_way_round(plane):
    volume, corner = a_marked_volume((1, 2, 0), (-1, 1, -1))
    viewer = Viewer(volume)
    index = int(np.argmax([viewer.cut(corner, plane, i).sum() for i in range(viewer.count(plane))]))
    picture = pixels(draw_slice(viewer, plane, index))
    # The letters at the edges are bright too, so the darker half is looked at, where there is only tissue.
    row, column = middle_of(Image_blurred(picture) > 180)
    assert row < 0.45 and (column < 0.45 if plane is SAGITTAL else column > 0.55)


def Image_blurred(picture: np.ndarray) -> np.ndarray:  # noqa: N802
    """Gray values without details as small as a letter."""
    image = Image.fromarray(picture.mean(axis=2).astype(np.uint8))
    return np.asarray(image.resize((24, 24), Image.Resampling.BOX)).astype(float)


@pytest.mark.parametrize("plane, ratio", [(AXIAL, 40 / 48), (CORONAL, 40 / 48), (SAGITTAL, 48 / 48)], ids=str)
def test_a_millimeter_is_as_long_in_every_direction(plane, ratio):
    volume, _ = a_marked_volume()  # 20 x 24 x 16 voxels of 2 x 2 x 3 mm
    height, width, _ = pixels(draw_slice(Viewer(volume), plane, 5)).shape
    assert width / height == pytest.approx(ratio, abs=0.01)
    assert max(width, height) >= 600


def test_thick_slices_are_not_squeezed():
    volume = Volume.checked(np.random.default_rng(0).normal(size=(40, 40, 8)), an_affine((1.0, 1.0, 10.0)), "mr")
    height, width, _ = pixels(draw_slice(Viewer(volume), CORONAL, 20)).shape
    assert height / width == pytest.approx(2.0, abs=0.02)


def test_voxels_in_slices_are_counted_by_structure():
    volume, corner = a_marked_volume((2, 0, 1), (1, -1, -1))
    layer = np.where(corner, 5, 2).astype(np.uint8)
    viewer = Viewer(volume)
    for plane in PLANES:
        areas = viewer.areas(layer, plane, [5, 2, 9])
        assert areas.shape == (viewer.count(plane), 3)
        assert areas.sum(axis=0).tolist() == [corner.sum(), (~corner).sum(), 0]
        for index in (0, viewer.count(plane) - 1):
            assert areas[index, 0] == viewer.cut(corner, plane, index).sum()


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_a_closer_view_shows_what_is_looked_at_with_its_surroundings_and_keeps_the_numbers_of_slices(order, signs):
    volume, corner = a_marked_volume(order, signs)
    whole = Viewer(Volume(volume.array.repeat(8, 0).repeat(8, 1).repeat(8, 2), volume.affine, "mr"))
    inside = corner.repeat(8, 0).repeat(8, 1).repeat(8, 2)
    occupied = [whole.areas(inside.astype(np.uint8), plane, [1])[:, 0] > 0 for plane in (SAGITTAL, CORONAL, AXIAL)]
    viewer = whole.closer(occupied)
    assert whole.shows_all and not viewer.shows_all
    for plane in PLANES:
        assert viewer.count(plane) == whole.count(plane)
        for index in (0, whole.count(plane) // 2, whole.count(plane) - 1):
            near, far = (each.cut(inside, plane, index) for each in (viewer, whole))
            assert near.sum() == far.sum(), "nothing of it is cut off"
        assert viewer.size(plane) < whole.size(plane)
        rows, columns = near.shape
        assert viewer.size(plane) == pytest.approx(
            (whole.size(plane)[0] * columns / far.shape[1], whole.size(plane)[1] * rows / far.shape[0])
        )
    # 48 voxels of 2 mm that end at the image's edge, and 30 mm: 63 voxels.
    assert viewer.size(AXIAL)[0] == pytest.approx(2.0 * 63)


def test_a_closer_view_of_something_tiny_shows_where_it_lies():
    viewer = Viewer(Volume(np.zeros((200, 200, 200), np.uint8), an_affine((1.0, 1.0, 1.0))))
    tiny, large = np.arange(200) == 100, np.arange(200) > 80
    assert viewer.closer([tiny, tiny, tiny]).size(AXIAL) == pytest.approx((120, 120), abs=2)
    assert viewer.closer([tiny, large, tiny]).size(AXIAL) == pytest.approx((120, 200), abs=2), "what is cut is little"


def test_a_closer_view_of_nothing_or_of_almost_everything_shows_all():
    viewer = Viewer(Volume(np.zeros((200, 200, 200), np.uint8), an_affine((1.0, 1.0, 1.0))))
    tiny, large, nothing = np.arange(200) == 100, np.arange(200) > 80, np.zeros(200, bool)
    assert viewer.closer([large, large, large]).shows_all
    assert viewer.closer([nothing, nothing, nothing]).shows_all
    assert viewer.closer([tiny, tiny, tiny]).closer([nothing, nothing, nothing]).shows_all


# --- what is shown ------------------------------------------------------------------------------------------


def test_ct_is_shown_in_the_soft_tissue_window():
    array = np.random.default_rng(0).normal(0, 500, (8, 8, 8))
    assert gray_window(array, "ct") == CT_SOFT_TISSUE == Viewer(Volume(array, np.eye(4), "ct")).window
    assert Viewer(Volume(array, np.eye(4)), "ct").window == CT_SOFT_TISSUE, (
        "the protocol's, where the scan says nothing"
    )


def test_mr_is_shown_between_its_noise_and_its_brightest_tissue():
    random = np.random.default_rng(0)
    array = np.abs(random.normal(0, 5, (60, 60, 60)))
    array[20:40, 20:40, 20:40] = random.normal(400, 30, (20, 20, 20))
    array[0, 0, :5] = 1e5  # a few hot voxels
    low, high = gray_window(array, "mr")
    assert 0 <= low < 10 and 440 < high < 600


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 4)), np.full((4, 4, 4), -3, dtype=np.int16), np.eye(4)[:, :, None] * 7.0]
)
def test_a_window_has_a_width_whatever_the_scan_holds(array):
    low, high = gray_window(np.broadcast_to(array, (4, 4, 4)), "mr")
    assert np.isfinite([low, high]).all() and low < high


def test_one_slice_shows_as_many_structures_as_possible():
    areas = np.zeros((10, 3), dtype=int)
    areas[2:5, 0], areas[3:7, 1], areas[8, 2] = 40, 5, 900
    (index,) = choose_slices(areas, 1)
    assert index in (3, 4)


def test_further_slices_show_what_is_missing_and_no_more():
    areas = np.zeros((10, 3), dtype=int)
    areas[2:5, 0], areas[3:7, 1], areas[8, 2] = 40, 5, 900
    chosen = choose_slices(areas, 5)
    assert len(chosen) == 2 and chosen[-1] == 8 and chosen == sorted(chosen)
    assert len(choose_slices(areas, 1)) == 1


def test_among_equal_slices_the_middle_one_is_shown():
    areas = np.zeros((11, 1), dtype=int)
    areas[2:9] = 7
    assert choose_slices(areas, 3) == [5]


def test_slices_are_spread_over_the_structures():
    areas = np.zeros((30, 2), dtype=int)
    areas[4:25, 0] = 5
    assert spread_slices(areas, [10], 3) == [10, 17, 24]
    assert spread_slices(areas, [10, 20], 4) == [4, 10, 15, 20]
    assert spread_slices(areas, [10], 1) == [10]
    assert spread_slices(areas, [10], 100) == list(range(4, 25))
    assert spread_slices(np.zeros((30, 2), dtype=int), [15], 3) == [15]
    areas[4:25, 0], areas[24, 0] = 50, 4
    assert spread_slices(areas, [10], 3) == [4, 10, 23], "a crumb of a structure is not worth a picture"


@pytest.mark.parametrize("areas", [np.zeros((11, 0), dtype=int), np.zeros((11, 4), dtype=int)])
def test_without_a_structure_the_middle_slice_is_shown(areas):
    assert choose_slices(areas, 3) == [5]


def test_an_outline_runs_around_the_structure_in_its_color():
    volume = Volume.checked(np.random.default_rng(0).normal(100, 5, (30, 30, 10)), an_affine((1.0, 1.0, 1.0)), "mr")
    mask = np.zeros((30, 30), dtype=bool)
    mask[5:12, 18:26] = True
    viewer = Viewer(volume)
    plain = pixels(draw_slice(viewer, AXIAL, 5))
    drawn = pixels(draw_slice(viewer, AXIAL, 5, [Outline(mask, RED)]))
    changed = np.abs(drawn - plain).max(axis=2) > 12
    rows, columns = np.nonzero(changed)
    scale = drawn.shape[0] / 30
    assert (rows.min() / scale, rows.max() / scale) == pytest.approx((5, 12), abs=0.4)
    assert (columns.min() / scale, columns.max() / scale) == pytest.approx((18, 26), abs=0.4)
    edge = drawn[int(8.5 * scale), int(17.5 * scale) : int(18.5 * scale)]
    reddest = edge[(edge[:, 0] - edge[:, 1]).argmax()]
    assert reddest[0] > 180 and reddest[1] < 90


def test_a_structure_at_the_edge_of_the_image_is_closed_there():
    volume = Volume.checked(np.random.default_rng(0).normal(100, 5, (30, 30, 10)), an_affine((1.0, 1.0, 1.0)), "mr")
    mask = np.zeros((30, 30), dtype=bool)
    mask[:, :10] = True
    viewer = Viewer(volume)
    drawn = pixels(draw_slice(viewer, AXIAL, 5, [Outline(mask, RED)]))
    left = drawn[200:400, :8]
    assert (left[..., 0] - left[..., 1]).max() > 100


def test_the_truth_is_drawn_in_black_and_white_dashes():
    volume = Volume.checked(np.full((30, 30, 10), 100.0) + np.arange(10), an_affine((1.0, 1.0, 1.0)), "mr")
    mask = np.zeros((30, 30), dtype=bool)
    mask[8:22, 8:22] = True
    drawn = pixels(draw_slice(Viewer(volume), AXIAL, 5, [Outline(mask, RED, dashed=True)]))
    line = drawn[200:400, int(8 * drawn.shape[1] / 30) - 3 : int(8 * drawn.shape[1] / 30) + 4].mean(axis=2)
    assert line.max() > 200 and line.min() < 40
    spread = drawn.max(axis=2) - drawn.min(axis=2)
    assert spread.max() < 30, "no color"


@pytest.mark.parametrize("value", [-1.0, -0.4, 0.0, 0.2, 1.0])
def test_a_similarity_has_one_color_whatever_else_the_map_holds(value):
    from matplotlib import colormaps

    volume, _ = a_marked_volume()
    viewer = Viewer(volume)
    cut = viewer.cut(volume.array, AXIAL, 3)
    for other in (value, -0.9, 0.9):
        values = np.full(cut.shape, other, dtype=np.float32)
        values[:, : cut.shape[1] // 2] = value
        picture = pixels(draw_similarity(viewer, AXIAL, 3, values, "liver"))
        width, height = viewer.size(AXIAL)
        panel = picture.shape[0] * width / height  # wide enough: the second panel starts behind the first one
        shown = picture[picture.shape[0] // 2, int(panel * 1.2)]
        np.testing.assert_allclose(shown, np.array(colormaps["RdBu_r"]((value + 1) / 2)[:3]) * 255, atol=3)


def test_a_similarity_map_is_drawn_over_its_whole_scale():
    from matplotlib import colormaps

    volume, _ = a_marked_volume()
    viewer = Viewer(volume)
    values = np.zeros(viewer.cut(volume.array, AXIAL, 3).shape, dtype=np.float32)
    picture = pixels(draw_similarity(viewer, AXIAL, 3, values, "liver"))
    bar = picture[:, -90:]
    for end in (0.0, 1.0):
        color = np.array(colormaps["RdBu_r"](end)[:3]) * 255
        assert np.abs(bar - color).max(axis=2).min() < 6, "the color bar ends at -1 and 1"


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 3.0, 9.0)])
@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 40, 3), (31, 2, 17)])
def test_scans_of_any_shape_are_drawn(shape, spacing):
    volume = Volume.checked(np.random.default_rng(0).normal(size=shape), an_affine(spacing), "mr")
    viewer = Viewer(volume)
    for plane in PLANES:
        cut = viewer.cut(volume.array, plane, 1)
        outline = [
            Outline(cut > cut.min(), RED),
            Outline(cut > cut.max(), RED),
            Outline(cut < cut.max(), RED, dashed=True),
        ]
        for png in (
            draw_slice(viewer, plane, 1, outline),
            draw_similarity(
                viewer, plane, 1, cut, "a name that is much too long for a picture as narrow as this", outline
            ),
            draw_margin(viewer, plane, 1, cut, outline),
        ):
            height, width, _ = pixels(png).shape
            assert 1 <= height < 2000 and 1 <= width < 2000


def test_bool_and_unsigned_voxels_are_drawn():
    for array in (
        np.eye(6, dtype=bool)[:, :, None].repeat(4, 2),
        np.arange(6 * 6 * 4, dtype=np.uint64).reshape(6, 6, 4),
    ):
        pixels(draw_slice(Viewer(Volume.checked(array, np.eye(4))), AXIAL, 1))


def test_an_overview_shows_slices_and_a_map_in_one_row():
    volume, corner = a_marked_volume()
    viewer = Viewer(volume)
    slices = [(p, 4, [Outline(viewer.cut(corner, p, 4), RED)]) for p in (AXIAL, CORONAL)]
    alone = pixels(draw_overview(viewer, slices))
    values = viewer.cut(volume.array, AXIAL, 4) / 900.0
    together = pixels(draw_overview(viewer, slices, (AXIAL, "liver", values, slices[0][2])))
    assert together.shape[0] == alone.shape[0] and together.shape[1] > 1.3 * alone.shape[1]


def test_the_same_picture_is_the_same_file():
    volume, corner = a_marked_volume()
    viewer = Viewer(volume)
    first, second = (draw_slice(viewer, AXIAL, 12, [Outline(viewer.cut(corner, AXIAL, 12), RED)]) for _ in range(2))
    assert first == second and first.startswith(b"\x89PNG")
    assert b"Software" not in first and b"tEXt" not in first


def test_drawing_touches_nothing_global_of_matplotlib():
    code = (
        "import sys, numpy as np; from CFSegmenterLib.pictures import *; from CFSegmenterLib.volume import Volume\n"
        "assert 'matplotlib' not in sys.modules, 'imported before it is needed'\n"
        "v = Viewer(Volume(np.arange(60.0).reshape(3, 4, 5), np.eye(4), 'mr')); draw_slice(v, AXIAL, 1)\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
