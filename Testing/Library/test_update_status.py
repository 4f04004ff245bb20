"""The status of an update: whole each time, and never what ends the update."""

from __future__ import annotations

import json
import shutil

import pytest

from CFSegmenterLib import update_status
from CFSegmenterLib.progress import silent
from CFSegmenterLib.update_status import TRIES, StatusFile


class Clock:
    """A Clock stands in for `time`; nobody waits for those who sleep."""

    def __init__(self):
        self.now, self.asleep = 100.0, []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.asleep.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(update_status, "time", clock)
    return clock


def written(status: StatusFile) -> dict:
    return json.loads(status.path.read_text())


def test_a_status_that_cannot_be_written_is_tried_again_a_second_later(clock, tmp_path):
    status = StatusFile(tmp_path / "away" / "state.json")
    follow = status.following("training", silent)
    assert follow(1, 10, "loss 0.5, 1 min left")
    assert not clock.asleep
    status.path.parent.mkdir()
    assert follow(2, 10, "loss 0.4, 1 min left") and not status.path.exists()
    clock.now += 1.0
    assert follow(3, 10, "loss 0.3, 1 min left") and written(status)["step"] == 3


def test_a_last_word_is_tried_a_few_times_and_then_let_go(clock, tmp_path):
    status = StatusFile(tmp_path / "away" / "state.json")
    status.say(state="failed", message="of no use")
    assert len(clock.asleep) == TRIES - 1


@pytest.mark.parametrize("error", [PermissionError(13, "Access is denied"), OSError(28, "No space left on device")])
def test_a_last_word_arrives_once_the_file_can_be_written(clock, tmp_path, monkeypatch, error):
    status, refusals = StatusFile(tmp_path / "state.json"), [error, error]
    write = update_status.write_text

    def refused_at_first(path, text):
        if refusals:
            raise refusals.pop()
        write(path, text)

    monkeypatch.setattr(update_status, "write_text", refused_at_first)
    status.say(state="done", version="2")
    assert written(status)["version"] == "2" and len(clock.asleep) == 2


def test_the_time_left_of_a_training_that_goes_on_counts_what_it_does_now(clock):
    status = StatusFile(None)
    follow = status.following("training", silent)
    clock.now += 5.0
    follow(5001, 10_000, "loss 0.1, 50 min left")
    assert status.status.seconds_left is None
    clock.now += 20.0
    follow(5011, 10_000, "loss 0.1, 50 min left")
    assert status.status.seconds_left == pytest.approx(2.0 * 4989)


def test_a_folder_that_is_gone_does_not_end_the_update(clock, tmp_path):
    (tmp_path / "place").mkdir()
    status = StatusFile(tmp_path / "place" / "state.json")
    status.say(phase="training")
    shutil.rmtree(tmp_path / "place")
    status.say(phase="comparing")
    assert status.status.phase == "comparing"
