"""All ops. One file per family."""

from .conv import conv, conv_transpose, depthwise_conv, separable_conv
from .elementwise import add, astype, divide, exp, greater, log, multiply, negative, power, relu, subtract, tanh
from .reduce import sum
from .shape import At, broadcast_to, flip, getitem, reshape, transpose
