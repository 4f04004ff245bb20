"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError

if TYPE_CHECKING:
    from ..text import TextEncoder

Model = Annotated[
    str | None, typer.Option("--model", "-m", help="A model folder, a store, or the name of a shipped model (general).")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Targets = Annotated[str, typer.Option("--targets", "-t", help='Names separated by commas, or "all".')]
Modality = Annotated[
    str | None,
    typer.Option("--modality", help="What made the image (ct, mr, mr-t1, ...), where its file does not say."),
]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help="Read the image as this protocol of the model; else the nearest.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist already.")]
TextWeights = Annotated[
    str | None,
    typer.Option("--text-weights", help="CLIP weights in open_clip's naming: a file, or a tag to download."),
]
Architecture = Annotated[str | None, typer.Option("--architecture", help="open_clip's name of the CLIP model.")]
AllowDownload = Annotated[bool, typer.Option("--allow-download", help="Allow the weights to be fetched from the hub.")]
Prompt = Annotated[
    str | None, typer.Option("--prompt", help='The sentence that is embedded, as "A medical image of a {}".')
]


def wanted_structures(targets: str) -> list[str] | None:
    """The names in `--targets`; None for "all".

    Raises:
        UserError: there is none.
    """
    names = [name.strip() for name in targets.split(",") if name.strip()]
    if not names:
        raise UserError('The targets are empty; name structures, as --targets "liver, left kidney", or "all".')
    return None if [name.lower() for name in names] == ["all"] else names


def existing(paths: Iterable[Path], what: str) -> None:
    """Check that inputs are there before any work starts.

    Raises:
        UserError: one is not.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"The {what} {missing[0]} does not exist; check the spelling of the path.")


def free_to_write(paths: Sequence[Path], overwrite: bool) -> None:
    """Check that results replace nothing unless the user wants it.

    Raises:
        UserError: a file exists already.
    """
    taken = [] if overwrite else [path for path in paths if path.exists()]
    if taken:
        others = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise UserError(f"{taken[0]}{others} exists already; name another place, or add --overwrite to replace it.")


def made_folder(folder: Path) -> Path:
    """Make a folder for results.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UserError(f"{folder} is a file and not a folder; name a folder to write to.") from error
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be made ({error.strerror}); name another one.") from error
    return folder


def text_encoder(
    weights: str | None, architecture: str | None, allow_download: bool, cache: Path | None = None
) -> TextEncoder | None:
    """The text encoder that the options describe; None where they describe none.

    Raises:
        UserError: options are missing, or the file does not exist.
    """
    from ..text import DEFAULT_ARCHITECTURE, TextEncoder

    if weights is None:
        if architecture is not None or allow_download:
            raise UserError("--architecture and --allow-download speak of CLIP weights; name them with --text-weights.")
        return None
    is_tag = not Path(weights).exists() and not Path(weights).suffix and os.sep not in weights
    return TextEncoder(
        None if is_tag else weights,
        pretrained=weights if is_tag else None,
        architecture=architecture or DEFAULT_ARCHITECTURE,
        allow_download=allow_download,
        cache_dir=cache,
    )


def fitting_prompt(prompt: str | None, modalities: Iterable[str]) -> str:
    """The prompt that was given, or the one that is true of all modalities."""
    from ..text import PROMPT_CT, PROMPT_NEUTRAL, prompted

    chosen = prompt or (PROMPT_CT if all(m.startswith("ct") for m in modalities) else PROMPT_NEUTRAL)
    prompted("structure", chosen)
    return chosen
