"""MXNet with parts of the tutorial's loop exchanged, as a `Trainee`."""

from __future__ import annotations

from bench.scenarios.scenario import Scenario
from bench.worker.backends.mxnet import MXNetTrainee, describe, matrix_product, probe, vector_sum
from mnist_core.idx import Split
from mnist_core.loop import Training
from mnist_core.recipe import Recipe
from mnist_core.training import TrainedEpoch

__all__ = ["LoopTrainee", "describe", "make", "matrix_product", "probe", "vector_sum"]


def make(scenario: Scenario, recipe: Recipe, train: Split) -> LoopTrainee:
    return LoopTrainee(scenario, recipe, train)


class LoopTrainee(MXNetTrainee):
    """Every part as the scenario says."""

    _training: Training

    def build(self) -> None:
        scenario = self.scenario
        self._training = Training(
            scenario.network, scenario.loop, self.contexts, scenario.batch_size, self.recipe, self.train
        )

    def train_throwaway_batch(self, size: int) -> None:
        self._training.train_throwaway_batch(size)

    def set_learning_rate(self, value: float) -> None:
        self._training.set_learning_rate(value)

    def prepare(self) -> None:
        self._training.prepare()

    def train_epoch(self) -> TrainedEpoch:
        return self._training.train_epoch()

    def evaluate(self, test: Split) -> float:
        self.net = self._training.net_to_evaluate()
        return super().evaluate(test)
