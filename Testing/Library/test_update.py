"""The update, with a tiny model that is really taught a new structure."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.model import load_model, read_manifest
from CFSegmenterLib.network import weights_of
from CFSegmenterLib.own_structures import entry_of, own_structure
from CFSegmenterLib.phantom import draw_small
from CFSegmenterLib.prepared import load_case
from CFSegmenterLib.resuming import CHECKPOINT
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.settings import UpdateSettings
from CFSegmenterLib.store import ModelStore
from CFSegmenterLib.training import Trainer
from CFSegmenterLib.update import update, update_name, version_of
from CFSegmenterLib.update_planning import images_in, plan_update
from CFSegmenterLib.update_status import StatusFile
from CFSegmenterLib.volume import Volume

from .conftest import NEW_STRUCTURE, UPDATE_SETTINGS, save_nifti

OLD = ("liver", "right kidney", "left kidney", "spleen")
WELL_KNOWN = ("liver", "spleen")
"""What the tiny model finds well; the kidneys, equally bright, are beyond it."""


def some_settings(**changes) -> UpdateSettings:
    return UpdateSettings.model_validate({**UPDATE_SETTINGS, **changes})


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def old_images(a_small_source, tmp_path_factory) -> Path:
    """A folder of unannotated images of the model's own domain."""
    folder = tmp_path_factory.mktemp("old_images")
    for path in sorted((a_small_source.parent / "images").glob("*.nii.gz"))[:3]:
        shutil.copy(path, folder / f"Jane_Doe_{path.name}")
    return folder


@pytest.fixture(scope="module")
def updated(a_model_folder, a_new_source, old_images, tmp_path_factory):
    """A store whose version 2 was taught the gallbladder; (store, status, checksums of all that was read, before)."""
    folder = tmp_path_factory.mktemp("updated")
    read = {path: checksums(path) for path in (a_model_folder, a_new_source.parent, old_images)}
    status = StatusFile(folder / "state.json")
    update(
        a_model_folder,
        read_case_lists([a_new_source]),
        store=folder / "store",
        unannotated=images_in(old_images),
        settings=some_settings(iterations=110),
        device="cpu",
        command="cfsegmenter update --cases gallbladders",
        status=status,
    )
    return ModelStore.open(folder / "store"), folder / "state.json", read


@pytest.fixture(scope="module")
def version(updated):
    return updated[0].version("2")


def test_the_result_is_a_version_that_waits_for_a_decision(updated, version):
    store = updated[0]
    assert version.status == "proposed"
    assert store.active.name == "1"
    assert version.manifest.version == "2" and version.manifest.parent == "1"
    assert version.manifest.structures == (*OLD, NEW_STRUCTURE)


def mean_dice(segmenter: Segmenter, name: str) -> float:
    """With the truth, over phantoms that nobody has seen."""
    found = []
    for phantom in map(draw_small, (777, 778, 900)):
        answer = segmenter.encode(Volume.checked(phantom.image, phantom.affine, "mr-t2")).segment([name]).mask(name)
        truth = phantom.labels == next(value for value, said in phantom.names.items() if said == name)
        found.append(2 * np.count_nonzero(answer & truth) / (np.count_nonzero(answer) + np.count_nonzero(truth)))
    return float(np.mean(found))


def test_the_new_structure_is_found_and_the_old_ones_are_kept(updated, version):
    store = updated[0]
    before, after = (Segmenter(load_model(store.version(n).folder), "cpu") for n in ("1", "2"))
    for name in WELL_KNOWN:
        assert mean_dice(after, name) > mean_dice(before, name) - 0.15, name
    (row,) = [row for row in version.report()["scores"] if row["structure"] == NEW_STRUCTURE]
    assert row["kind"] == "new" and row["dice_before"] is None
    assert row["dice_after"] > 0.5


def test_nothing_that_was_read_is_changed(updated):
    for folder, before in updated[2].items():
        assert checksums(folder) == before


