from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.volume import Volume, check_volume


def some_voxels(shape: tuple[int, ...] = (4, 5, 6), dtype: str = "int16") -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def an_oblique_affine(spacing: tuple[float, float, float] = (0.7, 1.3, 4.9), seed: int = 0) -> np.ndarray:
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = (-123.4, 77.7, -999.1)
    return affine


def test_the_geometry_is_read_off_the_affine():
    volume = Volume.checked(some_voxels(), np.diag([2.0, 3.0, -5.0, 1.0]))
    assert volume.shape == (4, 5, 6)
    np.testing.assert_array_equal(volume.spacing, [2, 3, 5])
    np.testing.assert_array_equal(volume.extent, [8, 15, 30])
    np.testing.assert_array_equal(volume.directions, np.diag([1, 1, -1]))
    assert volume.voxel_volume_ml == pytest.approx(0.030)


@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(st.floats(0.02, 90), st.floats(0.02, 90), st.floats(0.02, 90)),
    flip=st.booleans(),
)
def test_any_rotated_flipped_anisotropic_grid_is_accepted(seed, spacing, flip):
    affine = an_oblique_affine(spacing, seed)
    if flip:
        affine[:3, 0] *= -1
    volume = Volume.checked(some_voxels(), affine)
    np.testing.assert_allclose(volume.spacing, spacing)
    np.testing.assert_allclose(volume.directions * volume.spacing, affine[:3, :3], rtol=1e-12, atol=1e-12)
    assert volume.voxel_volume_ml == pytest.approx(np.prod(spacing) / 1000)


def test_a_left_handed_grid_keeps_its_handedness():
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    assert np.linalg.det(Volume.checked(some_voxels(), affine).directions) == pytest.approx(-1)


def test_float32_rounding_of_an_affine_is_no_shear():
    affine = an_oblique_affine().astype(np.float32)
    checked = Volume.checked(some_voxels(), affine).affine
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, affine)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int32", "float16", "float32", "float64"])
def test_every_real_type_is_shared_and_left_alone(dtype):
    array = some_voxels((2, 3, 4), dtype)
    before = array.copy()
    volume = Volume.checked(array, np.eye(4))
    assert volume.array is array
    np.testing.assert_array_equal(array, before)


def test_a_view_that_may_not_be_written_is_enough():
    array = some_voxels()[::-1, :, ::2]
    array.flags.writeable = False
    assert np.shares_memory(Volume.checked(array, np.eye(4)).array, array)


@pytest.mark.parametrize("dtype", [">i2", ">f4", "longdouble"])
def test_a_type_that_torch_cannot_hold_is_converted_without_loss(dtype):
    array = some_voxels((2, 3, 4), dtype)
    converted = Volume.checked(array, np.eye(4)).array
    assert converted.dtype.isnative and converted.dtype.itemsize <= 8
    np.testing.assert_array_equal(converted, array)


def test_the_affine_is_a_copy_of_the_callers():
    affine = np.eye(4)
    volume = Volume.checked(some_voxels(), affine)
    affine[0, 3] = 100
    assert volume.affine[0, 3] == 0


def test_the_modality_is_kept_in_lower_case():
    assert Volume.checked(some_voxels(), np.eye(4), " CT ").modality == "ct"
    assert Volume.checked(some_voxels(), np.eye(4), "MR-T1").modality == "mr-t1"
    assert Volume.checked(some_voxels(), np.eye(4), " ").modality is None
    assert Volume.checked(some_voxels(), np.eye(4)).modality is None


def test_checking_again_shares_voxels_and_finds_what_the_constructor_let_through():
    volume = Volume.checked(some_voxels(), np.eye(4), "ct")
    again = check_volume(volume)
    assert again.array is volume.array and again.modality == "ct"
    with pytest.raises(UserError, match="two-dimensional"):
        check_volume(Volume(some_voxels((4, 5)), np.eye(4)))


def the_affine(**changes: float) -> np.ndarray:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    for place, value in changes.items():
        affine[int(place[1]), int(place[2])] = value
    return affine


def with_bad(*values: float) -> np.ndarray:
    array = some_voxels(dtype="float32")
    array.ravel()[: len(values)] = values
    return array


