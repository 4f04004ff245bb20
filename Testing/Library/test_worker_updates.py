"""The worker about teaching: cases, versions, and updates in a child that does not outlive it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from CFSegmenterLib.case_folder import CaseFolder
from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.locking import is_locked, locked
from CFSegmenterLib.phantom import draw_small
from CFSegmenterLib.prepared import load_case
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.store import ModelStore
from CFSegmenterLib.volume import Volume
from CFSegmenterLib.worker import update_jobs
from CFSegmenterLib.worker.client import COMMAND, WorkerClient
from CFSegmenterLib.worker.update_jobs import UpdateJobs
from CFSegmenterLib.worker.update_request import UpdateRequest
from Testing.Library.stored import FELL, contents, propose, save_plain_model

STAND_IN = Path(__file__).with_name("update_stand_in.py")
ROOT = STAND_IN.parents[2]
PATIENCE = 60.0
"""Seconds that a test waits for what should happen at once: the machine may be busy."""


@pytest.fixture(scope="module")
def a_worker():
    with WorkerClient([*COMMAND, "--device", "cpu"]) as worker:
        yield worker


@pytest.fixture(scope="module")
def a_plain_folder(tmp_path_factory):
    """A model folder of liver and spleen that nobody trained."""
    return save_plain_model(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture
def a_store(a_plain_folder, tmp_path):
    return ModelStore.create(tmp_path / "store", a_plain_folder)


@pytest.fixture
def some_cases(tmp_path):
    """A case folder of one small phantom."""
    folder = tmp_path / "cases"
    add_phantoms(CaseFolder.open(folder), 1)
    return folder


@pytest.fixture
def jobs_that(monkeypatch):
    """`jobs_that("trains")`: jobs whose children are stand-ins of that behavior, gone when the test ends."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made: list[UpdateJobs] = []

    def make(behavior):
        made.append(UpdateJobs([sys.executable, str(STAND_IN), behavior]))
        return made[-1]

    yield make
    for jobs in made:
        for child in jobs._children.values():
            child.process.kill()
            child.process.wait()


def add_phantoms(cases, count, seed=0, **said):
    for number in range(count):
        drawn = draw_small(seed + number)
        volume = Volume.checked(drawn.image, drawn.affine, "mr-t2")
        cases.add(volume, drawn.labels, drawn.names, ["right kidney"], **said)


def a_request(store, cases, **said):
    return UpdateRequest(**{"store": Path(store), "model": None, "cases": (Path(cases),), "budget": "10min", **said})


def wait_until(holds, seconds=PATIENCE):
    """Ask again and again; returns the first answer that is true."""
    until = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)
    return answer


def state_when(jobs, store, name, holds):
    """The first state of which something holds."""

    def asked():
        said = jobs.state(Path(store), name)
        return said if holds(said) else None

    return wait_until(asked)


def is_training(said):
    return said["state"] == "running" and said["step"] > 0


def is_over(said):
    return said["state"] != "running"


# --- cases ---


