"""The store: all versions of one model, one of them active, none ever changed or lost.

    STORE/store.json            the index: name, active version, events
    STORE/store.lock            held while the index or a version is written
    STORE/versions/<version>/   a model folder, and the report of the update that made it
    STORE/updates/<name>/       an update under way: its checkpoint and log
    STORE/text/                 text embeddings that an update made

A version is written to a hidden folder beside the others, and is there once that folder has its name. So a full disk or
a dead process leaves the store as it was; what they leave behind is swept by the next writer.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .acceptance import NeedsConfirmation, reason_to_ask
from .comparison import compare_versions
from .errors import UserError, plain_reason
from .files.durable import flush_file, flush_names, flush_tree
from .files.writing import write_atomically
from .locking import locked
from .model import WEIGHTS, Manifest, checksum, copy_model, read_manifest
from .store_index import INDEX, UPDATES, VERSIONS, Event, StoreIndex, is_store, now, read_index
from .stored_version import StoredVersion

LOCK, TEXT = "store.lock", "text"

_VERSION = re.compile(r"[1-9][0-9]*")
_NAME = re.compile(r"[\w-][\w .-]*")
_LEFT_BEHIND = re.compile(r"\.+[0-9]+\.part.*|\.[0-9a-f]{8}-store\.json")
"""Names of what a writer that died has left: parts of versions, those that `save_model` makes, and of the index."""


class ModelStore:
    """A ModelStore keeps versions, and remembers which one is used.

        store = ModelStore.create("store", find_model("general"))
        version = store.propose(lambda folder, name: ...)
        store.accept(version.name)
        store.rollback()

    It holds no state: two programs may have the same store open, and each sees what the other did.
    """

    def __init__(self, folder: str | Path):
        """`open` and `create` check what this does not."""
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> ModelStore:
        """The store in a folder.

        Raises:
            UserError: there is none, its index is damaged, or a newer version of CFSegmenter wrote it.
        """
        read_index(folder)
        return cls(folder)

    @classmethod
    def create(cls, folder: str | Path, model_folder: str | Path) -> ModelStore:
        """Begin a store with a model as its version 1, accepted and active; open it where it has that model already.

        Raises:
            UserError: the folder holds something else, or cannot be written to; the model is damaged.
        """
        store = cls(folder)
        manifest = _sound_manifest(Path(model_folder))
        if not is_store(store.folder):
            _make_folder(store.folder)
            with locked(store.folder / LOCK, f"The store {store.folder}"):
                store._sweep()
                if not is_store(store.folder):  # nobody else was faster
                    store._begin(Path(model_folder), manifest)
        if not store._holds(manifest):
            raise UserError(
                f"The store {store.folder} is of another model ('{read_index(store.folder).name}'), none of whose "
                f"versions has the weights of {model_folder}; name another folder for a new store."
            )
        return store

    @property
    def name(self) -> str:
        """Of the model."""
        return read_index(self.folder).name

    @property
    def events(self) -> tuple[Event, ...]:
        """All that happened, in the order of time."""
        return read_index(self.folder).events

    @property
    def versions(self) -> tuple[StoredVersion, ...]:
        """All versions that are on disk, the oldest first."""
        index = read_index(self.folder)
        return tuple(self._version(name, index) for name in self._names())

    @property
    def sound_versions(self) -> tuple[StoredVersion, ...]:
        """Those whose manifest can be read."""
        sound = []
        for version in self.versions:
            with suppress(UserError):
                version.manifest  # noqa: B018 - read to see whether it can be
                sound.append(version)
        return tuple(sound)

    @property
    def active(self) -> StoredVersion:
        """The version that is used.

        Raises:
            UserError: its folder is gone.
        """
        index = read_index(self.folder)
        if index.active not in self._names():
            raise UserError(
                f"The active version {index.active} of the store {self.folder} is gone from its folder; copy it back, "
                "or roll back to the version before it."
            )
        return self._version(index.active, index)

    def version(self, name: str) -> StoredVersion:
        """The version of that name.

        Raises:
            UserError: there is none.
        """
        return self._known(str(name), read_index(self.folder))

    def propose(self, write: Callable[[Path, str], object]) -> StoredVersion:
        """Add a version that waits for a decision.

        Args:
            write: called as `write(folder, version)`: writes a model folder whose manifest says that version and, as
                its parent, a version of this store; then, if it wants, a report. The store is locked meanwhile, so
                what takes long is done before.

        Returns:
            The version, in its place.

        Raises:
            UserError: it cannot be written; the store is as it was.
        """
        with self._writing() as index:
            name = self._next_name(index)
            part = self._part(name)
            try:
                part.mkdir(parents=True)
                write(part, name)
                parent = self._parent_of(part, name)
                self._land(part, index.with_event("proposed", name, parent=parent))
            except OSError as error:
                raise UserError(self._cannot_write(error)) from error
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return self.version(name)

    def accept(self, name: str, *, confirmed: bool = False) -> StoredVersion:
        """Make a version the active one.

        Raises:
            NeedsConfirmation: its report says that old structures fell by more than the margin, or cannot be read; or
                it does not know what the active version knows. Not with `confirmed`.
            UserError: there is no such version, or it is damaged.
        """
        with self._writing() as index:
            version = self._known(str(name), index)
            if version.active:
                return version
            _sound_manifest(version.folder)
            if not confirmed:
                active = self._version(index.active, index) if index.active in self._names() else None
                reason = reason_to_ask(version, active)
                if reason is not None:
                    raise NeedsConfirmation(reason)
            self._write_index(index.with_event("accepted", version.name, active=version.name))
        return self.version(version.name)

    def reject(self, name: str) -> StoredVersion:
        """Decide against a version. It stays where it is, and may be accepted after all.

        Raises:
            UserError: there is no such version, or it is the active one.
        """
        with self._writing() as index:
            version = self._known(str(name), index)
            if version.active:
                raise UserError(f"Version {version.name} is the active one; roll back first, then reject it.")
            if version.status != "rejected":
                self._write_index(index.with_event("rejected", version.name))
        return self.version(version.name)

    def rollback(self) -> StoredVersion:
        """Return to the version that was active before; done again, to the one before that.

        Raises:
            UserError: there is none.
        """
        with self._writing() as index:
            present = self._names()
            before = (n for n in index.active_before() if n in present and index.status(n) == "accepted")
            name = next(before, None)
            if name is None:
                raise UserError(
                    f"No version was active before version {index.active}, so there is nothing to roll back to."
                )
            _sound_manifest(self._version(name, index).folder)
            self._write_index(index.with_event("rolled back", name, active=name, left=index.active))
        return self.version(name)

    def compare(self, first: str, second: str) -> dict:
        """What differs between two versions, as `compare_versions` says it.

        Raises:
            UserError: there is no such version, or it is damaged.
        """
        return compare_versions(self.version(first), self.version(second), self._parents())

    def update_folder(self, name: str) -> Path:
        """Where an update of that name keeps its checkpoint, log and state.

        Raises:
            UserError: the name would lead elsewhere.
        """
        if not _NAME.fullmatch(name):
            raise UserError(f"'{name}' cannot be the name of an update; give letters and digits without a slash.")
        return self.folder / UPDATES / name

    def _names(self) -> list[str]:
        """Of the versions on disk, the oldest first."""
        try:
            found = [path.name for path in (self.folder / VERSIONS).iterdir() if path.is_dir()]
        except OSError as error:
            raise UserError(
                f"The versions of the store {self.folder} cannot be read ({plain_reason(error)}); copy the store "
                "again, whole."
            ) from error
        return sorted((name for name in found if _VERSION.fullmatch(name)), key=int)

    def _version(self, name: str, index: StoreIndex) -> StoredVersion:
        folder = self.folder / VERSIONS / name
        return StoredVersion(name, folder, index.status(name), name == index.active, index.was_imported(name))

    def _known(self, name: str, index: StoreIndex) -> StoredVersion:
        names = self._names()
        if name not in names:
            listed = f"it has {', '.join(names)}" if names else "it has none any more"
            raise UserError(f"The store {self.folder} has no version '{name}'; {listed}.")
        return self._version(name, index)

    def _parents(self) -> dict[str, str | None]:
        """Version -> the version that it was made from; a damaged one has none."""
        parents: dict[str, str | None] = {}
        for version in self.versions:
            parents[version.name] = None
            with suppress(UserError):
                parents[version.name] = version.manifest.parent
        return parents

    def _next_name(self, index: StoreIndex) -> str:
        return str(1 + max(map(int, index.names().union(self._names()))))

    def _holds(self, manifest: Manifest) -> bool:
        """Whether a version has those weights."""
        return any(version.manifest.weights_sha256 == manifest.weights_sha256 for version in self.sound_versions)

    def _begin(self, model_folder: Path, manifest: Manifest) -> None:
        """Import the first version; the index comes last and makes a store of the folder."""
        first = self.folder / VERSIONS / "1"
        foreign = [path for path in self.folder.iterdir() if path.name not in (LOCK, VERSIONS, UPDATES, TEXT)]
        versions = list(first.parent.iterdir()) if first.parent.is_dir() else []
        begun = versions == [first] and _weights_of(first) == manifest.weights_sha256  # by one that died meanwhile
        if foreign or (versions and not begun):
            raise UserError(f"The folder {self.folder} is not empty and is not a store; name a new or an empty folder.")
        origin = {"version": manifest.version, "weights_sha256": manifest.weights_sha256}
        event = Event(date=now(), event="imported", version="1", origin=origin)
        part = self._part("1")
        try:
            if not begun:
                copy_model(model_folder, part, version="1", parent=None)
                flush_tree(part)
                os.rename(part, first)
            self._write_index(StoreIndex(name=manifest.name, active="1", events=(event,)))
        except OSError as error:
            raise UserError(self._cannot_write(error)) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _part(self, name: str) -> Path:
        """Where a version is written before it is whole."""
        return self.folder / VERSIONS / f".{name}.part"

    @contextmanager
    def _writing(self) -> Iterator[StoreIndex]:
        """Hold the lock, and what the index says under it."""
        read_index(self.folder)  # no lock file is left in a folder that is no store
        with locked(self.folder / LOCK, f"The store {self.folder}"):
            self._sweep()
            yield read_index(self.folder)

    def _sweep(self) -> None:
        """Remove what writers that died left behind; nobody else writes now."""
        for folder in (self.folder, self.folder / VERSIONS):
            with suppress(OSError):
                for path in folder.iterdir():
                    if _LEFT_BEHIND.fullmatch(path.name):
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _parent_of(self, part: Path, name: str) -> str | None:
        """What a version that was just written says that it was made from."""
        manifest = _sound_manifest(part)
        if manifest.version != name or manifest.parent not in self._names():
            raise ValueError(
                f"version {name} says that it is {manifest.version}, of the parent {manifest.parent}, which is not so"
            )
        return manifest.parent

    def _land(self, part: Path, index: StoreIndex) -> None:
        """Give a version its name, and write what happened; the index is on disk before, but for its name."""
        final = part.with_name(index.events[-1].version)
        flush_tree(part)
        try:
            with write_atomically(self.folder / INDEX) as written:
                written.write_text(index.as_json(), encoding="utf-8")
                flush_file(written)
                os.rename(part, final)
        except BaseException:
            if final.exists():
                os.rename(final, part)
            raise
        flush_names(final.parent)

    def _write_index(self, index: StoreIndex) -> None:
        with write_atomically(self.folder / INDEX) as written:
            written.write_text(index.as_json(), encoding="utf-8")
        flush_names(self.folder)

    def _cannot_write(self, error: OSError) -> str:
        reason = plain_reason(error)
        return (
            f"The version cannot be written to the store {self.folder} ({reason}), which is as it was; free some "
            "space, or see whether you may write there."
        )


def _sound_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder whose weights are those that it was written for."""
    manifest = read_manifest(folder)
    weights = folder / WEIGHTS
    if not weights.is_file() or checksum(weights) != manifest.weights_sha256:
        raise UserError(
            f"The weights of the model {folder} are missing or are not those that its manifest was written for; copy "
            "the folder again, whole."
        )
    return manifest


def _weights_of(folder: Path) -> str | None:
    with suppress(UserError):
        return _sound_manifest(folder).weights_sha256
    return None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made ({plain_reason(error)}); name another one for the store."
        ) from error
