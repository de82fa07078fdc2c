// 9.7.13 Parallel Synchronization and Communication Instructions: atom and red.
//
// Lanes act one after the other, the lowest first, so that a sum of floats has the same bits every time.
#include <algorithm>

#include "lanes.h"
#include "numbers.h"

namespace convgpu::ptx {
namespace {

struct Atomic : Detail {
    bool releases = false;  // .release, .acq_rel
};

// F gives the new value of the old one and the operands. op: d or kNone, address, b, c or kNone.
template <class F, class T>
void atomic(Warp& w, const Step& s, Mask lanes) {
    U64 at[32];
    addresses(w, s, s.op[1], at);
    const bool races = races_matter(w, s);
    for_lanes(lanes, [&](int l) {
        uint8_t* p = resolve_one(w, s, l, s.space, Use::kRead, sizeof(T), at[l]);
        resolve_one(w, s, l, s.space, Use::kWrite, sizeof(T), at[l]);
        T old;
        std::memcpy(&old, p, sizeof(T));
        const T b = w.lanes<T>(s.op[2])[l], c = s.op[3] == kNone ? b : w.lanes<T>(s.op[3])[l];
        const T now = F{}(old, b, c);
        if (races) {
            release(w, reinterpret_cast<U64>(p), detail<Atomic>(s).releases);
            acquire(w, reinterpret_cast<U64>(p));
            constexpr uint8_t kFlags = Access::kStrong | Access::kUpdate;
            note_read(w, s, l, s.space, at[l], sizeof(T), kFlags);
            note_write(w, s, l, s.space, at[l], sizeof(T), kFlags, reinterpret_cast<const uint8_t*>(&old),
                       reinterpret_cast<const uint8_t*>(&now));
        }
        w.changed = w.changed || std::memcmp(&now, &old, sizeof(T));
        std::memcpy(p, &now, sizeof(T));
        if (s.op[0] != kNone) w.lanes<T>(s.op[0])[l] = old;
    });
    w.spinning = true;  // it may be a lock that another warp holds
}

template <class T>
T sum(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        return canonical(a + b);
    else
        return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
}
using Add = decltype([](auto old, auto b, auto) { return sum(old, b); });
using Exchange = decltype([](auto, auto b, auto) { return b; });
using CompareAndSwap = decltype([](auto old, auto b, auto c) { return old == b ? c : old; });
using Least = decltype([](auto old, auto b, auto) { return b < old ? b : old; });
using Most = decltype([](auto old, auto b, auto) { return b > old ? b : old; });
using And = decltype([](auto old, auto b, auto) { return static_cast<decltype(old)>(old & b); });
using Or = decltype([](auto old, auto b, auto) { return static_cast<decltype(old)>(old | b); });
using Xor = decltype([](auto old, auto b, auto) { return static_cast<decltype(old)>(old ^ b); });
using Increment =
    decltype([](auto old, auto b, auto) { return old >= b ? decltype(old)(0) : static_cast<decltype(old)>(old + 1); });
using Decrement =
    decltype([](auto old, auto b, auto) { return old == 0 || old > b ? b : static_cast<decltype(old)>(old - 1); });

template <class T>
struct AddHalf {
    T operator()(T old, T b, T) const {
        const double r = sum_to_odd(to_float(old), to_float(b));
        if constexpr (std::is_same_v<T, Half>)
            return half_of(r);
        else
            return bfloat_of(r);
    }
};
template <class T>
struct AddTwo {
    U32 operator()(U32 old, U32 b, U32) const {
        const auto part = [](U32 x, int k) { return T{static_cast<U16>(x >> 16 * k)}; };
        return U32(AddHalf<T>{}(part(old, 0), part(b, 0), T{}).bits) |
               U32(AddHalf<T>{}(part(old, 1), part(b, 1), T{}).bits) << 16;
    }
};

const std::unordered_map<std::string, Handler>& handlers() {
    static const std::unordered_map<std::string, Handler> all{{"add.u32", &atomic<Add, U32>},
                                                              {"add.s32", &atomic<Add, S32>},
                                                              {"add.u64", &atomic<Add, U64>},
                                                              {"add.s64", &atomic<Add, S64>},
                                                              {"add.f32", &atomic<Add, float>},
                                                              {"add.f64", &atomic<Add, double>},
                                                              {"add.f16", &atomic<AddHalf<Half>, Half>},
                                                              {"add.bf16", &atomic<AddHalf<BFloat>, BFloat>},
                                                              {"add.f16x2", &atomic<AddTwo<Half>, U32>},
                                                              {"add.bf16x2", &atomic<AddTwo<BFloat>, U32>},
                                                              {"exch.b32", &atomic<Exchange, U32>},
                                                              {"exch.b64", &atomic<Exchange, U64>},
                                                              {"cas.b16", &atomic<CompareAndSwap, U16>},
                                                              {"cas.b32", &atomic<CompareAndSwap, U32>},
                                                              {"cas.b64", &atomic<CompareAndSwap, U64>},
                                                              {"min.u32", &atomic<Least, U32>},
                                                              {"min.s32", &atomic<Least, S32>},
                                                              {"min.u64", &atomic<Least, U64>},
                                                              {"min.s64", &atomic<Least, S64>},
                                                              {"max.u32", &atomic<Most, U32>},
                                                              {"max.s32", &atomic<Most, S32>},
                                                              {"max.u64", &atomic<Most, U64>},
                                                              {"max.s64", &atomic<Most, S64>},
                                                              {"and.b32", &atomic<And, U32>},
                                                              {"and.b64", &atomic<And, U64>},
                                                              {"or.b32", &atomic<Or, U32>},
                                                              {"or.b64", &atomic<Or, U64>},
                                                              {"xor.b32", &atomic<Xor, U32>},
                                                              {"xor.b64", &atomic<Xor, U64>},
                                                              {"inc.u32", &atomic<Increment, U32>},
                                                              {"dec.u32", &atomic<Decrement, U32>}};
    return all;
}

void build_atomic(Builder& b, bool returns_old) {
    const std::string type = b.type();
    static constexpr const char* kNames[] = {"add", "exch", "cas", "min", "max", "and", "or", "xor", "inc", "dec"};
    const std::string name = kNames[b.one_of({"add", "exch", "cas", "min", "max", "and", "or", "xor", "inc", "dec"})];
    Atomic a;
    a.releases = b.has("release") || b.has("acq_rel");
    b.ignore({"relaxed", "acquire", "cta", "cluster", "gpu", "sys", "noftz", "L2::cache_hint"});
    const Space wanted = space_of_modifier(b);
    b.no_more_modifiers();
    const auto found = handlers().find(name + "." + type);
    if (found == handlers().end()) throw Error("the machine does not have ." + name + " of ." + type);
    const size_t first = returns_old ? 1 : 0;
    b.expect_operands(first + (name == "cas" ? 3 : 2), first + 4);
    const uint32_t bytes = bytes_of_type(type);
    const Builder::Address address = b.address(b.operand(first));
    const Space space = space_or(address, wanted);
    Step& s = b.emit(found->second,
                     {returns_old ? b.place(0, bytes) : kNone, address.base, b.place(first + 1, bytes),
                      name == "cas" ? b.place(first + 2, bytes) : kNone},
                     Flow::kMayStop);
    s.displacement = address.displacement;
    s.wide = address.wide;
    s.space = space;
    b.attach<Atomic>(s) = a;
    note_granule(b, space, bytes);
    if (space != Space::kShared) b.kernel().blocks_meet = true;
}

}  // namespace

void add_atomics(Table& t) {
    t.section("9.7.13 atom");
    t.family("atom", [](Builder& b) { build_atomic(b, true); });
    t.section("9.7.13 red");
    t.family("red", [](Builder& b) { build_atomic(b, false); });
}

}  // namespace convgpu::ptx
