// Operands of products in pairs (pairs.h): copies of bfloat16 between arrays of any steps, rows, and panels.
#pragma once
#include "lanes.h"
#include "pairs.h"
#include "places.h"

#if defined(CONVGPU_PAIRS)
namespace convgpu::cpu::CONVGPU_ISA {

CONVGPU_INLINE int64_t whole_steps(int64_t terms) { return parts(terms, kPairTerms) * kPairTerms; }

CONVGPU_INLINE __mmask32 first_32(int64_t n) { return n >= 32 ? ~__mmask32(0) : (__mmask32(1) << n) - 1; }

// n neighbours.
CONVGPU_INLINE void copy_terms(const BFloat16* from, BFloat16* to, int64_t n) {
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) _mm512_storeu_si512(to + i, _mm512_loadu_si512(from + i));
    if (i < n) _mm512_mask_storeu_epi16(to + i, first_32(n - i), _mm512_maskz_loadu_epi16(first_32(n - i), from + i));
}
CONVGPU_INLINE void zero_terms(BFloat16* to, int64_t n) {
    if (n > 0) std::memset(static_cast<void*>(to), 0, n * sizeof(BFloat16));
}

// to[i * step_to + j] = from[j * step_from + i] for i, j below 8.
CONVGPU_INLINE void transpose_8x8(const BFloat16* from, int64_t step_from, BFloat16* to, int64_t step_to) {
    __m128i a[8], b[8];
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) a[j] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j * step_from));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {  // neighbours of two rows
        b[2 * j] = _mm_unpacklo_epi16(a[2 * j], a[2 * j + 1]);
        b[2 * j + 1] = _mm_unpackhi_epi16(a[2 * j], a[2 * j + 1]);
    }
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {  // of four
        a[4 * j] = _mm_unpacklo_epi32(b[4 * j], b[4 * j + 2]);
        a[4 * j + 1] = _mm_unpackhi_epi32(b[4 * j], b[4 * j + 2]);
        a[4 * j + 2] = _mm_unpacklo_epi32(b[4 * j + 1], b[4 * j + 3]);
        a[4 * j + 3] = _mm_unpackhi_epi32(b[4 * j + 1], b[4 * j + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const auto row = [&](int k) { return reinterpret_cast<__m128i*>(to + k * step_to); };
        _mm_storeu_si128(row(2 * i), _mm_unpacklo_epi64(a[i], a[i + 4]));
        _mm_storeu_si128(row(2 * i + 1), _mm_unpackhi_epi64(a[i], a[i + 4]));
    }
}

// to[r * row + t] = from[r * step_r + t * step_t] for r below `rows` and t below `terms`.
inline void copy_rows(const BFloat16* from, int64_t step_r, int64_t step_t, BFloat16* to, int64_t row, int64_t rows,
                      int64_t terms) {
    if (step_t == 1) {
        for (int64_t r = 0; r < rows; ++r) copy_terms(from + r * step_r, to + r * row, terms);
        return;
    }
    int64_t whole_r = 0, whole_t = 0;
    if (step_r == 1) {
        whole_r = rows / 8 * 8;
        whole_t = terms / 8 * 8;
        for (int64_t r = 0; r < whole_r; r += 8) {
            for (int64_t t = 0; t < whole_t; t += 8)
                transpose_8x8(from + r + t * step_t, step_t, to + r * row + t, row);
        }
    }
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t t = r < whole_r ? whole_t : 0; t < terms; ++t) to[r * row + t] = from[r * step_r + t * step_t];
    }
}

