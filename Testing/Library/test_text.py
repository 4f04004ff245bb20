from __future__ import annotations

import importlib
import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.text import (
    PROMPT_CT,
    PROMPT_NEUTRAL,
    TextEncoder,
    TextUnavailable,
    embed_or_none,
    prompted,
)
from Testing.Library.torchvision_shim import make_open_clip_importable

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
NAMES = ["liver", "left kidney", "right kidney"]


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    make_open_clip_importable()
    module = importlib.import_module("open_clip")
    folder = tmp_path_factory.mktemp("architectures")
    configs = {
        "tiny-clip": TINY,
        "tiny-clip-quickgelu": TINY | {"quick_gelu": True},
        "tiny-clip-wide": TINY | {"embed_dim": 24},
    }
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
        module.add_model_config(folder / f"{name}.json")
    return module


@pytest.fixture(scope="module")
def model(open_clip):
    """A whole CLIP model with random weights, as open_clip itself makes it."""
    import torch

    torch.manual_seed(0)
    return open_clip.create_model("tiny-clip").eval()


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@pytest.fixture
def no_network(monkeypatch):
    """Turns every attempt to reach out into a list entry and an error."""
    attempts = []

    def refuse(*address, **_):
        attempts.append(address)
        raise OSError("the network is off")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return attempts


def an_encoder(weights, **options) -> TextEncoder:
    return TextEncoder(weights, **({"architecture": "tiny-clip"} | options))


def open_clips_own(open_clip, model, texts: list[str]) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return model.encode_text(open_clip.get_tokenizer("tiny-clip")(texts), normalize=True).double().numpy()


def in_a_fresh_python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300)


def test_embeddings_are_those_of_open_clip(open_clip, model, weights):
    rows = an_encoder(weights).encode(NAMES)
    assert rows.shape == (3, 16) and rows.dtype == np.float64
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-12
    expected = open_clips_own(open_clip, model, [PROMPT_CT.format(name) for name in NAMES])
    assert rows == pytest.approx(expected, abs=1e-6)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_the_neutral_prompt_gives_other_embeddings(open_clip, model, weights):
    rows = an_encoder(weights).encode(NAMES, PROMPT_NEUTRAL)
    expected = open_clips_own(open_clip, model, [f"A medical image of a {name}" for name in NAMES])
    assert rows == pytest.approx(expected, abs=1e-6)
    assert np.abs(rows - an_encoder(weights).encode(NAMES)).max() > 1e-3


def test_an_embedding_does_not_depend_on_its_company(weights):
    encoder = an_encoder(weights)
    together = encoder.encode(NAMES)
    for name, row in zip(NAMES, together, strict=True):
        assert encoder.encode([name])[0].tobytes() == row.tobytes()
    assert encoder.encode(NAMES[::-1]).tobytes() == together[::-1].tobytes()


def test_one_string_is_one_name_and_no_names_are_no_rows(weights):
    assert an_encoder(weights).encode("liver").shape == (1, 16)
    assert an_encoder(weights).encode([]).shape == (0, 0)
    assert an_encoder(weights).encode(name for name in NAMES).shape == (3, 16)


@pytest.mark.parametrize("kind", ["text only", "torch", "distributed", "half", "custom text", "custom safetensors"])
def test_every_common_form_of_checkpoint_gives_the_same_embeddings(open_clip, model, weights, tmp_path, kind):
    import torch

    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    text_only = {name: tensor for name, tensor in state.items() if not name.startswith("visual.")}
    custom = {f"text.{name}": tensor for name, tensor in text_only.items() if name != "logit_scale"}
    path = tmp_path / ("clip.safetensors" if kind in ("text only", "custom safetensors") else "clip.pt")
    match kind:
        case "text only":
            save_file(text_only, path)
        case "torch":
            torch.save(state, path)
        case "distributed":
            named = {f"module.{name}": tensor for name, tensor in state.items()}
            torch.save({"epoch": 3, "name": "run", "state_dict": named}, path)
        case "half":
            torch.save({name: tensor.half() for name, tensor in state.items()}, path)
        case "custom text":
            torch.save(custom | {"logit_scale": state["logit_scale"]}, path)
        case "custom safetensors":
            save_file(custom | {"visual.trunk.weight": torch.zeros(3)}, path)
    tolerance = 1e-2 if kind == "half" else 1e-12
    assert an_encoder(path).encode(NAMES) == pytest.approx(an_encoder(weights).encode(NAMES), abs=tolerance)


