// The emulated machine: threads, warps, blocks, clusters, and the state each of them carries. One OS worker runs one
// cluster (or one block, a cluster of one) at a time, so nothing in here needs a lock.
#pragma once
#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "barrier.h"
#include "cp_async.h"
#include "fiber.h"
#include "tma.h"
#include "warp.h"
#include "wgmma.h"

namespace convgpu::emulator {

struct Block;
struct Cluster;

// Thrown if a kernel does something that the hardware forbids, or waits for something that never comes.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
// Throws an Error that names the current block and thread.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

enum class State { kFinished, kReady, kRunning, kWaiting };

// Tells what a waiting thread waits for, for the report of a deadlock.
struct Waiting {
    const char* what = "";
    uint64_t id = 0;                     // the number of the barrier, the mask of the lanes, or the shared address
    const uint64_t* mbarrier = nullptr;  // the word that the thread waits for, if it is an mbarrier
};

struct Thread {
    Fiber fiber;
    uint3 index;  // threadIdx
    uint32_t linear, lane;
    Warp* warp;
    Block* block;
    Thread* next_ready = nullptr;
    State state = State::kFinished;
    Waiting waiting;
    uint64_t cluster_generation = 0;
    bool cluster_arrived = false;
    int reduce_value = 0;
    CpAsyncState cp_async;
    WgmmaState wgmma;
    BulkStoreState bulk_store;
};

struct Block {
    uint3 index;  // blockIdx
    dim3 dim, grid_dim;
    uint8_t* shared = nullptr;
    size_t shared_bytes = 0;
    uint32_t rank = 0;  // the block's rank in its cluster
    Cluster* cluster = nullptr;
    std::vector<Thread*> threads;
    std::vector<Warp> warps;
    std::vector<Warpgroup> warpgroups;
    NamedBarrier barriers[16];
};

struct Cluster {
    std::vector<Block*> blocks;
    ClusterBarrier barrier;
    std::vector<Thread*> mbarrier_waiters;
    size_t loads_in_flight = 0;  // loads that TMA has not finished
};

// The thread that runs now, or null in the scheduler. It is __thread and not thread_local because it then needs no
// wrapper for its initialisation.
extern __thread Thread* current;
inline Block& current_block() { return *current->block; }

}  // namespace convgpu::emulator
