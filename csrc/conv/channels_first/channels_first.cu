#include "channels_first.h"

#include <algorithm>

#include "../../common/check.h"
#include "../../common/dispatch.h"
#include "../../layout/layout.h"
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

size_t bytes_of(const Shape& shape, DType dtype) {
    return Carver::rounded_up(static_cast<size_t>(Array{nullptr, shape, {}, dtype}.size()) * size_of(dtype));
}

DType accumulator_of(DType dtype) { return size_of(dtype) == 2 ? DType::kFloat32 : dtype; }

// What is copied because its order in memory differs, how many images at a time, and where.
class Copies {
public:
    Copies(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options, const Device& device,
           size_t limit)
        : direction_(direction), dtype_(dtype), part_(geo) {
        const int sides_of_one = (geo.taps() == 1) + (geo.channels == geo.groups) + (geo.filters == 1);
        x_ = geo.channels > 1 && geo.input_pixels() > 1;
        y_ = geo.filters > 1 && geo.output_pixels() > 1;
        w_ = sides_of_one < 2;
        part_.channels_last = true;
        const auto plan_kernel = [&](size_t kernel_limit) {
            kernel_ = plan_channels_last(direction, part_, dtype, options, device, kernel_limit);
            bytes_ = held() + Carver::rounded_up(kernel_.workspace);
        };
        plan_kernel(limit);
        if (bytes_ <= limit) return;
        if (x_ || y_) take_images(geo.batch, limit / 2);
        plan_kernel(limit > held() ? limit - held() : 0);
        // All of the limit is asked for: a launcher that is given what a plan asked for comes to the same plan.
        bytes_ = std::max(bytes_, limit);
    }

    bool x() const { return x_; }
    bool w() const { return w_; }
    bool y() const { return y_; }
    bool adds_chunks() const { return chunked_ && direction_ == Direction::kWgrad; }
    const ConvGeometry& part() const { return part_; }
    const Choice& kernel() const { return kernel_; }
    size_t bytes() const { return bytes_; }

private:
    // As many of `batch` images as `room` has room for.
    void take_images(int64_t batch, size_t room) {
        chunked_ = true;
        part_.batch = 1;
        const size_t image = held_images(), beside = held() - image;
        const size_t images = room > beside ? (room - beside) / image : 0;
        part_.batch = std::clamp<int64_t>(static_cast<int64_t>(images), 1, batch);
        chunked_ = part_.batch < batch;
    }

    size_t held_images() const {
        return (x_ ? bytes_of(part_.x_shape(), dtype_) : 0) + (y_ ? bytes_of(part_.y_shape(), dtype_) : 0);
    }
    size_t held() const {
        return held_images() + (w_ ? bytes_of(part_.w_shape(), dtype_) : 0) +
               (adds_chunks() ? 2 * bytes_of(part_.w_shape(), accumulator_of(dtype_)) : 0);
    }

    Direction direction_;
    DType dtype_;
    ConvGeometry part_;  // of the images at a time, in channels_last
    bool x_, w_, y_, chunked_ = false;
    Choice kernel_;  // of a part
    size_t bytes_;   // of workspace
};

// Images `first` to first + part.batch - 1 of an array in channels_first.
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

namespace {

using Launcher = void (*)(const Array&, const Array&, const layout::Plan&, Stream);

void change_layout(layout::Op op, Launcher launcher, const Array& x, const Array& y, Stream stream) {
    const bool aligned = is_aligned(x.data, kVectorBytes) && is_aligned(y.data, kVectorBytes);
    launcher(x, y, layout::plan(op, x.shape, x.dtype, aligned ? kVectorBytes : 1), stream);
}

}  // namespace

void run_channels_first(Direction direction, const Operands& operands, const ConvGeometry& geo, const Options& options,
                        const Workspace& workspace, Stream stream) {
    const DType dtype = operands.x.dtype;
    const Copies copies(direction, geo, dtype, options, current_device(), workspace.bytes);
    workspace.check(name_of(direction), copies.bytes());
    ConvGeometry part = copies.part();
    Carver carver(workspace);
    const auto carve = [&carver](const Shape& shape, DType of) {
        return array_of(carver.take(bytes_of(shape, of)).data, shape, of);
    };
    const Array x_copy = copies.x() ? carve(part.x_shape(), dtype) : Array{};
    const Array y_copy = copies.y() ? carve(part.y_shape(), dtype) : Array{};
    const Array w = copies.w() ? carve(part.w_shape(), dtype) : array_of(operands.w.data, part.w_shape(), dtype);
    const DType sum_dtype = accumulator_of(dtype);
    const Array total = copies.adds_chunks() ? carve(part.w_shape(), sum_dtype) : Array{};
    const Array chunk = copies.adds_chunks() ? carve(part.w_shape(), sum_dtype) : Array{};
    const Workspace of_kernel = carver.take(copies.kernel().workspace);

    const bool reads_x = direction != Direction::kDgrad, reads_y = direction != Direction::kFprop;
    if (copies.w() && direction != Direction::kWgrad)
        change_layout(layout::Op::kOihwToHwio, layout::oihw_to_hwio, operands.w, w, stream);
    for (int64_t first = 0; first < geo.batch; first += copies.part().batch) {
        part.batch = std::min(copies.part().batch, geo.batch - first);
        const Array x_first = images_of(operands.x, first, part.batch),
                    y_first = images_of(operands.y, first, part.batch);
        const Array x = array_of(copies.x() ? x_copy.data : x_first.data, part.x_shape(), dtype);
        const Array y = array_of(copies.y() ? y_copy.data : y_first.data, part.y_shape(), dtype);
        if (copies.x() && reads_x) change_layout(layout::Op::kNchwToNhwc, layout::nchw_to_nhwc, x_first, x, stream);
        if (copies.y() && reads_y) change_layout(layout::Op::kNchwToNhwc, layout::nchw_to_nhwc, y_first, y, stream);
        const Array& gw = !copies.adds_chunks() ? w : first == 0 ? total : chunk;
        run_channels_last(direction, {x, gw, operands.bias, y}, part, options, of_kernel, stream);
        if (copies.x() && !reads_x) change_layout(layout::Op::kNhwcToNchw, layout::nhwc_to_nchw, x, x_first, stream);
        if (copies.y() && !reads_y) change_layout(layout::Op::kNhwcToNchw, layout::nhwc_to_nchw, y, y_first, stream);
        const bool last = first + part.batch == geo.batch;
        if (copies.adds_chunks() && first > 0) add_chunks(total, chunk, last ? w : total, stream);
    }
    if (copies.w() && direction == Direction::kWgrad)
        change_layout(layout::Op::kHwioToOihw, layout::hwio_to_oihw, w, operands.w, stream);
}

Choice plan_channels_first(Direction direction, const ConvGeometry& geo, DType dtype, const Options& options,
                           const Device& device, size_t workspace_limit) {
    const Copies copies(direction, geo, dtype, options, device, workspace_limit);
    std::string names;
    for (const auto& [copied, name] : {std::pair(copies.x(), "x"), {copies.w(), "w"}, {copies.y(), "y"}}) {
        if (copied) names += (names.empty() ? "" : ",") + std::string(name);
    }
    Choice choice{copies.kernel().text, copies.bytes()};
    if (!names.empty()) choice.text += " transposed=" + names;
    if (copies.x() || copies.y()) choice.text += " images=" + std::to_string(copies.part().batch);
    return choice;
}

}  // namespace convgpu::conv
