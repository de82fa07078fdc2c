"""Training of LeNet-5 in runs that can stop and continue at any step, and predictions by the trained network.

The network itself is `convgpu.architectures.lenet5`. Copy this file and change it.
"""

from __future__ import annotations

import numpy as np

import convgpu as cg

from ..architectures.lenet5 import Params, initial, logits, loss
from .data import Dataset

LEARNING_RATE, DECAY = 3e-3, 0.85  # Adam's learning rate in the first epoch, and the factor from one epoch to the next


def predict(params: Params, x: np.ndarray, device: str = "cpu", batch_size: int = 256) -> np.ndarray:
    """The probability of each class for images (N, H, W, C), as (N, classes)."""
    with cg.no_grad():
        parts = [cg.softmax(logits(params, cg.tensor(x[i:i + batch_size], device=device)), axis=-1).numpy()
                 for i in range(0, len(x), batch_size)]
    return np.concatenate(parts)


class Training:
    """A run of training, with everything that the next step depends on.

    Random choices depend on (seed, epoch, step) alone, never on what was drawn before. So a run that is saved after any
    step and loaded again continues as if it had never stopped, to the last bit.
    """

    def __init__(self, data: Dataset, seed: int = 0, batch_size: int = 32, device: str = "cpu",
                 dtype: str = "float32"):
        self.data, self.seed, self.batch_size, self.device = data, seed, batch_size, device
        params = initial(data.shape, len(data.class_names), seed)
        self.params: Params = cg.tree.map(lambda p: p.to(device), params)
        self.dtype = dtype  # of the computation; the parameters are float32
        policy = cg.mixed(dtype)
        self.optimizer = cg.optim.Adam(lr=LEARNING_RATE, loss_scale=policy.loss_scale)
        self.policy = policy
        self.learn = cg.capture(self._learn) if device == "gpu" else self._learn
        self.history: list[dict[str, float]] = []  # one entry for each whole epoch
        self.step_in_epoch = 0
        self.loss_sum, self.correct = 0.0, 0  # sums over the images of this epoch so far

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
        return len(self.history)

    @property
    def steps(self) -> int:
        """The number of steps in an epoch."""
        return -(-len(self.data.x_train) // self.batch_size)

    @property
    def seen(self) -> int:
        """The number of images seen in this epoch."""
        return min(self.step_in_epoch * self.batch_size, len(self.data.x_train))

    def begin_epoch(self) -> None:
        """Shuffle the images; needed before the first step after a start, a load or the end of an epoch."""
        self.order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.data.x_train))
        self.optimizer.lr = LEARNING_RATE * DECAY**self.epoch

    def step(self) -> None:
        """Learn from one batch, of which every process of a job takes a part.

        The history keeps the loss without label smoothing.
        """
        rows = self.order[self.step_in_epoch * self.batch_size:][:self.batch_size]
        generator = np.random.default_rng((self.seed, self.epoch, self.step_in_epoch))
        x, y = shifted(self.data.x_train[rows], generator), self.data.y_train[rows]
        rank, processes = cg.distributed.shard()
        part = slice(len(rows) * rank // processes, len(rows) * (rank + 1) // processes)
        x, y = x[part], y[part]
        labels = cg.tensor(y, device=self.device)
        self.params, plain, scores = self.learn(self.params, cg.tensor(x, device=self.device), labels)
        sums = np.array([plain.item() * len(y) if len(y) else 0.0, (scores.numpy().argmax(axis=1) == y).sum()])
        loss_sum, correct = cg.distributed.allreduce(sums, mean=False, deterministic=True).tolist()
        self.loss_sum += loss_sum
        self.correct += int(correct)
        self.step_in_epoch += 1

    def _learn(self, params: Params, x: cg.Tensor, labels: cg.Tensor) -> tuple[Params, cg.Tensor, cg.Tensor]:
        """Better parameters, the loss without label smoothing, and the scores. On a GPU it is one graph."""
        step = cg.distributed.value_and_grad(self.policy(loss), has_aux=True, weight=len(labels))
        (_, scores), grads = step(params, x, labels)
        scores = scores.detach()
        return self.optimizer.step(params, grads), cg.cross_entropy(scores.astype("float32"), labels), scores

    def end_epoch(self) -> dict[str, float]:
        """Test the network, and add the epoch to the history."""
        probabilities = predict(self.params, self.data.x_test, self.device)
        of_truth = probabilities[np.arange(len(probabilities)), self.data.y_test].astype(np.float64)
        self.history.append({
            "epoch": self.epoch + 1,
            "loss": self.loss_sum / self.seen,
            "accuracy": self.correct / self.seen,
            "test_loss": float(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)).mean()),
            "test_accuracy": float((probabilities.argmax(axis=1) == self.data.y_test).mean()),
        })
        self.step_in_epoch, self.loss_sum, self.correct = 0, 0.0, 0
        return self.history[-1]


def shifted(x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Images (N, H, W, C), each moved by up to a sixteenth of its height and width, with the edge repeated."""
    n, height, width, _ = x.shape
    up, left = height // 16, width // 16
    padded = np.pad(x, ((0, 0), (up, up), (left, left), (0, 0)), mode="edge")
    rows = generator.integers(0, 2 * up + 1, (n, 1, 1)) + np.arange(height)[:, None]
    columns = generator.integers(0, 2 * left + 1, (n, 1, 1)) + np.arange(width)
    return padded[np.arange(n)[:, None, None], rows, columns]
