#include "tensor_map.h"

#include "error.h"

namespace convgpu::ptx {
namespace {

void expect(bool right, const std::string& rule) {
    if (!right) throw Error("tensor map: expected " + rule);
}

void set_box(TensorMap& t, const TensorMapOptions& o) {
    if (!o.im2col) {
        expect(o.box.size() == t.rank, "a box with one size for each dimension");
        for (size_t d = 0; d < o.box.size(); ++d) {
            expect(o.box[d] >= 1 && o.box[d] <= 256, format("sizes of the box from 1 to 256, got %u", o.box[d]));
            t.box[d] = static_cast<uint16_t>(o.box[d]);
        }
        return;
    }
    expect(t.rank >= 3, "at least 3 dimensions for im2col");
    const size_t spatial = t.rank - 2u;
    expect(o.lower.size() == spatial && o.upper.size() == spatial,
           "a lower and an upper corner of each spatial dimension");
    const int limit = t.rank == 3 ? 32768 : t.rank == 4 ? 128 : 16;
    for (size_t d = 0; d < spatial; ++d) {
        expect(o.lower[d] >= -limit && o.lower[d] < limit && o.upper[d] >= -limit && o.upper[d] < limit,
               format("corners from %d to %d", -limit, limit - 1));
        t.lower[d] = static_cast<int16_t>(o.lower[d]);
        t.upper[d] = static_cast<int16_t>(o.upper[d]);
    }
    expect(o.channels >= 1 && o.channels <= 256, format("1 to 256 channels, got %u", o.channels));
    expect(o.pixels >= 1 && o.pixels <= 1024, format("1 to 1024 pixels, got %u", o.pixels));
    t.im2col = 1;
    t.channels = static_cast<uint16_t>(o.channels);
    t.pixels = static_cast<uint16_t>(o.pixels);
}

}  // namespace

TensorMap encode(const TensorMapOptions& o) {
    TensorMap t;
    expect(o.sizes.size() >= 1 && o.sizes.size() <= 5, format("1 to 5 dimensions, got %zu", o.sizes.size()));
    t.rank = static_cast<uint8_t>(o.sizes.size());
    expect(o.strides.size() + 1 == o.sizes.size(), "a stride of every dimension but the innermost");
    expect(o.base % 16 == 0, "an array that is aligned to 16 bytes");
    expect(o.element == 1 || o.element == 2 || o.element == 4 || o.element == 8,
           format("elements of 1, 2, 4 or 8 bytes, got %u", o.element));
    t.element = static_cast<uint8_t>(o.element);
    t.base = o.base;
    t.nan_fill = o.nan_fill;
    for (size_t d = 0; d < o.sizes.size(); ++d) {
        expect(o.sizes[d] >= 1 && o.sizes[d] < uint64_t(1) << 32,
               format("sizes from 1 to 2^32 - 1, got %lu", o.sizes[d]));
        t.size[d] = static_cast<uint32_t>(o.sizes[d]);
        const uint32_t step = d < o.steps.size() ? o.steps[d] : 1;
        expect(step >= 1 && step <= 8, format("element strides from 1 to 8, got %u", step));
        t.step[d] = static_cast<uint8_t>(step);
        if (!d) continue;
        expect(o.strides[d - 1] % 16 == 0 && o.strides[d - 1] < uint64_t(1) << 36,
               format("strides that are multiples of 16 bytes, got %lu", o.strides[d - 1]));
        t.stride16[d - 1] = static_cast<uint32_t>(o.strides[d - 1] / 16);
    }
    set_box(t, o);
    const uint32_t row = (t.im2col ? t.channels : t.box[0]) * o.element;
    expect(row % 16 == 0, format("rows of the box that are multiples of 16 bytes, got %u", row));
    expect(o.swizzle_bytes == 0 || o.swizzle_bytes == 32 || o.swizzle_bytes == 64 || o.swizzle_bytes == 128,
           format("a swizzle of 0, 32, 64 or 128 bytes, got %u", o.swizzle_bytes));
    t.swizzle = o.swizzle_bytes == 128 ? 3 : o.swizzle_bytes == 64 ? 2 : o.swizzle_bytes == 32 ? 1 : 0;
    expect(!t.swizzle || row <= o.swizzle_bytes,
           format("rows of the box of at most %u bytes, got %u", o.swizzle_bytes, row));
    return t;
}

}  // namespace convgpu::ptx
