#include "instances_wgmma.h"

namespace convgpu::gemm {

CONVGPU_GEMM_WGMMA_INSTANCES(__half)

}  // namespace convgpu::gemm
