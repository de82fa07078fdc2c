#include "shared_memory.h"

#include "runtime.h"

namespace convgpu::emulator {

uint32_t shared_address(const void* p) {
    const Block& b = current_block();
    const auto offset = static_cast<const uint8_t*>(p) - b.shared;
    if (offset < 0 || static_cast<size_t>(offset) > b.shared_bytes) {
        fail("smem_addr: %p is not in this block's dynamic shared memory", p);
    }
    return b.rank << kRankShift | (kSharedBase + static_cast<uint32_t>(offset));
}

uint8_t* shared_pointer(uint32_t address, size_t bytes, size_t align, const char* what, Reach reach) {
    const Block* b = &current_block();
    const uint32_t rank = address >> kRankShift, offset = (address & kOffsetMask) - kSharedBase;
    if (rank != b->rank) {
        const auto& blocks = b->cluster->blocks;
        if (reach != Reach::kCluster || rank >= blocks.size()) {
            fail("%s: the shared address %08x belongs to block %u of the cluster, out of reach here", what, address,
                 rank);
        }
        b = blocks[rank];
    }
    if (offset > b->shared_bytes || bytes > b->shared_bytes - offset) {
        fail("%s: the shared address %08x (+%zu bytes) is outside the block's %zu bytes", what, address, bytes,
             b->shared_bytes);
    }
    if (address % align) fail("%s: the shared address %08x is not aligned to %zu bytes", what, address, align);
    return b->shared + offset;
}

uint32_t map_to_rank(uint32_t address, uint32_t rank) {
    if (rank >= current_block().cluster->blocks.size()) {
        fail("mapa: block %u of a cluster of %zu", rank, current_block().cluster->blocks.size());
    }
    return (address & kOffsetMask) | rank << kRankShift;
}

}  // namespace convgpu::emulator
