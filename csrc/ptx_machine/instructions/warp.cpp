// What the lanes of a warp do together: shfl.sync (9.7.9), bar.warp.sync, vote.sync, match.sync, activemask, redux.sync
// and elect.sync (9.7.13).
#include "lanes.h"

namespace convgpu::ptx {
namespace {

// A lane that is named must come, unless it has ended or the warp never had it.
void check_members(Warp& w, const Step& s, Mask lanes, uint32_t place) {
    for_lanes(lanes, [&](int l) {
        const Mask members = w.lanes<U32>(place)[l];
        if ((members & w.living()) == lanes) return;
        fault(w, s, l, "divergence",
              format("the threads 0x%08x of a warp come together where the mask names 0x%08x, of which 0x%08x are "
                     "still running",
                     lanes, members, members & w.living()));
    });
}

struct Shuffle : Detail {
    enum Mode : uint8_t { kUp, kDown, kButterfly, kIndex } mode = kIndex;
};

// op: d, p or kNone, a, b, c, members
void shuffle(Warp& w, const Step& s, Mask lanes) {
    check_members(w, s, lanes, s.op[5]);
    const auto mode = detail<Shuffle>(s).mode;
    const U32 *a = w.lanes<U32>(s.op[2]), *b = w.lanes<U32>(s.op[3]), *c = w.lanes<U32>(s.op[4]);
    U32 result[32];
    Mask in_range = 0;
    for_lanes(lanes, [&](int l) {
        const int by = static_cast<int>(b[l] & 31), clamp = static_cast<int>(c[l] & 31),
                  segment = static_cast<int>(c[l] >> 8 & 31);
        const int first = l & segment, last = first | (clamp & ~segment);
        const int from = mode == Shuffle::kUp          ? l - by
                         : mode == Shuffle::kDown      ? l + by
                         : mode == Shuffle::kButterfly ? l ^ by
                                                       : first | (by & ~segment);
        const bool inside = mode == Shuffle::kUp ? from >= last : from <= last;
        const int lane = inside ? from : l;
        if (!(lanes >> lane & 1))
            fault(w, s, l, "divergence", format("a shuffle reads lane %d, which does not take part", lane));
        result[l] = a[lane];
        in_range |= Mask(inside) << l;
    });
    for_lanes(lanes, [&](int l) { w.lanes<U32>(s.op[0])[l] = result[l]; });
    w.set_predicate(s.op[1], lanes, in_range);
}
void build_shuffle(Builder& b) {
    const int mode = b.one_of({"up", "down", "bfly", "idx"});
    b.one_of({"b32"});
    b.no_more_modifiers();
    b.expect_operands(5, 5);
    const auto [d, p] = b.pair(0, 4, kPredicate);
    Step& s = b.emit(&shuffle, {d, p, b.place(1, 4), b.place(2, 4), b.place(3, 4), b.place(4, 4)});
    b.attach<Shuffle>(s).mode = static_cast<Shuffle::Mode>(mode);
}

// op: members
void warp_sync(Warp& w, const Step& s, Mask lanes) {
    check_members(w, s, lanes, s.op[0]);
    sync_lanes(w);
}

// op: d, p, members; `count`: 0 all, 1 any, 2 uni, 3 ballot
void vote(Warp& w, const Step& s, Mask lanes) {
    check_members(w, s, lanes, s.op[2]);
    const Mask p = w.predicate(s.op[1]) & lanes;
    if (s.count == 3) {
        for_lanes(lanes, [&](int l) { w.lanes<U32>(s.op[0])[l] = p; });
        return;
    }
    const bool yes = s.count == 0 ? p == lanes : s.count == 1 ? p != 0 : p == 0 || p == lanes;
    w.set_predicate(s.op[0], lanes, yes ? kFull : 0);
}
void build_vote(Builder& b) {
    const int mode = b.one_of({"all", "any", "uni", "ballot"});
    b.ignore({"pred", "b32"});
    b.no_more_modifiers();
    b.expect_operands(3, 3);
    b.emit(&vote, {b.place(0, mode == 3 ? 4 : kPredicate), b.place(1, kPredicate), b.place(2, 4)}).count =
        static_cast<uint8_t>(mode);
}

// op: d, p or kNone, a, members; `count` bytes of a, and the mode as displacement: 0 any, 1 all
void match(Warp& w, const Step& s, Mask lanes) {
    check_members(w, s, lanes, s.op[3]);
    Mask found[32] = {};
    for_lanes(lanes, [&](int l) {
        for_lanes(lanes, [&](int k) {
            found[l] |= Mask(read_lane(w, s.op[2], s.count, k) == read_lane(w, s.op[2], s.count, l)) << k;
        });
    });
    const bool all = s.displacement == 1, same = found[__builtin_ctz(lanes)] == lanes;
    for_lanes(lanes, [&](int l) { w.lanes<U32>(s.op[0])[l] = !all ? found[l] : same ? lanes : 0; });
    if (all) w.set_predicate(s.op[1], lanes, same ? kFull : 0);
}
void build_match(Builder& b) {
    const int mode = b.one_of({"any", "all"});
    b.one_of({"sync"});
    const uint32_t bytes = bytes_of_type(b.type());
    b.no_more_modifiers();
    b.expect_operands(3, 3);
    const auto [d, p] = b.pair(0, 4, kPredicate);
    Step& s = b.emit(&match, {d, p, b.place(1, bytes), b.place(2, 4)});
    s.count = static_cast<uint8_t>(bytes);
    s.displacement = mode;
}

// op: d, a, members
template <class F, class T>
void reduce(Warp& w, const Step& s, Mask lanes) {
    check_members(w, s, lanes, s.op[2]);
    const T* a = w.lanes<T>(s.op[1]);
    T r = a[__builtin_ctz(lanes)];
    for_lanes(lanes & (lanes - 1), [&](int l) { r = F{}(r, a[l]); });
    for_lanes(lanes, [&](int l) { w.lanes<T>(s.op[0])[l] = r; });
}
using Least = decltype([](auto a, auto b) { return b < a ? b : a; });
using Most = decltype([](auto a, auto b) { return b > a ? b : a; });

void add_redux(Table& t) {
    const auto one = [&](const char* name, Handler run) { t.add(std::string("redux.sync.") + name, run, {4, 4, 4}); };
    using Add = decltype([](U32 a, U32 b) { return a + b; });
    one("add.u32", &reduce<Add, U32>);
    one("add.s32", &reduce<Add, U32>);
    one("min.u32", &reduce<Least, U32>);
    one("min.s32", &reduce<Least, S32>);
    one("max.u32", &reduce<Most, U32>);
    one("max.s32", &reduce<Most, S32>);
    one("and.b32", &reduce<decltype([](U32 a, U32 b) { return a & b; }), U32>);
    one("or.b32", &reduce<decltype([](U32 a, U32 b) { return a | b; }), U32>);
    one("xor.b32", &reduce<decltype([](U32 a, U32 b) { return a ^ b; }), U32>);
}

// elect.sync d|p, members: p is true in one lane, the lowest, whose number is d.
void elect(Warp& w, const Step& s, Mask lanes) {
    check_members(w, s, lanes, s.op[2]);
    const int leader = __builtin_ctz(lanes);
    if (s.op[0] != kNone) for_lanes(lanes, [&](int l) { w.lanes<U32>(s.op[0])[l] = static_cast<U32>(leader); });
    w.set_predicate(s.op[1], lanes, 1u << leader);
}

}  // namespace

void add_warp(Table& t) {
    t.section("9.7.9 shfl.sync");
    t.family("shfl.sync", build_shuffle);
    t.section("9.7.13 bar.warp.sync");
    t.add("bar.warp.sync", &warp_sync, {4});
    t.section("9.7.13 vote.sync");
    t.family("vote.sync", build_vote);
    t.section("9.7.13 match.sync");
    t.family("match", build_match);
    t.section("9.7.13 activemask");
    t.add(
        "activemask.b32",
        [](Warp& w, const Step& s, Mask lanes) { for_lanes(lanes, [&](int l) { w.lanes<U32>(s.op[0])[l] = lanes; }); },
        {4});
    t.section("9.7.13 redux.sync");
    add_redux(t);
    t.section("9.7.13 elect.sync");
    t.family("elect.sync", [](Builder& b) {
        b.expect_operands(2, 2);
        const auto [d, p] = b.pair(0, 4, kPredicate);
        b.emit(&elect, {d, p, b.place(1, 4)});
    });
}

}  // namespace convgpu::ptx
