"""Finding models: by the path of a folder or a store, or by the name of one that travels with the library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .errors import UserError
from .model import MANIFEST
from .resources import resource_folders
from .store import ModelStore
from .store_index import is_store

DEFAULT_MODEL = "general"

DEEPEST = 3
"""How many folders down models are looked for."""


def find_model(said: str | Path | None = None) -> Path:
    """The folder of a model.

    Args:
        said: path of a model folder; path of a store, which stands for its active version; or the name of a shipped
            model. None takes the shipped `general`.

    Raises:
        UserError: there is no such model, or the store is damaged.
    """
    name = DEFAULT_MODEL if said is None else str(said)
    path = Path(name).expanduser()
    if said is not None and (path / MANIFEST).is_file():
        return path
    if said is not None and is_store(path):
        return ModelStore.open(path).active.folder
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
    """All model folders in a folder, itself included, down to `deepest` folders below it, by path.

    A store stands for its active version; one that is damaged is left out.
    """
    found = []
    for each in _found_in(Path(folder), deepest):
        with suppress(UserError):
            found.append(ModelStore.open(each).active.folder if is_store(each) else each)
    return tuple(found)


def stores_in(folder: str | Path, deepest: int = DEEPEST) -> tuple[Path, ...]:
    """All stores in a folder, itself included, down to `deepest` folders below it, by path; sound or not."""
    return tuple(each for each in _found_in(Path(folder), deepest) if is_store(each))


def _found_in(folder: Path, deepest: int) -> Iterator[Path]:
    """Model folders and stores; what is inside them is not looked at."""
    if (folder / MANIFEST).is_file() or is_store(folder):
        yield folder
    elif deepest > 0:
        with suppress(OSError):  # a folder that may not be read holds no model for this user
            for each in sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")):
                yield from _found_in(each, deepest - 1)
