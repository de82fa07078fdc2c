#include "../../tile/simt.h"
#include "instances.h"

namespace convgpu::conv {

CONVGPU_CONV_INSTANCES(tile::Simt, double)

}  // namespace convgpu::conv