def test_the_older_prototypes_and_all_shapes_stay_as_they_are(updated, version):
    old, new = load_model(updated[0].version("1").folder), load_model(version.folder)
    assert new.bank.matrix[: len(old.bank)].tobytes() == old.bank.matrix.tobytes()
    shapes = [{name: tensor.shape for name, tensor in weights_of(each.network).items()} for each in (old, new)]
    assert shapes[0] == shapes[1]


def test_the_report_says_what_a_person_decides_on(version):
    report = version.report()
    assert report["added"] == [NEW_STRUCTURE] and report["taught"] == [NEW_STRUCTURE]
    assert report["cases"] == {"training": 3, "validation": 1, "unlabelled": 3}
    assert report["validated"] and report["why_not_validated"] is None
    asked = {(row["structure"], row["where"]) for row in report["agreement"]}
    assert asked >= {(name, where) for name in OLD for where in ("update", "unlabelled")}
    assert report["losses"][-1][0] == 110
    assert report["prototypes"] == {"count": 6, "capacity": 32, "reachable": 1.0}
    page = version.page.read_text(encoding="utf-8")
    assert NEW_STRUCTURE in page and page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")


def test_no_file_name_and_no_subject_gets_into_the_store(updated, a_new_source, old_images):
    names = {path.name.partition(".")[0] for path in (*a_new_source.parent.rglob("*.nii.gz"), *old_images.iterdir())}
    names |= {"Jane_Doe", str(a_new_source.parent), str(old_images)}
    for path in (updated[0].folder).rglob("*"):
        if path.suffix in (".json", ".md", ".html"):
            text = path.read_text(encoding="utf-8")
            assert not [name for name in names if name in text], path.name


def test_the_manifest_remembers_what_was_done(version):
    record = version.manifest.update
    assert record["added"] == [NEW_STRUCTURE] and record["iterations"] == 110
    assert record["settings"]["distillation"]["background_aware"] is True
    counted = {source.name: source.training_cases for source in version.manifest.sources}
    assert counted == {"phantom_small": 6, "gallbladders": 3}
    assert version.manifest.training["command"] == "cfsegmenter update --cases gallbladders"


def test_the_working_folder_is_gone_once_the_version_is_there(updated):
    assert not [path for path in (updated[0].folder / "updates").iterdir() if path.is_dir()]


def test_the_status_ends_with_the_last_phase(updated):
    said = json.loads(updated[1].read_text(encoding="utf-8"))
    assert said["phase"] == "comparing"
    assert said["loss"] > 0


def test_a_cancelled_update_goes_on_where_it_was_and_ends_as_if_nothing_had_been(
    a_model_folder, a_new_source, tmp_path
):
    lists, settings = read_case_lists([a_new_source]), some_settings(iterations=12)
    through = update(a_model_folder, lists, store=tmp_path / "through", settings=settings, device="cpu")

    def stop_at_7(done: int, total: int, message: str) -> bool:
        return not (message.startswith("loss") and done == 7)

    with pytest.raises(Cancelled):
        update(a_model_folder, lists, store=tmp_path / "store", settings=settings, device="cpu", progress=stop_at_7)
    store = ModelStore.open(tmp_path / "store")
    assert [each.name for each in store.versions] == ["1"]
    steps = []

    def watch(done: int, total: int, message: str) -> bool:
        steps.extend([done] if message.startswith("loss") else [])
        return True

    version = update(a_model_folder, lists, store=tmp_path / "store", settings=settings, device="cpu", progress=watch)
    assert steps[0] == 8
    assert version.manifest.weights_sha256 == through.manifest.weights_sha256


