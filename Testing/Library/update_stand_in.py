"""In the place of `cfsegmenter update` in tests of the worker: keeps its promises, and learns nothing.

    python update_stand_in.py BEHAVIOR --out STORE --name NAME --status FILE ...

It takes the update's lock, writes a status and a log, counts steps from where a checkpoint left them, and stops after a
checkpoint when its standard input ends. Behaviors: "trains" until then; "finishes" after a few steps; "says why" and
"breaks" end without a word in the status; "is killed" by itself; "is deaf" to the end of its input.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from CFSegmenterLib.locking import locked

STEP_SECONDS = 0.02


def option(name: str) -> str:
    """What follows an option."""
    return sys.argv[sys.argv.index(name) + 1]


def main() -> None:
    """Behave."""
    behavior, status = sys.argv[1], Path(option("--status"))
    folder = Path(option("--out")) / "updates" / option("--name")
    with locked(status.with_suffix(".lock"), "The update"):
        behave(behavior, status, folder)


def behave(behavior: str, status: Path, folder: Path) -> None:
    """Under the lock."""
    if behavior == "says why":
        sys.exit("Error: The cases are of no use.")
    if behavior == "breaks":
        raise RuntimeError("a defect")
    ending = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ending.set()), daemon=True).start()
    folder.mkdir(exist_ok=True)
    checkpoint = folder / "checkpoint"
    step = int(checkpoint.read_text()) if checkpoint.exists() else 0
    (folder / "arguments.json").write_text(json.dumps(sys.argv[2:]))
    while behavior == "is deaf" or not ending.is_set():
        step += 1
        with open(folder / "log.csv", "a") as log:
            log.write(("step,loss\n" if log.tell() == 0 else "") + f"{step},{1 / step}\n")
        say(status, state="running", phase="training", step=step, total=1000, fraction=step / 1000, loss=1 / step)
        if behavior == "is killed" and step > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if behavior == "finishes" and step > 2:
            shutil.rmtree(folder)
            say(status, state="done", phase="comparing", fraction=1.0, version="2")
            return
        time.sleep(STEP_SECONDS)
    checkpoint.write_text(str(step))
    say(status, state="stopped", phase="training", step=step, total=1000, message="Stopped after a checkpoint.")


def say(status: Path, **said: object) -> None:
    """Write the status, whole."""
    part = status.with_name(f".{status.name}.part")
    part.write_text(json.dumps({"message": "", "version": None, "seconds_left": None, **said}))
    os.replace(part, status)


if __name__ == "__main__":
    main()
