"""Reprompting: text prototypes for a model that was trained with others, without training it again.

A trained network aims its embeddings z = W f (W: D x C) at prototypes p_k, the orthonormal rows of P. Let P' be another
set of as many orthonormal rows. Complete both to orthonormal bases of R^D, Q = [P^T ...] and Q' = [P'^T ...]; then
R = Q' Q^T is orthogonal and takes every p_k to p'_k. With W' = R W

    cos(W' f, p'_k) = (R W f) . (R p_k) / |R W f| = (W f) . p_k / |W f| = cos(W f, p_k),

because a rotation changes neither products nor lengths. So every similarity, every map and every decision stays what
it was, exactly; only the names of the directions become text. What was learned beside the prototypes' span is rotated
along, so that painted examples keep their similarities too; their stored D-wide embeddings do not.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .errors import UserError
from .model import Model, build_network
from .network import load_weights, weights_of
from .prototypes import BACKGROUND, PrototypeBank


def with_text_prototypes(
    model: Model, embeddings: Mapping[str, tuple[np.ndarray, str]], *, encoder: Mapping[str, Any] | None = None
) -> Model:
    """The same model with text prototypes; `model` itself is left as it is.

    Args:
        embeddings: structure, or "background" -> (D,) text vector and its prompt. A structure without one gets a
            code direction.
        encoder: what made the vectors, recorded in the manifest under `training`.

    Returns:
        A model with the same similarities, whose manifest names `model`'s version as parent.

    Raises:
        UserError: there is no embedding, one is of a structure that the model does not know, or one cannot be used.
    """
    if not embeddings:
        raise UserError("There is no text embedding, so no prototype would change; embed at least one name.")
    unknown = [name for name in embeddings if name not in model.bank]
    if unknown:
        raise UserError(f"The model '{model.manifest.name}' has no structure '{unknown[0]}' to give a text prototype.")
    given = {" ".join(name.casefold().split()): said for name, said in embeddings.items()}
    vector, prompt = given.get(BACKGROUND, (None, None))
    bank = PrototypeBank.start(model.bank.dimension, model.bank.seed, vector, prompt)
    for name in model.bank.names[1:]:
        bank = bank.append(name, *given.get(" ".join(name.casefold().split()), (None, None)))
    network = build_network(model.manifest)
    weights = dict(weights_of(model.network))
    projection = weights["projection"].detach().cpu().double().numpy()
    turned = rotation_between(model.bank.matrix, bank.matrix) @ projection
    weights["projection"] = torch.from_numpy(turned).to(weights["projection"].dtype)
    load_weights(network, weights)
    manifest = model.manifest.model_copy(
        update={
            "version": next_version(model.manifest.version),
            "parent": model.manifest.version,
            "created": datetime.date.today().isoformat(),
            "prototypes": tuple(bank.to_dict()["entries"]),
            "training": {**model.manifest.training, **({"text": dict(encoder)} if encoder else {})},
            "weights_sha256": "",
        }
    )
    return Model(network.eval(), bank, manifest)


def rotation_between(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The orthogonal (D, D) float64 matrix R with R old_k = new_k.

    Args:
        old, new: (K, D) orthonormal rows.
    """
    return _completed(new) @ _completed(old).T


def _completed(rows: np.ndarray) -> np.ndarray:
    """(D, D) orthonormal columns, of which the first K are the given rows."""
    basis, _ = np.linalg.qr(np.asarray(rows, dtype=np.float64).T, mode="complete")
    # QR gives the rows themselves up to their sign, and only the sign.
    basis[:, : len(rows)] = rows.T
    return basis


def next_version(version: str) -> str:
    """The version after this one: its last number counted up, or a second number."""
    last = re.search(r"(\d+)$", version)
    return f"{version[: last.start()]}{int(last[1]) + 1}" if last else f"{version}.2"