def test_a_new_structure_has_a_head_start_before_the_first_step_and_the_old_ones_keep_their_order(
    a_model, a_new_source, tmp_path
):
    lists = read_case_lists([a_new_source])
    plan = plan_update(a_model, lists, some_settings(), parent="1")
    volume, labels = load_case(lists[0].of("validation")[0])
    stands_out, best_of_old = {}, {}
    for aim in (False, True):
        settings = plan.settings.model_copy(update={"aim": aim})
        trainer = Trainer(replace(plan, settings=settings), tmp_path / str(aim), device="cpu")
        encoding = Segmenter(trainer.model(), device="cpu", precision="32-true").encode(volume)
        likeness = encoding.similarity(NEW_STRUCTURE)
        stands_out[aim] = likeness[labels > 0].mean() - likeness[labels == 0].mean()
        best_of_old[aim] = np.argmax([encoding.similarity(name) for name in OLD], axis=0)
    assert stands_out[True] > stands_out[False] + 0.05
    assert (best_of_old[True] == best_of_old[False]).mean() > 0.99


def test_the_teacher_is_the_same_after_a_whole_update_and_was_never_moved(a_model, a_new_source, tmp_path):
    plan = plan_update(a_model, read_case_lists([a_new_source]), some_settings(iterations=3), parent="1")
    before = {name: tensor.clone() for name, tensor in plan.initial.network.state_dict().items()}
    trainer = Trainer(plan, tmp_path, device="cpu")
    teacher = trainer.lesson.teacher
    trainer.train()
    after = teacher.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    learned = trainer.state.network.state_dict()
    assert learned.keys() == before.keys(), "no weight is of a class"
    assert any(not torch.equal(learned[name], before[name]) for name in before)
    assert {n: t.shape for n, t in learned.items()} == {n: t.shape for n, t in before.items()}


def test_an_update_that_was_killed_before_it_tidied_up_makes_no_second_version(
    a_model_folder, a_new_source, tmp_path, monkeypatch
):
    lists, settings = read_case_lists([a_new_source]), some_settings(iterations=2)
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: None)
        first = update(a_model_folder, lists, store=tmp_path, settings=settings, device="cpu", name="mine")
    assert (tmp_path / "updates" / "mine").exists()
    again = update(a_model_folder, lists, store=tmp_path, settings=settings, device="cpu", name="mine")
    assert again.name == first.name == "2"
    assert not (tmp_path / "updates" / "mine").exists()


def test_an_update_of_a_name_that_was_used_before_is_not_taken_for_the_one_that_was_made(
    a_model_folder, a_new_source, tmp_path
):
    lists = read_case_lists([a_new_source])

    def weekly(steps: int, **more):
        settings = some_settings(iterations=steps, images_compared=1)
        return update(a_model_folder, lists, store=tmp_path, settings=settings, device="cpu", name="weekly", **more)

    assert weekly(2).name == "2"
    with pytest.raises(Cancelled):
        weekly(8, progress=lambda done, total, message: total != 8 or done < 4)
    assert read_record(tmp_path / "updates" / "weekly" / CHECKPOINT)["step"] == 4
    assert weekly(8).name == "3"


def test_a_source_that_only_validates_is_scored_and_counts_as_nothing_learned_from(
    a_model_folder, a_model, a_new_source, a_small_source, tmp_path
):
    (new,), (old,) = read_case_lists([a_new_source]), read_case_lists([a_small_source])
    old = replace(old, source="old kind", cases=tuple(replace(c, source="old kind") for c in old.of("validation")[:1]))
    settings = some_settings(iterations=2, images_compared=1)
    version = update(a_model_folder, [new, old], store=tmp_path, settings=settings, device="cpu")
    assert {row["structure"] for row in version.report()["scores"] if row["kind"] == "old"} == set(OLD)
    assert "old kind" not in [source.name for source in version.manifest.sources]

    strange = replace(old, modality="ct", cases=tuple(replace(case, modality="ct") for case in old.cases))
    with pytest.raises(UserError, match="All cases of the source 'old kind' are for validation"):
        plan_update(a_model, [new, strange], some_settings(), parent="1")