def test_the_activation_comes_with_the_architecture(open_clip, weights):
    usual = an_encoder(weights).encode(NAMES)
    quick = an_encoder(weights, architecture="tiny-clip-quickgelu").encode(NAMES)
    assert np.abs(usual - quick).max() > 1e-6


def test_embeddings_go_into_a_bank(weights):
    bank = PrototypeBank.start(16)
    for name, row in zip(NAMES, an_encoder(weights).encode(NAMES), strict=True):
        bank = bank.append(name, row, prompted(name))
    assert [entry.source for entry in bank.entries] == ["code", "text", "text", "text"]
    assert bank.entries[1].prompt == "A computerized tomography of a liver"


# The cache


def test_what_comes_from_the_cache_is_bit_for_bit_what_went_in(open_clip, weights, tmp_path):
    fresh = an_encoder(weights, cache_dir=tmp_path / "cache").encode(NAMES)
    again = an_encoder(weights, cache_dir=tmp_path / "cache").encode(NAMES)
    assert again.tobytes() == fresh.tobytes()
    assert len(list((tmp_path / "cache").iterdir())) == 3
    assert all(file.suffix == ".npz" for file in (tmp_path / "cache").iterdir())


def test_cached_text_needs_neither_open_clip_nor_torch(open_clip, weights, tmp_path):
    rows = an_encoder(weights, cache_dir=tmp_path).encode(NAMES)
    code = (
        "import sys, json\n"
        "from CFSegmenterLib.text import TextEncoder\n"
        "encoder = TextEncoder(sys.argv[1], architecture='tiny-clip', cache_dir=sys.argv[2])\n"
        "rows = encoder.encode(sys.argv[3:])\n"
        "heavy = {'open_clip', 'torch', 'torchvision', 'monai', 'safetensors'} & set(sys.modules)\n"
        "print(json.dumps([rows.tolist(), sorted(heavy)]))\n"
    )
    done = in_a_fresh_python(code, weights, tmp_path, *NAMES)
    assert done.returncode == 0, done.stderr
    cached, heavy = json.loads(done.stdout)
    assert heavy == []
    assert np.array(cached).tobytes() == rows.tobytes()


def test_a_tag_is_answered_from_the_cache_without_consent(open_clip, tmp_path):
    encoder = TextEncoder(pretrained="laion2b_s34b_b79k", cache_dir=tmp_path)
    row = np.eye(4)[1]
    encoder._write_cache(prompted("liver"), row)
    assert encoder.encode(["liver"]).tolist() == [row.tolist()]
    with pytest.raises(TextUnavailable):
        encoder.encode(["spleen"])


def test_model_weights_and_prompt_each_have_their_own_cache_entry(open_clip, model, weights, tmp_path):
    other_weights = tmp_path / "other.safetensors"
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state | {"text_projection": -state["text_projection"]}, other_weights)
    cache = tmp_path / "cache"
    first = an_encoder(weights, cache_dir=cache).encode("liver")
    assert an_encoder(other_weights, cache_dir=cache).encode("liver") == pytest.approx(-first, abs=1e-12)
    an_encoder(weights, cache_dir=cache).encode("liver", PROMPT_NEUTRAL)
    an_encoder(weights, cache_dir=cache, architecture="tiny-clip-quickgelu").encode("liver")
    assert len(list(cache.iterdir())) == 4
    copy = tmp_path / "renamed.safetensors"
    copy.write_bytes(weights.read_bytes())
    an_encoder(copy, cache_dir=cache).encode("liver")
    assert len(list(cache.iterdir())) == 4, "the same weights under another name are the same weights"


