#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_WGMMA_INSTANCES(hopper::Tf32)

}  // namespace convgpu::conv
