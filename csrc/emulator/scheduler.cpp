#include "scheduler.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <exception>
#include <random>

#include "deadlock.h"
#include "sanitizer.h"

namespace convgpu::emulator {

__thread Thread* current = nullptr;

void fail(const char* format, ...) {
    char text[600];
    int n = 0;
    if (current) {
        const uint3 b = current->block->index, t = current->index;
        n = std::snprintf(text, sizeof text, "block (%u,%u,%u) thread (%u,%u,%u): ", b.x, b.y, b.z, t.x, t.y, t.z);
    }
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text + n, sizeof text - static_cast<size_t>(n), format, arguments);
    va_end(arguments);
    throw Error(text);
}

struct Scheduler::Impl {
    KernelCall kernel;
    void* arguments;
    Order order = config().order;
    Timing timing[kEngines] = {config().mma, config().copy};  // indexed by Engine
    std::mt19937_64 random;
    Fiber own;  // the fiber of the OS thread
    Thread *head = nullptr, *tail = nullptr;
    size_t alive = 0;
    uint64_t switches = 0;
    std::exception_ptr error;
    struct Operation {
        Thread* issuer;
        std::function<void()> run;
    };
    std::deque<Operation> pending[kEngines];
    // Addresses for the race detector: the launch comes before its threads, and the threads come before the next
    // launch.
    char started = 0, ended = 0;

    void push_back(Thread* t) {
        t->next_ready = nullptr;
        (tail ? tail->next_ready : head) = t;
        tail = t;
    }
    void push_front(Thread* t) {
        t->next_ready = head;
        head = t;
        if (!tail) tail = t;
    }
    Thread* pop() {
        Thread* t = head;
        if (t && !(head = t->next_ready)) tail = nullptr;
        return t;
    }
    void perform(const Operation& operation);
    void perform_one(int engine);
    Thread* next();
    void switch_to(Thread* to);
    void keep_error();
    void run_thread();
};

namespace {
__thread Scheduler::Impl* here = nullptr;
}  // namespace

// Performs an operation on behalf of the thread that issued it, whichever thread runs now, so that an error names the
// right one.
void Scheduler::Impl::perform(const Operation& operation) {
    struct OnBehalf {
        Thread* self = current;
        explicit OnBehalf(Thread* issuer) { current = issuer; }
        ~OnBehalf() { current = self; }
    } on_behalf(operation.issuer);
    operation.run();
}

void Scheduler::Impl::perform_one(int engine) {
    auto& queue = pending[engine];
    const size_t i = timing[engine] == Timing::kRandom ? random() % queue.size() : 0;
    const Operation operation = std::move(queue[i]);
    queue.erase(queue.begin() + static_cast<long>(i));
    perform(operation);
}

// Returns the next thread to run. Returns null if all threads have finished or wait for something that will never
// happen.
Thread* Scheduler::Impl::next() {
    for (int e = 0; e < kEngines; ++e) {
        while (timing[e] == Timing::kRandom && !pending[e].empty() && random() % 4 == 0) perform_one(e);
    }
    for (;;) {
        if (Thread* t = pop()) return t;
        int e = 0;
        while (e < kEngines && pending[e].empty()) ++e;
        if (e == kEngines) return nullptr;
        perform_one(e);
    }
}

void Scheduler::Impl::switch_to(Thread* to) {
    Thread* from = current;
    if (to == from) {
        from->state = State::kRunning;
        return;
    }
    ++switches;
    current = to;
    if (to) to->state = State::kRunning;
    switch_fiber(from ? from->fiber : own, to ? to->fiber : own);
}

void suspend(const Waiting& waiting) {
    current->state = State::kWaiting;
    current->waiting = waiting;
    here->switch_to(here->next());
}

void yield() {
    current->state = State::kReady;
    here->push_back(current);
    here->switch_to(here->next());
}

void wake(Thread* thread) {
    if (thread->state != State::kWaiting) return;
    thread->state = State::kReady;
    here->push_back(thread);
}