def test_a_case_goes_into_the_folder_as_it_was_sent_and_is_taken_back(a_worker, tmp_path):
    drawn = draw_small(1)
    message = {
        "folder": str(tmp_path / "cases"),
        "modality": "mr-t2",
        "affine": drawn.affine.tolist(),
        "values": {str(value): name for value, name in drawn.names.items()},
        "annotated": ["spleen"],
        "split": None,
        "subject": "Doe^Jane",
    }
    arrays = {"image": np.asfortranarray(drawn.image), "labels": np.asfortranarray(drawn.labels)}
    assert a_worker.ask("cases", {"folder": message["folder"]}).message["cases"] == []
    said = a_worker.ask("case_add", message, arrays).message
    assert said["passed_over"] == []
    assert (said["number"], said["split"]) == (1, "training")
    assert a_worker.ask("case_add", message, arrays).message["number"] == 2
    (case, _) = a_worker.ask("cases", {"folder": message["folder"]}).message["cases"]
    assert case == {
        "number": 1,
        "source": "mr-t2 cases",
        "modality": "mr-t2",
        "split": "training",
        "subject": "subject 1",
        "structures": ["liver", "right kidney", "left kidney", "spleen"],
        "annotated": ["spleen"],
    }
    volume, labels = load_case(read_case_lists([tmp_path / "cases" / "dataset.json"])[0].cases[0])
    np.testing.assert_array_equal(volume.array, drawn.image)
    np.testing.assert_array_equal(labels, drawn.labels)
    a_worker.ask("case_withdraw", {"folder": message["folder"], "number": 1})
    (case,) = a_worker.ask("cases", {"folder": message["folder"]}).message["cases"]
    assert case["number"] == 2
    with pytest.raises(UserError, match="it was withdrawn"):
        a_worker.ask("case_withdraw", {"folder": message["folder"], "number": 1})
    with pytest.raises(UserError, match="another of its subject, is for training"):
        a_worker.ask("case_add", {**message, "split": "validation"}, arrays)
    with pytest.raises(UserError, match="'pancreas' is said to be drawn completely"):
        a_worker.ask("case_add", {**message, "annotated": ["pancreas"]}, arrays)
    odd = {**message, "values": {**message["values"], "1": "odd thing"}}
    for code, told in (("1", 0), ("2", 1)):
        own = {"name": "odd thing", "category": ["0", "SCT", "Tissue"], "type": [code, "SCT", "Odd"]}
        answer = a_worker.ask("case_add", {**odd, "own_structures": [own]}, arrays).message
        assert len(answer["passed_over"]) == told


# --- versions ---


def test_versions_are_shown_decided_about_and_compared(a_worker, a_store, tmp_path):
    better = save_plain_model(tmp_path / "better", "gallbladder")
    propose(a_store, better)
    propose(a_store, better, report=FELL)
    folder = str(a_store.folder)
    said = a_worker.ask("store", {"folder": folder}).message
    assert (said["name"], said["active"]) == ("painted", "1")
    assert [(v["version"], v["status"], v["has_report"]) for v in said["versions"]] == [
        ("1", "accepted", False),
        ("2", "proposed", True),
        ("3", "proposed", True),
    ]
    assert said["versions"][1]["manifest"]["parent"] == "1"
    assert Path(said["versions"][1]["folder"]) == a_store.version("2").folder
    assert (said["damaged"], said["updates"]) == ([], [])

    asked = {"store": folder, "version": "3", "confirmed": False}
    answer = a_worker.ask("accept", asked).message
    assert answer["needs_confirmation"] is True and "left kidney lost 4.0 points" in answer["message"]
    assert a_store.active.name == "1"
    assert a_worker.ask("accept", {**asked, "confirmed": True}).message["needs_confirmation"] is False
    assert a_store.active.name == "3"
    assert a_worker.ask("rollback", {"store": folder}).message["active"] == "1"
    assert a_worker.ask("reject", {"store": folder, "version": "3"}).message["active"] == "1"
    assert a_store.version("3").status == "rejected"
    assert a_worker.ask("accept", {"store": folder, "version": "2"}).message["needs_confirmation"] is False

    report = a_worker.ask("report", {"store": folder, "version": "2"}).message
    assert report["report"]["added"] == ["gallbladder"]
    assert Path(report["html"]).read_text(encoding="utf-8") == report["page"] == "<html></html>"
    with pytest.raises(UserError, match="Version 1 has no report"):
        a_worker.ask("report", {"store": folder, "version": "1"})
    compared = a_worker.ask("compare", {"store": folder, "a": "1", "b": "2"}).message
    assert compared["structures"]["only_b"] == ["gallbladder"] and compared["lineage"] == ["1", "2"]
    with pytest.raises(UserError, match="not a store"):
        a_worker.ask("store", {"folder": str(tmp_path)})


@pytest.mark.parametrize("name", ["is not there", "is empty"])
def test_a_folder_in_which_there_is_nothing_yet_is_a_store_without_versions(a_worker, tmp_path, name):
    (tmp_path / "is empty").mkdir()
    said = a_worker.ask("store", {"folder": str(tmp_path / name)}).message
    assert (said["active"], said["versions"]) == (None, [])


