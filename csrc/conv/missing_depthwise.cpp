// Kernels of other branches, until they are merged.
#include <stdexcept>

#include "kernels.h"

namespace convgpu::conv {

#define MISSING                                           \
    {                                                     \
        throw std::runtime_error("conv: not merged yet"); \
    }
#define UNUSED(name, ...) void name(__VA_ARGS__) MISSING
using A = const Array&;
using G = const ConvGeometry&;
using O = const Options&;
using W = const Workspace&;
UNUSED(fprop_depthwise, A, A, const Array*, A, G, O, W, Stream)
UNUSED(dgrad_depthwise, A, A, const Array*, A, G, O, W, Stream)
UNUSED(wgrad_depthwise, A, A, A, G, O, W, Stream)
Choice plan_depthwise(Direction, G, DType, O, const Device&, size_t) MISSING
}  // namespace convgpu::conv
