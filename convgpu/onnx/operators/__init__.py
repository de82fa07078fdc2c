"""The operators of ONNX, each with the function that computes it."""

# ruff: noqa: I001 - a list of names
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ... import numpy as cnp
from ...ops import activation as act
from ..image import each, plain
from . import (
    activation, convolution, elementwise, generate, indexing, loss, matrix, norm, pooling, quantized, reduce, resize,
    shape,
)


class Operator(NamedTuple):
    """How an operator is computed.

    run: takes the node, then its inputs.
    images: whether it takes images in the native layout as they are; others get tensors in ONNX's order.
    static: the inputs whose values it reads on the host, which decide about shapes; they stay on the CPU.
    """

    run: Callable[..., Any]
    images: bool = True
    static: tuple[int, ...] = ()

    def __call__(self, node: Any, *inputs: Any) -> Any:
        return self.run(node, *(inputs if self.images else [plain(x) for x in inputs]))


def _plain(run: Callable[..., Any], *static: int) -> Operator:
    return Operator(run, False, static)


def _images(run: Callable[..., Any], *static: int) -> Operator:
    return Operator(run, True, static)


def _each(function: Callable[..., Any]) -> Operator:
    return Operator(each(function))


def _two(function: Callable[..., Any]) -> Operator:
    return Operator(elementwise.two(function))


def _over(function: Callable[..., Any], *nothing: Callable[..., Any]) -> Operator:
    return Operator(reduce.over(function, *nothing), False, (1,))


# What convgpu/onnx/fusing.py makes of several nodes. These are no operators of ONNX, and no file can ask for them.
JOINED: dict[str, Operator] = {"ChannelShuffle": _images(shape.channel_shuffle), "ConvNorm": _images(norm.conv_norm)}

