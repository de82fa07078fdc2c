#include "gemm.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "../hopper/plan.h"
#include "../tile/plan.h"
#include "../tile/simt.h"
#include "../tile/tensor_core.h"
#include "gemm_tiled.cuh"

namespace convgpu::gemm {

// In instances.h.
template <template <class, class, int, int> class Engine, class T, bool kTransA, bool kTransB>
void run(const Problem<T, kTransA, kTransB>& p, int items, const tile::Plan& plan, const Workspace& workspace,
         Stream stream);

// In instances_wgmma.h.
template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, int items, const Device& device, const Workspace& workspace,
               Stream stream);
template <class T, bool kTransA, bool kTransB>
void run_scaled(const Problem<float, kTransA, kTransB>& p, int items, const hopper::ScaledFactors& scaled,
                const Device& device, const Workspace& workspace, Stream stream);

namespace {

// A stack of matrices as the launchers see it: items, lines, elements of a line, and the strides in elements.
struct Stack {
    const Array* array;
    int64_t items, lines, length, stride, item_stride;
};

Stack stack_of(const char* op, const char* name, const Array& array, DType dtype) {
    const auto rank = static_cast<int>(array.shape.size()), size = static_cast<int>(size_of(dtype));
    if (array.dtype != dtype) {
        throw TypeError(std::string(op) + ": expected " + name + " of dtype " + convgpu::name_of(dtype) + ", got " +
                        convgpu::name_of(array.dtype));
    }
    const int64_t lines = array.shape[rank - 2], length = array.shape[rank - 1];
    const int64_t stride = array.strides[rank - 2], item_stride = rank == 3 ? array.strides[0] : 0;
    const bool contiguous = length <= 1 || array.strides[rank - 1] == size;
    const bool ordered = lines <= 1 || (stride >= length * size && stride % size == 0);
    if (array.size() > 0 && (!contiguous || !ordered || item_stride < 0 || item_stride % size != 0)) {
        throw std::invalid_argument(std::string(op) + ": expected " + name + " with lines of neighbouring elements, " +
                                    "one after the other, got strides " + text_of(array.strides) + " for shape " +
                                    text_of(array.shape));
    }
    return {&array, rank == 3 ? array.shape[0] : 1,      lines,
            length, lines <= 1 ? length : stride / size, item_stride / size};
}

void require_rank(const char* op, const char* name, const Array& array, size_t rank) {
    if (array.shape.size() == rank) return;
    throw std::invalid_argument(std::string(op) + ": expected " + name + " of " + std::to_string(rank) +
                                " axes, got shape " + text_of(array.shape));
}

bool takes_vectors(const Stack& s) {
    const auto V = static_cast<int64_t>(kVectorBytes / size_of(s.array->dtype));
    return is_aligned(s.array->data, kVectorBytes) && s.length % V == 0 && s.stride % V == 0 && s.item_stride % V == 0;
}

// Whether the tensor memory accelerator finds the lines of a factor.
bool takes_tma(const Stack& s) {
    const auto V = static_cast<int64_t>(kVectorBytes / size_of(s.array->dtype));
    return is_aligned(s.array->data, kVectorBytes) && s.stride % V == 0 && s.item_stride % V == 0;
}

// The sizes of y = op(a) @ op(b), checked against each other.
Sizes sizes_of(const char* op, const Stack& a, const Stack& b, const Stack& y, const Options& options) {
    const int64_t M = options.trans_a ? a.length : a.lines, K = options.trans_a ? a.lines : a.length;
    const int64_t N = options.trans_b ? b.lines : b.length, K_of_b = options.trans_b ? b.length : b.lines;
    if (K != K_of_b || y.lines != M || y.length != N || a.items != y.items || b.items != y.items) {
        throw std::invalid_argument(
            std::string(op) + ": expected op(a) (M, K), op(b) (K, N) and y (M, N), of as many " + "items, got shapes " +
            text_of(a.array->shape) + ", " + text_of(b.array->shape) + " and " + text_of(y.array->shape));
    }
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max() - 256;  // with room for the tile at an edge
    if (std::max({M, N, K, y.items}) > kMost) {
        throw std::invalid_argument(std::string(op) + ": expected M, N, K and items below 2^31 - 256, got " +
                                    text_of({M, N, K, y.items}));
    }
    return {y.items, M, N, K, a.item_stride == 0, b.item_stride == 0};
}

// Float32 factors that are still to be found in memory.
hopper::ScaledFactors scaled_of(const Sizes& s, const Options& options) {
    const auto factor = [](int64_t items, int64_t rows, int64_t depth, bool deep) {
        hopper::Factor f;
        f.items = items;
        f.lines = deep ? rows : depth;
        f.length = deep ? depth : rows;
        f.along = deep;
        f.ranges = items * rows;
        return f;
    };
    return {factor(s.one_a ? 1 : s.items, s.M, s.K, !options.trans_a),
            factor(s.one_b ? 1 : s.items, s.N, s.K, options.trans_b),
            hopper::factors_of(DType::kFloat32, options.precision),
            s.items,
            s.M,
            s.N};
}

const char* refusal_of_scaled(const Sizes& s, const hopper::ScaledFactors& scaled, DType dtype, const Device& device,
                              size_t limit) {
    const hopper::Size size{s.M, s.N, s.K, s.items, scaled.factors()};
    return hopper::refusal_of_scaled({{size, size}}, scaled, dtype, device, limit);
}

template <class T>
tile::Epilogue<T> epilogue_of(const Array* c, double alpha, double beta, Activation activation) {
    tile::Epilogue<T> epilogue;
    epilogue.alpha = static_cast<Accumulator<T>>(alpha);
    epilogue.beta = static_cast<Accumulator<T>>(beta);
    epilogue.activation = activation;
    if (c && beta != 0) {
        epilogue.c = c->as<T>();
        epilogue.c_row = c->strides[0] / static_cast<int64_t>(sizeof(T));
        epilogue.c_column = c->strides[1] / static_cast<int64_t>(sizeof(T));
    }
    return epilogue;
}

// Calls use(trans_a, trans_b) with the options as types.
template <class Use>
void dispatch_layout(const Options& options, Use use) {
    const std::true_type yes;
    const std::false_type no;
    if (options.trans_a) return options.trans_b ? use(yes, yes) : use(yes, no);
    options.trans_b ? use(no, yes) : use(no, no);
}

// float32, or TF32, by the tiled kernels.
template <bool kTransA, bool kTransB>
void run_tiled(const Problem<float, kTransA, kTransB>& p, int items, const tile::Plan& plan, const Workspace& workspace,
               Stream stream) {
    plan.tensor_core ? run<tile::TensorCore>(p, items, plan, workspace, stream)
                     : run<tile::Simt>(p, items, plan, workspace, stream);
}

// By scaled factors; then the tiles that these could not hold.
template <bool kTransA, bool kTransB>
void run_certain(Problem<float, kTransA, kTransB> p, int items, hopper::ScaledFactors& scaled, Precision precision,
                 tile::Vectors vectors, const Device& device, const Workspace& workspace, Stream stream) {
    const auto place = [](hopper::Factor& f, const Matrices<const float>& m) {
        f.x = m.data;
        f.stride = m.stride;
        f.item_stride = m.item_stride;
    };
    place(scaled.a.from, p.left);
    place(scaled.b.from, p.right);
    const Workspace rest = scaled.fill(workspace, stream);
    precision == Precision::kTf32 ? run_scaled<ptx::Tf32>(p, items, scaled, device, rest, stream)
                                  : run_scaled<float>(p, items, scaled, device, rest, stream);
    p.wanted = scaled.marks;
    const Workspace again = scaled.without_factors(workspace);
    const tile::Plan plan = tile::plan_product(p.M, p.N, p.K, items, DType::kFloat32, precision, vectors, device,
                                               std::min(again.bytes, kWorkspaceLimit));
    run_tiled(p, items, plan, again, stream);
}

void product(const char* op, const Stack& a, const Stack& b, const Array* c, const Stack& y, double alpha, double beta,
             const Options& options, Activation activation, const Workspace& workspace, Stream stream) {
    const Sizes sizes = sizes_of(op, a, b, y, options);
    if (y.array->size() == 0) return;
    const DType dtype = y.array->dtype;
    const Device device = current_device();
    const bool wgmma = !hopper::refusal(sizes.K, dtype, takes_tma(a) && takes_tma(b), device);
    hopper::ScaledFactors scaled = scaled_of(sizes, options);
    const bool as_scaled = !refusal_of_scaled(sizes, scaled, dtype, device, workspace.bytes);
    const auto vectors = takes_vectors(a) && takes_vectors(b) ? tile::Vectors::kBoth : tile::Vectors::kNone;
    const tile::Plan plan = tile::plan_product(sizes.M, sizes.N, sizes.K, sizes.items, dtype, options.precision,
                                               vectors, device, workspace.bytes);
    dispatch_float(dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        dispatch_layout(options, [&](auto trans_a, auto trans_b) {
            const Problem<T, decltype(trans_a)::value, decltype(trans_b)::value> p{
                {a.array->as<const T>(), a.stride, a.item_stride},
                {b.array->as<const T>(), b.stride, b.item_stride},
                {y.array->as<T>(), y.stride, y.item_stride},
                static_cast<int>(sizes.M),
                static_cast<int>(sizes.N),
                static_cast<int>(sizes.K),
                epilogue_of<T>(c, alpha, beta, activation),
                takes_vectors(y)};
            const auto items = static_cast<int>(sizes.items);
            if constexpr (sizeof(T) == 2) {
                if (wgmma) return run_wgmma(p, items, device, workspace, stream);
                run<tile::TensorCore>(p, items, plan, workspace, stream);
            } else if constexpr (sizeof(T) == 8) {
                run<tile::Simt>(p, items, plan, workspace, stream);
            } else if (as_scaled) {
                run_certain(p, items, scaled, options.precision, vectors, device, workspace, stream);
            } else {
                run_tiled(p, items, plan, workspace, stream);
            }
        });
    });
}

}  // namespace

