"""Names of structures -> CLIP text embeddings, with open_clip; cached on disk; nothing heavy at import."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import UserError
from .progress import Progress, advance, silent

if TYPE_CHECKING:
    from torch import Tensor, nn

DEFAULT_ARCHITECTURE = "ViT-B-32"

PROMPT_CT = "A computerized tomography of a {}"
"""The prompt of the CLIP-Driven Universal Model."""

PROMPT_NEUTRAL = "A medical image of a {}"
"""For models that see several modalities."""

DEFAULT_PROMPT = PROMPT_CT

_CODE_INSTEAD = "without text embeddings, structures get code directions instead"

# The image tower is never used, so the smallest one that open_clip can build stands in for it.
_SMALLEST_IMAGE_TOWER = {"image_size": 32, "patch_size": 32, "width": 64, "layers": 1}


class TextUnavailable(UserError):  # noqa: N818 - callers answer it with code directions
    """Raised where this machine cannot embed a text: no weights, no consent to a download, no open_clip."""


class TextEncoder:
    """A TextEncoder turns names of structures into CLIP text embeddings.

        encoder = TextEncoder("clip.safetensors", architecture="ViT-B-32-quickgelu", cache_dir=folder)
        embeddings = encoder.encode(["liver", "left kidney"])        # (2, 512) float64, unit rows

    Nothing is loaded, and open_clip is not even imported, before a text is asked for that is not in the
    cache. Each text is embedded by itself, so that its embedding does not depend on its company.

    Weights that OpenAI trained need an architecture ending in `-quickgelu`; a file does not tell, a tag does.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        pretrained: str | None = None,
        architecture: str = DEFAULT_ARCHITECTURE,
        allow_download: bool = False,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Choose a text tower; this reads no weights yet.

        Args:
            weights: a local checkpoint in open_clip's naming: `.safetensors`, or a torch file of plain
                tensors (it is read without unpickling objects). It may hold the text tower only.
            pretrained: instead of a file, one of open_clip's tags, such as `laion2b_s34b_b79k`.
            architecture: open_clip's name of the model.
            allow_download: the user's consent to fetch `pretrained`, and a tokenizer where one is needed,
                from the hub. Without it nothing is ever sent or fetched.
            cache_dir: where embeddings are kept between runs; None keeps none.

        Raises:
            UserError: both weights and a tag are given, or the weights file does not exist.
        """
        if weights is not None and pretrained is not None:
            raise UserError(
                f"Both a weights file and the pretrained tag '{pretrained}' are given for the text encoder; give one."
            )
        self.weights = None if weights is None else Path(weights)
        if self.weights is not None and not self.weights.is_file():
            raise UserError(f"The text encoder's weights file {self.weights} does not exist; check the path.")
        self.pretrained = pretrained
        self.architecture = architecture
        self.allow_download = allow_download
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._weights_id: str | None = None
        self._tower: nn.Module | None = None
        self._tokenize: Callable[[list[str]], Tensor] | None = None

    @property
    def weights_id(self) -> str | None:
        """The weights' name in a manifest: `sha256:...` of the file or `tag:...`; None without weights."""
        if self._weights_id is None:
            if self.weights is not None:
                with _reading(self.weights), self.weights.open("rb") as stream:
                    self._weights_id = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
            elif self.pretrained is not None:
                self._weights_id = f"tag:{self.pretrained}"
        return self._weights_id

    def encode(self, names: Iterable[str], prompt: str = DEFAULT_PROMPT, progress: Progress = silent) -> np.ndarray:
        """Embed names of structures.

        Args:
            names: N names (a single string is one name).
            prompt: the sentence that is embedded, with `{}` in the place of the name.
            progress: called after each name.

        Returns:
            (N, D) float64, rows of length 1; (0, 0) for no names.

        Raises:
            TextUnavailable: a text is not in the cache and this machine cannot embed it.
            UserError: the prompt has no place for a name, or the architecture or the weights cannot be used.
            Cancelled: progress answered False.
        """
        names = _as_list(names)
        rows = []
        for done, name in enumerate(names, start=1):
            row = self.cached(name, prompt)
            if row is None:
                text = prompted(name, prompt)
                row = self._embed(text)
                self._write_cache(text, row)
            rows.append(row)
            advance(progress, done, len(names), f"Embedded the name '{name}'")
        return np.stack(rows) if rows else np.zeros((0, 0))

    def cached(self, name: str, prompt: str = DEFAULT_PROMPT) -> np.ndarray | None:
        """The (D,) unit embedding of a name if the cache holds it, without importing or loading anything."""
        text = prompted(name, prompt)
        path = self._cache_path(text)
        if path is None:
            return None
        # Whatever is wrong with a cache file (a reader of zip files can raise anything), the answer is to
        # embed the text anew and write it over.
        try:
            with np.load(path, allow_pickle=False) as stored:
                row, stored_text = stored["embedding"], str(stored["text"])
        except Exception:
            return None
        is_unit = (
            row.dtype == np.float64 and row.ndim == 1 and np.isfinite(row).all() and abs(float(row @ row) - 1) < 1e-9
        )
        return row if is_unit and stored_text == text else None

    def _cache_path(self, text: str) -> Path | None:
        if self.cache_dir is None or self.weights_id is None:
            return None
        key = json.dumps([self.architecture, self.weights_id, text])
        return self.cache_dir / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"

    def _write_cache(self, text: str, row: np.ndarray) -> None:
        path = self._cache_path(text)
        if path is None:
            return
        # A cache that cannot be written costs time at the next run and nothing else, so it stops nobody.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".partial")
            try:
                with os.fdopen(handle, "wb") as stream:
                    np.savez(stream, embedding=row, text=np.array(text))
                os.replace(partial, path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise

    def _embed(self, text: str) -> np.ndarray:
        if self._tower is None or self._tokenize is None:
            self._tower, self._tokenize = self._load()
        import torch

        with torch.inference_mode():
            row = self._tower(self._tokenize([text]))[0].double().numpy()
        length = np.linalg.norm(row)
        if not np.isfinite(length) or length == 0:
            raise UserError(
                f"The text encoder's weights give no usable embedding of '{text}' (its length is {length}); "
                "the weights are damaged or of another architecture."
            )
        return row / length

    def _load(self) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
        if self.weights_id is None:
            raise TextUnavailable(
                "Text embeddings need CLIP weights and none are given; give a weights file or allow a "
                f"download, or go on: {_CODE_INSTEAD}."
            )
        open_clip = _import_open_clip()
        config = self._config(open_clip)
        weights = self.weights or self._download(open_clip, config)
        tower = _build_text_tower(open_clip, config)
        _fill(tower, _read_tensors(weights), f"{weights.name}", self.architecture)
        with _fetching(f"The tokenizer of '{self.architecture}'"):
            tokenize = open_clip.get_tokenizer(self.architecture)
        return tower, tokenize

    def _config(self, open_clip: Any) -> dict[str, Any]:
        known = open_clip.list_models()
        if self.architecture not in known:
            near = difflib.get_close_matches(self.architecture, known, n=3)
            hint = f"the nearest are {', '.join(near)}" if near else f"one is {DEFAULT_ARCHITECTURE}"
            raise UserError(f"open_clip knows no architecture '{self.architecture}'; {hint}.")
        config = open_clip.get_model_config(self.architecture)
        text = config["text_cfg"]
        # open_clip brings CLIP's own tokenizer along and fetches every other one.
        foreign = text.get("hf_model_name") or text.get("hf_tokenizer_name")
        fetches = foreign or "siglip" in self.architecture.lower()
        if fetches and not self.allow_download:
            raise TextUnavailable(
                f"The architecture '{self.architecture}' fetches its tokenizer from the hub and downloading "
                "is not allowed; allow it or choose one with CLIP's own tokenizer such as "
                f"{DEFAULT_ARCHITECTURE}, or go on: {_CODE_INSTEAD}."
            )
        return config

    def _download(self, open_clip: Any, config: Mapping[str, Any]) -> Path:
        tag = open_clip.get_pretrained_cfg(self.architecture, self.pretrained)
        if not tag:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.architecture)) or "none"
            raise UserError(
                f"open_clip has no weights '{self.pretrained}' for '{self.architecture}'; its tags are: {tags}."
            )
        if tag.get("quick_gelu") and not config.get("quick_gelu"):
            raise UserError(
                f"The weights '{self.pretrained}' were trained with another activation than "
                f"'{self.architecture}' has, so their embeddings would be wrong; use the architecture "
                f"'{self.architecture}-quickgelu'."
            )
        if not self.allow_download:
            raise TextUnavailable(
                f"The CLIP weights '{self.pretrained}' would have to be downloaded and downloading is not "
                f"allowed; allow it or give a weights file, or go on: {_CODE_INSTEAD}."
            )
        with _fetching(f"The CLIP weights '{self.pretrained}'"):
            return Path(open_clip.download_pretrained(tag))


