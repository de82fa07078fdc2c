// Addresses: what lies at them, and whether the access is one that a GPU would allow and that something orders.
#include "machine.h"
#include "owners.h"

namespace convgpu::ptx {
namespace {

const char* const kUses[] = {"read", "write"};

std::string bytes_text(uint32_t bytes) { return format("%u byte%s", bytes, bytes == 1 ? "" : "s"); }

Space space_of(const Warp& w, const Step& s, int lane, uint64_t address) {
    switch (address >> 56) {
        case 0:
            return Space::kGlobal;
        case 1:
            return Space::kShared;
        case 2:
            return Space::kLocal;
        case 3:
            return Space::kParam;
    }
    fault(w, s, lane, "bounds", format("a generic address 0x%lx, which is in no state space", address));
}

void check_alignment(const Warp& w, const Step& s, int lane, Space space, Use use, uint32_t bytes, uint64_t address) {
    if (address & (bytes - 1)) {
        fault(w, s, lane, "misaligned",
              format("a %s %s of %s at an address that is not a multiple of %u", name_of(space),
                     kUses[static_cast<int>(use)], bytes_text(bytes).c_str(), bytes),
              space == Space::kGlobal   ? w.cluster->grid->memory->describe(address)
              : space == Space::kShared ? describe_shared(w, static_cast<uint32_t>(address) & kRankMask)
                                        : format("0x%lx", address));
    }
}

uint8_t* global(Warp& w, const Step& s, int lane, Use use, uint32_t bytes, uint64_t address) {
    check_alignment(w, s, lane, Space::kGlobal, use, bytes, address);
    const Memory& memory = *w.cluster->grid->memory;
    const Allocation* a = memory.find(address, bytes);
    if (!a) {
        fault(w, s, lane, "bounds",
              format("a global %s of %s outside every array", kUses[static_cast<int>(use)], bytes_text(bytes).c_str()),
              memory.describe(address));
    }
    if (use == Use::kWrite && !a->writable) {
        fault(w, s, lane, "read-only", "a write to an array that is read-only", memory.describe(address));
    }
    w.worker->recent[s.number] = a;
    return reinterpret_cast<uint8_t*>(address);
}

// The block that an address of shared::cluster names; its rank is taken off.
Block& block_of(Warp& w, const Step& s, int lane, uint32_t& address) {
    const uint32_t rank = address >> kRankShift;
    address &= kRankMask;
    if (!rank) return *w.block;
    if (rank > w.cluster->blocks.size()) {
        fault(w, s, lane, "bounds",
              format("a shared address of block %u of a cluster that has %zu", rank - 1, w.cluster->blocks.size()));
    }
    return w.cluster->blocks[rank - 1];
}

// Bytes that are read must have been written; those that are written are known from now on.
void know(Warp& w, const Step& s, int lane, Use use, Block& b, uint32_t offset, uint32_t bytes) {
    uint8_t* known = &b.known[offset];
    if (use == Use::kWrite) {
        std::memset(known, w.kernel->async_proxy ? kUnfenced : kWritten, bytes);
        if (w.kernel->async_proxy) w.unfenced.push_back({&b, offset, bytes, static_cast<uint32_t>(lane)});
        return;
    }
    for (uint32_t k = 0; k < bytes; ++k) {
        if (readable(known[k])) continue;
        if (known[k] == kInFlight) {
            found(w, s, lane, "in flight", "a read of shared memory that an asynchronous copy has not filled yet",
                  describe_shared(w, offset + kSharedBase));
        } else {
            found(w, s, lane, "uninitialised", "a read of shared memory that nothing has written",
                  describe_shared(w, offset + kSharedBase));
        }
        return;
    }
}

uint8_t* shared(Warp& w, const Step& s, int lane, Use use, uint32_t bytes, uint64_t generic) {
    auto address = static_cast<uint32_t>(generic);
    check_alignment(w, s, lane, Space::kShared, use, bytes, address & kRankMask);
    Block& b = block_of(w, s, lane, address);
    if (address < kSharedBase || uint64_t(address) - kSharedBase + bytes > b.shared.size()) {
        fault(w, s, lane, "bounds",
              format("a shared %s of %s outside the block's %zu bytes of shared memory", kUses[static_cast<int>(use)],
                     bytes_text(bytes).c_str(), b.shared.size()),
              describe_shared(w, address));
    }
    const uint32_t offset = address - kSharedBase;
    know(w, s, lane, use, b, offset, bytes);
    return &b.shared[offset];
}

uint8_t* local(Warp& w, const Step& s, int lane, Use use, uint32_t bytes, uint64_t generic) {
    const uint64_t address = generic & (kWindow - 1);
    check_alignment(w, s, lane, Space::kLocal, use, bytes, address);
    if (address < kLocalBase || address - kLocalBase + bytes > w.kernel->local_bytes) {
        fault(w, s, lane, "bounds",
              format("a local %s of %s outside the thread's local memory", kUses[static_cast<int>(use)],
                     bytes_text(bytes).c_str()));
    }
    return &w.local[uint64_t(lane) * w.kernel->local_bytes + address - kLocalBase];
}

uint8_t* param(Warp& w, const Step& s, int lane, Use use, uint32_t bytes, uint64_t generic) {
    const uint64_t address = generic & (kWindow - 1);
    check_alignment(w, s, lane, Space::kParam, use, bytes, address);
    if (use == Use::kWrite) fault(w, s, lane, "read-only", "a write to a kernel's parameters");
    if (address + bytes > w.kernel->parameter_bytes) {
        fault(w, s, lane, "bounds", format("a read of %s past the kernel's parameters", bytes_text(bytes).c_str()));
    }
    return const_cast<uint8_t*>(w.cluster->grid->parameters) + address;
}

struct Range {
    uint64_t least, most, bits;
};

Range range_of(Mask lanes, const uint64_t* addresses) {
    const uint64_t first = addresses[__builtin_ctz(lanes)];
    Range r{first, first, 0};
    for (int l = 0; l < 32; ++l) {
        const uint64_t a = lanes >> l & 1 ? addresses[l] : first;
        r.least = a < r.least ? a : r.least;
        r.most = a > r.most ? a : r.most;
        r.bits |= a;
    }
    return r;
}

// The usual case: all lanes are aligned and inside the array that the step touched last.
bool resolve_global(Warp& w, const Step& s, Mask lanes, Use use, uint32_t bytes, uint64_t* at, uint8_t** pointers) {
    const Allocation* a = w.worker->recent[s.number];
    const Range r = range_of(lanes, at);
    if (!a || r.least < a->begin || r.most + bytes > a->end || r.bits & (bytes - 1)) return false;
    if (use == Use::kWrite && !a->writable) return false;
    std::memcpy(pointers, at, 32 * sizeof *at);
    return true;
}

template <uint32_t kBytes>
bool all_written(const uint8_t* known, Mask lanes, const uint64_t* at) {
    uint64_t wrong = 0;
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        uint32_t four = 0x01010101;
        const uint8_t* p = known + (static_cast<uint32_t>(at[__builtin_ctz(rest)]) - kSharedBase);
        std::memcpy(&four, p, kBytes < 4 ? kBytes : 4);
        wrong |= ~four & 0x01010101;
        if constexpr (kBytes >= 8) {
            uint64_t eight;
            std::memcpy(&eight, p, 8);
            wrong |= ~eight & 0x0101010101010101;
        }
        if constexpr (kBytes == 16) {
            uint64_t eight;
            std::memcpy(&eight, p + 8, 8);
            wrong |= ~eight & 0x0101010101010101;
        }
    }
    return !wrong;
}

bool resolve_shared(Warp& w, Mask lanes, Use use, uint32_t bytes, uint64_t* at, uint8_t** pointers) {
    Block& b = *w.block;
    if (use == Use::kWrite && w.kernel->async_proxy) return false;
    const Range r = range_of(lanes, at);
    const uint64_t least = static_cast<uint32_t>(r.least), most = static_cast<uint32_t>(r.most);
    if (least < kSharedBase || most - kSharedBase + bytes > b.shared.size() || r.bits & (bytes - 1) || most < least)
        return false;
    if (r.bits >> kRankShift & 0xff) return false;
    if (use == Use::kRead) {
        const bool good = bytes == 16  ? all_written<16>(b.known.data(), lanes, at)
                          : bytes == 8 ? all_written<8>(b.known.data(), lanes, at)
                          : bytes == 4 ? all_written<4>(b.known.data(), lanes, at)
                          : bytes == 2 ? all_written<2>(b.known.data(), lanes, at)
                                       : bytes == 1 && all_written<1>(b.known.data(), lanes, at);
        if (!good) return false;
    }
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        const uint32_t offset = static_cast<uint32_t>(at[l]) - kSharedBase;
        pointers[l] = &b.shared[offset];
        if (use == Use::kWrite) std::memset(&b.known[offset], kWritten, bytes);
    }
    return true;
}

}  // namespace

