"""The first stage: one network, trained on all sources at once, each annotating only some structures."""

from __future__ import annotations

import copy
import csv
import datetime
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from . import __version__
from .cases import Case, CaseList, structures_of
from .checkpoint import TrainingState, load_checkpoint, read_record, save_checkpoint
from .errors import Cancelled, UserError
from .evaluation import evaluate_cases, summarize
from .losses import Annotation, LossTerms, first_stage_loss
from .model import Manifest, Model, SourceRecord, save_model
from .model_card import write_card
from .network import PrototypeNetwork
from .patches import Patch, PatchSequence
from .planning import plan_protocols
from .precision import choose_precision, keep_freed_memory
from .prepared import CaseCache
from .progress import Progress, advance, silent
from .protocols import Protocol
from .prototypes import PrototypeBank
from .segmenter import Segmenter
from .settings import TrainingSettings
from .structures import Vocabulary

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainingPlan:
    """A TrainingPlan holds all that is decided before the first step.

    Attributes:
        lists: the sources.
        settings: as given.
        bank: prototypes of the background and of every structure.
        protocols: by source.
        name, licence: of the model.
    """

    lists: tuple[CaseList, ...]
    settings: TrainingSettings
    bank: PrototypeBank
    protocols: dict[str, Protocol]
    name: str
    licence: str


def plan_training(
    lists: Sequence[CaseList],
    settings: TrainingSettings,
    *,
    name: str = "model",
    licence: str = "not stated",
    embeddings: dict[str, tuple[np.ndarray, str]] | None = None,
) -> TrainingPlan:
    """Decide prototypes and protocols.

    Args:
        embeddings: structure -> (text vector, prompt); a structure without one gets a code direction.

    Raises:
        UserError: the case lists and settings do not fit each other, or there are more structures than dimensions.
    """
    bank = PrototypeBank.start(settings.dimension, settings.seed)
    for structure in structures_of(lists):
        vector, prompt = (embeddings or {}).get(structure, (None, None))
        bank = bank.append(structure, vector, prompt)
    backbone = settings.backbone
    stride = PrototypeNetwork(backbone.name, backbone.features, settings.dimension, **backbone.options).stride
    protocols = plan_protocols(lists, settings, stride)
    return TrainingPlan(tuple(lists), settings, bank, protocols, name, licence)


