"""Updates that the worker has under way: one child process, how far it is, and what became of it.

    STORE/updates/<name>/               the update's own folder: checkpoint and log; gone once its version is proposed
    STORE/updates/<name>.json           its status, which stays
    STORE/updates/<name>.lock           held by the process that trains
    STORE/updates/<name>.settings.json  what it was started with

The child's standard input is a pipe that only the worker holds open. When it ends, because the worker closed it or is
no more, the child writes a checkpoint and ends, too.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from ..locking import is_locked
from .update_request import UpdateRequest

COMMAND = (sys.executable, "-m", "CFSegmenterLib", "update")

STOP_SECONDS = 60.0
"""A child that was asked to stop has so long for its checkpoint; then it is killed, and goes on from the one before."""

WAIT_SECONDS = 10.0
"""A request waits so long for a child to stop; others wait behind it."""

LINES_KEPT = 40
"""Of what a child that failed said, for the worker's log."""

FINAL = ("stopped", "failed", "done")
"""States that are a child's last word."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STARTING = {"state": "running", "phase": "preparing", "message": "starting"}
_NOTHING_YET = {
    "phase": "preparing",
    "step": 0,
    "total": 0,
    "fraction": 0.0,
    "loss": None,
    "seconds_left": None,
    "message": "",
    "version": None,
}


@dataclass
class _Child:
    """A process that trains, and what it says on its standard error."""

    process: subprocess.Popen
    said: IO[bytes]
    stop_by: float | None = None

    def last_words(self) -> list[str]:
        """The last lines that it said."""
        with suppress(OSError, ValueError):
            self.said.seek(0)
            return self.said.read().decode("utf-8", "replace").strip().splitlines()[-LINES_KEPT:]
        return []


class UpdateJobs:
    """UpdateJobs start one update at a time, and know of all that ever were what became of them."""

    def __init__(self, command: Sequence[str] | None = None):
        """`command` starts an update; by default this Python's own."""
        self._command = command
        self._children: dict[Path, _Child] = {}

    def start(self, request: UpdateRequest) -> str:
        """Start an update, or go on with the one of the same model, cases and settings; returns its name.

        Raises:
            UserError: another is under way, or model, cases, budget or settings cannot be used.
        """
        from ..store import ModelStore

        request.check()
        name = request.name()
        place = _place(request.store, name)
        if self._is_at_work(place):
            return name
        self._make_way(place)
        model = request.model_folder()
        ModelStore.create(request.store, model)
        try:
            place.parent.mkdir(exist_ok=True)
            _write(_beside(place, ".settings.json"), dict(request.settings or {}))
            _write(_beside(place, ".json"), _STARTING)
            self._children[place] = self._started(place, model, request)
        except OSError as error:
            raise UserError(f"The update cannot be started ({(error.strerror or str(error)).lower()}).") from error
        return name

    def state(self, store: Path, name: str) -> dict[str, Any]:
        """How far an update is, or what became of it.

        Returns:
            `state`: "running", "stopped" (it can go on), "done" or "failed"; `phase`; `step`, `total`, `fraction` and
            `seconds_left` of the phase; `loss`, and `losses`, pairs of step and loss; `message` for a person; and
            `version`, that was proposed.

        Raises:
            UserError: there is no such update.
        """
        place = _known(store, name)
        said = self._status(place)
        return {**_NOTHING_YET, **said, "losses": _losses(store, place, said.get("version"))}

    def unfinished(self, store: Path) -> list[dict[str, Any]]:
        """Name and state of every update of a store that is under way, or can go on."""
        folder = _place(store, "x").parent
        names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        found = [(name, self._status(folder / name)) for name in names if _NAME.fullmatch(name)]
        return [{"update": name, "state": said["state"], "message": said.get("message", "")} for name, said in found]

    def cancel(self, store: Path, name: str) -> None:
        """Have an update stop after a checkpoint, from which it can go on.

        Raises:
            UserError: there is no such update, or another program has it under way.
        """
        place = _known(store, name)
        child = self._children.get(place)
        if child is not None:
            _let_go(child)
        elif is_locked(_beside(place, ".lock")):
            raise UserError("The update was started by another program; cancel it there.")

    def discard(self, store: Path, name: str) -> None:
        """Forget an update and what it had learned; a version that came of it stays.

        Raises:
            UserError: there is no such update, or another program has it under way, or it cannot be removed.
        """
        place = _known(store, name)
        child = self._children.pop(place, None)
        if child is not None:
            _end(child)
            child.said.close()
        elif is_locked(_beside(place, ".lock")):
            raise UserError("The update was started by another program; cancel it there first.")
        try:
            if place.exists():
                shutil.rmtree(place)
            for ending in (".json", ".settings.json", ".lock"):
                _beside(place, ending).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"The update cannot be removed ({(error.strerror or str(error)).lower()}).") from error

    def _status(self, place: Path) -> dict[str, Any]:
        """What is known of an update, its losses aside."""
        child = self._children.get(place)
        if child is not None and child.process.poll() is None:
            return _alive(_read(_beside(place, ".json")), child)
        if child is not None:
            self._bury(place)
        return _left(place)

    def _is_at_work(self, place: Path) -> bool:
        """Whether our child has that update under way: it was not asked to stop, and has not said its last word."""
        child = self._children.get(place)
        if child is None or child.process.poll() is not None or child.stop_by is not None:
            return False
        return _read(_beside(place, ".json")).get("state") not in FINAL

    def _make_way(self, place: Path) -> None:
        """Wait for a child that stops, or is done.

        Raises:
            UserError: another update is under way.
        """
        for other, child in list(self._children.items()):
            if self._is_at_work(other):
                raise UserError("Another update is under way; wait until it is done, or cancel it first.")
            _end(child, WAIT_SECONDS)
            self._bury(other)
        if is_locked(_beside(place, ".lock")) and not _stops(_beside(place, ".lock")):
            raise UserError("Another program has this update under way; wait until it is done, or cancel it there.")

    def _started(self, place: Path, model: Path, request: UpdateRequest) -> _Child:
        words = ["--model", str(model), "--out", str(request.store), "--name", place.name]
        words += [word for each in request.lists for word in ("--cases", str(each))]
        words += ["--settings", str(_beside(place, ".settings.json")), "--status", str(_beside(place, ".json"))]
        words += ["--attended", "--device", request.device]
        words += ["--unlabelled", str(request.unlabelled)] if request.unlabelled is not None else []
        words += ["--budget", request.budget] if request.budget is not None else []
        said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child; nobody else can read what it says
        process = subprocess.Popen(
            [*(self._command or COMMAND), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        return _Child(process, said)

    def _bury(self, place: Path) -> None:
        """Put down what became of a child that has ended, if it did not say so itself."""
        child = self._children.pop(place)
        file = _beside(place, ".json")
        status, words = _read(file), child.last_words()
        child.said.close()
        if status.get("state") != "running":
            return
        if child.stop_by is not None:
            status = {**status, "state": "stopped", "message": _STOPPED}
        else:
            status = {**status, "state": "failed", "message": _explained(child.process.returncode, words)}
            sys.stderr.write("".join(f"{line}\n" for line in words))
        with suppress(UserError):
            _write(file, status)


_STOPPED = "Stopped; the same update goes on from its last checkpoint."
_GONE = "It ended before it was done; started again, it goes on from its last checkpoint."


def _alive(said: dict[str, Any], child: _Child) -> dict[str, Any]:
    """The status of a child that runs, if only to clear up behind itself."""
    if said.get("state") in FINAL:
        return said
    if child.stop_by is not None:
        said = {**said, "message": "stopping after a checkpoint"}
        if time.monotonic() > child.stop_by:
            child.process.kill()
    return {**said, "state": "running"}


def _left(place: Path) -> dict[str, Any]:
    """The status of an update that is no child of ours, or no more."""
    said = _read(_beside(place, ".json"))
    if said.get("state") in FINAL:
        return said
    if is_locked(_beside(place, ".lock")):
        return {**said, "state": "running"}
    return {**said, "state": "stopped", "message": _GONE}


def _explained(status: int, said: Sequence[str]) -> str:
    """Why a child ended that said nothing in its status."""
    sentence = next((line.removeprefix("Error: ") for line in reversed(said) if line.startswith("Error: ")), None)
    if sentence is not None:
        return sentence
    if status < 0:
        return f"The system ended it (signal {-status}), perhaps because memory ran out. {_GONE}"
    last = f": {said[-1]}" if said else ""
    return f"It ended with the status {status}{last}; the worker's log has the details."


def _let_go(child: _Child) -> None:
    """Close the pipe, which asks the child to stop."""
    if child.stop_by is None:
        child.stop_by = time.monotonic() + STOP_SECONDS
        with suppress(OSError):
            child.process.stdin.close()


def _end(child: _Child, seconds: float = 0.0) -> None:
    """Have a child ended: after its checkpoint, if that takes no longer."""
    _let_go(child)
    try:
        child.process.wait(seconds)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()


def _stops(lock: Path) -> bool:
    """Wait a little for the child of a worker that is no more."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if not is_locked(lock):
            return True
        time.sleep(0.1)
    return False


def _place(store: Path, name: str) -> Path:
    """The folder of an update."""
    from ..store_index import UPDATES

    return store.resolve() / UPDATES / name


def _known(store: Path, name: str) -> Path:
    """The folder of an update that there is, or was.

    Raises:
        UserError: there is no such store, or no such update in it.
    """
    from ..store_index import read_index

    read_index(store)
    if _NAME.fullmatch(name):
        place = _place(store, name)
        if place.is_dir() or _beside(place, ".json").is_file():
            return place
    raise UserError(f"The store {store} knows no update '{name}'; start it again.")


def _beside(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)


def _read(path: Path) -> dict[str, Any]:
    """A status; empty where there is none, or none that can be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    said = said if isinstance(said, dict) else {}
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in said.items()}


def _write(path: Path, said: Mapping[str, Any]) -> None:
    from ..files.writing import write_json

    write_json(path, said)


def _losses(store: Path, place: Path, version: Any) -> list[list[float]]:
    """Pairs of step and loss: of the log while there is one, later of the report."""
    from ..store import ModelStore
    from ..update_report import read_losses

    pairs: Sequence[Sequence[float]] = ()
    with suppress(UserError, OSError, ValueError, KeyError):
        if place.is_dir():
            pairs = read_losses(place)
        elif version is not None:
            pairs = ModelStore.open(store).version(str(version)).report().get("losses") or ()
    return [[step, loss] for step, loss in pairs if math.isfinite(loss)]