def damage(file: Path, how: str) -> None:
    stored = dict(np.load(file, allow_pickle=False))
    match how:
        case "empty":
            file.write_bytes(b"")
        case "garbage":
            file.write_bytes(b"PK\x03\x04 nothing of worth")
        case "truncated":
            file.write_bytes(file.read_bytes()[:-200])
        case "flipped":
            data = bytearray(file.read_bytes())
            data[data.index(stored["embedding"].tobytes()) + 5] ^= 1
            file.write_bytes(bytes(data))
        case "other text":
            np.savez(file, embedding=stored["embedding"], text=np.array("A medical image of a spleen"))
        case "not a number":
            np.savez(file, embedding=stored["embedding"] * np.nan, text=stored["text"])
        case "not a unit":
            np.savez(file, embedding=stored["embedding"] * 2, text=stored["text"])
        case "float32":
            np.savez(file, embedding=stored["embedding"].astype(np.float32), text=stored["text"])
        case "shape":
            np.savez(file, embedding=stored["embedding"][np.newaxis], text=stored["text"])
        case "nameless":
            np.savez(file, stored["embedding"])
        case "pickled":
            np.savez(file, embedding=np.array([object()], dtype=object), text=stored["text"])
        case "pickle":
            file.write_bytes(pickle.dumps({"embedding": [1.0], "text": "liver"}))
        case "one array":
            with file.open("wb") as stream:
                np.save(stream, stored["embedding"])


@pytest.mark.parametrize(
    "how",
    [
        "empty", "garbage", "truncated", "flipped", "other text", "not a number", "not a unit", "float32",
        "shape", "nameless", "pickled", "pickle", "one array",
    ],
)  # fmt: skip
def test_a_damaged_cache_entry_is_embedded_anew_and_written_over(open_clip, weights, tmp_path, how):
    rows = an_encoder(weights, cache_dir=tmp_path).encode("liver")
    (file,) = tmp_path.iterdir()
    damage(file, how)
    encoder = an_encoder(weights, cache_dir=tmp_path)
    assert encoder.cached("liver") is None
    assert encoder.encode("liver").tobytes() == rows.tobytes()
    assert an_encoder(weights, cache_dir=tmp_path).cached("liver").tobytes() == rows.tobytes()
    assert list(tmp_path.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_stops_nobody(open_clip, weights, tmp_path):
    in_the_way = tmp_path / "cache"
    in_the_way.write_text("a file where the folder should be")
    assert an_encoder(weights, cache_dir=in_the_way).encode("liver").shape == (1, 16)
    assert in_the_way.read_text() == "a file where the folder should be"


# What the user may have wrong


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_weights_that_would_be_executed_are_refused_and_not_executed(open_clip, tmp_path):
    import torch

    class Treacherous:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"state_dict": {"weight": Treacherous()}}, tmp_path / "clip.pt")
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(Treacherous()))
    for file in ("clip.pt", "clip.pkl"):
        with pytest.raises(UserError, match="cannot be read as plain tensors") as refused:
            an_encoder(tmp_path / file).encode("liver")
        assert not isinstance(refused.value, TextUnavailable)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["clip.safetensors", "clip.pt", "clip.npz", "clip"])
@pytest.mark.parametrize("content", [b"", b"nothing of worth" * 100])
def test_a_file_without_weights_is_refused_by_name(open_clip, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} cannot be read"):
        an_encoder(tmp_path / name).encode("liver")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:'torch.load' received")
def test_a_torchscript_archive_is_refused_with_the_way_out(open_clip, tmp_path):
    import torch

    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "ViT-B-32.pt"))
    with pytest.raises(UserError, match=r"give a complete \.safetensors file"):
        an_encoder(tmp_path / "ViT-B-32.pt").encode("liver")


def test_a_checkpoint_that_is_no_mapping_is_refused(open_clip, tmp_path):
    import torch

    torch.save([torch.zeros(2)], tmp_path / "clip.pt")
    with pytest.raises(UserError, match="no named tensors"):
        an_encoder(tmp_path / "clip.pt").encode("liver")