def test_a_damaged_version_does_not_hide_the_others(a_worker, a_store, a_plain_folder):
    version = propose(a_store, a_plain_folder)
    (version.folder / "manifest.json").write_text("{")
    said = a_worker.ask("store", {"folder": str(a_store.folder)}).message
    assert [v["version"] for v in said["versions"]] == ["1"]
    assert said["damaged"][0]["version"] == "2" and "not valid JSON" in said["damaged"][0]["message"]


def test_doubt_is_the_mean_margin_where_something_is_seen(a_worker, a_plain_folder, a_small_volume):
    message = {"key": "doubted", "model": str(a_plain_folder), "affine": a_small_volume.affine.tolist()}
    a_worker.ask("encode", {**message, "modality": "mr-t2"}, {"image": a_small_volume.array})
    doubt = a_worker.ask("doubt", {"key": "doubted"}).message["margin"]
    encoding = Segmenter.load(a_plain_folder, "cpu").encode(a_small_volume)
    seen = encoding.best() != 0
    assert seen.any() and doubt == pytest.approx(float(encoding.margin()[seen].mean()), abs=0.02)
    with pytest.raises(UserError, match="encode the volume again"):
        a_worker.ask("doubt", {"key": "never"})


# --- updates ---


def test_an_update_is_started_followed_stopped_and_gone_on_with(jobs_that, a_store, some_cases):
    jobs = jobs_that("trains")
    request = a_request(a_store.folder, some_cases, settings={"seed": 3}, device="cpu")
    name = jobs.start(request)
    first = jobs.state(a_store.folder, name)
    assert first["state"] == "running" and first["version"] is None
    said = state_when(jobs, a_store.folder, name, is_training)
    assert (said["phase"], said["total"]) == ("training", 1000)
    assert said["losses"][0] == [1, 1.0] and said["loss"] == pytest.approx(1 / said["step"])
    assert jobs.start(request) == name  # pressed twice
    assert jobs.unfinished(a_store.folder) == [{"update": name, "state": "running", "message": ""}]

    jobs.cancel(a_store.folder, name)
    jobs.cancel(a_store.folder, name)
    stopped = state_when(jobs, a_store.folder, name, is_over)
    assert stopped["state"] == "stopped" and "checkpoint" in stopped["message"]
    assert jobs.unfinished(a_store.folder)[0]["state"] == "stopped"

    assert jobs.start(a_request(a_store.folder, some_cases, settings={"seed": 3}, budget="1 h", device="cpu")) == name
    again = state_when(jobs, a_store.folder, name, is_training)
    assert again["step"] > stopped["step"]
    words = json.loads((a_store.update_folder(name) / "arguments.json").read_text())
    for option, value in {
        "--model": str(a_store.active.folder),
        "--out": str(a_store.folder),
        "--cases": str(some_cases / "dataset.json"),
        "--budget": "1 h",
        "--device": "cpu",
    }.items():
        assert words[words.index(option) + 1] == value
    assert json.loads(Path(words[words.index("--settings") + 1]).read_text()) == {"seed": 3}


def test_an_update_started_at_once_after_it_was_cancelled_goes_on(jobs_that, a_store, some_cases):
    jobs = jobs_that("trains")
    name = jobs.start(a_request(a_store.folder, some_cases))
    step = state_when(jobs, a_store.folder, name, is_training)["step"]
    jobs.cancel(a_store.folder, name)
    assert jobs.start(a_request(a_store.folder, some_cases)) == name
    assert state_when(jobs, a_store.folder, name, is_training)["step"] > step


def test_what_an_update_is_called_depends_on_what_it_is_to_do(jobs_that, a_store, some_cases, tmp_path):
    jobs = jobs_that("finishes")
    (tmp_path / "others").mkdir()
    asked = [
        a_request(a_store.folder, some_cases),
        a_request(a_store.folder, some_cases, settings={"seed": 1}),
        a_request(a_store.folder, some_cases, unlabelled=tmp_path / "others"),
    ]
    names = []
    for request in asked:
        names.append(jobs.start(request))
        state_when(jobs, a_store.folder, names[-1], is_over)
    add_phantoms(CaseFolder.open(some_cases), 1, seed=9)
    names.append(jobs.start(asked[0]))
    assert len(set(names)) == 4


