#include "barrier.h"

#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"

namespace convgpu::emulator {
namespace {

enum class Wait { kYes, kNo };

void meet(NamedBarrier& b, uint32_t threads, Wait wait, const char* what) {
    Quiet quiet;
    const auto id = static_cast<unsigned>(&b - current_block().barriers);
    if (b.arrived == 0) b.expected = threads;
    if (b.expected != threads) {
        fail("%s: barrier %u is used with %u threads and with %u at once", what, id, b.expected, threads);
    }
    char* edge = &b.edge[b.generation & 1];
    release(edge);
    if (wait == Wait::kYes) b.waiters.push_back(current);
    if (++b.arrived == threads) {
        b.arrived = 0;
        ++b.generation;
        resume_together(b.waiters);
    } else if (wait == Wait::kYes) {
        suspend({what, id});
    }
    if (wait == Wait::kYes) acquire(edge);
}

NamedBarrier& named(uint32_t id, uint32_t threads, const char* what) {
    if (id > 15) fail("%s: barrier %u does not exist, there are 16", what, id);
    if (threads % 32 || threads == 0) fail("%s: the thread count %u is not a positive multiple of 32", what, threads);
    return current_block().barriers[id];
}

}  // namespace

void sync_threads(const char* what) {
    Block& b = current_block();
    meet(b.barriers[0], static_cast<uint32_t>(b.threads.size()), Wait::kYes, what);
}

void barrier_sync(uint32_t id, uint32_t threads) {
    meet(named(id, threads, "barrier.sync"), threads, Wait::kYes, "barrier.sync");
}

void barrier_arrive(uint32_t id, uint32_t threads) {
    meet(named(id, threads, "barrier.arrive"), threads, Wait::kNo, "barrier.arrive");
}

int sync_threads_reduce(const char* what, int value, int (*combine)(int, int)) {
    current->reduce_value = value;
    sync_threads(what);
    const auto& threads = current_block().threads;
    int result = threads[0]->reduce_value;
    for (size_t i = 1; i < threads.size(); ++i) result = combine(result, threads[i]->reduce_value);
    sync_threads(what);  // no thread changes its value while another still reads it
    return result;
}

void cluster_arrive() {
    Quiet quiet;
    ClusterBarrier& b = current_block().cluster->barrier;
    if (current->cluster_arrived) fail("barrier.cluster.arrive: the thread arrives twice without a wait between");
    current->cluster_arrived = true;
    current->cluster_generation = b.generation;
    release(&b.edge[b.generation & 1]);
    const size_t all = current_block().threads.size() * current_block().cluster->blocks.size();
    if (++b.arrived < all) return;
    b.arrived = 0;
    ++b.generation;
    resume_together(b.waiters);
}

void cluster_wait() {
    Quiet quiet;
    ClusterBarrier& b = current_block().cluster->barrier;
    if (!current->cluster_arrived) fail("barrier.cluster.wait without barrier.cluster.arrive");
    if (b.generation == current->cluster_generation) {
        b.waiters.push_back(current);
        suspend({"barrier.cluster.wait", 0});
    }
    current->cluster_arrived = false;
    acquire(&b.edge[current->cluster_generation & 1]);
}

}  // namespace convgpu::emulator
