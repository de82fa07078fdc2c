// Max pooling and its gradient, where rows of pixels are neighbours (channels_first).
//
// A thread owns some planes, or rows of a plane, of the result; vectors lie along the rows, which are copied into
// phases of the stride. The gradient is a gather: each pixel adds up what the windows that it has won give it.
// Layouts: channels_first, windows of at most 128 taps; max_pool.cpp has the others.
// Taps outside the input are -Inf in the copies, and cannot win: a window begins as if its first tap inside had won
// with -Inf. Windows outside the output have a gradient of 0.
// The first NaN of a window wins, else the first of equal values.
// Order: windows in row-major order.
#include "planes.h"
#include "table.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

bool suited(const PoolCall& call, const Images& x, const Images& y) {
    int64_t taps = 1;
    for (int a = 0; a < kAxes; ++a) {
        if (call.axis[a].adaptive) return false;
        taps *= call.axis[a].window;
    }
    const bool winners = !call.offset_view.data || (has_planes(call.offset_view) && call.offset_bytes == 1);
    return has_planes(x) && has_planes(y) && winners && taps <= kBlock && 4 * y.size[2] >= call.axis[2].window;
}

template <class T, bool kOffsets>
class MaxPlanes {
    using A = Accumulator<T>;
    using Integer = decltype(+Integers<A>{}[0]);

public:
    explicit MaxPlanes(const PoolCall& call)
        : call_(call),
          axis_(call.axis),
          boxes_(plane_boxes(call.y, [&](const Boxes& boxes) { return bytes(boxes); })) {}

    bool suits() const { return bytes(boxes_) <= 16 * kPlaneBytes; }
    void run() const {
        parallel_for(boxes_.count(), call_.work < 32768 ? 1 : call_.threads, bytes(boxes_),
                     [&](int64_t i, char* scratch) { tile(boxes_[i], scratch); });
    }

private:
    struct TapRow {
        int64_t x;     // where it is in the copy
        Integer code;  // of its first tap
    };

    int64_t window_rows() const { return axis_[0].window * axis_[1].window; }
    int64_t rows(const Boxes& boxes) const {  // of pixels, an upper bound
        int64_t count = 1;
        for (int a = 0; a < 2; ++a) {
            const int64_t reach = (axis_[a].window - 1) * axis_[a].dilation + 1;
            count *= smaller(axis_[a].size, (boxes.part(1 + a) - 1) * axis_[a].stride + reach);
        }
        return count;
    }
    int64_t bytes(const Boxes& boxes) const {
        const int64_t count = boxes.part(3), results = boxes.part(1) * boxes.part(2);
        const RowCopies<A> copies(axis_[2], axis_[2].size, 0, count, rows(boxes));
        return Room::bytes_of<TapRow>(results * window_rows()) + Room::bytes_of<int64_t>(results) +
               Room::bytes_of<int64_t>(axis_[2].window) + Room::bytes_of<Integer>(whole<A>(count)) +
               Room::bytes_of<A>(copies.copied()) + Room::bytes_of<A>(copies.split());
    }

