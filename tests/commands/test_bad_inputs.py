"""What a stranger gets wrong, over all verbs: one line that says what would be right, status 2, and nothing left behind."""

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pyro_dsvae
from pyro_dsvae import Arrays, cli
from pyro_dsvae import __main__ as entry
from pyro_dsvae.actions.sample import sample
from pyro_dsvae.compare import compare
from pyro_dsvae.evaluate import evaluate
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as Posterior
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.loading import Run
from pyro_dsvae.models import dynamic_priors, likelihoods, static_priors
from pyro_dsvae.models.decoders import Dense
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.ppc import ppc
from tests.decoded import small_decoder
from tests.encoded import small_encoder

PROJECT = Path(__file__).parents[2]
N, T, P = 9, 4, 4
WALKS = "--data Arrays --data.path walks.npz"
HUGE = 10**20


class Misshapen(Dense):
    """A decoder that forgets the steps."""

    def decode(self, f: Tensor, z: Tensor) -> Tensor:
        return super().decode(f, z)[..., 0, :]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, two runs of series, one of images, and a comparison."""
    folder = tmp_path_factory.mktemp("world")
    random, split = np.random.default_rng(0), np.arange(N) // 3
    np.savez(folder / "walks.npz", frames=random.normal(size=(N, T, P)), split=split)
    np.savez(folder / "clips.npz", frames=random.integers(0, 255, (N, T, 1, 16, 16), dtype=np.uint8), split=split)
    (folder / "no.yaml").write_text("a: [1\n")
    small: dict[str, Any] = {
        "static_prior": static_priors.StandardNormal,
        "posterior": partial(Posterior, hidden_size=6, feature_size=6),
        "encoder": small_encoder,
        "decoder": small_decoder,
        "steps": 2,
        "static_size": 3,
        "latent_size": 2,
        "device": "cpu",
        "optimisation": Optimisation(batch_size=4, evaluations=1, prior_refit_steps=0),
    }
    walks, clips = Arrays(str(folder / "walks.npz")), Arrays(str(folder / "clips.npz"))
    fit(data=walks, out=folder / "run", dynamic_prior=dynamic_priors.IID, **small)
    fit(data=walks, out=folder / "other", dynamic_prior=partial(dynamic_priors.LSTM, hidden_size=4), **small)
    fit(data=clips, out=folder / "images", dynamic_prior=dynamic_priors.IID, **small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_dsvae.judges.motion.TRAINING_STEPS", 2)
        compare(runs=[folder / "run", folder / "other"], out=folder / "comparison", sequences=3, draws=25)
    return folder


@pytest.fixture(scope="module")
def run(world: Path) -> Run:
    return pyro_dsvae.load(world / "run")


@pytest.fixture(autouse=True)
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setenv("XDG_CACHE_HOME", str(world.parent / "cache"))


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Everything below a folder; of files the size and the time."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (0, 0) if path.is_dir() else (one.st_size, one.st_mtime_ns) for path, one in found.items()}


# A command, without "python -m pyro_dsvae.", or a call in Python -> what the line says.
COMMANDS: dict[str, str] = {
    # --- fit: budget, seed, devices ---
    "fit --steps 0": "steps is 0; it must be a whole number of at least 1",
    "fit --steps many": "--steps got 'many'; it takes a whole number",
    "fit --steps 2.5": "--steps got '2.5'; it takes a whole number",
    "fit --step 5": "did you mean --steps?",
    "fit --minutes 0": "minutes is 0.0; it must be positive",
    "fit --minutes nan": "--minutes got 'nan'; it takes a number",
    "fit --seed -1": "a whole number from 0 to 9223372036854775807",
    f"fit --seed {HUGE}": "a whole number from 0 to 9223372036854775807",
    "fit --seed 1.5": "it takes a whole number",
    "fit --device gpu": "it is one of auto, cpu, cuda",
    "fit --device cpu:3": "it is one of auto, cpu, cuda",
    "fit --devices 0": "devices is 0; this machine has 1",
    "fit --devices 1000000 --device cpu": "more than the sequences of a batch",
    "fit --precision 16": "it is one of 32, bf16",
    "fit --compile fast": "it is one of none, default, reduce-overhead",
    "fit --data_on gpu": "it is one of auto, device, host",
    "fit surplus": "options are given as --NAME VALUE",
    "fit --posterior.views Turn --posterior.views.warp nan": "--posterior.views.warp got 'nan'; it takes a number",
    "fit --posterior.views Turn --posterior.views.frames 2.5": "--posterior.views.frames got '2.5'; it takes a whole number",
    "fit --posterior.views Turn --posterior.views.warp -1": "warp is -1.0; it must be a finite number, at least 0",
    "fit --out": "--out needs a value",
    # --- fit: where, and from what ---
    "fit --out run": "run exists; continue it with --out run --resume, or name another folder",
    "fit --out walks.npz": "walks.npz exists; name another folder",
    "fit --out walks.npz/run": "walks.npz is a file; name another place",
    "fit --resume": "--resume needs --out",
    "fit --resume --out comparison": "comparison is a comparison, not a run",
    "fit --resume --out run --latent_size 3": "was fitted with latent_size = 2, not 3",
    "fit --config nowhere.yaml": "recipes are",
    "fit --config kalman": "did you mean kalman-vae?",
    "fit --config run": "for the options of a run give run/config.yaml",
    "fit --config walks.npz": "it takes YAML",
    "fit --config no.yaml": "is no YAML",
    "fit --config comparison/config.yaml": "python -m pyro_dsvae.compare --config",
    "fit --data Sprite": "did you mean Sprites?",
    "fit --data walks.npz": "--data Arrays --data.path walks.npz",
    "fit --data.path walks.npz": "for a file of your own: --data Arrays",
    "fit --data Arrays": "needs --data.path",
    "fit --data Arrays --data.path nowhere.npz": "nowhere.npz: no such file",
    "fit --data Arrays --data.path walk.npz": "did you mean walks.npz?",
    f"fit {WALKS} --data.validation 0": "a fraction between 0 and 1",
    f"fit {WALKS} --data.seed -3": "it must lie in 0..4294967295",
    f"fit {WALKS} --data.sed 3": "did you mean seed?",
    "fit --data Sprites --data.size 100000": "32 to 64 pixels",
    # --- fit: parts and options ---
    f"fit {WALKS} --static_size -1": "0 for no static part",
    f"fit {WALKS} --latent_size 0": "at least 1 dimension",
    "fit --dynamic_prior LSTMM": "did you mean LSTM?",
    "fit --dynamic_prior.help LSTMM": "did you mean LSTM?",
    "fit --dynamic_prior.help nowhere.Prior": "it is one of Flow",
    "fit --dynamic_prior GRU --dynamic_prior.hiden_size 3": "did you mean hidden_size?",
    f"fit {WALKS} --dynamic_prior GRU --dynamic_prior.hidden_size 0": "hidden_size is 0; it must be at least 1",
    "fit --dynamic_prior GRU --dynamic_prior.hidden_size x": "it takes a whole number",
    "fit --dynamic_prior StandardNormal": "it is a static_prior",
    "fit --dynamic_prior json.JSONDecoder": "is no DynamicPrior",
    "fit --dynamic_prior nowhere.Prior": "no module named 'nowhere'",
    "fit --static_prior LSTM": "it is a dynamic_prior and a posterior",
    f"fit {WALKS} --static_prior VampPrior --posterior Delta": "take any other posterior",
    f"fit {WALKS} --posterior LSTM --posterior.feature_size -2": "feature_size is -2; it must be a whole number of at least 1",
    f"fit {WALKS} --decoder Regions": "Regions takes images (C, H, W), and these frames are vectors: take Dense (--decoder)",
    f"fit {WALKS} --decoder Textures": "Textures takes images (C, H, W), and these frames are vectors: take Dense",
    "fit --decoder.residual true": "the default for images, or Dense, for vectors)",
    f"fit {WALKS} --likelihood Bernoulli": "rescale them or use a Normal",
    "fit --likelihood Gaussian": "it is one of Bernoulli",
    "fit --contrastive foo": "it takes none or Contrastive",
    "fit --contrastive.weight_mi -1": "contrastive.weight_mi is -1.0; it must be a finite number of at least 0",
    f"fit {WALKS} --contrastive Contrastive": "set weight_z to 0",
    "fit --optimisation.batch_size 0": "a whole number of at least 1",
    "fit --optimisation.learning_rate -1": "it must be positive",
    "fit --optimisation.checkpoint_seconds -1": "a finite number of seconds, at least 0",
    "fit --optimisation.rate 1": "of --optimisation there are batch_size, learning_rate",
    "fit --optimisation foo": "its options are given as --optimisation.NAME VALUE",
    "fit --standardise maybe": "it takes true or false",
    # --- compare ---
    "compare": "--vary dynamic_prior=LSTM,IID, or finished runs",
    "compare run": "at least two runs",
    "compare run run": "name every run once",
    "compare run nowhere": "name the folder that fit printed",
    "compare run comparison": "is a comparison, not a run",
    "compare run other --vary dynamic_prior=LSTM,IID": "not both",
    "compare run other --steps 3": "leave it out",
    "compare run other --split all": "it is one of train, validation, test",
    "compare run other --draws 3": "it must be at least 25",
    "compare run other --confidence 2": "such as 0.95",
    "compare run other --given 9": "give from 1 to 3",
    f"compare run other --seed {HUGE}": "a whole number from 0",
    "compare run other --out run": "is no comparison; name another folder",
    "compare run other --out walks.npz": "is no comparison; name another folder",
    "compare --out comparison --draws 50": "was compared with draws = 25, not 50",
    "compare --vary": "--vary takes KEY=A,B",
    "compare --vary dynamic_prior=": "--vary takes KEY=A,B",
    f"compare {WALKS} --vary dynamic_prior=LSTM": "at least two candidates",
    f"compare {WALKS} --vary dynamic_prior=LSTM,LSTMM": "did you mean LSTM?",
    f"compare {WALKS} --vary dynamic_prio=LSTM,IID": "did you mean --dynamic_prior?",
    "compare --vary steps=1,2": "all candidates have the same budget",
    "compare --vary minutes=1,2": "all candidates have the same budget",
    "compare --vary seed=1,2": "--seeds says how often",
    f"compare {WALKS} --vary latent_size=0,1": "a latent needs at least 1 dimension",
    f"compare {WALKS} --vary latent_size=2,x": "it takes a whole number",
    f"compare {WALKS} --vary optimisation.checkpoint_seconds=-1,2": "a finite number of seconds",
    "compare --vary dynamic_prior=LSTM,IID --dynamic_prior GRU": "leave out --dynamic_prior",
    "compare --vary dynamic_prior=LSTM,IID --seeds 0": "it must be at least 1",
    # --- evaluate and ppc ---
    "evaluate": "RUN is missing",
    "evaluate nowhere": "name the folder that fit printed",
    "evaluate comparison": "is a comparison, not a run",
    "evaluate run --split all": "it is one of validation, test",
    "evaluate run --draws 0": "every clip needs at least 1",
    "evaluate run --evidence 3 --evidence_draws 2": "at least 25",
    "evaluate run --judge human": "it is one of own, literature",
    f"evaluate run --seed {HUGE}": "a whole number from 0",
    "evaluate run --out run": "name another place with --out",
    "evaluate run --anchored true": "keeps no anchor clip",
    "evaluate run other": "unexpected argument 'other'",
    "ppc comparison": "is a comparison, not a run",
    "ppc run --sequences 1": "at least 2",
    "ppc run --draws 1": "at least 2 replications",
    "ppc run --draws 1000000000000": "this machine has",
    "ppc run --simulations 3": "at least 50, or 0",
    "ppc run --simulations 1000000000000": "this machine has",
    "ppc run --discrepancies nowhere.f": "cannot be imported",
    "ppc run --discrepancies blinking": "module.function",
    f"ppc run --seed {HUGE}": "a whole number from 0",
    # --- latents ---
    "latents": "ACTION is missing",
    "latents swp run": "did you mean swap?",
    "latents swap": "RUN is missing",
    "latents swap comparison": "is a comparison, not a run",
    "latents swap run --appearances 99": "3 clips, 0 to 2",
    "latents swap run --appearances 2:1": "holds no clip",
    "latents swap run --appearances nowhere.gif": "no such file or folder",
    "latents swap run --motions clips.npz": "those of this run have (4,)",
    "latents swap run --count -2": "a whole number of at least 1",
    "latents swap run --format gif": "take png or npz",
    f"latents swap run --seed {HUGE}": "a whole number from 0",
    "latents swap run --apearances 3": "did you mean --appearances?",
    "latents sample run --number 0": "at least 1",
    "latents sample run --number 1000000000000": "this machine has",
    "latents sample run --length 1000000000000": "this machine has",
    "latents sample run --clip 3": "add --keep static or --keep dynamic",
    "latents sample run --keep all": "it is one of static, dynamic",
    f"latents sample run --seed {HUGE}": "a whole number from 0",
    "latents interpolate run --between 1": "takes two clips",
    "latents interpolate run --steps 1": "at least 2",
    "latents interpolate run --steps 1000000000000": "this machine has",
    "latents interpolate run --latent f": "it is one of static, dynamic, both",
    "latents traverse run --dimensions 99": "f has dimensions 0 to 2",
    "latents traverse run --dimensions a": "such as 3,17",
    "latents traverse run --steps 1000000000000": "this machine has",
    "latents traverse run --clip 0,1": "a traversal starts from one",
    "latents impute run --missing-frames 99": "the clips have frames 0 to 3",
    "latents impute run --missing-pixels 2": "a share from 0 to 1",
    "latents impute run --crop 0,0,3,3": "use --missing-pixels",
    "latents impute images --crop 0,0,99,3": "16 x 16 pixels",
    "latents impute run --draws 0": "at least 1",
    "latents impute run --draws 1000000000000": "this machine has",
    "latents impute run --method best": "it is one of amortised, refined, langevin",
    "latents impute run --clips walks.npz": "give its .npz an array mask",
    "latents forecast run --given 99": "take a smaller --given",
    "latents forecast run --horizon 0": "at least 1",
    "latents forecast run --horizon 1000000000000": "this machine has",
    "latents encode run --format xls": "one or more of npz, nc, csv",
    "latents encode run --draws 1000000000000": "this machine has",
    f"latents encode run --seed {HUGE}": "a whole number from 0",
    " fitt": "did you mean fit?",
}

CLIPS = np.zeros((2, T, P), dtype=np.float32)
CALLS: dict[str, tuple[Callable[[Run], object], str]] = {
    "fit to a file": (lambda run: fit(data="walks.npz"), "such as Arrays('walks.npz')"),
    "fit to a source by name": (lambda run: fit(data="Sprites"), "give the object, Sprites()"),
    "fit to a class": (lambda run: fit(data=Arrays), "give an object, Arrays(…)"),
    "arrays of an array": (lambda run: Arrays(CLIPS), "fit(data=array)"),
    "fit with a wrong decoder": (
        lambda run: fit(data=Arrays("walks.npz"), decoder=Misshapen, steps=1, out="misshapen", device="cpu"),
        f"decoder Misshapen returned (2, {P}), expected (2, 3, {P})",
    ),
    "fit(step)": (lambda run: fit(step=5), "did you mean steps?"),
    "fit(steps='many')": (lambda run: fit(steps="many"), "it takes a whole number or None"),
    "fit(steps=2.5)": (lambda run: fit(steps=2.5), "it takes a whole number or None"),
    "fit(precision=16)": (lambda run: fit(precision=16), "it takes one of '32', 'bf16'"),
    "fit(device=0)": (lambda run: fit(device=0), "it takes text"),
    "fit, another kind of prior": (
        lambda run: fit(static_prior=dynamic_priors.LSTM),
        "static_prior is LSTM, a dynamic_prior; it is one of",
    ),
    "fit, a prior that was built": (lambda run: fit(dynamic_prior=dynamic_priors.IID(8)), "give the class, IID"),
    "fit, a wrong name": (lambda run: fit(dynamic_prior="LSTMM"), "did you mean LSTM?"),
    "fit, no class": (lambda run: fit(likelihood=3), "it takes a class, such as Normal"),
    "fit, a dictionary": (lambda run: fit(optimisation={"batch_size": 4}), "it takes Optimisation(…)"),
    "fit(contrastive=True)": (lambda run: fit(contrastive=True), "it takes Contrastive(…)"),
    "fit(standardise='no')": (lambda run: fit(standardise="no"), "it takes True or False"),
    "fit(seed)": (lambda run: fit(seed=-1), "a whole number from 0"),
    "fit(out=3)": (lambda run: fit(out=3), "it takes a path or None"),
    "fit(devices=2)": (lambda run: fit(data=Arrays("walks.npz"), devices=2, device="cpu"), "torchrun"),
    "compare one run": (lambda run: compare(runs="run"), "it takes a sequence"),
    "compare names in one text": (lambda run: compare(vary={"dynamic_prior": "LSTM,IID"}), "give a list"),
    "compare(vari)": (lambda run: compare(vari={}), "did you mean vary?"),
    "compare(vary=steps)": (lambda run: compare(vary={"steps": [1, 2]}), "the same budget"),
    "evaluate": (lambda run: evaluate(Path("run"), seed=HUGE), "a whole number from 0"),
    "ppc": (lambda run: ppc(Path("run"), seed=HUGE), "a whole number from 0"),
    "sample to a folder": (lambda run: sample(Path("run"), seed=-1), "a whole number from 0"),
    "load nothing": (lambda run: pyro_dsvae.load("nowhere"), "name the folder that fit printed"),
    "load a comparison": (lambda run: pyro_dsvae.load("comparison"), "is a comparison, not a run"),
    "load a checkpoint": (lambda run: pyro_dsvae.load("run", checkpoint="last.pt"), "last.pt is missing"),
    "part": (lambda run: run.sequences().part("tests"), "did you mean test?"),
    "encode a text": (lambda run: run.encode("walks.npz"), "give a tensor or an array of numbers"),
    "encode texts": (lambda run: run.encode(np.array([["a"]])), "give a tensor or an array of numbers"),
    "encode another shape": (lambda run: run.encode(CLIPS[0]), "those of this run are (B, T, 4)"),
    "encode(draws)": (lambda run: run.encode(CLIPS, draws=-1), "a whole number of at least 0"),
    "encode(mask)": (lambda run: run.encode(CLIPS, mask=CLIPS), "it must be bool"),
    "encode(seed)": (lambda run: run.encode(CLIPS, seed=HUGE), "a whole number from 0"),
    "decode": (lambda run: run.decode(torch.zeros(2, 9), torch.zeros(2, T, 2)), "those of this run are (…, 3)"),
    "swap": (lambda run: run.swap(CLIPS, np.zeros((3, T, P))), "pairs of clips"),
    "sample none": (lambda run: run.sample(0), "a whole number of at least 1"),
    "sample a half": (lambda run: run.sample(2.5), "a whole number of at least 1"),
    "sample too many": (lambda run: run.sample(10**12), "this machine has"),
    "sample(keep)": (lambda run: run.sample(2, keep="all", x=CLIPS), "it is static or dynamic"),
    "interpolate": (lambda run: run.interpolate(CLIPS[:1], CLIPS[1:], latent="f"), "static, dynamic, both"),
    "traverse(latent)": (lambda run: run.traverse(run.encode(CLIPS), latent="f"), "static, dynamic"),
    "traverse(dimensions)": (lambda run: run.traverse(run.encode(CLIPS), dimensions=[9]), "dimensions 0 to 2"),
    "impute(method)": (lambda run: run.impute(CLIPS, method="best"), "amortised, refined, langevin"),
    "forecast a half": (lambda run: run.forecast(CLIPS, horizon=2.5), "a whole number of at least 1"),
    "forecast too much": (lambda run: run.forecast(CLIPS, horizon=10**12), "this machine has"),
}


def said(command: str) -> str:
    """The line of an error, after a check that there is one, with status 2 and nothing else but what was read."""
    verb, *arguments = shlex.split(command) if not command.startswith(" ") else ["", *shlex.split(command)]
    out, err = io.StringIO(), io.StringIO()
    work = partial(cli.main, import_module(f"pyro_dsvae.{verb}").main, arguments) if verb else entry.main
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        work()
    *before, line = err.getvalue().splitlines()
    printed = [each for each in out.getvalue().splitlines() if not each.startswith("nothing is missing and no gaps")]
    assert ended.value.code == 2
    assert [each for each in before if not each.startswith("data: ")] == []
    assert verb == "" or printed == []
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("given", [*COMMANDS, *CALLS])
def test_a_mistake_is_told_in_one_line_and_leaves_nothing(
    world: Path, run: Run, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(world)
    monkeypatch.setattr("pyro_dsvae.process._command", [given in COMMANDS])
    if given in COMMANDS:
        monkeypatch.setattr(sys, "argv", ["pyro-dsvae", *shlex.split(given)])
        line, right = said(given), COMMANDS[given]
    else:
        call, right = CALLS[given]
        with pytest.raises(UsageError) as caught:
            call(run)
        line = str(caught.value)
    assert right in line
    assert "\n" not in line
    assert not re.search(r"Traceback|<class|0x[0-9a-f]{6}", line)
    assert files(world) == before


def test_there_are_as_many_as_are_claimed() -> None:
    assert len(COMMANDS) + len(CALLS) >= 120


# --- what should just work --------------------------------------------------------------------------------------------


def test_arrays_of_numpy_are_taken_as_tensors_are(run: Run) -> None:
    x = np.random.default_rng(1).normal(size=(3, T, P)).astype(np.float32)[:, ::-1]  # a view, backwards
    tensor = torch.from_numpy(x.copy())
    mask, lengths = np.ones((3, T), dtype=bool), np.array([4, 3, 2])
    mask[0, 1] = False
    ours, theirs = run.encode(x, mask, lengths), run.encode(tensor, torch.from_numpy(mask), torch.from_numpy(lengths))
    assert torch.equal(ours.f, theirs.f)
    assert torch.equal(ours.z, theirs.z)
    assert torch.equal(run.swap(x, x[:1]), run.swap(tensor, tensor[:1]))
    assert torch.equal(run.interpolate(x[:1], x[1:2]), run.interpolate(tensor[:1], tensor[1:2]))
    assert torch.equal(run.forecast(x, 2, draws=3).mean, run.forecast(tensor, 2, draws=3).mean)
    assert torch.equal(run.decode(ours.f.numpy(), ours.z.numpy()), run.decode(ours.f, ours.z))


def test_parts_are_taken_by_name_and_numbers_of_numpy_as_numbers(world: Path) -> None:
    options = {"steps": np.int64(1), "latent_size": np.int32(2), "minutes": np.float32(5), "device": "cpu"}
    result = fit(
        data=Arrays("walks.npz"),
        static_prior="StandardNormal",
        dynamic_prior="pyro_dsvae.models.dynamic_priors.IID",
        likelihood="Laplace",
        out="named",
        **options,  # type: ignore[arg-type]
    )
    model = pyro_dsvae.load(result.run).model
    kinds = (static_priors.StandardNormal, dynamic_priors.IID, likelihoods.Laplace)
    assert tuple(map(type, (model.static_prior, model.dynamic_prior, model.likelihood))) == kinds


# --- as processes -----------------------------------------------------------------------------------------------------


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command, or a script, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300, env=environment
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-m", "pyro_dsvae", "fitt"), "did you mean fit?"),
        (("-m", "pyro_dsvae", "fit", "--seed", str(HUGE)), "a whole number from 0"),
        (("-m", "pyro_dsvae.latents", "sample", "run", "--number", "1000000000000"), "this machine has"),
    ],
)
def test_the_same_in_processes_of_their_own(world: Path, arguments: tuple[str, ...], says: str) -> None:
    before = files(world)
    ended = process(*arguments)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert files(world) == before


def test_a_script_without_a_guard_does_not_run_twice(world: Path) -> None:
    """The processes of a comparison import the script that asks for them."""
    (world / "script.py").write_text(
        "from pyro_dsvae.compare import compare\nprint('began')\n"
        "compare(runs=['run', 'other'], devices=2, device='cpu', out='twice')\n"
    )
    ended = process("script.py")
    (world / "script.py").unlink()
    assert ended.stdout == "began\n"
    assert 'put what it does below if __name__ == "__main__":' in ended.stderr.splitlines()[-1]
    assert not (world / "twice").exists()


def test_what_the_profiler_says_by_itself_is_not_shown(world: Path) -> None:
    options = (
        f"{WALKS} --static_prior StandardNormal --dynamic_prior IID --steps 20 --device cpu --out profiled --profile"
    )
    ended = process("-m", "pyro_dsvae", "fit", *options.split(), "--optimisation.prior_refit_steps=0")
    assert ended.returncode == 0
    assert not re.search(r"USDT|STAGE:|\[W\d|\.cpp", ended.stderr)
    assert (world / "profiled" / "profile" / "table.txt").is_file()
