// What the depthwise kernels need to know of their problem, and what they share. All of them see 3-D images in
// channels_last; an axis that is missing is a leading axis of one pixel. Channel c of x belongs to the filters c *
// multiplier to c * multiplier + multiplier - 1.
//
// fprop and dgrad are one problem here: every pixel of a result collects from pixels of a source. For fprop the result
// is y and the source x; for dgrad the result is gx and the source gy.
#pragma once
#include "../../common/accumulate.h"
#include "../../common/activate.h"
#include "../../common/divisor.h"
#include "../../common/vector.h"
#include "../../device/launch.h"
#include "../problem/problem.h"

namespace convgpu::conv {

constexpr int kDepthwiseThreads = 128;
// A multiprocessor holds at least so many blocks. This leaves a thread 168 registers, with which no kernel spills.
constexpr int kDepthwiseResident = 3;

// One spatial axis of a result and of its source.
struct DepthwiseAxis {
    int result = 1, source = 1, taps = 1, stride = 1, before = 0, dilation = 1;
    Divisor by_stride;

    // Sets `pixel` to the pixel of the source that contributes to pixel `at` of the result under a tap. Returns whether
    // there is one.
    template <Direction kDirection>
    __device__ __forceinline__ bool source_of(int at, int tap, int& pixel) const {
        if constexpr (kDirection == Direction::kDgrad) {
            const int distance = at + before - tap * dilation;
            if (distance < 0) return false;
            pixel = static_cast<int>(by_stride.short_quotient(distance));
            return pixel * stride == distance && pixel < source;
        } else {
            pixel = at * stride - before + tap * dilation;
            return holds(pixel);
        }
    }
    __device__ __forceinline__ bool holds(int pixel) const { return unsigned(pixel) < unsigned(source); }
};

struct DepthwiseProblem {
    DepthwiseAxis axis[3];
    int64_t images;
    int channels, source_channels, filters, multiplier;  // `channels` are those of the result
    Divisor by_multiplier;

    __device__ __forceinline__ int64_t source_at(int64_t n, int d, int h, int w, int c) const {
        return (((n * axis[0].source + d) * axis[1].source + h) * axis[2].source + w) * source_channels + c;
    }
    __device__ __forceinline__ int64_t result_at(int64_t n, int d, int h, int w, int c) const {
        return (((n * axis[0].result + d) * axis[1].result + h) * axis[2].result + w) * channels + c;
    }
    // Returns the distance from one row of the source to the next.
    __device__ __forceinline__ int64_t pitch() const { return int64_t(axis[2].source) * source_channels; }
    __device__ __forceinline__ int64_t filter_at(int t, int r, int s, int k) const {
        return int64_t((t * axis[1].taps + r) * axis[2].taps + s) * filters + k;
    }
};

// Tells which part of a result each thread owns: V channels of `columns` pixels that are neighbours along w. The first
// of these pixels may begin up to `lead` pixels before the image, so that windows of a strided dgrad begin at a
// multiple of the stride.
class DepthwisePlaces {
public:
    struct Place {
        int64_t n;
        int d, h, w, c;
    };

    DepthwisePlaces(const DepthwiseProblem& p, int vector, int columns, int lead)
        : vector_(vector), columns_(columns), lead_(lead) {
        const int64_t groups = (p.axis[2].result + lead + columns - 1) / columns, vectors = p.channels / vector;
        by_[0] = Divisor(vectors);
        by_[1] = Divisor(groups);
        by_[2] = Divisor(p.axis[1].result);
        by_[3] = Divisor(p.axis[0].result);
        count_ = static_cast<uint64_t>(p.images * p.axis[0].result * p.axis[1].result * groups * vectors);
    }

    LaunchShape shape(size_t shared_bytes) const {
        LaunchShape shape;
        shape.grid = dim3(static_cast<unsigned>((count_ + kDepthwiseThreads - 1) / kDepthwiseThreads));
        shape.block = dim3(kDepthwiseThreads);
        shape.shared_bytes = shared_bytes;
        return shape;
    }

    // Sets `place` to this thread's place, and returns whether the thread has one.
    __device__ __forceinline__ bool find(Place& place) const {
        uint64_t i = uint64_t(blockIdx.x) * kDepthwiseThreads + threadIdx.x;
        if (i >= count_) return false;
        place.c = static_cast<int>(by_[0].split(i)) * vector_;
        place.w = static_cast<int>(by_[1].split(i)) * columns_ - lead_;
        place.h = static_cast<int>(by_[2].split(i));
        place.d = static_cast<int>(by_[3].split(i));
        place.n = static_cast<int64_t>(i);
        return true;
    }

private:
    uint64_t count_;
    Divisor by_[4];
    int vector_, columns_, lead_;
};

// The sums of a thread. With kBlocked they are taken in blocks of at most 64 taps, plus those of one call of count(),
// so that errors do not grow with the filter. The totals of the blocks are kept in shared memory, since registers are
// few. Without kBlocked there is one block, and the filter has at most that many taps.
template <class A, int kColumns, int V, bool kBlocked>
class DepthwiseSums {
public:
    struct Memory {
        A totals[kColumns * V][kDepthwiseThreads];
    };
    static constexpr size_t kSharedBytes = kBlocked ? sizeof(Memory) : 0;

