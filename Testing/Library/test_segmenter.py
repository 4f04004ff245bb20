from __future__ import annotations

import numpy as np
import pytest
import torch

from CFSegmenterLib import segmenter as segmenter_module
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.evaluation import dice
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.volume import Volume
from Testing.Library.painted import a_plain_model, a_protocol, an_affine

SHAPE = (20, 18, 17)


@pytest.fixture(scope="module")
def a_plain_segmenter() -> Segmenter:
    return Segmenter(a_plain_model(), device="cpu", precision="32-true")


def some_voxels(shape=SHAPE, dtype=np.float32) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=shape) * 50 + 100).astype(dtype)


def a_volume(array=None, affine=None, modality="mr-t2") -> Volume:
    """Not checked: what a caller may hand in."""
    return Volume(
        some_voxels() if array is None else array, an_affine((4.0, 4.0, 4.0)) if affine is None else affine, modality
    )


def with_value(value: float) -> np.ndarray:
    array = some_voxels()
    array[3, 4, 5] = value
    return array


def with_column(column: int, values) -> np.ndarray:
    affine = an_affine((4.0, 4.0, 4.0))
    affine[:3, column] = values
    return affine


BAD_VOXELS = {
    "2D": (some_voxels((20, 18)), "2"),
    "one slice": (some_voxels((20, 18, 1)), "two-dimensional"),
    "1D": (some_voxels((20,)), "1 dimension"),
    "a number": (np.float32(3), "0 dimensions"),
    "4D": (some_voxels((10, 9, 8, 2)), "4 dimensions"),
    "color": (some_voxels((10, 9, 8, 3)), "4 dimensions"),
    "one voxel": (some_voxels((1, 1, 1)), "single voxel"),
    "empty": (some_voxels((0, 5, 5)), "empty"),
    "NaN": (with_value(np.nan), "NaN"),
    "infinite": (with_value(np.inf), "infinite"),
    "minus infinity": (with_value(-np.inf), "infinite"),
    "constant": (np.full(SHAPE, 7, dtype=np.int16), "same value"),
    "complex": (some_voxels().astype(np.complex64), "complex"),
    "text": (np.full(SHAPE, "x"), "numbers"),
}
BAD_AFFINES = {
    "singular": (with_column(2, (0, 0, 0)), "singular"),
    "two axes alike": (with_column(2, (4, 0, 0)), "singular"),
    "sheared": (with_column(2, (0, 1.5, 4)), "right angles"),
    "NaN": (with_column(0, (np.nan, 0, 0)), "NaN"),
    "infinite": (with_column(3, (np.inf, 0, 0)), "infinite"),
    "3 x 3": (np.eye(3), "4 x 4"),
    "in meters": (an_affine((0.004, 0.004, 0.004)), "spacing"),
    "huge": (an_affine((4000, 4000, 4000)), "spacing"),
}


@pytest.mark.parametrize("kind", BAD_VOXELS)
def test_voxels_that_cannot_be_segmented_are_refused_in_a_sentence(a_plain_segmenter, kind):
    array, said = BAD_VOXELS[kind]
    with pytest.raises(UserError, match=said) as refusal:
        a_plain_segmenter.encode(a_volume(array))
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", BAD_AFFINES)
def test_a_place_in_space_that_makes_no_sense_is_refused_in_a_sentence(a_plain_segmenter, kind):
    affine, said = BAD_AFFINES[kind]
    with pytest.raises(UserError, match=said):
        a_plain_segmenter.encode(a_volume(affine=affine))


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5, float("nan")])
def test_windows_that_would_never_cover_the_image_are_refused(a_plain_segmenter, overlap):
    with pytest.raises(UserError, match="overlap"):
        a_plain_segmenter.encode(a_volume(), overlap=overlap)


def test_a_scan_of_another_modality_is_refused_unless_a_protocol_is_named(a_plain_segmenter):
    with pytest.raises(UserError, match="not taught CT"):
        a_plain_segmenter.encode(a_volume(modality="ct"))
    assert a_plain_segmenter.encode(a_volume(modality="ct"), protocol="abdomen").protocol.name == "abdomen"


def test_a_protocol_that_does_not_exist_is_refused(a_plain_segmenter):
    with pytest.raises(UserError, match="no protocol 'knee'"):
        a_plain_segmenter.encode(a_volume(), protocol="knee")


@pytest.mark.parametrize("modality", ["MR-T2", " mr ", "MRI", "T2w", None])
def test_the_spelling_of_a_modality_makes_no_difference(a_plain_segmenter, modality):
    assert a_plain_segmenter.encode(a_volume(modality=modality)).protocol.modality == "mr-t2"


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="no device 'tpu'"):
        Segmenter(a_plain_model(), device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="No CUDA device"):
            Segmenter(a_plain_model(), device="cuda")


