#include "depthwise_instances.h"

namespace convgpu::conv {

CONVGPU_DEPTHWISE_INSTANCES(__half)

}  // namespace convgpu::conv
