// From arrays to the kernels of implicit products, portable and for Hopper: sizes, vectors, engine, parts of a batch.
#include <algorithm>
#include <optional>

#include "../../common/check.h"
#include "../../common/dispatch.h"
#include "../../tile/simt.h"
#include "../../tile/tensor_core.h"
#include "conv_dgrad_tiled.cuh"
#include "../passes/fill_channels.cuh"
#include "conv_fprop_tiled.cuh"
#include "../packed/plan.h"
#include "plan.h"
#include "../wgmma/plan.h"
#include "conv_wgrad_tiled.cuh"

namespace convgpu::conv {

// In instances.h.
template <template <class, class, int, int> class Engine, class T>
void run(const Fprop<T>& p, int groups, const tile::Plan& plan, const Workspace& workspace, Stream stream);
template <template <class, class, int, int> class Engine, class T>
void run(const Dgrad<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream);
template <template <class, class, int, int> class Engine, class T>
void run(const Wgrad<T>& p, int groups, const tile::Plan& plan, const Workspace& workspace, Stream stream);

// In instances_wgmma.h.
template <class T>
void run_wgmma(const Fprop<hopper::Value<T>>& p, const ConvGeometry& geo, int64_t first, int images,
               const hopper::ScaledFactors* scaled, const Device& device, const Workspace& workspace, Stream stream);
template <class T>
void run_wgmma(const Dgrad<hopper::Value<T>>& p, const ConvGeometry& geo, int64_t first,
               const hopper::ScaledFactors* scaled, const Device& device, const Workspace& workspace, Stream stream);
template <class T>
void run_wgmma(const Wgrad<hopper::Value<T>>& p, const ConvGeometry& geo, int images,
               const hopper::ScaledFactors* scaled, const Device& device, const Workspace& workspace, Stream stream);

// In instances_packed.h.
template <class T>
void run_packed(const Fprop<T>& p, const ConvGeometry& geo, int images, const PackedPlan& plan, const Device& device,
                Stream stream);

namespace {

template <template <class> class Problem, class T>
void run_on_engine(const Problem<T>& p, int64_t items, const tile::Plan& plan, const Workspace& workspace,
                   Stream stream) {
    const auto count = static_cast<int>(items);
    if constexpr (sizeof(T) == 2) {
        run<tile::TensorCore>(p, count, plan, workspace, stream);
    } else if constexpr (sizeof(T) == 8) {
        run<tile::Simt>(p, count, plan, workspace, stream);
    } else if (plan.tensor_core) {
        run<tile::TensorCore>(p, count, plan, workspace, stream);
    } else {
        run<tile::Simt>(p, count, plan, workspace, stream);
    }
}

bool aligned(const Array& array) { return is_aligned(array.data, kVectorBytes); }

// What the geometry allows, of the factors at these addresses.
tile::Vectors vectors_of(Direction direction, const ConvGeometry& geo, const Array& a, const Array& b) {
    const tile::Vectors vectors = vectors_of(direction, geo, b.dtype);
    if (!aligned(b)) return tile::Vectors::kNone;
    if (vectors != tile::Vectors::kBoth || aligned(a)) return vectors;
    return direction == Direction::kDgrad ? tile::Vectors::kNone : tile::Vectors::kOnlyB;
}

// How a convolution is computed: by which kernels, and with what.
struct Way {
    DType dtype;
    Product product;
    tile::Vectors vectors;
    Device device;
    bool wgmma;
    hopper::ScaledFactors scaled;  // of float32
    Workspace workspace;
    Stream stream;
};

Way way_of(Direction direction, const ConvGeometry& geo, const Phases* phases, const Options& options, const Array& a,
           const Array& b, const Workspace& workspace, Stream stream) {
    const Device device = current_device();
    hopper::ScaledFactors scaled = scaled_of(direction, geo, phases, options);
    scaled.a.from.x = a.as<const float>();
    scaled.b.from.x = b.as<const float>();
    const bool takes = b.dtype == DType::kFloat32 || (aligned(a) && aligned(b));
    return {b.dtype,
            product_of(direction, geo, phases, options),
            vectors_of(direction, geo, a, b),
            device,
            takes && !wgmma_refusal(direction, geo, phases, b.dtype, options, device, workspace.bytes),
            scaled,
            workspace,
            stream};
}

template <class Problem>
int64_t items_of(const Problem&, const ConvGeometry& geo) {
    return geo.groups;
}
template <class T>
int64_t items_of(const Dgrad<T>& p, const ConvGeometry& geo) {
    return geo.groups * p.phases[0] * p.phases[1] * p.phases[2];
}

// The packed kernel's plan, where it takes over from those of TMA.
std::optional<PackedPlan> packed_of(const ConvGeometry& geo, const Array& x, const Options& options, const Way& way) {
    const auto no_wgmma = [&] {
        return wgmma_refusal(Direction::kFprop, geo, nullptr, x.dtype, options, way.device, way.workspace.bytes);
    };
    if (size_of(x.dtype) != 2 || way.wgmma || !no_wgmma()) return {};
    const PackedPlan plan = plan_packed(geo, x.dtype, way.device, x.data);
    return plan.refusal ? std::nullopt : std::optional(plan);
}

// All parts of a convolution: each(use) calls use(first image, images) with one after the other set in p.
// on_hopper(Type of factors, first image, images, scaled factors, workspace) runs one there. float32 is followed by the
// tiles that scaled factors could not hold.
template <template <class> class Problem, class T, class Each, class OnHopper>
void run_parts(Problem<T>& p, const ConvGeometry& geo, const Way& way, const Options& options, Each each,
               OnHopper on_hopper) {
    Workspace workspace = way.workspace;
    Product product = way.product;
    if constexpr (sizeof(T) == 2) {
        if (way.wgmma) {
            return each([&](int64_t first, int images) { on_hopper(Type<T>(), first, images, nullptr, workspace); });
        }
    } else if constexpr (sizeof(T) == 4) {
        if (way.wgmma) {
            hopper::ScaledFactors scaled = way.scaled;
            const Workspace rest = scaled.fill(workspace, way.stream);
            each([&](int64_t first, int images) {
                options.precision == Precision::kTf32 ? on_hopper(Type<hopper::Tf32>(), first, images, &scaled, rest)
                                                      : on_hopper(Type<float>(), first, images, &scaled, rest);
            });
            p.wanted = scaled.marks;
            workspace = scaled.without_factors(workspace);
            workspace.bytes = std::min(workspace.bytes, kWorkspaceLimit);
            product.items = geo.groups;
        }
    }
    const tile::Plan plan = plan_of(product, way.dtype, options, way.vectors, way.device, workspace.bytes);
    each([&](int64_t, int) { run_on_engine(p, items_of(p, geo), plan, workspace, way.stream); });
}

// Whether rows of a result, `columns` of each group, are written in vectors, which are those of the factors' dtype.
bool takes_vectors(const Array& result, int64_t columns, DType dtype) {
    return aligned(result) && columns % static_cast<int64_t>(kVectorBytes / size_of(dtype)) == 0;
}

template <class T>
tile::Epilogue<T> epilogue_of(const Array* bias, Activation activation) {
    tile::Epilogue<T> epilogue;
    epilogue.activation = activation;
    if (bias) epilogue.c = bias->as<const T>(), epilogue.c_column = 1;
    return epilogue;
}

// Calls use(first image, images) for parts of the batch.
template <class Use>
void each_part(const ConvGeometry& geo, int64_t images, Use use) {
    for (int64_t n = 0; n < geo.batch; n += images) use(n, static_cast<int>(std::min(images, geo.batch - n)));
}

}  // namespace

void fprop_tiled(const Array& x, const Array& w, const Array* bias, const Array& y, const ConvGeometry& geo,
                 const Options& options, const Workspace& workspace, Stream stream) {
    const Way way = way_of(Direction::kFprop, geo, nullptr, options, x, w, workspace, stream);
    const auto pixels = static_cast<int>(geo.output_pixels());
    dispatch_float(y.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        Fprop<T> p;
        p.w = w.as<const T>();
        p.windows = windows_of(geo);
        p.N = static_cast<int>(way.product.N);
        p.K = static_cast<int>(way.product.K);
        p.channels = static_cast<int>(geo.channels / geo.groups);
        p.filters = geo.filters;
        p.epilogue = epilogue_of<T>(bias, options.activation);
        p.vectors = takes_vectors(y, way.product.N, x.dtype);
        const auto each = [&](auto use) {
            each_part(geo, way.product.images, [&](int64_t first, int images) {
                p.x = x.as<const T>() + first * p.windows.images.image;
                p.y = y.as<T>() + first * pixels * geo.filters;
                p.M = images * pixels;
                use(first, images);
            });
        };
        if constexpr (sizeof(T) == 2) {
            if (const auto packed = packed_of(geo, x, options, way)) {
                return each([&](int64_t, int images) { run_packed(p, geo, images, *packed, way.device, stream); });
            }
        }
        run_parts(
            p, geo, way, options, each,
            [&](auto factors, int64_t first, int images, const hopper::ScaledFactors* scaled, const Workspace& rest) {
                run_wgmma<TypeOf<decltype(factors)>>(p, geo, first, images, scaled, way.device, rest, stream);
            });
    });
}