    A block[kColumns][V] = {};

    __device__ __forceinline__ DepthwiseSums() {
        if constexpr (kBlocked) {
#pragma unroll
            for (int i = 0; i < kColumns * V; ++i) total(i) = 0;
        }
    }

    __device__ __forceinline__ void count(int added) {
        constexpr int kBlock = 64;
        if constexpr (kBlocked) {
            terms_ += added;
            if (terms_ < kBlock) return;
            terms_ = 0;
#pragma unroll
            for (int i = 0; i < kColumns * V; ++i) {
                total(i) += block[i / V][i % V];
                block[i / V][i % V] = 0;
            }
        }
    }

    // clang-format off: it takes the declaration of all() for an expression.
    __device__ __forceinline__ A (&all())[kColumns][V] {
        if constexpr (kBlocked) {
#pragma unroll
            for (int i = 0; i < kColumns * V; ++i) block[i / V][i % V] += total(i);
        }
        return block;
    }

private:
    __device__ __forceinline__ static A& total(int i) { return dyn_smem<Memory>().totals[i][threadIdx.x]; }
    // clang-format on

    int terms_ = 0;
};

template <class T>
struct DepthwiseEpilogue {
    const T* bias;
    const T* addend;               // has the shape of the result, and is null where nothing is added
    const Accumulator<T>* folded;  // the factor and the shift of each channel, or null where nothing is normalised
    Activation activation;

    // Writes all[at + j * step] = activation(sums[j] + bias + addend) for j in [begin, end), where `all` is the result
    // and `at` the place of its element 0 of this thread, in channel c. With a normalisation, which fprop may have,
    // each sum is first multiplied by the channel's factor, and the shift is added.
    template <Direction kDirection, int kColumns, int V>
    __device__ __forceinline__ void write(T* all, int64_t at, int step, int c, int begin, int end,
                                          Accumulator<T> (&sums)[kColumns][V]) const {
        if constexpr (kDirection == Direction::kFprop) {
            if (folded) {
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const auto pair = load<2>(folded + 2 * (c + v));
#pragma unroll
                    for (int j = 0; j < kColumns; ++j) sums[j][v] = sums[j][v] * pair.at[0] + pair.at[1];
                }
            }
        }
        if (addend) {
#pragma unroll
            for (int j = 0; j < kColumns; ++j) {
                if (j < begin || j >= end) continue;
                const auto more = load<V>(addend + (at + int64_t(j) * step));
#pragma unroll
                for (int v = 0; v < V; ++v) sums[j][v] += static_cast<Accumulator<T>>(more.at[v]);
            }
        }
        if (bias) {
            const auto offsets = load<V>(bias + c);
#pragma unroll
            for (int j = 0; j < kColumns; ++j) {
#pragma unroll
                for (int v = 0; v < V; ++v) sums[j][v] += static_cast<Accumulator<T>>(offsets.at[v]);
            }
        }
        if (activation == Activation::kRelu) {
#pragma unroll
            for (int j = 0; j < kColumns; ++j) {
#pragma unroll
                for (int v = 0; v < V; ++v) sums[j][v] = activate(Activation::kRelu, sums[j][v]);
            }
        } else if (activation != Activation::kNone) {
            // All columns are activated in the register of the first, one after the other. So the long code of an
            // exponential is there only once.
#pragma unroll 1
            for (int turn = 0; turn < kColumns; ++turn) {
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    const auto done = kDirection == Direction::kFprop ? activate_any(activation, sums[0][v])
                                                                      : activate(activation, sums[0][v]);
#pragma unroll
                    for (int j = 0; j + 1 < kColumns; ++j) sums[j][v] = sums[j + 1][v];
                    sums[kColumns - 1][v] = done;
                }
            }
        }
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
            Vector<T, V> values;
#pragma unroll
            for (int v = 0; v < V; ++v) values.at[v] = static_cast<T>(sums[j][v]);
            if (begin <= j && j < end) store(all + (at + int64_t(j) * step), values);
        }
    }
};

}  // namespace convgpu::conv