BAD_VOXELS = {
    "2D": (some_voxels((4, 5)), r"two-dimensional \(4 x 5 voxels\).*choose a 3D image"),
    "one slice": (some_voxels((4, 1, 5)), r"two-dimensional \(4 x 1 x 5 voxels\)"),
    "a line": (some_voxels((1, 1, 5)), "two-dimensional"),
    "1D": (some_voxels((5,)), "1 dimensions.*choose a 3D image"),
    "4D": (some_voxels((4, 5, 6, 7)), r"4 dimensions \(4 x 5 x 6 x 7\).*choose one frame"),
    "color": (some_voxels((4, 5, 6, 3)), "color.*one component"),
    "one voxel": (some_voxels((1, 1, 1)), "single voxel"),
    "empty": (np.zeros((4, 0, 6)), r"empty \(4 x 0 x 6 voxels\)"),
    "complex": (some_voxels(dtype="complex64"), "complex.*magnitude"),
    "text": (np.full((2, 2, 2), "a"), "not plain numbers"),
    "objects": (np.full((2, 2, 2), None), "not plain numbers"),
    "records": (np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1")]), "not plain numbers"),
    "dates": (np.zeros((2, 2, 2), dtype="datetime64[s]"), "not plain numbers"),
    "NaN": (with_bad(np.nan, np.nan), "^2 NaN of 120 voxels are not a number.*replace"),
    "infinite": (with_bad(-np.inf), "^1 infinite of 120 voxel is not a number"),
    "both": (with_bad(np.nan, np.inf, -np.inf), "^1 NaN and 2 infinite of 120"),
    "all NaN": (np.full((2, 3, 4), np.nan), "^24 NaN of 24"),
    "constant": (np.full((2, 3, 4), -1024, np.int16), r"same value \(-1024\)"),
    "constant bool": (np.zeros((2, 3, 4), bool), "same value"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_VOXELS)
def test_unusable_voxels_are_refused_in_a_sentence(name):
    array, sentence = BAD_VOXELS[name]
    with pytest.raises(UserError, match=sentence) as refused:
        Volume.checked(array, np.eye(4))
    assert str(refused.value).count(". ") == 0, "one sentence"


BAD_AFFINES = {
    "3 x 3": (np.eye(3), "4 x 4"),
    "words": ("identity", "4 x 4"),
    "nothing": (None, "4 x 4"),
    "ragged": ([[1, 0], [0]], "4 x 4"),
    "NaN": (the_affine(a03=np.nan), "NaN or infinite"),
    "infinite": (the_affine(a11=np.inf), "NaN or infinite"),
    "last row": (the_affine(a30=1.0), "last row"),
    "zero spacing": (the_affine(a22=0.0), "singular: the spacing is 1 x 2 x 0 mm"),
    "all zero": (np.diag([0.0, 0, 0, 1]), "singular"),
    "axes in one plane": (the_affine(a01=2.0, a11=0.0), "singular.*one plane"),
    "micrometers": (np.diag([1000.0, 1000, 1000, 1]), "1000 x 1000 x 1000 mm, outside of 0.01 to 100 mm"),
    "meters": (np.diag([0.001, 0.001, 0.003, 1]), "outside of 0.01 to 100 mm"),
    "sheared": (the_affine(a01=0.2), "not at right angles.*resample"),
    "tilted gantry": (the_affine(a12=-3 * np.tan(np.radians(15))), "off by 15 degrees"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_AFFINES)
def test_an_unusable_affine_is_refused_in_a_sentence(name):
    affine, sentence = BAD_AFFINES[name]
    with pytest.raises(UserError, match=sentence) as refused:
        Volume.checked(some_voxels(), affine)
    assert str(refused.value).count(". ") == 0, "one sentence"


def test_a_shear_below_the_tolerance_passes_and_above_it_does_not():
    assert Volume.checked(some_voxels(), the_affine(a01=2 * 0.0009)) is not None
    with pytest.raises(UserError, match="right angles"):
        Volume.checked(some_voxels(), the_affine(a01=2 * 0.0011))


def test_an_empty_label_map_may_be_constant():
    volume = Volume.checked(np.zeros((2, 3, 4), np.uint8), np.eye(4), allow_constant=True)
    assert volume.array.max() == 0


def test_the_largest_float16_values_do_not_count_as_infinite():
    array = np.full((40, 40, 40), 60000, np.float16)
    array[0, 0, 0] = -60000
    assert Volume.checked(array, np.eye(4)).array is array


def test_two_volumes_are_on_the_same_grid_only_if_every_corner_agrees():
    volume = Volume(some_voxels(), an_oblique_affine())
    assert volume.on_same_grid_as(Volume(some_voxels(dtype="uint8"), an_oblique_affine().astype(np.float32)))
    assert not volume.on_same_grid_as(Volume(some_voxels((4, 5, 7)), an_oblique_affine()))
    moved = an_oblique_affine()
    moved[0, 3] += 0.02
    assert not volume.on_same_grid_as(Volume(some_voxels(), moved))
    stretched = an_oblique_affine((0.7, 1.3, 4.91))
    assert not volume.on_same_grid_as(Volume(some_voxels(), stretched)), "the last slice is 0.05 mm off"


def test_a_volume_imports_nothing_but_numpy():
    heavy = "{'torch', 'monai', 'nibabel', 'SimpleITK', 'slicerio', 'nrrd', 'matplotlib', 'open_clip'}"
    rooms = "CFSegmenterLib.volume, CFSegmenterLib.files.reading, CFSegmenterLib.files.seg_nrrd"
    code = f"import sys, {rooms}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
