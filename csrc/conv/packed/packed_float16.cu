#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_PACKED_INSTANCES(__half)

}  // namespace convgpu::conv
