"""Planning: all that is decided before the first step: prototypes, and how each source is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .cases import Case, CaseList, structures_of
from .errors import UserError
from .files.reading import read_volume
from .grid import nearest_axes
from .intensity import default_rule
from .model import Model
from .network import PrototypeNetwork, Stride
from .own_structures import agreed
from .protocols import Protocol
from .prototypes import PrototypeBank
from .settings import SourceSettings, TrainingSettings, UpdateSettings
from .structures import Structure, Vocabulary

HEADERS_READ = 100
"""Images of a source whose headers decide what is typical of it."""


@dataclass(frozen=True)
class TrainingPlan:
    """A TrainingPlan holds all that is decided before the first step.

    Attributes:
        lists: the sources.
        settings: as given.
        bank: prototypes of the background and of every structure.
        protocols: by source.
        name, licence: of the model.
        initial: a trained model to start from; None starts from fresh weights.
        teaches: whether `initial` is also the frozen teacher, so that this is an update; its prototypes are the first
            of `bank`.
        unannotated: images to be reminded on, without annotation.
        by_case: image -> protocol, where it is not that of the case's source.
        version, parent: of the model that will be made.
    """

    lists: tuple[CaseList, ...]
    settings: TrainingSettings
    bank: PrototypeBank
    protocols: dict[str, Protocol]
    name: str
    licence: str
    initial: Model | None = None
    teaches: bool = False
    unannotated: tuple[Case, ...] = ()
    by_case: dict[Path, Protocol] = field(default_factory=dict)
    version: str = "1"
    parent: str | None = None

    def protocol_of(self, case: Case) -> Protocol:
        """How the image of a case is read."""
        return self.by_case.get(case.image) or self.protocols[case.source]

    @property
    def own_structures(self) -> tuple[Structure, ...]:
        """What is known of structures that the vocabulary does not know: the model's word first, then the cases'."""
        return self._agreed[0]

    @property
    def passed_over(self) -> tuple[str, ...]:
        """A sentence, without its full stop, for each code of a case that contradicts one that was given before."""
        return self._agreed[1]

    @property
    def _agreed(self) -> tuple[tuple[Structure, ...], tuple[str, ...]]:
        had = self.initial.manifest.own_structures if self.initial is not None else ()
        cases = (case for each in self.lists for case in each.cases)
        said = (*had, *(each for case in cases for each in case.own_structures))
        return agreed(each for each in said if each.name in self.bank)

    @property
    def all_protocols(self) -> tuple[Protocol, ...]:
        """Every protocol of the model that will be made, each once: those that it had keep their place."""
        had = self.initial.manifest.protocols if self.teaches else ()
        return tuple(dict.fromkeys((*had, *self.protocols.values(), *self.by_case.values())))


def plan_training(
    lists: Sequence[CaseList],
    settings: TrainingSettings,
    *,
    name: str = "model",
    licence: str = "not stated",
    embeddings: dict[str, tuple[np.ndarray, str]] | None = None,
    initial: Model | None = None,
    vocabulary: Vocabulary | None = None,
) -> TrainingPlan:
    """Decide prototypes and protocols.

    Args:
        embeddings: structure -> (text vector, prompt); a structure without one gets a code direction.

    Raises:
        UserError: the case lists and settings do not fit each other, or there are more structures than dimensions.
    """
    check_fields_of_view(settings, vocabulary or Vocabulary.load())
    bank = PrototypeBank.start(settings.dimension, settings.seed)
    for structure in taught_by(lists):
        vector, prompt = (embeddings or {}).get(structure, (None, None))
        bank = bank.append(structure, vector, prompt)
    if initial is not None:
        _check_initial(initial, bank, settings)
        bank = initial.bank
    backbone = settings.backbone
    stride = PrototypeNetwork(backbone.name, backbone.features, settings.dimension, **backbone.options).stride
    protocols = plan_protocols(lists, settings, stride)
    return TrainingPlan(tuple(lists), settings, bank, protocols, name, licence, initial)


def taught_by(lists: Sequence[CaseList]) -> tuple[str, ...]:
    """The structures that a training case annotates completely, in the order of arrival; of others nothing is learned.

    Raises:
        UserError: there is none.
    """
    annotated = {name for each in lists for case in each.of("training") for name in case.annotated}
    if not annotated:
        raise UserError("No training case annotates a structure, so there is nothing to learn; add annotated cases.")
    return tuple(name for name in structures_of(lists) if name in annotated)


def _check_initial(initial: Model, bank: PrototypeBank, settings: TrainingSettings) -> None:
    """Weights mean nothing without the prototypes that they were trained towards."""
    manifest = initial.manifest
    if initial.bank.names != bank.names:
        raise UserError(
            f"The model '{manifest.name}' knows {', '.join(initial.bank.names[1:])}, the case lists "
            f"{', '.join(bank.names[1:])}; a training can start from a model of the same structures only."
        )
    if (manifest.backbone, manifest.dimension) != (settings.backbone, settings.dimension):
        raise UserError(
            f"The model '{manifest.name}' has another network than the settings ask for; give the settings its "
            f"backbone ({manifest.backbone.model_dump_json()}) and dimension ({manifest.dimension})."
        )


def check_sources(settings: TrainingSettings | UpdateSettings, lists: Sequence[CaseList]) -> None:
    """Settings of a source that has another name would silently do nothing.

    Raises:
        UserError: settings name a source that has no case list.
    """
    unknown = set(settings.sources) - {each.source for each in lists}
    if unknown:
        raise UserError(
            f"The settings speak of the source '{sorted(unknown)[0]}', which none of the case lists is called."
        )


def check_fields_of_view(settings: TrainingSettings | UpdateSettings, vocabulary: Vocabulary) -> None:
    """A region that does not exist would silently declare all structures of the meant one to be absent.

    Raises:
        UserError: a field of view names such a region.
    """
    regions = dict.fromkeys(structure.region for structure in vocabulary)
    for source, said in settings.sources.items():
        unknown = [region for region in said.field_of_view or () if region not in regions]
        if unknown:
            raise UserError(
                f"The field of view of the source '{source}' names the region '{unknown[0]}', which the vocabulary "
                f"does not have; its regions are {', '.join(regions)}."
            )


def plan_protocols(lists: Sequence[CaseList], settings: TrainingSettings, stride: Stride) -> dict[str, Protocol]:
    """Decide the grid, patch and intensity rule that each source is read with.

    Args:
        stride: the backbone's along each axis; every side of a patch is a multiple of it.

    Returns:
        Source -> Protocol; sources whose settings name the same protocol share one.

    Raises:
        UserError: settings name a source that has no case list, a patch does not fit the stride, or sources that
            share a protocol differ in modality or settings.
    """
    check_sources(settings, lists)
    protocols: dict[str, Protocol] = {}
    by_name: dict[str, Protocol] = {}
    for each in lists:
        protocol = _plan_one(each, settings.sources.get(each.source, SourceSettings()), settings.patch_voxels, stride)
        shared = by_name.get(protocol.name)
        if shared is not None:
            protocol = _merged(shared, protocol)
            for source in shared.sources:
                protocols[source] = protocol
        protocols[each.source] = by_name[protocol.name] = protocol
    return protocols


def _plan_one(cases: CaseList, source: SourceSettings, patch_voxels: int, stride: Stride) -> Protocol:
    training = cases.of("training")
    if not training:
        raise UserError(f"The source '{cases.source}' has no training case; add some or leave its list out.")
    looked_at = training[:: max(1, len(training) // HEADERS_READ)]
    geometry = [geometry_of(case.image) for case in looked_at]
    spacings = np.array([spacing for spacing, _ in geometry])
    extents = np.array([spacing * shape for spacing, shape in geometry])
    typical_spacing, typical_extent = np.median(spacings, axis=0), np.median(extents, axis=0)
    spacing = source.spacing or tuple(round(float(s), 3) for s in typical_spacing)
    patch = source.patch or fitting_patch(typical_extent / spacing, patch_voxels, stride)
    if any(side % step for side, step in zip(patch, stride, strict=True)):
        raise UserError(
            f"The patch {patch} of the source '{cases.source}' does not fit the backbone: its sides must be "
            f"multiples of {stride}."
        )
    return Protocol(
        name=source.protocol or cases.source,
        modality=cases.modality,
        spacing=spacing,
        patch=patch,
        intensity=source.intensity or default_rule(cases.modality),
        typical_spacing=tuple(float(s) for s in typical_spacing),
        typical_extent=tuple(float(e) for e in typical_extent),
        sources=(cases.source,),
    )


def fitting_patch(shape: Sequence[float], voxels: int, stride: Stride) -> tuple[int, int, int]:
    """A patch of at most about `voxels` voxels for images of `shape`: the whole image, or a box less elongated than it.

    Sides are multiples of `stride`.
    """
    # Whole voxels first, as the model's grid has them: 80.0000001 of them need no patch of 96.
    sides = [step * max(1, int(np.ceil(round(length) / step))) for length, step in zip(shape, stride, strict=True)]
    while np.prod(sides) > voxels:
        divisible = [axis for axis in range(3) if sides[axis] > stride[axis]]
        if not divisible:
            break
        longest = max(divisible, key=lambda axis: sides[axis])
        sides[longest] -= stride[longest]
    return tuple(sides)


def geometry_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(3,) spacing in mm and (3,) voxels of an image along R, A, S, from its header alone where that can be read."""
    import SimpleITK as sitk  # noqa: N813 - the name by which everyone knows it

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:  # a folder of DICOM files, or axes that ITK wants at a more exact right angle than we do
        volume = read_volume(path)
        order = list(nearest_axes(volume.affine[:3, :3] / volume.spacing))
        return volume.spacing[order], np.array(volume.shape)[order]
    if reader.GetDimension() < 3:
        raise UserError(f"{path} is a flat image; training needs volumes of three dimensions.")
    order = list(nearest_axes(np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)[:3, :3]))
    return np.array(reader.GetSpacing())[order], np.array(reader.GetSize())[order]


def _merged(first: Protocol, second: Protocol) -> Protocol:
    """One protocol for two sources; what is typical becomes the geometric mean."""
    same = ("modality", "spacing", "patch", "intensity")
    if any(getattr(first, key) != getattr(second, key) for key in same):
        raise UserError(
            f"The sources {', '.join((*first.sources, *second.sources))} share the protocol '{first.name}' but differ "
            "in modality, spacing, patch or intensity rule; give them the same or a protocol each."
        )
    middle = {
        key: tuple(float(np.sqrt(a * b)) for a, b in zip(getattr(first, key), getattr(second, key), strict=True))
        for key in ("typical_spacing", "typical_extent")
    }
    return first.model_copy(update={**middle, "sources": (*first.sources, *second.sources)})
