"""Configurations refuse unknown keys and are checked before any model is loaded."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from factcensus.unlearn.config.files import load_config, load_settings
from factcensus.unlearn.config.named import METHODS
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import get_objective, objective
from factcensus.unlearn.presets import PRESETS

SMALLEST: dict[str, Any] = {"model": "m", "facts": "f.parquet", "out": "o", "methods": ["simnpo"]}
TOML = """
model = "m"
facts = "f.parquet"
out = "o"
methods = ["simnpo", {preset = "grad_diff", name = "slow", learning_rate = 1e-6}]
[training]
passes = 3
"""


def config(**settings: Any) -> RunConfig:
    return check_config({**SMALLEST, **settings})


def test_toml_yaml_and_json_give_equal_configurations(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    settings = load_config(tmp_path / "a.toml").resolved()
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "a.json").write_text(json.dumps(settings))
    assert load_config(tmp_path / "a.yaml").fingerprint() == load_config(tmp_path / "a.json").fingerprint()
    assert load_config(tmp_path / "a.toml").fingerprint() == load_config(tmp_path / "a.json").fingerprint()


def test_assignments_can_set_every_kind_of_value(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    changed = load_config(
        tmp_path / "a.toml",
        [
            "training.passes=1.5",
            "seed=7",
            "methods.0.gamma=2",
            "methods.1.name=slower",
            "model=other/name",
            "selection.forget.strata=[1, 2]",
            "selection.retain.match=['relation']",
        ],
    )
    assert (changed.training.passes, changed.seed, changed.model) == (1.5, 7, "other/name")
    assert [(method.name, method.gamma) for method in changed.methods] == [("simnpo", 2.0), ("slower", 1.0)]
    assert changed.selection.forget.strata == (1, 2)
    assert changed.selection.forget.roles is None
    assert changed.selection.retain.match == ("relation",)


@pytest.mark.parametrize("assignment", ["seed", "=1", "methods.5.gamma=1", "methods.x=1", "seed.deeper=1", "model.a=1"])
def test_invalid_assignments_are_errors(tmp_path: Path, assignment: str) -> None:
    (tmp_path / "a.toml").write_text("seed = 1\n" + TOML)
    with pytest.raises(ConfigError, match="--set"):
        load_config(tmp_path / "a.toml", [assignment])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "unknown key 'sed'; did you mean 'seed'"),
        (
            {"training": {"learning_rat": 1}},
            "'training.learning_rat'; did you mean 'training.learning_rate'",
        ),
        ({"learning_rate": 1}, "training.learning_rate"),
        ({"training": {"zzz": 1}}, "known: forms, passes"),
        (
            {"methods": [{"preset": "simnpo", "betta": 1}]},
            "'methods.0.betta'; did you mean 'methods.parameters.beta'",
        ),
        ({"training": {"passes": 0}}, "'training.passes'.*greater than 0"),
        ({"methods": ["simnop"]}, "unknown preset 'simnop'; did you mean 'simnpo'"),
        ({"methods": [{"objective": "zzz"}]}, "unknown objective 'zzz'; known: grad_ascent.*never_seen"),
        ({"methods": [{"preset": "simnpo", "beta": 1.0}]}, "did you mean 'methods.parameters.beta'"),
        ({"methods": [{"preset": "simnpo", "learning_rate": -1.0}]}, r"'methods.0.learning_rate'.*got -1.0\)$"),
        (
            {"methods": [{"preset": "simnpo", "parameters": {"betta": 1.0}}]},
            "no parameter 'betta'; did you mean 'beta'",
        ),
        ({"methods": ["simnpo", "simnpo"]}, "two methods are named 'simnpo'"),
        ({"methods": []}, "methods"),
        ({"methods": [{"preset": "idk", "margin": 2.0}]}, "has no margin"),
        ({"methods": [{"preset": "idk", "name": "../idk"}]}, "letters, digits"),
        ({"methods": [{"preset": "idk", "name": "original"}]}, "not 'original'"),
        ({"dtype": "float16"}, "float32"),
        *(
            ({"methods": [{"preset": preset, "parameters": {name: value}}]}, f"{name}.*{said}.*got {got}")
            for preset, name, value, said, got in (
                ("simnpo", "beta", 0, "a number above 0", "0"),
                ("npo", "beta", -1, "a number above 0", "-1"),
                ("dpo", "beta", "x", "a number above 0", "'x'"),
                ("simnpo", "beta", None, "a number above 0", "None"),
                ("simnpo", "beta", True, "a finite number or a name", "True"),
                ("simnpo", "beta", math.inf, "a finite number or a name", "inf"),
                ("undial", "beta", -1, "a number of at least 0", "-1"),
                ("flat", "divergence", "chi", "one of kl, total_variation", "'chi'"),
                ("ce_u", "skip", 1.5, "an integer of at least 0", "1.5"),
                ("rmu", "direction_seed", -1, "an integer of at least 0", "-1"),
                ("rmu", "steering", "a", "a number of at least 0", "'a'"),
                ("grad_diff", "ceiling_nats", -1, "a number of at least 0, or none", "-1"),
            )
        ),
        ({"methods": [{"preset": "simnpo", "weight_strength": 0.5}]}, "weight_strength has no effect"),
        ({"methods": [{"preset": "simnpo", "preferred": "given"}]}, "prefers no answer"),
        ({"methods": [{"preset": "simnpo", "alternatives": 2}]}, "prefers no answer"),
        ({"methods": [{"preset": "simnpo", "gru_gamma": 0.5}]}, "gru_gamma has no effect"),
        ({"methods": [{"preset": "simnpo", "layer": 1}]}, "layer has no effect"),
        ({"methods": [{"preset": "loku", "adapter": {"targets": []}}]}, "targets"),
        ({"training": {"refusal": " "}}, "training.refusal.*not blank"),
        ({"training": {"forms": ["cloze", "cloze"]}}, "'cloze' is given twice"),
        ({"seed": 2**32}, "'seed'"),
        ({"facts": ""}, "'facts'.*name of a file"),
        ({"out": " "}, "'out'.*name of a file"),
        ({"attention": "flash_attention_2"}, "kernels take bfloat16 only, but dtype is 'float32'"),
        ({"attention": "flash_attention_3", "dtype": "bfloat16-autocast"}, "dtype is 'bfloat16-autocast'"),
        ({"attention": "flash_attention_2", "dtype": "bfloat16", "device": "cpu"}, "needs a GPU"),
        ({"selection": {"forget": {"role": ["x"]}}}, "did you mean 'selection.forget.roles'"),
    ],
)
def test_errors_name_the_invalid_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_errors_name_missing_settings() -> None:
    with pytest.raises(ConfigError, match="'facts' is missing; 'out' is missing"):
        check_config({"model": "m", "methods": ["idk"]})


@pytest.mark.parametrize(("name", "text"), [("a.toml", "= 1"), ("a.yaml", "a: [1"), ("a.json", "{"), ("a.ini", "")])
def test_errors_name_unreadable_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=name):
        load_config(tmp_path / name)
    with pytest.raises(ConfigError, match="no configuration file at"):
        load_config(tmp_path / "absent.toml")


def test_overrides_keep_other_settings_of_a_preset() -> None:
    method = config(methods=[{"preset": "simnpo_count", "weight_strength": 1.0, "parameters": {"beta": 4.5}}]).methods[
        0
    ]
    assert (method.name, method.objective, method.weights) == ("simnpo_count", "simnpo", "count")
    assert (method.weight_strength, method.loss_parameters()) == (1.0, {"beta": 4.5})


def test_resolved_settings_give_the_same_configuration() -> None:
    for preset in PRESETS.values():
        first = preset.run_config(model="m", facts="f", out="o", seed=3, evaluator="none")
        assert check_config(first.resolved()) == first


def test_fingerprint_depends_only_on_settings_that_affect_results() -> None:
    same = config(out="elsewhere", threads=1, save_models=True, training={"save_every_steps": 3})
    assert same.fingerprint() == config().fingerprint()
    assert config(seed=1).fingerprint() != config().fingerprint()
    halved, plain = config(methods=[{"preset": "simnpo", "gamma": 0.5}]), config()
    assert halved.fingerprint() == plain.fingerprint()
    assert halved.method_fingerprint(halved.methods[0]) != plain.method_fingerprint(plain.methods[0])
    dosed = config(training={"learning_rate": 1e-3})
    assert dosed.fingerprint() != plain.fingerprint()
    assert dosed.original_fingerprint() == plain.original_fingerprint()
    assert config(template="chat").original_fingerprint() != plain.original_fingerprint()
    moved = config(index={"url": "http://127.0.0.1:1", "name": "dolma"})
    assert moved.fingerprint() == config(index={"url": "http://counts:8080", "name": "dolma"}).fingerprint()


def test_presets_without_counts_omit_methods_that_need_counts() -> None:
    names = [m.name for m in PRESETS["demo"].run_config(model="m", facts="f", out="o", seed=0, counts=False).methods]
    assert names == ["grad_diff", "simnpo", "idk"]
    assert not [name for name in names if METHODS[name].weighs_by_count]


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("a.yaml", "seed: 1\nmodel: m\nseed: 2\n", "'seed' is given twice (line 3)"),
        ("a.yaml", "training:\n  passes: 1\n  batch_forget: 2\n  passes: 3\n", "'passes' is given twice (line 4)"),
        ("a.yml", "methods:\n- preset: npo\n  preset: idk\n", "'preset' is given twice (line 3)"),
        ("a.yaml", "sweep: {seed: [0], seed: [1]}\n", "'seed' is given twice"),
        ("a.json", '{"training": {"passes": 1, "passes": 2}}', "'passes' is given twice"),
        ("a.toml", "seed = 1\nseed = 2\n", "overwrite"),
    ],
)
def test_duplicate_keys_are_refused_and_the_file_is_named(tmp_path: Path, name: str, text: str, key: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=re.escape(name)) as refused:
        load_config(tmp_path / name)
    assert key in str(refused.value)


def test_yaml_merge_keys_may_be_overridden(tmp_path: Path) -> None:
    text = "x: &base {passes: 1, batch_forget: 2}\ntraining: {<<: *base, passes: 3}\n"
    (tmp_path / "a.yaml").write_text(text)
    assert load_settings(tmp_path / "a.yaml")["training"] == {"passes": 3, "batch_forget": 2}


def test_duplicate_assignments_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    with pytest.raises(ConfigError, match=r"--set training\.passes is given twice"):
        load_config(tmp_path / "a.toml", ["training.passes=1", "seed=2", "training.passes=3"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.passess=2", "did you mean 'training.passes'"),
        ("methods.0.gama=2", "did you mean 'methods.gamma'"),
        ("sede=2", "did you mean 'seed'"),
        ("index.nam=x", "did you mean 'index.name'"),
    ],
)
def test_unknown_assignment_keys_get_a_suggestion(tmp_path: Path, assignment: str, message: str) -> None:
    (tmp_path / "a.toml").write_text(TOML)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "a.toml", [assignment])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": True}, "seed must be a number, got true"),
        ({"seed": "1_0"}, "seed must be a number, got '1_0'"),
        ({"training": {"learning_rate": " 1e-5"}}, "learning_rate must be a number, got ' 1e-5'"),
        ({"training": {"passes": True}}, "passes must be a number, got true"),
        ({"training": {"passes": float("inf")}}, "training.passes"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"index": {"name": "wiki"}}, "the section needs url or folder"),
        ({"index": {"folder": "i", "windows": [10, -1]}}, "a window must be a number of tokens of at least 0, got -1"),
        ({"index": {"folder": "i", "bins": "quantile:0"}}, "invalid bins 'quantile:0'"),
        ({"selection": {"forget": {"relations": "capital"}}}, 'expected a list, such as ["a", "b"]'),
    ],
)
def test_ambiguous_and_ineffective_values_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_config({"model": "m", "facts": "f.csv", "out": "o", "methods": ["npo"], **settings})


def test_yaml_numbers_are_decimal(tmp_path: Path) -> None:
    text = "seed: 010\nmodel: m\nfacts: f.csv\nout: 007\nmethods: [npo]\ntraining: {learning_rate: 1e-5}\n"
    (tmp_path / "run.YAML").write_text("\ufeff" + text)
    config = load_config(tmp_path / "run.YAML")
    assert (config.seed, str(config.out), config.training.learning_rate) == (10, "007", 1e-5)
    (tmp_path / "run.yaml").write_text(text.replace("010", "1:30"))
    with pytest.raises(ConfigError, match="seed must be a number, got '1:30'"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("ending", "text"), [("json", "[" * 10**5), ("yaml", "a: " + "[" * 5000), ("toml", "a = " + "[" * 5000)]
)
def test_too_deeply_nested_files_are_refused(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"c.{ending}"
    path.write_text(text)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(path)


@pytest.mark.parametrize(
    "settings", [{"training": {"passes": 1e308}}, {"methods": [{"preset": "simnpo", "passes": 1e308}]}]
)
def test_excessive_passes_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="passes"):
        config(**settings)


def test_every_preset_accepts_its_own_parameters_and_names_of_packages_accept_the_type_of_their_default() -> None:
    for name in METHODS:
        world = {"retrain_world": "w"} if name == "retrain" else {}
        method = config(methods=[{"preset": name, **world}]).methods[0]
        get_objective(method.objective).check_parameters(method.loss_parameters())

    @objective("of_a_package", source="test")
    def loss(scores: Any, *, power: float = 2.0, kind: str = "a", limit: Any = None) -> Any:  # noqa: ARG001 - unused
        return scores

    loss.check_parameters({"power": 3, "kind": "b", "limit": [1]})
    for name, value in (("power", "b"), ("power", True), ("power", math.nan), ("kind", 1)):
        with pytest.raises(ConfigError, match=f"parameter '{name}' of 'of_a_package' must be a "):
            loss.check_parameters({name: value})


def test_flash_attention_with_bfloat16_on_a_gpu_is_accepted() -> None:
    assert config(attention="flash_attention_2", dtype="bfloat16", device="cuda").attention == "flash_attention_2"
