"""Configurations of earlier versions: renamed and missing options are understood where options are read, and told once."""

import shutil
import subprocess
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pyro_dsvae import cli
from pyro_dsvae import compare as compare_module
from pyro_dsvae import fit as fit_module
from pyro_dsvae.comparison.candidates import grid
from pyro_dsvae.configuration.networks import encoder_for, for_frames
from pyro_dsvae.configuration.options import FitOptions
from pyro_dsvae.configuration.parts import describe, plain
from pyro_dsvae.configuration.spellings import RENAMED, OldConfiguration, modern_arguments, modern_config, modern_label
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.views import Recolour, Turn
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import load
from pyro_dsvae.models.dynamic_priors.iid import IID
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.versions import installed
from tests.encoded import SMALL_ENCODER

PROJECT = Path(__file__).parents[2]
# As a fit of ea46331 wrote it.
OLD = {
    "batch_size": 4,
    "learning_rate": 0.001,
    "priors": 0.6,
    "static_prior": 2.0,
    "dynamic_prior": 0.25,
    "settling": 3,
    "recombination": 1.0,
    "clip": 100.0,
    "kl_static": 1.0,
    "kl_dynamic": 1.0,
    "kl_warmup": 0.5,
    "evaluations": 1,
    "checkpoint_seconds": 20.0,
}
# Options that there were not yet.
LATER = ("static_start", "free_dynamic")
# All fits of that time took Adam.
TODAY = Optimisation(4, 1e-3, 0.6, 2.0, 0.25, 3, 0.4, 1.0, 100.0, 1.0, 1.0, 0.5, 1, 20.0, optimizer="Adam")
NAMES = [f"pyro_dsvae.inference.posteriors.{name}" for name in ("lstm.LSTM", "factorised.Factorised")]
SIZES = ["--static_size=2", "--latent_size=2", "--posterior.hidden_size=4", "--posterior.feature_size=4"]


def parsed(*arguments: str) -> Any:
    parser = cli.parser_for(fit, None)
    return cli.instantiate(parser, cli.parse(parser, arguments)).optimisation


def command(verb: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"pyro_dsvae.{verb}", *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "vectors.npz"
    np.savez(path, frames=np.random.default_rng(0).uniform(size=(30, 4, 3)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose config.yaml is spelt as it was."""
    out = tmp_path_factory.mktemp("fitted") / "run"
    options = [f"--data.path={data}", *SIZES, "--steps=3", "--device=cpu", f"--out={out}"]
    modern = [f"--optimisation.{name}={value}" for name, value in asdict(TODAY).items() if value is not None]
    assert fit_module.main(["--data=Arrays", *options, *modern]) == 0  # and warns of nothing
    directory = RunDirectory(out)
    written = {**directory.config(), "optimisation": OLD}
    directory.config_file.write_text(yaml.safe_dump(written, sort_keys=False))
    return out


@pytest.fixture
def old_run(fitted: Path, tmp_path: Path) -> Path:
    """Of one's own, to be changed."""
    return Path(shutil.copytree(fitted, tmp_path / "run"))


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_option_sets_the_new_one_and_says_so(old: str, new: str) -> None:
    value = getattr(TODAY, new.rpartition(".")[2])
    for arguments in ([f"--{old}={value}"], [f"--{old}", str(value)]):
        with pytest.warns(OldConfiguration, match=rf"^--{old} is now --{new}$"):
            given = parsed(*arguments)
        assert given == parsed(f"--{new}={value}")
        assert given != Optimisation()


def test_new_spellings_are_those_of_options_and_old_ones_of_none() -> None:
    options = {f"optimisation.{name}" for name in asdict(TODAY)}
    assert set(RENAMED.values()) <= options
    assert not set(RENAMED) & options
    for old, new in RENAMED.items():
        assert old.rpartition(".")[0] == new.rpartition(".")[0]


def test_values_are_no_options() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modern_arguments(["--data.path", "optimisation.clip=3", "--out=a=b"]) == [
            *("--data.path", "optimisation.clip=3", "--out=a=b")
        ]


@pytest.mark.parametrize("inline", [False, True])
def test_an_old_file_after_config_is_read(tmp_path: Path, inline: bool) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"optimisation": OLD}))
    source = str({"optimisation": OLD}) if inline else str(tmp_path / "config.yaml")
    for arguments in ([f"--config={source}"], ["--config", source]):
        with pytest.warns(OldConfiguration) as told:
            assert parsed(*arguments) == TODAY
        (message,) = (str(warning.message) for warning in told)
        assert "\n" not in message
        assert all(f"{old} is now {new}" in message for old, new in RENAMED.items())


