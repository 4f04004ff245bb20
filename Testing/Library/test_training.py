"""Training: what a step does, what is validated, and what a training leaves."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.model import load_model, read_manifest
from CFSegmenterLib.network import weights_of
from CFSegmenterLib.patches import Patch
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.precision import choose_precision
from CFSegmenterLib.resuming import CHECKPOINT
from CFSegmenterLib.settings import TrainingSettings
from CFSegmenterLib.training import GRADIENT_LIMIT, SKIPS_ALLOWED, Trainer
from CFSegmenterLib.training_log import TrainingLog
from Testing.Library.short_training import (
    ITERATIONS,
    PATIENT,
    SETTINGS,
    a_trainer,
    run_program,
    table,
    write_source,
)


def test_the_folder_holds_what_it_should(whole_training):
    names = {path.name for path in whole_training.iterdir()}
    assert {CHECKPOINT, "log.csv", "validation.csv", "cache", "best", "last"} <= names
    assert not [name for name in names if "part" in name]


def test_the_model_says_where_it_comes_from(whole_training):
    manifest = load_model(whole_training / "last").manifest
    assert (manifest.name, manifest.licence) == ("test", "CC0")
    assert manifest.structures == ("liver", "spleen")
    (source,) = manifest.sources
    assert (source.name, source.modality, source.training_cases, source.validation_cases) == ("organs", "ct", 3, 1)
    assert [protocol.patch for protocol in manifest.protocols] == [(8, 8, 8)]
    assert manifest.temperature == 0.1
    assert manifest.training["iterations_done"] == ITERATIONS
    assert TrainingSettings.model_validate(manifest.training["settings"]) == TrainingSettings.model_validate(SETTINGS)
    assert manifest.training["precision"] == "32-true"


def test_no_file_name_or_subject_gets_into_model_checkpoint_or_log(whole_training):
    for path in whole_training.rglob("*"):
        assert PATIENT not in path.name
        assert path.is_dir() or PATIENT.encode() not in path.read_bytes(), path


def test_the_last_model_is_the_running_average_of_the_weights(whole_training):
    kept = load_file(whole_training / CHECKPOINT)
    for name, tensor in weights_of(load_model(whole_training / "last").network).items():
        stored = kept[f"averaged.{name}"]
        wanted = stored if name == "projection" else stored.half().float()
        assert torch.equal(tensor, wanted), name
        if name != "projection":
            assert not torch.equal(stored, kept[f"network.{name}"]) or stored.numel() < 64, name


def test_the_average_follows_at_first_and_forgets_slowly_later(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run", average=0.9)
    network, averaged = trainer.state.network.projection, trainer.state.averaged.projection
    for step, decay in ((0, 0.1), (1, 2 / 11), (1000, 0.9)):
        trainer.step = step
        with torch.no_grad():
            network.fill_(1.0)
            averaged.fill_(0.0)
        trainer._average()
        torch.testing.assert_close(averaged, torch.full_like(averaged, 1 - decay))


def test_the_learning_rate_falls_as_a_cosine(whole_training):
    logged = [float(row["learning_rate"]) for row in table(whole_training / "log.csv")]
    wanted = [0.003 * (0.01 + 0.99 * (1 + math.cos(math.pi * step / 6)) / 2) for step in range(6)]
    assert logged == pytest.approx(wanted, rel=1e-4)  # too short for a rise before


def test_every_step_is_taken_with_its_own_rate(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run", iterations=20)
    for step, rate in ((0, 0.0015), (1, 0.003), (2, 0.003), (20, 0.00003)):
        trainer.step = step
        trainer.take_step([trainer.patches[0]])
        assert trainer.state.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_only_a_better_model_replaces_the_best(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run")
    log = TrainingLog(tmp_path / "run", 0)
    trainer.best = 2.0
    trainer._validate(log)
    assert trainer.best == 2.0 and not (tmp_path / "run/best").exists()
    trainer.best = -1.0
    trainer._validate(log)
    assert 0 <= trainer.best <= 1 and (tmp_path / "run/best").exists()
    log.close()


def test_validations_stand_in_their_log_and_the_best_model_is_the_best(whole_training):
    rows = table(whole_training / "validation.csv")
    assert [int(row["step"]) for row in rows if row["structure"] == "mean"] == [2, 4, 6]
    assert {(row["source"], row["structure"]) for row in rows} == {
        ("organs", "liver"), ("organs", "spleen"), ("organs", "mean"),
    }  # fmt: skip
    scores = {int(row["step"]): float(row["dice"]) for row in rows if row["structure"] == "mean"}
    best = read_manifest(whole_training / "best").training["iterations_done"]
    assert scores[best] == max(scores.values())
    assert read_record(whole_training / CHECKPOINT)["best"] == pytest.approx(max(scores.values()), abs=1e-4)


def test_a_structure_that_no_validation_case_shows_does_not_end_the_training(balls, tmp_path):
    said = json.loads(balls.read_text())
    said["labels"]["9"] = "pancreas"  # annotated, and nowhere to be seen
    for split in ("training", "validation"):
        for entry in said[split]:
            entry.update({kind: str(balls.parent / entry[kind]) for kind in ("image", "label")})
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(said))
    trainer = a_trainer(path, tmp_path / "run")
    with torch.no_grad():  # without features all is background, and nothing is the pancreas
        for parameter in trainer.state.averaged.backbone.parameters():
            parameter.zero_()
    log = TrainingLog(tmp_path / "run", 0)
    trainer._validate(log)
    log.close()
    found = {row["structure"]: row["dice"] for row in table(tmp_path / "run/validation.csv")}
    assert found == {"liver": "0.0000", "spleen": "0.0000", "pancreas": "", "mean": "0.0000"}


def test_without_validation_cases_there_is_only_the_last_model(balls, tmp_path):
    a_trainer(balls, tmp_path / "run", iterations=1, validation_cases=0).train()
    assert (tmp_path / "run/last").is_dir() and not (tmp_path / "run/best").exists()


def test_progress_says_the_loss_and_the_time_left(balls, tmp_path):
    said = []
    a_trainer(balls, tmp_path / "run", iterations=2, validation_cases=0).train(lambda *step: said.append(step) or True)
    assert [(done, total) for done, total, _ in said] == [(1, 2), (2, 2)]
    assert all(message.startswith("loss ") and message.endswith(" left") for _, _, message in said)


def test_precision_is_what_the_hardware_is_fast_with_unless_said(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "auto", precision="auto")
    assert trainer.precision == choose_precision(torch.device("cpu"))
    low = a_trainer(balls, tmp_path / "low", precision="bf16-mixed", iterations=1, validation_cases=0)
    assert low.train().training["precision"] == "bf16-mixed"
    assert all(p.dtype == torch.float32 for p in low.state.network.parameters())
    (row,) = table(tmp_path / "low/log.csv")
    reference = a_trainer(balls, tmp_path / "full", iterations=1, validation_cases=0)
    reference.train()
    assert float(row["loss"]) == pytest.approx(float(table(tmp_path / "full/log.csv")[0]["loss"]), rel=0.05)


def test_a_step_that_overflows_is_left_out_and_many_end_the_training(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run")
    good = trainer.patches[0]
    bad = Patch(torch.full_like(good.image, torch.inf), good.labels, good.case)

    def weights() -> list[torch.Tensor]:
        return [p.detach().clone() for p in trainer.state.network.parameters()]

    before = weights()
    trainer.take_step([bad])
    assert all(torch.equal(a, b) for a, b in zip(weights(), before, strict=True))
    trainer.take_step([good])
    assert not all(torch.equal(a, b) for a, b in zip(weights(), before, strict=True))
    assert all(torch.isfinite(w).all() for w in weights())
    for _ in range(SKIPS_ALLOWED):
        trainer.take_step([bad])
    with pytest.raises(UserError, match="not finite 11 times in a row"):
        trainer.take_step([bad])


def test_a_step_lowers_the_loss_of_its_patch(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run", warmup=0)
    patch = trainer.patches[0]
    before = trainer.loss(patch).total.item()
    for _ in range(12):
        trainer.take_step([patch])
    assert trainer.loss(patch).total.item() < 0.8 * before


def test_a_step_of_two_patches_follows_the_mean_of_their_gradients(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run")
    patches = [trainer.patches[n] for n in range(2)]
    projections, gradients, totals = [], [], []
    for patch in patches:
        trainer.state.network.zero_grad()
        total = trainer.loss(patch).total
        total.backward()
        totals.append(total.item())
        projections.append(trainer.state.network.projection.grad.clone())
        gradients.append([p.grad.clone() for p in trainer.state.network.parameters()])
    trainer.state.network.zero_grad()
    terms = trainer.take_step(patches)
    moment = trainer.state.optimizer.state_dict()["state"]
    names = [name for name, _ in trainer.state.network.named_parameters()]
    followed = moment[names.index("projection")]["exp_avg"] / 0.1
    length = math.sqrt(sum(float(((a + b) / 2).square().sum()) for a, b in zip(*gradients, strict=True)))
    mean = sum(projections) / 2 * min(1, GRADIENT_LIMIT / length)  # a long gradient is shortened
    torch.testing.assert_close(followed, mean, rtol=1e-4, atol=1e-5 * float(mean.abs().max()))
    assert terms.total.item() == pytest.approx(sum(totals) / 2, rel=1e-5)


def test_each_source_and_each_case_has_the_annotation_that_it_declares(tmp_path):
    organs = write_source(tmp_path / "organs")
    said = json.loads(organs.read_text())
    said["training"][0]["annotated"] = ["liver"]
    organs.write_text(json.dumps(said))
    brain = write_source(tmp_path / "brain", ("hippocampus", "liver tumor"), "brain")
    said = json.loads(brain.read_text())
    said["annotated"] = ["hippocampus"]
    said["training"][0]["annotated"] = ["liver tumor"]
    brain.write_text(json.dumps(said))
    field = {**SETTINGS["sources"]["organs"], "field_of_view": ["brain"]}
    settings = TrainingSettings.model_validate({**SETTINGS, "sources": {**SETTINGS["sources"], "brain": field}})
    plan = plan_training(read_case_lists([organs, brain]), settings)
    trainer = Trainer(plan, tmp_path / "run", device="cpu")
    names = plan.bank.names
    assert names == ("background", "liver", "spleen", "hippocampus", "liver tumor")

    def denied(*key) -> set[str]:
        return {n for n, free in zip(names, trainer.lesson.said[key].ambiguous.tolist(), strict=True) if not free}

    assert set(trainer.lesson.said) == {
        ("organs", ("liver",)), ("organs", ("liver", "spleen")), ("brain", ("hippocampus",)),
        ("brain", ("liver tumor",)),
    }  # fmt: skip
    # Within the liver lies its tumor; of the brain a source without a field of view knows nothing.
    assert denied("organs", ("liver", "spleen")) == {"liver", "liver tumor", "spleen"}
    assert denied("organs", ("liver",)) == {"liver", "liver tumor"}
    # Liver and spleen cannot be in the brain's field of view; what the source itself has labels for can.
    assert denied("brain", ("hippocampus",)) == {"hippocampus", "liver", "spleen"}

    # The same patch means something else in each of them.
    patch = trainer.patches[0]
    nothing, losses = torch.zeros_like(patch.labels), {}
    for number, case in enumerate(trainer.cases):
        with torch.no_grad():
            total = trainer.loss(Patch(patch.image, nothing, number)).total.item()
        losses.setdefault((case.source, case.annotated), set()).add(round(total, 5))
    assert len(losses) == 4 and all(len(values) == 1 for values in losses.values())
    assert len(set.union(*losses.values())) == 3  # two of them deny the same


def test_a_field_of_view_that_does_not_exist_is_refused(balls, tmp_path):
    with pytest.raises(UserError, match="names the region 'tummy', which the vocabulary does not have"):
        a_trainer(balls, tmp_path, sources={"organs": {"field_of_view": ["abdomen", "tummy"]}})


def test_a_plan_gives_structures_prototypes_in_their_order_from_texts_where_there_are_any(balls):
    text = np.random.default_rng(0).standard_normal(16)
    plan = plan_training(
        read_case_lists([balls]),
        TrainingSettings.model_validate(SETTINGS),
        embeddings={"spleen": (text, "a spleen")},
    )
    assert plan.bank.names == ("background", "liver", "spleen")
    assert [(e.source, e.prompt) for e in plan.bank.entries] == [("code", None), ("code", None), ("text", "a spleen")]


def test_a_training_may_start_from_a_trained_model(balls, whole_training, tmp_path):
    start = load_model(whole_training / "last")
    settings = TrainingSettings.model_validate({**SETTINGS, "seed": 5, "iterations": 1, "validation_cases": 0})
    plan = plan_training(read_case_lists([balls]), settings, initial=start)
    assert plan.bank == start.bank  # weights mean nothing without the prototypes that they were trained towards
    trainer = Trainer(plan, tmp_path / "run", device="cpu")
    wanted = weights_of(start.network)
    for state in (trainer.state.network, trainer.state.averaged):
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights_of(state).items())
    manifest = trainer.train()
    assert manifest.training["initial"]["iterations_done"] == ITERATIONS
    assert manifest.prototype_seed == start.bank.seed == 0
    assert load_model(tmp_path / "run/last").bank == start.bank
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights_of(start.network).items())


def test_a_training_does_not_start_from_a_model_of_something_else(balls, whole_training, tmp_path):
    start = load_model(whole_training / "last")
    settings = TrainingSettings.model_validate(SETTINGS)
    other = write_source(tmp_path / "other", ("liver", "pancreas"))
    with pytest.raises(UserError, match="a training can start from a model of the same structures only"):
        plan_training(read_case_lists([other]), settings, initial=start)
    wider = TrainingSettings.model_validate({**SETTINGS, "dimension": 24})
    with pytest.raises(UserError, match="has another network than the settings ask for"):
        plan_training(read_case_lists([balls]), wider, initial=start)


def test_what_a_case_list_says_of_its_own_structures_stands_in_the_model(tmp_path):
    category = ["49755003", "SCT", "Morphologically Altered Structure"]
    own = {"name": "odd thing", "category": category, "type": ["367643001", "SCT", "Cyst"], "color": [1, 2, 3]}
    source = write_source(tmp_path / "cases", ("liver", "odd thing"), own_structures=[own])
    (kept,) = a_trainer(source, tmp_path / "run").model().manifest.own_structures
    assert (kept.name, kept.type.meaning, kept.color) == ("odd thing", "Cyst", (1, 2, 3))


def test_a_structure_that_no_training_case_annotates_is_not_learned(tmp_path):
    names = ("liver", "pancreas", "spleen")
    cases = write_source(tmp_path / "cases", names, annotated=["liver", "spleen"])
    manifest = a_trainer(cases, tmp_path / "run").model().manifest
    assert manifest.structures == ("liver", "spleen")
    assert manifest.sources[0].structures == ("liver", "spleen")
    nothing = write_source(tmp_path / "nothing", names, annotated=[])
    with pytest.raises(UserError, match="nothing to learn"):
        a_trainer(nothing, tmp_path / "other")


def test_a_model_says_which_wholes_and_parts_were_drawn_beside_each_other(tmp_path):
    names = ("liver", "liver tumor")
    both = write_source(tmp_path / "both", names)
    assert a_trainer(both, tmp_path / "one").model().manifest.told_apart == (names,)
    organ = write_source(tmp_path / "organ", names, annotated=["liver"])
    assert a_trainer(organ, tmp_path / "two").model().manifest.told_apart == ()


def test_more_structures_than_dimensions_are_refused(balls):
    settings = TrainingSettings.model_validate({**SETTINGS, "dimension": 2})
    with pytest.raises(UserError, match="no room for a prototype of 'spleen'"):
        plan_training(read_case_lists([balls]), settings)


def test_a_backbone_that_cannot_be_built_is_refused_before_any_work(balls):
    settings = TrainingSettings.model_validate({**SETTINGS, "backbone": {"options": {"filters": [16, 24, 32]}}})
    with pytest.raises(UserError, match="The backbone 'dynunet'"):
        plan_training(read_case_lists([balls]), settings)


def test_two_processes_get_the_gradient_of_one_with_the_whole_batch(balls, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone")
    together = run_program("step", balls, tmp_path / "two", launcher=launcher)
    assert together.returncode == 0, together.stderr
    a_trainer(balls, tmp_path / "one", iterations=1, validation_cases=0).train()
    one, two = (load_file(tmp_path / folder / CHECKPOINT) for folder in ("one", "two"))
    assert one.keys() == two.keys()
    gradients = [key for key in one if key.endswith(".exp_avg")]
    assert len(gradients) > 10
    largest = max(one[key].abs().max() for key in gradients)
    assert largest > 0
    for key in gradients:  # after one step the first moment is a tenth of the gradient
        assert (one[key] - two[key]).abs().max() < 1e-5 * largest, key
    network = a_trainer(balls, tmp_path / "another").state.network
    for index, (name, _) in enumerate(network.named_parameters()):
        key = f"network.{name}"
        # Adam's first step is the gradient's sign, which is chance where the gradient is nearly 0.
        sure = one[f"optimizer.{index}.exp_avg"].abs() > 1e-3 * largest
        assert not sure.any() or (one[key] - two[key])[sure].abs().max() < 1e-5, key
    ranks = [json.loads((tmp_path / f"two-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["checksum"] == ranks[1]["checksum"]
    assert [rank["rank"] for rank in ranks] == [0, 1]
    assert "3 patches a step cannot be shared among 2 processes" in ranks[0]["refused"]
    assert [row["step"] for row in table(tmp_path / "two/log.csv")] == ["1"]
