// 9.7.9 Data Movement and Conversion Instructions: mov, prmt, cvta, isspacep, mapa.
#include <array>

#include "lanes.h"

namespace convgpu::ptx {
namespace {

template <class T>
struct Same {
    T operator()(T a) const { return a; }
};
struct Wide128 {
    U64 part[2];
};

Handler copy_of(uint32_t bytes) {
    return bytes == 2   ? &Lanes<Same<U16>, U16, U16>::run
           : bytes == 4 ? &Lanes<Same<U32>, U32, U32>::run
           : bytes == 8 ? &Lanes<Same<U64>, U64, U64>::run
                        : &Lanes<Same<Wide128>, Wide128, Wide128>::run;
}

// Parts of a register, the lowest first. op: the whole, then the parts.
template <class Whole, class Part>
constexpr size_t kParts = sizeof(Whole) / sizeof(Part);
template <class Whole, class Part>
void pack(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        Part parts[kParts<Whole, Part>];
        for (size_t k = 0; k < kParts<Whole, Part>; ++k) parts[k] = w.lanes<Part>(s.op[1 + k])[l];
        std::memcpy(&w.lanes<Whole>(s.op[0])[l], parts, sizeof parts);
    });
}
template <class Whole, class Part>
void unpack(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        Part parts[kParts<Whole, Part>];
        std::memcpy(parts, &w.lanes<Whole>(s.op[0])[l], sizeof parts);
        for (size_t k = 0; k < kParts<Whole, Part>; ++k) {
            if (s.op[1 + k] != kNone) w.lanes<Part>(s.op[1 + k])[l] = parts[k];
        }
    });
}

Handler parts_handler(bool packs, uint32_t whole, uint32_t part) {
    if (whole == 4 && part == 2) return packs ? &pack<U32, U16> : &unpack<U32, U16>;
    if (whole == 8 && part == 2) return packs ? &pack<U64, U16> : &unpack<U64, U16>;
    if (whole == 8 && part == 4) return packs ? &pack<U64, U32> : &unpack<U64, U32>;
    if (whole == 16 && part == 8) return packs ? &pack<Wide128, U64> : &unpack<Wide128, U64>;
    if (whole == 16 && part == 4) return packs ? &pack<Wide128, U32> : &unpack<Wide128, U32>;
    throw Error(format("expected parts of 16 or 32 bits, got %u bits of %u", 8 * part, 8 * whole));
}

// op: d. Time goes by with the instructions of the warp.
void read_clock(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) { write_lane(w, s.op[0], s.count, l, w.executed); });
}

bool is_clock(const std::string& name) {
    return name == "%clock" || name == "%clock64" || name == "%clock_hi" || name == "%globaltimer" ||
           name == "%globaltimer_lo";
}

void build_mov(Builder& b) {
    const uint32_t bytes = bytes_of_type(b.type());
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    if (!bytes) throw Error("expected a type");
    const Operand &d = b.operand(0), &a = b.operand(1);
    if (bytes == kPredicate) {
        b.emit([](Warp& w, const Step& s, Mask lanes) { w.set_predicate(s.op[0], lanes, w.predicate(s.op[1])); },
               {b.place(d, bytes), b.place(a, bytes)});
        return;
    }
    if (d.kind == Operand::kVector || a.kind == Operand::kVector) {
        const bool packs = a.kind == Operand::kVector;
        const Operand &whole = packs ? d : a, &parts = packs ? a : d;
        const auto count = static_cast<uint32_t>(parts.parts.size());
        std::vector<uint32_t> places{b.place(whole, bytes)};
        for (const uint32_t place : b.places(parts, bytes / count)) places.push_back(place);
        b.emit(parts_handler(packs, bytes, bytes / count), places);
        return;
    }
    if (is_clock(a.name)) {
        b.emit(&read_clock, {b.place(d, bytes)}).count = static_cast<uint8_t>(bytes);
        return;
    }
    b.emit(copy_of(bytes), {b.place(d, bytes), b.place(a, bytes)});
}

U32 permuted(U32 a, U32 b, U32 selector) {
    const U64 bytes = U64(b) << 32 | a;
    U32 r = 0;
    for (U32 k = 0; k < 4; ++k) {
        const U32 choice = selector >> 4 * k & 15;
        U32 byte = static_cast<U32>(bytes >> 8 * (choice & 7)) & 255;
        if (choice & 8) byte = byte & 128 ? 255 : 0;  // the sign of that byte
        r |= byte << 8 * k;
    }
    return r;
}

