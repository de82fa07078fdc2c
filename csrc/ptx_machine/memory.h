// Global memory: the arrays that a launch may touch. Their addresses are the host's.
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace convgpu::ptx {

struct Allocation {
    uint64_t begin = 0, end = 0;
    std::string name;
    uint32_t element = 1;  // bytes, for reports
    bool writable = true;
};

class Memory {
public:
    void add(const Allocation& allocation) { allocations_[allocation.begin] = allocation; }
    void remove(uint64_t begin) { allocations_.erase(begin); }
    const std::map<uint64_t, Allocation>& allocations() const { return allocations_; }

    // The allocation that has all these bytes, or null.
    const Allocation* find(uint64_t address, uint32_t bytes) const {
        auto after = allocations_.upper_bound(address);
        if (after == allocations_.begin()) return nullptr;
        const Allocation& a = std::prev(after)->second;
        return address + bytes <= a.end ? &a : nullptr;
    }

    // In words: x[12], or how far from the nearest array.
    std::string describe(uint64_t address) const;

private:
    std::map<uint64_t, Allocation> allocations_;
};

}  // namespace convgpu::ptx
