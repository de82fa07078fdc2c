#include "instances.h"

namespace convgpu::conv {

CONVGPU_DEPTHWISE_INSTANCES(__half)

}  // namespace convgpu::conv
