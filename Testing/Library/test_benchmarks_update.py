"""The benchmark that updates the shipped model, at toy size: with a tiny model in its place."""

from __future__ import annotations

import json

import pytest

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.model import load_model
from CFSegmenterLib.settings import UpdateSettings
from Testing.Benchmarks import update_of_shipped as benchmark

from .conftest import NEW_STRUCTURE, UPDATE_SETTINGS, write_new_source, write_small_source

SETTINGS = UpdateSettings.model_validate({**UPDATE_SETTINGS, "iterations": 2})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of two sources: what the tiny model knows, and what it is taught."""
    folder = tmp_path_factory.mktemp("data")
    write_small_source(folder / "phantom_small", 3, 2)
    write_new_source(folder / "gallbladders")
    return folder


@pytest.fixture(autouse=True)
def a_toy(monkeypatch):
    monkeypatch.setattr(benchmark, "SCORED", {"phantom_small": 1, "gallbladders": 1})
    monkeypatch.setattr(benchmark, "NEW_SOURCE", "gallbladders")
    monkeypatch.setattr(benchmark, "NEW", (NEW_STRUCTURE,))


@pytest.fixture
def results(data, a_model_folder, tmp_path):
    def run(name):
        return benchmark.run_variant(name, load_model(a_model_folder), data, SETTINGS, tmp_path / name)

    return [run(name) for name in benchmark.VARIANTS]


def test_every_variant_is_asked_for_the_old_and_once_taught_for_the_new(results):
    shipped, *updated = (each["scores"] for each in results)
    assert shipped[NEW_STRUCTURE] is None
    for scores in updated:
        assert list(scores) == ["phantom_small", NEW_STRUCTURE]
        assert all(0 <= dice <= 1 for dice in scores.values())
    assert 0 < shipped["phantom_small"] <= 1


def test_the_table_names_variants_and_leaves_out_what_is_not_known(results, tmp_path):
    benchmark.report(tmp_path, results)
    lines = (tmp_path / "update_of_shipped.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"| Dice | cases | {' | '.join(benchmark.VARIANTS)} |"
    (row,) = [line for line in lines if line.startswith(f"| {NEW_STRUCTURE} |")]
    assert row.split(" | ")[2] == ""
    assert f"{NEW_STRUCTURE} taught on 5 scans of gallbladders: 2 steps of 1 patches, learning rate 0.003" in lines[-3]
    assert len(json.loads((tmp_path / "update_of_shipped.json").read_text(encoding="utf-8"))) == len(results)


def test_a_finished_update_is_not_repeated_and_not_mixed_with_another(results, data, a_model_folder, tmp_path):
    model, folder = load_model(a_model_folder), tmp_path / "updated"
    (folder / "checkpoint.safetensors").rename(tmp_path / "kept")
    assert benchmark.run_variant("updated", model, data, SETTINGS, folder) == results[1]
    (tmp_path / "kept").rename(folder / "checkpoint.safetensors")
    longer = SETTINGS.model_copy(update={"iterations": 3})
    with pytest.raises(UserError, match="other settings"):
        benchmark.run_variant("updated", model, data, longer, folder)
