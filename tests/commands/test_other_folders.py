"""A run opens and goes on from any folder, and says what it lacks there."""

import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import pyro_dsvae
from pyro_dsvae import compare as compare_module
from pyro_dsvae import evaluate, latents, ppc
from pyro_dsvae import fit as fit_module
from pyro_dsvae.models.errors import Remark, UsageError
from pyro_dsvae.runs.directory import RunDirectory

TINY = [
    *("--static_size=2", "--latent_size=2", "--posterior.hidden_size=4", "--posterior.feature_size=4"),
    *("--device=cpu", "--steps=2", "--optimisation.evaluations=1", "--optimisation.batch_size=4"),
]
OWN = "from pyro_dsvae.models.dynamic_priors.iid import IID\n\n\nclass Mine(IID):\n    pass\n"


def clips(path: Path, seed: int = 0) -> None:
    np.savez(path, frames=np.random.default_rng(seed).uniform(size=(30, 4, 3)).astype(np.float32))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and a run, and one beside it, where the reader is."""
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    clips(folder / "clips.npz")
    monkeypatch.chdir(folder)
    assert fit_module.main(["--data=Arrays", "--data.path=clips.npz", *TINY, "--out=runs/a"]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def refusal(main: object, *arguments: object) -> str:
    with pytest.raises(UsageError) as caught:
        main(list(map(str, arguments)))  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_opens_from_another_folder_and_says_where_its_data_are(project: Path) -> None:
    with pytest.warns(Remark, match=rf"^the data of \S*runs/a are taken from {project}$"):
        data = pyro_dsvae.load(project / "runs" / "a").sequences()
    assert len(data) == 30
    with pytest.warns(Remark):
        assert latents.main(["encode", str(project / "runs" / "a"), "--format=npz"]) == 0


def test_here_comes_first_unless_other_data_are_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips(Path("clips.npz"), seed=1)
    with pytest.warns(Remark, match=str(project)):
        pyro_dsvae.load(project / "runs" / "a").sequences()
    shutil.copy(project / "clips.npz", "clips.npz")
    (project / "clips.npz").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pyro_dsvae.load(project / "runs" / "a").sequences()


def test_a_project_that_was_moved_is_found_from_the_run(project: Path) -> None:
    moved = project.rename(project.with_name("moved"))
    with pytest.warns(Remark, match=str(moved)):
        pyro_dsvae.load(moved / "runs" / "a").sequences()


def test_data_that_are_nowhere_are_told_with_the_folder_of_the_fit(project: Path) -> None:
    (project / "clips.npz").unlink()
    with pytest.raises(UsageError, match=rf"clips\.npz: no such file.*the run was fitted in {project}$"):
        pyro_dsvae.load(project / "runs" / "a").sequences()


def test_a_fit_goes_on_and_is_repeated_from_another_folder(project: Path) -> None:
    run = project / "runs" / "a"
    assert fit_module.main([f"--out={run}", "--resume", "--steps=4"]) == 0
    assert RunDirectory(run).metrics()[-1]["step"] == 4
    assert fit_module.main([f"--config={run / 'config.yaml'}", "--out=again"]) == 0
    again = RunDirectory(Path("again"))
    assert again.config()["data_folder"] == str(project)
    first, second = (torch.load(each / "best.pt", weights_only=True)["objective"] for each in (run, again.path))
    assert first.keys() == second.keys()


def test_a_comparison_goes_on_from_another_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 2)
    monkeypatch.chdir(project)
    shutil.copytree("runs/a", "runs/b")
    few = ["--sequences=3", "--draws=30"]
    vary = ["--vary=dynamic_prior=IID,RandomWalk", "--seeds=1", "--data=Arrays", "--data.path=clips.npz"]
    assert compare_module.main([*TINY, *few, *vary, "--out=fits"]) == 0
    assert compare_module.main(["runs/a", "runs/b", *few, "--out=runs/c"]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    for out in (project / "fits", project / "runs" / "c"):
        expected = (out / "comparison.csv").read_text()
        (out / "comparison.csv").unlink()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Remark)
            assert compare_module.main([f"--out={out}"]) == 0
        assert (out / "comparison.csv").read_text() == expected


def test_ones_own_part_that_is_not_importable_here_is_told_with_its_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "my_own_prior.py").write_text(OWN)
    monkeypatch.chdir(project)
    out = project / "runs" / "own"
    options = ["--data=Arrays", "--data.path=clips.npz", *TINY, "--dynamic_prior=my_own_prior.Mine", f"--out={out}"]
    with monkeypatch.context() as inside:
        inside.syspath_prepend(project)
        assert fit_module.main(options) == 0
    sys.modules.pop("my_own_prior")
    monkeypatch.chdir(project.parent / "elsewhere")
    says = f"names my_own_prior.Mine, which cannot be imported here; put {project} on the path: PYTHONPATH={project} python"
    with pytest.raises(UsageError, match=says):
        pyro_dsvae.load(out)
    assert says in refusal(latents.main, "sample", out)
    assert says in refusal(fit_module.main, f"--out={out}", "--resume")
    assert says in refusal(fit_module.main, f"--config={out / 'config.yaml'}")
    # Of an earlier version the folder is not known.
    config = yaml.safe_load((out / "config.yaml").read_text())
    del config["data_folder"]
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    assert "put the folder of my_own_prior.py on the path" in refusal(ppc.main, out)
    monkeypatch.syspath_prepend(project)
    assert type(pyro_dsvae.load(out).model.dynamic_prior).__name__ == "Mine"
    sys.modules.pop("my_own_prior")


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("verb", [ppc, evaluate, latents, fit_module], ids=lambda verb: verb.__name__)
def test_a_comparison_in_place_of_a_run_is_told_with_its_runs(verb: object, runs: bool, tmp_path: Path) -> None:
    out = tmp_path / "comparison"
    for name in ("IID-seed0", "LSTM-seed0"):
        (out / "runs" / name).mkdir(parents=True)
        if runs:
            (out / "runs" / name / "config.yaml").write_text("seed: 0\n")
    (out / "config.yaml").write_text("vary: {}\nruns: []\nsequences: 64\n")
    arguments = {latents: ["sample", out], fit_module: [f"--out={out}", "--resume"]}.get(verb, [out])  # type: ignore[call-overload]
    said = refusal(verb.main, *arguments)  # type: ignore[attr-defined]
    assert said.startswith(f"{out} is a comparison, not a run")
    named = f"name one of its runs: {out}/runs/IID-seed0, {out}/runs/LSTM-seed0"
    assert named in said if runs else "has no runs of its own" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_run_of_a_gpu_is_repeated_elsewhere_with_a_hint(project: Path) -> None:
    file = project / "runs" / "a" / "config.yaml"
    file.write_text(file.read_text().replace("device: cpu", "device: cuda"))
    with pytest.raises(UsageError, match="no usable CUDA device; auto takes what there is") as caught:
        fit_module.main([f"--config={file}", "--out=again"])
    assert caught.value.options == ("device auto",)  # which a command prints as --device auto
    assert fit_module.main([f"--config={file}", "--device=auto", "--out=again"]) == 0


def test_an_old_run_without_a_folder_is_opened_without_a_word(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project / "runs" / "a" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    del config["data_folder"]
    file.write_text(yaml.safe_dump(config))
    monkeypatch.chdir(project)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = pyro_dsvae.load(file.parent).sequences()
    assert len(opened) > 0
    assert opened.fingerprint() == RunDirectory(file.parent).load("best.pt")["data"]
