// __syncthreads, named barriers (barrier.sync, barrier.arrive), and the barrier of a cluster.
#pragma once
#include <cstdint>
#include <vector>

namespace convgpu::emulator {

struct Thread;

struct NamedBarrier {
    uint32_t arrived = 0, expected = 0, generation = 0;
    // Addresses for the race detector, one for even and one for odd generations. A thread that wakes late must not
    // acquire what others have already released into the next generation; otherwise write-after-read hazards would go
    // unseen.
    char edge[2] = {};
    std::vector<Thread*> waiters;
};

struct ClusterBarrier {
    uint32_t arrived = 0;
    uint64_t generation = 0;
    char edge[2] = {};
    std::vector<Thread*> waiters;
};

void sync_threads(const char* what);                 // barrier 0, for all threads of the block
void barrier_sync(uint32_t id, uint32_t threads);    // arrives and waits
void barrier_arrive(uint32_t id, uint32_t threads);  // arrives without waiting
int sync_threads_reduce(const char* what, int value, int (*combine)(int, int));  // __syncthreads_or and its like
void cluster_arrive();
void cluster_wait();

}  // namespace convgpu::emulator
