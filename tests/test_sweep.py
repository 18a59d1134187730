"""Many runs that share their work: the same results as one by one, whatever happens meanwhile."""

import errno
import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
from PIL import Image
from sweeping import same_run

from indad.backbones.registry import BACKBONES
from indad.cli.commands import main
from indad.data.catalog import CATALOG
from indad.data.synthetic import categories as synthetic
from indad.errors import InputError
from indad.experiments import records as results
from indad.experiments import sweep
from indad.experiments.plans import EXPERIMENTS, RunPlan, expand, expand_experiment
from indad.experiments.published import published_table
from indad.experiments.run import run
from indad.experiments.sweep import run_sweep
from indad.experiments.workers import workers
from indad.learned import learning
from indad.patchcore import PatchCore
from indad.presets import PRESETS


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("indad.experiments.run._write_pictures", lambda *arguments: None)


SMALL = {"resize": 128}  # images, and with them all else


def plans_for(drawn, **choices):
    return expand(str(drawn), ["tiles"], choices=choices, options=SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {}, {"preset": "amazon", "resize": 128, "crop": 112},
    {"preset": "ind_knn_ad", "seed": 1, "resize": (128, 128), "crop": 112},
    SMALL | {"shots": 3, "seed": 2},
    SMALL | {"shots": 2, "protocol": "anomalydino", "augmentation": "flips"},
    SMALL | {"coreset": "random", "image_score": "top", "calibration": "folds"},
    SMALL | {"coreset_ratio": 1.0, "num_neighbors": 3, "calibration": "held-out"}])
def test_a_run_of_a_sweep_is_the_run_alone(drawn, tmp_path, options):
    own = {name: options.pop(name) for name in ("preset", "shots", "protocol") if name in options}
    alone = run(str(drawn), "tiles", options=options, output=tmp_path / "a", overlays=0, **own)
    (outcome,) = run_sweep([RunPlan(str(drawn), "tiles", options=options, **own)],
                           output=tmp_path / "b")
    assert outcome.folder.relative_to(tmp_path / "b") == alone.folder.relative_to(tmp_path / "a")
    same_run(alone.folder, outcome.folder)


@pytest.mark.slow
def test_what_runs_share_is_computed_once(drawn, tmp_path, calls):
    plans = expand(str(drawn), ["tiles"], seeds=(0, 1), shots=(2, None), options=SMALL,
                   choices={"coreset_ratio": [0.01, 0.02, 0.1], "image_score": ["max", "top"]})
    assert len(plans) == 24
    outcomes = run_sweep(plans, output=tmp_path)
    assert calls.count("extract") == 2  # training and test images
    assert calls.count("select") == 4  # seeds x shots
    assert [outcome.plan for outcome in outcomes] == plans
    banks = {(plan.options["coreset_ratio"], plan.shots):
             results.read_record(outcome.folder)["memory_bank"]["patches"]
             for plan, outcome in zip(plans, outcomes, strict=True)}
    assert banks == {(ratio, shots): int((shots or 8) * 256 * ratio)
                     for ratio in (0.01, 0.02, 0.1) for shots in (2, None)}
    assert len(json.loads((tmp_path / "summary.json").read_text())) == 24
    assert not list(tmp_path.glob(".sweep-*"))


