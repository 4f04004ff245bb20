"""Ablations: ours with one decision taken otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from CFSegmenterLib.planning import TrainingPlan
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.settings import TrainingSettings

from .method import Method, Texts
from .no_background import ThresholdNetwork
from .versatile import VersatileNetwork


class OtherLoss(Method):
    """Ours with another weight, exponent or temperature in the loss."""

    def __init__(self, name: str, title: str, **changes: Any):
        self.name, self.title, self.changes = name, title, changes

    def settings(self, settings: TrainingSettings) -> TrainingSettings:
        """The same with the change."""
        return settings.model_copy(update={"loss": settings.loss.model_copy(update=self.changes)})


class OtherWidth(Method):
    """Ours with another width C of a voxel's feature."""

    def __init__(self, features: int):
        self.name, self.title, self.width = f"width-{features}", f"C = {features}", features

    def settings(self, settings: TrainingSettings) -> TrainingSettings:
        """The same with the change."""
        return settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"features": self.width})})


class TextPrototypes(OtherLoss):
    """Ours with prototypes made of CLIP text embeddings, where a structure has one."""

    def __init__(
        self, name: str, title: str, *, orthogonalize: bool = True, backwards: bool = False, temperature: float = 0.1
    ):
        super().__init__(name, title, temperature=temperature)
        self.orthogonalize, self.backwards = orthogonalize, backwards

    def plan(self, plan: TrainingPlan, texts: Texts) -> TrainingPlan:
        """The same with other prototypes."""
        bank = PrototypeBank.start(plan.settings.dimension, plan.settings.seed, orthogonalize=self.orthogonalize)
        names = plan.bank.names[1:]
        for name in reversed(names) if self.backwards else names:
            bank = bank.append(name, texts.get(name), f"A computerized tomography of a {name}")
        return replace(plan, bank=bank)


class NoBackground(Method):
    """Ours without a prototype of the background: what resembles no structure by half is background."""

    name = "no-background"
    title = "no background prototype, threshold 0.5"

    def network(self, plan: TrainingPlan, prototypes: Tensor, texts: Texts) -> ThresholdNetwork:
        """A network whose background is a threshold."""
        backbone = plan.settings.backbone
        network = ThresholdNetwork(backbone.name, backbone.features, plan.settings.dimension, **backbone.options)
        network.aim_at(prototypes)
        return network


class ClassifierWithOurLoss(Method):
    """A softmax head in place of the prototypes, and otherwise ours: what the head alone is worth."""

    name = "classifier-our-loss"
    title = "softmax head, our loss"

    def network(self, plan: TrainingPlan, prototypes: Tensor, texts: Texts) -> VersatileNetwork:
        """The backbone with a softmax head, trained with our weights."""
        return VersatileNetwork(plan, plan.settings.loss.model_copy(update={"temperature": 1.0}))


LOSSES = (
    ClassifierWithOurLoss(),
    OtherLoss("entropy-0", "no entropy term", entropy=0.0),
    OtherLoss("entropy-1", "entropy weight 1", entropy=1.0),
    OtherLoss("gamma-0", "no focal weight (gamma 0)", gamma=0.0),
    NoBackground(),
    OtherLoss("tau-0.05", "tau = 0.05", temperature=0.05),
    OtherLoss("tau-0.2", "tau = 0.2", temperature=0.2),
    OtherLoss("tau-1", "tau = 1", temperature=1.0),
    OtherLoss("balance-0", "balance 0", balance=0.0),
    OtherLoss("hidden-1", "hidden 1", hidden=1.0),
    OtherWidth(8),
    OtherWidth(16),
    OtherWidth(64),
)

PROTOTYPES = (
    TextPrototypes("text", "CLIP, Gram-Schmidt"),
    TextPrototypes("text-backwards", "CLIP, Gram-Schmidt in reverse order", backwards=True),
    TextPrototypes("raw-0.1", "CLIP raw, tau = 0.1", orthogonalize=False),
    TextPrototypes("raw-0.03", "CLIP raw, tau = 0.03", orthogonalize=False, temperature=0.03),
    TextPrototypes("raw-0.01", "CLIP raw, tau = 0.01", orthogonalize=False, temperature=0.01),
)

ABLATIONS: tuple[Method, ...] = (*LOSSES, *PROTOTYPES)
