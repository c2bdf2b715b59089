"""Everything that may run on a GPU, on a device that is not the host's: a pretended one (`second_device`), or a GPU.

python -m pytest tests/test_device.py              # pretended
python -m pytest -m gpu tests/test_device.py       # the same on CUDA
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from pyro import poutine
from torch import Tensor
from torch.optim import adam as adam_module
from torch.optim import optimizer as optimizer_module
from torch.utils._pytree import tree_map

import pyro_dsvae
from pyro_dsvae import recipes
from pyro_dsvae.compare import main as compare
from pyro_dsvae.evaluate import main as evaluate
from pyro_dsvae.fit import main as fit
from pyro_dsvae.inference.latent_space.imputation import Method
from pyro_dsvae.inference.sequences import Batch
from pyro_dsvae.inference.training.hardware import Hardware
from pyro_dsvae.inference.training.objective import KLWeights
from pyro_dsvae.ppc import main as ppc
from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.run import Latent
from tests.decoded import SMALL_DECODER
from tests.encoded import SMALL_ENCODER
from tests.inference.test_contracts import Case, D, F, T, every_case, frames_for, objective
from tests.pictures import pictures
from tests.second_device import SECOND, second_device

LATENTS: tuple[Latent, ...] = ("static", "dynamic", "both")
METHODS: tuple[Method, ...] = get_args(Method)
N, FRAMES, SIDE = 24, 4, 16
on_gpu = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
)


@pytest.fixture(params=["pretended", on_gpu])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """A device on which `fit` and the other verbs can be asked to work."""
    if request.param == "cuda":
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        yield torch.device("cuda", torch.cuda.current_device())
        return
    with pretended(monkeypatch) as there:
        yield there


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """`second_device`, which ``--device`` may name and on which the fused Adam works."""
    for user in ("inference.training.hardware", "fit", "compare", "evaluate", "ppc"):
        monkeypatch.setattr(f"pyro_dsvae.{user}.device_for", lambda name: SECOND)
    for module in (adam_module, optimizer_module):
        for name in ("_get_fused_kernels_supported_devices", "_device_dtype_check_for_fused"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *_, **__: ["meta"])
    load = RunDirectory.load
    monkeypatch.setattr(RunDirectory, "load", lambda self, name, where="cpu": moved(load(self, name), where))
    strategy = SingleDeviceStrategy(device=SECOND)
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda *_: None)
    monkeypatch.setattr(Hardware, "fabric", lambda self: Fabric(strategy=strategy, accelerator="cpu", devices=1))
    with second_device() as there:
        yield there


def moved(state: Any, where: Any) -> Any:
    return tree_map(lambda value: value.to(where) if isinstance(value, Tensor) else value, state)


@every_case
def test_scores_are_those_of_the_host(case: Case, device: torch.device) -> None:
    """The same latents under guide and model, here and there, ragged lengths and a mask among them."""
    made = objective(case).eval()
    x, lengths = made.model.likelihood.to_model_units(frames_for(case.likelihood)), torch.tensor([T, 2, 3])
    mask = torch.rand(len(x), T) < 0.8
    latents = {"f": torch.randn(len(x), F), "z": torch.randn(len(x), T, D)}
    sites = "fzx" if case.posterior != "Delta" else "x"

    def scored() -> dict[str, Tensor]:
        where = next(made.parameters()).device
        given = {name: value.to(where) for name, value in latents.items()}
        arguments = [value.to(where) for value in (x, mask, lengths)]
        with torch.no_grad():
            guide = poutine.trace(poutine.condition(made.guide, data=given)).get_trace(*arguments)
            model = poutine.trace(poutine.condition(made.model, data=given)).get_trace(*arguments)
            traces = {("q", site): guide for site in sites if site != "x"} | {("p", site): model for site in sites}
            nodes = {name: trace.nodes[name[1]] for name, trace in traces.items()}
            return {"".join(name): node["fn"].log_prob(node["value"]) for name, node in nodes.items()}

    here = scored()
    made.to(device)
    for name, value in scored().items():
        assert value.device == device
        torch.testing.assert_close(value.cpu(), here[name], rtol=1e-3, atol=1e-3)


@every_case
def test_a_step_of_learning(case: Case, device: torch.device) -> None:
    made = objective(case).to(device)
    x = made.model.likelihood.to_model_units(frames_for(case.likelihood).to(device))
    batch = Batch(x, lengths=torch.tensor([T, 2, 3]).to(device))
    out = made(batch, KLWeights(0.5, 2.0))
    out["loss"].backward()
    assert all(torch.isfinite(value.cpu()) for value in out.values())
    assert all(p.grad is None or p.grad.device == device for p in made.parameters())
    assert any(p.grad is not None and bool((p.grad != 0).any().cpu()) for p in made.parameters())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Images with labels, times, lengths and gaps."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "clips.npz"
    np.savez(
        path,
        frames=rng.integers(0, 256, (N, FRAMES, 1, SIDE, SIDE), dtype=np.uint8),
        split=np.repeat([0, 1, 2], N // 3),
        lengths=rng.integers(2, FRAMES + 1, N),
        mask=rng.random((N, FRAMES)) < 0.9,
        labels_look=np.arange(N) % 2,
        labels_move=np.arange(N) // 2 % 2,
        role_move="dynamic",
    )
    return ["--data=Arrays", f"--data.path={path}"]


FEW = ["--steps=4", "--optimisation.evaluations=1", "--optimisation.batch_size=4", "--optimisation.prior_refit_steps=3"]
SMALL = ["--posterior.hidden_size=4", "--posterior.feature_size=4", *SMALL_ENCODER, *SMALL_DECODER]


def fitted(out: Path, data: list[str], device: torch.device, *options: str) -> Path:
    named = str(device) if device.type == "cuda" else "auto"
    with pictures():
        assert fit([*data, f"--out={out}", *FEW, *SMALL, f"--device={named}", *options]) == 0
    return out


# The verbs on the pretended device are slow; on a GPU they are not.
verbs = pytest.mark.parametrize("device", [on_gpu], indirect=True)


@verbs
@pytest.mark.parametrize("name", recipes.names())
def test_fit_with_this_recipe(name: str, data: list[str], tmp_path: Path, device: torch.device) -> None:
    run = fitted(tmp_path / "run", data, device, f"--config={name}")
    terms = json.loads((run / "summary.json").read_text())["validation"]
    assert all(np.isfinite(value) for value in terms.values())


@verbs
def test_every_verb(data: list[str], tmp_path: Path, device: torch.device) -> None:
    """fit, resume, evaluate, ppc and compare; the run then opens on the host and says there what it says on the device."""
    place = f"--device={device if device.type == 'cuda' else 'auto'}"
    run = fitted(tmp_path / "run", data, device, "--contrastive.weight_mi=1")
    varied = ["--vary=dynamic_prior=GaussianProcess,Flow", "--seeds=1", "--sequences=4", "--draws=30"]
    estimates = ["--refine=2", "--annealed=2", "--defensive=0.1"]
    with pictures():
        assert fit([f"--out={run}", "--resume", "--steps=6"]) == 0
        assert evaluate([str(run), place, "--evidence=4", "--evidence_draws=25"]) == 0
        assert ppc([str(run), place, "--draws=3", "--simulations=50", "--evidence_draws=25"]) == 0
        assert compare([*data, f"--out={tmp_path / 'compared'}", *FEW, *SMALL, place, *varied, *estimates]) == 0
    here, there = (pyro_dsvae.load(run, device=where) for where in ("cpu", str(device)))
    x = here.sequences().part("test").frames
    for kind in ("f", "z"):
        codes = [getattr(opened.encode(x), kind) for opened in (here, there)]
        torch.testing.assert_close(codes[1].cpu(), codes[0], rtol=1e-3, atol=1e-3)


@verbs
def test_every_method_of_a_run(data: list[str], tmp_path: Path, device: torch.device) -> None:
    """Tensors of the host in; results on the run's device."""
    run = pyro_dsvae.load(fitted(tmp_path / "run", data, device), device=str(device))
    clips = run.sequences().part("test")
    x, mask, lengths = clips.frames, clips.mask, clips.lengths
    arguments: dict[str, Any] = {"mask": mask, "lengths": lengths}
    assert run.encode(x, **arguments, draws=2).f.device == device
    assert run.reconstruct(x, **arguments).device == device
    assert run.swap(x, x.flip(0)).device == device
    f, z = run.sample_latents(3, length=6)
    assert run.decode(f.cpu(), z).device == device
    run.sample(3)
    codes = run.encode(x, **arguments)
    for latent in LATENTS:
        assert run.interpolate(x[:1], x[1:2], 3, latent).device == device
    for latent in ("static", "dynamic"):
        for reference in (codes, None):
            moved = run.traverse(run.encode(x[:1]), reference, latent, count=3)
            assert run.decode(moved.f, moved.z).device == device
    for method in METHODS:
        assert run.impute(x, **arguments, draws=4, method=method).mean.device == device
    assert run.forecast(x[:, :2], horizon=3, draws=4).samples.device == device
