from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from CFSegmenterLib.cases import Case
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.sampling import Draw, HierarchicalSampler

DRAWS = 8000


def a_case(source: str, modality: str, annotated: tuple[str, ...]) -> Case:
    values = {number: name for number, name in enumerate(annotated, start=1)}
    return Case(Path("image"), Path("labels"), source, modality, "somebody", "training", values, annotated)


def drawn(cases: list[Case], shares: dict[str, float] | None = None, seed: int = 0) -> list[Draw]:
    sampler, random = HierarchicalSampler(cases, shares), np.random.default_rng(seed)
    return [sampler.draw(random) for _ in range(DRAWS)]


def frequencies(values) -> dict:
    counts = Counter(values)
    return {value: count / counts.total() for value, count in counts.items()}


def close(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for key, probability in wanted.items():
        assert found[key] == pytest.approx(probability, abs=0.02), key  # four standard deviations


def test_rare_structures_are_drawn_as_often_as_common_ones():
    cases = [a_case("big", "ct", ("liver",)) for _ in range(98)] + [a_case("small", "ct", ("adrenal",))] * 2
    close(frequencies(d.structure for d in drawn(cases)), {"liver": 0.5, "adrenal": 0.5})


def test_structure_then_modality_then_source_then_case():
    cases = [
        *(a_case("a", "ct", ("liver", "spleen")) for _ in range(5)),
        a_case("b", "ct", ("liver",)),
        *(a_case("c", "mr-t2", ("liver",)) for _ in range(2)),
    ]
    draws = drawn(cases)
    close(frequencies(d.structure for d in draws), {"liver": 0.5, "spleen": 0.5})
    livers = [d.case for d in draws if d.structure == "liver"]
    # CT and MR by halves; in CT source a and b by halves; in a each of five cases alike.
    close(frequencies(livers), {**{n: 0.05 for n in range(5)}, 5: 0.25, 6: 0.25, 7: 0.25})
    close(frequencies(d.case for d in draws if d.structure == "spleen"), {n: 0.2 for n in range(5)})


def test_a_case_is_only_drawn_for_what_it_annotates():
    cases = [a_case("a", "ct", ("liver",)), a_case("a", "ct", ("spleen",)), a_case("a", "ct", ("liver", "spleen"))]
    for draw in drawn(cases)[:500]:
        assert draw.structure in cases[draw.case].annotated


def test_a_share_makes_the_structures_of_a_source_more_frequent():
    cases = [a_case("a", "ct", ("liver",)), a_case("b", "ct", ("spleen",))]
    close(frequencies(d.structure for d in drawn(cases, {"a": 3.0})), {"liver": 0.75, "spleen": 0.25})


def test_a_share_weighs_sources_of_one_structure():
    cases = [a_case("a", "ct", ("liver",)), a_case("b", "ct", ("liver",)), a_case("b", "ct", ("liver",))]
    close(frequencies(d.case for d in drawn(cases, {"a": 2.0})), {0: 2 / 3, 1: 1 / 6, 2: 1 / 6})


def test_a_structure_of_several_sources_weighs_their_mean_share():
    cases = [a_case("a", "ct", ("liver", "spleen")), a_case("b", "mr-t1", ("liver", "pancreas"))]
    found = frequencies(d.structure for d in drawn(cases, {"a": 5.0}))
    close(found, {"liver": 3 / 9, "spleen": 5 / 9, "pancreas": 1 / 9})


def test_a_share_does_not_weigh_modalities():
    cases = [a_case("a", "ct", ("liver",)), a_case("b", "mr-t1", ("liver",))]
    close(frequencies(d.case for d in drawn(cases, {"a": 9.0})), {0: 0.5, 1: 0.5})


def test_a_share_of_no_known_source_changes_nothing():
    cases = [a_case("a", "ct", ("liver",)), a_case("b", "ct", ("spleen",))]
    assert drawn(cases, {"c": 7.0}) == drawn(cases)


def test_the_same_seed_gives_the_same_draws():
    cases = [a_case("a", "ct", ("liver", "spleen")), a_case("b", "mr-t1", ("liver",))]
    assert drawn(cases, seed=3) == drawn(cases, seed=3)
    assert drawn(cases, seed=3) != drawn(cases, seed=4)


def test_the_order_of_structures_in_a_case_does_not_change_the_draws():
    one = [a_case("a", "ct", ("liver", "spleen")), a_case("b", "ct", ("spleen",))]
    other = [a_case("a", "ct", ("spleen", "liver")), a_case("b", "ct", ("spleen",))]
    assert drawn(one) == drawn(other)


def test_cases_that_annotate_nothing_are_drawn_apart_from_the_others_and_alone_are_refused():
    cases = [a_case("a", "ct", ()), a_case("a", "ct", ("liver",)), a_case("b", "ct", ())]
    assert {d.case for d in drawn(cases)} == {1}
    sampler, random = HierarchicalSampler(cases), np.random.default_rng(0)
    assert sampler.has_unannotated
    assert not HierarchicalSampler(cases[1:2]).has_unannotated
    apart = [sampler.draw_unannotated(random) for _ in range(DRAWS)]
    assert {d.structure for d in apart} == {None}
    close(frequencies(d.case for d in apart), {0: 0.5, 2: 0.5})
    for nothing in ([a_case("a", "ct", ())], []):
        with pytest.raises(UserError, match="nothing to learn from"):
            HierarchicalSampler(nothing)
