"""Scaled dot-product attention: softmax(q k^T * scale + bias) v for each head."""

from __future__ import annotations

import math
from typing import Any

import numpy as onp
from keras.src import backend

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.dtypes import is_half

from .core import cast, convert_to_tensor


def dot_product_attention(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None,
                          scale: float | None = None, is_causal: bool = False, flash_attention: bool | None = None,
                          attn_logits_soft_cap: float | None = None) -> Tensor:
    """Attention of queries (N, T, heads, size) to keys and values (N, S, heads, size), with scores in float32 or wider.

    Where keys and values have fewer heads than queries, each of their heads serves a group of query heads.
    """
    if flash_attention:
        raise ValueError("Flash attention is not supported in the convgpu backend.")
    q, k, v = map(convert_to_tensor, (query, key, value))
    if any(x.ndim != 4 for x in (q, k, v)):
        raise ValueError("`dot_product_attention` only supports 4D inputs. "
                         f"Received: query.shape={q.shape}, key.shape={k.shape}, value.shape={v.shape}.")
    dtype = backend.result_type(q.dtype, k.dtype, v.dtype)
    q, k, v = (cast(x, dtype) for x in (q, k, v))
    if q.shape[2] > k.shape[2] > 1:
        k, v = (cnp.repeat(x, q.shape[2] // x.shape[2], axis=2) for x in (k, v))
    scores = cnp.einsum("btnh,bsnh->bnts", q, k)
    scores = cast(scores, "float32") if is_half(scores.dtype) else scores
    scores = scores * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if attn_logits_soft_cap is not None:
        scores = cnp.tanh(scores / attn_logits_soft_cap) * attn_logits_soft_cap
    if bias is not None:
        scores = scores + cast(bias, scores.dtype)
    allowed = None if mask is None else convert_to_tensor(mask, "bool")
    if is_causal:
        earlier = cg.tensor(onp.tri(*scores.shape[2:], dtype=bool), device=scores.device)
        allowed = earlier if allowed is None else cnp.logical_and(allowed, earlier)
    if allowed is not None:
        scores = cnp.where(allowed, scores, float(onp.finfo(onp.float32).min) * 0.7)
    return cnp.einsum("bnts,bsnh->btnh", cast(cg.softmax(scores), dtype), v)
