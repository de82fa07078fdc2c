// Which kernel computes a matrix product, and how. A plan follows from sizes, dtype, precision, the limit on workspace,
// alignment and device alone; it is made once, and the launchers in gemm.h do what it says.
#pragma once
#include <optional>
#include <string>

#include "../common/array.h"
#include "../common/precision.h"
#include "../device/properties.h"
#include "../hopper/plan.h"
#include "../tile/plan.h"

namespace convgpu::gemm {

// y[i] = op(a[i]) @ op(b[i]) for i < items: y is M x N, and each of its elements is a sum of K products. Where one_a
// (one_b) holds, the same matrix a (b) belongs to all items.
struct Sizes {
    int64_t items, M, N, K;
    bool one_a = false, one_b = false;
};

// Whether op() transposes a matrix as it lies in memory, and what float32 is computed as.
struct Options {
    bool trans_a = false, trans_b = false;
    Precision precision = Precision::kFloat32;
};

enum class Kernel {
    kTiled,   // gemm_tiled: every dtype, every GPU
    kWgmma,   // gemm_wgmma on half types as they are
    kScaled,  // gemm_wgmma on float32 that has been split into scaled float16; then gemm_tiled where that was too
              // little
};

struct Plan {
    Sizes sizes;
    DType dtype;
    Options options;
    Device device;
    Kernel kernel = Kernel::kTiled;
    tile::Plan tiled{};              // of kTiled, and of the second kernel of kScaled
    hopper::Plan wgmma{};            // of kWgmma, and of the first kernel of kScaled
    const char* no_wgmma = nullptr;  // of kTiled: why not gemm_wgmma
    size_t workspace = 0;            // bytes

    std::string text() const;  // "kernel key=value ...", as explain prints it
};

// `alignment`: a power of two that divides the addresses of a and b, whose lines lie without gaps. No limit: partial
// sums take kWorkspaceLimit at most, and float32 on Hopper as many bytes as its factors have besides.
Plan plan(const Sizes& sizes, DType dtype, const Options& options, int alignment, const Device& device,
          std::optional<size_t> limit);

}  // namespace convgpu::gemm
