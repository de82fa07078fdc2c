#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_WGMMA_INSTANCES(__half)

}  // namespace convgpu::conv
