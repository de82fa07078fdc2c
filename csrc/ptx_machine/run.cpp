// Warps of a cluster in turns, until all have ended.
#include <algorithm>
#include <map>

#include "machine.h"

namespace convgpu::ptx {

void Warp::next_parted() {
    while (!stack.empty()) {
        const Parted p = stack.back();
        stack.pop_back();
        const Mask lanes_left = p.lanes & ~exited;
        if (!lanes_left || p.step == p.reconverge) continue;
        step = p.step;
        reconverge = p.reconverge;
        active = lanes_left;
        return;
    }
    active = 0;
    done = true;
}

// Lanes that have parted may reach a barrier before they meet. The CUDA C++ Programming Guide asks only that every
// thread reaches it, and code for a GPU lets them wait for each other there. Once all are at the barrier, nothing of
// how they parted is left.
bool Warp::gather() {
    Mask here = active;
    for (const Parted& p : stack) {
        if (p.kind == Parted::kHeld && p.step == step) here |= p.lanes;
    }
    if ((here & living()) == living()) {
        active = living();
        reconverge = -1;
        stack.clear();
        return true;
    }
    for (auto p = stack.rbegin(); p != stack.rend(); ++p) {
        if (p->kind != Parted::kWaiting || p->step == p->reconverge || !(p->lanes & ~exited)) continue;
        const Parted next = *p;
        *p = {step, reconverge, active, Parted::kHeld};
        step = next.step;
        reconverge = next.reconverge;
        active = next.lanes & ~exited;
        return false;
    }
    return true;  // the barrier reports which lanes are missing
}

Worker::Worker(const Grid& grid_, Owners* owners_)
    : grid(&grid_),
      owners(owners_),
      executed(grid_.kernel->steps.size()),
      recent(executed.size()),
      random(grid_.settings.seed) {
    const Kernel& k = *grid->kernel;
    const uint32_t blocks = grid->cluster[0] * grid->cluster[1] * grid->cluster[2], warps = grid->block_warps();
    cells.begin(k.global_granule);
    cluster.grid = grid;
    cluster.blocks.resize(blocks);
    for (uint32_t rank = 0; rank < blocks; ++rank) {
        Block& b = cluster.blocks[rank];
        b.cluster = &cluster;
        b.rank = rank;
        for (uint32_t id = 0; id < warps; ++id) {
            cluster.warps.push_back(std::make_unique<Warp>());
            Warp& w = *cluster.warps.back();
            w.worker = this;
            w.kernel = &k;
            w.cluster = &cluster;
            w.block = &b;
            w.id = id;
            w.number = static_cast<uint32_t>(cluster.warps.size()) - 1;
            w.storage.resize(k.registers.size() + 64);
            w.registers = w.storage.data() + (64 - reinterpret_cast<uintptr_t>(w.storage.data()) % 64) % 64;
            w.local.resize(size_t(32) * k.local_bytes);
            b.warps.push_back(&w);
        }
    }
}

namespace {

uint32_t special(const std::string& name, const Warp& w, uint32_t lane) {
    const Grid& g = *w.cluster->grid;
    const Block& b = *w.block;
    const uint32_t t = 32 * w.id + lane;
    const uint32_t tid[3] = {t % g.threads[0], t / g.threads[0] % g.threads[1], t / g.threads[0] / g.threads[1]};
    const std::string base = name.substr(0, name.size() - 2);
    const bool part = name.size() > 2 && name[name.size() - 2] == '.' && name.back() >= 'x' && name.back() <= 'z';
    const int d = part ? name.back() - 'x' : 0;
    if (part) {
        if (base == "%tid") return tid[d];
        if (base == "%ntid") return g.threads[d];
        if (base == "%ctaid") return b.index[d];
        if (base == "%nctaid") return g.blocks[d];
        if (base == "%clusterid") return b.index[d] / g.cluster[d];
        if (base == "%nclusterid") return g.blocks[d] / g.cluster[d];
        if (base == "%cluster_ctaid") return b.index[d] % g.cluster[d];
        if (base == "%cluster_nctaid") return g.cluster[d];
    }
    if (name == "%laneid") return lane;
    if (name == "%warpid") return w.id;
    if (name == "%nwarpid") return g.block_warps();
    if (name == "%smid") return 0;
    if (name == "%nsmid") return 1;
    if (name == "%gridid" || name == "%gridid64") return 1;
    if (name == "%is_explicit_cluster") return w.cluster->blocks.size() > 1;
    if (name == "%cluster_ctarank") return b.rank;
    if (name == "%cluster_nctarank") return static_cast<uint32_t>(w.cluster->blocks.size());
    if (name == "%dynamic_smem_size") return g.shared_bytes;
    if (name == "%total_smem_size") return static_cast<uint32_t>(b.shared.size());
    if (name == "%lanemask_eq") return 1u << lane;
    if (name == "%lanemask_lt") return (1u << lane) - 1;
    if (name == "%lanemask_le") return (2u << lane) - 1;
    if (name == "%lanemask_gt") return ~((2u << lane) - 1);
    if (name == "%lanemask_ge") return ~((1u << lane) - 1);
    throw Error("the machine does not have the special register " + name);
}

}  // namespace

void Worker::begin_warp(Warp& w) {
    const Kernel& k = *grid->kernel;
    std::memcpy(w.registers, k.registers.data(), k.registers.size());
    const uint32_t left = grid->block_threads() - 32 * w.id;
    w.unit = cluster.first_unit + w.number;
    w.present = w.active = left >= 32 ? kFull : (1u << left) - 1;
    w.exited = 0;
    w.step = 0;
    w.reconverge = -1;
    w.stack.clear();
    w.done = w.stopped = w.spinning = false;
    w.waits = Warp::kNothing;
    w.cluster_arrivals = w.cluster_waits = 0;
    w.copies.clear();
    w.unfenced.clear();
    w.stores.clear();
    std::fill(std::begin(w.store_commits), std::end(w.store_commits), 0);
    w.products.clear();
    w.product_commits = 0;
    w.products_done = {};
    w.accumulators.clear();
    w.registers_fenced = false;
    w.left.clear();
    w.most_registers = 0;
    std::fill(std::begin(w.commits), std::end(w.commits), 0);
    w.clock.near.assign(cluster.warps.size(), 0);
    w.clock.near[w.number] = 1;
    w.clock.far.clear();
    w.fenced = {};
    w.turn = 1;
    for (const auto& [name, place] : k.specials) {
        for (uint32_t lane = 0; lane < 32; ++lane) w.lanes<uint32_t>(place)[lane] = special(name, w, lane);
    }
}

void Worker::begin_cluster(uint64_t number) {
    const Kernel& k = *grid->kernel;
    cluster.first_unit = static_cast<uint32_t>(number * cluster.warps.size());
    cluster.arrived = cluster.phase = 0;
    cluster.arrival_clock = {};
    cluster.loads.clear();
    const size_t bytes = k.dynamic_at + grid->shared_bytes;
    uint64_t left = number;
    uint32_t base[3];
    for (int d = 0; d < 3; ++d) {
        const uint32_t clusters = grid->blocks[d] / grid->cluster[d];
        base[d] = static_cast<uint32_t>(left % clusters) * grid->cluster[d];
        left /= clusters;
    }
    for (Block& b : cluster.blocks) {
        const uint32_t inside[3] = {b.rank % grid->cluster[0], b.rank / grid->cluster[0] % grid->cluster[1],
                                    b.rank / grid->cluster[0] / grid->cluster[1]};
        for (int d = 0; d < 3; ++d) b.index[d] = base[d] + inside[d];
        b.shared.assign(bytes, 0xff);  // NaN in every format
        b.known.assign(bytes, kUnwritten);
        if (grid->settings.races) b.cells.resize((bytes >> k.shared_granule) + 1);
        for (Barrier& x : b.barriers) x = {};
        b.mbarriers.clear();
        for (Warp* w : b.warps) begin_warp(*w);
    }
}

namespace {

void branch(Warp& w, const Step& s, Mask taken) {
    if (taken == w.active) {
        w.step = s.target;
    } else if (!taken) {
        ++w.step;
    } else {
        if (s.reconverge >= 0 && s.reconverge != w.reconverge)
            w.stack.push_back({s.reconverge, w.reconverge, w.active, Warp::Parted::kMeeting});
        w.stack.push_back({s.target, s.reconverge, taken});
        w.active &= ~taken;
        w.reconverge = s.reconverge;
        ++w.step;
    }
}

void branch_indexed(Warp& w, const Step& s, Mask lanes) {
    if (!lanes) {
        ++w.step;
        return;
    }
    if (lanes != w.active) fault(w, s, -1, "divergence", "a guarded brx.idx that some lanes take");
    const uint32_t* index = w.lanes<uint32_t>(s.op[0]);
    const auto& targets = detail<Targets>(s).steps;
    std::map<int32_t, Mask> to;
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        if (index[l] >= targets.size())
            fault(w, s, l, "bounds", format("brx.idx %u of %zu targets", index[l], targets.size()));
        to[targets[index[l]]] |= 1u << l;
    }
    if (to.size() > 1) {
        if (s.reconverge >= 0 && s.reconverge != w.reconverge)
            w.stack.push_back({s.reconverge, w.reconverge, w.active, Warp::Parted::kMeeting});
        for (auto it = std::next(to.begin()); it != to.end(); ++it)
            w.stack.push_back({it->first, s.reconverge, it->second});
        w.reconverge = s.reconverge;
        w.active = to.begin()->second;
    }
    w.step = to.begin()->first;
}

}  // namespace

