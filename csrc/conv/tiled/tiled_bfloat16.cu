#include "../../tile/tensor_core.h"
#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_INSTANCES(tile::TensorCore, __nv_bfloat16)

}  // namespace convgpu::conv
