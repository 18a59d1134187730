"""A model's options as words: each reaches the model, and none of two runs is taken for another."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from cases import few
from sweeping import same_run

from indad import PatchCore
from indad.cli import commands
from indad.cli.model_words import GROUPS, model_options, words_of
from indad.cli.words import OF_A_MODEL, parser
from indad.data.arguments import as_word
from indad.errors import InputError
from indad.experiments import plans as planning
from indad.experiments import records as results
from indad.experiments import run as running
from indad.experiments import sweep, tables
from indad.experiments.plans import RunPlan, check_apart, expand
from indad.experiments.run import make_config, make_model, run
from indad.experiments.sweep import run_sweep
from indad.experiments.valid import WITHOUT_EFFECT
from indad.presets import OPTIONS, PRESETS, Parameters

# Of each option a value that is not the default, and what it needs beside it.
VALUES = {
    "backbone": "resnet18", "layers": (1, 2), "weights": "mine.pth", "resize": (96, 64),
    "crop": 48, "tiles": 512, "overlap": 32, "scale": 0.5, "region": "mask.png",
    "foreground": "auto", "align": "rigid", "align_tolerance": (0.02, 5.0),
    "normalization": "imagenet", "patch_features": "tokens", "scales": (1.0, 1.5),
    "augmentation": "flips", "balance_images": False, "balance_layers": False,
    "coreset_ratio": 0.25, "coreset": "random", "coreset_start": "mean", "projection": "linear",
    "num_neighbors": 5, "search": "hnsw", "squared": True, "image_score": "top",
    "reweight_neighbors": 4, "map_upsampling": "nearest", "map_sigma": 2.0, "map_kernel_size": 9,
    "map_border": "zero", "calibration": "folds", "robust": True, "batch_size": 3,
    "device": "cpu", "precision": "bfloat16", "memory_budget": "2GB", "seed": 7, "reserve": 0.2,
    "false_alarm_rate": 0.1}
BESIDE = {"overlap": {"tiles": 512}, "scale": {"tiles": 512},
          "align_tolerance": {"align": "shift"}}
TRAIN = SimpleNamespace(dataset="set", category="nut", version=None)


class Made(Exception):
    """What a command would work with."""


@pytest.fixture
def made(drawn, tmp_path, monkeypatch):
    """A command's words -> the first model or plan that it makes of them."""
    monkeypatch.chdir(tmp_path)
    for file in ("mine.pth", "mask.png"):
        Path(file).touch()

    def stop(preset, options):
        raise Made(make_model(preset, options))

    for module in (running, planning):
        monkeypatch.setattr(module, "make_model", stop)

    def model(command: str, *words: str) -> PatchCore:
        where = {"fit": [str(drawn / "tiles"), "--output", "new"], "submit": ["sub"]}.get(
            command, ["--dataset", str(drawn), "--category", "tiles"])
        with pytest.raises(Made) as caught:
            assert commands.main([command, *where, *words, "--debug"]) == 0
        return caught.value.args[0]

    return model


def test_the_table_names_everything_once():
    assert VALUES.keys() == OPTIONS.keys() == PatchCore().get_params().keys()
    assert {option.group for option in OPTIONS.values()} == set(GROUPS)
    for name, option in OPTIONS.items():
        assert getattr(PatchCore(), name) == option.default
        option.rule.check(name, option.default)
        option.rule.check(name, VALUES[name])
        assert VALUES[name] != option.default
        one_line = " ".join(PatchCore.__init__.__doc__.split())
        assert f" {name}: {option}" in one_line.replace("leave- one", "leave-one")
    assert "Args" not in Parameters.__doc__  # or there would be two


@pytest.mark.parametrize("name", few([*OPTIONS], (
    "backbone", "layers", "region", "squared", "num_neighbors", "device", "reserve")))
def test_each_option_reaches_the_model(name, made):
    given = BESIDE.get(name, {}) | {name: VALUES[name]}
    for command, takes in OF_A_MODEL.items():
        if name not in takes.get("without", ()):
            model = made(command, *words_of(given))
            own = {"seed": 0} if command == "benchmark" else {}
            own |= {"reserve": 0.05} if command == "fit" else {}
            if name == "false_alarm_rate" and command != "fit":
                continue  # of a run, not of its model: see below
            assert model.get_params() == PatchCore(**own | given).get_params()


def test_the_rate_of_false_alarms_reaches_the_run(drawn, tmp_path, monkeypatch):
    for command, place in (("run", "experiments.run.run"),
                           ("benchmark", "experiments.plans.expand")):
        asked = {}
        monkeypatch.setattr(f"indad.{place}", lambda *a, asked=asked, **named: (
            asked.update(named), 1 / 0))
        for words, rate in (([], 0.05), (["--false-alarm-rate", "0.2"], 0.2)):
            with pytest.raises(ZeroDivisionError):
                commands.main([command, "--dataset", str(drawn), "--category", "tiles", *words])
            assert asked["false_alarm_rate"] == rate


