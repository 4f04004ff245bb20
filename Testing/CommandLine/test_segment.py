"""`cfsegmenter segment`: the same answer from every format, every file whole, and a sentence for every mistake."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK
import slicerio

from CFSegmenterLib import windows
from CFSegmenterLib.phantom import draw_small
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.structures import Vocabulary
from Testing.CommandLine.conftest import hidden_files, table_of
from Testing.Library.conftest import save_nifti

NAMES = ["liver", "right kidney", "left kidney", "spleen"]


@pytest.fixture
def segment(cfsegmenter, a_model_folder, tmp_path):
    """Segments images into `tmp_path / "out"` with the tiny model."""

    def run(*arguments):
        return cfsegmenter(
            "segment", "--model", a_model_folder, "--modality", "mr", "--out", tmp_path / "out", *arguments
        )

    return run


@pytest.fixture
def refused_segment(refused, a_model_folder, a_small_file, tmp_path):
    """Asks for a segmentation of the small phantom that must be refused; returns the sentence."""

    def run(*arguments, image=a_small_file, model=a_model_folder):
        sentence = refused("segment", image, "--model", model, "--out", tmp_path / "out", *arguments)
        assert not list((tmp_path / "out").glob("*"))
        return sentence

    return run


def labels_of(folder, stem="small"):
    return np.asarray(nibabel.load(folder / f"{stem}_labels.nii.gz").dataobj)


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def test_an_image_becomes_a_segmentation_a_label_map_and_its_names(segment, a_small_file, a_small_phantom, tmp_path):
    result = segment(a_small_file)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["small.seg.nrrd", "small_labels.json", "small_labels.nii.gz"]
    assert json.loads((out / "small_labels.json").read_text()) == {str(n): s for n, s in enumerate(NAMES, start=1)}
    labels = labels_of(out)
    assert labels.shape == a_small_phantom.image.shape
    assert labels.dtype == np.uint8
    assert dice(labels == 1, a_small_phantom.labels == 1) > 0.7
    np.testing.assert_allclose(nibabel.load(out / "small_labels.nii.gz").affine, a_small_phantom.affine, atol=1e-4)
    segmentation = slicerio.read_segmentation(str(out / "small.seg.nrrd"))
    np.testing.assert_array_equal(segmentation["voxels"], labels)
    vocabulary = Vocabulary.load()
    for value, (said, name) in enumerate(zip(segmentation["segments"], NAMES, strict=True), start=1):
        assert (said["name"], said["labelValue"]) == (name, value)
        np.testing.assert_allclose(np.array(said["color"]) * 255, vocabulary.find(name).color, atol=0.01)
        assert said["terminology"]["type"][1] == vocabulary.find(name).type.value


def test_the_table_says_volume_similarity_and_time_of_every_structure(segment, a_small_file, a_small_phantom, tmp_path):
    rows = table_of(segment(a_small_file).stdout)
    assert [row["structure"] for row in rows] == NAMES
    labels = labels_of(tmp_path / "out")
    for value, row in enumerate(rows, start=1):
        voxels = np.count_nonzero(labels == value)
        assert float(row["volume (ml)"]) == pytest.approx(voxels * 0.064, rel=0.01)
        assert row["image"] == "small"
        assert float(row["query (s)"]) >= 0
        if voxels:
            assert -1 <= float(row["mean similarity"]) <= 1


def test_the_answer_is_that_of_the_library(segment, a_small_file, a_small_volume, a_model_folder, tmp_path):
    segment(a_small_file, "--targets", "spleen,liver", "--similarity")
    encoding = Segmenter.load(a_model_folder, "cpu").encode(a_small_volume)
    np.testing.assert_array_equal(labels_of(tmp_path / "out") == 2, encoding.segment(["liver"]).mask("liver"))
    written = np.asarray(nibabel.load(tmp_path / "out" / "small_similarity_spleen.nii.gz").dataobj)
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, encoding.similarity("spleen"), atol=1e-5)


@pytest.fixture
def a_small_volume(a_small_phantom):
    from CFSegmenterLib.volume import Volume

    return Volume.checked(a_small_phantom.image, a_small_phantom.affine, "mr")


def test_structures_are_asked_for_by_any_of_their_names(segment, a_small_file, tmp_path):
    result = segment(a_small_file, "--targets", " Kidney (left) , LIVER,kidney_left,")
    assert [row["structure"] for row in table_of(result.stdout)] == ["left kidney", "liver"]
    assert json.loads((tmp_path / "out" / "small_labels.json").read_text()) == {"1": "left kidney", "2": "liver"}


def test_maps_are_written_on_request_one_a_structure(segment, a_small_file, tmp_path):
    segment(a_small_file, "--targets", "liver,left kidney", "--similarity", "--margin")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    maps = {"small_similarity_liver.nii.gz", "small_similarity_left_kidney.nii.gz", "small_margin.nii.gz"}
    assert names == maps | {"small.seg.nrrd", "small_labels.json", "small_labels.nii.gz"}
    margin = np.asarray(nibabel.load(tmp_path / "out" / "small_margin.nii.gz").dataobj)
    assert margin.min() >= 0 and margin.max() > 0.1


def test_a_whole_and_its_part_are_both_kept_and_the_user_is_told(segment, a_small_file, tmp_path):
    result = segment(a_small_file, "--targets", "left kidney,kidney")
    out = tmp_path / "out"
    assert "left kidney" in result.stderr and "overlap" in result.stderr
    segmentation = slicerio.read_segmentation(str(out / "small.seg.nrrd"))
    assert segmentation["voxels"].shape[0] == 2
    part, whole = (segmentation["voxels"][s["layer"]] == s["labelValue"] for s in segmentation["segments"])
    assert part.any() and whole[part].all() and whole.sum() > part.sum()
    labels = labels_of(out)
    np.testing.assert_array_equal(labels == 1, part)
    np.testing.assert_array_equal(labels == 2, whole & ~part)


@pytest.mark.parametrize("kind", ["nrrd", "mha", "dicom"])
def test_every_format_gives_the_same_labels(segment, a_small_file, kind, tmp_path):
    image = SimpleITK.ReadImage(str(a_small_file))
    if kind == "dicom":
        path = tmp_path / "series"
        write_dicom(image, path)
    else:
        path = tmp_path / f"copy.{kind}"
        SimpleITK.WriteImage(image, str(path))
    result = segment(a_small_file, path)
    assert result.exit_code == 0, result.output
    first, second = labels_of(tmp_path / "out"), labels_of(tmp_path / "out", "series" if kind == "dicom" else "copy")
    moved = nibabel.as_closest_canonical(
        nibabel.load(tmp_path / "out" / f"{'series' if kind == 'dicom' else 'copy'}_labels.nii.gz")
    )
    assert second.shape == first.shape
    canonical = nibabel.as_closest_canonical(nibabel.load(tmp_path / "out" / "small_labels.nii.gz"))
    np.testing.assert_array_equal(np.asarray(moved.dataobj), np.asarray(canonical.dataobj))


def write_dicom(image, folder):
    folder.mkdir()
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    orientation = "\\".join(str(direction[i]) for i in (0, 3, 6, 1, 4, 7))
    for k in range(image.GetDepth()):
        plane = image[:, :, k]
        origin = image.TransformIndexToPhysicalPoint((0, 0, k))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.9.{k + 1}",
            "0008|0060": "MR",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.7",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.8",
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(str(c) for c in origin),
            "0020|0037": orientation,
            "0018|0050": str(image.GetSpacing()[2]),
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03}.dcm"))
        writer.Execute(plane)


def test_two_images_of_one_name_are_refused_before_any_work(refused_segment, a_small_file, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(a_small_file, other / "SMALL.nii.gz")
    assert "same names" in refused_segment(other / "SMALL.nii.gz")


def test_results_are_never_replaced_unasked(segment, refused, a_model_folder, a_small_file, tmp_path):
    kept = tmp_path / "out" / "small_labels.json"
    kept.parent.mkdir()
    kept.write_text("mine")
    sentence = refused("segment", a_small_file, "--model", a_model_folder, "--out", tmp_path / "out")
    assert "exists already" in sentence and "--overwrite" in sentence
    assert kept.read_text() == "mine" and len(list(kept.parent.iterdir())) == 1
    assert segment(a_small_file, "--overwrite").exit_code == 0
    assert json.loads(kept.read_text())["1"] == "liver"


def test_one_bad_image_does_not_stop_the_others(segment, a_small_file, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    other = tmp_path / "other.nii.gz"
    phantom = draw_small(901)
    save_nifti(other, phantom.image, phantom.affine)
    result = segment(a_small_file, bad, other)
    assert result.exit_code == 2
    assert "bad.nii.gz" in result.stderr and "1 of 3 images" in result.stderr
    assert {row["image"] for row in table_of(result.stdout)} == {"small", "other"}
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"small.seg.nrrd", "other.seg.nrrd"} <= names and not any("bad" in name for name in names)


def test_a_missing_image_is_noticed_before_the_others_are_segmented(refused_segment, tmp_path):
    assert "gone.nii.gz does not exist" in refused_segment(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--targets", "livre"], "did you mean liver"),
        (["--targets", "liver,prostate"], "not taught 'prostate'"),
        (["--targets", " , "], "targets are empty"),
        (["--device", "tpu"], "no device 'tpu'"),
        (["--protocol", "brain"], "no protocol 'brain'"),
        (["--modality", "ct"], "not taught CT"),
        (["--nonsense"], "--nonsense"),
        (["--out"], "--out"),
    ],
)
def test_a_wrong_option_is_answered_with_a_sentence(refused_segment, arguments, said):
    assert said in refused_segment(*arguments)


def test_a_missing_option_is_answered_with_a_sentence(refused, a_small_file):
    assert "--out" in refused("segment", a_small_file)
    assert "IMAGE" in refused("segment", "--out", "x")


def test_cuda_is_refused_where_there_is_none(refused_segment):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert "No CUDA device" in refused_segment("--device", "cuda")


@pytest.mark.parametrize("what", ["flat", "nan", "time", "constant", "empty"])
def test_an_image_that_cannot_be_segmented_is_explained(refused_segment, what, tmp_path):
    array = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    if what == "flat":
        array = array[:, :, :1]
    elif what == "nan":
        array[0, 0, 0] = np.nan
    elif what == "time":
        array = array[..., None].repeat(3, axis=3)
    elif what == "constant":
        array[:] = 1
    path = save_nifti(tmp_path / "odd.nii.gz", array, np.eye(4))
    if what == "empty":
        path.write_bytes(b"")
    sentence = refused_segment(image=path)
    assert len(sentence) > 40 and "Traceback" not in sentence


def test_a_folder_that_is_a_file_is_refused(refused, a_model_folder, a_small_file, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(
        "segment", a_small_file, "--model", a_model_folder, "--out", tmp_path / "file", "--modality", "mr"
    )


def test_a_model_with_a_changed_byte_is_refused(refused_segment, a_model_folder, tmp_path):
    changed = shutil.copytree(a_model_folder, tmp_path / "changed")
    weights = changed / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert "checksum" in refused_segment(model=changed)


def test_a_model_that_is_none_is_explained(refused_segment, a_model_folder, tmp_path):
    assert "no model 'gneral'" in refused_segment(model="gneral")
    assert "is not a model" in refused_segment(model=tmp_path)
    assert "last" in refused_segment(model=a_model_folder.parent)


def fails_for_want_of_memory(*_, **__):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to")


@pytest.mark.parametrize(
    "place", ["windows.gaussian", "encoding.winners", "results.write_segmentation", "segmenter.check_volume"]
)
def test_an_image_that_memory_does_not_suffice_for_is_a_sentence(segment, a_small_file, tmp_path, monkeypatch, place):
    monkeypatch.setattr(f"CFSegmenterLib.{place}", fails_for_want_of_memory)
    result = segment(a_small_file)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: There is too little memory to ")
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "out").iterdir())


def test_an_image_that_memory_does_not_suffice_for_does_not_keep_others_back(
    segment, a_small_file, tmp_path, monkeypatch
):
    other = save_nifti(tmp_path / "other.nii.gz", nibabel.load(a_small_file).get_fdata().astype(np.int16), np.eye(4))
    gaussian, asked = windows.gaussian, []

    def fails_at_first(patch):
        asked.append(patch)
        return gaussian(patch) if len(asked) > 1 else fails_for_want_of_memory()

    monkeypatch.setattr(windows, "gaussian", fails_at_first)
    result = segment(a_small_file, other)
    assert result.exit_code == 2
    assert "1 of 2 images could not be segmented" in result.stderr
    assert len(table_of(result.stdout)) == len(NAMES)
    assert {path.name.split("_")[0].split(".")[0] for path in (tmp_path / "out").iterdir()} == {"other"}


def test_a_full_stop_with_ctrl_c_leaves_nothing_unfinished(segment, a_small_file, tmp_path, monkeypatch):
    from CFSegmenterLib.files import writing

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "replace", interrupted)
    result = segment(a_small_file)
    assert result.exit_code == 130
    assert "Stopped" in result.stderr
    assert not list((tmp_path / "out").iterdir()) and not hidden_files(tmp_path)
