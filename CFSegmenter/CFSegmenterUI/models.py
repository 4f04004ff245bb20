"""What the panels know of a model: its manifest, as the worker read it, in the words of the screen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from CFSegmenterLib.own_structures import own_structure
from CFSegmenterLib.repertoire import Repertoire
from CFSegmenterLib.structures import Vocabulary


@dataclass(frozen=True)
class ModelInfo:
    """A version of a model.

    Attributes:
        folder: where the worker finds it; on another machine where the worker runs there.
        structures: what it was taught.
        answerable: what it can be asked for: those, and wholes of which it knows all the parts.
        modalities: of the scans that it reads.
        protocols, sources, scores, training: as in the manifest.
        features: numbers that an encoding holds for each voxel.
        vocabulary: what every structure is; the model's own word on those that no vocabulary knows included.
    """

    folder: str
    name: str
    version: str
    created: str
    licence: str
    parent: str | None
    structures: tuple[str, ...]
    answerable: tuple[str, ...]
    modalities: tuple[str, ...]
    protocols: tuple[Mapping[str, Any], ...]
    sources: tuple[Mapping[str, Any], ...]
    scores: Mapping[str, Any]
    training: Mapping[str, Any]
    features: int
    vocabulary: Vocabulary = field(compare=False, repr=False)

    @property
    def title(self) -> str:
        """Name and version, as shown."""
        return f"{self.name} {self.version}"

    def protocolFor(self, chosen: str, modality: str | None) -> Mapping[str, Any]:
        """The protocol called `chosen`, or the first for the modality: good enough to estimate a run with."""
        named = (p for p in self.protocols if p["name"] == chosen)
        alike = (p for p in self.protocols if modality and p["modality"].split("-")[0] == modality.split("-")[0])
        return next(named, next(alike, self.protocols[0]))


def modelInfo(folder: str, manifest: Mapping[str, Any], vocabulary: Vocabulary) -> ModelInfo:
    """Read a manifest that the worker has checked."""
    structures = tuple(entry["name"] for entry in manifest["prototypes"][1:])
    vocabulary = vocabulary.knowing(own_structure(entry) for entry in manifest.get("own_structures") or ())
    return ModelInfo(
        folder=folder,
        name=manifest["name"],
        version=manifest["version"],
        created=manifest["created"],
        licence=manifest["licence"],
        parent=manifest.get("parent"),
        structures=structures,
        answerable=Repertoire(structures, vocabulary, manifest["name"]).structures,
        modalities=tuple(dict.fromkeys(p["modality"] for p in manifest["protocols"])),
        protocols=tuple(manifest["protocols"]),
        sources=tuple(manifest.get("sources", ())),
        scores=manifest.get("scores", {}),
        training=manifest.get("training", {}),
        features=manifest["backbone"]["features"],
        vocabulary=vocabulary,
    )


def storeOf(folder: str) -> str | None:
    """The folder of the store that a model's folder is a version in; None where it is in none.

    The worker may run on another machine, so the path may be one of another system.
    """
    parts = folder.replace("\\", "/").rstrip("/").rsplit("/", 2)
    return folder[: len(parts[0])] if len(parts) == 3 and parts[1] == "versions" else None
