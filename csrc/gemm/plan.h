// A plan says which kernel computes a matrix product, and how. It depends on sizes, dtype, precision, the limit on
// workspace, alignment and device alone. It is made once, and the launchers in gemm.h do what it says.
#pragma once
#include <optional>
#include <string>

#include "../common/array.h"
#include "../common/options.h"
#include "../device/properties.h"
#include "../hopper/plan.h"
#include "../tile/plan.h"

namespace convgpu::gemm {

// The sizes of y[i] = op(a[i]) @ op(b[i]) for i < items: y is M x N, and each of its elements is a sum of K products.
// If one_a (one_b) holds, all items have the same matrix a (b).
struct Sizes {
    int64_t items, M, N, K;
    bool one_a = false, one_b = false;
};

// Tells whether op() transposes a (b) as it lies in memory, and how float32 is computed.
struct Options {
    bool trans_a = false, trans_b = false;
    Precision precision = Precision::kFloat32;
};

enum class Kernel {
    kTiled,  // gemm_tiled, which takes every dtype on every GPU
    kWgmma,  // gemm_wgmma on half types as they are
    // gemm_wgmma on float32 that was split into scaled float16, and then gemm_tiled for the tiles where this was not
    // accurate enough
    kScaled,
};

struct Plan {
    Sizes sizes;
    DType dtype;
    Options options;
    Device device;
    Kernel kernel = Kernel::kTiled;
    tile::Plan tiled{};              // for kTiled, and for the second kernel of kScaled
    hopper::Plan wgmma{};            // for kWgmma, and for the first kernel of kScaled
    const char* no_wgmma = nullptr;  // for kTiled: the reason why gemm_wgmma does not run
    size_t workspace = 0;            // bytes that the launcher asks for

    std::string text() const;  // "kernel key=value ...", as explain prints it
    int64_t launches() const;  // how many kernels the launcher starts
    double clocks() const;     // the time that the estimate for gemm_wgmma gives; 0 for gemm_tiled, which has none
};

// `alignment` is a power of two that divides the addresses of a and b, whose lines lie without gaps. Without a
// workspace limit, partial sums may take kWorkspaceLimit, and on Hopper float32 may take as many bytes more as its
// scaled factors need.
Plan plan(const Sizes& sizes, DType dtype, const Options& options, int alignment, const Device& device,
          std::optional<size_t> limit);

}  // namespace convgpu::gemm
