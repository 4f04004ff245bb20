"""The worker's side: takes requests from standard input, one at a time, and answers on standard output.

A request has an `id` and a `verb`; it is followed by any number of `progress` events and exactly one `answer`, `error`
or `cancelled`. `cancel` is heard while another request runs. When the input ends, the parent is gone, and so is the
worker, whatever it was doing.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import __version__
from ..errors import Cancelled, UserError
from ..memory import memory_for
from . import updates
from .encodings import EncodingCache, EncodingGone
from .framing import PROTOCOL, Frame, FrameDecoder, encode_frame
from .update_jobs import UpdateJobs

CHUNK = 1 << 20
PROGRESS_SECONDS = 0.1
"""Progress is reported at most this often: the listener has a screen to draw."""

_INPUT, _OUTPUT, _ERRORS = range(3)
"""The standard streams, as the operating system numbers them."""

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass
class Session:
    """What the worker holds between requests."""

    encodings: EncodingCache
    device: str = "auto"
    segmenter: Any = None
    loaded: tuple[str, str] | None = None  # the folder and the device of the segmenter
    updates: UpdateJobs = field(default_factory=UpdateJobs)


class Server:
    """A Server answers the requests of one parent."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, *, memory_limit: int, device: str = "auto"):
        """
        Args:
            requests, answers: binary streams; nothing else may write to `answers`.
            memory_limit: bytes of encodings to keep.
            device: for requests that name none.
        """
        self._requests = requests
        self._answers = answers
        self._session = Session(EncodingCache(memory_limit), device)
        self._waiting: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._writing = threading.Lock()
        self._busy = self._alone = False

    def serve(self) -> None:
        """Answer until `shutdown` or the end of the input."""
        threading.Thread(target=self._listen, name="requests", daemon=True).start()
        while (frame := self._waiting.get()) is not None:
            # Set before `_alone` is read, as the listener sets `_alone` before it reads this: one of them sees it.
            self._busy = True
            if self._alone or self._answer(frame):
                return
            self._busy = False

    def _listen(self) -> None:
        decoder = FrameDecoder()
        try:
            while data := self._requests.read1(CHUNK):
                for frame in decoder.feed(data):
                    if frame.message.get("verb") == "cancel":
                        self._cancelled.add(frame.message.get("target", -1))
                        self._send({"id": frame.message.get("id"), "event": "answer"})
                    else:
                        self._waiting.put(frame)
        except Exception as error:  # whatever it is: without this thread the worker would be deaf, and live on
            self._send({"id": None, "event": "error", "message": f"The connection is broken: {error}"})
        self._alone = True
        if self._busy:
            # Nobody is left to answer to; a pass through the network would go on for minutes.
            os._exit(0)
        self._waiting.put(None)

    def _answer(self, frame: Frame) -> bool:
        """Handle one request; True ends the worker."""
        number, verb = frame.message.get("id"), frame.message.get("verb")
        if number in self._cancelled:
            self._cancelled.discard(number)
            self._send({"id": number, "event": "cancelled"})
            return False
        if verb == "shutdown":
            self._send({"id": number, "event": "answer"})
            return True
        try:
            handle = VERBS.get(verb)
            if handle is None:
                raise UserError(f"The worker does not know the request '{verb}'; both sides must be of one version.")
            with memory_for("for what was asked"):
                message, arrays = handle(self._session, frame, _Reporter(self, number))
                # Slicer's volumes have their first axis running fastest; they are turned here, where no screen waits.
                turned = {name: np.asfortranarray(array) for name, array in arrays.items()}
            self._send({**message, "id": number, "event": "answer"}, turned)
        except Cancelled:
            self._send({"id": number, "event": "cancelled"})
        except UserError as error:
            gone = isinstance(error, EncodingGone)
            self._send({"id": number, "event": "error", "message": str(error), "gone": gone})
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            from ..precision import lost_the_device

            sentence = f"The worker met a defect ({type(error).__name__}); its log has the details."
            if is_lost := lost_the_device(error):
                sentence = "The graphics card failed, and the worker ends; ask again, and another one begins."
            self._send({"id": number, "event": "error", "message": sentence, "gone": False})
            return is_lost
        finally:
            self._cancelled.discard(number)
        return False

    def is_cancelled(self, number: int) -> bool:
        """Whether request `number` is no longer wanted."""
        return number in self._cancelled

    def _send(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        try:
            with self._writing:
                for piece in encode_frame(message, arrays):
                    self._answers.write(piece)
                self._answers.flush()
        except (BrokenPipeError, OSError):
            os._exit(0)

    def send_progress(self, number: int, done: int, total: int, what: str, seconds_left: float | None) -> None:
        """One progress event."""
        event = {"done": done, "total": total, "what": what, "seconds_left": seconds_left}
        self._send({"id": number, "event": "progress", **event})


class _Reporter:
    """The progress callback of one request: counts the time, and asks whether the request is still wanted."""

    def __init__(self, server: Server, number: int):
        self._server, self._number = server, number
        self._started = self._told = time.monotonic()
        self._what = ""

    def __call__(self, done: int, total: int, message: str) -> bool:
        now = time.monotonic()
        what = message.split(" ")[0]
        if what != self._what:  # another phase: the time of the one before says nothing about this one
            self._what, self._started = what, now
        elif now - self._told < PROGRESS_SECONDS and done < total:
            return not self._server.is_cancelled(self._number)
        left = (now - self._started) / done * (total - done) if done else None
        self._told = now
        self._server.send_progress(self._number, done, total, message, left)
        return not self._server.is_cancelled(self._number)


def _hello(session: Session, frame: Frame, progress: Callable) -> Answer:
    """Who speaks: versions, and what this machine has."""
    import psutil
    import torch

    from ..precision import choose_device, choose_precision

    asked = frame.message.get("protocol")
    if asked != PROTOCOL:
        raise UserError(
            f"The worker speaks protocol {PROTOCOL}, the other side {asked}; install the same version of CFSegmenter "
            "on both sides."
        )
    device = choose_device(session.device)
    return {
        "protocol": PROTOCOL,
        "version": __version__,
        "device": device.type,
        "precision": choose_precision(device),
        "memory_free": psutil.virtual_memory().available,
        "torch": torch.__version__,
    }, {}


def _models(session: Session, frame: Frame, progress: Callable) -> Answer:
    """The shipped models and those in the folder asked for, each with its manifest; damaged ones with what is wrong."""
    from ..catalogue import models_in, shipped_models, stores_in
    from ..model import read_manifest
    from ..store import ModelStore

    folder = frame.message.get("folder")
    found = (*shipped_models(), *(models_in(folder) if folder else ()))
    models, damaged = [], []
    for each in stores_in(folder) if folder else ():
        try:
            _ = ModelStore.open(each).active
        except UserError as error:
            damaged.append({"folder": str(each), "message": str(error)})
    for each in found:
        try:
            models.append({"folder": str(each), "manifest": read_manifest(each).model_dump(mode="json")})
        except UserError as error:
            damaged.append({"folder": str(each), "message": str(error)})
    return {"models": models, "damaged": damaged}, {}


def _encode(session: Session, frame: Frame, progress: Callable) -> Answer:
    """Encode the array `image` (I, J, K) with `affine` under `key`; an encoding that is there already is kept."""
    from ..volume import Volume

    message = frame.message
    segmenter = _segmenter(session, message["model"], message.get("device", session.device))
    key = str(message["key"])
    if key not in session.encodings:
        affine = np.asarray(message["affine"], dtype=np.float64)
        volume = Volume.checked(frame.arrays["image"], affine, message.get("modality"))
        encoding = segmenter.encode(volume, protocol=message.get("protocol_name"), progress=progress)
        session.encodings.put(key, encoding)
    encoding = session.encodings.get(key)
    return {"key": key, "protocol_name": encoding.protocol.name, "structures": list(encoding.structures)}, {}


def _similarity(session: Session, frame: Frame, progress: Callable) -> Answer:
    encoding = session.encodings.get(str(frame.message["key"]))
    return {}, {"map": encoding.similarity(_structure(frame))}


def _segment(session: Session, frame: Frame, progress: Callable) -> Answer:
    encoding = session.encodings.get(str(frame.message["key"]))
    found = encoding.segment(frame.message.get("structures"), progress=progress)
    places = [{"name": name, "layer": found.places[name][0], "value": found.places[name][1]} for name in found.names]
    told = list(encoding.caveats(found.names))
    return {"places": places, "caveats": told}, {f"layer{number}": layer for number, layer in enumerate(found.layers)}


def _margin(session: Session, frame: Frame, progress: Callable) -> Answer:
    encoding = session.encodings.get(str(frame.message["key"]))
    return {}, {"map": encoding.margin(progress=progress)}


def _best(session: Session, frame: Frame, progress: Callable) -> Answer:
    encoding = session.encodings.get(str(frame.message["key"]))
    return {"names": list(encoding.model.bank.names)}, {"map": encoding.best(progress=progress)}


def _probe(session: Session, frame: Frame, progress: Callable) -> Answer:
    """What is at the point `ras`, and the direction to ask for it by."""
    encoding = session.encodings.get(str(frame.message["key"]))
    probe = encoding.probe(frame.message["ras"])
    return {"ranked": [[name, value] for name, value in probe.ranked]}, _query_arrays(probe.query)


def _prototype(session: Session, frame: Frame, progress: Callable) -> Answer:
    """The direction of the painted array `mask`."""
    encoding = session.encodings.get(str(frame.message["key"]))
    query = encoding.prototype_from(frame.arrays["mask"], frame.message.get("name", "painted example"))
    return {"name": query.name}, _query_arrays(query)


def _forget(session: Session, frame: Frame, progress: Callable) -> Answer:
    """Let go of all encodings: the scene that they were of is closed."""
    session.encodings.clear()
    return {}, {}


VERBS: dict[str, Callable[[Session, Frame, Callable], Answer]] = {
    "hello": _hello,
    "models": _models,
    "encode": _encode,
    "similarity": _similarity,
    "segment": _segment,
    "margin": _margin,
    "best": _best,
    "probe": _probe,
    "prototype": _prototype,
    **updates.VERBS,
    "forget": _forget,
}


def _segmenter(session: Session, folder: str, device: str):
    """The segmenter of a model folder; another model than before takes the old one's encodings with it."""
    from ..segmenter import Segmenter

    wanted = str(Path(folder).resolve())
    if session.loaded != (wanted, device):
        session.segmenter, session.loaded = None, None
        session.encodings.clear()
        session.segmenter = Segmenter.load(wanted, device)
        session.loaded = (wanted, device)
    return session.segmenter


def _structure(frame: Frame):
    """What a request compares with: the name of a structure, or the arrays of a query."""
    from ..encoding import Query

    if "vector" in frame.arrays:
        return Query(frame.message.get("name", "query"), frame.arrays["embedding"], frame.arrays["vector"])
    return frame.message["structure"]


def _query_arrays(query: Any) -> dict[str, np.ndarray]:
    return {"embedding": query.embedding, "vector": query.vector}


def run(device: str = "auto", memory_limit: int | None = None) -> None:
    """Serve the process that started this one, until it lets go.

    Both standard streams belong to the protocol. Whatever else writes to the output, in Python or below, is sent to
    standard error; whatever else reads the input finds nothing, and no child inherits it: on Windows a child that
    inherits a pipe which is being read does not even start.
    """
    import psutil

    requests, answers = os.fdopen(os.dup(_INPUT), "rb"), os.fdopen(os.dup(_OUTPUT), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _INPUT)
    os.close(nothing)
    os.dup2(_ERRORS, _OUTPUT)
    limit = memory_limit or psutil.virtual_memory().total // 4
    Server(requests, answers, memory_limit=limit, device=device).serve()
