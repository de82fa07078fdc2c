// The engine that runs gemm_wgmma on Hopper's tensor cores. Its instances are compiled from instances.h, in one file
// for each dtype.
#pragma once
#include "../../common/workspace.h"
#include "../problem.h"
#include "scaled.h"

namespace convgpu::gemm {

// Tells where row m of an item is, and which range of a (hopper/scaled.h) its factors come from. Every row of a is a
// range.
struct MatrixRows {
    int M, of_item;  // of_item is the number of ranges of an item, or 0 if all items have the same matrix
    __device__ __forceinline__ hopper::PlaceOfRow operator()(int item, int m) const {
        return {m < M ? m : -1, int64_t(item) * of_item + m};
    }
};

// The problem in the form that gemm_wgmma takes for factors of type T: a half type, float (pairs), or ptx::Tf32 (the
// high halves of pairs).
template <class T, bool kTransA, bool kTransB>
using OnHopper = hopper::OnHopper<T, Problem<hopper::Value<T>, kTransA, kTransB>, MatrixRows>;

// Runs gemm_wgmma on half types.
template <class T, bool kTransA, bool kTransB>
void run_wgmma(const Problem<T, kTransA, kTransB>& p, const Plan& plan, const Workspace& workspace, Stream stream);

// Runs gemm_wgmma on scaled factors that have already been filled. T is float or ptx::Tf32.
template <class T, bool kTransA, bool kTransB>
void run_scaled(const Problem<float, kTransA, kTransB>& p, const Plan& plan, const hopper::ScaledFactors& scaled,
                const Workspace& workspace, Stream stream);

}  // namespace convgpu::gemm
