"""Finding models: by the path of a folder, or by the name of one that travels with the library."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError
from .model import MANIFEST
from .resources import resource_folders

DEFAULT_MODEL = "general"

DEEPEST = 3
"""How many folders down models are looked for."""


def find_model(said: str | Path | None = None) -> Path:
    """The folder of a model.

    Args:
        said: path of a model folder, or the name of a shipped model; None takes the shipped `general`.

    Raises:
        UserError: there is no such model.
    """
    name = DEFAULT_MODEL if said is None else str(said)
    path = Path(name).expanduser()
    if said is not None and (path / MANIFEST).is_file():
        return path
    shipped = shipped_models()
    for folder in shipped:
        if folder.name == name:
            return folder
    names = ", ".join(folder.name for folder in shipped)
    if said is not None and path.is_dir():
        inside = [folder.name for folder in models_in(path, deepest=1)]
        hint = f"; it holds the models {' and '.join(inside)}: name one of them" if inside else ""
        raise UserError(f"{path} is a folder without {MANIFEST}, so it is not a model{hint}.")
    known = f"the models shipped are: {names}" if names else "this installation ships none"
    raise UserError(f"There is no model '{name}'; give the path of a model folder ({known}).")


def shipped_models() -> tuple[Path, ...]:
    """The folders of the models that travel with the library."""
    for folder in resource_folders():
        if (folder / "Models").is_dir():
            return models_in(folder / "Models", deepest=1)
    return ()


def models_in(folder: str | Path, deepest: int = DEEPEST) -> tuple[Path, ...]:
    """All model folders in a folder, itself included, down to `deepest` folders below it, by path."""
    folder = Path(folder)
    if (folder / MANIFEST).is_file():
        return (folder,)
    if deepest == 0:
        return ()
    try:
        inner = sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError:
        return ()  # a folder that may not be read holds no model for this user
    return tuple(found for each in inner for found in models_in(each, deepest - 1))
