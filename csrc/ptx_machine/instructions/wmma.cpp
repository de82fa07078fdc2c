// 9.7.14 Warp Level Matrix Multiply-Accumulate Instructions: wmma.load, wmma.mma, wmma.store.
//
// Which element of a matrix a lane holds is not specified (9.7.14.4, Matrix Fragments for WMMA). Here lane l has the
// elements from l times the elements of its registers on, row by row; where the lanes have more room than the matrix
// has elements, as for A and B of .f16, the elements are there several times. Programs that rely on a GPU's own order
// see another one.
#include <algorithm>
#include <vector>

#include "../tensor_core.h"
#include "lanes.h"
#include "matrix_formats.h"

namespace convgpu::ptx {
namespace {

struct Shape {
    U32 m = 16, n = 16, k = 16;
};

Shape shape_of(Builder& b) {
    constexpr Shape kShapes[] = {{16, 16, 16}, {32, 8, 16}, {8, 32, 16}, {16, 16, 8}};
    return kShapes[b.one_of({"m16n16k16", "m32n8k16", "m8n32k16", "m16n16k8"})];
}

U32 bytes_of_element(const std::string& type) {
    if (type == "s8" || type == "u8") return 1;
    if (type == "f16" || type == "bf16") return 2;
    if (type == "f32" || type == "s32" || type == "tf32") return 4;
    throw Error("the machine does not have wmma of ." + type);
}

// A matrix in the registers of a warp.
struct Fragment {
    U32 rows = 16, columns = 16, bytes = 2, registers = 8;

    U32 elements() const { return rows * columns; }
    U32 per_lane() const { return registers * 4 / bytes; }
    U32 mask() const { return bytes == 4 ? ~0u : (1u << 8 * bytes) - 1; }

