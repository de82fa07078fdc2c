// A fiber is a CUDA thread on the host: it has a small stack of its own, and is switched in user space. A fiber never
// changes its OS thread, because compilers keep addresses of thread-local variables across a switch.
#pragma once
#include <cstddef>

namespace convgpu::emulator {

struct Fiber {
    void* context = nullptr;  // the saved stack pointer (assembly), or a ucontext_t (portable)
    char* stack = nullptr;    // the lowest address; null for the stack of an OS thread
    void* asan_fake_stack = nullptr;
    const void* asan_bottom = nullptr;
    size_t asan_size = 0;
    void* tsan_fiber = nullptr;
};

// Makes the calling OS thread a fiber, so that others can switch back to it.
void adopt_os_thread(Fiber& fiber);
void abandon_os_thread(Fiber& fiber);

// Gives a fiber a stack. The first switch to it calls entry, which must begin with fiber_entered() and must never
// return. Fibers of one block get different values of `colour`, so that the tops of their stacks do not fall into one
// set of the L1 cache.
void create_fiber(Fiber& fiber, void (*entry)(), unsigned colour);
void fiber_entered(Fiber& fiber);
// `finished` tells whether the fiber ran to its end. If it did not, because another thread of its block failed, it is
// never resumed.
void destroy_fiber(Fiber& fiber, bool finished);

void switch_fiber(Fiber& from, Fiber& to);

}  // namespace convgpu::emulator
