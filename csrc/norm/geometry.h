// The geometry of normalisation, as convgpu/geometry/norm.py states it.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace convgpu {

// x is seen as x[outer][rows][channels][inner]. The channels are in `groups` parts of neighbours. Statistics are those
// of (outer, group), over rows, the group's channels, and inner; scale and offset belong to channels.
struct NormGeometry {
    int64_t outer = 1, rows = 1, channels = 1, inner = 1, groups = 1;

    int64_t size() const { return outer * rows * channels * inner; }
    int64_t per_group() const { return groups ? channels / groups : 0; }
    int64_t count() const { return rows * per_group() * inner; }  // the elements that share a mean
    int64_t statistics() const { return outer * groups; }

    void check() const {  // throws std::invalid_argument
        constexpr int64_t kMost = int64_t(1) << 30;
        const bool fits = outer >= 0 && rows >= 0 && channels >= 0 && inner >= 0 && channels <= kMost && outer <= kMost;
        if (fits && (channels == 0 || (groups >= 1 && channels % groups == 0))) return;
        throw std::invalid_argument(
            "norm geometry: expected sizes of at least 0, outer and channels of at most 2^30, "
            "and groups that divide the channels, got outer " +
            std::to_string(outer) + ", rows " + std::to_string(rows) + ", channels " + std::to_string(channels) +
            ", inner " + std::to_string(inner) + ", groups " + std::to_string(groups));
    }
};

inline bool operator==(const NormGeometry& a, const NormGeometry& b) {
    return a.outer == b.outer && a.rows == b.rows && a.channels == b.channels && a.inner == b.inner &&
           a.groups == b.groups;
}
inline bool operator!=(const NormGeometry& a, const NormGeometry& b) { return !(a == b); }

}  // namespace convgpu
