// 9.7.13 Parallel Synchronization and Communication Instructions: mbarrier.
//
// The count of an mbarrier is kept beside shared memory, by its address; its 8 bytes there are written when it is
// initialised, so that a use that nothing orders with that is found as a race.
#include "lanes.h"

namespace convgpu::ptx {
namespace {

Block& block_of(Warp& w, const Step& s, int lane, U32& address) {
    const U32 rank = address >> kRankShift;
    address &= kRankMask;
    if (!rank) return *w.block;
    if (rank > w.cluster->blocks.size())
        fault(w, s, lane, "bounds", format("an mbarrier of block %u, which is not there", rank - 1));
    return w.cluster->blocks[rank - 1];
}

MBarrier& mbarrier(Warp& w, const Step& s, int lane, Block& b, U32 address) {
    const auto found_at = b.mbarriers.find(address);
    if (found_at == b.mbarriers.end())
        fault(w, s, lane, "barrier", "no mbarrier has been initialised here", describe_shared(w, address));
    return found_at->second;
}

U32 address_of(const Warp& w, const Step& s, int l) {
    const U32 base = s.op[0] == kNone ? 0
                     : s.wide         ? static_cast<U32>(w.lanes<U64>(s.op[0])[l])
                                      : w.lanes<U32>(s.op[0])[l];
    return base + static_cast<U32>(s.displacement);
}

void use(Warp& w, const Step& s, int l, U32 address) {
    if (w.worker->grid->settings.races) note_read(w, s, l, Space::kShared, address, 8, Access::kStrong);
}

void check_phase(MBarrier& m) {
    if (m.pending || m.bytes) return;
    ++m.phase;
    m.pending = m.expected;
}

// op: address, count
void initialise(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        const U32 at = address_of(w, s, l), count = w.lanes<U32>(s.op[1])[l];
        if (at >> kRankShift) fault(w, s, l, "barrier", "mbarrier.init in another block");
        if (!count || count >= 1u << 20)
            fault(w, s, l, "barrier", format("expected a count from 1 to 2^20 - 1, got %u", count));
        uint8_t* p = resolve_one(w, s, l, Space::kShared, Use::kWrite, 8, at);
        const uint8_t mark[8] = {0x6d, 0x62, 0x61, 0x72, static_cast<uint8_t>(count), static_cast<uint8_t>(l), 0, 0};
        if (w.worker->grid->settings.races) note_write(w, s, l, Space::kShared, at, 8, 0, p, mark);
        std::memcpy(p, mark, 8);
        MBarrier m;
        m.expected = m.pending = count;
        w.block->mbarriers[at] = m;
        w.changed = true;
    });
}

// op: address
void invalidate(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        U32 at = address_of(w, s, l);
        Block& b = block_of(w, s, l, at);
        mbarrier(w, s, l, b, at);
        b.mbarriers.erase(at);
    });
}

struct Arrival : Detail {
    bool arrives = true, expects = false, drops = false;
};

// op: address, count or bytes or kNone, state or kNone
void arrive_at(Warp& w, const Step& s, Mask lanes) {
    const auto& a = detail<Arrival>(s);
    for_lanes(lanes, [&](int l) {
        U32 at = address_of(w, s, l);
        use(w, s, l, at);
        Block& b = block_of(w, s, l, at);
        MBarrier& m = mbarrier(w, s, l, b, at);
        const U32 operand = s.op[1] == kNone ? 1 : w.lanes<U32>(s.op[1])[l];
        if (a.expects) m.bytes += operand;
        if (s.op[2] != kNone) w.lanes<U64>(s.op[2])[l] = m.phase;
        if (!a.arrives) return;
        const U32 count = a.expects ? 1 : operand;
        if (count > m.pending) {
            fault(w, s, l, "barrier", format("%u arrivals at an mbarrier that expects %u more", count, m.pending),
                  describe_shared(w, at));
        }
        if (w.worker->grid->settings.races) {
            m.clock.join(w.clock);
            m.fenced.join(w.fenced);
            ++w.clock.near[w.number];
        }
        m.pending -= count;
        if (a.drops) m.expected -= count;
        check_phase(m);
        w.changed = true;
    });
}

struct Test : Detail {
    bool parity = false;
};