void gemm(const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta,
          const Options& options, Activation activation, const Workspace& workspace, Stream stream) {
    const char* op = "gemm";
    check_float(op, "y", y);
    require_rank(op, "a", a, 2);
    require_rank(op, "b", b, 2);
    check_array(op, "y", y, y.shape, y.dtype);
    require_rank(op, "y", y, 2);
    if (c && (c->dtype != y.dtype || c->shape != y.shape)) {
        throw std::invalid_argument(std::string(op) + ": expected c broadcast to y " + text_of(y.shape) + " of " +
                                    name_of(y.dtype) + ", got " + text_of(c->shape) + " of " + name_of(c->dtype));
    }
    product(op, stack_of(op, "a", a, y.dtype), stack_of(op, "b", b, y.dtype), c, stack_of(op, "y", y, y.dtype), alpha,
            beta, options, activation, workspace, stream);
}

void matmul(const Array& a, const Array& b, const Array& y, const Options& options, const Workspace& workspace,
            Stream stream) {
    const char* op = "matmul";
    check_float(op, "y", y);
    require_rank(op, "a", a, 3);
    require_rank(op, "b", b, 3);
    check_array(op, "y", y, y.shape, y.dtype);
    require_rank(op, "y", y, 3);
    product(op, stack_of(op, "a", a, y.dtype), stack_of(op, "b", b, y.dtype), nullptr, stack_of(op, "y", y, y.dtype), 1,
            0, options, Activation::kNone, workspace, stream);
}

