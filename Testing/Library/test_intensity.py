from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from CFSegmenterLib.intensity import CT_WINDOW, ForegroundZScoreRule, IntensityRule, WindowRule, default_rule

RULES = (WindowRule(low=-200, high=400), ForegroundZScoreRule())


def a_scan(air: int = 20, seed: int = 0) -> np.ndarray:
    """Tissue of about 300 with a deviation of 60, `air` dark slices beside it."""
    random = np.random.default_rng(seed)
    tissue = random.normal(300, 60, (20, 20, 20)).clip(150)
    return np.concatenate([tissue, np.abs(random.normal(0, 3, (air, 20, 20)))]).astype(np.float32)


def test_a_window_becomes_minus_two_to_two():
    values = np.array([-1000, -200, -50, 100, 250, 400, 3000], dtype=np.int16).reshape(7, 1, 1)
    shown = WindowRule(low=-200, high=400).apply(values)
    np.testing.assert_allclose(shown.ravel(), [-2, -2, -1, 0, 1, 2, 2])


@pytest.mark.parametrize("low, high", [(400, -200), (5, 5)])
def test_a_window_without_a_width_is_refused(low, high):
    with pytest.raises(ValidationError):
        WindowRule(low=low, high=high)


@pytest.mark.parametrize("setting", [{"upper": 0}, {"upper": 101}, {"limit": 0}, {"limit": -1}, {"lower": 3}])
def test_a_z_score_without_sense_is_refused(setting):
    with pytest.raises(ValidationError):
        ForegroundZScoreRule(**setting)


def test_the_foreground_has_mean_zero_and_deviation_one():
    shown = ForegroundZScoreRule().apply(a_scan())
    tissue = shown[:20]
    assert abs(float(tissue.mean())) < 0.02
    assert abs(float(tissue.std()) - 1) < 0.05
    assert np.all(shown[20:] < tissue.min())


@pytest.mark.parametrize("scale, offset", [(1, 0), (0.001, 0), (37.5, 0), (2.0, -1500.0), (1.0, 40000.0)])
def test_the_unit_of_an_mr_scan_makes_no_difference(scale, offset):
    plain = ForegroundZScoreRule().apply(a_scan())
    np.testing.assert_allclose(ForegroundZScoreRule().apply(a_scan() * scale + offset), plain, atol=2e-3)


def test_the_amount_of_air_hardly_makes_a_difference():
    little, much = (ForegroundZScoreRule().apply(a_scan(air))[:20] for air in (2, 60))
    assert np.abs(little - much).mean() < 0.05


def test_a_few_bright_voxels_do_not_dim_the_rest():
    scan = a_scan()
    plain = ForegroundZScoreRule().apply(scan)
    scan[0, 0, :10] = 1e6
    bright = ForegroundZScoreRule().apply(scan)
    assert bright.max() <= 5
    np.testing.assert_allclose(bright[1:], plain[1:], atol=0.05)


def test_what_is_far_from_the_mean_is_clipped():
    shown = ForegroundZScoreRule(limit=1.5).apply(a_scan())
    assert shown.min() == -1.5 and shown.max() == 1.5


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.kind)
@pytest.mark.parametrize(
    "dtype", [bool, np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint64, np.float16, np.float64]
)
def test_any_number_format_gives_float32_and_is_left_as_it_was(rule, dtype):
    scan = np.arange(60).reshape(3, 4, 5).astype(dtype)
    kept = scan.copy()
    shown = rule.apply(scan)
    assert shown.dtype == np.float32 and shown.shape == scan.shape
    assert np.all(np.isfinite(shown))
    np.testing.assert_array_equal(scan, kept)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.kind)
def test_a_float32_scan_is_not_overwritten(rule):
    scan = a_scan()
    kept = scan.copy()
    rule.apply(scan)
    np.testing.assert_array_equal(scan, kept)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("fill", [0.0, -7.0, 1e6])
def test_a_tiny_or_constant_array_gives_numbers(shape, fill):
    for rule in RULES:
        shown = rule.apply(np.full(shape, fill))
        assert shown.shape == shape and np.all(np.isfinite(shown))
    np.testing.assert_array_equal(ForegroundZScoreRule().apply(np.full(shape, fill)), 0)


def test_two_values_are_told_apart_in_the_smallest_scan():
    scan = np.array([0, 0, 0, 0, 0, 0, 0, 5], dtype=np.int16).reshape(2, 2, 2)
    shown = ForegroundZScoreRule().apply(scan)
    assert np.all(np.isfinite(shown)) and shown[1, 1, 1] > shown[0, 0, 0]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_small_and_very_large_values_give_numbers(scale):
    shown = ForegroundZScoreRule().apply(a_scan().astype(np.float64) * scale)
    assert np.all(np.isfinite(shown))


def test_the_order_of_the_voxels_makes_no_difference():
    scan = np.random.default_rng(0).normal(300, 60, (17, 19, 23)).astype(np.float32)
    shown = ForegroundZScoreRule().apply(scan)
    for order in ((2, 0, 1), (1, 0, 2)):
        turned = ForegroundZScoreRule().apply(np.ascontiguousarray(scan.transpose(order)))
        np.testing.assert_array_equal(turned, shown.transpose(order))


def test_ct_is_read_on_its_absolute_scale_and_all_else_is_not():
    assert default_rule("ct") == default_rule("ct-contrast") == CT_WINDOW
    for modality in ("mr", "mr-t1", "mr-cine", "us", "pt"):
        assert isinstance(default_rule(modality), ForegroundZScoreRule)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.kind)
def test_a_rule_survives_the_manifest(rule):
    adapter = TypeAdapter(IntensityRule)
    assert adapter.validate_json(adapter.dump_json(rule)) == rule


def test_a_rule_of_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError):
        TypeAdapter(IntensityRule).validate_python({"kind": "histogram"})