def test_a_structure_that_nobody_drew_completely_is_not_learned(a_model, a_small_source):
    (cases,) = read_case_lists([a_small_source])
    values = {**cases.cases[0].values, 5: "pancreas"}
    some = tuple(replace(case, values=values, annotated=("liver",)) for case in cases.cases)
    plan = plan_update(a_model, [replace(cases, cases=some)], some_settings(), parent="1")
    assert plan.bank.names == a_model.bank.names


ODD = {"name": "odd thing", "category": ["1", "SCT", "Tissue"], "type": ["2", "SCT", "Oddness"], "color": [1, 2, 3]}


def odd_things(case_list, **said) -> list:
    """The cases of a list whose structure the vocabulary does not know, with what is said of it."""
    (cases,) = read_case_lists([case_list])
    own = (own_structure({**ODD, **said}),)
    drawn = {"values": {1: "odd thing"}, "annotated": ("odd thing",), "own_structures": own}
    some = tuple(replace(each, **drawn) for each in cases.cases)
    return [replace(cases, source=" ".join(["odd things", *said]), structures=("odd thing",), cases=some)]


def test_a_version_knows_code_and_color_of_what_it_was_taught_and_a_later_code_is_told_of(
    a_model_folder, a_new_source, tmp_path
):
    settings = some_settings(iterations=1, images_compared=1)
    first = update(a_model_folder, odd_things(a_new_source), store=tmp_path, settings=settings, device="cpu")
    assert [entry_of(each) for each in first.manifest.own_structures] == [ODD]
    assert not [each for each in first.report()["warnings"] if "keeps the code" in each]
    other = odd_things(a_new_source, type=["3", "SCT", "Otherness"])
    second = update(first.folder, other, store=tmp_path, settings=settings, device="cpu")
    assert [entry_of(each) for each in second.manifest.own_structures] == [ODD]
    (told,) = [each for each in second.report()["warnings"] if "keeps the code" in each]
    assert "odd thing" in told and "Oddness" in told and "Otherness" in told
    assert Segmenter.load(second.folder, "cpu").vocabulary.find("odd thing").color == (1, 2, 3)


def test_a_version_says_nothing_of_a_structure_that_it_was_not_taught(a_model, a_new_source):
    (cases,) = odd_things(a_new_source)
    both = tuple(replace(each, values={1: "liver", 2: "odd thing"}, annotated=("liver",)) for each in cases.cases)
    plan = plan_update(a_model, [replace(cases, cases=both)], some_settings(), parent="1")
    assert plan.own_structures == ()


def test_more_cases_of_a_known_structure_need_no_new_prototype(a_model_folder, a_small_source, tmp_path):
    lists = read_case_lists([a_small_source])
    liver_only = tuple(replace(case, annotated=("liver",)) for case in lists[0].cases)
    lists = [replace(lists[0], source="more", structures=("liver",), cases=liver_only)]
    version = update(a_model_folder, lists, store=tmp_path, settings=some_settings(iterations=3), device="cpu")
    report = version.report()
    assert report["added"] == [] and report["taught"] == ["liver"]
    assert version.manifest.structures == OLD
    assert {row["kind"] for row in report["scores"]} == {"old"}
    assert all(row["dice_before"] is not None for row in report["scores"])


def test_without_a_case_kept_aside_the_report_says_that_it_was_not_validated(a_model_folder, a_new_source, tmp_path):
    (cases,) = read_case_lists([a_new_source])
    cases = replace(cases, cases=cases.of("training"))
    version = update(a_model_folder, [cases], store=tmp_path, settings=some_settings(iterations=2), device="cpu")
    report = version.report()
    assert not report["validated"] and "kept aside" in report["why_not_validated"]
    assert "kept aside" in version.page.read_text(encoding="utf-8")


def test_the_time_budget_ends_the_training(a_model_folder, a_new_source, tmp_path):
    settings = some_settings(budget_seconds=1.0, iterations=100_000)
    version = update(a_model_folder, read_case_lists([a_new_source]), store=tmp_path, settings=settings, device="cpu")
    assert 0 < version.report()["iterations"] < 2000