void resume_together(std::vector<Thread*>& threads) {
    auto by_number = [](const Thread* a, const Thread* b) {
        return a->block->rank != b->block->rank ? a->block->rank < b->block->rank : a->linear < b->linear;
    };
    // If `ahead` holds, these threads run before all others that are ready: one warp or block may run far ahead of the
    // rest.
    bool ahead = false;
    switch (here->order) {
        case Order::kAscending:  // this is the order in which they most often came
            if (!std::is_sorted(threads.begin(), threads.end(), by_number)) {
                std::sort(threads.begin(), threads.end(), by_number);
            }
            break;
        case Order::kDescending:
            std::sort(threads.rbegin(), threads.rend(), by_number);
            break;
        case Order::kRandom:
            std::shuffle(threads.begin(), threads.end(), here->random);
            ahead = coin_flip();
            break;
    }
    if (ahead) std::reverse(threads.begin(), threads.end());
    for (Thread* t : threads) {
        t->state = State::kReady;
        ahead ? here->push_front(t) : here->push_back(t);
    }
    threads.clear();
    if (current->state == State::kReady) here->switch_to(here->next());
}

void post(Engine engine, std::function<void()> op) {
    const int e = static_cast<int>(engine);
    if (here->timing[e] == Timing::kEager) {
        op();
    } else {
        here->pending[e].push_back({current, std::move(op)});
    }
}

bool coin_flip() { return here->random() & 1; }

void release_to_end_of_launch() { release(&here->ended); }

void Scheduler::Impl::keep_error() {
    error = std::current_exception();
    release(&ended);
}

// Runs one CUDA thread from its first instruction to its exit.
void Scheduler::Impl::run_thread() {
    try {
        acquire(&started);
        kernel(arguments);
        release(&ended);
        Quiet quiet;
        check_cp_async_at_exit();
        check_wgmma_at_exit();
        check_bulk_stores_at_exit();
    } catch (...) {
        keep_error();
    }
    current->state = State::kFinished;
    --alive;
    Thread* successor = nullptr;
    try {
        if (!error && alive) successor = next();
    } catch (...) {
        keep_error();
    }
    switch_to(successor);
}

// Every fiber runs this function. It outlives its block, and then runs the thread of the same number in the worker's
// next block.
void thread_main() {
    fiber_entered(current->fiber);
    for (;;) here->run_thread();
}

Scheduler::Scheduler(KernelCall kernel, void* arguments, uint64_t seed) : impl_(new Impl) {
    impl_->kernel = kernel;
    impl_->arguments = arguments;
    impl_->random.seed(seed);
    adopt_os_thread(impl_->own);
    here = impl_;
}

Scheduler::~Scheduler() {
    statistics().switches += impl_->switches;
    abandon_os_thread(impl_->own);
    delete impl_;
    here = nullptr;
    current = nullptr;
}

void Scheduler::run(Cluster& cluster) {
    Impl& s = *impl_;
    std::vector<Thread*> threads;
    for (Block* b : cluster.blocks) threads.insert(threads.end(), b->threads.begin(), b->threads.end());
    s.alive = threads.size();
    release(&s.started);
    switch (s.order) {
        case Order::kAscending:
            break;
        case Order::kDescending:
            std::reverse(threads.begin(), threads.end());
            break;
        case Order::kRandom:
            std::shuffle(threads.begin(), threads.end(), s.random);
            break;
    }
    for (Thread* t : threads) {
        t->state = State::kReady;
        s.push_back(t);
    }
    s.switch_to(s.pop());
    acquire(&s.ended);
    if (s.error) std::rethrow_exception(s.error);
    if (s.alive) throw Error(describe_deadlock(cluster));
    if (cluster.loads_in_flight) throw Error("the block ended with asynchronous loads still in flight");
    for (int e = 0; e < kEngines; ++e) {
        while (!s.pending[e].empty()) s.perform_one(e);  // a TMA store may outlive its block
    }
    acquire(&s.ended);
}

}  // namespace convgpu::emulator
