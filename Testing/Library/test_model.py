"""A model folder: whole or not at all, readable by people, and every change noticed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat

import numpy as np
import pytest
import torch

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.model import (
    FORMAT,
    Model,
    SourceRecord,
    build_network,
    checksum,
    load_model,
    manifest_text,
    read_manifest,
    record_scores,
    save_model,
)
from CFSegmenterLib.network import weights_of
from CFSegmenterLib.resources import resource_path
from CFSegmenterLib.segmenter import Segmenter

from .painted import a_plain_model

FILES = ["README.md", "manifest.json", "weights.safetensors"]


@pytest.fixture
def a_copy(a_model_folder, tmp_path):
    """A model folder that a test may damage."""
    return shutil.copytree(a_model_folder, tmp_path / "copy")


def change_manifest(folder, **changes):
    said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**said, **changes}), encoding="utf-8")


def test_a_model_comes_back_as_it_was(a_model, tmp_path):
    manifest = save_model(a_model, tmp_path / "model", "# card\n")
    again = load_model(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == FILES
    assert again.manifest == manifest
    assert again.bank == a_model.bank  # bit for bit
    old, new = weights_of(a_model.network), weights_of(again.network)
    assert old.keys() == new.keys()
    for name in old:
        torch.testing.assert_close(new[name], old[name], atol=0, rtol=0)  # it was rounded when it was saved first


def test_weights_of_a_training_are_saved_in_the_order_of_their_shape(a_model, tmp_path):
    # A training keeps its weights channels-last in memory, and safetensors writes memory as it lies.
    network = build_network(a_model.manifest).to(memory_format=torch.channels_last_3d)
    assert any(not t.is_contiguous() for t in weights_of(network).values())
    save_model(Model(network, a_model.bank, a_model.manifest), tmp_path / "model", "")
    again = weights_of(load_model(tmp_path / "model").network)
    for name, tensor in weights_of(network).items():
        torch.testing.assert_close(again[name], tensor, atol=1e-3, rtol=1e-3)


def test_the_projection_and_the_prototypes_keep_their_precision(a_model, tmp_path):
    with torch.no_grad():
        a_model.network.projection += 1e-7
    save_model(a_model, tmp_path / "model", "")
    again = load_model(tmp_path / "model")
    assert torch.equal(again.network.projection, a_model.network.projection)
    np.testing.assert_array_equal(again.bank.matrix, a_model.bank.matrix)


def test_every_file_of_a_model_is_as_readable_as_the_user_wants(a_model, tmp_path):
    before = os.umask(0o022)
    try:
        save_model(a_model, tmp_path / "open", "")
        os.umask(0o077)
        save_model(a_model, tmp_path / "closed", "")
    finally:
        os.umask(before)
    for folder, mode in (("open", 0o644), ("closed", 0o600)):
        assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / folder).iterdir()} == {mode}


def test_the_manifest_is_readable_and_says_what_the_model_knows(a_model_folder):
    said = json.loads((a_model_folder / "manifest.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in said["prototypes"]] == [
        "background",
        "liver",
        "right kidney",
        "left kidney",
        "spleen",
    ]
    assert said["weights_sha256"] == checksum(a_model_folder / "weights.safetensors")
    assert read_manifest(a_model_folder).structures == ("liver", "right kidney", "left kidney", "spleen")


def test_a_manifest_without_structures_of_its_own_is_written_as_it_always_was(a_copy):
    """Those that were written before there were any are read, and stay byte for byte."""
    for folder in (a_copy, resource_path("Models", "general")):
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        assert "own_structures" not in text
        assert manifest_text(read_manifest(folder)) == text


def test_structures_of_its_own_come_back_and_the_segmenter_knows_them(a_copy):
    change_manifest(a_copy, own_structures=[{"name": "odd thing", "color": [1, 2, 3]}, {"name": "liver"}])
    written = json.loads(manifest_text(read_manifest(a_copy)))["own_structures"]
    assert written[0] == {"name": "odd thing", "color": [1, 2, 3]}
    vocabulary = Segmenter.load(a_copy, "cpu").vocabulary
    assert vocabulary.find("odd thing").color == (1, 2, 3)
    assert vocabulary.find("liver").type is not None


@pytest.mark.parametrize("place", [0, 8, 0.5, -1])
def test_a_changed_byte_in_the_weights_is_noticed(a_copy, place):
    weights = a_copy / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="checksum"):
        load_model(a_copy)


def test_weights_that_were_cut_off_are_noticed(a_copy):
    weights = a_copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="checksum"):
        load_model(a_copy)


def test_a_folder_without_weights_or_manifest_is_explained(a_copy, tmp_path):
    (a_copy / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights\.safetensors"):
        load_model(a_copy)
    (a_copy / "manifest.json").unlink()
    for folder in (a_copy, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="not a model folder"):
            load_model(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": FORMAT + 1}, "newer version"),
        ({"temperature": "warm"}, "temperature"),
        ({"protocols": []}, "protocols"),
        ({"surprise": 1}, "surprise"),
        ({"dimension": 16}, "do not fit"),
        ({"backbone": {"name": "resnet", "features": 16, "options": {}}}, "no backbone 'resnet'"),
        ({"backbone": {"name": "unet", "features": 8, "options": {"channels": [16, 32, 64]}}}, "do not fit"),
        ({"prototypes": [{"name": "background", "source": "code"}]}, "prototypes"),
    ],
)
def test_a_manifest_that_does_not_fit_is_explained(a_copy, changes, said):
    change_manifest(a_copy, **changes)
    with pytest.raises(UserError, match=said):
        load_model(a_copy)


def test_a_manifest_that_is_no_json_is_explained(a_copy):
    (a_copy / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_manifest(a_copy)
    (a_copy / "manifest.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_manifest(a_copy)


def test_weights_that_are_none_are_explained(a_copy):
    weights = a_copy / "weights.safetensors"
    weights.write_bytes(b"\x80\x04]q\x00.")  # a pickle, which is never loaded
    change_manifest(a_copy, weights_sha256=checksum(weights))
    with pytest.raises(UserError, match="do not fit"):
        load_model(a_copy)


def test_a_model_is_replaced_whole(a_model, a_copy):
    (a_copy / "leftover.txt").write_text("of an older version")
    save_model(a_model, a_copy, "# new\n")
    assert sorted(p.name for p in a_copy.iterdir()) == FILES
    assert (a_copy / "README.md").read_text() == "# new\n"
    assert [p.name for p in a_copy.parent.iterdir()] == ["copy"]


def test_a_failed_writing_leaves_the_old_model_and_nothing_else(a_model, a_copy, monkeypatch):
    before = {p.name: p.read_bytes() for p in a_copy.iterdir()}
    monkeypatch.setattr("CFSegmenterLib.model.checksum", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="No space left"):
        save_model(a_model, a_copy, "# new\n")
    assert {p.name: p.read_bytes() for p in a_copy.iterdir()} == before
    assert [p.name for p in a_copy.parent.iterdir()] == ["copy"]


def test_a_full_disk_is_a_sentence(a_model, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # like a full disk: what is written after that fails
    try:
        with pytest.raises(UserError, match=r"cannot be written to .*model: .*; free some space"):
            save_model(a_model, tmp_path / "model", "# card\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_of_the_same_number_left_is_in_nobody_s_way(a_model, a_copy):
    for kind in ("part", "old"):
        left = a_copy.with_name(f".{a_copy.name}.{kind}{os.getpid()}")
        left.mkdir()
        (left / "weights.safetensors").write_bytes(b"half")
    a_copy.with_name(f".{a_copy.name}.other").mkdir()
    save_model(a_model, a_copy, "# new\n")
    assert sorted(p.name for p in a_copy.parent.iterdir()) == [f".{a_copy.name}.other", "copy"]
    assert (a_copy / "README.md").read_text() == "# new\n"


def test_the_old_model_is_back_where_anything_stops_the_new_one_on_its_way(a_model, a_copy, monkeypatch):
    replace = os.replace

    def interrupted(source, target):
        if ".part" in str(source):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(a_model, a_copy, "# new\n")
    assert [p.name for p in a_copy.parent.iterdir()] == ["copy"]
    assert load_model(a_copy).manifest.weights_sha256


def test_scores_are_recorded_without_touching_the_weights(a_copy):
    weights = (a_copy / "weights.safetensors").read_bytes()
    source = {"modality": "mr-t2", "dice": 0.8125, "distance_mm": None, "cases": 2, "structures": 1}
    scores = {"split": {"phantom_small": "validation"}, "structures": [], "sources": {"phantom_small": source}}
    record_scores(a_copy, scores)
    assert load_model(a_copy).manifest.scores == scores
    assert (a_copy / "weights.safetensors").read_bytes() == weights
    assert "0.812" in (a_copy / "README.md").read_text(encoding="utf-8")
    assert sorted(p.name for p in a_copy.iterdir()) == FILES
    with pytest.raises(UserError, match="not a model folder"):
        record_scores(a_copy.parent, scores)


@pytest.mark.parametrize(
    "modality, guests",
    [("mr-t2", ("lesion",)), ("mr", ("lesion",)), ("mr-t1", ("spleen", "lesion")), ("ct", ("spleen",)), ("pt", None)],
)
def test_a_guest_was_taught_only_in_other_kinds_of_scan(modality, guests):
    def record(name, modality, structures):
        return SourceRecord(
            name=name, modality=modality, licence="", structures=structures, training_cases=1, validation_cases=0
        )

    names = ("liver", "spleen", "lesion", "of unknown source")
    sources = (
        record("a", "mr-t2", ("liver", "spleen")),
        record("b", "ct", ("liver", "lesion")),
        record("c", "mr-t1", ("liver",)),
    )
    manifest = a_plain_model(names, sources=sources).manifest
    assert manifest.guests(modality) == (names[:3] if guests is None else guests)
