from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from CFSegmenterLib.encoding import allocator
from CFSegmenterLib.errors import Cancelled
from CFSegmenterLib.network import PrototypeNetwork
from CFSegmenterLib.windows import gaussian, pad_to, unit_features, window_starts

PATCH = (8, 8, 4)


@pytest.fixture(scope="module")
def a_network() -> PrototypeNetwork:
    torch.manual_seed(0)
    return PrototypeNetwork("dynunet", 5, 16, filters=[16, 16, 16]).eval()


def an_image(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def naive_features(network: PrototypeNetwork, image: np.ndarray, patch, overlap: float) -> np.ndarray:
    """All windows summed up over the whole padded image in float64, with nothing rolled or cut."""
    padded, inside = pad_to(image, patch)
    total = np.zeros((*padded.shape, network.features))
    mass = np.zeros((*padded.shape, 1))
    weight = gaussian(patch).double().numpy()
    for start in product(*[window_starts(n, side, overlap) for n, side in zip(padded.shape, patch, strict=True)]):
        box = tuple(slice(s, s + side) for s, side in zip(start, patch, strict=True))
        with torch.no_grad():
            window = torch.from_numpy(np.ascontiguousarray(padded[box]))[None, None]
            unit = network.cosine().unit(network(window)[0])
        total[box] += unit.double().numpy() * weight
        mass[box] += weight
    return (total / mass)[inside]


@given(length=st.integers(1, 400), side=st.integers(1, 96), overlap=st.floats(0, 0.9))
def test_windows_cover_an_axis_from_end_to_end(length, side, overlap):
    side = min(side, length)
    starts = window_starts(length, side, overlap)
    assert starts[0] == 0 and starts[-1] == length - side
    steps = np.diff(starts)
    assert np.all(steps > 0), "no window twice"
    # Rounding to whole voxels may take less than one voxel of the overlap.
    assert np.all(steps < max(1.0, side * (1 - overlap)) + 1) and np.all(steps <= side), "no gap"


@pytest.mark.parametrize("length, side, overlap, starts", [
    (32, 32, 0.5, [0]),
    (33, 32, 0.5, [0, 1]),
    (48, 32, 0.5, [0, 16]),
    (64, 32, 0.5, [0, 16, 32]),
    (64, 32, 0.0, [0, 32]),
    (65, 32, 0.0, [0, 16, 33]),
])  # fmt: skip
def test_windows_are_spread_evenly(length, side, overlap, starts):
    assert window_starts(length, side, overlap) == starts


@pytest.mark.parametrize("patch", [(8, 8, 4), (1, 1, 1), (7, 16, 5), (32, 48, 32)])
def test_the_weights_are_largest_in_the_middle_and_nowhere_zero(patch):
    weights = gaussian(patch)
    assert weights.shape == (*patch, 1)
    assert weights.min() > 0 and torch.all(torch.isfinite(weights))
    assert weights.max() == weights[tuple(side // 2 for side in patch)]
    for axis in range(3):
        torch.testing.assert_close(weights, weights.flip(axis))
    line = weights[:, patch[1] // 2, patch[2] // 2, 0]
    assert torch.all(line[: (patch[0] + 1) // 2].diff() >= 0)


def test_an_image_that_is_large_enough_is_not_padded():
    image = an_image((8, 9, 4))
    padded, inside = pad_to(image, PATCH)
    np.testing.assert_array_equal(padded, image)
    assert inside == (slice(0, 8), slice(0, 9), slice(0, 4))


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 8, 4), (3, 20, 2), (8, 5, 9)])
def test_a_small_image_is_padded_with_its_darkest_value_on_both_sides(shape):
    image = an_image(shape)
    padded, inside = pad_to(image, PATCH)
    assert padded.shape == tuple(np.maximum(shape, PATCH)) and padded.dtype == np.float32
    np.testing.assert_array_equal(padded[inside], image)
    around = np.ones(padded.shape, dtype=bool)
    around[inside] = False
    assert np.all(padded[around] == image.min())
    for part, length in zip(inside, padded.shape, strict=True):
        assert abs(part.start - (length - part.stop)) <= 1


@pytest.mark.parametrize("shape", [(8, 8, 4), (19, 11, 9), (9, 8, 13), (31, 10, 4), (3, 2, 1), (21, 5, 7), (5, 17, 6)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_the_rolling_slab_gives_what_summing_everything_up_gives(a_network, shape, overlap):
    image = an_image(shape)
    rolled = unit_features(a_network, image, PATCH, overlap=overlap)
    assert rolled.dtype == np.float16 and rolled.shape == (*shape, 5)
    np.testing.assert_allclose(rolled, naive_features(a_network, image, PATCH, overlap), atol=1e-3)


def test_an_average_of_unit_features_is_never_longer_than_one(a_network):
    features = unit_features(a_network, an_image((20, 20, 9)), PATCH)
    lengths = np.linalg.norm(features.astype(np.float32) @ a_network.projection.detach().numpy().T, axis=-1)
    assert lengths.max() < 1.002
    alone = unit_features(a_network, an_image(PATCH), PATCH)
    single = np.linalg.norm(alone.astype(np.float32) @ a_network.projection.detach().numpy().T, axis=-1)
    np.testing.assert_allclose(single, 1, atol=2e-3)


def test_an_image_without_contrast_gives_numbers(a_network):
    assert np.all(np.isfinite(unit_features(a_network, np.zeros((12, 8, 4), dtype=np.float32), PATCH)))


def test_the_image_is_left_as_it_was(a_network):
    image = an_image((12, 9, 6))
    kept = image.copy()
    unit_features(a_network, image, PATCH)
    np.testing.assert_array_equal(image, kept)


def test_voxels_in_any_order_of_memory_can_be_passed(a_network):
    image = an_image((12, 9, 6))
    np.testing.assert_array_equal(
        unit_features(a_network, np.asfortranarray(image), PATCH), unit_features(a_network, image, PATCH)
    )


def test_bfloat16_gives_nearly_the_same_directions(a_network):
    image = an_image((12, 9, 6))
    exact = unit_features(a_network, image, PATCH).astype(np.float32)
    rough = unit_features(a_network, image, PATCH, precision="bf16-mixed").astype(np.float32)
    projection = a_network.projection.detach().numpy()
    cosines = np.sum((exact @ projection.T) * (rough @ projection.T), axis=-1)
    assert np.median(cosines) > 0.9


def test_progress_counts_every_window_up_to_the_last(a_network):
    said = []

    def progress(done: int, total: int, message: str) -> bool:
        said.append((done, total))
        return True

    unit_features(a_network, an_image((19, 11, 9)), PATCH, progress=progress)
    total = said[0][1]
    assert total == np.prod([len(window_starts(n, s, 0.5)) for n, s in zip((19, 11, 9), PATCH, strict=True)])
    assert said == [(n, total) for n in range(total + 1)]


@pytest.mark.parametrize("patience", [0, 1, 5])
def test_no_further_window_is_computed_after_a_cancel(a_network, patience):
    passes = []
    handle = a_network.register_forward_hook(lambda *_: passes.append(1))
    try:
        with pytest.raises(Cancelled):
            unit_features(a_network, an_image((30, 20, 9)), PATCH, progress=lambda done, *_: done < patience)
    finally:
        handle.remove()
    assert len(passes) == patience


def test_features_in_a_file_are_those_in_memory(a_network):
    image = an_image((19, 11, 9))
    asked = []

    def allocate(shape):
        asked.append(shape)
        return allocator(0)(shape)

    in_file = unit_features(a_network, image, PATCH, allocate=allocate)
    assert asked == [(19, 11, 9, 5)] and isinstance(in_file, np.memmap)
    np.testing.assert_array_equal(in_file, unit_features(a_network, image, PATCH))
