"""The README's pictures of real scans, drawn here of a drawn scan: the same steps without the data."""

from __future__ import annotations

import re
import shutil

import pytest
from PIL import Image

from Testing.Screenshots import draw_cases
from Testing.Screenshots.draw_cases import ROOT, SHOWN, Shown

LARGEST = 300_000
"""Bytes of a picture of the README."""


@pytest.fixture
def drawn_data(monkeypatch, a_small_source, tmp_path):
    """A folder of two sources, one of which is to be shown."""
    shown = (Shown("belly", "small", ("spleen", "liver"), left_out=("left kidney",)), Shown("toe", "gone", ("toe",)))
    monkeypatch.setattr(draw_cases, "SHOWN", shown)
    shutil.copytree(a_small_source.parent, tmp_path / "data" / "small")
    return tmp_path / "data"


def test_a_picture_and_a_report_are_made_of_the_first_validation_case(drawn_data, a_model_folder, tmp_path, capsys):
    folders = {"reports": tmp_path / "reports", "out": tmp_path / "pictures"}
    draw_cases.draw_cases(drawn_data, str(a_model_folder), only=["belly"], **folders)
    assert [path.name for path in folders["out"].iterdir()] == ["belly.png"]
    picture = Image.open(folders["out"] / "belly.png")
    picture.load()
    assert picture.width > picture.height
    page = (folders["reports"] / "belly" / "index.html").read_text(encoding="utf-8")
    assert "Dice" in page and "spleen" in page and "left kidney" not in page
    assert ".nii" not in page and str(tmp_path) not in page, "no file is named"
    assert "belly.png" in capsys.readouterr().out


def test_the_sources_that_are_shown_differ():
    assert len({shown.name for shown in SHOWN}) == len({shown.source for shown in SHOWN}) == len(SHOWN) == 5


@pytest.mark.parametrize("name", [shown.name for shown in SHOWN])
def test_a_picture_that_is_shown_stands_in_the_readme_with_its_credit_and_is_small(name):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    path = f"Resources/Screenshots/{name}.png"
    rows = [line for line in readme.splitlines() if path in line and line.startswith("|")]
    assert len(rows) == 1 and re.search(r"CC BY|OASIS", rows[0])
    assert (ROOT / path).stat().st_size < LARGEST
