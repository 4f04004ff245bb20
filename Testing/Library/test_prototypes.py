from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.prototypes import Prototype, PrototypeBank
from Testing.real_data import CLIP_VECTORS

CLIP_NAMES = [
    "Spleen", "Right Kidney", "Left Kidney", "Gall Bladder", "Esophagus", "Liver", "Stomach", "Arota",
    "Postcava", "Portal Vein and Splenic Vein",
    "Pancreas", "Right Adrenal Gland", "Left Adrenal Gland", "Duodenum",
    "Hepatic Vessel", "Right Lung", "Left Lung", "Colon", "Intestine", "Rectum", "Bladder", "Prostate",
    "Left Head of Femur", "Right Head of Femur", "Celiac Truck", "Kidney Tumor", "Liver Tumor",
    "Pancreas Tumor", "Hepatic Vessel Tumor", "Lung Tumor", "Colon Tumor", "Kidney Cyst",
]  # fmt: skip


def off_orthonormality(rows: np.ndarray) -> float:
    rows = rows.astype(np.float64)
    return float(np.abs(rows @ rows.T - np.eye(len(rows))).max())


def a_bank_of_codes(count: int, dimension: int = 512, seed: int = 0) -> PrototypeBank:
    bank = PrototypeBank.start(dimension, seed)
    for number in range(count):
        bank = bank.append(f"structure {number}")
    return bank


