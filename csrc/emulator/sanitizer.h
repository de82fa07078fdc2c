// What the emulator tells the sanitizers. In a build without sanitizers, everything here is empty.
//
// AddressSanitizer: kernels and emulator are both built with -fsanitize=address; only fiber.cpp has anything to say.
// ThreadSanitizer: kernels are built with -fsanitize=thread, the emulator without it but with
// -DCONVGPU_EMULATOR_TSAN. Each CUDA thread is a TSan fiber, so the detector sees exactly the orderings that the CUDA
// program asked for, and none of those that the emulator's own scheduling happens to make.
#pragma once
#include <cstddef>

#ifdef CONVGPU_EMULATOR_TSAN
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write_range(void* address, unsigned long size);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#define CONVGPU_TSAN(...) __VA_ARGS__
#else
#define CONVGPU_TSAN(...)
#endif

namespace convgpu::emulator {

// The race detector orders whatever happened before release(p) before whatever follows a later acquire(p).
inline void release([[maybe_unused]] void* p) { CONVGPU_TSAN(__tsan_release(p);) }
inline void acquire([[maybe_unused]] void* p) { CONVGPU_TSAN(__tsan_acquire(p);) }

// Tells the race detector of memory that the emulator reads or writes on behalf of a kernel.
inline void note_read([[maybe_unused]] const void* p, [[maybe_unused]] size_t n) {
    CONVGPU_TSAN(__tsan_read_range(const_cast<void*>(p), n);)
}
inline void note_write([[maybe_unused]] void* p, [[maybe_unused]] size_t n) { CONVGPU_TSAN(__tsan_write_range(p, n);) }

// While a Quiet lives, the race detector ignores what the emulator itself does through functions that TSan intercepts,
// such as memcpy and operator new.
struct Quiet {
    Quiet() { CONVGPU_TSAN(AnnotateIgnoreReadsBegin("", 0); AnnotateIgnoreWritesBegin("", 0);) }
    ~Quiet() { CONVGPU_TSAN(AnnotateIgnoreReadsEnd("", 0); AnnotateIgnoreWritesEnd("", 0);) }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;
};

// To the race detector, an asynchronous engine (the tensor cores of one warpgroup, or the copy engine) is a thread of
// its own. Runs op as that thread. `engine` keeps the thread, and starts as nullptr.
template <class F>
void run_as([[maybe_unused]] void*& engine, F&& op) {
#ifdef CONVGPU_EMULATOR_TSAN
    if (!engine) engine = __tsan_create_fiber(0);
    struct Visit {
        void* home = __tsan_get_current_fiber();
        explicit Visit(void* to) { __tsan_switch_to_fiber(to, 1); }
        ~Visit() { __tsan_switch_to_fiber(home, 1); }
    } visit(engine);
#endif
    op();
}

inline void destroy_engine([[maybe_unused]] void*& engine) {
    CONVGPU_TSAN(if (engine) __tsan_destroy_fiber(engine); engine = nullptr;)
}

}  // namespace convgpu::emulator
