"""Planning an update: the grown bank, and how the new cases are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .cases import Case, CaseList
from .errors import UserError
from .files.reading import read_volume
from .model import Manifest, Model
from .planning import TrainingPlan, check_fields_of_view, check_sources, geometry_of, plan_protocols, taught_by
from .progress import Progress, advance, silent
from .protocols import Protocol, choose_protocol, matches
from .settings import TrainingSettings, UpdateSettings
from .structures import Vocabulary

FAR = float(np.log(2))
"""A scan this unlike all protocols (a factor of 2 in spacing and size, on the mean) gets a protocol of its own."""

RATE = 2 / 3
"""Of the first training's learning rate: at a tenth, an update beside a teacher is only slow; far above, it forgets."""

UNANNOTATED = "unannotated"
"""The source of images that only remind."""

IMAGE_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")


def plan_update(
    model: Model,
    lists: Sequence[CaseList],
    settings: UpdateSettings,
    *,
    unannotated: Sequence[Case] = (),
    embeddings: Mapping[str, tuple[np.ndarray, str]] | None = None,
    version: str = "",
    parent: str = "",
    vocabulary: Vocabulary | None = None,
    progress: Progress = silent,
) -> TrainingPlan:
    """Decide what an update trains: the model's own prototypes, then one for each new structure.

    Args:
        unannotated: images to be reminded on (see `images_in`).
        embeddings: new structure -> (text vector, prompt); one without gets a code direction.
        version, parent: of the model that will be made.

    Raises:
        UserError: the lists hold no training case, the settings do not fit them, or the model has no room for another
            structure.
        Cancelled: as `progress` asked.
    """
    check_sources(settings, lists)
    check_fields_of_view(settings, vocabulary or Vocabulary.load())
    bank = model.bank
    lists = tuple(each for each in lists if each.of("training") or each.of("validation"))
    for structure in taught_by(lists):
        if structure not in bank:
            vector, prompt = (embeddings or {}).get(structure, (None, None))
            bank = bank.append(structure, vector, prompt)
    manifest = model.manifest
    training = settings.training(manifest.backbone, manifest.dimension, manifest.temperature, usual_rate(manifest))
    protocols, by_case = _protocols(model, lists, training, progress)
    _check_that_all_are_read(lists, (*manifest.protocols, *protocols.values()))
    for number, case in enumerate(unannotated):
        advance(progress, number, len(unannotated), f"looking at image {number + 1} of {len(unannotated)}")
        by_case[case.image] = _nearest(manifest.protocols, case)
    readable = {case.image for case in unannotated if by_case[case.image] is not None}
    return TrainingPlan(
        lists=lists,
        settings=training,
        bank=bank,
        protocols=protocols,
        name=manifest.name,
        licence=manifest.licence,
        initial=model,
        teaches=True,
        unannotated=tuple(case for case in unannotated if case.image in readable),
        by_case={image: protocol for image, protocol in by_case.items() if protocol is not None},
        version=version,
        parent=parent,
    )


def usual_rate(manifest: Manifest) -> float:
    """The learning rate of an update: `RATE` times that of the training that began with nothing, as far as recorded."""
    said = manifest.training
    while said.get("initial"):
        said = said["initial"]
    return RATE * said.get("settings", {}).get("learning_rate", TrainingSettings().learning_rate)


def images_in(folder: str | Path) -> tuple[Case, ...]:
    """The images in a folder of unannotated ones: image files, and folders of a DICOM series.

    Raises:
        UserError: there is no such folder, or nothing in it is an image.
    """
    folder = Path(folder)
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"The folder of unannotated images {folder} cannot be read ({error.strerror}); name a folder that holds "
            "image files."
        ) from error
    images = [p for p in found if p.is_dir() or p.name.lower().endswith(IMAGE_ENDINGS)]
    if not images:
        raise UserError(f"The folder {folder} holds no image; put NIfTI, NRRD or MHA files or DICOM folders into it.")
    return tuple(
        Case(image, None, UNANNOTATED, "", str(number), "training", {}, ()) for number, image in enumerate(images)
    )


def _protocols(
    model: Model, lists: Sequence[CaseList], settings: TrainingSettings, progress: Progress
) -> tuple[dict[str, Protocol], dict[Path, Protocol]]:
    """(source -> protocol, image -> protocol): those of the model where a scan is like them, new ones elsewhere."""
    known = model.manifest.protocols
    by_case: dict[Path, Protocol] = {}
    unlike: list[CaseList] = []
    total = sum(len(each.cases) for each in lists)
    looked_at = 0
    for each in lists:
        left = []
        for case in each.cases:
            advance(progress, looked_at, total, f"looking at case {looked_at + 1} of {total}")
            looked_at += 1
            found = _fitting(known, case)
            if found is None:
                left.append(case)
            else:
                by_case[case.image] = found
        if any(case.split == "training" for case in left):
            unlike.append(replace(each, cases=tuple(left)))
    stride = model.network.stride
    wanted = settings.model_copy(
        update={"sources": {n: s for n, s in settings.sources.items() if n in {e.source for e in unlike}}}
    )
    new = plan_protocols(unlike, wanted, stride) if unlike else {}
    taken = {protocol.name for protocol in known}
    return {source: _renamed(protocol, taken) for source, protocol in new.items()}, by_case


def _check_that_all_are_read(lists: Sequence[CaseList], protocols: Sequence[Protocol]) -> None:
    for each in lists:
        if not any(matches(protocol.modality, each.modality) for protocol in protocols):
            raise UserError(
                f"All cases of the source '{each.source}' are for validation, and nothing teaches the model to read "
                f"their kind of scan ({each.modality}); add a training case of it, or leave the source out."
            )


def _fitting(known: Sequence[Protocol], case: Case) -> Protocol | None:
    """The model's protocol that reads scans like this one; None where all are too unlike it."""
    spacing, shape = geometry_of(case.image)
    fitting = [p for p in known if matches(p.modality, case.modality)]
    nearest = min(fitting, key=lambda p: p.distance(spacing, spacing * shape), default=None)
    return nearest if nearest is not None and nearest.distance(spacing, spacing * shape) < FAR else None


def _nearest(known: Sequence[Protocol], case: Case) -> Protocol | None:
    """The protocol that the model would read an image with; None where it would refuse."""
    try:
        return choose_protocol(known, read_volume(case.image, modality=case.modality))
    except UserError:
        return None


def _renamed(protocol: Protocol, taken: set[str]) -> Protocol:
    """A new protocol must not have the name of another: it is asked for by name."""
    name, number = protocol.name, 2
    while name in taken:
        name = f"{protocol.name} {number}"
        number += 1
    return protocol.model_copy(update={"name": name})
