"""Gradients of convolution in float64 against central differences: every form and option, first and second order."""

from __future__ import annotations

import numpy as np
import pytest
from conv_checks import FORMATS, filters_to, images_to, normal

import convgpu as cg
from convgpu.cases.conv import ConvCase

GRADIENTS = {
    "plain": (cg.conv, (1, 4, 4, 2), (2, 3, 2, 2), {}),
    "strided": (cg.conv, (1, 5, 4, 2), (2, 3, 2, 2), {"stride": (2, 3), "padding": ((1, 0), (0, 2))}),
    "dilated": (cg.conv, (1, 5, 5, 1), (2, 2, 1, 2), {"dilation": (2, 3), "padding": "same"}),
    "groups": (cg.conv, (1, 3, 3, 4), (2, 2, 2, 2), {"groups": 2}),
    "flip": (cg.conv, (1, 4, 4, 1), (2, 3, 1, 2), {"flip": True, "padding": "full"}),
    "1d": (cg.conv, (2, 6, 2), (3, 2, 2), {"stride": 2, "padding": 1}),
    "3d": (cg.conv, (1, 3, 2, 3, 1), (2, 2, 2, 1, 2), {"padding": (1, 0, 1), "stride": (1, 1, 2)}),
    "transpose": (cg.conv_transpose, (1, 3, 2, 2), (2, 3, 1, 2), {"stride": 2, "padding": 1, "output_padding": 1}),
    "transpose_same": (cg.conv_transpose, (1, 2, 2, 2), (3, 2, 2, 2), {"stride": (2, 3), "padding": "same"}),
    "transpose_groups": (cg.conv_transpose, (1, 2, 2, 4), (2, 2, 1, 4), {"groups": 2, "dilation": 2}),
    "transpose_beyond_stride": (cg.conv_transpose, (1, 2, 2, 1), (2, 2, 1, 1), {"dilation": 3, "output_padding": 2}),
    "depthwise": (cg.depthwise_conv, (1, 4, 4, 2), (2, 3, 2, 2), {"stride": 2, "padding": "same"}),
    "depthwise_flip": (cg.depthwise_conv, (1, 3, 3, 2), (2, 2, 2, 1), {"flip": True, "dilation": 2}),
}


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name, data_format, backend):
    function, x_shape, w_shape, options = GRADIENTS[name]
    case = ConvCase(name, x_shape, w_shape, form=function.__name__)
    x = images_to(normal(*x_shape), data_format)
    w = filters_to(normal(*w_shape, seed=1), case, data_format)
    channel = -1 if data_format == "channels_last" else 1
    bias = normal(function(x, w, data_format=data_format, **options).shape[channel], seed=2)
    for order in (1, 2):
        cg.check_grad(lambda *a: function(*a, data_format=data_format, **options), x, w, bias, order=order)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "softplus", "gelu"])
@pytest.mark.parametrize("function", [cg.conv, cg.conv_transpose, cg.depthwise_conv], ids=lambda f: f.__name__)
def test_gradients_through_activations(function, activation):
    """Fused (relu, tanh, sigmoid) or applied after: the same values, and gradients of both orders."""
    x, w = normal(1, 3, 3, 2, seed=4), normal(2, 2, 2, 2, seed=5)
    bias = normal(4 if function is cg.depthwise_conv else 2, seed=6)
    plain = getattr(cg, activation)(function(x, w, bias)).numpy()
    assert np.allclose(function(x, w, bias, activation=activation).numpy(), plain, rtol=1e-14, atol=1e-15)
    for order in (1, 2):
        cg.check_grad(lambda *a: function(*a, activation=activation), x, w, bias, order=order)


@pytest.mark.parametrize("data_format", FORMATS)
def test_gradients_of_separable_conv(data_format, backend):
    x = images_to(normal(1, 4, 3, 2), data_format)
    depthwise, pointwise = normal(2, 2, 2, 2, seed=1), normal(1, 1, 4, 3, seed=2)
    if data_format == "channels_first":
        pointwise = np.moveaxis(pointwise, (-1, -2), (0, 1))

    def function(*a):
        return cg.separable_conv(*a, padding="same", stride=2, activation="tanh", data_format=data_format)

    for order in (1, 2):
        cg.check_grad(function, x, depthwise, pointwise, normal(3, seed=3), order=order)


def test_gradients_of_wgrad_and_dgrad_themselves(backend):
    """Third order: the set {fprop, dgrad, wgrad} is closed under differentiation."""
    cg.check_grad(lambda x, w: cg.conv(x, w, padding="same", activation="tanh"), normal(1, 3, 2), normal(2, 2, 1),
                  order=3)
