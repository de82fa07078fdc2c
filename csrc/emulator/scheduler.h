// Which thread runs next, and when asynchronous work happens.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "config.h"
#include "runtime.h"

namespace convgpu::emulator {

// The engines that work beside the threads. When every thread waits, MMAs go first: late copies then come after the
// MMAs, which is when a pipeline slot released too early is overwritten under an MMA that still reads it.
enum class Engine { kMma, kCopy };
constexpr int kEngines = 2;

void suspend(const Waiting& waiting);  // until wake(); if nothing can ever wake it, launch() reports the deadlock
void yield();
void wake(Thread* thread);
// Everyone who met at a barrier, the current thread (the last to arrive) included, runs on in the configured order.
// Clears the list.
void resume_together(std::vector<Thread*>& threads);

// Does op at once (eager), when no thread can run (lazy), or at a random moment.
void post(Engine engine, std::function<void()> op);
bool coin_flip();  // for Timing::kRandom
// For the race detector: what the calling engine has done is ordered before the end of the launch.
void release_to_end_of_launch();

using KernelCall = void (*)(void* arguments);

// One OS worker's scheduler. Only grid.cpp makes one.
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
