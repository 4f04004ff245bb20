"""Lets the tests of text import open_clip where torchvision was built for another torch.

open_clip imports torchvision for its image transforms, which embedding a text never uses. A torchvision whose
compiled part does not match torch fails because two operators are missing; declaring them, without an
implementation, is enough. This is for tests only: the library itself tells the user and uses code directions.
"""

from __future__ import annotations

import importlib

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []


def make_open_clip_importable() -> None:
    """Import torchvision, after declaring the missing operators where it fails without them."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error) or _declared:
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms" + _SIGNATURE)
        library.define("qnms" + _SIGNATURE)
        _declared.append(library)
        importlib.import_module("torchvision")
