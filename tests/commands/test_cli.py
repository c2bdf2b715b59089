"""What every verb does with its arguments, its errors and its end."""

import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from pyro_dsvae import __main__ as entry
from pyro_dsvae import cli
from pyro_dsvae.data.dataset import DataSource
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.fit import fit
from pyro_dsvae.models.errors import UsageError

PROJECT = Path(__file__).parents[2]
OWN = {
    "own_syntax": "class Prior(\n",
    "own_import": "import a_module_that_does_not_exist\n",
    "own_error": "raise RuntimeError('two\\nlines')\n",
    "own_kind": "class Prior:\n    pass\n",
}


def example(
    data: DataSource = Sprites(), size: int = 3, rate: float | None = None, mode: Literal["a", "b"] = "a"
) -> None:
    """A verb.

    Args:
        data: the sequences
        size: how large
        rate: how fast
        mode: which way
    """


def refusal(function: Any, *arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        cli.parse(cli.parser_for(function, None), arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ended(verb: Any, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit status and standard error of a verb."""
    with pytest.raises(SystemExit) as caught:
        cli.main(verb)
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--siez=3"], "unknown option --siez (did you mean --size?)"),
        (["--siez", "3"], "unknown option --siez (did you mean --size?)"),
        (["--qqqqqq=3"], "unknown option --qqqqqq; --help lists them all"),
        (["--siz", "3"], "unknown option --siz (did you mean --size?)"),  # options are not abbreviated
        (["run"], "unexpected argument 'run'"),
        (["--size"], "--size needs a value"),
        (["--size=x"], "--size got 'x'; it takes a whole number"),
        (["--size=2.5"], "--size got '2.5'; it takes a whole number"),
        (["--rate=x"], "--rate got 'x'; it takes a number"),
        (["--mode=c"], "--mode got 'c'; it is one of a, b"),
        (
            ["--data=Sprite"],
            "unknown data 'Sprite' (did you mean Sprites?); it is one of Arrays, BasicMotions, CartoonFaces",
        ),
        (["--data="], "unknown data ''"),
        (
            ["--data=Sprites", "--data.sise=3"],
            "--data.sise: Sprites has no such option (did you mean size?); it takes size",
        ),
        (["--data=Arrays"], "--data Arrays needs --data.path"),
        (["--data=Arrays", "--data.path=a", "--data.test=x"], "--data.test got 'x'; it takes a number"),
        (["--data=nowhere.Data"], "unknown data 'nowhere.Data': no module named 'nowhere'"),
        (["--data=json.Data"], "unknown data 'json.Data': module 'json' has no attribute 'Data'"),
        (["--data=json.JSONDecoder"], "--data json.JSONDecoder is no DataSource"),
        (["--config=nowhere.yaml"], "nowhere.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_with_what_would_be_right(arguments: list[str], says: str) -> None:
    assert says in refusal(example, *arguments)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("siez: 3\n", "did you mean --size?"),
        ("size: x\n", "--size got 'x'"),
        ("data:\n  class_path: Sprite\n", "Sprites"),
    ],
)
def test_mistakes_in_a_file_are_told_alike(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert says in refusal(example, "--config", str(file))
    file.write_text("a: [1\n")
    refusal(example, "--config", str(file))


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("own_syntax", "SyntaxError in "),
        ("own_import", "no module named 'a_module_that_does_not_exist'"),
        ("own_error", "RuntimeError in "),
        ("own_kind", "own_kind.Prior is no DynamicPrior"),
    ],
)
@pytest.mark.parametrize("option", ["dynamic_prior", "data"])
def test_own_modules_that_fail_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, says: str, option: str
) -> None:
    (tmp_path / f"{module}.py").write_text(OWN[module])
    monkeypatch.syspath_prepend(tmp_path)
    line = refusal(fit, f"--{option}={module}.Prior")
    assert says.replace("DynamicPrior", "DataSource" if option == "data" else "DynamicPrior") in line
    sys.modules.pop(module, None)


def test_values_out_of_range_are_told_when_parts_are_built() -> None:
    parser = cli.parser_for(fit, None)
    with pytest.raises(UsageError, match="batch_size is 0"):
        cli.instantiate(parser, cli.parse(parser, ["--optimisation.batch_size=0"]))


def test_a_command_adds_the_flags_of_what_would_put_it_right(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(_: Sequence[str]) -> int:
        raise pickle.loads(pickle.dumps(UsageError("too large; lower it", "static_size", "optimisation.batch_size")))

    assert ended(wrong, capsys) == (2, "error: too large; lower it (--static_size, --optimisation.batch_size)\n")


def test_peek_reads_only_what_it_is_asked_for() -> None:
    assert cli.peek(["--a=1", "--out", "x", "--outer=y", "z"], "out", "resume") == {"out": "x", "resume": None}
    assert cli.peek(["--out"], "out") == {"out": None}


def test_exit_statuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["verb", "a", "b"])
    seen: list[Sequence[str]] = []

    def good(arguments: Sequence[str]) -> int:
        seen.append(arguments)
        return 0

    def wrong(_: Sequence[str]) -> int:
        raise UsageError("what is\nwrong")

    def stopped(_: Sequence[str]) -> int:
        raise KeyboardInterrupt

    def broken(_: Sequence[str]) -> int:
        raise ZeroDivisionError

    assert ended(good, capsys) == (0, "")
    assert seen == [["a", "b"]]
    assert ended(lambda _: 130, capsys) == (130, "")
    assert ended(wrong, capsys) == (2, "error: what is wrong\n")
    status, said = ended(stopped, capsys)
    assert (status, said) == (130, f"interrupted; nothing was written; start again with: python -m {__name__} a b\n")
    with pytest.raises(ZeroDivisionError):  # an error of ours shows its traceback
        cli.main(broken)


@pytest.mark.parametrize("arguments", [["--help"], ["--print_config"], ["--dynamic_prior.help", "LSTM"]])
def test_help_and_config_are_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parse(cli.parser_for(fit, "The manual."), arguments)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    if arguments == ["--help"]:
        assert "The manual." in out
        assert "python -m pyro_dsvae.fit" in out
        assert "--optimisation.learning_rate" in out
    elif arguments == ["--print_config"]:
        assert yaml.safe_load(out)["latent_size"] == 8
    else:
        assert "hidden_size" in out


def entered(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["pyro-dsvae", *arguments])
    with pytest.raises(SystemExit) as caught:
        entry.main()
    return caught.value.code


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_verbs_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert entered(monkeypatch, *arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert all(f"  {verb} " in printed.out for verb in entry.VERBS)


def test_unknown_verb_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert entered(monkeypatch, "fitt") == 2
    assert (
        capsys.readouterr().err
        == "error: unknown verb 'fitt' (did you mean fit?); it is one of " + ", ".join(entry.VERBS) + "\n"
    )


@pytest.mark.parametrize("verb", entry.VERBS)
def test_verb_gets_the_remaining_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert entered(monkeypatch, verb, "--nothing=1") == 2
    assert capsys.readouterr().err.startswith("error: unknown option --nothing")
    assert sys.path[0] == str(Path.cwd())


def test_module_and_verb_run_as_commands(tmp_path: Path) -> None:
    """In processes of their own: the list of verbs, a help page under the right name, an error in one line."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
        )

    listed = run("pyro_dsvae")
    assert (listed.returncode, listed.stderr) == (0, "")
    wrong = run("pyro_dsvae.fit", f"--out={tmp_path / 'run'}", "--stpes=3")
    assert wrong.returncode == 2
    assert wrong.stderr == "error: unknown option --stpes (did you mean --steps?); --help lists them all\n"
    manual = run("pyro_dsvae", "fit", "--help")
    assert manual.returncode == 0
    assert "usage: python -m pyro_dsvae.fit" in manual.stdout