// The other modes of prmt choose by the two low bits of c.
template <U32 kSelectors(U32)>
struct PermuteMode {
    U32 operator()(U32 a, U32 b, U32 c) const { return permuted(a, b, kSelectors(c & 3)); }
};
U32 forward(U32 c) { return 0x3210 + 0x1111 * c; }
U32 backward(U32 c) { return ((c - 3) & 7) << 12 | ((c - 2) & 7) << 8 | ((c - 1) & 7) << 4 | c; }
U32 replicate_8(U32 c) { return 0x1111 * c; }
U32 replicate_16(U32 c) { return c & 1 ? 0x3232 : 0x1010; }
U32 edge_left(U32 c) { return std::array<U32, 4>{0x3210, 0x3211, 0x3222, 0x3333}[c]; }
U32 edge_right(U32 c) { return std::array<U32, 4>{0x0000, 0x1110, 0x2210, 0x3210}[c]; }

// Generic addresses have their window in the top byte; those of global and constant memory are the host's own.
void build_cvta(Builder& b) {
    const uint32_t bytes = bytes_of_type(b.type());
    const bool to_space = b.has("to");
    const Space space = space_of_modifier(b);
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    if (bytes != 8) throw Error("expected addresses of 64 bits");
    const uint32_t d = b.place(0, 8), a = b.place(1, 8), window = b.constant(8, window_of(space));
    if (to_space)
        b.emit(&Lanes<decltype([](U64 x, U64 y) { return x & ~y; }), U64, U64, U64>::run, {d, a, window});
    else
        b.emit(&Lanes<decltype([](U64 x, U64 y) { return x | y; }), U64, U64, U64>::run, {d, a, window});
}

void build_isspacep(Builder& b) {
    const Space space = space_of_modifier(b);
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    b.emit(&Compare<decltype([](U64 a, U64 window) { return a >> 56 == window >> 56; }), U64, U64>::run,
           {b.place(0, kPredicate), kNone, b.place(1, 8), b.constant(8, window_of(space))});
}

// The address of a variable of this block in another block of the cluster. op: d, a, rank; `count` bytes of an address.
void map_address(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        const U64 a = read_lane(w, s.op[1], s.count, l);
        const U32 rank = w.lanes<U32>(s.op[2])[l];
        if (rank >= w.cluster->blocks.size()) {
            fault(w, s, l, "bounds",
                  format("mapa to block %u of a cluster that has %zu", rank, w.cluster->blocks.size()));
        }
        write_lane(w, s.op[0], s.count, l, (a & ~U64(0xff << kRankShift)) | U64(rank + 1) << kRankShift);
    });
}
void build_mapa(Builder& b) {
    const uint32_t bytes = bytes_of_type(b.type());
    b.ignore({"shared::cluster"});
    b.no_more_modifiers();
    b.expect_operands(3, 3);
    b.emit(&map_address, {b.place(0, bytes), b.place(1, bytes), b.place(2, 4)}).count = static_cast<uint8_t>(bytes);
}

// op: d, a; `count` bytes of an address
void rank_of_address(Warp& w, const Step& s, Mask lanes) {
    for_lanes(lanes, [&](int l) {
        const U32 rank = static_cast<U32>(read_lane(w, s.op[1], s.count, l)) >> kRankShift;
        w.lanes<U32>(s.op[0])[l] = rank ? rank - 1 : w.block->rank;
    });
}
void build_getctarank(Builder& b) {
    const uint32_t bytes = bytes_of_type(b.type());
    b.ignore({"shared::cluster"});
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    b.emit(&rank_of_address, {b.place(0, 4), b.place(1, bytes)}).count = static_cast<uint8_t>(bytes);
}

}  // namespace

void add_moves(Table& t) {
    t.section("9.7.9 mov");
    t.family("mov", build_mov);
    t.section("9.7.9 prmt");
    t.typed<U32, U32, U32, U32>("prmt.b32", [](U32 a, U32 b, U32 c) { return permuted(a, b, c); });
    t.typed<U32, U32, U32, U32>("prmt.b32.f4e", PermuteMode<forward>{});
    t.typed<U32, U32, U32, U32>("prmt.b32.b4e", PermuteMode<backward>{});
    t.typed<U32, U32, U32, U32>("prmt.b32.rc8", PermuteMode<replicate_8>{});
    t.typed<U32, U32, U32, U32>("prmt.b32.rc16", PermuteMode<replicate_16>{});
    t.typed<U32, U32, U32, U32>("prmt.b32.ecl", PermuteMode<edge_left>{});
    t.typed<U32, U32, U32, U32>("prmt.b32.ecr", PermuteMode<edge_right>{});
    t.section("9.7.9 isspacep");
    t.family("isspacep", build_isspacep);
    t.section("9.7.9 cvta");
    t.family("cvta", build_cvta);
    t.section("9.7.9 mapa");
    t.family("mapa", build_mapa);
    t.section("9.7.9 getctarank");
    t.family("getctarank", build_getctarank);
}

}  // namespace convgpu::ptx
