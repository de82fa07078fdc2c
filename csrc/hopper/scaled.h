// Hopper's tensor cores multiply float32 as scaled float16. This file says how, and what becomes of elements that
// float16 cannot hold.
//
// x * 2^s = high + low / kLow, where high and low are float16 and together form a pair. float32 uses both. TF32 uses
// only the high half, which has the 11 bits of TF32. A range is the set of all elements that one sum may take from a
// factor (a row, an image or a channel). Its s brings the largest element into [2^14, 2^15). Elements down to 2^-28 of
// the largest keep 23 bits as a pair. The product low * low is left out; it is below 2^-22 of the whole product.
// Elements that are smaller are lost. Each lost element may change a sum of scaled products by at most
//
//     for pairs   2^-36 * 2^15, and through low * low 2^-25 * 2^4: together 2^-20
//     for TF32    2^-25 * 2^15
//
// Each range counts the elements that it loses. If these might change a sum by more than 2^-24 of it (2^-13 for TF32),
// or if a sum is NaN (scaled float16 has no infinities), then its tile is marked, and the tiled kernel computes the
// tile again from the float32 factors. So every result is accurate, whatever the data, and the host need not know of
// it.
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
constexpr float kLeastHeld = 1.0f / 8192;  // scaled elements from here on keep all their bits in high and low

// The type T names how a factor is multiplied: a half type as it is, float as pairs, Tf32 as the high halves of pairs.
template <class T>
constexpr bool kScaled = std::is_same_v<T, float> || std::is_same_v<T, Tf32>;
template <class T>
constexpr Factors kFactors = !kScaled<T>                ? Factors::kHalf
                             : std::is_same_v<T, float> ? Factors::kPairs
                                                        : Factors::kHigh;
template <class T>
constexpr int kParts = parts_of(kFactors<T>);
template <class T>
using Half = std::conditional_t<kScaled<T>, __half, T>;  // the type that the tensor cores multiply
template <class T>
using Value = std::conditional_t<kScaled<T>, float, T>;  // the type of results, and of factors before they are scaled

// A sum is accurate if it is at least this large for each element that its ranges have lost: 2^-20 / 2^-24 for pairs,
// and 2^-10 / 2^-13 for TF32.
template <class T>
constexpr float kLeastSum = kParts<T> == 2 ? 16 : 8;

struct alignas(8) Range {
    // `largest` are the bits of the largest finite |x|. `lost` counts the elements below kLeastHeld that are not zero.
    uint32_t largest, lost;
};

__device__ __forceinline__ float power_of_two(int e) { return __uint_as_float(static_cast<uint32_t>(e + 127) << 23); }

// Returns x * 2^e. Since 2^e may be more than a float32 can hold, x is multiplied by two powers in turn. The result is
// rounded once: where the first product is denormal, or e is below -252, the result is 0 in the end.
__device__ __forceinline__ float times_power_of_two(float x, int e) {
    const int within = e < -252 ? -252 : e, some = within >> 1;
    return x * power_of_two(some) * power_of_two(within - some);
}

// Returns the s of a range (see above). A range of zeros may have any.
__device__ __forceinline__ int scale_of(const Range& range) {
    const auto exponent = static_cast<int>(range.largest >> 23);
    return kTop - (exponent > 0 ? exponent - 127 : 31 - __clz(static_cast<int>(range.largest)) - 149);
}

// A float32 factor in memory, `items` stacks of `lines` x `length`. It also tells which range each element belongs to.
struct Factor {
    const float* x = nullptr;
    int64_t items = 1, lines = 0, length = 0, stride = 0, item_stride = 0;
    // Along lines, line i of all lines has range i % ranges. Across lines, column j of an item has range item * length
    // + j.
    bool along = true;
    int64_t ranges = 0;

