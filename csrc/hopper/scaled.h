// float32 on Hopper's tensor cores: as scaled float16, and what becomes of elements that this cannot hold.
//
// x * 2^s = high + low / kLow, both float16: a pair, of which float32 takes both and TF32, whose 11 bits float16 has,
// the high one. A range is all elements that one sum may take from a factor (a row, an image, a channel); its s puts
// the largest into [2^14, 2^15). Elements down to 2^-28 of the largest keep 23 bits as a pair, and low * low, which is
// left out, is below 2^-22 of a product. Smaller ones are lost: what they may do to a sum of scaled products is
//
//     of pairs   2^-36 * 2^15, and low * low 2^-25 * 2^4: together 2^-20
//     of TF32    2^-25 * 2^15
//
// for each of them. A range counts them. Where they might do more than 2^-24 of a sum (TF32: 2^-13), or where it is NaN
// (scaled float16 has no infinities), its tile is marked, and the tiled kernel computes it again from the float32
// factors. So every result is certain, whatever the data, and the host need not know.
//
// After Ootomo and Yokota, Recovering single precision accuracy from Tensor Cores while surpassing the FP32 theoretical
// peak performance, 2022 (arXiv 2203.03341): the pairs, a scale for the low half, and sums outside the tensor cores.
#pragma once
#include <algorithm>
#include <type_traits>

#include "../common/divisor.h"
#include "../common/workspace.h"
#include "../device/ptx.h"
#include "../tile/output.h"
#include "factors.h"

namespace convgpu::hopper {

using ptx::Tf32;

constexpr float kLow = 2048;
constexpr int kTop = 14;
constexpr float kLeastHeld = 1.0f / 8192;  // of scaled elements: high and low have all their bits

// T of a factor: a half type as it is; float as pairs; Tf32 as their high halves.
template <class T>
constexpr bool kScaled = std::is_same_v<T, float> || std::is_same_v<T, Tf32>;
template <class T>
constexpr Factors kFactors = !kScaled<T>                ? Factors::kHalf
                             : std::is_same_v<T, float> ? Factors::kPairs
                                                        : Factors::kHigh;
template <class T>
constexpr int kParts = parts_of(kFactors<T>);
template <class T>
using Half = std::conditional_t<kScaled<T>, __half, T>;  // on the tensor cores
template <class T>
using Value = std::conditional_t<kScaled<T>, float, T>;  // of results, and of factors before

// A sum is certain from this on, for each element that its ranges have lost: 2^-20 / 2^-24, and 2^-10 / 2^-13.
template <class T>
constexpr float kLeastSum = kParts<T> == 2 ? 16 : 8;

struct alignas(8) Range {
    uint32_t largest, lost;  // bits of the largest finite |x|; elements below kLeastHeld that are not zero
};

__device__ __forceinline__ float power_of_two(int e) { return __uint_as_float(static_cast<uint32_t>(e + 127) << 23); }

// x * 2^e, where e may be more than a float32 can hold, and is halved. Rounded once: where the first product is
// denormal, or e below -252, nothing is left in the end.
__device__ __forceinline__ float times_power_of_two(float x, int e) {
    const int within = e < -252 ? -252 : e, some = within >> 1;
    return x * power_of_two(some) * power_of_two(within - some);
}

// Of a range of zeros, any.
__device__ __forceinline__ int scale_of(const Range& range) {
    const auto exponent = static_cast<int>(range.largest >> 23);
    return kTop - (exponent > 0 ? exponent - 127 : 31 - __clz(static_cast<int>(range.largest)) - 149);
}

// A float32 factor in memory: `items` stacks of `lines` x `length`, and which range an element belongs to.
struct Factor {
    const float* x = nullptr;
    int64_t items = 1, lines = 0, length = 0, stride = 0, item_stride = 0;
    // Along lines: line i of all has range i % ranges. Across: column j of an item has range item * length + j.
    bool along = true;
    int64_t ranges = 0;

    // Of halves, whose lines follow each other at multiples of 16 bytes.
    __device__ __host__ __forceinline__ int64_t pitch() const { return (length + 7) / 8 * 8; }
    int64_t half() const { return items * lines * pitch(); }
    uint64_t elements_of_range() const {
        return static_cast<uint64_t>(items * lines * length / std::max<int64_t>(ranges, 1));
    }
};

// The same as scaled float16.
struct ScaledFactor {
    Factor from;
    __half *high = nullptr, *low = nullptr;  // low: of pairs
    Range* range = nullptr;
};

// Both factors of a product whose result is `items` x M x N, and its marks, in a workspace.
class ScaledFactors {
public:
    ScaledFactors(const Factor& a, const Factor& b, Factors factors, int64_t items, int64_t M, int64_t N);

    size_t bytes() const { return bytes_; }
    size_t header_bytes() const { return header_; }  // of ranges and marks, which come first
    Factors factors() const { return factors_; }
    int64_t elements() const { return a.from.half() + b.from.half(); }
    uint64_t elements_of_range() const { return std::max(a.from.elements_of_range(), b.from.elements_of_range()); }
    // Lays them out, scales the factors and clears the marks. Returns what the workspace has beyond.
    Workspace fill(const Workspace& workspace, Stream stream);
    // All of it but ranges and marks, for whoever comes when the factors are needed no more.
    Workspace without_factors(const Workspace& workspace) const {
        return {static_cast<char*>(workspace.data) + header_, workspace.bytes - header_};
    }

