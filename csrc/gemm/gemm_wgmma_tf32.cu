#include "instances_wgmma.h"

namespace convgpu::gemm {

CONVGPU_GEMM_LAYOUTS(CONVGPU_GEMM_SCALED, hopper::Tf32)

}  // namespace convgpu::gemm
