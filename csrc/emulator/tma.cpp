#include "tma.h"

#include <cstring>
#include <vector>

#include "mbarrier.h"
#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"
#include "shared_memory.h"
#include "tma_box.h"

namespace convgpu::emulator {
namespace {

const char* const kWaitGroup = "cp.async.bulk.wait_group";
constexpr uint32_t kChunk = 16;

Position position(const TensorMap& map, const int* at, uint32_t rank, const char* what) {
    if (rank != map.tiled.tensor.rank) {
        fail("%s: %u coordinates for a tensor map of rank %u", what, rank, map.tiled.tensor.rank);
    }
    Position p{};
    std::copy(at, at + rank, p.begin());
    return p;
}

// Returns the offsets of a filter tap. An instruction holds each of them in 16, 8 or 5 bits, for 1, 2 or 3 spatial
// axes.
std::array<int64_t, 3> offsets(const int* tap, uint32_t rank, const char* what) {
    std::array<int64_t, 3> result{};
    const int limit = rank == 3 ? 1 << 16 : rank == 4 ? 1 << 8 : 1 << 5;
    for (uint32_t i = 0; i + 2 < rank; ++i) {
        if (tap[i] < 0 || tap[i] >= limit)
            fail("%s: an im2col offset must be 0 to %d, got %d", what, limit - 1, tap[i]);
        result[i] = tap[i];
    }
    return result;
}

void check_map(const TensorMap* map, const char* what) {
    if (reinterpret_cast<uintptr_t>(map) % 64)
        fail("%s: the tensor map at %p is not aligned to 64 bytes", what, static_cast<const void*>(map));
}

// Returns the alignment of a box, which begins where the swizzle's pattern does, every 8 rows. Matrix descriptors then
// need no base offset.
uint32_t box_alignment(const TensorMap& map) { return std::max(128u, 8 * swizzle_bytes(map.tiled.swizzle)); }

// Loads one row of a box. `address` is what the swizzle depends on: the offset in the block, without its rank.
void load_row(const TensorMap& map, uint8_t* shared, uint32_t address, const Position& p) {
    const TensorView& t = map.tiled.tensor;
    const uint32_t size = element_bytes(t.type), width = row_elements(map), bytes = width * size;
    const BoxRow row = locate(t, p, width);
    note_write(shared, bytes);
    if (row.global) note_read(row.global + row.first * size, static_cast<size_t>(row.last - row.first) * size);
    Quiet quiet;
    uint8_t buffer[2048];  // room for 256 elements of 8 bytes
    std::memset(buffer, map.tiled.fill == Fill::kNaN ? 0xff : 0, bytes);
    if (row.global) {
        std::memcpy(buffer + row.first * size, row.global + row.first * size,
                    static_cast<size_t>(row.last - row.first) * size);
    }
    for (uint32_t i = 0; i < bytes; i += kChunk) {
        std::memcpy(shared + (swizzled(address + i, map.tiled.swizzle) - address), buffer + i, kChunk);
    }
}

// The work of one load in one block.
struct Load {
    TensorMap map;
    Position at;
    std::array<int64_t, 3> offset;
    uint8_t* shared;
    uint32_t address;
    uint64_t* barrier;

