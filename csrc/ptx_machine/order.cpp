// What orders accesses: fences, atomics that hand on what was fenced, and barriers of warps, blocks and clusters.
#include "machine.h"

namespace convgpu::ptx {

// 9.7.13: what the warp has done and knows is made known by its next atomic, or by that of a warp that a barrier tells.
void fence(Warp& w) {
    if (!w.worker->grid->settings.races) return;
    w.fenced.join(w.clock);
    ++w.clock.near[w.number];
}

namespace {

// The clock of an atomic's address counts in units, since warps of other clusters read it.
void join_far(std::vector<uint32_t>& far, const Clock& from, uint32_t first_unit) {
    Clock::join(far, from.far);
    if (far.size() < first_unit + from.near.size()) far.resize(first_unit + from.near.size());
    for (size_t k = 0; k < from.near.size(); ++k) far[first_unit + k] = std::max(far[first_unit + k], from.near[k]);
}

}  // namespace

void release(Warp& w, uint64_t address, bool everything) {
    if (!w.worker->grid->settings.races) return;
    if (everything) fence(w);
    if (w.fenced.near.empty() && w.fenced.far.empty()) return;
    join_far(w.worker->released[address].far, w.fenced, w.cluster->first_unit);
}

void acquire(Warp& w, uint64_t address) {
    if (!w.worker->grid->settings.races) return;
    const auto known = w.worker->released.find(address);
    if (known == w.worker->released.end()) return;
    const std::vector<uint32_t>& far = known->second.far;
    const uint32_t first = w.cluster->first_unit;
    for (size_t k = 0; k < w.clock.near.size() && first + k < far.size(); ++k) {
        if (k != w.number) w.clock.near[k] = std::max(w.clock.near[k], far[first + k]);
    }
    Clock::join(w.clock.far, far);
}

void sync_lanes(Warp& w) { ++w.turn; }

// What the lanes have written is seen by bulk copies and wgmma from now on (9.7.13, fence.proxy.async).
void fence_proxy(Warp& w, Mask lanes) {
    size_t left = 0;
    for (const Warp::Written& x : w.unfenced) {
        if (!(lanes >> x.lane & 1)) {
            w.unfenced[left++] = x;
            continue;
        }
        for (uint32_t k = 0; k < x.bytes; ++k) {
            uint8_t& known = x.block->known[x.offset + k];
            if (known == kUnfenced) known = kWritten;
        }
    }
    w.unfenced.resize(left);
}

void share(Warp& w, Clock& clock, Clock& fenced) {
    sync_lanes(w);
    if (!w.worker->grid->settings.races) return;
    clock.join(w.clock);
    fenced.join(w.fenced);
    ++w.clock.near[w.number];
}

void learn(Warp& w, const Clock& clock, const Clock& fenced) {
    sync_lanes(w);
    if (!w.worker->grid->settings.races) return;
    w.clock.join(clock);
    w.fenced.join(fenced);
}

namespace {

uint32_t living_warps(const Block& b) {
    uint32_t n = 0;
    for (const Warp* w : b.warps) n += !w->done;
    return n;
}

void complete(Block& b, uint32_t id) {
    Barrier& x = b.barriers[id];
    const uint32_t need = x.expected ? x.expected / 32 : living_warps(b);
    if (!x.arrived || x.arrived < need) return;
    for (Warp* w : b.warps) {
        if (w->waits != Warp::kBarrier || w->barrier != id) continue;
        w->waits = Warp::kNothing;
        learn(*w, x.clock, x.fenced);
    }
    x.result_any = x.any != 0;
    x.result_all = x.all == kFull;
    x.result_count = x.count;
    x.arrived = x.count = 0;
    x.any = 0;
    x.all = kFull;
    x.clock = x.fenced = {};
}

}  // namespace

void arrive(Warp& w, const Step& s, uint32_t id, uint32_t threads, bool wait) {
    Block& b = *w.block;
    if (id > 15) fault(w, s, -1, "barrier", format("expected a barrier from 0 to 15, got %u", id));
    if (w.active != w.living()) {
        const Mask missing = w.living() & ~w.active;
        fault(
            w, s, -1, "divergence",
            format("a barrier reached by some threads of a warp only: thread %u of the block is elsewhere, and %d more",
                   32 * w.id + static_cast<uint32_t>(__builtin_ctz(missing)), __builtin_popcount(missing) - 1));
    }
    if (threads % 32)
        fault(w, s, -1, "barrier", format("expected a number of threads divisible by 32, got %u", threads));
    Barrier& x = b.barriers[id];
    if (x.arrived && x.expected != threads) {
        fault(w, s, -1, "barrier",
              format("barrier %u is met with %u threads by some warps and with %u by others", id, x.expected, threads));
    }
    if (threads && x.arrived >= threads / 32)
        fault(w, s, -1, "barrier", format("more warps arrive at barrier %u than it has", id));
    w.changed = true;
    x.expected = threads;
    ++x.arrived;
    share(w, x.clock, x.fenced);
    if (wait) {
        w.waits = Warp::kBarrier;
        w.barrier = id;
        w.barrier_step = s.number;
        w.stopped = true;
    }
    complete(b, id);
}

void complete_barriers(Block& b) {
    for (uint32_t id = 0; id < 16; ++id) {
        if (b.barriers[id].arrived) complete(b, id);
    }
}

void cluster_arrive(Warp& w, const Step& s) {
    Cluster& c = *w.cluster;
    if (w.active != w.living()) fault(w, s, -1, "divergence", "barrier.cluster reached by some threads of a warp only");
    if (w.cluster_arrivals > c.phase) fault(w, s, -1, "barrier", "barrier.cluster.arrive twice without a wait between");
    w.cluster_arrivals = c.phase + 1;
    ++c.arrived;
    share(w, c.arrival_clock, c.arrival_clock);
    complete_cluster(c);
}

void cluster_wait(Warp& w, const Step& s) {
    if (w.cluster_arrivals == w.cluster_waits)
        fault(w, s, -1, "barrier", "barrier.cluster.wait without an arrival before it");
    w.cluster_waits = w.cluster_arrivals;
    w.waits = Warp::kCluster;
    w.barrier_step = s.number;
    w.stopped = true;
}

void complete_cluster(Cluster& c) {
    uint32_t need = 0;
    for (const auto& w : c.warps) need += !w->done || w->cluster_arrivals > c.phase;
    if (!c.arrived || c.arrived < need) return;
    ++c.phase;
    c.arrived = 0;
}

}  // namespace convgpu::ptx
