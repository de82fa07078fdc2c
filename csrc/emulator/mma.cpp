#include "mma.h"

#include <cstring>

#include "runtime.h"
#include "sanitizer.h"
#include "shared_memory.h"
#include "tensor_core.h"

namespace convgpu::emulator {
namespace {

// Lane 4*g + t (PTX calls g the "group" and t the "thread in group") holds row g and columns 2t, 2t+1 of an 8x8 matrix
// of 16-bit elements (PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type").
int group_of(int lane) { return lane >> 2; }
int thread_of(int lane) { return lane & 3; }

uint32_t half_word(const LaneData& row, int column) { return row.word[column / 2] >> (column % 2 * 16) & 0xffff; }

// On entry, lane 8*i + r has row r of matrix i (16 bytes). On return, word i of a lane is its fragment of matrix i.
void distribute_rows(uint32_t, const LaneData* in, LaneData* out, int transpose) {
    for (int lane = 0; lane < 32; ++lane) {
        const int g = group_of(lane), t = thread_of(lane);
        for (int i = 0; i < 4; ++i) {
            const LaneData* matrix = in + i * 8;
            out[lane].word[i] =
                transpose ? half_word(matrix[2 * t], g) | half_word(matrix[2 * t + 1], g) << 16 : matrix[g].word[t];
        }
    }
}

// Does the inverse of distribute_rows: it takes fragments and returns rows.
void collect_rows(uint32_t, const LaneData* in, LaneData* out, int transpose) {
    for (int lane = 0; lane < 32; ++lane) {
        const int g = group_of(lane), t = thread_of(lane);
        for (int i = 0; i < 4; ++i) {
            const uint32_t fragment = in[lane].word[i];
            if (!transpose) {
                out[i * 8 + g].word[t] = fragment;
                continue;
            }
            for (int e = 0; e < 2; ++e) {
                uint32_t& word = out[i * 8 + 2 * t + e].word[g / 2];
                const int shift = g % 2 * 16;
                word = (word & ~(0xffffu << shift)) | (fragment >> (16 * e) & 0xffff) << shift;
            }
        }
    }
}

// Tells which row or column of a tile an operand register holds: register i, element e, for a type with `per` elements
// in each register.
struct Shape {
    Operand type;
    int k;    // 16 or 8
    int per;  // elements per 32-bit register
};

constexpr Shape shape_of(Operand type) { return type == Operand::kTf32 ? Shape{type, 8, 1} : Shape{type, 16, 2}; }

// Registers 0 to 3 of A are the quadrants (rows 0-7, low k), (rows 8-15, low k), (rows 0-7, high k), (rows 8-15, high
// k). Registers 0 and 1 of B are low k and high k. Registers 0 and 1 of C and D are in row g, and 2 and 3 in row g + 8;
// their columns are 2t and 2t + 1.
void multiply(uint32_t, const LaneData* in, LaneData* out, int type) {
    const Shape s = shape_of(static_cast<Operand>(type));
    static thread_local Factor a, b;
    float c[16][8];
    a.resize(16, s.k);
    b.resize(s.k, 8);
    for (int lane = 0; lane < 32; ++lane) {
        const int g = group_of(lane), t = thread_of(lane);
        const uint32_t* word = in[lane].word;
        for (int e = 0; e < s.per; ++e) {
            const int k = t * s.per + e;
            for (int i = 0; i < 4; ++i) {
                a.row(g + i % 2 * 8)[k + i / 2 * s.k / 2] = operand_value(s.type, word[i], e);
            }
            for (int i = 0; i < 2; ++i) b.row(k + i * s.k / 2)[g] = operand_value(s.type, word[4 + i], e);
        }
        for (int i = 0; i < 4; ++i) std::memcpy(&c[g + i / 2 * 8][2 * t + i % 2], &word[6 + i], 4);
    }
    a.classify();
    b.classify();
    tensor_core_mma(a, b, &c[0][0], 8);
    for (int lane = 0; lane < 32; ++lane) {
        const int g = group_of(lane), t = thread_of(lane);
        for (int i = 0; i < 4; ++i) std::memcpy(&out[lane].word[i], &c[g + i / 2 * 8][2 * t + i % 2], 4);
    }
}

constexpr uint32_t kFullWarp = 0xffffffffu;

void require_full_warp(const char* what) {
    if (current->warp->lanes < 32) fail("%s: the warp has only %d lanes", what, current->warp->lanes);
}

}  // namespace

float operand_value(Operand type, uint32_t reg, int e) {
    if (type == Operand::kTf32) return from_tf32(reg);
    const auto half = static_cast<uint16_t>(reg >> (16 * e));
    return type == Operand::kBFloat16 ? from_bfloat16(half) : from_float16(half);
}

void ldmatrix(uint32_t* registers, int matrices, bool transpose, uint32_t row_address) {
    require_full_warp("ldmatrix");
    LaneData row{};
    if (static_cast<int>(current->lane) < 8 * matrices) {  // the other lanes' addresses are ignored
        const uint8_t* p = shared_pointer(row_address, 16, 16, "ldmatrix");
        note_read(p, 16);
        Quiet quiet;
        std::memcpy(row.word, p, 16);
    }
    const LaneData& out = meet({Collective::kLdmatrix, "ldmatrix", distribute_rows, transpose}, kFullWarp, row);
    for (int i = 0; i < matrices; ++i) registers[i] = out.word[i];
}

void stmatrix(const uint32_t* registers, int matrices, bool transpose, uint32_t row_address) {
    require_full_warp("stmatrix");
    LaneData in{};
    for (int i = 0; i < matrices; ++i) in.word[i] = registers[i];
    const LaneData& row = meet({Collective::kStmatrix, "stmatrix", collect_rows, transpose}, kFullWarp, in);
    if (static_cast<int>(current->lane) >= 8 * matrices) return;
    uint8_t* p = shared_pointer(row_address, 16, 16, "stmatrix");
    note_write(p, 16);
    Quiet quiet;
    std::memcpy(p, row.word, 16);
}

void mma_sync(Operand type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    require_full_warp("mma.sync");
    LaneData in{{a[0], a[1], a[2], a[3], b[0], b[1]}};
    std::memcpy(in.word + 6, d, sizeof d);
    const LaneData& out = meet({Collective::kMma, "mma.sync", multiply, static_cast<int>(type)}, kFullWarp, in);
    std::memcpy(d, out.word, sizeof d);
}

}  // namespace convgpu::emulator