    void tile(const Box& box, char* scratch) const {
        const int64_t q = box.begin[3], count = box.count(3), results = box.count(1) * box.count(2);
        const Range ds = pixels_of(axis_[0], box.begin[1], box.end[1]);
        const Range hs = pixels_of(axis_[1], box.begin[2], box.end[2]);
        const RowCopies<A> copies(axis_[2], axis_[2].size, start(axis_[2], q), count, ds.count() * hs.count());
        Room room(scratch);
        TapRow* const taps = room.take<TapRow>(results * window_rows());
        int64_t* const counts = room.take<int64_t>(results);
        int64_t* const offsets = room.take<int64_t>(axis_[2].window);
        Integer* const firsts = room.take<Integer>(whole<A>(count));
        A* const rows = room.take<A>(copies.copied());
        A* const phases = room.take<A>(copies.split());
        for (int64_t s = 0; s < axis_[2].window; ++s) offsets[s] = copies.at(s * axis_[2].dilation);
        for (int64_t i = 0; i < whole<A>(count); ++i) {
            firsts[i] = static_cast<Integer>(inside(axis_[2], smaller(q + i, box.end[3] - 1)).begin);
        }
        list_rows(box, ds, hs, copies.step(), counts, taps);
        copies.fill(-__builtin_inf(), rows);
        for_each_plane(call_.y, box, [&](const Plane& plane) {
            const A* const split = copies.read(plane.row<const T>(call_.x, ds.begin, hs.begin, 0), call_.x.step,
                                               ds.count(), hs.count(), rows, phases);
            const TapRow* from = taps;
            const int64_t* each = counts;
            for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
                for (int64_t p = box.begin[2]; p < box.end[2]; from += *each++, ++p) {
                    T* const y = plane.row<T>(call_.y, o, p, q);
                    uint8_t* const winners = kOffsets ? plane.row<uint8_t>(call_.offset_view, o, p, q) : nullptr;
                    for (int64_t i = 0; i < count; i += kLanes<A>) {
                        find(split + i, from, *each, offsets, firsts + i, y + i, kOffsets ? winners + i : nullptr,
                             lanes_of(count - i, kLanes<A>));
                    }
                }
            }
        });
    }

    // The rows of taps of each row of results that lie inside the input.
    void list_rows(const Box& box, Range ds, Range hs, int64_t length, int64_t* counts, TapRow* taps) const {
        for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
            const Range ts = inside(axis_[0], o);
            for (int64_t p = box.begin[2]; p < box.end[2]; ++p) {
                const Range rs = inside(axis_[1], p);
                *counts++ = ts.count() * rs.count();
                for (int64_t t = ts.begin; t < ts.end; ++t) {
                    for (int64_t r = rs.begin; r < rs.end; ++r) {
                        const int64_t d = start(axis_[0], o) + t * axis_[0].dilation - ds.begin;
                        const int64_t h = start(axis_[1], p) + r * axis_[1].dilation - hs.begin;
                        *taps++ = {(d * hs.count() + h) * length,
                                   static_cast<Integer>((t * axis_[1].window + r) * axis_[2].window)};
                    }
                }
            }
        }
    }

    // The winners of a vector of windows.
    CONVGPU_INLINE void find(const A* split, const TapRow* taps, int64_t rows, const int64_t* offsets,
                             const Integer* firsts, T* y, uint8_t* winners, int lanes) const {
        Vector<A> best = broadcast(static_cast<A>(-__builtin_inf()));
        Integers<A> winner{};
        if (kOffsets) {
            std::memcpy(&winner, firsts, sizeof(winner));
            winner += taps[0].code;
        }
        for (int64_t r = 0; r < rows; ++r) {
            const A* const x = split + taps[r].x;
            Integer code = taps[r].code;
            for (int64_t s = 0; s < axis_[2].window; ++s, ++code) {
                const Vector<A> v = load(x + offsets[s]);
                const Integers<A> wins = ~(v <= best) & (best == best);  // v is larger, or NaN
                best = wins ? v : best;
                if (kOffsets) winner = wins ? code + Integers<A>{} : winner;
            }
        }
        write_lanes(y, best, lanes);
        if (kOffsets) write_offsets<A>(winners, winner, lanes);
    }

    const PoolCall& call_;
    const PoolAxis* const axis_;
    Boxes boxes_;
};

template <class T>
class MaxGradientPlanes {
    using A = Accumulator<T>;
    using Integer = decltype(+Integers<A>{}[0]);

public:
    explicit MaxGradientPlanes(const PoolCall& call)
        : call_(call),
          axis_(call.axis),
          boxes_(plane_boxes(call.gx, [&](const Boxes& boxes) { return bytes(boxes); })) {}

    bool suits() const { return bytes(boxes_) <= 16 * kPlaneBytes; }
    void run() const {
        parallel_for(boxes_.count(), call_.work < 32768 ? 1 : call_.threads, bytes(boxes_),
                     [&](int64_t i, char* scratch) { tile(boxes_[i], scratch); });
    }

private:
    // A row of windows over a row of pixels: where it is in the copies, and the first tap that the row of pixels is.
    struct Line {
        int64_t output;
        Integer code;
    };

    int64_t window_rows() const { return axis_[0].window * axis_[1].window; }
    int64_t bytes(const Boxes& boxes) const {
        const int64_t rows = boxes.part(1) * boxes.part(2), count = boxes.part(3);
        const int64_t outputs = output_rows(axis_, boxes) * Merged<A>::outputs_of(axis_[2], count);
        return Room::bytes_of<Line>(rows * window_rows()) + Room::bytes_of<int64_t>(rows) +
               Room::bytes_of<Reach>(axis_[2].window) + Room::bytes_of<int64_t>(axis_[2].stride + 1) +
               Room::bytes_of<A>(Merged<A>::elements_of(axis_[2], count)) + Room::bytes_of<uint8_t>(outputs) +
               Room::bytes_of<A>(outputs + kLanes<A>);
    }

