#include "instances_wgmma.h"

namespace convgpu::gemm {

CONVGPU_GEMM_WGMMA_INSTANCES(__nv_bfloat16)

}  // namespace convgpu::gemm
