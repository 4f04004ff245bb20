"""`cfsegmenter train`: the first stage, on any number of sources."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Cancelled, UserError
from ..progress import Progress
from . import options
from .console import print_table, say, shown
from .sentences import Stopped

if TYPE_CHECKING:
    from ..cases import CaseList

LINE_SECONDS = 60.0


def train(
    cases: Annotated[list[Path], typer.Option("--cases", "-c", help="A case list, or a folder with its dataset.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the training; resumed where it holds one.")],
    settings: Annotated[
        Path | None, typer.Option("--settings", help="A JSON file with settings; else defaults.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Of the model.")] = "model",
    licence: Annotated[str, typer.Option("--licence", help="Of the weights.")] = "not stated",
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Instead of the settings' number.")
    ] = None,
    until: Annotated[
        int | None, typer.Option("--until", min=1, help="Stop at this step; the settings' schedule stays as it is.")
    ] = None,
    initial: Annotated[
        str | None, typer.Option("--initial", help="Start from a model of the same structures, a folder or a name.")
    ] = None,
    device: options.Device = "auto",
    text_weights: options.TextWeights = None,
    architecture: options.Architecture = None,
    allow_download: options.AllowDownload = False,
    prompt: options.Prompt = None,
) -> None:
    """Train a model; Ctrl-C stops after a checkpoint, and the same command goes on from there."""
    if initial is not None and text_weights is not None:
        raise UserError("A model given with --initial brings its own prototypes; leave out --text-weights.")

    from ..cases import read_case_lists, structures_of
    from ..settings import read_settings
    from ..text import embed_or_none

    lists = read_case_lists(case_lists(cases))
    chosen = read_settings(settings)
    if iterations is not None:
        chosen = chosen.model_copy(update={"iterations": iterations})
    encoder = options.text_encoder(text_weights, architecture, allow_download, out / "text")
    said = options.fitting_prompt(prompt, (each.modality for each in lists))
    embeddings = {}
    if encoder is not None:
        with shown("text") as progress:
            vectors = embed_or_none(encoder, structures_of(lists), lambda s: say(s, "yellow"), said, progress)
        embeddings = {each: (vector, said) for each, vector in vectors.items() if vector is not None}

    from ..catalogue import find_model
    from ..model import load_model
    from ..planning import plan_training
    from ..training import Trainer

    start = None if initial is None else load_model(find_model(initial))
    plan = plan_training(lists, chosen, name=name, licence=licence, embeddings=embeddings, initial=start)
    command = recorded_command(
        "train",
        lists,
        {
            "--settings": settings.name if settings else None,
            "--name": name,
            "--licence": licence,
            "--iterations": iterations,
            "--until": until,
            "--initial": Path(initial).name if initial else None,
            "--text-weights": Path(text_weights).name if text_weights else None,
            "--architecture": architecture,
            "--prompt": prompt,
        },
    )
    crowding = plan.bank.crowding(chosen.backbone.features)
    if crowding:
        say(crowding, "yellow")
    options.made_folder(out)
    with _asked_to_end() as ending, shown("training", time_left=False, line_seconds=LINE_SECONDS) as bar:
        progress = unless_ending(ending, bar)
        try:
            trainer = Trainer(plan, out, device=device, command=command, progress=progress)
        except (Cancelled, KeyboardInterrupt) as error:
            raise Stopped("Stopped while the cases were prepared; the same command goes on from there.") from error
        if trainer.step:
            say(f"Resuming at step {trainer.step} of {chosen.iterations}.")
        try:
            manifest = trainer.train(progress, until)
        except (Cancelled, KeyboardInterrupt) as error:
            raise Stopped(
                f"Stopped at step {trainer.step} of {chosen.iterations} after a checkpoint; "
                "the same command goes on from there."
            ) from error
    if trainer.fabric.is_global_zero:
        _print_models(out, len(manifest.structures), trainer.best)


def case_lists(said: Sequence[Path]) -> list[Path]:
    """The files of case lists; a folder stands for its `dataset.json`."""
    return [path / "dataset.json" if path.is_dir() else path for path in said]


def recorded_command(verb: str, lists: Sequence[CaseList], said: Mapping[str, object]) -> str:
    """The command as the model remembers it: sources by name, files without folders, nothing of a patient's."""
    words = [word for each in lists for word in ("--cases", each.source)]
    words += [word for option, value in said.items() if value is not None for word in (option, str(value))]
    return shlex.join(["cfsegmenter", verb, *words])


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, as cluster schedulers send it some time before they kill.

    Ctrl-C needs nothing here: the trainer holds it back until a step is whole. Under torchrun only the first process
    ends because of it; the others, which would leave it waiting for their gradients, end once they have lost it.
    """
    ending = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    before = signal.signal(signal.SIGTERM, lambda *_: ending.set())
    try:
        yield ending
    finally:
        signal.signal(signal.SIGTERM, before)


def unless_ending(ending: threading.Event, progress: Progress) -> Progress:
    """The same progress, which asks to stop once the event is set."""
    return lambda done, total, message: progress(done, total, message) and not ending.is_set()


def _print_models(out: Path, structures: int, best: float) -> None:
    rows = []
    for kind, score in (("best", best if best > float("-inf") else None), ("last", None)):
        if (out / kind).is_dir():
            rows.append([str(out / kind), structures, score])
    print_table(("model", "structures", "mean validation Dice"), rows)
