#include "channels_first.h"

#include <algorithm>

#include "../../common/dispatch.h"
#include "../../layout/layout.h"
#include "../conv.h"
#include "../passes/add_chunk.cuh"

namespace convgpu::conv {
namespace {

Array array_of(void* data, Shape shape, DType dtype) {
    Array array{data, std::move(shape), {}, dtype};
    auto step = static_cast<int64_t>(size_of(dtype));
    array.strides.resize(array.shape.size());
    for (size_t a = array.shape.size(); a-- > 0; step *= array.shape[a]) array.strides[a] = step;
    return array;
}

// Returns the images `first` to first + count - 1 of an array in channels_first.
Array images_of(const Array& all, int64_t first, int64_t count) {
    Array some = all;
    some.shape[0] = count;
    const int64_t image = all.size() / all.shape[0] * static_cast<int64_t>(size_of(all.dtype));
    some.data = static_cast<char*>(all.data) + first * image;
    return some;
}

void add_chunks(const Array& total, const Array& chunk, const Array& sum, Stream stream) {
    dispatch_float(sum.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        using A = Accumulator<T>;
        launch_add_chunk<T>(total.as<const A>(), chunk.as<const A>(), sum.as<T>(), sum.size(), stream);
    });
}

}  // namespace

void launch_channels_first(const ChannelsFirstPlan& plan, const Operands& operands, Activation activation,
                           const Workspace& workspace, Stream stream) {
    const Problem& of_part = plan.parts[0].plan.problem;
    const Direction direction = of_part.direction;
    const DType dtype = of_part.dtype;
    Carver carver(workspace);
    const auto carve = [&carver](const Shape& shape, DType of) {
        return array_of(carver.take(bytes_of(shape, of)).data, shape, of);
    };
    const Shape w_shape = of_part.geo.w_shape();
    const Array x_copy = plan.x ? carve(of_part.geo.x_shape(), dtype) : Array{};
    const Array y_copy = plan.y ? carve(of_part.geo.y_shape(), dtype) : Array{};
    const Array w = plan.w ? carve(w_shape, dtype) : array_of(operands.w.data, w_shape, dtype);
    // `total` holds the weight gradients of all parts so far, and `chunk` those of the next part. Both have the type of
    // sums, so that the result is rounded once, after the last part.
    const bool sums_up = plan.sums_up_parts();
    const Array total = sums_up ? carve(w_shape, accumulator_of(dtype)) : Array{};
    const Array chunk = sums_up ? carve(w_shape, accumulator_of(dtype)) : Array{};
    const Workspace of_kernel = carver.take(plan.parts[0].plan.workspace);

    const bool reads_x = direction != Direction::kDgrad, reads_y = direction != Direction::kFprop;
    if (plan.w && direction != Direction::kWgrad) layout::oihw_to_hwio(operands.w, w, *plan.w, stream);
    for (int64_t first = 0; first < plan.batch; first += plan.images) {
        const ChannelsFirstPart& part = plan.part(first);
        const ConvGeometry& geo = part.plan.problem.geo;
        const Array x_first = images_of(operands.x, first, geo.batch),
                    y_first = images_of(operands.y, first, geo.batch);
        const Array x = array_of(plan.x ? x_copy.data : x_first.data, geo.x_shape(), dtype);
        const Array y = array_of(plan.y ? y_copy.data : y_first.data, geo.y_shape(), dtype);
        if (part.x && reads_x) layout::nchw_to_nhwc(x_first, x, *part.x, stream);
        if (part.y && reads_y) layout::nchw_to_nhwc(y_first, y, *part.y, stream);
        const Array& gw = !sums_up ? w : first == 0 ? total : chunk;
        run(part.plan, {x, gw, operands.bias, y}, activation, of_kernel, stream);
        if (part.x && !reads_x) layout::nhwc_to_nchw(x, x_first, *part.x, stream);
        if (part.y && !reads_y) layout::nhwc_to_nchw(y, y_first, *part.y, stream);
        const bool last = first + geo.batch == plan.batch;
        if (sums_up && first > 0) add_chunks(total, chunk, last ? w : total, stream);
    }
    if (plan.w && direction == Direction::kWgrad) layout::hwio_to_oihw(w, operands.w, *plan.w, stream);
}

}  // namespace convgpu::conv