def test_renaming_keeps_order_values_and_the_original() -> None:
    before: dict[str, Any] = {"seed": 1, "vary": {"optimisation.clip": [1, 2]}, "optimisation": dict(OLD)}
    with pytest.warns(OldConfiguration, match="^a file is of an earlier version: "):
        after = modern_config(before, "a file")
    assert list(after["optimisation"].items()) == [(n, v) for n, v in asdict(TODAY).items() if n not in LATER]
    assert after["vary"] == {"optimisation.max_grad_norm": [1, 2]}
    assert before["optimisation"] == OLD
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modern_config(after, "a file") == after
        assert modern_config({"optimisation": None, "vary": None}, "a file") == {"optimisation": None, "vary": None}


def test_what_varies_may_be_spelt_as_it_was() -> None:
    base = {"data": describe(Arrays("a.npz")), "dynamic_prior": describe(IID), "optimisation": plain(Optimisation())}
    with pytest.warns(OldConfiguration, match=r"^optimisation\.settling is now optimisation\.prior_refit_steps$"):
        candidates, written = grid(base, {"optimisation.settling": ["0", 5]})
    assert [c.name for c in candidates] == ["prior_refit_steps=0", "prior_refit_steps=5"]
    assert [c.config["optimisation"]["prior_refit_steps"] for c in candidates] == [0, 5]
    assert written == {"optimisation.prior_refit_steps": [0, 5]}


def test_a_label_is_spelt_as_today() -> None:
    assert modern_label("IID+settling=0-seed0.pt") == "IID+prior_refit_steps=0-seed0.pt"
    assert modern_label("optimisation.clip=3+LSTM(hidden_size=3)") == "optimisation.max_grad_norm=3+LSTM(hidden_size=3)"
    assert modern_label("LSTM+prior_refit_steps=0") == "LSTM+prior_refit_steps=0"
    assert modern_label("my_settling=0+part.clip=1") == "my_settling=0+part.clip=1"