def test_time_is_kept_for_scoring_and_comparing_where_the_old_model_can_be_scored_on_nothing(
    a_model_folder, a_new_source, tmp_path, monkeypatch
):
    asked = []

    def left(budget: float, spent: float, pace: float, **counts: int) -> float:
        asked.append((spent, pace, counts))
        return 0.1

    monkeypatch.setattr("CFSegmenterLib.update.left_for_training", left)
    settings = some_settings(budget_seconds=600.0)
    update(a_model_folder, read_case_lists([a_new_source]), store=tmp_path, settings=settings, device="cpu")
    ((spent, pace, counts),) = asked
    assert spent > pace > 0
    assert counts == {"scored": 0, "new": 1, "compared": 3}


def test_time_is_kept_for_comparing_where_only_unannotated_images_are_of_a_kind_that_the_old_model_reads(
    a_model_folder, a_new_source, old_images, tmp_path, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "CFSegmenterLib.update.left_for_training",
        lambda budget, spent, pace, **counts: asked.append((pace, counts["compared"])) or 0.1,
    )
    (cases,) = read_case_lists([a_new_source])
    other_kind = replace(cases, modality="ct", cases=tuple(replace(case, modality="ct") for case in cases.cases))
    update(
        a_model_folder,
        [other_kind],
        store=tmp_path,
        unannotated=images_in(old_images),
        settings=some_settings(budget_seconds=600.0),
        device="cpu",
    )
    ((pace, compared),) = asked
    assert pace > 0 and compared == 3


def test_the_learning_rate_follows_that_of_the_training_that_began_with_nothing(a_model, a_new_source):
    lists = read_case_lists([a_new_source])
    first = {"settings": {"learning_rate": 0.006}, "initial": None}
    later = {"settings": {"learning_rate": 0.0001}, "initial": first}
    for training, chosen, expected in (
        (first, None, 0.004),
        (later, None, 0.004),
        ({}, None, 0.001 * 2 / 3),
        (later, 0.01, 0.01),
    ):
        model = replace(a_model, manifest=a_model.manifest.model_copy(update={"training": training}))
        plan = plan_update(model, lists, some_settings(learning_rate=chosen), parent="1")
        assert plan.settings.learning_rate == pytest.approx(expected)


def test_a_new_kind_of_scan_gets_a_protocol_of_its_own(a_model, a_new_source):
    (cases,) = read_case_lists([a_new_source])
    same = plan_update(a_model, [cases], some_settings(), parent="1")
    assert same.all_protocols == a_model.manifest.protocols

    as_ct = replace(cases, modality="ct", cases=tuple(replace(case, modality="ct") for case in cases.cases))
    other = plan_update(a_model, [as_ct], some_settings(), parent="1")
    assert other.all_protocols[:1] == a_model.manifest.protocols
    assert [protocol.modality for protocol in other.all_protocols] == ["mr-t2", "ct"]


def as_ct(cases, **changes):
    """The same cases, said to be of a modality that the tiny model does not read."""
    changed = tuple(replace(case, modality="ct", source="ct", **changes) for case in cases.cases)
    return replace(cases, source="ct", modality="ct", cases=changed)


def test_a_known_structure_is_taught_in_a_modality_that_the_old_model_cannot_read(
    a_model_folder, a_small_source, old_images, tmp_path
):
    (cases,) = read_case_lists([a_small_source])
    version = update(
        a_model_folder,
        [as_ct(cases, annotated=("liver",))],
        store=tmp_path,
        unannotated=images_in(old_images),
        settings=some_settings(iterations=2),
        device="cpu",
    )
    report = version.report()
    (row,) = report["scores"]
    assert row["structure"] == "liver" and row["modality"] == "ct" and row["cases"] == 2
    assert row["dice_before"] is None and row["dice_after"] is not None
    assert {each["where"] for each in report["agreement"]} == {"unlabelled"}
    assert [protocol.modality for protocol in version.manifest.protocols] == ["mr-t2", "ct"]


