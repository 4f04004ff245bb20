"""Settings of a training: every decision that changes the result, in one readable file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError
from .intensity import IntensityRule
from .parsing import first_complaint

Length = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SourceSettings(_Settings):
    """What the case list of a source does not say: the grid and window it is trained on, and what it may contain.

    Attributes:
        protocol: name of the protocol; None takes the source's name.
        spacing: of the model's grid in mm along R, A, S; None takes the median of the training scans.
        patch: voxels along R, A, S; None fits the scans within `TrainingSettings.patch_voxels`.
        intensity: None takes the modality's default rule.
        share: how often this source's structures are drawn, relative to the other sources.
        mirror: left and right may be exchanged (and with them the names of twins) without harm to anatomy. Cases
            whose annotation would not be true of a mirror image are left as they are.
        organ_contrast: how far illness or a contrast agent may change the brightness of one organ by itself: in half of
            the patches each annotated structure is shifted by a normal deviate of this deviation, in units of the
            normalized image.
        signal_loss: probability of a patch in which some of the annotated organs have lost most of their signal.
        field_of_view: regions of the vocabulary that its images can contain. A known structure of any other
            region is taken as annotated and absent. None leaves every structure possible.
    """

    protocol: str | None = None
    spacing: tuple[Length, Length, Length] | None = None
    patch: tuple[Side, Side, Side] | None = None
    intensity: IntensityRule | None = None
    share: float = Field(default=1.0, gt=0)
    mirror: bool = False
    organ_contrast: float = Field(default=0.0, ge=0)
    signal_loss: Probability = 0.0
    field_of_view: tuple[str, ...] | None = None


class BackboneSettings(_Settings):
    """The network: a name in `network.BACKBONES`, its width of features, and its own options."""

    name: str = "dynunet"
    features: int = Field(default=32, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)


class LossSettings(_Settings):
    """Weights and exponents of the first stage; every one is a choice that can be ablated.

    The defaults are those of the shipped model. With the published weights of the entropy, 1 and 3, sources of few
    structures taught nothing (see CONTRIBUTING).

    Attributes:
        temperature: tau of the softmax over cosines.
        gamma: exponent of the focal weight; 0 gives cross-entropy.
        balance: how much the focal term favours what is rare in a patch: a structure (or the label 0) of n voxels
            weighs n^(1 - balance). 0 is the plain mean over voxels, 1 the mean over structures.
        hidden: probability that label 0 hides an unannotated structure, relative to the background. 1 leaves it
            open which of them a voxel is; less prefers the background where nothing else is known.
        dice: weight of the Dice term.
        entropy: weight of the entropy of q where the patch has annotations.
        entropy_unannotated: the same for a patch whose source annotates nothing.
    """

    temperature: float = Field(default=0.1, gt=0)
    gamma: float = Field(default=2.0, ge=0)
    balance: float = Field(default=0.5, ge=0, le=1)
    hidden: float = Field(default=0.5, gt=0, le=1)
    dice: float = Field(default=1.0, ge=0)
    entropy: float = Field(default=0.1, ge=0)
    entropy_unannotated: float = Field(default=3.0, ge=0)


class DistillationSettings(_Settings):
    """What keeps a student near its teacher; every one is a choice that can be ablated.

    Attributes:
        answers: weight of the divergence from the teacher's answers, background-aware.
        features: weight of 1 - cosine between the student's and the teacher's embeddings.
        background_aware: match the teacher's background to the student's background and new structures together;
            without it, new structures are forbidden wherever the teacher sees background.
        similarity_weighted: a voxel counts as much as the teacher's similarity to what it sees there.
        pseudo_labels: where the teacher is sure, its answer is learned like an annotation.
        confidence, margin: how sure: least probability of the teacher's answer, and least lead in similarity.
    """

    answers: float = Field(default=10.0, ge=0)
    features: float = Field(default=1.0, ge=0)
    background_aware: bool = True
    similarity_weighted: bool = False
    pseudo_labels: bool = False
    confidence: float = Field(default=0.9, ge=0, le=1)
    margin: float = Field(default=0.2, ge=0, le=2)


class AugmentationSettings(_Settings):
    """Strength of the augmentation: each probability is of one patch, each range symmetric about no change.

    Attributes:
        spatial: probability of a rotation and scaling.
        rotation: largest angle about each axis, in degrees.
        scale: largest relative change of size.
        noise, blur, low_resolution, gamma, intensity: probabilities.
        centered: share of patches that are centred on a voxel of the drawn structure; the others lie anywhere.
    """

    spatial: Probability = 0.5
    rotation: float = Field(default=15.0, ge=0, le=180)
    scale: float = Field(default=0.2, ge=0, lt=1)
    noise: Probability = 0.15
    blur: Probability = 0.1
    low_resolution: Probability = 0.1
    gamma: Probability = 0.3
    intensity: Probability = 0.5
    centered: Probability = 0.85


class TrainingSettings(_Settings):
    """All settings of a training, of the first stage or of an update.

    Attributes:
        sources: by source name; a source that is not listed gets the defaults.
        iterations: optimizer steps.
        patches_per_step: annotated patches of a step, shared among all processes.
        patch_voxels: size of an automatically chosen patch.
        learning_rate, weight_decay, warmup: of AdamW; the rate rises over `warmup` steps, a tenth of
            the steps or of the time budget at most, and falls as a cosine.
        average: decay of the running average of the weights, which is what is validated and saved.
        distillation: of an update; a first stage has no teacher and does not look at it.
        unannotated: patches from images without any annotation, where there are such, for each of `patches_per_step`.
        aim: of an update; give new structures a head start (see `aiming`).
        budget_seconds: end when so much time has been trained, even before the last iteration, and let the learning
            rate fall accordingly; None leaves it to `iterations`.
        dimension: D, the width of the prototypes.
        seed: of everything that is drawn.
        validate_every: steps between validations; `validation_cases` per source are segmented each time.
        checkpoint_minutes: time between checkpoints.
        precision: "auto" measures nothing and asks the hardware; or "32-true", "bf16-mixed".
        compile: have torch compile the backbone (needs a C++ compiler; a minute a patch shape).
    """

    sources: dict[str, SourceSettings] = Field(default_factory=dict)
    backbone: BackboneSettings = BackboneSettings()
    loss: LossSettings = LossSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    distillation: DistillationSettings = DistillationSettings()
    unannotated: float = Field(default=1.0, ge=0)
    aim: bool = True
    iterations: int = Field(default=10_000, ge=1)
    budget_seconds: float | None = Field(default=None, gt=0)
    patches_per_step: int = Field(default=2, ge=1)
    patch_voxels: int = Field(default=150_000, ge=4096)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: int = Field(default=100, ge=0)
    average: float = Field(default=0.999, ge=0, lt=1)
    dimension: int = Field(default=512, ge=2)
    seed: int = Field(default=0, ge=0)
    validate_every: int = Field(default=1000, ge=1)
    validation_cases: int = Field(default=3, ge=0)
    checkpoint_minutes: float = Field(default=3.0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    compile: bool = False


OF_AN_UPDATE = frozenset({"distillation", "aim"})
"""The settings in `TrainingSettings` that a first stage does not look at."""


class UpdateSettings(_Settings):
    """All settings of an update: how long it may take, and what is not asked of a first training.

    Attributes:
        budget_seconds: of the whole update. Half of it is trained at least, so where many cases have to be prepared
            it takes longer; a quarter goes into scoring the cases kept aside, and as much into scoring them with the
            old model, and of more cases not all are scored. None leaves it to `iterations`.
        iterations: optimizer steps at most.
        sources: as in `TrainingSettings`, for sources of a kind of scan that the model does not read yet.
        learning_rate: None takes two thirds of the rate that the model was first trained at, which suits its network.
        loss: for what is newly annotated; its temperature is the model's.
        unannotated: patches from images without annotation, where there are such, for each of `patches_per_step`.
        aim: give new structures a head start (see `aiming`).
        margin: points of Dice that an old structure may lose before accepting asks twice.
        least_agreement: Dice between the old and the new answer below which an old structure that no validation case
            shows counts as fallen.
        images_compared: images, at most, on which old and new answers are compared, of each kind.
    """

    budget_seconds: float | None = Field(default=600.0, gt=0)
    iterations: int = Field(default=100_000, ge=1)
    patches_per_step: int = Field(default=2, ge=1)
    patch_voxels: int = Field(default=150_000, ge=4096)
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup: int = Field(default=20, ge=0)
    average: float = Field(default=0.99, ge=0, lt=1)
    sources: dict[str, SourceSettings] = Field(default_factory=dict)
    loss: LossSettings = LossSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    distillation: DistillationSettings = DistillationSettings()
    unannotated: float = Field(default=1.0, ge=0)
    aim: bool = True
    margin: float = Field(default=2.0, ge=0)
    least_agreement: float = Field(default=0.8, ge=0, le=1)
    images_compared: int = Field(default=12, ge=1)
    seed: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=1.0, ge=0)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    compile: bool = False

    def training(
        self, backbone: BackboneSettings, dimension: int, temperature: float, usual_rate: float
    ) -> TrainingSettings:
        """The same as settings of a training of a model's network; nothing is validated on the way.

        Args:
            usual_rate: the learning rate where these settings leave it open.
        """
        shared = self.model_dump(exclude={"margin", "least_agreement", "images_compared"})
        shared["loss"]["temperature"] = temperature
        shared["learning_rate"] = self.learning_rate or usual_rate
        return TrainingSettings.model_validate(
            {**shared, "backbone": backbone, "dimension": dimension, "validation_cases": 0}
        )


Kind = TypeVar("Kind", TrainingSettings, UpdateSettings)


def read_settings(path: str | Path | None, kind: type[Kind] = TrainingSettings) -> Kind:
    """Read settings from a JSON file; None gives the defaults.

    Args:
        kind: of a training, or of an update.

    Raises:
        UserError: the file cannot be read, or a setting in it is unknown or out of range.
    """
    if path is None:
        return kind()
    try:
        return kind.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"The settings {path} cannot be read: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The settings {path} are not valid JSON: {error}.") from error
    except ValidationError as error:
        raise UserError(f"The settings {path} are not as expected {first_complaint(error)}.") from error
