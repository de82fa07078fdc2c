#include "../tile/simt.h"
#include "instances.h"

namespace convgpu::gemm {

CONVGPU_GEMM_INSTANCES(tile::Simt, float)

}  // namespace convgpu::gemm
