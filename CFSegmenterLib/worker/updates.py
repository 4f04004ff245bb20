"""Requests about teaching: the cases of a folder, updates under way, and decisions about the versions in a store.

All of it lies where the worker runs, and is answered at once: what takes long happens in a child (see `update_jobs`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .framing import Frame
from .update_request import UpdateRequest

if TYPE_CHECKING:
    from ..store import ModelStore
    from .server import Answer, Session


def _case_add(session: Session, frame: Frame, progress: Callable) -> Answer:
    """Copy the arrays `image` and `labels` (I, J, K) into a case folder, with what their values mean."""
    from ..case_folder import CaseFolder
    from ..volume import Volume

    said = frame.message
    affine = np.asarray(said["affine"], dtype=np.float64)
    added = CaseFolder.open(_path(said["folder"])).add(
        Volume.checked(frame.arrays["image"], affine, said.get("modality")),
        frame.arrays["labels"],
        said["values"],
        said["annotated"],
        own_structures=said.get("own_structures") or (),
        source=said.get("source"),
        split=said.get("split"),
        subject=said.get("subject"),
    )
    return asdict(added), {}


def _cases(session: Session, frame: Frame, progress: Callable) -> Answer:
    """The cases of a folder; none where it is empty or not there yet."""
    from ..case_folder import CaseFolder

    return {"cases": [asdict(case) for case in CaseFolder.open(_path(frame.message["folder"])).cases]}, {}


def _case_withdraw(session: Session, frame: Frame, progress: Callable) -> Answer:
    from ..case_folder import CaseFolder

    CaseFolder.open(_path(frame.message["folder"])).withdraw(int(frame.message["number"]))
    return {}, {}


def _update_start(session: Session, frame: Frame, progress: Callable) -> Answer:
    """Start an update, or go on with one that was stopped."""
    said = frame.message
    model, unlabelled = said.get("model"), said.get("unlabelled")
    request = UpdateRequest(
        store=_path(said["store"]),
        model=str(model) if model else None,
        cases=tuple(_path(each) for each in said["cases"]),
        unlabelled=_path(unlabelled) if unlabelled else None,
        budget=said.get("budget") or None,
        settings=said.get("settings") or {},
        device=said.get("device") or session.device,
    )
    return {"update": session.updates.start(request)}, {}


def _update_state(session: Session, frame: Frame, progress: Callable) -> Answer:
    return session.updates.state(_path(frame.message["store"]), str(frame.message["update"])), {}


def _update_cancel(session: Session, frame: Frame, progress: Callable) -> Answer:
    session.updates.cancel(_path(frame.message["store"]), str(frame.message["update"]))
    return {}, {}


def _update_discard(session: Session, frame: Frame, progress: Callable) -> Answer:
    session.updates.discard(_path(frame.message["store"]), str(frame.message["update"]))
    return {}, {}


def _store(session: Session, frame: Frame, progress: Callable) -> Answer:
    """What is in a store: versions with their manifests, damaged ones with what is wrong, updates that can go on.

    In a folder that is empty or not there yet is nothing: the first update makes a store of it.
    """
    from ..store_index import is_store, read_index

    folder = _path(frame.message["folder"])
    if not is_store(folder) and not (folder.exists() and (folder.is_file() or any(folder.iterdir()))):
        return {"name": None, "active": None, "versions": [], "damaged": [], "updates": []}, {}
    store = _opened(frame, "folder")
    versions, damaged = [], []
    for version in store.versions:
        try:
            manifest = version.manifest.model_dump(mode="json")
        except UserError as error:  # one damaged version must not hide the others
            damaged.append({"version": version.name, "message": str(error)})
            continue
        versions.append(
            {
                "version": version.name,
                "status": version.status,
                "folder": str(version.folder),
                "manifest": manifest,
                "has_report": version.has_report,
            }
        )
    index = read_index(store.folder)
    return {
        "name": index.name,
        "active": index.active,
        "versions": versions,
        "damaged": damaged,
        "updates": session.updates.unfinished(store.folder),
    }, {}


def _report(session: Session, frame: Frame, progress: Callable) -> Answer:
    """The report of a version, and its page: where it lies here, and its text for whoever is elsewhere."""
    version = _opened(frame).version(str(frame.message["version"]))
    report = version.report()
    try:
        page = version.page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {"report": report, "html": None, "page": None}, {}
    return {"report": report, "html": str(version.page), "page": page}, {}


def _accept(session: Session, frame: Frame, progress: Callable) -> Answer:
    from ..acceptance import NeedsConfirmation

    said = frame.message
    try:
        _opened(frame).accept(str(said["version"]), confirmed=bool(said.get("confirmed")))
    except NeedsConfirmation as error:
        return {"needs_confirmation": True, "message": str(error)}, {}
    return {"needs_confirmation": False, "message": ""}, {}


def _reject(session: Session, frame: Frame, progress: Callable) -> Answer:
    store = _opened(frame)
    store.reject(str(frame.message["version"]))
    return {"active": store.active.name}, {}


def _rollback(session: Session, frame: Frame, progress: Callable) -> Answer:
    return {"active": _opened(frame).rollback().name}, {}


def _compare(session: Session, frame: Frame, progress: Callable) -> Answer:
    return _opened(frame).compare(str(frame.message["a"]), str(frame.message["b"])), {}


def _doubt(session: Session, frame: Frame, progress: Callable) -> Answer:
    """How sure the model is of an encoding where it sees more than background; 0 where it sees nothing at all."""
    encoding = session.encodings.get(str(frame.message["key"]))
    margins, found = encoding.margin(progress=progress), encoding.best(progress=progress) != 0
    return {"margin": float(margins[found].mean(dtype=np.float64)) if found.any() else 0.0}, {}


def _opened(frame: Frame, named: str = "store") -> ModelStore:
    from ..store import ModelStore

    return ModelStore.open(_path(frame.message[named]))


def _path(said: Any) -> Path:
    return Path(str(said)).expanduser()


VERBS: dict[str, Callable[[Session, Frame, Callable], Answer]] = {
    "case_add": _case_add,
    "cases": _cases,
    "case_withdraw": _case_withdraw,
    "update_start": _update_start,
    "update_state": _update_state,
    "update_cancel": _update_cancel,
    "update_discard": _update_discard,
    "store": _store,
    "report": _report,
    "accept": _accept,
    "reject": _reject,
    "rollback": _rollback,
    "compare": _compare,
    "doubt": _doubt,
}
