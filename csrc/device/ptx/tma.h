// Copies by the tensor memory accelerator (TMA, sm_90). One thread issues a copy. `at` are the coordinates of the box,
// innermost first.
#pragma once
#include "../tensormap.h"
#include "machine.h"

namespace convgpu::ptx {

#ifdef __CUDACC__
// OPERANDS is "[%0], [%1, {coordinates}], [%2]" in that order, followed by the operands that MODE needs.
#define CONVGPU_TMA_LOAD(RANK, MODE, OPERANDS, ...)                                                                \
    asm volatile("cp.async.bulk.tensor." RANK ".shared::cluster.global." MODE " " OPERANDS ";" ::"r"(destination), \
                 "l"(map), "r"(bar), __VA_ARGS__                                                                   \
                 : "memory")
#define CONVGPU_TILE "tile.mbarrier::complete_tx::bytes"
#define CONVGPU_MULTICAST "tile.mbarrier::complete_tx::bytes.multicast::cluster"
#define CONVGPU_IM2COL "im2col.mbarrier::complete_tx::bytes"
#endif

// Copies the box at `at` from global to shared memory. Elements outside the tensor become zero (or NaN, if the map says
// so). The bytes count at the mbarrier `bar`. The destination must be aligned to 128 bytes, and to 8 rows of the map's
// swizzle.
template <int Rank>
__device__ __forceinline__ void tma_load(uint32_t destination, const TensorMap* map, uint32_t bar,
                                         const int (&at)[Rank]) {
    static_assert(Rank >= 1 && Rank <= 5, "tensor maps have 1 to 5 dimensions");
#ifdef __CUDACC__
    if constexpr (Rank == 1) {
        CONVGPU_TMA_LOAD("1d", CONVGPU_TILE, "[%0], [%1, {%3}], [%2]", "r"(at[0]));
    } else if constexpr (Rank == 2) {
        CONVGPU_TMA_LOAD("2d", CONVGPU_TILE, "[%0], [%1, {%3, %4}], [%2]", "r"(at[0]), "r"(at[1]));
    } else if constexpr (Rank == 3) {
        CONVGPU_TMA_LOAD("3d", CONVGPU_TILE, "[%0], [%1, {%3, %4, %5}], [%2]", "r"(at[0]), "r"(at[1]), "r"(at[2]));
    } else if constexpr (Rank == 4) {
        CONVGPU_TMA_LOAD("4d", CONVGPU_TILE, "[%0], [%1, {%3, %4, %5, %6}], [%2]", "r"(at[0]), "r"(at[1]), "r"(at[2]),
                         "r"(at[3]));
    } else {
        CONVGPU_TMA_LOAD("5d", CONVGPU_TILE, "[%0], [%1, {%3, %4, %5, %6, %7}], [%2]", "r"(at[0]), "r"(at[1]),
                         "r"(at[2]), "r"(at[3]), "r"(at[4]));
    }
#else
    emulator::tma_load(destination, map, bar, at, Rank, nullptr, 0);
#endif
}

// Copies one box to every block of the cluster whose bit is set in `blocks`. In each of these it goes to the same
// offset of the shared memory, and its bytes count at the mbarrier that lies at the same offset as `bar`.
template <int Rank>
__device__ __forceinline__ void tma_load_multicast(uint32_t destination, const TensorMap* map, uint32_t bar,
                                                   uint16_t blocks, const int (&at)[Rank]) {
    static_assert(Rank >= 2 && Rank <= 5, "multicast is spelled for 2 to 5 dimensions");
#ifdef __CUDACC__
    if constexpr (Rank == 2) {
        CONVGPU_TMA_LOAD("2d", CONVGPU_MULTICAST, "[%0], [%1, {%4, %5}], [%2], %3", "h"(blocks), "r"(at[0]),
                         "r"(at[1]));
    } else if constexpr (Rank == 3) {
        CONVGPU_TMA_LOAD("3d", CONVGPU_MULTICAST, "[%0], [%1, {%4, %5, %6}], [%2], %3", "h"(blocks), "r"(at[0]),
                         "r"(at[1]), "r"(at[2]));
    } else if constexpr (Rank == 4) {
        CONVGPU_TMA_LOAD("4d", CONVGPU_MULTICAST, "[%0], [%1, {%4, %5, %6, %7}], [%2], %3", "h"(blocks), "r"(at[0]),
                         "r"(at[1]), "r"(at[2]), "r"(at[3]));
    } else {
        CONVGPU_TMA_LOAD("5d", CONVGPU_MULTICAST, "[%0], [%1, {%4, %5, %6, %7, %8}], [%2], %3", "h"(blocks), "r"(at[0]),
                         "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]));
    }
#else
    emulator::tma_load(destination, map, bar, at, Rank, nullptr, blocks);
#endif
}

// Loads rows of the im2col matrix that an Im2colLayout describes. `at` is (c, w, n), (c, w, h, n) or (c, w, h, d, n) of
// the first pixel. `tap` is the filter tap times the dilation: (s), (s, r) or (s, r, t).
template <int Rank>
__device__ __forceinline__ void tma_load_im2col(uint32_t destination, const TensorMap* map, uint32_t bar,
                                                const int (&at)[Rank], const int (&tap)[Rank - 2]) {
    static_assert(Rank >= 3 && Rank <= 5, "im2col maps have 3 to 5 dimensions");
#ifdef __CUDACC__
    const auto s = static_cast<uint16_t>(tap[0]);
    if constexpr (Rank == 3) {
        CONVGPU_TMA_LOAD("3d", CONVGPU_IM2COL, "[%0], [%1, {%3, %4, %5}], [%2], {%6}", "r"(at[0]), "r"(at[1]),
                         "r"(at[2]), "h"(s));
    } else if constexpr (Rank == 4) {
        const auto r = static_cast<uint16_t>(tap[1]);
        CONVGPU_TMA_LOAD("4d", CONVGPU_IM2COL, "[%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8}", "r"(at[0]), "r"(at[1]),
                         "r"(at[2]), "r"(at[3]), "h"(s), "h"(r));
    } else {
        const auto r = static_cast<uint16_t>(tap[1]), t = static_cast<uint16_t>(tap[2]);
        CONVGPU_TMA_LOAD("5d", CONVGPU_IM2COL, "[%0], [%1, {%3, %4, %5, %6, %7}], [%2], {%8, %9, %10}", "r"(at[0]),
                         "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]), "h"(s), "h"(r), "h"(t));
    }
#else
    emulator::tma_load(destination, map, bar, at, Rank, tap, 0);
#endif
}

#ifdef __CUDACC__
#define CONVGPU_TMA_STORE(RANK, COORDINATES, ...)                                                      \
    asm volatile("cp.async.bulk.tensor." RANK ".global.shared::cta.tile.bulk_group [%0, {" COORDINATES \
                 "}], [%1];" ::"l"(map),                                                               \
                 "r"(source), __VA_ARGS__                                                              \
                 : "memory")
#endif

// Copies the box from shared to global memory. Before it, the threads that wrote the box call fence_proxy_async() and
// meet at a barrier. Elements outside the tensor are not written.
template <int Rank>
__device__ __forceinline__ void tma_store(const TensorMap* map, uint32_t source, const int (&at)[Rank]) {
    static_assert(Rank >= 1 && Rank <= 5, "tensor maps have 1 to 5 dimensions");
#ifdef __CUDACC__
    if constexpr (Rank == 1) {
        CONVGPU_TMA_STORE("1d", "%2", "r"(at[0]));
    } else if constexpr (Rank == 2) {
        CONVGPU_TMA_STORE("2d", "%2, %3", "r"(at[0]), "r"(at[1]));
    } else if constexpr (Rank == 3) {
        CONVGPU_TMA_STORE("3d", "%2, %3, %4", "r"(at[0]), "r"(at[1]), "r"(at[2]));
    } else if constexpr (Rank == 4) {
        CONVGPU_TMA_STORE("4d", "%2, %3, %4, %5", "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]));
    } else {
        CONVGPU_TMA_STORE("5d", "%2, %3, %4, %5, %6", "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4]));
    }
#else
    emulator::tma_store(map, source, at, Rank);
#endif
}

#undef CONVGPU_TMA_LOAD
#undef CONVGPU_TMA_STORE
#undef CONVGPU_TILE
#undef CONVGPU_MULTICAST
#undef CONVGPU_IM2COL

__device__ __forceinline__ void tma_store_commit() {
    CONVGPU_PTX("cp.async.bulk.commit_group;" :: : "memory");
    CONVGPU_EMULATED(emulator::bulk_commit();)
}

// Waits until all groups but the newest N have read their shared memory, which may then be written again.
template <int N>
__device__ __forceinline__ void tma_store_wait_read() {
    CONVGPU_PTX("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
    CONVGPU_EMULATED(emulator::bulk_wait(N, true);)
}

// Waits until all groups but the newest N have written global memory.
template <int N>
__device__ __forceinline__ void tma_store_wait() {
    CONVGPU_PTX("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory");
    CONVGPU_EMULATED(emulator::bulk_wait(N, false);)
}

}  // namespace convgpu::ptx
