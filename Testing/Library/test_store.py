"""The store: versions that never change, and that neither a crash nor a second writer can harm."""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest

from CFSegmenterLib.acceptance import NeedsConfirmation
from CFSegmenterLib.catalogue import find_model, models_in, stores_in
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.locking import locked
from CFSegmenterLib.model import load_model, read_manifest, record_scores, save_model
from CFSegmenterLib.store import LOCK, ModelStore
from Testing.Library.painted import a_plain_model
from Testing.Library.stored import (
    FELL,
    HAS_FORK,
    a_report,
    contents,
    ended,
    hidden,
    in_a_process,
    killed_at,
    propose,
    save_plain_model,
    score,
    writer,
)

needs_fork = pytest.mark.skipif(not HAS_FORK, reason="the system cannot fork")


@pytest.fixture(scope="module")
def a_model_of_two(tmp_path_factory):
    """A model folder of liver and spleen."""
    return save_plain_model(tmp_path_factory.mktemp("models") / "two")


@pytest.fixture(scope="module")
def a_model_of_three(tmp_path_factory):
    """A model folder of liver, spleen and gallbladder."""
    return save_plain_model(tmp_path_factory.mktemp("models") / "three", "gallbladder")


@pytest.fixture
def a_store(a_model_of_two, tmp_path):
    """A store that has one version."""
    return ModelStore.create(tmp_path / "store", a_model_of_two)


def happened(store):
    return [(event.event, event.version) for event in store.events]


def change_index(store, **changes):
    path = store.folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


# --- beginning ---


def test_a_store_begins_with_a_model_as_its_accepted_and_active_first_version(a_store, a_model_of_two):
    (first,) = a_store.versions
    assert (first.name, first.status, first.active, first.has_report) == ("1", "accepted", True, False)
    assert a_store.name == "painted"
    assert happened(a_store) == [("imported", "1")]
    assert contents(first.folder) == contents(a_model_of_two)
    assert ModelStore.open(a_store.folder).active == first


def test_an_imported_model_gets_the_name_of_its_version_and_remembers_where_it_came_from(tmp_path):
    model = save_plain_model(tmp_path / "model", version="7", parent="6")
    store = ModelStore.create(tmp_path / "store", model)
    manifest = store.active.manifest
    assert (manifest.version, manifest.parent) == ("1", None)
    assert store.events[0].origin == {"version": "7", "weights_sha256": manifest.weights_sha256}
    assert "version 1" in (store.active.folder / "README.md").read_text(encoding="utf-8")
    assert load_model(store.active.folder).manifest.structures == ("liver", "spleen")


def test_a_store_of_the_same_model_is_opened_and_not_begun_again(a_store, a_model_of_two, a_model_of_three):
    propose(a_store, a_model_of_three)
    for model in (a_model_of_two, a_model_of_three, a_store.version("2").folder):
        assert len(ModelStore.create(a_store.folder, model).versions) == 2
    assert happened(a_store) == [("imported", "1"), ("proposed", "2")]


def test_a_store_of_another_model_is_not_mixed_with_it(a_store, a_model_of_three):
    with pytest.raises(UserError, match="of another model"):
        ModelStore.create(a_store.folder, a_model_of_three)
    assert len(a_store.versions) == 1