def embed_or_none(
    encoder: TextEncoder | None,
    names: Iterable[str],
    notify: Callable[[str], None],
    prompt: str = DEFAULT_PROMPT,
    progress: Progress = silent,
) -> dict[str, np.ndarray | None]:
    """Embed what can be embedded, so that the bank gives code directions to the rest.

    Args:
        encoder: None where the user has chosen none.
        names: of the structures.
        notify: told once, in one sentence, when a name gets no embedding and why.
        prompt: the sentence that is embedded, with `{}` in the place of the name.
        progress: called after each name.

    Returns:
        name -> (D,) unit embedding, or None for a name that needs a code direction. Texts in the cache
        are found even where no new one can be embedded.

    Raises:
        UserError: what the user gave (prompt, architecture, weights file) is wrong; that is not passed over,
            since a model with code directions in the place of text is an expensive surprise.
        Cancelled: progress answered False.
    """
    names = _as_list(names)
    try:
        return dict(zip(names, (encoder or TextEncoder()).encode(names, prompt, progress), strict=True))
    except TextUnavailable as error:
        notify(str(error))
        return {name: encoder.cached(name, prompt) if encoder else None for name in names}


def prompted(name: str, prompt: str = DEFAULT_PROMPT) -> str:
    """The sentence that is embedded for a name.

    Raises:
        UserError: the name is empty, or the prompt does not have exactly one `{}`.
    """
    if prompt.count("{}") != 1:
        raise UserError(f"The prompt '{prompt}' must have one {{}} in the place of the structure's name.")
    if not name.strip():
        raise UserError("The name of a structure is empty, so there is nothing to embed; give it a name.")
    return prompt.replace("{}", name.strip())


