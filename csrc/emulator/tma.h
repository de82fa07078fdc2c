// The tensor memory accelerator (TMA): cp.async.bulk.tensor copies boxes between global and shared memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>

namespace convgpu::emulator {

struct TensorMap;

// The stores that one thread committed together. A store first reads shared memory, and writes global memory later.
struct BulkGroup {
    unsigned stores = 0, unread = 0, unwritten = 0;
    bool read_waited = false;
    char read_edge = 0, write_edge = 0;  // addresses for the race detector
};

struct BulkStoreState {
    std::deque<BulkGroup> groups{1};  // the last one is still open
    void* engine = nullptr;           // the copy engine as the race detector sees it, one for each issuing thread
    unsigned issued = 0;
    // An address for the race detector for each of the last issues, so that a copy is ordered after what its thread did
    // before it, but not after what the thread did later.
    char issue_edge[16] = {};
};

// Loads one box. `at` has `rank` coordinates, innermost first. `tap` selects the mode: null means tile mode; else it
// holds the offsets of a filter tap along W, H, D, and the mode is im2col. With a multicast mask, every block of the
// cluster whose bit is set receives the box, and the bytes count at the barrier of that block.
void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, const int* at, uint32_t rank,
              const int* tap, uint16_t multicast_mask);
void tma_store(const TensorMap* map, uint32_t source, const int* at, uint32_t rank);
void bulk_commit();
// Waits until all groups of the thread but the newest ones have written global memory or, if read_only holds, until
// they have read shared memory.
void bulk_wait(size_t newest, bool read_only);
void check_bulk_stores_at_exit();

}  // namespace convgpu::emulator
