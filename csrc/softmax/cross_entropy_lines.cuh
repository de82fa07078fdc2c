// The losses of lines: log(sum of exp(x - largest)) - (x at the label - largest), with label smoothing mixed in, and
// what gradients need of each line, its largest element and its sum.
//
// A group of threads owns a line, as lines.h says; a block writes the sum of its losses, and whether one of its labels
// is bad, for cross_entropy_total. Layouts: statistics[0][line] the largest element, statistics[1][line] the sum;
// losses[line], where they are wanted. Assumes that V divides the classes where it is not 1, and alignment to a vector
// of V elements. Order of summation: as in softmax_lines; the losses of a block in rising order, in groups of 16.
#pragma once
#include "labels.h"
#include "lines.h"

namespace convgpu::softmax {

template <class T, int V>
__global__ void __launch_bounds__(kThreads)
    cross_entropy_lines(const T* __restrict__ x, const __grid_constant__ Targets<Accumulator<T>> targets,
                        Accumulator<T>* __restrict__ losses, Accumulator<T>* __restrict__ statistics,
                        Accumulator<T>* __restrict__ sums, int32_t* __restrict__ bad,
                        const __grid_constant__ Lines all) {
    using A = Accumulator<T>;
    auto& shared = dyn_smem<LinesMemory<A>>();
    const Line line(all);
    const Statistics<A> s = statistics_of<V, T, A>(x, all, line, shared.of_warp);
    A shifted = 0;  // the sum of x - largest
    if (targets.smoothing != 0) {
        BlockedSum<A, 1> sum;
        line.each<V>(all, [&](int64_t, int64_t at) {
            const Vector<T, V> values = load<V>(x + at);
#pragma unroll
            for (int v = 0; v < V; ++v) sum.add_each([&](int) { return static_cast<A>(values.at[v]) - s.largest; });
        });
        shifted = agreed<Sum<A>>(sum[0], all.sharing, shared.of_warp);
    }
    const int mine = static_cast<int>(threadIdx.x) / all.sharing, count = kThreads / all.sharing;
    if (line.lane == 0) {
        A loss = 0;
        bool wrong = false;
        if (line.exists) {
            const int64_t label = targets.labels[line.number];
            wrong = label < 0 || label >= all.classes;
            const A log_sum = static_cast<A>(log(s.sum));
            const A picked = wrong ? A(0) : static_cast<A>(x[line.first + label * all.inner]) - s.largest;
            loss = log_sum - picked;
            if (targets.smoothing != 0) {
                const A mean = shifted / static_cast<A>(all.classes) - log_sum;
                loss = loss * (1 - targets.smoothing) - mean * targets.smoothing;
            }
            statistics[line.number] = s.largest;
            statistics[all.lines + line.number] = s.sum;
            if (losses) losses[line.number] = loss;
        }
        shared.losses[mine] = loss;
        shared.bad[mine] = wrong;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    int any = 0;
    for (int i = 0; i < count; ++i) any |= shared.bad[i];
    sums[blockIdx.x] = sum_in_groups(shared.losses, count, 1);
    bad[blockIdx.x] = any;
}

template <class T, int V>
void launch_cross_entropy_lines(const T* x, const Targets<Accumulator<T>>& targets, Accumulator<T>* losses,
                                Accumulator<T>* statistics, Accumulator<T>* sums, int32_t* bad, const Plan& plan,
                                Stream stream) {
    launch(cross_entropy_lines<T, V>, shape_of(plan, sizeof(LinesMemory<Accumulator<T>>)), stream, x, targets, losses,
           statistics, sums, bad, Lines(plan));
}

}  // namespace convgpu::softmax