def test_a_finished_update_is_remembered_though_its_folder_is_gone(jobs_that, a_store, some_cases, a_plain_folder):
    jobs = jobs_that("finishes")
    propose(a_store, a_plain_folder)  # which the stand-in says that it proposed
    name = jobs.start(a_request(a_store.folder, some_cases))
    said = state_when(jobs, a_store.folder, name, is_over)
    assert (said["state"], said["version"], said["fraction"]) == ("done", "2", 1.0)
    assert said["losses"] == [[1, 2.0], [2, 1.5]]  # as the version's report says
    assert jobs.unfinished(a_store.folder) == []
    assert jobs_that("trains").state(a_store.folder, name)["state"] == "done"  # another worker


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        ("says why", r"^The cases are of no use\.$"),
        ("breaks", r"status 1: RuntimeError: a defect"),
        ("is killed", r"signal 9.*memory.*goes on from its last checkpoint"),
    ],
)
def test_a_child_that_dies_without_a_word_is_spoken_for(jobs_that, a_store, some_cases, behavior, message, capsys):
    jobs = jobs_that(behavior)
    name = jobs.start(a_request(a_store.folder, some_cases))
    said = state_when(jobs, a_store.folder, name, is_over)
    assert said["state"] == "failed"
    assert re.search(message, said["message"])
    assert jobs.state(a_store.folder, name)["message"] == said["message"]
    assert jobs_that("trains").state(a_store.folder, name)["message"] == said["message"]  # another worker
    assert ("RuntimeError: a defect" in capsys.readouterr().err) == (behavior == "breaks")
    jobs.start(a_request(a_store.folder, some_cases))  # which may be tried again


def test_a_child_that_does_not_stop_is_killed_and_can_go_on(jobs_that, a_store, some_cases, monkeypatch):
    monkeypatch.setattr(update_jobs, "STOP_SECONDS", 0.2)
    jobs = jobs_that("is deaf")
    name = jobs.start(a_request(a_store.folder, some_cases))
    state_when(jobs, a_store.folder, name, is_training)
    jobs.cancel(a_store.folder, name)
    assert "stopping" in jobs.state(a_store.folder, name)["message"]
    said = state_when(jobs, a_store.folder, name, is_over)
    assert said["state"] == "stopped" and "goes on" in said["message"]


def test_one_update_at_a_time(jobs_that, a_store, some_cases):
    jobs = jobs_that("trains")
    name = jobs.start(a_request(a_store.folder, some_cases))
    with pytest.raises(UserError, match="Another update is under way"):
        jobs.start(a_request(a_store.folder, some_cases, settings={"seed": 5}))
    jobs.cancel(a_store.folder, name)
    assert jobs.start(a_request(a_store.folder, some_cases, settings={"seed": 5})) != name


def test_an_update_of_another_worker_is_seen_and_left_alone(jobs_that, a_store, some_cases, monkeypatch):
    monkeypatch.setattr(update_jobs, "WAIT_SECONDS", 0.1)
    mine, other = jobs_that("trains"), jobs_that("trains")
    name = mine.start(a_request(a_store.folder, some_cases))
    state_when(mine, a_store.folder, name, is_training)
    assert other.state(a_store.folder, name)["state"] == "running"
    for act in (
        lambda: other.cancel(a_store.folder, name),
        lambda: other.discard(a_store.folder, name),
        lambda: other.start(a_request(a_store.folder, some_cases)),
    ):
        with pytest.raises(UserError, match=r"[Aa]nother program"):
            act()
    assert mine.state(a_store.folder, name)["state"] == "running"