void Worker::run_warp(Warp& w, uint64_t steps) {
    const Step* code = grid->kernel->steps.data();
    uint64_t* counts = executed.data();
    w.stopped = w.spinning = w.changed = false;
    const uint64_t last = w.executed + steps;
    while (w.executed < last && !w.stopped) {
        const Step& s = code[w.step];
        Mask lanes = w.active;
        if (s.guard != kNone) lanes &= w.predicate(s.guard) ^ s.guard_flip;
        ++w.executed;
        ++counts[s.number];
        switch (s.flow) {
            case Flow::kTogether:
                if (lanes && w.active != w.living() && !w.gather()) {
                    --counts[s.number];
                    break;
                }
                if (lanes) s.run(w, s, s.guard == kNone ? w.active : lanes);
                ++w.step;
                break;
            case Flow::kNext:
            case Flow::kMayStop:
                if (lanes) s.run(w, s, lanes);
                ++w.step;
                break;
            case Flow::kBranch:
                branch(w, s, lanes);
                break;
            case Flow::kIndexed:
                branch_indexed(w, s, lanes);
                break;
            case Flow::kExit:
                w.exited |= lanes;
                w.active &= ~lanes;
                if (w.active)
                    ++w.step;
                else
                    w.next_parted();
                break;
        }
        while (w.step == w.reconverge && !w.done) w.next_parted();
        if (w.done) break;
    }
}