OPERATORS: dict[str, Operator] = {
    "Abs": _each(cnp.abs),
    "Acos": _each(cnp.arccos),
    "Acosh": _each(cnp.arccosh),
    "Add": _two(elementwise.add),
    "And": _two(cnp.logical_and),
    "ArgMax": _plain(reduce.place(cnp.argmax)),
    "ArgMin": _plain(reduce.place(cnp.argmin)),
    "Asin": _each(cnp.arcsin),
    "Asinh": _each(cnp.arcsinh),
    "Atan": _each(cnp.arctan),
    "Atanh": _each(cnp.arctanh),
    "AveragePool": _images(pooling.average_pool),
    "BatchNormalization": _images(norm.batch_norm),
    "BitShift": _images(elementwise.bit_shift),
    "BitwiseAnd": _two(cnp.bitwise_and),
    "BitwiseNot": _each(cnp.invert),
    "BitwiseOr": _two(cnp.bitwise_or),
    "BitwiseXor": _two(cnp.bitwise_xor),
    "Cast": _images(elementwise.cast),
    "CastLike": _images(elementwise.cast_like),
    "Ceil": _each(cnp.ceil),
    "Celu": _images(activation.celu),
    "CenterCropPad": _plain(shape.center_crop_pad, 1),
    "Clip": _images(elementwise.clip, 1, 2),
    "Col2Im": _plain(convolution.col2im, 1, 2),
    "Compress": _plain(indexing.compress, 1),
    "Concat": _images(shape.concat),
    "Constant": _plain(generate.constant),
    "ConstantOfShape": _plain(generate.constant_of_shape, 0),
    "Conv": _images(convolution.conv),
    "ConvInteger": _plain(quantized.conv_integer),
    "ConvTranspose": _images(convolution.conv_transpose),
    "Cos": _each(cnp.cos),
    "Cosh": _each(cnp.cosh),
    "CumProd": _plain(reduce.running(cnp.cumprod, 1), 1),
    "CumSum": _plain(reduce.running(cnp.cumsum, 0), 1),
    "DepthToSpace": _plain(shape.depth_to_space),
    "DequantizeLinear": _plain(quantized.dequantize_linear),
    "Det": _plain(matrix.det),
    "Div": _images(elementwise.div),
    "Dropout": _images(elementwise.dropout, 1, 2),
    "DynamicQuantizeLinear": _plain(quantized.dynamic_quantize_linear),
    "Einsum": _plain(matrix.einsum),
    "Elu": _images(activation.elu),
    "Equal": _two(cnp.equal),
    "Erf": _each(elementwise.erf),
    "Exp": _each(cnp.exp),
    "Expand": _plain(shape.expand, 1),
    "EyeLike": _plain(generate.eye_like),
    "Flatten": _plain(shape.flatten),
    "Floor": _each(cnp.floor),
    "Gather": _plain(indexing.gather),
    "GatherElements": _plain(indexing.gather_elements, 1),
    "GatherND": _plain(indexing.gather_nd, 1),
    "Gelu": _images(activation.gelu),
    "Gemm": _plain(matrix.gemm),
    "GlobalAveragePool": _images(pooling.global_average_pool),
    "GlobalLpPool": _plain(pooling.global_lp_pool),
    "GlobalMaxPool": _images(pooling.global_max_pool),
    "Greater": _two(cnp.greater),
    "GreaterOrEqual": _two(cnp.greater_equal),
    "GridSample": _plain(indexing.grid_sample),
    "GroupNormalization": _images(norm.group_norm),
    "HardSigmoid": _images(activation.hard_sigmoid),
    "HardSwish": _images(activation.hard_swish),
    "Hardmax": _plain(activation.hardmax),
    "Identity": _images(elementwise.identity),
    "InstanceNormalization": _images(norm.instance_norm),
    "IsInf": _images(elementwise.is_inf),
    "IsNaN": _each(cnp.isnan),
    "LRN": _images(norm.lrn),
    "LayerNormalization": _plain(norm.layer_norm),
    "LeakyRelu": _images(activation.leaky_relu),
    "Less": _two(cnp.less),
    "LessOrEqual": _two(cnp.less_equal),
    "Log": _each(cnp.log),
    "LogSoftmax": _plain(activation.log_softmax),
    "LpNormalization": _plain(norm.lp_norm),
    "LpPool": _images(pooling.lp_pool),
    "MatMul": _plain(matrix.matmul),
    "MatMulInteger": _plain(quantized.matmul_integer),
    "Max": _images(elementwise.several(cnp.maximum)),
    "MaxPool": _images(pooling.max_pool),
    "MaxUnpool": _plain(pooling.max_unpool, 2),
    "Mean": _images(elementwise.mean),
    "MeanVarianceNormalization": _plain(norm.mean_variance_norm),
    "Min": _images(elementwise.several(cnp.minimum)),
    "Mish": _images(activation.mish),
    "Mod": _images(elementwise.mod),
    "Mul": _two(cnp.multiply),
    "Neg": _each(cnp.negative),
    "NegativeLogLikelihoodLoss": _plain(loss.nll_loss),
    "NonZero": _plain(indexing.non_zero),
    "Not": _each(cnp.logical_not),
    "OneHot": _plain(indexing.one_hot, 1),
    "Or": _two(cnp.logical_or),
    "PRelu": _images(activation.prelu),
    "Pad": _plain(shape.pad, 1, 2, 3),
    "Pow": _images(elementwise.power),
    "QLinearConv": _plain(quantized.qlinear_conv),
    "QLinearMatMul": _plain(quantized.qlinear_matmul),
    "QuantizeLinear": _plain(quantized.quantize_linear),
    "RMSNormalization": _plain(norm.rms_norm),
    "Range": _plain(generate.numbers_of, 0, 1, 2),
    "Reciprocal": _each(cnp.reciprocal),
    "ReduceL1": _over(reduce.sum_of_magnitudes, cnp.abs),
    "ReduceL2": _over(reduce.root_of_squares, cnp.abs),
    "ReduceLogSum": _over(reduce.log_of_sum, cnp.log),
    "ReduceLogSumExp": _over(reduce.log_of_sum_of_exp),
    "ReduceMax": _over(reduce.extreme(cnp.max, largest=True)),
    "ReduceMean": _over(reduce.average),
    "ReduceMin": _over(reduce.extreme(cnp.min, largest=False)),
    "ReduceProd": _over(cnp.prod),
    "ReduceSum": _over(cnp.sum),
    "ReduceSumSquare": _over(reduce.sum_of_squares, cnp.square),
    "Relu": _each(act.relu),
    "Reshape": _plain(shape.reshape, 1),
    "Resize": _plain(resize.resize, 1, 2, 3),
    "ReverseSequence": _plain(indexing.reverse_sequence, 1),
    "Round": _each(cnp.rint),
    "Scatter": _plain(indexing.scatter_elements, 1),
    "ScatterElements": _plain(indexing.scatter_elements, 1),
    "ScatterND": _plain(indexing.scatter_nd, 1),
    "Selu": _images(activation.selu),
    "Shape": _images(shape.shape),
    "Shrink": _images(activation.shrink),
    "Sigmoid": _each(act.sigmoid),
    "Sign": _each(cnp.sign),
    "Sin": _each(cnp.sin),
    "Sinh": _each(cnp.sinh),
    "Size": _images(shape.size),
    "Slice": _plain(shape.slice_of, 1, 2, 3, 4),
    "Softmax": _plain(activation.softmax),
    "SoftmaxCrossEntropyLoss": _plain(loss.softmax_cross_entropy_loss),
    "Softplus": _each(act.softplus),
    "Softsign": _images(activation.softsign),
    "SpaceToDepth": _plain(shape.space_to_depth),
    "Split": _images(shape.split, 1),
    "Sqrt": _each(cnp.sqrt),
    "Squeeze": _plain(shape.squeeze, 1),
    "Sub": _two(cnp.subtract),
    "Sum": _images(elementwise.several(elementwise.add)),
    "Swish": _images(activation.swish),
    "Tan": _each(cnp.tan),
    "Tanh": _each(act.tanh),
    "ThresholdedRelu": _images(activation.thresholded_relu),
    "Tile": _plain(shape.tile, 1),
    "TopK": _plain(reduce.top_k, 1),
    "Transpose": _images(shape.transpose),
    "Trilu": _plain(shape.trilu, 1),
    "Unsqueeze": _plain(shape.unsqueeze, 1),
    "Upsample": _plain(resize.upsample, 1),
    "Where": _images(elementwise.where),
    "Xor": _two(cnp.logical_xor),
}