def test_a_folder_that_holds_something_else_is_left_alone(a_model_of_two, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty and is not a store"):
        ModelStore.create(tmp_path / "thesis", a_model_of_two)
    assert contents(tmp_path / "thesis") == {"text.txt": b"mine"}
    with pytest.raises(UserError, match="cannot be made"):
        ModelStore.create(tmp_path / "thesis" / "text.txt", a_model_of_two)


def test_a_damaged_model_begins_no_store(a_model_of_two, tmp_path):
    broken = shutil.copytree(a_model_of_two, tmp_path / "broken")
    (broken / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="not those that its manifest was written for"):
        ModelStore.create(tmp_path / "store", broken)
    assert not (tmp_path / "store").exists()


@needs_fork
def test_a_store_killed_at_any_moment_of_its_beginning_can_be_begun_again(a_model_of_two, tmp_path):
    for step in range(1, 100):
        folder = tmp_path / f"store{step}"

        def begin(folder=folder, step=step):
            killed_at(step, folder)
            ModelStore.create(folder, a_model_of_two)

        status = ended(in_a_process(begin))
        store = ModelStore.create(folder, a_model_of_two)
        assert happened(store) == [("imported", "1")]
        assert contents(store.active.folder) == contents(a_model_of_two)
        assert hidden(folder) == []
        if status == 0:
            break
    assert status == 0 and step > 8  # all moments were met


# --- proposing ---


def test_a_proposed_version_waits_and_changes_nothing(a_store, a_model_of_three):
    before = contents(a_store.version("1").folder)
    version = propose(a_store, a_model_of_three)
    assert (version.name, version.status, version.active, version.has_report) == ("2", "proposed", False, True)
    assert (version.manifest.version, version.manifest.parent) == ("2", "1")
    assert version.report()["added"] == ["gallbladder"]
    assert a_store.active.name == "1"
    assert contents(a_store.version("1").folder) == before
    assert happened(a_store)[-1] == ("proposed", "2")
    assert a_store.events[-1].parent == "1"


def test_a_model_is_saved_straight_into_its_place(a_store):
    def write(folder, version):
        save_model(a_plain_model(version=version, parent="1"), folder, "# Card\n")

    version = a_store.propose(write)
    assert load_model(version.folder).manifest.version == "2"
    assert sorted(contents(version.folder)) == ["README.md", "manifest.json", "weights.safetensors"]


def test_a_version_in_a_store_is_never_written_to(a_store):
    folder = a_store.active.folder
    before = contents(folder)
    for change in (lambda: save_model(a_plain_model(), folder, ""), lambda: record_scores(folder, {"split": "test"})):
        with pytest.raises(UserError, match="versions never change"):
            change()
    assert contents(folder) == before


@pytest.mark.parametrize("said", [{"parent": "9"}, {"parent": None}])
def test_a_version_that_lies_about_its_parent_is_not_taken(a_store, a_model_of_three, said):
    with pytest.raises(ValueError, match="which is not so"):
        a_store.propose(writer(a_model_of_three, **said))
    assert len(a_store.versions) == 1 and hidden(a_store.folder) == []


def test_a_version_with_other_weights_than_its_manifest_says_is_not_taken(a_store, a_model_of_three):
    def write(folder, version):
        writer(a_model_of_three)(folder, version)
        (folder / "weights.safetensors").write_bytes(b"short")

    with pytest.raises(UserError, match="not those that its manifest"):
        a_store.propose(write)
    assert len(a_store.versions) == 1


def test_a_name_is_never_given_twice(a_store, a_model_of_three):
    gone = propose(a_store, a_model_of_three)
    shutil.rmtree(gone.folder)  # by hand
    assert propose(a_store, a_model_of_three).name == "3"
    assert [version.name for version in a_store.versions] == ["1", "3"]


def test_versions_are_in_the_order_of_their_numbers(a_store, a_model_of_three):
    for _ in range(10):
        propose(a_store, a_model_of_three)
    assert [version.name for version in a_store.versions] == [str(number) for number in range(1, 12)]


# --- deciding ---


def test_accepting_moves_the_pointer_and_nothing_else(a_store, a_model_of_three):
    version = propose(a_store, a_model_of_three)
    before = {name: data for name, data in contents(a_store.folder).items() if name != "store.json"}
    accepted = a_store.accept(version.name)
    assert (accepted.status, accepted.active) == ("accepted", True)
    assert a_store.active.name == "2" and a_store.version("1").status == "accepted"
    assert {name: data for name, data in contents(a_store.folder).items() if name != "store.json"} == before
    a_store.accept("2")  # pressed twice
    assert happened(a_store) == [("imported", "1"), ("proposed", "2"), ("accepted", "2")]


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (FELL, r"fell by more than 2 points in version 2 \(left kidney lost 4.0 points on 3 cases\)\."),
        (a_report(fell=True, warnings="oops", margin=None), r"fell by more than the margin in version 2\."),
        (a_report(fell=True, warnings=list("abcde")), r"\(a; b; c; and 2 more warnings\)"),
        (None, "has no report"),
        ("{", "not valid JSON"),
        ("\x00\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "not valid JSON"),
        ("[]", "does not say whether"),
        (a_report(fell="no"), "does not say whether"),
        (a_report(format=2), "newer version"),
    ],
)
def test_a_version_whose_old_structures_fell_or_may_have_is_accepted_only_when_confirmed(
    a_store, a_model_of_three, report, reason
):
    version = propose(a_store, a_model_of_three, report=report)
    with pytest.raises(NeedsConfirmation, match=reason) as raised:
        a_store.accept(version.name)
    assert str(raised.value).startswith(raised.value.reason)
    assert a_store.active.name == "1" and happened(a_store)[-1] == ("proposed", "2")
    assert a_store.accept(version.name, confirmed=True).active