class SmallCard:
    """A card whose memory does not suffice `failures` times; what it computes, the processor computes."""

    def __init__(self, monkeypatch, failures, asked, says="CUDA out of memory. Tried to allocate 7 GiB"):
        self.left, self.tried = failures, []
        self.segmenter = Segmenter(a_plain_model(), device="cpu", precision="32-true")
        self.segmenter._may_be_any_device = asked == "auto"
        compute = segmenter_module.unit_features

        def unit_features(network, *args, gathering, **said):
            self.tried.append((network.on, gathering.type))
            if self.left:
                self.left -= 1
                raise RuntimeError(says)
            return compute(network, *args, **said)

        network = self.segmenter.model.network

        def to(device, **how):
            network.on = torch.device(device).type
            return network

        monkeypatch.setattr(segmenter_module, "unit_features", unit_features)
        # Whatever processor this is: the answers are compared to the bit.
        monkeypatch.setattr(segmenter_module, "choose_precision", lambda device: "32-true")
        monkeypatch.setattr(network, "to", to)
        self.segmenter.device = torch.device("cuda")


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_where_a_card_has_too_little_memory_less_is_done_there(monkeypatch, a_plain_segmenter, failures):
    wanted = a_plain_segmenter.encode(a_volume()).similarity("liver")
    card = SmallCard(monkeypatch, failures, "auto")
    found = card.segmenter.encode(a_volume()).similarity("liver")
    assert card.tried == [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cpu")][: failures + 1]
    np.testing.assert_array_equal(found, wanted)


def test_who_asked_for_the_card_is_told_that_it_is_too_small(monkeypatch):
    card = SmallCard(monkeypatch, 2, "cuda")
    with pytest.raises(UserError, match=r"'cuda' has too little memory for windows of .* use the device 'cpu'"):
        card.segmenter.encode(a_volume())
    assert card.tried == [("cuda", "cuda"), ("cuda", "cpu")]


def test_a_computer_that_has_too_little_memory_is_not_taken_for_its_card(monkeypatch):
    says = "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to"
    card = SmallCard(monkeypatch, 1, "auto", says)
    with pytest.raises(UserError, match="too little memory to encode this volume: close other programs"):
        card.segmenter.encode(a_volume())
    assert card.tried == [("cuda", "cuda")]


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match="not a model folder"):
            Segmenter.load(folder, device="cpu")


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_an_encoding_can_be_cancelled_at_every_window(a_plain_segmenter, patience):
    asked = []

    def progress(done: int, total: int, message: str) -> bool:
        asked.append(done)
        return done < patience

    with pytest.raises(Cancelled):
        a_plain_segmenter.encode(a_volume(), progress=progress)
    assert asked == list(range(patience + 1))


def test_progress_ends_where_it_said(a_plain_segmenter):
    said = []
    a_plain_segmenter.encode(a_volume(), progress=lambda *step: bool(said.append(step)) or True)
    assert said[-1][0] == said[-1][1] == len(said) - 1
    assert all(isinstance(message, str) and message for _, _, message in said)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.uint16, np.int32, np.float16, np.float64, ">i2", ">f4"])
def test_voxels_of_any_number_format_are_read(a_plain_segmenter, dtype):
    array = (some_voxels() > 100).astype(dtype)
    found = a_plain_segmenter.encode(a_volume(array))
    expected = a_plain_segmenter.encode(a_volume(array.astype(np.float32)))
    np.testing.assert_array_equal(found.features, expected.features)


def test_the_same_scan_gives_the_same_encoding_and_is_left_as_it_was(a_plain_segmenter):
    volume = a_volume()
    kept, affine = volume.array.copy(), volume.affine.copy()
    first, second = (a_plain_segmenter.encode(volume) for _ in range(2))
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(volume.array, kept)
    np.testing.assert_array_equal(volume.affine, affine)


@pytest.mark.parametrize("shape, spacing, degrees", [
    ((2, 2, 2), (4.0, 4.0, 4.0), (0, 0, 0)),
    ((3, 40, 2), (4.0, 2.0, 9.0), (0, 0, 0)),
    ((2, 2, 60), (0.3, 0.3, 2.0), (12, 5, -30)),
    ((40, 12, 7), (2.0, 5.0, 11.0), (-20, 40, 8)),
    ((9, 9, 4), (90.0, 90.0, 90.0), (0, 0, 0)),
])  # fmt: skip
def test_a_scan_of_any_shape_is_answered_on_its_own_grid(shape, spacing, degrees):
    protocol = a_protocol(spacing=(4.0, 4.0, 4.0) if max(spacing) < 50 else (60.0, 60.0, 60.0))
    segmenter = Segmenter(a_plain_model(protocols=(protocol,)), device="cpu", precision="32-true")
    volume = a_volume(some_voxels(shape), an_affine(spacing, degrees=degrees, origin=(-70, 5, 900)))
    encoding = segmenter.encode(volume)
    assert encoding.segment().layers[0].shape == shape
    assert encoding.margin().shape == encoding.similarity("liver").shape == shape


def test_a_trained_model_finds_what_it_was_taught(a_segmenter, a_small_volume, a_small_phantom):
    segmentation = a_segmenter.encode(a_small_volume).segment()
    labels = a_small_phantom.labels
    found = {name: segmentation.mask(name) for name in segmentation.names}
    of = {name: labels == label for label, name in a_small_phantom.names.items()}
    for name in ("liver", "spleen"):
        assert dice(of[name], found[name]) > 0.4, name
    # So small a network hardly tells the sides apart, but kidneys from all else.
    both = [group["left kidney"] | group["right kidney"] for group in (of, found)]
    assert dice(*both) > 0.4


def test_a_loaded_model_answers_like_the_one_in_memory(a_model_folder, a_segmenter, a_small_volume):
    loaded = Segmenter.load(a_model_folder, device="cpu")
    assert loaded.device.type == "cpu"
    in_full = Segmenter(loaded.model, device="cpu", precision="32-true")
    np.testing.assert_array_equal(in_full.encode(a_small_volume).features, a_segmenter.encode(a_small_volume).features)
