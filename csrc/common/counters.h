// By counters, blocks find out which of them finishes last (last_block.h).
#pragma once
#include "check.h"

namespace convgpu {

constexpr int64_t kCounters = 4096;  // a backend's array of counters has so many, all 0 between calls

inline void check_counters(const char* op, const Array& counters) {
    check_array(op, "counters", counters, {kCounters}, DType::kInt32);
}

}  // namespace convgpu
