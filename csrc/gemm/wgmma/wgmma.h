// The engine of Hopper's tensor cores: gemm_wgmma. Its instances are compiled from instances.h, a file for each dtype.
#pragma once
#include "../../common/workspace.h"
#include "../problem.h"
#include "scaled.h"

namespace convgpu::gemm {

// Where row m of an item is, and which range of a (hopper/scaled.h) it takes its factors from: one range is one row.
struct MatrixRows {
    int M, of_item;  // of_item: ranges of an item; 0 where all items have the same matrix
    __device__ __forceinline__ hopper::PlaceOfRow operator()(int item, int m) const {
        return {m < M ? m : -1, int64_t(item) * of_item + m};
    }
};

// The problem as gemm_wgmma on factors of T takes it: T is a half type, float (pairs), or ptx::Tf32 (their high
// halves).
template <class T, bool kTransA, bool kTransB>
using OnHopper = hopper::OnHopper<T, Problem<hopper::Value<T>, kTransA, kTransB>, MatrixRows>;

// Runs gemm_wgmma on half types as they are.
template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, const Plan& plan, const Workspace& workspace, Stream stream);

// Runs gemm_wgmma on scaled factors that have been filled. T: float or ptx::Tf32.
template <class T, bool kTransA, bool kTransB>
void run_scaled(const Problem<float, kTransA, kTransB>& p, const Plan& plan, const hopper::ScaledFactors& scaled,
                const Workspace& workspace, Stream stream);

}  // namespace convgpu::gemm
