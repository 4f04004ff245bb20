from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.intensity import ForegroundZScoreRule, WindowRule
from CFSegmenterLib.network import build_backbone
from CFSegmenterLib.settings import TrainingSettings, UpdateSettings, read_settings

RECIPES = sorted((Path(__file__).resolve().parents[2] / "Resources/Training").glob("*.json"))


def written(folder: Path, said) -> Path:
    path = folder / "settings.json"
    path.write_text(said if isinstance(said, str) else json.dumps(said), encoding="utf-8")
    return path


def test_without_a_file_the_defaults_are_those_of_the_shipped_model():
    settings = read_settings(None)
    assert settings == TrainingSettings()
    assert settings.loss.temperature == 0.1
    assert settings.loss.gamma == 2
    assert (settings.loss.entropy, settings.loss.balance, settings.loss.hidden) == (0.1, 0.5, 0.5)
    assert settings.loss == UpdateSettings().loss
    assert settings.dimension == 512
    assert not settings.sources


def test_settings_are_read_from_a_file(tmp_path):
    said = {
        "sources": {
            "abdomen": {
                "spacing": [2, 2, 7.7],
                "patch": [80, 80, 32],
                "share": 2.5,
                "mirror": True,
                "field_of_view": ["abdomen"],
                "intensity": {"kind": "window", "low": -100, "high": 300},
            },
            "brain": {"intensity": {"kind": "foreground-zscore", "upper": 99}},
        },
        "backbone": {"name": "unet", "features": 24, "options": {"channels": [8, 16]}},
        "loss": {"gamma": 0},
        "augmentation": {"rotation": 5},
        "iterations": 12,
    }
    settings = read_settings(written(tmp_path, said))
    source = settings.sources["abdomen"]
    assert (source.spacing, source.patch, source.share, source.mirror) == ((2, 2, 7.7), (80, 80, 32), 2.5, True)
    assert source.intensity == WindowRule(low=-100, high=300)
    assert settings.sources["brain"].intensity == ForegroundZScoreRule(upper=99)
    assert settings.backbone.options == {"channels": [8, 16]}
    assert (settings.loss.gamma, settings.augmentation.rotation, settings.iterations) == (0, 5, 12)


def test_what_was_written_is_read_back(tmp_path):
    settings = TrainingSettings.model_validate({"sources": {"a": {"patch": [16, 16, 16]}}, "learning_rate": 0.01})
    assert read_settings(written(tmp_path, settings.model_dump_json())) == settings


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"iteration": 5}, "iteration"),
        ({"sources": {"a": {"patches": 5}}}, "sources.a.patches"),
        ({"loss": {"tau": 0.1}}, "loss.tau"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": "many"}, "iterations"),
        ({"patches_per_step": 0}, "patches_per_step"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": -1e-3}, "learning_rate"),
        ({"warmup": -1}, "warmup"),
        ({"average": 1.0}, "average"),
        ({"dimension": 1}, "dimension"),
        ({"seed": -1}, "seed"),
        ({"validate_every": 0}, "validate_every"),
        ({"precision": "16"}, "precision"),
        ({"loss": {"temperature": 0}}, "loss.temperature"),
        ({"loss": {"gamma": -1}}, "loss.gamma"),
        ({"loss": {"dice": -1}}, "loss.dice"),
        ({"loss": {"balance": 1.5}}, "loss.balance"),
        ({"loss": {"hidden": 0}}, "loss.hidden"),
        ({"augmentation": {"noise": 1.5}}, "augmentation.noise"),
        ({"augmentation": {"centered": -0.1}}, "augmentation.centered"),
        ({"augmentation": {"scale": 1.0}}, "augmentation.scale"),
        ({"augmentation": {"rotation": -5}}, "augmentation.rotation"),
        ({"backbone": {"features": 0}}, "backbone.features"),
        ({"sources": {"a": {"share": 0}}}, "sources.a.share"),
        ({"sources": {"a": {"spacing": [1, 0, 1]}}}, "sources.a.spacing.1"),
        ({"sources": {"a": {"spacing": [1, 1]}}}, "sources.a.spacing.2"),
        ({"sources": {"a": {"patch": [16, 16, 0]}}}, "sources.a.patch.2"),
        ({"sources": {"a": {"patch": [16, 16, 1.5]}}}, "sources.a.patch.2"),
        ({"sources": {"a": {"intensity": {"kind": "histogram"}}}}, "sources.a.intensity"),
        ({"sources": {"a": {"intensity": {"kind": "window", "low": 0}}}}, "sources.a.intensity.window.high"),
        ({"sources": {"a": {"intensity": {"kind": "window", "low": 5, "high": 5}}}}, "sources.a.intensity.window"),
        (
            {"sources": {"a": {"intensity": {"kind": "foreground-zscore", "upper": 0}}}},
            "sources.a.intensity.foreground-zscore.upper",
        ),
        ([1, 2], "the top"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path, said, where):
    with pytest.raises(UserError, match="are not as expected at") as caught:
        read_settings(written(tmp_path, said))
    assert f"'{where}'" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("setting", ["learning_rate", "weight_decay", "checkpoint_minutes"])
def test_numbers_that_are_none_are_refused(tmp_path, setting, number):
    with pytest.raises(UserError, match=setting):
        read_settings(written(tmp_path, f'{{"{setting}": {number}}}'))


def test_a_file_that_is_not_json_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match="are not valid JSON"):
        read_settings(written(tmp_path, "{iterations: 5}"))
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="are not valid JSON"):
        read_settings(binary)


def test_a_file_that_cannot_be_read_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_settings(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_settings(tmp_path)


def test_settings_cannot_be_changed_by_accident():
    settings = TrainingSettings()
    with pytest.raises(ValidationError):
        settings.iterations = 5
    with pytest.raises(ValidationError):
        settings.loss.gamma = 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_trained_with(path):
    settings = read_settings(path)
    _, stride = build_backbone(settings.backbone.name, settings.backbone.features, **settings.backbone.options)
    for source in settings.sources.values():
        assert source.patch is None or all(p % s == 0 for p, s in zip(source.patch, stride, strict=True))


def test_there_is_a_recipe():
    assert RECIPES