// Two rows of up to 32 neighbours as pairs: to[2 * i] = a[i], to[2 * i + 1] = b[i]; zeros from the n-th pair to the
// last. b may be null, and stands for zeros then.
CONVGPU_INLINE void interleave(const BFloat16* a, const BFloat16* b, BFloat16* to, int64_t n) {
#pragma GCC unroll 2
    for (int i = 0; i < kPairColumns; i += 16) {
        const __mmask16 there = static_cast<__mmask16>(first_32(larger<int64_t>(n, 0)) >> i);
        const __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, a + i));
        const __m512i odd = b ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, b + i)) : _mm512_setzero_si512();
        _mm512_storeu_si512(to + 2 * i, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

// Panels of filters: for each group, panel of columns and block of kPairBlock terms, whole steps of terms. Terms are
// counted tap by tap in the order of the gather, and within a tap channel by channel.
class PairFilters {
public:
    // step_group: elements from a group's filters to those of the next. Groups may share them.
    PairFilters(const Filters& w, const Gather& gather, int64_t step_group, int64_t groups, int64_t reads,
                int64_t makes)
        : w_(w),
          gather_(gather),
          step_group_(step_group),
          groups_(step_group == 0 ? 1 : groups),
          reads_(reads),
          makes_(makes),
          terms_(gather.taps() * reads),
          panels_(parts(makes, kPairColumns)) {}

    int64_t bytes() const { return groups_ * panels_ * panel() * static_cast<int64_t>(sizeof(BFloat16)); }

    // Fills `memory`, which has bytes().
    void pack(BFloat16* memory, int threads) {
        packed_ = memory;
        const int64_t blocks = parts(terms_, kPairBlock);
        parallel_for(groups_ * panels_ * blocks, threads, 0, [&](int64_t i, char*) {
            const int64_t begin = i % blocks * kPairBlock, p = i / blocks % panels_, group = i / blocks / panels_;
            pack_block(group, p, begin, memory + (group * panels_ + p) * panel() + begin * kPairColumns);
        });
    }

    // The block of a panel that begins with term `begin`. `scratch` has room for it if nothing was packed.
    const BFloat16* block(int64_t group, int64_t p, int64_t begin, BFloat16* scratch) const {
        const int64_t g = groups_ == 1 ? 0 : group;
        if (packed_) return packed_ + (g * panels_ + p) * panel() + begin * kPairColumns;
        pack_block(g, p, begin, scratch);
        return scratch;
    }

    bool finite() const {
        for (int64_t group = 0; group < groups_; ++group) {
            for (int64_t tap = 0; tap < gather_.taps(); ++tap) {
                const BFloat16* const from = at(group, tap, 0, 0);
                const bool along_k = w_.step_k == 1;
                const int64_t rows = along_k ? reads_ : makes_, n = along_k ? makes_ : reads_;
                const int64_t step = along_k ? w_.step_c : w_.step_k, next = along_k ? w_.step_k : w_.step_c;
                for (int64_t r = 0; r < rows; ++r) {
                    uint16_t found = 0;
                    if (next == 1) {
                        for (int64_t i = 0; i < n; ++i) found |= is_special(from[r * step + i]);
                    } else {
                        for (int64_t i = 0; i < n; ++i) found |= is_special(from[r * step + i * next]);
                    }
                    if (found) return false;
                }
            }
        }
        return true;
    }

private:
    int64_t panel() const { return whole_steps(terms_) * kPairColumns; }
    static uint16_t is_special(BFloat16 a) { return (a.bits & 0x7f80) == 0x7f80; }

    const BFloat16* at(int64_t group, int64_t tap, int64_t c, int64_t k) const {
        const int64_t s = gather_.axis[2].taps.size(), r = gather_.axis[1].taps.size();
        return reinterpret_cast<const BFloat16*>(w_.data) + group * step_group_ +
               gather_.axis[2].taps[tap % s].filter * w_.step[2] +
               gather_.axis[1].taps[tap / s % r].filter * w_.step[1] +
               gather_.axis[0].taps[tap / s / r].filter * w_.step[0] + c * w_.step_c + k * w_.step_k;
    }

    void pack_block(int64_t group, int64_t p, int64_t begin, BFloat16* to) const {
        const int64_t first = p * kPairColumns, columns = smaller<int64_t>(kPairColumns, makes_ - first);
        const int64_t end = smaller(terms_, begin + kPairBlock), all = whole_steps(end - begin);
        const auto term = [&](int64_t t) { return at(group, t / reads_, t % reads_, first); };
        if (w_.step_k == 1) {
            for (int64_t t = begin; t < end; t += 2, to += 2 * kPairColumns) {
                interleave(term(t), t + 1 < end ? term(t + 1) : nullptr, to, columns);
            }
        } else if (w_.step_c == 1 && reads_ % 8 == 0) {
            // Pairs are neighbours already: each is one word of a transposed block.
            alignas(64) BFloat16 rows[8 * kPairColumns] = {};
            for (int64_t t = begin; t < end; t += 8, to += 8 * kPairColumns) {
                const BFloat16* const from = term(t);
                for (int64_t k = 0; k < columns; ++k) std::memcpy(rows + 8 * k, from + k * w_.step_k, 16);
                for (int64_t k = 0; k < kPairColumns; k += 4) {
                    transpose_4x4(reinterpret_cast<const float*>(rows + 8 * k), 4, reinterpret_cast<float*>(to + 2 * k),
                                  kPairColumns);
                }
            }
        } else {
            for (int64_t t = begin; t < end; t += 2, to += 2 * kPairColumns) {
                zero_terms(to, 2 * kPairColumns);
                for (int64_t i = t; i < smaller(t + 2, end); ++i) {
                    const BFloat16* const from = term(i);
                    for (int64_t k = 0; k < columns; ++k) to[2 * k + i - t] = from[k * w_.step_k];
                }
            }
        }
        zero_terms(to, (all - (end - begin + 1) / 2 * 2) * kPairColumns);
    }

    const Filters& w_;
    const Gather& gather_;
    int64_t step_group_, groups_, reads_, makes_, terms_, panels_;
    BFloat16* packed_ = nullptr;
};

// What a box of outputs reads, as rows of terms: im2col, some terms at a time.
class PairPixels {
public:
    PairPixels(const Images& x, const Gather& gather, int64_t reads) : x_(x), gather_(gather), reads_(reads) {
        const auto& taps = gather.axis[2].taps;
        bool close = x.step_c == 1 && x.step[2] == reads;
        for (size_t s = 1; s < taps.size(); ++s) close &= taps[s].offset == taps[s - 1].offset + 1;
        merged_ = close ? static_cast<int64_t>(taps.size()) : 1;  // taps whose channels are neighbours
    }

    // Terms [begin, end) of all pixels of a box, to rows that are `row` elements apart and end with zeros. The channels
    // of the group begin `group` elements behind the first ones.
    void copy(const Box& box, int64_t group, int64_t begin, int64_t end, BFloat16* to, int64_t row) const {
        const int64_t unit = merged_ * reads_;
        for (int64_t u = begin / unit; u * unit < end; ++u) {
            const int64_t first = larger(begin - u * unit, int64_t(0)), last = smaller(end - u * unit, unit);
            copy_unit(box, group, u, first, last, to + u * unit + first - begin, row);
        }
        const int64_t rest = whole_steps(end - begin) - (end - begin);
        for (int64_t p = 0; p < box.pixels() && rest > 0; ++p) zero_terms(to + p * row + end - begin, rest);
    }

private:
    // Terms [first, last) of unit u, which is a tap, or a row of taps whose channels are neighbours.
    void copy_unit(const Box& box, int64_t group, int64_t u, int64_t first, int64_t last, BFloat16* to,
                   int64_t row) const {
        const GatherAxis* const axis = gather_.axis;
        const int64_t S = axis[2].taps.size() / merged_, R = axis[1].taps.size(), count = box.count(3);
        const int64_t step = axis[2].step, x0 = box.begin[3] * step + axis[2].taps[u % S * merged_].offset;
        const Span whole = {inside_of(x0, step, x_.size[2], count).begin,
                            inside_of(x0 + merged_ - 1, step, x_.size[2], count).end};
        for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
            for (int64_t i = box.begin[1]; i < box.end[1]; ++i) {
                for (int64_t j = box.begin[2]; j < box.end[2]; ++j, to += count * row) {
                    const int64_t z = i * axis[0].step + axis[0].taps[u / S / R].offset;
                    const int64_t y = j * axis[1].step + axis[1].taps[u / S % R].offset;
                    const bool there = z >= 0 && z < x_.size[0] && y >= 0 && y < x_.size[1];
                    Span inside = there ? whole : Span{count, count};
                    if (inside.begin >= inside.end) inside = {count, count};
                    const auto edge = [&](int64_t k) {
                        if (there && merged_ > 1)
                            return copy_edge(n, z, y, x0 + k * step, group, first, last, to + k * row);
                        zero_terms(to + k * row, last - first);
                    };
                    for (int64_t k = 0; k < inside.begin; ++k) edge(k);
                    if (inside.begin < inside.end) {
                        const BFloat16* const from =
                            x_.at<const BFloat16>(n, z, y, x0 + inside.begin * step, 0) + group + first * x_.step_c;
                        copy_rows(from, step * x_.step[2], x_.step_c, to + inside.begin * row, row,
                                  inside.end - inside.begin, last - first);
                    }
                    for (int64_t k = inside.end; k < count; ++k) edge(k);
                }
            }
        }
    }

    // The same of one pixel whose row of taps begins at x, some of them outside the image.
    void copy_edge(int64_t n, int64_t z, int64_t y, int64_t x, int64_t group, int64_t first, int64_t last,
                   BFloat16* to) const {
        const int64_t low = smaller(larger(first, -x * reads_), last);
        const int64_t high = larger(smaller(last, (x_.size[2] - x) * reads_), low);
        zero_terms(to, low - first);
        if (low < high) copy_terms(x_.at<const BFloat16>(n, z, y, x, 0) + group + low, to + low - first, high - low);
        zero_terms(to + high - first, last - high);
    }

    const Images& x_;
    const Gather& gather_;
    int64_t reads_, merged_;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
#endif
