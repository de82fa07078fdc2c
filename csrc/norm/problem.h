// What kernels need to know of a geometry.
#pragma once
#include "../common/divisor.h"
#include "geometry.h"

namespace convgpu::norm {

// The geometry as kernels take it. The divisors divide by rows, by the channels of a group, and by channels.
struct Problem {
    int64_t outer, rows, inner;
    int channels, groups, per_group;
    Divisor by_rows, by_group, by_channels;

    explicit Problem(const NormGeometry& geo)
        : outer(geo.outer),
          rows(geo.rows),
          inner(geo.inner),
          channels(static_cast<int>(geo.channels)),
          groups(static_cast<int>(geo.groups)),
          per_group(static_cast<int>(geo.per_group())),
          by_rows(static_cast<uint64_t>(geo.rows > 0 ? geo.rows : 1)),
          by_group(static_cast<uint64_t>(geo.per_group() > 0 ? geo.per_group() : 1)),
          by_channels(static_cast<uint64_t>(geo.channels > 0 ? geo.channels : 1)) {}

    __device__ __forceinline__ int group_of(int channel) const {
        return per_group == 1 ? channel : static_cast<int>(by_group.short_quotient(static_cast<uint32_t>(channel)));
    }
    // The number of the statistics of a channel.
    __device__ __forceinline__ int64_t statistic(int64_t o, int channel) const {
        return o * groups + group_of(channel);
    }
    __device__ __forceinline__ int64_t outer_of(int64_t row) const {
        return outer == 1 ? 0 : static_cast<int64_t>(by_rows.quotient(static_cast<uint64_t>(row)));
    }
};

}  // namespace convgpu::norm
