"""Connectionist temporal classification (Graves et al., 2006): the loss by the forward algorithm, and decoding."""

from __future__ import annotations

from typing import Any

import numpy as onp
from keras.src import backend

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.keras.borrow import borrowed

from .core import cast, convert_to_tensor

_IMPOSSIBLE = -1e30  # stands for the logarithm of probability 0; unlike -inf, differences of it are numbers


def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Tensor:
    """-log of the probability that the outputs spell the target, summed over all alignments.

    Args:
        target: (N, labels); only the first target_length[n] labels of row n count.
        output: (N, T, classes), logits; only the first output_length[n] steps of row n count.
        mask_index: the class of the blank.
    """
    labels = convert_to_tensor(target, "int32").numpy()
    output = convert_to_tensor(output)
    output = cast(output, backend.result_type(output.dtype, "float32"))
    lengths, steps = (convert_to_tensor(x, "int32").numpy() for x in (target_length, output_length))
    batch, places = labels.shape[0], 2 * labels.shape[1] + 1
    spelled = onp.full((batch, places), mask_index)  # the order is blank, label, blank, label, ..., blank
    spelled[:, 1::2] = labels
    may_skip = onp.zeros((batch, places), bool)  # the blank between two different labels may be skipped
    may_skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    logarithms = cg.log_softmax(output)[onp.arange(batch)[:, None, None], onp.arange(output.shape[1])[None, :, None],
                                        spelled[:, None, :]]

    def shifted(x: Tensor, by: int) -> Tensor:
        return cnp.pad(x, [(0, 0), (by, 0)], constant_values=_IMPOSSIBLE)[:, :places]

    start = onp.arange(places) < 2
    alpha = cnp.where(start, logarithms[:, 0], _IMPOSSIBLE)
    for t in range(1, output.shape[1]):
        arrived = cnp.logaddexp(alpha, shifted(alpha, 1))
        arrived = cnp.logaddexp(arrived, cnp.where(may_skip, shifted(alpha, 2), _IMPOSSIBLE))
        alpha = cnp.where((t < steps)[:, None], arrived + logarithms[:, t], alpha)
    ends = cnp.where(onp.arange(places) == 2 * lengths[:, None], alpha, _IMPOSSIBLE)
    before = cnp.where(onp.arange(places) == 2 * lengths[:, None] - 1, alpha, _IMPOSSIBLE)
    return -cg.logsumexp(cnp.concatenate([ends, before], 1), axis=1)


_on_arrays: dict[str, Any] = {"__name__": __name__}
exec(borrowed("nn", np="numpy"), _on_arrays)
_on_arrays.update(convert_to_tensor=onp.asarray, cast=onp.asarray,
                  log_softmax=lambda x, axis: cg.log_softmax(x, axis=axis).numpy())


def ctc_decode(inputs: Any, sequence_lengths: Any, strategy: str = "greedy", beam_width: int = 100, top_paths: int = 1,
               merge_repeated: bool = True, mask_index: int = 0) -> tuple[Tensor, Tensor]:
    """The most probable labels, computed on the host and without a gradient."""
    decoded, scores = _on_arrays["ctc_decode"](
        convert_to_tensor(inputs).numpy(), convert_to_tensor(sequence_lengths).numpy(), strategy, beam_width, top_paths,
        merge_repeated, mask_index)
    return convert_to_tensor(decoded), convert_to_tensor(scores)
