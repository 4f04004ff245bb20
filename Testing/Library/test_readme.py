"""The README's example for Python, run word for word with the shipped model on a drawn abdomen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from CFSegmenterLib.phantom import LIVER

ROOT = Path(__file__).parents[2]


def test_the_example_does_what_it_says(a_small_file, a_small_phantom, monkeypatch, tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"^## From Python$.*?^```python$(.*?)^```$", text, re.M | re.S)[1]
    (tmp_path / "Resources").symlink_to(ROOT / "Resources")
    (tmp_path / "scan.nii.gz").symlink_to(a_small_file)
    monkeypatch.chdir(tmp_path)
    liver = a_small_phantom.labels == LIVER
    said = {"painted": liver & (np.cumsum(liver).reshape(liver.shape) < 200)}
    exec(compile(code, "README.md", "exec"), said)
    assert said["mask"].shape == said["likeness"].shape == said["doubt"].shape == liver.shape
    assert said["mask"].dtype == bool and np.abs(said["likeness"]).max() <= 1 and said["doubt"].min() >= 0
    assert {name for name, _ in said["ranked"]} == {"background", *said["segmenter"].model.manifest.structures}
    assert said["lesion"][said["painted"]].mean() > said["lesion"][~liver].mean()
