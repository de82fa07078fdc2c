#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_PACKED_INSTANCES(__nv_bfloat16)

}  // namespace convgpu::conv
