#include "grid.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "launches.h"
#include "runtime.h"
#include "sanitizer.h"

namespace convgpu::emulator {
namespace {

constexpr uint32_t kWarpSize = 32, kWarpgroupSize = 128;
constexpr size_t kSharedAlignment = 1024;

std::atomic<uint64_t> launched{0};

uint64_t volume(dim3 d) { return uint64_t(d.x) * d.y * d.z; }

void require(bool holds, const std::string& rule, uint64_t got) {
    if (!holds) throw Error("launch: expected " + rule + ", got " + std::to_string(got));
}

void check(const GridShape& s) {
    require(volume(s.block) >= 1 && volume(s.block) <= 1024, "1 to 1024 threads per block", volume(s.block));
    require(s.block.z <= 64, "block.z of at most 64", s.block.z);
    require(volume(s.grid) >= 1 && s.grid.x <= 0x7fffffff, "a grid of 1 to 2^31 - 1 blocks along x", s.grid.x);
    require(s.grid.y <= 65535 && s.grid.z <= 65535, "grid.y and grid.z of at most 65535", std::max(s.grid.y, s.grid.z));
    require(volume(s.cluster) >= 1 && volume(s.cluster) <= 8, "clusters of 1 to 8 blocks", volume(s.cluster));
    const bool divides = s.grid.x % s.cluster.x == 0 && s.grid.y % s.cluster.y == 0 && s.grid.z % s.cluster.z == 0;
    require(divides, "a grid that is a multiple of the cluster in every dimension; grid.x", s.grid.x);
    require(s.shared_bytes <= config().max_shared_bytes,
            "at most " + std::to_string(config().max_shared_bytes) + " bytes of shared memory", s.shared_bytes);
}

// The blocks of one cluster, with their threads and memory. Every worker makes them once and uses them for one cluster
// after the other.
class ResidentCluster {
public:
    explicit ResidentCluster(const GridShape& shape) : shape_(shape) {
        for (uint32_t rank = 0; rank < volume(shape.cluster); ++rank) add_block(rank);
    }
    ~ResidentCluster();
    ResidentCluster(const ResidentCluster&) = delete;
    ResidentCluster& operator=(const ResidentCluster&) = delete;

    void begin(uint64_t number);  // the cluster's number in the grid, counted along x first
    Cluster& cluster() { return cluster_; }

private:
    void add_block(uint32_t rank);
    void add_thread(Block& block, uint32_t linear);

    GridShape shape_;
    Cluster cluster_;
};

void ResidentCluster::add_block(uint32_t rank) {
    auto* b = new Block;
    cluster_.blocks.push_back(b);
    b->cluster = &cluster_;
    b->rank = rank;
    b->dim = shape_.block;
    b->grid_dim = shape_.grid;
    b->shared_bytes = shape_.shared_bytes;
    void* memory = nullptr;  // exactly as many bytes as asked for, so that AddressSanitizer guards both ends
    if (b->shared_bytes && posix_memalign(&memory, kSharedAlignment, b->shared_bytes)) throw std::bad_alloc();
    b->shared = static_cast<uint8_t*>(memory);
    const auto threads = static_cast<uint32_t>(volume(shape_.block));
    b->warps.resize((threads + kWarpSize - 1) / kWarpSize);
    b->warpgroups.resize((threads + kWarpgroupSize - 1) / kWarpgroupSize);
    for (uint32_t i = 0; i < threads; ++i) add_thread(*b, i);
}

void ResidentCluster::add_thread(Block& block, uint32_t linear) {
    auto* t = new Thread;
    block.threads.push_back(t);
    t->linear = linear;
    t->lane = linear % kWarpSize;
    t->index = {linear % block.dim.x, linear / block.dim.x % block.dim.y, linear / (block.dim.x * block.dim.y)};
    t->block = &block;
    t->warp = &block.warps[linear / kWarpSize];
    t->warp->lane[t->lane] = t;
    t->warp->lanes++;
    create_fiber(t->fiber, thread_main, block.rank * static_cast<uint32_t>(volume(block.dim)) + linear);
}

ResidentCluster::~ResidentCluster() {
    for (Block* b : cluster_.blocks) {
        for (Thread* t : b->threads) {
            destroy_engine(t->bulk_store.engine);
            destroy_fiber(t->fiber, t->state == State::kFinished);
            delete t;
        }
        for (Warp& w : b->warps) {
            for (Rendezvous* r : w.rendezvous) delete r;
        }
        for (Warpgroup& w : b->warpgroups) destroy_engine(w.engine);
        std::free(b->shared);
        delete b;
    }
}

void ResidentCluster::begin(uint64_t number) {
    const dim3 c = shape_.cluster;
    const uint64_t nx = shape_.grid.x / c.x, ny = shape_.grid.y / c.y;
    const uint64_t x = number % nx * c.x, y = number / nx % ny * c.y, z = number / nx / ny * c.z;
    for (Block* b : cluster_.blocks) {
        const uint32_t r = b->rank;
        b->index = {static_cast<unsigned>(x + r % c.x), static_cast<unsigned>(y + r / c.x % c.y),
                    static_cast<unsigned>(z + r / (c.x * c.y))};
        // All ones are NaN in every format, and never a valid mbarrier.
        if (b->shared) std::memset(b->shared, 0xff, b->shared_bytes);
        for (NamedBarrier& barrier : b->barriers) barrier = NamedBarrier{};
        for (Warpgroup& w : b->warpgroups) w.completed = 0;
        for (Thread* t : b->threads) {
            t->wgmma = WgmmaState{};
            t->bulk_store.groups.assign(1, BulkGroup{});
            t->cluster_arrived = false;
        }
    }
    cluster_.barrier = ClusterBarrier{};
    cluster_.mbarrier_waiters.clear();
    cluster_.loads_in_flight = 0;
}

// The state that all workers of one launch share.
struct Launch {
    const GridShape& shape;
    KernelCall kernel;
    void* arguments;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    std::exception_ptr error;

    void work(uint64_t worker);
};

void Launch::work(uint64_t worker) {
    Quiet quiet;
    const uint64_t clusters = volume(shape.grid) / volume(shape.cluster);
    try {
        // The scheduler is made before the resident cluster and destroyed after it, since finished fibers refer to it.
        Scheduler scheduler(kernel, arguments, config().seed * 7919 + worker);
        ResidentCluster resident(shape);
        for (uint64_t i; !failed && (i = next++) < clusters;) {
            resident.begin(i);
            scheduler.run(resident.cluster());
        }
    } catch (...) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!failed.exchange(true)) error = std::current_exception();
    }
}

}  // namespace

uint64_t launches() { return launched; }

void run_grid(const GridShape& shape, KernelCall kernel, void* arguments) {
    check(shape);
    ++launched;
    if (!config().runs) return;
    const uint64_t clusters = volume(shape.grid) / volume(shape.cluster);
    const uint64_t workers = std::min<uint64_t>(static_cast<uint64_t>(std::max(config().workers, 1)), clusters);
    statistics().blocks += volume(shape.grid);
    statistics().threads += volume(shape.grid) * volume(shape.block);
    Launch launch{shape, kernel, arguments, {}, {}, {}, {}};
    std::vector<std::thread> others;
    for (uint64_t w = 1; w < workers; ++w) others.emplace_back([&launch, w] { launch.work(w); });
    launch.work(0);
    for (std::thread& t : others) t.join();
    if (launch.error) std::rethrow_exception(launch.error);
}

}  // namespace convgpu::emulator
