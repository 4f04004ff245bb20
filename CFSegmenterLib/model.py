"""A model on disk: a folder with a manifest that a person can read, and weights that nothing unpickles."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .cases import OwnStructures
from .errors import UserError
from .files.durable import flush_tree
from .files.writing import write_text
from .network import PrototypeNetwork, load_weights, weights_of
from .parsing import first_complaint
from .protocols import Protocol, matches
from .prototypes import PrototypeBank
from .settings import BackboneSettings
from .store_index import refuse_version

FORMAT = 1
MANIFEST, WEIGHTS, CARD = "manifest.json", "weights.safetensors", "README.md"


class SourceRecord(BaseModel):
    """What one source contributed to a model: counts and licence, never a file name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    modality: str
    licence: str
    structures: tuple[str, ...]
    training_cases: int
    validation_cases: int


class Manifest(BaseModel):
    """A Manifest says what a model knows, how it reads scans, and where it came from.

    Attributes:
        format: version of this layout.
        name, version, created, licence, parent: of the model; `parent` is the version that it was updated from.
        prototypes: the bank's entries, background first.
        prototype_seed: of the bank's code directions.
        backbone, dimension: build the network.
        temperature: tau that it was trained with.
        protocols: the kinds of scan that it reads.
        own_structures: code, color and region of structures that the vocabulary may not know.
        one_piece: structures that were one connected piece in every annotation that it learned from.
        told_apart: pairs of a whole and its part that a label map drew beside each other, so that they compete.
        sources: what it learned from.
        training: settings, command, iterations, hours and versions, for the record.
        update: of a version that an update made: what was added, how many cases it learned from, settings, minutes and
            scores; empty for a first training.
        scores: the evaluation's summary, for the record.
        weights_sha256: of the weights file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    name: str
    version: str
    created: str
    licence: str
    parent: str | None = None
    prototypes: tuple[dict[str, Any], ...]
    prototype_seed: int
    backbone: BackboneSettings
    dimension: int
    temperature: float
    protocols: tuple[Protocol, ...] = Field(min_length=1)
    own_structures: OwnStructures = ()
    one_piece: tuple[str, ...] = ()
    told_apart: tuple[tuple[str, str], ...] = ()
    sources: tuple[SourceRecord, ...] = ()
    training: dict[str, Any] = Field(default_factory=dict)
    update: dict[str, Any] = Field(default_factory=dict)
    scores: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str = ""

    @property
    def structures(self) -> tuple[str, ...]:
        """What the model can segment, in the order of arrival."""
        return tuple(entry["name"] for entry in self.prototypes[1:])

    def guests(self, modality: str) -> tuple[str, ...]:
        """The structures that were taught only in scans of other modalities; one of unknown sources is none of them."""
        taught_in: dict[str, list[str]] = {}
        for source in self.sources:
            for name in source.structures:
                taught_in.setdefault(name, []).append(source.modality)
        return tuple(
            n for n in self.structures if n in taught_in and not any(matches(m, modality) for m in taught_in[n])
        )


@dataclass(frozen=True, eq=False)
class Model:
    """A Model is a network, the prototypes it was trained towards, and its manifest."""

    network: PrototypeNetwork
    bank: PrototypeBank
    manifest: Manifest


def build_network(manifest: Manifest) -> PrototypeNetwork:
    """The network that a manifest describes, with fresh weights."""
    backbone = manifest.backbone
    return PrototypeNetwork(backbone.name, backbone.features, manifest.dimension, **backbone.options)


def save_model(model: Model, folder: str | Path, card: str) -> Manifest:
    """Write a model folder, whole or not at all; an older one of the same name is replaced.

    Weights are rounded to float16; the projection and the prototypes keep their precision, because a bank must stay
    the same bit for bit when classes are added to it later.

    Args:
        card: the model card, Markdown.

    Returns:
        The manifest as written, with the weights' checksum.

    Raises:
        UserError: the folder cannot be written, or is a version in a store, which never changes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    folder = Path(folder)
    refuse_version(folder)
    part = _aside(folder, "part")
    try:
        part.mkdir(parents=True)
        # Dense in C order: safetensors writes memory as it lies, and weights of a training lie channels-last.
        tensors = {
            name: np.ascontiguousarray(tensor.detach().cpu().float().numpy(), dtype=_stored_as(name))
            for name, tensor in weights_of(model.network).items()
        }
        tensors["prototypes"] = np.ascontiguousarray(model.bank.matrix)
        save_file(tensors, part / WEIGHTS)
        manifest = model.manifest.model_copy(update={"weights_sha256": checksum(part / WEIGHTS)})
        (part / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")
        (part / CARD).write_text(card, encoding="utf-8")
        # safetensors makes files that nobody else may read; a model is as readable as the files beside it.
        shutil.copymode(part / MANIFEST, part / WEIGHTS)
        flush_tree(part)
        _replace_folder(part, folder)
    except (OSError, SafetensorError) as error:  # a full disk is the one or the other, by when it is met
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The model cannot be written to {folder}: {reason}; free some space.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest


def load_model(folder: str | Path) -> Model:
    """Read a model folder and check it.

    Raises:
        UserError: it is not a model folder, was written by a newer version, or was changed or cut off since.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    manifest = read_manifest(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"The model {folder} has no {WEIGHTS}; copy the folder again, whole.")
    if checksum(weights) != manifest.weights_sha256:
        raise UserError(
            f"The weights of the model {folder} are not those that its manifest was written for (their checksum "
            "differs); the copy is damaged or was changed. Copy the folder again."
        )
    try:
        tensors = load_file(weights)
        bank = PrototypeBank.restore(manifest.prototypes, tensors.pop("prototypes"), manifest.prototype_seed)
        network = build_network(manifest)
        load_weights(network, {name: torch.from_numpy(t.astype(np.float32)) for name, t in tensors.items()})
    except UserError:
        raise
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"The weights of the model {folder} do not fit its manifest: {error}.") from error
    return Model(network.eval(), bank, manifest)


def read_manifest(folder: str | Path) -> Manifest:
    """Read a model folder's manifest alone, which takes milliseconds.

    Raises:
        UserError: there is none, or it is not as expected.
    """
    path = Path(folder) / MANIFEST
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(said, dict) and isinstance(said.get("format"), int) and said["format"] > FORMAT:
            raise UserError(
                f"The model {folder} was written by a newer version of CFSegmenter (format {said['format']}; "
                f"this one reads up to {FORMAT}); update CFSegmenter."
            )
        return Manifest.model_validate(said)
    except OSError as error:
        raise UserError(
            f"{folder} is not a model folder: {MANIFEST} cannot be read ({error.strerror}); name a folder that "
            f"holds {MANIFEST} and {WEIGHTS}."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The manifest of the model {folder} is not valid JSON: {error}.") from error
    except ValidationError as error:
        raise UserError(f"The manifest of the model {folder} is not as expected {first_complaint(error)}.") from error


def record_scores(folder: str | Path, scores: dict[str, Any]) -> Manifest:
    """Write an evaluation's summary into a model folder's manifest and card; the weights stay as they are.

    Raises:
        UserError: it is not a model folder, is a version in a store, or cannot be written to.
    """
    from .model_card import write_card  # which needs this file

    folder = Path(folder)
    refuse_version(folder)
    manifest = read_manifest(folder).model_copy(update={"scores": scores})
    write_text(folder / MANIFEST, manifest_text(manifest))
    write_text(folder / CARD, write_card(manifest))
    return manifest


def copy_model(folder: str | Path, into: str | Path, *, version: str, parent: str | None) -> Manifest:
    """Copy a model under another version and parent; where both are its own, its files stay as they are.

    Args:
        into: a folder that is empty or does not exist.

    Raises:
        UserError: `folder` is not a model folder.
        OSError: it cannot be read, or the copy cannot be written; a part of it may be there.
    """
    from .model_card import write_card  # which needs this file

    folder, into = Path(folder), Path(into)
    old = read_manifest(folder)
    new = old.model_copy(update={"version": version, "parent": parent})
    into.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, MANIFEST, CARD):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)  # without its mode: what was installed may be read-only
    if new != old:
        (into / MANIFEST).write_text(manifest_text(new), encoding="utf-8")
    if new != old or not (into / CARD).is_file():
        (into / CARD).write_text(write_card(new), encoding="utf-8")
    return new


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_text(manifest: Manifest) -> str:
    """A manifest as it is written."""
    said = manifest.model_dump(mode="json")
    for later in ("own_structures", "told_apart"):
        if not said[later]:
            del said[later]  # a manifest that has none stays as it always was
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def _stored_as(name: str) -> type:
    return np.float32 if name == "projection" else np.float16


def _replace_folder(new: Path, old: Path) -> None:
    """Put `new` in the place of `old` with two renames, so that a reader meets one or the other."""
    aside = _aside(old, "old")
    if old.exists():
        os.replace(old, aside)
    try:
        os.replace(new, old)
    except BaseException:
        if aside.exists() and not old.exists():
            os.replace(aside, old)
        raise
    _sweep(old)


def _aside(folder: Path, what: str) -> Path:
    """A folder beside another; by chance, since in a container every process may have the same number."""
    return folder.with_name(f".{folder.name}.{what}{secrets.token_hex(4)}")


def _sweep(folder: Path) -> None:
    """Remove what lies beside a folder that was just written, also from processes that died over it."""
    left = re.compile(rf"\.{re.escape(folder.name)}\.(part|old)[0-9a-f]+")
    for path in folder.parent.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
