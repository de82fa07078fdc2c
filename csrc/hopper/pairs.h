// float32 on the tensor cores: pairs of float16, and what becomes of elements that pairs cannot hold.
//
// x * 2^s = high + low / kLow, where high and low are float16. A range is all elements that one sum may take from a
// factor (a row, an image, a channel); its s puts the largest into [2^14, 2^15). Elements down to 2^-28 of the largest
// keep 23 bits, and what a product of two loses, low * low, is below 2^-22 of it. Smaller ones are counted as lost:
// they err by at most 2^-36, and low * low by 2^-25 * 2^4, so that a sum of scaled products is off by at most
// 2^-20 for each of them. Where that could be more than 2^-24 of the sum, or where the sum is NaN (pairs have no
// infinities), its tile is marked, and the tiled kernel computes it again in float32. So every result is certain,
// whatever the data, and the host need not know.
//
// After Ootomo and Yokota, Recovering single precision accuracy from Tensor Cores while surpassing the FP32 theoretical
// peak performance, 2022 (arXiv 2203.03341): the pairs, low's own scale, and sums outside the tensor cores.
#pragma once
#include <type_traits>

#include "../common/divisor.h"
#include "../common/workspace.h"
#include "../tile/output.h"

namespace convgpu::hopper {

constexpr float kLow = 2048;
constexpr int kTop = 14;
constexpr float kLeastHeld = 1.0f / 16384;  // of scaled elements: high has all its bits
constexpr float kLossPerElement = 16;       // 2^-20 / 2^-24

struct Range {
    uint32_t largest, lost;  // bits of the largest finite |x|; elements below kLeastHeld that are not zero
};

__device__ __forceinline__ float power_of_two(int e) { return __uint_as_float(static_cast<uint32_t>(e + 127) << 23); }

// x * 2^e, rounded once: e may be more than a float32 can hold, and is halved. Below -252 nothing would be left.
__device__ __forceinline__ float times_power_of_two(float x, int e) {
    const int some = (e < -252 ? -252 : e) >> 1, rest = (e < -252 ? -252 : e) - some;
    return x * power_of_two(some) * power_of_two(rest);
}

__device__ __forceinline__ int scale_of(const Range& range) {
    const auto exponent = static_cast<int>(range.largest >> 23);
    if (range.largest == 0) return 0;
    return kTop - (exponent > 0 ? exponent - 127 : 31 - __clz(static_cast<int>(range.largest)) - 149);
}

// A float32 factor in memory: `items` stacks of `lines` x `length`, and which range an element belongs to.
struct Factor {
    const float* x = nullptr;
    int64_t items = 1, lines = 0, length = 0, stride = 0, item_stride = 0;
    // Along lines: line i of all has range i % ranges. Across: column j of an item has range item * length + j.
    bool along = true;
    int64_t ranges = 0;

    __device__ __host__ __forceinline__ int64_t pitch() const { return (length + 7) / 8 * 8; }  // of the halves' lines
    int64_t half() const { return items * lines * pitch(); }
};

// Its pairs.
struct Pairs {
    Factor from;
    __half *high = nullptr, *low = nullptr;
    Range* range = nullptr;
};

// The pairs of two factors and the marks of a result of `items` x M x N, in a workspace.
class PairsOfProduct {
public:
    PairsOfProduct(const Factor& a, const Factor& b, int64_t items, int64_t M, int64_t N);

    size_t bytes() const { return bytes_; }
    int64_t elements() const { return a.from.half() + b.from.half(); }
    // Lays them out, fills the pairs and clears the marks. Returns what the workspace has beyond.
    Workspace fill(const Workspace& workspace, Stream stream);
    // All of it but ranges and marks, for whoever comes when the pairs are needed no more.
    Workspace without_pairs(const Workspace& workspace) const {
        return {static_cast<char*>(workspace.data) + header_, workspace.bytes - header_};
    }

    Pairs a, b;
    tile::Marks marks;

private:
    uint64_t words_;  // of ranges and marks
    size_t header_, bytes_;
};

// Which range of b a column has.
struct Columns {
    int N, of_item, step;
    __device__ __forceinline__ int64_t range(int item, int n) const {
        return int64_t(item) * of_item + int64_t(n) * step;
    }
};

// A row of the result, below 0 where there is none, and its range of a.
struct PlaceOfRow {
    int row;
    int64_t range;
};

// P, whose sums are those of pairs. Rows(item, m) is the place of row m of the tiles.
template <class P, class Rows>
struct OfPairs : P {
    Rows rows;
    Columns columns;
    const Range *a, *b;
    tile::Marks marks;

    OfPairs(const P& p, const Rows& rows, const Columns& columns, const PairsOfProduct& pairs, int64_t first_of_a = 0)
        : P(p), rows(rows), columns(columns), a(pairs.a.range + first_of_a), b(pairs.b.range), marks(pairs.marks) {}

    template <class Result>
    struct Unscaled {
        Result result;
        const OfPairs& of;
        int item;

        template <int V>
        __device__ __forceinline__ void write(int m, int n, const Vector<float, V>& sums) const {
            const PlaceOfRow place = of.rows(item, m);
            if (place.row < 0 || n >= of.columns.N) return;
            const Range a = of.a[place.range];
            const int scale = scale_of(a);
            Vector<float, V> values;
            bool uncertain = false;
#pragma unroll
            for (int v = 0; v < V; ++v) {
                if (n + v >= of.columns.N) break;
                const Range b = of.b[of.columns.range(item, n + v)];
                const float least = kLossPerElement * (static_cast<float>(a.lost) + static_cast<float>(b.lost));
                uncertain = uncertain || !(fabsf(sums.at[v]) >= least);
                values.at[v] = times_power_of_two(sums.at[v], -scale - scale_of(b));
            }
            result.write(m, n, values);
            if (uncertain) of.marks.set(item, place.row, n);
        }
    };
    __device__ __forceinline__ auto operator()(int item) const {
        const P& p = *this;
        return Unscaled<std::decay_t<decltype(p(item))>>{p(item), *this, item};
    }
};

// P for half types; for float32, whose sums are those of pairs, with what takes their scales back.
template <class T, class P, class Rows>
using OnHopper = std::conditional_t<std::is_same_v<T, float>, OfPairs<P, Rows>, P>;

}  // namespace convgpu::hopper
