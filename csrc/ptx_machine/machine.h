// The machine: warps of 32 lanes, in blocks, in clusters, in a grid (PTX ISA, section 2: Programming Model).
#pragma once
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "error.h"
#include "kernel.h"
#include "memory.h"
#include "races.h"
#include "report.h"

namespace convgpu::ptx {

struct Block;
struct Cluster;
struct Worker;

struct Settings {
    bool races = true;
    bool early_copies = false;  // asynchronous copies land at random times, not as late as they may
    uint64_t seed = 0;          // of the order in which warps run; 0: in turns
    uint64_t limit = 0;         // warp instructions of a launch, 0: any number
    unsigned workers = 1;
    uint32_t shared_limit = 227 << 10;
};

// Asynchronous work that has been issued and has not happened yet.
struct Pending {
    virtual ~Pending() = default;
    virtual void happen() = 0;
    int lane = 0;
    uint32_t group = 0;  // of those that its thread, or warp, commits
};

struct Copy {  // of cp.async, not yet landed
    const Step* step = nullptr;
    uint32_t lane = 0, group = 0, destination = 0, bytes = 0, source_bytes = 0;
    uint64_t source = 0;
};

struct Warp {
    Worker* worker = nullptr;
    const Kernel* kernel = nullptr;
    Cluster* cluster = nullptr;
    Block* block = nullptr;
    uint8_t* registers = nullptr;
    uint32_t id = 0;      // in the block
    uint32_t number = 0;  // in the cluster
    uint32_t unit = 0;    // in the grid

    // Where it is. Lanes that have parted wait on the stack until those that run reach `reconverge`. kMeeting is where
    // several of them go on together; kHeld are lanes at a barrier that others of the warp have not reached.
    struct Parted {
        int32_t step, reconverge;
        Mask lanes;
        enum Kind : uint8_t { kWaiting, kMeeting, kHeld } kind = kWaiting;
    };
    int32_t step = 0, reconverge = -1;
    Mask active = 0, present = 0, exited = 0;
    std::vector<Parted> stack;
    bool done = false, stopped = false;
    bool spinning = false, changed = false;  // in its turn: it has tested memory that others write; it has written some
    enum Wait : uint8_t { kNothing, kBarrier, kCluster } waits = kNothing;
    uint32_t barrier = 0;
    uint32_t barrier_step = 0;
    uint64_t executed = 0;

    Clock clock, fenced;  // fenced: what a later atomic makes known to those who read it
    uint16_t turn = 1;
    std::vector<uint8_t> storage, local;
    std::vector<Copy> copies;
    uint32_t commits[32] = {};  // groups of cp.async, by lane
    uint32_t cluster_arrivals = 0, cluster_waits = 0;
    struct Written {
        Block* block;
        uint32_t offset, bytes, lane;
    };
    std::vector<Written> unfenced;                 // shared memory that it wrote since fence.proxy.async
    std::vector<std::unique_ptr<Pending>> stores;  // bulk copies to global memory
    uint32_t store_commits[32] = {};
    std::vector<std::unique_ptr<Pending>> products;  // this warp's share of wgmma, the oldest first
    uint32_t product_commits = 0;
    Clock products_done;                             // what it learns at its next wgmma.wait_group
    bool registers_fenced = false;                   // by wgmma.fence, since the last wait
    std::map<uint32_t, std::vector<uint32_t>> left;  // what products have left in registers, by place
    uint32_t most_registers = 0;                     // of a thread, by setmaxnreg; 0: as at the launch
    std::map<uint32_t, std::vector<uint32_t>>
        accumulators;  // by place: of products under way; the registers hold poison

    template <class T>
    T* lanes(uint32_t place) const {
        return reinterpret_cast<T*>(registers + place);
    }
    Mask& predicate(uint32_t place) const { return *reinterpret_cast<Mask*>(registers + place); }
    void set_predicate(uint32_t place, Mask lanes_written, Mask value) const {
        if (place == kNone) return;
        Mask& p = predicate(place);
        p = (p & ~lanes_written) | (value & lanes_written);
    }
    Mask living() const { return present & ~exited; }
    void next_parted();
    // At a barrier: returns whether it can be executed now, by all lanes or by those that can be gathered. If not,
    // other lanes run on to it first.
    bool gather();
};

struct Barrier {
    uint32_t arrived = 0;   // warps
    uint32_t expected = 0;  // threads; 0: the whole block
    Clock clock, fenced;
    Mask any = 0, all = kFull;  // of barrier.red
    uint32_t count = 0;
    uint32_t result_any = 0, result_all = 0, result_count = 0;
};

// What the machine knows of a byte of shared memory.
// kUnfenced: written, and not yet to be read by bulk copies and wgmma, which see it after fence.proxy.async.
enum Known : uint8_t { kUnwritten = 0, kWritten = 1, kInFlight = 2, kUnfenced = 3 };
inline bool readable(uint8_t known) { return known & 1; }

struct MBarrier {
    uint32_t expected = 0, pending = 0, phase = 0;
    int64_t bytes = 0;  // that copies have still to bring
    Clock clock, fenced;
};

struct Block {
    Cluster* cluster = nullptr;
    uint32_t index[3] = {0, 0, 0}, rank = 0;
    std::vector<uint8_t> shared, known;
    std::vector<Cell> cells;
    Barrier barriers[16];
    std::map<uint32_t, MBarrier> mbarriers;  // by offset in shared memory
    std::vector<Warp*> warps;
};

struct Grid {
    const Kernel* kernel = nullptr;
    const Memory* memory = nullptr;
    const uint8_t* parameters = nullptr;
    Settings settings;
    uint32_t blocks[3] = {1, 1, 1}, threads[3] = {1, 1, 1}, cluster[3] = {1, 1, 1};
    uint32_t shared_bytes = 0;  // dynamic
    const std::atomic<bool>* cancelled = nullptr;

