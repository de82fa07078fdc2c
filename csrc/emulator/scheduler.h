// Decides which thread runs next, and when asynchronous work takes effect.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "config.h"
#include "runtime.h"

namespace convgpu::emulator {

// The engines that work beside the threads. When every thread waits, the MMAs go first and late copies follow. A kernel
// that releases a slot of its pipeline too early is then found out, because a copy overwrites the slot under an MMA
// that still reads it.
enum class Engine { kMma, kCopy };
constexpr int kEngines = 2;

// Suspends the current thread until wake(). If nothing can ever wake it, launch() reports the deadlock.
void suspend(const Waiting& waiting);
void yield();
void wake(Thread* thread);
// Lets all threads that met at a barrier go on, in the configured order, and clears the list. The current thread, which
// was the last to arrive, is one of them.
void resume_together(std::vector<Thread*>& threads);

// Performs op at once (eager), when no thread can run (lazy), or at a random moment.
void post(Engine engine, std::function<void()> op);
bool coin_flip();  // decides at random, for Timing::kRandom
// Tells the race detector that what the calling engine has done is ordered before the end of the launch.
void release_to_end_of_launch();

using KernelCall = void (*)(void* arguments);

// The scheduler of one OS worker. Only grid.cpp makes one.
class Scheduler {
public:
    Scheduler(KernelCall kernel, void* arguments, uint64_t seed);
    ~Scheduler();
    // Runs all threads of one cluster to their end. Throws what a kernel threw, or Error for a deadlock.
    void run(Cluster& cluster);
    struct Impl;

private:
    Impl* impl_;
};
void thread_main();  // the entry of every fiber

}  // namespace convgpu::emulator
