from __future__ import annotations

import numpy as np
import pytest

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.protocols import Protocol, choose_protocol, matches
from CFSegmenterLib.volume import Volume
from Testing.Library.painted import ORIENTATIONS, a_protocol, an_affine

BRAIN = a_protocol("brain", "mr-t1", typical_spacing=(1.0, 1.0, 1.0), typical_extent=(180.0, 220.0, 180.0))
ABDOMEN = a_protocol("abdomen", "mr-t2", typical_spacing=(1.3, 1.3, 7.7), typical_extent=(330.0, 330.0, 250.0))
HEART = a_protocol("heart", "mr-cine", typical_spacing=(1.5, 1.5, 10.0), typical_extent=(300.0, 300.0, 90.0))
NECK = a_protocol("neck", "ct", typical_spacing=(4.0, 4.0, 2.5), typical_extent=(350.0, 250.0, 300.0))
LUNG = a_protocol("lung", "ct", typical_spacing=(0.8, 0.8, 1.0), typical_extent=(400.0, 400.0, 350.0))
ALL = (BRAIN, ABDOMEN, HEART, NECK, LUNG)


def a_scan(spacing=(1.0, 1.0, 1.0), shape=(18, 22, 18), modality=None, low=0, **geometry) -> Volume:
    array = np.zeros(shape, dtype=np.int16)
    array[0, 0, 0], array[-1, -1, -1] = low, 900
    return Volume.checked(array, an_affine(spacing, **geometry), modality)


def as_wide_as(protocol: Protocol, modality: str | None) -> Volume:
    """A scan that looks like the protocol's own, at a tenth of the voxels."""
    shape = np.maximum(2, np.round(np.array(protocol.typical_extent) / protocol.typical_spacing / 1.2)).astype(int)
    return a_scan(np.array(protocol.typical_spacing) * 1.2, tuple(shape), modality)


def test_a_protocol_that_was_named_is_taken_whatever_the_scan_is():
    assert choose_protocol(ALL, a_scan(modality="ct"), "brain") is BRAIN


def test_a_name_that_no_protocol_has_is_answered_with_those_there_are():
    with pytest.raises(UserError, match=r"no protocol 'knee'.*'brain' \(mr-t1\).*'lung' \(ct\)"):
        choose_protocol(ALL, a_scan(modality="ct"), "knee")


@pytest.mark.parametrize("protocol", ALL, ids=lambda p: p.name)
def test_a_scan_of_a_known_modality_finds_its_own_protocol(protocol):
    assert choose_protocol(ALL, as_wide_as(protocol, protocol.modality)) is protocol


@pytest.mark.parametrize("protocol", (BRAIN, ABDOMEN, HEART), ids=lambda p: p.name)
def test_of_all_mr_protocols_the_one_of_the_nearest_spacing_and_size_is_taken(protocol):
    assert choose_protocol(ALL, as_wide_as(protocol, "mr")) is protocol


def test_the_finer_ct_goes_to_the_finer_protocol():
    assert choose_protocol(ALL, as_wide_as(LUNG, "ct")) is LUNG
    assert choose_protocol(ALL, as_wide_as(NECK, "ct")) is NECK


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_the_orientation_of_the_scan_makes_no_difference(order, signs):
    shape, spacing = np.array([20, 20, 9]), np.array([15.0, 15.0, 10.0])  # heart: thin along S
    turned = a_scan(spacing[list(order)], tuple(shape[list(order)]), "mr", order=order, signs=signs)
    assert choose_protocol(ALL, turned) is HEART


@pytest.mark.parametrize("degrees", [(0, 0, 45), (45, 0, 0), (35.264, 0, 45), (30, 40, 50)])
def test_every_axis_of_an_oblique_scan_counts_once(degrees):
    spacing, shape = (1.0, 1.2, 9.0), (200, 210, 11)
    volume = a_scan(spacing, shape, "mr", degrees=degrees)
    seen = []

    class Watched(Protocol):
        def distance(self, spacing, extent):
            seen.append((sorted(spacing), sorted(extent)))
            return super().distance(spacing, extent)

    choose_protocol([Watched(**BRAIN.model_dump()), Watched(**HEART.model_dump())], volume)
    for own_spacing, extent in seen:
        np.testing.assert_allclose(own_spacing, sorted(spacing))
        np.testing.assert_allclose(extent, sorted(volume.extent))


@pytest.mark.parametrize("low, expected", [(-1024, "ct"), (-100, "ct"), (-99, "mr"), (0, "mr")])
def test_a_scan_that_does_not_say_its_modality_is_ct_where_it_has_air_in_hounsfield_units(low, expected):
    assert choose_protocol(ALL, a_scan(low=low)).modality.startswith(expected)


@pytest.mark.parametrize("modality", ["us", "pt", "xa", "mrx"])
def test_a_modality_that_was_not_taught_is_refused_in_a_sentence(modality):
    with pytest.raises(UserError) as refusal:
        choose_protocol(ALL, a_scan(modality=modality))
    assert f"not taught {modality.upper()} scans" in str(refusal.value)
    assert "'brain' (mr-t1)" in str(refusal.value) and "name the modality" in str(refusal.value)


def test_a_sequence_that_was_not_taught_is_refused_though_others_of_mr_were():
    with pytest.raises(UserError, match="not taught MR-DWI scans"):
        choose_protocol(ALL, a_scan(modality="mr-dwi"))


def test_a_ct_is_not_read_by_a_model_of_mr():
    with pytest.raises(UserError, match="not taught CT scans"):
        choose_protocol((BRAIN,), a_scan(low=-1000))


@pytest.mark.parametrize(
    "known, asked, fits",
    [
        ("mr-t1", "mr-t1", True),
        ("mr-t1", "mr", True),
        ("mr", "mr-t1", True),
        ("mr-t1", "mr-t2", False),
        ("mr-t1", "mr-t1-contrast", True),
        ("mr-t1", "m", False),
        ("ct", "mr", False),
        ("ctx", "ct", False),
    ],
)
def test_a_modality_fits_itself_and_what_is_more_or_less_precise(known, asked, fits):
    assert matches(known, asked) is fits


def test_a_scan_like_the_typical_one_is_at_no_distance():
    assert BRAIN.distance(np.array(BRAIN.typical_spacing), np.array(BRAIN.typical_extent)) == pytest.approx(0)
    double = BRAIN.distance(2 * np.array(BRAIN.typical_spacing), np.array(BRAIN.typical_extent))
    half = BRAIN.distance(np.array(BRAIN.typical_spacing) / 2, np.array(BRAIN.typical_extent))
    assert double == pytest.approx(half) == pytest.approx(np.log(2) / 2)
