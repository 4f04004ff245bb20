"""`cfsegmenter update`: teach a model something new, from a shell or as a child of the worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Cancelled, UserError
from ..memory import memory_for
from . import options
from .console import print_table, say, shown
from .sentences import Stopped
from .train import LINE_SECONDS, case_lists, recorded_command, unless_ending

if TYPE_CHECKING:
    from ..cases import Case, CaseList
    from ..stored_version import StoredVersion
    from ..update_status import StatusFile


DEAF_SECONDS = 120.0
"""An attended update has so long for its last checkpoint once nobody attends it."""


def update(
    cases: Annotated[
        list[Path], typer.Option("--cases", "-c", help="A case list, or a case folder with its dataset.json.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The store of the model's versions; made where needed.")],
    model: options.Model = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option("--unlabelled", help="A folder of images without annotations to be reminded on, or a case list."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", help='How long it may take: "10min", "1 hour", "overnight".')
    ] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", help="A JSON file with settings; else defaults.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Steps to train, instead of a time budget.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the update's folder in the store.")] = None,
    status: Annotated[
        Path | None, typer.Option("--status", hidden=True, help="A file to keep the status in, for the worker.")
    ] = None,
    attended: Annotated[
        bool, typer.Option("--attended", hidden=True, help="Stop when the standard input ends, for the worker.")
    ] = False,
    device: options.Device = "auto",
    text_weights: options.TextWeights = None,
    architecture: options.Architecture = None,
    allow_download: options.AllowDownload = False,
    prompt: options.Prompt = None,
) -> None:
    """Teach a model new structures, cases or kinds of scan; the result is a new version that waits to be accepted.

    Ctrl-C stops after a checkpoint, and the same command goes on from there.
    """
    if budget is not None and iterations is not None:
        raise UserError("Both --budget and --iterations say how long to train; give one of them.")

    from ..torchrun import is_first_process
    from ..update_status import StatusFile

    file = StatusFile(status if is_first_process() else None)
    with _ending(attended) as ending:
        try:
            with memory_for("to update the model"):
                version = _update(
                    file,
                    ending,
                    cases=cases,
                    out=out,
                    model=model,
                    unlabelled=unlabelled,
                    budget=budget,
                    settings=settings,
                    iterations=iterations,
                    name=name,
                    device=device,
                    text=(text_weights, architecture, allow_download, prompt),
                )
        except (Cancelled, KeyboardInterrupt) as error:
            sentence = "Stopped after a checkpoint; the same command goes on from there."
            file.say(state="stopped", message=sentence)
            raise Stopped(sentence) from error
        except BaseException as error:
            known = isinstance(error, UserError)
            sentence = str(error) if known else f"The update met a defect ({type(error).__name__}); see its log."
            file.say(state="failed", message=sentence)
            raise
    if version is not None:
        file.say(state="done", fraction=1.0, seconds_left=0.0, message="done", version=version.name)
        _print(version, out)


def _update(file: StatusFile, ending: threading.Event, *, cases, out, model, unlabelled, budget, settings, iterations,
            name, device, text) -> StoredVersion | None:  # fmt: skip
    from ..budget import parse_budget
    from ..cases import read_case_lists
    from ..catalogue import find_model
    from ..model import read_manifest
    from ..progress import silent
    from ..settings import UpdateSettings, read_settings
    from ..torchrun import is_first_process
    from ..update import update as run

    chosen = read_settings(settings, UpdateSettings)
    if budget is not None:
        chosen = chosen.model_copy(update={"budget_seconds": parse_budget(budget)})
    if iterations is not None:
        chosen = chosen.model_copy(update={"budget_seconds": None, "iterations": iterations})
    lists = read_case_lists(case_lists(cases))
    folder = find_model(model if model is not None else _active_of(out))
    embeddings = _embeddings(read_manifest(folder).structures, lists, text, out)
    command = recorded_command(
        "update",
        lists,
        {"--budget": budget, "--iterations": iterations, "--settings": settings.name if settings else None},
    )
    with shown("update", time_left=False, line_seconds=LINE_SECONDS) as bar:
        return run(
            folder,
            lists,
            store=out,
            unannotated=_unannotated(unlabelled),
            settings=chosen,
            embeddings=embeddings,
            device=device,
            name=name,
            command=command,
            status=file,
            progress=unless_ending(ending, bar if is_first_process() else silent),
        )


def _active_of(store: Path) -> Path | None:
    """The active version of a store that is there already; None stands for the shipped model."""
    from ..store import ModelStore
    from ..store_index import is_store

    return ModelStore.open(store).active.folder if is_store(store) else None


def _unannotated(said: Path | None) -> tuple[Case, ...]:
    """The images of a folder, or the training images of a case list, whose annotations are not looked at."""
    from dataclasses import replace

    from ..cases import read_case_lists
    from ..update_planning import UNANNOTATED, images_in

    if said is None:
        return ()
    if said.is_dir() and not (said / "dataset.json").is_file():
        return images_in(said)
    lists = read_case_lists(case_lists([said]))
    cases = (case for each in lists for case in each.of("training"))
    return tuple(replace(case, labels=None, source=UNANNOTATED, annotated=(), partly=(), values={}) for case in cases)


def _embeddings(known: Sequence[str], lists: Sequence[CaseList], text, out: Path) -> dict[str, tuple]:
    from ..cases import structures_of
    from ..text import embed_or_none

    weights, architecture, allow_download, prompt = text
    encoder = options.text_encoder(weights, architecture, allow_download, out / "text")
    new = [name for name in structures_of(lists) if name not in known]
    if encoder is None or not new:
        return {}
    said = options.fitting_prompt(prompt, (each.modality for each in lists))
    with shown("text") as progress:
        vectors = embed_or_none(encoder, new, lambda s: say(s, "yellow"), said, progress)
    return {each: (vector, said) for each, vector in vectors.items() if vector is not None}


@contextmanager
def _ending(attended: bool) -> Iterator[threading.Event]:
    """An event that SIGTERM sets, and, where the update is attended, the end of the standard input."""
    ending = threading.Event()
    if attended:
        threading.Thread(target=_wait_for_the_end, args=(ending,), daemon=True).start()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = signal.signal(signal.SIGTERM, lambda *_: ending.set())
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_for_the_end(ending: threading.Event) -> None:
    """Ask to stop once the standard input ends; whoever held it is gone, and nobody else could end what does not hear.

    It is not read through `sys.stdin`: a process forked from this one closes that, and would wait for ever for the lock
    that a reader holds.
    """
    while os.read(sys.stdin.fileno(), 1024):
        pass
    ending.set()
    time.sleep(DEAF_SECONDS)
    os._exit(1)


def _print(version: StoredVersion, store: Path) -> None:
    report = version.report()
    rows = [
        [row["structure"], row["source"], row["kind"], row["cases"], row["dice_before"], row["dice_after"]]
        for row in report["scores"]
    ]
    if rows:
        print_table(("structure", "source", "kind", "cases", "Dice before", "Dice after"), rows)
    else:
        say(report["why_not_validated"], "yellow")
    for warning in report["warnings"]:
        say(f"{warning[0].upper()}{warning[1:]}.", "yellow")
    say(
        f"Version {version.name} waits for your decision; the report is {version.page}. "
        f"`cfsegmenter models accept {store} {version.name}` makes it the one that is used."
    )