@pytest.mark.slow
def test_skip_existing_keeps_only_the_same_runs(drawn, tmp_path):
    first = run_sweep(plans_for(drawn, coreset_ratio=[0.01, 0.02]), output=tmp_path)
    assert [outcome.reused for outcome in first] == [False, False]
    again = run_sweep(plans_for(drawn, coreset_ratio=[0.01, 0.03]), output=tmp_path,
                      skip_existing=True)
    assert [outcome.reused for outcome in again] == [True, False]
    fresh = run_sweep(plans_for(drawn, coreset_ratio=[0.01, 0.03]), output=tmp_path)
    assert [outcome.reused for outcome in fresh] == [False, False]


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(drawn, tmp_path, monkeypatch):
    plans = plans_for(drawn, coreset_ratio=[0.01, 0.02, 0.05])

    def interrupt(outcome, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(plans, output=tmp_path, on_run=interrupt)
    (state,) = tmp_path.glob(".sweep-*")
    monkeypatch.setattr(PatchCore, "extract", None)  # not needed: the features are kept
    monkeypatch.setattr(learning, "select_coreset", None)
    outcomes = run_sweep(plans, output=tmp_path)
    assert sum(outcome.reused for outcome in outcomes) == 2
    assert not state.exists()


@pytest.mark.slow
def test_data_that_changed_meanwhile_are_noticed(drawn, tmp_path):
    shutil.copytree(drawn / "tiles", tmp_path / "set" / "tiles")
    plans = expand(str(tmp_path / "set"), ["tiles"], options=SMALL,
                   choices={"coreset_ratio": [0.01, 0.02]})

    def interrupt(outcome, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(plans, output=tmp_path / "out", on_run=interrupt)
    Image.new("RGB", (256, 256), "red").save(tmp_path / "set/tiles/train/good/000.png")
    outcomes = run_sweep(plans, output=tmp_path / "out")
    assert [outcome.reused for outcome in outcomes] == [False, False]
    alone = run(str(tmp_path / "set"), "tiles", options=SMALL | {"coreset_ratio": 0.01},
                output=tmp_path / "alone", overlays=0)
    same_run(alone.folder, outcomes[0].folder)


@pytest.mark.slow
def test_unreadable_images_are_left_out_and_counted(drawn, tmp_path):
    shutil.copytree(drawn / "tiles", tmp_path / "set" / "tiles")
    for file in ("train/good/002.png", "test/crack/000.png"):
        (tmp_path / "set/tiles" / file).write_bytes(b"")
    shutil.rmtree(tmp_path / "set/tiles/ground_truth/crack")
    for augmentation in ("none", "flips"):
        options = SMALL | {"coreset_ratio": 0.01, "augmentation": augmentation}
        plan = RunPlan(str(tmp_path / "set"), "tiles", options=options)
        (outcome,) = run_sweep([plan], output=tmp_path / "out")
        record = results.read_record(outcome.folder)
        assert record["counts"] == {"train": 7, "test_good": 3, "test_defective": 4,
                                    "test_masks": 4, "unreadable": 2}
        alone = run(plan.dataset, "tiles", options=options, output=tmp_path / "alone", overlays=0)
        same_run(alone.folder, outcome.folder)


@pytest.mark.parametrize("words, message", [
    (["--backbone", "wide_resnet_50"], "did you mean"),
    (["--preset", "amazone"], "did you mean amazon"),
    (["--coreset-ratio", "0.1", "2"], "coreset_ratio is 2.0"),
    (["--shots", "1,99"], "shots is 99; tiles has 8 training images"),
    (["--shots", "some"], "shots is 'some'; give numbers of images, or all"),
    (["--shots", "4", "--seeds", "3", "--protocol", "anomalydino"], "takes images 8 to 11"),
    (["--augmentation", "rotation"], "did you mean rotations"),
    (["--parallel", "many"], "parallel is 'many'"),
    (["--seeds", "0"], "seeds is 0; it must be a whole number from 1 to 10000"),
    (["--false-alarm-rate", "7"], "false_alarm_rate is 7.0"),
    (["--category", "tile"], "did you mean tiles"),
])
def test_bad_input_is_said_before_the_first_run(words, message, drawn, tmp_path, capsys):
    base = ["benchmark", "--dataset", str(drawn), "--output", str(tmp_path / "out")]
    if "--category" not in words:
        base += ["--category", "tiles"]
    assert main([*base, *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(tmp_path.rglob("metrics.json"))


@pytest.mark.slow
def test_the_command_writes_tables(drawn, tmp_path, capsys):
    assert main(["benchmark", "--dataset", str(drawn), "--category", "tiles", "--resize", "128",
                 "--coreset-ratio", "0.01", "0.05", "--seeds", "2", "--shots", "2,all",
                 "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "8 runs, 0 of them kept from before" in out
    assert (tmp_path / "benchmark.md").read_text() in out
    rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
    assert [(row["coreset_ratio"], row["shots"], row["image_auroc"]["n"]) for row in rows] == [
        (0.01, 2, 2), (0.01, None, 2), (0.05, 2, 2), (0.05, None, 2)]


@pytest.mark.slow
def test_shots_of_a_sweep_are_nested_and_do_not_depend_on_other_categories(drawn, tmp_path):
    plans = expand(str(drawn), ["capsule", "tiles"], shots=(1, 2, 4), seeds=(0, 1))
    chosen = {}
    for plan in plans:
        train, _ = sweep.load_dataset(plan.dataset, plan.category, shots=plan.shots,
                                      seed=plan.options["seed"])
        key = (plan.category, plan.options["seed"])
        names = [item.path.name for item in train]
        assert names[:len(chosen.get(key, []))] == chosen.get(key, [])
        chosen[key] = names
    assert len({tuple(names) for names in chosen.values()}) == 4


@pytest.mark.slow
def test_a_checkpoint_that_changes_makes_another_run(drawn, tmp_path, capsys):
    import timm
    import torch

    def save(seed):
        torch.manual_seed(seed)
        torch.save(timm.create_model(BACKBONES["efficientnet_lite0"].tag).state_dict(), file)

    file = tmp_path / "mine.pth"
    base = ["benchmark", "--dataset", str(drawn), "--category", "tiles", "--coreset-ratio", "0.01",
            "--resize", "128", "--weights", str(file), "--skip-existing",
            "--output", str(tmp_path / "out")]
    assert main(base) == 2
    assert "mine.pth: no such checkpoint" in capsys.readouterr().err
    for seed, kept in ((0, 0), (0, 1), (1, 0)):
        save(seed)
        assert main(base) == 0
        assert f"1 run, {kept} of them kept" in capsys.readouterr().out
    assert len(list((tmp_path / "out").glob("*/*/*/metrics.json"))) == 2


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_every_experiment_is_spelt_right(name):
    """All its names exist, and its plans are valid, on the real set as on the synthetic one."""
    row = EXPERIMENTS[name]
    assert {part for backbone in row.choices["backbone"] for part in backbone.split("+")} <= set(
        BACKBONES)
    assert all(published_table(table) for table in row.published)
    categories = [*CATALOG[row.dataset].categories]
    assert {category.removesuffix("_reduced") for category in row.categories} <= {
        "all", *categories}
    whole = expand(row.dataset, categories[:1], presets=row.presets, seeds=range(row.seeds),
                   shots=row.shots, choices=row.choices, options=row.options,
                   protocol=row.protocol)
    quick = expand_experiment(name, quick=True)
    for plan in (*whole, *quick):
        plan.model()
    assert {plan.dataset for plan in quick} == {"synthetic"}
    assert all(BACKBONES[part].package for plan in quick
               for part in plan.options["backbone"].split("+"))


def test_an_unknown_experiment(capsys):
    assert main(["benchmark", "--experiment", "papers"]) == 2
    assert "did you mean paper" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_runs_on_synthetic_parts(tmp_path, monkeypatch, capsys):
    drawing = synthetic.write_category
    monkeypatch.setattr(drawing, "__kwdefaults__", drawing.__kwdefaults__ | dict(
        train=8, good=2, per_defect=1))
    monkeypatch.setitem(PRESETS, "anomalydino", PRESETS["anomalydino"] | SMALL)
    name = "few-shot-anomalydino"
    monkeypatch.setitem(EXPERIMENTS, name, replace(EXPERIMENTS[name], shots=(1, 2)))
    assert main(["benchmark", "--experiment", name, "--quick",
                 "--datasets", str(tmp_path / "sets"), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "# few-shot with DINOv2 tokens" in out
    assert "| PatchCore | 83.4 |" in out.replace("83.40", "83.4")


@pytest.mark.slow
def test_a_killed_process_is_explained_and_the_sweep_goes_on_when_started_again(tmp_path):
    def die(job, place):  # in here it is sent whole: its process need not import this file for it
        """Kill the process that works on it, once, as a system without memory does."""
        if job == "second" and not (place / "died").exists():
            (place / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield job

    for attempt in range(2):
        with workers("2") as work:
            if attempt:
                assert sorted(sum(work(die, ["first", "second"], tmp_path), [])) == [
                    "first", "second"]
                break
            with pytest.raises(InputError, match="was killed, probably out of memory; .*again"):
                list(work(die, ["first", "second"], tmp_path))


@pytest.mark.slow
def test_the_same_sweep_twice_at_once_is_refused(drawn, tmp_path):
    plans = plans_for(drawn, coreset_ratio=[0.01])
    refused = []

    def start_it_again(outcome, done, total):
        with pytest.raises(InputError, match="the same sweep is at work there") as caught:
            run_sweep(plans, output=tmp_path)
        refused.append(caught)

    run_sweep(plans, output=tmp_path, on_run=start_it_again)
    assert len(refused) == 1
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]
    run_sweep(plans, output=tmp_path)  # one after the other they may


@pytest.mark.slow
def test_tables_that_were_cut_between_two_starts_are_computed_again(drawn, tmp_path):
    plans = plans_for(drawn, coreset_ratio=[0.01, 0.02])

    def interrupt(outcome, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(plans, output=tmp_path / "out", on_run=interrupt)
    tables = sorted(tmp_path.glob("out/.sweep-*/*.pt"))
    assert len(tables) == 3
    for table in tables:
        table.write_bytes(table.read_bytes()[:-1000])
    outcomes = run_sweep(plans, output=tmp_path / "out")
    alone = run(str(drawn), "tiles", options=SMALL | {"coreset_ratio": 0.01},
                output=tmp_path / "alone", overlays=0)
    same_run(alone.folder, outcomes[0].folder)


@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_sweep(drawn, tmp_path, monkeypatch):
    plans = plans_for(drawn, coreset_ratio=[0.01])

    def full(value, out):
        out.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sweep.torch, "save", full)
        with pytest.raises(InputError, match="the disk is full; free some space, and start the"):
            run_sweep(plans, output=tmp_path)
    assert not list(tmp_path.rglob("*.partial"))
    assert len(run_sweep(plans, output=tmp_path)) == 1


def test_an_empty_sweep(tmp_path):
    with pytest.raises(InputError, match="without a single run"):
        run_sweep([], output=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("coreset", ["greedy", "random"])
def test_keeping_everything_is_no_selection_for_smaller_ratios(drawn, tmp_path, coreset):
    """All patches, in whatever order, are no greedy picks to take the first ones of."""
    plans = expand(str(drawn), ["tiles"], shots=(2,), options=SMALL | {"coreset": coreset},
                   choices={"coreset_ratio": [1.0, 0.1, 0.05]})
    outcomes = run_sweep(plans, output=tmp_path / "sweep")
    for plan, outcome in zip(plans, outcomes, strict=True):
        alone = run(str(drawn), "tiles", shots=2, options=plan.options, output=tmp_path / "alone",
                    overlays=0)
        same_run(alone.folder, outcome.folder)