    void tile(const Box& box, char* scratch) const {
        const int64_t rows = box.count(1) * box.count(2);
        const Merged<A> row(axis_[2], box.begin[3], box.end[3]);
        const Range os = outputs_of(axis_[0], box.begin[1], box.end[1]);
        const Range ps = outputs_of(axis_[1], box.begin[2], box.end[2]);
        const RowCopies<A> outputs = row.outputs(axis_[2], os.count() * ps.count());
        Room room(scratch);
        Line* const lines = room.take<Line>(rows * window_rows());
        int64_t* const counts = room.take<int64_t>(rows);
        Reach* const taps = room.take<Reach>(axis_[2].window);
        int64_t* const begin = room.take<int64_t>(axis_[2].stride + 1);
        A* const phases = room.take<A>(Merged<A>::elements_of(axis_[2], box.count(3)));
        uint8_t* const winners = room.take<uint8_t>(os.count() * ps.count() * outputs.pitch());
        A* const gy = room.take<A>(0);
        list_taps(axis_[2], taps, begin);
        Line* line = lines;
        for_each_row_of_outputs(
            axis_, box,
            [&](int64_t i, int64_t output, int64_t t, int64_t r) {
                counts[i] += 1;
                *line++ = {output * outputs.pitch() + row.before,
                           static_cast<Integer>((t * axis_[1].window + r) * axis_[2].window)};
            },
            [&](int64_t i) { counts[i] = 0; });
        outputs.fill(0, gy);
        std::memset(winners, 0, os.count() * ps.count() * outputs.pitch());
        for_each_plane(call_.gx, box, [&](const Plane& plane) {
            int64_t at = 0;
            for (int64_t o = os.begin; o < os.end; ++o) {
                for (int64_t p = ps.begin; p < ps.end; ++p, at += outputs.pitch()) {
                    outputs.copy(plane.row<const T>(call_.gy, o, p, 0), gy + at);
                    copy_winners(plane.row<const uint8_t>(call_.offset_view, o, p, 0), row.first - row.before,
                                 outputs.pitch(), winners + at);
                }
            }
            const Line* from = lines;
            int64_t i = 0;
            for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                for (int64_t h = box.begin[2]; h < box.end[2]; from += counts[i++], ++h) {
                    write_row(row, gy, winners, from, counts[i], taps, begin, phases,
                              plane.row<T>(call_.gx, d, h, box.begin[3]), box.count(3));
                }
            }
        });
    }

    // The winners of those of n outputs from `first` that there are.
    void copy_winners(const uint8_t* from, int64_t first, int64_t n, uint8_t* to) const {
        const int64_t begin = larger<int64_t>(-first, 0), end = smaller(axis_[2].output - first, n);
        if (begin < end) std::memcpy(to + begin, from + first + begin, end - begin);
    }

    void write_row(const Merged<A>& row, const A* gy, const uint8_t* winners, const Line* lines, int64_t count,
                   const Reach* taps, const int64_t* begin, A* phases, T* gx, int64_t n) const {
        write_phases(row, phases, gx, n, [&](int64_t f, int64_t i) __attribute__((always_inline)) {
            Vector<A> sum{};
            for (int64_t l = 0; l < count; ++l) {
                for (int64_t k = begin[f]; k < begin[f + 1]; ++k) {
                    const int64_t at = lines[l].output + taps[k].shift + i;
                    const Integers<A> won = read_offsets<A>(winners + at, kLanes<A>);
                    const Integer code = lines[l].code + static_cast<Integer>(taps[k].tap);
                    sum += won == code + Integers<A>{} ? load(gy + at) : Vector<A>{};
                }
            }
            return sum;
        });
    }

    const PoolCall& call_;
    const PoolAxis* const axis_;
    Boxes boxes_;
};

template <class Kernel>
bool ran(const PoolCall& call) {
    const Kernel kernel(call);
    if (!kernel.suits()) return false;
    kernel.run();
    return true;
}

}  // namespace

template <class T>
bool max_pool_planes(const PoolCall& call) {
    if (!suited(call, call.x, call.y)) return false;
    return call.offset_view.data ? ran<MaxPlanes<T, true>>(call) : ran<MaxPlanes<T, false>>(call);
}
template <class T>
bool max_pool_dgrad_planes(const PoolCall& call) {
    return suited(call, call.gx, call.gy) && ran<MaxGradientPlanes<T>>(call);
}

#define CONVGPU_PLANES(T)                              \
    template bool max_pool_planes<T>(const PoolCall&); \
    template bool max_pool_dgrad_planes<T>(const PoolCall&);
CONVGPU_PLANES(Half)
CONVGPU_PLANES(BFloat16)
CONVGPU_PLANES(float)
CONVGPU_PLANES(double)

}  // namespace convgpu::cpu::CONVGPU_ISA
