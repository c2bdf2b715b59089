"""What holds for all tests."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from coverage import Coverage

# Tests run in several processes; more threads than cores make small networks many times slower. Set before torch is
# imported, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs, and nohup all, with these two ignored, and so would be the commands that tests stop.
for ignored, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, handler)


# `.ci/run` asks how many lines of models/ and inference/ are tested. To count them makes a test up to twice as slow, so they
# are counted where these two are what is tested, and not in commands that are parsed, refused, stopped or documented.
COMMANDS = ("fits_that_learned", "latents", "mixed_columns", "ppc", "run_api", "series_outputs", "standardised_fits")
COUNTED = tuple(
    Path(__file__).parent / place
    for place in ("models", "inference", "judges", "metrics", *(f"commands/test_{name}.py" for name in COMMANDS))
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lines are counted in these tests only."""
    counting = Coverage.current()
    if counting is None or any(item.path.is_relative_to(place) for place in COUNTED):
        return (yield)
    counting.stop()
    try:
        return (yield)
    finally:
        counting.start()


@pytest.fixture(scope="session", autouse=True)
def _no_pictures() -> Iterator[None]:
    """What looks at the pictures of a verb asks for them: `tests/pictures.py`."""
    from tests.pictures import pictures

    with pictures(False):
        yield


@pytest.fixture(autouse=True)
def empty_store() -> Iterator[None]:
    """What a test leaves in Pyro's global parameter store is not there for the next."""
    import pyro

    pyro.clear_param_store()
    yield
    pyro.clear_param_store()