def test_a_version_without_what_the_active_one_knows_is_accepted_only_when_confirmed(
    a_store, a_model_of_two, a_model_of_three
):
    first = propose(a_store, a_model_of_three)
    second = propose(a_store, a_model_of_two)  # of the same parent, by somebody else
    a_store.accept(first.name)
    with pytest.raises(NeedsConfirmation, match="3 does not know gallbladder, which the active version 2 knows"):
        a_store.accept(second.name)
    with pytest.raises(NeedsConfirmation, match="Version 1 does not know gallbladder"):
        a_store.accept("1")
    assert a_store.accept(second.name, confirmed=True).active


def test_a_damaged_version_is_not_accepted(a_store, a_model_of_three):
    version = propose(a_store, a_model_of_three)
    (version.folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="not those that its manifest"):
        a_store.accept(version.name, confirmed=True)
    assert a_store.active.name == "1"


def test_a_rejected_version_stays_and_may_be_accepted_after_all(a_store, a_model_of_three):
    version = propose(a_store, a_model_of_three)
    before = contents(version.folder)
    assert a_store.reject(version.name).status == "rejected"
    a_store.reject(version.name)
    assert happened(a_store)[-2:] == [("proposed", "2"), ("rejected", "2")]
    assert contents(version.folder) == before
    assert a_store.accept(version.name).status == "accepted"


def test_the_active_version_is_not_rejected(a_store):
    with pytest.raises(UserError, match="active one; roll back first"):
        a_store.reject("1")


def test_rolling_back_returns_to_the_version_before_and_again_to_the_one_before_that(a_store, a_model_of_three):
    for _ in range(2):
        a_store.accept(propose(a_store, a_model_of_three).name)
    assert a_store.active.name == "3"
    assert a_store.rollback().name == "2"
    assert a_store.rollback().name == "1"
    assert happened(a_store)[-2:] == [("rolled back", "2"), ("rolled back", "1")]
    assert a_store.events[-1].left == "2"
    with pytest.raises(UserError, match="No version was active before version 1"):
        a_store.rollback()
    assert a_store.version("3").status == "accepted"
    assert a_store.accept("3").active
    assert a_store.rollback().name == "1"  # which was active before


def test_rolling_back_passes_over_versions_that_were_rejected_since(a_store, a_model_of_three):
    for _ in range(2):
        a_store.accept(propose(a_store, a_model_of_three).name)
    a_store.reject("2")
    assert a_store.rollback().name == "1"


def test_rolling_back_helps_where_the_active_version_is_gone(a_store, a_model_of_three):
    version = propose(a_store, a_model_of_three)
    a_store.accept(version.name)
    shutil.rmtree(version.folder)
    with pytest.raises(UserError, match=r"active version 2 .* is gone"):
        _ = a_store.active
    assert [each.name for each in a_store.versions] == ["1"]
    assert a_store.rollback().name == "1"


def test_a_version_that_is_not_there_is_named_with_those_that_are(a_store, a_model_of_three):
    propose(a_store, a_model_of_three)
    for ask in (a_store.accept, a_store.reject, a_store.version):
        with pytest.raises(UserError, match=r"no version '../1'; it has 1, 2"):
            ask("../1")


# --- comparing ---


def test_two_versions_are_compared_on_the_same_cases_where_one_was_made_from_the_other(a_store, a_model_of_three):
    propose(a_store, a_model_of_three)
    found = a_store.compare("1", "2")
    assert found["lineage"] == ["1", "2"] and found["same_cases"] is True
    assert found["structures"] == {"both": ["liver", "spleen"], "only_a": [], "only_b": ["gallbladder"]}
    rows = {row["structure"]: row for row in found["scores"]}
    assert (rows["gallbladder"]["dice_a"], rows["gallbladder"]["dice_b"]) == (None, 0.8)
    assert (rows["liver"]["dice_a"], rows["liver"]["dice_b"], rows["liver"]["cases_b"]) == (0.9, 0.88, 2)
    other = a_store.compare("2", "1")
    assert other["lineage"] == ["1", "2"]
    assert {row["structure"]: row["dice_a"] for row in other["scores"]} == {"gallbladder": 0.8, "liver": 0.88}
    json.dumps(other, allow_nan=False)


