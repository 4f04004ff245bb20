"""The link to the worker: real processes, well-behaved and not, over Qt's pipes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

import numpy as np
import psutil
import pytest
import slicer
from CFSegmenterUI import workerCommand, workerLink
from CFSegmenterUI.workerLink import WorkerLink

from CFSegmenterLib.errors import Cancelled, UserError
from Testing.Host import slotErrors

PATIENCE = 120
"""Seconds; the machine may be busy with other things."""

PREAMBLE = """
import json, math, os, subprocess, sys, time
def say(*bodies, **message):
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\\n" + b"".join(bodies))
    sys.stdout.buffer.flush()
def hear():
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit()
    message = json.loads(line)
    sizes = [math.prod(a["shape"]) * int(a["dtype"][2:]) for a in message.get("arrays", [])]
    return message, [sys.stdin.buffer.read(size) for size in sizes]
def greet(**said):
    message, _ = hear()
    say(**{"id": message["id"], "event": "answer", "protocol": 1, "device": "cpu", "pid": os.getpid(), **said})
def child():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL).pid
"""

ECHO = """
greet()
while True:
    message, bodies = hear()
    say(*bodies, id=message["id"], event="answer", verb=message["verb"], arrays=message.get("arrays", []))
"""

STUCK = """
greet(child=child())
while True:
    message, _ = hear()
    if message["verb"] == "hang":
        time.sleep(600)
    say(id=message["id"], event="answer")
"""

SLOW_LINE = """
def read(count):
    while count > 0:
        count -= len(sys.stdin.buffer.read(min(count, 1 << 18)))
        time.sleep(0.05)
greet()
line = json.loads(sys.stdin.buffer.readline())
read(math.prod(line["arrays"][0]["shape"]))
while True:
    message, _ = hear()
    if message["verb"] == "cancel":
        say(id=message["target"], event="cancelled")
    else:
        say(id=message["id"], event="answer")
