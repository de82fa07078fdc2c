// Cross-entropy with integer labels, and its gradient.
//
// A thread owns a tile: some whole lines, or up to kAcross lines side by side. Memory is read once: a line is found in
// the cache by the passes that follow the first. A label that is out of range sets a flag.
// Layouts: without gaps, the classes along any axis.
// Order: kTerms classes, or 2 * kTerms vectors of a line, in the accumulator's type, then these in a wider type; the
// losses of all lines in a sequence, in a wider type.
#include "../threads.h"
#include "classes.h"

namespace convgpu::cpu::CONVGPU_ISA {
namespace {

int64_t label_of(const SoftmaxCall& call, int64_t line) {
    switch (call.label_type) {
        case LabelType::kUInt8:
            return static_cast<const uint8_t*>(call.labels)[line];
        case LabelType::kUInt16:
            return static_cast<const uint16_t*>(call.labels)[line];
        case LabelType::kInt32:
            return static_cast<const int32_t*>(call.labels)[line];
        default:
            return static_cast<const int64_t*>(call.labels)[line];
    }
}

// The loss of a line, whose element at the label is `x`.
template <class A>
A loss_of(const SoftmaxCall& call, const OfLineOfClasses<A>& found, A x) {
    const Wide<A> log_sum = logarithm(found.sum);
    Wide<A> loss = call.classes ? log_sum - (Wide<A>(x) - found.largest) : log_sum;
    if (call.smoothing != 0) {
        const Wide<A> mean = found.shifted / call.classes - log_sum, smoothing = call.smoothing;
        loss = loss * (1 - smoothing) - mean * smoothing;
    }
    return static_cast<A>(loss);
}

}  // namespace

template <class T>
void cross_entropy(const SoftmaxCall& call) {
    using A = Accumulator<T>;
    const int64_t n = call.classes, pitch = call.inner, lines = call.lines();
    const bool wants_shifted = call.smoothing != 0, apart = call.reduction == LossReduction::kNone;
    const T* const x = static_cast<const T*>(call.x);
    const Memory memory(apart ? 0 : lines * sizeof(A));
    A* const losses = apart ? static_cast<A*>(call.losses) : reinterpret_cast<A*>(memory.data());
    A* const statistics = static_cast<A*>(call.statistics);
    const auto put = [&](int64_t line, const OfLineOfClasses<A>& found, const T* first) {
        const int64_t label = label_of(call, line);
        const A at_label = n ? widened(first[(label < 0 || label >= n ? 0 : label) * pitch]) : A(0);
        losses[line] = loss_of(call, found, at_label);
        statistics[line] = found.largest;
        statistics[lines + line] = static_cast<A>(found.sum);
    };
    for_each_line<A>(
        call, sizeof(AcrossLines<A>),
        [&](int64_t line) { put(line, find(x + line * n, n, wants_shifted), x + line * n); },
        [&](int64_t o, int64_t first, int64_t width, char* scratch) {
            auto& found = *reinterpret_cast<AcrossLines<A>*>(scratch);
            const T* const from = x + o * n * pitch + first;
            find_across(from, n, pitch, width, wants_shifted, found);
            for (int64_t i = 0; i < width; ++i) {
                const Wide<A> shifted = wants_shifted ? found.shifted.all[i] : 0;
                put(o * pitch + first + i, {found.largest[i], found.sum.all[i], shifted}, from + i);
            }
        });
    *call.flag = 0;
    Wide<A> sum = 0;
    for (int64_t line = 0; line < lines; ++line) {
        const int64_t label = label_of(call, line);
        if (label < 0 || label >= n) *call.flag = 1;
        if (!apart) sum += losses[line];
    }
    if (apart) return;
    *static_cast<A*>(call.losses) = static_cast<A>(call.reduction == LossReduction::kMean ? sum / lines : sum);
}

// (exp(x - largest) / sum - target) * g, divided by the number of lines for a mean.
template <class T>
void cross_entropy_dgrad(const SoftmaxCall& call) {
    using A = Accumulator<T>;
    const int64_t n = call.classes, pitch = call.inner, lines = call.lines();
    const T* const x = static_cast<const T*>(call.x);
    T* const gx = static_cast<T*>(call.gx);
    const A *const largest = static_cast<const A*>(call.known), *const sum = largest + lines;
    const A* const g = static_cast<const A*>(call.g);
    const A everywhere = static_cast<A>(call.smoothing / larger<int64_t>(n, 1)),
            hit = static_cast<A>(1 - call.smoothing);
    const auto weight = [&](int64_t line) {
        if (call.reduction == LossReduction::kNone) return g[line];
        return call.reduction == LossReduction::kMean ? static_cast<A>(g[0] / larger<int64_t>(lines, 1)) : g[0];
    };
    const auto value = [&](Vector<A> v, Vector<A> most, Vector<A> inverse)
                           __attribute__((always_inline)) { return exponential(v - most) * inverse - everywhere; };
    // The element at the label, again and with its target.
    const auto put_label = [&](int64_t line, int64_t first) {
        const int64_t label = label_of(call, line), k = first + label * pitch;
        if (label < 0 || label >= n) return;
        const Vector<A> v = value(broadcast(widened(x[k])), broadcast(largest[line]), broadcast(1 / sum[line]));
        gx[k] = narrowed<T>((v[0] - hit) * weight(line));
    };
    for_each_line<A>(
        call, 3 * kAcross<A> * sizeof(A),
        [&](int64_t line) {
            const Vector<A> most = broadcast(largest[line]), inverse = broadcast(1 / sum[line]),
                            by = broadcast(weight(line));
            for_each_vector<A>(n, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                write_lanes(gx + line * n + i, value(read_lanes(x + line * n + i, lanes), most, inverse) * by, lanes);
            });
            put_label(line, line * n);
        },
        [&](int64_t o, int64_t first, int64_t width, char* scratch) {
            A *const most = reinterpret_cast<A*>(scratch), *const inverse = most + kAcross<A>;
            A* const by = inverse + kAcross<A>;
            const int64_t line = o * pitch + first, at = o * n * pitch + first;
            for (int64_t i = 0; i < width; ++i) {
                most[i] = largest[line + i];
                inverse[i] = 1 / sum[line + i];
                by[i] = weight(line + i);
            }
            for (int64_t c = 0; c < n; ++c) {
                for_each_vector<A>(width, [&](int64_t i, int lanes) __attribute__((always_inline)) {
                    const int64_t k = at + c * pitch + i;
                    const Vector<A> v = value(read_lanes(x + k, lanes), load(most + i), load(inverse + i));
                    write_lanes(gx + k, v * load(by + i), lanes);
                });
            }
            for (int64_t i = 0; i < width; ++i) put_label(line + i, at + i);
        });
}

CONVGPU_FOR_EACH_DTYPE(cross_entropy, SoftmaxCall)
CONVGPU_FOR_EACH_DTYPE(cross_entropy_dgrad, SoftmaxCall)

}  // namespace convgpu::cpu::CONVGPU_ISA
