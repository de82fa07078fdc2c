// Filters in the order in which a product reads them: panels of equal width, each a row of columns per term.
#pragma once
#include "../kernels.h"
#include "../threads.h"
#include "lanes.h"
#include "pixels.h"
#include "product.h"

namespace convgpu::cpu::CONVGPU_ISA {

// Terms are counted tap by tap, in the order of the gather, and within a tap channel by channel.
template <class T>
class PackedFilters {
public:
    using A = Accumulator<T>;

    // Panels that together take more than this are not kept: each tile packs the blocks that it uses.
    static constexpr int64_t kLimit = int64_t(16) << 20;
    static constexpr int64_t kCached = int64_t(1) << 20;

    PackedFilters(const ConvCall& call, const Gather& gather)
        : call_(call),
          gather_(gather),
          width_(panel_width<A>(call.makes)),
          terms_(gather.taps() * call.reads),
          group_(parts(call.makes, kLanes<A>) * kLanes<A> * terms_) {}

    // Whether panels are packed once and kept. If they are large and few tiles read them, that costs more than it
    // saves.
    bool kept() const { return kept_; }
    void keep(bool many_readers) { kept_ = bytes() <= (many_readers ? kLimit : kCached); }
    int64_t bytes() const { return call_.groups * group_ * static_cast<int64_t>(sizeof(A)); }

    // Fills `memory`, which has bytes().
    void pack(A* memory, int threads) {
        panels_ = memory;
        const int64_t each = parts(call_.makes, width_), cuts = parts(call_.reads, kSome);
        parallel_for(call_.groups * each * cuts, threads, 0, [&](int64_t i, char*) {
            const int64_t cut = i % cuts, panel = i / cuts % each, group = i / cuts / each;
            const int64_t begin = cut * kSome, end = smaller(call_.reads, begin + kSome);
            const int width = panel_of<A>(call_.makes - panel * width_, width_).width();
            A* const to = panels_ + group * group_ + panel * width_ * terms_;
            for (int64_t tap = 0; tap < gather_.taps(); ++tap) {
                pack_rows(group, panel, tap, begin, end, to + (tap * call_.reads + begin) * width);
            }
        });
    }

    // The rows of `taps` taps from the first one, channels [begin, end). `scratch` has room for them if nothing is
    // kept.
    const A* block(int64_t group, int64_t panel, int64_t tap, int64_t taps, int64_t begin, int64_t end,
                   A* scratch) const {
        const int width = panel_of<A>(call_.makes - panel * width_, width_).width();
        if (panels_) {
            return panels_ + group * group_ + panel * width_ * terms_ + (tap * call_.reads + begin) * width;
        }
        for (int64_t t = 0; t < taps; ++t) {
            pack_rows(group, panel, tap + t, begin, end, scratch + t * (end - begin) * width);
        }
        return scratch;
    }

    // Whether all filters are finite. A product with padding's zeros would give NaN if one is not.
    bool finite() const {
        for (int64_t group = 0; group < call_.groups; ++group) {
            for (int64_t tap = 0; tap < gather_.taps(); ++tap) {
                if (!finite_rows(at(group, tap))) return false;
            }
        }
        return true;
    }
    bool kept_and_finite() const {
        using Vec = Vector<A>;
        Vec sum[4] = {};
        const int64_t count = bytes() / static_cast<int64_t>(sizeof(A));
        int64_t i = 0;
        for (; i + 4 * kLanes<A> <= count; i += 4 * kLanes<A>) {
            for (int j = 0; j < 4; ++j) sum[j] += load(panels_ + i + j * kLanes<A>) * 0;
        }
        for (; i < count; i += kLanes<A>) sum[0] += load(panels_ + i) * 0;
        const Vec all = sum[0] + sum[1] + sum[2] + sum[3];
        for (int j = 0; j < kLanes<A>; ++j) {
            if (all[j] != 0) return false;
        }
        return true;
    }

private:
    static constexpr int64_t kSome = 64;  // channels that are packed at a time

    const T* at(int64_t group, int64_t tap) const {
        const int64_t s = gather_.axis[2].taps.size(), r = gather_.axis[1].taps.size();
        return reinterpret_cast<const T*>(call_.w.data) + group * call_.step_group +
               gather_.axis[2].taps[tap % s].filter * call_.w.step[2] +
               gather_.axis[1].taps[tap / s % r].filter * call_.w.step[1] +
               gather_.axis[0].taps[tap / s / r].filter * call_.w.step[0];
    }

    // The same for one tap of a group. The inner loop is over neighbours in memory.
    bool finite_rows(const T* from) const {
        const bool along_k = call_.w.step_k == 1;
        const int64_t rows = along_k ? call_.reads : call_.makes, columns = along_k ? call_.makes : call_.reads;
        const int64_t step = along_k ? call_.w.step_c : call_.w.step_k, next = along_k ? 1 : call_.w.step_c;
        for (int64_t r = 0; r < rows; ++r) {
            const T* const row = from + r * step;
            A sum[kLanes<A>] = {};
            int64_t i = 0;
            if (next == 1) {
                Vector<A> all{};
                for (; i + kLanes<A> <= columns; i += kLanes<A>) all += read_lanes(row + i, kLanes<A>) * 0;
                store(sum, all);
            }
            for (; i < columns; ++i) sum[0] += widened(row[i * next]) * 0;
            for (const A s : sum) {
                if (s != 0) return false;
            }
        }
        return true;
    }

    void pack_rows(int64_t group, int64_t panel, int64_t tap, int64_t begin, int64_t end, A* to) const {
        const int64_t first = panel * width_, columns = smaller(width_, call_.makes - first);
        const int width = panel_of<A>(columns).width();
        pack_filters<T>(at(group, tap) + begin * call_.w.step_c + first * call_.w.step_k, call_.w.step_c,
                        call_.w.step_k, to, width, end - begin, columns);
    }

    const ConvCall& call_;
    const Gather& gather_;
    int64_t width_;          // of a panel
    int64_t terms_, group_;  // the terms of a sum, and the elements of a group's panels
    A* panels_ = nullptr;
    bool kept_ = true;
};

}  // namespace convgpu::cpu::CONVGPU_ISA
