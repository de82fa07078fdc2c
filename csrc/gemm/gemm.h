// Matrix products: the launchers.
#pragma once
#include <optional>
#include <string>

#include "../common/activation.h"
#include "../common/array.h"
#include "../common/precision.h"
#include "../common/workspace.h"
#include "../device/properties.h"

namespace convgpu::gemm {

// What of the operands is transposed, and what float32 is computed as.
struct Options {
    bool trans_a = false, trans_b = false;
    Precision precision = Precision::kFloat32;
};

// y = activation(alpha * op(a) @ op(b) + beta * c), of matrices; c, where there is one, broadcasts to y. No operand
// shares memory with y.
void gemm(const Array& a, const Array& b, const Array* c, const Array& y, double alpha, double beta,
          const Options& options, Activation activation, const Workspace& workspace, Stream stream);

// y[i] = op(a[i]) @ op(b[i]), of stacks of matrices (items, rows, columns); a stride of 0 along the items repeats one.
void matmul(const Array& a, const Array& b, const Array& y, const Options& options, const Workspace& workspace,
            Stream stream);

// y = items x M x N, sums over K; of a factor there may be one for all items.
struct Sizes {
    int64_t items, M, N, K;
    bool one_a = false, one_b = false;
};

// The bytes of workspace that either wants on the GPU in use. No limit: partial sums take kWorkspaceLimit at most, and
// float32 on Hopper as much as its factors besides.
size_t workspace_bytes(const Sizes& sizes, DType dtype, const Options& options, std::optional<size_t> limit);

// The kernel that would run on operands aligned to 16 bytes.
std::string plan(const Sizes& sizes, DType dtype, const Options& options, const Device& device,
                 std::optional<size_t> limit);

}  // namespace convgpu::gemm