def test_versions_of_one_parent_are_compared_by_what_each_report_says(a_store, a_model_of_three):
    propose(a_store, a_model_of_three)
    propose(a_store, a_model_of_three, report=a_report(scores=[score("liver", 0.9, 0.7)]))
    found = a_store.compare("2", "3")
    assert found["lineage"] is None and found["same_cases"] is False
    rows = {row["structure"]: row for row in found["scores"]}
    assert (rows["liver"]["dice_a"], rows["liver"]["dice_b"]) == (0.88, 0.7)
    assert (rows["gallbladder"]["dice_a"], rows["gallbladder"]["dice_b"]) == (0.8, None)


def test_without_reports_the_manifests_scores_are_compared(tmp_path, a_model_of_three):
    row = {"structure": "liver", "source": "ct", "modality": "ct", "dice": 0.5, "distance_mm": 3.0, "cases": 4}
    model = save_plain_model(tmp_path / "model", scores={"structures": [row], "sources": {}})
    store = ModelStore.create(tmp_path / "store", model)
    propose(store, a_model_of_three, report="{")
    (found,) = store.compare("1", "2")["scores"]
    assert (found["dice_a"], found["distance_a"], found["cases_a"], found["dice_b"]) == (0.5, 3.0, 4, None)


def test_grandchildren_are_recognized(a_store, a_model_of_three):
    for _ in range(2):
        a_store.accept(propose(a_store, a_model_of_three).name)
    assert a_store.compare("3", "1")["lineage"] == ["1", "2", "3"]


# --- harm ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "at 'the top'"),
        (b'{"format": 1, "name": "x", "events": []}', "at 'active'"),
        (b'{"format": 1, "name": "x", "active": "../..", "events": []}', "at 'active'"),
        (b'{"format": 2, "news": []}', "newer version of CFSegmenter .format 2"),
    ],
)
def test_an_index_that_cannot_be_used_is_explained_in_one_sentence_and_left_as_it_is(a_store, text, said):
    (a_store.folder / "store.json").write_bytes(text)
    for use in (
        lambda: ModelStore.open(a_store.folder),
        lambda: a_store.versions,
        lambda: a_store.accept("1"),
        lambda: find_model(a_store.folder),
    ):
        with pytest.raises(UserError, match=said) as raised:
            use()
        assert "\n" not in str(raised.value)
    assert (a_store.folder / "store.json").read_bytes() == text


def test_a_folder_that_is_no_store_is_explained_and_gets_no_lock(tmp_path, a_model_of_two):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="not a store of models"):
            ModelStore.open(folder)
        with pytest.raises(UserError, match="not a store of models"):
            ModelStore(folder).rollback()
    assert list(tmp_path.iterdir()) == []


def test_one_damaged_version_does_not_hide_the_others(a_store, a_model_of_three):
    version = propose(a_store, a_model_of_three)
    (version.folder / "manifest.json").write_text("{")
    assert [each.name for each in a_store.versions] == ["1", "2"]
    with pytest.raises(UserError, match="not valid JSON"):
        _ = a_store.version("2").manifest
    assert propose(a_store, a_model_of_three).name == "3"


def test_a_disk_that_fills_up_while_a_version_is_written_leaves_the_store_as_it_was(a_store, a_model_of_three):
    def write(folder, version):
        writer(a_model_of_three)(folder, version)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "report.json"))

    before = contents(a_store.folder)
    with pytest.raises(UserError, match=r"no space left on device.*as it was; free some space"):
        a_store.propose(write)
    assert contents(a_store.folder) == before and hidden(a_store.folder) == []


def test_a_disk_that_turns_out_full_at_any_flush_leaves_the_store_as_it_was(a_store, a_model_of_three, monkeypatch):
    flush, before = os.fsync, contents(a_store.folder)
    for turn in range(1, 50):
        flushed = []

        def full(descriptor, turn=turn, flushed=flushed):
            flushed.append(descriptor)
            if len(flushed) == turn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        try:
            propose(a_store, a_model_of_three)
        except UserError as error:
            assert "no space left" in str(error)
            assert contents(a_store.folder) == before and hidden(a_store.folder) == []
        else:
            if len(flushed) < turn:
                break
            shutil.rmtree(a_store.version("2").folder)  # only the names were not flushed, which nothing depends on
            (a_store.folder / "store.json").write_bytes(before["store.json"])
    assert turn > 5


