#include "fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <stdexcept>
#include <vector>

#include "context_switch.h"
#include "sanitizer.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define CONVGPU_ASAN(...) __VA_ARGS__
#else
#define CONVGPU_ASAN(...)
#endif

namespace convgpu::emulator {
namespace {

constexpr size_t kStackBytes = 256 << 10;  // pages are mapped on first use: a thread that needs 8 KiB costs 8 KiB
constexpr unsigned kColours = 61;
constexpr size_t kColourBytes = 64;

__thread Fiber* switched_from = nullptr;

// A stack, and the race detector's object for the thread that runs on it. Both are expensive to make, the latter above
// all, so later launches use them again.
struct Resource {
    char* stack = nullptr;
    void* tsan_fiber = nullptr;
};

Resource make_resource() {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* p =
        mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::runtime_error("emulator: cannot map a stack for a CUDA thread");
    mprotect(p, page, PROT_NONE);  // a kernel that overruns its stack faults on this page
    return {static_cast<char*>(p) + page, nullptr};
}

class ResourcePool {
public:
    Resource take() {
        Resource r;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            if (!free_.empty()) {
                r = free_.back();
                free_.pop_back();
            }
        }
        if (!r.stack) r = make_resource();
        CONVGPU_TSAN(if (!r.tsan_fiber) r.tsan_fiber = __tsan_create_fiber(0);)
        return r;
    }
    void give_back(const Resource& r) {
        std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(r);
    }

private:
    std::mutex mutex_;
    std::vector<Resource> free_;
};

ResourcePool& pool() {
    static auto* p = new ResourcePool;  // never destroyed, since a launch may run during exit
    return *p;
}

}  // namespace

void adopt_os_thread([[maybe_unused]] Fiber& fiber) { CONVGPU_TSAN(fiber.tsan_fiber = __tsan_get_current_fiber();) }

void abandon_os_thread(Fiber& fiber) { release_context(fiber.context); }

void create_fiber(Fiber& fiber, void (*entry)(), unsigned colour) {
    const Resource r = pool().take();
    fiber.stack = r.stack;
    fiber.tsan_fiber = r.tsan_fiber;
    fiber.asan_bottom = fiber.stack;
    fiber.asan_size = kStackBytes;
    fiber.context = prepare_context(fiber.stack, kStackBytes - colour * 5 % kColours * kColourBytes, entry);
}

void destroy_fiber(Fiber& fiber, [[maybe_unused]] bool finished) {
    CONVGPU_ASAN(__asan_unpoison_memory_region(fiber.stack, kStackBytes);)
#ifdef CONVGPU_EMULATOR_TSAN
    if (!finished) {
        // The fiber may be inside a Quiet, so no other thread can go on as this one, and the detector's object is
        // leaked. What it has done is ordered before the thread that gets its stack.
        void* here = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(fiber.tsan_fiber, 1);
        release(fiber.stack);
        __tsan_switch_to_fiber(here, 1);
        acquire(fiber.stack);
        fiber.tsan_fiber = nullptr;
    }
#endif
    release_context(fiber.context);
    pool().give_back({fiber.stack, fiber.tsan_fiber});
    fiber = Fiber{};
}

void fiber_entered([[maybe_unused]] Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(fiber.asan_fake_stack, &bottom, &size);
    if (!switched_from->asan_bottom) {  // this is the stack of an OS thread, whose bounds only the sanitizer knows
        switched_from->asan_bottom = bottom;
        switched_from->asan_size = size;
    }
#endif
}

void switch_fiber(Fiber& from, Fiber& to) {
    switched_from = &from;
    CONVGPU_ASAN(__sanitizer_start_switch_fiber(&from.asan_fake_stack, to.asan_bottom, to.asan_size);)
    CONVGPU_TSAN(__tsan_switch_to_fiber(to.tsan_fiber, 1);)  // the flag 1 says that a switch orders nothing
    switch_context(from.context, to.context);
    fiber_entered(from);
}

}  // namespace convgpu::emulator