def test_weights_of_another_architecture_are_refused(open_clip, weights, tmp_path):
    with pytest.raises(UserError, match=r"does not hold the text tower of 'tiny-clip-wide'.*text_projection"):
        an_encoder(weights, architecture="tiny-clip-wide").encode("liver")
    with pytest.raises(UserError, match="does not hold the text tower of 'ViT-B-32'"):
        an_encoder(weights, architecture="ViT-B-32").encode("liver")
    import torch

    save_file({"text_model.final_layer_norm.weight": torch.zeros(16)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="in open_clip's naming"):
        an_encoder(tmp_path / "foreign.safetensors").encode("liver")


def test_weights_that_give_no_embedding_are_refused(open_clip, model, tmp_path):
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    for factor in (0.0, float("nan")):
        save_file(state | {"text_projection": state["text_projection"] * factor}, tmp_path / "clip.safetensors")
        with pytest.raises(UserError, match="no usable embedding"):
            an_encoder(tmp_path / "clip.safetensors", cache_dir=tmp_path / "cache").encode("liver")
    assert not (tmp_path / "cache").exists()


def test_an_unknown_architecture_is_answered_with_the_nearest(open_clip, weights):
    with pytest.raises(UserError, match="ViT-B-32") as refused:
        TextEncoder(weights, architecture="Vit-B-23").encode("liver")
    assert not isinstance(refused.value, TextUnavailable)


def test_weights_must_exist_and_come_from_one_place(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        TextEncoder(tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        TextEncoder(tmp_path)
    with pytest.raises(UserError, match="give one"):
        TextEncoder(tmp_path / "missing.safetensors", pretrained="openai")


@pytest.mark.parametrize("prompt", ["", "A scan", "A {} of a {}", "A {name}", "A {0}"])
def test_a_prompt_has_one_place_for_the_name(weights, prompt):
    with pytest.raises(UserError, match=r"must have one \{\}"):
        an_encoder(weights).encode("liver", prompt)
    with pytest.raises(UserError, match=r"must have one \{\}"):
        embed_or_none(None, ["liver"], lambda sentence: None, prompt)


def test_a_name_is_put_into_the_prompt_as_it_is():
    assert prompted("liver") == "A computerized tomography of a liver"
    assert prompted(" left kidney ", PROMPT_NEUTRAL) == "A medical image of a left kidney"
    assert prompted("{0.__class__} {}", "100 % {braces} of {}") == "100 % {braces} of {0.__class__} {}"
    with pytest.raises(UserError, match="empty"):
        prompted("  ")


def test_progress_is_told_and_can_cancel(weights):
    steps = []

    def watch(done, total, message):
        steps.append((done, total, message))
        return done < 2

    with pytest.raises(Cancelled):
        an_encoder(weights).encode(NAMES, progress=watch)
    assert [step[:2] for step in steps] == [(1, 3), (2, 3)]
    assert "liver" in steps[0][2]


# Consent


def test_local_weights_open_no_connection(open_clip, weights, no_network):
    an_encoder(weights).encode(NAMES)
    assert no_network == []


@pytest.mark.parametrize(
    ("architecture", "pretrained"),
    [
        ("ViT-B-32", "laion2b_s34b_b79k"),
        ("ViT-B-32-quickgelu", "openai"),
        ("ViT-B-16-SigLIP", "webli"),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k"),
    ],
)
def test_without_consent_nothing_is_fetched(open_clip, no_network, architecture, pretrained):
    with pytest.raises(TextUnavailable, match=r"not allowed.*code directions"):
        TextEncoder(pretrained=pretrained, architecture=architecture).encode("liver")
    assert no_network == []


@pytest.mark.parametrize("architecture", ["ViT-B-16-SigLIP", "roberta-ViT-B-32", "xlm-roberta-base-ViT-B-32"])
def test_a_tokenizer_from_the_hub_needs_consent_even_with_local_weights(open_clip, weights, no_network, architecture):
    with pytest.raises(TextUnavailable, match="fetches its tokenizer"):
        TextEncoder(weights, architecture=architecture).encode("liver")
    assert no_network == []


def test_with_consent_an_unreachable_hub_is_one_sentence(tmp_path):
    code = (
        "from Testing.Library.torchvision_shim import make_open_clip_importable\n"
        "make_open_clip_importable()\n"
        "from CFSegmenterLib.text import TextEncoder, embed_or_none\n"
        "encoder = TextEncoder(pretrained='laion2b_s34b_b79k', allow_download=True)\n"
        "print(embed_or_none(encoder, ['liver'], print))\n"
    )
    done = in_a_fresh_python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    sentence, result = done.stdout.splitlines()
    assert "'laion2b_s34b_b79k' cannot be loaded" in sentence and "check the network" in sentence
    assert "code directions" in sentence
    assert result == "{'liver': None}"


def test_an_unknown_tag_is_answered_with_the_known_ones(open_clip, no_network):
    with pytest.raises(UserError, match=r"its tags are: .*laion2b_s34b_b79k"):
        TextEncoder(pretrained="laion", allow_download=True).encode("liver")
    assert no_network == []


def test_weights_trained_with_another_activation_are_refused(open_clip, no_network):
    with pytest.raises(UserError, match="use the architecture 'ViT-B-32-quickgelu'"):
        TextEncoder(pretrained="openai", architecture="ViT-B-32", allow_download=True).encode("liver")
    assert no_network == []


def test_the_architecture_that_is_named_instead_exists_for_every_tag(open_clip):
    models = open_clip.list_models()
    for name in models:
        for tag in open_clip.list_pretrained_tags_by_model(name):
            wants_quick = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")
            if wants_quick and not open_clip.get_model_config(name).get("quick_gelu"):
                assert f"{name}-quickgelu" in models


# Without text


def test_without_weights_every_name_gets_none_and_the_user_is_told_once():
    told = []
    assert embed_or_none(None, NAMES, told.append) == dict.fromkeys(NAMES)
    assert embed_or_none(TextEncoder(), NAMES, told.append) == dict.fromkeys(NAMES)
    assert len(told) == 2
    assert all("need CLIP weights" in sentence and "code directions" in sentence for sentence in told)


def test_with_weights_nobody_is_told_anything(weights):
    told = []
    embeddings = embed_or_none(an_encoder(weights), iter(NAMES), told.append)
    assert list(embeddings) == NAMES and told == []
    assert np.stack(list(embeddings.values())).tobytes() == an_encoder(weights).encode(NAMES).tobytes()


def test_what_the_cache_holds_is_used_where_nothing_new_can_be_embedded(tmp_path):
    encoder, told = TextEncoder(pretrained="laion2b_s34b_b79k", cache_dir=tmp_path), []
    encoder._write_cache(prompted("spleen"), np.eye(4)[1])
    embeddings = embed_or_none(encoder, ["liver", "spleen"], told.append)
    assert embeddings["liver"] is None
    assert embeddings["spleen"].tolist() == [0, 1, 0, 0]
    assert len(told) == 1


def test_a_wrong_input_is_not_passed_over(open_clip, weights):
    told = []
    with pytest.raises(UserError, match="does not hold the text tower"):
        embed_or_none(an_encoder(weights, architecture="tiny-clip-wide"), NAMES, told.append)
    assert told == []


def test_where_open_clip_cannot_be_imported_the_user_is_told_and_codes_are_used(weights):
    code = (
        "import sys\n"
        "try:\n"
        "    import open_clip\n"
        "    sys.exit(77)\n"
        "except (RuntimeError, ImportError):\n"
        "    pass\n"
        "from CFSegmenterLib.prototypes import PrototypeBank\n"
        "from CFSegmenterLib.text import TextEncoder, embed_or_none\n"
        "encoder = TextEncoder(sys.argv[1])\n"
        "for attempt in range(2):\n"
        "    embeddings = embed_or_none(encoder, ['liver', 'spleen'], print)\n"
        "bank = PrototypeBank.start(16)\n"
        "for name, embedding in embeddings.items():\n"
        "    bank = bank.append(name, embedding)\n"
        "print([entry.source for entry in bank.entries])\n"
    )
    done = in_a_fresh_python(code, weights)
    if done.returncode == 77:
        pytest.skip("torchvision fits torch here, so open_clip can be imported")
    assert done.returncode == 0, done.stderr
    first, second, sources = done.stdout.splitlines()
    assert "open_clip cannot be imported (operator torchvision::nms does not exist)" in first
    assert "code directions" in first and first.count(". ") == 0
    assert second == first
    assert sources == "['code', 'code', 'code']"


def test_a_missing_open_clip_is_told_in_the_same_way(weights):
    code = (
        "import sys\n"
        "sys.modules['open_clip'] = None\n"
        "from CFSegmenterLib.text import TextEncoder, embed_or_none\n"
        "print(embed_or_none(TextEncoder(sys.argv[1]), ['liver'], print))\n"
    )
    done = in_a_fresh_python(code, weights)
    assert done.returncode == 0, done.stderr
    sentence, result = done.stdout.splitlines()
    assert "open_clip cannot be imported" in sentence and "install open_clip_torch" in sentence
    assert result == "{'liver': None}"
