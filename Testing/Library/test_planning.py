from __future__ import annotations

import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name by which everyone knows it

from CFSegmenterLib.cases import CaseList, read_case_lists
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files.reading import read_volume
from CFSegmenterLib.intensity import CT_WINDOW, ForegroundZScoreRule, WindowRule
from CFSegmenterLib.network import Stride
from CFSegmenterLib.planning import fitting_patch, geometry_of, plan_protocols
from CFSegmenterLib.settings import TrainingSettings

STRAIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def a_source(folder: Path, grids, name: str = "abdomen", modality: str = "ct", split: str = "training") -> CaseList:
    """A source of empty images; `grids` are (voxels, spacing) or (voxels, spacing, direction) along the file's axes."""
    folder = folder / name
    folder.mkdir()
    entries = []
    for number, (shape, spacing, *direction) in enumerate(grids):
        image = sitk.Image([int(n) for n in shape], sitk.sitkUInt8)
        image.SetSpacing([float(s) for s in spacing])
        image.SetDirection(direction[0] if direction else STRAIGHT if len(shape) == 3 else (1, 0, 0, 1))
        path = folder / f"{number}.nrrd"
        sitk.WriteImage(image, str(path))
        entries.append({"image": path.name, "label": path.name, "subject": str(number)})
    said = {"name": name, "modality": modality, "labels": {"1": "liver"}, split: entries}
    (folder / "dataset.json").write_text(json.dumps(said))
    return read_case_lists([folder / "dataset.json"])[0]


def planned(*lists: CaseList, stride: Stride = (8, 8, 8), **said):
    return plan_protocols(lists, TrainingSettings.model_validate(said), stride)


GRIDS = [((60, 50, 20), (1, 1, 5)), ((80, 60, 30), (1.2, 1.2, 4)), ((100, 70, 25), (2, 2, 6))]


def test_a_protocol_takes_the_median_of_the_training_scans(tmp_path):
    protocol = planned(a_source(tmp_path, GRIDS))["abdomen"]
    assert (protocol.name, protocol.modality, protocol.sources) == ("abdomen", "ct", ("abdomen",))
    assert protocol.spacing == protocol.typical_spacing == (1.2, 1.2, 5.0)
    assert protocol.typical_extent == (96, 72, 120)
    assert protocol.patch == (80, 64, 24)  # 80 x 60 x 24 voxels: the whole of a typical scan
    assert protocol.intensity == CT_WINDOW


def test_settings_win_over_what_the_scans_are_like(tmp_path):
    said = {"abdomen": {"protocol": "abdomen CT", "spacing": [2, 2, 4], "patch": [16, 24, 8],
                        "intensity": {"kind": "window", "low": 0, "high": 100}}}  # fmt: skip
    protocol = planned(a_source(tmp_path, GRIDS), sources=said)["abdomen"]
    assert (protocol.name, protocol.spacing, protocol.patch) == ("abdomen CT", (2, 2, 4), (16, 24, 8))
    assert protocol.intensity == WindowRule(low=0, high=100)
    assert protocol.typical_spacing == (1.2, 1.2, 5.0)  # by which a scan is recognized, so it stays what it is


def test_mr_gets_a_rule_without_an_absolute_scale(tmp_path):
    assert planned(a_source(tmp_path, GRIDS, modality="mr-t2"))["abdomen"].intensity == ForegroundZScoreRule()


def test_a_patch_holds_no_more_voxels_than_allowed(tmp_path):
    protocol = planned(a_source(tmp_path, GRIDS), patch_voxels=20_000)["abdomen"]
    assert math.prod(protocol.patch) <= 20_000
    assert all(side % 8 == 0 for side in protocol.patch)


@pytest.mark.parametrize("stride", [(2, 2, 2), (8, 8, 8), (16, 16, 16), (16, 16, 8)])
@pytest.mark.parametrize("voxels", [4096, 20_000, 150_000])
@pytest.mark.parametrize("shape", [(256.0, 256.0, 192.0), (35.2, 50.1, 36.0), (400.0, 20.0, 7.0), (1.0, 1.0, 1.0)])
def test_patches_fit_the_stride_the_image_and_the_memory(shape, voxels, stride):
    patch = fitting_patch(shape, voxels, stride)
    assert all(side % step == 0 and side >= step for side, step in zip(patch, stride, strict=True))
    whole = tuple(step * math.ceil(round(length) / step) for length, step in zip(shape, stride, strict=True))
    assert all(side <= length for side, length in zip(patch, whole, strict=True))
    assert math.prod(patch) <= voxels or patch == stride
    assert patch == whole or math.prod(patch) > voxels / 2 or any(p == s for p, s in zip(patch, stride, strict=True))


def test_a_patch_is_less_elongated_than_the_image():
    patch = fitting_patch((400, 100, 100), 200_000, (16, 16, 16))
    assert max(patch) / min(patch) < 400 / 100


def test_rounding_does_not_widen_a_patch(tmp_path):
    # 96 voxels of 1.5625 mm are 96.03 of the 1.562 mm that the spacing is rounded to, and still 96.
    protocol = planned(
        a_source(tmp_path, [((96, 96, 32), (1.5625, 1.5625, 2.0))]), stride=(16, 16, 16), patch_voxels=10**6
    )
    assert protocol["abdomen"].patch == (96, 96, 32)
    assert fitting_patch((80.0000001, 80.4, 32.6), 10**6, (16, 16, 16)) == (80, 80, 48)
    assert fitting_patch((80, 80, 0.3), 10**6, (16, 16, 16)) == (80, 80, 16)


