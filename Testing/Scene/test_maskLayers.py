"""Masks that share layers are made one at a time."""

import numpy as np
from CFSegmenterUI.maskLayers import MaskLayers


def test_each_structure_has_the_voxels_of_its_value_in_its_layer():
    arrays = {"layer0": np.array([[[0, 1, 2]]], np.uint8), "layer1": np.array([[[1, 1, 0]]], np.uint8)}
    places = [
        {"name": "liver", "layer": 0, "value": 1},
        {"name": "spleen", "layer": 0, "value": 2},
        {"name": "liver tumor", "layer": 1, "value": 1},
    ]
    masks = MaskLayers(places, arrays)
    assert list(masks) == ["liver", "spleen", "liver tumor"] and len(masks) == 3
    found = {name: mask.tolist() for name, mask in masks.items()}
    assert found == {
        "liver": [[[False, True, False]]],
        "spleen": [[[False, False, True]]],
        "liver tumor": [[[True, True, False]]],
    }
    assert masks["liver"] is not masks["liver"], "none is kept"
