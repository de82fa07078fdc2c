#include "scaled.cuh"

#include "../common/check.h"

#include <algorithm>

namespace convgpu::hopper {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Tasks tasks_of(const Factor& f) {
    constexpr int64_t kWarps = 4096, kVectorsAlong = 8;  // kVectorsAlong counts the vectors of a lane along a line
    const int64_t vectors = ceil_div(f.length, kScaleVector);
    Tasks tasks;
    tasks.lanes = 1;
    while (tasks.lanes < 32 && tasks.lanes < vectors) tasks.lanes *= 2;
    const int abreast = 32 / tasks.lanes;
    tasks.lines = abreast;
    tasks.vectors = tasks.lanes;
    if (f.along) {
        tasks.vectors *= kVectorsAlong;
    } else {  // the more lines a task has, the fewer atomics it needs; but enough tasks must be there to fill the
              // machine
        const int64_t rounds = f.items * ceil_div(f.lines, abreast) * ceil_div(vectors, tasks.lanes) / kWarps;
        tasks.lines *= static_cast<int>(std::clamp<int64_t>(rounds, 8, 4096));
    }
    tasks.aligned = is_aligned(f.x, kVectorBytes) && f.stride % 4 == 0 && f.item_stride % 4 == 0;
    const int64_t along = ceil_div(vectors, tasks.vectors), down = ceil_div(f.lines, tasks.lines);
    tasks.along = Divisor(static_cast<uint64_t>(along));
    tasks.down = Divisor(static_cast<uint64_t>(down));
    tasks.by_ranges = Divisor(static_cast<uint64_t>(f.ranges));
    tasks.count = static_cast<uint64_t>(along * down * f.items);
    return tasks;
}

template <class Pass>
void launch_over_ranges(const ScaledFactor& a, const ScaledFactor& b, Stream stream) {
    const Tasks of_a = tasks_of(a.from), of_b = tasks_of(b.from);
    constexpr uint64_t kWarps = kScaleThreads / 32;
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((std::max(of_a.count, of_b.count) + kWarps - 1) / kWarps), 2);
    shape.block = dim3(kScaleThreads);
    launch(over_ranges<Pass>, shape, stream, a, of_a, b, of_b);
}

}  // namespace

ScaledFactors::ScaledFactors(const Factor& of_a, const Factor& of_b, Factors factors, int64_t items, int64_t M,
                             int64_t N)
    : factors_(factors) {
    a.from = of_a;
    b.from = of_b;
    marks.rows = static_cast<int>(ceil_div(M, tile::Marks::kTile));
    marks.columns = static_cast<int>(ceil_div(N, tile::Marks::kTile));
    words_ = static_cast<uint64_t>(2 * (of_a.ranges + of_b.ranges) + items * marks.rows * marks.columns);
    header_ = Carver::rounded_up(words_ * sizeof(uint32_t));
    const auto halves = [factors](const Factor& f) {
        return static_cast<size_t>(parts_of(factors)) *
               Carver::rounded_up(static_cast<size_t>(f.half()) * sizeof(__half));
    };
    bytes_ = header_ + halves(of_a) + halves(of_b);
}

Workspace ScaledFactors::fill(const Workspace& workspace, Stream stream) {
    workspace.check("scaled factors", bytes_);
    Carver carver(workspace);
    auto* const words = static_cast<uint32_t*>(carver.take(header_).data);
    a.range = reinterpret_cast<Range*>(words);
    b.range = a.range + a.from.ranges;
    marks.mark = reinterpret_cast<uint32_t*>(b.range + b.from.ranges);
    for (ScaledFactor* scaled : {&a, &b}) {
        const size_t bytes = static_cast<size_t>(scaled->from.half()) * sizeof(__half);
        scaled->high = static_cast<__half*>(carver.take(bytes).data);
        if (factors_ == Factors::kPairs) scaled->low = static_cast<__half*>(carver.take(bytes).data);
    }
    LaunchShape shape;
    shape.grid = dim3(static_cast<unsigned>((words_ + kScaleThreads - 1) / kScaleThreads));
    shape.block = dim3(kScaleThreads);
    launch(clear_words, shape, stream, words, words_);
    launch_over_ranges<FindLargest>(a, b, stream);
    launch_over_ranges<WriteHalves>(a, b, stream);
    return carver.rest();
}

}  // namespace convgpu::hopper