uint8_t* resolve_one(Warp& w, const Step& s, int lane, Space space, Use use, uint32_t bytes, uint64_t address) {
    if (space == Space::kGeneric) space = space_of(w, s, lane, address);
    switch (space) {
        case Space::kShared:
            return shared(w, s, lane, use, bytes, address);
        case Space::kLocal:
            return local(w, s, lane, use, bytes, address);
        case Space::kParam:
            return param(w, s, lane, use, bytes, address);
        default:
            return global(w, s, lane, use, bytes, address);
    }
}

void resolve(Warp& w, const Step& s, Mask lanes, Space space, Use use, uint32_t bytes, uint64_t* addresses,
             uint8_t** pointers) {
    if (space == Space::kGeneric) {
        const int first = __builtin_ctz(lanes);
        const uint64_t window = addresses[first] >> 56;
        uint64_t other = 0;
        for (Mask rest = lanes; rest; rest &= rest - 1) other |= addresses[__builtin_ctz(rest)] >> 56 ^ window;
        if (!other) space = space_of(w, s, first, addresses[first]);
    }
    if (space == Space::kGlobal || space == Space::kConst) {
        if (resolve_global(w, s, lanes, use, bytes, addresses, pointers)) return;
    } else if (space == Space::kShared) {
        if (resolve_shared(w, lanes, use, bytes, addresses, pointers)) return;
    }
    for (Mask rest = lanes; rest; rest &= rest - 1) {
        const int l = __builtin_ctz(rest);
        pointers[l] = resolve_one(w, s, l, space, use, bytes, addresses[l]);
    }
}