class Trainer:
    """A Trainer trains one network from a plan, in a folder that it can be resumed from.

    The folder holds `checkpoint.safetensors`, `log.csv`, `validation.csv`, the prepared cases in `cache`, and the
    model folders `best` and `last`. Under torchrun every process runs the same Trainer and takes its share of each
    step's patches.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        folder: str | Path,
        *,
        device: str = "auto",
        command: str = "",
        vocabulary: Vocabulary | None = None,
        progress: Progress = silent,
    ):
        """
        Args:
            command: recorded in the model.

        Raises:
            UserError: a case or the device cannot be used.
            Cancelled: as `progress` asked while cases were prepared.
        """
        keep_freed_memory()
        self.plan = plan
        self.folder = Path(folder)
        self.command = command
        self.vocabulary = vocabulary or Vocabulary.load()
        self.fabric = _launch(device, plan.settings.precision)
        settings = plan.settings
        if settings.patches_per_step % self.fabric.world_size:
            raise UserError(
                f"{settings.patches_per_step} patches a step cannot be shared among {self.fabric.world_size} "
                "processes; set patches_per_step to a multiple of their number."
            )
        self.cases = tuple(case for each in plan.lists for case in each.of("training"))
        self.patches = self._patches(progress)
        self.annotations = self._annotations()
        self.state, self.network = self._state()
        self.step, self.best, self.seconds = 0, -math.inf, 0.0
        self._resume()

    def train(self, progress: Progress = silent) -> Manifest:
        """Train to the last iteration and write the models.

        Raises:
            Cancelled: as `progress` asked, after a checkpoint was written.
        """
        settings = self.plan.settings
        loader = iter(self._loader())
        log = _Log(self.folder, self.step) if self.fabric.is_global_zero else None
        started, saved = time.monotonic(), time.monotonic()
        before = self.seconds
        first = self.step
        try:
            while self.step < settings.iterations:
                terms = self.take_step([next(loader) for _ in range(self._patches_here)])
                self.step += 1
                self.seconds = before + time.monotonic() - started
                if log:
                    log.step(self.step, terms, self._rate(self.step), self.seconds)
                    left = (time.monotonic() - started) / (self.step - first) * (settings.iterations - self.step)
                    message = f"loss {log.average:.3f}, {_duration(left)} left"
                    advance(progress, self.step, settings.iterations, message)
                last = self.step == settings.iterations
                if last or self.step % settings.validate_every == 0:
                    self._validate(log)
                if last or time.monotonic() - saved > 60 * settings.checkpoint_minutes:
                    self._checkpoint()
                    saved = time.monotonic()
        except (Cancelled, KeyboardInterrupt):
            self._checkpoint()
            raise
        finally:
            if log:
                log.close()
        return self._save("last")

    def take_step(self, patches: Sequence[Patch]) -> LossTerms:
        """One optimizer step on this process's patches; the gradient is the mean over all processes' patches."""
        optimizer = self.state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = self._rate(self.step)
        mean = None
        for number, patch in enumerate(patches):
            last = number == len(patches) - 1
            with self.fabric.no_backward_sync(self.network, enabled=not last):
                terms = self.loss(patch)
                self.fabric.backward(terms.total / len(patches))
            mean = terms.detached() if mean is None else mean.plus(terms)
        self.fabric.clip_gradients(self.network, optimizer, max_norm=12.0)
        optimizer.step()
        optimizer.zero_grad()
        self._average()
        return mean.over(len(patches))

    def loss(self, patch: Patch) -> LossTerms:
        """The first stage's loss of one patch."""
        device = self.fabric.device
        image = patch.image[None].to(device).contiguous(memory_format=torch.channels_last_3d)
        features = self.network(image)[0]
        similarities = self.state.network.cosine().similarities(features.flatten(0, 2), self._prototypes)
        annotation = self.annotations[self.cases[patch.case].source, self.cases[patch.case].annotated]
        return first_stage_loss(similarities, patch.labels.flatten().to(device), annotation, self.plan.settings.loss)

    @property
    def _patches_here(self) -> int:
        return self.plan.settings.patches_per_step // self.fabric.world_size

    def _patches(self, progress: Progress) -> PatchSequence:
        plan = self.plan
        protocols = [plan.protocols[case.source] for case in self.cases]
        cache = CaseCache(self.folder / "cache", plan.bank.names)
        # One process prepares, so that no two write the same files; the others then find them ready.
        if self.fabric.is_global_zero:
            cache.prepare(self.cases, protocols, progress)
        self.fabric.barrier()
        prepared = cache.prepare(self.cases, protocols)
        return PatchSequence(self.cases, prepared, protocols, plan.bank.names, plan.settings, self.vocabulary)

    def _annotations(self) -> dict[tuple[str, tuple[str, ...]], Annotation]:
        """By source and what is annotated, which may differ from case to case."""
        return {
            (case.source, case.annotated): self._annotation(case).to(self.fabric.device)
            for case in {(c.source, c.annotated): c for c in self.cases}.values()
        }

    def _annotation(self, case: Case) -> Annotation:
        source = self.plan.settings.sources.get(case.source)
        absent = []
        if source is not None and source.field_of_view is not None:
            for name in self.plan.bank.names[1:]:
                known = self.vocabulary.get(name)
                listed = any(name in each.structures for each in self.plan.lists if each.source == case.source)
                if known is not None and not listed and known.region not in source.field_of_view:
                    absent.append(name)
        return Annotation.of(self.plan.bank.names, case.annotated, absent, self.vocabulary)

    def _state(self) -> tuple[TrainingState, Any]:
        settings = self.plan.settings
        torch.manual_seed(settings.seed)
        backbone = settings.backbone
        network = PrototypeNetwork(backbone.name, backbone.features, settings.dimension, **backbone.options)
        prototypes = torch.from_numpy(np.array(self.plan.bank.matrix, dtype=np.float32))
        network.aim_at(prototypes)
        network = network.to(self.fabric.device, memory_format=torch.channels_last_3d)
        self._prototypes = prototypes.to(self.fabric.device)
        averaged = copy.deepcopy(network).eval()
        if settings.compile:
            torch._dynamo.config.recompile_limit = 64
            network.backbone.compile(dynamic=False)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        wrapped, optimizer = self.fabric.setup(network, optimizer)
        return TrainingState(network, averaged, optimizer), wrapped

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        record = read_record(path)
        if record["settings"] != self._fingerprint():
            raise UserError(
                f"The folder {self.folder} holds a training with other settings, sources or structures; "
                "resume it with those, or train in a new folder."
            )
        load_checkpoint(path, self.state)
        self.step, self.best, self.seconds = record["step"], record["best"], record["seconds"]

    def _fingerprint(self) -> dict[str, Any]:
        """What must be the same for a training to be resumed."""
        return {
            "training": self.plan.settings.model_dump(mode="json", exclude=_FREE_TO_CHANGE),
            "sources": [[each.source, len(each.of("training")), list(each.structures)] for each in self.plan.lists],
        }

    def _loader(self) -> DataLoader:
        """This process's patches, from the present step on, made ahead in another process."""
        settings = self.plan.settings
        world, rank = self.fabric.world_size, self.fabric.global_rank
        whole = settings.patches_per_step
        numbers = range(self.step * whole + rank, settings.iterations * whole, world)
        return DataLoader(
            self.patches,
            sampler=numbers,
            batch_size=None,
            num_workers=1,
            prefetch_factor=2 * self._patches_here + 2,
            worker_init_fn=_be_a_single_thread,
        )

    def _rate(self, step: int) -> float:
        """The learning rate: a linear rise, then half a cosine down to a hundredth."""
        settings = self.plan.settings
        if step < settings.warmup:
            return settings.learning_rate * (step + 1) / settings.warmup
        along = (step - settings.warmup) / max(1, settings.iterations - settings.warmup)
        return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))

    @torch.no_grad()
    def _average(self) -> None:
        """Follow the weights with their running average; early on it follows faster, so it never lags behind noise."""
        decay = min(self.plan.settings.average, (1 + self.step) / (10 + self.step))
        kept, new = list(self.state.averaged.parameters()), list(self.state.network.parameters())
        torch._foreach_lerp_(kept, new, 1 - decay)

    def _validate(self, log: _Log | None) -> None:
        settings = self.plan.settings
        if not log or not settings.validation_cases:
            return
        cases = [case for each in self.plan.lists for case in each.of("validation")[: settings.validation_cases]]
        if not cases:
            return
        segmenter = Segmenter(self._model(), device=self.fabric.device.type, vocabulary=self.vocabulary)
        summary = summarize(evaluate_cases(segmenter, cases, distances=False))
        log.validation(self.step, summary)
        score = float(np.mean([row["dice"] for row in summary["sources"].values()]))
        if score > self.best:
            self.best = score
            self._save("best")

    def _model(self) -> Model:
        return Model(copy.deepcopy(self.state.averaged).eval(), self.plan.bank, self._manifest())

    def _manifest(self) -> Manifest:
        plan = self.plan
        record = plan.bank.to_dict()
        return Manifest(
            name=plan.name,
            version="1",
            created=datetime.date.today().isoformat(),
            licence=plan.licence,
            prototypes=tuple(record["entries"]),
            prototype_seed=plan.settings.seed,
            backbone=plan.settings.backbone,
            dimension=plan.settings.dimension,
            temperature=plan.settings.loss.temperature,
            protocols=tuple(dict.fromkeys(plan.protocols.values())),
            sources=tuple(
                SourceRecord(
                    name=each.source,
                    modality=each.modality,
                    licence=each.licence,
                    structures=each.structures,
                    training_cases=len(each.of("training")),
                    validation_cases=len(each.of("validation")),
                )
                for each in plan.lists
            ),
            training={
                "command": self.command,
                "settings": plan.settings.model_dump(mode="json"),
                "iterations_done": self.step,
                "hours": round(self.seconds / 3600, 2),
                "processes": self.fabric.world_size,
                "precision": self.fabric_precision,
                "versions": {
                    "cfsegmenter": __version__,
                    "torch": torch.__version__,
                    "python": ".".join(map(str, sys.version_info[:3])),
                },
            },
        )

    @property
    def fabric_precision(self) -> str:
        """The precision that was chosen."""
        return str(self.fabric._precision.precision)

    def _save(self, name: str) -> Manifest:
        model = self._model()
        if not self.fabric.is_global_zero:
            return model.manifest
        return save_model(model, self.folder / name, write_card(model.manifest))

    def _checkpoint(self) -> None:
        if self.fabric.is_global_zero:
            record = {"step": self.step, "best": self.best, "seconds": self.seconds, "settings": self._fingerprint()}
            save_checkpoint(self.folder / CHECKPOINT, self.state, record)
            self._save("last")


