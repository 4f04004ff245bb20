"""The Segmenter: a model made ready on a device, which encodes volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import torch

from .encoding import Encoding, allocator
from .errors import UserError
from .grid import ModelGrid
from .memory import a_card_ran_out_of_memory, memory_for
from .model import Model, load_model
from .precision import choose_device, choose_precision, keep_freed_memory, layout
from .progress import Progress, silent
from .protocols import Protocol, choose_protocol
from .repertoire import Repertoire
from .structures import Vocabulary
from .volume import Volume, check_volume
from .windows import OVERLAP, unit_features


class Segmenter:
    """A Segmenter encodes volumes with one model.

    segmenter = Segmenter.load("Resources/Models/general")
    encoding = segmenter.encode(read_volume("scan.nii.gz"))
    encoding.segment(["liver", "left kidney"]).mask("liver")
    encoding.similarity("spleen")
    """

    def __init__(
        self, model: Model, device: str = "auto", precision: str | None = None, vocabulary: Vocabulary | None = None
    ):
        """
        Args:
            device: "auto", "cpu" or "cuda".
            precision: "32-true" or "bf16-mixed"; None asks the hardware.
            vocabulary: None takes the packaged one; what it does not know, the model's own record tells.

        Raises:
            UserError: the device cannot be used.
        """
        self.device = choose_device(device)
        self._may_be_any_device = device == "auto"
        self.precision = precision or choose_precision(self.device)
        self.vocabulary = (vocabulary or Vocabulary.load()).knowing(model.manifest.own_structures)
        network = model.network.eval().to(self.device, memory_format=layout(self.device))
        self.model = Model(network, model.bank, model.manifest)
        self.repertoire = Repertoire(model.manifest.structures, self.vocabulary, model.manifest.name)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Segmenter:
        """Load a model folder.

        Raises:
            UserError: the folder is not a sound model, or the device cannot be used.
        """
        keep_freed_memory()
        return cls(load_model(folder), device)

    def encode(
        self,
        volume: Volume,
        *,
        protocol: str | None = None,
        overlap: float = OVERLAP,
        memory_limit: int | None = None,
        progress: Progress = silent,
    ) -> Encoding:
        """Pass a volume through the network, once.

        Args:
            volume: any orientation and spacing.
            protocol: name of the protocol to read it with; None chooses the nearest.
            overlap: share of a window that its neighbour covers too, 0 up to but not 1.
            memory_limit: bytes of features kept in memory, a memory-mapped file beyond; None takes half of what is
                free.

        Raises:
            UserError: the volume cannot be segmented by this model, or there is too little memory for it.
            Cancelled: as `progress` asked.
        """
        if not 0 <= overlap < 1:
            raise UserError(f"The overlap of windows is a share from 0 up to but not 1, not {overlap}; 0.5 is usual.")
        with memory_for("to encode this volume"):
            volume = check_volume(volume)
            chosen = choose_protocol(self.model.manifest.protocols, volume, protocol)
            grid = ModelGrid.fit(volume.shape, volume.affine, chosen.spacing)
            image = grid.to_model(chosen.intensity.apply(volume.array))
            limit = psutil.virtual_memory().available // 2 if memory_limit is None else memory_limit
            features = self._features(image, chosen, overlap, limit, progress)
            return Encoding(self.model, chosen, grid, volume.affine, features, self.vocabulary)

    def _features(
        self, image: np.ndarray, protocol: Protocol, overlap: float, limit: int, progress: Progress
    ) -> np.ndarray:
        """(X, Y, Z, C) unit features; where a graphics card is too small, less of the work is done there."""
        for computing, gathering in self._places:
            try:
                return unit_features(
                    self.model.network.to(computing, memory_format=layout(computing)),
                    image,
                    protocol.patch,
                    precision=self.precision if computing == self.device else choose_precision(computing),
                    overlap=overlap,
                    allocate=allocator(limit),
                    progress=progress,
                    gathering=gathering,
                )
            except RuntimeError as error:
                if self.device.type == "cpu" or not a_card_ran_out_of_memory(error):
                    raise
                # The next try waits until nobody holds the error: it holds all that was at hand when it was raised.
            finally:
                if self.device.type == "cuda":  # other programs, and an update, want the card, too
                    torch.cuda.empty_cache()
        raise UserError(
            f"The device '{self.device}' has too little memory for windows of {protocol.patch} voxels; use the device "
            "'cpu'."
        )

    @property
    def _places(self) -> list[tuple[torch.device, torch.device]]:
        """Where windows are computed and where they are gathered, in the order in which it is tried."""
        processor = torch.device("cpu")
        if self.device == processor:
            return [(processor, processor)]
        places = [(self.device, self.device), (self.device, processor)]
        return [*places, (processor, processor)] if self._may_be_any_device else places