void wgrad_tiled(const Array& x, const Array& gy, const Array& gw, const ConvGeometry& geo, const Options& options,
                 const Workspace& workspace, Stream stream) {
    const Way way = way_of(Direction::kWgrad, geo, nullptr, options, x, gy, workspace, stream);
    const auto pixels = static_cast<int>(geo.output_pixels());
    dispatch_float(x.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        Wgrad<T> p;
        p.gw = gw.data;
        p.wide = gw.dtype != x.dtype;
        p.windows = windows_of(geo);
        p.M = static_cast<int>(way.product.M);
        p.N = static_cast<int>(way.product.N);
        p.channels = static_cast<int>(geo.channels / geo.groups);
        p.filters = geo.filters;
        p.vectors = takes_vectors(gw, way.product.N, x.dtype);
        const auto each = [&](auto use) {
            each_part(geo, way.product.images, [&](int64_t first, int images) {
                p.x = x.as<const T>() + first * p.windows.images.image;
                p.gy = gy.as<const T>() + first * pixels * geo.filters;
                p.K = images * pixels;
                p.adds = first > 0;  // of half types, the sum so far has been rounded: once for 2^31 pixels
                use(first, images);
            });
        };
        run_parts(p, geo, way, options, each,
                  [&](auto factors, int64_t, int images, const hopper::ScaledFactors* scaled, const Workspace& rest) {
                      run_wgmma<TypeOf<decltype(factors)>>(p, geo, images, scaled, way.device, rest, stream);
                  });
    });
}

