// Which block touches what of global memory while blocks run at the same time on several threads of the host.
//
// A worker's own cells know the accesses of blocks that it ran itself. For those of others one word for each granule is
// enough: the block that wrote it and a block that read it, or that several did. Where two blocks meet and one writes,
// the launch begins anew on one thread, whose cells give a report that is the same every time.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "machine.h"

namespace convgpu::ptx {

class Owners {
public:
    void note(const Warp& w, uint64_t address, bool write) {
        const uint32_t block = w.unit / static_cast<uint32_t>(w.block->warps.size()) + 1;
        std::atomic<uint64_t>& word = at(address >> w.kernel->global_granule);
        uint64_t old = word.load(std::memory_order_relaxed), now;
        do {
            uint32_t writer = static_cast<uint32_t>(old >> 32), reader = static_cast<uint32_t>(old);
            if ((writer && writer != block) || (write && reader && reader != block))
                met_.store(true, std::memory_order_relaxed);
            if (write)
                writer = block;
            else
                reader = reader && reader != block ? kSeveral : block;
            now = uint64_t(writer) << 32 | reader;
        } while (now != old && !word.compare_exchange_weak(old, now, std::memory_order_relaxed));
    }
    bool met() const { return met_.load(); }

private:
    static constexpr uint32_t kSeveral = 0xffffffffu;
    static constexpr uint64_t kPage = 4096;
    using Page = std::unique_ptr<std::atomic<uint64_t>[]>;

    std::atomic<uint64_t>& at(uint64_t index) {
        // A thread may serve several launches, whose owners may lie at the same address: each has a number of its own.
        thread_local uint64_t owner = 0;
        thread_local uint64_t last = 0;
        thread_local std::atomic<uint64_t>* words = nullptr;
        const uint64_t page = index / kPage;
        if (owner != number_ || last != page) {
            const std::lock_guard<std::mutex> lock(mutex_);
            Page& p = pages_[page];
            if (!p) p.reset(new std::atomic<uint64_t>[kPage]());
            owner = number_;
            last = page;
            words = p.get();
        }
        return words[index % kPage];
    }

    static uint64_t next_number() {
        static std::atomic<uint64_t> last{0};
        return ++last;
    }

    const uint64_t number_ = next_number();
    std::mutex mutex_;
    std::unordered_map<uint64_t, Page> pages_;
    std::atomic<bool> met_{false};
};

}  // namespace convgpu::ptx
