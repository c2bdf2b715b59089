"""MLflow."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyro_dsvae.trackers.tracker import Parameter, Tracker, check_installed

# In the folder of a fit: which run of MLflow it is, so that a resumed fit goes on with it.
KNOWN = "mlflow-run.txt"
# For a server that does not answer, where the user's environment says nothing. By itself the client tries for minutes.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
PARAMETERS = 100  # that a server takes at once


class MLflow(Tracker):
    """Parameters, metrics, pictures and files as a run of MLflow. Needs the extra `trackers`.

    Args:
        uri: Of the tracking server, or of a database such as sqlite:///mlflow.db, for which the whole package mlflow is needed;
            by default what MLflow itself takes, such as MLFLOW_TRACKING_URI.
        experiment: The experiment that the runs belong to.

    Example:
        >>> from pyro_dsvae.trackers import MLflow
        >>> MLflow("http://tracking.example:5000").experiment
        'pyro_dsvae'
    """

    def __init__(self, uri: str | None = None, experiment: str = "pyro_dsvae") -> None:
        self.uri = uri
        self.experiment = experiment
        check_installed("mlflow", self)
        self._client: Any = None
        self._run = ""

    def begin(self, folder: Path, parameters: Mapping[str, Parameter], step: int) -> None:
        """See `Tracker.begin`."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(self.uri)
        known = folder / KNOWN
        with _soon():
            if known.is_file():
                self._run = known.read_text().strip()
                self._client.update_run(self._run, status="RUNNING")
                return
            found = self._client.get_experiment_by_name(self.experiment)
            number = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
            self._run = self._client.create_run(number, run_name=folder.name, tags={"folder": str(folder)}).info.run_id
            known.write_text(f"{self._run}\n")
            told = [Param(name, str(value)[:6000]) for name, value in parameters.items()]
            for first in range(0, len(told), PARAMETERS):
                self._client.log_batch(self._run, params=told[first : first + PARAMETERS])

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        with _soon():
            self._client.log_batch(self._run, metrics=[Metric(name, v, now, step) for name, v in values.items()])

    def figure(self, name: str, picture: Path, step: int) -> None:
        """See `Tracker.figure`."""
        with _soon():
            self._client.log_artifact(self._run, str(picture), "figures")

    def file(self, path: Path) -> None:
        """See `Tracker.file`."""
        with _soon():
            self._client.log_artifact(self._run, str(path))

    def end(self, finished: bool) -> None:
        """See `Tracker.end`."""
        with _soon():
            self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


@contextmanager
def _soon() -> Iterator[None]:
    """Within it, a server has `PATIENCE` to answer."""
    ours = PATIENCE.keys() - os.environ.keys()
    os.environ.update({name: PATIENCE[name] for name in ours})
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
