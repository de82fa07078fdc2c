#include "../../tile/tensor_core.h"
#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_INSTANCES(tile::TensorCore, float)

}  // namespace convgpu::conv
