#include "gemm.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "../common/check.h"
#include "../common/dispatch.h"
#include "tiled/tiled.h"
#include "wgmma/wgmma.h"

namespace convgpu::gemm {
namespace {

// A stack of matrices as it lies in memory: its number of items, of lines in an item and of elements in a line, and the
// strides between items and between lines, in elements. The item stride is 0 if there is one item; both strides are 0
// if there are no elements.
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
    const int64_t items = rank == 3 ? array.shape[0] : 1;
    if (array.size() == 0) return {&array, items, array.shape[rank - 2], array.shape[rank - 1], 0, 0};
    const int64_t lines = array.shape[rank - 2], length = array.shape[rank - 1];
    const int64_t stride = array.strides[rank - 2], item_stride = items > 1 ? array.strides[0] : 0;
    const bool contiguous = length <= 1 || array.strides[rank - 1] == size;
    const bool ordered = lines <= 1 || (stride >= length * size && stride % size == 0);
    if (!contiguous || !ordered || item_stride < 0 || item_stride % size != 0) {
        throw std::invalid_argument(std::string(op) + ": expected " + name + " with lines of neighbouring elements, " +
                                    "one after the other, got strides " + text_of(array.strides) + " for shape " +
                                    text_of(array.shape));
    }
    return {&array, items, lines, length, lines <= 1 ? length : stride / size, item_stride / size};
}

void require_rank(const char* op, const char* name, const Array& array, size_t rank) {
    if (array.shape.size() == rank) return;
    throw std::invalid_argument(std::string(op) + ": expected " + name + " of " + std::to_string(rank) +
                                " axes, got shape " + text_of(array.shape));
}

// Tells whether every line begins at a multiple of 16 bytes.
bool begins_in_vectors(const Stack& s) {
    const auto V = static_cast<int64_t>(kVectorBytes / size_of(s.array->dtype));
    return is_aligned(s.array->data, kVectorBytes) && s.stride % V == 0 && s.item_stride % V == 0;
}

// Tells whether every line begins and ends at a multiple of 16 bytes.
bool is_in_vectors(const Stack& s) {
    return begins_in_vectors(s) && s.length % static_cast<int64_t>(kVectorBytes / size_of(s.array->dtype)) == 0;
}

// Returns the sizes of y = op(a) @ op(b). Throws unless those of a, b and y fit each other.
Sizes sizes_of(const char* op, const Stack& a, const Stack& b, const Stack& y, const Options& options) {
    const int64_t M = options.trans_a ? a.length : a.lines, K = options.trans_a ? a.lines : a.length;
    const int64_t N = options.trans_b ? b.lines : b.length, K_of_b = options.trans_b ? b.length : b.lines;
    const auto fits = [&y](const Stack& factor) { return factor.items == y.items || factor.items == 1; };
    if (K != K_of_b || y.lines != M || y.length != N || !fits(a) || !fits(b)) {
        throw std::invalid_argument(
            std::string(op) + ": expected op(a) (M, K), op(b) (K, N) and y (M, N), of as many " + "items, got shapes " +
            text_of(a.array->shape) + ", " + text_of(b.array->shape) + " and " + text_of(y.array->shape));
    }
    constexpr int64_t kMost = std::numeric_limits<int32_t>::max() - 256;  // leaves room for a tile at the edge
    if (std::max({M, N, K, y.items}) > kMost) {
        throw std::invalid_argument(std::string(op) + ": expected M, N, K and items below 2^31 - 256, got " +
                                    text_of({M, N, K, y.items}));
    }
    return {y.items, M, N, K, a.items == 1, b.items == 1};
}

// Throws unless the plan was made for this call: its sizes must be these, and what it assumes of the arrays must hold.
void check_plan(const char* op, const Plan& plan, const Sizes& s, const Stack& a, const Stack& b) {
    const Sizes& of = plan.sizes;
    const auto text = [](const Sizes& s, DType dtype) {
        return std::string(name_of(dtype)) + " " + text_of({s.items, s.M, s.N, s.K}) + (s.one_a ? " with one a" : "") +
               (s.one_b ? " with one b" : "");
    };
    const bool same = of.items == s.items && of.M == s.M && of.N == s.N && of.K == s.K && of.one_a == s.one_a &&
                      of.one_b == s.one_b && plan.dtype == a.array->dtype;
    if (!same) {
        throw std::invalid_argument(std::string(op) + ": expected a plan for these (items, M, N, K), " +
                                    text(s, a.array->dtype) + ", got one for " + text(of, plan.dtype));
    }
    if (plan.device != current_device()) {
        throw std::invalid_argument(std::string(op) + ": expected a plan for the GPU in use, got one for another");
    }
    const bool whole = plan.tiled.vectors == tile::Vectors::kBoth;
    const bool holds = plan.kernel == Kernel::kWgmma ? begins_in_vectors(a) && begins_in_vectors(b)
                                                     : !whole || (is_in_vectors(a) && is_in_vectors(b));
    if (!holds) {
        throw std::invalid_argument(std::string(op) + ": expected a and b with lines at multiples of 16 bytes, for " +
                                    "which the plan was made, got strides " + text_of(a.array->strides) + " and " +
                                    text_of(b.array->strides));
    }
}

// Returns the distance, in elements, from one element of c to the next along an axis of y. It is 0 where c is broadcast
// along this axis.
int64_t step_of(const Array& c, const Array& y, size_t axis_from_the_end) {
    const size_t rank = c.shape.size();
    if (axis_from_the_end > rank) return 0;
    const size_t axis = rank - axis_from_the_end;
    return c.shape[axis] == 1 ? 0 : c.strides[axis] / static_cast<int64_t>(size_of(y.dtype));
}

void check_addend(const char* op, const Array& c, const Array& y) {
    bool broadcasts = c.dtype == y.dtype && c.shape.size() <= 2;
    for (size_t i = 1; broadcasts && i <= c.shape.size(); ++i) {
        const int64_t n = c.shape[c.shape.size() - i];
        broadcasts = n == 1 || n == y.shape[y.shape.size() - i];
    }
    if (broadcasts) return;
    throw std::invalid_argument(std::string(op) + ": expected c that broadcasts to y " + text_of(y.shape) + " of " +
                                name_of(y.dtype) + ", got " + text_of(c.shape) + " of " + name_of(c.dtype));
}

template <class T>
tile::Epilogue<T> epilogue_of(const Array* c, const Array& y, double alpha, double beta, Activation activation) {
    tile::Epilogue<T> epilogue;
    epilogue.alpha = static_cast<Accumulator<T>>(alpha);
    epilogue.beta = static_cast<Accumulator<T>>(beta);
    epilogue.activation = activation;
    if (c && beta != 0) {
        epilogue.c = c->as<T>();
        epilogue.c_row = step_of(*c, y, 2);
        epilogue.c_column = step_of(*c, y, 1);
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

// Multiplies float32 as scaled float16. Then the tiled kernel computes the tiles again for which scaled float16 was not
// accurate enough, from the float32 factors.
template <bool kTransA, bool kTransB>
void run_certain(Problem<float, kTransA, kTransB> p, const Plan& plan, const Workspace& workspace, Stream stream) {
    hopper::ScaledFactors scaled = scaled_of(plan.sizes, plan.options);
    const auto place = [](hopper::Factor& f, const Matrices<const float>& m) {
        f.x = m.data;
        f.stride = m.stride;
        f.item_stride = m.item_stride;
    };
    place(scaled.a.from, p.left);
    place(scaled.b.from, p.right);
    const Workspace rest = scaled.fill(workspace, stream);
    plan.wgmma.factors == hopper::Factors::kHigh ? run_scaled<ptx::Tf32>(p, plan, scaled, rest, stream)
                                                 : run_scaled<float>(p, plan, scaled, rest, stream);
    p.wanted = scaled.marks;
    run_tiled(p, plan, scaled.without_factors(workspace), stream);
}

void product(const char* op, const Stack& a, const Stack& b, const Array* c, const Stack& y, const Plan& plan,
             double alpha, double beta, Activation activation, const Workspace& workspace, Stream stream) {
    const Sizes sizes = sizes_of(op, a, b, y, plan.options);
    if (y.array->size() == 0) return;
    check_plan(op, plan, sizes, a, b);
    workspace.check(op, plan.workspace);
    dispatch_float(plan.dtype, [&](auto type) {
        using T = TypeOf<decltype(type)>;
        dispatch_layout(plan.options, [&](auto trans_a, auto trans_b) {
            const Problem<T, decltype(trans_a)::value, decltype(trans_b)::value> p{
                {a.array->as<const T>(), a.stride, a.item_stride},
                {b.array->as<const T>(), b.stride, b.item_stride},
                {y.array->as<T>(), y.stride, y.item_stride},
                static_cast<int>(sizes.M),
                static_cast<int>(sizes.N),
                static_cast<int>(sizes.K),
                epilogue_of<T>(c, *y.array, alpha, beta, activation),
                is_in_vectors(y)};
            if constexpr (sizeof(T) == 2) {
                if (plan.kernel == Kernel::kWgmma) return run_wgmma(p, plan, workspace, stream);
            }
            if constexpr (sizeof(T) == 4) {
                if (plan.kernel == Kernel::kScaled) return run_certain(p, plan, workspace, stream);
            }
            run_tiled(p, plan, workspace, stream);
        });
    });
}

}  // namespace

void gemm(const Array& a, const Array& b, const Array* c, const Array& y, const Plan& plan, double alpha, double beta,
          Activation activation, const Workspace& workspace, Stream stream) {
    const char* op = "gemm";
    check_float(op, "y", y);
    require_rank(op, "a", a, 2);
    require_rank(op, "b", b, 2);
    check_array(op, "y", y, y.shape, y.dtype);
    require_rank(op, "y", y, 2);
    if (c) check_addend(op, *c, y);
    product(op, stack_of(op, "a", a, y.dtype), stack_of(op, "b", b, y.dtype), c, stack_of(op, "y", y, y.dtype), plan,
            alpha, beta, activation, workspace, stream);
}

void matmul(const Array& a, const Array& b, const Array& y, const Plan& plan, const Workspace& workspace,
            Stream stream) {
    const char* op = "matmul";
    check_float(op, "y", y);
    require_rank(op, "a", a, 3);
    require_rank(op, "b", b, 3);
    check_array(op, "y", y, y.shape, y.dtype);
    require_rank(op, "y", y, 3);
    product(op, stack_of(op, "a", a, y.dtype), stack_of(op, "b", b, y.dtype), nullptr, stack_of(op, "y", y, y.dtype),
            plan, 1, 0, Activation::kNone, workspace, stream);
}

}  // namespace convgpu::gemm
