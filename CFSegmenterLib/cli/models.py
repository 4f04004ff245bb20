"""`cfsegmenter models`: which models and stores there are, what they know, and text prototypes for one of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from . import options
from .console import Cell, print_table, say, shown

if TYPE_CHECKING:
    from ..model import Manifest
    from ..store import ModelStore

app = typer.Typer(
    help="List models, show what one knows, give one text prototypes, decide about the versions in a store.",
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models([])


@app.command("list")
def list_models(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Look in these folders, too.")
    ] = None,
) -> None:
    """List the shipped models, and models and stores in folders of yours; of a store, the version that is used."""
    options.existing(folders or [], "folder")

    from ..catalogue import models_in, shipped_models, stores_in
    from ..model import read_manifest
    from ..store import ModelStore

    rows: list[list[Cell]] = []
    shipped = shipped_models()
    stores = dict.fromkeys(folder for each in folders or [] for folder in stores_in(each))
    active: set[Path] = set()
    for folder in stores:
        with _told():
            store = ModelStore.open(folder)
            active.add(store.active.folder)
            rows.append(_row(str(folder), store.active.manifest, _status(store)))
    for folder in dict.fromkeys((*shipped, *(f for each in folders or [] for f in models_in(each)))):
        if folder not in active:
            with _told():
                rows.append(_row(folder.name if folder in shipped else str(folder), read_manifest(folder), None))
    if not rows:
        raise UserError("No model was found; train one, or name the folder that holds some.")
    rows.sort(key=lambda row: row[-1] is not None)  # stores after plain models
    print_table(("model", "version", "structures", "modalities", "mean Dice", "licence", "store"), rows)


@contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong with one model and go on: it must not hide the others."""
    try:
        yield
    except UserError as error:
        say(str(error), "yellow")


def _row(called: str, manifest: Manifest, status: str | None) -> list[Cell]:
    modalities = ", ".join(dict.fromkeys(protocol.modality for protocol in manifest.protocols))
    scores = [row["dice"] for row in manifest.scores.get("sources", {}).values()]
    mean = sum(scores) / len(scores) if scores else None
    return [called, manifest.version, len(manifest.structures), modalities, mean, manifest.licence, status]


def _status(store: ModelStore) -> str:
    """How many versions a store has, and how many of them wait for a decision."""
    versions = store.versions
    waiting = sum(version.status == "proposed" for version in versions)
    return f"{len(versions)} version{'s' if len(versions) > 1 else ''}, {waiting} to decide on"


@app.command("show")
def show_model(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model folder, a store, or the name of a shipped model.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest itself.")] = False,
) -> None:
    """Show what a model knows, how it reads scans, where it came from, and how good it is."""
    from ..catalogue import find_model
    from ..model import manifest_text, read_manifest
    from ..model_card import write_card

    manifest = read_manifest(find_model(model))
    if as_json:
        sys.stdout.write(manifest_text(manifest))
        return
    card = write_card(manifest)
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(card))
    else:
        sys.stdout.write(card)


@app.command("reprompt")
def reprompt(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A model folder, a store, or the name of a shipped model.")
    ],
    text_weights: Annotated[
        str, typer.Option("--text-weights", help="CLIP weights in open_clip's naming: a file, or a tag to download.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the new model.")],
    architecture: options.Architecture = None,
    prompt: options.Prompt = None,
    allow_download: options.AllowDownload = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Give a model prototypes that come from text, without training: its answers stay the same."""
    from ..catalogue import find_model
    from ..model import MANIFEST, load_model, save_model
    from ..model_card import write_card
    from ..reprompting import with_text_prototypes

    encoder = options.text_encoder(text_weights, architecture, allow_download)
    folder = find_model(model)
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not a model; name a new folder.")
    options.free_to_write([out / MANIFEST], overwrite)
    old = load_model(folder)
    said = options.fitting_prompt(prompt, (p.modality for p in old.manifest.protocols))
    names = old.manifest.structures
    with shown("text") as progress:
        vectors = encoder.encode(names, said, progress)
    embeddings = {name: (vector, said) for name, vector in zip(names, vectors, strict=True)}
    record = {"architecture": encoder.architecture, "weights": encoder.weights_id, "prompt": said}
    new = with_text_prototypes(old, embeddings, encoder=record)
    options.made_folder(out.parent)
    save_model(new, out, write_card(new.manifest))
    rows = [[entry.name, entry.source, entry.kept] for entry in new.bank.entries]
    print_table(("structure", "prototype from", "cosine to its own text"), rows)
    say(f"Version {new.manifest.version} of '{new.manifest.name}' is in {out}; its answers are those of {folder}.")
