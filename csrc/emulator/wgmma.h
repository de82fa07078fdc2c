// wgmma.mma_async: a warpgroup (four warps) multiplies a 64 x k matrix by a k x n matrix, asynchronously.
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
    const uint32_t* a_registers;  // used instead of the descriptor `a` unless null
    float* d;                     // the n / 2 accumulators of the thread
    bool scale_d;                 // if false, d = a * b, without the old d
    bool a_mn_major, b_mn_major;
};

struct WgmmaState {
    std::vector<WgmmaOp> ops;
    std::vector<size_t> groups;  // the number of operations issued up to each commit
    size_t waited = 0;           // the number of groups that a wait has covered
    bool fenced = false;
};

constexpr size_t kGroupEdges = 8;

struct Warpgroup {
    size_t completed = 0;  // the number of groups that have completed
    std::vector<Thread*> waiters;
    // The race detector knows the tensor cores of this warpgroup by `engine`, and the groups by their edges.
    void* engine = nullptr;
    char issue_edge[kGroupEdges] = {}, done_edge[kGroupEdges] = {};  // one for each group
};

void wgmma_fence();
void wgmma_issue(const WgmmaOp& op);
void wgmma_commit();
void wgmma_wait(size_t newest);  // waits for all groups but the newest
void check_wgmma_at_exit();

}  // namespace convgpu::emulator
