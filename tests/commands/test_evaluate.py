"""``python -m pyro_dsvae.evaluate``: what it prints, writes and refuses, and that its seed decides every figure."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy import stats

from pyro_dsvae import cli, evaluate, fit
from pyro_dsvae.judges.cache import load_or_train_judge, load_or_train_regression_judge
from pyro_dsvae.judges.quantity_errors import quantity_errors
from pyro_dsvae.judges.swap_scores import means_of, partners
from pyro_dsvae.loading import load
from pyro_dsvae.metrics.generation import judge_clips
from pyro_dsvae.metrics.result import EvaluationResult
from pyro_dsvae.models.errors import UsageError
from tests.decoded import SMALL_DECODER
from tests.encoded import SMALL_ENCODER
from tests.pictures import pictures

N, T, SIDE = 60, 4, 16
SMALL = [
    "--static_size=3",
    "--latent_size=2",
    "--dynamic_prior.hidden_size=4",
    "--posterior.hidden_size=4",
    "--posterior.feature_size=4",
    *SMALL_ENCODER,
    *SMALL_DECODER,
    "--steps=3",
    "--optimisation.evaluations=1",
    "--optimisation.batch_size=8",
    "--device=cpu",
]
ACTIONS = ["walk left", "walk right", "jump left", "jump right"]


def clips(path: Path, labelled: bool, sequences: int = N, test: int = 20, images: bool = True) -> Path:
    """Clips of noise with a who and a what, ragged."""
    rng = np.random.default_rng(0)
    shape = (sequences, T, 1, SIDE, SIDE) if images else (sequences, T, 3)
    arrays: dict[str, Any] = {"frames": rng.integers(0, 256, shape, dtype=np.uint8)}
    arrays["split"] = np.repeat([0, 1, 2], [sequences - 10 - test, 10, test])
    arrays["lengths"] = 3 + np.arange(sequences) % 2
    if labelled:
        arrays |= {"labels_who": np.arange(sequences) % 3, "role_who": "static"}
        arrays |= {"labels_act": np.arange(sequences) % 4, "role_act": "dynamic", "classes_act": ACTIONS}
        arrays |= {"quantities_place": rng.normal(size=(sequences, T, 2)), "unit_place": "cm"}
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture(scope="module", autouse=True)
def quick(home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setattr("pyro_dsvae.judges.own.STEPS", 4)
        patch.setattr("pyro_dsvae.judges.regression.STEPS", 4)
        patch.setattr("pyro_dsvae.metrics.probes.STEPS", 20)
        patch.setattr("pyro_dsvae.metrics.probes.ITERATIONS", 10)
        for name in ("WIDTH", "HIDDEN", "FEATURES", "UNITS"):
            patch.setattr(f"pyro_dsvae.judges.literature.{name}", 4)
        yield


def fitted(home: Path, name: str, *options: str, **data: Any) -> Path:
    source = clips(home / f"{name}.npz", **data)
    run = home / name
    assert fit.main(["--data=Arrays", f"--data.path={source}", f"--out={run}", *SMALL, *options]) == 0
    return run


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    return fitted(home, "labelled", labelled=True)


@pytest.fixture(scope="module")
def done(run: Path) -> EvaluationResult:
    with pictures():
        return evaluate.evaluate(run, run.parent / "done", draws=2, evidence=3, evidence_draws=25, device="cpu")


def measured(result: EvaluationResult) -> dict[str, Any]:
    """evaluation.json without its place, and without how often that was done."""
    found: dict[str, Any] = json.loads((result.path / "evaluation.json").read_text())
    return {name: value for name, value in found.items() if name not in ("path", "notes")}


def test_it_leaves_figures_a_page_and_json(done: EvaluationResult) -> None:
    assert {p.name for p in done.path.iterdir()} == {
        "evaluation.json",
        "evaluation.md",
        "swaps.png",
        "confusion.png",
        "probes.png",
    }
    page = (done.path / "evaluation.md").read_text()
    assert "do not compare" in page
    assert "direction" in page
    assert "--seed 0" in page
    titles = re.findall("^## (.*)$", page, re.M)
    assert titles[0] == "The judge (own)"
    assert all((done.path / name).exists() for name in re.findall(r"\]\((.*?)\)", page))
    for table in done.tables(load(done.run).sequences().part("test")):
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
    heads = [line for line in page.splitlines() if line.startswith("|---")]
    assert len(heads) == len(titles)
    for line in page.splitlines():
        if line.startswith("| ") and "H(y" in line:
            assert "H(y\\|x)" in line  # or the bar would end the cell
    found = measured(done)
    assert found["options"] == {
        "split": "test",
        "judge": "own",
        "judge_epochs": 100,
        "draws": 2,
        "evidence": 3,
        "evidence_draws": 25,
        "seed": 0,
        "anchored": False,
    }
    assert "anchored" not in page.replace("--anchored False", "")
    assert "- Raw codes: every figure is of the guide itself" in page
    assert all(title.endswith("(raw codes)") for title in titles[1:])
    assert "NaN" not in (done.path / "evaluation.json").read_text()


def test_every_metric_is_in_it(done: EvaluationResult) -> None:
    assert set(done.accuracy) == {"who", "act"}
    assert done.judged is not None
    assert done.judged.swaps is not None
    assert done.scores is not None
    assert done.evidence is not None
    labels = {"who", "act", "act: walk/jump", "act: left/right"}
    for heads, kept in ((done.judged.fixed_motion, labels - {"who"}), (done.judged.fixed_content, {"who"})):
        assert {name for name, head in heads.items() if head.kept} == kept
        for head in heads.values():
            e = head.entropies
            assert e.score == pytest.approx(math.exp(e.marginal - e.conditional))
            assert sum(head.distribution) == pytest.approx(1)
            assert head.accuracy_spread is not None
    assert set(done.judged.swaps.f_replaced) == set(done.judged.swaps.z_replaced) == labels
    assert set(done.probes) == {"means", "draws"}
    assert all(set(latents) == {"f", "z"} and set(latents["f"]) == labels for latents in done.probes.values())
    assert set(done.scores.in_f) == {"who", "act"}
    assert int(done.judged.confusion["who"].sum()) == 20
    assert done.evidence.sequences == 3
    certain, evaluated = done.notes
    assert "the decoder forbids f to move anything" in certain
    assert certain in (done.path / "evaluation.md").read_text()
    assert evaluated.startswith("The test split of this run has been evaluated ")


def test_quantities_are_measured_by_fit_and_evaluate(done: EvaluationResult) -> None:
    data = load(done.run).sequences().part("test")
    partner, place = partners(len(data), 0), data.quantities["place"].values
    assert data.lengths is not None
    apart = [
        float((place[i, t] - place[j, t]).norm())
        for i, j in enumerate(partner.tolist())
        for t in range(int(torch.minimum(data.lengths[i], data.lengths[j])))
    ]
    found = done.quantities["place"]
    assert found.unit == "cm"
    assert found.chance == pytest.approx(np.mean(apart))
    assert min(found.true, found.reconstructed, found.f_replaced, found.z_replaced) > 0
    assert measured(done)["quantities"]["place"]["chance"] == found.chance
    assert "## Quantities in swaps" in (done.path / "evaluation.md").read_text()
    # The fit measures validation clips, with the same seed of judge and partners.
    after = json.loads((done.run / "summary.json").read_text())["quantities"]["place"]
    assert after.pop("unit") == "cm"
    opened = load(done.run)
    everything, to_model_units = opened.sequences(), opened.model.likelihood.to_model_units
    held_out, device = everything.part("validation"), torch.device("cpu")
    reader = load_or_train_regression_judge(everything, to_model_units)
    means = means_of(opened.guide, held_out, to_model_units, device)
    again = quantity_errors(reader, opened.model, means, held_out, to_model_units)["place"]
    assert after == pytest.approx({name: getattr(again, name) for name in after}, rel=1e-3)
    assert set(after) == {"true", "reconstructed", "f_replaced", "z_replaced", "chance"}


def test_certainty_is_that_of_the_judges_answers_on_the_true_clips(done: EvaluationResult) -> None:
    """Asked one by one, on as many clips of every class, by SciPy's entropies."""
    opened = load(done.run)
    everything, to_model_units = opened.sequences(), opened.model.likelihood.to_model_units
    data = everything.part("test")
    said = judge_clips(load_or_train_judge(everything, to_model_units), data, opened.model)
    for name, label in data.labels.items():
        rows: list[int] = []
        fewest = int(label.values.bincount().min())
        for kind in range(len(label.classes)):
            rows += [i for i in range(len(data)) if label.values[i] == kind][:fewest]
        answers = said[name][rows].exp().numpy()
        found = done.certainty[name]
        assert found.count == len(rows)
        assert found.conditional == pytest.approx(stats.entropy(answers, axis=1).mean())
        assert found.marginal == pytest.approx(stats.entropy(answers.mean(0)))
        assert 0 < found.conditional < math.log(found.classes)
    assert done.certainty["who"].count < 20  # 20 are not a multiple of 3


