// Average pooling and its gradient.
//
// A thread owns a tile of the results: some rows of pixels, and a block of channels; it takes a vector of channels at a
// time. The gradient is a gather: each pixel adds up its shares of the windows that hold it.
// Layouts: any; channels that are not neighbours are copied.
// Taps outside the input are skipped.
// Order: taps, or windows, in row-major order, in blocks of kBlock.
#include "table.h"
#include "windows.h"

namespace convgpu::cpu::CONVGPU_ISA {
template <class T>
void avg_pool(const PoolCall& call) {
    using A = Accumulator<T>;
    const PoolAxis* const axis = call.axis;
    const bool copies = call.x.step_c != 1 || call.y.step_c != 1;
    for_each_part(
        call.y, call.threads, copies, 2, sizeof(T), call.work,
        [&](const Boxes& boxes) { return input_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const auto x = read_part<T>(call.x, input_part(axis, part), scratch);
            const int64_t step[kAxes] = {x.step[0] * axis[0].dilation, x.step[1] * axis[1].dilation,
                                         x.step[2] * axis[2].dilation};
            const Box& box = part.box;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t o = box.begin[1]; o < box.end[1]; ++o) {
                    for (int64_t p = box.begin[2]; p < box.end[2]; ++p) {
                        auto y = result_row<T>(call.y, part, n, o, p, scratch);
                        const Range ts = inside(axis[0], o), rs = inside(axis[1], p);
                        const int64_t rows =
                            divisor(axis[0], o, call.count_include_pad) * divisor(axis[1], p, call.count_include_pad);
                        for (int64_t q = box.begin[3]; q < box.end[3]; ++q, y.data += y.step) {
                            const Range ss = inside(axis[2], q);
                            const A all = static_cast<A>(rows * divisor(axis[2], q, call.count_include_pad));
                            const T* const at = x.at(n, start(axis[0], o), start(axis[1], p), start(axis[2], q));
                            for (int64_t c = 0; c < part.channels; c += kLanes<A>) {
                                const int lanes = lanes_from<A>(c, part.channels);
                                VectorSum<A> sum;
                                for (int64_t t = ts.begin; t < ts.end; ++t) {
                                    for (int64_t r = rs.begin; r < rs.end; ++r) {
                                        const T* const row = at + t * step[0] + r * step[1] + c;
                                        for (int64_t s = ss.begin; s < ss.end; ++s)
                                            sum.add(read_lanes(row + s * step[2], lanes));
                                    }
                                }
                                write_lanes(y.data + c, sum.value() / all, lanes);
                            }
                        }
                        deliver_row<T>(call.y, part, n, o, p, scratch);
                    }
                }
            }
        });
}

template <class T>
void avg_pool_dgrad(const PoolCall& call) {
    using A = Accumulator<T>;
    const PoolAxis* const axis = call.axis;
    const bool copies = call.gx.step_c != 1 || call.gy.step_c != 1;
    for_each_part(
        call.gx, call.threads, copies, 2, sizeof(T), call.work,
        [&](const Boxes& boxes) { return output_pixels(axis, boxes); },
        [&](const Part& part, char* scratch) {
            const auto gy = read_part<T>(call.gy, output_part(axis, part), scratch);
            const Box& box = part.box;
            for (int64_t n = box.begin[0]; n < box.end[0]; ++n) {
                for (int64_t d = box.begin[1]; d < box.end[1]; ++d) {
                    for (int64_t h = box.begin[2]; h < box.end[2]; ++h) {
                        auto gx = result_row<T>(call.gx, part, n, d, h, scratch);
                        const Range os = covering(axis[0], d), ps = covering(axis[1], h);
                        for (int64_t w = box.begin[3]; w < box.end[3]; ++w, gx.data += gx.step) {
                            const Range qs = covering(axis[2], w);
                            for (int64_t c = 0; c < part.channels; c += kLanes<A>) {
                                const int lanes = lanes_from<A>(c, part.channels);
                                VectorSum<A> sum;
                                for (int64_t o = os.begin; o < os.end; ++o) {
                                    const int64_t planes = divisor(axis[0], o, call.count_include_pad);
                                    for (int64_t p = ps.begin; p < ps.end; ++p) {
                                        const int64_t rows = planes * divisor(axis[1], p, call.count_include_pad);
                                        for (int64_t q = qs.begin; q < qs.end; ++q) {
                                            if (!holds(axis, o, p, q, d, h, w)) continue;
                                            const A all =
                                                static_cast<A>(rows * divisor(axis[2], q, call.count_include_pad));
                                            sum.add(read_lanes(gy.at(n, o, p, q) + c, lanes) * (1 / all));
                                        }
                                    }
                                }
                                write_lanes(gx.data + c, sum.value(), lanes);
                            }
                        }
                        deliver_row<T>(call.gx, part, n, d, h, scratch);
                    }
                }
            }
        });
}

CONVGPU_FOR_EACH_DTYPE(avg_pool, PoolCall)
CONVGPU_FOR_EACH_DTYPE(avg_pool_dgrad, PoolCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
