// The factors of a product on Hopper: how the tensor memory accelerator (TMA) brings them to shared memory, and how
// wgmma reads them there.
//
// A panel is the square piece of a factor that TMA copies at once: 64 lines of 64 elements of a half type, 8 KiB, which
// lie in shared memory in the order of the 128-byte swizzle. A tile of a factor is several panels, one after the other,
// of 64 rows each. Two kinds of panels occur, so that the lines of a matrix can be copied whichever way it lies in
// memory. In a deep panel (K-major) a line holds 64 neighbours in k of one row; in the other kind (MN-major) it holds
// 64 neighbouring rows at one k. wgmma is told which kind it reads. A float32 factor is two float16 factors (scaled.h):
// it has two maps, and two panels for each of a half type.
#pragma once
#include "../device/ptx.h"
#include "scaled.h"

namespace convgpu::hopper {

constexpr int kPanel = 64;  // lines of a panel, and elements of a line
constexpr int kStep = 16;   // how many k one instruction takes

template <class T>
struct Panel {
    alignas(1024) Half<T> line[kPanel][kPanel];
};

// TMA's descriptions of a factor: one, or two where it is split into two float16 factors.
template <class T>
struct Maps {
    TensorMap part[kParts<T>];
};

template <class T>
constexpr ElementType kElementType = std::is_same_v<Half<T>, __half> ? ElementType::kFloat16 : ElementType::kBFloat16;

// What wgmma is told of panels that follow each other, for it to begin at their first row and k.
template <class T, bool kDeep>
__device__ __forceinline__ uint64_t descriptor(const Panel<T>* panels) {
    constexpr uint32_t kGroup = 8 * sizeof(panels->line[0]);       // bytes of 8 lines, after which the swizzle repeats
    const uint32_t to_next_panel = kDeep ? 16 : sizeof(Panel<T>);  // K-major: not used, the groups of 8 rows go on
    return ptx::matrix_descriptor(ptx::smem_addr(panels), to_next_panel, kGroup, Swizzle::k128B);
}

// The descriptor of what lies `bytes` further on. The address stands in the lower half of a descriptor and never
// carries into the upper one, so that one addition of 32 bits is enough.
__device__ __forceinline__ uint64_t advanced(uint64_t descriptor, uint32_t bytes) {
    return (descriptor & 0xffffffff00000000u) | (static_cast<uint32_t>(descriptor) + bytes / 16);
}

// How many bytes further on the next kStep of k begins: 16 elements along each line, or 16 lines.
template <class T, bool kDeep>
constexpr uint32_t kStepBytes = kStep * sizeof(Half<T>) * (kDeep ? 1 : kPanel);

// Starts to copy the box at `at` into a panel: this block's alone, or with kBlocks > 1 that of every block of the
// cluster.
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
    bool repeated;  // all items have the same matrix

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

// The map by which TMA finds the panels of `items` matrices of `lines` x `length`; strides in elements.
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