    ScaledFactor a, b;
    tile::Marks marks;

private:
    Factors factors_;
    uint64_t words_;  // of ranges and marks
    size_t header_, bytes_;
};

// Which range of b a column has: item * of_item + n * step.
struct Columns {
    int N, of_item, step;
};

// A row of the result, below 0 where there is none, and its range of a.
struct PlaceOfRow {
    int row;
    int64_t range;
};

// P, whose sums are those of scaled factors. Rows(item, m) is the place of row m of the tiles.
template <class T, class P, class Rows>
struct Unscaled : P {
    Rows rows;
    Columns columns;
    const Range *of_a, *of_b;
    tile::Marks marks;
    uint32_t terms;  // of a sum, of which no more can be lost

    Unscaled(const P& p, const Rows& rows, const Columns& columns, const ScaledFactors& scaled, int terms,
             int64_t first_of_a = 0)
        : P(p),
          rows(rows),
          columns(columns),
          of_a(scaled.a.range + first_of_a),
          of_b(scaled.b.range),
          marks(scaled.marks),
          terms(static_cast<uint32_t>(terms)) {}

    // Of a sum that is certain, whatever the range has lost.
    __device__ __forceinline__ float least(const Range& range) const {
        return kLeastSum<T> * static_cast<float>(range.lost < terms ? range.lost : terms);
    }

    // Of one type, and of P.
    template <class Plain>
    struct Typed {
        using Value = typename Plain::Value;
        const Plain& plain;
        const Unscaled& of;
        int item;

        // Of each, its scale and what a sum must be for all that its range has lost.
        template <int kColumns>
        struct ColumnsAt {
            int n, scale[kColumns];
            float least[kColumns];  // beyond the edge, less than any
        };
        template <class RowOfPlain>
        struct Row {
            RowOfPlain plain;
            const Unscaled& of;
            int item, row;  // below 0: there is none
            int scale;
            float least;

            template <int V, int kRuns>
            __device__ __forceinline__ void finish(const ColumnsAt<V * kRuns>& columns,
                                                   Vector<float, V> (&runs)[kRuns]) const {
                if (row < 0 || columns.n >= of.columns.N) return;
                bool uncertain = false;
#pragma unroll
                for (int i = 0; i < V * kRuns; ++i) {
                    float& sum = runs[i / V].at[i % V];
                    uncertain = uncertain || !(fabsf(sum) >= least + columns.least[i]);
                    sum = times_power_of_two(sum, -scale - columns.scale[i]);
                }
                if (uncertain) of.marks.set(item, row, columns.n);
                plain.finish(columns.n, runs);
            }
        };

        template <int V, int kRuns>
        __device__ __forceinline__ ColumnsAt<V * kRuns> columns(int n) const {
            const auto column = [n](int i) { return n + i / V * tile::kApart + i % V; };
            ColumnsAt<V * kRuns> columns;
            columns.n = n;
            const Range* of_item = of.of_b + int64_t(item) * of.columns.of_item;
            Range range[V * kRuns];  // beyond the edge, the last one: loads that wait for nothing
#pragma unroll
            for (int i = 0; i < V * kRuns; ++i) {
                range[i] = of_item[int64_t(min(column(i), of.columns.N - 1)) * of.columns.step];
            }
#pragma unroll
            for (int i = 0; i < V * kRuns; ++i) {
                columns.scale[i] = scale_of(range[i]);
                columns.least[i] = column(i) < of.columns.N ? of.least(range[i]) : -INFINITY;
            }
            return columns;
        }
        __device__ __forceinline__ auto row(int m) const {
            const PlaceOfRow place = of.rows(item, m);
            const Range a = place.row < 0 ? Range{} : of.of_a[place.range];
            return Row<decltype(plain.row(m))>{plain.row(m), of, item, place.row, scale_of(a), of.least(a)};
        }
        __device__ __forceinline__ Activation activation() const { return plain.activation(); }
        __device__ __forceinline__ bool in_vectors() const { return plain.in_vectors(); }
        template <int V>
        __device__ __forceinline__ void put(int m, int n, const Vector<Value, V>& values) const {
            plain.put(m, n, values);
        }
    };
    template <class Result>
    struct ResultOf {
        Result result;
        const Unscaled& of;
        int item;

        template <class Use>
        __device__ __forceinline__ void visit(Use use) const {
            result.visit([&](const auto& plain) { use(Typed<std::decay_t<decltype(plain)>>{plain, of, item}); });
        }
    };
    __device__ __forceinline__ auto operator()(int item) const {
        const P& p = *this;
        return ResultOf<std::decay_t<decltype(p(item))>>{p(item), *this, item};
    }
};

// P as the kernels of factors of T take it.
template <class T, class P, class Rows>
using OnHopper = std::conditional_t<kScaled<T>, Unscaled<T, P, Rows>, P>;

}  // namespace convgpu::hopper
