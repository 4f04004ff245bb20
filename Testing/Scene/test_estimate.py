"""What a run will take, said before it starts."""

from __future__ import annotations

import numpy as np
import pytest
from CFSegmenterUI.estimate import estimateRun, machineFor, measuredSpeed, windowCount

PROTOCOL = {"spacing": (2.0, 2.0, 2.0), "patch": (48, 48, 48)}
CPU = {"device": "cpu", "precision": "32-true", "memory_free": 8_000_000_000}


def estimate(shape=(200, 200, 150), spacing=(1.0, 1.0, 1.0), machine=CPU, speed=None, **said):
    return estimateRun(shape, spacing, PROTOCOL, 32, 4, machine, speed, **said)


def test_it_counts_the_windows_that_the_network_will_see():
    from CFSegmenterLib.windows import OVERLAP, window_starts

    for length in (1, 48, 49, 72, 73, 200):
        assert windowCount(length, 48) == len(window_starts(max(length, 48), 48, OVERLAP))
    # 100 x 100 x 75 voxels of the model's grid: 4 x 4 x 3 windows of 48 cubed
    assert estimate(speed=1e6).seconds == pytest.approx(48 * 48**3 / 1e6)


def test_a_measured_speed_replaces_the_guess():
    shape, spacing = (200, 200, 150), (1.0, 1.0, 1.0)
    speed = measuredSpeed(shape, spacing, PROTOCOL, 12.5)
    assert estimate(speed=speed).seconds == pytest.approx(12.5)
    assert estimate((400, 400, 300), (0.5, 0.5, 0.5), speed=speed).seconds == pytest.approx(12.5)  # the same grid
    assert estimate((400, 200, 150), speed=speed).seconds > 20


def test_a_graphics_card_is_expected_to_be_faster():
    assert estimate(machine={**CPU, "device": "cuda"}).seconds < estimate().seconds / 5
    assert estimate(machine=None).seconds == estimate().seconds  # before the worker has said what it has


def test_the_processor_that_was_asked_for_counts_and_not_the_graphics_card_beside_it():
    both = {**CPU, "device": "cuda", "precision": "bf16-mixed"}
    assert estimate(machine=machineFor(both, "cpu")).seconds == estimate().seconds
    assert machineFor(both, "auto") == machineFor(both, "cuda") == both
    assert machineFor(None, "cpu") is None


def test_memory_grows_with_the_model_s_grid_and_with_the_volume():
    voxels = 200 * 200 * 150
    assert estimate().workerBytes > 2 * 32 * voxels / 8
    finer = estimate((400, 400, 300), (0.5, 0.5, 0.5))
    assert finer.workerBytes - estimate().workerBytes == pytest.approx(14 * 7 * voxels)
    assert finer.sceneBytes == 8 * estimate().sceneBytes


def test_it_predicts_the_peak_that_the_benchmark_measured():
    """Testing/Benchmarks/results/encoding.json: 256 x 256 x 192 voxels, windows of 64 cubed, 32 features."""
    found = estimateRun((256, 256, 192), (1, 1, 1), {"spacing": (1, 1, 1), "patch": (64, 64, 64)}, 32, 2, None)
    without = found.workerBytes - 14 * 256 * 256 * 192  # the benchmark has no volume besides the grid
    assert without == pytest.approx(1951768576 - 471883776, rel=0.1)


def test_one_line_says_time_and_memory():
    assert estimate(speed=1e6).text == "About 6 s and 270 MB (8.0 GB free)"
    assert estimate(machine=None, speed=1e5).text == "About 55 s and 270 MB"
    assert estimate(machine=None, speed=1e4).text == "About 9 min and 270 MB"


def test_too_little_memory_says_what_to_do():
    found = estimate((1000, 1000, 1000))
    assert not found.enoughMemory
    assert found.text.startswith("This needs about 27 GB, 8.0 GB are free: crop the volume")
    assert estimate((1000, 1000, 1000), machine=None).enoughMemory


def test_an_encoded_scan_is_answered_at_once():
    found = estimate(isEncoded=True)
    assert found.seconds == 0
    assert found.workerBytes < estimate().workerBytes
    assert "at once" in found.text


def test_axes_that_run_otherwise_are_counted_along_the_patient_s():
    thin = {"spacing": (1.0, 1.0, 8.0), "patch": (96, 96, 16)}
    sagittal = np.array([[0, 0, 8.0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # I to A, J to S, K to R
    along = estimateRun((12, 192, 192), (8.0, 1.0, 1.0), thin, 16, 1, None, 1e6)
    turned = estimateRun((192, 192, 12), (1.0, 1.0, 8.0), thin, 16, 1, None, 1e6, affine=sagittal)
    assert turned.seconds == along.seconds
    assert estimateRun((192, 192, 12), (1.0, 1.0, 8.0), thin, 16, 1, None, 1e6).seconds != turned.seconds


def test_nothing_at_all_is_estimated_without_a_crash():
    assert estimate((0, 0, 0)).seconds > 0
