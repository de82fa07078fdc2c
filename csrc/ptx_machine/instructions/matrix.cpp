// 9.7.14 Warp Level Matrix Multiply-Accumulate Instructions: mma.sync, ldmatrix, stmatrix, movmatrix.
//
// Lane l of a warp is in group g = l / 4, and is thread t = l % 4 of it (9.7.14.5, Matrix Fragments).
#include <algorithm>

#include "../tensor_core.h"
#include "lanes.h"
#include "matrix_formats.h"
#include "numbers.h"

namespace convgpu::ptx {
namespace {

void check_whole_warp(Warp& w, const Step& s, Mask lanes) {
    if (lanes != kFull) fault(w, s, -1, "divergence", format("expected all threads of a warp, got 0x%08x", lanes));
}

// ---- ldmatrix, stmatrix: matrices of 8 rows of 16 bytes; lane 8 k + r has the address of row r of matrix k

struct MatrixMove : Detail {
    bool transposed = false;
};

// Where the two halves of lane l's register lie in a matrix of halves.
struct Pair {
    int row0, column0, row1, column1;
};
Pair pair_of(int l, bool transposed) {
    const int g = l / 4, t = 2 * (l % 4);
    return transposed ? Pair{t, g, t + 1, g} : Pair{g, t, g, t + 1};
}

// op: registers, address
void load_matrices(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    U64 at[32];
    addresses(w, s, s.op[s.count], at);
    U16 rows[32][8];
    const bool races = w.worker->grid->settings.races;
    for (int l = 0; l < 8 * s.count; ++l) {
        std::memcpy(rows[l], resolve_one(w, s, l, s.space, Use::kRead, 16, at[l]), 16);
        if (races) note_read(w, s, l, s.space, at[l], 16, 0);
    }
    for (int k = 0; k < s.count; ++k) {
        for (int l = 0; l < 32; ++l) {
            const Pair p = pair_of(l, detail<MatrixMove>(s).transposed);
            w.lanes<U32>(s.op[k])[l] = rows[8 * k + p.row0][p.column0] | U32(rows[8 * k + p.row1][p.column1]) << 16;
        }
    }
}

void store_matrices(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    U64 at[32];
    addresses(w, s, s.op[s.count], at);
    U16 rows[32][8];
    for (int k = 0; k < s.count; ++k) {
        for (int l = 0; l < 32; ++l) {
            const Pair p = pair_of(l, detail<MatrixMove>(s).transposed);
            const U32 x = w.lanes<U32>(s.op[k])[l];
            rows[8 * k + p.row0][p.column0] = static_cast<U16>(x);
            rows[8 * k + p.row1][p.column1] = static_cast<U16>(x >> 16);
        }
    }
    for (int l = 0; l < 8 * s.count; ++l) {
        uint8_t* to = resolve_one(w, s, l, s.space, Use::kWrite, 16, at[l]);
        if (w.worker->grid->settings.races)
            note_write(w, s, l, s.space, at[l], 16, 0, to, reinterpret_cast<const uint8_t*>(rows[l]));
        std::memcpy(to, rows[l], 16);
    }
}

void build_matrix_move(Builder& b, bool is_load) {
    b.ignore({"sync", "aligned"});
    b.one_of({"m8n8"});
    const int count = 1 << b.one_of({"x1", "x2", "x4"});
    const bool transposed = b.has("trans");
    const Space wanted = space_of_modifier(b);
    b.one_of({"b16"});
    b.no_more_modifiers();
    b.expect_operands(2, 2);
    std::vector<uint32_t> places = b.places(b.operand(is_load ? 0 : 1), 4);
    if (static_cast<int>(places.size()) != count)
        throw Error(format("expected %d registers, got %zu", count, places.size()));
    const Builder::Address a = b.address(b.operand(is_load ? 1 : 0));
    places.push_back(a.base);
    Step& s = b.emit(is_load ? &load_matrices : &store_matrices, places);
    s.count = static_cast<uint8_t>(count);
    s.displacement = a.displacement;
    s.wide = a.wide;
    s.space = space_or(a, wanted);
    b.attach<MatrixMove>(s).transposed = transposed;
}

// op: d, a
void transpose_matrix(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    U16 m[8][8];
    for (int l = 0; l < 32; ++l) {
        const Pair p = pair_of(l, false);
        const U32 x = w.lanes<U32>(s.op[1])[l];
        m[p.row0][p.column0] = static_cast<U16>(x);
        m[p.row1][p.column1] = static_cast<U16>(x >> 16);
    }
    for (int l = 0; l < 32; ++l) {
        const Pair p = pair_of(l, true);
        w.lanes<U32>(s.op[0])[l] = m[p.row0][p.column0] | U32(m[p.row1][p.column1]) << 16;
    }
}

// ---- mma

struct Multiply : Detail {
    Format a = Format::kHalf, b = Format::kHalf;
    int depth = 16;
    bool half_sums = false;  // C and D are f16
    bool saturate = false;   // of integers
    int per_register() const { return a == Format::kTf32 ? 1 : a == Format::kS8 || a == Format::kU8 ? 4 : 2; }
    int a_registers() const { return 2 * b_registers(); }
    int b_registers() const { return depth / (4 * per_register()); }
    int c_registers() const { return half_sums ? 2 : 4; }
};

// Calls use(row, column, bits) for the elements of A (16 x depth), and for those of B (depth x 8).
template <class UseA, class UseB>
void for_elements(Warp& w, const Multiply& m, const uint32_t* a, const uint32_t* b, UseA use_a, UseB use_b) {
    const int n = m.per_register(), bits = 32 / n;
    const U32 low = bits == 32 ? 0xffffffffu : (1u << bits) - 1;
    for (int l = 0; l < 32; ++l) {
        const int g = l / 4, t = l % 4;
        for (int j = 0; j < n; ++j) {
            for (int r = 0; r < m.a_registers(); ++r) {
                use_a(g + 8 * (r & 1), n * t + 4 * n * (r >> 1) + j, w.lanes<U32>(a[r])[l] >> bits * j & low);
            }
            for (int r = 0; r < m.b_registers(); ++r)
                use_b(n * t + 4 * n * r + j, g, w.lanes<U32>(b[r])[l] >> bits * j & low);
        }
    }
}

int row_of(int l, int r) { return l / 4 + 8 * (r >> 1); }
int column_of(int l, int r) { return 2 * (l % 4) + (r & 1); }

// op: D, A, B, C
void multiply_floats(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    const auto& m = detail<Multiply>(s);
    const uint32_t *d = s.op, *a = d + m.c_registers(), *b = a + m.a_registers(), *c = b + m.b_registers();
    Factors rows[16], columns[8];
    for_elements(
        w, m, a, b, [&](int row, int k, U32 bits) { rows[row].set(k, value_of(m.a, bits)); },
        [&](int k, int column, U32 bits) { columns[column].set(k, value_of(m.b, bits)); });
    for (int l = 0; l < 32; ++l) {
        float sums[4];
        for (int r = 0; r < 4; ++r) {
            const float before = m.half_sums
                                     ? to_float(Half{static_cast<U16>(w.lanes<U32>(c[r / 2])[l] >> 16 * (r & 1))})
                                     : w.lanes<float>(c[r])[l];
            sums[r] = multiply_add(rows[row_of(l, r)], columns[column_of(l, r)], m.depth, before);
        }
        for (int r = 0; r < 4; ++r) {
            if (!m.half_sums)
                w.lanes<float>(d[r])[l] = sums[r];
            else if (r % 2 == 0)
                w.lanes<U32>(d[r / 2])[l] = U32(nearest_half(sums[r]).bits) | U32(nearest_half(sums[r + 1]).bits) << 16;
        }
    }
}

void multiply_integers(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    const auto& m = detail<Multiply>(s);
    const uint32_t *d = s.op, *a = d + 4, *b = a + m.a_registers(), *c = b + m.b_registers();
    S32 rows[16][32], columns[8][32];
    for_elements(
        w, m, a, b, [&](int row, int k, U32 bits) { rows[row][k] = integer_of(m.a, bits); },
        [&](int k, int column, U32 bits) { columns[column][k] = integer_of(m.b, bits); });
    for (int l = 0; l < 32; ++l) {
        for (int r = 0; r < 4; ++r) {
            S64 sum = w.lanes<S32>(c[r])[l];
            for (int k = 0; k < m.depth; ++k) sum += S64(rows[row_of(l, r)][k]) * columns[column_of(l, r)][k];
            w.lanes<S32>(d[r])[l] = static_cast<S32>(m.saturate ? std::clamp<S64>(sum, INT32_MIN, INT32_MAX) : sum);
        }
    }
}

// m8n8k4 of f64, by fused multiply-adds in the order of k. op: D 2, A 1, B 1, C 2
void multiply_doubles(Warp& w, const Step& s, Mask lanes) {
    check_whole_warp(w, s, lanes);
    double a[8][4], b[4][8];
    for (int l = 0; l < 32; ++l) {
        a[l / 4][l % 4] = w.lanes<double>(s.op[2])[l];
        b[l % 4][l / 4] = w.lanes<double>(s.op[3])[l];
    }
    for (int l = 0; l < 32; ++l) {
        for (int r = 0; r < 2; ++r) {
            double sum = w.lanes<double>(s.op[4 + r])[l];
            for (int k = 0; k < 4; ++k) sum = std::fma(a[l / 4][k], b[k][column_of(l, r)], sum);
            w.lanes<double>(s.op[r])[l] = sum;
        }
    }
}

// mma.sync.aligned.SHAPE.row.col.DTYPE.ATYPE.BTYPE.CTYPE d, a, b, c
void build_mma(Builder& b) {
    b.ignore({"sync", "aligned"});
    b.one_of({"row"});
    b.one_of({"col"});
    const std::string c = b.type(), tb = b.type(1), ta = b.type(2), d = b.type(3);
    Multiply m;
    m.saturate = b.has("satfinite");
    const int shape = b.one_of({"m8n8k4", "m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"});
    b.no_more_modifiers();
    b.expect_operands(4, 4);
    std::vector<uint32_t> places;
    if (ta == "f64" && shape == 0) {
        for (size_t k = 0; k < 4; ++k) {
            for (const uint32_t place : b.places(b.operand(k), 8)) places.push_back(place);
        }
        if (places.size() != 6) throw Error("expected 2, 1, 1 and 2 registers");
        b.emit(&multiply_doubles, places);
        return;
    }
    m.a = format_of(ta);
    m.b = format_of(tb);
    constexpr int kDepths[] = {0, 4, 8, 16, 32};
    m.depth = kDepths[shape];
    const bool integers = is_integer(m.a);
    m.half_sums = d == "f16";
    const bool types = c == d && (integers ? d == "s32" && is_integer(m.b)
                                           : m.a == m.b && (d == "f32" || (d == "f16" && ta == "f16")));
    const bool depths = integers               ? m.depth >= 16
                        : m.a == Format::kTf32 ? m.depth == 4 || m.depth == 8
                                               : m.depth == 8 || m.depth == 16;
    if (!types || !depths) throw Error("the machine does not have this shape with these types");
    const int registers[] = {m.c_registers(), m.a_registers(), m.b_registers(), m.c_registers()};
    for (size_t k = 0; k < 4; ++k) {
        const std::vector<uint32_t> list = b.places(b.operand(k), 4);
        if (static_cast<int>(list.size()) != registers[k])
            throw Error(format("expected %d registers as operand %zu, got %zu", registers[k], k + 1, list.size()));
        places.insert(places.end(), list.begin(), list.end());
    }
    Step& s = b.emit(integers ? &multiply_integers : &multiply_floats, places);
    b.attach<Multiply>(s) = m;
}

}  // namespace

void add_matrix(Table& t) {
    t.section("9.7.14 mma");
    t.family("mma", build_mma);
    t.section("9.7.14 ldmatrix");
    t.family("ldmatrix", [](Builder& b) { build_matrix_move(b, true); });
    t.section("9.7.14 stmatrix");
    t.family("stmatrix", [](Builder& b) { build_matrix_move(b, false); });
    t.section("9.7.14 movmatrix");
    t.add("movmatrix.sync.aligned.m8n8.trans.b16", &transpose_matrix, {4, 4});
}

}  // namespace convgpu::ptx