def test_an_old_comparison_goes_on_where_it_was(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fits and what was measured of them are found, though they are named after the old spelling of what varies."""
    out = tmp_path / "out"
    options = [f"--data.path={data}", *SIZES, "--steps=2", "--device=cpu", "--seeds=1", "--draws=30", "--sequences=3"]
    modern = [
        f"--optimisation.{name}={value}"
        for name, value in asdict(TODAY).items()
        if name not in ("prior_refit_steps", "free_dynamic")
    ]
    arguments = ["--data=Arrays", *options, *modern, "--vary=optimisation.prior_refit_steps=0,1", f"--out={out}"]
    monkeypatch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 2)
    assert compare_module.main(arguments) == 0
    expected = (out / "comparison.csv").read_text()
    # What ea46331 would have left.
    old = {new.rpartition(".")[2]: old.rpartition(".")[2] for old, new in RENAMED.items()}
    for folder in (out, *(out / "runs").iterdir()):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["optimisation"] = {old.get(name, name): value for name, value in config["optimisation"].items()}
        if folder == out:
            config["vary"] = {"optimisation.settling": [0, 1]}
            del config["annealed"]
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for path in (*(out / "runs").iterdir(), *(out / "evidence").iterdir()):
        path.rename(path.with_name(path.name.replace("prior_refit_steps", "settling")))
    monkeypatch.setattr("pyro_dsvae.comparison.spread.tasks.fit_watched", None)
    monkeypatch.setattr("pyro_dsvae.comparison.measurement.estimate_evidence", None)
    with pytest.warns(OldConfiguration) as told:
        assert compare_module.main([f"--out={out}"]) == 0
    assert any("lacks options" in str(warning.message) and "annealed=0" in str(warning.message) for warning in told)
    assert (out / "comparison.csv").read_text() == expected
    assert yaml.safe_load((out / "config.yaml").read_text())["vary"] == {"optimisation.prior_refit_steps": [0, 1]}


def test_an_old_run_opens_resumes_and_repeats(old_run: Path, tmp_path: Path) -> None:
    with pytest.warns(OldConfiguration, match="config.yaml is of an earlier version"):
        run = load(old_run)
    assert run.config["optimisation"] == asdict(TODAY) | {"free_dynamic": 0.0}
    said = f"warning: {old_run / 'config.yaml'} is of an earlier version: "
    resumed = command("fit", f"--out={old_run}", "--resume", "--steps=4")
    assert resumed.returncode == 0, resumed.stderr
    renamed, lacking = (line for line in resumed.stderr.splitlines() if "warning" in line.lower())
    assert renamed == said + "; ".join(f"{old} is now {new}" for old, new in RENAMED.items())
    assert lacking.endswith(
        "takes its defaults for them: optimisation.static_start=0.4, optimisation.free_dynamic=None"
    )
    repeated = command("fit", "--config", old_run / "config.yaml", f"--out={tmp_path / 'again'}")
    assert repeated.returncode == 0, repeated.stderr
    assert repeated.stderr.count(said) == 1
    assert yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())["optimisation"] == asdict(TODAY) | {
        "free_dynamic": 0.0
    }
    weights = [torch.load(p / "best.pt", weights_only=True)["objective"] for p in (run.path, tmp_path / "again")]
    assert weights[0].keys() == weights[1].keys()


@pytest.mark.parametrize("frame", [(3,), (1, 16, 16)], ids=["vectors", "images"])
def test_a_run_whose_parts_held_the_networks_opens_goes_on_and_repeats(frame: tuple[int, ...], tmp_path: Path) -> None:
    """Widths were options of likelihood and posterior, and the decoder's weights were called after the likelihood.

    Frames and latents are the same to the bit.
    """
    file, path = tmp_path / "clips.npz", tmp_path / "run"
    np.savez(file, frames=np.random.default_rng(0).uniform(size=(30, 4, *frame)).astype(np.float32))
    few = ["--steps=3", "--optimisation.batch_size=4", "--optimisation.evaluations=1", "--device=cpu"]
    small, narrow = [*SIZES, f"--data.path={file}"], SMALL_ENCODER
    wide = ["--decoder=Dense", "--decoder.units=32"] if len(frame) == 1 else ["--decoder=Regions", "--decoder.width=2"]
    if len(frame) == 3:
        wide.append("--posterior.views=recolour")
    assert fit_module.main(["--data=Arrays", *small, *narrow, *wide, *few, f"--out={path}"]) == 0
    x, seen = torch.rand(2, 4, *frame), []
    f, z = torch.randn(2, 2), torch.randn(2, 4, 2)
    with torch.no_grad():
        seen += [load(path).model.frames(f, z).mean, load(path).encode(x).f, load(path).encode(x).z]
    directory = RunDirectory(path)
    config = directory.config()
    decoder, encoder = config.pop("decoder"), config.pop("encoder")
    config["likelihood"]["init_args"]["width"] = 2
    config["posterior"]["init_args"]["width"] = 1
    views, config["posterior"]["init_args"]["views"] = config["posterior"]["init_args"]["views"], None
    directory.config_file.write_text(yaml.safe_dump(config, sort_keys=False))
    for name in ("best.pt", "checkpoint.pt"):
        state = torch.load(path / name, weights_only=True)
        weights = state["objective"]
        state["objective"] = {k.replace("model.decoder.", "model.likelihood.decoder."): v for k, v in weights.items()}
        assert state["objective"].keys() != weights.keys()
        torch.save(state, path / name)
    said = "likelihood.width is now decoder.width; posterior.width is now encoder.width"
    with pytest.warns(OldConfiguration, match=rf"config.yaml is of an earlier version: {said}$"):
        run = load(path)
    assert (run.config["decoder"], run.config["encoder"]) == (decoder, encoder)
    assert run.config["posterior"]["init_args"]["views"] == views
    with torch.no_grad():
        again = [run.model.frames(f, z).mean, run.encode(x).f, run.encode(x).z]
    assert all(torch.equal(one, other) for one, other in zip(again, seen, strict=True))
    with pytest.warns(OldConfiguration):
        assert fit_module.main([f"--out={path}", "--resume", "--steps=4"]) == 0
    repeated = tmp_path / "repeated"
    with pytest.warns(OldConfiguration):
        assert fit_module.main([f"--config={directory.config_file}", f"--out={repeated}"]) == 0
    told = RunDirectory(repeated).config()
    assert (told["decoder"], told["encoder"]) == (decoder, encoder)
    given = [
        "--data=Arrays",
        "--likelihood.width",
        "2",
        "--posterior.width=1",
        *small,
        *few,
        f"--out={tmp_path / 'given'}",
    ]
    with pytest.warns(OldConfiguration) as warned:
        assert fit_module.main(given) == 0
    assert [str(warning.message) for warning in warned] == [
        "--likelihood.width is now --decoder.width",
        "--posterior.width is now --encoder.width",
    ]
    told = RunDirectory(tmp_path / "given").config()
    assert (told["decoder"], told["encoder"], told["posterior"]["init_args"]["views"]) == (decoder, encoder, views)


def test_the_width_of_a_posterior_of_ones_own_stays_its_own() -> None:
    own = {"posterior": {"class_path": "my_guides.Own", "init_args": {"width": 3}}}
    arguments = ["--posterior", "my_guides.Own", "--posterior.width=3"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modern_config(own, "a file") == own
        assert modern_arguments(arguments) == arguments
    short = {"posterior": {"class_path": "LSTM", "init_args": {"width": 3, "hidden_size": 4}}}
    with pytest.warns(OldConfiguration, match=r"posterior.width is now encoder.width"):
        modern = modern_config(short, "a file")
    assert modern["posterior"]["init_args"] == {"hidden_size": 4}
    assert modern["encoder"]["init_args"] == {"width": 3}


def test_candidates_of_a_comparison_whose_parts_held_the_networks_share_them() -> None:
    def parts(*widths: int) -> dict[str, Any]:
        values = [
            {"class_path": k, "init_args": {"hidden_size": 4, "width": w}} for k, w in zip(NAMES, widths, strict=True)
        ]
        return {"posterior": {"class_path": NAMES[0], "init_args": {"width": 5}}, "vary": {"posterior": values}}

    with pytest.warns(OldConfiguration, match=r"posterior.width is now encoder.width$"):
        modern = modern_config(parts(5, 5), "a file")
    assert modern["encoder"]["init_args"] == {"width": 5}
    assert modern["posterior"]["init_args"] == {}
    assert [value["init_args"] for value in modern["vary"]["posterior"]] == [{"hidden_size": 4}] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert modern_config(parts(5, 6), "a file") == parts(5, 6)  # which is refused where options are read


@pytest.mark.parametrize(("named", "today"), [(None, Recolour), ("turn", Turn), (False, None)], ids=str)
def test_guide_views_of_an_earlier_run_are_as_wide_as_its_encoder(named: Any, today: type | None) -> None:
    """They took its width, twice; a run that left them open had recolour, whatever the default is."""
    old = {"posterior": {"class_path": "LSTM", "init_args": {"width": 5, "views": named}}}
    with pytest.warns(OldConfiguration):
        options = cli.from_config(FitOptions, modern_config(old, "a file"))
    views = describe(for_frames(options, (3, 16, 16)).posterior)["init_args"]["views"]
    if today is None:
        assert views is False
    else:
        assert views == describe(today(width=10))
    assert describe(encoder_for((4,), options.encoder))["init_args"] == {"units": 80}


def test_an_option_that_a_run_lacks_has_its_default_and_is_named(old_run: Path) -> None:
    directory = RunDirectory(old_run)
    config = yaml.safe_load(directory.config_file.read_text())
    config["optimisation"] = {"batch_size": 4, "evaluations": 1, "optimizer": "Adam"}
    del config["precision"], config["posterior"]["init_args"]["views"]
    directory.config_file.write_text(yaml.safe_dump(config))
    says = (
        f"{directory.config_file} is of an earlier version and lacks options; pyro-dsvae {installed('pyro-dsvae')} takes its "
        "defaults for them: precision=32, posterior.views=None, optimisation.learning_rate=0.003"
    )
    with pytest.warns(OldConfiguration) as told:
        run = load(old_run)
    (message,) = (str(warning.message) for warning in told)
    assert message.startswith(says), message
    assert run.config["precision"] == "32"
    assert run.config["posterior"]["init_args"]["views"] == "none"
    assert run.config["posterior"]["init_args"]["hidden_size"] == 4
    kept = Optimisation(batch_size=4, evaluations=1, free_dynamic=0.0, optimizer="Adam")
    assert run.config["optimisation"] == asdict(kept)
    resumed = command("fit", f"--out={old_run}", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count(f"warning: {says}") == 1


def test_nothing_is_said_of_a_complete_configuration(old_run: Path) -> None:
    directory = RunDirectory(old_run)
    directory.write_text(directory.config_file, yaml.safe_dump(FitOptions(data=Arrays("a.npz")).config()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert directory.options().config() == FitOptions(data=Arrays("a.npz")).config()


def test_a_run_is_opened_without_the_verbs(old_run: Path) -> None:
    code = (
        f"import sys, pyro_dsvae; pyro_dsvae.load({str(old_run)!r}); "
        "sys.exit(any(f'pyro_dsvae.{verb}' in sys.modules for verb in ('fit', 'compare')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_whole_configuration_of_before_is_of_a_fit_that_did_not_standardise() -> None:
    """So its run is repeated and its comparison goes on; a few options in a file of one's own are of today."""
    likelihood = {"class_path": "pyro_dsvae.models.likelihoods.normal.Normal", "init_args": {"width": 4}}
    with pytest.warns(OldConfiguration):
        whole = modern_config({"likelihood": likelihood, "optimisation": {"batch_size": 4}}, "config.yaml")
    with pytest.warns(OldConfiguration):
        few = modern_config({"likelihood": likelihood}, "config.yaml")
    assert whole["standardise"] is False
    assert "standardise" not in few
