#include "instances_wgmma.h"

namespace convgpu::gemm {

CONVGPU_GEMM_PAIRS(false, false)
CONVGPU_GEMM_PAIRS(false, true)
CONVGPU_GEMM_PAIRS(true, false)
CONVGPU_GEMM_PAIRS(true, true)

}  // namespace convgpu::gemm
