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

constexpr int kPanel = 64;  // the lines of a panel, and the elements of a line
constexpr int kStep = 16;   // the number of k that one instruction takes

template <class T>
struct Panel {
    alignas(1024) Half<T> line[kPanel][kPanel];
};

// The tensor maps by which TMA finds a factor: one map, or two where the factor is split into two float16 factors.
template <class T>
struct Maps {
    TensorMap part[kParts<T>];
};

template <class T>
constexpr ElementType kElementType = std::is_same_v<Half<T>, __half> ? ElementType::kFloat16 : ElementType::kBFloat16;

// Returns the descriptor by which wgmma reads a row of panels, beginning at the first row and k of the first panel.
template <class T, bool kDeep>
__device__ __forceinline__ uint64_t descriptor(const Panel<T>* panels) {
    constexpr uint32_t kGroup = 8 * sizeof(panels->line[0]);  // bytes of 8 lines, after which the swizzle repeats
    // K-major panels ignore this distance, since each group of 8 rows follows the one before.
    const uint32_t to_next_panel = kDeep ? 16 : sizeof(Panel<T>);
    return ptx::matrix_descriptor(ptx::smem_addr(panels), to_next_panel, kGroup, Swizzle::k128B);
}

// Returns the descriptor of what lies `bytes` further on. The address is in the lower half of a descriptor and never
// carries into the upper half, so that one addition of 32 bits is enough.
__device__ __forceinline__ uint64_t advanced(uint64_t descriptor, uint32_t bytes) {
    return (descriptor & 0xffffffff00000000u) | (static_cast<uint32_t>(descriptor) + bytes / 16);
}

// The distance in bytes from one kStep of k to the next: 16 elements along each line, or 16 lines.
template <class T, bool kDeep>
constexpr uint32_t kStepBytes = kStep * sizeof(Half<T>) * (kDeep ? 1 : kPanel);

// Starts to copy the box at `at` into a panel of this block alone or, if kBlocks > 1, of every block of the cluster.
template <int kBlocks, class T>
__device__ __forceinline__ void load_panel(Panel<T>& to, const TensorMap* map, uint32_t full, const int (&at)[3]) {
    if constexpr (kBlocks == 1) {
        ptx::tma_load(ptx::smem_addr(&to), map, full, at);
    } else {
        ptx::tma_load_multicast(ptx::smem_addr(&to), map, full, (1 << kBlocks) - 1, at);
    }
}

// A factor that is a matrix, or a batch of matrices: rows x depth, with lines along the depth if kDeep holds.
template <class T, bool kDeep_>
struct MatrixPanels {
    using Element = T;
    // kHoles tells whether elements may be missing before an edge.
    static constexpr bool kDeep = kDeep_, kHoles = false;

    const Maps<T>& maps;
    bool repeated;  // whether all items have the same matrix

    // Starts to copy 64 rows x 64 of the depth into a panel, with zeros beyond the edges. The bytes count at the
    // barrier `full`.
    __device__ __forceinline__ void load(Panel<T>& to, uint32_t full, int part, int row, int k, int item) const {
        multicast<1>(to, full, part, row, k, item);
    }

    // Does the same for all blocks of the cluster at once.
    template <int kBlocks>
    __device__ __forceinline__ void multicast(Panel<T>& to, uint32_t full, int part, int row, int k, int item) const {
        load_panel<kBlocks>(to, &maps.part[part], full, {kDeep ? k : row, kDeep ? row : k, repeated ? 0 : item});
    }
};

// Returns the map by which TMA finds the panels of `items` matrices of `lines` x `length`. Strides are in elements.
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
