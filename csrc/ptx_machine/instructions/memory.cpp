// 9.7.9 Data Movement and Conversion Instructions: ld, ldu, st, prefetch and hints.
#include <algorithm>

#include "lanes.h"

namespace convgpu::ptx {
namespace {

struct Transfer : Detail {
    uint8_t flags = 0;     // of Access
    bool ordered = false;  // .acquire or .release
    bool strong() const { return flags != 0; }
};

struct Bytes16 {
    U64 part[2];
};

// Memory holds an M, the register an R, which may be wider. op: the registers, then the address.
template <class M, class R>
void load(Warp& w, const Step& s, Mask lanes) {
    constexpr uint32_t kSize = sizeof(M);
    const uint32_t n = s.count;
    U64 at[32];
    uint8_t* from[32];
    addresses(w, s, s.op[n], at);
    resolve(w, s, lanes, s.space, Use::kRead, kSize * n, at, from);
    const auto& transfer = detail<Transfer>(s);
    if (races_matter(w, s)) {
        if (transfer.strong()) for_lanes(lanes, [&](int l) { acquire(w, reinterpret_cast<U64>(from[l])); });
        for_lanes(lanes, [&](int l) { note_read(w, s, l, s.space, at[l], kSize * n, transfer.flags); });
    }
    if (transfer.strong()) w.spinning = true;  // it may wait for what another warp writes
    for (uint32_t k = 0; k < n; ++k) {
        if (s.op[k] == kNone) continue;
        R* d = w.lanes<R>(s.op[k]);
        for_lanes(lanes, [&](int l) {
            M x;
            std::memcpy(&x, from[l] + k * kSize, kSize);
            if constexpr (std::is_same_v<M, Bytes16>)
                d[l] = x;
            else
                d[l] = static_cast<R>(x);
        });
    }
}

template <class M, class R>
void store(Warp& w, const Step& s, Mask lanes) {
    constexpr uint32_t kSize = sizeof(M);
    const uint32_t n = s.count;
    U64 at[32];
    uint8_t* to[32];
    addresses(w, s, s.op[n], at);
    resolve(w, s, lanes, s.space, Use::kWrite, kSize * n, at, to);
    const auto& transfer = detail<Transfer>(s);
    const bool races = races_matter(w, s);
    w.changed = true;
    uint8_t bytes[8 * sizeof(M)];
    for_lanes(lanes, [&](int l) {
        for (uint32_t k = 0; k < n; ++k) {
            M x;
            if constexpr (std::is_same_v<M, Bytes16>)
                x = w.lanes<R>(s.op[k])[l];
            else
                x = static_cast<M>(w.lanes<R>(s.op[k])[l]);
            std::memcpy(bytes + k * kSize, &x, kSize);
        }
        if (races) {
            if (transfer.strong()) release(w, reinterpret_cast<U64>(to[l]), transfer.ordered);
            note_write(w, s, l, s.space, at[l], kSize * n, transfer.flags, to[l], bytes);
        }
        std::memcpy(to[l], bytes, kSize * n);
    });
}

// A parameter by its name is the same for all lanes. op: the registers.
template <class M, class R>
void load_parameter(Warp& w, const Step& s, Mask lanes) {
    const uint8_t* from = w.cluster->grid->parameters + s.displacement;
    for (uint32_t k = 0; k < s.count; ++k) {
        if (s.op[k] == kNone) continue;
        M x;
        std::memcpy(&x, from + k * sizeof(M), sizeof(M));
        R* d = w.lanes<R>(s.op[k]);
        if (lanes == kFull) {
            CONVGPU_LANES d[l] = static_cast<R>(x);
        } else {
            for_lanes(lanes, [&](int l) { d[l] = static_cast<R>(x); });
        }
    }
}

struct Handlers {
    Handler load = nullptr, store = nullptr, parameter = nullptr;
};

template <class M, class R>
Handlers handlers() {
    return {&load<M, R>, &store<M, R>, &load_parameter<M, R>};
}
template <class M>
Handlers widened(uint32_t register_bytes) {
    constexpr bool kSigned = std::is_signed_v<M>;
    if (register_bytes == 2) return handlers<M, std::conditional_t<kSigned, S16, U16>>();
    if (register_bytes == 4) return handlers<M, std::conditional_t<kSigned, S32, U32>>();
    return handlers<M, std::conditional_t<kSigned, S64, U64>>();
}
Handlers handlers_of(const std::string& type, uint32_t register_bytes) {
    const bool with_sign = type[0] == 's';
    switch (bytes_of_type(type)) {
        case 1:
            return with_sign ? widened<S8>(register_bytes) : widened<U8>(register_bytes);
        case 2:
            return with_sign ? widened<S16>(register_bytes) : widened<U16>(register_bytes);
        case 4:
            return with_sign ? widened<S32>(register_bytes) : widened<U32>(register_bytes);
        case 8:
            return widened<U64>(8);
        case 16:
            return {&load<Bytes16, Bytes16>, &store<Bytes16, Bytes16>, nullptr};
    }
    throw Error("expected a type, got ." + type);
}

// Hints to caches, which change no result.
void ignore_hints(Builder& b) {
    for (const std::string& word : b.source.words) {
        if (word.rfind("L1::", 0) == 0 || word.rfind("L2::", 0) == 0) b.has(word.c_str());
    }
    b.ignore({"ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "unified", "weak", "cta", "cluster", "gpu", "sys"});
}

// The widest register among the operands; a type of 8 bits has registers of 16.
uint32_t register_bytes(Builder& b, const Operand& what, uint32_t type_bytes) {
    uint32_t bytes = std::max(2u, type_bytes);
    if (what.kind != Operand::kVector) return std::max(bytes, b.width(what));
    for (const Operand& part : what.parts) bytes = std::max(bytes, b.width(part));
    return bytes;
}

void build_transfer(Builder& b, bool is_load) {
    const std::string type = b.type();
    const Space wanted = space_of_modifier(b);
    const bool read_only = b.source.opcode.find(".nc.") != std::string::npos;
    Transfer t;
    const int vector = b.one_of({"v2", "v4", "v8"}, 3);
    if (b.has("volatile") || b.has("mmio")) t.flags = Access::kVolatile;
    if (b.has("relaxed")) t.flags = Access::kStrong;
    if (b.has("acquire") || b.has("release")) t.flags = Access::kStrong, t.ordered = true;
    ignore_hints(b);
    b.no_more_modifiers();
    b.expect_operands(2, 3);  // the third is a cache policy
    const Operand& what = b.operand(is_load ? 0 : 1);
    const uint32_t bytes = bytes_of_type(type), wide = register_bytes(b, what, bytes);
    std::vector<uint32_t> places = b.places(what, wide);
    const size_t count = vector == 3 ? 1 : size_t(2) << vector;
    if (places.size() != count) throw Error(format("expected %zu registers, got %zu", count, places.size()));
    const Builder::Address a = b.address(b.operand(is_load ? 1 : 0));
    const Space space = space_or(a, wanted);
    places.push_back(a.base);
    const Handlers h = handlers_of(type, wide);
    const bool parameter = is_load && space == Space::kParam && a.base == kNone && h.parameter;
    if (parameter && static_cast<U64>(a.displacement) + bytes * count > b.kernel().parameter_bytes)
        throw Error("a load past the parameters");
    Step& s = b.emit(parameter ? h.parameter
                     : is_load ? h.load
                               : h.store,
                     places, t.strong() ? Flow::kMayStop : Flow::kNext);
    s.count = static_cast<uint8_t>(count);
    s.displacement = a.displacement;
    s.wide = a.wide;
    s.space = read_only ? Space::kGlobal : space;
    b.attach<Transfer>(s) = t;
    note_granule(b, space, bytes);
    if (t.strong() && space != Space::kShared) b.kernel().blocks_meet = true;
}

void nothing(Warp&, const Step&, Mask) {}

void build_hint(Builder& b) { b.emit(&nothing, {}); }

}  // namespace

void add_memory(Table& t) {
    t.section("9.7.9 ld");
    t.family("ld", [](Builder& b) { build_transfer(b, true); });
    t.section("9.7.9 ldu");
    t.family("ldu", [](Builder& b) { build_transfer(b, true); });
    t.section("9.7.9 st");
    t.family("st", [](Builder& b) { build_transfer(b, false); });
    t.section("9.7.9 prefetch, prefetchu, applypriority, discard");
    for (const char* name : {"prefetch", "prefetchu", "applypriority"}) t.family(name, build_hint);
}

}  // namespace convgpu::ptx
