"""What is being taught: the cases of a folder and the versions of a model, as the worker knows them.

Both lie where the worker runs. Its questions go past the session's: they are answered between two passes of the
network, and do not wait for the user to finish what he is segmenting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from .models import ModelInfo, modelInfo
from .session import Session
from .task import Task
from .taughtCase import TaughtCase


@dataclass(frozen=True)
class KnownCase:
    """A case of the folder: its number there, what it is, and what was painted, `annotated` of it completely."""

    number: int
    source: str
    modality: str
    split: str
    structures: tuple[str, ...]
    annotated: tuple[str, ...]


@dataclass(frozen=True)
class Version:
    """A version of the store.

    Attributes:
        status: "proposed" (waits for a decision), "accepted" or "rejected".
        folder: of its model, where the worker runs.
    """

    version: str
    status: str
    folder: str
    manifest: Mapping[str, Any]
    hasReport: bool
    isActive: bool


class Teaching:
    """A Teaching keeps one case folder and one store in view, and tells its listeners of "cases" and "versions".

    Attributes:
        damaged: what is wrong with versions that cannot be used, a sentence each.
    """

    def __init__(self, session: Session):
        self.session = session
        self.caseFolder = ""
        self.cases: tuple[KnownCase, ...] = ()
        self.storeFolder = ""
        self.versions: tuple[Version, ...] = ()
        self.damaged: tuple[str, ...] = ()
        self._listeners: list[Callable[[str], None]] = []
        self._tasks: list[Task] = []

    def addListener(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with a topic whenever that has changed."""
        self._listeners.append(callback)

    def removeListener(self, callback: Callable[[str], None]) -> None:
        """Stop calling `callback`."""
        if callback in self._listeners:
            self._listeners.remove(callback)

    def stop(self) -> None:
        """Nothing that the worker answers from now on is heard."""
        for task in list(self._tasks):
            task.giveUp()

    def ask(
        self,
        verb: str,
        message: Mapping[str, Any],
        done: Callable[[Mapping[str, Any]], None],
        failed: Callable[[str], None] | None = None,
        arrays: Mapping[str, Any] | None = None,
    ) -> Task:
        """Ask the worker; `done` hears what it says, `failed` a sentence, unless `stop` came first."""
        task = Task(verb, None, failed)
        self._tasks.append(task)
        task.atEnd(lambda: self._tasks.remove(task))

        def heard(frame: Any) -> None:
            done(frame.message)
            task.finish()

        request = self.session.link.request(
            verb,
            message,
            arrays,
            done=task.guarded(heard),
            failed=task.guarded(lambda text, gone: task.fail(text)),
            cancelled=lambda: task.fail(_("The worker was stopped before it answered; try again.")),
        )
        task.follow(request)
        return task

    # Cases

    def openCases(self, folder: str, failed: Callable[[str], None] | None = None) -> None:
        """Read the cases of a folder; "" closes it. Listeners hear of "cases"."""
        if folder != self.caseFolder:
            self.caseFolder, self.cases = folder, ()
            self._tell("cases")
        if not folder:
            return

        def heard(said: Mapping[str, Any]) -> None:
            if folder == self.caseFolder:  # else the user has gone on to another
                self.cases = tuple(_case(each) for each in said["cases"])
                self._tell("cases")

        self.ask("cases", {"folder": folder}, heard, failed)

    def addCase(
        self,
        case: TaughtCase,
        modality: str,
        split: str | None,
        subject: str | None,
        done: Callable[[int, str, Sequence[str]], None],
        failed: Callable[[str], None],
    ) -> None:
        """Copy a case into the folder.

        `done` hears its number, its split, "training" or "validation", and a sentence for each code that the folder's
        cases contradict.
        """
        folder = self.caseFolder
        message = {
            "folder": folder,
            "modality": modality,
            "affine": case.affine.tolist(),
            "values": {str(value): name for value, name in case.values.items()},
            "annotated": list(case.annotated),
            "own_structures": list(case.ownStructures),
            "split": split,
            "subject": subject,
        }

        def heard(said: Mapping[str, Any]) -> None:
            done(int(said["number"]), str(said["split"]), tuple(said.get("passed_over") or ()))
            if folder == self.caseFolder:
                self.openCases(folder, failed)

        self.ask("case_add", message, heard, failed, {"image": case.image, "labels": case.labels})

    def withdraw(self, number: int, failed: Callable[[str], None]) -> None:
        """Take a case out of the folder; its files are kept beside."""
        folder = self.caseFolder
        message = {"folder": folder, "number": number}
        self.ask("case_withdraw", message, lambda said: self.openCases(folder, failed), failed)

    # Versions

    @property
    def active(self) -> Version | None:
        """The version of the store that is in use."""
        return next((version for version in self.versions if version.isActive), None)

    def modelFrom(self, folder: str) -> ModelInfo | None:
        """The model that an update starts from: the store's active version, else the one in `folder`."""
        active = self.active
        if active is None:
            return self.session.modelAt(folder)
        return modelInfo(active.folder, active.manifest, self.session.vocabulary)

    def openStore(
        self,
        folder: str,
        failed: Callable[[str], None] | None = None,
        done: Callable[[], None] | None = None,
    ) -> None:
        """Read the versions of a store; "" closes it. Listeners hear of "versions"."""
        if folder != self.storeFolder:
            self.storeFolder, self.versions, self.damaged = folder, (), ()
            self._tell("versions")
        if not folder:
            return

        def heard(said: Mapping[str, Any]) -> None:
            if folder != self.storeFolder:
                return
            self.versions = tuple(_version(each, said.get("active")) for each in said["versions"])
            self.damaged = tuple(str(each["message"]) for each in said.get("damaged") or ())
            self._tell("versions")
            if done:
                done()

        self.ask("store", {"folder": folder}, heard, failed)

    def report(
        self, version: str, done: Callable[[Mapping[str, Any], str, str], None], failed: Callable[[str], None]
    ) -> None:
        """What an update found out: `done` hears the report, where its page lies, and the text of that."""

        def heard(said: Mapping[str, Any]) -> None:
            done(said["report"], str(said.get("html") or ""), str(said.get("page") or ""))

        self.ask("report", {"store": self.storeFolder, "version": version}, heard, failed)

    def accept(self, version: str, confirmed: bool, done: Callable[[str], None], failed: Callable[[str], None]) -> None:
        """Make a version the active one; `done` hears why it has to be confirmed first, or "" once it is done."""
        message = {"store": self.storeFolder, "version": version, "confirmed": confirmed}

        def heard(said: Mapping[str, Any]) -> None:
            if said.get("needs_confirmation"):
                done(str(said.get("message") or _("Structures that it knew before have got worse.")))
            else:
                self._decided(lambda: done(""), failed)

        self.ask("accept", message, heard, failed)

    def reject(self, version: str, done: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Decide against a version; it stays where it is."""
        message = {"store": self.storeFolder, "version": version}
        self.ask("reject", message, lambda said: self._decided(done, failed), failed)

    def rollBack(self, done: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Make the version active again that was before."""
        self.ask("rollback", {"store": self.storeFolder}, lambda said: self._decided(done, failed), failed)

    def _decided(self, done: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Read store and models again; `done` is called when both are known."""

        def known() -> None:
            task = self.session.refreshModels(failed)
            task.atEnd(done)

        self.openStore(self.storeFolder, failed, known)

    def _tell(self, topic: str) -> None:
        for callback in list(self._listeners):
            callback(topic)


def _case(said: Mapping[str, Any]) -> KnownCase:
    texts = (str(said[name]) for name in ("source", "modality", "split"))
    return KnownCase(int(said["number"]), *texts, tuple(said["structures"]), tuple(said["annotated"]))


def _version(said: Mapping[str, Any], active: Any) -> Version:
    number = str(said["version"])
    isActive = active is not None and number == str(active)
    return Version(
        number, str(said["status"]), str(said["folder"]), said["manifest"], bool(said.get("has_report")), isActive
    )
