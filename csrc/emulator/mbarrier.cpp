#include "mbarrier.h"

#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace convgpu::emulator {
namespace {

constexpr uint32_t kMaxArrivals = (1u << 20) - 1;
constexpr int32_t kMaxBytes = (1 << 20) - 1;

// The fields of the word. The layout that the hardware uses is not documented. `valid` distinguishes an mbarrier from
// memory that was never initialised, which the emulator fills with ones.
struct Fields {
    uint32_t pending;   // bits 0 to 19: arrivals that the phase still waits for
    uint32_t arrivals;  // bits 20 to 39: arrivals in each phase
    int32_t bytes;      // bits 40 to 60, biased by 2^20: bytes expected minus bytes landed
    uint32_t phase;     // bit 61: parity of the phase that is not complete yet
    bool valid;         // whether bits 62 and 63 are 01
};

Fields unpack(uint64_t word) {
    return {static_cast<uint32_t>(word & 0xfffff), static_cast<uint32_t>(word >> 20 & 0xfffff),
            static_cast<int32_t>(word >> 40 & 0x1fffff) - (1 << 20), static_cast<uint32_t>(word >> 61 & 1),
            word >> 62 == 1};
}

uint64_t pack(const Fields& f) {
    return uint64_t(f.pending) | uint64_t(f.arrivals) << 20 | uint64_t(f.bytes + (1 << 20)) << 40 |
           uint64_t(f.phase) << 61 | uint64_t(1) << 62;
}

Fields load(const uint64_t* word, const char* what) {
    const Fields f = unpack(*word);
    if (!f.valid) fail("%s: the mbarrier was never initialised", what);
    return f;
}

// Returns the address by which the race detector knows a phase. Even and odd phases have different ones, byte 0 and
// byte 1 of the word.
char* edge_of(uint64_t* word, uint32_t phase) { return reinterpret_cast<char*>(word) + phase; }

void wake_waiters(const uint64_t* word) {
    auto& waiters = current_block().cluster->mbarrier_waiters;
    size_t kept = 0;
    for (Thread* t : waiters) {
        if (t->waiting.mbarrier == word) {
            wake(t);
        } else {
            waiters[kept++] = t;
        }
    }
    waiters.resize(kept);
}

void update(uint64_t* word, uint32_t arrivals, int64_t bytes, const char* what) {
    Fields f = load(word, what);
    if (arrivals > f.pending) fail("%s: more arrivals than the %u that the mbarrier expects", what, f.arrivals);
    const int64_t total = f.bytes + bytes;
    if (total > kMaxBytes || total < -kMaxBytes) fail("%s: the transaction count exceeds 2^20 - 1 bytes", what);
    f.pending -= arrivals;
    f.bytes = static_cast<int32_t>(total);
    release(edge_of(word, f.phase));
    const bool complete = f.pending == 0 && f.bytes == 0;
    if (complete) {
        f.phase ^= 1;
        f.pending = f.arrivals;
    }
    *word = pack(f);
    if (complete) wake_waiters(word);
}

uint64_t* word_at(uint32_t address, const char* what, Reach reach = Reach::kBlock) {
    return reinterpret_cast<uint64_t*>(shared_pointer(address, 8, 8, what, reach));
}

}  // namespace

void mbarrier_init(uint32_t address, uint32_t arrivals) {
    if (arrivals == 0 || arrivals > kMaxArrivals)
        fail("mbarrier.init: the count must be 1 to 2^20 - 1, got %u", arrivals);
    *word_at(address, "mbarrier.init") = pack({arrivals, arrivals, 0, 0, true});
}

void mbarrier_arrive(uint32_t address, const char* what) {
    Quiet quiet;
    update(word_at(address, what, Reach::kCluster), 1, 0, what);
}

void mbarrier_expect(uint32_t address, uint32_t bytes) {
    Quiet quiet;
    update(word_at(address, "mbarrier.expect_tx"), 0, bytes, "mbarrier.expect_tx");
}

void mbarrier_arrive_expect(uint32_t address, uint32_t bytes) {
    Quiet quiet;
    const char* what = "mbarrier.arrive.expect_tx";
    update(word_at(address, what), 1, bytes, what);
}

bool mbarrier_test(uint32_t address, uint32_t parity) {
    uint64_t* word = word_at(address, "mbarrier.test_wait");
    if (load(word, "mbarrier.test_wait").phase == (parity & 1)) return false;
    acquire(edge_of(word, parity & 1));
    return true;
}

void mbarrier_wait(uint32_t address, uint32_t parity) {
    Quiet quiet;
    while (!mbarrier_test(address, parity)) {
        current_block().cluster->mbarrier_waiters.push_back(current);
        suspend({"mbarrier.try_wait", address, word_at(address, "mbarrier.try_wait")});
    }
}

uint64_t* mbarrier_word(uint32_t address, const char* what) {
    uint64_t* word = word_at(address, what, Reach::kCluster);
    load(word, what);
    return word;
}

void mbarrier_complete(uint64_t* word, uint32_t bytes) {
    update(word, 0, -static_cast<int64_t>(bytes), "mbarrier.complete_tx");
}

std::string describe_mbarrier(uint64_t word) {
    const Fields f = unpack(word);
    if (!f.valid) return "overwritten since its initialisation";
    return "phase " + std::to_string(f.phase) + " lacks " + std::to_string(f.pending) + " of " +
           std::to_string(f.arrivals) + " arrivals and " + std::to_string(f.bytes) + " bytes";
}

}  // namespace convgpu::emulator