def test_a_discarded_update_leaves_nothing(jobs_that, a_store, some_cases):
    before = contents(a_store.folder)
    jobs = jobs_that("trains")
    name = jobs.start(a_request(a_store.folder, some_cases))
    state_when(jobs, a_store.folder, name, is_training)
    jobs.discard(a_store.folder, name)
    assert contents(a_store.folder) == before
    assert list((a_store.folder / "updates").iterdir()) == []
    for act in (jobs.state, jobs.cancel, jobs.discard):
        with pytest.raises(UserError, match="knows no update"):
            act(a_store.folder, name)


def test_a_store_is_begun_with_the_model_and_nothing_is_begun_with_what_is_wrong(
    jobs_that, a_plain_folder, some_cases, tmp_path
):
    jobs = jobs_that("trains")
    store = tmp_path / "new"
    asked = {"store": store, "cases": some_cases, "model": str(a_plain_folder)}
    for wrong, why in (
        ({"budget": "soon"}, "not a time"),
        ({"settings": {"speed": 9}}, "at 'speed'"),
        ({"cases": tmp_path}, "cannot be read"),
        ({"model": str(tmp_path)}, "not a model"),
        ({"unlabelled": tmp_path / "gone"}, "does not exist"),
    ):
        with pytest.raises(UserError, match=why):
            jobs.start(a_request(**{**asked, **wrong}))
        assert not store.exists()
    name = jobs.start(a_request(**asked))
    assert ModelStore.open(store).active.name == "1"
    jobs.discard(store, name)
    with pytest.raises(UserError, match=r"knows no update '\.\./1'"):
        jobs.state(store, "../1")


# --- through the worker ---


def a_worker_whose_updates(behavior):
    """A worker that starts stand-ins."""
    code = (
        "import sys\nfrom CFSegmenterLib.worker import server, update_jobs\n"
        f"update_jobs.COMMAND = (sys.executable, {str(STAND_IN)!r}, {behavior!r})\nserver.run('cpu')\n"
    )
    return WorkerClient([sys.executable, "-c", code])


def begin(worker, store, cases):
    message = {"store": str(store.folder), "model": str(store.active.folder), "cases": [str(cases)], "unlabelled": None}
    return worker.ask("update_start", {**message, "budget": "10min", "settings": {}}).message["update"]


def heard_when(worker, store, name, holds, seconds=PATIENCE):
    def asked():
        said = worker.ask("update_state", {"store": str(store.folder), "update": name}).message
        return said if holds(said) else None

    return wait_until(asked, seconds)


def test_the_worker_answers_while_an_update_is_under_way(monkeypatch, a_store, some_cases):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with a_worker_whose_updates("trains") as worker:
        name = begin(worker, a_store, some_cases)
        heard_when(worker, a_store, name, is_training)
        assert worker.ask("store", {"folder": str(a_store.folder)}).message["updates"][0]["state"] == "running"
        assert len(worker.ask("cases", {"folder": str(some_cases)}).message["cases"]) == 1
        named = {"store": str(a_store.folder), "update": name}
        worker.ask("update_cancel", named)
        assert heard_when(worker, a_store, name, is_over)["state"] == "stopped"
        worker.ask("update_discard", named)
        with pytest.raises(UserError, match="knows no update"):
            worker.ask("update_state", named)


