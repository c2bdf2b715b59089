"""What holds for all tests."""

import os
import signal
from collections.abc import Iterator

import pytest

# Tests run in several processes; more threads than cores make small networks many times slower. Set before torch is
# imported, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs, and nohup all, with these two ignored, and so would be the commands that tests stop.
for ignored, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, handler)


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
