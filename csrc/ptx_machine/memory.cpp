#include "memory.h"

#include "error.h"

namespace convgpu::ptx {

std::string Memory::describe(uint64_t address) const {
    if (!address) return "a null pointer";
    const Allocation* nearest = nullptr;
    uint64_t distance = UINT64_MAX;
    for (const auto& [begin, a] : allocations_) {
        const uint64_t away = address < begin ? begin - address : address < a.end ? 0 : address - a.end;
        if (away < distance) nearest = &a, distance = away;
    }
    constexpr uint64_t kFar = uint64_t(1) << 32;
    if (!nearest || distance > kFar) return format("address 0x%lx, far from every array", address);
    const int64_t offset = static_cast<int64_t>(address - nearest->begin), element = nearest->element;
    const int64_t index = offset >= 0 ? offset / element : -((-offset + element - 1) / element);
    const auto within = static_cast<long>(offset - index * element);
    return format("%s[%ld]%s", nearest->name.c_str(), static_cast<long>(index),
                  within ? format(" + %ld bytes", within).c_str() : "") +
           (distance || address >= nearest->end
                ? format(", which has %lu elements", (nearest->end - nearest->begin) / nearest->element)
                : "");
}

}  // namespace convgpu::ptx
