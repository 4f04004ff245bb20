"""What ends a training before its last step, by intent or not, and what is left then."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading

import pytest

from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.resuming import CHECKPOINT
from Testing.Library.short_training import (
    a_trainer,
    assert_same_training,
    stop_after,
)


@pytest.mark.parametrize("asked", [False, True], ids=["by the system", "with the training"])
@pytest.mark.parametrize("moment", ["between steps", "in the middle of a step", "while a checkpoint is written"])
def test_what_was_learned_is_kept_when_the_process_that_makes_patches_is_killed(
    balls, whole_training, tmp_path, monkeypatch, moment, asked
):
    trainer = a_trainer(balls, tmp_path / "run")
    average, save, killed = trainer._average, trainer._checkpoint, []

    def kill() -> None:
        (maker,) = multiprocessing.active_children()
        os.kill(maker.pid, signal.SIGTERM)
        maker.join()
        killed.append(maker)

    def average_after_the_death() -> None:  # the weights have moved, their average and the count of steps have not
        if trainer.step == 1 and moment == "in the middle of a step":
            kill()
        average()

    def save_after_the_death() -> None:
        if trainer.step == 2 and moment == "while a checkpoint is written" and not killed:
            kill()
        save()

    def progress(done: int, total: int, message: str) -> bool:
        if done == 2 and moment == "between steps" and not killed:
            kill()
        return not (asked and killed)

    trainer._average, trainer._checkpoint = average_after_the_death, save_after_the_death
    with pytest.raises(Cancelled if asked else RuntimeError):
        trainer.train(progress)
    assert killed and read_record(tmp_path / "run" / CHECKPOINT)["step"] == 2
    a_trainer(balls, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", whole_training)


def test_a_step_that_broke_half_way_is_not_in_the_checkpoint(balls, whole_training, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run")

    def breaks() -> None:
        raise RuntimeError("a defect")

    def break_at_step_2(done: int, total: int, message: str) -> bool:
        if done == 2:
            trainer._average = breaks
        return True

    with pytest.raises(RuntimeError, match="a defect"):
        trainer.train(break_at_step_2)
    a_trainer(balls, tmp_path / "run").train()  # from the checkpoint of before, since each step had one
    assert_same_training(tmp_path / "run", whole_training)


def test_a_defect_before_anything_was_learned_leaves_no_checkpoint_in_the_way_of_other_settings(
    balls, tmp_path, monkeypatch
):
    trainer = a_trainer(balls, tmp_path / "run")
    monkeypatch.setattr(trainer, "loss", lambda patch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_training_can_be_stopped_while_it_validates_and_owes_the_validation_then(balls, whole_training, tmp_path):
    trainer, said = a_trainer(balls, tmp_path / "run"), []

    def until_it_validates(done: int, total: int, message: str) -> bool:
        said.append((done, total, message))
        return not message.startswith("validating")

    with pytest.raises(Cancelled):
        trainer.train(until_it_validates)
    assert said[-1] == (2, 6, "validating, case 1 of 1")
    assert read_record(tmp_path / "run" / CHECKPOINT)["validated"] == 0
    a_trainer(balls, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", whole_training)


def test_no_best_model_lies_without_a_checkpoint_to_go_on_from(balls, tmp_path):
    seen = []

    def look(done: int, total: int, message: str) -> bool:
        seen.append(((tmp_path / "run" / "best").exists(), (tmp_path / "run" / CHECKPOINT).exists()))
        return done < 3

    with pytest.raises(Cancelled):
        a_trainer(balls, tmp_path / "run", checkpoint_minutes=60).train(look)
    assert (True, True) in seen and (True, False) not in seen


def test_a_log_that_ends_in_anything_after_a_power_cut_is_gone_on_with(balls, whole_training, tmp_path):
    with pytest.raises(Cancelled):
        a_trainer(balls, tmp_path / "run").train(stop_after(4))
    with open(tmp_path / "run" / "log.csv", "ab") as file:
        file.write(b"5,0.2" + bytes(40) + b"\n\xff\xfe,\n" + bytes(9))
    a_trainer(balls, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", whole_training)


def test_a_log_that_finds_no_room_ends_the_training_with_a_sentence(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run")

    def fill_the_disk(done: int, total: int, message: str) -> bool:
        trainer._checkpoint = lambda: None
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run/log.csv").stat().st_size, hard))
        return True

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(UserError, match=r"The log .*log.csv cannot be written .*: free some space"):
            trainer.train(fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("moment", ["between steps", "in the middle of a step"])
def test_ctrl_c_leaves_a_checkpoint_of_a_whole_step(balls, whole_training, tmp_path, moment):
    trainer = a_trainer(balls, tmp_path / "run")

    def press(*_) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    def press_at_step_2(done: int, total: int, message: str) -> bool:
        return press() if done == 2 else True

    if moment == "between steps":
        with pytest.raises(KeyboardInterrupt):
            trainer.train(press_at_step_2)
    else:
        original = trainer._average

        def average_after_ctrl_c() -> None:  # the weights have moved, their average and the count of steps have not
            if trainer.step == 1:
                press()
            original()

        trainer._average = average_after_ctrl_c
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    assert read_record(tmp_path / "run" / CHECKPOINT)["step"] == 2
    a_trainer(balls, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", whole_training)


def test_ctrl_c_means_after_a_training_what_it_meant_before(balls, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    a_trainer(balls, tmp_path / "run", iterations=1, validation_cases=0).train()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_training_may_run_beside_the_main_thread(balls, tmp_path):
    # Where no signal handler can be set.
    ended = []
    trainer = a_trainer(balls, tmp_path / "run", iterations=1, validation_cases=0)
    thread = threading.Thread(target=lambda: ended.append(trainer.train()))
    thread.start()
    thread.join(timeout=120)
    assert ended and ended[0].training["iterations_done"] == 1