@pytest.mark.parametrize("new_kind_first", [True, False])
def test_old_and_new_model_are_compared_on_the_same_case_wherever_a_new_kind_of_scan_stands(
    a_model_folder, a_small_source, tmp_path, new_kind_first
):
    (cases,) = read_case_lists([a_small_source])
    lists = [as_ct(cases, annotated=("liver",)), cases]
    version = update(
        a_model_folder,
        lists if new_kind_first else lists[::-1],
        store=tmp_path,
        settings=some_settings(iterations=1, learning_rate=1e-9, aim=False),  # the new model is the old one
        device="cpu",
    )
    report = version.report()
    known = [row for row in report["scores"] if row["source"] == cases.source]
    assert [row["structure"] for row in known] == list(OLD)
    assert not report["fell"]
    for row in known:
        assert row["cases"] == 2
        for case in row["per_case"]:
            assert case["dice_before"] == pytest.approx(case["dice_after"], abs=0.02)


def test_of_many_cases_kept_aside_as_many_are_scored_as_there_is_time_for(
    a_model_folder, a_small_source, a_new_source, tmp_path, monkeypatch
):
    """By both models the same ones, and by the new one a case with what only it knows."""
    monkeypatch.setattr("CFSegmenterLib.update.SCORING_SHARE", 0.0)
    version = update(
        a_model_folder,
        read_case_lists([a_small_source, a_new_source]),
        store=tmp_path,
        settings=some_settings(iterations=1, budget_seconds=600),
        device="cpu",
    )
    report = version.report()
    assert report["cases"]["validation"] == 3
    scored = {row["structure"]: [case["case"] for case in row["per_case"]] for row in report["scores"]}
    assert set(scored) == {*OLD, NEW_STRUCTURE}
    assert {tuple(scored[name]) for name in OLD} == {(1,)} and scored[NEW_STRUCTURE] == [3]
    assert all(row["dice_before"] is not None for row in report["scores"] if row["kind"] == "old")
    assert any(warning.startswith("only 2 of the 3 cases kept aside were scored") for warning in report["warnings"])


def test_settings_of_a_source_or_a_region_that_do_not_exist_are_refused(a_model, a_new_source):
    lists = read_case_lists([a_new_source])
    for sources, said in (
        ({"galbladders": {"mirror": True}}, "none of the case lists is called"),
        ({"gallbladders": {"field_of_view": ["Abdomen"]}}, "which the vocabulary does not have"),
    ):
        with pytest.raises(UserError, match=said):
            plan_update(a_model, lists, some_settings(sources=sources))


def test_where_nothing_old_could_be_compared_the_report_does_not_say_that_all_is_well(
    a_model_folder, a_new_source, tmp_path
):
    (cases,) = read_case_lists([a_new_source])
    version = update(a_model_folder, [as_ct(cases)], store=tmp_path, settings=some_settings(iterations=2), device="cpu")
    report = version.report()
    assert report["unchecked"] == list(OLD)
    assert any("nothing here shows" in warning for warning in report["warnings"])
    assert "notice good" not in version.page.read_text(encoding="utf-8")


def test_other_cases_of_the_same_number_are_another_update(a_model, a_new_source):
    (cases,) = read_case_lists([a_new_source])
    first, second, *rest = cases.cases
    others = replace(cases, cases=(replace(first, image=second.image), second, *rest))
    one, two = (plan_update(a_model, [each], some_settings(), parent="1") for each in (cases, others))
    assert update_name(one) == update_name(plan_update(a_model, [cases], some_settings(), parent="1"))
    assert update_name(one) != update_name(two)