_FREE_TO_CHANGE = {"validate_every", "validation_cases", "checkpoint_minutes", "compile", "precision"}


@dataclass
class _Log:
    """Writes losses and validations as CSV, and for TensorBoard where it is installed."""

    folder: Path
    resumed_at: int
    average: float = field(default=math.nan, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        columns = ("step", "loss", "focal", "dice", "entropy", "learning_rate", "seconds")
        self._steps = _table(self.folder / "log.csv", columns, self.resumed_at)
        self._validations = _table(self.folder / "validation.csv", ("step", "source", "structure", "dice"), self.resumed_at)
        try:
            from torch.utils.tensorboard import SummaryWriter

            self._board: Any = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.resumed_at)
        except ImportError:
            self._board = None

    def step(self, step: int, terms: LossTerms, rate: float, seconds: float) -> None:
        values = {
            "loss": float(terms.total),
            "focal": float(terms.focal),
            "dice": float(terms.dice),
            "entropy": float(terms.entropy),
        }
        self.average = values["loss"] if math.isnan(self.average) else 0.98 * self.average + 0.02 * values["loss"]
        numbers = [f"{v:.5g}" for v in (*values.values(), rate)]
        self._steps.row([step, *numbers, f"{seconds:.1f}"])
        if self._board and step % 10 == 0:
            for name, value in values.items():
                self._board.add_scalar(f"training/{name}", value, step)

    def validation(self, step: int, summary: dict[str, Any]) -> None:
        for row in summary["structures"]:
            self._validations.row([step, row["source"], row["structure"], f"{row['dice']:.4f}"])
        for source, row in summary["sources"].items():
            self._validations.row([step, source, "mean", f"{row['dice']:.4f}"])
            if self._board:
                self._board.add_scalar(f"validation/{source}", row["dice"], step)

    def close(self) -> None:
        self._steps.close()
        self._validations.close()
        if self._board:
            self._board.close()


class _table:  # noqa: N801 - used as a function
    """A CSV file that goes on after a resume: rows from steps that will be done again are dropped."""

    def __init__(self, path: Path, columns: Sequence[str], resumed_at: int):
        kept: list[list[str]] = []
        if path.exists() and resumed_at:
            with open(path, newline="", encoding="utf-8") as file:
                kept = [row for row in list(csv.reader(file))[1:] if row and int(row[0]) <= resumed_at]
        self._file = open(path, "w", newline="", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close()
        self._writer = csv.writer(self._file)
        self._writer.writerow(columns)
        self._writer.writerows(kept)

    def row(self, values: Sequence[Any]) -> None:
        self._writer.writerow(values)

    def close(self) -> None:
        self._file.close()


def _launch(device: str, precision: str):
    """Lightning Fabric, on the processes that torchrun started, or on this one alone."""
    from lightning_fabric import Fabric

    from .precision import choose_device

    chosen = choose_device(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator="cuda" if chosen.type == "cuda" else "cpu",
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=choose_precision(chosen) if precision == "auto" else precision,
    )
    fabric.launch()
    return fabric


def _be_a_single_thread(worker: int) -> None:
    """A patch is small; threads would only take the cores from the network."""
    torch.set_num_threads(1)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"

