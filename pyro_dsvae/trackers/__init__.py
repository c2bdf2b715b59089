"""Trackers: who is told how a fit proceeds, beside its metrics.csv."""

from pyro_dsvae.trackers.mlflow import MLflow
from pyro_dsvae.trackers.tensor_board import TensorBoard
from pyro_dsvae.trackers.tracker import Tracker

__all__ = ["MLflow", "TensorBoard", "Tracker"]