def test_the_seed_decides_every_figure(run: Path, done: EvaluationResult, tmp_path: Path) -> None:
    options: dict[str, Any] = {"draws": 2, "evidence": 3, "evidence_draws": 25, "device": "cpu"}
    torch.manual_seed(123)  # whatever the state of the generators was
    before = torch.get_rng_state()
    with pictures():
        same = evaluate.evaluate(run, tmp_path / "same", seed=0, **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert measured(same) == measured(done)
    for name in ("swaps.png", "confusion.png", "probes.png"):
        assert np.array_equal(imread(same.path / name), imread(done.path / name))
    other = evaluate.evaluate(run, tmp_path / "other", seed=1, **options)
    assert measured(other)["judged"] != measured(done)["judged"]
    assert measured(other)["terms"]["elbo"] != measured(done)["terms"]["elbo"]


def test_the_command_says_the_judges_own_accuracy_first(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert evaluate.main([str(run), "--split=validation", "--device=cpu"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].strip() == "The judge (own)"
    assert out.index("right on 10 true validation clips") < out.index("ELBO")
    assert out.splitlines()[-1] == f"wrote: {run / 'evaluation-validation'}"
    told = ("ELBO", "Fixed motion", "Fixed content", "Swaps", "posterior means", "posterior draws", "DCI", "MIG", "SAP")
    assert all(word in out for word in told)
    assert "log evidence" not in out
    with pytest.raises(UsageError, match="evaluation-validation exists"):
        evaluate.main([str(run), "--split=validation", "--device=cpu"])
    # The test split has a folder of its own.
    assert evaluate.main([str(run), "--judge=literature", "--judge_epochs=1", "--device=cpu"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].strip() == "The judge (literature)"
    assert "right on 20 true test clips" in out
    assert out.splitlines()[-1] == f"wrote: {run / 'evaluation'}"
    for folder in ("evaluation", "evaluation-validation"):
        shutil.rmtree(run / folder)


def test_anchored_inference_is_used_where_asked_for_and_said(
    run: Path, done: EvaluationResult, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ELBO under the guide itself stands beside it. A report is of one guide, so it has no evidence."""
    options = ["--draws=2", "--device=cpu", "--anchored=true"]
    with pytest.raises(UsageError, match="a report is of one guide"):
        evaluate.main([str(run), *options, "--evidence=3", "--evidence_draws=25"])
    assert evaluate.main([str(run), *options]) == 0
    folder = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("wrote: "))
    assert folder == run / "evaluation-anchored"
    found, itself = json.loads((folder / "evaluation.json").read_text()), measured(done)
    assert found["options"]["anchored"]
    assert found["terms"]["unanchored_elbo"] == itself["terms"]["elbo"] != found["terms"]["elbo"]
    assert itself["terms"]["unanchored_elbo"] is None
    assert found["evidence"] is None
    assert found["probes"] != itself["probes"]
    page = (folder / "evaluation.md").read_text()
    assert "- Anchored codes: " in page
    titles = re.findall("^## (.*)$", page, re.M)
    assert all(title.endswith("(anchored codes)") for title in titles[1:])
    assert "raw codes)" not in page
    assert "| ELBO of raw codes |" in page


def test_the_judged_clips_are_of_the_split_that_was_asked_for(run: Path, done: EvaluationResult) -> None:
    data = load(run).sequences()
    true = data.part("test").labels["act"].values
    assert done.sequences == len(true)
    assert done.judged is not None
    assert done.judged.confusion["act"].sum(1).tolist() == true.bincount().tolist()


def test_without_labels_what_can_be_had_is_had(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = fitted(home, "plain", "--likelihood=DiscretizedLogistic", labelled=False)
    capsys.readouterr()
    result = evaluate.evaluate(plain, device="cpu")
    assert result.path == plain / "evaluation"
    assert {p.name for p in result.path.iterdir()} == {"evaluation.json", "evaluation.md"}
    assert result.terms.squared_error > 0
    values = sum(int(n) for n in load(plain).sequences().part("test").lengths) * SIDE**2  # type: ignore[union-attr]
    assert result.terms.bits_per_dimension == pytest.approx(-result.terms.elbo * 20 / math.log(2) / values)
    assert result.judged is None
    assert result.scores is None
    note, _ = result.notes
    assert "no labels" in note
    assert result.pixel_swaps is not None
    assert result.pixel_swaps.pairs == result.sequences
    out = capsys.readouterr().out
    assert "mean frame goes with f" in out
    assert "bits per dimension" in out
    assert note.split(",")[0] in out


def test_vectors_and_a_single_sequence(home: Path) -> None:
    """Nothing to swap with; the rest is there. The literature's judge looks at images only."""
    single = fitted(home, "single", labelled=True, sequences=40, test=1, images=False)
    with pictures():
        result = evaluate.evaluate(single, device="cpu")
    assert result.judged is not None
    assert result.judged.swaps is None
    assert "one sequence" in result.notes[0]
    assert {p.name for p in result.path.iterdir()} == {
        "evaluation.json",
        "evaluation.md",
        "confusion.png",
        "probes.png",
    }
    with pytest.raises(UsageError, match="images, not at vectors"):
        evaluate.evaluate(single, single / "other", judge="literature", device="cpu")
    assert not (single / "other").exists()
    with pictures():
        several = evaluate.evaluate(single, single / "several", split="validation", device="cpu")
    assert (several.path / "swaps.png").exists()
    assert {"f", "nearest by warping", "linear, of summaries"} <= set(several.series["who"].accuracy)
    assert "Static labels of 10 validation series" in (several.path / "evaluation.md").read_text()


def test_a_model_without_a_static_part(home: Path, tmp_path: Path) -> None:
    """f is empty: probes of it answer one class for all, and replacing it changes nothing."""
    vae = fitted(home, "vae", "--static_size=0", "--dynamic_prior=GRU", labelled=True)
    result = evaluate.evaluate(vae, tmp_path / "out", device="cpu")
    labels = load(vae).sequences().part("test").labels
    for name in ("who", "act"):
        shares = (labels[name].values.bincount() / 20).tolist()
        probe = result.probes["means"]["f"][name]
        assert min(abs(probe.linear - share) for share in shares) < 1e-6
        assert min(abs(probe.nonlinear - share) for share in shares) < 1e-6
    assert result.judged is not None
    assert result.judged.swaps is not None
    assert result.judged.swaps.f_replaced["act"] == result.judged.swaps.reconstructed["act"]
    assert result.scores is not None
    assert set(result.scores.in_f.values()) == {0.0}


def test_without_scikit_learn_the_rest_is_there(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    result = evaluate.evaluate(run, tmp_path / "out", device="cpu")
    assert result.scores is None
    assert result.probes
    assert any("pip install 'pyro-dsvae[evaluate]'" in note for note in result.notes)


def test_a_point_has_an_evaluation_but_no_evidence(home: Path, tmp_path: Path) -> None:
    point = fitted(home, "point", "--posterior=Delta", labelled=False)
    with pytest.raises(UsageError, match="Delta is a point"):
        evaluate.evaluate(point, tmp_path / "out", evidence=2, device="cpu")
    result = evaluate.evaluate(point, tmp_path / "out", device="cpu")
    assert not result.terms.comparable
    assert "compares with no other" in (result.path / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--draws=0"], "draws is 0"),
        (["--evidence=1"], "at least 2, or 0"),
        (["--evidence=4", "--evidence_draws=3"], "at least 25"),
        (["--judge_epochs=0"], "judge_epochs is 0"),
        (["--judge=own1"], "--judge got 'own1'; it is one of own, literature"),
        (["--split=train"], "--split got 'train'; it is one of validation, test"),
        (["--sede=1"], "did you mean --seed?"),
        (["--out=/dev/null/x"], "cannot write"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Path, options: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        evaluate.main([str(run), "--device=cpu", *options])
    assert "\n" not in str(caught.value)


def test_a_run_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        evaluate.main([str(tmp_path)])
    with pytest.raises(UsageError, match="RUN is missing"):
        evaluate.main([])
    assert cli.parser_for(evaluate.evaluate, evaluate.__doc__).format_help()
