// The end of a bias gradient whose parts several blocks have computed, within the same launch.
//
// The parts of a channel are shared among kSumLanes lanes, as in sum_parts.cuh, and added in the same order. The block
// that finishes last among those of a lane adds the lane's parts, so that this work is shared among blocks as well; the
// block that finishes last of all adds the sums of the lanes. Counters: one for all lanes, then one for each lane.
#pragma once
#include "../../common/last_block.h"
#include "../passes/sum_parts.cuh"

namespace convgpu::conv {

// How many counters the parts of a group of channels need. With few parts, a lane has one part at most.
__host__ __device__ constexpr int counters_of(int parts) { return parts > kSumLanes ? kSumLanes + 1 : 1; }

// All threads of a block call this after the block has put its part, number `part` of `parts`, of the channels from
// `first` to `end`. `me` is the thread's number among `threads`. The sum of a lane takes the place of its first part.
template <class T>
__device__ __forceinline__ void finish(const PartOfResult<T>& result, uint32_t* counters, int part, int parts,
                                       int first, int end, int channels, int me, int threads) {
    using A = Accumulator<T>;
    constexpr int kGroup = 16;  // as in sum_in_groups, with all loads of a group under way at once
    const int lanes = min(parts, kSumLanes), lane = part % kSumLanes;
    if (parts > kSumLanes) {
        const int of_lane = (parts - lane + kSumLanes - 1) / kSumLanes;
        if (!arrives_last(counters + 1 + lane, static_cast<uint32_t>(of_lane))) return;
        for (int c = first + me; c < end; c += threads) {
            result.sums[int64_t(lane) * channels + c] = sum_of_lane(result.sums + c, lane, parts, channels);
        }
    }
    if (!arrives_last(counters, static_cast<uint32_t>(lanes))) return;
    for (int c = first + me; c < end; c += threads) {
        A sum = 0;
        for (int begin = 0; begin < lanes; begin += kGroup) {
            A group = 0;
#pragma unroll
            for (int k = begin; k < begin + kGroup; ++k) {
                group += k < lanes ? result.sums[int64_t(k) * channels + c] : A(0);
            }
            sum += group;
        }
        result.result[c] = static_cast<T>(sum);
    }
}

}  // namespace convgpu::conv