"""
"""Takes one volume, 5 MB a second, and then hears whether it was cancelled."""
VOLUME = np.zeros(12_000_000, np.uint8)

TRAINING = """
learn = "import sys, time; sys.stdin.read(); time.sleep(0.5); open(sys.argv[1], 'w').close()"
child = subprocess.Popen([sys.executable, "-c", learn, {kept!r}], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
greet()
hear()
"""
"""Has a child that, when nobody holds its input open any more, takes half a second to keep what it learned."""
LAUNCHER = "subprocess.run([sys.executable, '-I', '-S', '-c', {script!r}])"


@pytest.fixture
def linkTo(tmp_path):
    """`linkTo(script)` makes a link to a worker that runs the script after the preamble."""
    links = []

    def make(script: str) -> WorkerLink:
        path = tmp_path / f"worker{len(links)}.py"
        path.write_text(PREAMBLE + script)
        links.append(WorkerLink(lambda: [sys.executable, "-I", "-S", str(path)]))
        return links[-1]

    yield make
    for link in links:
        link.stop()


class Heard(list):
    """What came to the callbacks of a request, in order."""

    def callbacks(self):
        return {**self.ends(), "progress": self._hears("progress")}

    def ends(self):
        return {name: self._hears(name) for name in ("done", "failed", "cancelled")}

    def _hears(self, name):
        return lambda *said: self.append((name, *said))


def wait(process, heard, count=1):
    process(until=lambda: len(heard) >= count, seconds=PATIENCE)
    return heard[-1]


def isGone(pid) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_volume_comes_back_as_it_was_sent_and_never_inside_the_request(linkTo, process):
    volume = np.random.default_rng(0).integers(-1000, 1000, (60, 250, 230), dtype=np.int16).T  # as Slicer holds it
    states, heard = [], Heard()
    link = linkTo(ECHO)
    link.addListener(states.append)
    assert not link.isRunning
    link.request("encode", {}, {"image": volume, "mask": volume > 0}, **heard.ends())
    assert heard == []
    kind, frame = wait(process, heard)
    assert kind == "done"
    np.testing.assert_array_equal(frame.arrays["image"], volume)
    np.testing.assert_array_equal(frame.arrays["mask"], volume > 0)
    assert states == ["starting", "ready"]
    assert link.isRunning and link.machine["device"] == "cpu"


def test_questions_are_answered_in_order_by_one_process(linkTo, process):
    heard = Heard()
    link = linkTo(ECHO)
    for verb in ("first", "second", "third"):
        link.request(verb, **heard.callbacks())
    wait(process, heard, 3)
    assert [frame.message["verb"] for _, frame in heard] == ["first", "second", "third"]


def test_progress_comes_with_the_seconds_that_are_left(linkTo, process):
    heard = Heard()
    link = linkTo(
        "greet(); message, _ = hear()\n"
        "say(id=message['id'], event='progress', done=1, total=4, what='window 1 of 4', seconds_left=3.5)\n"
        "say(id=message['id'], event='answer'); hear()"
    )
    link.request("encode", **heard.callbacks())
    wait(process, heard, 2)
    assert heard[0] == ("progress", 1, 4, "window 1 of 4", 3.5)
    assert heard[1][0] == "done"


def test_a_callback_that_raises_takes_no_other_with_it(linkTo, process):
    heard = Heard()
    link = linkTo(ECHO)

    def fail(frame):
        raise RuntimeError("a defect of a panel")

    link.request("first", done=fail)
    link.request("second", **heard.callbacks())
    assert wait(process, heard)[0] == "done"
    assert [str(error) for _, error in slotErrors] == ["a defect of a panel"]
    slotErrors.clear()


def test_cancel_is_answered_within_a_second_by_a_worker_that_is_stuck(linkTo, process, monkeypatch):
    monkeypatch.setattr(workerLink, "CANCEL_SECONDS", 3)
    heard, later, states = Heard(), Heard(), []
    link = linkTo(STUCK)
    link.ask("warm up")
    pid, child = link.machine["pid"], link.machine["child"]
    link.addListener(states.append)
    request = link.request("hang", **heard.callbacks())
    link.request("after", **later.callbacks())
    process()
    process()
    started = time.monotonic()
    request.cancel()
    request.cancel()
    wait(process, heard)
    assert time.monotonic() - started < 1
    assert not isGone(pid)
    wait(process, later)  # it is killed for not stopping, and what waited goes to the next one
    assert later[0][0] == "done"
    assert heard == [("cancelled",)]
    assert isGone(pid) and isGone(child)
    assert link.machine["pid"] != pid
    assert states == ["stopped", "starting", "ready"]


def test_how_much_of_a_volume_has_gone_out_is_told_while_it_is_sent(linkTo, process, monkeypatch):
    monkeypatch.setattr(workerLink, "SENDING_MS", 20)
    heard = Heard()
    link = linkTo(SLOW_LINE)
    link.request("encode", {}, {"image": VOLUME}, **heard.callbacks())
    wait(process, heard, 5)
    kind, done, total, what, _left = heard[4]
    assert (kind, total, what) == ("progress", 12, f"sending {done} of 12 MB")
    assert [said[1] for said in heard] == sorted(said[1] for said in heard)
    process(until=lambda: heard[-1][1] > 6, seconds=PATIENCE)
    assert heard[-1][4] > 0


def test_a_cancelled_volume_may_go_out_before_the_worker_is_ended(linkTo, process, monkeypatch):
    monkeypatch.setattr(workerLink, "CANCEL_SECONDS", 1)
    heard, later, states = Heard(), Heard(), []
    link = linkTo(SLOW_LINE)
    link.addListener(states.append)
    request = link.request("encode", {}, {"image": VOLUME}, **heard.ends())
    process(until=lambda: link.machine is not None, seconds=PATIENCE)
    process()
    request.cancel()
    assert wait(process, heard) == ("cancelled",)
    link.request("after", **later.callbacks())
    process(until=lambda: any(kind == "done" for kind, *_ in later), seconds=PATIENCE)
    assert states == ["starting", "ready"], "the worker was not ended for being slow to hear of it"
    assert later[0][0] == "progress" and later[0][3].startswith("still sending ")


def test_a_worker_that_takes_no_more_of_a_cancelled_volume_is_ended(linkTo, process, monkeypatch):
    monkeypatch.setattr(workerLink, "CANCEL_SECONDS", 1)
    states = []
    link = linkTo("greet(); time.sleep(600)")
    link.addListener(states.append)
    request = link.request("encode", {}, {"image": VOLUME})
    process(until=lambda: link.machine is not None, seconds=PATIENCE)
    process()
    request.cancel()
    process(until=lambda: "stopped" in states, seconds=PATIENCE)


def test_an_answer_that_comes_after_cancel_is_not_heard(linkTo, process):
    heard = Heard()
    link = linkTo(
        "greet(); message, _ = hear(); say(id=message['id'], event='progress', done=0, total=1, what='x')\n"
        "hear(); say(id=message['id'], event='answer')\n"
        "message, _ = hear(); say(id=message['id'], event='answer'); hear()"
    )
    request = link.request("encode", **heard.callbacks())
    wait(process, heard)
    request.cancel()
    link.request("next", **heard.callbacks())
    wait(process, heard, 3)
    assert [kind for kind, *_ in heard] == ["progress", "cancelled", "done"]


def test_what_waits_can_be_cancelled_without_a_word_to_the_worker(linkTo, process):
    heard = Heard()
    link = linkTo(STUCK)
    link.request("hang")
    link.request("after", **heard.callbacks()).cancel()
    assert wait(process, heard) == ("cancelled",)


def test_a_killed_worker_is_said_to_everybody_and_started_at_the_next_question(linkTo, process):
    heard, states = Heard(), []
    link = linkTo(STUCK)
    link.ask("warm up")
    pid = link.machine["pid"]
    link.addListener(states.append)
    link.request("hang", **heard.callbacks())
    link.request("after", **heard.callbacks())
    process()
    os.kill(pid, signal.SIGKILL)
    wait(process, heard, 2)
    for kind, text, gone in heard:
        assert kind == "failed" and not gone
        assert "ended unexpectedly" in text and text.count(".") == 1
    assert states == ["crashed"] and not link.isRunning and link.machine is None
    link.ask("again")
    assert link.machine["pid"] != pid


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("print('Welcome to gpu-box', flush=True); time.sleep(600)", "no answer of CFSegmenter"),
        ("sys.exit('No module named torch')", "ended before it was ready"),
        ("greet(protocol=2); hear()", "same version"),
        ("hear(); say(id=0, event='error', message='Install the same version.'); hear()", "Install the same version"),
    ],
)
def test_a_worker_that_is_none_is_said_in_one_sentence_and_ended(linkTo, script, sentence, caplog):
    link = linkTo(script)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match=sentence) as raised:
        link.ask("models")
    assert str(raised.value).count(". ") == 0
    assert not link.isRunning
    for said in ("Welcome to gpu-box", "No module named torch"):
        assert (said in script) == (said in caplog.text)


def test_a_worker_that_never_says_hello_is_given_up(linkTo, monkeypatch):
    monkeypatch.setattr(workerLink, "HELLO_SECONDS", 0.5)
    with pytest.raises(UserError, match="did not say who it is"):
        linkTo("time.sleep(600)").ask("models")


def test_a_command_that_is_not_there_is_named(application):
    with pytest.raises(UserError, match="'no-such-program' was not found"):
        WorkerLink(lambda: ["no-such-program", "worker"]).ask("models")


def test_stop_ends_the_worker_and_its_children_now(linkTo, process):
    heard, states = Heard(), []
    link = linkTo(STUCK)
    link.ask("warm up")
    link.addListener(states.append)
    said = link.machine
    link.request("hang", **heard.callbacks())
    process()
    link.stop()
    assert states == ["stopped"] and not link.isRunning
    assert isGone(said["pid"])
    process(until=lambda: isGone(said["child"]), seconds=PATIENCE)
    assert wait(process, heard) == ("cancelled",)


@pytest.mark.parametrize("isLaunched", [False, True])
def test_a_worker_that_is_ended_gently_leaves_its_child_to_keep_what_it_learned(linkTo, process, tmp_path, isLaunched):
    kept, heard, states = tmp_path / "kept", Heard(), []
    script = TRAINING.format(kept=str(kept))
    link = linkTo(LAUNCHER.format(script=PREAMBLE + script) if isLaunched else script)
    link.request("wait", **heard.callbacks())
    process(until=lambda: link.machine is not None, seconds=PATIENCE)
    pid = link.machine["pid"]
    link.addListener(states.append)
    link.stop(gently=True)
    assert states == ["stopped"] and not link.isRunning
    process(until=lambda: isGone(pid), seconds=PATIENCE)
    process(until=kept.exists, seconds=PATIENCE)
    assert wait(process, heard) == ("cancelled",)


def test_a_worker_that_does_not_hear_is_ended_gently_all_the_same(linkTo, process):
    link = linkTo("greet(); time.sleep(600)")
    link.request("wait")
    process(until=lambda: link.machine is not None, seconds=PATIENCE)
    pid = link.machine["pid"]
    link.stop(gently=True)
    assert isGone(pid)


def test_a_script_can_cancel_while_it_waits(linkTo):
    link = linkTo(
        "greet(); message, _ = hear(); say(id=message['id'], event='progress', done=0, total=9, what='x')\n"
        "hear(); say(id=message['id'], event='cancelled'); hear()"
    )
    with pytest.raises(Cancelled):
        link.ask("encode", progress=lambda done, total, what, left: False)


def test_the_real_worker_is_found_and_says_who_it_is(process, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # not where the library lies
    link, heard = WorkerLink(), Heard()
    link.request("similarity", {"key": "never", "structure": "liver"}, **heard.callbacks())
    process(until=lambda: heard, seconds=3 * PATIENCE)
    kind, text, gone = heard[0]
    assert kind == "failed" and gone and "encode the volume again" in text
    assert link.machine["memory_free"] > 0
    link.stop()


def test_the_command_of_the_settings_is_split_as_a_shell_does(application):
    assert workerCommand.workerCommand()[1:] == ["-m", "CFSegmenterLib", "worker"]
    workerCommand.setOwnCommand(" ssh gpu-box '/opt/my tools/cfsegmenter' worker ")
    assert workerCommand.workerCommand() == ["ssh", "gpu-box", "/opt/my tools/cfsegmenter", "worker"]
    workerCommand.setOwnCommand("ssh 'gpu-box")
    with pytest.raises(UserError, match="quote"):
        WorkerLink().ask("models")


def test_the_worker_runs_in_the_python_of_slicer_where_there_is_one(application, monkeypatch, tmp_path):
    assert workerCommand.slicerPython() == sys.executable
    program = tmp_path / "bin" / "PythonSlicer"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setattr(slicer.app, "slicerHome", str(tmp_path))
    assert workerCommand.workerCommand()[0] == str(program)


def test_a_command_of_the_users_is_spared_the_paths_of_slicer(application, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/opt/Slicer/lib")
    first, second = workerCommand.workerEnvironment()["PYTHONPATH"].split(os.pathsep)
    assert os.path.isdir(os.path.join(first, "CFSegmenterLib")) and second == "/opt/Slicer/lib"
    workerCommand.setOwnCommand("ssh gpu-box cfsegmenter worker")
    monkeypatch.setattr(slicer.util, "startupEnvironment", lambda: {"PATH": "/usr/bin"})
    assert workerCommand.workerEnvironment() == {"PATH": "/usr/bin"}