    uint64_t count() const { return uint64_t(blocks[0]) * blocks[1] * blocks[2]; }
    uint32_t block_threads() const { return threads[0] * threads[1] * threads[2]; }
    uint32_t block_warps() const { return (block_threads() + 31) / 32; }
};

struct Cluster {
    const Grid* grid = nullptr;
    uint32_t first_unit = 0;
    std::vector<Block> blocks;
    std::vector<std::unique_ptr<Warp>> warps;
    uint32_t arrived = 0, phase = 0;
    Clock arrival_clock;
    std::vector<std::unique_ptr<Pending>> loads;  // bulk copies to shared memory, under way
};

// Which block touches a granule of global memory, for blocks that run at the same time.
class Owners;

// Runs clusters one after the other, on one thread of the host.
struct Worker {
    const Grid* grid = nullptr;
    Cluster cluster;
    Report report;
    GlobalCells cells;
    Owners* owners = nullptr;                      // if other workers run beside it
    std::vector<uint64_t> executed;                // by step
    std::vector<const Allocation*> recent;         // by step: the array that it touched last
    std::unordered_map<uint64_t, Clock> released;  // by address of an atomic: what its readers learn
    std::mt19937_64 random;
    uint64_t instructions = 0;

    explicit Worker(const Grid& grid_, Owners* owners_);
    void run_cluster(uint64_t number);

private:
    void begin_cluster(uint64_t number);
    void begin_warp(Warp& w);
    void run_warp(Warp& w, uint64_t steps);
    bool ready(Warp& w);
    [[noreturn]] void deadlock();
};

struct Outcome {
    Report report;
    std::vector<uint64_t> executed;  // by step
    uint64_t instructions = 0;
    unsigned workers = 1;
};

// Runs a grid. Checks of the launch itself raise Error; a kernel that cannot go on leaves a finding and stops.
Outcome launch(const Grid& grid);

// ---- reports (report.cpp)

// One lane for a report; -1 stands for the first that runs.
Place place_of(const Warp& w, const Step& s, int lane);
[[noreturn]] void fault(const Warp& w, const Step& s, int lane, const char* kind, const std::string& message,
                        const std::string& address = "");
void found(Warp& w, const Step& s, int lane, const char* kind, const std::string& message, const std::string& address,
           const Access* other = nullptr);
std::string describe_shared(const Warp& w, uint32_t offset);

// ---- memory of lanes (access.cpp)

enum class Use : uint8_t { kRead, kWrite };

// Replaces the lanes' addresses by pointers of the host, once they are inside memory that they may use and aligned.
void resolve(Warp& w, const Step& s, Mask lanes, Space space, Use use, uint32_t bytes, uint64_t* addresses,
             uint8_t** pointers);
uint8_t* resolve_one(Warp& w, const Step& s, int lane, Space space, Use use, uint32_t bytes, uint64_t address);

// Says that a lane reads, or writes, what `address` names, and checks it for races; `flags` are those of Access.
void note_read(Warp& w, const Step& s, int lane, Space space, uint64_t address, uint32_t bytes, uint8_t flags);
void note_write(Warp& w, const Step& s, int lane, Space space, uint64_t address, uint32_t bytes, uint8_t flags,
                const uint8_t* before, const uint8_t* after);

// ---- what orders accesses (order.cpp)

void fence(Warp& w);
void release(Warp& w, uint64_t address, bool everything);
void acquire(Warp& w, uint64_t address);
void sync_lanes(Warp& w);
void arrive(Warp& w, const Step& s, uint32_t barrier, uint32_t threads, bool wait);
void complete_barriers(Block& b);
void cluster_arrive(Warp& w, const Step& s);
void cluster_wait(Warp& w, const Step& s);
void complete_cluster(Cluster& c);
// The warp makes known what it has done, or learns what another made known.
void share(Warp& w, Clock& clock, Clock& fenced);
void learn(Warp& w, const Clock& clock, const Clock& fenced);
void fence_proxy(Warp& w, Mask lanes);

// ---- asynchronous copies (instructions/async_copy.cpp)

void land_some(Warp& w);      // any of them, at a random time
void finish_stores(Warp& w);  // of a warp that ends; says that nothing has waited for them

// ---- mbarriers (instructions/mbarrier.cpp)

// A copy brings bytes to the mbarrier of a block; `clock` is what its issuer knew.
void bring_bytes(Warp& w, const Step& s, int lane, Block& b, uint32_t address, uint32_t bytes, const Clock& clock);

}  // namespace convgpu::ptx
