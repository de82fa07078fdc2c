// A Problem says what is asked of a convolution: direction, sizes, dtype and precision. A plan follows from a Problem,
// the GPU, and the limit of workspace, and from nothing else.
#pragma once
#include <string>

#include "../../common/array.h"
#include "../../common/geometry.h"
#include "../../common/options.h"

namespace convgpu::conv {

enum class Direction { kFprop, kDgrad, kWgrad };

inline const char* name_of(Direction direction) {
    return direction == Direction::kFprop ? "conv_fprop" : direction == Direction::kDgrad ? "conv_dgrad" : "conv_wgrad";
}
Direction direction_of(const std::string& op);  // "conv_fprop", "conv_dgrad" or "conv_wgrad"

// The kernels over tiles count pixels in 32 bits. The limit leaves room for a tile at the end.
constexpr int64_t kPixelsAtOnce = (int64_t(1) << 31) - 256;

// Every kernel runs on arrays that start at multiples of their elements; the fast ones ask for multiples of 16 bytes.
constexpr int kFullAlignment = 16;

struct Problem {
    Direction direction = Direction::kFprop;
    ConvGeometry geo;
    DType dtype = DType::kFloat32;
    Precision precision = Precision::kFloat32;
    int alignment = kFullAlignment;          // the largest power of two, at most 16, that divides all of x, w and y
    int64_t pixels_at_once = kPixelsAtOnce;  // pixels of one launch; larger batches run in parts. Tests lower it

    bool aligned() const { return alignment >= kFullAlignment; }
};

// The arrays of a convolution. fprop reads x and w and writes y; dgrad reads y and w and writes x; wgrad reads x and y
// and writes w. In dgrad and wgrad y stands for the gradient gy, in dgrad x for gx, and in wgrad w for gw.
// `folded` has the factor and the shift of each filter, in the type of sums: fprop then computes x * w * factor +
// shift, plus the residual where there is one, which has the shape of y. There is no bias beside it.
struct Operands {
    Array x, w;
    const Array* bias;
    Array y;
    const Array* folded = nullptr;
    const Array* residual = nullptr;
};

// Tells whether the bias is an addend, which has the shape of gx.
inline bool has_addend(const Operands& operands) { return operands.bias != nullptr && operands.bias->shape.size() > 1; }

inline const Array& result_of(Direction direction, const Operands& o) {
    return direction == Direction::kFprop ? o.y : direction == Direction::kDgrad ? o.x : o.w;
}

// Tells whether the convolution is depthwise: each group has one channel of x, and any number of filters.
inline bool is_depthwise(const ConvGeometry& geo) { return geo.groups == geo.channels && geo.channels > 1; }

// Tells whether rows of the result, each with the channels of one group, are written 16 bytes at a time.
bool writes_vectors(const Problem& problem, const Array& result);

}  // namespace convgpu::conv
