#include "instances.h"

namespace convgpu::conv {

CONVGPU_DEPTHWISE_INSTANCES(double)

}  // namespace convgpu::conv