// ---- races

namespace {

// Whether an earlier access comes before what the lane does now.
bool ordered(const Access& a, const Warp& w, int lane) {
    if (a.unit == w.unit) return a.turn != w.turn || (a.lane == lane && !(a.flags & Access::kSeveralLanes));
    const uint32_t number = a.unit - w.cluster->first_unit;
    if (number < w.clock.near.size()) return w.clock.near[number] >= a.clock;
    return a.unit < w.clock.far.size() && w.clock.far[a.unit] >= a.clock;
}

// Two strong accesses are no race (8.9: morally strong). Volatile ones of one warp to shared memory are: programs that
// leave out __syncwarp rely on lanes that run in step, which no GPU since Volta grants.
bool both_strong(const Access& a, const Warp& w, Space space, uint8_t flags) {
    if (a.flags & Access::kStrong && flags & Access::kStrong) return true;
    constexpr uint8_t kAny = Access::kStrong | Access::kVolatile;
    return a.flags & kAny && flags & kAny && !(space == Space::kShared && a.unit == w.unit);
}

Access access_now(const Warp& w, const Step& s, int lane, uint8_t flags) {
    return {w.unit, w.clock.near[w.number], s.number, w.turn, static_cast<uint8_t>(lane), flags};
}

// Cells of shared memory live as long as their block of memory, which one cluster hands on to the next.
bool of_this_cluster(const Access& a, const Warp& w) {
    return a.clock && a.unit - w.cluster->first_unit < w.cluster->warps.size();
}

void report_race(Warp& w, const Step& s, int lane, Space space, uint64_t address, const char* mine, const char* theirs,
                 const Access& other) {
    const auto warps = static_cast<uint32_t>(w.block->warps.size());
    const char* who = other.unit == w.unit                   ? "another thread of the same warp"
                      : other.unit / warps == w.unit / warps ? "another warp of the block"
                                                             : "another block";
    found(w, s, lane, "race", format("nothing orders this %s and a %s by %s", mine, theirs, who),
          space == Space::kShared ? describe_shared(w, static_cast<uint32_t>(address))
                                  : w.cluster->grid->memory->describe(address),
          &other);
}

bool live(const Access& a, const Warp& w, Space space) {
    return space == Space::kShared ? of_this_cluster(a, w) : a.clock != 0;
}

void read_cell(Cell& c, Warp& w, const Step& s, int lane, Space space, uint64_t address, uint8_t flags) {
    if (live(c.write, w, space) && !ordered(c.write, w, lane) && !both_strong(c.write, w, space, flags)) {
        report_race(w, s, lane, space, address, "read", "write", c.write);
    }
    Access& newest = c.read[0];
    if (newest.unit == w.unit && newest.clock) {
        const bool same_turn = newest.turn == w.turn && newest.clock == w.clock.near[w.number];
        const bool several = same_turn && (newest.lane != lane || newest.flags & Access::kSeveralLanes);
        newest = access_now(w, s, lane, several ? flags | Access::kSeveralLanes : flags);
        return;
    }
    if (live(newest, w, space) && !ordered(newest, w, lane)) c.read[1] = newest;
    newest = access_now(w, s, lane, flags);
}

void write_cell(Cell& c, Warp& w, const Step& s, int lane, Space space, uint64_t address, uint8_t flags,
                bool same_value) {
    if (!same_value && live(c.write, w, space) && !ordered(c.write, w, lane) &&
        !both_strong(c.write, w, space, flags)) {
        report_race(w, s, lane, space, address, "write", "write", c.write);
    }
    for (Access& read : c.read) {
        if (flags & read.flags & Access::kUpdate) {
            read = {};
            continue;
        }
        if (live(read, w, space) && !ordered(read, w, lane) && !both_strong(read, w, space, flags)) {
            report_race(w, s, lane, space, address, "write", "read", read);
        }
    }
    c.write = access_now(w, s, lane, flags);
}

// Calls use(cell, address of the granule) for the granules of an access; does nothing for memory that one thread has
// alone.
template <class Action>
void for_cells(Warp& w, Space space, uint64_t address, uint32_t bytes, Action use) {
    const uint64_t window = address >> 56;
    if (space == Space::kGeneric) space = window == 0 ? Space::kGlobal : window == 1 ? Space::kShared : Space::kLocal;
    if (space == Space::kShared) {
        auto at = static_cast<uint32_t>(address);
        const uint32_t rank = at >> kRankShift;
        at &= kRankMask;
        Block& b = rank ? w.cluster->blocks[rank - 1] : *w.block;
        const uint32_t shift = w.kernel->shared_granule;
        for (uint32_t g = (at - kSharedBase) >> shift; g <= (at - kSharedBase + bytes - 1) >> shift; ++g) {
            use(b.cells[g], space, kSharedBase + (g << shift));
        }
    } else if (space == Space::kGlobal) {
        const uint32_t shift = w.kernel->global_granule;
        for (uint64_t g = address >> shift; g <= (address + bytes - 1) >> shift; ++g)
            use(w.worker->cells.at(g << shift), space, g << shift);
    }
}

}  // namespace

void note_read(Warp& w, const Step& s, int lane, Space space, uint64_t address, uint32_t bytes, uint8_t flags) {
    for_cells(w, space, address, bytes, [&](Cell& c, Space in, uint64_t at) {
        read_cell(c, w, s, lane, in, at, flags);
        if (in == Space::kGlobal && w.worker->owners) w.worker->owners->note(w, at, false);
    });
}

void note_write(Warp& w, const Step& s, int lane, Space space, uint64_t address, uint32_t bytes, uint8_t flags,
                const uint8_t* before, const uint8_t* after) {
    const bool same_value = !std::memcmp(before, after, bytes);
    for_cells(w, space, address, bytes, [&](Cell& c, Space in, uint64_t at) {
        write_cell(c, w, s, lane, in, at, flags, same_value);
        if (in == Space::kGlobal && w.worker->owners) w.worker->owners->note(w, at, true);
    });
}

}  // namespace convgpu::ptx
