// The factors of a product on Hopper: how the tensor memory accelerator (TMA) brings them to shared memory, and how
// wgmma reads them there.
//
// A panel is one box of TMA and one pattern of the 128-byte swizzle: 64 lines of 64 half-type elements, 8 KiB. Along
// the depth of a sum (K-major, "deep") a line holds 64 neighbours in k of one row, else (MN-major) 64 neighbouring rows
// at one k: whichever way a matrix lies in memory, its lines are copied as they are, and wgmma is told which it reads.
// Panels lie one after the other, 64 rows each. A float32 factor has two of each, for the halves of its pairs
// (scaled.h), and two maps.
#pragma once
#include "../device/ptx.h"
#include "scaled.h"

namespace convgpu::hopper {

constexpr int kPanel = 64;  // lines of a panel, elements of a line
constexpr int kStep = 16;   // of k in one instruction

template <class T>
struct Panel {
    alignas(1024) Half<T> line[kPanel][kPanel];
};

// The maps of a factor's parts.
template <class T>
struct Maps {
    TensorMap part[kParts<T>];
};

template <class T>
constexpr ElementType kElementType = std::is_same_v<Half<T>, __half> ? ElementType::kFloat16 : ElementType::kBFloat16;

// wgmma's view of panels that follow each other, from their first row and k on.
template <class T, bool kDeep>
__device__ __forceinline__ uint64_t descriptor(const Panel<T>* panels) {
    constexpr uint32_t kGroup = 8 * sizeof(panels->line[0]);       // bytes of 8 lines, after which the swizzle repeats
    const uint32_t to_next_panel = kDeep ? 16 : sizeof(Panel<T>);  // K-major: not used, the groups of 8 rows go on
    return ptx::matrix_descriptor(ptx::smem_addr(panels), to_next_panel, kGroup, Swizzle::k128B);
}

// The descriptor of what lies `bytes` further on. The address stands in the lower half: no carry, and one register
// less.
__device__ __forceinline__ uint64_t advanced(uint64_t descriptor, uint32_t bytes) {
    return (descriptor & 0xffffffff00000000u) | (static_cast<uint32_t>(descriptor) + bytes / 16);
}

// The bytes of kStep in k: 16 elements of every line, or 16 lines.
template <class T, bool kDeep>
constexpr uint32_t kStepBytes = kStep * sizeof(Half<T>) * (kDeep ? 1 : kPanel);

// Starts to copy the box at `at` into a panel, of all blocks of the cluster.
template <int kBlocks, class T>
__device__ __forceinline__ void load_panel(Panel<T>& to, const TensorMap* map, uint32_t full, const int (&at)[3]) {
    if constexpr (kBlocks == 1) {
        ptx::tma_load(ptx::smem_addr(&to), map, full, at);
    } else {
        ptx::tma_load_multicast(ptx::smem_addr(&to), map, full, (1 << kBlocks) - 1, at);
    }
}

// A matrix as a factor, or a batch of them: rows x depth, with lines along the depth if kDeep.
template <class T, bool kDeep_>
struct MatrixPanels {
    using Element = T;
    static constexpr bool kDeep = kDeep_, kHoles = false;  // kHoles: elements may be missing before an edge

    const Maps<T>& maps;
    bool repeated;  // one matrix for all items

    // Starts to copy 64 rows x 64 of the depth, whose bytes count at the barrier `full`; zeros beyond the edges.
    __device__ __forceinline__ void load(Panel<T>& to, uint32_t full, int part, int row, int k, int item) const {
        multicast<1>(to, full, part, row, k, item);
    }

    // The same, to all blocks of the cluster at once.
    template <int kBlocks>
    __device__ __forceinline__ void multicast(Panel<T>& to, uint32_t full, int part, int row, int k, int item) const {
        load_panel<kBlocks>(to, &maps.part[part], full, {kDeep ? k : row, kDeep ? row : k, repeated ? 0 : item});
    }
};

// The map of `items` matrices of `lines` x `length`, strides in elements.
template <class T>
TensorMap panels_of(const T* data, int64_t items, int64_t lines, int64_t length, int64_t stride, int64_t item_stride) {
    TiledLayout layout;
    const auto bytes = [](int64_t elements) { return static_cast<uint64_t>(elements) * sizeof(T); };
    const bool stacked = items > 1 && item_stride > 0;
    layout.tensor = {data, kElementType<T>, 3, {}, {}};
    layout.tensor.size = {uint64_t(length), uint64_t(lines), uint64_t(stacked ? items : 1)};
    layout.tensor.stride = {sizeof(T), bytes(stride), bytes(stacked ? item_stride : stride)};
    layout.box = {kPanel, kPanel, 1};
    layout.swizzle = Swizzle::k128B;
    return encode(layout);
}

}  // namespace convgpu::hopper
