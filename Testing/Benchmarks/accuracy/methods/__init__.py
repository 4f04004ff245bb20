"""The methods that are compared, one a file, each with the paper that it was written after."""

from .ablations import ABLATIONS
from .clip_driven import ClipDriven
from .dodnet import DoDNet
from .joint import Joint
from .lwf import LearningWithoutForgetting
from .method import Method
from .mib import ModelingTheBackground
from .naive import FineTuning
from .ours import Ours
from .softmax import SoftmaxClassifier
from .versatile import Versatile

INCREMENTAL: dict[str, Method] = {
    each.name: each
    for each in (
        FineTuning(),
        LearningWithoutForgetting(),
        ModelingTheBackground(),
        Ours("ours"),
        Ours("ours-unlabelled", unlabelled=True),
        Joint(),
    )
}
"""Of an incremental scenario, in the order of a table."""

RIVALS: dict[str, Method] = {
    each.name: each for each in (Ours("ours"), SoftmaxClassifier(), DoDNet(), ClipDriven(), Versatile())
}
"""Of a training at once, in the order of a table."""

ALL: dict[str, Method] = {**INCREMENTAL, **RIVALS, **{each.name: each for each in ABLATIONS}}
