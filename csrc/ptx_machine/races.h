// Finds accesses to the same memory that nothing orders, by vector clocks (Lamport; FastTrack keeps the last write and
// few reads of a place, as here).
//
// A warp is a unit of time: it has a clock, and knows of every other warp of its cluster up to which moment that one's
// accesses come before its own. Barriers, mbarriers, and fences with atomics hand this knowledge on. Lanes of a warp
// are ordered by __syncwarp and barriers alone; `turn` counts these.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace convgpu::ptx {

struct Clock {
    std::vector<uint32_t> near;  // by warp of the own cluster
    std::vector<uint32_t> far;   // by unit, of warps of other clusters; empty until something is known of one

    void join(const Clock& other) {
        join(near, other.near);
        join(far, other.far);
    }
    static void join(std::vector<uint32_t>& to, const std::vector<uint32_t>& from) {
        if (to.size() < from.size()) to.resize(from.size());
        for (size_t k = 0; k < from.size(); ++k) to[k] = std::max(to[k], from[k]);
    }
};

struct Access {
    // kUpdate: an atomic, which comes after the earlier ones of the same place, since it has seen what they left
    enum Flags : uint8_t { kStrong = 1, kVolatile = 2, kSeveralLanes = 4, kUpdate = 8 };
    uint32_t unit = 0;   // the warp, counted over the whole grid
    uint32_t clock = 0;  // of that warp; 0: there was no access
    uint32_t step = 0;
    uint16_t turn = 0;
    uint8_t lane = 0, flags = 0;
};

// What was last done to a granule of memory. Of reads that nothing orders, two are kept.
struct Cell {
    Access write, read[2];
};

// The cells of global memory, made as they are touched.
class GlobalCells {
public:
    void begin(uint32_t granule) {
        pages_.clear();
        last_ = nullptr;
        last_page_ = ~uint64_t(0);
        granule_ = granule;
    }
    Cell& at(uint64_t address) {
        const uint64_t index = address >> granule_, page = index / kPage;
        if (page != last_page_) {
            auto& cells = pages_[page];
            if (!cells) cells.reset(new Cell[kPage]());
            last_ = cells.get();
            last_page_ = page;
        }
        return last_[index % kPage];
    }

private:
    static constexpr uint64_t kPage = 1024;
    std::unordered_map<uint64_t, std::unique_ptr<Cell[]>> pages_;
    Cell* last_ = nullptr;
    uint64_t last_page_ = ~uint64_t(0);
    uint32_t granule_ = 2;
};

}  // namespace convgpu::ptx
