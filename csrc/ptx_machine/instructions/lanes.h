// Reading and writing single lanes of registers whose width is known when the kernel is decoded.
#pragma once
#include "../table.h"

namespace convgpu::ptx {

inline U64 read_lane(const Warp& w, uint32_t place, uint32_t bytes, int l) {
    switch (bytes) {
        case 2:
            return w.lanes<U16>(place)[l];
        case 4:
            return w.lanes<U32>(place)[l];
        default:
            return w.lanes<U64>(place)[l];
    }
}
inline void write_lane(const Warp& w, uint32_t place, uint32_t bytes, int l, U64 value) {
    switch (bytes) {
        case 2:
            w.lanes<U16>(place)[l] = static_cast<U16>(value);
            break;
        case 4:
            w.lanes<U32>(place)[l] = static_cast<U32>(value);
            break;
        default:
            w.lanes<U64>(place)[l] = value;
    }
}

// Calls use(lane) for the lanes of a mask, the lowest first.
template <class Use>
void for_lanes(Mask lanes, Use use) {
    for (Mask rest = lanes; rest; rest &= rest - 1) use(__builtin_ctz(rest));
}

// The lanes' addresses: a register of 32 or 64 bits, or none, and a displacement.
inline void addresses(const Warp& w, const Step& s, uint32_t base, U64* at) {
    const auto displacement = static_cast<U64>(s.displacement);
    if (base == kNone) {
        for (int l = 0; l < 32; ++l) at[l] = displacement;
    } else if (s.wide) {
        const U64* a = w.lanes<U64>(base);
        CONVGPU_LANES at[l] = a[l] + displacement;
    } else {
        const U32* a = w.lanes<U32>(base);
        CONVGPU_LANES at[l] = static_cast<U32>(a[l] + static_cast<U32>(displacement));
    }
}

// Sets what a step has from an address operand: base register last in `places`.
inline Space space_or(const Builder::Address& a, Space wanted) { return a.named ? a.space : wanted; }

inline Space space_of_modifier(Builder& b, Space otherwise = Space::kGeneric) {
    switch (b.one_of({"global", "shared", "shared::cta", "shared::cluster", "local", "param", "param::entry",
                      "param::func", "const"},
                     9)) {
        case 0:
            return Space::kGlobal;
        case 1:
        case 2:
        case 3:
            return Space::kShared;
        case 4:
            return Space::kLocal;
        case 5:
        case 6:
        case 7:
            return Space::kParam;
        case 8:
            return Space::kConst;
        default:
            return otherwise;
    }
}

inline void narrow_granule(uint32_t& granule, uint32_t bytes) {
    while (granule && (1u << granule) > bytes) --granule;
}
// The races of a space are kept for granules as small as the smallest access.
inline void note_granule(Builder& b, Space space, uint32_t bytes) {
    if (space == Space::kShared || space == Space::kGeneric) narrow_granule(b.kernel().shared_granule, bytes);
    if (space == Space::kGlobal || space == Space::kGeneric) narrow_granule(b.kernel().global_granule, bytes);
}

// Whether races on what the step has resolved are looked for: not where one thread alone has the memory, nor in arrays
// that nothing writes.
inline bool races_matter(const Warp& w, const Step& s) {
    if (!w.worker->grid->settings.races) return false;
    if (s.space == Space::kShared || s.space == Space::kGeneric) return true;
    if (s.space != Space::kGlobal) return false;
    const Allocation* a = w.worker->recent[s.number];
    return !a || a->writable;
}

}  // namespace convgpu::ptx
