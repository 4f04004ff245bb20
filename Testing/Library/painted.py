"""Painted encodings: what a network would find is painted by hand, so that every answer is known beforehand.

The projection's columns are orthonormal and span all prototypes, so a voxel whose feature is W^T p_k has the cosine 1
with structure k and 0 with every other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np
import torch

from CFSegmenterLib.encoding import Encoding
from CFSegmenterLib.grid import ModelGrid
from CFSegmenterLib.intensity import ForegroundZScoreRule
from CFSegmenterLib.model import Manifest, Model, SourceRecord
from CFSegmenterLib.network import PrototypeNetwork
from CFSegmenterLib.protocols import Protocol
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.settings import BackboneSettings

ORGANS = ("liver", "right kidney", "left kidney", "spleen")


def a_protocol(
    name: str = "abdomen", modality: str = "mr-t2", spacing: Sequence[float] = (4.0, 4.0, 4.0), **said
) -> Protocol:
    """A protocol of 16 x 16 x 16 windows."""
    return Protocol(
        **{
            "name": name,
            "modality": modality,
            "spacing": tuple(spacing),
            "patch": (16, 16, 16),
            "intensity": ForegroundZScoreRule(),
            "typical_spacing": tuple(spacing),
            "typical_extent": (100.0, 100.0, 100.0),
            **said,
        }
    )


def a_plain_model(names: Sequence[str] = ORGANS, features: int = 16, dimension: int = 32, **said) -> Model:
    """A model that nobody trained; with more features than prototypes each prototype can be reached exactly.

    Args:
        said: replaces or adds entries of the manifest.
    """
    torch.manual_seed(0)
    bank = PrototypeBank.start(dimension)
    for name in names:
        bank = bank.append(name)
    network = PrototypeNetwork("dynunet", features, dimension, filters=[16, 16, 16]).eval()
    basis = np.linalg.qr(np.hstack([bank.matrix.T, np.random.default_rng(0).normal(size=(dimension, dimension))]))[0]
    with torch.no_grad():
        network.projection.copy_(torch.from_numpy(basis[:, :features]))
    manifest = Manifest(
        **{
            "name": "painted",
            "version": "1",
            "created": "2026-01-01",
            "licence": "CC0",
            "prototypes": tuple(bank.to_dict()["entries"]),
            "prototype_seed": 0,
            "backbone": BackboneSettings(name="dynunet", features=features, options={"filters": [16, 16, 16]}),
            "dimension": dimension,
            "temperature": 0.1,
            "protocols": (a_protocol(),),
            "sources": (
                SourceRecord(
                    name="drawn",
                    modality="mr-t2",
                    licence="CC0",
                    structures=tuple(names),
                    training_cases=3,
                    validation_cases=1,
                ),
            ),
            **said,
        }
    )
    return Model(network, bank, manifest)


def painted_features(model: Model, indices: np.ndarray) -> np.ndarray:
    """(X, Y, Z) indices of prototypes -> (X, Y, Z, C) float16 features that resemble these and nothing else."""
    with torch.no_grad():
        reached = model.bank.matrix @ model.network.projection.double().numpy()
    return reached[indices].astype(np.float16)


def random_features(model: Model, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """(X, Y, Z, C) float16 unit features without any meaning."""
    drawn = np.random.default_rng(seed).normal(size=(*shape, model.network.features))
    with torch.no_grad():
        return model.network.cosine().unit(torch.from_numpy(drawn)).numpy().astype(np.float16)


def painted_encoding(
    model: Model,
    indices: np.ndarray | None,
    volume_shape: Sequence[int],
    affine: np.ndarray,
    spacing: Sequence[float],
    features: np.ndarray | None = None,
) -> Encoding:
    """An encoding of a volume of this grid; `indices` or `features` lie on the model's grid of `spacing`."""
    grid = ModelGrid.fit(tuple(volume_shape), affine, spacing)
    features = painted_features(model, indices) if features is None else features
    assert features.shape[:3] == grid.shape
    return Encoding(model, model.manifest.protocols[0], grid, affine, features)


def rotation(degrees: Sequence[float]) -> np.ndarray:
    """(3, 3) rotation about x, y, z in turn."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def an_affine(
    spacing: Sequence[float],
    order: Sequence[int] = (0, 1, 2),
    signs: Sequence[int] = (1, 1, 1),
    degrees: Sequence[float] = (0, 0, 0),
    origin: Sequence[float] = (0, 0, 0),
) -> np.ndarray:
    """(4, 4) IJK -> RAS: voxel axis n runs along patient axis `order[n]` with the sign `signs[n]`, then all is turned.

    `spacing` is along I, J, K.
    """
    directions = np.zeros((3, 3))
    directions[list(order), range(3)] = signs
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ directions * np.asarray(spacing, dtype=float)
    affine[:3, 3] = origin
    return affine


ORIENTATIONS = tuple((o, s) for o in permutations(range(3)) for s in product((1, -1), repeat=3))
"""All 48 ways in which the axes of a volume can run along the patient's."""


def reoriented(array: np.ndarray, affine: np.ndarray, order: Sequence[int], signs: Sequence[int]):
    """The same voxels at the same places, stored in another order: (array, affine)."""
    flips = tuple(slice(None, None, sign) for sign in signs)
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        to_old[old, new] = sign
        to_old[old, 3] = 0 if sign > 0 else array.shape[old] - 1
    return np.ascontiguousarray(array.transpose(order)[flips]), affine @ to_old


def centers(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """(I, J, K, 3) RAS of every voxel center."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]
