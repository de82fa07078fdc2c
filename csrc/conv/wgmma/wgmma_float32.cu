#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_WGMMA_INSTANCES(float)

}  // namespace convgpu::conv
