"""The script finds every picture of the page that a command stands above, and the commands are of the run that ships."""

from benchmarks.latents_pictures import PAGE, pairs
from pyro_dsvae.latents import ACTIONS


def test_each_action_has_its_picture() -> None:
    found = pairs()
    assert [arguments[0] for arguments, _ in found] == list(ACTIONS)
    assert all(arguments[1] == "sprites" for arguments, _ in found)
    assert all(picture.is_file() and picture.resolve().parent == PAGE.parents[1] / "latents" for _, picture in found)
