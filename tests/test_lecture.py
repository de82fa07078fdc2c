"""Worked examples, sizes and parameter counts of lecture notes on convolutional networks; SciPy on real images."""

from __future__ import annotations

import math

import numpy as np
import pytest

import convgpu as cg


def image(rows):
    """One grey image (1, H, W, 1) from nested lists."""
    return np.array(rows, np.float32)[None, :, :, None]


def filters(rows):
    """One filter on one channel (R, S, 1, 1)."""
    return np.array(rows, np.float32)[:, :, None, None]


def plane(t):
    """The only channel of the only image."""
    return t.numpy()[0, :, :, 0]


VERTICAL = [[1, 0, -1]] * 3
SOBEL_X = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]  # positive where brightness grows to the right
SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
EDGE = [[1, 1, 1], [1, -8, 1], [1, 1, 1]]
STEP = [[100, 100, 200, 200]] * 4
SIX = [[3, 3, 4, 4, 7, 0], [9, 7, 6, 5, 8, 2], [6, 5, 5, 6, 9, 2], [7, 1, 3, 2, 7, 8], [0, 3, 7, 1, 8, 3],
       [4, 0, 4, 3, 2, 2]]


# --- worked examples


def test_vertical_edge(backend):
    y = plane(cg.conv(image([[10, 10, 10, 0, 0, 0]] * 6), filters(VERTICAL)))
    assert np.array_equal(y, [[0, 30, 30, 0]] * 4)


def test_sobel_and_mean_on_a_step(backend):
    assert np.array_equal(plane(cg.conv(image(STEP), filters(SOBEL_X))), [[400, 400]] * 2)
    mean = plane(cg.conv(image(STEP), filters(np.full((3, 3), 1 / 9))))
    assert np.allclose(mean, [[400 / 3, 500 / 3]] * 2, rtol=1e-6)


def test_zero_padding_by_one(backend):
    y = plane(cg.conv(image(SIX), filters(VERTICAL), padding=1))
    assert y.shape == (6, 6)
    assert y[0].tolist() == [-10, 2, 1, -5, 7, 15]
    assert y[1, :3].tolist() == [-15, 3, 0]


def test_binary_image(backend):
    bits = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
    y = plane(cg.conv(image(bits), filters([[1, 0, 1], [0, 1, 0], [1, 0, 1]])))
    assert y.tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


def test_three_channels_and_a_bias(backend):
    red = [[156, 155, 156, 158, 158], [153, 154, 157, 159, 159], [149, 151, 155, 158, 159], [146, 146, 149, 153, 158],
           [145, 143, 143, 148, 158]]
    green = [[167, 166, 167, 169, 169], [164, 165, 168, 170, 170], [160, 162, 166, 169, 170],
             [156, 156, 159, 163, 168], [155, 153, 153, 158, 168]]
    blue = [[163, 162, 163, 165, 165], [160, 161, 164, 166, 166], [156, 158, 162, 165, 166], [155, 155, 158, 162, 167],
            [154, 152, 152, 157, 167]]
    parts = [[[-1, -1, 1], [0, 1, -1], [0, 1, 1]], [[1, 0, 0], [1, -1, -1], [1, 0, -1]],
             [[0, 1, 1], [0, 1, 0], [1, -1, 1]]]
    x = np.stack([red, green, blue], axis=-1).astype(np.float32)[None]
    w = np.stack(parts, axis=-1).astype(np.float32)[..., None]
    corners = [plane(cg.conv(x[..., c:c + 1], w[:, :, c:c + 1], padding=1))[0, 0] for c in range(3)]
    assert corners == [308, -498, 164]
    assert plane(cg.conv(x, w, np.float32([1]), padding=1))[0, 0] == -25


def test_sharpen(backend):
    rows = [[105, 102, 100, 97, 96], [103, 99, 103, 101, 102], [101, 98, 104, 102, 100]]
    assert plane(cg.conv(image(rows), filters(SHARPEN))).tolist() == [[89, 111, 101]]


def test_edge_filter_sees_nothing_in_a_constant_image(backend):
    y = plane(cg.conv(image(np.full((6, 7), 42)), filters(EDGE), padding=1))
    assert not y[1:-1, 1:-1].any() and y[0].all() and y[-1].all() and y[:, 0].all() and y[:, -1].all()


