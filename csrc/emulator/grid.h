// Runs a launch: the OS workers share the grid's blocks, cluster by cluster.
#pragma once
#include <vector_types.h>

#include <cstddef>
#include <tuple>
#include <utility>

#include "config.h"
#include "scheduler.h"

namespace convgpu::emulator {

struct GridShape {
    dim3 grid, block, cluster;
    size_t shared_bytes;
};

// Returns when every thread has run to its end. Throws Error, or whatever a kernel threw.
void run_grid(const GridShape& shape, KernelCall kernel, void* arguments);

template <class... P, class... A>
void launch_grid(void (*kernel)(P...), const GridShape& shape, A&&... arguments) {
    struct Call {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    };
    note_kernel(reinterpret_cast<const void*>(kernel));
    Call call{kernel, std::tuple<P...>(std::forward<A>(arguments)...)};
    run_grid(
        shape,
        [](void* p) {
            auto* c = static_cast<Call*>(p);
            std::apply(c->kernel, c->arguments);
        },
        &call);
}

}  // namespace convgpu::emulator
