"""Profiling of a fit: a trace of a few steps, and a short table."""

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from pyro_dsvae.runs.directory import RunDirectory
from pyro_dsvae.runs.output_folder import writing

WAIT, WARM_UP, STEPS = 10, 2, 5
ROWS = 25


class StepProfile:
    """Profiles steps 13 to 17 of this process with PyTorch's profiler, once they are over.

    Writes into the run's folder profile/: trace.json, which chrome://tracing and Perfetto open, and table.txt, the
    operators that took most of the time themselves.

    Raises:
        UsageError: Where that folder cannot be made.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self.folder: Path = run.path / "profile"
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        plan = schedule(wait=WAIT, warmup=WARM_UP, active=STEPS, repeat=1)
        self.profile = profile(activities=kinds, schedule=plan, on_trace_ready=self._write, profile_memory=True)

    def __enter__(self) -> "StepProfile":
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
        self.profile.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.profile.__exit__(*raised)

    def step(self) -> None:
        """To be called after every step."""
        self.profile.step()

    def _write(self, finished: profile) -> None:
        finished.export_chrome_trace(str(self.folder / "trace.json"))
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = finished.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=60)
        self.run.write_text(self.folder / "table.txt", f"{STEPS} steps\n{table}\n")
