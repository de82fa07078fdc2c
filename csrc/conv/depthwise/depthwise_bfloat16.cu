#include "instances.h"

namespace convgpu::conv {

CONVGPU_DEPTHWISE_INSTANCES(__nv_bfloat16)

}  // namespace convgpu::conv