bool Worker::ready(Warp& w) {
    if (w.done || w.waits == Warp::kBarrier) return false;
    if (w.waits == Warp::kCluster) {
        if (cluster.phase < w.cluster_arrivals) return false;
        w.waits = Warp::kNothing;
        sync_lanes(w);
        if (grid->settings.races) w.clock.join(cluster.arrival_clock);
    }
    return true;
}

void Worker::deadlock() {
    std::string who;
    const Warp* first = nullptr;
    for (const auto& w : cluster.warps) {
        if (w->done) continue;
        if (!first) first = w.get();
        const uint32_t at = w->waits != Warp::kNothing ? w->barrier_step : static_cast<uint32_t>(w->step);
        const Origin& origin = grid->kernel->origins[at];
        who += format("; block (%u, %u, %u) warp %u waits %s, PTX line %u", w->block->index[0], w->block->index[1],
                      w->block->index[2], w->id,
                      w->waits == Warp::kBarrier   ? format("at barrier %u", w->barrier).c_str()
                      : w->waits == Warp::kCluster ? "at the cluster's barrier"
                                                   : "in a loop that tests memory",
                      origin.line);
        if (origin.source.line) who += format(" (source line %u)", origin.source.line);
    }
    const uint32_t at = first->waits != Warp::kNothing ? first->barrier_step : static_cast<uint32_t>(first->step);
    fault(*first, grid->kernel->steps[at], -1, "deadlock", "no warp can go on" + who);
}

void Worker::run_cluster(uint64_t number) {
    begin_cluster(number);
    const size_t n = cluster.warps.size();
    const Settings& settings = grid->settings;
    for (unsigned idle = 0;;) {
        bool all_done = true, progress = false;
        const size_t first = settings.seed ? random() % n : 0;
        for (size_t k = 0; k < n; ++k) {
            Warp& w = *cluster.warps[(first + k) % n];
            all_done = all_done && w.done;
            if (!ready(w)) continue;
            if (settings.early_copies && !w.copies.empty() && random() % 4 == 0) land_some(w);
            const uint64_t before = w.executed;
            run_warp(w, settings.seed ? 32 + random() % 512 : 4096);
            instructions += w.executed - before;
            progress = progress || !w.spinning || w.changed;
            if (settings.limit && instructions > settings.limit) {
                fault(w, grid->kernel->steps[static_cast<size_t>(w.step) % executed.size()], -1, "limit",
                      format("the kernel has run %lu warp instructions, which is the limit", settings.limit));
            }
            if (w.done) {
                finish_stores(w);
                complete_barriers(*w.block);
                complete_cluster(cluster);
            }
        }
        if (all_done && cluster.loads.empty()) return;
        // Copies land as late as they may, when nothing else goes on, or at random times.
        if (!cluster.loads.empty() && (!progress || (settings.early_copies && random() % 2))) {
            const size_t which = settings.seed || settings.early_copies ? random() % cluster.loads.size() : 0;
            const std::unique_ptr<Pending> load = std::move(cluster.loads[which]);
            cluster.loads.erase(cluster.loads.begin() + static_cast<long>(which));
            load->happen();
            progress = true;
        }
        if (grid->cancelled && grid->cancelled->load(std::memory_order_relaxed)) return;
        idle = progress ? 0 : idle + 1;
        if (idle > 64) deadlock();
    }
}

}  // namespace convgpu::ptx
