// 9.7.13 Parallel Synchronization and Communication Instructions: barriers of blocks and clusters, and fences.
#include "lanes.h"

namespace convgpu::ptx {
namespace {

// The lanes that arrive. In the aligned forms all of a warp's lanes do, and name the same barrier.
void check_same(Warp& w, const Step& s, Mask lanes, uint32_t place, const char* what) {
    const U32* values = w.lanes<U32>(place);
    const U32 first = values[__builtin_ctz(lanes)];
    for_lanes(lanes, [&](int l) {
        if (values[l] != first)
            fault(w, s, l, "divergence",
                  format("lanes of a warp name different %s: %u and %u", what, first, values[l]));
    });
}

void meet(Warp& w, const Step& s, Mask lanes, bool wait) {
    const int l = __builtin_ctz(lanes);
    if (lanes != w.active) fault(w, s, -1, "divergence", "a guarded barrier that some threads of a warp pass by");
    check_same(w, s, lanes, s.op[0], "barriers");
    if (s.op[1] != kNone) check_same(w, s, lanes, s.op[1], "numbers of threads");
    arrive(w, s, w.lanes<U32>(s.op[0])[l], s.op[1] == kNone ? 0 : w.lanes<U32>(s.op[1])[l], wait);
}

// op: barrier, threads or kNone
void barrier_sync(Warp& w, const Step& s, Mask lanes) { meet(w, s, lanes, true); }
void barrier_arrive(Warp& w, const Step& s, Mask lanes) { meet(w, s, lanes, false); }

// op: barrier, threads or kNone, p. The second step of barrier.red, below, reads the result.
void barrier_vote(Warp& w, const Step& s, Mask lanes) {
    const U32 id = w.lanes<U32>(s.op[0])[__builtin_ctz(lanes)];
    if (id > 15) fault(w, s, -1, "barrier", format("expected a barrier from 0 to 15, got %u", id));
    Barrier& x = w.block->barriers[id];
    const Mask p = w.predicate(s.op[2]) & lanes;
    x.any |= p;
    if (p != lanes) x.all = 0;
    x.count += static_cast<uint32_t>(__builtin_popcount(p));
    meet(w, s, lanes, true);
}
// op: barrier, d; `count`: 0 popc, 1 and, 2 or
void barrier_result(Warp& w, const Step& s, Mask lanes) {
    const Barrier& x = w.block->barriers[w.lanes<U32>(s.op[0])[__builtin_ctz(lanes)]];
    if (s.count == 0)
        for_lanes(lanes, [&](int l) { w.lanes<U32>(s.op[1])[l] = x.result_count; });
    else
        w.set_predicate(s.op[1], lanes, (s.count == 1 ? x.result_all : x.result_any) ? kFull : 0);
}

void build_barrier(Builder& b) {
    b.ignore({"cta", "aligned"});
    const int which = b.one_of({"sync", "arrive", "red"});
    if (which < 2) {
        b.no_more_modifiers();
        b.expect_operands(which == 0 ? 1 : 2, 2);
        b.emit(which == 0 ? &barrier_sync : &barrier_arrive, {b.place(0, 4), b.operands() > 1 ? b.place(1, 4) : kNone},
               Flow::kTogether);
        return;
    }
    const int what = b.one_of({"popc", "and", "or"});
    b.ignore({"u32", "pred"});
    b.no_more_modifiers();
    b.expect_operands(3, 4);
    const bool threads = b.operands() == 4;
    const uint32_t d = b.place(0, what == 0 ? 4 : kPredicate), id = b.place(1, 4);
    b.emit(&barrier_vote, {id, threads ? b.place(2, 4) : kNone, b.place(threads ? 3 : 2, kPredicate)}, Flow::kTogether);
    b.emit(&barrier_result, {id, d}).count = static_cast<uint8_t>(what);
}

void build_cluster_barrier(Builder& b) {
    const int which = b.one_of({"arrive", "wait"});
    b.ignore({"release", "relaxed", "acquire", "aligned"});
    b.no_more_modifiers();
    if (which == 0)
        b.emit([](Warp& w, const Step& s, Mask) { cluster_arrive(w, s); }, {}, Flow::kTogether);
    else
        b.emit([](Warp& w, const Step& s, Mask) { cluster_wait(w, s); }, {}, Flow::kTogether);
}

void build_fence(Builder& b) {
    b.ignore({"sc",
              "acq_rel",
              "acquire",
              "release",
              "cta",
              "cluster",
              "gpu",
              "gl",
              "sys",
              "sync_restrict::shared::cta",
              "sync_restrict::shared::cluster",
              "mbarrier_init",
              "proxy",
              "alias",
              "async",
              "async::generic",
              "tensormap::generic",
              "global",
              "shared::cta",
              "shared::cluster"});
    b.no_more_modifiers();
    if (b.source.opcode.find("proxy.async") != std::string::npos) {
        b.emit([](Warp& w, const Step&, Mask lanes) { fence_proxy(w, lanes); }, {});
        return;
    }
    b.emit([](Warp& w, const Step&, Mask) { fence(w); }, {});
}

}  // namespace

void add_synchronization(Table& t) {
    t.section("9.7.13 bar, barrier");
    t.family("bar", build_barrier);
    t.family("barrier", build_barrier);
    t.section("9.7.13 barrier.cluster");
    t.family("barrier.cluster", build_cluster_barrier);
    t.section("9.7.13 membar, fence");
    t.family("membar", build_fence);
    t.family("fence", build_fence);
}

}  // namespace convgpu::ptx