def vector(dimension: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(dimension)


def test_a_new_bank_holds_the_background_alone():
    bank = PrototypeBank.start()
    assert bank.names == ("background",)
    assert bank.matrix.shape == (1, 512)
    assert bank.matrix.dtype == np.float64
    assert bank.entries[0] == Prototype("background", "code", None, None)
    assert len(bank) == 1 and bank.capacity == 512 and bank.remaining == 511


def test_the_background_may_have_a_text_of_its_own():
    embedding = vector(8)
    bank = PrototypeBank.start(8, embedding=embedding, prompt="nothing")
    assert bank.entries[0].source == "text" and bank.entries[0].prompt == "nothing"
    assert bank.matrix[0] == pytest.approx(embedding / np.linalg.norm(embedding))
    assert bank.entries[0].kept == pytest.approx(1)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_rows_are_orthonormal_and_older_rows_never_move(data):
    dimension = data.draw(st.integers(1, 24))
    bank = PrototypeBank.start(dimension, seed=data.draw(st.integers(0, 2**64)))
    for number in range(data.draw(st.integers(0, dimension - 1))):
        embedding = None
        if data.draw(st.booleans()):
            # Far apart in length, and close together in direction, like the names of organs.
            common = np.ones(dimension) * data.draw(st.sampled_from([0.0, 1.0, 30.0]))
            noise = vector(dimension, data.draw(st.integers(0, 2**32)))
            embedding = (common + noise) * data.draw(st.sampled_from([1e-200, 1.0, 1e200]))
        older, older_bits = bank, bank.matrix.tobytes()
        try:
            bank = bank.append(str(number), embedding)
        except UserError:
            bank = bank.append(str(number))
        assert older.matrix.tobytes() == older_bits
        assert bank.matrix[:-1].tobytes() == older_bits
        assert bank.entries[:-1] == older.entries
    assert off_orthonormality(bank.matrix) < 1e-12
    assert off_orthonormality(bank.as_float32()) < 1e-6


def test_a_bank_takes_511_structures_and_refuses_the_next():
    bank = a_bank_of_codes(511)
    assert len(bank) == 512 and bank.remaining == 0
    assert off_orthonormality(bank.matrix) < 1e-12
    with pytest.raises(UserError, match="512 dimensions hold at most 512"):
        bank.append("one too many")
    with pytest.raises(UserError, match="512 dimensions hold at most 512"):
        bank.append("one too many", vector(512))


def test_code_directions_are_a_function_of_the_seed():
    assert a_bank_of_codes(5, seed=3) == a_bank_of_codes(5, seed=3)
    assert a_bank_of_codes(5, seed=3).matrix.tobytes() == a_bank_of_codes(5, seed=3).matrix.tobytes()
    assert abs(a_bank_of_codes(1, seed=3).matrix[1] @ a_bank_of_codes(1, seed=4).matrix[1]) < 0.5
    assert a_bank_of_codes(5, seed=3) != a_bank_of_codes(5, seed=4)
    assert hash(a_bank_of_codes(5, seed=3)) == hash(a_bank_of_codes(5, seed=3))


def test_the_code_of_a_seed_stays_the_same_for_ever():
    expected = [
        [0.41094228, -0.4810336, 0.76947296, 0.08743273],
        [0.72178948, 0.67237496, 0.0525229, -0.15547736],
    ]
    assert a_bank_of_codes(1, dimension=4).matrix == pytest.approx(np.array(expected), abs=1e-7)


def test_a_text_vector_drawn_from_the_same_seed_is_no_code_direction():
    for seed in range(3):
        bank = PrototypeBank.start(8, seed).append("liver", vector(8, seed))
        assert bank.entries[1].kept > 0.1


def test_a_restored_bank_continues_the_same_code():
    whole = a_bank_of_codes(6, seed=5)
    half = a_bank_of_codes(3, seed=5)
    plain = json.loads(json.dumps(half.to_dict()))
    restored = PrototypeBank.restore(plain["entries"], half.matrix, plain["seed"], plain["orthogonalize"])
    for number in range(3, 6):
        restored = restored.append(f"structure {number}")
    assert restored == whole


def test_a_text_prototype_tells_its_prompt_and_how_much_of_its_text_it_kept():
    first, second = np.array([1.0, 0, 0, 0]), np.array([3.0, 4.0, 0, 0])
    bank = PrototypeBank.start(4, embedding=first).append("liver", second, prompt="a liver")
    assert bank.entries[1].source == "text" and bank.entries[1].prompt == "a liver"
    assert bank.entries[1].kept == pytest.approx(0.8)
    assert bank.matrix[1] == pytest.approx([0, 1, 0, 0])


def test_a_code_prototype_has_no_prompt_even_when_one_is_given():
    assert PrototypeBank.start(4).append("liver", None, prompt="a liver").entries[1] == Prototype("liver", "code")


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_length_of_a_text_vector_does_not_matter(scale):
    bank = PrototypeBank.start(8)
    assert bank.append("liver", vector() * scale).matrix[1] == pytest.approx(
        bank.append("liver", vector()).matrix[1], abs=1e-12
    )


@pytest.mark.parametrize(
    ("embedding", "sentence"),
    [
        (np.zeros(8), "zero"),
        (np.full(8, np.nan), "NaN"),
        (np.array([np.inf] + [1.0] * 7), "infinite"),
        (np.ones(7), r"\(7,\)"),
        (np.ones((1, 8)), r"\(1, 8\)"),
        (np.array(1.0), r"\(\)"),
        (["a"] * 8, "numbers"),
        ([[1.0], [1.0, 2.0]], "numbers"),
    ],
)
def test_an_unusable_embedding_is_refused_by_name_and_reason(embedding, sentence):
    bank = PrototypeBank.start(8)
    with pytest.raises(UserError, match=sentence) as refused:
        bank.append("liver", embedding)
    assert "liver" in str(refused.value)
    assert len(bank) == 1


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6])
def test_an_embedding_made_of_older_ones_is_refused_and_the_way_out_works(noise):
    one, two = vector(seed=1), vector(seed=2)
    bank = PrototypeBank.start(8).append("one", one).append("two", two)
    with pytest.raises(UserError, match="nothing of its own is left"):
        bank.append("both", one - 3 * two + noise * vector(seed=3))
    assert off_orthonormality(bank.append("both").matrix) < 1e-12


def test_a_nearly_dependent_embedding_is_still_orthogonal_after_two_passes():
    one = vector(512, seed=1)
    bank = PrototypeBank.start().append("one", one)
    bank = bank.append("near", one / np.linalg.norm(one) + 2e-3 * vector(512, seed=2) / np.sqrt(512))
    assert 1e-3 < bank.entries[2].kept < 4e-3
    assert off_orthonormality(bank.matrix) < 1e-14