@pytest.mark.parametrize("end", ["is killed", "is let go of"])
def test_no_child_outlives_the_worker_and_the_next_one_goes_on_with_its_update(monkeypatch, a_store, some_cases, end):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with a_worker_whose_updates("trains") as worker:
        name = begin(worker, a_store, some_cases)
        step = heard_when(worker, a_store, name, is_training)["step"]
        (child,) = psutil.Process(worker.pid).children()
        if end == "is killed":
            os.kill(worker.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs([child], timeout=PATIENCE)
    assert not alive or child.status() == psutil.STATUS_ZOMBIE
    assert int((a_store.update_folder(name) / "checkpoint").read_text()) >= step  # not killed: it stopped by itself
    with a_worker_whose_updates("trains") as worker:
        said = worker.ask("update_state", {"store": str(a_store.folder), "update": name}).message
        assert said["state"] == "stopped" and said["step"] >= step
        assert begin(worker, a_store, some_cases) == name
        assert heard_when(worker, a_store, name, is_training)["step"] > step


def test_an_update_that_was_killed_with_its_worker_is_stopped_and_not_running(jobs_that, a_store, some_cases):
    jobs = jobs_that("is deaf")
    name = jobs.start(a_request(a_store.folder, some_cases))
    state_when(jobs, a_store.folder, name, is_training)
    (child,) = jobs._children.values()
    child.process.kill()  # as Slicer kills the whole tree of processes
    child.process.wait()
    said = jobs_that("trains").state(a_store.folder, name)
    assert said["state"] == "stopped" and "goes on from its last checkpoint" in said["message"]


def test_a_lock_is_seen_only_while_it_is_held(tmp_path):
    assert not is_locked(tmp_path / "a.lock") and not (tmp_path / "a.lock").exists()
    with locked(tmp_path / "a.lock", "It"):
        assert is_locked(tmp_path / "a.lock")
    assert not is_locked(tmp_path / "a.lock")


# --- the real thing ---


@pytest.mark.slow
def test_a_model_is_taught_by_the_worker_and_the_version_decided_about(a_worker, a_plain_folder, tmp_path):
    cases, store = tmp_path / "cases", tmp_path / "store"
    add_phantoms(CaseFolder.open(cases), 4)
    settings = {
        "budget_seconds": None,
        "iterations": 4,
        "patch_voxels": 4096,
        "patches_per_step": 1,
        "precision": "32-true",
        "checkpoint_minutes": 0.0,
    }
    message = {"store": str(store), "model": str(a_plain_folder), "cases": [str(cases)], "unlabelled": None}
    name = a_worker.ask("update_start", {**message, "budget": None, "settings": settings}).message["update"]
    said = heard_when(a_worker, ModelStore(store), name, is_over, 8 * PATIENCE)
    assert (said["state"], said["version"]) == ("done", "2"), said["message"]
    assert [step for step, _ in said["losses"]] == [1, 2, 3, 4]
    shown = a_worker.ask("store", {"folder": str(store)}).message
    assert [(v["version"], v["status"]) for v in shown["versions"]] == [("1", "accepted"), ("2", "proposed")]
    assert shown["updates"] == []
    report = a_worker.ask("report", {"store": str(store), "version": "2"}).message
    assert report["report"]["taught"] == ["right kidney"] and report["report"]["validated"] is True
    assert "right kidney" in report["page"]
    a_worker.ask("accept", {"store": str(store), "version": "2", "confirmed": True})
    encode = {"key": "taught", "model": str(ModelStore(store).active.folder), "modality": "mr-t2"}
    drawn = draw_small(40)
    a_worker.ask("encode", {**encode, "affine": drawn.affine.tolist()}, {"image": drawn.image})
    assert a_worker.ask("similarity", {"key": "taught", "structure": "right kidney"}).arrays["map"].shape == (
        32,
        32,
        24,
    )


@pytest.mark.slow
def test_a_real_update_stops_after_a_checkpoint_when_its_worker_is_killed(a_plain_folder, tmp_path):
    cases, store = tmp_path / "cases", tmp_path / "store"
    add_phantoms(CaseFolder.open(cases), 1)
    settings = {"patch_voxels": 4096, "patches_per_step": 1, "precision": "32-true", "checkpoint_minutes": 60.0}
    message = {"store": str(store), "model": str(a_plain_folder), "cases": [str(cases)], "unlabelled": None}
    with WorkerClient([*COMMAND, "--device", "cpu"]) as worker:
        asked = {**message, "budget": "1 hour", "settings": settings}
        name = worker.ask("update_start", asked).message["update"]
        heard_when(
            worker,
            ModelStore(store),
            name,
            lambda said: said["phase"] == "training" and is_training(said),
            8 * PATIENCE,
        )
        children = psutil.Process(worker.pid).children(recursive=True)
        os.kill(worker.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=2 * PATIENCE)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    said = UpdateJobs().state(store, name)
    assert said["state"] == "stopped" and "after a checkpoint" in said["message"]
    assert said["step"] > 0 and said["losses"]
