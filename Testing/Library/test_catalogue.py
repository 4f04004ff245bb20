"""Finding models."""

from __future__ import annotations

import shutil

import pytest

from CFSegmenterLib import catalogue
from CFSegmenterLib.catalogue import find_model, models_in, shipped_models
from CFSegmenterLib.errors import UserError


@pytest.fixture
def shipped(a_model_folder, tmp_path, monkeypatch):
    """An installation that ships the models `general` and `other`."""
    for name in ("general", "other"):
        shutil.copytree(a_model_folder, tmp_path / "Resources" / "Models" / name)
    monkeypatch.setattr(catalogue, "resource_folders", lambda: (tmp_path / "none", tmp_path / "Resources"))
    return tmp_path / "Resources" / "Models"


def test_a_model_is_found_by_path_by_name_and_by_default(shipped, a_model_folder):
    assert find_model(a_model_folder) == a_model_folder
    assert find_model(str(a_model_folder)) == a_model_folder
    assert find_model("other") == shipped / "other"
    assert find_model() == shipped / "general"
    assert shipped_models() == (shipped / "general", shipped / "other")


def test_a_folder_of_yours_wins_over_a_shipped_model(shipped, a_model_folder, tmp_path, monkeypatch):
    shutil.copytree(a_model_folder, tmp_path / "here" / "other")
    monkeypatch.chdir(tmp_path / "here")
    assert find_model("other").resolve() == tmp_path / "here" / "other"
    assert find_model() == shipped / "general"


def test_what_is_no_model_is_explained(shipped, a_model_folder, tmp_path):
    with pytest.raises(UserError, match=r"no model 'genral'.*general, other"):
        find_model("genral")
    with pytest.raises(UserError, match="not a model"):
        find_model(tmp_path)
    with pytest.raises(UserError, match="it holds the models last"):
        find_model(a_model_folder.parent)  # a training's folder


def test_an_installation_without_models_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(catalogue, "resource_folders", lambda: (tmp_path / "none", tmp_path))
    assert shipped_models() == ()
    with pytest.raises(UserError, match="ships none"):
        find_model()


def test_models_are_looked_for_some_folders_down_and_not_in_hidden_ones(a_model_folder, tmp_path):
    for place in ("a/b/c", "a/.part", "d/e/f/g"):
        shutil.copytree(a_model_folder, tmp_path / place)
    assert models_in(tmp_path) == (tmp_path / "a/b/c",)
    assert models_in(tmp_path / "d") == (tmp_path / "d/e/f/g",)
    assert models_in(tmp_path / "nowhere") == ()
