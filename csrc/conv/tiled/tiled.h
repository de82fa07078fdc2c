// The launcher of the tiled kernels, and the functions that start them for one dtype.
#pragma once
#include "../../common/workspace.h"
#include "../problem/dgrad.h"
#include "../problem/fprop.h"
#include "../problem/wgrad.h"
#include "plan.h"

namespace convgpu::conv {

// Runs the tiled kernels. `wanted` tells which tiles are computed; without marks, all tiles are.
void launch_tiled(const Problem& problem, const TiledPlan& plan, const Operands& operands, Activation activation,
                  const tile::Marks& wanted, const Workspace& workspace, Stream stream);

// Launches one kernel over `items` products. The instances of each pair of engine and dtype are compiled in a file of
// their own (instances.h).
template <template <class, class, int, int> class Engine, class T>
void start_tiled(const Fprop<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream);
template <template <class, class, int, int> class Engine, class T>
void start_tiled(const Dgrad<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream);
template <template <class, class, int, int> class Engine, class T>
void start_tiled(const Wgrad<T>& p, int items, const tile::Plan& plan, const Workspace& workspace, Stream stream);

}  // namespace convgpu::conv