def test_how_often_a_filter_covers_each_pixel(backend):
    x = cg.tensor(np.zeros((1, 4, 4, 1), np.float32), requires_grad=True)
    cg.conv(x, np.ones((3, 3, 1, 1), np.float32)).sum().backward()
    assert plane(x.grad).tolist() == [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]


def test_delta_and_shift(backend):
    x = np.random.default_rng(0).integers(-99, 100, (1, 9, 8, 1)).astype(np.float32)  # integers: sums are exact
    delta = np.zeros((3, 3, 1, 1), np.float32)
    delta[1, 1] = 1
    assert np.array_equal(cg.conv(x, delta, padding="same").numpy(), x)
    w = np.random.default_rng(1).integers(-9, 10, (3, 3, 1, 1)).astype(np.float32)
    moved = np.roll(x, (2, 1), axis=(1, 2))
    y, z = plane(cg.conv(x, w)), plane(cg.conv(moved, w))
    assert np.array_equal(z[2:, 1:], y[:-2, :-1])


def test_matched_filter_finds_a_patch(backend):
    scene = np.random.default_rng(2).choice([-1, 1], (1, 40, 50, 1)).astype(np.float32)
    patch = scene[:, 23:31, 11:20].reshape(8, 9, 1, 1)
    response = plane(cg.conv(scene, patch))
    assert np.unravel_index(response.argmax(), response.shape) == (23, 11) and response.max() == 72
    assert np.array_equal(plane(cg.conv(scene, patch[::-1, ::-1], flip=True)), response)


def test_full_convolution_in_one_dimension(backend):
    x, w = np.float32([1, 2, 3, 4]).reshape(1, 4, 1), np.float32([1, 2]).reshape(2, 1, 1)
    y = cg.conv(x, w, padding="full", flip=True)
    assert y.numpy().ravel().tolist() == [1, 4, 7, 10, 8] == np.convolve([1, 2, 3, 4], [1, 2]).tolist()


@pytest.mark.parametrize(("rows", "size", "stride", "expected"), [
    ([[12, 20, 30, 0], [8, 12, 2, 0], [34, 70, 37, 4], [112, 100, 25, 12]], 2, 2, [[20, 30], [112, 37]]),
    ([[1, 4, 2, 1], [5, 8, 3, 4], [7, 6, 4, 5], [1, 3, 1, 2]], 2, 2, [[8, 4], [7, 5]]),
    ([[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]], 3, 1,
     [[3, 3, 3], [3, 3, 3], [3, 2, 3]]),
])
def test_max_pooling(rows, size, stride, expected, backend):
    assert plane(cg.max_pool(image(rows), size, stride=stride)).tolist() == expected


def test_average_pooling(backend):
    y = cg.avg_pool(image([[1, 4, 2, 1], [5, 8, 3, 4], [7, 6, 4, 5], [1, 3, 1, 2]]), 2, stride=1)
    assert plane(y).tolist() == [[4.5, 4.25, 2.5], [6.5, 5.25, 4], [4.25, 3.5, 3]]


# --- SciPy on real images


@pytest.mark.parametrize("name", ["sobel", "sharpen", "gaussian"])
def test_scipy_on_the_camera_image(name, backend):
    data, signal = pytest.importorskip("skimage.data"), pytest.importorskip("scipy.signal")
    im = data.camera().astype(np.float64)
    t = np.arange(-1, 2)
    kernel = {"sobel": SOBEL_X, "sharpen": SHARPEN, "gaussian": np.exp(-(t[:, None]**2 + t**2 + t) / 2)}[name]
    kernel = np.array(kernel, np.float64)
    y = plane(cg.conv(im[None, :, :, None], kernel[:, :, None, None]))
    expected = signal.convolve2d(im, np.fliplr(np.flipud(kernel)), mode="valid")
    assert im.shape == (512, 512) and y.shape == (510, 510)
    assert np.abs(y - expected).max() <= 1e-12 * np.abs(kernel).sum() * 255


