"""The model card: what a person should know before using a model, written from its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .intensity import WindowRule
from .own_structures import code_text

if TYPE_CHECKING:
    from .model import Manifest
    from .protocols import Protocol

SETTINGS_SHOWN = ("iterations", "patches_per_step", "learning_rate", "weight_decay", "average", "dimension", "seed")


def write_card(manifest: Manifest) -> str:
    """The card of a model, as Markdown: what it is, data, protocols, training, scores, limits, licence."""
    sections = (
        _introduction(manifest),
        _structures(manifest),
        _sources(manifest),
        _protocols(manifest),
        _training(manifest),
        _scores(manifest.scores),
        _limits(manifest),
        _use(manifest),
    )
    return "\n".join(line for section in sections for line in section).rstrip() + "\n"


def _introduction(manifest: Manifest) -> Iterator[str]:
    modalities = ", ".join(dict.fromkeys(_modality(p.modality) for p in manifest.protocols))
    yield f"# {manifest.name}"
    yield ""
    yield (
        "A classifier-free segmentation model of CFSegmenter, "
        f"version {manifest.version}, made on {manifest.created}. It knows "
        f"{_count(len(manifest.structures), 'structure')} in "
        f"{_count(len(manifest.protocols), 'kind')} of scan ({modalities})."
    )
    if manifest.parent:
        yield f"It was made from version {manifest.parent}."
    yield ""
    yield f"**Licence of the weights:** {_cell(manifest.licence)}"
    yield ""
    yield "**For research only.** This is not a medical device; nothing here may be used to diagnose or treat."
    yield ""


def _structures(manifest: Manifest) -> Iterator[str]:
    text = [entry for entry in manifest.prototypes if entry["source"] == "text"]
    yield "## Structures"
    yield ""
    yield f"{', '.join(manifest.structures)}."
    yield ""
    coded = [f"{each.name} ({code_text(each)})" for each in manifest.own_structures if each.type is not None]
    if coded:
        yield f"Not in the vocabulary, and coded by who taught them: {_cell(', '.join(coded))}."
        yield ""
    count = len(manifest.prototypes)
    if not text:
        yield (
            f"All {count} prototypes (the background's included) are code directions: orthonormal and without meaning. "
            "`cfsegmenter models reprompt` turns them into text prototypes without changing an answer."
        )
    else:
        prompts = ", ".join(dict.fromkeys(f'"{entry["prompt"]}"' for entry in text if entry["prompt"]))
        kept = [entry["kept"] for entry in text]
        yield (
            f"{len(text)} of {count} prototypes come from CLIP text embeddings, made orthogonal (prompt: "
            f"{prompts or 'not stated'}). They keep a cosine of {min(kept):.2f} to {max(kept):.2f} to their own texts. "
            "The others are code directions."
        )
    yield ""


def _sources(manifest: Manifest) -> Iterator[str]:
    if not manifest.sources:
        return
    yield "## Data"
    yield ""
    yield (
        "Each source annotates only its own structures; what it does not annotate was not taken for background, "
        "unless its images cannot contain it."
    )
    yield ""
    yield from _table(
        ("source", "modality", "structures", "training cases", "validation cases", "licence and credit"),
        [
            (
                each.name,
                _modality(each.modality),
                ", ".join(each.structures),
                each.training_cases,
                each.validation_cases,
                each.licence,
            )
            for each in manifest.sources
        ],
    )
    yield ""


def _protocols(manifest: Manifest) -> Iterator[str]:
    yield "## How scans are read"
    yield ""
    yield "A scan is read as the protocol that is nearest to it in modality, spacing and size."
    yield ""
    yield from _table(
        ("protocol", "modality", "grid (mm, R A S)", "patch (voxels)", "intensity", "trained on scans of about"),
        [
            (
                each.name,
                _modality(each.modality),
                _times(each.spacing),
                _times(each.patch),
                _intensity(each),
                f"{_times(each.typical_extent, 0)} mm",
            )
            for each in manifest.protocols
        ],
    )
    yield ""


def _training(manifest: Manifest) -> Iterator[str]:
    said, stages = manifest.training, _stages(manifest)
    backbone = manifest.backbone
    yield "## Training"
    yield ""
    if any(stage.get("command") for stage in stages):
        yield "```sh"
        yield from (str(stage["command"]) for stage in stages if stage.get("command"))
        yield "```"
        yield ""
    if len(stages) > 1:
        done = sum(stage.get("iterations_done") or 0 for stage in stages)
        hours = sum(stage.get("hours") or 0 for stage in stages)
        yield (
            f"{len(stages)} stages, each from the model of the one before, {done} iterations and {hours:.1f} hours in "
            "all. Of the last one:"
        )
        yield ""
    facts = [
        f"backbone {backbone.name}, {backbone.features} feature channels, {_options(backbone.options)}",
        f"prototypes of {manifest.dimension} dimensions, temperature {manifest.temperature:g}",
    ]
    settings = said.get("settings", {})
    listed = [f"{key.replace('_', ' ')} {settings[key]}" for key in SETTINGS_SHOWN if key in settings]
    if listed:
        facts.append(", ".join(listed))
    if said.get("iterations_done") is not None:
        done = [f"{said['iterations_done']} iterations done"]
        done += [f"{said['hours']} hours"] if said.get("hours") is not None else []
        done += [f"precision {said['precision']}"] if said.get("precision") else []
        facts.append(", ".join(done))
    if said.get("versions"):
        facts.append(", ".join(f"{name} {version}" for name, version in said["versions"].items()))
    yield from (f"- {fact}" for fact in facts)
    yield ""
    yield "All settings stand in `manifest.json`."
    yield ""


def _stages(manifest: Manifest) -> list[Mapping[str, Any]]:
    """The records of the trainings that led to a model, the first one first."""
    stages: list[Mapping[str, Any]] = []
    said: Mapping[str, Any] | None = manifest.training
    while said:
        stages.insert(0, said)
        said = said.get("initial")
    return stages


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    yield "## Scores"
    yield ""
    if not scores:
        yield "Not measured yet; `cfsegmenter evaluate --record` measures and writes them here."
        yield ""
        return
    splits = scores.get("split")
    if splits:
        yield f"Measured with `cfsegmenter evaluate` on subjects of the split: {_splits(splits)}."
        yield ""
    yield "A structure that was not found at all has a Dice of 0 and no distance; distances are means over what was."
    yield ""
    yield from _table(
        ("source", "modality", "mean Dice", "mean surface distance (mm)", "structures", "cases"),
        [
            (
                name,
                _modality(row["modality"]),
                _dice(row["dice"]),
                _mm(row["distance_mm"]),
                row["structures"],
                row["cases"],
            )
            for name, row in scores.get("sources", {}).items()
        ],
    )
    yield ""
    yield from _table(
        ("structure", "source", "Dice", "surface distance (mm)", "cases", "found where there is none"),
        [
            (
                row["structure"],
                row["source"],
                _dice(row["dice"]),
                _mm(row["distance_mm"]),
                row["cases"],
                row.get("false_positives", 0),
            )
            for row in scores.get("structures", [])
        ],
    )
    yield ""
    impossible = scores.get("impossible")
    if impossible:
        yield "Asked for structures that the images cannot contain, the model should find nothing:"
        yield ""
        yield from _table(
            ("source", "structures asked for", "cases", "ml taken for them, a case", "questions answered wrongly"),
            [
                (row["source"], row["structures"], row["cases"], f"{row['ml_per_case']:.2f}", f"{row['found']:.0%}")
                for row in impossible
            ],
        )
        yield ""


def _limits(manifest: Manifest) -> Iterator[str]:
    training = sum(each.training_cases for each in manifest.sources)
    spacings = [mm for protocol in manifest.protocols for mm in protocol.spacing]
    modalities = ", ".join(dict.fromkeys(_modality(p.modality) for p in manifest.protocols))
    yield "## Limits"
    yield ""
    if manifest.sources:
        smallest = min(manifest.sources, key=lambda each: each.training_cases)
        yield (
            f"- Little data: {_count(training, 'training case')} in all, {smallest.training_cases} in the smallest "
            "source. Other scanners, sequences, ages and diseases may look different to it."
        )
    low, high = min(spacings), max(spacings)
    yield (
        f"- Coarse grids: it sees voxels of {f'{low:g} to ' if low < high else ''}{high:g} mm. Structures of a few "
        "voxels are found badly, and outlines are no finer than the grid."
    )
    yield (
        f"- Never seen: any modality but {modalities}, and any field of view but those above. A scan of much more of "
        "the body should be cropped to one of them, or structures may be found where they are not."
    )
    yield "- Surface distances are as good as the spacing that the source's files state."
    yield "- A small margin (`--margin`) shows where the model is unsure; it does not show every error."
    yield ""


def _use(manifest: Manifest) -> Iterator[str]:
    asked = ", ".join(manifest.structures[:2])
    yield "## Use"
    yield ""
    yield "```sh"
    yield f'cfsegmenter segment scan.nii.gz --model <this folder> --targets "{asked}" --out results'
    yield "```"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: Any) -> str:
    """A value that cannot break a table: of one line, without bars."""
    return " ".join(str(value).split()).replace("|", "\\|")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _times(numbers: Sequence[float], digits: int = 3) -> str:
    return " x ".join(f"{round(n, digits):g}" for n in numbers)


def _modality(name: str) -> str:
    return name.upper()


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items()) or "default options"


def _intensity(protocol: Protocol) -> str:
    rule = protocol.intensity
    if isinstance(rule, WindowRule):
        return f"window {rule.low:g} to {rule.high:g}"
    return "zero mean and unit deviation of the foreground"


def _splits(splits: Mapping[str, str] | str) -> str:
    if isinstance(splits, str):
        return splits
    names = dict.fromkeys(splits.values())
    if len(names) == 1:
        return next(iter(names))
    return ", ".join(f"{split} ({', '.join(s for s, of in splits.items() if of == split)})" for split in names)


def _dice(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mm(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
