#include "wgmma.h"

#include <algorithm>
#include <cstring>

#include "matrix_descriptor.h"
#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"
#include "shared_memory.h"
#include "tensor_core.h"

namespace convgpu::emulator {
namespace {

constexpr int kThreads = 128, kRows = 64, kMaxColumns = 256;

int depth(Operand type) { return type == Operand::kTf32 ? 8 : 16; }
uint32_t element_size(Operand type) { return type == Operand::kTf32 ? 4 : 2; }

Warpgroup& my_warpgroup() { return current_block().warpgroups[current->linear / kThreads]; }

Thread* const* threads_of(const Thread* thread) {
    return &thread->block->threads[thread->linear / kThreads * kThreads];
}

// Returns the first row of thread `i`. Its j-th accumulator is D[row + 8 * (j / 2 % 2)][col + 8 * (j / 4) + j % 2]. The
// registers of A have the same order.
int first_row(int i) { return i / 32 * 16 + i % 32 / 4; }

// Loads values[mn][k], or values[k][mn], from shared memory. It reads 16 bytes at a time, which are neighbours along mn
// or along k.
void load_operand(const MatrixDescriptor& descriptor, Operand type, int mn_size, bool k_rows, uint32_t rank,
                  Factor& f) {
    const int k_size = depth(type);
    const auto size = element_size(type);
    const int chunk = static_cast<int>(16 / size);
    f.resize(k_rows ? k_size : mn_size, k_rows ? mn_size : k_size);
    const int mn_step = descriptor.mn_major() ? chunk : 1, k_step = descriptor.mn_major() ? 1 : chunk;
    for (int mn = 0; mn < mn_size; mn += mn_step) {
        for (int k = 0; k < k_size; k += k_step) {
            const uint32_t address = descriptor.address(static_cast<uint32_t>(mn), static_cast<uint32_t>(k));
            const uint8_t* p = shared_pointer((address & kOffsetMask) | rank << kRankShift, 16, 16, "wgmma operand");
            note_read(p, 16);
            uint32_t words[4];
            std::memcpy(words, p, sizeof words);  // is two moves, and no call that the race detector would see
            for (int e = 0; e < chunk; ++e) {
                const int m = mn + (mn_step > 1 ? e : 0), kk = k + (k_step > 1 ? e : 0);
                f.row(k_rows ? kk : m)[k_rows ? m : kk] =
                    operand_value(type, words[e * static_cast<int>(size) / 4], e * static_cast<int>(size) / 2 % 2);
            }
        }
    }
    f.classify();
}

// Loads A from registers, whose fragments are those of mma.sync for each of the four warps.
void load_registers(Thread* const* threads, size_t index, Operand type, Factor& f) {
    const int k_size = depth(type), per = type == Operand::kTf32 ? 1 : 2;
    f.resize(kRows, k_size);
    for (int i = 0; i < kThreads; ++i) {
        const uint32_t* registers = threads[i]->wgmma.ops[index].a_registers;
        note_read(registers, 16);
        for (int r = 0; r < 4; ++r) {
            float* row = f.row(first_row(i) + r % 2 * 8) + i % 4 * per + r / 2 * k_size / 2;
            for (int e = 0; e < per; ++e) row[e] = operand_value(type, registers[r], e);
        }
    }
    f.classify();
}

// The accumulators of the warpgroup as a matrix, which are gathered from and scattered to the registers of its threads.
struct Accumulators {
    float value[kRows][kMaxColumns];

