#include "instances_wgmma.h"

namespace convgpu::gemm {

CONVGPU_GEMM_LAYOUTS(CONVGPU_GEMM_WGMMA, __nv_bfloat16)

}  // namespace convgpu::gemm
