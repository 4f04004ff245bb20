"""The worker: a real process, asked over real pipes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.worker.client import COMMAND, WorkerClient
from CFSegmenterLib.worker.framing import PROTOCOL


@pytest.fixture(scope="module")
def a_worker():
    with WorkerClient([*COMMAND, "--device", "cpu"]) as worker:
        yield worker


@pytest.fixture
def an_encoded(a_worker, a_model_folder, a_small_volume):
    """The worker, holding the small volume under the key "small"."""
    request = {"key": "small", "model": str(a_model_folder), "affine": a_small_volume.affine.tolist()}
    a_worker.ask("encode", {**request, "modality": "mr-t2"}, {"image": a_small_volume.array})
    return a_worker


def test_it_says_who_it_is(a_worker):
    said = a_worker.ask("hello", {"protocol": PROTOCOL}).message
    assert said["device"] == "cpu"
    assert said["memory_free"] > 0


def test_another_protocol_is_refused_in_one_sentence(a_worker):
    with pytest.raises(UserError, match="same version"):
        a_worker.ask("hello", {"protocol": PROTOCOL + 1})


def test_an_unknown_request_is_answered_with_a_sentence(a_worker):
    with pytest.raises(UserError, match="does not know the request 'dance'"):
        a_worker.ask("dance")


def test_it_answers_as_the_library_does(an_encoded, a_segmenter, a_small_volume):
    encoding = a_segmenter.encode(a_small_volume)
    wanted = encoding.segment(["liver", "left kidney"])
    frame = an_encoded.ask("segment", {"key": "small", "structures": ["liver", "left kidney"]})
    for place in frame.message["places"]:
        mask = frame.arrays[f"layer{place['layer']}"] == place["value"]
        assert (mask != wanted.mask(place["name"])).mean() < 0.01  # the worker may compute in bfloat16
    similarity = an_encoded.ask("similarity", {"key": "small", "structure": "liver"}).arrays["map"]
    assert similarity.shape == a_small_volume.shape
    assert np.abs(similarity - encoding.similarity("liver")).mean() < 0.02
    assert an_encoded.ask("margin", {"key": "small"}).arrays["map"].min() >= 0


def test_a_probed_point_can_be_asked_for_like_a_structure(an_encoded, a_small_phantom):
    value = next(v for v, name in a_small_phantom.names.items() if name == "liver")
    inside = np.argwhere(a_small_phantom.labels == value).mean(axis=0)
    ras = (a_small_phantom.affine @ [*inside, 1.0])[:3].tolist()
    probe = an_encoded.ask("probe", {"key": "small", "ras": ras})
    assert probe.message["ranked"][0][0] == "liver"
    similarity = an_encoded.ask("similarity", {"key": "small"}, probe.arrays).arrays["map"]
    assert similarity[tuple(inside.round().astype(int))] > 0.8


def test_a_painted_example_finds_what_it_is_painted_on(an_encoded, a_small_phantom):
    value = next(v for v, name in a_small_phantom.names.items() if name == "spleen")
    mask = a_small_phantom.labels == value
    query = an_encoded.ask("prototype", {"key": "small"}, {"mask": mask})
    similarity = an_encoded.ask("similarity", {"key": "small"}, query.arrays).arrays["map"]
    assert similarity[mask].mean() > similarity[~mask].mean() + 0.3


def test_encoding_again_under_the_same_key_takes_no_second_pass(an_encoded, a_model_folder, a_small_volume):
    told = []
    request = {"key": "small", "model": str(a_model_folder), "affine": a_small_volume.affine.tolist()}
    an_encoded.ask("encode", request, {"image": a_small_volume.array}, lambda *said: told.append(said) or True)
    assert told == []


def test_a_model_folder_that_is_gone_is_named(a_worker, a_small_volume, tmp_path):
    request = {"key": "gone", "model": str(tmp_path / "deleted"), "affine": a_small_volume.affine.tolist()}
    with pytest.raises(UserError, match="deleted is not a model folder"):
        a_worker.ask("encode", request, {"image": a_small_volume.array})


def test_a_bad_volume_is_answered_with_its_sentence(a_worker, a_model_folder):
    flat = np.zeros((8, 8, 1), np.int16)
    request = {"key": "flat", "model": str(a_model_folder), "affine": np.eye(4).tolist()}
    with pytest.raises(UserError):
        a_worker.ask("encode", request, {"image": flat})


def test_an_encoding_that_is_not_there_says_to_encode_again(a_worker):
    with pytest.raises(UserError, match="encode the volume again"):
        a_worker.ask("similarity", {"key": "never", "structure": "liver"})


def test_cancel_is_heard_within_a_second(a_worker, a_model_folder, a_small_volume):
    large = np.tile(a_small_volume.array, (5, 5, 5))
    asked = []

    def stop(done, total, message):
        asked.append(time.monotonic())
        return False

    request = {"key": "large", "model": str(a_model_folder), "affine": a_small_volume.affine.tolist()}
    with pytest.raises(Cancelled):
        a_worker.ask("encode", {**request, "modality": "mr-t2"}, {"image": large}, stop)
    assert len(asked) < 20  # it went on for a few windows at most, not to the end
    assert a_worker.ask("hello", {"protocol": PROTOCOL}).message["device"] == "cpu"


def test_only_as_many_encodings_are_kept_as_fit(a_model_folder, a_small_volume):
    with WorkerClient([*COMMAND, "--device", "cpu", "--memory", "0.000001"]) as worker:
        request = {"model": str(a_model_folder), "affine": a_small_volume.affine.tolist(), "modality": "mr-t2"}
        for key in ("first", "second"):
            worker.ask("encode", {**request, "key": key}, {"image": a_small_volume.array})
        worker.ask("similarity", {"key": "second", "structure": "liver"})
        with pytest.raises(UserError, match="no longer in memory"):
            worker.ask("similarity", {"key": "first", "structure": "liver"})


def test_a_killed_worker_is_noticed_and_said_in_one_sentence():
    with WorkerClient() as worker:
        worker.ask("hello", {"protocol": PROTOCOL})
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="start it again"):
            worker.ask("hello", {"protocol": PROTOCOL})


def test_shutdown_is_answered_and_ends_it():
    with WorkerClient() as worker:
        process = psutil.Process(worker.pid)
        assert worker.ask("shutdown").message["event"] == "answer"
        psutil.wait_procs([process], timeout=20)
        with pytest.raises(UserError, match="start it again"):
            worker.ask("hello", {"protocol": PROTOCOL})


def test_progress_says_what_is_done_and_how_many_seconds_are_left():
    code = (
        "import time\nfrom CFSegmenterLib.worker import server\n"
        "def work(session, frame, progress):\n"
        "    for done in range(5):\n"
        "        progress(done, 4, f'window {done} of 4')\n"
        "        time.sleep(0.2)\n"
        "    progress(0, 2, 'deciding')\n"
        "    return {}, {}\n"
        "server.VERBS['work'] = work\n"
        "server.run('cpu')\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(b'{"id": 1, "verb": "work"}\n')
        process.stdin.flush()
        *told, answer = [json.loads(process.stdout.readline()) for _ in range(7)]
        process.stdin.close()
    assert answer == {"id": 1, "event": "answer"}
    assert {(event["id"], event["event"]) for event in told} == {(1, "progress")}
    assert [(event["done"], event["total"]) for event in told] == [*((done, 4) for done in range(5)), (0, 2)]
    left = [event.pop("seconds_left") for event in told]
    assert left[0] is None and left[1] >= 0.6 and left[4] == 0
    assert left[5] is None, "of another phase nothing is known yet"
    assert told[1]["what"] == "window 1 of 4"


def test_it_never_outlives_its_parent(tmp_path):
    script = (
        "import time\nfrom CFSegmenterLib.worker.client import WorkerClient\n"
        "w = WorkerClient()\nw.ask('hello', {'protocol': 1})\nprint(w.pid, flush=True)\ntime.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_worker_whose_card_failed_says_so_and_ends():
    code = (
        "from CFSegmenterLib.worker import server\n"
        "def fail(*_):\n    raise RuntimeError('CUDA error: an illegal memory access was encountered')\n"
        "server.VERBS['fail'] = fail\n"
        "server.run('cpu')\n"
    )
    with WorkerClient([sys.executable, "-c", code]) as worker:
        process = psutil.Process(worker.pid)
        with pytest.raises(UserError, match="graphics card failed"):
            worker.ask("fail")
        psutil.wait_procs([process], timeout=20)
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_what_is_printed_never_reaches_the_protocol(capfd):
    code = (
        "import os\nfrom CFSegmenterLib.worker import server\n"
        "server.VERBS['noise'] = lambda *_: (print('noise', flush=True), os.system('echo noise'), ({}, {}))[-1]\n"
        "server.run('cpu')\n"
    )
    with WorkerClient([sys.executable, "-c", code]) as worker:
        assert worker.ask("noise").message == {"id": 1, "event": "answer"}
    assert capfd.readouterr().err.count("noise") == 2


def test_what_it_runs_cannot_take_what_is_sent_to_it():
    code = (
        "import os\nfrom CFSegmenterLib.worker import server\n"
        "server.VERBS['reader'] = lambda *_: (os.system('sort >&2'), ({}, {}))[-1]\n"
        "server.run('cpu')\n"
    )
    with WorkerClient([sys.executable, "-c", code]) as worker:
        assert worker.ask("reader").message["event"] == "answer"
        assert worker.ask("reader").message["id"] == 2


def test_output_that_is_no_frame_is_said_in_one_sentence():
    command = [sys.executable, "-c", "print('Welcome to gpu-box')"]
    with WorkerClient(command) as worker, pytest.raises(UserError, match=r"no answer of CFSegmenter.*Welcome to gpu"):
        worker.ask("hello", {"protocol": PROTOCOL})


def test_a_damaged_model_is_left_out_and_named_and_hides_no_other(a_worker, a_model_folder, tmp_path):
    shutil.copytree(a_model_folder, tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "manifest.json").write_text('{"format": 1, ', encoding="utf-8")
    said = a_worker.ask("models", {"folder": str(tmp_path)}).message
    assert str(tmp_path / "good") in [model["folder"] for model in said["models"]]
    (damaged,) = said["damaged"]
    assert damaged["folder"] == str(tmp_path / "bad")
    assert "not valid JSON" in damaged["message"]


def test_what_it_was_told_to_forget_it_cannot_be_asked_about(an_encoded):
    an_encoded.ask("forget")
    with pytest.raises(UserError, match="encode the volume"):
        an_encoded.ask("margin", {"key": "small"})