// op: address, parity or state, p
void test(Warp& w, const Step& s, Mask lanes) {
    Mask done = 0;
    for_lanes(lanes, [&](int l) {
        U32 at = address_of(w, s, l);
        use(w, s, l, at);
        Block& b = block_of(w, s, l, at);
        const MBarrier& m = mbarrier(w, s, l, b, at);
        const bool complete = detail<Test>(s).parity ? (m.phase & 1) != (w.lanes<U32>(s.op[1])[l] & 1)
                                                     : m.phase != static_cast<U32>(w.lanes<U64>(s.op[1])[l]);
        if (!complete) return;
        done |= 1u << l;
        if (!w.worker->grid->settings.races) return;
        w.clock.join(m.clock);
        w.fenced.join(m.fenced);
        // What other lanes of this warp did before they arrived is ordered too.
        sync_lanes(w);
    });
    if (done != lanes) w.stopped = w.spinning = true;
    w.set_predicate(s.op[2], lanes, done);
}

void set_address(Step& s, const Builder::Address& a) {
    s.displacement = a.displacement;
    s.wide = a.wide;
    s.space = Space::kShared;
}

void ignore_scopes(Builder& b) {
    b.ignore({"release", "acquire", "relaxed", "cta", "cluster", "shared", "shared::cta", "shared::cluster", "b64"});
}

void build_init(Builder& b) {
    ignore_scopes(b);
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    const Builder::Address a = b.address(b.operand(0));
    set_address(b.emit(&initialise, {a.base, b.place(1, 4)}), a);
}

void build_inval(Builder& b) {
    ignore_scopes(b);
    b.no_more_modifiers();
    const Builder::Address a = b.address(b.operand(0));
    set_address(b.emit(&invalidate, {a.base}), a);
}

// mbarrier.arrive{.expect_tx} state, [address]{, count}; the state may be left out or be _. mbarrier.expect_tx
// [address], bytes
void build_arrive(Builder& b) {
    Arrival v;
    const std::string& name = b.source.words[1];
    v.arrives = name != "expect_tx";
    v.drops = name == "arrive_drop";
    v.expects = !v.arrives || b.has("expect_tx");
    b.ignore({"noComplete"});
    ignore_scopes(b);
    b.no_more_modifiers();
    const size_t first = b.operand(0).kind == Operand::kMemory ? 0 : 1;
    const uint32_t state = first ? b.place(0, 8) : kNone;
    const Builder::Address a = b.address(b.operand(first));
    Step& s =
        b.emit(&arrive_at, {a.base, b.operands() > first + 1 ? b.place(first + 1, 4) : kNone, state}, Flow::kMayStop);
    set_address(s, a);
    b.attach<Arrival>(s) = v;
}

// mbarrier.try_wait{.parity} p, [address], parity or state{, time}
void build_wait(Builder& b) {
    Test v;
    v.parity = b.has("parity");
    ignore_scopes(b);
    b.no_more_modifiers();
    b.expect_operands(3, 4);
    const Builder::Address a = b.address(b.operand(1));
    Step& s = b.emit(&test, {a.base, b.place(2, v.parity ? 4 : 8), b.place(0, kPredicate)}, Flow::kMayStop);
    set_address(s, a);
    b.attach<Test>(s) = v;
}

}  // namespace

void bring_bytes(Warp& w, const Step& s, int lane, Block& b, uint32_t address, uint32_t bytes, const Clock& clock) {
    MBarrier& m = mbarrier(w, s, lane, b, address);
    m.bytes -= bytes;
    if (w.worker->grid->settings.races) m.clock.join(clock);
    check_phase(m);
}

void add_mbarrier(Table& t) {
    t.section("9.7.13 mbarrier.init");
    t.family("mbarrier.init", build_init);
    t.section("9.7.13 mbarrier.inval");
    t.family("mbarrier.inval", build_inval);
    t.section("9.7.13 mbarrier.expect_tx");
    t.family("mbarrier.expect_tx", build_arrive);
    t.section("9.7.13 mbarrier.arrive");
    t.family("mbarrier.arrive", build_arrive);
    t.section("9.7.13 mbarrier.arrive_drop");
    t.family("mbarrier.arrive_drop", build_arrive);
    t.section("9.7.13 mbarrier.test_wait, mbarrier.try_wait");
    t.family("mbarrier.test_wait", build_wait);
    t.family("mbarrier.try_wait", build_wait);
}

}  // namespace convgpu::ptx