    // Calls use(lane, element, register, shift) for every place.
    template <class Use>
    void places(Use use) const {
        const U32 n = 4 / bytes;
        for (U32 l = 0; l < 32; ++l) {
            for (U32 j = 0; j < per_lane(); ++j) use(l, (l * per_lane() + j) % elements(), j / n, 8 * bytes * (j % n));
        }
    }
    std::vector<U32> gather(Warp& w, const uint32_t* op) const {
        std::vector<U32> all(elements());
        places([&](U32 l, U32 e, U32 r, U32 shift) { all[e] = w.lanes<U32>(op[r])[l] >> shift & mask(); });
        return all;
    }
    void scatter(Warp& w, const uint32_t* op, const std::vector<U32>& all) const {
        for (U32 r = 0; r < registers; ++r) std::fill_n(w.lanes<U32>(op[r]), 32, 0u);
        places([&](U32 l, U32 e, U32 r, U32 shift) { w.lanes<U32>(op[r])[l] |= all[e] << shift; });
    }
    void check() const {
        if (!registers || per_lane() * 32 % elements())
            throw Error(format("%u registers do not hold %u x %u elements", registers, rows, columns));
    }
};

void check_whole_warp(Warp& w, const Step& s, Mask lanes) {
    if (lanes != kFull) fault(w, s, -1, "divergence", format("expected all threads of a warp, got 0x%08x", lanes));
}

// ---- wmma.load, wmma.store

struct FragmentMove : Detail {
    Fragment fragment;
    bool column_major = false, strided = false;
};

// The address of every element. op: registers, address, stride
std::vector<U64> element_addresses(Warp& w, const Step& s) {
    const auto& d = detail<FragmentMove>(s);
    const Fragment& f = d.fragment;
    U64 at[32];
    addresses(w, s, s.op[f.registers], at);
    const U32* stride = w.lanes<U32>(s.op[f.registers + 1]);
    for (int l = 1; l < 32; ++l) {
        if (at[l] != at[0] || (d.strided && stride[l] != stride[0]))
            fault(w, s, l, "divergence", "an address or a stride that differs within a warp");
    }
    const U64 leading = d.strided ? stride[0] : d.column_major ? f.rows : f.columns;
    // The host's arrays begin at multiples of 16 bytes, those of a GPU at multiples of 256.
    const U32 align = at[0] >> 56 == window_of(Space::kShared) >> 56 || s.space == Space::kShared ? 32 : 16;
    if (at[0] % align)
        fault(w, s, 0, "misaligned", format("expected the address of a matrix at a multiple of %u bytes", align));
    if (leading * f.bytes % 16) fault(w, s, 0, "misaligned", "expected a stride of a multiple of 16 bytes");
    std::vector<U64> all(f.elements());
    for (U32 e = 0; e < f.elements(); ++e) {
        const U64 row = e / f.columns, column = e % f.columns;
        all[e] = at[0] + f.bytes * (d.column_major ? column * leading + row : row * leading + column);
    }
    return all;
}

// The lane that has an element first.
int lane_of(const Fragment& f, U32 element) { return static_cast<int>(element / f.per_lane()); }

void load_fragment(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    const Fragment& f = detail<FragmentMove>(s).fragment;
    const std::vector<U64> at = element_addresses(w, s);
    std::vector<U32> all(f.elements());
    const bool races = races_matter(w, s);
    for (U32 e = 0; e < f.elements(); ++e) {
        const int l = lane_of(f, e);
        std::memcpy(&all[e], resolve_one(w, s, l, s.space, Use::kRead, f.bytes, at[e]), f.bytes);
        if (races) note_read(w, s, l, s.space, at[e], f.bytes, 0);
    }
    f.scatter(w, s.op, all);
}

void store_fragment(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    const Fragment& f = detail<FragmentMove>(s).fragment;
    const std::vector<U64> at = element_addresses(w, s);
    const std::vector<U32> all = f.gather(w, s.op);
    const bool races = races_matter(w, s);
    for (U32 e = 0; e < f.elements(); ++e) {
        const int l = lane_of(f, e);
        uint8_t* to = resolve_one(w, s, l, s.space, Use::kWrite, f.bytes, at[e]);
        const auto* from = reinterpret_cast<const uint8_t*>(&all[e]);
        if (races) note_write(w, s, l, s.space, at[e], f.bytes, 0, to, from);
        std::memcpy(to, from, f.bytes);
    }
}

// wmma.load.WHICH.sync.aligned.LAYOUT.SHAPE{.SPACE}.TYPE r, [p]{, stride}; wmma.store.d... [p], r{, stride}
void build_move(Builder& b, bool is_load) {
    b.ignore({"sync", "aligned"});
    const std::string type = b.type();
    const int which = is_load ? b.one_of({"a", "b", "c"}) : 2 + b.one_of({"d"});
    FragmentMove m;
    m.column_major = b.one_of({"row", "col"}) == 1;
    const Shape shape = shape_of(b);
    const Space wanted = space_of_modifier(b);
    b.no_more_modifiers();
    b.expect_operands(2, 3);
    m.strided = b.operands() == 3;
    std::vector<uint32_t> places = b.places(b.operand(is_load ? 0 : 1), 4);
    Fragment& f = m.fragment;
    f.rows = which == 1 ? shape.k : shape.m;
    f.columns = which == 0 ? shape.k : shape.n;
    f.bytes = bytes_of_element(type);
    f.registers = static_cast<U32>(places.size());
    f.check();
    const Builder::Address a = b.address(b.operand(is_load ? 1 : 0));
    places.push_back(a.base);
    places.push_back(m.strided ? b.place(2, 4) : b.constant(4, 0));
    Step& s = b.emit(is_load ? &load_fragment : &store_fragment, places);
    s.displacement = a.displacement;
    s.wide = a.wide;
    s.space = space_or(a, wanted);
    note_granule(b, s.space, f.bytes);
    b.attach<FragmentMove>(s) = m;
}

// ---- wmma.mma

struct FragmentProduct : Detail {
    Fragment a, b, c, d;
    Format format_a = Format::kHalf, format_b = Format::kHalf;
    bool half_c = false, half_d = false, saturate = false;
};

U32 product_of_integers(const FragmentProduct& p, const U32* a, const U32* b, U32 n, U32 depth, U32 c) {
    S64 sum = static_cast<S32>(c);
    for (U32 k = 0; k < depth; ++k) sum += S64(integer_of(p.format_a, a[k])) * integer_of(p.format_b, b[k * n]);
    return static_cast<U32>(static_cast<S32>(p.saturate ? std::clamp<S64>(sum, INT32_MIN, INT32_MAX) : sum));
}

// op: D, A, B, C
void multiply_fragments(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    const auto& p = detail<FragmentProduct>(s);
    const U32 depth = p.a.columns, n = p.b.columns;
    const uint32_t *at_a = s.op + p.d.registers, *at_b = at_a + p.a.registers;
    const std::vector<U32> a = p.a.gather(w, at_a), b = p.b.gather(w, at_b), c = p.c.gather(w, at_b + p.b.registers);
    std::vector<U32> d(c.size());
    std::vector<Factors> rows(p.a.rows), columns(n);
    for (U32 k = 0; k < depth && !is_integer(p.format_a); ++k) {
        for (U32 r = 0; r < p.a.rows; ++r) rows[r].set(static_cast<int>(k), value_of(p.format_a, a[r * depth + k]));
        for (U32 q = 0; q < n; ++q) columns[q].set(static_cast<int>(k), value_of(p.format_b, b[k * n + q]));
    }
    for (U32 e = 0; e < d.size(); ++e) {
        const U32 row = e / n, column = e % n;
        if (is_integer(p.format_a)) {
            d[e] = product_of_integers(p, &a[row * depth], &b[column], n, depth, c[e]);
            continue;
        }
        const float before = p.half_c ? to_float(Half{static_cast<U16>(c[e])}) : bits_as<float>(c[e]);
        const float sum = multiply_add(rows[row], columns[column], static_cast<int>(depth), before);
        d[e] = p.half_d ? U32(nearest_half(sum).bits) : bits_as<U32>(sum);
    }
    p.d.scatter(w, s.op, d);
}

// wmma.mma.sync.aligned.row.col.SHAPE.DTYPE{.ATYPE.BTYPE}.CTYPE{.satfinite} d, a, b, c; without types, A and B are .f16
void build_product(Builder& b) {
    b.ignore({"sync", "aligned", "row", "col"});
    FragmentProduct p;
    p.saturate = b.has("satfinite");
    const Shape shape = shape_of(b);
    const size_t words = b.source.words.size(), behind = b.source.words.back() == "satfinite";
    const bool typed = words > 4 + behind && b.source.words[words - 3 - behind][0] != 'm';
    const std::string c = b.type(behind), tb = typed ? b.type(1 + behind) : "f16",
                      ta = typed ? b.type(2 + behind) : "f16", d = b.type((typed ? 3 : 1) + behind);
    p.format_a = format_of(ta);
    p.format_b = format_of(tb);
    p.half_c = c == "f16";
    p.half_d = d == "f16";
    const bool integers = is_integer(p.format_a);
    const bool types = integers ? is_integer(p.format_b) && c == "s32" && d == "s32"
                                : ta == tb && (ta == "f16" ? (c == "f32" || p.half_c) && (d == "f32" || p.half_d)
                                                           : c == "f32" && d == "f32");
    if (!types || (ta == "tf32") != (shape.k == 8))
        throw Error("the machine does not have this shape with these types");
    b.expect_operands(4, 4);
    p.a.rows = p.c.rows = p.d.rows = shape.m;
    p.b.columns = p.c.columns = p.d.columns = shape.n;
    p.a.columns = p.b.rows = shape.k;
    p.a.bytes = p.b.bytes = bytes_of_element(ta);
    p.c.bytes = bytes_of_element(c);
    p.d.bytes = bytes_of_element(d);
    std::vector<uint32_t> places;
    Fragment* const fragments[] = {&p.d, &p.a, &p.b, &p.c};
    for (size_t k = 0; k < 4; ++k) {
        const std::vector<uint32_t> list = b.places(b.operand(k), 4);
        fragments[k]->registers = static_cast<U32>(list.size());
        fragments[k]->check();
        places.insert(places.end(), list.begin(), list.end());
    }
    b.attach<FragmentProduct>(b.emit(&multiply_fragments, places)) = p;
}

}  // namespace

void add_wmma(Table& t) {
    t.section("9.7.14 wmma.load");
    t.family("wmma.load", [](Builder& b) { build_move(b, true); });
    t.section("9.7.14 wmma.store");
    t.family("wmma.store", [](Builder& b) { build_move(b, false); });
    t.section("9.7.14 wmma.mma");
    t.family("wmma.mma", build_product);
}

}  // namespace convgpu::ptx