@pytest.mark.parametrize("name", ["liver", "Liver", " LIVER ", "background", "Background"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(UserError, match="already has a prototype"):
        PrototypeBank.start(8).append("liver").append(name)


@pytest.mark.parametrize("name", ["", "   ", None, 3])
def test_a_prototype_needs_a_name(name):
    with pytest.raises(UserError, match="needs the name"):
        PrototypeBank.start(8).append(name)


def test_a_structure_is_found_by_name_whatever_its_case():
    bank = PrototypeBank.start(8).append("left kidney").append("liver")
    assert bank.index("background") == 0
    assert bank.index("Left  Kidney") == 1
    assert "LIVER" in bank and "spleen" not in bank and 2 not in bank


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="nearest are left kidney"):
        PrototypeBank.start(8).append("left kidney").index("left kidny")
    with pytest.raises(UserError, match="knows 1 structures"):
        PrototypeBank.start(8).append("left kidney").index("xyz")


def test_neither_matrix_nor_fields_can_be_written():
    bank = PrototypeBank.start(8).append("liver")
    with pytest.raises(ValueError, match="read-only"):
        bank.matrix[0, 0] = 1
    with pytest.raises(AttributeError):
        bank.seed = 1
    bank.as_float32()[0, 0] = 1


def test_a_caller_who_goes_on_writing_into_his_array_moves_no_prototype():
    embedding = vector()
    bank = PrototypeBank.start(8, embedding=embedding)
    rows = bank.matrix.copy()
    restored = PrototypeBank.restore(bank.entries, rows, 0)
    embedding[:], rows[:] = 0, 0
    assert off_orthonormality(bank.matrix) < 1e-12
    assert restored == bank


@pytest.mark.parametrize(("count", "channels", "cosine"), [(104, 32, 0.555), (32, 32, 1.0), (2, 32, 1.0)])
def test_crowding_is_foreseen(count, channels, cosine):
    bank = a_bank_of_codes(count - 1)
    assert bank.reachable(channels) == pytest.approx(cosine, abs=1e-3)
    assert (bank.crowding(channels) is None) == (cosine == 1)


def test_the_warning_of_crowding_tells_the_numbers():
    assert "104 prototypes share 32 feature channels" in a_bank_of_codes(103).crowding(32)
    assert "0.55" in a_bank_of_codes(103).crowding(32)


@pytest.mark.parametrize("dimension", [0, -1, 2.5, True, "512", None])
def test_a_dimension_that_is_none_is_refused(dimension):
    with pytest.raises(UserError, match="whole number of at least 1"):
        PrototypeBank.start(dimension)


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(UserError, match="seed"):
        PrototypeBank.start(8, seed)


def test_one_dimension_is_filled_by_the_background():
    with pytest.raises(UserError, match="no room"):
        PrototypeBank.start(1).append("liver")


def test_storage_in_float32_keeps_the_bank_orthonormal_and_open_for_more():
    bank = a_bank_of_codes(50, dimension=64).append("text", vector(64), "a text")
    restored = PrototypeBank.restore(bank.to_dict()["entries"], bank.as_float32(), bank.seed)
    assert restored.entries == bank.entries
    stored = restored.matrix.copy()
    for number in range(restored.remaining):
        restored = restored.append(f"more {number}", vector(64, seed=100 + number))
    assert off_orthonormality(restored.matrix) < 1e-6
    assert restored.matrix[: len(stored)].tobytes() == stored.tobytes()


def test_plain_data_has_everything_but_the_rows():
    bank = PrototypeBank.start(4, seed=7, embedding=np.eye(4)[0]).append("liver")
    assert bank.to_dict() == {
        "dimension": 4,
        "seed": 7,
        "orthogonalize": True,
        "entries": [
            {"name": "background", "source": "text", "prompt": None, "kept": 1.0},
            {"name": "liver", "source": "code", "prompt": None, "kept": None},
        ],
    }


def damaged(**changes):
    bank = PrototypeBank.start(4).append("liver").append("spleen", np.arange(4.0), "a spleen")
    parts = {"entries": bank.to_dict()["entries"], "matrix": bank.matrix.copy(), "seed": 0} | changes
    return PrototypeBank.restore(**parts)


GOOD = PrototypeBank.start(4).append("liver").append("spleen", np.arange(4.0), "a spleen")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"matrix": GOOD.matrix[:2]}, "do not belong together"),
        ({"matrix": GOOD.matrix[:, :2]}, "do not belong together"),
        ({"matrix": GOOD.matrix.ravel()}, "do not belong together"),
        ({"matrix": GOOD.matrix * (1 + 1e-5)}, "off orthonormality"),
        ({"matrix": GOOD.matrix * 1e200}, "off orthonormality"),
        ({"matrix": GOOD.matrix[[0, 1, 1]]}, "off orthonormality"),
        ({"matrix": GOOD.matrix * np.nan}, "NaN"),
        ({"matrix": "rows"}, "numbers"),
        ({"entries": GOOD.entries[:2]}, "do not belong together"),
        ({"entries": (), "matrix": np.zeros((0, 4))}, "background"),
        ({"entries": GOOD.entries[::-1]}, "not 'background'"),
        ({"entries": (*GOOD.entries[:2], Prototype("Liver", "code"))}, "more than one"),
        ({"entries": [{"label": "background"}] * 3}, "manifest is damaged"),
        ({"entries": ["background"] * 3}, "manifest is damaged"),
        ({"entries": [None] * 3}, "manifest is damaged"),
        ({"entries": (*GOOD.entries[:2], Prototype("spleen", "guess"))}, "'guess'"),
        ({"entries": (*GOOD.entries[:2], Prototype("spleen", "text"))}, "keeps None"),
        ({"entries": (*GOOD.entries[:2], Prototype("spleen", "text", "a spleen", 1.5))}, "keeps 1.5"),
        (
            {"entries": (*GOOD.entries[:2], Prototype("spleen", "text", "a spleen", float("nan")))},
            "keeps nan",
        ),
        ({"entries": (*GOOD.entries[:2], Prototype("spleen", "code", None, 0.5))}, "keeps 0.5"),
        ({"entries": (*GOOD.entries[:2], Prototype("", "code"))}, "needs the name"),
        ({"seed": -1}, "seed"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_damaged_store_is_refused(changes, sentence):
    assert damaged() == GOOD
    with pytest.raises(UserError, match=sentence):
        damaged(**changes)


def test_raw_rows_are_for_the_ablation_only_normalized():
    one = vector(seed=1)
    near = one + 0.01 * vector(seed=2)
    bank = PrototypeBank.start(8, orthogonalize=False).append("one", one).append("near", near, "near")
    assert bank.matrix[2] == pytest.approx(near / np.linalg.norm(near))
    assert bank.matrix[1] @ bank.matrix[2] > 0.99
    assert bank.entries[2].kept == 1
    plain = bank.to_dict()
    assert PrototypeBank.restore(plain["entries"], bank.matrix, 0, plain["orthogonalize"]) == bank
    with pytest.raises(UserError, match="off orthonormality"):
        PrototypeBank.restore(plain["entries"], bank.matrix, 0)
    with pytest.raises(UserError, match="off orthonormality"):
        PrototypeBank.restore(plain["entries"], bank.matrix * 2, 0, orthogonalize=False)


@pytest.mark.skipif(not CLIP_VECTORS.is_file(), reason="the real CLIP vectors are not on this machine")
def test_real_organ_names_are_twins_before_the_bank_and_apart_after_it():
    vectors = np.load(CLIP_VECTORS, allow_pickle=False).astype(np.float64)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = {name: number for number, name in enumerate(CLIP_NAMES)}
    assert units[row["Left Kidney"]] @ units[row["Right Kidney"]] == pytest.approx(0.989, abs=1e-3)
    assert units[row["Left Adrenal Gland"]] @ units[row["Right Adrenal Gland"]] == pytest.approx(0.992, abs=1e-3)

    bank = PrototypeBank.start()
    for name, embedding in zip(CLIP_NAMES, vectors, strict=True):
        bank = bank.append(name, embedding, prompt=f"A computerized tomography of a {name}")
    assert off_orthonormality(bank.matrix) < 1e-12
    assert bank.entries[bank.index("Left Kidney")].kept == pytest.approx(0.14, abs=0.01)
    assert bank.entries[bank.index("Left Adrenal Gland")].kept == pytest.approx(0.05, abs=0.01)
    for entry, prototype, unit in zip(bank.entries[1:], bank.matrix[1:], units, strict=True):
        assert prototype @ unit == pytest.approx(entry.kept, abs=1e-12)