def test_colour_filters_on_a_photograph(backend):
    data, signal = pytest.importorskip("skimage.data"), pytest.importorskip("scipy.signal")
    photo = data.astronaut()[:368, :487].astype(np.float32) / 255
    t = np.arange(-4, 5) / 2.0
    gaussian = np.exp(-(t[:, None]**2 + t**2) / 2)
    gaussian /= gaussian.sum()
    weights = np.array([[1, -.5, -.5], [-.5, 1, -.5], [-.5, -.5, 1], [.5, -1, .5]])
    w = np.einsum("rs,kc->rsck", gaussian, weights).astype(np.float32)
    y = cg.conv(photo[None], w).numpy()[0]
    assert photo.shape == (368, 487, 3) and y.shape == (360, 479, 4)
    for k in range(4):
        expected = sum(signal.correlate2d(photo[..., c].astype(float), w[..., c, k].astype(float), mode="valid")
                       for c in range(3))
        assert np.abs(y[..., k] - expected).max() <= 16 * 2.0**-23 * np.abs(w[..., k]).sum()


# --- sizes


@pytest.mark.parametrize(("n", "f", "options", "out"), [
    (9, 3, {"padding": 1, "stride": 2}, 5), (227, 11, {"stride": 4}, 55), (8, 3, {"padding": 1}, 8), (6, 3, {}, 4),
    (125, 5, {"padding": 2, "stride": 2}, 63), (7, 3, {"padding": "same"}, 7), (7, 5, {"padding": "full"}, 11),
    (28, 5, {"padding": 2}, 28), (512, 3, {}, 510),
])
def test_output_sizes(n, f, options, out):
    y = cg.conv(np.zeros((1, n, n, 3), np.float32), np.zeros((f, f, 3, 2), np.float32), **options)
    assert y.shape == (1, out, out, 2)


def test_the_depth_of_the_output_is_the_number_of_filters():
    y = cg.conv(np.zeros((1, 227, 227, 3), np.float32), np.zeros((11, 11, 3, 96), np.float32), stride=4)
    assert y.shape == (1, 55, 55, 96)


# --- parameter counts: networks as lists, their sizes measured by the engine


def conv(filters, f, stride=1, padding="valid", groups=1):
    return ("conv", filters, f, stride, padding, groups)


def pool(f, stride, padding=0):
    return ("pool", f, stride, padding)


