"""The command `cfsegmenter`: the library's verbs for a shell, one file for each.

Standard output holds results only, as tables that a person reads in a terminal and a program reads through a pipe;
progress, notes and errors go to standard error. The status is 0, 2 after a sentence about what is wrong, or 130 after
Ctrl-C. Nothing heavy is imported before a verb needs it.
"""

from __future__ import annotations

from collections.abc import Sequence

import typer

from .. import __version__
from . import cases, demo, evaluate, models, phantom, segment, similarity, store, structures, train, update, worker
from .sentences import SentenceGroup

app = typer.Typer(
    name="cfsegmenter",
    cls=SentenceGroup,
    help="Segment medical images by the names of structures.",
    epilog="For research. CFSegmenter is not a medical device.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cfsegmenter {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_show_version, is_eager=True),
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("segment")(segment.segment)
app.command("similarity")(similarity.similarity)
app.command("structures")(structures.structures)
for decision in (store.versions, store.accept, store.reject, store.rollback, store.compare):
    models.app.command(decision.__name__)(decision)
app.add_typer(models.app, name="models")
app.command("train")(train.train)
app.command("update")(update.update)
app.add_typer(cases.app, name="cases")
app.command("evaluate")(evaluate.evaluate)
app.command("phantom")(phantom.phantom)
app.command("demo")(demo.demo)
app.command("worker")(worker.worker)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with `arguments`, by default those of the process, and leave with its exit status."""
    app(None if arguments is None else list(arguments), prog_name="cfsegmenter")