namespace {

// Writes all pixels, of which those that taps reach are written again.
void fill_unreached(const Array* bias, const Array& gx, int64_t channels, Activation activation, Stream stream) {
    dispatch_float(gx.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        launch_fill_channels<T>(gx.as<T>(), bias ? bias->as<const T>() : nullptr, activation, gx.size(), channels, 1,
                                stream);
    });
}

// Calls use() with p.phase filled with at most `at_once` phases of each axis from `axis` on, until all have been.
template <class T, class Use>
void each_phases(Dgrad<T>& p, const Phases& phases, size_t at_once, Use use, int axis = 0) {
    if (axis == kAxes) return use();
    const auto& all = phases.axis[axis];
    for (size_t first = 0; first < all.size(); first += at_once) {
        p.phases[axis] = static_cast<int>(std::min<size_t>(all.size() - first, at_once));
        std::copy_n(all.begin() + static_cast<int64_t>(first), p.phases[axis], p.phase[axis]);
        each_phases(p, phases, at_once, use, axis + 1);
    }
}

}  // namespace

void dgrad_tiled(const Array& gy, const Array& w, const Array* bias, const Array& gx, const ConvGeometry& geo,
                 const Options& options, const Workspace& workspace, Stream stream) {
    const Phases phases(geo);
    if (!phases.complete) fill_unreached(bias, gx, geo.channels, options.activation, stream);
    if (phases.empty()) return;
    const Way way = way_of(Direction::kDgrad, geo, &phases, options, gy, w, workspace, stream);
    dispatch_float(gx.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        Dgrad<T> p;
        p.w = w.as<const T>();
        p.of_gy = y_images(geo);
        p.of_gx = x_images(geo);
        p.N = static_cast<int>(way.product.N);
        p.K = static_cast<int>(way.product.K);
        p.filters = static_cast<int>(geo.filters / geo.groups);
        p.all_filters = geo.filters;
        p.epilogue = epilogue_of<T>(bias, options.activation);
        p.holes = phases.has_holes();
        p.vectors = takes_vectors(gx, way.product.N, gy.dtype);
        const auto each = [&](auto use) {
            each_part(geo, way.product.images, [&](int64_t first, int images) {
                p.gy = gy.as<const T>() + first * p.of_gy.image;
                p.gx = gx.as<T>() + first * p.of_gx.image;
                p.batch = images;
                p.M = static_cast<int>(images * phases.most_pixels());
                each_phases(p, phases, way.wgmma ? 1 : kPhasesAtOnce, [&] { use(first, images); });
            });
        };
        run_parts(p, geo, way, options, each,
                  [&](auto factors, int64_t first, int, const hopper::ScaledFactors* scaled, const Workspace& rest) {
                      run_wgmma<TypeOf<decltype(factors)>>(p, geo, first, scaled, way.device, rest, stream);
                  });
    });
}

}  // namespace convgpu::conv