def a_direction(order, flips=(1, 1, 1)) -> tuple[float, ...]:
    matrix = np.zeros((3, 3))
    for column, (row, flip) in enumerate(zip(order, flips, strict=True)):
        matrix[row, column] = flip
    return tuple(matrix.ravel())


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)])
def test_spacing_is_that_along_the_patients_axes_whatever_the_files(tmp_path, order):
    # The file's axis n runs along the patient's axis order[n].
    shape, spacing = np.zeros(3), np.zeros(3)
    for axis, row in enumerate(order):
        shape[axis], spacing[axis] = (40, 60, 20)[row], (1, 2, 5)[row]
    source = a_source(tmp_path, [(shape, spacing, a_direction(order, (1, -1, 1)))])
    protocol = planned(source)["abdomen"]
    assert protocol.typical_spacing == (1, 2, 5)
    assert protocol.typical_extent == (40, 120, 100)


def test_an_oblique_scan_uses_each_of_its_axes_once(tmp_path):
    # Turned so far that two patient axes lie nearest to one and the same axis of the file.
    random = np.random.default_rng(0)
    turned = (np.linalg.qr(random.standard_normal((3, 3)))[0] for _ in range(1000))
    direction = next(d for d in turned if len(set(np.abs(d).argmax(axis=1))) < 3 and np.linalg.det(d) > 0)
    source = a_source(tmp_path, [((40, 60, 20), (1, 2, 5), tuple(direction.ravel()))])
    assert sorted(planned(source)["abdomen"].typical_spacing) == pytest.approx([1, 2, 5])


def test_sources_may_share_a_protocol(tmp_path):
    first = a_source(tmp_path, [((40, 40, 20), (1, 1, 4))], "a", "mr-t2")
    second = a_source(tmp_path, [((80, 80, 20), (2, 2, 4))], "b", "mr-t2")
    third = a_source(tmp_path, [((80, 80, 20), (2, 2, 4))], "c", "mr-t2")
    same = {"protocol": "abdomen MR", "spacing": [2, 2, 4], "patch": [32, 32, 8]}
    found = planned(first, second, third, sources={"a": same, "b": same, "c": {**same, "protocol": "other"}})
    assert found["a"] is found["b"]
    assert found["a"].sources == ("a", "b")
    assert found["a"].typical_spacing == pytest.approx((math.sqrt(2), math.sqrt(2), 4))
    assert found["c"].sources == ("c",)


@pytest.mark.parametrize(
    "difference",
    [{"spacing": [2, 2, 5]}, {"patch": [32, 32, 16]}, {"intensity": {"kind": "window", "low": 0, "high": 1}}],
)
def test_sources_that_differ_cannot_share_a_protocol(tmp_path, difference):
    first, second = (a_source(tmp_path, [((40, 40, 20), (1, 1, 4))], name) for name in "ab")
    same = {"protocol": "abdomen CT", "spacing": [2, 2, 4], "patch": [32, 32, 8]}
    with pytest.raises(UserError, match="The sources a, b share the protocol 'abdomen CT' but differ"):
        planned(first, second, sources={"a": same, "b": {**same, **difference}})


def test_modalities_cannot_share_a_protocol(tmp_path):
    first = a_source(tmp_path, [((40, 40, 20), (1, 1, 4))], "a", "ct")
    second = a_source(tmp_path, [((40, 40, 20), (1, 1, 4))], "b", "mr")
    said = {"protocol": "abdomen", "intensity": {"kind": "window", "low": 0, "high": 1}}
    with pytest.raises(UserError, match="share the protocol 'abdomen' but differ in modality"):
        planned(first, second, sources={"a": said, "b": said})


def test_a_source_that_settings_speak_of_must_be_there(tmp_path):
    with pytest.raises(UserError, match="speak of the source 'brain', which none of the case lists is called"):
        planned(a_source(tmp_path, GRIDS), sources={"brain": {}})


def test_a_patch_that_does_not_fit_the_backbone_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"\(16, 20, 8\) of the source 'abdomen' does not fit .* multiples of \(8, 8, 8\)"
    ):
        planned(a_source(tmp_path, GRIDS), sources={"abdomen": {"patch": [16, 20, 8]}})


def test_a_source_without_training_cases_is_refused(tmp_path):
    with pytest.raises(UserError, match="'abdomen' has no training case"):
        planned(a_source(tmp_path, GRIDS, split="validation"))


def test_a_flat_image_is_refused(tmp_path):
    with pytest.raises(UserError, match="is a flat image"):
        planned(a_source(tmp_path, [((40, 40), (1, 1))]))


def test_an_image_that_is_none_is_refused(tmp_path):
    source = a_source(tmp_path, GRIDS)
    source.cases[0].image.write_bytes(b"no image at all")
    with pytest.raises(UserError, match="cannot be read, so it is damaged, incomplete or not what its ending says"):
        planned(source)


def test_a_large_source_is_judged_by_a_sample_of_its_headers(tmp_path, monkeypatch):
    monkeypatch.setattr("CFSegmenterLib.planning.HEADERS_READ", 3)
    source = a_source(tmp_path, [((10, 10, 10), (1 + n, 1, 1)) for n in range(9)])
    for unread in (1, 2, 4, 5):
        source.cases[unread].image.write_bytes(b"")
    assert planned(source)["abdomen"].typical_spacing[0] == 4  # of the scans 0, 3 and 6


def test_an_image_whose_axes_are_as_oblique_as_the_reader_allows_is_planned_with(tmp_path):
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    affine[0, 1] = 5e-4  # ITK's reader refuses it
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), None)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    nibabel.save(image, tmp_path / "image.nii.gz")
    assert read_volume(tmp_path / "image.nii.gz").shape == (4, 5, 6)
    spacing, shape = geometry_of(tmp_path / "image.nii.gz")
    np.testing.assert_allclose(spacing, (2, 1, 3), rtol=1e-3)
    assert shape.tolist() == [4, 5, 6]
