// Fibers: one per CUDA thread, each on a small stack of its own, switched in user space.
// A fiber never changes its OS thread: compilers cache addresses of thread-local variables across a switch.
#pragma once
#include <cstddef>

namespace convgpu::emulator {

struct Fiber {
    void* context = nullptr;  // the saved stack pointer (assembly) or ucontext_t (portable)
    char* stack = nullptr;    // lowest address; null for an OS thread's own stack
    void* asan_fake_stack = nullptr;
    const void* asan_bottom = nullptr;
    size_t asan_size = 0;
    void* tsan_fiber = nullptr;
};

// The calling OS thread as something to switch back to.
void adopt_os_thread(Fiber& fiber);
void abandon_os_thread(Fiber& fiber);

// Gives a fiber a stack; its first switch calls entry, which must begin with fiber_entered() and never return.
// Fibers of one block get different `colour`s, so that their stack tops do not meet in one set of the L1 cache.
void create_fiber(Fiber& fiber, void (*entry)(), unsigned colour);
void fiber_entered(Fiber& fiber);
// `finished`: it ran to its end. One that did not (another thread of its block failed) is never resumed.
void destroy_fiber(Fiber& fiber, bool finished);

void switch_fiber(Fiber& from, Fiber& to);

}  // namespace convgpu::emulator
