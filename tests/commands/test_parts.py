"""Parts as configuration: what can be written down comes back the same, what cannot is refused."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyro_dsvae import cli
from pyro_dsvae.configuration.catalogue import PARTS
from pyro_dsvae.configuration.parts import describe, in_words, plain
from pyro_dsvae.data.arrays import Arrays
from pyro_dsvae.data.sprites import Sprites
from pyro_dsvae.fit import fit
from pyro_dsvae.inference.posteriors.lstm import LSTM as LSTMPosterior
from pyro_dsvae.inference.posteriors.views import Turn
from pyro_dsvae.inference.training.schedule import Optimisation
from pyro_dsvae.models.dynamic_priors.lstm import LSTM
from pyro_dsvae.models.errors import UsageError

NAME = "pyro_dsvae.models.dynamic_priors.lstm.LSTM"


class Forgetful:
    """Does not keep its argument."""

    def __init__(self, size: int) -> None:
        self.twice = 2 * size


@dataclass
class Nested:
    """Holds what YAML has no word for."""

    folder: Path
    sizes: tuple[int, ...]
    inner: object = None


def test_class_is_described_with_its_defaults() -> None:
    """What the model supplies is left out."""
    assert describe(LSTM) == {"class_path": NAME, "init_args": {"hidden_size": 128, "condition_on_static": False}}


def test_partial_is_described_with_its_options() -> None:
    options = {"hidden_size": 3, "condition_on_static": False}
    assert describe(partial(LSTM, hidden_size=3)) == {"class_path": NAME, "init_args": options}
    assert describe(partial(LSTM, hidden_size=3, static_size=9)) == {"class_path": NAME, "init_args": options}


def test_object_is_described_by_what_it_kept() -> None:
    described = describe(Arrays("clips.npz", test=0.25))
    assert described["class_path"] == "pyro_dsvae.data.arrays.Arrays"
    given = {"path": "clips.npz", "validation": 0.1, "test": 0.25, "seed": 0, "layout": None, "window": None}
    given |= {"stride": None, "by": None, "short": "refuse"}
    assert described["init_args"] == given
    assert yaml.safe_load(yaml.safe_dump(described)) == described


def test_nested_values_become_plain() -> None:
    value = describe(Nested(Path("a/b"), (1, 2), Sprites()))
    assert value["init_args"]["folder"] == "a/b"
    assert value["init_args"]["sizes"] == [1, 2]
    assert value["init_args"]["inner"]["class_path"] == "pyro_dsvae.data.sprites.Sprites"
    assert plain({"rate": Optimisation(batch_size=3)})["rate"]["batch_size"] == 3  # type: ignore[index]


@pytest.mark.parametrize("part", [lambda size: LSTM(size, 3), Forgetful(2), partial(LSTM, 3), print, describe])
def test_what_cannot_be_repeated_is_refused(part: object) -> None:
    with pytest.raises(UsageError, match=r"cannot write .* into config\.yaml"):
        describe(part)


def test_class_inside_a_function_is_refused() -> None:
    class Local(LSTM):
        pass

    with pytest.raises(UsageError, match="move the class out of its function"):
        describe(Local)


def test_a_part_inside_a_part_is_said_in_words_as_the_part_is() -> None:
    described = describe(partial(LSTMPosterior, hidden_size=3, views=Turn(width=4)))
    assert in_words(described).endswith("views=Turn(width=4, frames=3, warp=0.02))")


def parsed(*arguments: str) -> dict[str, Any]:
    """What the command makes of these arguments: parts, sizes and options, described."""
    parser = cli.parser_for(fit, None)
    values = vars(cli.instantiate(parser, cli.parse(parser, arguments)))
    values.pop("config")
    return {n: describe(v) if n in PARTS and v is not None else plain(v) for n, v in values.items()}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dynamic_prior=IID"],
        ["--dynamic_prior=LSTM", "--dynamic_prior.hidden_size=7"],
        ["--dynamic_prior.hidden_size=7"],
        ["--posterior=Factorised", "--posterior.hidden_size=3", "--posterior.views=false"],
        ["--encoder=Patches", "--encoder.width=3"],
        ["--posterior=LSTM", "--posterior.views=Turn", "--posterior.views.width=4"],
        ["--likelihood=Bernoulli", "--decoder=Regions", "--decoder.width=5"],
        ["--data=Arrays", "--data.path=some where.npz", "--data.validation=1e-3"],
        ["--data=LPCSprites", "--data.size=64"],
        ["--optimisation.learning_rate=1e-5", "--steps=3", "--precision=bf16", "--seed=9"],
    ],
    ids=lambda arguments: " ".join(arguments) or "defaults",
)
def test_description_survives_the_round_trip_through_yaml(tmp_path: Path, arguments: list[str]) -> None:
    described = parsed(*arguments)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(described, sort_keys=False))
    assert parsed("--config", str(file)) == described


def test_every_part_can_be_described_and_picked() -> None:
    for option, kinds in PARTS.items():
        for name, kind in kinds.items():
            needed = (
                ["--data.path=x.npz"]
                if name in ("Arrays", "SeriesTable", "Shards", "VideoFolder", "SpeechFolder")
                else []
            )
            path = f"{kind.__module__}.{name}"
            for spelling in (name, path):
                assert parsed(f"--{option}={spelling}", *needed)[option]["class_path"] == path


def test_later_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(parsed("--dynamic_prior.hidden_size=7", "--seed=3")))
    assert parsed("--config", str(file), "--seed=4")["seed"] == 4
    changed = parsed("--config", str(file), "--dynamic_prior.hidden_size=9")["dynamic_prior"]
    assert changed["init_args"]["hidden_size"] == 9
    assert parsed("--config", str(file), "--dynamic_prior=IID")["dynamic_prior"]["init_args"] == {}


@pytest.mark.parametrize(
    ("part", "name", "expected"),
    [
        ("data", "CartoonFaces", {"size": 64, "ground": "grey"}),  # the default, Sprites, has 32 and black
        ("likelihood", "DiscretizedLogistic", {"scale": 0.05, "min_scale": 0.002, "scale_kind": "channel"}),
        ("likelihood", "pyro_dsvae.models.likelihoods.Laplace", {"min_scale": 0.03}),
    ],
)
def test_a_part_that_is_named_has_its_own_defaults(part: str, name: str, expected: dict[str, Any]) -> None:
    """And not those of options that are called alike in the part that is the default."""
    parser = cli.parser_for(fit, None)
    found = cli.parse(parser, [f"--{part}", name])[part].init_args
    assert {option: found[option] for option in expected} == expected