size_t workspace_bytes(const Sizes& s, DType dtype, const Options& options, std::optional<size_t> limit) {
    const Device device = current_device();
    const hopper::ScaledFactors scaled = scaled_of(s, options);
    const size_t all = limit.value_or(kWorkspaceLimit + scaled.bytes()), of_sums = limit.value_or(kWorkspaceLimit);
    if (!refusal_of_scaled(s, scaled, dtype, device, all)) {
        const hopper::Size size{s.M, s.N, s.K, s.items, scaled.factors()};
        return scaled.bytes() + hopper::plan_product(size, device, all - scaled.bytes()).workspace;
    }
    const size_t bytes =
        tile::plan_product(s.M, s.N, s.K, s.items, dtype, options.precision, tile::Vectors::kBoth, device, of_sums)
            .workspace;
    if (hopper::refusal(s.K, dtype, true, device)) return bytes;
    return std::max(bytes, hopper::plan_product({s.M, s.N, s.K, s.items}, device, of_sums).workspace);
}

std::string plan(const Sizes& s, DType dtype, const Options& options, const Device& device,
                 std::optional<size_t> limit) {
    const auto V = static_cast<int64_t>(kVectorBytes / size_of(dtype));
    const bool aligned = (options.trans_a ? s.M : s.K) % V == 0 && (options.trans_b ? s.K : s.N) % V == 0;
    const bool float32 = dtype == DType::kFloat32;
    const hopper::ScaledFactors scaled = scaled_of(s, options);
    const size_t of_factors = float32 ? scaled.bytes() : 0, all = limit.value_or(kWorkspaceLimit + of_factors);
    const char* refusal =
        float32 ? refusal_of_scaled(s, scaled, dtype, device, all) : hopper::refusal(s.K, dtype, aligned, device);
    if (!refusal) {
        const hopper::Size size{s.M, s.N, s.K, s.items, hopper::factors_of(dtype, options.precision)};
        const hopper::Plan plan = hopper::plan_product(size, device, all - of_factors);
        return plan.text("gemm_wgmma") + hopper::text_of(size.factors) +
               " workspace=" + std::to_string(of_factors + plan.workspace);
    }
    const tile::Plan plan = tile::plan_product(s.M, s.N, s.K, s.items, dtype, options.precision,
                                               aligned ? tile::Vectors::kBoth : tile::Vectors::kNone, device,
                                               limit.value_or(kWorkspaceLimit));
    return plan.text("gemm_tiled") + " no_wgmma=" + refusal + " workspace=" + std::to_string(plan.workspace);
}

}  // namespace convgpu::gemm
