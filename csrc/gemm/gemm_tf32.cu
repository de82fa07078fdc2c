#include "../tile/tensor_core.h"
#include "instances.h"

namespace convgpu::gemm {

CONVGPU_GEMM_INSTANCES(tile::TensorCore, float)

}  // namespace convgpu::gemm