    void perform() const {
        const uint32_t pitch = row_elements(map) * element_bytes(map.tiled.tensor.type);
        auto row = [&](uint32_t r, const Position& p) { load_row(map, shared + r * pitch, address + r * pitch, p); };
        if (map.im2col) {
            for_each_im2col_row(map, at, offset, row);
        } else {
            for_each_tiled_row(map.tiled, at, row);
        }
        Quiet quiet;
        mbarrier_complete(barrier, box_bytes(map));
    }
};

// Hands an operation to the copy engine. It is ordered after everything that its thread has done so far.
template <class F>
void issue(F&& op) {
    BulkStoreState& s = current->bulk_store;
    char* edge = &s.issue_edge[s.issued++ % sizeof s.issue_edge];
    release(edge);
    Quiet quiet;
    post(Engine::kCopy, [&s, edge, op]() mutable {
        run_as(s.engine, [&] {
            acquire(edge);
            op();
        });
    });
}

}  // namespace

void tma_load(uint32_t destination, const TensorMap* map, uint32_t barrier, const int* at, uint32_t rank,
              const int* tap, uint16_t multicast_mask) {
    const char* what = "cp.async.bulk.tensor";
    check_map(map, what);
    if (map->im2col != (tap != nullptr)) fail("%s: the tensor map is of the other mode (tile or im2col)", what);
    Load load{*map, position(*map, at, rank, what), {}, nullptr, destination & kOffsetMask, nullptr};
    if (tap) load.offset = offsets(tap, rank, what);
    const uint16_t here = static_cast<uint16_t>(1u << (destination >> kRankShift));
    for (uint32_t i = 0; i < 16; ++i) {
        if (!((multicast_mask ? multicast_mask : here) >> i & 1)) continue;
        const uint32_t block = i << kRankShift;
        load.shared = shared_pointer(load.address | block, box_bytes(*map), box_alignment(*map), what, Reach::kCluster);
        load.barrier = mbarrier_word(multicast_mask ? (barrier & kOffsetMask) | block : barrier, what);
        size_t& in_flight = current_block().cluster->loads_in_flight;
        ++in_flight;
        issue([load, &in_flight] {
            --in_flight;
            load.perform();
        });
    }
}

namespace {

// A store has two steps: `read` takes the box out of shared memory, and `write` puts it into the tensor.
struct Store {
    TensorMap map;
    Position at;
    const uint8_t* shared;
    uint32_t address;
    std::vector<uint8_t> box;

    void read() {
        const uint32_t bytes = box_bytes(map);
        note_read(shared, bytes);
        Quiet quiet;
        box.resize(bytes);
        for (uint32_t i = 0; i < bytes; i += kChunk) {
            std::memcpy(&box[i], shared + (swizzled(address + i, map.tiled.swizzle) - address), kChunk);
        }
    }

    void write() const {
        const TensorView& t = map.tiled.tensor;
        const uint32_t size = element_bytes(t.type), width = row_elements(map);
        for_each_tiled_row(map.tiled, at, [&](uint32_t r, const Position& p) {
            const BoxRow row = locate(t, p, width);
            if (!row.global) return;
            const auto bytes = static_cast<size_t>(row.last - row.first) * size;
            note_write(row.global + row.first * size, bytes);
            Quiet quiet;
            std::memcpy(row.global + row.first * size, &box[(r * width + static_cast<size_t>(row.first)) * size],
                        bytes);
        });
    }
};

void wake_if_in_wait_group(Thread* thread) {
    if (thread->waiting.what == kWaitGroup) wake(thread);
}

}  // namespace

void tma_store(const TensorMap* map, uint32_t source, const int* at, uint32_t rank) {
    const char* what = "cp.async.bulk.tensor (store)";
    check_map(map, what);
    if (map->im2col) fail("%s: im2col stores are not emulated", what);
    auto* shared = shared_pointer(source, box_bytes(*map), box_alignment(*map), what);
    Store store{*map, position(*map, at, rank, what), shared, source & kOffsetMask, {}};
    Thread* issuer = current;
    BulkGroup* group = &current->bulk_store.groups.back();
    ++group->stores, ++group->unread, ++group->unwritten;
    issue([store, issuer, group]() mutable {
        store.read();
        release(&group->read_edge);
        --group->unread;
        Quiet quiet;
        wake_if_in_wait_group(issuer);
        post(Engine::kCopy, [store, issuer, group] {
            run_as(issuer->bulk_store.engine, [&] {
                store.write();
                release(&group->write_edge);
                release_to_end_of_launch();
            });
            --group->unwritten;
            wake_if_in_wait_group(issuer);
        });
    });
}

void bulk_commit() {
    Quiet quiet;
    current->bulk_store.groups.emplace_back();
}

void bulk_wait(size_t newest, bool read_only) {
    Quiet quiet;
    auto& groups = current->bulk_store.groups;
    const size_t committed = groups.size() - 1;
    for (size_t i = 0; i + newest < committed; ++i) {
        BulkGroup& g = groups[i];
        while (read_only ? g.unread : g.unwritten) suspend({kWaitGroup, newest});
        g.read_waited = true;
        acquire(&g.read_edge);
        if (!read_only) acquire(&g.write_edge);
    }
}

void check_bulk_stores_at_exit() {
    for (const BulkGroup& g : current->bulk_store.groups) {
        if (g.stores && !g.read_waited) fail("the thread exits while a TMA store may still read its shared memory");
    }
}

}  // namespace convgpu::emulator
