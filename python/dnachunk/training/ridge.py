"""Ridge regression on what the head of a frozen model reads: its weights in closed form."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from dnachunk.data.task import Examples, Problem
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.metrics import score_predictions
from dnachunk.models.modeling_common import classification_loss
from dnachunk.training.adaptation import is_of_head
from dnachunk.training.finetuner import FineTuner

Array = npt.NDArray[np.float64]

RIDGE_ALPHAS = tuple(10.0**power for power in range(-3, 7))
"""Strengths of regularization that are tried, for features of variance 1 and sums over all examples."""


class RidgeHead:
    """The last linear layer of a model's head, solved for instead of trained.

    Features are what that layer reads of each sequence, of MergeDNA and DNAChunker the mean over tokens (of
    both strands, and of all tiles, where these are averaged), scaled to variance 1 over the training set.
    Targets are the numbers; of classes and labels 1 where they apply and −1 elsewhere, as in scikit-learn's
    ``RidgeClassifier``, so that the logits are margins and the probabilities that follow from them only rank.
    The intercept is not regularized; a layer without a bias has none. What else is new in a head, such as the
    pooler of a BERT or MxDNA's dense layer, stays as it started.

    Args:
        tuner: A tuner whose backbone is frozen; its examples are run once, as in evaluation.

    Raises:
        ArgumentError: If the head does not end in a linear layer that reads a vector for each sequence.
    """

    def __init__(self, tuner: FineTuner) -> None:
        self._tuner = tuner
        self._name, self._layer = _last_linear(tuner)
        self._features: dict[int, tuple[Array, npt.NDArray[Any]]] = {}
        self._check(tuner.task.valid)

    def fit(self, alpha: float) -> None:
        """Sets the layer's weights to the solution on the training set.

        Args:
            alpha: Strength of the regularization.
        """
        from sklearn.linear_model import Ridge

        features, targets = self._run(self._tuner.task.train)
        wanted = np.asarray(targets, dtype=np.float64)
        if self._tuner.task.problem is Problem.single_label:
            wanted = np.eye(self._layer.out_features)[targets]
        if self._tuner.task.problem is not Problem.regression:
            wanted = 2 * wanted - 1
        has_bias = self._layer.bias is not None
        mean = features.mean(axis=0) if has_bias else np.zeros(features.shape[1])
        scale = features.std(axis=0)
        # What does not differ but by rounding says nothing.
        scale[scale <= 1e-6 * np.abs(features).max(axis=0)] = 1.0
        ridge = Ridge(alpha=alpha, fit_intercept=has_bias).fit(
            (features - mean) / scale, wanted.reshape(len(features), -1)
        )
        weight = ridge.coef_.reshape(-1, features.shape[1]) / scale
        with torch.no_grad():
            self._layer.weight.copy_(torch.from_numpy(weight))
            if has_bias:
                self._layer.bias.copy_(torch.from_numpy(np.atleast_1d(ridge.intercept_) - weight @ mean))

    def scores(self, examples: Examples) -> dict[str, float]:
        """Scores and loss, by name, of examples with the weights as they are."""
        features, targets = self._run(examples)
        weight = self._layer.weight.detach().double().cpu().numpy()
        logits = features @ weight.T
        if self._layer.bias is not None:
            logits += self._layer.bias.detach().double().cpu().numpy()
        task, config = self._tuner.task, self._tuner.model.config
        if task.problem is Problem.regression:
            targets = targets.reshape(logits.shape)
        loss = classification_loss(torch.from_numpy(logits), torch.from_numpy(targets), config)
        return {**score_predictions(task.problem, logits, targets), "loss": float(loss)}

    def _run(self, examples: Examples) -> tuple[Array, npt.NDArray[Any]]:
        """``[B, D]`` features and the targets."""
        if id(examples) not in self._features:
            model = self._tuner.model
            # What the layer would read is what the model then gives.
            model.set_submodule(self._name, nn.Identity())
            try:
                features, targets = self._tuner.run(examples)
            finally:
                model.set_submodule(self._name, self._layer)
            self._features[id(examples)] = features.double().numpy(), targets.numpy()
        return self._features[id(examples)]

    def _check(self, examples: Examples) -> None:
        """Raises unless the model's logits are the layer of its features."""
        features, _ = self._run(examples)
        if features.shape[1:] != (self._layer.in_features,):
            raise _unfit(self._tuner)
        logits, _ = self._tuner.run(examples)
        layer = [value.detach().double().cpu() for value in self._layer.parameters()]
        expected = nn.functional.linear(torch.from_numpy(features), *layer)
        # As far as bfloat16 tells.
        if not torch.allclose(logits.double(), expected, rtol=0, atol=0.02 * float(expected.abs().max())):
            raise _unfit(self._tuner)


def _last_linear(tuner: FineTuner) -> tuple[str, nn.Linear]:
    """Name of the head's last linear layer, and the layer."""
    num_outputs = len(tuner.task.names)
    layers = [
        (name, module)
        for name, module in tuner.model.named_modules()
        if isinstance(module, nn.Linear) and is_of_head(name) and module.out_features == num_outputs
    ]
    if not layers:
        raise _unfit(tuner)
    return layers[-1]


def _unfit(tuner: FineTuner) -> ArgumentError:
    return ArgumentError(
        f"`method=ridge` needs a head that ends in a linear layer, got a {type(tuner.model).__name__}"
    )


__all__ = ["RIDGE_ALPHAS", "RidgeHead"]
