// Runs every GEMM kernel over problems that are longer than its ring of tiles, on arrays of exactly the bytes they
// need. The sanitizers watch this program.
#include <cmath>
#include <set>

#include "../../csrc/gemm/gemm.h"
#include "owned.h"

using namespace convgpu;

namespace {

struct Case {
    int64_t items, M, N, K;
    int multiprocessors;  // the fewer there are, the larger the tiles
    int arch = 80;        // 80 is without Hopper's kernels, 90 is with them
};

std::set<std::string>& plans() {
    static std::set<std::string> seen;
    return seen;
}

NOT_WATCHED int64_t index(bool trans, int64_t i, int64_t j, int64_t rows, int64_t columns) {
    return trans ? j * rows + i : i * columns + j;
}

NOT_WATCHED void add_products(const Case& p, bool trans_a, bool trans_b, const double* a, const double* b, double* y) {
    for (int64_t m = 0; m < p.M; ++m) {
        for (int64_t n = 0; n < p.N; ++n) {
            for (int64_t k = 0; k < p.K; ++k) {
                y[m * p.N + n] += a[index(trans_a, m, k, p.M, p.K)] * b[index(trans_b, k, n, p.K, p.N)];
            }
        }
    }
}

// Returns y[i] = relu(a[i] @ b[i] + c) of whole numbers. It is exact but for the rounding to the dtype.
std::vector<double> expected_of(const Case& p, const gemm::Options& o, const Owned& a, const Owned& b, const Owned* c) {
    const std::vector<double> as = values_of(a), bs = values_of(b);
    std::vector<double> y(static_cast<size_t>(p.items * p.M * p.N));
    for (int64_t i = 0; i < p.items; ++i) {
        add_products(p, o.trans_a, o.trans_b, &as[i * p.M * p.K], &bs[i * p.K * p.N], &y[i * p.M * p.N]);
    }
    for (size_t i = 0; c && i < y.size(); ++i) y[i] = std::max(y[i] + c->get(static_cast<int64_t>(i) % p.N), 0.0);
    return y;
}

// Makes column 0 of y depend on the elements a[m][7] alone, which become 2^-40 of the others, so that scaled factors
// lose them.
void leave_the_smallest(const Case& p, const gemm::Options& o, Owned& a, Owned& b) {
    for (int64_t item = 0; item < p.items; ++item) {
        for (int64_t m = 0; m < p.M; ++m) {
            const int64_t at = item * p.M * p.K + index(o.trans_a, m, 7, p.M, p.K);
            a.set(at, std::ldexp(a.get(at), -40));
        }
        for (int64_t k = 0; k < p.K; ++k) {
            if (k != 7) b.set(item * p.K * p.N + index(o.trans_b, k, 0, p.K, p.N), 0);
        }
    }
}

void run(const Case& p, DType dtype, const gemm::Options& o, int shift) {
    emulator::config().multiprocessors = p.multiprocessors;
    emulator::config().arch = p.arch;
    const gemm::Sizes sizes{p.items, p.M, p.N, p.K, p.items == 1, p.items == 1};
    const Shape stack = p.items > 1 ? Shape{p.items} : Shape{};
    const auto matrices = [&](int64_t rows, int64_t columns, bool trans) {
        Shape shape = stack;
        shape.push_back(trans ? columns : rows);
        shape.push_back(trans ? rows : columns);
        return Owned(shape, dtype, shift);
    };
    Owned a = matrices(p.M, p.K, o.trans_a), b = matrices(p.K, p.N, o.trans_b), c({1, p.N}, dtype, shift);
    const Owned y = matrices(p.M, p.N, false);
    a.fill(1);
    b.fill(2);
    c.fill(3);
    if (p.arch == 90 && dtype == DType::kFloat32) leave_the_smallest(p, o, a, b);
    const auto plan = gemm::plan(sizes, dtype, o, shift ? 1 : 16, current_device(), kWorkspaceLimit);
    plans().insert(plan.text());
    const Owned workspace({static_cast<int64_t>(plan.workspace)}, DType::kUInt8);
    const Workspace lent{workspace.array.data, plan.workspace};
    if (p.items > 1) {
        gemm::matmul(a.array, b.array, y.array, plan, lent, nullptr);
    } else {
        gemm::gemm(a.array, b.array, &c.array, y.array, plan, 1, 1, Activation::kRelu, lent, nullptr);
    }
    compare(y, expected_of(p, o, a, b, p.items > 1 ? nullptr : &c), rounding_of(dtype), "gemm");
}

void run_layouts(const Case& p, DType dtype, Precision precision, int shift) {
    for (const bool trans_a : {false, true}) {
        for (const bool trans_b : {false, true}) {
            in_turn([&] { run(p, dtype, {trans_a, trans_b, precision}, shift); });
        }
    }
}

}  // namespace

