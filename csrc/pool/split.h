// The threads of a block share windows: thread (x, y, z) takes every lanes.y-th tap of output z, for the channels x.
#pragma once
#include "../device/launch.h"
#include "plan.h"
#include "threads.h"
#include "windows.h"

namespace convgpu::pool {

class SplitWindows {
public:
    SplitWindows(const Problem& p, Lanes lanes, int vector)
        : outputs_(p.images, {p.axis[0].output, p.axis[1].output, p.axis[2].output}, 1, 1),
          lanes_(lanes),
          groups_((p.channels / vector + lanes.x - 1) / lanes.x),
          by_groups_(groups_ ? groups_ : 1),
          taps_(p.axis[0].window * p.axis[1].window * p.axis[2].window),
          channels_(p.channels) {}

    LaunchShape shape(size_t shared_bytes) const {
        constexpr uint64_t kMostBlocks = 1 << 20;  // beyond this number, blocks take several tiles
        LaunchShape shape;
        shape.grid = dim3(static_cast<unsigned>(tiles() < kMostBlocks ? tiles() : kMostBlocks));
        shape.block = dim3(lanes_.x, lanes_.y, lanes_.z);
        shape.shared_bytes = shared_bytes;
        return shape;
    }

    __device__ __host__ __forceinline__ uint64_t tiles() const {
        return (outputs_.count() + lanes_.z - 1) / lanes_.z * groups_;
    }
    __device__ __forceinline__ Lanes lanes() const { return lanes_; }
    __device__ __forceinline__ int tap_lane() const { return threadIdx.y; }
    __device__ __forceinline__ int thread() const {
        return (threadIdx.z * lanes_.y + threadIdx.y) * lanes_.x + threadIdx.x;
    }

    // Sets `out` to the output and the first channel that this thread works for. Returns whether there is one.
    __device__ __forceinline__ bool find(uint64_t tile, int vector, Position& out) const {
        const uint64_t group = by_groups_.split(tile);
        if (!outputs_.find(tile * lanes_.z + threadIdx.z, out)) return false;
        out.c = static_cast<int64_t>(group * lanes_.x + threadIdx.x) * vector;
        return out.c < channels_;
    }

    // Calls use(where in x, offset in the window) for those of this thread's taps that lie inside the input, in rising
    // order.
    template <class Use>
    __device__ __forceinline__ void each_tap(const Problem& p, const Position& out, Use use) const {
        const Window window = p.window<false>(out);
#pragma unroll 4
        for (int offset = threadIdx.y; offset < taps_; offset += lanes_.y) {
            uint64_t rest = offset;
            const int s = static_cast<int>(p.by_window[1].split(rest));
            const int r = static_cast<int>(p.by_window[0].split(rest));
            const int t = static_cast<int>(rest);
            if (window.t.holds(t) && window.r.holds(r) && window.s.holds(s)) use(p.tap_at(window, t, r, s), offset);
        }
    }

private:
    Places outputs_;  // the places of outputs, without their channels
    Lanes lanes_;
    int64_t groups_;  // groups of lanes.x vectors of channels
    Divisor by_groups_;
    int taps_;
    int64_t channels_;
};

}  // namespace convgpu::pool
