// 9.7.9 Data Movement and Conversion Instructions: cp.async.bulk and cp.async.bulk.tensor (TMA).
//
// A copy to shared memory happens as late as possible, and brings its bytes to an mbarrier then. A copy to global
// memory happens when its group is waited for. Until then the destination in shared memory must not be read, and the
// source in shared memory must not be written, which is looked at when the copy happens.
#include <algorithm>

#include "../tensor_map.h"
#include "lanes.h"

namespace convgpu::ptx {
namespace {

bool races(const Warp& w) { return w.worker->grid->settings.races; }

// Every access of the asynchronous proxy to shared memory of a block, in pieces of up to 16 bytes.
uint8_t* shared_bytes(Warp& w, const Step& s, int lane, Block& b, U32 address, U32 bytes, const char* what) {
    if (address < kSharedBase || U64(address) - kSharedBase + bytes > b.shared.size()) {
        fault(w, s, lane, "bounds",
              format("%s %u bytes outside the block's %zu bytes of shared memory", what, bytes, b.shared.size()),
              describe_shared(w, address));
    }
    return &b.shared[address - kSharedBase];
}

U32 address_in(const Block& b, U32 address) { return address | (b.rank + 1) << kRankShift; }

void check_source(Warp& w, const Step& s, int lane, Block& b, U32 address, U32 bytes) {
    for (U32 k = 0; k < bytes; ++k) {
        const uint8_t known = b.known[address - kSharedBase + k];
        if (known == kWritten) continue;
        if (known == kUnfenced)
            found(w, s, lane, "proxy",
                  "a bulk copy reads shared memory that was written without fence.proxy.async since",
                  describe_shared(w, address + k));
        else if (known == kUnwritten)
            found(w, s, lane, "uninitialised", "a bulk copy reads shared memory that nothing has written",
                  describe_shared(w, address + k));
        else
            found(w, s, lane, "in flight", "a bulk copy reads shared memory that another copy has not filled yet",
                  describe_shared(w, address + k));
        break;
    }
    if (races(w)) note_read(w, s, lane, Space::kShared, address_in(b, address), bytes, 0);
}

// The destination is poison from the time that the copy is issued.
void check_destination(Warp& w, const Step& s, int lane, Block& b, U32 address, U32 bytes) {
    uint8_t* p = shared_bytes(w, s, lane, b, address, bytes, "a bulk copy of");
    static const uint8_t poison[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                       0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    for (U32 k = 0; k < bytes; k += 16) {
        if (races(w)) note_write(w, s, lane, Space::kShared, address_in(b, address + k), 16, 0, p + k, poison);
    }
    std::memset(p, 0xff, bytes);
    std::memset(&b.known[address - kSharedBase], kInFlight, bytes);
}

void check_multiple(Warp& w, const Step& s, int lane, U64 value, U32 of, const char* what) {
    if (value % of) fault(w, s, lane, "misaligned", format("%s of a bulk copy that is not a multiple of %u", what, of));
}

Block& block_of(Warp& w, const Step& s, int lane, U32& address) {
    const U32 rank = address >> kRankShift;
    address &= kRankMask;
    if (rank > w.cluster->blocks.size())
        fault(w, s, lane, "bounds", format("a bulk copy to block %u, which is not there", rank - 1));
    return rank ? w.cluster->blocks[rank - 1] : *w.block;
}

struct Bulk : Detail {
    enum Way : uint8_t { kGlobalToShared, kSharedToGlobal, kSharedToShared } way = kGlobalToShared;
    bool multicast = false, im2col = false;
    uint32_t rank = 0, offsets = 0;
    int64_t shared = 0, barrier = 0;  // displacements
    bool shared_wide = false, barrier_wide = false;
};

U32 shared_operand(const Warp& w, uint32_t place, bool wide, int64_t displacement, int l) {
    const U32 base = place == kNone ? 0 : wide ? static_cast<U32>(w.lanes<U64>(place)[l]) : w.lanes<U32>(place)[l];
    return base + static_cast<U32>(displacement);
}

// The blocks that a copy goes to: those of the mask, at the same place in each; or the one that the address names.
std::vector<Block*> destinations(Warp& w, const Step& s, int lane, U32& shared, bool multicast, U32 mask) {
    Block& named = block_of(w, s, lane, shared);
    if (!multicast) return {&named};
    std::vector<Block*> list;
    for (U32 rank = 0; rank < 16; ++rank) {
        if (!(mask >> rank & 1)) continue;
        if (rank >= w.cluster->blocks.size())
            fault(w, s, lane, "bounds",
                  format("a copy to block %u of a cluster that has %zu", rank, w.cluster->blocks.size()));
        list.push_back(&w.cluster->blocks[rank]);
    }
    return list;
}

// ---- bytes in a row

struct LoadBytes final : Pending {
    Warp* w = nullptr;
    const Step* s = nullptr;
    std::vector<Block*> to;
    U32 shared = 0, barrier = 0, bytes = 0;
    U64 source = 0;
    Block* source_block = nullptr;  // of a copy from shared memory
    Clock clock;

    void happen() override {
        std::vector<uint8_t> data(bytes);
        for (U32 k = 0; k < bytes; k += 16) {
            if (source_block) {
                const auto at = static_cast<U32>(source) + k;
                std::memcpy(&data[k], shared_bytes(*w, *s, lane, *source_block, at, 16, "a bulk copy of"), 16);
                check_source(*w, *s, lane, *source_block, at, 16);
            } else {
                std::memcpy(&data[k], resolve_one(*w, *s, lane, Space::kGlobal, Use::kRead, 16, source + k), 16);
            }
        }
        for (Block* b : to) {
            std::memcpy(&b->shared[shared - kSharedBase], data.data(), bytes);
            std::memset(&b->known[shared - kSharedBase], kWritten, bytes);
            bring_bytes(*w, *s, lane, *b, barrier, bytes, clock);
        }
    }
};

struct StoreBytes final : Pending {
    Warp* w = nullptr;
    const Step* s = nullptr;
    U32 shared = 0, bytes = 0;
    U64 destination = 0;

    void happen() override {
        for (U32 k = 0; k < bytes; k += 16) {
            const uint8_t* from = shared_bytes(*w, *s, lane, *w->block, shared + k, 16, "a bulk copy of");
            check_source(*w, *s, lane, *w->block, shared + k, 16);
            uint8_t* to = resolve_one(*w, *s, lane, Space::kGlobal, Use::kWrite, 16, destination + k);
            if (races(*w)) note_write(*w, *s, lane, Space::kGlobal, destination + k, 16, 0, to, from);
            std::memcpy(to, from, 16);
        }
    }
};

Clock issued(Warp& w) {
    if (!races(w)) return {};
    const Clock clock = w.clock;
    ++w.clock.near[w.number];
    return clock;
}

// op: shared address, global address (or shared source), bytes, mbarrier or kNone, mask or kNone
void copy_bytes(Warp& w, const Step& s, Mask lanes) {
    const auto& d = detail<Bulk>(s);
    for_lanes(lanes, [&](int l) {
        U32 shared = shared_operand(w, s.op[0], d.shared_wide, d.shared, l);
        const U32 bytes = w.lanes<U32>(s.op[2])[l];
        U64 other = static_cast<U64>(s.displacement);
        if (s.op[1] != kNone) other += s.wide ? w.lanes<U64>(s.op[1])[l] : w.lanes<U32>(s.op[1])[l];
        check_multiple(w, s, l, shared & kRankMask, 16, "a shared address");
        check_multiple(w, s, l, other, 16, "a source or destination");
        check_multiple(w, s, l, bytes, 16, "a number of bytes");
        if (d.way == Bulk::kSharedToGlobal) {
            auto p = std::make_unique<StoreBytes>();
            p->w = &w;
            p->s = &s;
            p->lane = l;
            p->group = w.store_commits[l];
            p->shared = shared;
            p->bytes = bytes;
            p->destination = other;
            for (U32 k = 0; k < bytes; k += 16) {
                shared_bytes(w, s, l, *w.block, shared + k, 16, "a bulk copy of");
                check_source(w, s, l, *w.block, shared + k, 16);
            }
            w.stores.push_back(std::move(p));
            return;
        }
        auto p = std::make_unique<LoadBytes>();
        p->w = &w;
        p->s = &s;
        p->lane = l;
        p->to = destinations(w, s, l, shared, d.multicast, d.multicast ? w.lanes<U16>(s.op[4])[l] : 0);
        p->shared = shared;
        p->barrier = shared_operand(w, s.op[3], d.barrier_wide, d.barrier, l) & kRankMask;
        p->bytes = bytes;
        p->source = other;
        p->source_block = d.way == Bulk::kSharedToShared ? w.block : nullptr;
        for (Block* b : p->to) check_destination(w, s, l, *b, shared, bytes);
        p->clock = issued(w);
        w.cluster->loads.push_back(std::move(p));
        w.changed = true;
    });
}

// ---- tensors

struct TensorCopy {
    TensorMap map;
    int32_t at[5] = {};
    U16 offset[3] = {};
};

// Calls use(offset in the box, address or 0 outside the tensor) for each element of a tile (5.5.3) or of im2col
// (5.5.4).
template <class Use>
void for_elements(const TensorCopy& c, Use use) {
    const TensorMap& t = c.map;
    U32 offset = 0;
    const auto row_at = [&](const int64_t* index, bool& inside) {
        U64 row = t.base;
        inside = true;
        for (int d = 1; d < t.rank; ++d) {
            inside = inside && index[d] >= 0 && index[d] < t.size[d];
            row += static_cast<U64>(index[d]) * t.stride16[d - 1] * 16;
        }
        return row;
    };
    const auto emit = [&](U64 row, bool inside, int64_t x) {
        use(offset, inside && x >= 0 && x < t.size[0] ? row + static_cast<U64>(x) * t.element : 0);
        offset += t.element;
    };
    bool inside = true;
    if (!t.im2col) {
        U32 count[5] = {1, 1, 1, 1, 1};
        for (int d = 0; d < t.rank; ++d) count[d] = (t.box[d] + t.step[d] - 1u) / t.step[d];
        const U32 rows = count[1] * count[2] * count[3] * count[4];
        for (U32 r = 0; r < rows; ++r) {
            int64_t index[5] = {};
            U32 left = r;
            for (int d = 1; d < t.rank; ++d) {
                index[d] = c.at[d] + static_cast<int64_t>(left % count[d]) * t.step[d];
                left /= count[d];
            }
            const U64 row = row_at(index, inside);
            for (U32 k = 0; k < count[0]; ++k) emit(row, inside, c.at[0] + static_cast<int64_t>(k) * t.step[0]);
        }
        return;
    }
    // im2col walks the pixels of the bounding box, whose corners are those of the tensor moved by lower and upper.
    const int spatial = t.rank - 2;
    int64_t position[5];
    for (int d = 0; d < t.rank; ++d) position[d] = c.at[d];
    for (U32 pixel = 0; pixel < t.pixels; ++pixel) {
        int64_t index[5];
        for (int d = 0; d < t.rank; ++d) index[d] = position[d] + (d >= 1 && d <= spatial ? c.offset[d - 1] : 0);
        const U64 row = row_at(index, inside);
        for (U32 k = 0; k < t.channels; ++k) emit(row, inside, position[0] + k);
        int d = 1;
        for (; d <= spatial; ++d) {
            position[d] += t.step[d];
            if (position[d] < static_cast<int64_t>(t.size[d]) + t.upper[d - 1]) break;
            position[d] = t.lower[d - 1];
        }
        if (d > spatial) ++position[t.rank - 1];
    }
}

struct LoadTensor final : Pending {
    Warp* w = nullptr;
    const Step* s = nullptr;
    std::vector<Block*> to;
    U32 shared = 0, barrier = 0;
    TensorCopy copy;
    Clock clock;

    void happen() override {
        const TensorMap& t = copy.map;
        std::vector<uint8_t> box(t.bytes());
        for_elements(copy, [&](U32 offset, U64 address) {
            if (address)
                std::memcpy(&box[offset], resolve_one(*w, *s, lane, Space::kGlobal, Use::kRead, t.element, address),
                            t.element);
            else
                std::memset(&box[offset], t.nan_fill ? 0xff : 0, t.element);
        });
        for (Block* b : to) {
            for (U32 k = 0; k < box.size(); k += 16) {
                const U32 at = swizzled(shared + k, t.swizzle) - kSharedBase;
                std::memcpy(&b->shared[at], &box[k], 16);
                std::memset(&b->known[at], kWritten, 16);
            }
            bring_bytes(*w, *s, lane, *b, barrier, static_cast<U32>(box.size()), clock);
        }
    }
};

struct StoreTensor final : Pending {
    Warp* w = nullptr;
    const Step* s = nullptr;
    U32 shared = 0;
    TensorCopy copy;

    void happen() override {
        const TensorMap& t = copy.map;
        for_elements(copy, [&](U32 offset, U64 address) {
            if (!address) return;
            const U32 at = swizzled(shared + offset, t.swizzle);
            const uint8_t* from = shared_bytes(*w, *s, lane, *w->block, at, t.element, "a bulk copy of");
            check_source(*w, *s, lane, *w->block, at, t.element);
            uint8_t* to = resolve_one(*w, *s, lane, Space::kGlobal, Use::kWrite, t.element, address);
            if (races(*w)) note_write(*w, *s, lane, Space::kGlobal, address, t.element, 0, to, from);
            std::memcpy(to, from, t.element);
        });
    }
};

// op: shared address, map, mbarrier or kNone, mask or kNone, coordinates, offsets
TensorCopy tensor_copy(Warp& w, const Step& s, int l, U32 shared) {
    const auto& d = detail<Bulk>(s);
    TensorCopy c;
    U64 at = static_cast<U64>(s.displacement) + (s.op[1] == kNone ? 0 : w.lanes<U64>(s.op[1])[l]);
    check_multiple(w, s, l, at, 64, "the address of the tensor map");
    uint8_t bytes[128];
    for (U32 k = 0; k < 128; k += 16)
        std::memcpy(bytes + k, resolve_one(w, s, l, Space::kGeneric, Use::kRead, 16, at + k), 16);
    std::memcpy(&c.map, bytes, sizeof c.map);
    if (c.map.mark != kTensorMapMark) fault(w, s, l, "bounds", "these 128 bytes are no tensor map");
    if (c.map.rank != d.rank || bool(c.map.im2col) != d.im2col) {
        fault(w, s, l, "bounds",
              format("a copy of %u dimensions%s with a tensor map of %u%s", d.rank, d.im2col ? " by im2col" : "",
                     c.map.rank, c.map.im2col ? " by im2col" : ""));
    }
    for (U32 k = 0; k < d.rank; ++k) c.at[k] = w.lanes<S32>(s.op[4 + k])[l];
    for (U32 k = 0; k < d.offsets; ++k) c.offset[k] = w.lanes<U16>(s.op[4 + d.rank + k])[l];
    check_multiple(w, s, l, shared & kRankMask, c.map.swizzle ? 8 * (16u << c.map.swizzle) : 128, "the shared address");
    return c;
}

void load_tensor(Warp& w, const Step& s, Mask lanes) {
    const auto& d = detail<Bulk>(s);
    for_lanes(lanes, [&](int l) {
        U32 shared = shared_operand(w, s.op[0], d.shared_wide, d.shared, l);
        auto p = std::make_unique<LoadTensor>();
        p->w = &w;
        p->s = &s;
        p->lane = l;
        p->copy = tensor_copy(w, s, l, shared);
        p->to = destinations(w, s, l, shared, d.multicast, d.multicast ? w.lanes<U16>(s.op[3])[l] : 0);
        p->shared = shared;
        p->barrier = shared_operand(w, s.op[2], d.barrier_wide, d.barrier, l) & kRankMask;
        for (Block* b : p->to) check_destination(w, s, l, *b, shared, p->copy.map.bytes());
        p->clock = issued(w);
        w.cluster->loads.push_back(std::move(p));
        w.changed = true;
    });
}

void store_tensor(Warp& w, const Step& s, Mask lanes) {
    const auto& d = detail<Bulk>(s);
    for_lanes(lanes, [&](int l) {
        auto p = std::make_unique<StoreTensor>();
        p->w = &w;
        p->s = &s;
        p->lane = l;
        p->group = w.store_commits[l];
        p->shared = shared_operand(w, s.op[0], d.shared_wide, d.shared, l);
        p->copy = tensor_copy(w, s, l, p->shared);
        for (U32 k = 0; k < p->copy.map.bytes(); k += 16) {  // as it stands when the copy is issued, too
            const U32 at = swizzled(p->shared + k, p->copy.map.swizzle);
            shared_bytes(w, s, l, *w.block, at, 16, "a bulk copy of");
            check_source(w, s, l, *w.block, at, 16);
        }
        w.stores.push_back(std::move(p));
    });
}

// ---- groups of stores

void commit_stores(Warp& w, const Step&, Mask lanes) {
    for_lanes(lanes, [&](int l) { ++w.store_commits[l]; });
}

// `count`: the newest groups that may stay under way
void wait_stores(Warp& w, const Step& s, Mask lanes) {
    std::vector<std::unique_ptr<Pending>> left;
    for (auto& p : w.stores) {
        const U32 commits = w.store_commits[p->lane];
        if (lanes >> p->lane & 1 && p->group < commits && commits - p->group > s.count)
            p->happen();
        else
            left.push_back(std::move(p));
    }
    w.stores = std::move(left);
}

// ---- operands

struct SharedOperand {
    uint32_t base;
    bool wide;
    int64_t displacement;
};
SharedOperand shared_of(Builder& b, size_t k) {
    const Builder::Address a = b.address(b.operand(k));
    return {a.base, a.wide, a.displacement};
}

void ignore_hints(Builder& b) {
    b.ignore({"L2::cache_hint", "cta_group::1", "bulk_group", "mbarrier::complete_tx::bytes", "tile"});
}

// cp.async.bulk.DST.SRC [dst], [src], bytes{, [mbarrier]}{, mask}
void build_bulk(Builder& b) {
    Bulk d;
    ignore_hints(b);
    d.multicast = b.has("multicast::cluster");
    const bool to_global = b.source.words[3] == "global";
    const bool from_shared = b.source.words[4] == "shared::cta";
    b.ignore({"global", "shared::cta", "shared::cluster"});
    b.no_more_modifiers();
    d.way = to_global ? Bulk::kSharedToGlobal : from_shared ? Bulk::kSharedToShared : Bulk::kGlobalToShared;
    const SharedOperand shared = shared_of(b, to_global ? 1 : 0);
    const Builder::Address other = b.address(b.operand(to_global ? 0 : 1));
    d.shared = shared.displacement;
    d.shared_wide = shared.wide;
    uint32_t barrier = kNone, mask = kNone;
    if (!to_global) {
        const SharedOperand at = shared_of(b, 3);
        barrier = at.base;
        d.barrier = at.displacement;
        d.barrier_wide = at.wide;
        if (d.multicast) mask = b.place(4, 2);
    }
    Step& s = b.emit(&copy_bytes, {shared.base, other.base, b.place(2, 4), barrier, mask}, Flow::kMayStop);
    s.displacement = other.displacement;
    s.wide = other.wide;
    s.space = Space::kGlobal;
    b.attach<Bulk>(s) = d;
    b.kernel().async_proxy = true;
}

// cp.async.bulk.tensor.DIM.DST.SRC: loads [dst], [map, {coordinates}], [mbarrier]{, {offsets}}{, mask}; stores [map,
// {...}], [src]
void build_tensor(Builder& b) {
    Bulk d;
    ignore_hints(b);
    d.rank = static_cast<uint32_t>(b.one_of({"1d", "2d", "3d", "4d", "5d"})) + 1;
    d.multicast = b.has("multicast::cluster");
    d.im2col = b.has("im2col") || b.has("im2col_no_offs");
    const bool load = b.source.words[5] != "global";
    b.ignore({"global", "shared::cta", "shared::cluster"});
    b.no_more_modifiers();
    const Operand& map = b.operand(load ? 1 : 0);
    const SharedOperand shared = shared_of(b, load ? 0 : 1);
    d.shared = shared.displacement;
    d.shared_wide = shared.wide;
    const Builder::Address at = b.address(map);
    if (map.parts.size() != 2 || map.parts[1].parts.size() != d.rank)
        throw Error(format("expected %u coordinates", d.rank));
    uint32_t barrier = kNone, mask = kNone;
    std::vector<uint32_t> offsets;
    if (load) {
        const SharedOperand to = shared_of(b, 2);
        barrier = to.base;
        d.barrier = to.displacement;
        d.barrier_wide = to.wide;
        size_t next = 3;
        if (d.im2col) offsets = b.places(b.operand(next++), 2);
        if (d.multicast) mask = b.place(next, 2);
    }
    d.offsets = static_cast<uint32_t>(offsets.size());
    std::vector<uint32_t> places{shared.base, at.base, barrier, mask};
    for (const Operand& o : map.parts[1].parts) places.push_back(b.place(o, 4));
    places.insert(places.end(), offsets.begin(), offsets.end());
    Step& s = b.emit(load ? &load_tensor : &store_tensor, places, Flow::kMayStop);
    s.displacement =
        at.displacement + (at.named && at.space == Space::kParam ? static_cast<int64_t>(window_of(Space::kParam)) : 0);
    s.space = Space::kGlobal;
    b.attach<Bulk>(s) = d;
    b.kernel().async_proxy = true;
}

}  // namespace

void finish_stores(Warp& w) {
    for (auto& p : w.stores) {
        p->happen();
        const auto* store = dynamic_cast<const StoreTensor*>(p.get());
        const Step& s = store ? *store->s : *static_cast<const StoreBytes*>(p.get())->s;
        found(w, s, p->lane, "in flight", "a thread ends before its bulk copy to global memory has read its source",
              "");
    }
    w.stores.clear();
}

void add_bulk_copy(Table& t) {
    t.section("9.7.9 cp.async.bulk");
    t.family("cp.async.bulk", build_bulk);
    t.section("9.7.9 cp.async.bulk.prefetch");
    t.family("cp.async.bulk.prefetch", [](Builder& b) { b.emit([](Warp&, const Step&, Mask) {}, {}); });
    t.section("9.7.9 cp.async.bulk.tensor");
    t.family("cp.async.bulk.tensor", build_tensor);
    t.section("9.7.9 cp.async.bulk.commit_group");
    t.family("cp.async.bulk.commit_group", [](Builder& b) { b.emit(&commit_stores, {}); });
    t.section("9.7.9 cp.async.bulk.wait_group");
    t.family("cp.async.bulk.wait_group", [](Builder& b) {
        b.ignore({"read"});
        const auto kept = static_cast<uint8_t>(b.integer(0));
        b.emit(&wait_stores, {}).count = kept;
    });
    t.section("9.7.13 prefetch.tensormap");
    t.family("prefetch.tensormap", [](Builder& b) { b.emit([](Warp&, const Step&, Mask) {}, {}); });
}

}  // namespace convgpu::ptx
