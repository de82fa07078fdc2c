// The tensor memory accelerator: cp.async.bulk.tensor between global and shared memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>

namespace convgpu::emulator {

struct TensorMap;

// Stores that one thread committed together. A store first reads shared memory, later writes global memory.
struct BulkGroup {
    unsigned stores = 0, unread = 0, unwritten = 0;
    bool read_waited = false;
    char read_edge = 0, write_edge = 0;  // addresses for the race detector
};

struct BulkStoreState {
    std::deque<BulkGroup> groups{1};  // the last one is still open
    void* engine = nullptr;           // the copy engine as the race detector sees it: one per issuing thread
    unsigned issued = 0;
    char issue_edge[16] = {};  // by number of issue, so that a copy is not ordered after what its thread did later
};

// `at` has `rank` coordinates, innermost first. `tap`, the offsets of a filter tap along W, H, D, selects im2col mode;
// null is tile mode. With a mask, every block of the cluster whose bit is set receives the box, and its own barrier the
// bytes.
void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, const int* at, uint32_t rank,
              const int* tap, uint16_t multicast_mask);
void tma_store(const TensorMap* map, uint32_t source, const int* at, uint32_t rank);
void bulk_commit();
void bulk_wait(size_t newest, bool read_only);  // for all groups but the newest: written, or only read
void check_bulk_stores_at_exit();

}  // namespace convgpu::emulator
