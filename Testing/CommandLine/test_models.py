"""`cfsegmenter models`: what there is, what it knows, and text prototypes without training."""

from __future__ import annotations

import importlib
import json
import shutil

import numpy as np
import pytest

from CFSegmenterLib.catalogue import shipped_models
from CFSegmenterLib.model import load_model
from CFSegmenterLib.segmenter import Segmenter
from Testing.CommandLine.conftest import table_of
from Testing.Library.torchvision_shim import make_open_clip_importable

CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory):
    """Weights of a tiny CLIP of 32 dimensions, random, as open_clip writes them."""
    import torch
    from safetensors.torch import save_file

    make_open_clip_importable()
    open_clip = importlib.import_module("open_clip")
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip-32.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder / "tiny-clip-32.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip-32").eval()
    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, folder / "clip.safetensors")
    return folder / "clip.safetensors"


def test_models_in_a_folder_are_listed_beside_the_shipped_ones(cfsegmenter, a_model_folder, tmp_path):
    shutil.copytree(a_model_folder, tmp_path / "models" / "mine")
    broken = shutil.copytree(a_model_folder, tmp_path / "models" / "broken")
    (broken / "manifest.json").write_text("{")
    result = cfsegmenter("models", "list", tmp_path / "models")
    assert result.exit_code == 0
    rows = {row["model"]: row for row in table_of(result.stdout)}
    mine = rows[str(tmp_path / "models" / "mine")]
    assert (mine["structures"], mine["modalities"], mine["version"]) == ("4", "mr-t2", "1")
    assert str(broken) not in rows and "not valid JSON" in result.stderr
    assert {folder.name for folder in shipped_models()} <= set(rows)


def test_without_a_verb_models_are_listed(cfsegmenter, refused):
    if shipped_models():
        assert len(table_of(cfsegmenter("models").stdout)) == len(shipped_models())
    else:
        assert "No model was found" in refused("models")


def test_a_folder_that_does_not_exist_is_refused(refused, tmp_path):
    assert "does not exist" in refused("models", "list", tmp_path / "gone")


def test_a_model_is_shown_for_people_and_for_programs(cfsegmenter, refused, a_model_folder):
    shown = cfsegmenter("models", "show", a_model_folder)
    assert shown.exit_code == 0
    assert shown.stdout == (a_model_folder / "README.md").read_text(encoding="utf-8")
    said = json.loads(cfsegmenter("models", "show", a_model_folder, "--json").stdout)
    assert said == json.loads((a_model_folder / "manifest.json").read_text(encoding="utf-8"))
    assert "no model" in refused("models", "show", "nothing")


def test_a_model_is_given_text_prototypes_and_answers_as_before(
    cfsegmenter, refused, a_model_folder, a_small_phantom, clip_weights, tmp_path
):
    from CFSegmenterLib.volume import Volume

    out = tmp_path / "text"
    arguments = ["models", "reprompt", a_model_folder, "--text-weights", clip_weights, "--architecture", "tiny-clip-32"]
    result = cfsegmenter(*arguments, "--out", out)
    assert result.exit_code == 0, result.output
    rows = table_of(result.stdout)
    assert [row["prototype from"] for row in rows] == ["code", "text", "text", "text", "text"]
    manifest = load_model(out).manifest
    assert (manifest.version, manifest.parent) == ("2", "1")
    assert manifest.prototypes[1]["prompt"] == "A medical image of a {}"  # the model reads MR
    assert manifest.training["text"]["architecture"] == "tiny-clip-32"
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    volume = Volume.checked(a_small_phantom.image, a_small_phantom.affine, "mr")
    old, new = (Segmenter.load(folder, "cpu").encode(volume) for folder in (a_model_folder, out))
    for name in manifest.structures:
        np.testing.assert_allclose(new.similarity(name), old.similarity(name), atol=1e-3)  # features are float16
    assert "exists already" in refused(*arguments, "--out", out)
    assert cfsegmenter(*arguments, "--out", out, "--overwrite").exit_code == 0


def test_reprompting_needs_weights_that_can_be_used(refused, a_model_folder, clip_weights, tmp_path):
    def asked(*arguments, out=tmp_path / "new"):
        return refused("models", "reprompt", a_model_folder, "--out", out, *arguments)

    assert "--text-weights" in asked()
    assert "does not exist" in asked("--text-weights", tmp_path / "gone.safetensors")
    assert "downloading is not" in asked("--text-weights", "laion2b_s34b_b79k")
    assert "no architecture" in asked("--text-weights", clip_weights, "--architecture", "tony-clip")
    usable = ["--text-weights", clip_weights, "--architecture", "tiny-clip-32"]
    assert "{}" in asked(*usable, "--prompt", "nothing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert "not a model" in asked(*usable, "--overwrite", out=tmp_path / "full")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
