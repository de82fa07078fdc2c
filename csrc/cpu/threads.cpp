// A pool of threads that spin for a moment after each call, and then sleep until the next one.
#include "threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace convgpu::cpu {
namespace {

// How long a helper looks for the next call before it sleeps. The ops of a network follow each other within this time;
// waking a sleeping thread takes about as long.
constexpr std::chrono::microseconds kSpin(50);
constexpr size_t kKept = size_t(40) << 20;  // at most so many bytes of free blocks are kept
constexpr size_t kAlignment = 64;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Waits until `done` holds. It gives its processor to other threads if that takes long, since the thread that is waited
// for may need it.
template <class Done>
void spin_until(Done done) {
    for (int i = 0; !done(); ++i) i < 4096 ? pause() : static_cast<void>(sched_yield());
}

struct Job {
    void (*tile)(void*, int64_t, char*) = nullptr;
    void* context = nullptr;
    int64_t count = 0;
    char* scratch = nullptr;  // `bytes` for each thread
    size_t bytes = 0;
};

class Pool {
public:
    // Whether this call may use the helpers; if not, they work for another call.
    bool take() { return !taken_.exchange(true); }
    void give_back() { taken_ = false; }

    void run(const Job& job, int helpers) {
        while (static_cast<int>(started_) < helpers) {
            std::thread([this] { help(); }).detach();
            ++started_;
        }
        job_ = job;
        next_ = 0;
        seats_ = helpers;
        open_ = true;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            ++calls_;
        }
        if (asleep_) wake_.notify_all();
        work(0);
        open_ = false;
        spin_until([this] { return inside_ == 0; });
    }

private:
    void work(int seat) {
        char* const scratch = job_.scratch + seat * job_.bytes;
        for (int64_t i; (i = next_++) < job_.count;) job_.tile(job_.context, i, scratch);
    }

    // A helper is counted as inside before it looks whether the call is open, and the caller closes the call before it
    // waits for those inside. So a helper that comes late does not touch a call that has ended.
    [[noreturn]] void help() {
        for (unsigned seen = 0;;) {
            wait_for_another_call(seen);
            seen = calls_;
            ++inside_;
            if (open_) {
                const int seat = seats_--;
                if (seat > 0) work(seat);
            }
            --inside_;
        }
    }

    void wait_for_another_call(unsigned seen) {
        const auto end = std::chrono::steady_clock::now() + kSpin;
        while (std::chrono::steady_clock::now() < end) {
            for (int i = 0; i < 32; ++i) {
                if (calls_ != seen) return;
                pause();
            }
        }
        std::unique_lock<std::mutex> lock(mutex_);
        ++asleep_;
        wake_.wait(lock, [&] { return calls_ != seen; });
        --asleep_;
    }

    Job job_;
    std::atomic<int64_t> next_{0};
    std::atomic<int> seats_{0}, inside_{0}, asleep_{0};
    std::atomic<unsigned> calls_{0};
    std::atomic<bool> open_{false}, taken_{false};
    int started_ = 0;
    std::mutex mutex_;
    std::condition_variable wake_;
};

struct Block {
    char* data;
    size_t bytes;
};

// What a child process of fork must not inherit: locks that other threads held, and threads that it does not have.
struct State {
    Pool pool;
    std::mutex mutex;  // guards free
    std::vector<Block> free;
};

State* state() {
    static State* current = [] {
        pthread_atfork(nullptr, nullptr, [] { new (state()) State; });  // what the old state held is left as it was
        return new (std::malloc(sizeof(State))) State;
    }();
    return current;
}

}  // namespace

Memory::Memory(size_t bytes)
    : data_(nullptr), bytes_(std::max<size_t>((bytes + kAlignment - 1) / kAlignment, 1) * kAlignment) {
    State& s = *state();
    {
        const std::lock_guard<std::mutex> lock(s.mutex);
        size_t best = s.free.size();
        for (size_t i = 0; i < s.free.size(); ++i) {
            const size_t has = s.free[i].bytes;
            if (has >= bytes_ && has <= 4 * bytes_ + 65536 && (best == s.free.size() || has < s.free[best].bytes))
                best = i;
        }
        if (best < s.free.size()) {
            data_ = s.free[best].data;
            bytes_ = s.free[best].bytes;
            s.free.erase(s.free.begin() + best);
            return;
        }
    }
    data_ = static_cast<char*>(std::aligned_alloc(kAlignment, bytes_));
    if (!data_) throw std::bad_alloc();
}

Memory::~Memory() {
    State& s = *state();
    std::vector<Block> dropped;
    {
        const std::lock_guard<std::mutex> lock(s.mutex);
        s.free.push_back({data_, bytes_});
        size_t all = 0;
        for (const Block& block : s.free) all += block.bytes;
        while (all > kKept || s.free.size() > 64) {  // the block that was given back longest ago goes first
            all -= s.free.front().bytes;
            dropped.push_back(s.free.front());
            s.free.erase(s.free.begin());
        }
    }
    for (const Block& block : dropped) std::free(block.data);
}

void run_tiles(int64_t count, int threads, size_t bytes, void (*tile)(void*, int64_t, char*), void* context) {
    if (count <= 0) return;
    bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const int64_t room = bytes ? std::max<int64_t>(kScratchLimit / bytes, 1) : threads;
    int64_t helpers = std::min({count, static_cast<int64_t>(threads), room}) - 1;
    Pool& pool = state()->pool;
    const bool helped = helpers > 0 && pool.take();
    if (!helped) helpers = 0;
    try {
        const Memory scratch(bytes * (helpers + 1));
        if (helped) {
            pool.run({tile, context, count, scratch.data(), bytes}, static_cast<int>(helpers));
        } else {
            for (int64_t i = 0; i < count; ++i) tile(context, i, scratch.data());
        }
    } catch (...) {
        if (helped) pool.give_back();
        throw;
    }
    if (helped) pool.give_back();
}

}  // namespace convgpu::cpu
