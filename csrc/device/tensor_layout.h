// What a tensor map describes, and the rules that the hardware sets for it. Both machines make the same checks, so that
// an error names rule, expectation and value where the driver only says "invalid argument".
//
// Dimension 0 is the innermost, whose elements are contiguous: a channels-last image is (C, W, H, N).
#pragma once
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace convgpu {

// A swizzle permutes the 16-byte chunks of a row in shared memory, depending on which row it is. The values are those
// that wgmma encodes.
enum class Swizzle : uint32_t { kNone = 0, k128B = 1, k64B = 2, k32B = 3 };

// Returns the bytes of one permuted row, or 16 without a swizzle. The pattern repeats after 8 rows.
constexpr uint32_t swizzle_bytes(Swizzle s) { return s == Swizzle::kNone ? 16 : 256u >> static_cast<uint32_t>(s); }

enum class ElementType { kUint8, kFloat16, kBFloat16, kFloat32, kFloat64 };

constexpr uint32_t element_bytes(ElementType t) {
    return t == ElementType::kUint8 ? 1 : t == ElementType::kFloat32 ? 4 : t == ElementType::kFloat64 ? 8 : 2;
}

enum class Fill { kZero, kNaN };  // the value that a load gives to elements outside the tensor

struct TensorView {
    const void* base = nullptr;
    ElementType type = ElementType::kFloat32;
    uint32_t rank = 0;
    std::array<uint64_t, 5> size{};
    std::array<uint64_t, 5> stride{};  // in bytes; stride[0] is the element's size, whatever is written there
};

// A box of the tensor for loads and stores. The instruction gives its coordinates.
struct TiledLayout {
    TensorView tensor;
    std::array<uint32_t, 5> box{};
    std::array<uint32_t, 5> step{1, 1, 1, 1, 1};  // every step-th element is loaded, ceil(box / step) of them
    Swizzle swizzle = Swizzle::kNone;
    Fill fill = Fill::kZero;
};

// Rows of the im2col matrix: `pixels` positions times `channels` of a (C, W, N), (C, W, H, N) or (C, W, H, D, N) image.
// The positions walk over the bounding box, W fastest, and go on in the next image. Along each spatial axis the box
// reaches from `lower` to size - 1 + `upper`. For a convolution, lower = -padding and upper = padding - dilation *
// (filter - 1); the instruction adds the offset of the filter tap.
struct Im2colLayout {
    TensorView tensor;
    std::array<int, 3> lower{}, upper{};  // along W, H, D
    uint32_t channels = 0, pixels = 0;
    std::array<uint32_t, 5> step{1, 1, 1, 1, 1};  // entries 1 to 3 are the convolution's strides along W, H, D
    Swizzle swizzle = Swizzle::kNone;
    Fill fill = Fill::kZero;
};

namespace tensor_layout {

// Writes the first `count` values as "(a, b, c)".
template <class Values>
std::string text_of(const Values& values, uint32_t count) {
    std::string text = "(";
    for (uint32_t i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(values[i]);
    return text + ")";
}

inline std::string text_of(const TensorView& t) {
    const char* const names[] = {"uint8", "float16", "bfloat16", "float32", "float64"};
    const auto address = reinterpret_cast<uintptr_t>(t.base);
    return std::string(names[static_cast<int>(t.type)]) + " " + text_of(t.size, t.rank) + ", strides " +
           text_of(t.stride, t.rank) + " bytes, base at a multiple of " +
           std::to_string(address ? address & (~address + 1) : 0);
}

// Describes what the encoder was asked for, innermost dimension first.
inline std::string text_of(const TiledLayout& l) {
    const uint32_t rank = l.tensor.rank;
    return text_of(l.tensor) + ", box " + text_of(l.box, rank) + ", step " + text_of(l.step, rank) + ", swizzle " +
           std::to_string(swizzle_bytes(l.swizzle));
}
inline std::string text_of(const Im2colLayout& l) {
    const uint32_t rank = l.tensor.rank, spatial = rank < 2 ? 0 : rank - 2;
    return text_of(l.tensor) + ", corners " + text_of(l.lower, spatial) + " and " + text_of(l.upper, spatial) + ", " +
           std::to_string(l.channels) + " channels of " + std::to_string(l.pixels) + " pixels, step " +
           text_of(l.step, rank) + ", swizzle " + std::to_string(swizzle_bytes(l.swizzle));
}

inline void require(bool holds, const char* rule, int64_t got) {
    if (!holds)
        throw std::invalid_argument(std::string("tensor map: expected ") + rule + ", got " + std::to_string(got));
}

inline void check(const TensorView& t, uint32_t min_rank) {
    require(t.rank >= min_rank && t.rank <= 5, min_rank == 1 ? "rank 1 to 5" : "rank 3 to 5", t.rank);
    const auto address = reinterpret_cast<uintptr_t>(t.base);
    require(address % 16 == 0, "a base address aligned to 16 bytes", static_cast<int64_t>(address % 16));
    for (uint32_t i = 0; i < t.rank; ++i) {
        require(t.size[i] > 0 && t.size[i] <= uint64_t(1) << 32, "sizes of 1 to 2^32", static_cast<int64_t>(t.size[i]));
        const bool good = i == 0 || (t.stride[i] % 16 == 0 && t.stride[i] < uint64_t(1) << 40);
        require(good, "strides that are multiples of 16 bytes below 2^40", static_cast<int64_t>(t.stride[i]));
    }
}

inline void check_steps(const std::array<uint32_t, 5>& step, uint32_t rank) {
    for (uint32_t i = 1; i < rank; ++i) require(step[i] >= 1 && step[i] <= 8, "steps of 1 to 8", step[i]);
}

// Rows that are narrower than the swizzle's are legal, but no published source says how they lie in memory. They are
// not allowed here.
inline void check_row(uint32_t bytes, Swizzle swizzle) {
    require(bytes % 16 == 0, "an inner box that is a multiple of 16 bytes", bytes);
    if (swizzle != Swizzle::kNone) {
        require(bytes == swizzle_bytes(swizzle), "an inner box exactly as wide as the swizzle", bytes);
    }
}

}  // namespace tensor_layout

inline void check(const TiledLayout& l) {
    using tensor_layout::require;
    tensor_layout::check(l.tensor, 1);
    for (uint32_t i = 0; i < l.tensor.rank; ++i) {
        require(l.box[i] >= 1 && l.box[i] <= 256, "a box of 1 to 256 per dimension", l.box[i]);
    }
    tensor_layout::check_steps(l.step, l.tensor.rank);
    tensor_layout::check_row(l.box[0] * element_bytes(l.tensor.type), l.swizzle);
}

inline void check(const Im2colLayout& l) {
    using tensor_layout::require;
    tensor_layout::check(l.tensor, 3);
    const uint32_t spatial = l.tensor.rank - 2;
    const int limit = spatial == 1 ? 32768 : spatial == 2 ? 128 : 16;
    for (uint32_t i = 0; i < spatial; ++i) {
        const char* range = spatial == 1   ? "1-D corners of -32768 to 32767"
                            : spatial == 2 ? "2-D corners of -128 to 127"
                                           : "3-D corners of -16 to 15";
        require(l.lower[i] >= -limit && l.lower[i] < limit, range, l.lower[i]);
        require(l.upper[i] >= -limit && l.upper[i] < limit, range, l.upper[i]);
        const int64_t positions = static_cast<int64_t>(l.tensor.size[i + 1]) + l.upper[i] - l.lower[i];
        require(positions > 0, "a bounding box that is not empty", positions);
    }
    require(l.channels >= 1 && l.channels <= 256, "1 to 256 channels", l.channels);
    require(l.pixels >= 1 && l.pixels <= 1024, "1 to 1024 pixels", l.pixels);
    tensor_layout::check_steps(l.step, l.tensor.rank);
    tensor_layout::check_row(l.channels * element_bytes(l.tensor.type), l.swizzle);
}

}  // namespace convgpu