def test_every_preset_can_be_said_in_words_from_every_other():
    takes = parser("run")
    for start in PRESETS:
        for preset in PRESETS:
            wanted = make_model(preset, {}).get_params()
            there = make_model(start, {}).get_params()
            words = words_of({name: value for name, value in wanted.items()
                              if value != there[name]})
            given = model_options(takes.parse_args(["run", "--preset", start, *words]))
            assert make_model(start, given).get_params() == wanted


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("weights", "region")])
def test_a_word_that_says_a_value_is_read_as_it(name, tmp_path, monkeypatch):
    for value in (OPTIONS[name].default, VALUES[name], PRESETS["amazon"].get(name)):
        if not isinstance(value, bool) and (value is not None or OPTIONS[name].rule.holds(None)):
            read = OPTIONS[name].rule.from_word(name, as_word(value))
            assert (read, type(read)) == (value, type(value))


def test_help_has_all_of_them_in_groups(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    for command, takes in OF_A_MODEL.items():
        with pytest.raises(SystemExit):
            commands.main([command, "--help"])
        said = capsys.readouterr().out
        for name, option in OPTIONS.items():
            if name not in takes.get("without", ()):
                default = takes.get("defaults", {}).get(name, option.default)
                assert f"{option} (default: {as_word(default)})" in said
        assert [line.split(" (")[0] for line in said.splitlines() if line.endswith("):")] == list(
            GROUPS)
        assert "(default: None)" not in said and "SUPPRESS" not in said


def test_lists_of_presets_are_words(capsys):
    assert commands.main(["list", "presets"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("presets ") and "backbones" not in said
    for name, preset in PRESETS.items():
        assert f"{name} {' '.join(words_of(preset))}" in said


def planned(monkeypatch, *words: str) -> list[RunPlan]:
    """What a sweep would run."""
    found = []
    monkeypatch.setattr(sweep, "run_sweep", lambda plans, **options: found.extend(plans) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        commands.main(["benchmark", "--category", "tiles", *words])
    return found


def test_a_sweep_is_the_product_of_what_is_given(monkeypatch):
    plans = planned(monkeypatch, "--layers", "2,3", "3", "--resize", "64", "64,96", "--squared",
                    "--no-squared", "--crop", "none", "--projection", "none", "linear",
                    "--seed", "3", "5", "--device", "cpu", "--preset", "amazon")
    said = [tuple(plan.model().options[name] for name in (
        "layers", "resize", "squared", "projection", "seed")) for plan in plans]
    assert len(said) == len(set(said)) == 2 ** 5
    assert {one[0] for one in said} == {(2, 3), (3,)} and {one[1] for one in said} == {64, (64, 96)}
    assert {one[4] for one in said} == {3, 5}
    assert {(plan.model().crop, plan.model().device) for plan in plans} == {(None, "cpu")}
    takes = parser("run")
    for words in (["2", "3"], ["2,3"]):  # alone, spaces do as well
        assert takes.parse_args(["run", "--layers", *words]).layers == (2, 3)


@pytest.mark.parametrize("words, message", [
    (["--num-neighbors", "3", "1", "3"], "two of these runs are the same (num_neighbors=3, seed=0"),
    (["--layers", "none", "2,3"], "(layers=none, seed=0 / layers=2,3, seed=0); leave one out"),
    (["--layers", "2,,3"], "layers is '2,,3'; it must be a list"),
    (["--squared", "--squared"], "two of these runs are the same"),
    (["--patch-features", "weighted", "adaptive"], "'adaptive' ones are not; turn it off"),
    (["--projection", "None"], "did you mean none?"),
    (["--tiles", "none", "512", "--overlap", "8"], "means nothing without tiles"),
    (["--seed", "1", "--seeds", "2"], "not allowed with argument"),
    (["--device", "cpu", "cuda"], "unrecognized arguments: cuda"),
    (["--experiment", "paper", "--map-sigma", "2"], "--map-sigma does not go with --experiment"),
])
def test_mistakes_of_a_sweep_are_found_before_any_work(words, message, tmp_path, monkeypatch,
                                                       capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "load_dataset", None)
    try:
        status = commands.main(["benchmark", "--category", "tiles", *words])
    except SystemExit as stopped:
        status = stopped.code
    (line,) = capsys.readouterr().err.splitlines()
    assert (status, message in line, list(tmp_path.iterdir())) == (2, True, []), line


def record_of(**options) -> dict:
    """A whole record of a run with these options, its numbers aside."""
    record = json.loads((Path(__file__).parent / "fixtures/old_run/metrics.json").read_text())
    preset = options.pop("preset", "default")
    config = make_config(TRAIN, make_model(preset, options), preset=preset, split="paper",
                         shots=None, protocol="random", frame="model",
                         false_alarm_rate=options.get("false_alarm_rate", 0.05))
    return record | {"config": json.loads(json.dumps(config))}


def test_no_two_settings_share_a_folder_or_a_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in ("mine.pth", "mask.png"):
        Path(file).write_text("x")
    plain = record_of()
    assert results.run_folder(tmp_path, plain["config"]).name.count("-") == 1
    for name, value in VALUES.items():
        beside = BESIDE.get(name, {})
        one, other = record_of(**beside), record_of(**beside | {name: value})
        folders = [results.run_folder(tmp_path, record["config"]) for record in (one, other)]
        again = results.run_folder(tmp_path, record_of(**beside | {name: value})["config"])
        rows = [results.summary_row(record, "") for record in (one, other)]
        assert folders[1] == again
        same = name in WITHOUT_EFFECT
        assert (folders[0] == folders[1]) is same, name
        said = f"{name}={as_word(value)}" in folders[1].name
        assert said is not (same or name == "backbone"), folders[1]
        if name != "seed":  # which is not another variant
            table = tables.aggregate(rows)
            names = {tables.label(row, tables.varied(table)) for row in table}
            assert len(table) == len(names) == 2 - same, name
    for file in ("mine.pth", "mask.png"):  # another of the same name
        name = {"mine.pth": "weights", "mask.png": "region"}[file]
        before = record_of(**{name: file})
        Path(file).write_text("y")
        rows = [results.summary_row(one, "") for one in (before, record_of(**{name: file}))]
        assert len(tables.aggregate(rows)) == 2


def test_folders_are_short_plain_and_those_of_before_are_found(tmp_path):
    polygons = tuple(((0.1, 0.1), (0.9, 0.1 + i / 99), (0.5, 0.9)) for i in range(40))
    config = record_of(preset="amazon", num_neighbors=3, region=polygons)["config"]
    folder = results.run_folder(tmp_path, config)
    digest = results.config_hash(config)
    assert folder.name.startswith("efficientnet_lite0-amazon-region=0.1,0.1_0.9,0.1_0.5,0.9")
    assert folder.name.endswith(f"-{digest}") and len(folder.name) < 120
    assert results.run_folder(tmp_path, record_of(preset="amazon")["config"]).name.startswith(
        "efficientnet_lite0-amazon-")
    before = folder.with_name(f"efficientnet_lite0-{digest}")  # as they were called once
    before.mkdir(parents=True)
    assert results.run_folder(tmp_path, config) == before
    (tmp_path / f"set/nut/efficientnet_lite0-x-{digest}").write_text("a file is none")
    assert results.run_folder(tmp_path, config) == before


def test_pairs_are_compared_along_any_option():
    rows = [results.summary_row(record_of(**options), "") for options in (
        {}, {"preset": "indad-1"}, {"num_neighbors": 1}, {"num_neighbors": 5},
        {"backbone": "wide_resnet50_2"}, {"backbone": "dinov2_small"})]
    found = {(pair.axis, pair.a, pair.b): pair.n for pair in tables.comparisons(rows)}
    assert found == {("preset", "default", "indad-1"): 1, ("num_neighbors", 3, 1): 1,
                     ("num_neighbors", 3, 5): 1, ("num_neighbors", 1, 5): 1,
                     ("backbone", "efficientnet_lite0", "wide_resnet50_2"): 1,
                     ("backbone", "efficientnet_lite0", "dinov2_small"): 1,  # of another size
                     ("backbone", "wide_resnet50_2", "dinov2_small"): 1}


def test_runs_of_several_backbones_can_be_read():
    record = record_of(backbone="efficientnet_lite0+efficientnet_lite1")
    assert record["config"]["layers"] == [[2, 3], [2, 3]]
    assert results.summary_row(results.check_record(record), "")["layers"] == "2,3;2,3"
    record["config"]["layers"] = [[[2]]]
    with pytest.raises(InputError, match="layers is"):
        results.check_record(record)


def test_plans_that_differ_in_speed_only_are_the_same():
    plans = expand("set", ["nut"], choices={"num_neighbors": [1, 3], "batch_size": [2]})
    check_apart(plans)
    with pytest.raises(InputError, match="two of these runs are the same .*batch_size=2.*=4"):
        check_apart(expand("set", ["nut"], choices={"batch_size": [2, 4]}))


@pytest.mark.slow
def test_what_options_share_is_computed_once_and_right(drawn, tmp_path, calls):
    plans = expand(str(drawn), ["tiles"], options={"resize": 64}, choices={
        "scales": [(1.0,), (1.0, 1.5)], "coreset_start": ["random", "first"],
        "num_neighbors": [1, 3], "augmentation": ["none", "flips"]})
    outcomes = run_sweep(plans, output=tmp_path / "sweep")
    assert len({outcome.folder for outcome in outcomes}) == len(plans) == 16
    assert calls.count("extract") == 2 * 3  # for each of two scales, two trainings and a test
    assert calls.count("select") == 2 * 2 * 2  # for each training and start
    for number in (3, 10):
        alone = run(str(drawn), "tiles", options=plans[number].options, overlays=0,
                    output=tmp_path / "alone")
        assert alone.folder.name == outcomes[number].folder.name
        same_run(alone.folder, outcomes[number].folder)
    kept = outcomes[0].folder
    shutil.move(kept, kept.with_name(f"efficientnet_lite0-{kept.name[-8:]}"))  # as of before
    again = run_sweep(plans[:2], output=tmp_path / "sweep", skip_existing=True)
    assert [outcome.reused for outcome in again] == [True, True]