def walk(layers, size, channels):
    """Spatial sizes after each layer, and (weights, biases) of each layer that has them."""
    sizes, counts = [size], []
    features = None
    for kind, *options in layers:
        if kind == "dense":
            features = features or size * size * channels
            counts.append((features * options[0], options[0]))
            features = options[0]
            continue
        x = np.zeros((1, size, size, 1), np.float32)  # one channel: sizes do not depend on them
        if kind == "pool":
            f, stride, padding = options
            size = cg.max_pool(x, f, stride=stride, padding=padding).shape[1]
        else:
            k, f, stride, padding, groups = options
            size = cg.conv(x, np.zeros((f, f, 1, 1), np.float32), stride=stride, padding=padding).shape[1]
            counts.append((f * f * channels // groups * k, k))
            channels = k
        sizes.append(size)
    return sizes, counts


def total(counts):
    return sum(map(sum, counts))


@pytest.mark.parametrize(("channels", "layer", "expected"), [
    (3, conv(10, 3), 280), (3, conv(6, 5), 456), (1, conv(2, 3), 20), (3, conv(4, 9), 976)])
def test_parameters_of_one_layer(channels, layer, expected):
    assert total(walk([layer], 32, channels)[1]) == expected


def test_what_a_dense_layer_would_need():
    (size,) = walk([conv(6, 5)], 32, 3)[0][1:]
    assert (32 * 32 * 3, size * size * 6, 32 * 32 * 3 * size * size * 6) == (3072, 4704, 14_450_688)
    assert 32 * 32 * size * size * 6 == 4_816_896


LENET = [conv(6, 5), pool(2, 2), conv(16, 5), pool(2, 2), ("dense", 120), ("dense", 84), ("dense", 10)]


def test_lenet5():
    sizes, counts = walk(LENET, 32, 1)
    assert sizes == [32, 28, 14, 10, 5]
    assert counts[:2] == [(150, 6), (2400, 16)] and [sum(c) for c in counts[2:]] == [48_120, 10_164, 850]
    assert total(counts) == 61_706
    padded = [conv(6, 5, padding=2), *LENET[1:]]
    assert walk(padded, 28, 1)[0] == [28, 28, 14, 10, 5] and total(walk(padded, 28, 1)[1]) == 61_706


def test_an_image_too_small_for_the_network_is_an_error():
    with pytest.raises(ValueError, match=r"spans \(5, 5\) pixels, larger than the padded input \(2, 2\).*larger input"):
        walk(LENET, 8, 1)
    halve = [conv(1, 2, stride=2)] * 4  # start with 2x2 and halve it four times
    with pytest.raises(ValueError, match="larger than the padded input"):
        walk(halve, 2, 1)


HEAD = [("dense", 4096), ("dense", 4096), ("dense", 1000)]


def test_alexnet_unpadded():
    layers = [conv(96, 11, 4), pool(3, 2), conv(256, 5), pool(3, 2), conv(384, 3), conv(384, 3), conv(256, 3),
              pool(3, 2), *HEAD]
    sizes, counts = walk(layers, 227, 3)
    assert sizes == [227, 55, 27, 23, 11, 9, 7, 5, 2]
    assert sum(w for w, _ in counts) == 28_813_344 and total(counts) == 28_823_912


@pytest.mark.parametrize(("groups", "expected"), [(1, 62_378_344), (2, 60_965_224)])
def test_alexnet_padded(groups, expected):
    layers = [conv(96, 11, 4), pool(3, 2), conv(256, 5, padding="same", groups=groups), pool(3, 2),
              conv(384, 3, padding="same"), conv(384, 3, padding="same", groups=groups),
              conv(256, 3, padding="same", groups=groups), pool(3, 2), *HEAD]
    sizes, counts = walk(layers, 227, 3)
    assert sizes == [227, 55, 27, 27, 13, 13, 13, 13, 6]
    assert total(counts) == expected


def test_zfnet():
    layers = [conv(96, 7, 2, 1), pool(3, 2, 1), conv(256, 5, 2), pool(3, 2, 1), conv(384, 3, padding=1),
              conv(384, 3, padding=1), conv(256, 3, padding=1), pool(3, 2), *HEAD]
    sizes, counts = walk(layers, 224, 3)
    assert sizes == [224, 110, 55, 26, 13, 13, 13, 13, 6]
    assert total(counts) == 62_357_608


def test_vgg16():
    blocks = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]
    layers = [layer for k, n in blocks for layer in [conv(k, 3, padding="same")] * n + [pool(2, 2)]]
    sizes, counts = walk(layers + HEAD, 224, 3)
    assert sizes[-1] == 7
    assert [sum(c) for c in counts] == [1792, 36928, 73856, 147584, 295168, 590080, 590080, 1180160, 2359808, 2359808,
                                        2359808, 2359808, 2359808, 102764544, 16781312, 4097000]
    assert total(counts) == 138_357_544


def test_googlenet():
    """Nine inception blocks: 1x1, 3x3 behind a 1x1, 5x5 behind a 1x1, and a pool before a 1x1, side by side."""
    blocks = [(64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64),
              (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
              (256, 160, 320, 32, 128, 128), (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)]
    parameters = total(walk([conv(64, 7, 2, 3), conv(64, 1), conv(192, 3, padding=1)], 224, 3)[1])
    channels = 192
    for one, reduce3, three, reduce5, five, pooled in blocks:
        for branch in ([conv(one, 1)], [conv(reduce3, 1), conv(three, 3, padding=1)],
                       [conv(reduce5, 1), conv(five, 5, padding=2)], [conv(pooled, 1)]):
            parameters += total(walk(branch, 7, channels)[1])
        channels = one + three + five + pooled
    assert channels == 1024
    assert parameters + channels * 1000 + 1000 == 6_998_552


def test_grouped_filters_have_the_shape_that_the_count_says():
    w = np.zeros((5, 5, 96 // 2, 256), np.float32)
    assert cg.conv(np.zeros((1, 27, 27, 96), np.float32), w, padding="same", groups=2).shape == (1, 27, 27, 256)
    assert w.size == math.prod((5, 5, 48, 256)) == 307_200