@needs_fork
def test_a_process_killed_at_any_moment_of_proposing_leaves_a_whole_store(a_store, a_model_of_three, tmp_path):
    old = contents(a_store.folder / "versions")
    landed = 0
    for step in range(1, 200):
        store = ModelStore(shutil.copytree(a_store.folder, tmp_path / f"copy{step}"))

        def die(store=store, step=step):
            killed_at(step, store.folder)
            propose(store, a_model_of_three)

        status = ended(in_a_process(die))
        assert status in (0, -signal.SIGKILL)
        assert {name: data for name, data in contents(store.folder / "versions").items() if name in old} == old
        assert store.active.name == "1"
        for version in store.versions[1:]:  # whole, if it is there
            landed += 1
            assert version.status == "proposed" and version.report()["added"]
            load_model(version.folder)
        after = propose(store, a_model_of_three)
        assert after.name == str(len(store.versions))
        assert hidden(store.folder) == []
        if status == 0:
            break
    assert status == 0 and step > 15 and landed > 1  # all moments were met, also that between the two renames


@needs_fork
def test_a_process_killed_in_the_middle_of_a_large_file_leaves_the_store_as_it_was(a_store, a_model_of_three):
    before = contents(a_store.folder)
    reached, told = os.pipe()

    def write(folder, version):
        writer(a_model_of_three)(folder, version)
        with open(folder / "weights.safetensors", "wb") as file:
            file.write(b"x" * 1000)
            file.flush()
            os.write(told, b"!")
            time.sleep(600)

    child = in_a_process(lambda: a_store.propose(write))
    os.read(reached, 1)
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    assert contents(a_store.folder) == before
    assert hidden(a_store.folder) != []  # swept by the next writer, not before
    propose(a_store, a_model_of_three)
    assert hidden(a_store.folder) == []


@needs_fork
def test_two_processes_that_propose_at_the_same_time_lose_nothing(a_store, a_model_of_three):
    ready, go = os.pipe()

    def several():
        os.close(go)
        os.read(ready, 1)
        for _ in range(3):
            propose(a_store, a_model_of_three)

    children = [in_a_process(several) for _ in range(2)]
    os.close(go)  # both go on
    assert [ended(child) for child in children] == [0, 0]
    names = [str(number) for number in range(1, 8)]
    assert [version.name for version in a_store.versions] == names
    assert happened(a_store) == [("imported", "1"), *(("proposed", name) for name in names[1:])]
    assert all(read_manifest(v.folder).version == v.name for v in a_store.versions)


@needs_fork
def test_processes_that_begin_one_store_at_the_same_time_begin_it_once(a_model_of_two, tmp_path):
    ready, go = os.pipe()

    def begin():
        os.close(go)
        os.read(ready, 1)
        ModelStore.create(tmp_path / "store", a_model_of_two)

    children = [in_a_process(begin) for _ in range(3)]
    os.close(go)
    assert [ended(child) for child in children] == [0, 0, 0]
    assert happened(ModelStore.open(tmp_path / "store")) == [("imported", "1")]


def test_a_writer_that_waits_too_long_says_so(a_store, a_model_of_three, monkeypatch):
    monkeypatch.setattr("CFSegmenterLib.store.locked", functools.partial(locked, seconds=0.05))
    with locked(a_store.folder / LOCK, "The store"), pytest.raises(UserError, match="written by another program"):
        propose(a_store, a_model_of_three)
    assert propose(a_store, a_model_of_three).name == "2"


# --- finding ---


def test_a_store_stands_for_its_active_version(a_store, a_model_of_three, a_model_of_two, tmp_path):
    propose(a_store, a_model_of_three)
    assert find_model(a_store.folder) == a_store.version("1").folder
    a_store.accept("2")
    assert find_model(str(a_store.folder)) == a_store.version("2").folder
    plain = shutil.copytree(a_model_of_two, tmp_path / "plain")
    assert models_in(tmp_path) == (plain, a_store.version("2").folder)
    assert stores_in(tmp_path) == (a_store.folder,)
    (a_store.folder / "store.json").write_text("{")
    assert models_in(tmp_path) == (plain,)
    assert stores_in(tmp_path) == (a_store.folder,)


def test_an_accepted_version_segments_like_any_other_model(a_store, a_model_of_three):
    a_store.accept(propose(a_store, a_model_of_three).name)
    model = load_model(find_model(a_store.folder))
    assert model.manifest.structures == ("liver", "spleen", "gallbladder")
    np.testing.assert_array_equal(model.bank.matrix[:3], load_model(a_store.version("1").folder).bank.matrix)


@pytest.mark.parametrize("name", ["", ".", "..", "../versions", "/elsewhere", "a/b", "a\\b", ".hidden"])
def test_the_folder_of_an_update_lies_in_the_store(tmp_path, name):
    with pytest.raises(UserError, match="cannot be the name of an update"):
        ModelStore(tmp_path).update_folder(name)
    assert ModelStore(tmp_path).update_folder("my update-2").parent == tmp_path / "updates"