TEST(products_of_every_engine_layout_and_tile) {
    constexpr Precision kFull = Precision::kFloat32;
    const std::pair<DType, Precision> engines[] = {{DType::kFloat32, kFull},
                                                   {DType::kFloat64, kFull},
                                                   {DType::kFloat32, Precision::kTf32},
                                                   {DType::kFloat16, kFull},
                                                   {DType::kBFloat16, kFull}};
    for (const auto& [dtype, precision] : engines) {
        const auto depth = static_cast<int64_t>(64 / size_of(dtype));
        const int64_t V = depth / 4, K = 5 * depth + V;  // five tiles and a piece
        run_layouts({1, 136, 264, K, 1}, dtype, precision, 0);
        run_layouts({1, 72, 40, K, 132}, dtype, precision, 0);
        run_layouts({1, 67, 35, K + 1, 132}, dtype, precision, 1);
        run_layouts({3, 16, 24, 8 * V, 132}, dtype, precision, 0);
    }
}

TEST(products_whose_sums_are_split) {
    for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kBFloat16}) {
        in_turn([&] { run({1, 9, 13, 1100, 132}, dtype, {}, 0); });
        in_turn([&] { run({2, 16, 8, 1024, 132}, dtype, {}, 0); });
    }
}

namespace {

void expect_plans(const std::vector<std::string>& tiles, const std::string& end = "") {
    for (const std::string& tile : tiles) {
        const auto has = [&](const std::string& plan) {
            return plan.find("gemm_wgmma tile=" + tile) == 0 && plan.find(end) != std::string::npos;
        };
        testing::expect(std::any_of(plans().begin(), plans().end(), has), "no problem with " + tile + end);
    }
}

}  // namespace

TEST(products_on_hopper) {
    plans().clear();
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
        run_layouts({1, 136, 264, 456, 2, 90}, dtype, {}, 0);  // two blocks have two tiles each: the ring goes on
        run_layouts({1, 120, 264, 328, 1, 90}, dtype, {}, 0);
        run_layouts({1, 136, 120, 456, 2, 90}, dtype, {}, 0);
        run_layouts({1, 136, 136, 456, 1, 90}, dtype, {}, 0);
        run_layouts({3, 72, 56, 584, 1, 90}, dtype, {}, 0);
        in_turn([&, dtype = dtype] { run({2, 40, 56, 4120, 132, 90}, dtype, {}, 0); });
    }
    expect_plans({"128x256 stages=4 cluster=2", "128x256 stages=4 cluster=1", "128x128 stages=6 cluster=2",
                  "128x128 stages=6 cluster=1", "128x64 stages=8 cluster=1 splits=1 ",
                  "128x64 stages=8 cluster=1 splits=13 "});
}

// Runs float32 as pairs, and TF32 as their high halves. Some elements of a factor are too small for either, so that
// tiles are marked.
TEST(products_of_scaled_factors) {
    for (const Precision precision : {Precision::kFloat32, Precision::kTf32}) {
        plans().clear();
        const bool pairs = precision == Precision::kFloat32;
        const auto in_one_layout = [&](const Case& p, bool trans_a, bool trans_b) {
            in_turn([&] { run(p, DType::kFloat32, {trans_a, trans_b, precision}, 0); });
        };
        run_layouts({1, 131, 135, pairs ? 329 : 1225, 2, 90}, DType::kFloat32, precision, 1);
        in_one_layout({1, 136, 264, 648, 2, 90}, false, true);
        in_one_layout({1, 120, 264, 648, 1, 90}, true, false);
        in_one_layout({3, 72, 56, 2056, 1, 90}, false, false);
        in_one_layout({2, 72, 120, 4120, 8, 90}, true, true);
        if (pairs) {
            expect_plans({"128x128 stages=3 cluster=2", "128x128 stages=3 cluster=1", "128x64 stages=4"},
                         "float16_pairs");
        } else {
            expect_plans({"128x256 stages=4 cluster=2", "128x128 stages=6 cluster=1", "128x64 stages=8"},
                         "factors=scaled_float16");
        }
    }
}