def test_looking_at_many_unannotated_images_can_be_cancelled(a_model, a_new_source, old_images):
    def stop(done: int, total: int, message: str) -> bool:
        return not message.startswith("looking at image 2")

    with pytest.raises(Cancelled):
        plan_update(
            a_model,
            read_case_lists([a_new_source]),
            some_settings(),
            unannotated=images_in(old_images),
            parent="1",
            progress=stop,
        )


def test_a_scan_far_from_all_that_the_model_reads_gets_a_protocol_of_its_own(a_model, tmp_path, a_new_source):
    (cases,) = read_case_lists([a_new_source])
    path = save_nifti(tmp_path / "fine.nii.gz", np.zeros((96, 96, 96), np.int16), np.diag([0.3, 0.3, 0.3, 1]))
    fine = replace(cases, cases=tuple(replace(case, image=path) for case in cases.cases))
    plan = plan_update(a_model, [fine], some_settings(), parent="1")
    assert [p.spacing for p in plan.all_protocols] == [(4, 4, 4), (0.3, 0.3, 0.3)]


def test_a_list_that_teaches_nothing_gets_a_sentence(a_model, a_new_source):
    (cases,) = read_case_lists([a_new_source])
    nothing = replace(cases, cases=tuple(replace(case, annotated=()) for case in cases.cases))
    with pytest.raises(UserError, match="nothing to learn"):
        plan_update(a_model, [nothing], some_settings(), parent="1")


def test_a_folder_without_images_gets_a_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no image"):
        images_in(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        images_in(tmp_path / "nowhere")


def test_images_that_the_model_does_not_read_are_left_out_and_counted(
    a_model_folder, a_new_source, old_images, tmp_path
):
    images = tmp_path / "images"
    shutil.copytree(old_images, images)
    (images / "broken.nii.gz").write_bytes(b"no image")
    version = update(
        a_model_folder,
        read_case_lists([a_new_source]),
        store=tmp_path / "store",
        unannotated=images_in(images),
        settings=some_settings(iterations=2),
        device="cpu",
    )
    report = version.report()
    assert report["cases"]["unlabelled"] == 3
    assert any(warning.startswith("1 unannotated image") for warning in report["warnings"])


def test_a_store_of_another_model_is_left_alone(a_model_folder, updated, tmp_path):
    shutil.copytree(a_model_folder, tmp_path / "other")
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text(encoding="utf-8"))
    manifest["weights_sha256"] = "0" * 64
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="no version with the weights"):
        version_of(updated[0], tmp_path / "other")
    assert read_manifest(updated[0].active.folder).version == "1"


def test_a_damaged_version_does_not_keep_the_others_from_being_updated(a_model_folder, a_new_source, updated, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(updated[0].folder, store)
    (store / "versions" / "2" / "manifest.json").write_text('{"name": ', encoding="utf-8")
    lists, settings = read_case_lists([a_new_source]), some_settings(iterations=1)
    version = update(a_model_folder, lists, store=store, settings=settings, device="cpu")
    assert version.name == "3" and version.manifest.parent == "1"


def test_one_piece_is_forgotten_only_of_what_was_seen_in_several(a_model, a_new_source, tmp_path):
    """That a scan does not show a structure says nothing of its pieces."""
    one_piece = ("liver", "spleen")
    model = replace(a_model, manifest=a_model.manifest.model_copy(update={"one_piece": one_piece}))
    (cases,) = read_case_lists([a_new_source])
    declared = tuple(
        replace(c, values={**c.values, 7: "spleen"}, annotated=(*c.annotated, "spleen")) for c in cases.cases
    )
    plan = plan_update(model, [replace(cases, cases=declared)], some_settings(iterations=1))
    assert set(Trainer(plan, tmp_path, device="cpu").model().manifest.one_piece) == {*one_piece, NEW_STRUCTURE}


def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_made(a_model_folder, a_new_source, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    with pytest.raises(UserError, match="cannot be the name of an update"):
        update(a_model_folder, read_case_lists([a_new_source]), store=tmp_path / "store", name=str(precious))
    assert precious.is_dir() and not (tmp_path / "store").exists()