def _as_list(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _import_open_clip() -> Any:
    # Everything is caught, because a torchvision that was built for another torch fails in several ways.
    try:
        import open_clip
    except Exception as error:
        raise TextUnavailable(
            f"Text cannot be embedded because open_clip cannot be imported ({_first_line(error)}); install "
            f"open_clip_torch and a torchvision that matches torch, or go on: {_CODE_INSTEAD}."
        ) from error
    return open_clip


def _build_text_tower(open_clip: Any, config: Mapping[str, Any]) -> nn.Module:
    # CustomTextCLIP keeps the text tower as a module of its own for every architecture; the image tower goes.
    text = {**config["text_cfg"], "hf_model_pretrained": False, "output_tokens": False}
    with _fetching("The text tower") if text.get("hf_model_name") else contextlib.nullcontext():
        model = open_clip.CustomTextCLIP(
            config["embed_dim"], _SMALLEST_IMAGE_TOWER, text, quick_gelu=config.get("quick_gelu", False)
        )
    return model.text.eval().requires_grad_(False)


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint by name; nothing of it is executed."""
    with _reading(path):
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        import torch

        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get("state_dict"), Mapping):
        checkpoint = checkpoint["state_dict"]
    if not isinstance(checkpoint, Mapping):
        raise UserError(
            f"The text encoder's weights file {path.name} holds no named tensors; give an open_clip checkpoint."
        )
    # Checkpoints of a distributed training carry this prefix.
    return {str(name).removeprefix("module."): tensor for name, tensor in checkpoint.items()}


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    from safetensors import safe_open

    # The image tower, half of the file or more, is never read.
    with safe_open(path, framework="pt") as stored:
        names = [name for name in stored.keys() if not name.startswith("visual.")]  # noqa: SIM118
        return {name: stored.get_tensor(name) for name in names}


def _fill(tower: nn.Module, tensors: Mapping[str, Tensor], file: str, architecture: str) -> None:
    """Copy the text tower's tensors out of a checkpoint, where they stand at the top or under `text.`."""
    found, unfit = {}, []
    for name, own in tower.state_dict().items():
        tensor = tensors.get(f"text.{name}", tensors.get(name))
        if getattr(tensor, "shape", None) == own.shape:
            found[name] = tensor
        else:
            unfit.append(name)
    if unfit:
        raise UserError(
            f"The weights file {file} does not hold the text tower of '{architecture}' ({len(unfit)} of "
            f"{len(unfit) + len(found)} tensors are missing or of another shape, {unfit[0]} for one); give "
            "the architecture that the weights were made with, in open_clip's naming."
        )
    tower.load_state_dict(found)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    # What a damaged or foreign file makes a reader raise has no common base class, and torch's own words
    # advise to unpickle it.
    try:
        yield
    except Exception as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise UserError(
            f"The text encoder's weights file {path.name} cannot be read as plain tensors{reason}; give a "
            "complete .safetensors file (files that would have to be unpickled are not loaded)."
        ) from error


@contextlib.contextmanager
def _fetching(what: str) -> Iterator[None]:
    # A missing network, a full disk, a missing transformers package: for the user it is all the same.
    try:
        yield
    except Exception as error:
        raise TextUnavailable(
            f"{what} cannot be loaded ({_first_line(error)}); check the network or give a weights file of "
            f"{DEFAULT_ARCHITECTURE}, or go on: {_CODE_INSTEAD}."
        ) from error


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return line if len(line) <= 160 else line[:157] + "..."