    // The length of a line of halves. Lines follow each other at multiples of 16 bytes.
    __device__ __host__ __forceinline__ int64_t pitch() const { return (length + 7) / 8 * 8; }
    int64_t half() const { return items * lines * pitch(); }
    uint64_t elements_of_range() const {
        return static_cast<uint64_t>(items * lines * length / std::max<int64_t>(ranges, 1));
    }
};

// The factor `from` as scaled float16, with its ranges.
struct ScaledFactor {
    Factor from;
    __half *high = nullptr, *low = nullptr;  // low is null unless the factor is held as pairs
    Range* range = nullptr;
};

// Both factors of a product whose result is `items` x M x N, and the marks of its tiles, in a workspace.
class ScaledFactors {
public:
    ScaledFactors(const Factor& a, const Factor& b, Factors factors, int64_t items, int64_t M, int64_t N);

    size_t bytes() const { return bytes_; }
    size_t header_bytes() const { return header_; }  // the bytes of ranges and marks, which come first
    Factors factors() const { return factors_; }
    int64_t elements() const { return a.from.half() + b.from.half(); }
    uint64_t elements_of_range() const { return std::max(a.from.elements_of_range(), b.from.elements_of_range()); }
    // Places the factors in the workspace, scales them and clears the marks. Returns the rest of the workspace.
    Workspace fill(const Workspace& workspace, Stream stream);
    // Returns the workspace without ranges and marks, for a kernel that runs when the factors are no longer needed.
    Workspace without_factors(const Workspace& workspace) const {
        return {static_cast<char*>(workspace.data) + header_, workspace.bytes - header_};
    }

    ScaledFactor a, b;
    tile::Marks marks;

private:
    Factors factors_;
    uint64_t words_;  // the words of ranges and marks
    size_t header_, bytes_;
};

// Tells which range of b a column belongs to: item * of_item + n * step.
struct Columns {
    int N, of_item, step;
};

// A row of the result, and its range of a. The row is negative where there is none.
struct PlaceOfRow {
    int row;
    int64_t range;
};

// A problem P whose sums are those of scaled factors. Rows(item, m) gives the place of row m of the tiles.
template <class T, class P, class Rows>
struct Unscaled : P {
    Rows rows;
    Columns columns;
    const Range *of_a, *of_b;
    tile::Marks marks;
    uint32_t terms;  // the terms of one sum, which cannot lose more elements than that

    Unscaled(const P& p, const Rows& rows, const Columns& columns, const ScaledFactors& scaled, int terms,
             int64_t first_of_a = 0)
        : P(p),
          rows(rows),
          columns(columns),
          of_a(scaled.a.range + first_of_a),
          of_b(scaled.b.range),
          marks(scaled.marks),
          terms(static_cast<uint32_t>(terms)) {}

    // Returns how large a sum must be to be accurate, given what this range has lost.
    __device__ __forceinline__ float least(const Range& range) const {
        return kLeastSum<T> * static_cast<float>(range.lost < terms ? range.lost : terms);
    }

    // The result of P for one type of its elements, with the scales of the factors.
    template <class Plain>
    struct Typed {
        using Value = typename Plain::Value;
        const Plain& plain;
        const Unscaled& of;
        int item;

        // For each column, its scale, and how large a sum must be to be accurate.
        template <int kColumns>
        struct ColumnsAt {
            int n, scale[kColumns];
            float least[kColumns];  // -INFINITY beyond the edge
        };
        template <class RowOfPlain>
        struct Row {
            RowOfPlain plain;
            const Unscaled& of;
            int item, row;  // the row is negative where there is none
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
            // Columns beyond the edge load the last range, so that no load waits for a condition.
            Range range[V * kRuns];
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
        __device__ __forceinline__ float activate(float v) const { return plain.activate(v); }
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

// The problem P in the form that the kernels take for factors of type T.
template <class T, class P, class Rows>
using OnHopper = std::conditional_t<kScaled<T>, Unscaled<T, P, Rows>, P>;

}  // namespace convgpu::hopper
