#include "instances.h"

namespace convgpu::conv {

CONVGPU_DEPTHWISE_INSTANCES(float)

}  // namespace convgpu::conv