    template <class Move>
    void for_each(Thread* const* threads, size_t index, Move&& move) {
        for (int i = 0; i < kThreads; ++i) {
            const WgmmaOp& op = threads[i]->wgmma.ops[index];
            const int row = first_row(i), column = i % 4 * 2;
            note_write(op.d, static_cast<size_t>(op.n) * 2);
            for (int j = 0; j < op.n / 2; ++j) move(op.d[j], value[row + j / 2 % 2 * 8][column + j / 4 * 8 + j % 2]);
        }
    }
    void gather(Thread* const* threads, size_t index) {
        for_each(threads, index, [](float& reg, float& element) { element = reg; });
    }
    void scatter(Thread* const* threads, size_t index) {
        for_each(threads, index, [](float& reg, float& element) { reg = element; });
    }
};

bool same(const WgmmaOp& x, const WgmmaOp& y) {
    return x.type == y.type && x.n == y.n && (x.a_registers || x.a == y.a) && x.b == y.b && x.scale_d == y.scale_d &&
           !x.a_registers == !y.a_registers && x.a_mn_major == y.a_mn_major && x.b_mn_major == y.b_mn_major;
}

void check_agreement(Thread* const* threads, size_t index) {
    for (int i = 1; i < kThreads; ++i) {
        if (!same(threads[i]->wgmma.ops[index], threads[0]->wgmma.ops[index])) {
            fail("wgmma: thread %d of the warpgroup issued another instruction or descriptor than thread 0", i);
        }
    }
}

MatrixDescriptor descriptor_of(uint64_t bits, bool mn_major, Operand type) {
    const MatrixDescriptor d(bits, mn_major, element_size(type));
    if (d.has_base_offset()) fail("wgmma: matrix base offsets other than 0 are not emulated");
    if (mn_major && type == Operand::kTf32) fail("wgmma: tf32 operands must be K-major");
    return d;
}

void execute(Thread* const* threads, size_t begin, size_t end) {
    static thread_local Factor a, b;
    static thread_local Accumulators sums;
    const uint32_t rank = threads[0]->block->rank;
    for (size_t i = begin; i < end; ++i) {
        check_agreement(threads, i);
        const WgmmaOp& op = threads[0]->wgmma.ops[i];
        if (i == begin || threads[0]->wgmma.ops[i - 1].d != op.d) sums.gather(threads, i);
        if (!op.scale_d) {
            // The race detector would see the memset that this becomes. All warpgroups of a worker share the one
            // buffer.
            Quiet quiet;
            std::fill(&sums.value[0][0], &sums.value[0][0] + kRows * kMaxColumns, 0.0f);
        }
        if (op.a_registers) {
            load_registers(threads, i, op.type, a);
        } else {
            load_operand(descriptor_of(op.a, op.a_mn_major, op.type), op.type, kRows, false, rank, a);
        }
        load_operand(descriptor_of(op.b, op.b_mn_major, op.type), op.type, op.n, true, rank, b);
        tensor_core_mma(a, b, &sums.value[0][0], kMaxColumns);
        if (i + 1 == end || threads[0]->wgmma.ops[i + 1].d != op.d) sums.scatter(threads, i);
    }
}

void run_next_group(Warpgroup& w, Thread* const* threads) {
    const auto& groups = threads[0]->wgmma.groups;
    const size_t g = w.completed;
    run_as(w.engine, [&] {
        acquire(&w.issue_edge[g % kGroupEdges]);
        execute(threads, g ? groups[g - 1] : 0, groups[g]);
        release(&w.done_edge[g % kGroupEdges]);
    });
    ++w.completed;
    Quiet quiet;
    for (Thread* t : w.waiters) wake(t);
    w.waiters.clear();
}

}  // namespace

void wgmma_fence() { current->wgmma.fenced = true; }

void wgmma_issue(const WgmmaOp& op) {
    if (current_block().threads.size() % kThreads) fail("wgmma: the block is not made of whole warpgroups of 128");
    if (!current->wgmma.fenced) fail("wgmma without wgmma.fence since its registers were last the thread's own");
    release(&my_warpgroup().issue_edge[current->wgmma.groups.size() % kGroupEdges]);
    Quiet quiet;
    current->wgmma.ops.push_back(op);
}

// Commits the operations of a thread. When the last thread of the warpgroup commits, the tensor cores get the group.
void wgmma_commit() {
    Quiet quiet;
    WgmmaState& s = current->wgmma;
    const size_t group = s.groups.size();
    s.groups.push_back(s.ops.size());
    Thread* const* threads = threads_of(current);
    for (int i = 0; i < kThreads; ++i) {
        const auto& groups = threads[i]->wgmma.groups;
        if (groups.size() <= group) return;
        if (groups[group] != s.groups[group])
            fail("wgmma.commit_group: threads of a warpgroup commit different groups");
    }
    post(Engine::kMma, [&w = my_warpgroup(), threads] { run_next_group(w, threads); });
}

void wgmma_wait(size_t newest) {
    Quiet quiet;
    Warpgroup& w = my_warpgroup();
    WgmmaState& s = current->wgmma;
    const size_t target = s.groups.size() > newest ? s.groups.size() - newest : 0;
    while (w.completed < target) {
        w.waiters.push_back(current);
        suspend({"wgmma.wait_group", newest});
    }
    for (; s.waited < target; ++s.waited) acquire(&w.done_edge[s.waited % kGroupEdges]);
    if (newest == 0) s.fenced = false;
}

void check_wgmma_at_exit() {
    WgmmaState& s = current->wgmma;
    if (s.waited < s.groups.size() || (s.groups.empty() ? 0 : s.groups.back()) < s.ops.size()) {
        fail("the thread exits with wgmma operations that it never waited for");
    }
}

}  // namespace convgpu::emulator
