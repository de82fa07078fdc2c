// wgmma.mma_async: a warpgroup (four warps) multiplies 64 x k by k x n, asynchronously.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "mma.h"

namespace convgpu::emulator {

struct Thread;

struct WgmmaOp {
    Operand type;
    int n;
    uint64_t a, b;                // matrix descriptors
    const uint32_t* a_registers;  // instead of the descriptor `a`, if not null
    float* d;                     // the thread's n / 2 accumulators
    bool scale_d;                 // false: d = a * b
    bool a_mn_major, b_mn_major;
};

struct WgmmaState {
    std::vector<WgmmaOp> ops;
    std::vector<size_t> groups;  // the number of operations issued up to each commit
    size_t waited = 0;           // groups that a wait has covered
    bool fenced = false;
};

constexpr size_t kGroupEdges = 8;

struct Warpgroup {
    size_t completed = 0;  // groups
    std::vector<Thread*> waiters;
    void* engine = nullptr;                                          // its tensor cores, as the race detector sees them
    char issue_edge[kGroupEdges] = {}, done_edge[kGroupEdges] = {};  // by group
};

void wgmma_fence();
void wgmma_issue(const WgmmaOp& op);
void wgmma_commit();
void wgmma_wait(size_t newest);  // for all groups but the newest
void check_wgmma_at_exit();

}  // namespace convgpu::emulator
