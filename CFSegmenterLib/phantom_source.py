"""A source of drawn abdomens: images and labels as files, with their case list."""

from __future__ import annotations

from pathlib import Path

from .abdomen import draw_abdomen
from .files.writing import write_json
from .phantom import NAMES


def write_phantom_source(folder: Path, count_training: int, count_validation: int, seed: int) -> Path:
    """Write drawn cases as NIfTI files with a case list; returns the path of its `dataset.json`.

    Case n has the seed `seed + n`, validation after training, so the two never share a person.

    Raises:
        ValueError: a negative count.
        OSError: the folder cannot be written to.
        UserError: as `write_json`.
    """
    import nibabel

    if count_training < 0 or count_validation < 0:
        raise ValueError("The numbers of cases must not be negative.")
    folder = Path(folder)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cases = []
    for number in range(count_training + count_validation):
        phantom = draw_abdomen(seed + number)
        subject = f"phantom_{seed + number:05d}"
        case = {"image": f"images/{subject}.nii.gz", "label": f"labels/{subject}.nii.gz", "subject": subject}
        for part, array in (("image", phantom.image), ("label", phantom.labels)):
            picture = nibabel.Nifti1Image(array, phantom.affine)
            picture.header.set_xyzt_units("mm")
            nibabel.save(picture, folder / case[part])
        cases.append(case)
    dataset = {
        "name": "phantom_abdomen",
        "modality": "mr-t2",
        "labels": {str(label): name for label, name in NAMES.items()},
        "original": "drawn by CFSegmenter",
        "licence": "CC0 (drawn by this project)",
        "training": cases[:count_training],
        "validation": cases[count_training:],
    }
    path = folder / "dataset.json"
    write_json(path, dataset)
    return path
