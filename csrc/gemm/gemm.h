// Matrix products: the launchers. No operand shares memory with y.
#pragma once
#include "../common/activation.h"
#include "../common/workspace.h"
#include "plan.h"

namespace convgpu::gemm {

// y = activation(alpha * op(a) @ op(b) + beta * c), of matrices; c, where there is one, broadcasts to y.
void gemm(const Array& a, const Array& b, const Array* c, const Array& y, const Plan& plan, double alpha, double beta,
          Activation activation, const Workspace& workspace, Stream stream);

// y[i] = op(a[i]) @ op(b[i]), of stacks of matrices (items, rows, columns); a stack of one matrix repeats it.
void matmul(const Array& a, const Array& b, const Array& y, const Plan& plan, const Workspace& workspace,
            Stream stream);

}  // namespace convgpu::gemm
